/* SPDX-License-Identifier: MIT */
/*
 * test_queue.c - keys that come once and go: what they leave must not add up.
 *
 * With SHMKV_TEST_FULL in the environment ten times as many, over cold data ten million.
 */
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "blob.h"
#include "clock.h"
#include "hash.h"
#include "lap.h"

#define MIB (1u << 20)
#define MS 1000000ull
#define PAIRS 500000u
#define FEWER (PAIRS / FIXTURE_SLOWNESS) /* where a pair takes long */
#define VALUE 100u
#define PATIENCE_MS (200u * FIXTURE_PATIENCE) /* no call may take longer */

static const struct shmkv_options medium = {.flags = SHMKV_NO_KEEPER, .size = 16 * MIB};
static const struct shmkv_options kept = {.size = 16 * MIB};
static const struct shmkv_options large_index = {
    .flags = SHMKV_NO_KEEPER, .size = 64 * MIB, .reserve = 1000000};

static uint64_t scaled(uint64_t n)
{
    return getenv("SHMKV_TEST_FULL") != NULL ? n * 10 : n;
}

/* Over cold data: what is moved for each pair must stay little however long it goes on. */
static uint64_t cold_pairs(void)
{
    return getenv("SHMKV_TEST_FULL") != NULL ? 10000000 : FEWER;
}

static struct shmkv_stats stats_of(struct shmkv *db)
{
    struct shmkv_stats stats;
    assert_rc(shmkv_get_stats(db, &stats), 0);
    return stats;
}

static void put_number(struct shmkv *db, uint64_t n)
{
    char value[VALUE] = "";
    assert_rc(shmkv_put(db, &n, sizeof(n), value, sizeof(value), NULL), 0);
}

static void delete_number(struct shmkv *db, uint64_t n)
{
    assert_rc(shmkv_delete(db, &n, sizeof(n)), 0);
}

/* ---- queues -------------------------------------------------------------------------------- */

/* @depth keys are there at a time; returns the longest call. */
static uint64_t run_queue(struct shmkv *db, uint64_t first, uint64_t pairs, uint64_t depth)
{
    uint64_t longest = 0;
    struct lap lap;
    lap_open(&lap);
    for (uint64_t n = first; n < first + pairs; n++) {
        lap_begin(&lap);
        put_number(db, n);
        if (n >= first + depth)
            delete_number(db, n - depth);
        uint64_t took = lap_used_ns(lap_end(&lap));
        longest = took > longest ? took : longest;
    }
    lap_close(&lap);
    for (uint64_t n = first + pairs - depth; n < first + pairs; n++)
        delete_number(db, n);
    return longest;
}

static void report(const char *name, struct shmkv *db, uint64_t pairs, uint64_t longest)
{
    struct shmkv_stats s = stats_of(db);
    print_message(
        "# %s: %llu slots, %llu resizes, %llu segments cleaned, %.2f relocations per pair, "
        "longest pair %.1f ms\n",
        name, (unsigned long long)s.slots, (unsigned long long)s.resizes,
        (unsigned long long)s.segments_cleaned, (double)s.relocations / (double)pairs,
        (double)longest / 1e6);
    assert_true(longest < PATIENCE_MS * MS);
}

static void a_queue_does_not_grow_the_index(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t longest = run_queue(db, 0, scaled(PAIRS) / 5, 1);
    uint64_t slots = stats_of(db).slots;
    for (int round = 0; round < 4; round++) {
        uint64_t took = run_queue(db, 0, scaled(PAIRS) / 5, 1);
        longest = took > longest ? took : longest;
        assert_true(stats_of(db).slots <= slots * 2);
    }
    report("queue", db, scaled(PAIRS), longest);
    assert_true(stats_of(db).slots <= 262144); /* some milliseconds of puts */
}

static void a_long_queue(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t longest = run_queue(db, 0, scaled(PAIRS), 10000);
    report("queue of 10000", db, scaled(PAIRS), longest);
    assert_true(stats_of(db).slots <= 262144);
}

/* A section is begun and held again and again; tables and segments wait for it. */
struct holder {
    struct shmkv *db;
    uint64_t hold_ns;
    _Atomic bool stop;
};

static void *hold_sections(void *arg)
{
    struct holder *h = arg;
    while (!atomic_load(&h->stop)) {
        struct shmkv_section section;
        assert_rc(shmkv_begin(h->db, &section), 0);
        clock_sleep_ns(h->hold_ns);
        shmkv_end(&section);
    }
    return NULL;
}

static void a_queue_beside_a_reader(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct holder h = {.db = db, .hold_ns = 30 * MS};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, hold_sections, &h), 0);
    uint64_t longest = run_queue(db, 0, PAIRS / 2, 1);
    atomic_store(&h.stop, true);
    pthread_join(thread, NULL);
    report("queue beside sections of 30 ms", db, PAIRS / 2, longest);
}

