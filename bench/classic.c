/* SPDX-License-Identifier: MIT */
/*
 * classic.c - the tests that published key-value stores print about themselves, beside what they
 * print; bench/README.md has the conditions.
 *
 * Each test runs in passes, every operation timed, which costs the fastest engines a fifth of their
 * rate; on a new store each, unless a pass leaves the store as it was or as good as that.  Beside
 * shmkv run the yardstick and Redis (or --peers).
 */
#include "lib_cell.h"
#include "lib_memory.h"

#include <stdio.h>
#include <string.h>

#define KEY_SIZE 16u
#define SMALL 100u
#define LARGE 1024u
/* Stores of more keys than this are filled for shmkv and the yardstick only. */
#define PEERS_KEYS_MAX 1000000u

struct test {
    const char *name;
    enum operation op;
    unsigned read; /* percent, of a mix */
    enum distribution dist;
    unsigned workers;
    uint64_t existing; /* keys that are there before */
    uint64_t count;    /* operations, of all workers together */
    size_t value_size;
    double published; /* operations per second; 0: none is */
    const char *latency;
};

static const struct test tests[] = {
    {"set, 0 keys there", OP_FRESH, 0, DIST_UNIFORM, 1, 0, 10000, SMALL, 85714, NULL},
    {"set, 100 there", OP_FRESH, 0, DIST_UNIFORM, 1, 100, 10000, SMALL, 85714, NULL},
    {"set, 1K there", OP_FRESH, 0, DIST_UNIFORM, 1, 1000, 10000, SMALL, 85714, NULL},
    {"set, 5K there", OP_FRESH, 0, DIST_UNIFORM, 1, 5000, 10000, SMALL, 85714, NULL},
    {"set, 10K there", OP_FRESH, 0, DIST_UNIFORM, 1, 10000, 10000, SMALL, 85714, NULL},
    {"set, 100K there", OP_FRESH, 0, DIST_UNIFORM, 1, 100000, 10000, SMALL, 85714, NULL},
    {"set, 1M there", OP_FRESH, 0, DIST_UNIFORM, 1, 1000000, 10000, SMALL, 85714, NULL},
    {"set, 10M there", OP_FRESH, 0, DIST_UNIFORM, 1, 10000000, 10000, SMALL, 85714, NULL},
    {"10K set", OP_FRESH, 0, DIST_UNIFORM, 1, 0, 10000, SMALL, 7500, ".115/.197/.241 ms"},
    {"10K get", OP_GET, 100, DIST_UNIFORM, 1, 10000, 10000, SMALL, 7400, ".113/.181/.436 ms"},
    {"10K 50/50", OP_MIX, 50, DIST_UNIFORM, 1, 10000, 10000, SMALL, 6700, NULL},
    {"10K incr", OP_INCR, 0, DIST_UNIFORM, 1, 10000, 10000, SMALL, 7600, NULL},
    {"1 worker, 10K", OP_MIX, 50, DIST_UNIFORM, 1, 10000, 10000, SMALL, 0, NULL},
    {"10 workers x 1K", OP_MIX, 50, DIST_UNIFORM, 10, 10000, 10000, SMALL, 15000, NULL},
    {"200 x 5 sets", OP_FRESH, 0, DIST_UNIFORM, 200, 0, 1000, SMALL, 0, NULL},
    {"100 clients x 50", OP_MIX, 50, DIST_UNIFORM, 100, 10000, 5000, SMALL, 0, NULL},
    {"hot/cold, 90/10", OP_MIX, 90, DIST_HOTCOLD, 1, 10000, 10000, SMALL, 0, NULL},
    {"Zipf, 70/30", OP_MIX, 70, DIST_ZIPF, 1, 10000, 10000, SMALL, 0, NULL},
    {"1 KB set", OP_FRESH, 0, DIST_UNIFORM, 1, 0, 20000, LARGE, 0, NULL},
    {"1 KB set", OP_FRESH, 0, DIST_UNIFORM, 2, 0, 20000, LARGE, 0, NULL},
    {"1 KB set", OP_FRESH, 0, DIST_UNIFORM, 4, 0, 20000, LARGE, 103000, "30/80/150 us"},
    {"1 KB set", OP_FRESH, 0, DIST_UNIFORM, 8, 0, 20000, LARGE, 0, NULL},
    {"1 KB set", OP_FRESH, 0, DIST_UNIFORM, 16, 0, 20000, LARGE, 0, NULL},
    {"1 KB get", OP_GET, 100, DIST_UNIFORM, 1, 20000, 20000, LARGE, 0, NULL},
    {"1 KB get", OP_GET, 100, DIST_UNIFORM, 2, 20000, 20000, LARGE, 0, NULL},
    {"1 KB get", OP_GET, 100, DIST_UNIFORM, 4, 20000, 20000, LARGE, 787000, "3/8/15 us"},
    {"1 KB get", OP_GET, 100, DIST_UNIFORM, 8, 20000, 20000, LARGE, 0, NULL},
    {"1 KB get", OP_GET, 100, DIST_UNIFORM, 16, 20000, 20000, LARGE, 0, NULL},
    {"1 KB 70/30", OP_MIX, 70, DIST_UNIFORM, 1, 20000, 20000, LARGE, 0, NULL},
    {"1 KB 70/30", OP_MIX, 70, DIST_UNIFORM, 2, 20000, 20000, LARGE, 0, NULL},
    {"1 KB 70/30", OP_MIX, 70, DIST_UNIFORM, 4, 20000, 20000, LARGE, 140000, NULL},
    {"1 KB 70/30", OP_MIX, 70, DIST_UNIFORM, 8, 20000, 20000, LARGE, 0, NULL},
    {"1 KB 70/30", OP_MIX, 70, DIST_UNIFORM, 16, 20000, 20000, LARGE, 0, NULL},
    {"1 KB delete", OP_DELETE, 0, DIST_UNIFORM, 1, 20000, 20000, LARGE, 0, NULL},
    {"1 KB delete", OP_DELETE, 0, DIST_UNIFORM, 2, 20000, 20000, LARGE, 0, NULL},
    {"1 KB delete", OP_DELETE, 0, DIST_UNIFORM, 4, 20000, 20000, LARGE, 165000, NULL},
    {"1 KB delete", OP_DELETE, 0, DIST_UNIFORM, 8, 20000, 20000, LARGE, 0, NULL},
    {"1 KB delete", OP_DELETE, 0, DIST_UNIFORM, 16, 20000, 20000, LARGE, 0, NULL},
    {"batches of 1,000", OP_MPUT, 0, DIST_UNIFORM, 1, 10000, 100000, SMALL, 500000, NULL},
    {"session store, 90/10", OP_MIX, 90, DIST_ZIPF, 4, 10000, 20000, LARGE, 600000, NULL},
    {"cache, 95/5", OP_MIX, 95, DIST_ZIPF, 4, 10000, 20000, LARGE, 700000, NULL},
    {"event store, 20/80", OP_MIX, 20, DIST_UNIFORM, 4, 10000, 20000, LARGE, 90000, NULL},
};
#define TESTS (sizeof(tests) / sizeof(tests[0]))

