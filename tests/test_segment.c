/* SPDX-License-Identifier: MIT */
/* test_segment.c - who owns a segment, what is free, and how one changes hands; see segment.h. */
#include "blob.h"
#include "child.h"
#include "run.h"
#include "store.h"
#include "writers.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define SMALL (4u << 20)

static const struct shmkv_options small = {.flags = SHMKV_NO_KEEPER, .size = SMALL};

static uint64_t bytes_of(const struct arena *a)
{
    return a->segment_mask + 1;
}

static unsigned kind_of(const struct arena *a, uint64_t id)
{
    return claim_kind(load_acquire(&segment_at(a, id)->state));
}

static unsigned kinds(const struct arena *a, enum segment_kind kind)
{
    struct segment_census c;
    segment_count(a, &c);
    return (unsigned)c.kinds[kind];
}

static void set_state(const struct arena *a, uint64_t id, enum segment_kind kind, uint32_t who)
{
    max_seq_cst(&a->sb->segment_high, id + 1);
    store_seq_cst(&segment_at(a, id)->state, claim_word(kind, who, 0));
}

static void set_used(const struct arena *a, uint64_t id, uint64_t used)
{
    store_seq_cst(&segment_at(a, id)->used, used);
}

/* A fresh segment, whatever room others have. */
static int open_fresh(const struct writer *w, enum segment_purpose purpose,
                      struct segment_hold *hold)
{
    return segment_open(&w->self, purpose, bytes_of(w->self.arena), hold, NULL);
}

/* ---- INV-S1 -------------------------------------------------------------------------------- */

static void handover_from_an_idle_owner(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, "k", "first");
    uint64_t id = w.puts.hold.id, used = load_acquire(&segment_at(a, id)->used);
    assert_true(segment_held(a, &w.puts.hold));
    assert_int_equal(segment_take_idle(a), 1);
    assert_int_equal(kind_of(a, id), SEGMENT_PARTIAL);
    assert_false(segment_held(a, &w.puts.hold));
    writer_put(&w, "l", "second"); /* it notices, and adopts */
    assert_true(w.puts.hold.id == id && load_acquire(&segment_at(a, id)->used) > used);
    assert_non_null(record_found(&w, "k"));
    writer_end(&w);
}

static void handover_not_while_it_writes(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, "k", "first");
    epoch_enter_write(&w.self);
    for (int i = 0; i < 20; i++) {
        grace_pass(a); /* a younger epoch proves nothing */
        assert_int_equal(segment_take_idle(a), 0);
        assert_true(segment_held(a, &w.puts.hold));
    }
    epoch_exit_write(&w.self);
    assert_int_equal(segment_take_idle(a), 1);
    writer_end(&w);
}

/* A taker has set SEALING and is gone; the owner had begun to write. */
static void handover_waits_in_sealing(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, "k", "first");
    struct segment *s = segment_at(a, w.puts.hold.id);
    epoch_enter_write(&w.self);
    uint64_t word = w.puts.hold.word;
    assert_true(cas_seq_cst(&s->state, &word, (word & ~15ull) | SEGMENT_SEALING));
    assert_false(segment_held(a, &w.puts.hold));
    grace_pass(a);
    assert_int_equal(segment_take_idle(a), 0);
    assert_int_equal(kind_of(a, w.puts.hold.id), SEGMENT_SEALING);
    epoch_exit_write(&w.self);
    assert_int_equal(segment_take_idle(a), 1);
    assert_int_equal(kind_of(a, w.puts.hold.id), SEGMENT_PARTIAL);
    writer_end(&w);
}

/* Else who lost a segment and got it again would be taken for the one who still has it. */
static void handover_words_are_given_once(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    uint64_t words[100], id = 0;
    writer_begin(&w, a, writers_process(state));
    for (unsigned i = 0; i < 100; i++) {
        struct segment_hold hold;
        assert_int_equal(segment_open(&w.self, SEGMENT_FOR_PUT, 8, &hold, NULL), 0);
        assert_true(i == 0 || hold.id == id); /* the same one, again and again */
        id = hold.id;
        words[i] = hold.word;
        for (unsigned k = 0; k < i; k++)
            assert_true(words[k] != words[i]);
        if (i % 2 == 0)
            segment_close_owner(a, &hold);
        else
            assert_int_equal(segment_take_idle(a), 1);
    }
    writer_end(&w);
}

