/* SPDX-License-Identifier: MIT */
/*
 * cmd_bench.c - the bench command: a quick measurement from one thread.
 *
 * It works on a scratch store beside the user's, with the same limit of memory, and removes it
 * afterwards; it never touches the user's keys.  One operation in 16 is timed for the
 * percentiles.  bench/procs measures many processes, and with care.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "units.h"

#define BENCH_SAMPLES 65536u /* the latest so many are kept */
#define BENCH_SAMPLE_EVERY 16u
#define BENCH_KEY_SIZE 36u
#define BENCH_VALUE_MAX (1u << 26)

struct bench {
    struct cli *cli;
    uint64_t keys;
    uint64_t random;
    char *value;
    size_t value_size;
    uint32_t *sample;
    uint64_t samples; /* taken, also those that were overwritten */
};

/* A part of the measurement: one operation on key number @n. */
typedef int bench_operation(struct bench *b, uint64_t n);

static volatile sig_atomic_t bench_interrupted;

static void bench_on_signal(int signal)
{
    (void)signal;
    bench_interrupted = 1;
}

/* xorshift64*: fast, and good enough to spread keys. */
static uint64_t bench_random(struct bench *b)
{
    b->random ^= b->random >> 12;
    b->random ^= b->random << 25;
    b->random ^= b->random >> 27;
    return b->random * 0x2545f4914f6cdd1dull;
}

/* 36 bytes, as long as a UUID. */
static void bench_key(char key[static BENCH_KEY_SIZE], uint64_t n)
{
    memset(key, 'k', BENCH_KEY_SIZE);
    for (size_t i = BENCH_KEY_SIZE; n > 0; n >>= 4) {
        key[--i] = "0123456789abcdef"[n & 15];
    }
}

static int bench_put(struct bench *b, uint64_t n)
{
    char key[BENCH_KEY_SIZE];
    bench_key(key, n);
    return shmkv_put(b->cli->db, key, sizeof(key), b->value, b->value_size, NULL);
}

static int bench_get(struct bench *b, uint64_t n)
{
    char key[BENCH_KEY_SIZE];
    struct shmkv_section section;
    struct shmkv_item item;
    bench_key(key, n);
    int rc = shmkv_begin(b->cli->db, &section);
    if (rc == 0) {
        rc = shmkv_get(&section, key, sizeof(key), &item);
        shmkv_end(&section);
    }
    return rc;
}

static int bench_mixed(struct bench *b, uint64_t n)
{
    return bench_random(b) % 100 < 95 ? bench_get(b, n) : bench_put(b, n);
}

static int bench_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t bench_percentile(struct bench *b, unsigned percent)
{
    uint64_t count = b->samples < BENCH_SAMPLES ? b->samples : BENCH_SAMPLES;
    return count ? b->sample[(count - 1) * percent / 100] : 0;
}

static void bench_report(struct bench *b, const char *name, uint64_t operations, double seconds)
{
    size_t count = b->samples < BENCH_SAMPLES ? (size_t)b->samples : BENCH_SAMPLES;
    qsort(b->sample, count, sizeof(b->sample[0]), bench_compare);
    printf(cli_has(b->cli, OPT_JSON)
               ? "{\"op\": \"%s\", \"ops_per_s\": %.0f, \"p50_ns\": %u, \"p99_ns\": %u}\n"
               : "%-10s %12.0f %9u %9u\n",
           name, seconds > 0 ? (double)operations / seconds : 0, bench_percentile(b, 50),
           bench_percentile(b, 99));
    cli_push();
}

static int bench_step(struct bench *b, bench_operation *operation, uint64_t i, uint64_t n)
{
    if (i % BENCH_SAMPLE_EVERY != 0) {
        return operation(b, n);
    }
    uint64_t start = units_mono_ns();
    int rc = operation(b, n);
    uint64_t took = units_mono_ns() - start;
    b->sample[b->samples++ % BENCH_SAMPLES] = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
    return rc;
}

/* @seconds 0: once over all keys, in order; else random keys for that long. */
static int bench_part(struct bench *b, const char *name, bench_operation *operation,
                      uint64_t seconds)
{
    uint64_t start = units_mono_ns();
    uint64_t end = start + seconds * 1000000000u;
    uint64_t i = 0;
    int rc = 0;
    b->samples = 0;
    while (rc == 0 && !bench_interrupted) {
        bool over = seconds ? i % 64 == 0 && units_mono_ns() >= end : i == b->keys;
        if (over) {
            break;
        }
        rc = bench_step(b, operation, i, seconds ? bench_random(b) % b->keys : i);
        i++;
    }
    if (rc == 0 && !bench_interrupted) {
        bench_report(b, name, i, (double)(units_mono_ns() - start) / 1e9);
    }
    return rc;
}

