/* SPDX-License-Identifier: MIT */
/*
 * epoch.h - participants, sections and grace periods: when memory that was unlinked may be reused.
 *
 * An epoch-based reclamation (Fraser 2004; the asymmetric fence as in liburcu's memb flavour) whose
 * registry lies in shared memory, so that the participants may be in any process.
 *
 *   entering a section            retiring an object              a grace period
 *   ------------------            ------------------              --------------
 *   reading = G      [E1]         unlink it                       CAS G: e -> e+1      [E2]
 *   compiler barrier [E3]         seq_cst fence     [E2]          membarrier(2)        [E3]
 *   follow links                  e = G; LIMBO(e)                 all entries: reading and writing
 *   reading = 0      [E4]                                          0 or > e            [E1][E4]
 *                                                                 safe = max(safe, e)  [E5]
 *                                                                 LIMBO(x <= safe) is free
 *
 * States of an entry: free (owner 0) -> claimed (owner = process + 1), by CAS of the claimer; back
 * to free by the owner, or by who reaps its dead process and holds that process' lock byte.
 * `reading` and `writing` are stored by the owner alone, and by the reaper.
 *
 *   INV-E1  An object retired in e is reused only after every section that could have seen it has
 *           ended: such a section was entered with G <= e, so its word is nonzero and <= e.
 *           A section that loaded an old G but stored it late (after the scan) did its loads after
 *           the membarrier and no longer finds the object.          test_epoch: grace_*, grace.pml
 *   INV-E2  G and safe never decrease; safe < G.                               test_epoch: monotone
 *   INV-E3  Sections nest by saving and restoring the outer value: a signal handler that begins and
 *           ends a section between any two steps leaves the interrupted one intact (a counter would
 *           not).                                                              test_epoch: nested*
 *   INV-E4  An entry is seen by every scan before its first section: the claim and the high-water
 *           mark are seq_cst and precede it.                                    test_epoch: join_*
 *
 *   INV-E5  With an image G never passes sb->ceiling, which the image has promised: no version that
 *           was given out before a power loss is given out again after it (R17).  Each checkpoint
 *           moves the ceiling on by hours; G comes near it only where none succeeds for hours.
 *           Then it stands, memory does not come back, and puts are refused; and since a cut
 *           raises G whether it succeeds or not, it has to have a higher ceiling on the disk first
 *           (durable.c).                       crash_disk: checkpoints_that_fail_stay_below_*
 *
 * Progress: sections are wait-free.  Polling never waits; one participant that stays in a section
 * (stopped, dead and not yet reaped) holds back memory, nothing else.
 *
 * Death: in a section: the entry keeps its epoch and blocks reuse until it is reaped (reap.h).
 * Between claim and first section: an idle entry, reaped likewise.  In epoch_poll(): G may be
 * raised without a scan, which harms nobody.
 *
 * How long a section lasts nobody would know: its begin takes no time.  So whoever looks at all
 * sections and finds one that G has left behind notes its epoch and the time in the entry, once;
 * the owner's line is not touched for a section that is short.  A note is information: it may be
 * lost, or be one of a moment later.                                       test_epoch: standing_*
 *
 * Without membarrier(2) (old kernel, seccomp) a participant marks its entry FENCED and issues a
 * full fence itself; a process that cannot issue membarrier reclaims nothing while any entry is
 * not FENCED.
 */
#ifndef SHMKV_EPOCH_H
#define SHMKV_EPOCH_H

#include "arena.h"

/* This process' side of one participant entry.  Used by one thread at a time. */
struct participant {
    const struct arena *arena;
    struct participant_entry *entry;
    const _Atomic uint64_t *epoch; /* G */
    uint32_t index;
    bool fenced;
};

/* Register this process for membarrier; call before epoch_join().  Idempotent. */
void epoch_register_process(void);

/* Claim an entry for @process.  SHMKV_ELIMIT, SHMKV_ENOSPC (sync object cannot grow). */
int epoch_join(struct participant *p, const struct arena *a, uint32_t process);
/* Give the entry back; not inside a section. */
void epoch_leave(struct participant *p);
/* Clear the entry of a dead or leaving participant, counters added to those of the departed. */
void epoch_clear_entry(const struct arena *a, struct participant_entry *entry);

