/* SPDX-License-Identifier: MIT */
/* resize.c - see resize.h for the protocol and its invariants. */
#include "resize.h"

#include <string.h>

#include "hash.h"
#include "point.h"
#include "record.h"
#include "segment.h"
#include "shmkv.h"

#define PREFETCH_AHEAD 16u
#define SHORT_KEY 36u
#define QUICK_SLOTS (1u << 20)      /* smaller tables grow fourfold: keys are moved half as often */
#define QUICK_SLOTS_HELD (1u << 16) /* where it is not keys that fill them */
#define PURGE_SHIFT 3         /* tombstones in an eighth of the slots cost more than a resize */
#define PURGE_CACHE_SHIFT 2   /* in a cache, where they take no room in the log, in a quarter */
#define PURGE_URGENT_SHIFT 10 /* where room is short: their keys may be long */
#define TAKE_STEP (1u << 20)
#define PUNCH_STEP (1u << 20)
#define SHARE_MOST 16384u /* slots that one write moves at most; a few milliseconds */

/* ---- one slot ------------------------------------------------------------------------------ */

static const struct record *record_of(const struct arena *a, uint64_t word)
{
    return arena_at(a, slot_offset(word));
}

/* As index_in_log(), which is above us; and the key, of whatever length, ends in the mapping. */
static bool in_log(const struct arena *a, uint64_t word)
{
    uint64_t at = slot_offset(word) - a->log_offset;
    return at <= a->log_bytes - sizeof(struct record) &&
           at + record_size(record_of(a, word)) <= a->log_bytes;
}

/* The record that a tombstone says to have superseded was the first of its key, and is gone. */
static bool origin_gone(const struct arena *a, const struct record *r)
{
    struct record_origin o = record_origin(r);
    if (o.segment >= a->sb->segment_count) /* SEGMENT_NONE too */
        return false;
    /* acquire: a later life's incarnation is there before its state is seen to be in use */
    const struct segment *s = segment_at(a, o.segment);
    unsigned kind = claim_kind(load_acquire(&s->state)); /* pairs with segment.c, begin_life [S3] */
    return kind == SEGMENT_HOLE || kind == SEGMENT_FREE || kind == SEGMENT_PUNCHING ||
           kind == SEGMENT_RUN_REST || load_relaxed(&s->incarnation) != o.incarnation;
}

/* R18: nothing older of the key can come back.  Without an image the horizon is no limit. */
static bool droppable(const struct arena *a, const struct record *r)
{
    uint64_t epoch = record_epoch_of(r->version);
    if (r->type != RECORD_TOMBSTONE || epoch >= epoch_now(a))
        return false;
    return epoch < load_seq_cst(&a->sb->horizon) || origin_gone(a, r); /* [S4] */
}

static bool same_key(const struct record *r, const struct record *other)
{
    return r->klen == other->klen && memcmp(record_key(r), record_key(other), r->klen) == 0;
}

/*
 * Look at one candidate slot of T'; true if the mover's work is done.  @s: its slot of T, which
 * held @word.
 */
static bool place_at(const struct arena *a, _Atomic uint64_t *d, const _Atomic uint64_t *s,
                     uint64_t word)
{
    const struct record *r = record_of(a, word);
    uint64_t x = load_acquire(d); /* of EVICTED: shows MOVED in T; pairs with index_evict [I1] */
    /* release: T' shows the record only to those who see its bytes, as the first publication did;
     * a failed CAS saw another mover or inserter fill it: look again */
    if (x == SLOT_EMPTY && cas_acq_rel(d, &x, word & ~SLOT_FROZEN))
        return true;
    if (slot_tag_of(x) == SLOT_TAG_MOVED_EMPTY)
        return true; /* INV-R2 */
    if (slot_tag_of(x) != slot_tag_of(word))
        return false;
    if (unlikely(slot_is_evicted(x))) {
        POINT("move.evicted");
        return load_acquire(s) != word; /* INV-R5 */
    }
    return slot_is_gone(x) || (x & SLOT_FROZEN) != 0 ||
           (in_log(a, x) && same_key(record_of(a, x), r));
}

