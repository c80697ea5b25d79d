/* SPDX-License-Identifier: MIT */
/* test_process_life.c - what ends the life of a process in a store, and what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attached.h"
#include "peer.h"
#include "process.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int closes_all_descriptors(struct peer *parent, void *arg)
{
    struct process p;
    (void)arg;
    CHECK(attached_join(&p) == 0);
    for (int fd = 3; fd < 1000; fd++) {
        if (fd != parent->in && fd != parent->out)
            close(fd);
    }
    peer_send(parent, (int32_t)p.index);
    peer_receive(parent);
    CHECK(process_alive(&attached_arena, UINT32_MAX, p.index));
    process_leave(&p);
    arena_close(&attached_arena);
    return 0;
}

static void closing_descriptors_does_not(void **state)
{
    struct peer p;

    (void)state;
    peer_start(&p, closes_all_descriptors, NULL);
    int32_t index = peer_receive(&p);
    assert_true(attached_alive(index));
    assert_int_equal(attached_reap(), 0);
    peer_send(&p, 0);
    assert_int_equal(peer_wait(&p), 0);
}

static pid_t by_fork(void)
{
    return fork();
}

static pid_t by_bare_fork(void)
{
    return _Fork();
}

static pid_t by_clone(void)
{
    return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static int leaves_a_child(struct peer *parent, void *arg)
{
    pid_t (*const *make)(void) = arg;
    struct process p;
    CHECK(attached_join(&p) == 0);
    uint64_t word = fork_word();
    pid_t child = (*make)();
    if (child == 0) {
        bool wiped = fork_word() == 0;
        process_leave(&p); /* of the parent's: does nothing */
        arena_close(&attached_arena);
        alarm(20); /* should the test fail to end us */
        pause();
        _exit(wiped ? 0 : 1);
    }
    CHECK(fork_word() == word);
    usleep(20000); /* until it has left */
    peer_send(parent, (int32_t)p.index);
    peer_send(parent, child);
    pause();
    return 0;
}

static void assert_dies_despite_child(pid_t (*make)(void))
{
    struct peer p;

    peer_start(&p, leaves_a_child, &make);
    int32_t index = peer_receive(&p);
    int32_t child = peer_receive(&p);
    assert_true(attached_alive(index));
    assert_int_equal(load_relaxed(&attached_arena.processes[index].used), 1);
    assert_int_equal(attached_reap(), 0);
    peer_kill(&p);
    assert_int_equal(kill(child, 0), 0);
    assert_false(attached_alive(index));
    assert_int_equal(attached_reap(), 1);
    kill(child, SIGKILL);
}

static void a_forked_child_does_not_keep_it_alive(void **state)
{
    (void)state;
    assert_dies_despite_child(by_fork);
}

static void a_bare_forked_child_does_not_keep_it_alive(void **state)
{
    (void)state;
    assert_dies_despite_child(by_bare_fork);
}

static void a_cloned_child_does_not_keep_it_alive(void **state)
{
    (void)state;
    assert_dies_despite_child(by_clone);
}

static int executes(struct peer *parent, void *arg)
{
    struct process p;
    (void)arg;
    CHECK(attached_join(&p) == 0);
    peer_send(parent, (int32_t)p.index);
    peer_receive(parent);
    execlp("sleep", "sleep", "20", (char *)NULL);
    return 1;
}

static void exec_ends_it(void **state)
{
    struct peer p;
    int waited = 0;

    (void)state;
    peer_start(&p, executes, NULL);
    int32_t index = peer_receive(&p);
    assert_true(attached_alive(index));
    peer_send(&p, 0);
    while (attached_alive(index) && waited++ < 2000)
        usleep(1000);
    assert_false(attached_alive(index));
    assert_int_equal(kill(p.pid, 0), 0);
    assert_int_equal(attached_reap(), 1);
    peer_kill(&p);
}

