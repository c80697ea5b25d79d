/* SPDX-License-Identifier: MIT */
/*
 * table.h - tables of slots in the index areas: their life, the root word, tickets.
 *
 * Life of an area (table.state, claim.h):
 *
 *   FREE -> CLAIMED(p,g) -> LIVE(g) -> LIMBO(e) -> PUNCHING(p) -> FREE
 *
 *   FREE -> CLAIMED(p,g)   any p, which prepares table g there: all slots zero
 *   CLAIMED(p,g) -> LIVE(g)    anyone who sees it named by a CLOSED ticket word (resize.h); p
 *                          itself for the first table of a store
 *   CLAIMED(p,g) -> PUNCHING(p)    p, which found that the table is not needed
 *   CLAIMED(p,g) -> TAKING(p,g)    anyone, who finds p in no section, and the claim
 *                          overtaken by a younger root, or memory short; to p it is CLAIMED still
 *   TAKING(p,g) -> PUNCHING(q)     any q, after a fence and a look at p's words       [T2]
 *   TAKING(p,g) -> PUNCHING(p)     p, which sees it: q may be dead, and nobody else about
 *   LIVE(g) -> LIMBO(e)    anyone who sees a younger root, e = G loaded after that    [E2]
 *   LIMBO(e) -> PUNCHING(p)    any p, e <= safe; gives the memory back, so the area reads as zero
 *   PUNCHING(p) -> FREE    p
 *   PUNCHING(p) -> LIMBO(0)    p, whose memory the system did not take back
 *
 * A table reference is (generation << 4 | area): areas are reused, generations are not, so a
 * stalled finisher cannot install a table that has died in the meantime (R14).
 *
 * Tickets (R14).  An insert that turns EMPTY into a record needs a ticket of that table.
 *
 *   63       62       61                                 0
 *   +--------+--------+-----------------------------------+
 *   | 0      | TOPPED | r, tickets left                   |   OPEN
 *   | 1      | generation << 4 | area of the next table   |   CLOSED, for ever
 *   +--------+--------+-----------------------------------+
 *
 *   INV-T1  Slots of a table ever filled <= q - r: a ticket is taken before its slot is filled.
 *   INV-T2  A mover always finds room: movers fill <= B slots, tickets fill <= q' - B.
 *                                                   tickets.pml, test_table: tickets_*, torture_kv
 *
 *   INV-T3  A claimed table is never taken from who uses it.  Its claimer uses it in sections only,
 *           and at the beginning of each sees that it is CLAIMED still; who takes it has seen
 *           TAKING, then fences all, and only then looks whether the claimer is in a section: as
 *           INV-S1.  What the claimer named in CLOSED is LIVE before its section ends.
 *               tickets.pml, test_resize: an_idle_claim_*, crash_resize: a_claim_*, only_what_*
 *
 * Death: CLAIMED(p), and TAKING(p), is given back by the reaper unless a CLOSED word names it;
 * PUNCHING(p) is emptied by him; tickets held by a dead participant are lost until the next resize.
 */
#ifndef SHMKV_TABLE_H
#define SHMKV_TABLE_H

#include "bucket.h"
#include "claim.h"
#include "epoch.h"

#define TABLE_MIN_SLOTS 1024u
#define TABLE_CHUNK_SLOTS 1024u

enum table_kind {
    TABLE_FREE = 0,
    TABLE_CLAIMED,
    TABLE_LIVE,
    TABLE_LIMBO,
    TABLE_PUNCHING,
    TABLE_TAKING,
    TABLE_KINDS
};

#define TICKETS_CLOSED (1ull << 63)
#define TICKETS_TOPPED (1ull << 62)
#define TICKETS_COUNT (TICKETS_TOPPED - 1)
#define TABLE_KEYS_MOST (1ull << 50) /* announced: more have no slots, and would overflow below */
#define TICKETS_BATCH 16u            /* a writer takes at most so many at once */

/* ---- references ---------------------------------------------------------------------------- */

