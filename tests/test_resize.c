/* SPDX-License-Identifier: MIT */
/* test_resize.c - a table is moved to another, slot by slot, and nothing else happens; resize.h. */
#include "writers.h"

#include <stdio.h>
#include <string.h>

#include "stats.h"

/* ---- a resize, held at will ---------------------------------------------------------------- */

struct moving {
    const struct arena *a;
    struct writer w;
    uint64_t from, to; /* references */
};

static char *numbered(unsigned i)
{
    static char key[16];
    snprintf(key, sizeof(key), "key %u", i);
    return key;
}

static void begin(struct moving *m, void **state)
{
    m->a = fixture_arena(state);
    writer_begin(&m->w, m->a, writers_process(state));
    m->from = table_root(m->a);
}

static struct table *source(const struct moving *m)
{
    return table_of(m->a, m->from);
}

static struct table *target(const struct moving *m)
{
    return table_of(m->a, m->to);
}

/* Close the tickets and show T'; no slot is moved yet. */
static void start(struct moving *m)
{
    m->from = table_root(m->a);
    assert_int_equal(resize_grow(&m->w.self, &m->w.resizer, m->from), 0);
    m->to = load_acquire(&source(m)->next);
    assert_true(m->to != 0 && table_root(m->a) == m->from);
}

static void finish(struct moving *m)
{
    resize_finish(&m->w.self);
    assert_true(table_root(m->a) == m->to);
}

static uint64_t move(struct moving *m, _Atomic uint64_t *slot)
{
    uint64_t outer = epoch_enter(&m->w.self);
    uint64_t word = resize_move_slot(&m->w.self, source(m), slot);
    epoch_exit(&m->w.self, outer);
    assert_true(word == load_acquire(slot));
    return word;
}

/* Where the key stands in T; NULL: nowhere. */
static _Atomic uint64_t *slot_of(const struct moving *m, const char *key)
{
    _Atomic uint64_t *slot = NULL;
    assert_in_range(slots_with(m->a, m->from, key, &slot), 0, 1);
    return slot;
}

/* The first slot of the key's probe in T'. */
static _Atomic uint64_t *home_of(const struct moving *m, const char *key)
{
    uint64_t hash = key_of(m->a, key).hash;
    const struct table *to = target(m);
    return table_bucket(m->a, to, table_home(to, hash)) + table_first_slot(to, hash);
}

static uint64_t filled(const struct moving *m, const struct table *t)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < t->slots; i++)
        n += load_acquire(&table_slots(m->a, t)[i]) != SLOT_EMPTY;
    return n;
}

/* ---- one slot ------------------------------------------------------------------------------ */

static void an_empty_slot_is_closed(void **state)
{
    struct moving m;
    begin(&m, state);
    start(&m);
    _Atomic uint64_t *slot = &table_slots(m.a, source(&m))[5];
    assert_true(move(&m, slot) == SLOT_MOVED_EMPTY);
    assert_true(move(&m, slot) == SLOT_MOVED_EMPTY);
    assert_int_equal(filled(&m, target(&m)), 0);
    writer_end(&m.w);
}

static void a_record_is_copied_and_found_all_the_time(void **state)
{
    struct moving m;
    begin(&m, state);
    writer_put(&m.w, "k", "value");
    _Atomic uint64_t *slot = slot_of(&m, "k");
    uint64_t word = load_acquire(slot);
    start(&m);
    const struct record *r = record_found(&m.w, "k");
    store_seq_cst(slot, word | SLOT_FROZEN); /* another mover was so far */
    assert_true(record_found(&m.w, "k") == r);
    assert_true(move(&m, slot) == slot_moved(word));
    assert_true(record_found(&m.w, "k") == r);
    assert_true(load_acquire(home_of(&m, "k")) == word);
    assert_true((load_acquire(&r->state) & RECORD_PUBLISHED) != 0);
    writer_end(&m.w);
}