/* Copy the frozen @word of @s into T' unless the key is there.  False: T' is full (INV-R4). */
static bool place(const struct arena *a, struct table *to, const _Atomic uint64_t *s, uint64_t word)
{
    const struct record *r = record_of(a, word);
    uint64_t hash = hash_key(record_key(r), r->klen, &a->hash_secret);
    uint64_t buckets = table_buckets(to);
    unsigned first = table_first_slot(to, hash);
    uint64_t b = table_home(to, hash);
    for (uint64_t n = 0; n < buckets; n++, b = (b + 1) & (buckets - 1)) {
        _Atomic uint64_t *bucket = table_bucket(a, to, b);
        unsigned m = bucket_rotate(bucket_match(bucket, slot_tag(hash)), first);
        for (; m != 0; m &= m - 1) {
            if (place_at(a, &bucket[bucket_slot(m, first)], s, word))
                return true;
        }
    }
    return false;
}

uint64_t resize_move_slot(const struct participant *p, struct table *t, _Atomic uint64_t *s)
{
    const struct arena *a = p->arena;
    for (;;) { /* each round sees the slot nearer to its end, or a writer made progress */
        uint64_t word = load_acquire(s);
        if (slot_is_terminal(word))
            return word;
        if (word == SLOT_EMPTY) {
            cas_acq_rel(s, &word, SLOT_MOVED_EMPTY);
        } else if (slot_is_evicted(word)) {
            if (cas_acq_rel(s, &word, slot_dropped(word)))
                stat_add(p, STAT_tombstones_dropped, 1);
        } else if (unlikely(!in_log(a, word))) {
            return word; /* scribbled (R3): never finished, rather than followed */
        } else if ((word & SLOT_FROZEN) != 0) {
            POINT("move.placing");
            if (unlikely(!place(a, table_of(a, load_acquire(&t->next)), s, word)))
                return word; /* a damaged table: rather never finish than lose the key */
            POINT("move.placed");
            /* Plain: a frozen word becomes this and nothing else, whoever does it.  Release: who is
             * sent on to T' finds the copy there; pairs with the probes [I1] */
            store_release(s, slot_moved(word));
            stat_add(p, STAT_slots_moved, 1);
        } else if (droppable(a, record_of(a, word))) {
            bool counted = record_is_weightless(a, record_of(a, word));
            uint64_t bytes = counted ? 0 : record_size(record_of(a, word));
            record_mark_published(record_of(a, word)); /* its writer may be dead and undecided */
            if (cas_acq_rel(s, &word, slot_dropped(word))) {
                stat_add(p, STAT_tombstones_dropped, 1);
                segment_add_dead(a, slot_offset(word), bytes);
            }
        } else {
            cas_acq_rel(s, &word, word | SLOT_FROZEN);
            POINT("move.frozen");
        }
    }
}

/* ---- chunks -------------------------------------------------------------------------------- */

static uint64_t chunk_slots(const struct table *t)
{
    return min_u64(TABLE_CHUNK_SLOTS, t->slots);
}

/* The records of neighbours lie anywhere: overlap their cache misses. */
static void prefetch_record(const struct arena *a, const struct table *t, uint64_t slot)
{
    if (slot >= t->slots)
        return;
    uint64_t word = load_relaxed(&table_slots(a, t)[slot]); /* a hint */
    if (!slot_is_record(word))
        return;
    const char *record = (const char *)record_of(a, word); /* header and a short key: two lines */
    __builtin_prefetch(record);
    __builtin_prefetch(record + sizeof(struct record) + SHORT_KEY - 1);
}

