/* SPDX-License-Identifier: MIT */
/*
 * resize.h - moving all slots of the table T to a table T', by whoever writes meanwhile.
 *
 *      T.tickets OPEN          CLOSED(T')       T.next = T'      every slot terminal      root = T'
 *   ---------------------------+----------------+----------------+------------------------+--------
 *   inserts take tickets       | nobody fills an EMPTY of T      | T'.tickets topped up   | T in
 *   of T                       | without an old ticket; writes go through T, then T'      | limbo
 *
 * Moving one slot:
 *
 *   EMPTY ----------------------------> MOVED_EMPTY                  closes probes for inserters
 *   tombstone, droppable, unfrozen ---> MOVED_DROPPED                the only drop of a tombstone
 *   EVICTED --------------------------> MOVED_DROPPED
 *   record ---> record|FROZEN ---> (copied into T' unless the key is there) ---> MOVED
 *
 * Each step is a CAS but the last: what is frozen becomes that MOVED and nothing else, so all who
 * finish it store the same word, late ones too, whose section keeps T from being reused.
 *
 *   INV-R1  root == T when T's word is CLOSED, and next is set once: chains have length one.
 *                                                  test_resize: chains_*, crash_resize
 *   INV-R2  A mover never leaves T'.  FROZEN, MOVED or MOVED_EMPTY met in T' means that T' is being
 *           moved itself, hence T is terminal and this slot was done by somebody else.
 *                                                  test_resize: a_late_mover_*
 *   INV-R3  A frozen tombstone is copied, never dropped: somebody may have copied it already, and a
 *           younger value may stand on the copy.     test_resize: a_frozen_tombstone_*
 *   INV-R4  T' never runs full: slots filled by movers <= B, by tickets <= q' - B until the top-up,
 *           which gives back what movers did not use: B - C, C = slots of T in plain MOVED.
 *           A table's word is topped up once: the TOPPED bit is in the CAS.
 *                                                 test_resize: never_full*, tickets_*, crash_resize
 *   INV-R5  A mover that meets EVICTED of its tag in T' looks at its slot of T again.  If that is
 *           still frozen, what was evicted was another key: whoever evicts in T' has seen the slot
 *           of the key MOVED before (R13).  Else the work is done, and to go on would bring an
 *           evicted record back.      move.pml, test_resize: an_evicted_*, crash_resize: a_mover_*
 *   All of them: move.pml, tickets.pml, crash_kv (every point), torture_kv.
 *
 * Work is divided in chunks of 1,024 slots.  A chunk word is 0, or 1 + its number of plain MOVED
 * slots, stored by whoever saw each of its slots terminal; terminal slots do not change, so all who
 * store it store the same.  The cursor hands chunks out; whoever finds none left does over those
 * without a word, so nobody waits for a stopped or dead helper.
 *
 * Progress: lock-free; each write moves some slots, more if it took one of the tickets that must
 * last until the resize is over, the keeper the rest.  A purge, to a table of the same size, begins
 * with the tickets that were left, so each write moves as many slots as let them last until it is
 * over, and puts make room for it ahead.                                   test_resize, test_purge
 * Death at any step leaves a state from which any other mover goes on: see table.h for areas.
 */
#ifndef SHMKV_RESIZE_H
#define SHMKV_RESIZE_H

#include "stats.h"
#include "table.h"

/* What one writer contributes to the running and the next resize. */
struct resizer {
    struct tickets tickets;
    bool running;           /* the last write met a resize: time for resize_pay() */
    bool filled;            /* the last write took a ticket */
    bool low;               /* the last ticket of a batch was used: time for resize_prepare() */
    struct table *prepared; /* claimed by us for the next resize; NULL: none */
    bool urgent;            /* tombstones must go, whatever their number */
    bool ready;             /* its memory is taken */
    uint64_t lacks;         /* memory that there was not for the last table wanted, */
    bool lacks_growth;      /* which would have been larger than the root */
    uint64_t refused;       /* of it, what the machine, not our limit, did not give; 0: none */
    uint64_t chunk_ref;     /* table of the chunk we are moving; 0: none */
    uint64_t chunk;
    uint64_t chunk_slot;  /* next slot of it */
    uint64_t chunk_share; /* slots to be moved with each write that pays, reckoned when it began */
    bool chunk_by_all;    /* which are all writes, not only those that take tickets */
    uint32_t chunk_moved; /* plain MOVED slots of it so far */
    bool chunk_stuck;     /* a slot of it could not be moved: the index is damaged */
    uint64_t stuck_ref;   /* of a table with such a slot, whose resize never ends; 0: none */
};

/* Make the slot @s of @t terminal.  Inside a section.  Returns the terminal word, or what it is if
 * that leads to no record and no table (R3). */
uint64_t resize_move_slot(const struct participant *p, struct table *t, _Atomic uint64_t *s);

/*
 * resize_grow() - give inserters tickets again: finish the running resize of the table @ref, or
 * start one and finish it as far as that is our part.  Outside of a write section.
 * SHMKV_ENOSPC without a text: no memory for a larger table; with one, and z->refused: the limit
 * allows it, but the machine does not.  Other errors have a text: SHMKV_ECORRUPT, a slot cannot be
 * moved, so that the resize never ends.
 */
int resize_grow(const struct participant *p, struct resizer *z, uint64_t ref);
/* Move about @slots slots of a running resize.  Inside a section. */
void resize_help(const struct participant *p, struct resizer *z, uint64_t slots);
/* What a write does of it, after it was published: z->filled tells of which kind it was. */
void resize_pay(const struct participant *p, struct resizer *z);
/* Do all that is left of a running resize. */
void resize_finish(const struct participant *p);
/* Prepare the next table in small steps once tickets run low.  Outside of a write section. */
void resize_prepare(const struct participant *p, struct resizer *z, uint64_t bytes);
/* Start a resize of the same or a smaller size if tombstones make it worth while. */
void resize_purge(const struct participant *p, struct resizer *z);
/* The same for far fewer tombstones: nothing else gives room. */
void resize_purge_urgent(const struct participant *p, struct resizer *z);
/*
 * Start a resize to a smaller size if keys fill less than 3/32 of the slots; tombstones and lost
 * tickets may make it one of the same size, which the next can go below.  The store's first table
 * is as large as was asked for, and stays.  True if a resize runs that can end.
 */
bool resize_shrink(const struct participant *p, struct resizer *z);
/* Give tickets, chunk and prepared table back. */
void resize_leave(const struct participant *p, struct resizer *z);

/* True if a resize is running.  Inside a section. */
static inline bool resize_running(const struct arena *a)
{
    return load_acquire(&table_of(a, table_root(a))->next) != 0;
}

/* The same, of one that can end, as far as @z has learnt. */
static inline bool resize_advancing(const struct arena *a, const struct resizer *z)
{
    return resize_running(a) && z->stuck_ref != table_root(a);
}

#endif
