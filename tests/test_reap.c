/* SPDX-License-Identifier: MIT */
/* test_reap.c - what a dead process left is finished, once or again; see reap.h. */
#include "writers.h"

#include <string.h>

#include "reap.h"
#include "stats.h"

static void reap(const struct arena *a)
{
    reap_process((void *)(uintptr_t)a, NO_PROCESS);
}

static uint64_t used_of(const struct arena *a, uint64_t id)
{
    return load_acquire(&segment_at(a, id)->used);
}

static unsigned kind_of(const struct arena *a, uint64_t id)
{
    return claim_kind(load_acquire(&segment_at(a, id)->state));
}

/* ---- 1. the record in flight --------------------------------------------------------------- */

/*
 * A put that died in its write section: the record stands at its end of the log; what it had done
 * of the rest is @published, @marked and @counted.
 */
struct death {
    bool published, marked, counted;
};

static uint64_t die_in_a_put(struct writer *w, const char *key, struct death how)
{
    const struct arena *a = w->self.arena;
    struct index_change c = writer_change_of(a, key, "in flight");
    assert_int_equal(append_reserve(&w->puts, &w->self, SEGMENT_FOR_PUT, c.bytes), 0);
    uint64_t at = w->puts.at, used = used_of(a, w->puts.hold.id);
    struct record *r = arena_at(a, at);
    if (how.published)
        assert_int_equal(index_write(w, &c), 0);
    else
        record_seal(r, record_write(r, &c.spec), 1ull << 40, w->puts.seed);
    if (!how.marked)
        store_seq_cst(&r->state, 0);
    if (!how.counted)
        store_seq_cst(&segment_at(a, w->puts.hold.id)->used, used);
    epoch_enter_write(&w->self);
    store_release(&w->self.entry->inflight, at);
    return at;
}

static void a_published_record_is_counted(void **state)
{
    static const struct death deaths[] = {
        {true, false, false}, {true, true, false}, {true, true, true}};
    const struct arena *a = fixture_arena(state);
    struct writer living, dead;
    writer_begin(&living, a, writers_process(state));
    for (unsigned i = 0; i < ARRAY_SIZE(deaths); i++) {
        writer_begin(&dead, a, NO_PROCESS);
        writer_put(&dead, "before", "decided");
        uint64_t at = die_in_a_put(&dead, "k", deaths[i]), id = dead.puts.hold.id;
        uint64_t end = at + record_bytes(1, 9, false) - arena_segment_start(a, id);
        reap(a);
        assert_int_equal(used_of(a, id), end);
        assert_int_equal(kind_of(a, id), SEGMENT_PARTIAL);
        writer_put(&living, "l", "behind it"); /* adopts the segment */
        assert_true(living.puts.hold.id == id);
        assert_memory_equal(record_value(record_found(&living, "k")), "in flight", 9);
        writer_delete(&living, "k");
        append_close(&living.puts, a);
    }
    writer_end(&living);
}

static void a_superseded_record_is_counted_by_its_mark(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer living, dead;
    writer_begin(&living, a, writers_process(state));
    writer_begin(&dead, a, NO_PROCESS);
    uint64_t at = die_in_a_put(&dead, "k", (struct death){true, false, false});
    uint64_t id = dead.puts.hold.id;
    writer_put(&living, "k", "younger"); /* marks what it supersedes */
    reap(a);
    assert_int_equal(used_of(a, id), at + record_bytes(1, 9, false) - arena_segment_start(a, id));
    assert_memory_equal(record_value(record_found(&living, "k")), "younger", 7);
    writer_end(&living);
}

/* R9: else a cleaner would find it later, and a tombstone of the key would not outlive it. */
static void a_void_record_is_not_counted(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer living, dead;
    writer_begin(&living, a, writers_process(state));
    for (int torn = 0; torn < 2; torn++) {
        writer_begin(&dead, a, NO_PROCESS);
        writer_put(&dead, "before", "decided");
        uint64_t used = used_of(a, dead.puts.hold.id), id = dead.puts.hold.id;
        uint64_t at = die_in_a_put(&dead, "k", (struct death){false, torn, false});
        if (torn) /* its mark stands there by chance */
            ((struct record *)arena_at(a, at))->version ^= 1;
        reap(a);
        assert_int_equal(used_of(a, id), used);
        assert_null(record_found(&living, "k"));
        writer_put(&living, "l", "over it");
        assert_true(offset_of(a, record_found(&living, "l")) == at);
        append_close(&living.puts, a);
    }
    writer_end(&living);
}

/* The word may be scribbled: nothing is followed out of the log. */
static void a_wild_record_in_flight_is_void(void **state)
{
    static const uint64_t wild[] = {8, 4096, 1ull << 47, UINT64_MAX, UINT64_MAX - 32};
    const struct arena *a = fixture_arena(state);
    for (unsigned i = 0; i < ARRAY_SIZE(wild); i++) {
        struct writer dead;
        writer_begin(&dead, a, NO_PROCESS);
        store_release(&dead.self.entry->inflight, wild[i]);
        reap(a);
        assert_true(load_acquire(&dead.self.entry->owner) == 0);
    }
}

