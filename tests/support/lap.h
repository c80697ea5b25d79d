/* SPDX-License-Identifier: MIT */
/*
 * lap.h - how long a call took, and how much of that the thread stood in the queue for a processor.
 *
 * With more processes than processors a call that takes a microsecond may last a tenth of a second.
 * What a promise of time is about is the rest: running, sleeping and waiting for others.
 */
#ifndef TEST_LAP_H
#define TEST_LAP_H

#include <stdint.h>

struct lap {
    int fd; /* of the thread's schedstat */
    uint64_t start_ns;
    uint64_t queued_ns; /* as read last: a read costs as much as a call */
    unsigned laps;      /* until it is read again */
};

/* What a lap was. */
struct lap_time {
    uint64_t wall_ns;
    uint64_t queued_ns; /* of it in the queue; measured only if the lap was long, else 0 */
};

/* For the calling thread; without schedstat everything counts as used. */
void lap_open(struct lap *lap);
void lap_close(struct lap *lap);
void lap_begin(struct lap *lap);
struct lap_time lap_end(struct lap *lap);

static inline uint64_t lap_used_ns(struct lap_time t)
{
    return t.wall_ns > t.queued_ns ? t.wall_ns - t.queued_ns : 0;
}

#endif
