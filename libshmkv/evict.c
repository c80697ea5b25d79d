/* SPDX-License-Identifier: MIT */
/* evict.c - see evict.h. */
#include "evict.h"

#include "point.h"

#define DRAIN_BATCH 32u
#define KEEP_SHIFT 4 /* all but a 16th of a segment may be kept, INV-V3 */
#define YOUNG_FIRST 10u
#define YOUNG_LEAST 20u /* a 20th of the log; as much is always left to what is kept */
#define YOUNG_STEP 4u   /* records, for each ghost that was met */
#define SPARSE_SHIFT 3  /* with so little that is current, a segment does not wait for its turn */
/* Evicted ahead of need: what is put while a grace period, of a millisecond or two, goes by. */
#define AHEAD_LEAST 2u
#define AHEAD_MOST 8u
#define AHEAD_SHIFT 6

/* ---- hits ---------------------------------------------------------------------------------- */

int evict_join(const struct participant *p)
{
    const struct arena *a = p->arena;
    if (!a->cache || !a->readonly)
        return 0;
    uint64_t offset = SYNC_RING_OFFSET + (uint64_t)p->index * sizeof(struct hit_ring);
    int rc = arena_take_sync(a, offset, sizeof(struct hit_ring));
    /* A plain store would do for us; who looks for FENCED must find it (epoch.c) */
    if (rc == 0)
        atomic_fetch_or(&p->entry->flags, PARTICIPANT_RING);
    return rc;
}

static bool has_hash(const struct arena *a, const struct record *r, uint64_t hash)
{
    return index_fits_room(a, r) && hash_key(record_key(r), r->klen, &a->hash_secret) == hash;
}

/* Of one table.  By the whole hash: as long as another key with the same tag stood before it, none
 * of a key's hits would count. */
static const struct record *record_of_table(const struct arena *a, uint64_t ref, uint64_t hash)
{
    struct table_shape t;
    if (unlikely(!table_look(a, ref, &t)))
        return NULL;
    uint64_t home = table_shape_home(&t, hash), tag = slot_tag(hash);
    unsigned first = table_shape_first_slot(&t, hash);
    for (uint64_t n = 0; n <= t.mask; n++) {
        const _Atomic uint64_t *bucket = table_shape_bucket(&t, home + n);
        for (unsigned m = bucket_rotate(bucket_match(bucket, tag), first); m != 0; m &= m - 1) {
            uint64_t word = load_acquire(&bucket[bucket_slot(m, first)]); /* [I1] */
            if (word == SLOT_EMPTY || word == SLOT_MOVED_EMPTY)
                return NULL;
            uint64_t offset = slot_offset(word);
            if (slot_tag_of(word) == tag && slot_is_record(word) && index_in_log(a, offset) &&
                has_hash(a, arena_at(a, offset), hash))
                return arena_at(a, offset);
        }
    }
    return NULL;
}

static const struct record *record_of(const struct arena *a, uint64_t hash)
{
    uint64_t root = table_root(a);
    const struct record *r = record_of_table(a, root, hash);
    uint64_t next = load_acquire(&table_of(a, root)->next); /* it may have been moved there [T1] */
    return r == NULL && next != 0 ? record_of_table(a, next, hash) : r;
}

/* Buckets, records, marks: three passes, so that the cache misses of each overlap. */
static void mark(const struct arena *a, const uint64_t *hash, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        index_prefetch(a, hash[i]);
    for (unsigned i = 0; i < n; i++)
        index_prefetch_record(a, hash[i]);
    for (unsigned i = 0; i < n; i++) {
        const struct record *r = record_of(a, hash[i]);
        if (r != NULL)
            record_mark_read(r);
    }
}

/* Entries from @tail on. */
static void drain(const struct participant *p, const struct hit_ring *ring, uint64_t tail,
                  uint64_t head)
{
    uint64_t hash[DRAIN_BATCH];
    POINT("evict.drained");
    while (tail != head) {
        unsigned n = 0;
        while (n < DRAIN_BATCH && tail != head)
            hash[n++] = load_relaxed(&ring->entry[tail++ % RING_ENTRIES]);
        uint64_t outer = epoch_enter(p); /* slots are followed */
        mark(p->arena, hash, n);
        epoch_exit(p, outer);
    }
}

/* Returns how many entries. */
static uint64_t drain_ring(const struct participant *p, struct hit_ring *ring)
{
    uint64_t old = load_acquire(&ring->tail);  /* shows the flags as they are by then [V2] */
    uint64_t head = load_acquire(&ring->head); /* shows the entries; pairs with evict_hit [V1] */
    if (head == old)
        return 0;
    uint64_t tail = head - min_u64(head - old, RING_ENTRIES); /* before it: overwritten */
    drain(p, ring, tail, head);
    cas_acq_rel(&ring->tail, &old, head); /* [V2]; a failure: somebody else did the same */
    return head - tail;
}

