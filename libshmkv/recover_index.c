/* SPDX-License-Identifier: MIT */
/*
 * recover_index.c - the index of a store that nobody else sees yet, made by several threads.
 *
 * A slot goes from EMPTY to a record, and from a record to a newer one of the same key, by CAS, or
 * by a store if there is one thread only; it keeps its key, and two threads that enter one key come
 * to the same slot, as in R11.
 *
 * The records of a segment belong all over the table, and a look at a random page of it costs a
 * walk through page tables that are not in the cache either.  So each thread sorts them by parts of
 * the table, and enters those of one part together when they are many (a partitioned hash join, as
 * in Manegold, Boncz and Kersten, "Optimizing main-memory join on modern hardware", 2002).
 */
#include "recover_parts.h"

#include <stdlib.h>

#include "error.h"

/*
 * What a thread takes at once of the slots that may be filled: a 256th, at most.  What others have
 * left of theirs when there are no more is less than the table has beyond its keys.
 */
#define TICKETS_SHIFT 8
#define TICKETS_MOST 256u
_Static_assert(RECOVER_THREADS_MOST * 10 < 1u << TICKETS_SHIFT,
               "an eleventh of the slots is spare");
#define PART_SHIFT 21     /* bytes of a part: the entries of its pages stay in the caches */
#define PARTS_BITS_MOST 6 /* each part is written to at a place, and a page, of its own */
#define AHEAD 16u         /* slots that are on their way from memory */

int recover_index_begin(struct recovery *v, uint64_t keys)
{
    const struct arena *a = v->a;
    keys = min_u64(keys, TABLE_KEYS_MOST);
    uint64_t slots = pow2_up(max_u64(keys / 7 * 8 + keys / 8 + 8, TABLE_MIN_SLOTS));
    bool complete;
    slots = min_u64(slots, table_max_slots(a));
    int rc = table_claim(v->p, slots, &v->table);
    if (rc == SHMKV_ENOSPC)
        return error_set(rc,
                         "%s: the index of %llu keys does not fit the store's size; open it with a "
                         "larger one",
                         a->name, (unsigned long long)keys);
    if (rc == 0)
        rc = table_take(a, v->table, UINT64_MAX, &complete);
    v->parts_bits = 0;
    while (v->parts_bits < PARTS_BITS_MOST &&
           slots * sizeof(uint64_t) >> v->parts_bits >> PART_SHIFT > 1)
        v->parts_bits++;
    uint64_t quota = rc == 0 ? table_quota(slots) : 0;
    v->tickets = min_u64(max_u64(quota >> TICKETS_SHIFT, 1), TICKETS_MOST);
    store_relaxed(&v->left, quota); /* relaxed: before the threads */
    store_relaxed(&v->full, 0);
    return rc;
}

void recover_index_drop(struct recovery *v)
{
    table_unclaim_owner(v->p, v->table);
}

/* One of the slots that may be filled. */
static bool take_ticket(struct recover_worker *w)
{
    struct recovery *v = w->v;
    if (w->tickets == 0) {
        uint64_t left = load_relaxed(&v->left); /* relaxed: a count */
        uint64_t batch;
        do {
            batch = min_u64(left, v->tickets);
        } while (batch != 0 && !cas_relaxed(&v->left, &left, left - batch));
        w->tickets = batch;
    }
    if (w->tickets == 0) {
        store_relaxed(&v->full, 1); /* relaxed: seen when the threads are joined, or sooner */
        return false;
    }
    w->tickets--;
    return true;
}

/* Anything but a pair: what is no record type was refused. */
static bool is_tombstone(const struct record *r)
{
    return r->type != RECORD_PAIR;
}

static bool leads_to_tombstone(const struct recover_record *e)
{
    return (e->where & 1) != 0;
}

static uint64_t offset_of(const struct recover_record *e)
{
    return e->where & ~1ull;
}

static void count(struct recover_worker *w, bool tombstone, int64_t n)
{
    if (tombstone)
        w->tombstones += n;
    else
        w->pairs += n;
}

static void lose(struct recover_worker *w, const struct record *r, uint64_t offset)
{
    segment_add_dead(w->v->a, offset, record_size(r));
}

/*
 * @from -> @to; false: another thread was first, and @from is what it has put there.  Shows the
 * record, pairs with enter_slot() [X1].  Who is alone only stores: a CAS waits for all that the
 * processor has under way, the next slots among it.
 */
static bool change_slot(const struct recover_worker *w, _Atomic uint64_t *slot, uint64_t *from,
                        uint64_t to)
{
    if (!w->v->alone)
        return cas_acq_rel(slot, from, to);
    store_release(slot, to);
    return true;
}

/* Two records of one key meet in a slot; false: the slot has changed, look again. */
static bool compete(struct recover_worker *w, _Atomic uint64_t *slot, uint64_t word,
                    const struct record *r, uint64_t mine)
{
    const struct record *old = arena_at(w->v->a, slot_offset(word));
    bool better = r->version > old->version ||
                  (r->version == old->version && record_is_copy(r) && !record_is_copy(old));
    if (!better) {
        lose(w, r, slot_offset(mine));
        return true;
    }
    if (!change_slot(w, slot, &word, mine))
        return false;
    lose(w, old, slot_offset(word));
    count(w, is_tombstone(old), -1);
    count(w, is_tombstone(r), 1);
    return true;
}