/* It holds back all memory that is retired meanwhile, but neither resizes nor writes. */
static void a_queue_beside_a_standing_section(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_reader *reader;
    struct shmkv_section section;
    assert_rc(shmkv_reader_open(db, &reader), 0);
    assert_rc(shmkv_reader_begin(reader, &section), 0);
    uint64_t longest = run_queue(db, 0, FEWER / 4, 1);
    report("queue beside a standing section", db, FEWER / 4, longest);
    shmkv_end(&section);
    shmkv_reader_close(reader);
    longest = run_queue(db, 0, FEWER, 1);
    report("queue afterwards", db, FEWER, longest);
    assert_true(stats_of(db).slots <= 524288);
}

/* ---- beside cold data ---------------------------------------------------------------------- */

static uint64_t admitted(struct shmkv *db)
{
    struct segment_census census;
    segment_count(audit_arena(db), &census);
    return census.admitted;
}

/* Fill @percent of what the store admits with keys that stay. */
static uint64_t fill_cold(struct shmkv *db, unsigned percent)
{
    uint64_t n = 0;
    while (stats_of(db).live_bytes < admitted(db) / 100 * percent) {
        for (int i = 0; i < 100; i++)
            put_number(db, (1ull << 40) + n++);
    }
    return n;
}

static void queue_over_cold_data(struct shmkv *db, unsigned percent)
{
    char name[40];
    uint64_t pairs = cold_pairs();
    uint64_t cold = fill_cold(db, percent);
    struct shmkv_stats before = stats_of(db);
    uint64_t longest = run_queue(db, 0, pairs, 1);
    snprintf(name, sizeof(name), "queue over %u %% cold data", percent);
    report(name, db, pairs, longest);
    assert_true(stats_of(db).slots <= before.slots * 4);
    assert_true((stats_of(db).relocations - before.relocations) * 5 <= pairs);
    for (uint64_t n = 0; n < cold; n++)
        assert_rc(shmkv_exists(db, &(uint64_t){(1ull << 40) + n}, sizeof(n)), 0);
}

static void a_queue_over_80_percent_cold_data(void **state)
{
    queue_over_cold_data(fixture_db(state), 80);
}

static void a_queue_over_90_percent_cold_data(void **state)
{
    queue_over_cold_data(fixture_db(state), 90);
}

/* Few slots are used by tombstones, but most of the memory. */
static void long_keys_in_a_large_index(void **state)
{
    struct shmkv *db = fixture_db(state);
    char *key = calloc(1, 1000);
    uint64_t pairs = scaled(FEWER / 2);
    for (uint64_t n = 0; n < pairs; n++) {
        memcpy(key, &n, sizeof(n));
        assert_rc(shmkv_put(db, key, 1000, "v", 1, NULL), 0);
        assert_rc(shmkv_delete(db, key, 1000), 0);
    }
    free(key);
    report("queue of long keys in a large index", db, pairs, 0);
}

/* ---- hash flooding ------------------------------------------------------------------------- */

#define FLOOD 3000u
#define FLOOD_BITS 10u

/* Keys whose hashes under a known seed (0) begin with the same bits: one long probe there. */
static void find_flood(uint64_t *keys, const struct hash_secret *known)
{
    uint64_t n = 0;
    for (unsigned found = 0; found < FLOOD; n++) {
        if (hash_key(&n, sizeof(n), known) >> (64 - FLOOD_BITS) == 1)
            keys[found++] = n;
    }
}

/* The largest share of the keys that one sixteenth of the table gets; 1/16 would be even. */
static unsigned crowding(const uint64_t *keys, const struct hash_secret *secret)
{
    unsigned count[16] = {0}, most = 0;
    for (unsigned i = 0; i < FLOOD; i++) {
        unsigned *c = &count[hash_key(&keys[i], sizeof(keys[i]), secret) >> 60];
        most = ++*c > most ? *c : most;
    }
    return most;
}

static void keys_that_collide_elsewhere_do_not_here(void **state)
{
    struct shmkv *db = fixture_db(state);
    static uint64_t keys[FLOOD];
    struct hash_secret known;
    hash_init(&known, 0);
    find_flood(keys, &known);
    assert_int_equal(crowding(keys, &known), FLOOD); /* under the known seed they do */
    assert_true(crowding(keys, &audit_arena(db)->hash_secret) < FLOOD / 16 * 2);
    for (unsigned i = 0; i < FLOOD; i++)
        put_number(db, keys[i]);
    struct fixture other;
    fixture_begin(&other, &medium);
    assert_true(audit_arena(other.db)->sb->hash_seed != audit_arena(db)->sb->hash_seed);
    fixture_end(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(a_queue_does_not_grow_the_index, &medium),
        FIXTURE_WITH(a_long_queue, &medium),
        FIXTURE_WITH(a_queue_beside_a_reader, &kept),
        FIXTURE(a_queue_beside_a_standing_section),
        FIXTURE_WITH(a_queue_over_80_percent_cold_data, &medium),
        FIXTURE_WITH(a_queue_over_90_percent_cold_data, &medium),
        FIXTURE_WITH(long_keys_in_a_large_index, &large_index),
        FIXTURE_WITH(keys_that_collide_elsewhere_do_not_here, &medium),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