uint64_t evict_drain(const struct participant *p)
{
    const struct arena *a = p->arena;
    uint32_t high = epoch_entries(a);
    uint64_t drained = 0;
    for (uint32_t i = 0; i < high; i++) {
        const struct participant_entry *entry = &a->participants[i];
        if ((load_relaxed(&entry->flags) & PARTICIPANT_RING) != 0)
            drained += drain_ring(p, &a->rings[i]);
    }
    return drained;
}

/* ---- whose turn it is ---------------------------------------------------------------------- */

/* One queue. */
struct queue {
    uint64_t bytes;
    uint64_t oldest; /* SEGMENT_NONE: nothing in it can be claimed */
    uint64_t stamp;
    uint64_t word;
};

/* Both; a segment with hardly anything current in it goes before the oldest. */
static void look(const struct arena *a, struct queue *queues)
{
    uint64_t sparse = (a->segment_mask + 1) >> SPARSE_SHIFT;
    for (uint64_t i = 0, n = segment_high(a); i < n; i++) {
        const struct segment *s = segment_at(a, i);
        uint64_t word = load_acquire(&s->state);
        unsigned kind = claim_kind(word);
        if (kind < SEGMENT_OPEN || kind > SEGMENT_RUN_HEAD)
            continue;
        uint64_t kept = load_relaxed(&s->kept);
        struct queue *q = &queues[kept != 0];
        uint64_t used = load_relaxed(&s->used);
        q->bytes += kind == SEGMENT_RUN_HEAD ? segment_span(a, i) << a->segment_shift : used;
        if (kind != SEGMENT_SEALED && kind != SEGMENT_PARTIAL && kind != SEGMENT_RUN_HEAD)
            continue;
        bool is_sparse = used > sparse && used - min_u64(used, load_relaxed(&a->dead[i])) < sparse;
        uint64_t stamp = is_sparse ? 0 : max_u64(load_relaxed(&s->incarnation), kept);
        if (used != 0 && (q->oldest == SEGMENT_NONE || stamp < q->stamp)) {
            q->oldest = i;
            q->stamp = stamp;
            q->word = word;
        }
    }
}

static uint64_t log_limit(const struct arena *a)
{
    struct segment_census c;
    segment_count(a, &c);
    return c.capacity << a->segment_shift;
}

static uint64_t clamp_young(uint64_t bytes, uint64_t limit)
{
    uint64_t least = limit / YOUNG_LEAST;
    return min_u64(max_u64(bytes, least), limit - least);
}

static uint64_t young_bytes(const struct arena *a, uint64_t limit)
{
    uint64_t bytes = load_relaxed(&a->sb->young); /* relaxed here and below: policy */
    return clamp_young(bytes != 0 ? bytes : limit / YOUNG_FIRST, limit);
}

uint64_t evict_choose(struct writer *w, struct evict_walk *walk, uint64_t *word)
{
    const struct arena *a = w->self.arena;
    struct queue queues[2] = {{.oldest = SEGMENT_NONE}, {.oldest = SEGMENT_NONE}};
    evict_drain(&w->self);
    look(a, queues);
    bool kept = queues[0].bytes < young_bytes(a, log_limit(a));
    if (queues[kept].oldest == SEGMENT_NONE)
        kept = !kept;
    const struct queue *q = &queues[kept];
    uint64_t bytes = a->segment_mask + 1;
    *walk = (struct evict_walk){.budget = bytes - (bytes >> KEEP_SHIFT), .kept = kept};
    *word = q->word;
    return q->oldest;
}

void evict_requeue(const struct arena *a, uint64_t id)
{
    store_relaxed(&segment_at(a, id)->kept, segment_stamp(a, 1)); /* relaxed: policy */
}

/* ---- ghosts -------------------------------------------------------------------------------- */

/* The top of the hash chooses the bucket; these bits, of which the tag has none, are the rest. */
static uint16_t ghost_key(uint64_t hash)
{
    uint16_t key = (uint16_t)(hash >> 16);
    return key != 0 ? key : 1; /* 0: none */
}

static struct ghosts *ghost_bucket(const struct arena *a, uint64_t hash)
{
    return &a->ghosts[(hash >> 32) * a->sb->ghosts >> 32];
}

/*
 * Of either queue, two thirds as many keys are remembered as there are records.  With more, what
 * comes once in a long time is kept; with less, a working set that has moved is noticed late.
 */