/* True: the record has found its place, or there is none in the whole table.  If another thread has
 * filled or improved the slot meanwhile: look again. */
static bool enter_slot(struct recover_worker *w, _Atomic uint64_t *slot,
                       const struct recover_record *e, uint64_t mine)
{
    const struct record *r = arena_at(w->v->a, offset_of(e)); /* far away: only if it must be */
    for (;;) {
        uint64_t word = load_acquire(slot); /* shows the record; pairs with change_slot() [X1] */
        if (word == SLOT_EMPTY) {
            if (!take_ticket(w))
                return true;
            if (change_slot(w, slot, &word, mine)) {
                count(w, leads_to_tombstone(e), 1);
                return true;
            }
            w->tickets++;
            continue;
        }
        if (slot_tag_of(word) != slot_tag_of(mine) ||
            !record_has_key(arena_at(w->v->a, slot_offset(word)), record_key(r), r->klen))
            return false;
        if (compete(w, slot, word, r, mine))
            return true;
    }
}

/* A slot that is passed over has another key, which it keeps. */
static bool enter_bucket(struct recover_worker *w, _Atomic uint64_t *bucket, unsigned first,
                         const struct recover_record *e, uint64_t mine)
{
    unsigned m = bucket_rotate(bucket_match(bucket, slot_tag_of(mine)), first);
    for (; m != 0; m &= m - 1) {
        if (enter_slot(w, &bucket[bucket_slot(m, first)], e, mine))
            return true;
    }
    return false;
}

static void enter(struct recover_worker *w, const struct recover_record *e)
{
    const struct arena *a = w->v->a;
    const struct table *t = w->v->table;
    uint64_t mask = table_buckets(t) - 1;
    uint64_t b = table_home(t, e->hash);
    unsigned first = table_first_slot(t, e->hash);
    uint64_t mine = slot_record(slot_tag(e->hash), offset_of(e));
    while (!enter_bucket(w, table_bucket(a, t, b), first, e, mine))
        b = (b + 1) & mask;
}

static void enter_part(struct recover_worker *w, struct recover_part *part)
{
    const struct recovery *v = w->v;
    for (unsigned i = 0; i < part->count + AHEAD; i++) {
        if (i < part->count)
            __builtin_prefetch((const void *)table_first(v->a, v->table, part->record[i].hash), 1);
        if (i >= AHEAD)
            enter(w, &part->record[i - AHEAD]);
    }
    part->count = 0;
}

bool recover_index_attach(struct recover_worker *w)
{
    w->part = calloc(1ull << w->v->parts_bits, sizeof(*w->part));
    return w->part != NULL;
}

void recover_index_free(struct recover_worker *w)
{
    free(w->part);
}

void recover_index_flush(struct recover_worker *w)
{
    for (uint64_t i = 0; i < 1ull << w->v->parts_bits; i++)
        enter_part(w, &w->part[i]);
}

static void add(struct recover_worker *w, uint64_t hash, uint64_t offset, bool tombstone)
{
    struct recover_part *part = &w->part[hash >> 1 >> (63 - w->v->parts_bits)];
    part->record[part->count++] = (struct recover_record){hash, offset | tombstone};
    if (part->count == RECOVER_PART)
        enter_part(w, part);
}

void recover_index_add(struct recover_worker *w, const struct record **batch, unsigned n)
{
    const struct arena *a = w->v->a;
    uint64_t hash[RECOVER_BATCH];
    if (load_relaxed(&w->v->full) != 0)
        return;                      /* all of it comes again */
    for (unsigned i = 0; i < n; i++) /* with nothing in between: none waits for another */
        hash[i] = hash_key(record_key(batch[i]), batch[i]->klen, &a->hash_secret);
    for (unsigned i = 0; i < n; i++)
        add(w, hash[i], (uint64_t)((const char *)batch[i] - a->base), is_tombstone(batch[i]));
}

_Atomic uint64_t *recover_index_find(const struct recovery *v, const struct record *r,
                                     uint64_t offset)
{
    const struct arena *a = v->a;
    uint64_t hash = hash_key(record_key(r), r->klen, &a->hash_secret);
    uint64_t mask = table_buckets(v->table) - 1;
    uint64_t wanted = slot_record(slot_tag(hash), offset);
    unsigned first = table_first_slot(v->table, hash);
    for (uint64_t b = table_home(v->table, hash);; b = (b + 1) & mask) {
        _Atomic uint64_t *bucket = table_bucket(a, v->table, b);
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            _Atomic uint64_t *slot = &bucket[(first + i) % BUCKET_SLOTS];
            uint64_t word = load_relaxed(slot); /* relaxed: one thread is left */
            if (word == wanted)
                return slot;
            if (word == SLOT_EMPTY)
                return NULL;
        }
    }
}

void recover_index_show(struct recovery *v, uint64_t tombstones)
{
    struct table *t = v->table;
    uint64_t left = load_relaxed(&v->left);
    store_relaxed(&t->tickets, left | TICKETS_TOPPED); /* relaxed, all: shown by arena_ready() */
    store_relaxed(&t->topped, left + 1);
    store_relaxed(&t->tombstones, tombstones);
    table_enliven(v->a, table_ref(v->a, t));
    store_relaxed(&v->a->sb->root, table_ref(v->a, t));
}
