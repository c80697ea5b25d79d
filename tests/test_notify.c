/* SPDX-License-Identifier: MIT */
/* test_notify.c - waiting for a key or for anything, and what it costs those who write. */
#include "fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "child.h"
#include "clock.h"
#include "notify.h"
#include "reap.h"
#include "store.h"

#define MS 1000000ull
#define SOON_MS 300 /* less than that after which a waiter looks again by itself */

/* ---- what the calls return ----------------------------------------------------------------- */

static void a_different_version_does_not_sleep(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t version = put_text(db, "k", "v");
    assert_rc(shmkv_wait(db, "k", 1, 0, -1), 0);
    assert_rc(shmkv_wait(db, "k", 1, version + 1, -1), 0);
    assert_rc(shmkv_wait(db, "absent", 6, version, -1), 0);
}

static void the_same_version_times_out(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t version = put_text(db, "k", "v");
    uint64_t start = clock_mono_ns();
    assert_rc(shmkv_wait(db, "k", 1, version, 30), SHMKV_ETIMEOUT);
    assert_true(clock_mono_ns() - start >= 30 * MS);
    assert_rc(shmkv_wait(db, "k", 1, version, 0), SHMKV_ETIMEOUT);
    assert_rc(shmkv_wait(db, "absent", 6, 0, 1), SHMKV_ETIMEOUT);
}

static void wrong_arguments_are_refused(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_section section;
    uint64_t ticket = 0;
    assert_rc(shmkv_wait(db, "", 0, 0, 0), SHMKV_EKEY);
    assert_rc(shmkv_wait_any(db, NULL, 0), SHMKV_EINVAL);
    assert_rc(shmkv_begin(db, &section), 0);
    assert_rc(shmkv_wait(db, "k", 1, 0, 0), SHMKV_EINVAL);
    assert_rc(shmkv_wait_any(db, &ticket, 0), SHMKV_EINVAL);
    shmkv_end(&section);
}

/* ---- waking -------------------------------------------------------------------------------- */

/* A child that waits: its exit status is 0 if it was woken soon. */
struct waiter {
    const struct fixture *fixture;
    const char *key; /* NULL: anything */
    uint64_t seen;
    uint32_t flags;
    int expected;
};

static int wait_once(void *arg)
{
    const struct waiter *w = arg;
    struct shmkv *db = fixture_open(w->fixture, SHMKV_NO_KEEPER | w->flags);
    uint64_t ticket = 0;
    if (w->key == NULL)
        child_assert(shmkv_wait_any(db, &ticket, 0) == 0);
    int rc = w->key != NULL ? shmkv_wait(db, w->key, strlen(w->key), w->seen, 5000)
                            : shmkv_wait_any(db, &ticket, 5000);
    shmkv_close(db);
    return rc == w->expected ? 0 : 1;
}

static uint32_t armed_groups(struct shmkv *db)
{
    return load_seq_cst(&db->store->arena.sync->waiting);
}

static bool is_armed(struct shmkv *db, unsigned word)
{
    return load_seq_cst(&db->store->arena.waits[word].waiting) == 1;
}

static unsigned word_of(struct shmkv *db, const char *key)
{
    return key == NULL ? NOTIFY_ANY
                       : notify_word(hash_key(key, strlen(key), &db->store->arena.hash_secret));
}

/* Is the process in futex(2)?  Where that cannot be seen: after a while it is. */
static bool is_asleep(pid_t pid)
{
    char path[40];
    long call = -1;
    snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        clock_sleep_ns(20 * MS);
        return true;
    }
    bool is = fscanf(f, "%ld", &call) == 1 && call == SYS_futex;
    fclose(f);
    return is;
}

/* Start it, and let it fall asleep.  Its word may have been armed by others before. */
static pid_t start_waiter(struct shmkv *db, struct waiter *w)
{
    unsigned word = word_of(db, w->key);
    pid_t pid = child_start(wait_once, w);
    for (unsigned i = 0; i < 5000 && !(is_armed(db, word) && is_asleep(pid)); i++)
        clock_sleep_ns(MS);
    return pid;
}

static void assert_woken(pid_t pid)
{
    assert_int_equal(child_wait(pid, SOON_MS), 0);
}

static void writes_of_every_kind_wake(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_reservation r;
    struct waiter w = {.fixture = *state, .key = "k"};
    int64_t number;
    pid_t pid = start_waiter(db, &w);
    w.seen = put_text(db, "k", "17");
    assert_woken(pid);
    pid = start_waiter(db, &w);
    assert_rc(shmkv_add(db, "k", 1, 1, &number), 0);
    assert_woken(pid);
    w.seen = version_of(db, "k");
    pid = start_waiter(db, &w);
    assert_rc(shmkv_cas(db, "k", 1, w.seen, "x", 1, NULL), 0);
    assert_woken(pid);
    w.seen = version_of(db, "k");
    pid = start_waiter(db, &w);
    assert_rc(shmkv_reserve(db, "k", 1, 8, NULL, &r), 0);
    memset(r.value, 'r', 8);
    assert_rc(shmkv_commit(&r), 0);
    assert_woken(pid);
    w.seen = version_of(db, "k");
    pid = start_waiter(db, &w);
    delete_text(db, "k");
    assert_woken(pid);
}

