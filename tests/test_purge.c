/* SPDX-License-Identifier: MIT */
/*
 * test_purge.c - keys come and go for ever in a store that is nearly full, and has no keeper: the
 * resizes that give tombstones' slots back are shared by many writes, memory and all.
 *
 * What one call does is counted, not timed: a put that meets an unfinished purge with the last
 * ticket moves every key of the store.
 */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "blob.h"
#include "stats.h"

#define MIB (1u << 20)
#define VALUE 40u
#define PURGES 2u
#define MOST_CALLS 2000000u
#define CHURNED 20000u

static const struct shmkv_options unkept = {
    .flags = SHMKV_NO_KEEPER, .size = 24 * MIB, .reserve = 110000};

/* The keys that are there, in no order. */
struct keys {
    uint64_t *list, count, next;
};

static uint64_t live_bytes(struct shmkv *db)
{
    struct shmkv_stats s;
    assert_rc(shmkv_get_stats(db, &s), 0);
    return s.live_bytes;
}

static uint64_t admitted(struct shmkv *db)
{
    struct segment_census census;
    segment_count(audit_arena(db), &census);
    return census.admitted;
}

static int put_number(struct shmkv *db, uint64_t n)
{
    char value[VALUE] = "";
    return shmkv_put(db, &n, sizeof(n), value, sizeof(value), NULL);
}

static void add(struct shmkv *db, struct keys *k)
{
    assert_rc(put_number(db, k->next), 0);
    k->list[k->count++] = k->next++;
}

static void fill(struct shmkv *db, struct keys *k, unsigned percent)
{
    while (live_bytes(db) < admitted(db) / 100 * percent) {
        for (unsigned i = 0; i < 100; i++)
            add(db, k);
    }
}

/* One call: an overwrite, a removal, or a new key. */
static void change(struct shmkv *db, struct keys *k, uint64_t i, uint64_t *random)
{
    uint64_t at = blob_random(random) % max_u64(k->count, 1);
    if (i % 5 == 0)
        assert_rc(put_number(db, k->list[at]), 0);
    else if (i % 5 % 2 == 0)
        add(db, k);
    else {
        assert_rc(shmkv_delete(db, &k->list[at], sizeof(k->list[at])), 0);
        k->list[at] = k->list[--k->count];
    }
}

/* Counters of what a call did for all. */
struct work {
    uint64_t moved, relocated, resizes;
};

static struct work work_of(struct shmkv *db)
{
    uint64_t sums[STAT_COUNT];
    stats_sum(audit_arena(db), sums);
    return (struct work){.moved = sums[STAT_slots_moved],
                         .relocated = sums[STAT_relocations],
                         .resizes = sums[STAT_resizes]};
}

/* Until the index was purged some times; no call may do half of a purge. */
static void churn(struct shmkv *db, unsigned percent)
{
    struct keys k = {.list = calloc(unkept.size / 32, sizeof(uint64_t))};
    uint64_t random = percent, moved = 0, relocated = 0, i = 0;
    fill(db, &k, percent);
    struct work begin = work_of(db), last = begin;
    for (; last.resizes < begin.resizes + PURGES && i < MOST_CALLS / FIXTURE_SLOWNESS; i++) {
        change(db, &k, i, &random);
        struct work now = work_of(db);
        moved = max_u64(moved, now.moved - last.moved);
        relocated = max_u64(relocated, now.relocated - last.relocated);
        last = now;
    }
    print_message("# %u %% of what is admitted, %llu keys, %llu slots: %llu purges in %llu calls, "
                  "of which one "
                  "moved at most %llu slots and %llu records\n",
                  percent, (unsigned long long)k.count,
                  (unsigned long long)table_of(audit_arena(db), table_root(audit_arena(db)))->slots,
                  (unsigned long long)(last.resizes - begin.resizes), (unsigned long long)i,
                  (unsigned long long)moved, (unsigned long long)relocated);
    assert_true(last.resizes == begin.resizes + PURGES || FIXTURE_SLOWNESS != 1);
    assert_in_range(moved, 0, k.count / 2);
    assert_in_range(relocated, 0, k.count / 2);
    for (uint64_t j = 0; j < k.count; j++)
        assert_rc(shmkv_exists(db, &k.list[j], sizeof(k.list[j])), 0);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
    free(k.list);
}

static void purges_are_shared_at_80_percent(void **state)
{
    churn(fixture_db(state), 80);
}

static void purges_are_shared_at_95_percent(void **state)
{
    churn(fixture_db(state), 95);
}

/* ---- what a tombstone weighs --------------------------------------------------------------- */

static void count_line(void *arg, const char *line)
{
    print_message("# %s\n", line);
    ++*(unsigned *)arg;
}

/* The cleaner drops it, so it is dead from the beginning, and once: also if its key comes again. */
static void a_tombstone_weighs_nothing(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t random = 1;
    unsigned lines = 0;
    for (uint64_t n = 0; n < CHURNED; n++)
        assert_rc(put_number(db, n), 0);
    uint64_t before = live_bytes(db);
    for (uint64_t n = 0; n < CHURNED; n += 2)
        assert_rc(shmkv_delete(db, &n, sizeof(n)), 0);
    assert_int_equal(live_bytes(db), before / 2);
    for (uint64_t n = 0; n < CHURNED; n += 4)
        assert_rc(put_number(db, n), 0);
    assert_int_equal(live_bytes(db), before / 4 * 3);
    for (unsigned i = 0; i < 10 * CHURNED; i++) { /* the index is resized, segments are cleaned */
        uint64_t n = blob_random(&random) % CHURNED;
        int rc = i % 2 == 0 ? put_number(db, n) : shmkv_delete(db, &n, sizeof(n));
        assert_true(rc == 0 || rc == SHMKV_ENOTFOUND);
    }
    assert_rc(shmkv_compact(db), 0);
    assert_rc(shmkv_check(db, count_line, &lines), 0);
    assert_int_equal(lines, 0); /* no counter is off, either */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(purges_are_shared_at_80_percent, &unkept),
        FIXTURE_WITH(purges_are_shared_at_95_percent, &unkept),
        FIXTURE_WITH(a_tombstone_weighs_nothing, &unkept),
    };
    return cmocka_run_group_tests_name("purge", tests, NULL, NULL);
}
