/* SPDX-License-Identifier: MIT */
/*
 * recover_index.c - the index of a store that nobody else sees yet, made by several threads.
 *
 * A slot goes from EMPTY to a record, and from a record to a newer one of the same key, by CAS; it
 * keeps its key, and two threads that enter one key come to the same slot, as in R11.  Records go
 * in batches: while the buckets of one are on their way from memory, the next one is verified.
 */
#include "recover_parts.h"

#include "error.h"

#define TICKETS 256u

int recover_index_begin(struct recovery *v, uint64_t keys)
{
    const struct arena *a = v->a;
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
    store_relaxed(&v->left, rc == 0 ? table_quota(slots) : 0); /* relaxed: before the threads */
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
            batch = min_u64(left, TICKETS);
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

static void count(struct recover_worker *w, const struct record *r, int64_t n)
{
    if (r->type == RECORD_PAIR)
        w->pairs += n;
    else
        w->tombstones += n;
}

static void lose(struct recover_worker *w, const struct record *r, uint64_t offset)
{
    segment_add_dead(w->v->a, offset, record_size(r));
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
    if (!cas_acq_rel(slot, &word, mine)) /* pairs with the load in enter_slot() [X1] */
        return false;
    lose(w, old, slot_offset(word));
    count(w, old, -1);
    count(w, r, 1);
    return true;
}

/* True: the record has found its place, or there is none in the whole table.  After a failed CAS
 * another thread has filled or improved the slot: look again. */
static bool enter_slot(struct recover_worker *w, _Atomic uint64_t *slot, const struct record *r,
                       uint64_t mine)
{
    for (;;) {
        uint64_t word = load_acquire(slot); /* shows the record; pairs with both CAS [X1] */
        if (word == SLOT_EMPTY) {
            if (!take_ticket(w))
                return true;
            if (cas_acq_rel(slot, &word, mine)) {
                count(w, r, 1);
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
                         const struct record *r, uint64_t mine)
{
    unsigned m = bucket_rotate(bucket_match(bucket, slot_tag_of(mine)), first);
    for (; m != 0; m &= m - 1) {
        if (enter_slot(w, &bucket[bucket_slot(m, first)], r, mine))
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
    const struct record *r = arena_at(a, e->offset);
    uint64_t mine = slot_record(slot_tag(e->hash), e->offset);
    while (!enter_bucket(w, table_bucket(a, t, b), first, r, mine))
        b = (b + 1) & mask;
}

static void enter_batch(struct recover_worker *w, struct recover_batch *b)
{
    for (unsigned i = 0; i < b->count; i++)
        enter(w, &b->record[i]);
    b->count = 0;
}

/*
 * One prefetch after another, with nothing in between: what costs is the walk through the page
 * tables, which holds up all that stands behind it, and a processor does two of them at once.
 */
static void fetch_batch(const struct recover_worker *w, const struct recover_batch *b)
{
    const struct recovery *v = w->v;
    for (unsigned i = 0; i < b->count; i++)
        __builtin_prefetch((const void *)table_first(v->a, v->table, b->record[i].hash), 1);
}

void recover_index_flush(struct recover_worker *w)
{
    enter_batch(w, &w->batch[0]);
    enter_batch(w, &w->batch[1]);
}

void recover_index_add(struct recover_worker *w, const struct record *r, uint64_t offset)
{
    if (load_relaxed(&w->v->full) != 0)
        return; /* all of it comes again */
    struct recover_batch *b = &w->batch[w->filling];
    uint64_t hash = hash_key(record_key(r), r->klen, &w->v->a->hash_secret);
    b->record[b->count++] = (struct recover_record){.hash = hash, .offset = offset};
    if (b->count < RECOVER_BATCH)
        return;
    fetch_batch(w, b);
    w->filling ^= 1;
    enter_batch(w, &w->batch[w->filling]);
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
