/* SPDX-License-Identifier: MIT */
/* test_cleaner.c - live records move out of sparse segments, nothing else is lost; cleaner.h. */
#include "writers.h"

#include <stdio.h>
#include <string.h>

#include "cleaner.h"
#include "stats.h"

#define VALUE_BYTES 1000u
#define KEYS 400u

static char value[VALUE_BYTES + 1];

static const struct shmkv_options small = {.flags = SHMKV_NO_KEEPER, .size = 4u << 20};

static char *numbered(unsigned i)
{
    static char key[16];
    snprintf(key, sizeof(key), "key %u", i);
    return key;
}

/* Keys whose values say how often they were written, all letters alike. */
static void put_round(struct writer *w, unsigned i, unsigned round)
{
    memset(value, (int)('a' + round), VALUE_BYTES);
    writer_put(w, numbered(i), value);
}

static void assert_round(const struct writer *w, unsigned i, unsigned round)
{
    const struct record *r = record_found(w, numbered(i));
    assert_non_null(r);
    assert_int_equal(r->vlen, VALUE_BYTES);
    for (unsigned k = 0; k < VALUE_BYTES; k++)
        assert_int_equal(record_value(r)[k], 'a' + round);
    uint64_t id = arena_segment_of(w->self.arena, offset_of(w->self.arena, r));
    const struct segment *s = segment_at(w->self.arena, id);
    assert_true(record_valid(r, record_size(r), record_seed(id, load_relaxed(&s->incarnation))));
}

/* Every second key over again, so that each segment is half dead; all are given back. */
static void make_sparse(struct writer *w)
{
    for (unsigned i = 0; i < KEYS; i++)
        put_round(w, i, 0);
    for (unsigned i = 0; i < KEYS; i += 2)
        put_round(w, i, 1);
    append_close(&w->puts, w->self.arena);
}

static void assert_sparse_is_whole(const struct writer *w)
{
    for (unsigned i = 0; i < KEYS; i++)
        assert_round(w, i, i % 2 == 0);
}

static unsigned kind_of(const struct arena *a, uint64_t id)
{
    return claim_kind(load_acquire(&segment_at(a, id)->state));
}

/* Slots of the root table that lead into the segment. */
static unsigned slots_into(const struct arena *a, uint64_t id)
{
    const struct table *t = table_of(a, table_root(a));
    unsigned n = 0;
    for (uint64_t i = 0; i < t->slots; i++) {
        uint64_t word = load_acquire(&table_slots(a, t)[i]);
        n += slot_is_record(word) && arena_segment_of(a, slot_offset(word)) == id;
    }
    return n;
}

static unsigned count(const struct arena *a, enum segment_kind kind)
{
    struct segment_census c;
    segment_count(a, &c);
    return (unsigned)c.kinds[kind];
}

/* ---- INV-C1 -------------------------------------------------------------------------------- */

static void nothing_leads_into_limbo(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    unsigned cleaned = 0;
    writer_begin(&w, a, writers_process(state));
    make_sparse(&w);
    while (cleaner_step(&w) > 0) {
        cleaned++;
        assert_in_range(count(a, SEGMENT_LIMBO), 1, cleaned);
        for (uint64_t id = 0; id < load_relaxed(&a->sb->segment_high); id++) {
            unsigned kind = kind_of(a, id);
            assert_true(kind != SEGMENT_CLEANING);
            if (kind == SEGMENT_LIMBO || kind == SEGMENT_FREE)
                assert_int_equal(slots_into(a, id), 0);
        }
        assert_sparse_is_whole(&w);
    }
    assert_in_range(cleaned, 3, KEYS);
    grace_pass(a);
    assert_in_range(segment_reclaim(a), 1, cleaned);
    writer_end(&w);
}

/* A walk that cannot be completed: the segment is kept, with what is live in it. */
static void an_incomplete_walk_frees_nothing(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    make_sparse(&w);
    struct segment *s = segment_at(a, 0);
    struct record *r = arena_at(a, arena_segment_start(a, 0));
    for (int i = 0; i < 30; i++)
        r = (struct record *)((char *)r + record_size(r));
    uint64_t was = load_relaxed(&s->used);
    uint16_t klen = r->klen;
    r->klen = 0; /* scribbled */
    for (unsigned i = 0; i < 20; i++)
        cleaner_step(&w);
    assert_int_equal(kind_of(a, 0), SEGMENT_SEALED);
    assert_true(load_relaxed(&s->used) == was);
    r->klen = klen;
    assert_sparse_is_whole(&w);
    writer_end(&w);
}

