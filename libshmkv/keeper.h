/* SPDX-License-Identifier: MIT */
/*
 * keeper.h - the housekeeping thread of a process that writes: cleans ahead of need, finishes
 * resizes, reaps the dead.  Everything it does others can do too; without it they do.
 *
 * The lease (a lock byte of the sync object, held as process.h holds its own) makes it one keeper
 * at a time: it is a matter of cost, not of correctness.  A stopped lease holder stops nothing but
 * the work ahead; it is not taken from a live process.
 */
#ifndef SHMKV_KEEPER_H
#define SHMKV_KEEPER_H

#include <pthread.h>

#include "index.h"
#include "process.h"

struct keeper {
    pthread_t thread;
    bool running;
    _Atomic uint32_t stop; /* futex: 1 asks it to stop */
    const struct arena *arena;
    const struct process *process;
    struct writer writer;
    void *lease;            /* NULL: not ours */
    uint64_t next_lease_ns; /* when to ask for it again */
    uint64_t next_reap_ns;
    uint64_t opened; /* segments in use at the last tick: shows how fast the store grows */
};

/* Start the thread; does nothing if it runs already.  Without a thread nothing is lost. */
void keeper_start(struct keeper *k, const struct arena *a, const struct process *p);
/* Stop and join it. */
void keeper_stop(struct keeper *k);

/* Give back all that a writer holds, then its participant entry. */
void keeper_retire_writer(struct writer *w);

#endif