/* The second of two movers finds the first one's copy, or a younger record of the key. */
static void a_key_that_is_there_is_not_copied_again(void **state)
{
    struct moving m;
    begin(&m, state);
    writer_put(&m.w, "k", "old");
    _Atomic uint64_t *slot = slot_of(&m, "k");
    uint64_t word = load_acquire(slot);
    start(&m);
    assert_true(slot_is_moved(move(&m, slot)));
    writer_put(&m.w, "k", "young");
    store_seq_cst(slot, word | SLOT_FROZEN); /* the second mover has not got here yet */
    assert_true(slot_is_moved(move(&m, slot)));
    assert_int_equal(slots_with(m.a, m.to, "k", NULL), 1);
    assert_memory_equal(record_value(record_found(&m.w, "k")), "young", 5);
    writer_end(&m.w);
}

/* ---- INV-R1 -------------------------------------------------------------------------------- */

static void chains_have_length_one(void **state)
{
    struct moving m;
    begin(&m, state);
    for (unsigned i = 0; i < 100; i++)
        writer_put(&m.w, numbered(i), "v");
    for (unsigned round = 0; round < 20; round++) { /* areas are used again and again */
        start(&m);
        assert_true(load_acquire(&source(&m)->tickets) == (TICKETS_CLOSED | m.to));
        uint64_t outer = epoch_enter(&m.w.self);
        resize_help(&m.w.self, &m.w.resizer, 24);
        epoch_exit(&m.w.self, outer);
        writer_put(&m.w, numbered(round), "w");
        assert_true(load_acquire(&source(&m)->next) == m.to); /* once */
        assert_true(load_acquire(&target(&m)->next) == 0);
        assert_int_equal(resize_grow(&m.w.self, &m.w.resizer, m.from), 0); /* finishes */
        assert_true(table_root(m.a) == m.to && load_acquire(&target(&m)->next) == 0);
        assert_int_equal(resize_grow(&m.w.self, &m.w.resizer, m.from), 0); /* is over: nothing */
        assert_true(table_root(m.a) == m.to && load_acquire(&target(&m)->next) == 0);
        grace_pass(m.a);
    }
    for (unsigned i = 0; i < 100; i++)
        assert_memory_equal(record_value(record_found(&m.w, numbered(i))), i < 20 ? "w" : "v", 1);
    writer_end(&m.w);
}

/* ---- INV-R2 -------------------------------------------------------------------------------- */

/* T' is being moved itself: the mover is late, and must not write behind the mark that it met. */
static void a_late_mover_never_leaves_its_target(void **state)
{
    struct moving m;
    begin(&m, state);
    writer_put(&m.w, "k", "value");
    _Atomic uint64_t *slot = slot_of(&m, "k");
    uint64_t word = load_acquire(slot);
    start(&m);
    const uint64_t met[] = {SLOT_MOVED_EMPTY, slot_moved(word), slot_dropped(word),
                            slot_record(slot_tag_of(word), m.a->log_offset) | SLOT_FROZEN};
    for (unsigned i = 0; i < ARRAY_SIZE(met); i++) {
        store_seq_cst(slot, word | SLOT_FROZEN);
        store_seq_cst(home_of(&m, "k"), met[i]);
        assert_true(slot_is_moved(move(&m, slot)));
        assert_true(load_acquire(home_of(&m, "k")) == met[i]);
        assert_int_equal(filled(&m, target(&m)), 1);
        assert_true(load_acquire(&target(&m)->next) == 0);
    }
    store_seq_cst(home_of(&m, "k"), word);
    writer_end(&m.w);
}

/* ---- INV-R5 -------------------------------------------------------------------------------- */

