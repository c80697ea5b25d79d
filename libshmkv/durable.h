/* SPDX-License-Identifier: MIT */
/*
 * durable.h - who makes checkpoints, when, and who waits for them.
 *
 * One process at a time writes to an image: it holds the lease, a lock on byte LOCK_KEEPER of the
 * file, as process.h holds its own, so no live holder ever loses it.  A keeper holds it as long as
 * it keeps house, even if a thread of its process that syncs took it first; a process without one
 * takes it for one checkpoint, and so opens the image each time.  Inside the process the word
 * `busy` lets one thread at a time at the image; it holds the fork word of its taker, so a child
 * made meanwhile finds a foreign one and begins anew.
 *
 * Group commit.  Whoever syncs notes G in `wanted` and tries to be the one who makes the next cut;
 * the others sleep on `word`, which is raised after each attempt, and look again: a cut E >= their
 * G covers them.  If another process has the lease its keeper is woken by `request`.
 *
 *   INV-D1  shmkv_sync() returns 0 only after a commit of a cut E >= G as loaded at the call.
 *                                                 crash_durable: synced_*, death_at_every_point
 *   INV-D2  Each failed attempt is told to everybody who waits then, whatever succeeds later
 *           (R16).                                                   crash_disk: failed_*
 *   INV-D3  The last to close a store leaves nothing unwritten: who has written looks for the lease
 *           afterwards, and who gives the lease up looks for unwritten bytes after that.
 *                                                                 crash_durable: the_last_*
 *   INV-D4  What `sequence` says is committed is on the disk as it is read: only who has committed
 *           and knows his image to be settled (INV-F3) raises it, after that.  So who takes the
 *           lease need not write again what it names, and refuses an image that ends before it.
 *                                                                 crash_disk, test_stale
 *
 * Death: the lease ends with its holder, and whoever waits tries for it every 20 ms.  Between the
 * commit and `sequence`, or in an image that is not settled, it leaves `sequence` behind: the next
 * holder reads a younger commit and makes it durable once more before he writes another.
 */
#ifndef SHMKV_DURABLE_H
#define SHMKV_DURABLE_H

#include "checkpoint.h"
#include "lockpage.h"
#include "process.h"

#define DURABLE_INTERVAL_MS 1000u /* unless the store or the process has its own */
#define DURABLE_INTERVAL_MOST_MS (366ull * 86400000) /* that a store may have */

/* This process' part in it.  All zero: a volatile store. */
struct durable {
    const struct arena *arena;
    const struct process *process;
    char *path;             /* of the image, absolute; NULL: there is none */
    uint64_t own_ns;        /* interval of this process; 0: the store's; UINT64_MAX: none at all */
    uint64_t fork_word;     /* of the process that made the pages */
    void *attach_page;      /* holds LOCK_ATTACHED of the image */
    void *lease;            /* holds LOCK_KEEPER; NULL: not ours */
    struct image image;     /* open while the lease is ours */
    _Atomic uint64_t busy;  /* fork word of the process whose thread is at it; 0: nobody */
    _Atomic uint32_t keeps; /* 1: the lease is kept between checkpoints */
    uint64_t begun_ns;      /* when the last one was begun; 0: what is there may be old */
    uint64_t rest_ns;       /* the keeper makes none before */
    uint64_t look_ns;       /* when it looks again how much there is to write */
};

/* The store has the image @path; takes the attached lock. */
int durable_init(struct durable *d, const struct arena *a, const struct process *p,
                 const char *path);
/* In a forked child, before it uses the store. */
int durable_after_fork(struct durable *d);
/* Everything of this process ends, nothing of a parent; @d must not be used any more. */
void durable_free(struct durable *d);

/* What the last failed attempt said, cut to 159 bytes; information. */
#define DURABLE_TEXT (TOLD_WORDS * 8)
void durable_failure_text(const struct durable_words *w, char text[DURABLE_TEXT]);

/* Wait until all that was written is durable; negative @timeout_ms: no limit.  @p: outside of
 * sections.  As shmkv_sync(). */
int durable_sync(struct durable *d, const struct participant *p, int64_t timeout_ms);

/* Does the image still stand where it was opened?  Else it was removed or replaced by hand, and who
 * opens the store now has another one. */
bool durable_current(const struct durable *d);

/* How often a process without an interval of its own makes one; as the store says now. */
uint64_t durable_interval_ms(const struct arena *a);

/*
 * R18: let tombstones go that nothing older needs.  Any process may, at any time, and no lock is
 * needed: D is a maximum of what each finds by itself.  It costs a look at every segment, so of the
 * syncs only those of a process without a keeper do it; and an explicit checkpoint, whoever made
 * it.                                       crash_durable: a_checkpoint_raises_the_horizon
 */
void durable_raise_horizon(const struct durable *d, const struct participant *p);

/* The keeper's part, several times a second; true if it made a checkpoint. */
bool durable_tick(struct durable *d, const struct participant *p, uint64_t now_ns);
/* The keeper ends: the lease may go. */
void durable_unkeep(struct durable *d);

/* Before the last handle of the process is closed: write what nobody else will. */
int durable_finish(struct durable *d, const struct participant *p);

#endif
