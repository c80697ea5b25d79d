/* SPDX-License-Identifier: MIT */
/*
 * test_release.c - memory is given back, and reads as zero, where MADV_REMOVE is only pretended
 * (qemu-user) or refused (kernels in user space, locked memory) as well as here, and where the
 * system fails now and then.
 *
 * The program's madvise() and fallocate() take the place of the C library's, also for the library
 * under test.  What the system does is found out once in a process, so each case is one of its own.
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "audit.h"
#include "child.h"

#define MIB (1u << 20)
#define LIMIT_MS 60000u
#define KEYS 20000u
#define ROUNDS 4u

enum remove { REMOVES, PRETENDS, REFUSES, LOCKS, FAILS };

static enum remove how;
static unsigned asked;

int madvise(void *start, size_t bytes, int advice)
{
    if (advice == MADV_REMOVE)
        asked++;
    if (advice == MADV_REMOVE && how == PRETENDS)
        return 0;
    if (advice == MADV_REMOVE && (how == REFUSES || (how == FAILS && asked % 3 != 1))) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_madvise, start, bytes, advice);
}

int fallocate(int fd, int mode, off_t offset, off_t bytes)
{
    if (how == FAILS) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, bytes);
}

static int come_and_go(struct shmkv *db, uint64_t first)
{
    char value[500] = "";
    int rc = 0;
    for (uint64_t n = first; rc == 0 && n < first + KEYS; n++)
        rc = shmkv_put(db, &n, sizeof(n), value, sizeof(value), NULL);
    for (uint64_t n = first; rc == 0 && n < first + KEYS; n++)
        rc = shmkv_delete(db, &n, sizeof(n));
    return rc;
}

static unsigned free_areas(const struct arena *a)
{
    unsigned n = 0;
    for (unsigned i = 0; i < TABLE_AREAS; i++)
        n += load_acquire(&a->tables[i].state) == TABLE_FREE;
    return n;
}

/* Tables in areas that had others, segments given back: nothing of before is in the way. */
static int use(void *arg)
{
    const struct fixture *f = arg;
    struct shmkv *db;
    struct shmkv_stats stats;
    child_assert(shmkv_open(f->name, NULL, &db) == 0);
    if (how == LOCKS)
        child_assert(mlockall(MCL_CURRENT | MCL_ONFAULT) == 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        child_assert(come_and_go(db, round * KEYS) == 0);
        child_assert(shmkv_compact(db) == 0);
    }
    const struct arena *a = audit_arena(db);
    uint64_t before = arena_allocated(a);
    child_assert(arena_take(a, a->log_offset + a->log_bytes - MIB, MIB) == 0);
    child_assert(arena_allocated(a) == before + MIB);
    while (arena_release(a, a->log_offset + a->log_bytes - MIB, MIB) != 0)
        child_assert(how == FAILS);
    child_assert(arena_allocated(a) == before);
    child_assert(free_areas(a) >= TABLE_AREAS - 3); /* the root, and what failed the last time */
    child_assert(shmkv_get_stats(db, &stats) == 0);
    child_assert(stats.keys == 0 && stats.resizes > TABLE_AREAS / 4);
    child_assert(shmkv_check(db, NULL, NULL) == 0);
    child_assert((how == PRETENDS || how == REFUSES) == (asked == 1)); /* the one that finds out */
    child_assert(shmkv_close(db) == 0);
    return 0;
}

static void memory_comes_back(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(child_wait(child_start(use, f), LIMIT_MS), 0);
}

static void where_removal_is_pretended(void **state)
{
    how = PRETENDS;
    memory_comes_back(state);
}

static void where_removal_is_refused(void **state)
{
    how = REFUSES;
    memory_comes_back(state);
}

/* A program that may not be paged out has called mlockall(2). */
static void where_memory_is_locked(void **state)
{
    how = LOCKS;
    memory_comes_back(state);
}

/* What failed is tried again: an area is not lost for it. */
static void where_removal_fails_now_and_then(void **state)
{
    how = FAILS;
    memory_comes_back(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(memory_comes_back),
        FIXTURE(where_removal_is_pretended),
        FIXTURE(where_removal_is_refused),
        FIXTURE(where_memory_is_locked),
        FIXTURE(where_removal_fails_now_and_then),
    };
    return cmocka_run_group_tests_name("release", tests, NULL, NULL);
}
