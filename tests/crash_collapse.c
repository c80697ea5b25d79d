/* SPDX-License-Identifier: MIT */
/*
 * crash_collapse.c - memory that is made huge pages while others would give it back; collapse.h.
 *
 * The keeper is a participant of this thread, stopped at a point; the others do what they do then.
 * Death and standstill there: crash_seldom.c.
 */
#include "writers.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "collapse.h"
#include "point.h"

#define MIB (1u << 20)
#define KEYS 8000u
#define VALUE_BYTES 1000u

static const struct shmkv_options usual = {.flags = SHMKV_NO_KEEPER, .size = 64 * MIB};
static const struct shmkv_options indexed = {
    .flags = SHMKV_NO_KEEPER, .size = 64 * MIB, .reserve = 300000};

struct scene {
    struct shmkv *db;
    const struct arena *a;
    struct writer keeper, other;
    struct collapse c;
    unsigned units; /* that were collapsed */
    bool empty;
    uint64_t root; /* that was */
};

static void count_units(void *arg, const char *point)
{
    struct scene *s = arg;
    s->units += strcmp(point, "collapse.unit") == 0;
}

/* A store of some units, all of them full; puts are at rest. */
static void begin(struct scene *s, void **state)
{
    char value[VALUE_BYTES] = "v";
    *s = (struct scene){.db = fixture_db(state), .a = fixture_arena(state)};
    for (unsigned key = 0; key < KEYS; key++)
        assert_rc(shmkv_put(s->db, &key, sizeof(key), value, sizeof(value), NULL), 0);
    writer_begin(&s->keeper, s->a, writers_process(state));
}

static void end(struct scene *s)
{
    point_disarm();
    point_record(NULL, NULL);
    writer_end(&s->keeper);
    assert_rc(shmkv_check(s->db, NULL, NULL), 0);
}

/* A round from its begin; how many units were collapsed. */
static unsigned round_of(struct scene *s)
{
    s->c = (struct collapse){0};
    s->units = 0;
    point_record(count_units, s);
    do {
        s->c.next_ns = 0;
    } while (collapse_step(&s->keeper.self, &s->c, clock_mono_ns()));
    point_record(NULL, NULL);
    return s->units;
}

static uint64_t segments_of_a_unit(const struct arena *a)
{
    return HUGE_PAGE_BYTES >> a->segment_shift;
}

/* ---- INV-H1: what stays --------------------------------------------------------------------- */

static void delete_all_and_give_back(void *arg)
{
    struct scene *s = arg;
    for (unsigned key = 0; key < KEYS; key++)
        assert_rc(shmkv_delete(s->db, &key, sizeof(key)), 0);
    assert_rc(shmkv_compact(s->db), 0);
    grace_pass(s->a);
    segment_reclaim(s->a);
    segment_punch(&s->keeper.self, UINT64_MAX);
    for (uint64_t id = 0; id < segments_of_a_unit(s->a); id++) {
        unsigned kind = claim_kind(load_acquire(&segment_at(s->a, id)->state));
        assert_true(kind != SEGMENT_HOLE && kind != SEGMENT_FREE);
    }
    s->empty = true;
}

static void nothing_is_given_back_meanwhile(void **state)
{
    struct scene s;
    begin(&s, state);
    point_arm("collapse.unit", 1, POINT_CALL, delete_all_and_give_back, &s);
    round_of(&s);
    assert_true(s.empty);
    assert_in_range(arena_allocated(s.a), 1, segment_memory(s.a));
    grace_pass(s.a); /* and afterwards all of it */
    segment_reclaim(s.a);
    segment_punch(&s.keeper.self, UINT64_MAX);
    for (uint64_t id = 0; id < segments_of_a_unit(s.a); id++)
        assert_int_equal(claim_kind(load_acquire(&segment_at(s.a, id)->state)), SEGMENT_HOLE);
    assert_in_range(arena_allocated(s.a), 1, segment_memory(s.a));
    end(&s);
}

static bool area_is(const struct arena *a, uint64_t ref, unsigned kind)
{
    return claim_kind(load_acquire(&table_of(a, ref)->state)) == kind;
}

