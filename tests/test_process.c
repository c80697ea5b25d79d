/* SPDX-License-Identifier: MIT */
/* test_process.c - who is attached, and that the dead, and only they, are reaped, once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attached.h"
#include "error.h"
#include "lockpage.h"
#include "peer.h"
#include "process.h"
#include "scratch.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- join and leave ------------------------------------------------------------------------ */

static int joins_and_leaves(struct peer *parent, void *arg)
{
    struct process p;
    (void)arg;
    CHECK(attached_join(&p) == 0);
    peer_send(parent, (int32_t)p.index);
    peer_receive(parent);
    process_leave(&p);
    peer_send(parent, 0);
    peer_receive(parent);
    arena_close(&attached_arena);
    return 0;
}

static void joining_and_leaving(void **state)
{
    struct peer p;

    (void)state;
    assert_int_equal(attached_self.index, 0);
    assert_int_equal(load_relaxed(&attached_arena.processes[0].pid), getpid());
    peer_start(&p, joins_and_leaves, NULL);
    int32_t index = peer_receive(&p);
    assert_int_equal(index, 1);
    assert_int_equal(load_relaxed(&attached_arena.sync->process_high), 2);
    assert_int_equal(load_relaxed(&attached_arena.processes[1].pid), p.pid);
    const void *name = (const void *)attached_arena.processes[1].name;
    assert_memory_equal(name, program_invocation_short_name,
                        strnlen(program_invocation_short_name, 15) + 1);
    assert_true(attached_alive(index));
    assert_int_equal(attached_reap(), 0);
    peer_send(&p, 0);
    assert_int_equal(peer_receive(&p), 0);
    assert_false(attached_alive(index));
    assert_int_equal(load_relaxed(&attached_arena.processes[1].used), 0);
    assert_int_equal(attached_reap(), 0);
    peer_send(&p, 0);
    assert_int_equal(peer_wait(&p), 0);
    assert_int_equal(load_relaxed(&attached_reaped[1]), 0);
}

static int joins_and_stays(struct peer *parent, void *arg)
{
    struct process p;
    (void)arg;
    CHECK(attached_join(&p) == 0);
    peer_send(parent, (int32_t)p.index);
    peer_receive(parent);
    process_leave(&p);
    arena_close(&attached_arena);
    return 0;
}

static void only_the_dead(void **state)
{
    struct peer living, dying;

    (void)state;
    peer_start(&living, joins_and_stays, NULL);
    int32_t lives = peer_receive(&living);
    peer_start(&dying, joins_and_stays, NULL);
    int32_t dies = peer_receive(&dying);
    assert_true(attached_alive(lives) && attached_alive(dies));
    peer_kill(&dying);
    assert_true(attached_alive(lives));
    assert_false(attached_alive(dies));
    assert_int_equal(attached_reap(), 1);
    assert_int_equal(attached_reap(), 0);
    assert_int_equal(load_relaxed(&attached_reaped[dies]), 1);
    assert_int_equal(load_relaxed(&attached_arena.processes[dies].used), 0);
    assert_int_equal(load_relaxed(&attached_reaped[lives]), 0);
    kill(living.pid, SIGSTOP);
    assert_true(attached_alive(lives));
    assert_int_equal(attached_reap(), 0);
    kill(living.pid, SIGCONT);
    peer_send(&living, 0);
    assert_int_equal(peer_wait(&living), 0);
}

static void join_reaps(void **state)
{
    struct peer p;

    (void)state;
    peer_start(&p, joins_and_stays, NULL);
    int32_t dead = peer_receive(&p);
    peer_kill(&p);
    peer_start(&p, joins_and_stays, NULL);
    assert_int_equal(peer_receive(&p), dead);
    assert_int_equal(load_relaxed(&attached_reaped[dead]), 1);
    assert_int_equal(attached_reap(), 0);
    peer_send(&p, 0);
    assert_int_equal(peer_wait(&p), 0);
}

#define LIVING 12
#define DYING 150
#define DEAD_MOST LIVING /* some of four that lie apart then is of the dead */

static void the_dead_make_room_for_others(void **state)
{
    struct peer living[LIVING], p;

    (void)state;
    for (unsigned i = 0; i < LIVING; i++) {
        peer_start(&living[i], joins_and_stays, NULL);
        peer_receive(&living[i]);
    }
    for (unsigned i = 0; i < DYING; i++) {
        peer_start(&p, joins_and_stays, NULL);
        assert_true(peer_receive(&p) > 0);
        peer_kill(&p);
    }
    assert_in_range(load_relaxed(&attached_arena.sync->process_high), LIVING + 2,
                    1 + LIVING + DEAD_MOST);
    for (unsigned i = 0; i < LIVING; i++) {
        peer_send(&living[i], 0);
        assert_int_equal(peer_wait(&living[i]), 0);
    }
}

static int joins_without_reaping(struct peer *parent, void *arg)
{
    struct process p;
    (void)parent;
    (void)arg;
    CHECK(fork_renew() == 0);
    CHECK(process_join(&p, &attached_arena, NULL, NULL) == 0);
    CHECK(p.index == 2);
    process_leave(&p);
    return 0;
}