static void handover_of_a_pinned_one_is_refused(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_hold hold;
    writer_begin(&w, a, writers_process(state));
    assert_int_equal(open_fresh(&w, SEGMENT_FOR_PUT, &hold), 0);
    assert_true(segment_pin_owner(a, &hold));
    assert_int_equal(segment_take_idle(a), 0);
    epoch_enter_write(&w.self);
    assert_true(segment_held(a, &hold));
    epoch_exit_write(&w.self);
    uint64_t id = hold.id;
    set_used(a, id, 64);
    segment_close_owner(a, &hold);
    assert_int_equal(kind_of(a, id), SEGMENT_PARTIAL);
    assert_true(hold.id == SEGMENT_NONE);
    assert_int_equal(segment_open(&w.self, SEGMENT_FOR_PUT, 8, &hold, NULL), 0);
    assert_int_equal(segment_take_idle(a), 1); /* before it was pinned */
    assert_false(segment_pin_owner(a, &hold));
    assert_true(hold.id == SEGMENT_NONE);
    writer_end(&w);
}

static void handover_of_a_full_one_seals_it(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_hold hold;
    writer_begin(&w, a, writers_process(state));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(open_fresh(&w, SEGMENT_FOR_PUT, &hold), 0);
        uint64_t id = hold.id, rest = bytes_of(a) / 32;
        set_used(a, id, bytes_of(a) - rest + (i == 0 ? 0 : 8)); /* a 32nd is worth an owner */
        assert_int_equal(segment_take_idle(a), 1);
        assert_int_equal(kind_of(a, id), i == 0 ? SEGMENT_PARTIAL : SEGMENT_SEALED);
    }
    writer_end(&w);
}

/* ---- spares -------------------------------------------------------------------------------- */

/* As for a busy owner: @n segments filled, one after another, with records that are dead. */
static void fill_some(struct writer *w, struct segment_hold *hold, struct segment_spares *spares,
                      unsigned n)
{
    const struct arena *a = w->self.arena;
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(segment_open(&w->self, SEGMENT_FOR_PUT, 8, hold, spares), 0);
        assert_true(segment_held(a, hold) && !segment_overdrawn(a, SEGMENT_FOR_PUT));
        set_used(a, hold->id, bytes_of(a));
        store_relaxed(&a->dead[hold->id], bytes_of(a));
        segment_close_owner(a, hold);
    }
}

/* Some segments that are free, and have memory. */
static void make_free(struct writer *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        assert_true(segment_prefill(&w->self) != 0);
}

static void spares_come_to_the_busy(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_hold hold;
    struct segment_spares spares = {.count = 0};
    unsigned most = 0;
    writer_begin(&w, a, writers_process(state));
    make_free(&w, 12);
    for (unsigned i = 0; i < 8; i++) {
        fill_some(&w, &hold, &spares, 1);
        assert_true(i > 0 || spares.count == 0); /* many come for one record */
        assert_int_equal(kinds(a, SEGMENT_OPEN), spares.count);
        for (unsigned k = 0; k < spares.count; k++)
            assert_true(segment_held(a, &spares.hold[k]));
        most = spares.count > most ? spares.count : most;
    }
    assert_int_equal(most, SEGMENT_SPARES);
    unsigned unused = kinds(a, SEGMENT_FREE), had = spares.count;
    segment_close_spares(a, &spares);
    assert_int_equal(kinds(a, SEGMENT_OPEN), 0);
    assert_int_equal(kinds(a, SEGMENT_FREE), unused + had);
    writer_end(&w);
}