/* The root moves on, and what it was is retired. */
static void grow_and_give_back(void *arg)
{
    struct scene *s = arg;
    uint64_t root = table_root(s->a);
    assert_int_equal(resize_grow(&s->other.self, &s->other.resizer, root), 0);
    resize_finish(&s->other.self);
    assert_true(table_root(s->a) != root);
    grace_pass(s->a);
    table_reclaim(&s->other.self);
    assert_true(area_is(s->a, root, TABLE_LIMBO));
    s->root = root;
}

static void the_index_stays_meanwhile(void **state)
{
    struct scene s;
    begin(&s, state);
    assert_true(table_bytes(table_of(s.a, table_root(s.a))->slots) >= HUGE_PAGE_BYTES);
    writer_begin(&s.other, s.a, writers_process(state));
    point_arm("collapse.unit", 1, POINT_CALL, grow_and_give_back, &s);
    round_of(&s);
    assert_true(s.root != 0);
    grace_pass(s.a);
    table_reclaim(&s.other.self);
    assert_true(area_is(s.a, s.root, TABLE_FREE));
    assert_in_range(arena_allocated(s.a), 1, segment_memory(s.a));
    writer_end(&s.other);
    end(&s);
}

/* ---- what is taken for such, and what is not ------------------------------------------------- */

static void which_states_keep_memory(void **state)
{
    static const bool keep[SEGMENT_KINDS] = {[SEGMENT_OPEN] = true,
                                             [SEGMENT_PARTIAL] = true,
                                             [SEGMENT_SEALING] = true,
                                             [SEGMENT_SEALED] = true};
    struct scene s;
    begin(&s, state);
    unsigned all = round_of(&s);
    assert_in_range(all, 3, 4); /* of 8 MB and what is before and behind them */
    for (uint64_t i = 0; i < segments_of_a_unit(s.a); i += segments_of_a_unit(s.a) - 1) {
        struct segment *g = segment_at(s.a, i);
        uint64_t word = load_acquire(&g->state), used = load_acquire(&g->used);
        uint64_t taken = load_acquire(&g->taken);
        for (unsigned kind = 0; kind < SEGMENT_KINDS; kind++) {
            store_seq_cst(&g->state, claim_word(kind, s.keeper.self.index, 1));
            assert_int_equal(round_of(&s), keep[kind] ? all : all - 1);
        }
        store_seq_cst(&g->state, word);
        store_seq_cst(&g->used, 0); /* it would become FREE without a grace period */
        assert_int_equal(round_of(&s), all - 1);
        store_seq_cst(&g->used, used);
        store_seq_cst(&g->taken, taken - PAGE_BYTES);
        assert_int_equal(round_of(&s), all - 1);
        store_seq_cst(&g->taken, taken);
        assert_int_equal(round_of(&s), all);
    }
    end(&s);
}

/* Where nothing was opened since the last round there is none. */
static void a_store_at_rest_is_left_alone(void **state)
{
    struct scene s;
    char value[VALUE_BYTES] = "w";
    begin(&s, state);
    assert_true(round_of(&s) > 0);
    point_record(count_units, &s);
    s.units = 0;
    for (unsigned i = 0; i < 3; i++) {
        s.c.next_ns = 0;
        assert_false(collapse_step(&s.keeper.self, &s.c, clock_mono_ns()));
    }
    assert_int_equal(s.units, 0);
    point_record(NULL, NULL);
    for (unsigned key = 0; key < KEYS; key++)
        assert_rc(shmkv_put(s.db, &key, sizeof(key), value, sizeof(value), NULL), 0);
    s.c.next_ns = 0;
    point_record(count_units, &s);
    do {
        s.c.next_ns = 0;
    } while (collapse_step(&s.keeper.self, &s.c, clock_mono_ns()));
    assert_true(s.units > 0);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(nothing_is_given_back_meanwhile, &usual),
        FIXTURE_WITH(the_index_stays_meanwhile, &indexed),
        FIXTURE_WITH(which_states_keep_memory, &usual),
        FIXTURE_WITH(a_store_at_rest_is_left_alone, &usual),
    };
    return cmocka_run_group_tests_name("collapse", tests, NULL, NULL);
}