static void move_next(const struct participant *p, struct resizer *z, struct table *t,
                      uint64_t slot)
{
    prefetch_record(p->arena, t, slot + PREFETCH_AHEAD);
    uint64_t word = resize_move_slot(p, t, &table_slots(p->arena, t)[slot]);
    z->chunk_moved += slot_is_moved(word);
    z->chunk_stuck |= !slot_is_terminal(word);
}

static void chunk_done(const struct arena *a, struct table *t, uint64_t chunk, uint32_t moved)
{
    POINT("move.chunk");
    /* release: who sums the words comes after the slots became terminal; pairs with moved_slots */
    store_release(&table_chunk_words(a, t)[chunk], moved + 1); /* [R1] */
}

static void begin_chunk(struct resizer *z, uint64_t ref, uint64_t chunk)
{
    z->chunk_ref = ref;
    z->chunk = chunk;
    z->chunk_slot = 0;
    z->chunk_moved = 0;
    z->chunk_stuck = false;
}

/* Up to @slots slots of our chunk; returns how many were moved. */
static uint64_t advance_chunk(const struct participant *p, struct resizer *z, struct table *t,
                              uint64_t slots)
{
    uint64_t end = min_u64(z->chunk_slot + slots, chunk_slots(t));
    uint64_t n = end - z->chunk_slot;
    for (; z->chunk_slot < end; z->chunk_slot++)
        move_next(p, z, t, z->chunk * TABLE_CHUNK_SLOTS + z->chunk_slot);
    if (end == chunk_slots(t)) {
        if (likely(!z->chunk_stuck))
            chunk_done(p->arena, t, z->chunk, z->chunk_moved);
        z->chunk_ref = 0;
    }
    return n;
}

/* Do over what others took and have not finished; sums the plain MOVED slots of all chunks. */
static bool finish_chunks(const struct participant *p, struct table *t, uint64_t *sum)
{
    const struct arena *a = p->arena;
    struct resizer own = {.chunk_ref = 0};
    uint64_t moved = 0;
    for (uint64_t c = 0; c < t->chunks; c++) {
        uint32_t word = load_acquire(&table_chunk_words(a, t)[c]); /* pairs with chunk_done [R1] */
        if (word == 0) {
            begin_chunk(&own, table_ref(a, t), c);
            advance_chunk(p, &own, t, TABLE_CHUNK_SLOTS);
            word = load_acquire(&table_chunk_words(a, t)[c]);
            if (word == 0)
                return false;
        }
        moved += word - 1;
    }
    *sum = moved;
    return true;
}

/* ---- finish -------------------------------------------------------------------------------- */

struct load {
    uint64_t keys, tombstones;
};

/* Best effort: policy only. */
static struct load index_load(const struct arena *a)
{
    uint64_t sums[STAT_COUNT];
    stats_sum(a, sums);
    struct load l = {
        .keys = sums[STAT_keys_added] - sums[STAT_keys_removed],
        .tombstones = sums[STAT_tombstones_added] - sums[STAT_tombstones_dropped],
    };
    l.keys = (int64_t)l.keys < 0 ? 0 : l.keys;
    l.tombstones = (int64_t)l.tombstones < 0 ? 0 : l.tombstones;
    return l;
}

/* T' gets the tickets that its movers did not need, once: whoever comes second sees TOPPED. */
static void top_up(const struct arena *a, struct table *to, uint64_t moved)
{
    uint64_t word = load_acquire(&to->tickets);
    while ((word & (TICKETS_CLOSED | TICKETS_TOPPED)) == 0) {
        uint64_t r = word + to->bound - moved;
        /* policy only; before the CAS, so that no death leaves a topped table without them */
        store_relaxed(&to->topped, r + 1);
        store_relaxed(&to->tombstones, index_load(a).tombstones);
        if (cas_acq_rel(&to->tickets, &word, r | TICKETS_TOPPED))
            POINT("resize.topped");
    }
}

