/* SPDX-License-Identifier: MIT */
/* clock.c - the clocks. */
#include "clock.h"

#include <errno.h>
#include <time.h>

#define CLOCK_NS_PER_S 1000000000ull

/* The clocks used here exist on every kernel that the library runs on, so there is no error. */
static uint64_t clock_read_ns(clockid_t id)
{
    struct timespec t = {0};

    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * CLOCK_NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t clock_real_ms(void)
{
    return clock_read_ns(CLOCK_REALTIME) / 1000000;
}

uint64_t clock_boot_ms(void)
{
    return clock_read_ns(CLOCK_BOOTTIME) / 1000000;
}

uint64_t clock_cpu_ns(void)
{
    return clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t clock_mono_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

/* An absolute time, so that a storm of signals does not stretch the sleep. */
void clock_sleep_ns(uint64_t ns)
{
    uint64_t end = clock_mono_ns() + ns;
    struct timespec t = {
        .tv_sec = (time_t)(end / CLOCK_NS_PER_S),
        .tv_nsec = (long)(end % CLOCK_NS_PER_S),
    };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}
