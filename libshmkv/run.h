/* SPDX-License-Identifier: MIT */
/*
 * run.h - room for one record that is larger than a segment: neighbouring segments, claimed
 * together and freed together.
 *
 *   id       id + 1     id + 2
 *   +--------+----------+-----------------+
 *   | head   | rest     | rest            |     the record begins where the head does and goes on
 *   +--------+----------+------+----------+     through all of them; what is behind it in the last
 *   | one record               |          |     one has no memory, but counts as in use
 *   +--------------------------+----------+
 *
 * States and who may change them stand in segment.h.  The owner claims the head, then the others
 * from below, each by one CAS; if one is not to be had, all go back and the search goes on behind
 * it.  Then it counts whether that is too much (INV-S2), has memory put under it, and owns it as a
 * reservation owns its segment: PINNED, so that the record is written outside of a write section,
 * which is only entered to publish it.
 *
 * Finding neighbours.  There are four times as many ids as segments that the limit allows, most of
 * them holes, and the first stretch is taken.  Single segments stay below the limit's number
 * (segment.c), so what is above it is divided among runs alone, which are few; no segment has to
 * be vacated for one.  First fit can be led astray by a sequence of sizes made for that (Robson
 * 1977: the factor is the logarithm of the largest size); then the value finds no room.
 *
 * The record dies like any other: superseded.  It is never moved; collect.h has the run freed.
 *
 * Progress: obstruction-free among those who claim runs in the same stretch at the same time, and
 * each that fails goes on behind the place, so two cannot undo each other's claims for ever.
 *
 * Death: the head's word names the owner.  Its reaper frees what was claimed, or, if the record was
 * published, gives the run the state that the owner would have given it: segment_reap().
 */
#ifndef SHMKV_RUN_H
#define SHMKV_RUN_H

#include "append.h"

/* Does a record of @bytes need a run? */
static inline bool run_needed(const struct arena *a, uint64_t bytes)
{
    return bytes > a->segment_mask + 1;
}

/* The number of segments of a run that holds @bytes. */
static inline uint64_t run_length(const struct arena *a, uint64_t bytes)
{
    return (bytes + a->segment_mask) >> a->segment_shift;
}

/* The largest record that the store takes: a quarter of it, or one segment. */
uint64_t run_largest(const struct arena *a);

/*
 * run_open() - get a run for a record of @bytes and have memory under it; @l, which is empty, then
 * owns it.  append_close() ends that: the run stays if its record was published.
 * Errors as those of append_reserve().
 */
int run_open(struct append *l, const struct participant *p, enum segment_purpose purpose,
             uint64_t bytes);

#endif