/* Finish the resize of @ref.  Inside a section, root was @ref in it, its next is set. */
static void finish(const struct participant *p, uint64_t ref)
{
    const struct arena *a = p->arena;
    struct table *t = table_of(a, ref);
    uint64_t next = load_acquire(&t->next);
    uint64_t moved;
    if (!finish_chunks(p, t, &moved) || table_root(a) != ref)
        return; /* damaged, or done by others */
    top_up(a, table_of(a, next), moved);
    POINT("resize.finishing");
    /* release [T1]; generation in the word: a stalled finisher changes nothing two tables later */
    if (cas_seq_cst(&a->sb->root, &ref, next)) {
        stat_add(p, STAT_resizes, 1);
        POINT("resize.rooted");
    }
    table_retire_old(a);
}

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

static uint64_t filled_bound(const struct table *t)
{
    return table_quota(t->slots) - (load_acquire(&t->tickets) & TICKETS_COUNT);
}

/* The last resize gave hardly any tickets: the next table must be larger. */
static bool starved(const struct table *t)
{
    uint64_t topped = load_relaxed(&t->topped);
    return topped != 0 && topped < table_quota(t->slots) / 4;
}

/* Tombstones made since the table began: older ones, and miscounts of the dead, do not return. */
static uint64_t purgeable(const struct arena *a, const struct table *t)
{
    uint64_t now = index_load(a).tombstones;
    return now - min_u64(now, load_relaxed(&t->tombstones));
}

/*
 * Somebody stands still in a section, or over a claimed area: tables that went are not given back.
 * Larger ones then take fewer areas, so that it is memory that runs out in the end.
 */
static bool areas_are_held(const struct arena *a)
{
    unsigned spare = 0;
    for (unsigned i = 0; i < TABLE_AREAS; i++)
        spare += load_relaxed(&a->tables[i].state) == TABLE_FREE; /* policy only */
    return spare < TABLE_AREAS / 2;
}

/*
 * With so many keys the next table must be larger.  A cache, which pays for a large index by keys
 * that it evicts, and which resizes for ever, has it filled as far as makes two moves for a put.
 */
static uint64_t most_keys(const struct arena *a, uint64_t slots)
{
    return slots / 16 * (a->cache ? 10 : 7);
}

/* How large the next table should be: keys fill 3/16 to 7/16 of it when it begins. */
static uint64_t next_slots(const struct arena *a, const struct table *t)
{
    uint64_t keys = index_load(a).keys;
    uint64_t slots = t->slots;
    bool full = starved(t) && purgeable(a, t) < table_quota(slots) / 4;
    bool held = areas_are_held(a);
    bool many = keys >= most_keys(a, slots);
    if (full || held || many)
        slots *= slots < (many && !held ? QUICK_SLOTS : QUICK_SLOTS_HELD) && !a->cache ? 4 : 2;
    while (!held && slots > TABLE_MIN_SLOTS && keys < slots / 16 * 3 / 2 &&
           table_quota(slots / 2) >= filled_bound(t) + table_quota(slots / 2) / 4)
        slots /= 2;
    return min_u64(max_u64(slots, TABLE_MIN_SLOTS), table_max_slots(a));
}