/* What was evicted there was another key: this one's slot is frozen still. */
static void an_evicted_slot_is_passed(void **state)
{
    struct moving m;
    begin(&m, state);
    writer_put(&m.w, "k", "value");
    _Atomic uint64_t *slot = slot_of(&m, "k");
    uint64_t word = load_acquire(slot);
    start(&m);
    store_seq_cst(home_of(&m, "k"), slot_evicted(word));
    store_seq_cst(slot, word | SLOT_FROZEN);
    assert_true(slot_is_moved(move(&m, slot)));
    assert_true(slot_is_evicted(load_acquire(home_of(&m, "k"))));
    assert_int_equal(slots_with(m.a, m.to, "k", NULL), 1);
    assert_memory_equal(record_value(record_found(&m.w, "k")), "value", 5);
    writer_put(&m.w, "k", "young");
    assert_int_equal(slots_with(m.a, m.to, "k", NULL), 1);
    writer_end(&m.w);
}

/* In the old table it is dropped, and ends no probe. */
static void an_evicted_slot_is_dropped(void **state)
{
    struct moving m;
    begin(&m, state);
    writer_put(&m.w, "k", "value");
    _Atomic uint64_t *slot = slot_of(&m, "k");
    uint64_t word = load_acquire(slot);
    store_seq_cst(slot, slot_evicted(word));
    assert_null(record_found(&m.w, "k"));
    writer_put(&m.w, "k", "again");
    assert_int_equal(slots_with(m.a, m.from, "k", NULL), 1);
    assert_true(slot_is_evicted(load_acquire(slot)));
    start(&m);
    assert_true(move(&m, slot) == slot_dropped(word));
    assert_memory_equal(record_value(record_found(&m.w, "k")), "again", 5);
    finish(&m);
    assert_memory_equal(record_value(record_found(&m.w, "k")), "again", 5);
    writer_end(&m.w);
}

/* ---- INV-R3 -------------------------------------------------------------------------------- */

static void a_frozen_tombstone_is_copied(void **state)
{
    struct moving m;
    begin(&m, state);
    writer_put(&m.w, "k", "value");
    writer_delete(&m.w, "k");
    _Atomic uint64_t *slot = slot_of(&m, "k");
    uint64_t word = load_acquire(slot);
    epoch_raise_above(m.a, epoch_now(m.a)); /* droppable, but for the freeze */
    start(&m);
    store_seq_cst(slot, word | SLOT_FROZEN);
    assert_true(move(&m, slot) == slot_moved(word));
    assert_true(load_acquire(home_of(&m, "k")) == word);
    writer_end(&m.w);
}

static void an_old_tombstone_is_dropped_and_a_young_one_copied(void **state)
{
    struct moving m;
    begin(&m, state);
    writer_put(&m.w, "k", "value");
    writer_delete(&m.w, "k");
    _Atomic uint64_t *slot = slot_of(&m, "k");
    uint64_t word = load_acquire(slot);
    start(&m);
    struct record *tombstone = arena_at(m.a, slot_offset(word));
    tombstone->version = epoch_now(m.a) << VERSION_EPOCH_SHIFT; /* made just now */
    assert_true(move(&m, slot) == slot_moved(word));
    assert_true(load_acquire(home_of(&m, "k")) == word);
    store_seq_cst(home_of(&m, "k"), SLOT_EMPTY);
    store_seq_cst(slot, word);
    epoch_raise_above(m.a, epoch_now(m.a));
    assert_true(move(&m, slot) == slot_dropped(word));
    assert_int_equal(filled(&m, target(&m)), 0);
    assert_null(record_found(&m.w, "k"));
    writer_put(&m.w, "k", "again"); /* behind a slot that is gone: in T' */
    assert_int_equal(slots_with(m.a, m.to, "k", NULL), 1);
    writer_end(&m.w);
}

/* ---- INV-R4 -------------------------------------------------------------------------------- */

