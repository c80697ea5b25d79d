/* SPDX-License-Identifier: MIT */
/*
 * crew.h - the processes that keep the stores, one each: started, watched, started again.
 *
 *   wanted, no process, retry time reached      start it
 *   wanted, its process has ended               say why, unless that was said; back off; start
 *   settings changed                            ask its process to end; then start with the new
 *   not wanted any more                         ask its process to end; then forget the store
 *
 * The wait before a start is one second, doubles with each failure up to a minute, and is one
 * second again after a process that has lived for half a minute.  What fails for good (a store of a
 * newer format, say) is tried all the same: the file may have been replaced.
 */
#ifndef DAEMON_CREW_H
#define DAEMON_CREW_H

#include <stdbool.h>
#include <stddef.h>

#include "conf.h"

struct crew {
    struct post *posts;
    bool stopping;
    unsigned failures; /* processes that could not end well when they were asked to */
};

/* Keep these stores, and no others. */
void crew_apply(struct crew *crew, const struct conf *conf);

/* Take note of processes that have ended. */
void crew_reap(struct crew *crew);

/* Start what is due; look whether processes still move. */
void crew_tick(struct crew *crew);

/* Ask all to end; no more are started. */
void crew_stop(struct crew *crew);

/* End all that are left at once. */
void crew_kill(struct crew *crew);

/* No process is left. */
bool crew_ended(const struct crew *crew);

/* Each store has been opened, or has failed, at least once. */
bool crew_settled(const struct crew *crew);

/* How it is, for people, on one line. */
void crew_status(const struct crew *crew, char *text, size_t size);

#endif
