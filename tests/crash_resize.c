/* SPDX-License-Identifier: MIT */
/*
 * crash_resize.c - a grower, a mover or a finisher is stopped at a step, and others go on: through
 * the rest of the resize, and through the next two.
 *
 * All are participants of one thread: who is stopped at a point is the caller of what the others do
 * meanwhile.  See resize.h for what must hold.
 */
#include "writers.h"

#include <stdio.h>
#include <string.h>

#include "point.h"

#define KEYS 200u

struct scene {
    const struct arena *a;
    struct writer w, other;
    uint64_t from;  /* the root at the beginning */
    uint64_t outer; /* of a section that stays open */
    unsigned passed;
    struct table *late; /* a claim that came later */
};

static char *numbered(unsigned i)
{
    static char key[16];
    snprintf(key, sizeof(key), "key %u", i);
    return key;
}

/* Half of the keys are there, the others were deleted. */
static void begin(struct scene *s, void **state)
{
    *s = (struct scene){.a = fixture_arena(state)};
    writer_begin(&s->w, s->a, writers_process(state));
    writer_begin(&s->other, s->a, writers_process(state));
    for (unsigned i = 0; i < KEYS; i++)
        writer_put(&s->w, numbered(i), "old");
    for (unsigned i = 0; i < KEYS; i += 2)
        writer_delete(&s->w, numbered(i));
    epoch_raise_above(s->a, epoch_now(s->a));
    s->from = table_root(s->a);
}

static void assert_keys(const struct scene *s, const char *value)
{
    uint64_t root = table_root(s->a);
    for (unsigned i = 0; i < KEYS; i++) {
        const struct record *r = record_found(&s->w, numbered(i));
        if (i % 2 == 0) {
            assert_true(r == NULL || r->type == RECORD_TOMBSTONE);
            continue;
        }
        assert_non_null(r);
        assert_memory_equal(record_value(r), value, strlen(value));
        assert_int_equal(slots_with(s->a, root, numbered(i), NULL), 1);
    }
}

static void resize(struct writer *w)
{
    const struct arena *a = w->self.arena;
    epoch_raise_above(a, epoch_now(a));
    assert_int_equal(resize_grow(&w->self, &w->resizer, table_root(a)), 0);
    resize_finish(&w->self);
}

/* No area is lost, the memory is that of one table, the tickets are those of its slots. */
static void end(struct scene *s, const char *value)
{
    point_disarm();
    assert_int_equal(s->passed, 1);
    resize_finish(&s->w.self);
    assert_keys(s, value);
    writer_end(&s->w);
    writer_begin(&s->w, s->a, NO_PROCESS);
    resize(&s->w); /* and the next one goes as if nothing had been */
    assert_keys(s, value);
    writer_end(&s->other);
    grace_pass(s->a);
    table_reclaim(&s->w.self);
    const struct table *t = table_of(s->a, table_root(s->a));
    unsigned kinds[TABLE_KINDS] = {0};
    for (unsigned i = 0; i < TABLE_AREAS; i++)
        kinds[claim_kind(load_acquire(&s->a->tables[i].state))]++;
    assert_int_equal(kinds[TABLE_LIVE], 1);
    assert_int_equal(kinds[TABLE_FREE], TABLE_AREAS - 1);
    uint64_t records = 0, r = load_acquire(&t->tickets) & TICKETS_COUNT;
    for (uint64_t i = 0; i < t->slots; i++)
        records += slot_is_record(load_acquire(&table_slots(s->a, t)[i]));
    assert_int_equal(r + records, table_quota(t->slots));
    assert_true(load_acquire(&t->next) == 0);
    writer_end(&s->w);
}

static void grow(struct scene *s)
{
    assert_int_equal(resize_grow(&s->w.self, &s->w.resizer, s->from), 0);
}

/* ---- what the others do -------------------------------------------------------------------- */

static void overwrite_all(struct scene *s)
{
    for (unsigned i = 1; i < KEYS; i += 2)
        writer_put(&s->other, numbered(i), "new");
}

/* Take tickets and fill slots; the last of the batch goes back. */
static void insert_some(void *arg)
{
    struct scene *s = arg;
    for (unsigned i = 0; i < 40; i++) {
        writer_put(&s->other, numbered(KEYS + i), "more");
        writer_delete(&s->other, numbered(KEYS + i));
    }
    overwrite_all(s);
    s->passed++;
}

static void resize_once(void *arg)
{
    struct scene *s = arg;
    resize(&s->other);
    overwrite_all(s);
    s->passed++;
}