/* From an idle owner they are taken as the one that he fills; and he finds out. */
static void spares_are_taken_from_the_idle(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_hold hold;
    struct segment_spares spares = {.count = 0};
    writer_begin(&w, a, writers_process(state));
    make_free(&w, 12);
    fill_some(&w, &hold, &spares, 2);
    assert_in_range(spares.count, 1, SEGMENT_SPARES);
    unsigned unused = kinds(a, SEGMENT_FREE);
    assert_int_equal(segment_take_idle(a), spares.count);
    assert_int_equal(kinds(a, SEGMENT_FREE), unused + spares.count); /* for all, runs too */
    for (unsigned k = 0; k < spares.count; k++)
        assert_false(segment_held(a, &spares.hold[k]));
    struct segment_spares none = {.count = 0};
    uint64_t id = spares.hold[spares.count - 1].id;
    do
        assert_int_equal(segment_open(&w.self, SEGMENT_FOR_PUT, bytes_of(a), &hold, &none), 0);
    while (hold.id != id);
    spares.busy = 0; /* no new ones */
    assert_int_equal(segment_open(&w.self, SEGMENT_FOR_PUT, 8, &hold, &spares), 0);
    assert_int_equal(spares.count, 0); /* those that were taken were passed over ... */
    assert_true(segment_held(a, &hold) && hold.id != id);
    assert_int_equal(kind_of(a, id), SEGMENT_OPEN); /* ... and left to whom they belong */
    writer_end(&w);
}

/* Where few are left, or much is live, nobody has two. */
static void spares_are_for_plenty(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_hold hold;
    struct segment_census c;
    struct segment_spares spares = {.busy = SEGMENT_SPARES};
    writer_begin(&w, a, writers_process(state));
    for (;;) {
        segment_count(a, &c);
        uint64_t left = c.available - min_u64(c.available, c.reserve + c.removals);
        uint64_t enough = min_u64(left, 1 + SEGMENT_SPARES);
        make_free(&w, (unsigned)(enough - min_u64(enough, c.kinds[SEGMENT_FREE])));
        int rc = segment_open(&w.self, SEGMENT_FOR_PUT, 8, &hold, &spares);
        if (rc != 0)
            break;
        assert_false(segment_overdrawn(a, SEGMENT_FOR_PUT));
        assert_true(c.available > 2 * SEGMENT_SPARES + c.reserve + c.removals ||
                    2 * spares.count <= c.available - c.reserve - c.removals);
        set_used(a, hold.id, bytes_of(a));
        store_relaxed(&a->dead[hold.id], bytes_of(a));
        segment_close_owner(a, &hold);
    }
    segment_count(a, &c);
    assert_int_equal(spares.count, 0);
    assert_int_equal(c.available, c.reserve + c.removals);
    writer_end(&w);
}

/* Above it is room for runs, which need neighbours. */
static void spares_stay_below_the_line(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_hold hold;
    struct segment_spares spares = {.busy = SEGMENT_SPARES};
    uint64_t line = load_relaxed(&a->sb->size) >> a->segment_shift;
    writer_begin(&w, a, writers_process(state));
    for (uint64_t i = 0; i < 2 * SEGMENT_SPARES; i++) { /* as a run leaves them */
        set_state(a, line + i, SEGMENT_FREE, 0);
        store_relaxed(&segment_at(a, line + i)->taken, bytes_of(a));
    }
    assert_int_equal(segment_open(&w.self, SEGMENT_FOR_PUT, 8, &hold, &spares), 0);
    assert_int_equal(spares.count, 0);
    set_state(a, line - 2, SEGMENT_FREE, 0);
    set_state(a, line - 1, SEGMENT_FREE, 0);
    assert_int_equal(segment_open(&w.self, SEGMENT_FOR_PUT, bytes_of(a), &hold, &spares), 0);
    assert_int_equal(spares.count, 1);
    assert_true(hold.id == line - 2 && spares.hold[0].id == line - 1);
    writer_end(&w);
}

/* ---- a glance ------------------------------------------------------------------------------ */

