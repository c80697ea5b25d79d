/* SPDX-License-Identifier: MIT */
/*
 * warn.h - telling a program that a section holds its store's memory back: shmkv_set_warning().
 *
 * There are two who tell: the housekeeping thread of the process, which looks twice a second, and a
 * write that was refused, once it is over.  Neither is in a section of the library's or has a lock
 * then, so the function may use the store.
 *
 * `caller` is all there is of exclusion inside the process: who changes the function, or calls it,
 * puts a word of its own thread there.  A teller that finds another's goes on without telling; who
 * changes it waits, so that afterwards the old function does not run any more.  A thread that finds
 * its own word is inside the function: it tells nothing, and may not change it.      test_warning
 *
 * Death takes all of it with it; a child forked meanwhile begins with `caller` 0.
 */
#ifndef SHMKV_WARN_H
#define SHMKV_WARN_H

#include "arena.h"
#include "shmkv.h"

/* Which section was told of, and when. */
struct warn_told {
    uint64_t epoch, ns;
    int64_t pid, thread;
};

/* All zero: there is no function. */
struct warn {
    _Atomic uint64_t caller; /* of the thread that is at it; 0: nobody */
    _Atomic uint32_t set;    /* 1: there is a function; a hint, without `caller` */
    shmkv_warning_fn *fn;    /* this and the rest: under `caller`, */
    void *arg;
    const void *handle;       /* the one that it was set through */
    struct warn_told told[2]; /* by the housekeeping; by refused writes */
    uint64_t look_ns;         /* but this is the housekeeping's: when it looks next */
};

/* SHMKV_EBUSY: called by the function itself. */
int warn_set(struct warn *w, const void *handle, shmkv_warning_fn *fn, void *arg);
/* If it was set through @handle, there is none any more.  Likewise. */
int warn_unset(struct warn *w, const void *handle);
void warn_after_fork(struct warn *w);

/* The housekeeping's look; outside of everything. */
void warn_look(struct warn *w, const struct arena *a);
/* A write was refused with SHMKV_EHELD; keeps the thread's error text. */
void warn_refused(struct warn *w, const struct arena *a);

#endif