static struct bench bench;

/* What the workers do, in the order of the stream. */
static void make_stream(const struct test *t, struct stream *s)
{
    const struct workload *w = &bench.workload;
    struct workload there = *w;

    there.keys = t->existing > 0 ? t->existing : w->keys;
    if (t->op == OP_FRESH) {
        *s = (struct stream){.keys = w->key_bytes + t->existing * w->key_size, .count = t->count};
    } else if (t->op == OP_DELETE) {
        stream_shuffled(s, w);
        s->count = t->count;
    } else {
        stream_drawn(s, &there, t->dist, t->read, t->count);
    }
}

/* What reads or overwrites leaves a store as it was; new keys beside so many more do if they are
 * removed again. */
static bool store_is_kept(const struct test *t)
{
    return t->op == OP_GET || t->op == OP_MIX || t->op == OP_MPUT ||
           (t->op == OP_FRESH && t->existing >= 10 * t->count);
}

/* None beside very many keys; beside several workers with large values those that pipeline, if
 * there are any: they are several times as fast then. */
static void choose_peers(const struct test *t)
{
    unsigned kept = 0;

    if (t->existing > PEERS_KEYS_MAX)
        bench.peers_count = 0;
    if (t->workers == 1 || t->value_size == SMALL)
        return;
    for (unsigned i = 0; i < bench.peers_count; i++)
        if (bench.peers[i]->unit > 1)
            bench.peers[kept++] = bench.peers[i];
    if (kept > 0)
        bench.peers_count = kept;
}