/* Tombstones are copied or dropped, others moved: in the end slots and tickets are the quota. */
static void tickets_come_back_once(void **state)
{
    struct moving m;
    begin(&m, state);
    for (unsigned i = 0; i < 300; i++)
        writer_put(&m.w, numbered(i), "v");
    for (unsigned i = 0; i < 200; i++)
        writer_delete(&m.w, numbered(i));
    epoch_raise_above(m.a, epoch_now(m.a));
    resize_leave(&m.w.self, &m.w.resizer); /* it holds no tickets */
    start(&m);
    assert_int_equal(target(&m)->bound, 300);
    finish(&m);
    uint64_t quota = table_quota(target(&m)->slots);
    assert_int_equal(filled(&m, target(&m)), 100);
    assert_true(load_acquire(&target(&m)->tickets) == ((quota - 100) | TICKETS_TOPPED));
    resize_finish(&m.w.self);
    assert_true(load_acquire(&target(&m)->tickets) == ((quota - 100) | TICKETS_TOPPED));
    writer_end(&m.w);
}

/* q - r is a bound on what was filled, in T and in T', at every moment. */
static void assert_not_overfilled(const struct moving *m, uint64_t ref)
{
    const struct table *t = table_of(m->a, ref);
    uint64_t word = load_acquire(&t->tickets), r = word & TICKETS_COUNT, n = 0;
    for (uint64_t i = 0; i < t->slots; i++)
        n += slot_is_record(load_acquire(&table_slots(m->a, t)[i]));
    assert_in_range(n, 0, table_quota(t->slots) - ((word & TICKETS_CLOSED) != 0 ? 0 : r));
}

static void never_full(void **state)
{
    struct moving m;
    begin(&m, state);
    for (unsigned i = 0; i < 8000; i++) {
        writer_put(&m.w, numbered(i), "v");
        uint64_t root = table_root(m.a), next = load_acquire(&table_of(m.a, root)->next);
        if (next != 0 || i % 100 == 0)
            assert_not_overfilled(&m, root);
        if (next != 0)
            assert_not_overfilled(&m, next);
    }
    writer_end(&m.w);
}

/* Room for all of T's slots is set aside in a T' of the same size: no tickets until the top-up. */
static void never_full_at_the_same_size(void **state)
{
    struct moving m;
    unsigned n = 0;
    begin(&m, state);
    for (; (load_acquire(&source(&m)->tickets) & TICKETS_COUNT) != 0; n++)
        writer_put(&m.w, numbered(n), "v");
    for (unsigned i = 100; i < n; i++)
        writer_delete(&m.w, numbered(i));
    epoch_raise_above(m.a, epoch_now(m.a));
    start(&m);
    assert_true(target(&m)->slots == source(&m)->slots && target(&m)->bound == n);
    struct index_change c = writer_change_of(m.a, "fresh", "w");
    assert_int_equal(append_reserve(&m.w.puts, &m.w.self, SEGMENT_FOR_PUT, 64), 0);
    assert_int_equal(index_write(&m.w, &c), INDEX_NEED_TICKET);
    for (unsigned i = 0; i < 10; i++)
        writer_put(&m.w, numbered(i), "w"); /* over another needs none */
    finish(&m);
    assert_int_equal(load_acquire(&target(&m)->tickets) & TICKETS_COUNT, n - 100);
    assert_int_equal(writer_change(&m.w, &c), 0);
    assert_not_overfilled(&m, m.to);
    writer_end(&m.w);
}

/* ---- whole resizes ------------------------------------------------------------------------- */

/* Several writers, in turn, over all sizes: growing, the same, shrinking. */
static void every_key_comes_through(void **state)
{
    enum { KEYS = 4000 };
    const struct arena *a = fixture_arena(state);
    struct writer w[3];
    uint64_t largest, resizes[STAT_COUNT];
    for (unsigned i = 0; i < 3; i++)
        writer_begin(&w[i], a, writers_process(state));
    for (unsigned i = 0; i < KEYS; i++)
        writer_put(&w[i % 3], numbered(i), "value");
    largest = table_of(a, table_root(a))->slots;
    assert_in_range(largest, KEYS, 16 * KEYS);
    for (unsigned i = 100; i < KEYS; i++)
        writer_delete(&w[i % 3], numbered(i));
    for (unsigned round = 0; round < 6; round++) {
        grace_pass(a);
        resize_grow(&w[0].self, &w[0].resizer, table_root(a));
        for (unsigned i = 0; i < 100; i++)
            writer_put(&w[i % 3], numbered(i), "again");
        resize_finish(&w[round % 3].self);
    }
    assert_in_range(table_of(a, table_root(a))->slots, TABLE_MIN_SLOTS, largest / 4);
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(slots_with(a, table_root(a), numbered(i), NULL), i < 100);
    stats_sum(a, resizes);
    assert_in_range(resizes[STAT_resizes], 8, 30);
    for (unsigned i = 0; i < 3; i++)
        writer_end(&w[i]);
}

