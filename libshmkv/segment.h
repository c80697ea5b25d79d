/* SPDX-License-Identifier: MIT */
/*
 * segment.h - the log's segments: who owns which, what is free, and how one changes hands.
 *
 *                    +--------------------------- idle, exit, reap ------------------+
 *                    v                                                               |
 *   HOLE --> OPENING(p) --> OPEN(p) --> PARTIAL --> OPEN(p)        SEALING(p,x) --> PARTIAL, SEALED
 *    ^  FREE -->^             |  |         |                           ^
 *    |   ^                    |  +---------|--- taken from idle p -----+
 *    |   |                    v            v
 *    |   +-- LIMBO(e) <-- CLEANING(p) <- SEALED          PINNED(p): an uncommitted reservation
 *    |   |
 *    +-- PUNCHING(p) <- FREE
 *
 * Every arrow is one CAS on segment.state (claim.h).  Who may take it:
 *
 *   HOLE, FREE -> OPENING(p)   any p, for itself; then sets used = 0, dead, birth, incarnation
 *   OPENING(p) -> FREE, HOLE   p, which only took memory for it ahead of need, or steps back
 *   OPENING(p) -> OPEN(p, x)   p; the word's epoch field holds a stamp x that is given once, so
 *                              that p never takes a segment that it lost and got again for
 *                              the old one
 *   OPEN(p) -> PARTIAL/SEALED  p outside of a write section; or SEALING first, by anyone; FREE
 *                              instead, here and below, if nothing was ever put into it: then
 *                              nobody can have read there
 *   OPEN(p, x) -> SEALING(p, x)    anyone who needs it; finished by anyone      [S1]
 *   OPEN(p) <-> PINNED(p)      p
 *   PARTIAL -> OPEN(p)         any p, for itself
 *   SEALED, PARTIAL -> CLEANING(p)      any p; -> LIMBO(e) when a complete walk found no live
 *                                       record, back to SEALED otherwise, with `walked` telling
 *                                       how far it went
 *   LIMBO(e) -> FREE           anyone, e <= safe                                [E5]
 *   FREE -> PUNCHING(p) -> HOLE         any p; gives the memory back
 *
 * A run: neighbours that hold one record larger than a segment (run.h).  The head's word says what
 * the run is in, x is its incarnation, and its descriptor tells how many follow.
 *
 *   head:   HOLE, FREE -> OPENING(p) -> PINNED(p, x) -> RUN_HEAD(x) -> LIMBO(e) -> FREE
 *   others: HOLE, FREE -> RUN_REST(x) ---------------------------------------> FREE, HOLE
 *
 *   OPENING(p)                 p stores incarnation x and length, then claims the others in turn
 *   OPENING(p) -> PINNED(p, x) p, with all of them and their memory
 *   PINNED(p, x) -> RUN_HEAD(x)    p, once its record is decided and published; else all go back
 *   RUN_HEAD(x) -> LIMBO(e)    anyone who found the record superseded; e was loaded after that
 *   RUN_REST(x) -> FREE        p or its reaper while the head is OPENING or PINNED, anyone while it
 *                              is LIMBO(e), e <= safe; to HOLE if it has no memory.  The head goes
 *                              last.  x is given once, so who stalls frees nobody else's  [S2]
 *
 * HOLE and FREE are never read.  Only the owner appends, `used` only passes decided records.  A
 * participant may own several: one that it puts into, with spares for when it is full, one that it
 * moves records to, one for a reservation.
 *
 *   INV-S1  A live process' segment is never taken while it writes: it stores `writing`, then
 *           checks OPEN(p, x); the taker CASes SEALING(p, x), fences all, and only then looks at
 *           `writing`.  Either it sees a write, whatever its epoch (and leaves SEALING to be
 *           finished later), or the owner sees SEALING and drops the segment.  x is never given
 *           again, so who stalls before the last CAS cannot end a later taking.
 *                                       handover.pml, test_segment: handover_*, crash_handover,
 *                                       crash_segment
 *   INV-S2  Memory in use is counted from the states, so no death can leak any of it: whoever makes
 *           a segment non-HOLE counts afterwards and steps back if that is too much.  Of two that
 *           do so at once one sees the other's: the CASes and the loads of the count are seq_cst
 *           (an acquire load may be done before the CAS is, as by ldapr on aarch64).
 *                                                       test_segment: limit*, crash_segment
 *   INV-S3  An incarnation number is given once.      test_segment: incarnation_*
 *   INV-S4  A RUN_REST(x) belongs to the head before it whose incarnation is x and which is neither
 *           HOLE nor FREE; between the two there are only others of it.
 *                                                      test_run: *, verify, crash_kv: huge *
 *   INV-S5  What is kept for the cleaner and for removals (segment_kept) no put takes: whoever
 *           opens a segment or run counts again afterwards and steps back.  And what may be put
 *           without asking, the rests of segments that are owned, is within what is admitted: near
 *           that an owner keeps its segment for one write only.  So beyond what is admitted there
 *           is at most a record per writer, but for what is opened at the same moment, and a full
 *           store can be emptied.
 *                                       test_segment: what_owners_*, the_rest_*,
 *                                       crash_segment: *_overtaken_*, torture_kv
 *
 * Death: OPENING(p) -> FREE, with all that was claimed for its run; OPEN(p), PINNED(p) -> PARTIAL
 * or SEALED, of a run -> RUN_HEAD or all of it FREE; CLEANING(p) -> SEALED, PUNCHING(p) -> HOLE by
 * the reaper; SEALING(p, x) by it, or by anybody once p writes no more.
 */
