/* SPDX-License-Identifier: MIT */
/*
 * sync.c - what a sync of one small put costs, beside the least that the disk takes for a page.
 *
 *   bench/sync [--seconds S] [--rounds R] [--threads N] [--dir DIRECTORY] [--no-keeper]
 *
 * bare      one thread writes a page of a file that has its blocks, and calls fdatasync
 * one       one thread puts 8 bytes under a key of 8 bytes, and calls shmkv_sync()
 * together  N threads do the same, 16 unless told; each waits for its own sync
 *
 * They take turns in slices of S / R seconds, so that a machine or disk that drifts does so for
 * all three; ratios are medians of the rounds, rates are over all of them.  A commit of
 * so little waits for the disk once (image_carry.c).  --no-keeper: no thread keeps the image open,
 * as in a process that opted out: each sync opens it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib_clock.h"
#include "shmkv.h"

#define PAGE 4096u
#define PAGES 256u
#define THREADS_MAX 64u
#define ROUNDS_MAX 100u
#define WARM 20u

enum kind { KIND_BARE, KIND_ONE, KIND_TOGETHER, KINDS };
static const char *const kind_names[KINDS] = {"bare", "one", "together"};

struct thread {
    pthread_t id;
    struct shmkv *db;
    uint64_t number, until_ns, done;
};

static char directory[200], image[240], bare[240];

static void fail(const char *what)
{
    fprintf(stderr, "sync: %s: %s\n", what, shmkv_last_error());
    exit(3);
}

static void fail_system(const char *what)
{
    fprintf(stderr, "sync: ");
    perror(what);
    exit(3);
}

/* ---- the slices ---------------------------------------------------------------------------- */

static void write_page(int fd, uint64_t i)
{
    char page[PAGE];
    memset(page, (int)i, sizeof(page));
    if (pwrite(fd, page, sizeof(page), (off_t)(i % PAGES * PAGE)) != (ssize_t)sizeof(page))
        fail_system("writing a page");
}

