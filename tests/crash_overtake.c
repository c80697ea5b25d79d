/* SPDX-License-Identifier: MIT */
/*
 * crash_overtake.c - makers, openers and removers of one store that overtake each other, stopped
 * just before they lock, or killed at random.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "error.h"
#include "peer.h"
#include "point.h"
#include "process.h"
#include "scratch.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define CRASH_CASE(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

/* ---- overtaken ------------------------------------------------------------------------------- */

static int opens_and_compares(struct peer *parent, void *arg)
{
    struct arena a;
    point_arm("lock.opened", *(unsigned *)arg, POINT_STOP, NULL, NULL);
    CHECK(scratch_open(&a, "shm:a", true) == 0);
    CHECK(arena_current(&a));
    CHECK(load_relaxed(&a.sb->state) == STORE_READY);
    peer_send(parent, a.sb->uuid[0]);
    peer_receive(parent);
    arena_close(&a);
    return 0;
}

/* Start somebody who opens the store, and is stopped just before the @nth lock. */
static void start_opener(struct peer *p, unsigned nth)
{
    peer_start(p, opens_and_compares, &nth);
    assert_int_equal(waitpid(p->pid, NULL, WUNTRACED), p->pid);
    unlink(scratch_path("shmkv.a"));
    unlink(scratch_path("shmkv.a.sync"));
}

/* Let it go on: it must end up in the store that @a maps. */
static void assert_opener_finds(struct peer *p, struct arena *a)
{
    assert_int_equal(peer_receive(p), a->sb->uuid[0]);
    assert_true(arena_current(a));
    arena_close(a);
    assert_int_equal(arena_destroy("shm:a", scratch_dir(), false), SHMKV_EINUSE);
    peer_send(p, 0);
    assert_int_equal(peer_wait(p), 0);
    assert_int_equal(arena_destroy("shm:a", scratch_dir(), false), 0);
}

static void a_lock_of_a_removed_object_guards_nothing(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth <= 2; nth++) { /* LOCK_CREATE, LOCK_ATTACHED */
        struct peer p;
        struct arena a;
        assert_int_equal(scratch_open(&a, "shm:a", true), 0);
        arena_close(&a);
        start_opener(&p, nth);
        assert_int_equal(scratch_open(&a, "shm:a", true), 0);
        kill(p.pid, SIGCONT);
        assert_opener_finds(&p, &a);
    }
}

static void a_creator_that_was_overtaken_removes_nothing(void **state)
{
    struct arena_options options = scratch_options(true);
    struct arena a;
    struct peer p;
    bool created;

    (void)state;
    start_opener(&p, 1);
    assert_int_equal(arena_open(&a, "shm:a", &options, &created), 0);
    kill(p.pid, SIGCONT);
    usleep(50000); /* it sees a store half made, and may not take it for a leftover */
    assert_true(arena_current(&a));
    assert_int_equal(arena_ready(&a), 0);
    assert_opener_finds(&p, &a);
}

/* ---- who removes ----------------------------------------------------------------------------- */

static int collects(struct peer *parent, void *arg)
{
    (void)parent;
    (void)arg;
    point_arm("lock.opened", 1, POINT_STOP, NULL, NULL);
    size_t removed;
    CHECK(arena_gc(scratch_dir(), &removed) == 0);
    CHECK(removed == 0);
    return 0;
}

static void what_was_a_leftover_may_be_a_store_by_now(void **state)
{
    struct arena a;
    struct peer p;

    (void)state;
    close(open(scratch_path("shmkv.a.sync"), O_RDWR | O_CREAT, 0600));
    peer_start(&p, collects, NULL);
    assert_int_equal(waitpid(p.pid, NULL, WUNTRACED), p.pid);
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    arena_close(&a);
    kill(p.pid, SIGCONT);
    assert_int_equal(peer_wait(&p), 0);
    assert_int_equal(scratch_open(&a, "shm:a", false), 0);
    arena_close(&a);
}

static int removes_slowly(struct peer *parent, void *arg)
{
    (void)parent;
    point_arm(arg, 1, POINT_STOP, NULL, NULL);
    CHECK(arena_destroy("shm:a", scratch_dir(), false) == 0);
    return 0;
}

