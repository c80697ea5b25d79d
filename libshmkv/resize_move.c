/* SPDX-License-Identifier: MIT */
/*
 * resize_move.c - moving: one slot, as drawn in resize.h, and chunks of them.
 *
 * Any number of threads may move one slot, and one chunk, at once.  What a mover that died has
 * left undone shows: a slot that is not terminal, a chunk without a word.
 */
#include <string.h>

#include "hash.h"
#include "point.h"
#include "record.h"
#include "resize_parts.h"
#include "segment.h"

#define PREFETCH_AHEAD 16u
#define SHORT_KEY 36u

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
    if (o.segment >= arena_segments(a)) /* SEGMENT_NONE too */
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
static bool place(const struct arena *a, const struct table_shape *to, const _Atomic uint64_t *s,
                  uint64_t word)
{
    const struct record *r = record_of(a, word);
    uint64_t hash = hash_key(record_key(r), r->klen, &a->hash_secret);
    unsigned first = table_shape_first_slot(to, hash);
    uint64_t home = table_shape_home(to, hash);
    for (uint64_t n = 0; n <= to->mask; n++) {
        _Atomic uint64_t *bucket = table_shape_bucket(to, home + n);
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
            struct table_shape to;
            if (unlikely(!table_look(a, table_next(a, t), &to) || !place(a, &to, s, word)))
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

/* A sound table has no smaller one. */
_Static_assert(TABLE_MIN_SLOTS % TABLE_CHUNK_SLOTS == 0, "all chunks are whole");

static uint64_t chunk_count(const struct table_shape *t)
{
    return (t->mask + 1) * BUCKET_SLOTS / TABLE_CHUNK_SLOTS;
}

/* Behind the slots. */
static _Atomic uint32_t *chunk_word(const struct table_shape *t, uint64_t chunk)
{
    return (_Atomic uint32_t *)(void *)(t->slots + (t->mask + 1) * BUCKET_SLOTS) + chunk;
}

/* The records of neighbours lie anywhere: overlap their cache misses. */
static void prefetch_record(const struct arena *a, const struct table_shape *t, uint64_t slot)
{
    if (slot >= (t->mask + 1) * BUCKET_SLOTS)
        return;
    uint64_t word = load_relaxed(&t->slots[slot]); /* a hint */
    if (!slot_is_record(word))
        return;
    const char *record = (const char *)record_of(a, word); /* header and a short key: two lines */
    __builtin_prefetch(record);
    __builtin_prefetch(record + sizeof(struct record) + SHORT_KEY - 1);
}

static void move_next(const struct participant *p, struct resizer *z, const struct table_shape *t,
                      uint64_t slot)
{
    const struct arena *a = p->arena;
    prefetch_record(a, t, slot + PREFETCH_AHEAD);
    uint64_t word = resize_move_slot(p, table_of(a, z->chunk_ref), &t->slots[slot]);
    z->chunk_moved += slot_is_moved(word);
    z->chunk_stuck |= !slot_is_terminal(word);
}

static void chunk_done(const struct table_shape *t, uint64_t chunk, uint32_t moved)
{
    POINT("move.chunk");
    /* release: who sums the words comes after the slots became terminal; pairs with
     * resize_finish_chunks [R1] */
    store_release(chunk_word(t, chunk), moved + 1);
}

void resize_begin_chunk(struct resizer *z, uint64_t ref, uint64_t chunk)
{
    z->chunk_ref = ref;
    z->chunk = chunk;
    z->chunk_slot = 0;
    z->chunk_moved = 0;
    z->chunk_stuck = false;
}

uint64_t resize_advance_chunk(const struct participant *p, struct resizer *z, uint64_t slots)
{
    struct table_shape t;
    if (unlikely(!table_look(p->arena, z->chunk_ref, &t) || z->chunk >= chunk_count(&t))) {
        z->chunk_ref = 0; /* R3: whoever finds no chunk left sees whether that lasts */
        return slots;
    }
    uint64_t end = min_u64(z->chunk_slot + slots, TABLE_CHUNK_SLOTS);
    uint64_t n = end - z->chunk_slot;
    for (; z->chunk_slot < end; z->chunk_slot++)
        move_next(p, z, &t, z->chunk * TABLE_CHUNK_SLOTS + z->chunk_slot);
    if (end == TABLE_CHUNK_SLOTS) {
        if (likely(!z->chunk_stuck))
            chunk_done(&t, z->chunk, z->chunk_moved);
        z->chunk_ref = 0;
    }
    return n;
}

/* What a chunk's word says; 0: it has none, or one that was written over, and is done over (R3). */
static uint32_t chunk_says(const struct table_shape *t, uint64_t chunk)
{
    uint32_t word = load_acquire(chunk_word(t, chunk)); /* pairs with chunk_done [R1] */
    return likely(word <= TABLE_CHUNK_SLOTS + 1) ? word : 0;
}

bool resize_finish_chunks(const struct participant *p, uint64_t ref, uint64_t *sum)
{
    struct resizer own = {.chunk_ref = 0};
    struct table_shape t;
    uint64_t moved = 0;
    if (unlikely(!table_look(p->arena, ref, &t)))
        return false;
    for (uint64_t c = 0; c < chunk_count(&t); c++) {
        uint32_t word = chunk_says(&t, c);
        if (word == 0) {
            resize_begin_chunk(&own, ref, c);
            resize_advance_chunk(p, &own, TABLE_CHUNK_SLOTS);
            word = chunk_says(&t, c);
            if (word == 0)
                return false;
        }
        moved += word - 1;
    }
    *sum = moved;
    return true;
}
