/* SPDX-License-Identifier: MIT */
/*
 * resize_policy.c - when the next resize begins, and what is got ready for it: policy only, by
 * counts that may be wrong.
 *
 * Puts that find tickets low claim the next table and take its memory in small steps, so that none
 * has to wait for all of it.  In a full store they leave that memory out of the log before.
 */
#include "resize.h"

#include "resize_parts.h"
#include "segment.h"
#include "shmkv.h"

#define PURGE_SHIFT 3         /* tombstones in an eighth of the slots cost more than a resize */
#define PURGE_CACHE_SHIFT 2   /* in a cache, where they take no room in the log, in a quarter */
#define PURGE_URGENT_SHIFT 10 /* where room is short: their keys may be long */
#define PUNCH_STEP (1u << 20)
#define LOOK_TICKETS 256u

/* ---- ahead of need ------------------------------------------------------------------------- */

static bool somebody_prepares(const struct arena *a)
{
    for (unsigned i = 0; i < TABLE_AREAS; i++) {
        if (claim_kind(load_acquire(&a->tables[i].state)) == TABLE_CLAIMED)
            return true;
    }
    return false;
}

/*
 * Of the tickets that a table had, when the next one is prepared: from @begin on it may be claimed,
 * by @end puts have left all of its memory to it.
 */
struct span {
    uint64_t begin, end;
};

static struct span preparation(const struct table *t)
{
    uint64_t topped = load_relaxed(&t->topped), quarter = table_quota(t->slots) / 4;
    uint64_t begin = topped == 0 ? quarter : min_u64(quarter, (topped - 1) / 4 * 3);
    return (struct span){.begin = begin, .end = begin / 2};
}

/*
 * A purge is to come if as much has gone again as every other ticket of late was for.  In a store
 * that is full its memory has to be made by cleaning; so puts leave it the more of the log the
 * fewer tickets there are, or the put that got none would clean for all of it.
 */
static uint64_t room_to_leave(const struct arena *a, const struct table *t, uint64_t left)
{
    struct span s = preparation(t);
    uint64_t bytes = table_bytes(t->slots);
    if (left >= s.begin || resize_purgeable(a, t) <= (s.begin - left) / 2)
        return 0;
    return left <= s.end ? bytes : bytes / (s.begin - s.end) * (s.begin - left);
}

/*
 * A cache fills its slots with what was evicted, for ever, and is purged when that is a quarter of
 * them.  Until shortly before, the log has the memory for it: then so much more is evicted.
 * Counted here is what has gone.
 */
static struct span evictions(const struct table *t)
{
    uint64_t topped = load_relaxed(&t->topped), end = t->slots >> PURGE_CACHE_SHIFT;
    if (topped != 0) /* fewer, where keys fill most of it */
        end = min_u64(end, (topped - 1) / 4 * 3);
    return (struct span){.begin = end / 8 * 7, .end = end};
}

static uint64_t room_to_evict(const struct arena *a, const struct table *t)
{
    struct span s = evictions(t);
    uint64_t bytes = table_bytes(t->slots), gone = resize_purgeable(a, t);
    if (gone <= s.begin)
        return 0;
    return gone >= s.end ? bytes : bytes / (s.end - s.begin) * (gone - s.begin);
}

static void leave_room(const struct arena *a, struct table *t, uint64_t left)
{
    uint64_t wanted = a->cache ? room_to_evict(a, t) : room_to_leave(a, t, left);
    store_relaxed(&t->wanted, wanted); /* relaxed: policy */
}

/* Has a cache left all that a purge needs? */
static bool purge_is_due(const struct arena *a, const struct table *t)
{
    return a->cache && load_relaxed(&t->wanted) == table_bytes(t->slots);
}

/* Ahead of need nothing may use the reserve: it would be missing until the table is filled. */
static void claim_ahead(const struct participant *p, struct resizer *z, const struct table *t)
{
    struct segment_census c;
    bool wanted = load_relaxed(&t->wanted) != 0;
    segment_count(p->arena, &c);
    if (wanted && c.available <= c.reserve + (table_bytes(t->slots) >> p->arena->segment_shift))
        return; /* puts are at it */
    if (resize_claim_next(p, z, t) != 0) {
        uint64_t lacks = segment_memory(p->arena) + table_bytes(t->slots);
        lacks -= min_u64(lacks, load_relaxed(&p->arena->sb->size));
        if (wanted && lacks != 0) /* all memory may have gone to segments, be they free */
            segment_punch(p, min_u64(lacks, PUNCH_STEP));
        return;
    }
    segment_count(p->arena, &c);
    if (c.available > segment_kept(&c, SEGMENT_FOR_PUT) || (wanted && !z->lacks_growth))
        return;
    resize_drop_prepared(p, z);
}

static bool is_low(const struct table *t, uint64_t left)
{
    return left < table_quota(t->slots) / 4;
}

/* In a full cache as many tickets are taken as keys are evicted, or more. */
static bool evicts_ahead(const struct arena *a, const struct table *t, uint64_t left)
{
    uint64_t topped = load_relaxed(&t->topped);
    return a->cache && topped != 0 && left + evictions(t).begin < topped;
}