static int bench_run(struct bench *b)
{
    uint64_t seconds = cli_has(b->cli, OPT_SECONDS) ? b->cli->number[OPT_SECONDS] : 2;
    if (!cli_has(b->cli, OPT_JSON)) {
        printf("%" PRIu64 " keys of %u bytes, values of %zu bytes, one thread\n", b->keys,
               BENCH_KEY_SIZE, b->value_size);
        printf("%-10s %12s %9s %9s\n", "", "operations/s", "p50 ns", "p99 ns");
    }
    int rc = bench_part(b, "fill", bench_put, 0);
    if (rc == 0) {
        rc = bench_part(b, "get", bench_get, seconds);
    }
    if (rc == 0) {
        rc = bench_part(b, "overwrite", bench_put, seconds);
    }
    return rc == 0 ? bench_part(b, "mixed", bench_mixed, seconds) : rc;
}

/* The scratch store's limit: --size, or that of the user's store, or the default. */
static int bench_size(struct cli *cli, uint64_t *size)
{
    *size = cli->number[OPT_SIZE];
    if (!cli->store || cli_has(cli, OPT_SIZE)) {
        return CLI_DONE;
    }
    struct shmkv_stats stats = {0};
    int status = cli_open(cli, SHMKV_READONLY);
    if (status != CLI_DONE) {
        return status;
    }
    int rc = shmkv_get_stats(cli->db, &stats);
    *size = stats.size;
    shmkv_close(cli->db);
    cli->db = NULL;
    return cli_result(cli, rc);
}

static int bench_on_scratch(struct bench *b, uint64_t size)
{
    struct cli *cli = b->cli;
    char name[64];
    snprintf(name, sizeof(name), "shm:bench-%ld", (long)getpid());
    cli->store = name;
    struct shmkv_options options = {.flags = SHMKV_CREATE | SHMKV_EXCLUSIVE, .size = size};
    int status = cli_open_with(cli, &options);
    if (status != CLI_DONE) {
        return status;
    }
    status = cli_result(cli, bench_run(b));
    shmkv_close(cli->db);
    cli->db = NULL;
    int removed = cli_result(cli, shmkv_destroy(name, cli->shm_dir, 1));
    return status == CLI_DONE ? removed : status;
}

static int bench_check(const struct cli *cli)
{
    if (cli_has(cli, OPT_SECONDS) &&
        (cli->number[OPT_SECONDS] < 1 || cli->number[OPT_SECONDS] > 86400)) {
        return cli_usage(cli, "--seconds: 1 to 86400");
    }
    if (cli_has(cli, OPT_BENCH_KEYS) && cli->number[OPT_BENCH_KEYS] < 1) {
        return cli_usage(cli, "--keys: at least 1");
    }
    if (cli->number[OPT_VALUE_SIZE] > BENCH_VALUE_MAX) {
        return cli_usage(cli, "--value-size: at most 64M");
    }
    return CLI_DONE;
}

int cmd_bench(struct cli *cli)
{
    uint64_t size;
    int status = bench_check(cli);
    if (status == CLI_DONE) {
        status = bench_size(cli, &size);
    }
    if (status != CLI_DONE) {
        return status;
    }
    struct bench b = {.cli = cli, .keys = 100000, .random = 88172645463325252ull};
    if (cli_has(cli, OPT_BENCH_KEYS)) {
        b.keys = cli->number[OPT_BENCH_KEYS];
    }
    b.value_size = cli_has(cli, OPT_VALUE_SIZE) ? cli->number[OPT_VALUE_SIZE] : 35;
    b.value = calloc(1, b.value_size + 1);
    b.sample = calloc(BENCH_SAMPLES, sizeof(b.sample[0]));
    /* Interrupted, or left by whoever read its output, it still removes its store. */
    struct sigaction action = {.sa_handler = bench_on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGPIPE, &action, NULL);
    status = b.value && b.sample ? bench_on_scratch(&b, size)
                                 : cli_error(NULL, "no memory for the measurement");
    free(b.value);
    free(b.sample);
    return bench_interrupted ? cli_error(NULL, "interrupted") : status;
}