/* It knows of each segment what it is, and never takes too little for live. */
static void a_glance_is_a_count_or_more(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_hold holds[8] = {{0}};
    struct segment_census c, seen;
    uint64_t random = 5;
    unsigned held = 0, more = 0;
    writer_begin(&w, a, writers_process(state));
    for (unsigned i = 0; i < 2000; i++) {
        if (held < 8 && segment_open(&w.self, SEGMENT_FOR_PUT, 8, &holds[held], NULL) == 0)
            held++;
        uint64_t k = blob_random(&random) % 8;
        if (k < held) {
            uint64_t used = load_relaxed(&segment_at(a, holds[k].id)->used);
            used += (blob_random(&random) % (bytes_of(a) - used + 8)) & ~7ull;
            set_used(a, holds[k].id, used);
            if (blob_random(&random) % 3 == 0) {
                if (blob_random(&random) % 2 == 0)
                    store_relaxed(&a->dead[holds[k].id], used);
                segment_close_owner(a, &holds[k]);
                holds[k] = holds[--held];
            }
        }
        segment_glance(a, &seen);
        uint64_t noted = load_relaxed(&a->sb->noted);
        segment_count(a, &c);
        if (blob_random(&random) % 4 != 0) /* else the next one begins with this */
            store_relaxed(&a->sb->noted, noted);
        assert_memory_equal(seen.kinds, c.kinds, sizeof(c.kinds));
        assert_true(seen.available == c.available && seen.limbo == c.limbo);
        assert_true(seen.live >= c.live + (seen.live != c.live ? c.room : 0));
        more += seen.live > c.live;
    }
    assert_true(more > 10);
    writer_end(&w);
}

/* Somebody counts while a large value is reserved, which is put only then. */
static void a_glance_knows_of_runs(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_census c, seen;
    struct append l = APPEND_INIT;
    uint64_t bytes = 14 * bytes_of(a);
    writer_begin(&w, a, writers_process(state));
    assert_int_equal(run_open(&l, &w.self, SEGMENT_FOR_PUT, bytes), 0);
    segment_count(a, &c);
    set_used(a, l.hold.id, bytes);
    append_close(&l, a);
    segment_glance(a, &seen);
    segment_count(a, &c);
    assert_true(c.live == bytes && seen.live >= bytes);
    writer_end(&w);
}

/* ---- INV-S2 -------------------------------------------------------------------------------- */

/* Open until it is refused: each purpose digs deeper, none beyond the limit. */
static void limit(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_hold hold;
    struct segment_census c;
    uint64_t left[3];
    writer_begin(&w, a, writers_process(state));
    for (unsigned purpose = SEGMENT_FOR_PUT; purpose <= SEGMENT_FOR_CLEANING; purpose++) {
        while (open_fresh(&w, (enum segment_purpose)purpose, &hold) == 0) {
            assert_in_range(segment_memory(a), 1, SMALL);
            set_used(a, hold.id, bytes_of(a));
            segment_add_dead(a, arena_segment_start(a, hold.id), bytes_of(a));
        }
        segment_count(a, &c);
        left[purpose] = c.available;
    }
    assert_int_equal(left[0], c.reserve + 2);
    assert_int_equal(left[1], c.reserve);
    assert_int_equal(left[2], 0);
    assert_in_range(segment_memory(a) + bytes_of(a), SMALL + 1, SMALL + bytes_of(a));
    assert_int_equal(segment_memory(a), arena_fixed_bytes(a) + load_relaxed(&a->tables[0].taken) +
                                            c.kinds[SEGMENT_OPEN] * bytes_of(a));
    assert_int_equal(segment_prefill(&w.self), 0);
    assert_in_range(segment_memory(a), 1, SMALL);
    writer_end(&w);
}

/* ---- INV-S5 -------------------------------------------------------------------------------- */

/* What is open counts as filled; what may be put beside it is asked for each time. */
static void what_owners_may_fill_is_admitted_already(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_hold hold;
    struct segment_census c;
    writer_begin(&w, a, writers_process(state));
    do {
        segment_count(a, &c);
        assert_int_equal(open_fresh(&w, SEGMENT_FOR_PUT, &hold), 0);
        bool last = c.room + bytes_of(a) > c.admitted;
        assert_int_equal(hold.crowded, last || c.kinds[SEGMENT_OPEN] > c.capacity >> 3);
    } while (c.room + bytes_of(a) < c.admitted);
    assert_int_equal(open_fresh(&w, SEGMENT_FOR_PUT, &hold), SHMKV_ENOSPC);
    assert_int_equal(open_fresh(&w, SEGMENT_FOR_TOMBSTONE, &hold), 0);
    writer_end(&w);
}

/* The rest of the last segment of a run is nobody's. */
static void the_rest_of_a_run_is_admitted_already(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct segment_census before, after;
    char *value = calloc(1, bytes_of(a) + 1);
    segment_count(a, &before);
    assert_rc(shmkv_put(fixture_db(state), "k", 1, value, bytes_of(a) + 1, NULL), 0);
    segment_count(a, &after);
    assert_int_equal(before.waste, 0);
    assert_int_equal(after.live - before.live + after.waste, 2 * bytes_of(a));
    free(value);
}