/* ---- pieces -------------------------------------------------------------------------------- */

static uint64_t walked(const struct arena *a, uint64_t id)
{
    return load_relaxed(&segment_at(a, id)->walked);
}

/* As a put does that was stopped by the pace; the segment that it is at, SEGMENT_NONE: of none. */
static uint64_t clean_some(struct writer *w)
{
    w->puts.pace = 256;
    cleaner_help(w, &w->puts, 8);
    return w->cleaning.life != 0 ? w->cleaning.id : SEGMENT_NONE;
}

/* A writer that has a segment, and some others which are half dead. */
static void begin_pieces(struct writer *w, void **state)
{
    writer_begin(w, fixture_arena(state), writers_process(state));
    make_sparse(w);
    writer_put(w, "more", "value");
}

static void pieces_make_a_walk(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    begin_pieces(&w, state);
    uint64_t id = clean_some(&w), last = 0;
    unsigned pieces = 0;
    assert_true(id != SEGMENT_NONE);
    for (unsigned i = 0; clean_some(&w) == id; i++) {
        assert_in_range(i, 0, 1000);
        assert_int_equal(kind_of(a, id), SEGMENT_SEALED); /* nobody's between two of them */
        assert_in_range(walked(a, id) - last, 0, 16 * (VALUE_BYTES + 64));
        pieces += walked(a, id) != last;
        last = walked(a, id);
        assert_sparse_is_whole(&w);
    }
    assert_in_range(pieces, 2, 100); /* and the last one */
    assert_int_equal(kind_of(a, id), SEGMENT_LIMBO);
    assert_int_equal(slots_into(a, id), 0);
    assert_sparse_is_whole(&w);
    grace_pass(a);
    assert_int_equal(segment_reclaim(a), 1);
    for (unsigned i = 0; kind_of(a, id) != SEGMENT_OPEN; i++)
        put_round(&w, i % KEYS, 2);
    assert_int_equal(walked(a, id), 0);
    writer_end(&w);
}

/* What one has left another goes on with: what is behind is not looked at again. */
static void pieces_are_gone_on_with(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w, other;
    begin_pieces(&w, state);
    writer_begin(&other, a, writers_process(state));
    uint64_t id = clean_some(&w);
    for (unsigned i = 0; walked(a, id) < 20 * VALUE_BYTES; i++)
        assert_true(clean_some(&w) == id && i < 100);
    struct record *first = arena_at(a, arena_segment_start(a, id));
    uint16_t klen = first->klen;
    first->klen = 0; /* who began anew would take the segment for a damaged one */
    assert_true(segment_claim_victim(&w.self, id, claim_word(SEGMENT_SEALED, 0, 0)));
    segment_reap(a, w.self.index); /* as if it had died there */
    for (unsigned i = 0; kind_of(a, id) != SEGMENT_LIMBO; i++) {
        assert_int_equal(cleaner_step(&other), 1);
        assert_in_range(i, 0, 20);
    }
    assert_int_equal(slots_into(a, id), 0);
    assert_sparse_is_whole(&w);
    first->klen = klen;
    writer_end(&other);
    writer_end(&w);
}

static void pieces_do_not_rest_on_a_wrong_word(void **state)
{
    const struct arena *a = fixture_arena(state);
    for (unsigned i = 0; i < 2; i++) {
        struct writer w;
        begin_pieces(&w, state);
        uint64_t id = clean_some(&w);
        uint64_t used = load_relaxed(&segment_at(a, id)->used);
        store_relaxed(&segment_at(a, id)->walked, i == 0 ? used + 8 : used - 4);
        for (unsigned k = 0; k < 20 && kind_of(a, id) == SEGMENT_SEALED; k++)
            cleaner_step(&w);
        assert_int_equal(kind_of(a, id), SEGMENT_LIMBO);
        assert_int_equal(slots_into(a, id), 0);
        assert_sparse_is_whole(&w);
        writer_end(&w);
    }
}

/* A piece that gained more than was asked for is followed by a pause. */
static void pieces_gain_what_is_owed(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    begin_pieces(&w, state);
    uint64_t id = clean_some(&w), calls = 1;
    while (clean_some(&w) == id)
        calls++;
    uint64_t gained = load_relaxed(&segment_at(a, id)->used) / 2; /* each second one is dead */
    assert_in_range(calls * 256, gained - gained / 4, gained + gained / 2);
    writer_end(&w);
}

