/* SPDX-License-Identifier: MIT */
/*
 * recover.c - how fast does a store come back from its image when its memory is gone?
 *
 * A store of --keys pairs is written and closed, its shared memory removed as a reboot would, and
 * the store opened again.  Told are records per second
 *
 *   recover        of the time that passed; the image's pages are in the page cache
 *   recover/core   of processor time, page faults of the new memory included
 *   memory there   the same, less what the machine takes to supply as much shared memory
 *   from the disk  of the time that passed; the image's pages were dropped from the page cache
 *
 * and beside them the least that a recovery has to do, by one thread:
 *
 *   copy/core      read the same bytes from the page cache into fresh shared memory, taken as
 *                  stores take it: as huge pages, if the kernel has any
 *   copy there     the same into memory that is there already
 *   from the disk  read the same bytes, one after the other, when no page of them is cached
 *
 * Before each of these as much memory is taken and given back as it needs: a hypervisor may have
 * got back what the machine did not use for some seconds, and supplies it again page by page, which
 * takes longer than all else here.
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
#define READ_STEP (1u << 20)
#define NEEDED 3u /* images: the store's memory, with its index, and the file's pages */

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

static struct took begin(void)
{
    return (struct took){.wall = -now(CLOCK_MONOTONIC), .cpu = -now(CLOCK_PROCESS_CPUTIME_ID)};
}

static void end(struct took *t)
{
    t->wall += now(CLOCK_MONOTONIC);
    t->cpu += now(CLOCK_PROCESS_CPUTIME_ID);
}

/* @memory_bytes: receives what the store has taken. */
static struct took recover(uint64_t *memory_bytes)
{
    struct took t = begin();
    struct shmkv *db = open_store(0);
    struct shmkv_stats stats;

    end(&t);
    must(shmkv_get_stats(db, &stats), "asking");
    if (stats.keys != settings.keys)
        die("%llu keys came back, not %llu", (unsigned long long)stats.keys,
            (unsigned long long)settings.keys);
    *memory_bytes = stats.memory;
    shmkv_close(db);
    return t;
}

/* @bytes of fresh shared memory; it goes with the mapping. */
static char *fresh_memory(uint64_t bytes)
{
    char path[96], *map;
    int fd;

    snprintf(path, sizeof(path), "%s/fresh", memory);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
        die("%s: %m", path);
    map = memory_map(fd, 0, bytes);
    if (map == MAP_FAILED)
        die("%s: mapping: %m", path);
    close(fd);
    unlink(path);
    return map;
}

static void supply(char *map, uint64_t bytes)
{
    if (memory_supply(map, bytes) != 0)
        die("taking memory: %m");
}

/* What it takes to be supplied with @bytes of shared memory, as stores take it. */
static struct took take(uint64_t bytes)
{
    struct took t = begin();
    char *map = fresh_memory(bytes);

    supply(map, bytes);
    end(&t);
    munmap(map, bytes);
    return t;
}

/* Let the machine have as much memory as any of the parts needs. */
static void have_memory(void)
{
    struct stat st;

    if (stat(image, &st) != 0)
        die("%s: %m", image);
    take((uint64_t)st.st_size * NEEDED);
}

/* The file's bytes into fresh shared memory, or into such that is @there already. */
static struct took copy(bool there)
{
    struct stat st;
    int from = open(image, O_RDONLY);

    if (from < 0 || fstat(from, &st) != 0)
        die("%s: %m", image);
    struct took t = begin();
    char *map = fresh_memory((uint64_t)st.st_size);
    supply(map, (uint64_t)st.st_size);
    if (there)
        t = begin();
    for (off_t at = 0, n; at < st.st_size; at += n) {
        n = pread(from, map + at, COPY_STEP, at);
        if (n <= 0)
            die("%s: reading: %m", image);
    }
    end(&t);
    munmap(map, (size_t)st.st_size);
    close(from);
    return t;
}

/* Let no page of the image be cached: they are clean once they are on the disk. */
static int uncached(void)
{
    int fd = open(image, O_RDONLY);

    if (fd < 0 || fsync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        die("%s: dropping its pages: %m", image);
    return fd;
}

/* From the disk, one after the other. */
static struct took read_cold(void)
{
    char *buffer = malloc(READ_STEP);
    int fd = uncached();
    struct took t = begin();

    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    while (buffer != NULL && read(fd, buffer, READ_STEP) > 0)
        ;
    end(&t);
    free(buffer);
    close(fd);
    return t;
}

enum what { WALL, CORE, THERE, COLD, COPY, COPY_THERE, READ_COLD, WHATS };

static const struct {
    const char *engine, *op;
    enum what least; /* its ratio is to this one; WHATS: none */
} rows[] = {
    [WALL] = {"shmkv", "recover", WHATS},
    [CORE] = {"shmkv", "recover/core", COPY},
    [THERE] = {"shmkv", "memory there", COPY_THERE},
    [COLD] = {"shmkv", "from the disk", READ_COLD},
    [COPY] = {"limit", "copy/core", WHATS},
    [COPY_THERE] = {"limit", "copy there", WHATS},
    [READ_COLD] = {"limit", "from the disk", WHATS},
};

static double rates[WHATS][REPORT_RUNS];

static void add_row(enum what what)
{
    struct row row = {.engine = rows[what].engine, .procs = 1};
    double q[REPORT_RUNS];
    enum what least = rows[what].least;

    for (unsigned i = 0; least != WHATS && i < settings.runs; i++)
        q[i] = rates[what][i] / rates[least][i];
    if (least != WHATS) {
        row.ratio = report_quantile(q, settings.runs, 0.5);
        row.ratio_low = report_quantile(q, settings.runs, 0.25);
        row.ratio_high = report_quantile(q, settings.runs, 0.75);
    }
    memcpy(q, rates[what], sizeof(q));
    snprintf(row.op, sizeof(row.op), "%s", rows[what].op);
    row.rate = report_quantile(q, settings.runs, 0.5);
    row.rate_low = q[0];
    row.rate_high = q[settings.runs - 1];
    report_add(&report, &row);
}

static void measure_run(unsigned run)
{
    double keys = (double)settings.keys;
    uint64_t taken;

    lose_memory();
    have_memory();
    struct took least = copy(false);
    have_memory();
    struct took least_there = copy(true);
    have_memory();
    struct took warm = recover(&taken);
    lose_memory();
    have_memory();
    struct took memory_taken = take(taken);
    rates[WALL][run] = keys / warm.wall;
    rates[CORE][run] = keys / warm.cpu;
    if (warm.cpu > memory_taken.cpu) /* else it says nothing, and counts as 0 */
        rates[THERE][run] = keys / (warm.cpu - memory_taken.cpu);
    rates[COPY][run] = keys / least.cpu;
    rates[COPY_THERE][run] = keys / least_there.cpu;
    close(uncached());
    have_memory();
    rates[READ_COLD][run] = keys / read_cold().wall;
    close(uncached());
    have_memory();
    rates[COLD][run] = keys / recover(&taken).wall;
}

static void measure(void)
{
    for (unsigned i = 0; i < settings.runs; i++)
        measure_run(i);
    report_columns();
    for (unsigned what = 0; what < WHATS; what++)
        add_row(what);
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
