/* SPDX-License-Identifier: MIT */
/* ops_check.c - the public call that verifies a store. */
#include <inttypes.h>

#include "error.h"
#include "ops.h"
#include "reap.h"
#include "verify.h"

int shmkv_check(struct shmkv *db, void (*report)(void *arg, const char *line), void *arg)
{
    struct context *c;
    int rc = store_context(db, &c);
    if (rc != 0)
        return rc;
    const struct arena *a = &c->store->arena;
    uint32_t self = c->store->process.index;
    struct verify_sink sink = {.report = report, .arg = arg};
    if (!a->readonly) /* what the dead left is no damage */
        process_reap_dead(a, self, reap_process, (void *)(uintptr_t)a);
    uint64_t findings = verify_store(&c->writer.self, self, &sink);
    if (findings == 0)
        return 0;
    return error_set(SHMKV_ECORRUPT,
                     "%s: %" PRIu64 " findings; dump what can still be read into a new store",
                     a->name, findings);
}