/*
 * epoch_poll() - raise G if the last raise was 1 ms ago, and see which grace periods are over.
 * Never waits, and interrupts nobody while a section is seen to hold back what there is to gain.
 * Return: the highest epoch whose retired objects may be reused.
 */
uint64_t epoch_poll(const struct arena *a);
/* The raise alone, without a look at sections: no system call. */
void epoch_tick(const struct arena *a);
/* Is G so near to what the image promises that time does not raise it any more (INV-E5)? */
bool epoch_is_near_ceiling(const struct arena *a);
/* Raise G above @e whatever the clock says (for protocols that need a new epoch). */
void epoch_raise_above(const struct arena *a, uint64_t e);
/* The epoch to retire an object in, after its last unlink. */
uint64_t epoch_retire(const struct arena *a);
/* Fence against all participants: membarrier, or false if it cannot be issued and is needed. */
bool epoch_fence_all(const struct arena *a);
/* Index of the participant in the oldest section, or -1 if there is none; *@epoch is its epoch. */
int64_t epoch_oldest(const struct arena *a, uint64_t *epoch);
/* How long a section with that epoch has been seen to stand there; 0: not at all. */
uint64_t epoch_standing_ns(const struct participant_entry *entry, uint64_t epoch);
/* The entry is the calling thread's: it is what is told of it. */
void epoch_name_thread(const struct participant *p);

/*
 * Entries below this number may be in use.  The mark is in shared memory, so it is bounded before
 * it is followed (R3).  Sequentially consistent, as its raise in epoch_join(): INV-E4.
 */
static inline uint32_t epoch_entries(const struct arena *a)
{
    uint32_t high = load_seq_cst(&a->sync->participant_high);
    return high < PARTICIPANT_MAX ? high : PARTICIPANT_MAX;
}

/* The entry of whom a claim names.  Who claims anything is below the mark (INV-E4); NULL: nobody
 * has that number, so the claim was written over (R3). */
static inline const struct participant_entry *epoch_entry(const struct arena *a, uint32_t i)
{
    return i < epoch_entries(a) ? &a->participants[i] : NULL;
}

/* Of two sections' epochs, 0 being none, the older one. */
static inline uint64_t epoch_older(uint64_t a, uint64_t b)
{
    return a == 0 || b == 0 ? a | b : min_u64(a, b);
}

static inline uint64_t epoch_now(const struct arena *a)
{
    return load_acquire(&a->sb->epoch);
}

/* [E1][E3]: without the barrier the compiler could follow a link before the epoch is stored;
 * without the membarrier of epoch_poll() the processor could. */
static inline void epoch_fence_self(const struct participant *p)
{
    if (unlikely(p->fenced))
        fence_seq_cst();
    else
        barrier_compiler();
}

/* Begin a read section; returns the outer value for epoch_exit(). */
static inline uint64_t epoch_enter(const struct participant *p)
{
    uint64_t outer = load_relaxed(&p->entry->reading); /* own word */
    if (likely(outer == 0)) {
        store_relaxed(&p->entry->reading, load_acquire(p->epoch)); /* ordered by the fence below */
        epoch_fence_self(p);
    }
    return outer;
}

/* The same for one that is known not to be fenced. */
static ALWAYS_INLINE uint64_t epoch_enter_unfenced(const struct participant *p)
{
    uint64_t outer = load_relaxed(&p->entry->reading); /* own word */
    if (likely(outer == 0)) {
        store_relaxed(&p->entry->reading, load_acquire(p->epoch)); /* ordered as above [E1][E3] */
        barrier_compiler();
    }
    return outer;
}

/* Release [E4]: what the section read is read before the scan of epoch_poll() sees it ended. */
static inline void epoch_exit(const struct participant *p, uint64_t outer)
{
    store_release(&p->entry->reading, outer);
}

/* Begin the write section; the caller has made sure that it is not in one.  Orders as above. */
static inline void epoch_enter_write(const struct participant *p)
{
    store_relaxed(&p->entry->writing, load_acquire(p->epoch));
    epoch_fence_self(p);
}

static inline void epoch_exit_write(const struct participant *p)
{
    store_release(&p->entry->writing, 0); /* pairs with epoch_poll [E4] */
}

#endif
