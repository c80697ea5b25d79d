/* SPDX-License-Identifier: MIT */
#include "lib_engine.h"

#include <string.h>

static const struct engine *const engines[] = {&engine_shmkv, &engine_cache, &engine_limit};

const struct engine *engine_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
        if (strcmp(engines[i]->name, name) == 0)
            return engines[i];
    return NULL;
}
