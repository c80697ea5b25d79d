/* SPDX-License-Identifier: MIT */
/* test_fork.c - a process notices that it is a child, whoever made it and how. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fork.h"
#include "peer.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 8
#define GENERATIONS 5

static uint64_t words[GENERATIONS + 1];

static void the_word_stays(void **state)
{
    (void)state;
    assert_int_equal(fork_word(), 0); /* nobody has asked for one */
    assert_int_equal(fork_init(), 0);
    words[0] = fork_word();
    assert_int_not_equal(words[0], 0);
    assert_int_equal(fork_init(), 0);
    assert_int_equal(fork_renew(), 0);
    assert_int_equal(fork_word(), words[0]);
}

static void *renews(void *word)
{
    fork_renew();
    *(uint64_t *)word = fork_word();
    return NULL;
}

/* In a child: many threads renew at once, and all get the same new word. */
static int renews_once(struct peer *parent, void *arg)
{
    pthread_t threads[THREADS];
    uint64_t found[THREADS];
    (void)parent;
    (void)arg;
    CHECK(fork_word() == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, renews, &found[i]) == 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(found[i] == fork_word());
    }
    CHECK(fork_word() != 0 && fork_word() != words[0]);
    return 0;
}

static void threads_of_a_child_agree(void **state)
{
    (void)state;
    assert_int_equal(fork_init(), 0);
    words[0] = fork_word();
    assert_int_equal(peer_run(renews_once, NULL), 0);
    assert_int_equal(fork_word(), words[0]);
}

/* Each generation differs from all before it. */
static int descends(struct peer *parent, void *arg)
{
    int generation = *(int *)arg;
    (void)parent;
    CHECK(fork_word() == 0);
    CHECK(fork_renew() == 0);
    for (int i = 0; i < generation; i++)
        CHECK(fork_word() != words[i]);
    words[generation] = fork_word();
    generation++;
    return generation > GENERATIONS ? 0 : peer_run(descends, &generation);
}

static void descendants_differ(void **state)
{
    int generation = 1;

    (void)state;
    assert_int_equal(fork_init(), 0);
    words[0] = fork_word();
    assert_int_equal(peer_run(descends, &generation), 0);
}

static int status_of(pid_t child)
{
    int status = -1;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void however_it_was_made(void **state)
{
    pid_t child;

    (void)state;
    assert_int_equal(fork_init(), 0);
    child = _Fork();
    if (child == 0)
        _exit(fork_word() != 0);
    assert_int_equal(status_of(child), 0);
    child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0)
        _exit(fork_word() != 0);
    assert_int_equal(status_of(child), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_word_stays),
        cmocka_unit_test(threads_of_a_child_agree),
        cmocka_unit_test(descendants_differ),
        cmocka_unit_test(however_it_was_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