/* The limit may be lowered below what is in use: nothing more is opened then. */
static void limit_lowered(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_hold hold;
    writer_begin(&w, a, writers_process(state));
    assert_int_equal(open_fresh(&w, SEGMENT_FOR_CLEANING, &hold), 0);
    store_relaxed(&a->sb->size, segment_memory(a) + bytes_of(a) - 1);
    assert_int_equal(open_fresh(&w, SEGMENT_FOR_CLEANING, &hold), SHMKV_ENOSPC);
    store_relaxed(&a->sb->size, 4096);
    assert_int_equal(open_fresh(&w, SEGMENT_FOR_CLEANING, &hold), SHMKV_ENOSPC);
    writer_end(&w);
}

/* What the dead have claimed is in use until somebody has given it back. */
static void limit_counts_the_claims_of_the_dead(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    uint64_t before = segment_memory(a), id = load_relaxed(&a->sb->segment_high);
    set_state(a, id, SEGMENT_OPENING, 99);
    assert_int_equal(segment_memory(a), before + bytes_of(a));
    segment_reap(a, 99);
    assert_int_equal(kind_of(a, id), SEGMENT_FREE);
    assert_int_equal(segment_memory(a), before + bytes_of(a));
    assert_int_equal(segment_punch(&w.self, 1), bytes_of(a));
    assert_int_equal(segment_memory(a), before);
    writer_end(&w);
}

/* ---- INV-S3 and the life of a segment ------------------------------------------------------ */

/* FREE or HOLE -> OPEN -> SEALED -> CLEANING -> LIMBO -> FREE; returns the incarnation. */
static uint64_t live_once(const struct writer *w, uint64_t *id)
{
    const struct arena *a = w->self.arena;
    struct segment_hold hold;
    assert_int_equal(open_fresh(w, SEGMENT_FOR_PUT, &hold), 0);
    const struct segment *s = segment_at(a, hold.id);
    *id = hold.id;
    uint64_t incarnation = load_relaxed(&s->incarnation);
    assert_true(load_relaxed(&s->used) == 0 && load_relaxed(&a->dead[*id]) == 0);
    set_used(a, *id, bytes_of(a));
    segment_add_dead(a, arena_segment_start(a, *id) + 64, 100);
    assert_int_equal(load_relaxed(&a->dead[*id]), 100);
    segment_close_owner(a, &hold);
    assert_int_equal(kind_of(a, *id), SEGMENT_SEALED);
    uint64_t sealed = load_acquire(&s->state);
    assert_false(segment_claim_victim(&w->self, *id, sealed | 1ull << 24));
    assert_true(segment_claim_victim(&w->self, *id, sealed));
    assert_false(segment_claim_victim(&w->self, *id, sealed));
    segment_retire_owner(&w->self, *id);
    uint64_t e = claim_epoch(load_acquire(&s->state));
    assert_int_equal(kind_of(a, *id), SEGMENT_LIMBO);
    assert_true(e == epoch_now(a));
    assert_int_equal(segment_reclaim(a), 0); /* not before its grace period is over */
    assert_true(grace_pass(a) >= e);
    assert_int_equal(segment_reclaim(a), 1);
    assert_int_equal(kind_of(a, *id), SEGMENT_FREE);
    return incarnation;
}

static void incarnation_numbers_are_given_once(void **state)
{
    struct writer w;
    uint64_t seen[300], id, first = SEGMENT_NONE;
    writer_begin(&w, fixture_arena(state), writers_process(state));
    for (unsigned i = 0; i < 300; i++) {
        seen[i] = live_once(&w, &id);
        first = i == 0 ? id : first;
        assert_true(id == first && seen[i] != 0);
        for (unsigned k = 0; k < i; k++)
            assert_true(seen[k] != seen[i]);
    }
    writer_end(&w);
}

