/* SPDX-License-Identifier: MIT */
/* clock.h - the clocks. */
#ifndef SHMKV_CLOCK_H
#define SHMKV_CLOCK_H

#include <stdint.h>

/* Unix time in milliseconds; may be stepped by the administrator. */
uint64_t clock_real_ms(void);
/* Milliseconds since boot, suspended time included; never steps, the same in all processes. */
uint64_t clock_boot_ms(void);
/* Nanoseconds since some fixed time, suspended time not included; the same in all processes. */
uint64_t clock_mono_ns(void);
/* Processor time of this thread. */
uint64_t clock_cpu_ns(void);
/* Sleep at least so long; signals do not end it. */
void clock_sleep_ns(uint64_t ns);

#endif