static inline struct table *table_of(const struct arena *a, uint64_t ref)
{
    return &a->tables[ref % TABLE_AREAS];
}

static inline uint64_t table_ref(const struct arena *a, const struct table *t)
{
    return load_relaxed(&t->generation) << 4 | (uint64_t)(t - a->tables);
}

/* Acquire: whoever sees the reference sees the table made; pairs with its publication [T1]. */
static inline uint64_t table_root(const struct arena *a)
{
    return load_acquire(&a->sb->root);
}

#define TABLE_NONE UINT64_MAX /* a reference that no sound table has */

/* What it is moved to; 0: it is not.  Acquire, as above [T1].  TABLE_NONE: the chain leads back to
 * this table or an older one, so it was written over, and nobody should go round in it (R3). */
static inline uint64_t table_next(const struct arena *a, const struct table *t)
{
    uint64_t next = load_acquire(&t->next);
    return likely(next == 0 || next > table_ref(a, t)) ? next : TABLE_NONE;
}

static inline _Atomic uint64_t *table_slots(const struct arena *a, const struct table *t)
{
    return (_Atomic uint64_t *)arena_at(a, t->slots_offset);
}

static inline _Atomic uint32_t *table_chunk_words(const struct arena *a, const struct table *t)
{
    return (_Atomic uint32_t *)arena_at(a, t->chunks_offset);
}

static inline uint64_t table_buckets(const struct table *t)
{
    return t->slots / BUCKET_SLOTS;
}

/* Here and below, % 64 is what shifts do anyway: of no table, as a scribbled root leads to, they
 * are defined. */
static inline uint64_t table_home(const struct table *t, uint64_t hash)
{
    return hash >> t->shift % 64;
}

/* In a bucket a key's probe begins at the slot that its next three bits name, and wraps. */
static inline unsigned table_first_slot(const struct table *t, uint64_t hash)
{
    return (unsigned)(hash >> (t->shift - 3) % 64) % BUCKET_SLOTS;
}

/* That slot: bucket and place in it are the hash's highest bits, in this order. */
static ALWAYS_INLINE _Atomic uint64_t *table_first(const struct arena *a, const struct table *t,
                                                   uint64_t hash)
{
    return table_slots(a, t) + (hash >> (t->shift - 3) % 64);
}

static inline _Atomic uint64_t *table_bucket(const struct arena *a, const struct table *t,
                                             uint64_t bucket)
{
    return table_slots(a, t) + bucket * BUCKET_SLOTS;
}

/* q: how many slots may be filled. */
static inline uint64_t table_quota(uint64_t slots)
{
    return slots / 8 * 7;
}

/* ---- areas --------------------------------------------------------------------------------- */

/* Bytes of an area that a table of @slots needs. */
uint64_t table_bytes(uint64_t slots);
/* The largest table that fits an area. */
uint64_t table_max_slots(const struct arena *a);

/* Where the slots of a table are, as a probe needs it.  A copy of one's own: what is written over
 * the header once it was found sound leads nobody out of the slots (R3). */
struct table_shape {
    _Atomic uint64_t *slots;
    uint64_t mask;  /* number of buckets, less one */
    unsigned shift; /* bucket of hash h: h >> shift */
};

/* False: slots must not be followed of what @ref, which is root or a next, leads to: that word, or
 * the header, was written over.  Inside a section. */
bool table_look(const struct arena *a, uint64_t ref, struct table_shape *shape);

static inline bool table_is_sound(const struct arena *a, uint64_t ref)
{
    struct table_shape shape;
    return table_look(a, ref, &shape);
}

/* As table_home() and so on. */
static inline uint64_t table_shape_home(const struct table_shape *s, uint64_t hash)
{
    return hash >> s->shift;
}

static inline unsigned table_shape_first_slot(const struct table_shape *s, uint64_t hash)
{
    return (unsigned)(hash >> (s->shift - 3)) % BUCKET_SLOTS;
}

static inline _Atomic uint64_t *table_shape_bucket(const struct table_shape *s, uint64_t bucket)
{
    return s->slots + (bucket & s->mask) * BUCKET_SLOTS;
}

