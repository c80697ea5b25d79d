/* SPDX-License-Identifier: MIT */
/*
 * index.h - find, publish, remove: what one operation does to the index.
 *
 * Publication (R10).  A participant's record is in one of three states that anybody can tell:
 *
 *     inflight = a                 CAS slot: old -> a            inflight = 0
 *   --+-----------------------------+-----------------------------+---------
 *     | undecided: found in its     | published: the slot holds   | decided: `used`
 *     | slot or PUBLISHED, else     | it, or its superseder has   | passes it, or it
 *     | void                        | set PUBLISHED on it         | is written over
 *
 *   INV-I1  One CAS on one slot publishes.  Whoever supersedes a record sets PUBLISHED on it before
 *           its own CAS, and the owner after it, so a published record has its slot or its mark.
 *                                    publish.pml, crash_kv, crash_index, test_index: decide*
 *   INV-I2  Inside one table two inserters of one key meet at the same slot: EMPTY is left once,
 *           the probe sequence is fixed, and nothing dies in place (R11).
 *                                    move.pml, torture_kv, crash_index, test_index: one_slot
 *   INV-I3  A key's versions strictly grow: G is loaded after its slot was read (R7).
 *                                    torture_linear, crash_index, test_index: versions_*
 *   INV-I4  While a resize runs a writer goes through the old table first and acts in the next one
 *           only after its old slot is MOVED, or the probe is closed by MOVED_EMPTY (R13).
 *                                    move.pml, crash_index, test_index: old_table_first
 *
 * Progress: lookups are wait-free but for chains of resizes; a failed CAS of a writer means that
 * another writer of that slot, or a mover, succeeded.
 *
 * Death: before the CAS: the record is void, its space is written over.  Between CAS and
 * inflight = 0: the reaper finds it published and lets `used` pass it.  `dead` of the segment of
 * the old record may be missed: it only steers the cleaner, which counts anew when it walks.
 */
#ifndef SHMKV_INDEX_H
#define SHMKV_INDEX_H

#include "append.h"
#include "hash.h"
#include "record.h"
#include "resize.h"
#include "run.h"

/* How far a search for a victim has come, see victim_search(); all zero: it has not begun. */
struct victim_search {
    uint64_t next; /* segments before it were looked at */
    uint64_t now;  /* when it began, in stamps of segments */
    uint64_t best; /* of those; SEGMENT_NONE: none */
    uint64_t word; /* its state ... */
    uint64_t life; /* ... and incarnation when it was judged */
    double score;
};

/* What a writer that helps the cleaner is at, see cleaner_help(). */
struct cleaning {
    struct victim_search search; /* for the next victim, if it has none */
    uint64_t id;                 /* the victim of its last piece, if it still is in */
    uint64_t life;               /* this incarnation; 0: none */
    int64_t owed;                /* bytes that it is yet to gain */
};

/* A participant with all it needs to write. */
struct writer {
    struct participant self;
    struct append puts;  /* what users write */
    struct append moves; /* what the cleaner copies: long-lived, so it lies apart */
    struct resizer resizer;
    struct cleaning cleaning;
    struct table_view view; /* of the root */
    bool busy; /* a write of this participant is under way, maybe below a signal handler */
};

/* When a change applies. */
enum index_condition {
    INDEX_ALWAYS,
    INDEX_IF_ABSENT,
    INDEX_IF_PRESENT,
    INDEX_IF_VERSION,
    INDEX_IF_EXPIRED, /* there is a pair, and its time is over */
};

/* A change to one key. */
struct index_change {
    struct record_spec spec;
    uint64_t hash;
    enum index_condition condition;
    uint64_t expected; /* INDEX_IF_VERSION: 0 is absent */
    uint64_t bytes;    /* record_bytes() of it, as reserved; the caller's duty */
    uint32_t body;     /* of a record that stands: record_check_body() of it */
    uint64_t version;  /* out: of what was written */
};

/* Neither is an error that users see: the caller acts and tries again. */
#define INDEX_AGAIN 1       /* the writer's segment was taken while it was idle: reserve again */
#define INDEX_NEED_TICKET 2 /* the table is full: resize_grow() */
#define INDEX_RELOCATED 3
#define INDEX_EVICTED 4

/* A key and its hash_key(). */
struct index_key {
    const void *data;
    size_t size;
    uint64_t hash;
};

/* Is @offset where a record can be?  All of the log is mapped, so looking there is harmless. */
static inline bool index_in_log(const struct arena *a, uint64_t offset)
{
    return offset - a->log_offset <= a->log_bytes - sizeof(struct record);
}

/* Does the record, which begins in the log, end where its segment or run does, or before?  Behind
 * that there may be no memory, and to touch it would take some (R3). */
static inline bool index_fits_room(const struct arena *a, const struct record *r)
{
    return record_size(r) <= segment_room_at(a, (uint64_t)((const char *)r - a->base));
}

/* The common case of it, by the place in the log and the size: is it in one segment? */
static ALWAYS_INLINE bool index_fits_segment(const struct arena *a, uint64_t at, uint64_t size)
{
    return ((at + size - 1) ^ at) <= a->segment_mask;
}