static unsigned ghost_ways(const struct arena *a)
{
    uint64_t ways = load_relaxed(&a->sb->ghost_ways); /* relaxed: policy */
    return ways - 1 < GHOST_WAYS ? (unsigned)ways : GHOST_WAYS;
}

static void add_ghost(const struct arena *a, uint64_t hash, bool kept)
{
    struct ghosts *g = ghost_bucket(a, hash);
    unsigned ways = ghost_ways(a);
    unsigned next = load_relaxed(&g->next[kept]) % ways;
    store_relaxed(&g->key[kept][next], ghost_key(hash));
    store_relaxed(&g->next[kept], (uint8_t)((next + 1) % ways));
}

/* Take the key's ghost of that queue away, if it has one. */
static bool take_ghost(const struct arena *a, uint64_t hash, bool kept)
{
    struct ghosts *g = ghost_bucket(a, hash);
    uint16_t key = ghost_key(hash);
    for (unsigned i = 0, ways = ghost_ways(a); i < ways; i++) {
        if (load_relaxed(&g->key[kept][i]) == key) {
            store_relaxed(&g->key[kept][i], 0);
            return true;
        }
    }
    return false;
}

/* A key came back that was evicted: its queue should have been longer. */
static void learn(const struct arena *a, bool kept, uint64_t bytes)
{
    uint64_t limit = log_limit(a), young = young_bytes(a, limit);
    uint64_t step = min_u64(bytes * YOUNG_STEP, young); /* young is never all: it cannot wrap */
    store_relaxed(&a->sb->young, clamp_young(kept ? young - step : young + step, limit));
}

/* Did the key come back while it was remembered?  Only what was put of late is asked about. */
static bool came_back(const struct arena *a, uint64_t hash, uint64_t bytes)
{
    for (unsigned kept = 0; kept < 2; kept++) {
        if (take_ghost(a, hash, kept)) {
            learn(a, kept, bytes);
            return true;
        }
    }
    return false;
}

void evict_walked(const struct arena *a, const struct evict_walk *walk)
{
    if (walk->pairs == 0 || a->sb->ghosts == 0)
        return;
    uint64_t records = walk->pairs * (log_limit(a) >> a->segment_shift);
    uint64_t ways = min_u64(max_u64(records * 2 / (a->sb->ghosts * 3), 1), GHOST_WAYS);
    uint64_t old = ghost_ways(a);
    store_relaxed(&a->sb->ghost_ways, ways < old ? old - 1 : min_u64(old + 1, ways));
}

/* ---- keep or evict ------------------------------------------------------------------------- */

static bool is_over(const struct arena *a, const struct record *r)
{
    return r->type != RECORD_PAIR || (record_expires(r) && record_expiry(r) <= arena_clock(a));
}

static bool is_current(const struct writer *w, const struct record *r, uint64_t hash)
{
    struct index_key k = {.data = record_key(r), .size = r->klen, .hash = hash};
    bool damaged = false;
    uint64_t outer = epoch_enter(&w->self);
    const struct record *found = index_lookup(w->self.arena, &k, &damaged);
    epoch_exit(&w->self, outer);
    return found == r;
}

bool evict_keeps(struct writer *w, struct evict_walk *walk, const struct record *r)
{
    const struct arena *a = w->self.arena;
    uint64_t hash = hash_key(record_key(r), r->klen, &a->hash_secret);
    if (is_over(a, r) || !is_current(w, r, hash))
        return false;
    bool hit = !record_is_unread(r);
    bool back = !walk->kept && came_back(a, hash, record_size(r));
    walk->pairs++;
    if ((!hit && !back) || record_size(r) > walk->budget)
        return false;
    walk->budget -= record_size(r);
    return true;
}

int evict_record(struct writer *w, const struct evict_walk *walk, const struct record *r,
                 uint64_t word)
{
    const struct arena *a = w->self.arena;
    bool pair = !is_over(a, r);
    uint64_t hash = hash_key(record_key(r), r->klen, &a->hash_secret);
    int rc = index_evict(w, (uint64_t)((const char *)r - a->base), word);
    if (rc == INDEX_EVICTED && pair)
        add_ghost(a, hash, walk->kept);
    return rc;
}

/* ---- how much ------------------------------------------------------------------------------ */

bool evict_enough(const struct arena *a, uint64_t run, uint64_t table)
{
    struct segment_census c;
    segment_count(a, &c);
    uint64_t ahead = min_u64(max_u64(AHEAD_LEAST, c.capacity >> AHEAD_SHIFT), AHEAD_MOST);
    c.table = max_u64(c.table, table);
    return c.available + c.limbo >= segment_kept(&c, SEGMENT_FOR_PUT) + ahead + run;
}
