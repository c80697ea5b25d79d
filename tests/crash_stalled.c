/* SPDX-License-Identifier: MIT */
/*
 * crash_stalled.c - several processes stand still at once, each at a chosen step, while others make
 * everything go by: resizes, cleaning, grace periods.  Then they go on, one after the other.
 */
#include "audit.h"
#include "fixture.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "blob.h"
#include "child.h"
#include "clock.h"
#include "crash_ops.h"
#include "lap.h"
#include "point.h"

#define MS 1000000ull
#define LIMIT_MS 20000u
#define CALL_MS (200u * FIXTURE_PATIENCE)
#define STALLED_MOST 6u
#define GROWERS 4u
#define OWN_KEYS 1000000u /* of each stalled process, from here on */
#define MINE 500000u      /* of this process */
#define FEW_TICKETS 100u

static const struct shmkv_options usual = {.flags = SHMKV_NO_KEEPER, .size = 32u << 20};

/* ---- the stalled --------------------------------------------------------------------------- */

struct stalled {
    struct shmkv *db;
    const char *point;
    unsigned nth, puts, index;
    bool deletes; /* what it put: tombstones, so that the next table keeps its size */
};

static volatile sig_atomic_t went_on;

static void on_continue(int signal)
{
    (void)signal;
    went_on = 1;
}

/* Put fresh keys until the point is passed. */
static int write_and_stall(void *arg)
{
    const struct stalled *s = arg;
    uint64_t first = OWN_KEYS * (s->index + 1ull), key;
    signal(SIGCONT, on_continue);
    shmkv_exists(s->db, "", 1); /* registered before */
    point_arm(s->point, s->nth, POINT_STOP, NULL, NULL);
    for (key = first; key < first + s->puts && !went_on; key++) {
        child_assert(crash_put(s->db, key, 1, BASE_SIZE) == 0);
        if (s->deletes)
            child_assert(shmkv_delete(s->db, &key, sizeof(key)) == 0);
    }
    for (uint64_t k = first; k < key; k++)
        child_assert(crash_look(s->db, k) == (s->deletes ? ABSENT : 1));
    child_assert(shmkv_close(s->db) == 0);
    return 0;
}

static pid_t stall(struct stalled *s)
{
    pid_t pid = child_start(write_and_stall, s);
    if (!child_wait_stopped(pid, LIMIT_MS))
        fail_msg("process %u did not come to %s", s->index, s->point);
    return pid;
}

static void let_go(pid_t pid)
{
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(child_wait(pid, LIMIT_MS), 0);
}

/* ---- the others ---------------------------------------------------------------------------- */

static struct shmkv_stats stats_of(struct shmkv *db)
{
    struct shmkv_stats stats;
    assert_rc(shmkv_get_stats(db, &stats), 0);
    return stats;
}

/* A call that must succeed in time. */
static void in_time(struct lap *lap, int rc)
{
    struct lap_time t = lap_end(lap);
    assert_rc(rc, 0);
    assert_true(lap_used_ns(t) < CALL_MS * MS);
    lap_begin(lap);
}

/* Put and delete until so many resizes have finished. */
static void make_resizes(struct shmkv *db, unsigned count)
{
    uint64_t end = stats_of(db).resizes + count;
    struct lap lap;
    lap_open(&lap);
    lap_begin(&lap);
    for (uint64_t key = MINE; stats_of(db).resizes < end; key++) {
        in_time(&lap, crash_put(db, key, 1, BASE_SIZE));
        in_time(&lap, shmkv_delete(db, &key, sizeof(key)));
    }
    lap_close(&lap);
}

/* Fresh keys until few tickets are left, so that the next to write brings on a resize. */
static void use_tickets(struct shmkv *db, uint64_t left)
{
    for (uint64_t key = 0; stats_of(db).tickets > left; key++)
        assert_rc(crash_put(db, key, 1, BASE_SIZE), 0);
}

static void expect_sound(struct shmkv *db)
{
    for (uint64_t key = 0; crash_look(db, key) != ABSENT; key++)
        assert_int_equal(crash_look(db, key), 1);
    audit_reap(db);
    assert_int_equal(audit_claims(db), 0);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
}

/* One process stands at @point of a resize; @count resizes go by; it goes on. */
static void stalled_in_a_resize(struct shmkv *db, const char *point, unsigned nth, unsigned count)
{
    use_tickets(db, 240); /* of 896; nobody prepares the next table yet */
    struct stalled s = {.db = db, .point = point, .nth = nth, .puts = 2000};
    pid_t pid = stall(&s);
    make_resizes(db, count);
    let_go(pid);
    make_resizes(db, 1);
    expect_sound(db);
}

static void a_finisher_before_the_root_moves(void **state)
{
    stalled_in_a_resize(fixture_db(state), "resize.finishing", 1, 3);
}

static void a_finisher_before_it_retires_the_table(void **state)
{
    stalled_in_a_resize(fixture_db(state), "resize.rooted", 1, 3);
}