static void resize_three_times(void *arg)
{
    struct scene *s = arg;
    for (int i = 0; i < 3; i++) {
        resize(&s->other);
        grace_pass(s->a);
        table_reclaim(&s->other.self);
    }
    overwrite_all(s);
    s->passed++;
}

/* Delete everything, drop the tombstones if they can be, put it again. */
static void come_and_go(void *arg)
{
    struct scene *s = arg;
    for (unsigned i = 1; i < KEYS; i += 2)
        writer_delete(&s->other, numbered(i));
    resize(&s->other);
    resize(&s->other);
    overwrite_all(s);
    s->passed++;
}

static void (*const meanwhile[])(void *) = {insert_some, resize_once, resize_three_times,
                                            come_and_go};

/* ---- the one that is stopped --------------------------------------------------------------- */

/* Before its CAS, between CAS and next, before the root; INV-R1. */
static void a_grower_is_overtaken(void **state)
{
    static const char *const points[] = {"table.claimed", "resize.bound", "resize.closed",
                                         "resize.started"};
    for (unsigned i = 0; i < ARRAY_SIZE(points) * ARRAY_SIZE(meanwhile); i++) {
        struct scene s;
        begin(&s, state);
        point_arm(points[i % 4], 1, POINT_CALL, meanwhile[i / 4], &s);
        grow(&s);
        end(&s, "new");
    }
}

static void a_mover_is_overtaken(void **state)
{
    static const char *const points[] = {"move.frozen", "move.placed", "move.chunk"};
    for (unsigned i = 0; i < ARRAY_SIZE(points) * ARRAY_SIZE(meanwhile); i++) {
        for (unsigned nth = 1; nth < (i % 3 == 2 ? 2 : 60); nth += 29) {
            struct scene s;
            begin(&s, state);
            grow(&s);
            point_arm(points[i % 3], nth, POINT_CALL, meanwhile[i / 3], &s);
            resize_finish(&s.w.self);
            end(&s, "new");
        }
    }
}

/* ---- INV-R5 -------------------------------------------------------------------------------- */

static void evict_all(struct scene *s)
{
    for (unsigned i = 1; i < KEYS; i += 2) {
        uint64_t at = offset_of(s->a, record_found(&s->other, numbered(i)));
        const struct segment *seg = segment_at(s->a, arena_segment_of(s->a, at));
        assert_int_equal(index_evict(&s->other, at, load_acquire(&seg->state)), INDEX_EVICTED);
    }
}

/* In the new table, behind the mover's back. */
static void finish_and_evict(void *arg)
{
    struct scene *s = arg;
    resize_finish(&s->other.self);
    evict_all(s);
    s->passed++;
}

static void evict_and_finish(void *arg)
{
    struct scene *s = arg;
    evict_all(s);
    resize_finish(&s->other.self);
    s->passed++;
}

/* It has read the frozen word, and comes to its destination when the key was there and went. */
static void a_mover_brings_nothing_evicted_back(void **state)
{
    static const char *const points[] = {"move.placing", "move.frozen", "move.placed"};
    static void (*const ways[])(void *) = {finish_and_evict, evict_and_finish};
    for (unsigned i = 0; i < ARRAY_SIZE(points) * ARRAY_SIZE(ways); i++) {
        for (unsigned nth = 1; nth < 60; nth += 29) {
            struct scene s;
            begin(&s, state);
            grow(&s);
            point_arm(points[i % 3], nth, POINT_CALL, ways[i / 3], &s);
            resize_finish(&s.w.self);
            point_disarm();
            for (unsigned k = 1; k < KEYS; k += 2)
                assert_null(record_found(&s.w, numbered(k)));
            overwrite_all(&s);
            end(&s, "new");
        }
    }
}

/* With bare area numbers it would install a table that has died meanwhile. */
static void a_finisher_is_overtaken(void **state)
{
    static const char *const points[] = {"resize.topped", "resize.finishing", "resize.rooted"};
    for (unsigned i = 0; i < ARRAY_SIZE(points) * ARRAY_SIZE(meanwhile); i++) {
        struct scene s;
        begin(&s, state);
        grow(&s);
        point_arm(points[i % 3], 1, POINT_CALL, meanwhile[i / 3], &s);
        resize_finish(&s.w.self);
        assert_true(table_root(s.a) > s.from);
        end(&s, "new");
    }
}

/* ---- INV-R4 -------------------------------------------------------------------------------- */

