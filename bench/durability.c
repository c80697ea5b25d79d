/* SPDX-License-Identifier: MIT */
/*
 * durability.c - kill -9 at random moments: is what was acknowledged still there?
 *
 *   bench/durability [--writes N] [--tests T] [--kind writer|keeper|all|reboot] [--dir DIRECTORY]
 *
 * In each test a process writes keys and tells after each write that it has returned, and after
 * each 16th that a sync has; another one keeps house.  One value of 128 is larger than a segment.
 * After a random number of writes, at most N, one of them or both are killed.  Then the store is
 * opened and every key that was acknowledged is looked for.  Kinds of death:
 *
 *   writer   who writes; the other goes on
 *   keeper   who keeps house, in the middle of a checkpoint often; the writer goes on, then ends
 *   all      both at once; the memory stays
 *   reboot   both, and the store's memory is removed: then what counts is what was synced
 */
#define _GNU_SOURCE
#include "lib_child.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shmkv.h"

#define SYNC_EVERY 16u
#define BIG_IN 128u /* one of so many values has BIG_BYTES, two segments */
#define BIG_BYTES 100000u
#define INTERVAL_MS 5u /* of checkpoints: so most deaths meet one */

enum kind { KIND_WRITER, KIND_KEEPER, KIND_ALL, KIND_REBOOT, KINDS };
static const char *const kind_names[KINDS] = {"writer", "keeper", "all", "reboot"};

/* What the writer tells, in memory that outlives it. */
struct told {
    _Atomic uint64_t written, synced;
    _Atomic uint32_t keeping;
};

static struct told *told;
static char image_directory[200], memory_directory[64], image[240];

static void fail(const char *what)
{
    fprintf(stderr, "durability: %s: %s\n", what, shmkv_last_error());
    exit(3);
}

static struct shmkv *open_store(uint32_t flags, uint64_t interval_ms)
{
    struct shmkv *db;
    struct shmkv_options o = {.flags = flags | SHMKV_CREATE,
                              .size = 16u << 20,
                              .interval_ms = interval_ms,
                              .shm_dir = memory_directory};
    if (shmkv_open(image, &o, &db) != 0)
        fail("open");
    return db;
}

/* ---- the processes ------------------------------------------------------------------------- */

static pid_t start(void (*body)(uint64_t), uint64_t arg)
{
    pid_t pid = child_fork();
    if (pid != 0)
        return pid;
    body(arg);
    _exit(0);
}

static void keep(uint64_t unused)
{
    (void)unused;
    open_store(SHMKV_KEEPER, INTERVAL_MS);
    atomic_store(&told->keeping, 1);
    while (pause() != 0) {
    }
}

static size_t size_of(uint64_t i)
{
    return i % BIG_IN == BIG_IN - 1 ? BIG_BYTES : sizeof(i);
}

/* The number over and over. */
static void fill(char *value, uint64_t i)
{
    for (size_t at = 0; at < size_of(i); at += sizeof(i))
        memcpy(value + at, &i, sizeof(i));
}

static void write_keys(uint64_t n)
{
    static char value[BIG_BYTES];
    struct shmkv *db = open_store(0, INTERVAL_MS);
    for (uint64_t i = 0; i < n; i++) {
        fill(value, i);
        if (shmkv_put(db, &i, sizeof(i), value, size_of(i), NULL) != 0)
            fail("put");
        atomic_store(&told->written, i + 1);
        if (i % SYNC_EVERY == 0) {
            if (shmkv_sync(db, -1) != 0)
                fail("sync");
            atomic_store(&told->synced, i + 1);
        }
    }
    pause();
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

/* Until @n writes have returned; false: the writer has ended by itself, by a failure. */
static bool wait_for(uint64_t n, pid_t writer)
{
    while (atomic_load(&told->written) < n) {
        int status;
        if (waitpid(writer, &status, WNOHANG) == writer)
            return false;
        usleep(20); /* on a busy machine a loop would take the writer's processor */
    }
    return true;
}

/* ---- one test ------------------------------------------------------------------------------ */

static void empty(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d != NULL)
        closedir(d);
}