/* ---- 2. claims, 4. the entry --------------------------------------------------------------- */

static void everything_claimed_is_given_back(void **state)
{
    struct shmkv *db = fixture_db(state);
    const struct arena *a = fixture_arena(state);
    struct writer dead;
    struct table *t;
    put_text(db, "mine", "stays");
    writer_begin(&dead, a, NO_PROCESS);
    writer_put(&dead, "k", "v");
    assert_int_equal(
        append_reserve(&dead.moves, &dead.self, SEGMENT_FOR_CLEANING, a->segment_mask + 1), 0);
    assert_int_equal(table_claim(&dead.self, 1024, &t), 0);
    uint64_t puts = dead.puts.hold.id, moves = dead.moves.hold.id;
    assert_true(puts != moves);
    epoch_enter(&dead.self);
    epoch_enter_write(&dead.self);
    uint64_t e = epoch_retire(a);
    assert_true(grace_pass(a) < e);
    reap(a);
    assert_int_equal(kind_of(a, puts), SEGMENT_PARTIAL);
    assert_int_equal(kind_of(a, moves), SEGMENT_FREE); /* nothing was put there */
    assert_int_equal(claim_kind(load_acquire(&t->state)), TABLE_FREE);
    assert_true(load_acquire(&dead.self.entry->owner) == 0);
    assert_true(grace_pass(a) >= e);
    assert_int_equal(audit_claims(db), 0);
    assert_text(db, "mine", "stays");
    assert_text(db, "k", "v");
}

/* Threads of other processes, and its own that have left, are none of its business. */
static void only_the_dead_ones_participants(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer living, dead[3], other;
    writer_begin(&dead[0], a, NO_PROCESS);
    writer_begin(&living, a, writers_process(state));
    writer_begin(&dead[1], a, NO_PROCESS);
    writer_begin(&other, a, NO_PROCESS + 1);
    writer_begin(&dead[2], a, NO_PROCESS);
    writer_put(&living, "l", "v");
    writer_put(&other, "o", "v");
    uint64_t outer = epoch_enter(&living.self);
    epoch_enter_write(&other.self);
    store_release(&other.self.entry->inflight, a->log_offset);
    reap(a);
    for (int i = 0; i < 3; i++)
        assert_true(load_acquire(&dead[i].self.entry->owner) == 0);
    assert_true(load_acquire(&living.self.entry->owner) == writers_process(state) + 1);
    assert_true(load_acquire(&living.self.entry->reading) != 0);
    assert_true(segment_held(a, &living.puts.hold));
    assert_true(load_acquire(&other.self.entry->owner) == NO_PROCESS + 2);
    assert_true(load_acquire(&other.self.entry->writing) != 0);
    assert_true(load_acquire(&other.self.entry->inflight) == a->log_offset);
    assert_true(segment_held(a, &other.puts.hold));
    epoch_exit(&living.self, outer);
    writer_end(&living);
}

static void repeated_it_does_nothing(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer living, dead;
    uint64_t once[STAT_COUNT], again[STAT_COUNT];
    writer_begin(&living, a, writers_process(state));
    writer_begin(&dead, a, NO_PROCESS);
    die_in_a_put(&dead, "k", (struct death){true, false, false});
    uint64_t id = dead.puts.hold.id;
    reap(a);
    uint64_t used = used_of(a, id);
    writer_put(&living, "l", "v"); /* somebody has the segment already */
    assert_true(living.puts.hold.id == id && used_of(a, id) > used);
    used = used_of(a, id);
    stats_sum(a, once);
    reap(a);
    stats_sum(a, again);
    assert_int_equal(used_of(a, id), used);
    assert_true(segment_held(a, &living.puts.hold));
    once[STAT_reaped]++;
    assert_memory_equal(once, again, sizeof(once));
    writer_end(&living);
}

static void what_the_dead_counted_stays_counted(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer dead;
    uint64_t before[STAT_COUNT], after[STAT_COUNT];
    writer_begin(&dead, a, NO_PROCESS);
    for (char key[] = "a"; key[0] < 'k'; key[0]++)
        writer_put(&dead, key, "v");
    stats_sum(a, before);
    reap(a);
    stats_sum(a, after);
    before[STAT_reaped]++;
    assert_memory_equal(before, after, sizeof(before));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(a_published_record_is_counted),
        FIXTURE(a_superseded_record_is_counted_by_its_mark),
        FIXTURE(a_void_record_is_not_counted),
        FIXTURE(a_wild_record_in_flight_is_void),
        FIXTURE(everything_claimed_is_given_back),
        FIXTURE(only_the_dead_ones_participants),
        FIXTURE(repeated_it_does_nothing),
        FIXTURE(what_the_dead_counted_stays_counted),
    };
    return cmocka_run_group_tests_name("reap", tests, NULL, NULL);
}