/* What was evicted, and whether there is room, are sums: in a cache, where low tickets tell
 * nothing, they are looked at now and then. */
static bool is_time_to_look(const struct arena *a, const struct table *t, uint64_t left)
{
    return !a->cache || purge_is_due(a, t) || left % LOOK_TICKETS < TICKETS_BATCH;
}

/* Claim the table after @root, or take some of its memory, or start with it. */
static void prepare(const struct participant *p, struct resizer *z, uint64_t root, uint64_t left,
                    uint64_t bytes)
{
    const struct arena *a = p->arena;
    struct table *t = table_of(a, root);
    if (z->prepared == NULL && is_time_to_look(a, t, left) && !somebody_prepares(a)) {
        leave_room(a, t, left);
        if (is_low(t, left) || purge_is_due(a, t))
            claim_ahead(p, z, t); /* without memory it is for who needs it to make some */
    }
    if (z->prepared != NULL && !z->ready && table_take(a, z->prepared, bytes, &z->ready) != 0)
        resize_drop_prepared(p, z);
    if (z->prepared == NULL || !z->ready)
        return;
    /* One of the same size begins with as many tickets as are left, and all slots must be moved
     * before they are gone; nor is anything gained by waiting with memory that others want. */
    bool purges = z->prepared->slots == t->slots && load_relaxed(&t->wanted) != 0;
    uint64_t low = purges ? preparation(t).end : table_quota(t->slots) / 16;
    if (left < low || purge_is_due(a, t))
        resize_start(p, z, root);
}

void resize_prepare(const struct participant *p, struct resizer *z, uint64_t bytes)
{
    const struct arena *a = p->arena;
    epoch_tick(a); /* tombstones of epochs before G can be dropped: without a keeper, who else? */
    uint64_t outer = epoch_enter(p);
    resize_forget_taken(p, z);
    uint64_t root = table_root(a);
    struct table *t = table_of(a, root);
    uint64_t word = load_acquire(&t->tickets);
    uint64_t left = word & TICKETS_COUNT;
    bool closed = (word & TICKETS_CLOSED) != 0;
    if (!closed && (is_low(t, left) || evicts_ahead(a, t, left) || purge_is_due(a, t)))
        prepare(p, z, root, left, bytes);
    else if (z->prepared != NULL) /* somebody else started, maybe has finished since */
        resize_drop_prepared(p, z);
    epoch_exit(p, outer);
}

/* ---- to be rid of tombstones, and smaller -------------------------------------------------- */

/* All memory may have gone to segments, be they free: some of these make room. */
static void start_purge(const struct participant *p, struct resizer *z, uint64_t root)
{
    uint64_t bytes = table_bytes(table_of(p->arena, root)->slots);
    epoch_poll(p->arena);
    if (resize_start(p, z, root) == SHMKV_ENOSPC && segment_punch(p, bytes) != 0)
        resize_start(p, z, root);
}

/* Start a resize if more than a 2^@shift-th of the slots were made tombstones since the last. */
static void purge(const struct participant *p, struct resizer *z, unsigned shift)
{
    const struct arena *a = p->arena;
    uint64_t outer = epoch_enter(p);
    uint64_t root = table_root(a);
    struct table *t = table_of(a, root);
    uint64_t word = load_acquire(&t->tickets);
    bool due = (word & TICKETS_CLOSED) == 0 && resize_purgeable(a, t) > t->slots >> shift;
    if (due && a->cache) { /* which has to evict for its memory before */
        leave_room(a, t, word & TICKETS_COUNT);
        prepare(p, z, root, word & TICKETS_COUNT, PUNCH_STEP);
    } else if (due) {
        start_purge(p, z, root);
    }
    epoch_exit(p, outer);
}

void resize_purge(const struct participant *p, struct resizer *z)
{
    purge(p, z, p->arena->cache ? PURGE_CACHE_SHIFT : PURGE_SHIFT);
}

void resize_purge_urgent(const struct participant *p, struct resizer *z)
{
    z->urgent = true;
    purge(p, z, PURGE_URGENT_SHIFT);
    z->urgent = false;
}

/*
 * A table that is filled, if only by tombstones, up to what half of it could not hold is followed
 * by one of its own size (see resize_next_slots); that one is smaller only if it gives up anything.
 */
bool resize_shrink(const struct participant *p, struct resizer *z)
{
    const struct arena *a = p->arena;
    uint64_t outer = epoch_enter(p);
    struct table *t = table_of(a, table_root(a));
    bool open = (load_acquire(&t->tickets) & TICKETS_CLOSED) == 0;
    bool large = t->slots > TABLE_MIN_SLOTS && load_relaxed(&t->generation) > 1 &&
                 resize_load(a).keys < t->slots / 16 * 3 / 2;
    if (open && large &&
        (resize_next_slots(a, t) < t->slots || resize_purgeable(a, t) > t->slots / 16)) {
        epoch_poll(a);
        z->urgent = true;
        resize_start(p, z, table_root(a));
        z->urgent = false;
    }
    bool running = resize_advancing(a, z);
    epoch_exit(p, outer);
    return running;
}
