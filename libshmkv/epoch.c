/* SPDX-License-Identifier: MIT */
/* epoch.c - see epoch.h for the protocol and its invariants. */
#define _GNU_SOURCE
#include "epoch.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "point.h"
#include "shmkv.h"

#define RAISE_INTERVAL_NS 1000000u /* 40 bits of epoch at 1,000 a second last 34 years */

/* Left below the ceiling for those who must raise G: versions that run over, and backups. */
#define EPOCH_MARGIN (1u << 16)

/* A section that is so far behind G stands: it has lasted for a millisecond, or was preempted. */
#define STANDING 2u

static long membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0);
}

static bool membarrier_registered(void)
{
    return membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0;
}

void epoch_register_process(void)
{
    (void)membarrier_registered(); /* a refusal is noticed per participant, in epoch_join() */
}

/* Entries are taken page-wise beyond those that exist since creation. */
static int take_entry(const struct arena *a, uint32_t i)
{
    uint64_t offset = SYNC_PARTICIPANT_OFFSET + (uint64_t)i * sizeof(struct participant_entry);
    if (i < load_relaxed(&a->sync->participant_high)) /* taken by who raised the mark */
        return 0;
    return arena_take_sync(a, offset & ~(uint64_t)(PAGE_BYTES - 1), PAGE_BYTES);
}

static void raise_high(const struct arena *a, uint32_t i)
{
    uint32_t high = load_relaxed(&a->sync->participant_high);
    while (high <= i) { /* a failed CAS saw a higher mark: at most PARTICIPANT_MAX rounds */
        if (atomic_compare_exchange_strong(&a->sync->participant_high, &high, i + 1))
            break;
    }
}

int epoch_join(struct participant *p, const struct arena *a, uint32_t process)
{
    for (uint32_t i = 0; i < PARTICIPANT_MAX; i++) {
        struct participant_entry *entry = &a->participants[i];
        int rc = take_entry(a, i);
        if (rc != 0)
            return rc;
        uint64_t owner = load_relaxed(&entry->owner); /* a hint, the CAS decides */
        if (owner != 0)
            continue;
        /* seq_cst: claim and mark precede the first section in every scan's view [E1], INV-E4.
         * If we die right after it, the entry is idle and names our process: reaped. */
        if (!cas_seq_cst(&entry->owner, &owner, (uint64_t)process + 1))
            continue;
        raise_high(a, i);
        POINT("join.claimed");
        p->arena = a;
        p->entry = entry;
        p->epoch = &a->sb->epoch;
        p->index = i;
        p->fenced = !membarrier_registered();
        epoch_name_thread(p);
        store_seq_cst(&entry->flags, p->fenced ? PARTICIPANT_FENCED : 0u);
        return 0;
    }
    return error_set(SHMKV_ELIMIT,
                     "%s: all %u participant entries are in use; close threads or "
                     "processes that use the store (shmkv readers lists them)",
                     a->name, PARTICIPANT_MAX);
}

/* Relaxed, here and below: information. */
void epoch_name_thread(const struct participant *p)
{
    store_relaxed(&p->entry->thread, (uint64_t)syscall(SYS_gettid));
}

void epoch_clear_entry(const struct arena *a, struct participant_entry *entry)
{
    /* A death in here loses counts.  It must not double them: too few keys or tombstones make a
     * table that starves and is followed by a larger one, too many make it too large for ever. */
    for (unsigned i = 0; i < STAT_COUNTERS; i++) {
        uint64_t count = load_relaxed(&entry->counters[i]);
        store_relaxed(&entry->counters[i], 0);
        POINT("leave.counting");
        add_relaxed(&a->sync->retired[i], count);
    }
    store_relaxed(&entry->thread, 0);
    store_relaxed(&entry->standing, 0);
    store_release(&entry->inflight, 0);
    store_release(&entry->writing, 0); /* pairs with epoch_poll [E4] */
    store_release(&entry->reading, 0); /* pairs with epoch_poll [E4] */
    POINT("leave.cleared");
    store_release(&entry->owner, 0); /* the next claimer's CAS sees the cleared words */
}

void epoch_leave(struct participant *p)
{
    epoch_clear_entry(p->arena, p->entry);
    p->entry = NULL;
}