/*
 * What finds a slot of the root table, in memory of a writer's own.  It is made once per table,
 * whose header is checked then: what is written over that later leads nobody out of the slots (R3).
 * A reference is never used again, so an equal one is of the same table.
 *
 * A signal handler may renew it between any two steps of what it interrupted.  That has looked at
 * the reference before it loads the rest, in one piece, so it gets the slots of the table that it
 * looked for or of a younger root.                                  crash_index: a_view_*
 */
struct table_view {
    _Atomic uint64_t root;   /* the reference that the rest is of; relaxed, both: own thread's */
    _Atomic uintptr_t slots; /* their address, a multiple of 64, and what a hash is shifted by */
};

/* A reference that no table gets, nor what stray writes leave, which is zeros or ones (R3). */
#define TABLE_UNSEEN 0x9e3779b97f4a7c15ull

/* Of no table yet. */
static inline void table_view_begin(struct table_view *v)
{
    store_relaxed(&v->root, TABLE_UNSEEN);
}

/* Is it of what is the root now?  Inside a section, as all uses of it. */
static ALWAYS_INLINE bool table_view_is_current(const struct table_view *v, const struct arena *a)
{
    bool current = load_relaxed(&v->root) == table_root(a);
    barrier_compiler(); /* the slots are loaded after that */
    return likely(current);
}

/* Make it so; false: no sound table is the root. */
bool table_view_renew(struct table_view *v, const struct arena *a);

/* Where the probe of a hash begins. */
static ALWAYS_INLINE _Atomic uint64_t *table_view_first(const struct table_view *v, uint64_t hash)
{
    uintptr_t slots = load_relaxed(&v->slots);
    return (_Atomic uint64_t *)(slots & ~(uintptr_t)63) + (hash >> slots % 64);
}

/*
 * table_claim() - FREE -> CLAIMED(p) and a header for @slots slots; no memory is taken yet, but
 * counted.  Inside a section.  SHMKV_ENOSPC without a text: the limit does not allow it, or no area
 * is free.
 */
int table_claim(const struct participant *p, uint64_t slots, struct table **t);
/* Take memory for the next @bytes of the area; *@complete if nothing is left to take. */
int table_take(const struct arena *a, struct table *t, uint64_t bytes, bool *complete);
/* Is the claim @p's still?  Asked at the beginning of each section that uses it (INV-T3). */
bool table_claimed_owner(const struct participant *p, const struct table *t);
/* Give a claimed, never shown table back; harmless if it was taken away. */
void table_unclaim_owner(const struct participant *p, struct table *t);
/* A new generation for a claimed table: a table must be younger than the one it follows. */
void table_restamp_owner(const struct participant *p, struct table *t);
/* CLAIMED -> LIVE, whoever claimed it; inside a section, @ref named by what is reachable. */
void table_enliven(const struct arena *a, uint64_t ref);
/* LIVE and older than the root -> LIMBO. */
void table_retire_old(const struct arena *a);
/* LIMBO(e <= safe) -> FREE, memory given back; and claims of the idle that are overtaken. */
void table_reclaim(const struct participant *p);
/* Take back what idle others have claimed, for want of memory; false: nothing. */
bool table_take_idle(const struct participant *p);
/* What the dead @participant had claimed becomes usable again. */
void table_reap(const struct arena *a, uint32_t participant);

/* ---- tickets ------------------------------------------------------------------------------- */

/* A batch of tickets that a writer holds. */
struct tickets {
    uint64_t ref; /* of the table */
    uint64_t count;
};

/* Have at least one ticket of @t; false: none left, or closed. */
bool table_ticket(const struct arena *a, struct tickets *held, uint64_t ref);
/*
 * Give what is left back, or drop it if the table is closed.  Inside a section: a table whose word
 * was OPEN within it, of that generation, is not reused before the section ends.
 */
void table_return_tickets(const struct arena *a, struct tickets *held);

#endif
