/* SPDX-License-Identifier: MIT */
/*
 * crash_notify.c - waiters and wakers that are killed or stopped between any two steps: nobody
 * sleeps for ever, nobody pays a system call for the dead.
 */
#include "fixture.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "clock.h"
#include "notify.h"
#include "point.h"
#include "reap.h"
#include "store.h"

#define MS 1000000ull
#define SOON_MS 300   /* less than that after which a waiter looks again by itself */
#define LATER_MS 1500 /* more than that */

/* What a child does: arm a point if there is one, then wait for a key or put one. */
struct actor {
    const struct fixture *fixture;
    const char *key;
    uint64_t seen;
    const char *point;
    enum point_action action;
    void (*fn)(void *);
};

static struct shmkv *begin_acting(const struct actor *w)
{
    struct shmkv *db = fixture_open(w->fixture, SHMKV_NO_KEEPER);
    if (w->point != NULL)
        point_arm(w->point, 1, w->action, w->fn, db);
    return db;
}

static int wait_for(void *arg)
{
    const struct actor *w = arg;
    struct shmkv *db = begin_acting(w);
    int rc = shmkv_wait(db, w->key, strlen(w->key), w->seen, 20000);
    shmkv_close(db);
    return rc == 0 ? 0 : 1;
}

static int put(void *arg)
{
    const struct actor *w = arg;
    struct shmkv *db = begin_acting(w);
    put_text(db, w->key, "new");
    shmkv_close(db);
    return 0;
}

static struct wait_word *word_of(struct shmkv *db, const char *key)
{
    const struct arena *a = &db->store->arena;
    return &a->waits[notify_word(hash_key(key, strlen(key), &a->hash_secret))];
}

/* Start a waiter, and let it fall asleep. */
static pid_t start_waiter(struct shmkv *db, struct actor *w)
{
    pid_t pid = child_start(wait_for, w);
    for (unsigned i = 0; i < 5000 && load_seq_cst(&word_of(db, w->key)->waiting) != 1; i++)
        clock_sleep_ns(MS);
    clock_sleep_ns(20 * MS);
    return pid;
}

static void reap(struct shmkv *db)
{
    const struct arena *a = &db->store->arena;
    process_reap_dead(a, db->store->process.index, reap_process, (void *)(uintptr_t)a);
}

static uint64_t wakes(struct shmkv *db)
{
    struct shmkv_stats st;
    assert_rc(shmkv_get_stats(db, &st), 0);
    return st.wakes;
}

/* ---- wakers that die ----------------------------------------------------------------------- */

static const char *const waker_points[] = {"notify.before_wake", "notify.taken", "notify.woken",
                                           "notify.settling", "notify.settled"};

/* Stop a sleeper: if it looked again by itself beside a waker at work, it would take its arming
 * away before the waker does.  SIGCONT lets it sleep on, unless it was woken. */
static void hold(pid_t asleep)
{
    kill(asleep, SIGSTOP);
    assert_true(child_wait_stopped(asleep, 5000));
}

/* Start a waiter, and a writer that dies at @point. */
static pid_t kill_waker_at(void **state, const char *point)
{
    struct shmkv *db = fixture_db(state);
    struct actor waiter = {.fixture = *state, .key = "k", .seen = version_of(db, "k")};
    struct actor writer = {.fixture = *state, .key = "k", .point = point, .action = POINT_KILL};
    reap(db); /* the last waiter; else the writer might, and would wake this one before its put */
    pid_t asleep = start_waiter(db, &waiter);
    hold(asleep);
    assert_int_equal(child_wait(child_start(put, &writer), 5000), CHILD_SIGNAL + SIGKILL);
    kill(asleep, SIGCONT);
    return asleep;
}

static void the_reaper_wakes_for_a_dead_waker(void **state)
{
    for (unsigned i = 0; i < sizeof(waker_points) / sizeof(waker_points[0]); i++) {
        pid_t asleep = kill_waker_at(state, waker_points[i]);
        reap(fixture_db(state));
        assert_int_equal(child_wait(asleep, SOON_MS), 0);
        assert_int_equal(load_seq_cst(&fixture_db(state)->store->arena.sync->waiting), 0);
    }
}

static void without_a_reaper_the_waiter_looks_again(void **state)
{
    for (unsigned i = 0; i < sizeof(waker_points) / sizeof(waker_points[0]); i++) {
        pid_t asleep = kill_waker_at(state, waker_points[i]);
        assert_int_equal(child_wait(asleep, LATER_MS), 0);
        reap(fixture_db(state));
    }
}

static void the_next_writer_wakes_for_a_stopped_one(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct actor waiter = {.fixture = *state, .key = "k"};
    struct actor writer = {.fixture = *state, .key = "k", .action = POINT_STOP};
    writer.point = "notify.taken";
    pid_t asleep = start_waiter(db, &waiter);
    pid_t stopped = child_start(put, &writer);
    assert_true(child_wait_stopped(stopped, 5000));
    put_text(db, "k", "newer");
    assert_int_equal(child_wait(asleep, SOON_MS), 0);
    kill(stopped, SIGCONT);
    assert_int_equal(child_wait(stopped, 5000), 0);
}

