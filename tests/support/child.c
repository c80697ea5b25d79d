/* SPDX-License-Identifier: MIT */
/* child.c - see child.h. */
#define _GNU_SOURCE
#include "child.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "shmkv.h"

#define POLL_NS 100000u

pid_t child_start(child_fn *fn, void *arg)
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before the line above */
        _exit(CHILD_FAILED);
    _exit(fn(arg));
}

static int status_of(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : CHILD_SIGNAL + WTERMSIG(status);
}

bool child_ended(pid_t pid, int *status)
{
    int raw;
    if (waitpid(pid, &raw, WNOHANG) != pid)
        return false;
    *status = status_of(raw);
    return true;
}

int child_wait(pid_t pid, unsigned limit_ms)
{
    uint64_t end = clock_mono_ns() + limit_ms * 1000000ull;
    int status;
    while (!child_ended(pid, &status)) {
        if (clock_mono_ns() > end) {
            child_kill(pid);
            return CHILD_LATE;
        }
        clock_sleep_ns(POLL_NS);
    }
    return status;
}

bool child_wait_stopped(pid_t pid, unsigned limit_ms)
{
    uint64_t end = clock_mono_ns() + limit_ms * 1000000ull;
    while (clock_mono_ns() <= end) {
        siginfo_t info = {.si_pid = 0};
        int rc = waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOHANG | WNOWAIT);
        if (rc != 0 || (info.si_pid == pid && info.si_code != CLD_STOPPED))
            return false;
        if (info.si_pid == pid)
            return true;
        clock_sleep_ns(POLL_NS);
    }
    return false;
}

bool child_ended_well(unsigned place, int status)
{
    if (status == 0 || status == CHILD_SIGNAL + SIGKILL)
        return true;
    printf("# the worker in place %u ended with status %d\n", place, status);
    return false;
}

void child_kill(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

void child_check(bool holds, const char *condition, const char *file, int line)
{
    if (holds)
        return;
    fprintf(stderr, "%s:%d: in a child: %s; last error: %s\n", file, line, condition,
            shmkv_last_error());
    _exit(CHILD_FAILED);
}
