/* SPDX-License-Identifier: MIT */
/*
 * crash_segment.c - two that change one segment, or fill the last hole, at the same time.
 *
 * All are participants of one thread: who is stopped at a point is the caller of what the others do
 * meanwhile.  See segment.h for what must hold.
 */
#include "writers.h"

#include "point.h"
#include "run.h"

#define SMALL (4u << 20)

static const struct shmkv_options small = {.flags = SHMKV_NO_KEEPER, .size = SMALL};

struct scene {
    const struct arena *a;
    struct writer owner, other;
    uint64_t id;
    unsigned passed;
};

static void begin(struct scene *s, void **state)
{
    *s = (struct scene){.a = fixture_arena(state)};
    writer_begin(&s->owner, s->a, writers_process(state));
    writer_begin(&s->other, s->a, writers_process(state));
}

static void end(struct scene *s)
{
    point_disarm();
    writer_end(&s->owner);
    writer_end(&s->other);
}

static unsigned kind(const struct scene *s)
{
    return claim_kind(load_acquire(&segment_at(s->a, s->id)->state));
}

/* ---- INV-S1: a taker that stays away ------------------------------------------------------- */

static void begin_write(void *arg)
{
    struct scene *s = arg;
    epoch_enter_write(&s->owner.self);
    assert_true(append_held(&s->owner.puts, s->a)); /* from here on it may write */
    s->passed++;
}

/*
 * The first taker has seen the owner idle.  The second one ends that taking; the owner gets the
 * segment again, and a third taker meets it in the middle of a write.
 */
static void take_return_and_take(void *arg)
{
    struct scene *s = arg;
    assert_int_equal(segment_take_idle(s->a), 1);
    assert_int_equal(kind(s), SEGMENT_PARTIAL);
    s->owner.puts.hold.id = SEGMENT_NONE;
    assert_int_equal(append_reserve(&s->owner.puts, &s->owner.self, SEGMENT_FOR_PUT, 64), 0);
    assert_true(s->owner.puts.hold.id == s->id);
    point_arm("handover.idle", 1, POINT_CALL, begin_write, s);
    assert_int_equal(segment_take_idle(s->a), 0);
    assert_int_equal(kind(s), SEGMENT_SEALING);
    s->passed++;
}

static void a_late_taker_cannot_end_a_later_taking(void **state)
{
    struct scene s;
    begin(&s, state);
    writer_put(&s.owner, "k", "value");
    s.id = s.owner.puts.hold.id;
    point_arm("handover.seen", 1, POINT_CALL, take_return_and_take, &s);
    assert_int_equal(segment_take_idle(s.a), 0);
    assert_int_equal(s.passed, 2);
    assert_int_equal(kind(&s), SEGMENT_SEALING); /* it is still being written to */
    epoch_exit_write(&s.owner.self);
    assert_int_equal(segment_take_idle(s.a), 1);
    assert_int_equal(kind(&s), SEGMENT_PARTIAL);
    end(&s);
}

/* ---- INV-S2: the last hole ------------------------------------------------------------------ */

/* As the keeper does, which has looked before; nothing but the count after its claim stops it. */
static void prefill_too(void *arg)
{
    struct scene *s = arg;
    assert_int_equal(segment_prefill(&s->other.self), 0);
    assert_in_range(segment_memory(s->a), 1, SMALL);
    s->passed++;
}

static void the_last_hole_is_filled_once(void **state)
{
    struct scene s;
    struct segment_hold hold;
    begin(&s, state);
    uint64_t bytes = s.a->segment_mask + 1;
    while (segment_memory(s.a) + 2 * bytes <= SMALL)
        assert_int_equal(segment_open(&s.owner.self, SEGMENT_FOR_CLEANING, bytes, &hold, NULL), 0);
    assert_in_range(segment_memory(s.a) + bytes, 1, SMALL); /* one is left */
    point_arm("segment.hole", 1, POINT_CALL, prefill_too, &s);
    assert_int_equal(segment_open(&s.owner.self, SEGMENT_FOR_CLEANING, bytes, &hold, NULL), 0);
    assert_int_equal(s.passed, 1);
    assert_int_equal(segment_open(&s.owner.self, SEGMENT_FOR_CLEANING, bytes, &hold, NULL),
                     SHMKV_ENOSPC);
    assert_in_range(segment_memory(s.a) + bytes, SMALL + 1, SMALL + bytes);
    end(&s);
}

