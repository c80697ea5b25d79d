/* SPDX-License-Identifier: MIT */
/* test_futex.c - sleeping and waking across processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "futex.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS 1000000ll

/* Two words in memory that children share; one more view of them that cannot be written. */
static _Atomic uint32_t *words;
static const _Atomic uint32_t *readonly_words;

static int map(void **state)
{
    int fd = memfd_create("test_futex", MFD_CLOEXEC);

    (void)state;
    if (fd < 0 || ftruncate(fd, 4096) != 0)
        return -1;
    words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    readonly_words = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    return words == MAP_FAILED || readonly_words == MAP_FAILED ? -1 : 0;
}

static void another_value_does_not_sleep(void **state)
{
    (void)state;
    store_relaxed(&words[0], 5);
    assert_int_equal(futex_wait(&words[0], 4, -1), 0);
}

static void a_sleep_times_out(void **state)
{
    (void)state;
    store_relaxed(&words[0], 5);
    uint64_t start = clock_mono_ns();
    assert_int_equal(futex_wait(&words[0], 5, 20 * MS), -ETIMEDOUT);
    assert_true(clock_mono_ns() - start >= 20 * MS);
    assert_int_equal(futex_wait(&words[0], 5, 0), -ETIMEDOUT);
}

static void a_word_that_is_not_there_is_an_error(void **state)
{
    _Atomic uint32_t *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    assert_true(nowhere != MAP_FAILED);
    assert_int_equal(futex_wait(nowhere, 0, -1), -EFAULT);
    futex_wake(nowhere, 1);
    munmap(nowhere, 4096);
}

/* Sleep on @word until it is no longer 0, say so in words[1], end. */
static pid_t start_sleeper(const _Atomic uint32_t *word)
{
    pid_t pid = fork();

    if (pid == 0) {
        while (load_acquire(word) == 0) {
            if (futex_wait(word, 0, -1) != 0)
                _exit(1);
        }
        add_seq_cst(&words[1], 1);
        _exit(0);
    }
    return pid;
}

static void assert_ends_well(pid_t pid)
{
    int status = -1;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void one_process_wakes_others(void **state)
{
    (void)state;
    store_relaxed(&words[0], 0);
    store_relaxed(&words[1], 0);
    pid_t first = start_sleeper(&words[0]);
    pid_t second = start_sleeper(&readonly_words[0]); /* another address, the same word */
    clock_sleep_ns(20 * MS);
    assert_int_equal(load_seq_cst(&words[1]), 0);
    store_seq_cst(&words[0], 1);
    futex_wake(&words[0], INT_MAX);
    assert_ends_well(first);
    assert_ends_well(second);
    assert_int_equal(load_seq_cst(&words[1]), 2);
}

static void a_killed_sleeper_does_no_harm(void **state)
{
    int status;

    (void)state;
    store_relaxed(&words[0], 0);
    store_relaxed(&words[1], 0);
    pid_t dead = start_sleeper(&words[0]);
    pid_t living = start_sleeper(&words[0]);
    clock_sleep_ns(20 * MS);
    kill(dead, SIGKILL);
    assert_int_equal(waitpid(dead, &status, 0), dead);
    store_seq_cst(&words[0], 1);
    futex_wake(&words[0], 1);
    assert_ends_well(living);
}

static void on_alarm(int signal)
{
    (void)signal;
}

static void a_signal_ends_the_sleep(void **state)
{
    struct itimerval soon = {{0, 0}, {0, 20000}};
    struct sigaction action = {.sa_handler = on_alarm};

    (void)state;
    sigaction(SIGALRM, &action, NULL);
    store_relaxed(&words[0], 0);
    setitimer(ITIMER_REAL, &soon, NULL);
    assert_int_equal(futex_wait(&words[0], 0, 10000 * MS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_value_does_not_sleep),
        cmocka_unit_test(a_sleep_times_out),
        cmocka_unit_test(a_word_that_is_not_there_is_an_error),
        cmocka_unit_test(one_process_wakes_others),
        cmocka_unit_test(a_killed_sleeper_does_no_harm),
        cmocka_unit_test(a_signal_ends_the_sleep),
    };
    return cmocka_run_group_tests_name("futex", tests, map, NULL);
}
