/* SPDX-License-Identifier: MIT */
/*
 * missratio.c - how often does a cache not have what is asked for?
 *
 * Each request is a get, and a put of what was not found.  Traces of several kinds, caches of 1 %
 * and of 10 % of the keys; the first quarter of the requests fills the cache and is not counted.
 * Beside shmkv, at equal memory, stand
 *
 *   lru         an exact LRU, simulated: what it keeps of a key costs as much as a record of shmkv,
 *               and 32 bytes for two links of the list, one of a chain and a bucket, and nothing
 *               for fragmentation, growth or anything else
 *   lru, keys   an exact LRU of as many keys as shmkv held on average: policy against policy
 *   memcached   the Debian package, one thread, over a socket of its own, with -m the same number
 *               of MiB; its hash table is not counted there.  Left out by name if it is missing
 *
 * The memory of shmkv is its size: all of records, index, tables and ghosts is in it.
 */
#include "lib_clock.h"
#include "lib_lru.h"
#include "lib_memcached.h"
#include "lib_memory.h"
#include "lib_trace.h"
#include "lib_workload.h"
#include "shmkv.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY_BYTES 36u
#define VALUE_BYTES 35u
#define RECORD_BYTES 104u /* header, key, value, each padded to eight */
#define LRU_MORE_BYTES 32u
#define WARM_PART 4u
#define SAMPLES 64u /* of the number of keys held */

static struct {
    uint64_t keys, requests;
    const char *trace; /* NULL: all */
    bool memcached;
    FILE *json;
} settings = {.keys = 1u << 22, .requests = 20000000, .memcached = true};

static char value[VALUE_BYTES + 1];

/* What one cache did on one trace. */
struct outcome {
    double ratio;
    uint64_t held; /* keys, on average */
    double seconds;
};

static uint64_t warm(const struct trace *t)
{
    return t->requests / WARM_PART;
}

static double ratio_of(const struct trace *t, uint64_t misses)
{
    return (double)misses / (double)(t->requests - warm(t));
}

static void key_text(uint64_t number, char *text)
{
    workload_key(number, KEY_BYTES, text);
    text[KEY_BYTES] = 0;
}

/* ---- shmkv --------------------------------------------------------------------------------- */

static void must(int rc)
{
    if (rc != 0)
        die("%s", shmkv_last_error());
}

static bool shmkv_has(struct shmkv *db, const char *key)
{
    struct shmkv_section section;
    struct shmkv_item item;
    must(shmkv_begin(db, &section));
    int rc = shmkv_get(&section, key, KEY_BYTES, &item);
    shmkv_end(&section);
    if (rc != 0 && rc != SHMKV_ENOTFOUND)
        die("%s", shmkv_last_error());
    return rc == 0;
}

static struct outcome run_shmkv(const struct trace *t, uint64_t mib)
{
    struct outcome out = {.held = 0};
    struct shmkv_options options = {.flags = SHMKV_CREATE | SHMKV_EXCLUSIVE | SHMKV_CACHE,
                                    .size = mib << 20};
    char name[64], key[KEY_BYTES + 1];
    struct shmkv *db;
    uint64_t misses = 0, begin = clock_ns();
    snprintf(name, sizeof(name), "shm:missratio-%d", (int)getpid());
    must(shmkv_open(name, &options, &db));
    for (uint64_t i = 0; i < t->requests; i++) {
        key_text(t->key[i], key);
        if (!shmkv_has(db, key)) {
            misses += i >= warm(t);
            must(shmkv_put(db, key, KEY_BYTES, value, VALUE_BYTES, NULL));
        }
        if (i >= warm(t) && i % ((t->requests - warm(t)) / SAMPLES) == 0) {
            struct shmkv_stats s;
            must(shmkv_get_stats(db, &s));
            out.held += s.keys / SAMPLES;
        }
    }
    out.seconds = (double)(clock_ns() - begin) / 1e9;
    out.ratio = ratio_of(t, misses);
    must(shmkv_close(db));
    must(shmkv_destroy(name, NULL, 0));
    return out;
}

/* ---- memcached ----------------------------------------------------------------------------- */

/* A key that comes twice among those that were asked for together is missed once. */
static bool stored_before(char keys[][MEMCACHED_KEY], const bool *found, unsigned i)
{
    for (unsigned k = 0; k < i; k++) {
        if (!found[k] && strcmp(keys[k], keys[i]) == 0)
            return true;
    }
    return false;
}

static struct outcome run_memcached(const struct trace *t, uint64_t mib)
{
    char keys[MEMCACHED_BATCH][MEMCACHED_KEY];
    bool found[MEMCACHED_BATCH];
    struct outcome out = {.held = 0};
    struct memcached m;
    uint64_t misses = 0, begin = clock_ns();
    memcached_start(&m, mib);
    for (uint64_t i = 0; i < t->requests; i += MEMCACHED_BATCH) {
        uint64_t left = t->requests - i;
        unsigned n = left < MEMCACHED_BATCH ? (unsigned)left : MEMCACHED_BATCH;
        for (unsigned k = 0; k < n; k++)
            key_text(t->key[i + k], keys[k]);
        memcached_get(&m, keys, n, found);
        for (unsigned k = 0; k < n; k++) {
            if (found[k] || stored_before(keys, found, k))
                continue;
            misses += i + k >= warm(t);
            memcached_set(&m, keys[k], value, VALUE_BYTES);
        }
    }
    out.seconds = (double)(clock_ns() - begin) / 1e9;
    out.ratio = ratio_of(t, misses);
    out.held = memcached_stat(&m, "curr_items");
    memcached_stop(&m);
    return out;
}

