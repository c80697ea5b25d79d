/* SPDX-License-Identifier: MIT */
/*
 * trim.h - gives memory back that a store which has shrunk does not need, unasked.
 *
 * A store whose keys were mostly deleted keeps their segments: there is room enough, so nothing
 * asks for cleaning.  When hardly a segment was opened for a while, the keeper
 *
 *   1. halves the index, again and again, if keys fill less than 3/32 of it;
 *   2. cleans, as long as what has memory is more than twice what is live (not in a cache, whose
 *      cleaner evicts);
 *   3. gives free segments back, but for a few;
 *
 * a little with each tick.  While the store is written to at a rate that would soon ask for all of
 * that again it does none of it: memory that comes back costs a fault for each page.  Between one
 * half and all of the memory in use is then live, or belongs to the few.
 *
 * Policy only; a death leaves what segment.h, table.h and cleaner.h say of the steps.
 */
#ifndef SHMKV_TRIM_H
#define SHMKV_TRIM_H

#include "index.h"

/* What the keeper remembers between ticks. */
struct trim {
    uint64_t checked_ns;   /* CLOCK_MONOTONIC of the last look */
    uint64_t incarnations; /* as they were then */
    bool quiet;            /* hardly any segment was opened in the time before */
};

/* A step of it at time @now; true if there is more to do. */
bool trim_step(struct writer *w, struct trim *t, uint64_t now);

#endif
