/* SPDX-License-Identifier: MIT */
/*
 * reap.h - finish what a dead process left.
 *
 * The caller holds the dead process' lock byte (process.h), so there is one reaper at a time, and
 * nobody else stores to the dead one's entries.  Per participant, in this order:
 *
 *   1. its record in flight is decided (index.h); if it was published, `used` passes it
 *   2. its segments and areas become usable again (segment.h, table.h)
 *   3. what it announced as a waiter is taken back, sleepers it may have owed a wake are woken
 *   4. its sections end, its entry becomes free (epoch.h)
 *
 * Until step 4 the section it died in stands in its entry and keeps what step 1 reads from being
 * reused.  Each step may be repeated: a reaper that dies is followed by another, from the start.
 *                                             crash_kv (operation "reap"), test_reap, crash_reap
 */
#ifndef SHMKV_REAP_H
#define SHMKV_REAP_H

#include "arena.h"

/* What process_join() and process_reap_dead() want. */
typedef void reap_fn(void *arg, uint32_t process);

/* That; @arg is the struct arena. */
void reap_process(void *arg, uint32_t process);

#endif