/* R14, start: T' must have room for all that T may hold, whatever T's writers still fill. */
static bool close_tickets(const struct arena *a, struct table *t, struct table *to)
{
    uint64_t word = load_acquire(&t->tickets);
    while ((word & TICKETS_CLOSED) == 0) { /* a failed CAS saw r change: B is computed anew */
        uint64_t bound = table_quota(t->slots) - (word & TICKETS_COUNT);
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

/*
 * Growing leaves what deletes and the cleaner need, or it would wedge the store.  A purge may use
 * their reserve: it needs no segment to finish, and gives back as much as it took.
 */
static int claim(const struct participant *p, struct resizer *z, const struct table *t,
                 uint64_t slots)
{
    struct segment_census c;
    z->lacks_growth = slots > t->slots;
    z->lacks = table_bytes(slots);
    z->refused = 0;
    int rc = table_claim(p, slots, &z->prepared);
    if (rc != 0)
        return rc;
    segment_count(p->arena, &c);
    if (!z->lacks_growth || segment_allowed(&c, SEGMENT_FOR_PUT))
        return 0;
    table_unclaim_owner(p, z->prepared);
    z->prepared = NULL;
    return SHMKV_ENOSPC;
}

/* The table we should like, or the smallest that gives tickets. */
static int claim_next(const struct participant *p, struct resizer *z, const struct table *t)
{
    uint64_t slots = next_slots(p->arena, t);
    bool purges = z->urgent || purgeable(p->arena, t) >= table_quota(t->slots) / 8;
    bool crowded = p->arena->cache && slots > t->slots; /* it is for evictions to make room */
    uint64_t least = purges && !crowded ? t->slots : 2 * t->slots;
    z->ready = false;
    z->prepared = NULL;
    if (slots == t->slots && starved(t) && !purges) {
        z->lacks = 0;
        return SHMKV_ENOSPC; /* the largest table there is, and it is full */
    }
    int rc = claim(p, z, t, slots);
    while (rc == SHMKV_ENOSPC && slots / 2 >= least) {
        slots /= 2;
        rc = claim(p, z, t, slots);
    }
    return rc;
}

/* Ahead of need nothing may use the reserve: it would be missing until the table is filled. */
static void claim_ahead(const struct participant *p, struct resizer *z, const struct table *t)
{
    struct segment_census c;
    bool wanted = load_relaxed(&t->wanted) != 0;
    segment_count(p->arena, &c);
    if (wanted && c.available <= c.reserve + (table_bytes(t->slots) >> p->arena->segment_shift))
        return; /* puts are at it */
    if (claim_next(p, z, t) != 0) {
        uint64_t lacks = segment_memory(p->arena) + table_bytes(t->slots);
        lacks -= min_u64(lacks, load_relaxed(&p->arena->sb->size));
        if (wanted && lacks != 0) /* all memory may have gone to segments, be they free */
            segment_punch(p, min_u64(lacks, PUNCH_STEP));
        return;
    }
    segment_count(p->arena, &c);
    bool spared = wanted || p->arena->cache; /* a cache has that much set apart */
    if (c.available > segment_kept(&c, SEGMENT_FOR_PUT) || (spared && !z->lacks_growth))
        return;
    table_unclaim_owner(p, z->prepared);
    z->prepared = NULL;
}

/* Idle, we may have lost what we had claimed (INV-T3).  At the beginning of a section. */
static void forget_what_was_taken(const struct participant *p, struct resizer *z)
{
    if (z->prepared != NULL && !table_claimed_owner(p, z->prepared))
        z->prepared = NULL;
}

/* A table with its memory; or without, if somebody else has started meanwhile. */
static int get_prepared(const struct participant *p, struct resizer *z, const struct table *t)
{
    forget_what_was_taken(p, z);
    if (z->prepared != NULL && z->prepared->slots < t->slots) {
        table_unclaim_owner(p, z->prepared); /* made when the table was smaller */
        z->prepared = NULL;
    }
    if (z->prepared == NULL) {
        int rc = claim_next(p, z, t);
        if (rc != 0)
            return rc;
    }
    int rc = 0;
    while (rc == 0 && !z->ready && (load_acquire(&t->tickets) & TICKETS_CLOSED) == 0)
        rc = table_take(p->arena, z->prepared, TAKE_STEP, &z->ready);
    if (rc != 0) {
        z->refused = rc == SHMKV_ENOSPC ? table_bytes(z->prepared->slots) : 0;
        table_unclaim_owner(p, z->prepared);
        z->prepared = NULL;
    }
    return rc;
}

/* Start a resize of the root @ref.  Inside a section, after root == @ref was seen in it. */
static int start(const struct participant *p, struct resizer *z, uint64_t ref)
{
    const struct arena *a = p->arena;
    struct table *t = table_of(a, ref);
    int rc = get_prepared(p, z, t);
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
        }
    } else {
        rc = start(p, z, root);
    }
    epoch_exit(p, outer);
    return rc;
}