bool epoch_fence_all(const struct arena *a)
{
    if (likely(membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0))
        return true;
    uint32_t high = epoch_entries(a);
    for (uint32_t i = 0; i < high; i++) {
        const struct participant_entry *entry = &a->participants[i];
        if (load_seq_cst(&entry->owner) != 0 &&
            (load_seq_cst(&entry->flags) & PARTICIPANT_FENCED) == 0)
            return false;
    }
    fence_seq_cst(); /* pairs with the fences of FENCED entries, epoch_fence_self [E3] */
    return true;
}

static void note_standing(struct participant_entry *entry, uint64_t epoch)
{
    if (load_relaxed(&entry->standing) == epoch)
        return;
    store_relaxed(&entry->standing_ns, clock_mono_ns());
    store_release(&entry->standing, epoch); /* pairs with epoch_standing_ns [E6] */
}

uint64_t epoch_standing_ns(const struct participant_entry *entry, uint64_t epoch)
{
    if (epoch == 0 || load_acquire(&entry->standing) != epoch) /* pairs with note_standing [E6] */
        return 0;
    uint64_t since = load_relaxed(&entry->standing_ns), now = clock_mono_ns();
    return now - min_u64(now, since);
}

/* The lowest nonzero epoch in any entry; UINT64_MAX if nobody is in a section.  @g: about now. */
static uint64_t lowest_section(const struct arena *a, uint64_t g, int64_t *who)
{
    uint64_t lowest = UINT64_MAX;
    uint32_t high = epoch_entries(a);
    for (uint32_t i = 0; i < high; i++) {
        struct participant_entry *entry = &a->participants[i];
        uint64_t reading = load_acquire(&entry->reading); /* acquire: pairs with epoch_exit */
        uint64_t writing = load_acquire(&entry->writing); /* and epoch_exit_write [E4] */
        uint64_t oldest = epoch_older(reading, writing);
        if (oldest == 0)
            continue;
        if (oldest + STANDING <= g)
            note_standing(entry, oldest);
        if (oldest < lowest) {
            lowest = oldest;
            *who = (int64_t)i;
        }
    }
    return lowest;
}

bool epoch_is_near_ceiling(const struct arena *a)
{
    /* relaxed, both: it only grows, and the margin is wide */
    return load_relaxed(&a->sb->epoch) + EPOCH_MARGIN >= load_relaxed(&a->sb->ceiling);
}

/* At most one raise per interval, whoever wins the CAS on the time does it. */
void epoch_tick(const struct arena *a)
{
    uint64_t now = clock_mono_ns();
    uint64_t last = load_relaxed(&a->sb->grace_ns); /* pacing only */
    if (now - last < RAISE_INTERVAL_NS || !cas_relaxed(&a->sb->grace_ns, &last, now))
        return;
    uint64_t e = load_relaxed(&a->sb->epoch);
    if (unlikely(epoch_is_near_ceiling(a)))
        return;
    cas_seq_cst(&a->sb->epoch, &e, e + 1); /* [E2]; lost: somebody else raised it */
    POINT("grace.raised");
}

/* By the sections that are seen now, what was retired in this epoch and before may be reused. */
static uint64_t safe_after(const struct arena *a, uint64_t g)
{
    int64_t who = -1;
    return min_u64(g, lowest_section(a, g, &who)) - 1;
}

uint64_t epoch_poll(const struct arena *a)
{
    epoch_tick(a);
    uint64_t g =
        load_seq_cst(&a->sb->epoch); /* what was retired in e < g saw the raise later [E2] */
    uint64_t safe = load_acquire(&a->sb->safe);
    /* what a section that is seen without a fence holds back is held back; so no fence for that */
    if (safe + 1 >= g || safe_after(a, g) <= safe || !epoch_fence_all(a)) /* [E3] */
        return safe;
    uint64_t found = safe_after(a, g);
    if (found > safe) {
        max_seq_cst(&a->sb->safe, found); /* [E5] who frees by `safe` comes after our scan */
        safe = found;
    }
    return safe;
}

void epoch_raise_above(const struct arena *a, uint64_t e)
{
    max_seq_cst(&a->sb->epoch, e + 1); /* [E2] */
}

uint64_t epoch_retire(const struct arena *a)
{
    fence_seq_cst(); /* [E2] the unlink is seen by whoever sees G raised past what we load here */
    return load_seq_cst(&a->sb->epoch);
}

int64_t epoch_oldest(const struct arena *a, uint64_t *epoch)
{
    int64_t who = -1;
    *epoch = lowest_section(a, epoch_now(a), &who);
    return who;
}