/* ---- waiters that die ---------------------------------------------------------------------- */

static const char *const waiter_points[] = {"notify.arming", "notify.armed"};

static void kill_waiter_at(void **state, const char *point)
{
    struct actor waiter = {.fixture = *state, .key = "k", .point = point, .action = POINT_KILL};
    waiter.seen = version_of(fixture_db(state), "k");
    assert_int_equal(child_wait(child_start(wait_for, &waiter), 5000), CHILD_SIGNAL + SIGKILL);
}

static void a_dead_waiter_costs_one_call_at_most(void **state)
{
    struct shmkv *db = fixture_db(state);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t before = wakes(db);
        kill_waiter_at(state, waiter_points[i]);
        for (unsigned n = 0; n < 100; n++)
            put_text(db, "k", "v");
        assert_true(wakes(db) <= before + 1);
        assert_int_equal(load_seq_cst(&db->store->arena.sync->waiting), 0);
    }
}

static void a_reaped_waiter_costs_nothing(void **state)
{
    struct shmkv *db = fixture_db(state);
    for (unsigned i = 0; i < 2; i++) {
        kill_waiter_at(state, waiter_points[i]);
        reap(db);
        put_text(db, "k", "v");
        assert_int_equal(wakes(db), 0);
        assert_int_equal(load_seq_cst(&db->store->arena.sync->waiting), 0);
    }
}

/* The dead waiter's word, armed once more by a living one. */
static void a_dead_waiter_does_not_hide_a_living_one(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct actor waiter = {.fixture = *state, .key = "k"};
    kill_waiter_at(state, "notify.armed");
    pid_t asleep = start_waiter(db, &waiter);
    put_text(db, "k", "v");
    assert_int_equal(child_wait(asleep, SOON_MS), 0);
}

/* ---- between two steps --------------------------------------------------------------------- */

static void put_itself(void *db)
{
    put_text(db, "k", "v");
}

static void a_change_at_any_step_ends_the_wait(void **state)
{
    static const char *const steps[] = {"notify.arming", "notify.armed", "notify.sleeping"};
    struct actor waiter = {.fixture = *state, .key = "k", .action = POINT_CALL, .fn = put_itself};
    for (unsigned i = 0; i < 3; i++) {
        waiter.point = steps[i];
        waiter.seen = version_of(fixture_db(state), "k");
        assert_int_equal(child_wait(child_start(wait_for, &waiter), SOON_MS), 0);
    }
}

static char neighbour[24]; /* a key that shares the word of "k" */

static void put_neighbour(void *db)
{
    put_text(db, neighbour, "v");
}

static void find_neighbour(struct shmkv *db)
{
    unsigned n = 0;
    do {
        snprintf(neighbour, sizeof(neighbour), "n%u", n++);
    } while (word_of(db, neighbour) != word_of(db, "k"));
}

/* INV-N2: the arming is taken away by the writer of another key, before the waiter sleeps. */
static void an_arming_that_was_taken_away_is_noticed(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct actor waiter = {.fixture = *state, .key = "k", .action = POINT_CALL};
    find_neighbour(db);
    waiter.fn = put_neighbour;
    for (unsigned i = 0; i < 2; i++) {
        waiter.point = waiter_points[i];
        waiter.seen = version_of(db, "k");
        pid_t asleep = child_start(wait_for, &waiter);
        clock_sleep_ns(100 * MS);
        put_text(db, "k", "v");
        assert_int_equal(child_wait(asleep, SOON_MS), 0);
    }
}

/* INV-N3: somebody arms while the bit of the group is about to be cleared. */
static void an_arming_beside_settling_is_noticed(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct actor first = {.fixture = *state, .key = "k"}, second = first;
    struct actor writer = {.fixture = *state, .key = "k", .action = POINT_STOP};
    writer.point = "notify.settling";
    pid_t pid = start_waiter(db, &first);
    hold(pid);
    pid_t settling = child_start(put, &writer);
    assert_true(child_wait_stopped(settling, 5000));
    kill(pid, SIGCONT);
    assert_int_equal(child_wait(pid, SOON_MS), 0);
    second.seen = version_of(db, "k");
    pid = start_waiter(db, &second);
    kill(settling, SIGCONT);
    assert_int_equal(child_wait(settling, 5000), 0);
    clock_sleep_ns(20 * MS);
    put_text(db, "k", "newer");
    assert_int_equal(child_wait(pid, SOON_MS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(the_reaper_wakes_for_a_dead_waker),
        FIXTURE(without_a_reaper_the_waiter_looks_again),
        FIXTURE(the_next_writer_wakes_for_a_stopped_one),
        FIXTURE(a_dead_waiter_costs_one_call_at_most),
        FIXTURE(a_reaped_waiter_costs_nothing),
        FIXTURE(a_dead_waiter_does_not_hide_a_living_one),
        FIXTURE(a_change_at_any_step_ends_the_wait),
        FIXTURE(an_arming_that_was_taken_away_is_noticed),
        FIXTURE(an_arming_beside_settling_is_noticed),
    };
    return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
