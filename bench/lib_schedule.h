/* SPDX-License-Identifier: MIT */
/*
 * lib_schedule.h - operations that are due at fixed times, and how late each one is done.
 *
 * Whenever something took long the kernel is asked why, and the schedule stands still meanwhile.
 * Latencies are kept by two clocks: that of the wall, and one that stands still while the machine
 * has the processor taken away.  The second is a queue replayed: an operation begins when it is
 * due, or when the one before has ended, and takes what it took, without what was taken from it.
 * In the waiting loop, which calls nothing, all of a long break is the machine's; in an operation
 * only what the kernel says that the thread did not run without having slept.
 */
#ifndef BENCH_SCHEDULE_H
#define BENCH_SCHEDULE_H

#include "lib_histogram.h"
#include "lib_pause.h"
#include "lib_team.h"

/* The second pair: by the clock that stands still while the machine has taken the processor. */
enum schedule_kind { KIND_GET, KIND_SET, KIND_GET_RUNNING, KIND_SET_RUNNING, KINDS };

/* What one process has seen in a slice. */
struct schedule_seen {
    uint64_t done;
    uint64_t ticks;
    uint64_t busy; /* ticks in operations, without what was taken */
    uint64_t stops;
    uint64_t taken; /* ticks, by the machine */
    struct pause_list longest;
    struct histogram latency[KINDS];
};

/* What a slice is to do, and what its processes have seen. */
struct schedule {
    const struct stream *stream; /* of gets and sets */
    double ns_per_tick;
    bool all_own;      /* others of shmkv's threads run beside: nothing is told apart */
    double interval;   /* ticks between two calls of one process; 0: all are due at once */
    uint64_t duration; /* ticks */
    uint64_t spin;     /* ticks, in place of a call; 0: call */
    uint64_t turn;
    _Atomic unsigned next; /* gives each process a place */
    struct schedule_seen seen[TEAM_MAX];
};

/* That of all members; in memory that they share, made before they are. */
extern struct schedule *schedule;

/* What a member does in TEAM_CALL. */
const char *schedule_keep(const struct lane *lane, void *context, unsigned role);

#endif
