/* SPDX-License-Identifier: MIT */
/*
 * collapse.h - huge pages for memory that a live store has already.
 *
 * What is taken as a whole comes as huge pages (arena_take_huge); writers take theirs in small
 * steps, of 4 KiB pages, so that none waits for long.  The keeper makes units of 2 MiB of these
 * huge pages later: of the index first, since each operation looks into it, then of the log.  One
 * unit at a time, with pauses of nine times as long: who touches a unit while it is copied waits.
 *
 * A collapse supplies what is missing.  In a segment that had become a HOLE meanwhile that would
 * be memory in use that nobody counts, for ever (INV-S2).  So, by the keeper:
 *
 *   1. enter a section                                                     [E1]
 *   2. of an index area: it is the root's; of the log: each segment of the unit has all its memory,
 *      and is OPEN, PARTIAL, SEALING or SEALED with something in it       [H1]
 *   3. collapse
 *   4. end the section                                                     [E4]
 *
 *   INV-H1  None of that memory is given back between 2 and 4, so none is supplied that is not
 *           counted.  From what it was seen to be, a segment becomes a HOLE through LIMBO(e) alone,
 *           and an area FREE too; e is loaded after the last step before LIMBO was taken, which is
 *           after 2 (CLEANING is not among the states of 2; the root has moved on), so the section
 *           is one of those that hold it back [INV-E1].  FREE may be punched at any time; for
 *           CLEANING, RUN_HEAD and LIMBO e may have been loaded before 1; OPENING has not taken all
 *           yet.  Their units wait for another round; runs, which are read from end to end, gain
 *           least and stay as they are.                                    crash_collapse
 *
 * Progress: who touches the unit waits for the copy of it, and who maps memory in the keeper's own
 * process for what the kernel waits for (arena_huge.c).  Stopped or kept waiting inside of 1 to 4
 * it is a reader that stands: it holds memory back, and is named.  So it is not done while puts
 * find no segment.
 *
 * The memory then counts as the keeper's process', where cgroups count it; so it is not done unless
 * there is much to spare.
 *
 * Death: at any step: the kernel has collapsed the unit or not; the section is the reaper's.
 */
#ifndef SHMKV_COLLAPSE_H
#define SHMKV_COLLAPSE_H

#include "table.h"

/* What the keeper remembers between ticks. */
struct collapse {
    uint64_t next_ns;   /* CLOCK_MONOTONIC before which nothing is done */
    uint64_t root;      /* whose units are being collapsed, or all were */
    uint64_t area_unit; /* the next one of it */
    bool running;       /* a round through the log */
    uint64_t unit;      /* the next one of it */
    uint64_t opened;    /* segments, when the last round began: without more there is none */
    uint64_t idle_ns;   /* that the round has looked at what is done already */
    uint32_t tries;     /* for the unit that is the next one */
    bool missed;        /* one was given up in this round */
    uint64_t again_ns;  /* the pause after such a one; 0: the last gave up none */
    bool spare;         /* there is memory for it, as was seen in this step */
    bool soon;          /* more is to be done in milliseconds */
};

/* None before @now and a while: who has the lease for a moment only has other work. */
void collapse_begin(struct collapse *c, uint64_t now);
/* Some of it at time @now, outside of sections; true if more is to be done in milliseconds. */
bool collapse_step(const struct participant *p, struct collapse *c, uint64_t now);

#endif
