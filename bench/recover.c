/* SPDX-License-Identifier: MIT */
/*
 * recover.c - how fast does a store come back from its image when its memory is gone?
 *
 * A store of --keys pairs is written and closed, its shared memory removed as a reboot would, and
 * the store opened again; the image's pages are in the page cache.  Told are records per second of
 * the time that passed, and per second of processor time, that is, per core; page faults of the
 * new memory are in both.  The yardstick is the least that a recovery has to do: read the same
 * bytes from the page cache into fresh shared memory, by one thread.
 *
 * --store PATH puts the image on a disk of one's choice (/var/tmp).
 */
#define _GNU_SOURCE
#include "lib_clock.h"
#include "lib_memory.h"
#include "lib_report.h"
#include "lib_workload.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shmkv.h"

#define COPY_STEP (128u << 10)

static struct settings settings;
static struct report report = {.bench = "recover", .settings = &settings};
static char image[256], memory[64];

struct took {
    double wall, cpu; /* seconds */
};

static double now(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(int rc, const char *doing)
{
    if (rc != 0)
        die("%s %s: %s", doing, image, shmkv_last_error());
}

static struct shmkv *open_store(unsigned flags)
{
    uint64_t pair = engine_record_bytes(&(struct workload){
        .keys = settings.keys, .key_size = settings.key_size, .value_size = settings.value_size});
    struct shmkv_options o = {.flags = flags | SHMKV_NO_KEEPER,
                              .size = settings.keys * (pair + 40) + (64ull << 20),
                              .reserve = settings.keys,
                              .shm_dir = memory};
    struct shmkv *db;

    must(shmkv_open(image, &o, &db), "opening");
    return db;
}

static void fill(void)
{
    struct shmkv *db = open_store(SHMKV_CREATE);
    char *key = calloc(1, settings.key_size + 1), *value = calloc(1, settings.value_size + 1);

    memset(value, 'v', settings.value_size);
    for (uint64_t i = 0; i < settings.keys; i++) {
        workload_key(i, settings.key_size, key);
        must(shmkv_put(db, key, settings.key_size, value, settings.value_size, NULL), "writing");
    }
    free(key);
    free(value);
    must(shmkv_checkpoint(db), "checkpointing");
    shmkv_close(db);
}

/* What a reboot does to shared memory. */
static void lose_memory(void)
{
    DIR *dir = opendir(memory);

    if (dir == NULL)
        die("cannot look into %s", memory);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (e->d_name[0] != '.' && unlinkat(dirfd(dir), e->d_name, 0) != 0)
            die("cannot remove %s", e->d_name);
    }
    closedir(dir);
}

static struct took recover(void)
{
    struct took t = {.wall = -now(CLOCK_MONOTONIC), .cpu = -now(CLOCK_PROCESS_CPUTIME_ID)};
    struct shmkv *db = open_store(0);
    struct shmkv_stats stats;

    t.wall += now(CLOCK_MONOTONIC);
    t.cpu += now(CLOCK_PROCESS_CPUTIME_ID);
    must(shmkv_get_stats(db, &stats), "asking");
    if (stats.keys != settings.keys)
        die("%llu keys came back, not %llu", (unsigned long long)stats.keys,
            (unsigned long long)settings.keys);
    shmkv_close(db);
    return t;
}

/* The file's bytes into fresh shared memory. */
static struct took copy(void)
{
    char path[96];
    struct stat st;
    int from = open(image, O_RDONLY), to;

    snprintf(path, sizeof(path), "%s/copy", memory);
    to = open(path, O_RDWR | O_CREAT, 0600);
    if (from < 0 || to < 0 || fstat(from, &st) != 0 || ftruncate(to, st.st_size) != 0)
        die("%s: copying: %m", image);
    struct took t = {.wall = -now(CLOCK_MONOTONIC), .cpu = -now(CLOCK_PROCESS_CPUTIME_ID)};
    char *map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, to, 0);
    if (map == MAP_FAILED)
        die("%s: mapping: %m", path);
    for (off_t at = 0, n; at < st.st_size; at += n) {
        n = pread(from, map + at, COPY_STEP, at);
        if (n <= 0)
            die("%s: reading: %m", image);
    }
    munmap(map, (size_t)st.st_size);
    t.wall += now(CLOCK_MONOTONIC);
    t.cpu += now(CLOCK_PROCESS_CPUTIME_ID);
    close(from);
    close(to);
    unlink(path);
    return t;
}

static void add_row(const char *engine, const char *op, double *rates, const double *ratios)
{
    struct row row = {.engine = engine, .procs = 1};
    double q[REPORT_RUNS];

    snprintf(row.op, sizeof(row.op), "%s", op);
    row.rate = report_quantile(rates, settings.runs, 0.5);
    row.rate_low = rates[0];
    row.rate_high = rates[settings.runs - 1];
    if (ratios != NULL) {
        memcpy(q, ratios, sizeof(*q) * settings.runs);
        row.ratio = report_quantile(q, settings.runs, 0.5);
        row.ratio_low = report_quantile(q, settings.runs, 0.25);
        row.ratio_high = report_quantile(q, settings.runs, 0.75);
    }
    report_add(&report, &row);
}

static void measure(void)
{
    double wall[REPORT_RUNS], core[REPORT_RUNS], limit[REPORT_RUNS], ratio[REPORT_RUNS];
    double keys = (double)settings.keys;

    for (unsigned i = 0; i < settings.runs; i++) {
        lose_memory();
        struct took least = copy(), t = recover();
        wall[i] = keys / t.wall;
        core[i] = keys / t.cpu;
        limit[i] = keys / least.cpu;
        ratio[i] = core[i] / limit[i];
    }
    report_columns();
    add_row("shmkv", "recover", wall, NULL);
    add_row("shmkv", "recover/core", core, ratio);
    add_row("limit", "copy/core", limit, NULL);
}

int main(int argc, char **argv)
{
    settings_default(&settings);
    settings.keys = 10000000;
    settings.runs = 3;
    settings_parse(&settings, argc, argv);
    snprintf(memory, sizeof(memory), "/dev/shm/bench-recover-%ld", (long)getpid());
    if (settings.store != NULL)
        snprintf(image, sizeof(image), "%s", settings.store);
    else
        snprintf(image, sizeof(image), "/var/tmp/bench-recover-%ld", (long)getpid());
    if (mkdir(memory, 0700) != 0)
        die("%s: %m", memory);
    report_head(&report);
    fill();
    measure();
    report_end(&report);
    lose_memory();
    rmdir(memory);
    unlink(image);
    return 0;
}