/* Segments in limbo are not used as long as somebody may look into them. */
static void limbo_waits_for_a_reader(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_hold hold;
    writer_begin(&w, a, writers_process(state));
    assert_int_equal(open_fresh(&w, SEGMENT_FOR_PUT, &hold), 0);
    uint64_t id = hold.id;
    segment_close_owner(a, &hold);
    uint64_t outer = epoch_enter(&w.self);
    assert_true(segment_claim_victim(&w.self, id, load_acquire(&segment_at(a, id)->state)));
    segment_retire_owner(&w.self, id);
    for (int i = 0; i < 5; i++) {
        grace_pass(a);
        assert_int_equal(segment_reclaim(a), 0);
    }
    epoch_exit(&w.self, outer);
    grace_pass(a);
    assert_int_equal(segment_reclaim(a), 1);
    writer_end(&w);
}

static void an_unfinished_walk_leaves_it_sealed(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_hold hold;
    writer_begin(&w, a, writers_process(state));
    assert_int_equal(open_fresh(&w, SEGMENT_FOR_PUT, &hold), 0);
    uint64_t id = hold.id;
    segment_close_owner(a, &hold);
    assert_true(segment_claim_victim(&w.self, id, load_acquire(&segment_at(a, id)->state)));
    segment_unclaim_owner(&w.self, id, 0);
    assert_int_equal(kind_of(a, id), SEGMENT_SEALED);
    writer_end(&w);
}

/* ---- memory -------------------------------------------------------------------------------- */

static void prefill_and_punch(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_census c;
    writer_begin(&w, a, writers_process(state));
    uint64_t before = arena_allocated(a);
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(segment_prefill(&w.self) != 0);
        assert_int_equal(kinds(a, SEGMENT_FREE), i);
    }
    segment_count(a, &c);
    assert_int_equal(c.taken, 3 * bytes_of(a));
    assert_in_range(arena_allocated(a), before + 3 * bytes_of(a), before + 4 * bytes_of(a));
    memset(arena_at(a, arena_segment_start(a, 1)), 0xee, bytes_of(a));
    assert_int_equal(segment_punch(&w.self, bytes_of(a) + 1), 2 * bytes_of(a));
    assert_int_equal(kinds(a, SEGMENT_FREE), 1);
    segment_count(a, &c);
    assert_int_equal(c.taken, bytes_of(a));
    assert_in_range(arena_allocated(a), before + bytes_of(a), before + 2 * bytes_of(a));
    assert_int_equal(segment_punch(&w.self, UINT64_MAX), bytes_of(a));
    assert_int_equal(segment_punch(&w.self, UINT64_MAX), 0);
    writer_end(&w);
}

/* A unit that begins where it may be a huge page, all of it or nothing. */
static void a_unit_is_prefilled_whole(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_census c;
    writer_begin(&w, a, writers_process(state));
    uint64_t unit = segment_unit(a), holes = 0;
    assert_true(unit > 1);
    assert_true(segment_prefill(&w.self) > 0);
    uint64_t before = arena_allocated(a);
    assert_int_equal(segment_prefill_unit(&w.self), HUGE_PAGE_BYTES);
    assert_int_equal(kinds(a, SEGMENT_FREE), unit + 1);
    for (uint64_t id = 1; id < unit; id++) /* behind the first, which was not a hole any more */
        assert_int_equal(claim_kind(load_acquire(&segment_at(a, id)->state)), SEGMENT_HOLE);
    assert_int_equal(arena_allocated(a), before + HUGE_PAGE_BYTES);
    while (segment_prefill_unit(&w.self) != 0)
        continue;
    segment_count(a, &c);
    holes = c.available - c.kinds[SEGMENT_FREE];
    assert_in_range(segment_memory(a), 1, load_relaxed(&a->sb->size));
    assert_in_range(holes, 1, 2 * unit); /* what is left of the first, and less than a unit */
    assert_int_equal(kinds(a, SEGMENT_OPENING), 0);
    while (segment_prefill(&w.self) != 0)
        continue;
    assert_int_equal(segment_punch(&w.self, UINT64_MAX), c.capacity << a->segment_shift);
    writer_end(&w);
}

static void owners_are_not_punched(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, "k", "v");
    assert_int_equal(segment_punch(&w.self, UINT64_MAX), 0);
    append_close(&w.puts, a);
    assert_int_equal(segment_punch(&w.self, UINT64_MAX), 0);
    assert_true(record_has_key(record_found(&w, "k"), "k", 1));
    writer_end(&w);
}

