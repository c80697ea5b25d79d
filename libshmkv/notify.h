/* SPDX-License-Identifier: MIT */
/*
 * notify.h - sleepers and wakers: a writer wakes who waits for its key; if nobody does it is free.
 *
 *   sync.waiting   one bit per group of 8 wait words: some word of it may be armed
 *   waits[w]       changes: the futex     waiting: FREE, ARMED, or who is waking (its index + 2)
 *   word 0         "anything"; keys share words 8..255 by their hash; words 1..7 stay unused, so
 *                  that who waits for anything has a group of its own
 *
 *   waiter, in rounds                              writer, after its CAS on the slot
 *   -----------------                              ---------------------------------
 *   c = changes                                    compiler barrier            [N1]
 *   waiting = ARMED                                bit of my group, or of 0?   no: done
 *   set the group's bit                            word ARMED, or waking?      no: done
 *   membarrier(2)                     [N1]         waiting = me                [N2]
 *   changed?  yes: disarm and return               changes++                   [N3]
 *   FUTEX_WAIT while changes == c     [N3]         FUTEX_WAKE all
 *   changed?  yes: disarm and return               waiting: me -> FREE
 *                                                  no word of the group armed: settle
 *
 * Nothing is counted, so a death can leave no wrong count.  The first writer takes the arming away
 * and wakes all; who has to wait longer arms again.  So a waiter that died, or went, costs the
 * writers of its word one system call once, and none when it was reaped.
 *
 *   INV-N1  A change that a waiter does not see in its round finds the word armed: the waiter's
 *           membarrier falls either behind the writer's load of the bits, then the CAS before it
 *           is seen by the look at the key, or before it, then the load sees the bit.
 *           (Membarrier reaches registered processes; others fence themselves, epoch.h.)
 *                                    test_notify: nothing_is_missed_*, nothing_at_all_*
 *   INV-N2  An armed word is FREE again only after changes++ and FUTEX_WAKE by somebody: a waker
 *           that is stopped halfway leaves its index, which reads as armed to all others.
 *           c is loaded before arming: whoever takes the arming away does changes++ after it, so
 *           that FUTEX_WAIT either does not sleep, or is woken.           crash_notify
 *   INV-N3  An armed word has its group's bit, but while somebody settles: who clears the bit looks
 *           at the words again and wakes those that were armed meanwhile.
 *                                                  crash_notify: an_arming_beside_settling_*
 *
 * Progress: wakers retry a CAS only if the word was armed or taken by another waker meanwhile.
 * Writers make at most two FUTEX_WAKE.
 *
 * Death: of a writer between CAS and FUTEX_WAKE, or in settling: the reaper wakes every word that
 * is not FREE, whatever the bits say (notify_reap).  Even with no reaper about, and if the writer
 * is only stopped there, a waiter looks again twice a second.
 */
#ifndef SHMKV_NOTIFY_H
#define SHMKV_NOTIFY_H

#include "epoch.h"
#include "point.h"

#define NOTIFY_ANY 0u

/* The word on which to wait for a key. */
unsigned notify_word(uint64_t hash);

/* The slow half of notify_change(): somebody waits, maybe for something else. */
void notify_wake(const struct participant *p, uint64_t hash);

/* Tell who waits that the key of @hash has changed.  Outside of the write section: it may call the
 * kernel. */
static inline void notify_change(const struct participant *p, uint64_t hash)
{
    POINT("notify.before_wake");
    epoch_fence_self(p); /* the CAS before the load; pairs with notify_arm [N1] */
    /* relaxed: what it must not miss, the fence or the membarrier shows it */
    if (unlikely(load_relaxed(&p->arena->sync->waiting) != 0))
        notify_wake(p, hash);
}

/* One wait; a round is notify_arm(), a look at what is waited for, notify_sleep(), another look. */
struct notify_wait {
    const struct participant *self;
    unsigned word;
    uint32_t changes; /* of the word, when it was armed last */
    bool fenced;      /* false: a change may be missed, poll */
};

void notify_arm(struct notify_wait *n);
/* Sleep until the word is woken, a signal comes, or it is time to look again, or for @limit_ns. */
void notify_sleep(const struct notify_wait *n, uint64_t limit_ns);
/* After the last round. */
void notify_disarm(const struct notify_wait *n);

/*
 * notify_ticket() - a number that differs whenever something was written in between; never 0.
 * Made of the counts of all participants, so it costs writers nothing.  It may differ although
 * nothing was written, when a participant leaves.
 */
uint64_t notify_ticket(const struct arena *a);

/* Wake all who may be owed a wake by the dead @participant; what it armed itself ends as well. */
void notify_reap(const struct arena *a, uint32_t participant);

#endif