static void a_finisher_after_the_top_up(void **state)
{
    stalled_in_a_resize(fixture_db(state), "resize.topped", 1, 3);
}

static void a_grower_with_tickets_closed(void **state)
{
    stalled_in_a_resize(fixture_db(state), "resize.started", 1, 3);
}

static void a_grower_before_it_shows_the_next_table(void **state)
{
    stalled_in_a_resize(fixture_db(state), "resize.closed", 1, 3);
}

static void a_grower_with_a_bound_of_old(void **state)
{
    stalled_in_a_resize(fixture_db(state), "resize.bound", 1, 3);
}

static void a_mover_with_a_frozen_slot(void **state)
{
    stalled_in_a_resize(fixture_db(state), "move.frozen", 5, 3);
}

static void a_mover_with_a_copied_slot(void **state)
{
    stalled_in_a_resize(fixture_db(state), "move.placed", 5, 3);
}

static void a_mover_before_it_signs_its_chunk(void **state)
{
    stalled_in_a_resize(fixture_db(state), "move.chunk", 1, 3);
}

static void a_writer_that_closed_a_probe(void **state)
{
    stalled_in_a_resize(fixture_db(state), "find.closed", 1, 3);
}

/* ---- many at once -------------------------------------------------------------------------- */

static void stall_many(struct shmkv *db, const char *point, pid_t *pids, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct stalled s = {.db = db, .point = point, .nth = 1, .puts = 1500, .index = i};
        pids[i] = stall(&s);
    }
}

/* Each has an area of its own; the others still find some. */
static void claimers_of_most_areas(void **state)
{
    struct shmkv *db = fixture_db(state);
    pid_t pids[STALLED_MOST];
    use_tickets(db, FEW_TICKETS);
    stall_many(db, "table.claimed", pids, STALLED_MOST);
    make_resizes(db, 4);
    for (unsigned i = 0; i < STALLED_MOST; i++)
        let_go(pids[i]);
    make_resizes(db, 1);
    expect_sound(db);
}

static void claimers_that_are_killed(void **state)
{
    struct shmkv *db = fixture_db(state);
    pid_t pids[STALLED_MOST];
    use_tickets(db, FEW_TICKETS);
    stall_many(db, "table.claimed", pids, STALLED_MOST);
    for (unsigned i = 0; i < STALLED_MOST; i++)
        child_kill(pids[i]);
    make_resizes(db, 6);
    expect_sound(db);
}

/* All of them computed how much may come into their tables; one wins, the others' are not used. */
static void growers_that_race(void **state)
{
    struct shmkv *db = fixture_db(state);
    pid_t pids[GROWERS];
    use_tickets(db, FEW_TICKETS);
    stall_many(db, "resize.bound", pids, GROWERS);
    for (unsigned i = GROWERS; i-- > 0;) {
        let_go(pids[i]); /* the last one first */
        make_resizes(db, 1);
    }
    expect_sound(db);
}

/* One stands in each of several resizes. */
static void finishers_of_several_resizes(void **state)
{
    static const char *const points[] = {"resize.finishing", "move.placed", "move.chunk",
                                         "resize.topped"};
    struct shmkv *db = fixture_db(state);
    pid_t pids[4];
    for (unsigned i = 0; i < 4; i++) {
        struct stalled s = {.db = db, .point = points[i], .nth = 1, .puts = 300000, .index = i};
        s.deletes = true;
        pids[i] = stall(&s);
        make_resizes(db, 1);
    }
    for (unsigned i = 0; i < 4; i++)
        let_go(pids[(i * 3 + 2) % 4]);
    expect_sound(db);
}

/* ---- writers, readers, cleaners, keepers, reapers ------------------------------------------ */

/* What it had written when it was stopped, memory of which is used anew all the time. */
static void a_writer_between_publication_and_its_end(void **state)
{
    struct shmkv *db = fixture_db(state);
    static const char *const points[] = {"put.entered", "put.inflight", "put.marked", "put.cas",
                                         "put.used"};
    pid_t pids[5];
    for (unsigned i = 0; i < 5; i++) {
        struct stalled s = {.db = db, .point = points[i], .nth = 3, .puts = 10, .index = i};
        pids[i] = stall(&s);
    }
    make_resizes(db, 4);
    for (unsigned i = 0; i < 5; i++)
        let_go(pids[i]);
    expect_sound(db);
}

struct sleeper {
    const struct fixture *fixture;
    bool reads;
};

