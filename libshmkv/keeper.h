/* SPDX-License-Identifier: MIT */
/*
 * keeper.h - the housekeeping thread of a process that writes: cleans ahead of need, finishes
 * resizes, reaps the dead.  Everything it does others can do too; without it they do.  It is a
 * batch job to the scheduler: it takes its turn, and interrupts nobody.
 *
 * The lease (a lock byte of the sync object, held as process.h holds its own) makes it one keeper
 * at a time: it is a matter of cost, not of correctness.  A stopped lease holder stops nothing but
 * the work ahead; it is not taken from a live process.
 *
 * A service (a process whose business is housekeeping, SHMKV_KEEPER) comes first: it names itself
 * in sync->service, and an ordinary holder that sees a living one there gives the lease up at its
 * next tick.  If the service does not take it, because it is stopped, it is anybody's again after
 * a second, and asked for again only later.  sync->keeper names who has the lease.  Both words are
 * policy and information; who dies leaves them to its reaper.
 *                                                                                test_keeper
 */
#ifndef SHMKV_KEEPER_H
#define SHMKV_KEEPER_H

#include <pthread.h>

#include "collapse.h"
#include "durable.h"
#include "index.h"
#include "process.h"
#include "trim.h"
#include "warn.h"

struct keeper {
    pthread_t thread;
    bool running;
    _Atomic uint32_t stop; /* futex: 1 asks it to stop */
    const struct arena *arena;
    const struct process *process;
    struct durable *durable;
    struct warn *warn;
    struct writer writer;
    _Atomic uint32_t service; /* 1: comes before others; may become so while it runs */
    void *lease;              /* NULL: not ours */
    uint64_t next_lease_ns;   /* when to ask for it again */
    uint64_t next_yield_ns;   /* when to look again whether a service wants it */
    uint64_t next_grace_ns;
    uint64_t next_reap_ns;
    uint64_t next_look_ns;
    struct trim trim;
    struct collapse collapse;
    bool collapsing;  /* there are units left */
    bool enough;      /* segments, for puts */
    uint64_t drained; /* hits, in the last tick */
    uint64_t opened;  /* segments in use at the last tick: shows how fast the store grows */
    uint64_t ahead;   /* bytes of free segments that were taken for its growth */
};

/* Start the thread, unless it runs already; @service: it comes before others.  Without a thread
 * nothing is lost. */
void keeper_start(struct keeper *k, struct durable *d, struct warn *w, const struct process *p,
                  bool service);
/* Stop and join it. */
void keeper_stop(struct keeper *k);

/* The process + 1 that has the lease, as far as is known; 0: nobody. */
uint32_t keeper_holder(const struct arena *a, uint32_t self);

/* Give back all that a writer holds, then its participant entry. */
void keeper_retire_writer(struct writer *w);

#endif