/* ---- INV-S5: what is kept ------------------------------------------------------------------- */

/* Takes all that is there for puts; dead, so that nothing of it counts as admitted. */
static void open_all(void *arg)
{
    struct scene *s = arg;
    struct segment_hold hold;
    uint64_t bytes = s->a->segment_mask + 1;
    while (segment_open(&s->other.self, SEGMENT_FOR_PUT, bytes, &hold, NULL) == 0) {
        store_relaxed(&segment_at(s->a, hold.id)->used, bytes);
        store_relaxed(&s->a->dead[hold.id], bytes);
        s->passed++;
    }
}

/* @claimed: what was claimed while the others took the rest. */
static void assert_stepped_back(const struct scene *s, uint64_t claimed)
{
    struct segment_census c;
    segment_count(s->a, &c);
    assert_true(s->passed > 1);
    assert_int_equal(c.available, c.reserve + c.removals + claimed);
    assert_int_equal(c.kinds[SEGMENT_OPENING] + c.kinds[SEGMENT_RUN_REST], 0);
}

static void who_is_overtaken_steps_back(void **state)
{
    struct scene s;
    struct segment_hold hold;
    begin(&s, state);
    point_arm("segment.counted", 1, POINT_CALL, open_all, &s);
    assert_int_equal(segment_open(&s.owner.self, SEGMENT_FOR_PUT, 8, &hold, NULL), SHMKV_ENOSPC);
    assert_true(hold.id == SEGMENT_NONE);
    assert_stepped_back(&s, 0);
    end(&s);
}

static void a_run_that_is_overtaken_steps_back(void **state)
{
    struct scene s;
    struct append run = APPEND_INIT;
    begin(&s, state);
    point_arm("run.head", 1, POINT_CALL, open_all, &s);
    assert_int_equal(run_open(&run, &s.owner.self, SEGMENT_FOR_PUT, 3 * (s.a->segment_mask + 1)),
                     SHMKV_ENOSPC);
    assert_stepped_back(&s, 1);
    end(&s);
}

/* ---- a segment that is being made ---------------------------------------------------------- */

static void look_and_use(void *arg)
{
    struct scene *s = arg;
    struct segment_census c;
    segment_count(s->a, &c);
    assert_int_equal(c.kinds[SEGMENT_OPENING], 1);
    assert_int_equal(segment_take_idle(s->a), 0);
    assert_int_equal(segment_reclaim(s->a), 0);
    assert_int_equal(segment_punch(&s->other.self, UINT64_MAX), 0);
    writer_put(&s->other, "other", "value");
    s->passed++;
}

/* OPENING belongs to its maker, whoever comes by. */
static void who_opens_is_left_alone(void **state)
{
    static const char *const points[] = {"segment.hole", "segment.opening"};
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
        struct scene s;
        begin(&s, state);
        point_arm(points[i], 1, POINT_CALL, look_and_use, &s);
        writer_put(&s.owner, "k", "value");
        assert_int_equal(s.passed, 1);
        assert_true(s.owner.puts.hold.id != s.other.puts.hold.id);
        assert_non_null(record_found(&s.owner, "k"));
        assert_non_null(record_found(&s.owner, "other"));
        point_disarm();
        uint64_t ids[] = {s.owner.puts.hold.id, s.other.puts.hold.id};
        end(&s);
        for (unsigned k = 0; k < 2; k++) /* the next round wants fresh ones */
            store_seq_cst(&segment_at(s.a, ids[k])->state, claim_word(SEGMENT_SEALED, 0, 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(a_late_taker_cannot_end_a_later_taking),
        FIXTURE_WITH(the_last_hole_is_filled_once, &small),
        FIXTURE_WITH(who_is_overtaken_steps_back, &small),
        FIXTURE_WITH(a_run_that_is_overtaken_steps_back, &small),
        FIXTURE(who_opens_is_left_alone),
    };
    return cmocka_run_group_tests_name("segments at once", tests, NULL, NULL);
}
