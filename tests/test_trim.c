/* SPDX-License-Identifier: MIT */
/* test_trim.c - memory that a store does not need any more goes back unasked; trim.h. */
#include "fixture.h"

#include <stdio.h>

#include "arena.h"
#include "audit.h"
#include "clock.h"

#define MIB (1u << 20)
#define MS 1000000ull
#define KEYS 200000u
#define LIMIT_MS 30000u

static const struct shmkv_options growing = {.flags = SHMKV_KEEPER, .size = 96 * MIB};
static const struct shmkv_options reserved = {
    .flags = SHMKV_KEEPER, .size = 96 * MIB, .reserve = 500000};

static struct shmkv_stats stats_of(struct shmkv *db)
{
    struct shmkv_stats stats;
    assert_rc(shmkv_get_stats(db, &stats), 0);
    return stats;
}

static void put_all(struct shmkv *db, uint64_t first, uint64_t end)
{
    char value[200] = "";
    for (uint64_t n = first; n < end; n++)
        assert_rc(shmkv_put(db, &n, sizeof(n), value, sizeof(value), NULL), 0);
}

/* Every key but each 50th. */
static void delete_most(struct shmkv *db)
{
    for (uint64_t n = 0; n < KEYS; n++) {
        if (n % 50 != 0)
            assert_rc(shmkv_delete(db, &n, sizeof(n)), 0);
    }
}

/* Segments may come back before the index does, and memory before the account of it (INV-S2). */
static bool falls_below(struct shmkv *db, uint64_t bytes, uint64_t slots)
{
    uint64_t end = clock_mono_ns() + LIMIT_MS * MS;
    for (;;) {
        uint64_t allocated = arena_allocated(audit_arena(db));
        struct shmkv_stats s = stats_of(db);
        bool fell = allocated <= bytes && s.memory <= bytes && s.slots <= slots;
        if (fell || clock_mono_ns() >= end) {
            print_message("# %llu bytes, %llu by its own account, and %llu slots are left\n",
                          (unsigned long long)allocated, (unsigned long long)s.memory,
                          (unsigned long long)s.slots);
            return fell;
        }
        clock_sleep_ns(50 * MS);
    }
}

static void deleting_gives_memory_back(void **state)
{
    struct shmkv *db = fixture_db(state);
    put_all(db, 0, KEYS);
    uint64_t before = arena_allocated(audit_arena(db));
    struct shmkv_stats full = stats_of(db);
    assert_true(before > 50ull * MIB);
    delete_most(db);
    assert_true(falls_below(db, before / 5, full.slots / 8));
    for (uint64_t n = 0; n < KEYS; n++)
        assert_rc(shmkv_exists(db, &n, sizeof(n)), n % 50 == 0 ? 0 : SHMKV_ENOTFOUND);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
    put_all(db, 0, KEYS); /* and it is there again when needed */
    assert_rc(shmkv_check(db, NULL, NULL), 0);
}

/* An index that was asked for waits for its keys. */
static void what_was_reserved_stays(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t slots = stats_of(db).slots;
    put_all(db, 0, 1000);
    clock_sleep_ns(3000 * MS);
    assert_true(stats_of(db).slots == slots);
    assert_true(stats_of(db).resizes == 0);
}

/* All is live: nothing to be gained, nothing is moved. */
static void a_full_store_is_left_alone(void **state)
{
    struct shmkv *db = fixture_db(state);
    put_all(db, 0, KEYS);
    uint64_t moved = stats_of(db).relocations;
    uint64_t memory = stats_of(db).memory;
    clock_sleep_ns(3000 * MS);
    assert_true(stats_of(db).relocations == moved);
    assert_true(stats_of(db).memory >= memory - memory / 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(deleting_gives_memory_back, &growing),
        FIXTURE_WITH(what_was_reserved_stays, &reserved),
        FIXTURE_WITH(a_full_store_is_left_alone, &growing),
    };
    return cmocka_run_group_tests_name("trim", tests, NULL, NULL);
}