static void all_waiters_wake(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct waiter for_key = {.fixture = *state, .key = "k"};
    struct waiter for_any = {.fixture = *state, .flags = SHMKV_READONLY};
    pid_t pids[4];
    for (unsigned i = 0; i < 4; i++)
        pids[i] = start_waiter(db, i % 2 == 0 ? &for_key : &for_any);
    put_text(db, "k", "v");
    for (unsigned i = 0; i < 4; i++)
        assert_woken(pids[i]);
}

static void another_key_does_not_wake(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct waiter w = {.fixture = *state, .key = "k"};
    pid_t pid = start_waiter(db, &w);
    int status;
    for (unsigned i = 0; i < 1000; i++) {
        char key[24];
        snprintf(key, sizeof(key), "other%u", i);
        put_text(db, key, "v");
    }
    clock_sleep_ns(10 * MS);
    assert_false(child_ended(pid, &status));
    put_text(db, "k", "v");
    assert_woken(pid);
}

static void a_destroyed_store_ends_the_wait(void **state)
{
    struct fixture *f = *state;
    struct waiter w = {.fixture = f, .key = "k", .expected = SHMKV_EDEFUNCT};
    pid_t pid = start_waiter(f->db, &w);
    assert_rc(shmkv_destroy(f->name, NULL, 1), 0);
    assert_woken(pid);
}

static void on_alarm(int signal)
{
    (void)signal;
}

static void a_signal_does_not_end_the_wait(void **state)
{
    struct itimerval soon = {{0, 10000}, {0, 10000}}, never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = on_alarm};
    uint64_t start = clock_mono_ns();
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    assert_rc(shmkv_wait(fixture_db(state), "k", 1, 0, 100), SHMKV_ETIMEOUT);
    setitimer(ITIMER_REAL, &never, NULL);
    assert_true(clock_mono_ns() - start >= 100 * MS);
}

/* ---- anything ------------------------------------------------------------------------------ */

static void nothing_is_missed_between_two_calls(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t ticket = 0;
    assert_rc(shmkv_wait_any(db, &ticket, 0), 0);
    assert_true(ticket != 0);
    assert_rc(shmkv_wait_any(db, &ticket, 10), SHMKV_ETIMEOUT);
    put_text(db, "k", "v");
    assert_rc(shmkv_wait_any(db, &ticket, -1), 0);
    assert_rc(shmkv_wait_any(db, &ticket, 10), SHMKV_ETIMEOUT);
    delete_text(db, "k");
    assert_rc(shmkv_wait_any(db, &ticket, -1), 0);
    assert_int_equal(shmkv_delete(db, "k", 1), SHMKV_ENOTFOUND);
    assert_rc(shmkv_wait_any(db, &ticket, 0), SHMKV_ETIMEOUT);
}

/* Who looks, and then waits for the first time, has seen nothing of what was written in between. */
static void nothing_is_missed_before_the_first_call(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t ticket = 0;
    assert_int_equal(shmkv_exists(db, "k", 1), SHMKV_ENOTFOUND);
    put_text(db, "k", "v");
    assert_rc(shmkv_wait_any(db, &ticket, 10), 0);
    assert_rc(shmkv_wait_any(db, &ticket, 10), SHMKV_ETIMEOUT);
}

static void *write_and_leave(void *db)
{
    put_text(db, "k", "v");
    return NULL;
}

/* The counters of who leaves are added to those of the departed, and must not hide a write. */
static void writers_that_leave_are_not_missed(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t ticket = 0;
    assert_rc(shmkv_wait_any(db, &ticket, 0), 0);
    for (unsigned i = 0; i < 50; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, write_and_leave, db);
        pthread_join(thread, NULL);
        assert_rc(shmkv_wait_any(db, &ticket, 0), 0);
        assert_rc(shmkv_wait_any(db, &ticket, 0), SHMKV_ETIMEOUT);
    }
}

/* ---- cost ---------------------------------------------------------------------------------- */

static uint64_t wakes(struct shmkv *db)
{
    struct shmkv_stats st;
    assert_rc(shmkv_get_stats(db, &st), 0);
    return st.wakes;
}

static void who_gave_up_costs_nothing(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t ticket = 0;
    assert_rc(shmkv_wait(db, "k", 1, 0, 1), SHMKV_ETIMEOUT);
    assert_rc(shmkv_wait_any(db, &ticket, 1), 0);
    assert_rc(shmkv_wait_any(db, &ticket, 1), SHMKV_ETIMEOUT);
    assert_int_equal(armed_groups(db), 0);
    put_text(db, "k", "v");
    assert_int_equal(wakes(db), 0);
}

