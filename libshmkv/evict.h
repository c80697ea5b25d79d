/* SPDX-License-Identifier: MIT */
/*
 * evict.h - what a cache gives up when it is full, and how it learns what is read.
 *
 * S3-FIFO (Yang et al., SOSP '23) on the segments of a log.  A segment is in one of two queues, in
 * the order in which they were opened: young, filled by puts, or kept, filled by the cleaner.
 *
 *          +----------------+  read since, or evicted before   +-------------------+
 *   put -> | young: a tenth | -------------------------------> | kept: all else    | -+ read since
 *          +----------------+                                  +-------------------+ <+
 *                  | neither                                             | not
 *                  v                                                     v
 *          ghost of the young                                   ghost of the kept
 *
 * The cleaner walks the oldest segment of a queue (evict_choose()); each current record in it is
 * moved to a kept segment, or index_evict() makes its key absent.  A key that comes back while its
 * ghost is there is kept, and tells that its queue was too short: the share of the young grows by
 * the one kind and shrinks by the other, which is what lets a working set that moves be followed
 * at a speed that a fixed tenth cannot.
 *
 * Hits.  A record is made UNREAD, in its flags, and so it is no plain one: the common way of a get
 * does not find it, with no test of its own for that.  Whoever comes the long way takes the flag
 * away, one store to a line that is at hand; from then on reading it costs what it does in any
 * store.  A process that may not write the arena puts the hash of the key into a ring of its own,
 * in the sync object, and whoever cleans drains the rings and takes the flags away.
 *
 *   ring     owner: entry[head % n] = hash; head + 1 (release)                            [V1]
 *            drainer: takes the flags away, then CAS tail -> head (release)               [V2]
 *            In this order, so that who drains and is stopped or dies takes no hits with him: the
 *            next one does it again, which harms nothing.
 *            Lossy: an entry that was overwritten before it was drained is a hit that nobody
 *            counts; one that is read while it is overwritten is a later hash, as good as any.
 *   flag     nothing else in its byte changes after publication, so plain stores do, of which one
 *            may be lost; it is left out of the crc; copies begin UNREAD.
 *   ghosts   sixteen bits for a key, in the bucket of its hash; relaxed and unguarded, since an
 *            error keeps or evicts a record that the other choice would have been as right for.
 *
 * Runs.  One that holds a value larger than a segment stands in a queue as any segment, with all
 * its bytes, but nothing is copied and nobody claims it: when its turn comes its record is evicted,
 * and the run retired as collect.h says, or it gets a later stamp and stands at the end of the kept
 * queue.  After EVICT_RUNS_KEPT of these one goes, whatever was read.
 *
 *   INV-V1  A put of a cache does not fail for want of room while sections end: whatever is in the
 *           oldest segments goes.                     test_evict: never_full*, crash_evict
 *   INV-V2  At most what is asked for is evicted: segments that are free, or will be when sections
 *           have ended, count; a reader that stands still empties no cache.
 *                                                     test_evict: a_held_segment_*
 *   INV-V3  A walk frees at least a sixteenth of its segment, whatever was read, so that cleaning
 *           ends.                                     test_evict: all_hot_*
 *   INV-V4  Nothing evicted comes back, nor anything older: index_evict() is one CAS on the slot of
 *           the current record, and the next put of the key is younger (INV-R5, R7).
 *                                                     move.pml, crash_evict, crash_evict
 *
 * Death: a ring keeps what is in it for the next drainer, and is the next owner's.  Between two
 * records of a walk: the segment goes back to SEALED (cleaner.h), and is soon the oldest again.
 */
#ifndef SHMKV_EVICT_H
#define SHMKV_EVICT_H

#include "index.h"

/* Give @p a ring, if it reads a cache that it may not write; before its first section.
 * Errors as of arena_take(). */
int evict_join(const struct participant *p);

/* @r, of a key with this hash, was read.  A cache only; inside the section. */
static inline void evict_hit(const struct participant *p, uint64_t hash, const struct record *r)
{
    if (!p->arena->readonly) {
        record_mark_read(r);
        return;
    }
    if (!record_is_unread(r))
        return;
    struct hit_ring *ring = &p->arena->rings[p->index];
    uint64_t head = load_relaxed(&ring->head); /* own word */
    store_relaxed(&ring->entry[head % RING_ENTRIES], hash);
    store_release(&ring->head, head + 1); /* pairs with evict_drain [V1] */
}

/* Mark what the rings say was read; returns how many entries that were.  Not in a write section. */
uint64_t evict_drain(const struct participant *p);

#define EVICT_RUNS_KEPT 15u /* as of a segment, a 16th goes */

/* A segment that is being walked. */
struct evict_walk {
    uint64_t budget; /* bytes that may yet be kept; of a run: 0, or all */
    uint64_t pairs;  /* current ones met */
    bool kept;       /* it is of that queue */
};

/* As victim_choose(): the segment whose turn it is, after all rings were drained; begins @walk.
 * With @word RUN_HEAD it is a run. */
uint64_t evict_choose(struct writer *w, struct evict_walk *walk, uint64_t *word);
/* Is the record at @r, of the claimed segment, to be moved rather than evicted? */
bool evict_keeps(struct writer *w, struct evict_walk *walk, const struct record *r);
/* Make the key of @r absent, if @r is current; @word: as of index_evict(), and its results. */
int evict_record(struct writer *w, const struct evict_walk *walk, const struct record *r,
                 uint64_t word);
/* Let the segment, or run, @id be the last of the kept queue: also one that is damaged, or it would
 * be the oldest for ever, and nothing be evicted any more. */
void evict_requeue(const struct arena *a, uint64_t id);
/*
 * evict_run() - the turn of the run whose head @id has the state @word, RUN_HEAD, has come.
 * Return: 1: it is free as soon as sections have ended; 0: it was kept, or has changed; or
 * SHMKV_ECORRUPT, after evict_requeue().
 */
int evict_run(struct writer *w, struct evict_walk *walk, uint64_t id, uint64_t word);
/* The walk was completed: how many records there are is learnt from it. */
void evict_walked(const struct arena *a, const struct evict_walk *walk);

/* Are some segments beyond the reserve free, and @run more, and what the index needs, of which
 * somebody lacks @table; or will they be when sections end? */
bool evict_enough(const struct arena *a, uint64_t run, uint64_t table);

#endif
