/* SPDX-License-Identifier: MIT */
/*
 * resize.c - a resize from its start to its end, see resize.h for the protocol and its invariants.
 *
 *   resize.c        the steps that all tables go through, and what each writer does of them
 *   resize_move.c   one slot, and chunks of slots
 *   resize_claim.c  the next table: its size, its claim, its memory
 *   resize_policy.c when: ahead of need, to be rid of tombstones, to become smaller
 */
#include "resize.h"

#include "error.h"
#include "point.h"
#include "resize_parts.h"
#include "segment.h"
#include "shmkv.h"

/*
 * Slots that one write moves.  Who takes a ticket pays for the resize that has to be over before
 * the last one is taken; who overwrites reads records of others for it, whose pages it may never
 * have touched, so it moves just what brings the resize to an end if nobody inserts.
 */
#define SHARE_FILLED 8u /* at least, if it took a ticket */
#define SHARE_OTHER 1u
#define SHARE_SAME 16u /* at least, each, where the index does not grow: memory waits for the end */
#define SHARE_MOST 16384u /* a few milliseconds */

/* ---- start --------------------------------------------------------------------------------- */

/* Set next from a CLOSED word: whoever sees the word does it, so a dead grower blocks nobody. */
static void show_next(const struct arena *a, struct table *t)
{
    uint64_t word = load_acquire(&t->tickets);
    if ((word & TICKETS_CLOSED) == 0)
        return;
    uint64_t next = word & ~TICKETS_CLOSED;
    table_enliven(a, next);
    POINT("resize.closed");
    uint64_t none = 0;
    cas_seq_cst(&t->next, &none, next); /* release: T' was made before [T1] */
}

/* R14, start: T' must have room for all that T may hold, whatever T's writers still fill. */
static bool close_tickets(const struct arena *a, struct table *t, struct table *to)
{
    uint64_t word = load_acquire(&t->tickets);
    while ((word & TICKETS_CLOSED) == 0) { /* a failed CAS saw r change: B is computed anew */
        uint64_t quota = table_quota(t->slots), left = word & TICKETS_COUNT;
        /* more than all are none (R3): who finds the table full would start for ever */
        uint64_t bound = likely(left <= quota) ? quota - left : quota;
        if (table_quota(to->slots) < bound)
            return false;
        to->bound = bound;
        store_release(&to->tickets, table_quota(to->slots) - bound); /* not TOPPED */
        POINT("resize.bound");
        if (cas_seq_cst(&t->tickets, &word, TICKETS_CLOSED | table_ref(a, to)))
            return true;
    }
    return false;
}

int resize_start(const struct participant *p, struct resizer *z, uint64_t ref)
{
    const struct arena *a = p->arena;
    struct table *t = table_of(a, ref);
    int rc = resize_get_prepared(p, z, t);
    if (rc != 0)
        return rc;
    struct table *to = z->prepared;
    if (table_ref(a, to) < ref)
        table_restamp_owner(p, to);
    z->prepared = NULL;
    if (z->ready && close_tickets(a, t, to))
        POINT("resize.started");
    else
        table_unclaim_owner(p, to); /* somebody else started, or it is too small */
    show_next(a, t);
    return 0;
}

/* ---- finish -------------------------------------------------------------------------------- */

/* T' gets the tickets that its movers did not need, once: whoever comes second sees TOPPED.  Never
 * more than it has slots for, or a bound that was written over would close it (R3). */
static void top_up(const struct arena *a, struct table *to, uint64_t moved)
{
    uint64_t word = load_acquire(&to->tickets);
    uint64_t bound = to->bound, spare = bound - min_u64(bound, moved);
    while ((word & (TICKETS_CLOSED | TICKETS_TOPPED)) == 0) {
        uint64_t r = min_u64(word + spare, table_quota(to->slots));
        /* policy only; before the CAS, so that no death leaves a topped table without them */
        store_relaxed(&to->topped, r + 1);
        store_relaxed(&to->tombstones, resize_load(a).tombstones);
        if (cas_acq_rel(&to->tickets, &word, r | TICKETS_TOPPED))
            POINT("resize.topped");
    }
}

/* Finish the resize of @ref.  Inside a section, root was @ref in it, its next is set. */
static void finish(const struct participant *p, struct resizer *z, uint64_t ref)
{
    const struct arena *a = p->arena;
    struct table *t = table_of(a, ref);
    uint64_t next = table_next(a, t);
    uint64_t moved;
    if (!resize_finish_chunks(p, ref, &moved) || unlikely(!table_is_sound(a, next))) {
        z->stuck_ref = ref;
        return;
    }
    if (table_root(a) != ref)
        return; /* done by others */
    top_up(a, table_of(a, next), moved);
    POINT("resize.finishing");
    /* release [T1]; generation in the word: a stalled finisher changes nothing two tables later */
    if (cas_seq_cst(&a->sb->root, &ref, next)) {
        stat_add(p, STAT_resizes, 1);
        POINT("resize.rooted");
    }
    table_retire_old(a);
}

/* ---- take part ----------------------------------------------------------------------------- */

/* How many records will fit until somebody has to clean; about. */
static uint64_t records_that_fit(const struct arena *a)
{
    struct segment_census c;
    segment_count(a, &c);
    uint64_t kept = segment_kept(&c, SEGMENT_FOR_PUT);
    uint64_t spare = c.available > kept ? c.available - kept : 1;
    return (spare << a->segment_shift) / (c.live / (resize_load(a).keys + 1) + 1);
}

