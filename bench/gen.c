/* SPDX-License-Identifier: MIT */
/*
 * gen.c - the benchmarks' keys and values as a file: key, one blank, value, per line.
 *
 *   bench/gen [--keys N] [--key-size N] [--value-size N] > FILE
 *
 * `shmkv load --format space FILE` makes a store of it that `bench/procs --store` can read.
 */
#include "lib_memory.h"
#include "lib_settings.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct settings settings;
    size_t value_at;
    char *line;

    settings_read(&settings, argc, argv);
    value_at = settings.key_size + 1;
    line = memory_get(value_at + settings.value_size + 1);
    for (uint64_t i = 0; i < settings.keys; i++) {
        workload_key(i, settings.key_size, line);
        line[settings.key_size] = ' ';
        workload_value(i % WORKLOAD_VALUES, settings.value_size, line + value_at);
        line[value_at + settings.value_size] = '\n';
        if (fwrite(line, value_at + settings.value_size + 1, 1, stdout) != 1)
            die("cannot write: %s", strerror(errno));
    }
    if (fflush(stdout) != 0)
        die("cannot write: %s", strerror(errno));
    return 0;
}