static void who_was_woken_costs_nothing_more(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct waiter w = {.fixture = *state, .key = "k"};
    pid_t pid = start_waiter(db, &w);
    assert_true(armed_groups(db) != 0);
    put_text(db, "k", "v");
    assert_woken(pid);
    assert_int_equal(armed_groups(db), 0);
    uint64_t before = wakes(db);
    assert_int_equal(before, 1);
    for (unsigned i = 0; i < 100; i++)
        put_text(db, "k", "v");
    assert_int_equal(wakes(db), before);
}

static void who_was_killed_costs_one_call_at_most(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct waiter for_key = {.fixture = *state, .key = "k"}, for_any = {.fixture = *state};
    pid_t first = start_waiter(db, &for_key);
    pid_t second = start_waiter(db, &for_any);
    child_kill(first);
    child_kill(second);
    for (unsigned i = 0; i < 100; i++)
        put_text(db, "k", "v");
    assert_int_equal(wakes(db), 2);
    assert_int_equal(armed_groups(db), 0);
}

static void who_was_killed_and_reaped_costs_nothing(void **state)
{
    struct shmkv *db = fixture_db(state);
    const struct arena *a = &db->store->arena;
    struct waiter for_key = {.fixture = *state, .key = "k"}, for_any = {.fixture = *state};
    child_kill(start_waiter(db, &for_key));
    child_kill(start_waiter(db, &for_any));
    assert_true(process_reap_dead(a, db->store->process.index, reap_process, (void *)(uintptr_t)a) >
                0);
    assert_int_equal(armed_groups(db), 0);
    put_text(db, "k", "v");
    assert_int_equal(wakes(db), 0);
}

/* ---- many times ---------------------------------------------------------------------------- */

#define ROUNDS 4000u

struct game {
    const struct fixture *fixture;
    const char *mine, *theirs;
    bool any;
};

/* The number that a key holds, and its version. */
static int64_t number_of(struct shmkv *db, const char *key, uint64_t *version)
{
    char text[24] = "";
    struct shmkv_item item = {.version = 0};
    int rc = shmkv_read(db, key, strlen(key), text, sizeof(text) - 1, &item);
    child_assert(rc == 0 || rc == SHMKV_ENOTFOUND);
    *version = item.version;
    return strtol(text, NULL, 10);
}

/* Count my key up, wait until theirs is as far.  If a wake were missed, that would last until the
 * waiter looks again by itself. */
static int play(void *arg)
{
    const struct game *g = arg;
    struct shmkv *db = fixture_open(g->fixture, SHMKV_NO_KEEPER);
    uint64_t seen, ticket = 0;
    unsigned late = 0;
    for (int64_t i = 1; i <= ROUNDS; i++) {
        uint64_t start = clock_mono_ns();
        child_assert(shmkv_add(db, g->mine, 1, 1, NULL) == 0);
        while (number_of(db, g->theirs, &seen) < i) {
            int rc = g->any ? shmkv_wait_any(db, &ticket, 20000)
                            : shmkv_wait(db, g->theirs, 1, seen, 20000);
            child_assert(rc == 0);
        }
        late += clock_mono_ns() - start > 450 * MS;
    }
    shmkv_close(db);
    return late == 0 ? 0 : 2;
}

static void play_against(void **state, bool any)
{
    struct game here = {.fixture = *state, .mine = "a", .theirs = "b", .any = any};
    struct game there = {.fixture = *state, .mine = "b", .theirs = "a", .any = any};
    pid_t first = child_start(play, &here);
    pid_t second = child_start(play, &there);
    assert_int_equal(child_wait(first, 60000), 0);
    assert_int_equal(child_wait(second, 60000), 0);
}

static void nothing_is_missed(void **state)
{
    play_against(state, false);
}

static void nothing_at_all_is_missed(void **state)
{
    play_against(state, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(a_different_version_does_not_sleep),
        FIXTURE(the_same_version_times_out),
        FIXTURE(wrong_arguments_are_refused),
        FIXTURE(writes_of_every_kind_wake),
        FIXTURE(all_waiters_wake),
        FIXTURE(another_key_does_not_wake),
        FIXTURE(a_destroyed_store_ends_the_wait),
        FIXTURE(a_signal_does_not_end_the_wait),
        FIXTURE(nothing_is_missed_between_two_calls),
        FIXTURE(nothing_is_missed_before_the_first_call),
        FIXTURE(writers_that_leave_are_not_missed),
        FIXTURE(who_gave_up_costs_nothing),
        FIXTURE(who_was_woken_costs_nothing_more),
        FIXTURE(who_was_killed_costs_one_call_at_most),
        FIXTURE(who_was_killed_and_reaped_costs_nothing),
        FIXTURE(nothing_is_missed),
        FIXTURE(nothing_at_all_is_missed),
    };
    return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