/* Had puts to leave memory for this?  Then the log has none to spare until it is over. */
static bool is_log_short(const struct arena *a, const struct table *t)
{
    return load_relaxed(&t->wanted) != 0 && !a->cache; /* which evicts; relaxed: policy */
}

/* Is there more to run out of than tickets?  Then writes that take none have to pay, too. */
static bool all_pay(const struct arena *a, const struct table *t, const struct table *to)
{
    return to->slots <= t->slots || is_log_short(a, t);
}

/*
 * How many slots each write that pays has to move, lest the last ticket of T' meets a resize that
 * goes on: who asks for it then would have to do all the rest at once.  Nor should a log that is
 * short be full before: there is no room then but that of the old table.
 */
static uint64_t fair_share(const struct arena *a, const struct table *t, const struct table *to,
                           uint64_t chunk)
{
    uint64_t least = to->slots > t->slots ? SHARE_FILLED : SHARE_SAME;
    uint64_t word = load_relaxed(&to->tickets); /* policy */
    uint64_t left = word & TICKETS_COUNT;
    if ((word & (TICKETS_CLOSED | TICKETS_TOPPED)) != 0)
        return least;
    if (is_log_short(a, t))
        left = min_u64(left, records_that_fit(a));
    uint64_t haste = a->cache ? 4 : 2; /* there the log lacks the memory until it is over */
    uint64_t share = (t->chunks - chunk) * TABLE_CHUNK_SLOTS * haste / (left + 1);
    return min_u64(max_u64(share, least), SHARE_MOST);
}

/* False: there are no more; the resize of @ref is finished as far as that is our part. */
static bool next_chunk(const struct participant *p, struct resizer *z, uint64_t ref)
{
    const struct arena *a = p->arena;
    struct table *t = table_of(a, ref);
    uint64_t c = add_relaxed(&t->cursor, 1); /* only divides work */
    if (c >= t->chunks) {
        finish(p, z, ref);
        return false;
    }
    const struct table *to = table_of(a, load_acquire(&t->next));
    resize_begin_chunk(z, ref, c);
    z->chunk_share = fair_share(a, t, to, c);
    z->chunk_by_all = all_pay(a, t, to);
    return true;
}

/* Does a sound root lead to a sound @next (R3)? */
static bool leads_on(const struct arena *a, uint64_t root, uint64_t next)
{
    return next != 0 && table_is_sound(a, root) && table_is_sound(a, next);
}

/* Have a chunk of the running resize of @root; false: there is none, or none left. */
static bool have_chunk(const struct participant *p, struct resizer *z, uint64_t root)
{
    const struct arena *a = p->arena;
    uint64_t next = table_next(a, table_of(a, root));
    if (next == 0 || unlikely(z->stuck_ref == root))
        return false;
    if (unlikely(!leads_on(a, root, next))) { /* asked for a chunk under way, too: it is long */
        z->stuck_ref = root;
        return false;
    }
    return z->chunk_ref == root || next_chunk(p, z, root);
}

void resize_help(const struct participant *p, struct resizer *z, uint64_t slots)
{
    uint64_t root = table_root(p->arena);
    while (slots != 0 && have_chunk(p, z, root))
        slots -= resize_advance_chunk(p, z, slots);
}

void resize_pay(const struct participant *p, struct resizer *z)
{
    if (have_chunk(p, z, table_root(p->arena)))
        resize_help(p, z, z->filled || z->chunk_by_all ? z->chunk_share : SHARE_OTHER);
}

void resize_finish(const struct participant *p)
{
    struct resizer own = {.chunk_ref = 0};
    const struct arena *a = p->arena;
    uint64_t outer = epoch_enter(p);
    uint64_t root = table_root(a);
    struct table *t = table_of(a, root);
    show_next(a, t);
    if (leads_on(a, root, table_next(a, t)))
        finish(p, &own, root);
    epoch_exit(p, outer);
}

int resize_grow(const struct participant *p, struct resizer *z, uint64_t ref)
{
    const struct arena *a = p->arena;
    epoch_poll(a); /* so that the tombstones of before are droppable */
    uint64_t outer = epoch_enter(p);
    int rc = 0;
    uint64_t root = table_root(a);
    struct table *t = table_of(a, root);
    bool closed = (load_acquire(&t->tickets) & TICKETS_CLOSED) != 0;
    if (root != ref || closed) {
        if (closed) {
            show_next(a, t);
            resize_help(p, z, 2 * t->slots); /* all, with all others who need it done */
            if (unlikely(z->stuck_ref == root))
                rc = error_set(SHMKV_ECORRUPT,
                               "%s: the index is damaged, and cannot grow; shmkv check lists where",
                               a->name);
        }
    } else {
        rc = resize_start(p, z, root);
    }
    epoch_exit(p, outer);
    return rc;
}

void resize_leave(const struct participant *p, struct resizer *z)
{
    uint64_t outer = epoch_enter(p);
    table_return_tickets(p->arena, &z->tickets);
    epoch_exit(p, outer);
    if (z->prepared != NULL)
        table_unclaim_owner(p, z->prepared);
    *z = (struct resizer){.chunk_ref = 0};
}
