/* SPDX-License-Identifier: MIT */
/*
 * stats.h - counters with a single writer each: a participant counts in its own entry, so counting
 * costs a load and a store of a line that it owns, and a sum is read by whoever asks.
 */
#ifndef SHMKV_STATS_H
#define SHMKV_STATS_H

#include "epoch.h"
#include "shmkv.h"

/* Those of the public table, then what only policy needs. */
enum stat_counter {
#define STAT_ENUM(name, text) STAT_##name,
    SHMKV_STATS(STAT_ENUM)
#undef STAT_ENUM
        STAT_misses, /* gets less hits: a hit then costs one counter */
    STAT_keys_added,
    STAT_keys_removed,
    STAT_tombstones_added,
    STAT_tombstones_dropped,
    STAT_COUNT
};
_Static_assert(STAT_COUNT <= STAT_COUNTERS, "participant entries have room for every counter");

/* Relaxed: single writer; readers of the sum want no order. */
static inline void stat_add(const struct participant *p, enum stat_counter s, uint64_t n)
{
    _Atomic uint64_t *c = &p->entry->counters[s];
    store_relaxed(c, load_relaxed(c) + n);
}

/* Sums of all participants, present and departed; @sums has STAT_COUNT members. */
void stats_sum(const struct arena *a, uint64_t *sums);

/* How many there are, of which so many came and went.  Not below 0, as it may look if a death lost
 * counts of those who came, or somebody comes and goes while the sums are made. */
static inline uint64_t stats_left(const uint64_t *sums, enum stat_counter came,
                                  enum stat_counter went)
{
    uint64_t n = sums[came] - sums[went];
    return (int64_t)n < 0 ? 0 : n;
}

static inline uint64_t stats_keys(const uint64_t *sums)
{
    return stats_left(sums, STAT_keys_added, STAT_keys_removed);
}

static inline uint64_t stats_tombstones(const uint64_t *sums)
{
    return stats_left(sums, STAT_tombstones_added, STAT_tombstones_dropped);
}

#endif