/* One helper has taken a chunk and stays away: the others do it over. */
static void nobody_waits_for_a_helper(void **state)
{
    struct moving m;
    struct writer lazy;
    begin(&m, state);
    writer_begin(&lazy, m.a, writers_process(state));
    for (unsigned i = 0; i < 800; i++)
        writer_put(&m.w, numbered(i), "value");
    start(&m);
    uint64_t outer = epoch_enter(&lazy.self);
    resize_help(&lazy.self, &lazy.resizer, 56);
    assert_true(lazy.resizer.chunk_ref == m.from && lazy.resizer.chunk_slot == 56);
    finish(&m);
    resize_help(&lazy.self, &lazy.resizer, 8000); /* too late, and harmless */
    epoch_exit(&lazy.self, outer);
    for (unsigned i = 0; i < 800; i++)
        assert_int_equal(slots_with(m.a, table_root(m.a), numbered(i), NULL), 1);
    writer_end(&lazy);
    writer_end(&m.w);
}

/* Who takes a ticket pays for a larger table; those who overwrite bring it to its end all the same,
 * one slot with each write. */
static void who_takes_a_ticket_moves_most(void **state)
{
    struct moving m;
    begin(&m, state);
    for (unsigned i = 0; i < 800; i++)
        writer_put(&m.w, numbered(i), "value");
    start(&m);
    assert_true(target(&m)->slots > source(&m)->slots);
    writer_put(&m.w, numbered(0), "other");
    assert_true(m.w.resizer.chunk_ref == m.from);
    assert_int_equal(m.w.resizer.chunk_slot, 1);
    writer_put(&m.w, numbered(800), "value");
    assert_in_range(m.w.resizer.chunk_slot, 1 + 8, 1 + 64);
    uint64_t left = source(&m)->slots - m.w.resizer.chunk_slot;
    for (uint64_t i = 0; i < left; i++) {
        assert_true(table_root(m.a) == m.from);
        writer_put(&m.w, numbered((unsigned)i % 800), "other");
    }
    writer_put(&m.w, numbered(0), "other"); /* finds no chunk any more */
    assert_true(table_root(m.a) == m.to);
    writer_end(&m.w);
}

/* What is prepared for a resize that somebody else starts is given back. */
static void what_was_prepared_in_vain_is_given_back(void **state)
{
    struct moving m;
    struct writer other;
    begin(&m, state);
    writer_begin(&other, m.a, writers_process(state));
    struct table *t = source(&m);
    store_seq_cst(&t->tickets, table_quota(t->slots) / 5); /* low enough to prepare */
    resize_prepare(&other.self, &other.resizer, 4096);
    struct table *prepared = other.resizer.prepared;
    assert_non_null(prepared);
    assert_int_equal(claim_kind(load_acquire(&prepared->state)), TABLE_CLAIMED);
    start(&m);
    assert_true(target(&m) != prepared);
    resize_prepare(&other.self, &other.resizer, 4096);
    assert_null(other.resizer.prepared);
    assert_int_equal(claim_kind(load_acquire(&prepared->state)), TABLE_FREE);
    finish(&m);
    writer_end(&other);
    writer_end(&m.w);
}

