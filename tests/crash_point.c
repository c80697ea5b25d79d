/* SPDX-License-Identifier: MIT */
/* crash_point.c - the points at which crash tests kill, stop and call do what they promise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "point.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void count(void *arg)
{
    ++*(unsigned *)arg;
}

static void pass_some(void)
{
    POINT("some.first");
    POINT("some.second");
    POINT("some.second");
}

static void nothing_armed_does_nothing(void **state)
{
    (void)state;
    pass_some();
}

static void the_nth_passage_acts_once(void **state)
{
    unsigned calls = 0;

    (void)state;
    point_arm("some.second", 3, POINT_CALL, count, &calls);
    pass_some();
    assert_int_equal(calls, 0);
    POINT("some.third");
    assert_int_equal(calls, 0);
    POINT("some.second");
    assert_int_equal(calls, 1);
    pass_some();
    assert_int_equal(calls, 1);
}

static void disarmed_does_nothing(void **state)
{
    unsigned calls = 0;

    (void)state;
    point_arm("some.first", 1, POINT_CALL, count, &calls);
    point_disarm();
    pass_some();
    assert_int_equal(calls, 0);
}

static void a_child_acts_only_if_it_armed(void **state)
{
    int status;

    (void)state;
    point_arm("some.first", 1, POINT_KILL, NULL, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        pass_some();
        point_arm("some.second", 2, POINT_KILL, NULL, NULL);
        POINT("some.second");
        pass_some();
        _exit(0);
    }
    point_disarm();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void a_stopped_process_goes_on(void **state)
{
    int status;

    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        point_arm("some.first", 1, POINT_STOP, NULL, NULL);
        pass_some();
        _exit(7);
    }
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    kill(pid, SIGCONT);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

#define SEEN_BYTES 200

static void note(void *arg, const char *name)
{
    char *seen = arg;
    size_t length = strlen(seen);

    snprintf(seen + length, SEEN_BYTES - length, "%s ", name);
}

static void the_recorder_sees_every_passage(void **state)
{
    char seen[SEEN_BYTES] = "";

    (void)state;
    point_record(note, seen);
    pass_some();
    point_record(NULL, NULL);
    pass_some();
    assert_string_equal(seen, "some.first some.second some.second ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_armed_does_nothing),
        cmocka_unit_test(the_nth_passage_acts_once),
        cmocka_unit_test(disarmed_does_nothing),
        cmocka_unit_test(a_child_acts_only_if_it_armed),
        cmocka_unit_test(a_stopped_process_goes_on),
        cmocka_unit_test(the_recorder_sees_every_passage),
    };
    return cmocka_run_group_tests_name("point", tests, NULL, NULL);
}