/* How many records will fit until somebody has to clean; about. */
static uint64_t records_that_fit(const struct arena *a)
{
    struct segment_census c;
    segment_count(a, &c);
    uint64_t kept = segment_kept(&c, SEGMENT_FOR_PUT);
    uint64_t spare = c.available > kept ? c.available - kept : 1;
    return (spare << a->segment_shift) / (c.live / (index_load(a).keys + 1) + 1);
}

/*
 * How many slots each write has to move, lest the last ticket of T' meets a resize that goes on:
 * who asks for it then would have to do all the rest at once.  Nor should the log be full before,
 * if puts had to leave memory for this: there is no room then but that of the old table.
 */
static uint64_t fair_share(const struct arena *a, const struct table *t, uint64_t chunk)
{
    uint64_t word = load_relaxed(&table_of(a, load_acquire(&t->next))->tickets); /* policy */
    uint64_t left = word & TICKETS_COUNT;
    if ((word & (TICKETS_CLOSED | TICKETS_TOPPED)) != 0)
        return 0;
    if (load_relaxed(&t->wanted) != 0)
        left = min_u64(left, records_that_fit(a));
    return min_u64((t->chunks - chunk) * TABLE_CHUNK_SLOTS * 2 / (left + 1), SHARE_MOST);
}

/* False: there are no more; the resize of @ref is finished as far as that is our part. */
static bool next_chunk(const struct participant *p, struct resizer *z, uint64_t ref)
{
    struct table *t = table_of(p->arena, ref);
    uint64_t c = add_relaxed(&t->cursor, 1); /* only divides work */
    if (c >= t->chunks) {
        finish(p, ref);
        return false;
    }
    begin_chunk(z, ref, c);
    z->chunk_share = fair_share(p->arena, t, c);
    return true;
}

void resize_help(const struct participant *p, struct resizer *z, uint64_t slots)
{
    const struct arena *a = p->arena;
    uint64_t root = table_root(a);
    struct table *t = table_of(a, root);
    if (load_acquire(&t->next) == 0)
        return;
    if (z->chunk_ref == root || next_chunk(p, z, root))
        slots = max_u64(slots, z->chunk_share);
    else
        slots = 0;
    while (slots != 0) {
        slots -= advance_chunk(p, z, t, slots);
        if (slots != 0 && z->chunk_ref != root && !next_chunk(p, z, root))
            slots = 0;
    }
}

void resize_finish(const struct participant *p)
{
    const struct arena *a = p->arena;
    uint64_t outer = epoch_enter(p);
    uint64_t root = table_root(a);
    struct table *t = table_of(a, root);
    show_next(a, t);
    if (load_acquire(&t->next) != 0)
        finish(p, root);
    epoch_exit(p, outer);
}

/* ---- policy -------------------------------------------------------------------------------- */

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
static void leave_room(const struct arena *a, struct table *t, uint64_t left)
{
    struct span s = preparation(t);
    uint64_t bytes = table_bytes(t->slots), wanted = 0;
    if (!a->cache && left < s.begin && purgeable(a, t) > (s.begin - left) / 2)
        wanted = left <= s.end ? bytes : bytes / (s.begin - s.end) * (s.begin - left);
    store_relaxed(&t->wanted, wanted); /* relaxed: policy */
}

