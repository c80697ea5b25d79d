/* SPDX-License-Identifier: MIT */
/* stats.c - see stats.h. */
#include "stats.h"

void stats_sum(const struct arena *a, uint64_t *sums)
{
    uint32_t high = epoch_entries(a);
    for (unsigned s = 0; s < STAT_COUNT; s++)
        sums[s] = load_relaxed(&a->sync->retired[s]);
    for (uint32_t i = 0; i < high; i++) {
        const struct participant_entry *entry = &a->participants[i];
        for (unsigned s = 0; s < STAT_COUNT; s++)
            sums[s] += load_relaxed(&entry->counters[s]);
    }
}