/* How many of the keys below @n are not as they were written. */
static uint64_t count_lost(uint64_t n)
{
    static char value[BIG_BYTES], wanted[BIG_BYTES];
    struct shmkv *db = open_store(SHMKV_NO_KEEPER, UINT64_MAX);
    struct shmkv_item item = {.size = 0};
    uint64_t lost = 0;
    for (uint64_t i = 0; i < n; i++) {
        fill(wanted, i);
        int rc = shmkv_read(db, &i, sizeof(i), value, sizeof(value), &item);
        lost += rc != 0 || item.size != size_of(i) || memcmp(value, wanted, size_of(i)) != 0;
    }
    if (shmkv_check(db, NULL, NULL) != 0)
        fail("check");
    shmkv_close(db);
    return lost;
}

static void run_one(enum kind kind, uint64_t writes, uint64_t *acknowledged, uint64_t *lost)
{
    memset(told, 0, sizeof(*told));
    uint64_t target = 1 + (uint64_t)random() % writes;
    pid_t keeper = start(keep, 0);
    while (atomic_load(&told->keeping) == 0)
        usleep(100);
    pid_t writer = start(write_keys, kind == KIND_KEEPER ? target + writes / 4 + 1 : UINT64_MAX);
    if (!wait_for(target, writer))
        exit(3);
    if (kind == KIND_KEEPER) {
        end(keeper);
        if (!wait_for(target + writes / 4, writer)) /* it goes on without */
            exit(3);
    }
    end(writer);
    if (kind == KIND_ALL || kind == KIND_REBOOT)
        end(keeper);
    uint64_t n = atomic_load(&told->written);
    if (kind == KIND_REBOOT) {
        n = atomic_load(&told->synced);
        empty(memory_directory);
    }
    *acknowledged += n;
    *lost += count_lost(n);
    if (kind == KIND_WRITER)
        end(keeper);
    empty(memory_directory);
    empty(image_directory);
}

static int run(enum kind kind, uint64_t writes, unsigned tests)
{
    uint64_t acknowledged = 0, lost = 0;
    for (unsigned i = 0; i < tests; i++)
        run_one(kind, writes, &acknowledged, &lost);
    printf("%-8s %6u kills  %10llu %s  %6llu lost  data loss %.2f %%\n", kind_names[kind], tests,
           (unsigned long long)acknowledged, kind == KIND_REBOOT ? "synced      " : "acknowledged",
           (unsigned long long)lost,
           acknowledged == 0 ? 0.0 : 100.0 * (double)lost / (double)acknowledged);
    fflush(stdout);
    return lost != 0;
}

/* ---- main ---------------------------------------------------------------------------------- */

static void make_directories(const char *where)
{
    snprintf(image_directory, sizeof(image_directory), "%s/shmkv-durability-XXXXXX", where);
    snprintf(memory_directory, sizeof(memory_directory), "/dev/shm/shmkv-durability-XXXXXX");
    if (mkdtemp(image_directory) == NULL || mkdtemp(memory_directory) == NULL) {
        perror("durability: making a directory");
        exit(3);
    }
    snprintf(image, sizeof(image), "%s/store", image_directory);
    told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (told == MAP_FAILED)
        exit(3);
}

static int usage(void)
{
    fprintf(stderr, "usage: durability [--writes N] [--tests T] "
                    "[--kind writer|keeper|all|reboot] [--dir DIRECTORY]\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"writes", required_argument, NULL, 'w'},
                                            {"tests", required_argument, NULL, 't'},
                                            {"kind", required_argument, NULL, 'k'},
                                            {"dir", required_argument, NULL, 'd'},
                                            {0}};
    unsigned long writes = 1000, tests = 1000;
    const char *only = NULL, *where = "/tmp";
    int c, bad = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'w')
            writes = strtoul(optarg, NULL, 10);
        else if (c == 't')
            tests = strtoul(optarg, NULL, 10);
        else if (c == 'k')
            only = optarg;
        else if (c == 'd')
            where = optarg;
        else
            return usage();
    }
    if (optind != argc || writes == 0)
        return usage();
    make_directories(where);
    srandom((unsigned)time(NULL));
    for (int kind = 0; kind < KINDS; kind++) {
        if (only == NULL || strcmp(only, kind_names[kind]) == 0)
            bad |= run((enum kind)kind, writes, (unsigned)tests);
    }
    rmdir(image_directory);
    rmdir(memory_directory);
    return bad;
}