/* Claim the table after @root, or take some of its memory, or start with it. */
static void prepare(const struct participant *p, struct resizer *z, uint64_t root, uint64_t left,
                    uint64_t bytes)
{
    const struct arena *a = p->arena;
    struct table *t = table_of(a, root);
    if (z->prepared == NULL && !somebody_prepares(a)) {
        leave_room(a, t, left);
        claim_ahead(p, z, t); /* without memory it is for who needs it to make some */
    }
    if (z->prepared != NULL && !z->ready && table_take(a, z->prepared, bytes, &z->ready) != 0) {
        table_unclaim_owner(p, z->prepared);
        z->prepared = NULL;
    }
    if (z->prepared == NULL || !z->ready)
        return;
    /* One of the same size begins with as many tickets as are left, and all slots must be moved
     * before they are gone; nor is anything gained by waiting with memory that others want. */
    bool purges = z->prepared->slots == t->slots && load_relaxed(&t->wanted) != 0;
    uint64_t low = purges ? preparation(t).end : table_quota(t->slots) / 16;
    if (left < low)
        start(p, z, root);
}

void resize_prepare(const struct participant *p, struct resizer *z, uint64_t bytes)
{
    const struct arena *a = p->arena;
    epoch_tick(a); /* tombstones of epochs before G can be dropped: without a keeper, who else? */
    uint64_t outer = epoch_enter(p);
    forget_what_was_taken(p, z);
    uint64_t root = table_root(a);
    struct table *t = table_of(a, root);
    uint64_t word = load_acquire(&t->tickets);
    uint64_t left = word & TICKETS_COUNT;
    bool closed = (word & TICKETS_CLOSED) != 0;
    if (!closed && left < table_quota(t->slots) / 4) {
        prepare(p, z, root, left, bytes);
    } else if (z->prepared != NULL) { /* somebody else started, maybe has finished since */
        table_unclaim_owner(p, z->prepared);
        z->prepared = NULL;
    }
    epoch_exit(p, outer);
}

/* Start a resize if more than a 2^@shift-th of the slots were made tombstones since the last. */
static void purge(const struct participant *p, struct resizer *z, unsigned shift)
{
    const struct arena *a = p->arena;
    uint64_t outer = epoch_enter(p);
    uint64_t root = table_root(a);
    struct table *t = table_of(a, root);
    bool idle = (load_acquire(&t->tickets) & TICKETS_CLOSED) == 0;
    if (idle && purgeable(a, t) > t->slots >> shift) {
        epoch_poll(a);
        /* All memory may have gone to segments, be they free: some of these make room. */
        if (start(p, z, root) == SHMKV_ENOSPC && segment_punch(p, table_bytes(t->slots)) != 0)
            start(p, z, root);
    }
    epoch_exit(p, outer);
}

void resize_purge(const struct participant *p, struct resizer *z)
{
    purge(p, z, p->arena->cache ? PURGE_CACHE_SHIFT : PURGE_SHIFT);
}

/*
 * A table that is filled, if only by tombstones, up to what half of it could not hold is followed
 * by one of its own size (see next_slots); that one is smaller only if it gives up anything.
 */
bool resize_shrink(const struct participant *p, struct resizer *z)
{
    const struct arena *a = p->arena;
    uint64_t outer = epoch_enter(p);
    struct table *t = table_of(a, table_root(a));
    bool open = (load_acquire(&t->tickets) & TICKETS_CLOSED) == 0;
    bool large = t->slots > TABLE_MIN_SLOTS && load_relaxed(&t->generation) > 1 &&
                 index_load(a).keys < t->slots / 16 * 3 / 2;
    if (open && large && (next_slots(a, t) < t->slots || purgeable(a, t) > t->slots / 16)) {
        epoch_poll(a);
        z->urgent = true;
        start(p, z, table_root(a));
        z->urgent = false;
    }
    bool running = resize_running(a);
    epoch_exit(p, outer);
    return running;
}

void resize_purge_urgent(const struct participant *p, struct resizer *z)
{
    z->urgent = true;
    purge(p, z, PURGE_URGENT_SHIFT);
    z->urgent = false;
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
