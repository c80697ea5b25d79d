/* SPDX-License-Identifier: MIT */
/*
 * child.h - processes of a test: started, watched with a time limit, never left behind.
 *
 * A child dies with its parent.  It reports by its exit status; child_assert() ends it with a line
 * on stderr, since cmocka's asserts belong to the parent.
 */
#ifndef TEST_CHILD_H
#define TEST_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#define CHILD_FAILED 99  /* exit status of a child whose child_assert() failed */
#define CHILD_LATE (-1)  /* it did not end in time, and was killed */
#define CHILD_SIGNAL 128 /* + number of the signal that ended it */

typedef int child_fn(void *arg);

/* Fork, run @fn, exit with what it returns. */
pid_t child_start(child_fn *fn, void *arg);
/* Wait for the end: exit status, CHILD_SIGNAL + n, or CHILD_LATE. */
int child_wait(pid_t pid, unsigned limit_ms);
/* Wait until it is stopped; false: it ended, or did not stop in time. */
bool child_wait_stopped(pid_t pid, unsigned limit_ms);
/* Has it ended?  If so, *@status is as of child_wait(). */
bool child_ended(pid_t pid, int *status);
/* kill -9, and wait for the end. */
void child_kill(pid_t pid);
/* Did the worker in that place end by itself, or killed?  Else its status is printed. */
bool child_ended_well(unsigned place, int status);

#define child_assert(condition) child_check((condition), #condition, __FILE__, __LINE__)
void child_check(bool holds, const char *condition, const char *file, int line);

#endif