/* Has the keeper's lease, or a section, and stops. */
static int stop_with_all_in_hand(void *arg)
{
    const struct sleeper *s = arg;
    struct shmkv *db;
    struct shmkv_section section;
    struct shmkv_keeper keeper = {.mine = 0};
    const struct shmkv_options keeps = {.flags = SHMKV_KEEPER};
    child_assert(shmkv_open(s->fixture->name, &keeps, &db) == 0);
    for (uint64_t key = OWN_KEYS; key < OWN_KEYS + 200; key++)
        child_assert(crash_put(db, key, 1, BASE_SIZE) == 0);
    for (unsigned ms = 0; !keeper.mine && ms < LIMIT_MS; ms++) {
        clock_sleep_ns(MS);
        child_assert(shmkv_get_keeper(db, &keeper) == 0);
    }
    child_assert(keeper.mine);
    if (s->reads)
        child_assert(shmkv_begin(db, &section) == 0);
    raise(SIGSTOP);
    if (s->reads)
        shmkv_end(&section);
    for (uint64_t key = OWN_KEYS; key < OWN_KEYS + 200; key++)
        child_assert(crash_look(db, key) == 1);
    child_assert(shmkv_close(db) == 0);
    return 0;
}

/* Four times as much as the store holds, in time. */
static void write_much(struct shmkv *db)
{
    struct lap lap;
    lap_open(&lap);
    lap_begin(&lap);
    for (uint64_t i = 0; i < 130000; i++)
        in_time(&lap, crash_put(db, MINE + i % 1000, i + 1, 1000));
    lap_close(&lap);
}

static void a_stopped_keeper(void **state)
{
    struct fixture *f = *state;
    struct sleeper s = {f, false};
    pid_t pid = child_start(stop_with_all_in_hand, &s);
    assert_true(child_wait_stopped(pid, LIMIT_MS));
    write_much(f->db);
    let_go(pid);
    assert_rc(shmkv_check(f->db, NULL, NULL), 0);
}

/* It holds what was there; the rest goes round, until that is used up, and then it is named. */
static void a_stopped_reader(void **state)
{
    struct fixture *f = *state;
    struct sleeper s = {f, true};
    char name[32];
    pid_t pid = child_start(stop_with_all_in_hand, &s);
    assert_true(child_wait_stopped(pid, LIMIT_MS));
    int rc = 0;
    uint64_t i;
    for (i = 0; rc == 0 && i < 130000; i++)
        rc = crash_put(f->db, MINE + i % 1000, i + 1, 1000);
    assert_rc(rc, SHMKV_EHELD);
    assert_true(i > 15000); /* half of the store at least */
    snprintf(name, sizeof(name), "process %ld ", (long)pid);
    assert_non_null(strstr(shmkv_last_error(), name));
    let_go(pid);
    write_much(f->db);
}

static int reap_and_stall(void *arg)
{
    struct stalled *s = arg;
    point_arm(s->point, 1, POINT_STOP, NULL, NULL);
    audit_reap(s->db);
    return shmkv_close(s->db);
}

/* The one it reaps stays unreaped; everybody else's work goes on, other dead are reaped. */
static void a_stopped_reaper(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct stalled dead = {.db = db, .point = "put.cas", .nth = 1, .puts = 10};
    struct stalled reaper = {.db = db, .point = "reap.segments"};
    child_kill(stall(&dead));
    pid_t pid = child_start(reap_and_stall, &reaper);
    if (!child_wait_stopped(pid, LIMIT_MS)) /* joining, it reaps and stops as well */
        fail();
    dead.index = 1;
    child_kill(stall(&dead));
    make_resizes(db, 3);
    assert_int_equal(audit_reap(db), 1);
    let_go(pid);
    assert_int_equal(crash_look(db, OWN_KEYS), 1);
    assert_int_equal(crash_look(db, 2 * OWN_KEYS), 1);
    audit_reap(db);
    assert_int_equal(audit_claims(db), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(a_finisher_before_the_root_moves, &usual),
        FIXTURE_WITH(a_finisher_before_it_retires_the_table, &usual),
        FIXTURE_WITH(a_finisher_after_the_top_up, &usual),
        FIXTURE_WITH(a_grower_with_tickets_closed, &usual),
        FIXTURE_WITH(a_grower_before_it_shows_the_next_table, &usual),
        FIXTURE_WITH(a_grower_with_a_bound_of_old, &usual),
        FIXTURE_WITH(a_mover_with_a_frozen_slot, &usual),
        FIXTURE_WITH(a_mover_with_a_copied_slot, &usual),
        FIXTURE_WITH(a_mover_before_it_signs_its_chunk, &usual),
        FIXTURE_WITH(a_writer_that_closed_a_probe, &usual),
        FIXTURE_WITH(claimers_of_most_areas, &usual),
        FIXTURE_WITH(claimers_that_are_killed, &usual),
        FIXTURE_WITH(growers_that_race, &usual),
        FIXTURE_WITH(finishers_of_several_resizes, &usual),
        FIXTURE_WITH(a_writer_between_publication_and_its_end, &usual),
        FIXTURE_WITH(a_stopped_keeper, &usual),
        FIXTURE_WITH(a_stopped_reader, &usual),
        FIXTURE_WITH(a_stopped_reaper, &usual),
    };
    return cmocka_run_group_tests_name("stalled", tests, NULL, NULL);
}