/* Whoever looks at a record that is moved away from under him sees it whole. */
static void a_reader_keeps_what_it_sees(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w, reader;
    writer_begin(&w, a, writers_process(state));
    writer_begin(&reader, a, writers_process(state));
    make_sparse(&w);
    uint64_t outer = epoch_enter(&reader.self);
    const struct record *r = record_found(&reader, numbered(1));
    uint64_t id = arena_segment_of(a, offset_of(a, r)), state_then = 0;
    while (cleaner_step(&w) > 0)
        grace_pass(a);
    state_then = load_acquire(&segment_at(a, id)->state);
    assert_int_equal(claim_kind(state_then), SEGMENT_LIMBO);
    assert_true(record_found(&reader, numbered(1)) != r);
    for (unsigned i = 0; i < 3 * KEYS; i++) {
        put_round(&w, i % KEYS, 2);
        segment_reclaim(a);
    }
    assert_true(load_acquire(&segment_at(a, id)->state) == state_then);
    for (unsigned k = 0; k < VALUE_BYTES; k++)
        assert_int_equal(record_value(r)[k], 'a');
    epoch_exit(&reader.self, outer);
    grace_pass(a);
    assert_in_range(segment_reclaim(a), 1, 100);
    assert_int_equal(kind_of(a, id), SEGMENT_FREE);
    writer_end(&reader);
    writer_end(&w);
}

/* ---- victims ------------------------------------------------------------------------------- */

static void nothing_is_moved_in_vain(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    uint64_t sums[STAT_COUNT];
    writer_begin(&w, a, writers_process(state));
    assert_int_equal(cleaner_step(&w), 0);
    for (unsigned i = 0; i < KEYS; i++)
        put_round(&w, i, 0);
    assert_int_equal(cleaner_step(&w), 0); /* all is live */
    append_close(&w.puts, a);
    assert_int_equal(cleaner_step(&w), 0);
    stats_sum(a, sums);
    assert_int_equal(sums[STAT_relocations], 0);
    writer_end(&w);
}

static void the_sparsest_goes_first(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    for (unsigned i = 0; i < KEYS; i++)
        put_round(&w, i, 0);
    uint64_t id = 0, most = 0;
    for (unsigned i = 0; i < KEYS; i += i < 150 || i > 250 ? 5 : 1)
        put_round(&w, i, 1);
    append_close(&w.puts, a);
    for (uint64_t k = 0; k < load_relaxed(&a->sb->segment_high); k++) {
        if (load_relaxed(&a->dead[k]) > most && kind_of(a, k) == SEGMENT_SEALED) {
            most = load_relaxed(&a->dead[k]);
            id = k;
        }
    }
    assert_int_equal(cleaner_step(&w), 1);
    assert_int_equal(kind_of(a, id), SEGMENT_LIMBO);
    assert_int_equal(count(a, SEGMENT_LIMBO), 1);
    writer_end(&w);
}

/* The owner's own segment is never a victim, however dead. */
static void owners_are_left_alone(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w, owner;
    writer_begin(&w, a, writers_process(state));
    writer_begin(&owner, a, writers_process(state));
    for (unsigned i = 0; i < 20; i++)
        put_round(&owner, 1, i);
    assert_int_equal(cleaner_step(&w), 0);
    assert_true(segment_held(a, &owner.puts.hold));
    append_close(&owner.puts, a);
    assert_int_equal(cleaner_step(&w), 1);
    assert_round(&w, 1, 19);
    writer_end(&owner);
    writer_end(&w);
}

/* ---- room ---------------------------------------------------------------------------------- */

static void the_dead_make_room_without_a_free_segment(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct segment_hold hold;
    writer_begin(&w, a, writers_process(state));
    for (unsigned i = 0; i < 200; i++) /* three segments, all but the last record dead */
        put_round(&w, 1, i % 20);
    append_close(&w.puts, a);
    while (segment_open(&w.self, SEGMENT_FOR_CLEANING, a->segment_mask + 1, &hold, NULL) == 0) {
    }
    while (segment_open(&w.self, SEGMENT_FOR_CLEANING, 2 * VALUE_BYTES, &hold, NULL) == 0) {
    } /* nor the rest of one */
    assert_int_equal(cleaner_step(&w), 1);
    grace_pass(a);
    assert_int_equal(segment_reclaim(a), 1);
    assert_int_equal(cleaner_step(&w), 1);
    assert_round(&w, 1, 199 % 20);
    writer_end(&w);
}