static int enters_a_namespace(struct peer *parent, void *arg)
{
    (void)arg;
    if (unshare(CLONE_NEWPID) != 0)
        return 77;
    pid_t child = fork(); /* the first in there */
    if (child == 0) {
        struct process p;
        if (attached_join(&p) != 0)
            _exit(1);
        peer_send(parent, (int32_t)p.index);
        peer_send(parent, getpid());
        bool other = process_alive(&attached_arena, p.index, 0);
        peer_send(parent,
                  other && process_reap_dead(&attached_arena, p.index, attached_count, NULL) == 0);
        pause();
    }
    peer_receive(parent);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}

static void pid_namespaces_do_not_matter(void **state)
{
    struct peer p;

    (void)state;
    peer_start(&p, enters_a_namespace, NULL);
    int32_t index = peer_receive(&p);
    if (index < 0) {
        peer_wait(&p);
        skip(); /* not permitted */
    }
    assert_int_equal(peer_receive(&p), 1); /* its pid there; ours, here, may be anybody's */
    assert_int_equal(peer_receive(&p), 1);
    assert_int_equal(load_relaxed(&attached_arena.processes[index].pid), 1);
    assert_true(attached_alive(index));
    assert_int_equal(attached_reap(), 0);
    peer_send(&p, 0);
    assert_int_equal(peer_wait(&p), 0);
    assert_false(attached_alive(index));
    assert_int_equal(attached_reap(), 1);
}

/* ---- at random ------------------------------------------------------------------------------- */

#define RANDOM_PEERS 8
#define RANDOM_KILLS 100

/* While we live nobody reaps us, and nobody takes our entry. */
static int comes_and_goes_once(void)
{
    struct process p;
    CHECK(process_join(&p, &attached_arena, attached_count, NULL) == 0);
    struct process_entry *entry = &attached_arena.processes[p.index];
    for (int i = 0; i < 20; i++) {
        CHECK(load_seq_cst(&entry->used) == 1);
        CHECK(load_seq_cst(&entry->pid) == (uint32_t)getpid());
        process_reap_dead(&attached_arena, p.index, attached_count, NULL);
    }
    process_leave(&p);
    return 0;
}

static int comes_and_goes(struct peer *parent, void *arg)
{
    (void)arg;
    CHECK(fork_renew() == 0);
    CHECK(arena_after_fork(&attached_arena) == 0);
    peer_send(parent, 0);
    while (comes_and_goes_once() == 0) {
    }
    return 1;
}

static void killed_at_random(void **state)
{
    struct peer peers[RANDOM_PEERS];
    unsigned seed = 1;

    (void)state;
    for (int i = 0; i < RANDOM_PEERS; i++)
        peer_start(&peers[i], comes_and_goes, NULL);
    for (int i = 0; i < RANDOM_KILLS; i++) {
        struct peer *p = &peers[rand_r(&seed) % RANDOM_PEERS];
        usleep((unsigned)rand_r(&seed) % 3000);
        assert_int_equal(peer_receive(p), 0);
        assert_int_equal(waitpid(p->pid, NULL, WNOHANG), 0); /* it found nothing wrong */
        peer_kill(p);
        peer_start(p, comes_and_goes, NULL);
    }
    for (int i = 0; i < RANDOM_PEERS; i++)
        peer_kill(&peers[i]);
    attached_reap();
    for (uint32_t i = 1; i < load_relaxed(&attached_arena.sync->process_high); i++)
        assert_int_equal(load_relaxed(&attached_arena.processes[i].used), 0);
    assert_in_range(load_relaxed(&attached_arena.sync->process_high), 2, 2 * RANDOM_PEERS + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ATTACHED_CASE(closing_descriptors_does_not),
        ATTACHED_CASE(a_forked_child_does_not_keep_it_alive),
        ATTACHED_CASE(a_bare_forked_child_does_not_keep_it_alive),
        ATTACHED_CASE(a_cloned_child_does_not_keep_it_alive),
        ATTACHED_CASE(exec_ends_it),
        ATTACHED_CASE(pid_namespaces_do_not_matter),
        ATTACHED_CASE(killed_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