static void who_cannot_reap_passes_over(void **state)
{
    struct peer p;

    (void)state;
    peer_start(&p, joins_and_stays, NULL);
    peer_receive(&p);
    peer_kill(&p);
    assert_int_equal(peer_run(joins_without_reaping, NULL), 0);
    assert_int_equal(load_relaxed(&attached_arena.processes[1].used), 1);
    assert_int_equal(attached_reap(), 1);
}

/* ---- one reaper ---------------------------------------------------------------------------- */

#define REAPERS 6
#define VICTIMS 24

static _Atomic uint32_t reaping, clashes;

static void reap_slowly(void *arg, uint32_t process)
{
    (void)arg;
    if (add_seq_cst(&attached_reaped[process], 1u) != 0)
        add_seq_cst(&clashes, 1u);
    usleep(2000);
}

static void *reaps_all(void *arg)
{
    (void)arg;
    while (load_seq_cst(&reaping) == 0)
        sched_yield();
    return (void *)(uintptr_t)process_reap_dead(&attached_arena, attached_self.index, reap_slowly,
                                                NULL);
}

static void one_reaper(void **state)
{
    struct peer victims[VICTIMS];
    pthread_t threads[REAPERS];
    uintptr_t total = 0;

    (void)state;
    store_seq_cst(&reaping, 0u);
    store_seq_cst(&clashes, 0u);
    for (int i = 0; i < VICTIMS; i++)
        peer_start(&victims[i], joins_and_stays, NULL);
    for (int i = 0; i < VICTIMS; i++)
        peer_receive(&victims[i]);
    for (int i = 0; i < VICTIMS; i++)
        peer_kill(&victims[i]);
    for (int i = 0; i < REAPERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reaps_all, NULL), 0);
    store_seq_cst(&reaping, 1u);
    for (int i = 0; i < REAPERS; i++) {
        void *count;
        pthread_join(threads[i], &count);
        total += (uintptr_t)count;
    }
    assert_int_equal(total, VICTIMS);
    assert_int_equal(load_relaxed(&clashes), 0);
    for (uint32_t i = 1; i <= VICTIMS; i++)
        assert_int_equal(load_relaxed(&attached_reaped[i]), 1);
}

/* ---- limits and errors ----------------------------------------------------------------------- */

static void no_entry_left(void **state)
{
    struct lockpage_file file = {attached_arena.sync_path, attached_arena.sync_device,
                                 attached_arena.sync_inode};
    static void *pages[PROCESS_MAX];
    struct process p;

    (void)state;
    for (uint32_t i = 1; i < PROCESS_MAX; i++)
        assert_int_equal(lockpage_take(&file, LOCK_PROCESS(i), true, &pages[i]), 0);
    assert_int_equal(process_join(&p, &attached_arena, attached_count, NULL), SHMKV_ELIMIT);
    assert_non_null(strstr(error_text(), "4096"));
    lockpage_release(pages[PROCESS_MAX - 1]);
    assert_int_equal(process_join(&p, &attached_arena, attached_count, NULL), 0);
    assert_int_equal(p.index, PROCESS_MAX - 1);
    assert_int_equal(load_relaxed(&attached_arena.sync->process_high), PROCESS_MAX);
    process_leave(&p);
    for (uint32_t i = 1; i < PROCESS_MAX - 1; i++)
        lockpage_release(pages[i]);
}

static void a_removed_store_cannot_be_joined(void **state)
{
    struct process p;

    (void)state;
    unlink(scratch_path("shmkv.a.sync"));
    assert_int_equal(process_join(&p, &attached_arena, attached_count, NULL), SHMKV_EDEFUNCT);
    assert_true(attached_alive(0));
    assert_int_equal(attached_reap(), 0);
}

static void lock_pages(void **state)
{
    void *a, *b;
    int rc;

    (void)state;
    a = process_lock_page(&attached_arena, 77, true, &rc);
    assert_non_null(a);
    assert_int_equal(rc, 0);
    assert_null(process_lock_page(&attached_arena, 77, true, &rc)); /* not even by ourselves */
    assert_int_equal(rc, SHMKV_EBUSY);
    assert_null(process_lock_page(&attached_arena, 77, false, &rc));
    assert_int_equal(rc, SHMKV_EBUSY);
    process_unlock_page(a);
    a = process_lock_page(&attached_arena, 77, false, &rc);
    b = process_lock_page(&attached_arena, 77, false, &rc);
    assert_true(a && b);
    assert_null(process_lock_page(&attached_arena, 77, true, &rc));
    process_unlock_page(a);
    assert_null(process_lock_page(&attached_arena, 77, true, &rc));
    process_unlock_page(b);
    a = process_lock_page(&attached_arena, 77, true, &rc);
    assert_non_null(a);
    process_unlock_page(a);
    process_unlock_page(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ATTACHED_CASE(joining_and_leaving),
        ATTACHED_CASE(only_the_dead),
        ATTACHED_CASE(join_reaps),
        ATTACHED_CASE(the_dead_make_room_for_others),
        ATTACHED_CASE(who_cannot_reap_passes_over),
        ATTACHED_CASE(one_reaper),
        ATTACHED_CASE(no_entry_left),
        ATTACHED_CASE(a_removed_store_cannot_be_joined),
        ATTACHED_CASE(lock_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