static void measure(const struct test *t)
{
    const struct engine *peers[PEERS_MAX];
    unsigned peers_count = bench.peers_count;
    struct settings *s = &bench.settings;
    struct stream stream;
    struct cell_plan plan = {.op = t->op,
                             .label = t->name,
                             .procs = &t->workers,
                             .procs_count = 1,
                             .stream = &stream,
                             .passes = true,
                             .filled = t->existing > 0 && t->op != OP_INCR,
                             .kept = store_is_kept(t),
                             .sample = 1,
                             .published = t->published,
                             .published_latency = t->latency};

    s->keys = t->existing > 0 ? t->existing : t->count;
    s->value_size = t->value_size;
    s->read = t->read;
    s->dist = t->dist;
    bench_remake(&bench, t->op == OP_FRESH && t->existing > 0 ? t->count : 0);
    memcpy(peers, bench.peers, sizeof(peers));
    choose_peers(t);
    make_stream(t, &stream);
    bench_measure(&bench, &plan);
    memcpy(bench.peers, peers, sizeof(peers));
    bench.peers_count = peers_count;
    if (stream.keys < bench.workload.key_bytes ||
        stream.keys >= bench.workload.key_bytes + bench.workload.keys * bench.workload.key_size)
        stream_free(&stream, &bench.workload);
}

/* Of sets beside ever more keys: what each tenfold costs. */
static void print_drops(void)
{
    const struct report *r = &bench.report;

    printf("\ndrop of sets with ten times the keys; published: less than 5 %%\n");
    for (unsigned i = 0; i < r->rows; i++)
        for (unsigned j = 0; j < i; j++) {
            const struct row *from = &r->row[j];
            const struct row *to = &r->row[i];

            if (strncmp(to->op, "set, ", 5) == 0 && strncmp(from->op, "set, ", 5) == 0 &&
                strncmp(from->op, "set, 0 ", 7) != 0 && strcmp(from->engine, to->engine) == 0 &&
                from->keys * 10 == to->keys)
                printf("%-14s %9llu to %9llu keys: %5.1f %%\n", to->engine,
                       (unsigned long long)from->keys, (unsigned long long)to->keys,
                       (1 - to->rate / from->rate) * 100);
        }
}

int main(int argc, char **argv)
{
    struct settings *s = &bench.settings;

    settings_default(s);
    s->keys = PEERS_KEYS_MAX;
    s->key_size = KEY_SIZE;
    s->value_size = SMALL;
    s->seconds = 0.05;
    s->peers = "redis";
    settings_parse(s, argc, argv);
    if (s->writers > 0 || s->store != NULL)
        die("--writers, --store: not here");
    {
        uint64_t most = s->keys;

        s->keys = 1000;
        bench_begin(&bench, "classic", 0);
        report_columns();
        for (unsigned i = 0; i < TESTS; i++)
            if (tests[i].existing <= most &&
                (s->workload == NULL || strstr(tests[i].name, s->workload) != NULL))
                measure(&tests[i]);
    }
    print_drops();
    report_end(&bench.report);
    return 0;
}