/* Prepared before others resized: it gets a younger name, or the root would go back in time. */
static void what_was_prepared_earlier_is_younger_than_the_root(void **state)
{
    struct moving m;
    struct writer other;
    begin(&m, state);
    writer_begin(&other, m.a, writers_process(state));
    writer_put(&m.w, "k", "value");
    struct table *t = source(&m);
    store_seq_cst(&t->tickets, table_quota(t->slots) / 5);
    resize_prepare(&other.self, &other.resizer, UINT64_MAX);
    struct table *prepared = other.resizer.prepared;
    assert_non_null(prepared);
    start(&m);
    finish(&m);
    uint64_t root = table_root(m.a);
    assert_true(table_ref(m.a, prepared) < root);
    assert_int_equal(resize_grow(&other.self, &other.resizer, root), 0);
    assert_true(load_acquire(&table_of(m.a, root)->next) == table_ref(m.a, prepared));
    assert_true(table_ref(m.a, prepared) > root);
    resize_finish(&other.self);
    assert_true(table_root(m.a) == table_ref(m.a, prepared));
    assert_int_equal(claim_kind(load_acquire(&table_of(m.a, root)->state)), TABLE_LIMBO);
    assert_memory_equal(record_value(record_found(&m.w, "k")), "value", 5);
    writer_end(&other);
    writer_end(&m.w);
}

/* ---- claims of those who do not go on (INV-T3) ---------------------------------------------- */

/* @w prepares a table, and does nothing any more. */
static struct table *prepare_and_idle(const struct arena *a, struct writer *w)
{
    struct table *t = table_of(a, table_root(a));
    uint64_t word = load_acquire(&t->tickets);
    store_seq_cst(&t->tickets, table_quota(t->slots) / 5); /* low enough to prepare */
    resize_prepare(&w->self, &w->resizer, UINT64_MAX);
    store_seq_cst(&t->tickets, word);
    assert_non_null(w->resizer.prepared);
    return w->resizer.prepared;
}

static void resize_once(struct moving *m)
{
    start(m);
    finish(m);
    grace_pass(m->a);
    table_reclaim(&m->w.self);
}

static void an_idle_claim_is_given_back(void **state)
{
    struct moving m;
    struct writer idle;
    begin(&m, state);
    writer_begin(&idle, m.a, writers_process(state));
    writer_put(&m.w, "k", "value");
    for (unsigned round = 0; round < 40; round++) { /* more often than there are areas */
        struct table *claimed = prepare_and_idle(m.a, &idle);
        resize_once(&m);
        assert_true(claim_kind(load_acquire(&claimed->state)) != TABLE_CLAIMED ||
                    table_ref(m.a, claimed) > m.to);
        resize_once(&m);
        assert_false(table_claimed_owner(&idle.self, claimed));
        if (round % 2 == 0) /* it prepares anew, or starts a resize */
            idle.resizer.low = true;
        else
            assert_int_equal(resize_grow(&idle.self, &idle.resizer, table_root(m.a)), 0);
        resize_finish(&idle.self);
        resize_prepare(&idle.self, &idle.resizer, 4096);
        assert_null(idle.resizer.prepared);
        writer_put(&idle, "k", "value");
    }
    grace_pass(m.a);
    table_reclaim(&m.w.self);
    for (unsigned i = 0; i < TABLE_AREAS; i++)
        assert_true(load_acquire(&m.a->tables[i].state) == TABLE_FREE ||
                    &m.a->tables[i] == table_of(m.a, table_root(m.a)));
    assert_memory_equal(record_value(record_found(&m.w, "k")), "value", 5);
    writer_end(&idle);
    writer_end(&m.w);
}

