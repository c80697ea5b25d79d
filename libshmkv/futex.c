/* SPDX-License-Identifier: MIT */
/* futex.c - the futex system call, in its form that works across processes. */
#include "futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int futex_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
    struct timespec t = {
        .tv_sec = (time_t)(timeout_ns / 1000000000),
        .tv_nsec = (long)(timeout_ns % 1000000000),
    };
    const struct timespec *limit = timeout_ns < 0 ? NULL : &t;

    if (syscall(SYS_futex, word, FUTEX_WAIT, expected, limit, NULL, 0) == 0)
        return 0;
    return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

/* The only possible error is a word that is not mapped, and then nobody sleeps on it. */
void futex_wake(_Atomic uint32_t *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);
}
