/* SPDX-License-Identifier: MIT */
/*
 * watch.h - looks at an open store every so often and tells what its owner should know: who keeps
 * house, who holds memory back, that it is full, that writers wait for room, who has died.
 *
 * Each thing is told when it begins and when it ends, not in between.
 */
#ifndef DAEMON_WATCH_H
#define DAEMON_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shmkv.h"

#define WATCH_EVERY_MS 500

struct watch {
    const char *store;
    struct shmkv *db;
    uint64_t begun_ns;
    bool told_keeper;       /* something was told about who keeps house: */
    bool mine;              /* we do */
    int64_t keeper;         /* or this process does */
    bool full;              /* told */
    _Atomic int64_t holder; /* process that was told to hold memory back; 0: none */
    uint64_t next_ns;       /* of the slower looks */
    uint64_t stalls_ns;     /* when waiting writers were told last; 0: they do not wait */
    uint64_t stalls;        /* counted until then */
    uint64_t reaped;
    uint64_t failures;  /* that were noticed */
    uint64_t failed_ns; /* when one was told; 0: checkpoints succeed */
    bool slow;          /* told that they take long */
};

/* @w must stay where it is until watch_end(). */
void watch_begin(struct watch *w, const char *store, struct shmkv *db);
void watch_end(struct watch *w);

/* Look.  0, or what makes it useless to go on: SHMKV_EDEFUNCT. */
int watch_look(struct watch *w);

#endif
