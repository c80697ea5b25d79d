/* SPDX-License-Identifier: MIT */
/* test_clock.c - units, order, and a sleep that signals do not cut short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"

#include <signal.h>
#include <sys/time.h>
#include <time.h>

static void real_time_is_unix_time_in_ms(void **state)
{
    (void)state;
    uint64_t before = (uint64_t)time(NULL);
    uint64_t now = clock_real_ms() / 1000;
    /* time() may lag by a tick. */
    assert_in_range(now, before, before + 2);
}

static void clocks_never_go_back(void **state)
{
    uint64_t mono = clock_mono_ns(), boot = clock_boot_ms();

    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint64_t m = clock_mono_ns(), b = clock_boot_ms();
        assert_true(m >= mono && b >= boot);
        mono = m;
        boot = b;
    }
}

static void boot_and_mono_agree_on_the_length_of_a_sleep(void **state)
{
    uint64_t mono = clock_mono_ns(), boot = clock_boot_ms();

    (void)state;
    clock_sleep_ns(30000000);
    mono = clock_mono_ns() - mono;
    boot = clock_boot_ms() - boot;
    assert_true(mono >= 30000000);
    assert_in_range(boot, 29, mono / 1000000 + 5);
}

static volatile sig_atomic_t alarms;
static void on_alarm(int signal)
{
    (void)signal;
    alarms = alarms + 1;
}

static void signals_do_not_end_a_sleep(void **state)
{
    struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = on_alarm};

    (void)state;
    sigaction(SIGALRM, &action, NULL);
    uint64_t start = clock_mono_ns();
    setitimer(ITIMER_REAL, &often, NULL);
    clock_sleep_ns(40000000);
    setitimer(ITIMER_REAL, &never, NULL);
    assert_true(clock_mono_ns() - start >= 40000000);
    assert_true(alarms > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_time_is_unix_time_in_ms),
        cmocka_unit_test(clocks_never_go_back),
        cmocka_unit_test(boot_and_mono_agree_on_the_length_of_a_sleep),
        cmocka_unit_test(signals_do_not_end_a_sleep),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