/* What is not overtaken is taken for want of memory only, and not from oneself. */
static void an_idle_claim_is_taken_in_need(void **state)
{
    struct moving m;
    struct writer idle;
    begin(&m, state);
    writer_begin(&idle, m.a, writers_process(state));
    uint64_t memory = segment_memory(m.a);
    struct table *claimed = prepare_and_idle(m.a, &idle);
    table_reclaim(&m.w.self);
    assert_true(table_claimed_owner(&idle.self, claimed));
    assert_false(table_take_idle(&idle.self));
    uint64_t outer = epoch_enter(&idle.self); /* not idle now */
    assert_false(table_take_idle(&m.w.self));
    assert_true(table_claimed_owner(&idle.self, claimed));
    epoch_exit(&idle.self, outer);
    assert_true(table_take_idle(&m.w.self));
    assert_int_equal(load_acquire(&claimed->state), TABLE_FREE);
    assert_int_equal(segment_memory(m.a), memory);
    assert_int_equal(resize_grow(&idle.self, &idle.resizer, m.from), 0); /* with another one */
    resize_finish(&idle.self);
    assert_true(table_root(m.a) != m.from);
    writer_end(&idle);
    writer_end(&m.w);
}

/* Who was about to take it has died: its claimer, who is alone now, gives it back himself. */
static void an_idle_claim_that_nobody_took_is_given_back(void **state)
{
    struct moving m;
    begin(&m, state);
    struct table *claimed = prepare_and_idle(m.a, &m.w);
    uint64_t word = load_acquire(&claimed->state);
    uint64_t taking = claim_word(TABLE_TAKING, m.w.self.index, claim_epoch(word));
    store_seq_cst(&claimed->state, taking);
    for (unsigned i = 0; i < 3; i++) {
        resize_once(&m);
        assert_true(load_acquire(&claimed->state) != taking); /* it may be used again */
    }
    writer_end(&m.w);
}

/* ---- scribbled ----------------------------------------------------------------------------- */

/* R3: T or T' is written over while a chunk is under way: nobody moves anything any more, or tries
 * for ever.  Who comes when it is whole again does the rest. */
static void what_is_written_over_is_not_moved(void **state)
{
    struct moving m;
    begin(&m, state);
    for (unsigned i = 0; i < 300; i++)
        writer_put(&m.w, numbered(i), "v");
    for (unsigned turn = 0; turn < 2; turn++) {
        struct writer helper;
        start(&m);
        writer_begin(&helper, m.a, writers_process(state));
        uint64_t outer = epoch_enter(&helper.self);
        resize_help(&helper.self, &helper.resizer, 8);
        assert_true(helper.resizer.chunk_ref == m.from);
        uint64_t before = filled(&m, target(&m));
        uint64_t *word = turn == 0 ? &target(&m)->slots : &source(&m)->slots_offset, was = *word;
        *word = 1ull << 60;
        resize_help(&helper.self, &helper.resizer, 2 * TABLE_CHUNK_SLOTS);
        resize_finish(&helper.self);
        *word = was;
        epoch_exit(&helper.self, outer);
        writer_end(&helper);
        assert_true(table_root(m.a) == m.from);
        assert_int_equal(filled(&m, target(&m)), before);
        finish(&m);
        for (unsigned i = 0; i < 300; i++)
            assert_non_null(record_found(&m.w, numbered(i)));
    }
    writer_end(&m.w);
}

/* ... nor does a record go where T' only says to be. */
static void a_frozen_record_stays_where_it_is(void **state)
{
    struct moving m;
    begin(&m, state);
    writer_put(&m.w, "k", "value");
    _Atomic uint64_t *slot = slot_of(&m, "k");
    uint64_t word = load_acquire(slot);
    start(&m);
    uint64_t was = target(&m)->slots_offset;
    target(&m)->slots_offset = 1ull << 60;
    assert_true(move(&m, slot) == (word | SLOT_FROZEN));
    target(&m)->slots_offset = was;
    assert_memory_equal(record_value(record_found(&m.w, "k")), "value", 5);
    assert_true(move(&m, slot) == slot_moved(word));
    assert_memory_equal(record_value(record_found(&m.w, "k")), "value", 5);
    writer_end(&m.w);
}

