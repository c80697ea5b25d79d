/* SPDX-License-Identifier: MIT */
/* segment_census.c - how much there is of what, and who may have some of it; see segment.h. */
#include "segment.h"

#define RESERVE_MIN 4u
#define TOMBSTONE_RESERVE 2u
#define TABLE_MARGIN 3u /* for puts while the slots are moved, beside the memory of a table */
#define RESERVE_SHIFT 9 /* a 512th of the segments is kept for the cleaner */
/* Of what the limit leaves for records; a little more than the nine tenths that are promised. */
#define ADMITTED_PERCENT 92u

static uint64_t index_memory(const struct arena *a)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < TABLE_AREAS; i++)
        bytes += load_seq_cst(&a->tables[i].taken); /* after table_claim counted its own [INV-S2] */
    return bytes;
}

static uint64_t largest_table(const struct arena *a)
{
    uint64_t largest = 0;
    for (unsigned i = 0; i < TABLE_AREAS; i++)
        largest = max_u64(largest, load_relaxed(&a->tables[i].taken));
    return largest;
}

/* What a table as large as the largest needs, so that tombstones and lost tickets come back. */
static uint64_t index_headroom(const struct arena *a)
{
    uint64_t largest = largest_table(a), all = index_memory(a);
    return all < 2 * largest ? 2 * largest - all : 0;
}

/* How much of that puts leave alone already, see resize_prepare(). */
static uint64_t index_wanted(const struct arena *a)
{
    uint64_t root = load_relaxed(&a->sb->root); /* relaxed, both: policy */
    return min_u64(load_relaxed(&a->tables[root % TABLE_AREAS].wanted), index_headroom(a));
}

/*
 * What is admitted leaves room for one more table as large as the present one; it is the same
 * whether that is there or not, or a resize would stop the puts that move its slots.
 */
static uint64_t admitted_bytes(const struct arena *a, const struct segment_census *c)
{
    uint64_t size = load_relaxed(&a->sb->size);
    uint64_t rest = arena_fixed_bytes(a) + largest_table(a);
    uint64_t table = (index_headroom(a) + a->segment_mask) >> a->segment_shift;
    uint64_t spare = c->reserve + c->removals + 1 + table;
    uint64_t most = c->capacity > spare ? c->capacity - spare : 0;
    uint64_t log = size > rest ? size - rest : 0;
    return min_u64(most << a->segment_shift, log / 100 * ADMITTED_PERCENT);
}

static uint64_t run_bytes(const struct arena *a, uint64_t id)
{
    return segment_span(a, id) << a->segment_shift;
}

static void count_kind(const struct arena *a, struct segment_census *c, uint64_t id, unsigned kind)
{
    c->kinds[kind]++;
    c->limbo += kind == SEGMENT_LIMBO ? segment_span(a, id) : 0;
}

/* What few are. */
static void count_other(const struct arena *a, struct segment_census *c, uint64_t id, unsigned kind)
{
    const struct segment *s = segment_at(a, id);
    count_kind(a, c, id, kind);
    c->taken += load_relaxed(&s->taken);
    if (kind == SEGMENT_OPENING || kind == SEGMENT_PINNED)
        c->begun += segment_span(a, id);
    if (kind < SEGMENT_OPEN || kind >= SEGMENT_LIMBO)
        return;
    uint64_t all = run_bytes(a, id);
    uint64_t used = min_u64(load_relaxed(&s->used), all); /* R3: else the store would be full */
    c->used += used;
    c->live += used - min_u64(used, load_relaxed(&a->dead[id]));
    if (kind == SEGMENT_OPEN)
        c->room += segment_size(a) - min_u64(used, segment_size(a));
    if (kind == SEGMENT_RUN_HEAD)
        c->waste += all - used;
}

/* What nearly all are in registers: a put that opens a segment waits for this. */
static void count_all(const struct arena *a, struct segment_census *c)
{
    uint64_t sealed = 0, used = 0, live = 0, taken = 0;
    uint64_t n = segment_high(a);
    for (uint64_t id = 0; id < n; id++) {
        const struct segment *s = segment_at(a, id);
        unsigned kind = claim_kind(load_seq_cst(&s->state)); /* [INV-S2] */
        if (unlikely(kind != SEGMENT_SEALED)) {
            count_other(a, c, id, kind);
            continue;
        }
        uint64_t bytes = min_u64(load_relaxed(&s->used), segment_size(a)); /* R3 */
        sealed++;
        used += bytes;
        live += bytes - min_u64(bytes, load_relaxed(&a->dead[id]));
        taken += load_relaxed(&s->taken);
    }
    c->high = n;
    c->kinds[SEGMENT_SEALED] = sealed;
    c->used += used;
    c->live += live;
    c->taken += taken;
}

static void count_kinds(const struct arena *a, struct segment_census *c)
{
    uint64_t sealed = 0;
    uint64_t n = segment_high(a);
    for (uint64_t id = 0; id < n; id++) {
        unsigned kind = claim_kind(load_seq_cst(&segment_at(a, id)->state)); /* [INV-S2] */
        if (likely(kind == SEGMENT_SEALED))
            sealed++;
        else
            count_kind(a, c, id, kind);
    }
    c->high = n;
    c->kinds[SEGMENT_SEALED] = sealed;
}