static int open_bare(void)
{
    int fd = open(bare, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        fail_system("making a file");
    for (uint64_t i = 0; i < PAGES; i++)
        write_page(fd, i);
    if (fsync(fd) != 0)
        fail_system("fsync");
    return fd;
}

static uint64_t run_bare(int fd, uint64_t until_ns)
{
    uint64_t i = 0;
    for (; clock_ns() < until_ns; i++) {
        write_page(fd, i);
        if (fdatasync(fd) != 0)
            fail_system("fdatasync");
    }
    return i;
}

static void put_and_sync(struct shmkv *db, uint64_t key, uint64_t value)
{
    if (shmkv_put(db, &key, sizeof(key), &value, sizeof(value), NULL) != 0)
        fail("put");
    if (shmkv_sync(db, -1) != 0)
        fail("sync");
}

static void *run_thread(void *arg)
{
    struct thread *t = arg;
    for (; clock_ns() < t->until_ns; t->done++)
        put_and_sync(t->db, t->number << 32 | t->done, t->done);
    return NULL;
}

static uint64_t run_threads(struct shmkv *db, unsigned n, uint64_t until_ns)
{
    struct thread threads[THREADS_MAX] = {0};
    uint64_t done = 0;
    for (unsigned i = 0; i < n; i++) {
        threads[i] = (struct thread){.db = db, .number = i, .until_ns = until_ns};
        if (pthread_create(&threads[i].id, NULL, run_thread, &threads[i]) != 0)
            fail_system("starting a thread");
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(threads[i].id, NULL);
        done += threads[i].done;
    }
    return done;
}

/* ---- the rounds ---------------------------------------------------------------------------- */

static struct shmkv *open_store(uint32_t flags)
{
    struct shmkv *db;
    struct shmkv_options o = {.flags = flags | SHMKV_CREATE, .size = 64u << 20};
    if (shmkv_open(image, &o, &db) != 0)
        fail("open");
    put_and_sync(db, 0, 0);
    clock_sleep_ms(300); /* the keeper has begun */
    for (uint64_t i = 0; i < WARM; i++)
        put_and_sync(db, 0, i);
    return db;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_ratio(double (*rates)[KINDS], unsigned rounds, enum kind of, enum kind to)
{
    double ratios[ROUNDS_MAX] = {0};
    for (unsigned i = 0; i < rounds; i++)
        ratios[i] = rates[i][of] / rates[i][to];
    qsort(ratios, rounds, sizeof(*ratios), compare);
    return ratios[rounds / 2];
}

static double run_slice(enum kind kind, int fd, struct shmkv *db, unsigned threads, double seconds)
{
    uint64_t begun = clock_ns(), until = begun + (uint64_t)(seconds * 1e9);
    uint64_t done = kind == KIND_BARE ? run_bare(fd, until)
                                      : run_threads(db, kind == KIND_ONE ? 1 : threads, until);
    return (double)done * 1e9 / (double)(clock_ns() - begun);
}

static void run(uint32_t flags, unsigned threads, unsigned rounds, double seconds)
{
    double rates[ROUNDS_MAX][KINDS], sums[KINDS] = {0};
    int fd = open_bare();
    struct shmkv *db = open_store(flags);
    for (unsigned i = 0; i < rounds; i++) {
        for (unsigned k = 0; k < KINDS; k++) {
            enum kind kind = (enum kind)((i + k) % KINDS);
            rates[i][kind] = run_slice(kind, fd, db, threads, seconds / rounds);
            sums[kind] += rates[i][kind];
        }
    }
    for (unsigned k = 0; k < KINDS; k++)
        printf("%-8s %10.0f per second\n", kind_names[k], sums[k] / rounds);
    printf("one sync costs %.2f bare ones\n", median_ratio(rates, rounds, KIND_BARE, KIND_ONE));
    printf("%u threads sync %.2f times as often as one\n", threads,
           median_ratio(rates, rounds, KIND_TOGETHER, KIND_ONE));
    shmkv_close(db);
    close(fd);
}

/* ---- main ---------------------------------------------------------------------------------- */

static int usage(void)
{
    fprintf(stderr, "usage: sync [--seconds S] [--rounds R] [--threads N] [--dir DIRECTORY] "
                    "[--no-keeper]\n");
    return 2;
}

static void make_directory(const char *where)
{
    snprintf(directory, sizeof(directory), "%s/shmkv-sync-XXXXXX", where);
    if (mkdtemp(directory) == NULL)
        fail_system("making a directory");
    snprintf(image, sizeof(image), "%s/store", directory);
    snprintf(bare, sizeof(bare), "%s/bare", directory);
}

static void remove_directory(void)
{
    shmkv_destroy(image, NULL, 0);
    unlink(bare);
    rmdir(directory);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seconds", required_argument, NULL, 's'}, {"rounds", required_argument, NULL, 'r'},
        {"threads", required_argument, NULL, 'n'}, {"dir", required_argument, NULL, 'd'},
        {"no-keeper", no_argument, NULL, 'k'},     {0}};
    double seconds = 2;
    unsigned long rounds = 8, threads = 16;
    const char *where = "/tmp";
    uint32_t flags = 0;
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 's':
            seconds = strtod(optarg, NULL);
            break;
        case 'r':
            rounds = strtoul(optarg, NULL, 10);
            break;
        case 'n':
            threads = strtoul(optarg, NULL, 10);
            break;
        case 'd':
            where = optarg;
            break;
        case 'k':
            flags = SHMKV_NO_KEEPER;
            break;
        default:
            return usage();
        }
    }
    if (optind != argc || seconds <= 0 || rounds - 1 >= ROUNDS_MAX || threads - 1 >= THREADS_MAX)
        return usage();
    make_directory(where);
    run(flags, (unsigned)threads, (unsigned)rounds, seconds);
    remove_directory();
    return 0;
}