/* Overwriting for ever in a store that is a third full: as if there were no limit. */
static void overwriting_never_ends(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    for (unsigned i = 0; i < 20000; i++) {
        unsigned key = i * 7919u % KEYS;
        struct cleaner_need need = {.purpose = SEGMENT_FOR_PUT};
        uint64_t bytes = record_bytes(strlen(numbered(key)), VALUE_BYTES, false);
        while (append_reserve(&w.puts, &w.self, SEGMENT_FOR_PUT, bytes) == SHMKV_ENOSPC)
            assert_rc(cleaner_make_room(&w, writers_process(state), &need), 0);
        put_round(&w, key, i / KEYS % 20);
    }
    for (unsigned i = 20000 - KEYS; i < 20000; i++)
        assert_round(&w, i * 7919u % KEYS, i / KEYS % 20);
    assert_in_range(segment_memory(a), 1, 4u << 20);
    writer_end(&w);
}

/* While it was short of room for a table somebody else has made that table: it is content. */
static void room_for_a_table_is_not_waited_for_in_vain(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    struct cleaner_need need = {
        .purpose = SEGMENT_FOR_CLEANING, .index_bytes = 1ull << 40, .root = table_root(a)};
    assert_rc(cleaner_make_room(&w, writers_process(state), &need), SHMKV_ENOSPC);
    need = (struct cleaner_need){.purpose = SEGMENT_FOR_CLEANING,
                                 .index_bytes = 1ull << 40,
                                 .root = table_root(a) - TABLE_AREAS};
    assert_rc(cleaner_make_room(&w, writers_process(state), &need), 0);
    assert_int_equal(need.deadline_ns, 0); /* nor was anything done */
    writer_end(&w);
}

/* It names who holds the memory back; inside a section of one's own nothing can be gained. */
static void no_room_says_why(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w, reader;
    struct segment_hold hold;
    int rc = 0;
    writer_begin(&w, a, writers_process(state));
    writer_begin(&reader, a, writers_process(state));
    while (segment_open(&w.self, SEGMENT_FOR_PUT, a->segment_mask + 1, &hold, NULL) == 0)
        assert_true(segment_pin_owner(a, &hold));
    struct cleaner_need need = {.purpose = SEGMENT_FOR_PUT};
    uint64_t start = clock_mono_ns();
    while (rc == 0)
        rc = cleaner_make_room(&w, writers_process(state), &need);
    assert_rc(rc, SHMKV_ENOSPC);
    assert_in_range(clock_mono_ns() - start, 90000000, 2000000000);
    store_seq_cst(&segment_at(a, 0)->state, claim_word(SEGMENT_SEALED, 0, 0));
    uint64_t outer = epoch_enter(&reader.self);
    assert_true(segment_claim_victim(&w.self, 0, claim_word(SEGMENT_SEALED, 0, 0)));
    segment_retire_owner(&w.self, 0);
    epoch_raise_above(a, epoch_now(a));
    need = (struct cleaner_need){.purpose = SEGMENT_FOR_PUT};
    for (rc = 0; rc == 0;)
        rc = cleaner_make_room(&w, writers_process(state), &need);
    assert_rc(rc, SHMKV_EHELD);
    assert_non_null(strstr(shmkv_last_error(), "test_cleaner"));
    epoch_exit(&reader.self, outer);
    writer_end(&reader);
    writer_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(nothing_leads_into_limbo),
        FIXTURE(an_incomplete_walk_frees_nothing),
        FIXTURE(pieces_make_a_walk),
        FIXTURE(pieces_are_gone_on_with),
        FIXTURE(pieces_do_not_rest_on_a_wrong_word),
        FIXTURE(pieces_gain_what_is_owed),
        FIXTURE(a_reader_keeps_what_it_sees),
        FIXTURE(nothing_is_moved_in_vain),
        FIXTURE(the_sparsest_goes_first),
        FIXTURE(owners_are_left_alone),
        FIXTURE_WITH(the_dead_make_room_without_a_free_segment, &small),
        FIXTURE_WITH(overwriting_never_ends, &small),
        FIXTURE_WITH(room_for_a_table_is_not_waited_for_in_vain, &small),
        FIXTURE_WITH(no_room_says_why, &small),
    };
    return cmocka_run_group_tests_name("cleaner", tests, NULL, NULL);
}