#ifndef SHMKV_SEGMENT_H
#define SHMKV_SEGMENT_H

#include "claim.h"
#include "epoch.h"

enum segment_kind {
    SEGMENT_HOLE = 0,
    SEGMENT_FREE,
    SEGMENT_OPENING,
    SEGMENT_OPEN,
    SEGMENT_PARTIAL,
    SEGMENT_PINNED,
    SEGMENT_SEALING,
    SEGMENT_SEALED,
    SEGMENT_RUN_HEAD,
    SEGMENT_CLEANING,
    SEGMENT_LIMBO,
    SEGMENT_PUNCHING,
    SEGMENT_RUN_REST,
    SEGMENT_KINDS
};

/* What a segment is wanted for: the later ones may dig deeper into the reserve. */
enum segment_purpose { SEGMENT_FOR_PUT, SEGMENT_FOR_TOMBSTONE, SEGMENT_FOR_CLEANING };

/* A count over all segments; best effort beside writers. */
struct segment_census {
    uint64_t high; /* ids below it were looked at */
    uint64_t kinds[SEGMENT_KINDS];
    uint64_t used;      /* bytes behind the owners' marks, all segments */
    uint64_t live;      /* of them current */
    uint64_t waste;     /* behind the records of runs: cleaning does not gain it */
    uint64_t room;      /* left in segments that are OPEN: their owners need not ask to fill it */
    uint64_t begun;     /* segments, in runs or not, that somebody opens or reserves right now */
    uint64_t taken;     /* bytes that have memory */
    uint64_t capacity;  /* segments that the limit allows, beside the index as it is */
    uint64_t available; /* free, or holes that may be filled */
    uint64_t limbo;     /* segments that wait for sections to end, those of runs included */
    uint64_t reserve;   /* of them kept for the cleaner */
    uint64_t removals;  /* and for tombstones, so that a full store can be emptied */
    uint64_t table;     /* and by puts for the next table of the index, as tickets run low */
    uint64_t admitted;  /* bytes of current records up to which puts are taken: beyond it cleaning
                           would cost ever more, and deleting would find no room */
};

void segment_count(const struct arena *a, struct segment_census *census);
/*
 * segment_glance() - the same for who opens a segment, a fraction of the work: the states alone,
 * and what is live by the last count, with all that can have been put since.  That is used, with
 * taken and waste, for what it may at most be; where so much would not be admitted all is counted.
 */
void segment_glance(const struct arena *a, struct segment_census *census);
/* How many free segments are not for @purpose: the reserve, and one for each that is cleaning. */
uint64_t segment_kept(const struct segment_census *census, enum segment_purpose purpose);
/* Bytes that cleaning does not gain. */
static inline uint64_t segment_bound(const struct segment_census *c)
{
    return c->live + c->waste;
}

/* Is there more than is admitted?  Cleaning does not help then. */
static inline bool segment_overfull(const struct segment_census *c)
{
    return segment_bound(c) >= c->admitted;
}

/* Would there be, if owners filled what they have?  Then no more is handed out [INV-S5]. */
static inline bool segment_committed(const struct segment_census *c)
{
    return segment_bound(c) + c->room >= c->admitted;
}

/* Would there be with one more?  Then each is opened for one write. */
static inline bool segment_nearly_committed(const struct arena *a, const struct segment_census *c)
{
    return segment_bound(c) + c->room + a->segment_mask >= c->admitted;
}

/* May a segment be opened for @purpose? */
bool segment_allowed(const struct segment_census *census, enum segment_purpose purpose);
/* The same of @count segments at once, the neighbours of a run. */
bool segment_allowed_run(const struct arena *a, const struct segment_census *census,
                         enum segment_purpose purpose, uint64_t count);
/* INV-S5: is less left than is kept from @purpose?  Whoever has claimed something for it, which
 * others may have done since he counted, then gives it back. */
bool segment_overdrawn(const struct arena *a, enum segment_purpose purpose);
/* Bytes in use: fixed tables, index areas, segments. */
uint64_t segment_memory(const struct arena *a);

/* A segment that a participant owns. */
struct segment_hold {
    uint64_t id;   /* SEGMENT_NONE: none */
    uint64_t word; /* its state as long as it is owned */
    bool crowded;  /* to be given back after the write: many are owned, or it is INV-S5 */
};

/*
 * Empty segments that a busy owner has besides: he who opens one counts all, which takes longer
 * than a put may, so where there are enough he opens some at once.
 */
#define SEGMENT_SPARES 3u
struct segment_spares {
    struct segment_hold hold[SEGMENT_SPARES];
    uint32_t count; /* of hold[] */
    uint32_t busy;  /* how many he may have: none at first, more each time they are used up */
};