/* R3: with more tickets than slots the table would be full, and what makes room never begin. */
static void tickets_that_cannot_be_count_as_none(void **state)
{
    struct moving m;
    begin(&m, state);
    for (unsigned i = 0; i < 300; i++)
        writer_put(&m.w, numbered(i), "v");
    resize_leave(&m.w.self, &m.w.resizer);
    store_seq_cst(&source(&m)->tickets, TICKETS_COUNT);
    start(&m);
    finish(&m);
    for (unsigned i = 0; i < 300; i++)
        assert_non_null(record_found(&m.w, numbered(i)));
    uint64_t quota = table_quota(target(&m)->slots);
    assert_true(load_acquire(&target(&m)->tickets) == ((quota - 300) | TICKETS_TOPPED));
    writer_end(&m.w);
}

/* R3: a chunk's word that cannot be is none: its slots are moved, and counted. */
static void chunks_that_say_what_cannot_be_are_moved(void **state)
{
    struct moving m;
    begin(&m, state);
    for (unsigned i = 0; i < 300; i++)
        writer_put(&m.w, numbered(i), "v");
    resize_leave(&m.w.self, &m.w.resizer);
    start(&m);
    store_seq_cst(&table_chunk_words(m.a, source(&m))[0], UINT32_MAX);
    finish(&m);
    for (unsigned i = 0; i < 300; i++)
        assert_non_null(record_found(&m.w, numbered(i)));
    uint64_t quota = table_quota(target(&m)->slots);
    assert_true(load_acquire(&target(&m)->tickets) == ((quota - 300) | TICKETS_TOPPED));
    writer_end(&m.w);
}

/* R3: nor does what was written over the bound of T' give it more tickets than slots, or so many
 * that its word is CLOSED. */
static void a_bound_written_over_closes_no_table(void **state)
{
    static const uint64_t bounds[] = {0, UINT64_MAX, TICKETS_CLOSED, TICKETS_TOPPED};
    struct moving m;
    begin(&m, state);
    for (unsigned i = 0; i < 300; i++)
        writer_put(&m.w, numbered(i), "v");
    for (unsigned i = 0; i < ARRAY_SIZE(bounds); i++) {
        resize_leave(&m.w.self, &m.w.resizer);
        start(&m);
        target(&m)->bound = bounds[i];
        finish(&m);
        uint64_t word = load_acquire(&target(&m)->tickets);
        assert_true((word & (TICKETS_CLOSED | TICKETS_TOPPED)) == TICKETS_TOPPED);
        assert_true((word & TICKETS_COUNT) <= table_quota(target(&m)->slots));
        writer_put(&m.w, "another", "v");
    }
    writer_end(&m.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(an_evicted_slot_is_passed),
        FIXTURE(an_evicted_slot_is_dropped),
        FIXTURE(an_empty_slot_is_closed),
        FIXTURE(a_record_is_copied_and_found_all_the_time),
        FIXTURE(a_key_that_is_there_is_not_copied_again),
        FIXTURE(chains_have_length_one),
        FIXTURE(a_late_mover_never_leaves_its_target),
        FIXTURE(a_frozen_tombstone_is_copied),
        FIXTURE(an_old_tombstone_is_dropped_and_a_young_one_copied),
        FIXTURE(tickets_come_back_once),
        FIXTURE(never_full),
        FIXTURE(never_full_at_the_same_size),
        FIXTURE(every_key_comes_through),
        FIXTURE(nobody_waits_for_a_helper),
        FIXTURE(who_takes_a_ticket_moves_most),
        FIXTURE(what_was_prepared_in_vain_is_given_back),
        FIXTURE(what_was_prepared_earlier_is_younger_than_the_root),
        FIXTURE(an_idle_claim_is_given_back),
        FIXTURE(an_idle_claim_is_taken_in_need),
        FIXTURE(an_idle_claim_that_nobody_took_is_given_back),
        FIXTURE(what_is_written_over_is_not_moved),
        FIXTURE(a_frozen_record_stays_where_it_is),
        FIXTURE(tickets_that_cannot_be_count_as_none),
        FIXTURE(chunks_that_say_what_cannot_be_are_moved),
        FIXTURE(a_bound_written_over_closes_no_table),
    };
    return cmocka_run_group_tests_name("resize", tests, NULL, NULL);
}