/* What is available, and for what, by the kinds. */
static void divide(const struct arena *a, struct segment_census *c)
{
    uint64_t backed = c->high - c->kinds[SEGMENT_HOLE];
    uint64_t other = arena_fixed_bytes(a) + index_memory(a);
    uint64_t size = load_relaxed(&a->sb->size);
    c->capacity = size > other ? (size - other) >> a->segment_shift : 0;
    uint64_t holes = c->capacity > backed ? c->capacity - backed : 0;
    c->available = c->kinds[SEGMENT_FREE] + min_u64(holes, arena_segments(a) - backed);
    /* a cache evicts what the cleaner finds no room for */
    c->removals = a->cache ? 0 : TOMBSTONE_RESERVE;
    c->reserve = a->cache ? 1 : max_u64(RESERVE_MIN, c->capacity >> RESERVE_SHIFT);
    uint64_t wanted = index_wanted(a);
    c->table = wanted == 0 ? 0 : (wanted >> a->segment_shift) + (a->cache ? 1 : TABLE_MARGIN);
    c->admitted = a->cache ? UINT64_MAX : admitted_bytes(a, c);
}

/*
 * What a count has found, for those who come after it and need not know better: in segments, what
 * is live if all who own one have filled it, and the last stamp that was given before the count.
 * Each segment that is begun or adopted later has a stamp given after that can be seen, so as many
 * more, at most, are live by now.  One word, stored by anybody, so old and new never mix; policy.
 *
 *   63        40 39                          0
 *   | segments  | stamp                      |
 */
#define NOTED_SHIFT CLAIM_EPOCH_BITS
#define NOTED_STAMP ((1ull << NOTED_SHIFT) - 1)

static uint64_t last_stamp(const struct arena *a)
{
    return load_acquire(&a->sb->incarnations) & NOTED_STAMP; /* pairs with segment_stamp [L5] */
}

static void note(const struct arena *a, const struct segment_census *c, uint64_t stamp)
{
    uint64_t most = ((segment_bound(c) + c->room) >> a->segment_shift) + c->begun + 1;
    if (!a->readonly) /* relaxed, as its load: one word says it all, and an old one is as true */
        store_relaxed(&a->sb->noted, most << NOTED_SHIFT | stamp);
}

/* Bytes that may be live by now; as many as there could be if nobody has counted. */
static uint64_t live_at_most(const struct arena *a)
{
    uint64_t noted = load_relaxed(&a->sb->noted);
    uint64_t since = (last_stamp(a) - noted) & NOTED_STAMP;
    return noted == 0 ? UINT64_MAX >> 1 : ((noted >> NOTED_SHIFT) + since) << a->segment_shift;
}

void segment_count(const struct arena *a, struct segment_census *c)
{
    uint64_t stamp = last_stamp(a); /* before: what is opened meanwhile counts as new */
    *c = (struct segment_census){0};
    count_all(a, c);
    divide(a, c);
    note(a, c, stamp);
}

void segment_glance(const struct arena *a, struct segment_census *c)
{
    *c = (struct segment_census){0};
    count_kinds(a, c);
    divide(a, c);
    c->live = c->used = c->taken = live_at_most(a);
    if (segment_nearly_committed(a, c))
        segment_count(a, c);
}

uint64_t segment_memory(const struct arena *a)
{
    uint64_t backed = 0;
    for (uint64_t id = 0, n = segment_high(a); id < n; id++)
        backed += claim_kind(load_seq_cst(&segment_at(a, id)->state)) != SEGMENT_HOLE;
    return arena_fixed_bytes(a) + index_memory(a) + (backed << a->segment_shift);
}

/* ---- who may have what --------------------------------------------------------------------- */

uint64_t segment_kept(const struct segment_census *c, enum segment_purpose purpose)
{
    if (purpose == SEGMENT_FOR_CLEANING)
        return 0;
    uint64_t kept = c->reserve + c->kinds[SEGMENT_CLEANING];
    return purpose == SEGMENT_FOR_PUT ? kept + c->removals + c->table : kept;
}

bool segment_allowed(const struct segment_census *c, enum segment_purpose purpose)
{
    if (purpose == SEGMENT_FOR_PUT && segment_committed(c))
        return false;
    return c->available > segment_kept(c, purpose);
}

bool segment_allowed_run(const struct arena *a, const struct segment_census *c,
                         enum segment_purpose purpose, uint64_t count)
{
    struct segment_census rest = *c; /* with all but one of them gone */
    rest.available -= min_u64(rest.available, count - 1);
    rest.live += (count - 1) << a->segment_shift;
    return segment_allowed(&rest, purpose);
}

bool segment_overdrawn(const struct arena *a, enum segment_purpose purpose)
{
    struct segment_census c = {0};
    if (purpose == SEGMENT_FOR_CLEANING) /* nothing is kept from it */
        return false;
    count_kinds(a, &c);
    divide(a, &c);
    return c.available < segment_kept(&c, purpose);
}
