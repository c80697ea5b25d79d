/* SPDX-License-Identifier: MIT */
/*
 * recover_index.c - the index of a store that nobody else sees yet, made by several threads.
 *
 * A slot goes from EMPTY to a record, and from a record to a newer one of the same key, by CAS; it
 * keeps its key, and two threads that enter one key come to the same slot, as in R11.
 *
 * A table's pages are far more than a processor has translations for, and each record belongs to
 * any of them: entered as they come, most of the time would go into walks of the page table.  So
 * records are first put on heaps, each for a part of the table, and a heap that is full is entered
 * at once: a page is come to several times while its translation is there.  (Radix partitioning, as
 * of hash joins: Manegold, Boncz and Kersten 2002.)  While the bucket of one record is on its way
 * from memory, those before it are entered.
 */
#include "recover_parts.h"

#include <stdlib.h>

#include "error.h"

#define TICKETS 256u
#define HEAPS 128u
#define HEAPS_SHIFT 7
#define HEAP_RECORDS 1024u /* 2 MiB in all heaps of a thread */
#define AHEAD 16u          /* buckets that are fetched before the first record is entered */

/* Of a record that is to be entered, all that is needed where its slot is EMPTY. */
struct waiting {
    uint64_t hash;
    uint64_t where; /* offset << 8 | enum record_type */
};

struct recover_heaps {
    unsigned count[HEAPS];
    struct waiting records[HEAPS][HEAP_RECORDS];
};

_Static_assert(1u << HEAPS_SHIFT == HEAPS, "the highest bits of a hash name a heap");

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

static void count(struct recover_worker *w, unsigned type, int64_t n)
{
    if (type == RECORD_PAIR)
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
    if (!cas_acq_rel(slot, &word, mine)) /* pairs with the load in enter() [X1] */
        return false;
    lose(w, old, slot_offset(word));
    count(w, old->type, -1);
    count(w, r->type, 1);
    return true;
}

/* True: the record has found its place, or there is none in the whole table. */
static bool enter_bucket(struct recover_worker *w, _Atomic uint64_t *bucket, unsigned first,
                         const struct waiting *e)
{
    const struct record *r = arena_at(w->v->a, e->where >> 8);
    uint64_t mine = slot_record(slot_tag(e->hash), e->where >> 8);
    for (unsigned i = 0; i < BUCKET_SLOTS;) {
        _Atomic uint64_t *slot = &bucket[(first + i) % BUCKET_SLOTS];
        uint64_t word = load_acquire(slot); /* shows the record; pairs with both CAS [X1] */
        if (word == SLOT_EMPTY) {
            if (!take_ticket(w))
                return true;
            if (cas_acq_rel(slot, &word, mine)) {
                count(w, (uint8_t)e->where, 1);
                return true;
            }
            w->tickets++; /* somebody was faster: look what it is */
            continue;
        }
        if (slot_tag_of(word) == slot_tag_of(mine) &&
            record_has_key(arena_at(w->v->a, slot_offset(word)), record_key(r), r->klen)) {
            if (compete(w, slot, word, r, mine))
                return true;
            continue;
        }
        i++;
    }
    return false;
}

static void enter(struct recover_worker *w, const struct waiting *e)
{
    const struct arena *a = w->v->a;
    const struct table *t = w->v->table;
    uint64_t mask = table_buckets(t) - 1;
    uint64_t b = table_home(t, e->hash);
    unsigned first = table_first_slot(t, e->hash);
    while (!enter_bucket(w, table_bucket(a, t, b), first, e))
        b = (b + 1) & mask;
}

static void fetch(const struct recovery *v, const struct waiting *e)
{
    __builtin_prefetch((const void *)table_first(v->a, v->table, e->hash), 1);
}

static void enter_all(struct recover_worker *w, const struct waiting *records, unsigned count)
{
    for (unsigned i = 0; i < min_u64(AHEAD, count); i++)
        fetch(w->v, &records[i]);
    for (unsigned i = 0; i < count; i++) {
        if (i + AHEAD < count)
            fetch(w->v, &records[i + AHEAD]);
        enter(w, &records[i]);
    }
}

int recover_index_prepare(struct recover_worker *w)
{
    w->heaps = calloc(1, sizeof(*w->heaps));
    return w->heaps != NULL
               ? 0
               : error_set(SHMKV_ESYSTEM, "%s: no memory for its recovery", w->v->im->file.path);
}

void recover_index_flush(struct recover_worker *w)
{
    for (unsigned i = 0; i < HEAPS; i++)
        enter_all(w, w->heaps->records[i], w->heaps->count[i]);
    free(w->heaps);
    w->heaps = NULL;
}

void recover_index_add(struct recover_worker *w, const struct record *r, uint64_t offset)
{
    struct recover_heaps *h = w->heaps;
    if (load_relaxed(&w->v->full) != 0)
        return; /* all of it comes again */
    uint64_t hash = hash_key(record_key(r), r->klen, &w->v->a->hash_secret);
    struct waiting e = {.hash = hash, .where = offset << 8 | r->type};
    unsigned i = (unsigned)(hash >> (64 - HEAPS_SHIFT));
    h->records[i][h->count[i]++] = e;
    if (h->count[i] == HEAP_RECORDS) {
        enter_all(w, h->records[i], HEAP_RECORDS);
        h->count[i] = 0;
    }
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