static int makes_it(struct peer *parent, void *arg)
{
    struct arena a;
    (void)arg;
    CHECK(scratch_open(&a, "shm:a", true) == 0);
    peer_send(parent, 0);
    peer_receive(parent);
    CHECK(arena_current(&a));
    arena_close(&a);
    return 0;
}

static void a_slow_remover_does_not_remove_the_next_store(void **state)
{
    static char *const steps[] = {"remove.marked", "remove.arena"};
    struct arena a;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct peer remover, maker;
        assert_int_equal(scratch_open(&a, "shm:a", true), 0);
        arena_close(&a);
        peer_start(&remover, removes_slowly, steps[i]);
        assert_int_equal(waitpid(remover.pid, NULL, WUNTRACED), remover.pid);
        peer_start(&maker, makes_it, NULL);
        usleep(100000);
        kill(remover.pid, SIGCONT);
        assert_int_equal(peer_receive(&maker), 0);
        assert_int_equal(peer_wait(&remover), 0);
        peer_send(&maker, 0);
        assert_int_equal(peer_wait(&maker), 0);
    }
}

/* ---- at random ------------------------------------------------------------------------------- */

#define CROWD 8
#define KILLS 150

static void reap_nothing(void *arg, uint32_t process)
{
    (void)arg;
    (void)process;
}

static int visits(void)
{
    struct arena a;
    struct process p;
    int rc = scratch_open(&a, "shm:a", true);
    CHECK(rc == 0 || rc == SHMKV_EDEFUNCT);
    if (rc != 0)
        return 0;
    CHECK(memcmp(a.sb->uuid, a.sync->uuid, 16) == 0);
    /* INV-A2: under the name is this pair, or ours is marked */
    CHECK(arena_current(&a) || load_seq_cst(&a.sb->state) == STORE_DEFUNCT);
    rc = process_join(&p, &a, reap_nothing, NULL);
    CHECK(rc == 0 || rc == SHMKV_EDEFUNCT);
    if (rc == 0)
        process_leave(&p);
    arena_close(&a);
    return 0;
}

static int removes(bool force)
{
    int rc = arena_destroy("shm:a", scratch_dir(), force);
    CHECK(rc == 0 || rc == SHMKV_ENOSTORE || rc == SHMKV_EINUSE);
    return 0;
}

static int makes_and_removes(struct peer *parent, void *arg)
{
    unsigned seed = (unsigned)getpid();
    int failed = 0;
    (void)parent;
    (void)arg;
    while (!failed) {
        failed = visits();
        if (rand_r(&seed) % 8 == 0)
            failed |= removes(rand_r(&seed) % 2);
        if (rand_r(&seed) % 8 == 0)
            failed |= arena_gc(scratch_dir(), NULL) != 0;
    }
    return failed;
}

static void killed_at_random(void **state)
{
    struct peer crowd[CROWD];
    unsigned seed = 7;

    (void)state;
    for (int i = 0; i < CROWD; i++)
        peer_start(&crowd[i], makes_and_removes, NULL);
    for (int i = 0; i < KILLS; i++) {
        struct peer *p = &crowd[rand_r(&seed) % CROWD];
        usleep((unsigned)rand_r(&seed) % 20000);
        kill(p->pid, SIGKILL);
        assert_int_equal(peer_wait(p), 128 + SIGKILL); /* it found nothing wrong */
        peer_start(p, makes_and_removes, NULL);
    }
    for (int i = 0; i < CROWD; i++) {
        kill(crowd[i].pid, SIGKILL);
        assert_int_equal(peer_wait(&crowd[i]), 128 + SIGKILL);
    }
    assert_int_equal(visits(), 0);
    assert_int_equal(scratch_count(), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CRASH_CASE(a_lock_of_a_removed_object_guards_nothing),
        CRASH_CASE(a_creator_that_was_overtaken_removes_nothing),
        CRASH_CASE(what_was_a_leftover_may_be_a_store_by_now),
        CRASH_CASE(a_slow_remover_does_not_remove_the_next_store),
        CRASH_CASE(killed_at_random),
    };
    return fork_init() != 0 || cmocka_run_group_tests(tests, NULL, NULL);
}