static void a_census_counts_everything_once(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_census c;
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, "a", "12345678");
    writer_put(&w, "b", "12345678");
    writer_put(&w, "a", "87654321");
    segment_count(a, &c);
    uint64_t record = record_bytes(1, 8, false);
    assert_int_equal(c.used, 3 * record);
    assert_int_equal(c.live, 2 * record);
    assert_int_equal(c.kinds[SEGMENT_OPEN], 1);
    uint64_t sum = 0;
    for (unsigned k = 0; k < SEGMENT_KINDS; k++)
        sum += c.kinds[k];
    assert_int_equal(sum, load_relaxed(&a->sb->segment_high));
    assert_int_equal(c.available, c.capacity - 1);
    writer_end(&w);
}

/* With so many owners that they hold an eighth of the store, a segment is leased per write. */
static void many_owners_are_told_so(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct segment_hold hold;
    struct segment_census c;
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    segment_count(a, &c);
    for (uint64_t n = 0; n <= c.capacity / 8 + 1; n++) {
        assert_int_equal(open_fresh(&w, SEGMENT_FOR_PUT, &hold), 0);
        assert_int_equal(hold.crowded, n > c.capacity / 8);
    }
    writer_end(&w);
}

/* ---- reaping ------------------------------------------------------------------------------- */

static void what_the_dead_had_is_usable_again(void **state)
{
    static const struct {
        enum segment_kind before;
        enum segment_kind after;
    } cases[] = {
        {SEGMENT_OPENING, SEGMENT_FREE},    {SEGMENT_OPEN, SEGMENT_PARTIAL},
        {SEGMENT_PINNED, SEGMENT_PARTIAL},  {SEGMENT_SEALING, SEGMENT_PARTIAL},
        {SEGMENT_CLEANING, SEGMENT_SEALED}, {SEGMENT_PUNCHING, SEGMENT_HOLE},
    };
    const struct arena *a = fixture_arena(state);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        set_used(a, 2 * i, 64);
        set_state(a, 2 * i, cases[i].before, 99);
        set_state(a, 2 * i + 1, cases[i].before, 98);
    }
    for (int repeated = 0; repeated < 2; repeated++) {
        segment_reap(a, 99);
        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
            assert_int_equal(kind_of(a, 2 * i), cases[i].after);
            assert_int_equal(kind_of(a, 2 * i + 1), cases[i].before); /* somebody else's */
        }
    }
}

/* The words of what nobody owns name participant 0. */
static void what_nobody_owned_stays(void **state)
{
    static const enum segment_kind kinds_free[] = {SEGMENT_HOLE, SEGMENT_FREE, SEGMENT_PARTIAL,
                                                   SEGMENT_SEALED, SEGMENT_LIMBO};
    const struct arena *a = fixture_arena(state);
    for (unsigned i = 0; i < ARRAY_SIZE(kinds_free); i++)
        set_state(a, i, kinds_free[i], 0);
    segment_reap(a, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(kinds_free); i++)
        assert_int_equal(kind_of(a, i), kinds_free[i]);
    store_seq_cst(&segment_at(a, 4)->state, claim_word(SEGMENT_LIMBO, 0, 99ull << 4));
    segment_reap(a, 0);
    assert_int_equal(kind_of(a, 4), SEGMENT_LIMBO);
}

/* ---- scribbled ----------------------------------------------------------------------------- */

/* A claim that names a participant who cannot be: nobody looks for him outside of the mapping. */
static int claim_of_nobody(void *arg)
{
    struct fixture f;
    struct writer w;
    uint32_t who = *(uint32_t *)arg;
    signal(SIGSEGV, SIG_DFL);
    fixture_begin(&f, &small);
    const struct arena *a = audit_arena(f.db);
    writer_begin(&w, a, f.db->store->process.index);
    set_state(a, 1, SEGMENT_OPEN, who);
    set_state(a, 2, SEGMENT_SEALING, who);
    store_seq_cst(&a->tables[TABLE_AREAS - 1].state, claim_word(TABLE_CLAIMED, who, 0));
    child_assert(segment_take_idle(a) == 0);
    child_assert(!table_take_idle(&w.self));
    child_assert(kind_of(a, 1) == SEGMENT_OPEN && kind_of(a, 2) == SEGMENT_SEALING);
    writer_end(&w);
    fixture_remove(&f);
    return 0;
}

