/* SPDX-License-Identifier: MIT */
/*
 * ycsb.c - the core workloads of the Yahoo! Cloud Serving Benchmark that need no order of keys:
 *
 *   A  50 % read, 50 % update             C  read only
 *   B  95 % read,  5 % update             D  95 % read the latest, 5 % insert
 *   F  50 % read, 50 % read-modify-write
 *
 * Records of 1,000 bytes under keys of 23, drawn by Zipf's law (0.99) over all keys; in D by the
 * age of the record.  One field stands for the ten of a hundred bytes: all stores here hold opaque
 * values.  E scans a range of keys in order, which a hash table cannot.
 *
 * An update writes the whole record.  In D each process inserts keys of its own and reads those and
 * the loaded ones; it runs in passes, each on a newly loaded store.  In F the read and the write of
 * the same key follow each other, and count as one operation.
 */
#include "lib_cell.h"
#include "lib_memory.h"

#include <stdio.h>
#include <string.h>

#define KEY_SIZE 23u
#define VALUE_SIZE 1000u
#define KEYS 200000u
/* Operations of a pass of D, as a multiple of the keys, and the keys that it inserts. */
#define LATEST_OPS(keys) (keys)
#define LATEST_NEW(keys) ((keys) / 10)

static const struct workload_kind {
    const char *name;
    unsigned read; /* percent */
    bool latest;
    bool modify;
} kinds[] = {{"A", 50, false, false},
             {"B", 95, false, false},
             {"C", 100, false, false},
             {"D", 95, true, false},
             {"F", 50, false, true}};

static struct bench bench;

static void measure(const struct workload_kind *kind, const unsigned *procs, unsigned count)
{
    struct settings *s = &bench.settings;
    struct workload loaded = bench.workload;
    struct stream stream;
    char label[16];
    struct cell_plan plan = {.op = kind->read == 100 ? OP_GET : OP_MIX,
                             .label = label,
                             .procs = procs,
                             .procs_count = count,
                             .stream = &stream,
                             .passes = kind->latest,
                             .filled = kind->latest};

    snprintf(label, sizeof(label), "ycsb %s", kind->name);
    s->read = kind->read;
    loaded.keys = s->keys;
    if (kind->latest) {
        stream_latest(&stream, &bench.workload, s->keys, *procs, kind->read, LATEST_OPS(s->keys));
    } else {
        stream_drawn(&stream, &loaded, s->dist, kind->read, bench_stream_length(&bench));
        if (kind->modify)
            plan.weight = stream_modify(&stream, &bench.workload);
    }
    bench_measure(&bench, &plan);
    stream_free(&stream, &bench.workload);
}

static bool wanted(const char *name)
{
    return bench.settings.workload == NULL || strstr(bench.settings.workload, name) != NULL;
}

/* What each process inserts in D depends on how many there are: a cell for each number. */
static void measure_all(const struct workload_kind *kind)
{
    const struct settings *s = &bench.settings;

    if (!kind->latest)
        measure(kind, s->procs, s->procs_count);
    for (unsigned k = 0; kind->latest && k < s->procs_count; k++)
        measure(kind, &s->procs[k], 1);
}

int main(int argc, char **argv)
{
    struct settings *s = &bench.settings;

    settings_default(s);
    s->keys = KEYS;
    s->key_size = KEY_SIZE;
    s->value_size = VALUE_SIZE;
    s->dist = DIST_ZIPF;
    settings_parse(s, argc, argv);
    if (s->writers > 0 || s->store != NULL)
        die("--writers, --store: not here");
    bench_begin(&bench, "ycsb", LATEST_NEW(s->keys));
    report_columns();
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (wanted(kinds[i].name))
            measure_all(&kinds[i]);
    report_end(&bench.report);
    return 0;
}