/* B is that of the word which the CAS replaces: tickets that were taken meanwhile count. */
static void tickets_taken_before_the_close_count(void **state)
{
    struct scene s;
    begin(&s, state);
    const struct table *t = table_of(s.a, s.from);
    uint64_t r = load_acquire(&t->tickets) & TICKETS_COUNT;
    point_arm("resize.bound", 1, POINT_CALL, insert_some, &s);
    grow(&s);
    const struct table *to = table_of(s.a, load_acquire(&t->next));
    assert_in_range(to->bound, table_quota(t->slots) - r + 40, table_quota(t->slots));
    assert_int_equal(to->bound + (load_acquire(&to->tickets) & TICKETS_COUNT),
                     table_quota(to->slots));
    end(&s, "new");
}

static void finish_too(void *arg)
{
    struct scene *s = arg;
    resize_finish(&s->other.self);
    overwrite_all(s);
    s->passed++;
}

/* The second finisher comes before, between and after the first one's steps. */
static void the_top_up_comes_once(void **state)
{
    static const char *const points[] = {"move.chunk", "resize.topped", "resize.finishing"};
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
        struct scene s;
        begin(&s, state);
        resize_leave(&s.w.self, &s.w.resizer);
        grow(&s);
        const struct table *to = table_of(s.a, load_acquire(&table_of(s.a, s.from)->next));
        point_arm(points[i], 1, POINT_CALL, finish_too, &s);
        resize_finish(&s.w.self);
        assert_int_equal(load_acquire(&to->tickets) & TICKETS_COUNT,
                         table_quota(to->slots) - KEYS / 2);
        end(&s, "new");
    }
}

/* ---- a claimer that stays away ------------------------------------------------------------- */

/*
 * It costs one area, and, being in a section, those that are retired meanwhile; not the next
 * resizes.  Idle outside of one it costs nothing: test_resize, an_idle_claim_is_given_back.
 */
static void resize_often(void *arg)
{
    struct scene *s = arg;
    for (int i = 0; i < 10; i++) {
        resize(&s->other);
        grace_pass(s->a);
    }
    overwrite_all(s);
    s->passed++;
}

static void a_claimer_costs_one_area(void **state)
{
    struct scene s;
    begin(&s, state);
    struct table *t = NULL;
    point_arm("table.claimed", 1, POINT_CALL, resize_often, &s);
    uint64_t outer = epoch_enter(&s.w.self);
    assert_int_equal(table_claim(&s.w.self, 1024, &t), 0);
    epoch_exit(&s.w.self, outer);
    table_unclaim_owner(&s.w.self, t);
    end(&s, "new");
}

/* ---- a claim that is being taken (INV-T3) --------------------------------------------------- */

/* The claimer goes on: it starts the resize with what it has prepared, and stays in its section. */
static void claimer_starts(void *arg)
{
    struct scene *s = arg;
    s->outer = epoch_enter(&s->other.self);
    assert_int_equal(resize_grow(&s->other.self, &s->other.resizer, s->from), 0);
    s->passed++;
}

/*
 * Between any two steps of the taker: before TAKING its table lives; after it the claimer sees that
 * it has lost it, and takes another one.
 */
static void a_claim_is_not_taken_from_who_uses_it(void **state)
{
    static const char *const points[] = {"table.idle", "table.taking"};
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
        struct scene s;
        begin(&s, state);
        struct table *t = table_of(s.a, s.from);
        uint64_t word = load_acquire(&t->tickets);
        store_seq_cst(&t->tickets, table_quota(t->slots) / 5);
        resize_prepare(&s.other.self, &s.other.resizer, UINT64_MAX);
        store_seq_cst(&t->tickets, word);
        struct table *claimed = s.other.resizer.prepared;
        assert_non_null(claimed);
        uint64_t ref = table_ref(s.a, claimed);
        point_arm(points[i], 1, POINT_CALL, claimer_starts, &s);
        assert_false(table_take_idle(&s.w.self));
        uint64_t next = load_acquire(&t->next);
        assert_true(next != 0 && (next == ref) == (i == 0)); /* else he has given it back */
        assert_int_equal(claim_kind(load_acquire(&table_of(s.a, next)->state)), TABLE_LIVE);
        resize_finish(&s.w.self);
        assert_true(table_root(s.a) == next);
        epoch_exit(&s.other.self, s.outer);
        assert_false(table_take_idle(&s.w.self));
        end(&s, "old");
    }
}

