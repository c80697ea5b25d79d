/* SPDX-License-Identifier: MIT */
/*
 * clock_shift.h - clocks that a test sets: the kernel's, moved by an offset each.
 *
 * The program's clock_gettime() takes the place of the C library's, also for the library under
 * test, so nothing in that has to know.  To be included by one file of a test program.  Children
 * inherit the offsets as they are at the fork.
 */
#ifndef TEST_CLOCK_SHIFT_H
#define TEST_CLOCK_SHIFT_H

#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "atomics.h"

#define HOUR_MS 3600000ll
#define YEAR_MS (365ll * 24 * HOUR_MS)

/* Added to CLOCK_REALTIME and to CLOCK_BOOTTIME; relaxed: a clock orders nothing. */
static _Atomic int64_t shift_real_ms, shift_boot_ms;

static inline void shift_time(struct timespec *t, int64_t ms)
{
    int64_t ns = t->tv_nsec + ms % 1000 * 1000000;
    t->tv_sec += ms / 1000 + (ns < 0 ? -1 : ns / 1000000000);
    t->tv_nsec = ns < 0 ? ns + 1000000000 : ns % 1000000000;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    int rc = (int)syscall(SYS_clock_gettime, id, t);
    if (rc == 0 && id == CLOCK_REALTIME)
        shift_time(t, load_relaxed(&shift_real_ms));
    else if (rc == 0 && id == CLOCK_BOOTTIME)
        shift_time(t, load_relaxed(&shift_boot_ms));
    return rc;
}

static inline void shift_reset(void)
{
    store_relaxed(&shift_real_ms, 0);
    store_relaxed(&shift_boot_ms, 0);
}

#endif
