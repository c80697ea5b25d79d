/* SPDX-License-Identifier: MIT */
/*
 * append.h - an owner's end of the log: reserve room, write there, commit or take back.
 *
 *   start of segment          used            at               stop    taken   end of segment
 *   | decided records ........ | = at between  | record being   |       | has memory
 *   |                          |   writes      | written        |       |
 *
 * `stop` is `taken`, or nearer if the owner wants to be asked more often: who helps the cleaner
 * does so in pieces, one each time he is stopped (cleaner.h).
 *
 * R8: reserving happens outside of a write section (it may have to find a segment); inside it the
 *     owner first checks append_held(), since an idle owner's segment may have been taken.
 * R9: a record that was not published is overwritten by the next one: `used` is stored (release)
 *     by append_commit() alone, after the fate of the record is decided.        test_append: r9
 *
 * A struct append belongs to one participant and is used by one thread at a time.  Death: the
 * segment stays OPEN(p) with `used` before the record in flight, which the reaper decides.
 */
#ifndef SHMKV_APPEND_H
#define SHMKV_APPEND_H

#include "record.h"
#include "segment.h"

struct append {
    struct segment_hold hold;
    struct segment_spares spares; /* what comes after it */
    uint64_t at;                  /* offset in the arena where the next record goes */
    uint64_t end;                 /* offset of the end of the segment */
    uint64_t taken;               /* offset up to which there is memory */
    uint64_t stop;  /* offset up to which may be written without asking: @taken, or a pace ahead */
    uint64_t pace;  /* bytes after which the owner wants to be stopped; 0: never, but for memory */
    uint64_t step;  /* bytes that were taken last; 0: nothing was yet */
    uint64_t seed;  /* record_seed() of the segment's incarnation */
    uint64_t lacks; /* after SHMKV_ENOSPC: memory that tmpfs, cgroup or machine refused; 0: none */
};

#define APPEND_INIT                                                                                \
    {                                                                                              \
        .hold = {.id = SEGMENT_NONE }                                                              \
    }

/* Is there room without asking for more, or for leave to go on? */
static inline bool append_has_room(const struct append *l, uint64_t bytes)
{
    return l->hold.id != SEGMENT_NONE && l->at + bytes <= l->stop;
}

/* The slow half of append_reserve(). */
int append_refill(struct append *l, const struct participant *p, enum segment_purpose purpose,
                  uint64_t bytes);

/*
 * append_reserve() - have @bytes of room with memory under it.
 * SHMKV_ENOSPC without a text: nothing is free, the caller makes room and tries again; with one,
 * and l->lacks: the store has room, but there is no memory for it.  Other errors have a text.
 */
static inline int append_reserve(struct append *l, const struct participant *p,
                                 enum segment_purpose purpose, uint64_t bytes)
{
    if (likely(append_has_room(l, bytes)))
        return 0;
    return append_refill(l, p, purpose, bytes);
}

static inline bool append_held(const struct append *l, const struct arena *a)
{
    return segment_held(a, &l->hold);
}

/* The record of @bytes at l->at is decided: let `used` pass it.  Inside the write section. */
static inline void append_commit(struct append *l, const struct arena *a, uint64_t bytes)
{
    l->at += bytes;
    /* release: who walks up to `used` finds whole records there; pairs with cleaner walks [L1] */
    store_release(&segment_at(a, l->hold.id)->used, l->at - arena_segment_start(a, l->hold.id));
}

/* Give the segment back; outside of a write section. */
void append_close(struct append *l, const struct arena *a);

#endif