/*
 * index_lookup() - the current record of a key, NULL if there is none; a tombstone or an expired
 * record is returned as it is.  Inside a read or write section.  *@damaged is set (else left as it
 * was) if a slot led out of the log, or to a record that leaves its room, or to no table (R3).
 */
const struct record *index_lookup(const struct arena *a, const struct index_key *k, bool *damaged);

/*
 * Does @word, which has the key's tag or is SLOT_EMPTY, lead to a pair of this key that never
 * expires?  What is as long as a segment, or in the last one of the log's addresses, needs a longer
 * look (R3); what seems to be shorter leads at most into the neighbour.
 */
static ALWAYS_INLINE bool index_leads_plain(const struct arena *a, const struct index_key *k,
                                            uint64_t word, const struct record **found)
{
    uint64_t at = slot_offset(word) - a->log_offset; /* of EMPTY: far behind the log */
    if (unlikely(at > a->log_plain))
        return false;
    const struct record *r = arena_at(a, slot_offset(word));
    *found = r;
    /* mostly the value's last byte's line, whose place is known only when the header is there */
    __builtin_prefetch((const char *)(r + 1) + align_up(k->size, 8) + CACHE_LINE / 2);
    return likely(record_is_plain(r, k->data, k->size)) && likely(r->vlen <= a->segment_mask);
}

/*
 * index_peek() - the common case of index_lookup(), inline: @w's view is of the root table, in the
 * key's home bucket its record stands, with no other of its tag before it, is a pair and does not
 * expire.  Otherwise false: ask index_lookup().
 *
 * What counts here is that nothing waits that need not: the value's address comes from @klen, not
 * from the record, so that both of the record's cache lines are fetched at once.
 */
static ALWAYS_INLINE bool index_peek(const struct writer *w, const struct index_key *k,
                                     const struct record **found)
{
    const struct arena *a = w->self.arena;
    if (unlikely(!table_view_is_current(&w->view, a)))
        return false;
    uint64_t word = bucket_candidate(table_view_first(&w->view, k->hash), k->hash);
    return likely(index_leads_plain(a, k, word, found));
}

/* Fetch the bucket of a hash ahead of a lookup. */
static inline void index_prefetch(const struct arena *a, uint64_t hash)
{
    const struct table *t = table_of(a, table_root(a));
    __builtin_prefetch((const void *)table_first(a, t, hash));
}

/* Fetch what a slot's word leads to, which for SLOT_EMPTY and the like is of no use. */
static ALWAYS_INLINE void index_prefetch_word(const struct arena *a, uint64_t word)
{
    const char *record = arena_at(a, slot_offset(word));
    __builtin_prefetch(record);
    __builtin_prefetch(record + CACHE_LINE);
}

/* The record that most likely has the key, prefetched; its bucket should be in the cache. */
void index_prefetch_record(const struct arena *a, uint64_t hash);

/*
 * index_write() - make a change.  append_reserve() of w->puts has just succeeded for it.
 * 0, INDEX_AGAIN, INDEX_NEED_TICKET, SHMKV_EEXISTS, SHMKV_ENOTFOUND, SHMKV_EMISMATCH,
 * SHMKV_ECORRUPT; errors without a text, nothing changed.
 */
int index_write(struct writer *w, struct index_change *c);

/*
 * index_publish_reserved() - the same for a record that stands, but for its crc, at @l->at and
 * whose segment is pinned: a committed reservation, or one in a run.  @c->body was computed before,
 * since that takes long for a long one, and a write section holds back memory.  Never INDEX_AGAIN:
 * what is pinned is not taken, so SHMKV_ECORRUPT if it is not ours any more.
 */
int index_publish_reserved(struct writer *w, struct append *l, struct index_change *c);

/*
 * index_relocate() - copy the live record at offset @from into w->moves, where room for it has been
 * reserved, as if it were written there; one section per record, since a longer one would hold
 * back memory.  @word: the state that the victim's segment has as long as it is ours.
 * INDEX_RELOCATED, 0: it was dead, INDEX_AGAIN: reserve and call again, SHMKV_ECORRUPT.
 */
int index_relocate(struct writer *w, uint64_t from, uint64_t word);

/*
 * index_evict() - make the key of the record at offset @from absent, if that is its current record,
 * without a tombstone: its slot becomes EVICTED, a slot of no key that a resize drops.  Only in a
 * store without an image, where nothing but the index can bring a record back.  @word: as above.
 * INDEX_EVICTED, 0: it was dead, SHMKV_ECORRUPT.
 */
int index_evict(struct writer *w, uint64_t from, uint64_t word);

/*
 * What became of a writer's record at offset @at (R10): true if it was published.  The section that
 * the writer died in, still in its entry, keeps memory from being reused meanwhile.
 */
bool index_decide(const struct arena *a, uint64_t at);

/* Nothing, a tombstone, or expired: what users see as no key. */
static inline bool index_is_absent(const struct arena *a, const struct record *r)
{
    return r == NULL || r->type == RECORD_TOMBSTONE ||
           (unlikely(record_expires(r)) && record_expiry(r) <= arena_clock(a));
}

#endif