/* ---- table --------------------------------------------------------------------------------- */

static unsigned cells, below_lru, below_memcached;

static void json_line(const char *engine, const char *trace, unsigned percent, uint64_t mib,
                      const struct outcome *o)
{
    if (settings.json == NULL)
        return;
    fprintf(settings.json,
            "{\"engine\":\"%s\",\"bench\":\"missratio\",\"trace\":\"%s\",\"cache_percent\":%u,"
            "\"memory_mib\":%llu,\"keys\":%llu,\"requests\":%llu,\"key_size\":%u,\"value_size\":%u,"
            "\"miss_ratio\":%.5f,\"keys_held\":%llu}\n",
            engine, trace, percent, (unsigned long long)mib, (unsigned long long)settings.keys,
            (unsigned long long)settings.requests, KEY_BYTES, VALUE_BYTES, o->ratio,
            (unsigned long long)o->held);
    fflush(settings.json);
}

static void run_cell(const struct trace *t, const char *name, unsigned percent)
{
    uint64_t want = t->keys * percent / 100 * (RECORD_BYTES + LRU_MORE_BYTES);
    uint64_t mib = (want + (1u << 20) - 1) >> 20;
    struct outcome ours = run_shmkv(t, mib);
    struct outcome lru = {.held = (mib << 20) / (RECORD_BYTES + LRU_MORE_BYTES)};
    struct outcome same = {.held = ours.held};
    struct outcome mc = {.ratio = 0};
    lru.ratio = ratio_of(t, lru_misses(t, lru.held, warm(t)));
    same.ratio = ratio_of(t, lru_misses(t, same.held, warm(t)));
    json_line("shmkv", name, percent, mib, &ours);
    json_line("lru", name, percent, mib, &lru);
    json_line("lru-same-keys", name, percent, mib, &same);
    printf("%-13s %3u %% %5llu %9llu %8.4f %8.4f %8.4f", name, percent, (unsigned long long)mib,
           (unsigned long long)ours.held, ours.ratio, lru.ratio, same.ratio);
    if (settings.memcached) {
        mc = run_memcached(t, mib);
        json_line("memcached", name, percent, mib, &mc);
        printf(" %10.4f %9llu", mc.ratio, (unsigned long long)mc.held);
        below_memcached += ours.ratio <= mc.ratio;
    }
    printf("  %.2f M/s\n", (double)t->requests / ours.seconds / 1e6);
    fflush(stdout);
    cells++;
    below_lru += ours.ratio <= lru.ratio;
}

static void head(void)
{
    printf("%llu keys of %u bytes with values of %u, %llu requests, a get each and a put after a "
           "miss\n\n",
           (unsigned long long)settings.keys, KEY_BYTES, VALUE_BYTES,
           (unsigned long long)settings.requests);
    printf("%-13s %5s %5s %9s %8s %8s %8s", "trace", "cache", "MiB", "held", "shmkv", "lru",
           "lru,keys");
    if (settings.memcached)
        printf(" %10s %9s", "memcached", "held");
    printf("\n");
}

static void usage(int status)
{
    fprintf(
        status == 0 ? stdout : stderr,
        "usage: missratio [--keys N] [--requests N] [--trace NAME] [--no-memcached] [--json FILE]\n"
        "  --keys N         of each distribution, rounded up to a power of two (4194304)\n"
        "  --requests N     of each trace (20000000)\n"
        "  --trace NAME     only this one\n"
        "  --no-memcached   leave it out, as is done where it is not installed\n"
        "  --json FILE      a line for each engine, trace and size\n");
    exit(status);
}

static uint64_t number_of(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);
    if (end == text || *end != 0 || n < 1000 || n > 1u << 30)
        die("%s: a number from 1000 to 2^30 is expected", text);
    return n;
}

static void read_settings(int argc, char **argv)
{
    static const struct option options[] = {
        {"keys", required_argument, NULL, 'k'},
        {"requests", required_argument, NULL, 'r'},
        {"trace", required_argument, NULL, 't'},
        {"no-memcached", no_argument, NULL, 'm'},
        {"json", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'k') {
            uint64_t keys = number_of(optarg);
            for (settings.keys = 1; settings.keys < keys;)
                settings.keys *= 2;
        } else if (c == 'r') {
            settings.requests = number_of(optarg);
        } else if (c == 't') {
            settings.trace = optarg;
        } else if (c == 'm') {
            settings.memcached = false;
        } else if (c == 'j') {
            settings.json = fopen(optarg, "w");
            if (settings.json == NULL)
                die("%s cannot be written", optarg);
        } else {
            usage(c == 'h' ? 0 : 2);
        }
    }
    if (optind != argc)
        usage(2);
}

int main(int argc, char **argv)
{
    read_settings(argc, argv);
    if (settings.memcached && !memcached_there()) {
        printf("memcached is not installed: left out\n");
        settings.memcached = false;
    }
    workload_value(1, VALUE_BYTES, value);
    head();
    for (enum trace_kind kind = 0; kind < TRACE_KINDS; kind++) {
        struct trace t;
        if (settings.trace != NULL && strcmp(settings.trace, trace_name(kind)) != 0)
            continue;
        trace_make(&t, kind, settings.keys, settings.requests);
        run_cell(&t, trace_name(kind), 1);
        run_cell(&t, trace_name(kind), 10);
        trace_free(&t);
    }
    printf("\nshmkv misses no more than lru in %u of %u", below_lru, cells);
    if (settings.memcached)
        printf(", no more than memcached in %u", below_memcached);
    printf("\n");
    return 0;
}
