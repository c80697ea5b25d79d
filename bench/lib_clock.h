/* SPDX-License-Identifier: MIT */
/*
 * lib_clock.h - a tick counter that costs a few nanoseconds, and what a tick is worth.
 *
 * clock_begin() and clock_end() bracket one sampled operation: neither lets the operation's loads
 * slip out of the bracket, so a sample is the latency of one operation alone.  Both engines pay
 * the same for it.
 */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What this thread has had of a processor. */
static inline uint64_t clock_cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void clock_sleep_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

#if defined(__x86_64__)

static inline uint64_t clock_ticks(void)
{
    return __builtin_ia32_rdtsc();
}

static inline uint64_t clock_begin(void)
{
    uint64_t t;

    __builtin_ia32_lfence();
    t = __builtin_ia32_rdtsc();
    __builtin_ia32_lfence();
    return t;
}

static inline uint64_t clock_end(void)
{
    unsigned cpu;
    uint64_t t = __builtin_ia32_rdtscp(&cpu);

    __builtin_ia32_lfence();
    return t;
}

#elif defined(__aarch64__)

static inline uint64_t clock_ticks(void)
{
    uint64_t t;

    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
    return t;
}

static inline uint64_t clock_begin(void)
{
    uint64_t t;

    __asm__ volatile("dsb ish; isb; mrs %0, cntvct_el0; isb" : "=r"(t) : : "memory");
    return t;
}

static inline uint64_t clock_end(void)
{
    return clock_begin();
}

#else

static inline uint64_t clock_ticks(void)
{
    return clock_ns();
}

static inline uint64_t clock_begin(void)
{
    return clock_ns();
}

static inline uint64_t clock_end(void)
{
    return clock_ns();
}

#endif

/* Nanoseconds per tick, measured once over 20 ms. */
static inline double clock_calibrate(void)
{
    uint64_t ns = clock_ns();
    uint64_t ticks = clock_ticks();

    clock_sleep_ms(20);
    ns = clock_ns() - ns;
    ticks = clock_ticks() - ticks;
    return ticks == 0 ? 1.0 : (double)ns / (double)ticks;
}

#endif