/*
 * segment_open() - get a segment with @need bytes of room for @p to append to.
 * @hold:    receives it.
 * @spares:  it is one of these, if there are some; if not they are filled, for puts; NULL: no such.
 * SHMKV_ENOSPC (internal, without a text): nothing is free for that purpose.
 */
int segment_open(const struct participant *p, enum segment_purpose purpose, uint64_t need,
                 struct segment_hold *hold, struct segment_spares *spares);
/* As segment_close_owner(), all of them. */
void segment_close_spares(const struct arena *a, struct segment_spares *spares);
/* Give it back; not inside a write section.  Harmless if it was taken away.  The head of a run
 * becomes RUN_HEAD if its record was published, else all of the run is free. */
void segment_close_owner(const struct arena *a, struct segment_hold *hold);
/* OPEN(p) -> PINNED(p), so that it is not taken between writes; false, and nothing is held any
 * more, if it was taken before. */
bool segment_pin_owner(const struct arena *a, struct segment_hold *hold);

/* R18, for stores with an image: raise D, below which no tombstone is needed, to what it may be. */
void segment_raise_horizon(const struct arena *a);

/* LIMBO(e) -> FREE for each e <= safe; returns how many. */
unsigned segment_reclaim(const struct arena *a);
/* Take segments from owners that are not writing; finish such takings.  Returns how many. */
unsigned segment_take_idle(const struct arena *a);
/* Claim a victim: -> CLEANING(p).  False if its state was not @expected any more. */
bool segment_claim_victim(const struct participant *p, uint64_t id, uint64_t expected);
/* After a complete walk that found nothing alive. */
void segment_retire_owner(const struct participant *p, uint64_t id);
/* The walk was not completed: it has left nothing alive in the first @walked bytes. */
void segment_unclaim_owner(const struct participant *p, uint64_t id, uint64_t walked);
/* HOLE -> FREE with all its memory, ahead of need; returns its bytes, 0: there is none, or no room
 * for it. */
uint64_t segment_prefill(const struct participant *p);
/* The same with all segments of a unit of 2 MiB, or one that is larger, as huge pages if there are
 * any.  It may wait for other processors: for the keeper. */
uint64_t segment_prefill_unit(const struct participant *p);
/* A number that nobody had before, for an incarnation or a state word, of who is about to fill so
 * many segments: segment_glance() knows by these how much there may be more. */
uint64_t segment_stamp(const struct arena *a, uint64_t segments);
/* Have memory for the first @bytes of a segment that the caller is OPENING, or that is part of a
 * run that it is opening.  0, or as arena_take(). */
int segment_take_memory(const struct arena *a, enum segment_purpose purpose, uint64_t id,
                        uint64_t bytes);
/* FREE -> HOLE until @bytes were given back; returns how many bytes were. */
uint64_t segment_punch(const struct participant *p, uint64_t bytes);
/* What @dead_participant had claimed becomes usable again; its process is dead, or leaves. */
void segment_reap(const struct arena *a, uint32_t dead_participant);

static inline struct segment *segment_at(const struct arena *a, uint64_t id)
{
    return &a->segments[id];
}

static inline uint64_t segment_size(const struct arena *a)
{
    return a->segment_mask + 1;
}

/* How many make up a unit that may be a huge page; 1: each is one, or several. */
static inline uint64_t segment_unit(const struct arena *a)
{
    return max_u64(HUGE_PAGE_BYTES >> a->segment_shift, 1);
}

/* Ids below it were used at some time; what is claimed is below it before it is claimed.  seq_cst,
 * as the loads of states where these are counted: after a claim of one's own [INV-S2].  Bounded,
 * as it is in shared memory (R3). */
static inline uint64_t segment_high(const struct arena *a)
{
    return min_u64(load_seq_cst(&a->sb->segment_high), arena_segments(a));
}

/* How many segments make up what begins at @id: 1, or the length of a run; inside the log (R3). */
static inline uint64_t segment_span(const struct arena *a, uint64_t id)
{
    uint64_t run =
        load_relaxed(&segment_at(a, id)->run); /* written before the state that is read */
    return run < 2 ? 1 : min_u64(run, arena_segments(a) - id);
}

/* How far a record that begins @at may reach: a run's goes through all of its segments. */
static inline uint64_t segment_room_at(const struct arena *a, uint64_t at)
{
    uint64_t id = arena_segment_of(a, at);
    uint64_t span = at == arena_segment_start(a, id) ? segment_span(a, id) : 1;
    return arena_segment_start(a, id + span) - at;
}

/* Still owned?  Asked inside a write section [S1], see epoch_enter_write(). */
static inline bool segment_held(const struct arena *a, const struct segment_hold *hold)
{
    return hold->id != SEGMENT_NONE && load_acquire(&segment_at(a, hold->id)->state) == hold->word;
}

/* A record there was superseded.  Relaxed: it only steers the cleaner. */
static inline void segment_add_dead(const struct arena *a, uint64_t offset, uint64_t bytes)
{
    add_relaxed(&a->dead[arena_segment_of(a, offset)], bytes);
}

#endif