/* Inside its section the claimer uses it on, though it is to be taken: what it names, lives. */
static void a_claim_that_is_used_meanwhile_lives(void **state)
{
    struct scene s;
    struct table *t = NULL;
    begin(&s, state);
    uint64_t outer = epoch_enter(&s.w.self);
    assert_int_equal(table_claim(&s.w.self, 1024, &t), 0);
    uint64_t word = load_acquire(&t->state);
    store_seq_cst(&t->state, claim_word(TABLE_TAKING, s.w.self.index, claim_epoch(word)));
    assert_false(table_take_idle(&s.other.self)); /* not out of a section */
    table_restamp_owner(&s.w.self, t);
    assert_true(table_claimed_owner(&s.w.self, t));
    word = load_acquire(&t->state);
    store_seq_cst(&t->state, claim_word(TABLE_TAKING, s.w.self.index, claim_epoch(word)));
    table_enliven(s.a, table_ref(s.a, t));
    assert_int_equal(claim_kind(load_acquire(&t->state)), TABLE_LIVE);
    store_seq_cst(&t->state, word);
    epoch_exit(&s.w.self, outer);
    table_unclaim_owner(&s.w.self, t);
    assert_int_equal(load_acquire(&t->state), TABLE_FREE);
    s.passed++;
    end(&s, "old");
}

/* The taker has fenced; now another claimer ends its section, and somebody begins to take its. */
static void another_is_to_be_taken(void *arg)
{
    struct scene *s = arg;
    uint64_t word = load_acquire(&s->late->state);
    epoch_exit(&s->other.self, s->outer);
    assert_int_equal(claim_kind(word), TABLE_CLAIMED);
    store_seq_cst(&s->late->state,
                  claim_word(TABLE_TAKING, s->other.self.index, claim_epoch(word)));
    s->passed++;
}

/*
 * What became TAKING behind the fence is left: its claimer may have begun a section before that, of
 * which only the next fence tells.
 */
static void only_what_was_to_be_taken_before_the_fence_is_taken(void **state)
{
    struct scene s;
    struct writer idle;
    struct table *early = NULL;
    begin(&s, state);
    writer_begin(&idle, s.a, writers_process(state));
    uint64_t outer = epoch_enter(&idle.self);
    assert_int_equal(table_claim(&idle.self, 1024, &early), 0);
    epoch_exit(&idle.self, outer);
    s.outer = epoch_enter(&s.other.self);
    assert_int_equal(table_claim(&s.other.self, 1024, &s.late), 0);
    point_arm("table.fenced", 1, POINT_CALL, another_is_to_be_taken, &s);
    assert_true(table_take_idle(&s.w.self));
    assert_int_equal(load_acquire(&early->state), TABLE_FREE);
    assert_int_equal(claim_kind(load_acquire(&s.late->state)), TABLE_TAKING);
    assert_true(table_take_idle(&s.w.self)); /* with a fence of its own */
    assert_int_equal(load_acquire(&s.late->state), TABLE_FREE);
    writer_end(&idle);
    end(&s, "old");
}

/* ---- scribbled ----------------------------------------------------------------------------- */

static void write_over(void *arg)
{
    struct scene *s = arg;
    table_of(s->a, s->from)->slots_offset = 1ull << 60;
    s->passed++;
}

/* R3: who finishes all chunks finds out between two of them. */
static void a_table_written_over_between_two_chunks(void **state)
{
    struct scene s;
    begin(&s, state);
    for (unsigned i = 0; i < 4000; i++)
        writer_put(&s.other, numbered(KEYS + i), "more");
    resize_finish(&s.other.self);
    s.from = table_root(s.a);
    struct table *t = table_of(s.a, s.from);
    assert_true(t->chunks > 1);
    grow(&s);
    uint64_t was = t->slots_offset;
    point_arm("move.chunk", 1, POINT_CALL, write_over, &s);
    resize_finish(&s.other.self);
    point_disarm();
    assert_int_equal(s.passed, 1);
    assert_true(table_root(s.a) == s.from);
    t->slots_offset = was;
    resize_finish(&s.w.self);
    assert_true(table_root(s.a) != s.from);
    assert_keys(&s, "old");
    writer_end(&s.other);
    writer_end(&s.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(a_grower_is_overtaken),
        FIXTURE(a_mover_is_overtaken),
        FIXTURE(a_finisher_is_overtaken),
        FIXTURE(tickets_taken_before_the_close_count),
        FIXTURE(the_top_up_comes_once),
        FIXTURE(a_claimer_costs_one_area),
        FIXTURE(a_claim_is_not_taken_from_who_uses_it),
        FIXTURE(a_claim_that_is_used_meanwhile_lives),
        FIXTURE(only_what_was_to_be_taken_before_the_fence_is_taken),
        FIXTURE(a_mover_brings_nothing_evicted_back),
        FIXTURE(a_table_written_over_between_two_chunks),
    };
    return cmocka_run_group_tests_name("resize, overtaken", tests, NULL, NULL);
}
