/* SPDX-License-Identifier: MIT */
/*
 * keeper.h - the housekeeping thread of a process that writes: cleans ahead of need, finishes
 * resizes, reaps the dead.  Everything it does others can do too; without it they do.
 */
#ifndef SHMKV_KEEPER_H
#define SHMKV_KEEPER_H

#include <pthread.h>

#include "index.h"
#include "process.h"

struct keeper {
    pthread_t thread;
    bool running;
    _Atomic uint32_t wake; /* futex: 1 asks it to stop */
    const struct arena *arena;
    const struct process *process;
};

/* Start the thread; does nothing if it runs already. */
int keeper_start(struct keeper *k, const struct arena *a, const struct process *p);
/* Stop and join it. */
void keeper_stop(struct keeper *k);

#endif
