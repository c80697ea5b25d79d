/* SPDX-License-Identifier: MIT */
/*
 * crash_handover.c - a segment is taken from its owner at the worst moments (segment.h, INV-S1).
 *
 * The owner is a child that is stopped inside a write; the taker is this process.
 */
#include "fixture.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "clock.h"
#include "point.h"
#include "segment.h"
#include "store.h"

#define LIMIT_MS 10000u

static const struct arena *arena_of(struct shmkv *db)
{
    return &load_relaxed(&db->store)->arena;
}

/* State word of the only segment that was opened so far. */
static uint64_t first_segment(const struct fixture *f)
{
    return load_acquire(&segment_at(arena_of(f->db), 0)->state);
}

/* ---- the owner ----------------------------------------------------------------------------- */

struct owner {
    const struct fixture *fixture;
    int go[2]; /* pipe: a byte begins the second put */
    pid_t pid;
};

/* Own a segment; when told, put again and stop inside the write, its segment looked at. */
static int own(void *arg)
{
    const struct owner *o = arg;
    struct shmkv *db;
    char byte;
    child_assert(shmkv_open(o->fixture->name, NULL, &db) == 0);
    child_assert(shmkv_put(db, "k", 1, "first", 5, NULL) == 0);
    raise(SIGSTOP);
    child_assert(read(o->go[0], &byte, 1) == 1);
    point_arm("put.written", 1, POINT_STOP, NULL, NULL);
    child_assert(shmkv_put(db, "k", 1, "second", 6, NULL) == 0);
    child_assert(shmkv_put(db, "l", 1, "third", 5, NULL) == 0);
    shmkv_close(db);
    return 0;
}

static void begin_owner(struct owner *o, const struct fixture *f)
{
    o->fixture = f;
    assert_int_equal(pipe(o->go), 0);
    o->pid = child_start(own, o);
    assert_true(child_wait_stopped(o->pid, LIMIT_MS));
    assert_int_equal(kill(o->pid, SIGCONT), 0);
    assert_int_equal(claim_kind(first_segment(f)), SEGMENT_OPEN);
}

static void begin_write(void *arg)
{
    struct owner *o = arg;
    assert_int_equal(write(o->go[1], "", 1), 1);
    assert_true(child_wait_stopped(o->pid, LIMIT_MS));
}

static void end_owner(struct owner *o)
{
    assert_int_equal(kill(o->pid, SIGCONT), 0);
    assert_int_equal(child_wait(o->pid, LIMIT_MS), 0);
    close(o->go[0]);
    close(o->go[1]);
}

/* ---- the taker ----------------------------------------------------------------------------- */

static void an_idle_owners_segment_is_taken(void **state)
{
    struct fixture *f = *state;
    struct owner o;
    begin_owner(&o, f);
    assert_int_equal(segment_take_idle(arena_of(f->db)), 1);
    assert_int_equal(claim_kind(first_segment(f)), SEGMENT_PARTIAL);
    begin_write(&o); /* it drops what was taken, and adopts it anew */
    end_owner(&o);
    assert_text(f->db, "k", "second");
    assert_text(f->db, "l", "third");
}

static void a_writing_owners_segment_is_not_taken(void **state)
{
    struct fixture *f = *state;
    struct owner o;
    begin_owner(&o, f);
    begin_write(&o);
    for (int i = 0; i < 100; i++) {
        epoch_raise_above(arena_of(f->db), epoch_now(arena_of(f->db)));
        assert_int_equal(segment_take_idle(arena_of(f->db)), 0);
    }
    assert_int_equal(claim_kind(first_segment(f)), SEGMENT_OPEN);
    end_owner(&o);
    assert_text(f->db, "k", "second");
    assert_text(f->db, "l", "third");
}

/* The taker has seen the owner idle; before its CAS G is raised and the owner begins a write. */
static void raise_and_write(void *arg)
{
    struct owner *o = arg;
    const struct arena *a = arena_of(o->fixture->db);
    epoch_raise_above(a, epoch_now(a));
    begin_write(o);
}

static void a_write_that_begins_before_the_cas_keeps_its_segment(void **state)
{
    struct fixture *f = *state;
    struct owner o;
    begin_owner(&o, f);
    point_arm("handover.idle", 1, POINT_CALL, raise_and_write, &o);
    assert_int_equal(segment_take_idle(arena_of(f->db)), 0);
    assert_int_equal(claim_kind(first_segment(f)), SEGMENT_SEALING);
    put_text(f->db, "m", "in another segment");
    end_owner(&o);
    assert_text(f->db, "k", "second");
    assert_text(f->db, "l", "third");
    assert_text(f->db, "m", "in another segment");
    segment_take_idle(arena_of(f->db));
    assert_int_not_equal(claim_kind(first_segment(f)), SEGMENT_SEALING);
}

/* The taker dies, or stays away, between its two halves: anybody finishes. */
static void a_half_done_taking_is_finished_by_others(void **state)
{
    struct fixture *f = *state;
    struct owner o;
    begin_owner(&o, f);
    point_arm("handover.sealing", 1, POINT_CALL, begin_write, &o);
    segment_take_idle(arena_of(f->db)); /* the owner sees SEALING, and stops in another segment */
    end_owner(&o);
    segment_take_idle(arena_of(f->db));
    assert_int_equal(claim_kind(first_segment(f)), SEGMENT_PARTIAL);
    assert_text(f->db, "k", "second");
    assert_text(f->db, "l", "third");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(an_idle_owners_segment_is_taken),
        FIXTURE(a_writing_owners_segment_is_not_taken),
        FIXTURE(a_write_that_begins_before_the_cas_keeps_its_segment),
        FIXTURE(a_half_done_taking_is_finished_by_others),
    };
    return cmocka_run_group_tests_name("handover", tests, NULL, NULL);
}
