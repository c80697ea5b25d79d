/* SPDX-License-Identifier: MIT */
/*
 * keep.h - the process that keeps one store.
 *
 * Each store has a process of its own, so that one that recovers for minutes, is damaged, or takes
 * the process down with it concerns no other.  While it opens the store a signal may end it at any
 * moment: recovery begins again.  Once it is open, SIGTERM and SIGINT are waited for in an orderly
 * way, and end it after a final checkpoint.  It ends likewise when the process that started it is
 * gone.
 */
#ifndef DAEMON_KEEP_H
#define DAEMON_KEEP_H

#include <sys/types.h>

#include "board.h"
#include "conf.h"

enum keep_status {
    KEEP_DONE = 0,   /* was asked to end, and all is safe */
    KEEP_FAILED = 1, /* the board says why */
};

/* In the new process; all signals are blocked.  @parent started it.  Returns an exit status. */
int keep_run(const struct conf_store *store, struct board *board, pid_t parent);

#endif