static void a_claim_of_nobody_kills_nobody(void **state)
{
    uint32_t nobodies[] = {1000, PARTICIPANT_MAX, 0xfffff};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(nobodies); i++)
        assert_int_equal(child_wait(child_start(claim_of_nobody, &nobodies[i]), 20000), 0);
}

/* Nobody goes on in the neighbour of a segment whose figures were written over. */
static void figures_that_cannot_be_lead_to_no_neighbour(void **state)
{
    const struct arena *a = fixture_arena(state);
    static const uint64_t marks[] = {1ull << 60, 0 - 8ull, 0 - 64ull, 12};
    struct writer w;
    for (unsigned i = 0; i < ARRAY_SIZE(marks); i++) {
        writer_begin(&w, a, writers_process(state));
        writer_put(&w, "k", "value");
        uint64_t id = w.puts.hold.id;
        append_close(&w.puts, a);
        set_used(a, id, marks[i]);
        writer_put(&w, "l", "elsewhere");
        assert_true(w.puts.hold.id != id);
        store_seq_cst(&segment_at(a, w.puts.hold.id)->taken, 1ull << 60);
        append_close(&w.puts, a);
        for (unsigned n = 0; n < 2 * bytes_of(a) / 64; n++) {
            writer_put(&w, "m", "fills the segment and the next one");
            assert_in_range(w.puts.at, arena_segment_start(a, w.puts.hold.id), w.puts.end);
        }
        writer_end(&w);
    }
}

/* What is live is no more than there is room for: else no put would be admitted. */
static void a_mark_that_cannot_be_fills_no_store(void **state)
{
    const struct arena *a = fixture_arena(state);
    static const enum segment_kind of[] = {SEGMENT_SEALED, SEGMENT_PARTIAL, SEGMENT_RUN_HEAD};
    struct segment_census c;
    for (unsigned i = 0; i < ARRAY_SIZE(of); i++) {
        set_state(a, i, of[i], 0);
        set_used(a, i, UINT64_MAX - 7);
    }
    segment_count(a, &c);
    assert_true(c.used == ARRAY_SIZE(of) * bytes_of(a) && c.live == c.used);
    assert_true(segment_allowed(&c, SEGMENT_FOR_PUT));
    for (unsigned i = 0; i < ARRAY_SIZE(of); i++)
        set_state(a, i, SEGMENT_HOLE, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(handover_from_an_idle_owner),
        FIXTURE(handover_not_while_it_writes),
        FIXTURE(handover_waits_in_sealing),
        FIXTURE(handover_words_are_given_once),
        FIXTURE(handover_of_a_pinned_one_is_refused),
        FIXTURE(handover_of_a_full_one_seals_it),
        FIXTURE(spares_come_to_the_busy),
        FIXTURE(spares_are_taken_from_the_idle),
        FIXTURE_WITH(spares_are_for_plenty, &small),
        FIXTURE_WITH(spares_stay_below_the_line, &small),
        FIXTURE(a_glance_is_a_count_or_more),
        FIXTURE(a_glance_knows_of_runs),
        FIXTURE_WITH(limit, &small),
        FIXTURE_WITH(what_owners_may_fill_is_admitted_already, &small),
        FIXTURE_WITH(the_rest_of_a_run_is_admitted_already, &small),
        FIXTURE_WITH(limit_lowered, &small),
        FIXTURE(limit_counts_the_claims_of_the_dead),
        FIXTURE(incarnation_numbers_are_given_once),
        FIXTURE(limbo_waits_for_a_reader),
        FIXTURE(an_unfinished_walk_leaves_it_sealed),
        FIXTURE(prefill_and_punch),
        FIXTURE(a_unit_is_prefilled_whole),
        FIXTURE(owners_are_not_punched),
        FIXTURE(a_census_counts_everything_once),
        FIXTURE_WITH(many_owners_are_told_so, &small),
        FIXTURE(what_the_dead_had_is_usable_again),
        FIXTURE(what_nobody_owned_stays),
        cmocka_unit_test(a_claim_of_nobody_kills_nobody),
        FIXTURE(figures_that_cannot_be_lead_to_no_neighbour),
        FIXTURE(a_mark_that_cannot_be_fills_no_store),
    };
    return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
