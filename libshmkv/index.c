/* SPDX-License-Identifier: MIT */
/* index.c - see index.h for publication and its invariants. */
#include "index.h"

#include <string.h>

#include "point.h"
#include "shmkv.h"

/* ---- find ---------------------------------------------------------------------------------- */

enum match { MATCH_NO, MATCH_YES, MATCH_DAMAGED };

/* Does the record behind @word have this key?  Bounds first (R3). */
static inline enum match match(const struct arena *a, uint64_t word, const struct index_key *k)
{
    uint64_t offset = slot_offset(word);
    if (unlikely(!index_in_log(a, offset)))
        return MATCH_DAMAGED;
    const struct record *r = arena_at(a, offset);
    if (!record_has_key(r, k->data, k->size))
        return MATCH_NO;
    return likely(index_fits_room(a, r)) ? MATCH_YES : MATCH_DAMAGED;
}

enum probe { PROBE_FOUND, PROBE_ABSENT, PROBE_NEXT, PROBE_FULL };

/* One table.  PROBE_NEXT: it is closed for this key, or the key has moved on, so there is a next;
 * PROBE_FULL: the key is not in it, but in the next if there is one. */
static inline enum probe probe_table(const struct arena *a, const struct table_shape *t,
                                     const struct index_key *k, const struct record **found)
{
    uint64_t home = table_shape_home(t, k->hash);
    uint64_t tag = slot_tag(k->hash);
    unsigned first = table_shape_first_slot(t, k->hash);
    bool moved = false;
    for (uint64_t n = 0; n <= t->mask; n++) {
        const _Atomic uint64_t *bucket = table_shape_bucket(t, home + n);
        for (unsigned m = bucket_rotate(bucket_match(bucket, tag), first); m != 0; m &= m - 1) {
            /* acquire: shows the record behind the slot; pairs with every CAS on a slot [I1] */
            uint64_t word = load_acquire(&bucket[bucket_slot(m, first)]);
            if (word == SLOT_EMPTY)
                return moved ? PROBE_NEXT : PROBE_ABSENT;
            if (word == SLOT_MOVED_EMPTY)
                return PROBE_NEXT;
            if (slot_tag_of(word) != tag)
                continue; /* was EMPTY when filtered */
            if (unlikely(!slot_is_record(word))) {
                moved |= slot_is_gone(word); /* EVICTED is a slot of no key */
                continue;
            }
            enum match match_rc = match(a, word, k);
            if (match_rc == MATCH_NO)
                continue;
            *found = match_rc == MATCH_YES ? arena_at(a, slot_offset(word)) : NULL;
            return PROBE_FOUND;
        }
    }
    return moved ? PROBE_NEXT : PROBE_FULL;
}

const struct record *index_lookup(const struct arena *a, const struct index_key *k, bool *damaged)
{
    const struct record *found = NULL;
    uint64_t ref = table_root(a);
    for (;;) { /* chains have length one, longer only while tables go by */
        struct table_shape shape;
        if (unlikely(!table_look(a, ref, &shape))) {
            *damaged = true;
            return NULL;
        }
        enum probe rc = probe_table(a, &shape, k, &found);
        if (likely(rc == PROBE_FOUND)) {
            if (unlikely(found == NULL))
                *damaged = true;
            return found;
        }
        ref = rc != PROBE_ABSENT ? table_next(a, table_of(a, ref)) : 0;
        if (unlikely(ref == 0)) {
            /* a scribbled slot leads on: to a writer, too, that is no absence (R3) */
            *damaged = *damaged || rc == PROBE_NEXT;
            return NULL;
        }
    }
}

void index_prefetch_record(const struct arena *a, uint64_t hash)
{
    struct table_shape root;
    if (unlikely(!table_look(a, table_root(a), &root)))
        return;
    index_prefetch_word(a, bucket_candidate(root.slots + (hash >> (root.shift - 3)), hash));
}

/* Where a writer acts. */
struct place {
    struct table *t;
    _Atomic uint64_t *slot;
    uint64_t word;
    const struct record *old; /* NULL: the slot is EMPTY */
    uint64_t old_bytes;
};

enum find { FIND_PLACE, FIND_NEXT, FIND_FULL, FIND_DAMAGED };

/*
 * What a writer does at one candidate slot; *@goes_on if the probe does.  R13: it leaves the old
 * table only behind a MOVED or a MOVED_EMPTY of its own making.
 */
static enum find look_at(const struct participant *p, const struct index_key *k, bool moved,
                         struct place *at, bool *goes_on)
{
    const struct arena *a = p->arena;
    *goes_on = false;
    for (;;) { /* a failed CAS leaves a slot that is not EMPTY: the second round ends */
        at->word = load_acquire(at->slot); /* [I1] */
        if (at->word != SLOT_EMPTY)
            break;
        at->old = NULL;
        if (!moved && load_acquire(&at->t->next) == 0)
            return FIND_PLACE;
        uint64_t empty = SLOT_EMPTY;
        cas_acq_rel(at->slot, &empty, SLOT_MOVED_EMPTY);
        POINT("find.closed");
    }
    if (at->word == SLOT_MOVED_EMPTY)
        return FIND_NEXT;
    *goes_on = true;
    if (slot_tag_of(at->word) != slot_tag(k->hash) || !slot_is_record(at->word))
        return FIND_FULL;
    enum match rc = match(a, at->word, k);
    if (rc == MATCH_NO)
        return FIND_FULL;
    *goes_on = false;
    if (rc == MATCH_DAMAGED)
        return FIND_DAMAGED;
    if ((at->word & SLOT_FROZEN) != 0 || load_acquire(&at->t->next) != 0) {
        resize_move_slot(p, at->t, at->slot);
        return FIND_NEXT;
    }
    at->old = arena_at(a, slot_offset(at->word));
    at->old_bytes = record_size(at->old);
    return FIND_PLACE;
}

static enum find find_in_table(const struct participant *p, const struct index_key *k,
                               const struct table_shape *t, struct place *at)
{
    uint64_t home = table_shape_home(t, k->hash);
    uint64_t tag = slot_tag(k->hash);
    unsigned first = table_shape_first_slot(t, k->hash);
    bool moved = false;
    for (uint64_t n = 0; n <= t->mask; n++) {
        _Atomic uint64_t *bucket = table_shape_bucket(t, home + n);
        for (unsigned m = bucket_rotate(bucket_match(bucket, tag), first); m != 0; m &= m - 1) {
            bool goes_on;
            at->slot = &bucket[bucket_slot(m, first)];
            enum find rc = look_at(p, k, moved, at, &goes_on);
            if (!goes_on)
                return rc;
            moved = moved || (slot_tag_of(at->word) == tag && slot_is_gone(at->word));
        }
    }
    return load_acquire(&at->t->next) != 0 ? FIND_NEXT : FIND_FULL;
}

/* Tables in turn; the slot on which a change of this key is published. */
static NOINLINE enum find find_place(const struct participant *p, const struct index_key *k,
                                     struct place *at)
{
    const struct arena *a = p->arena;
    uint64_t ref = table_root(a);
    for (;;) {
        struct table_shape shape;
        if (unlikely(!table_look(a, ref, &shape)))
            return FIND_DAMAGED;
        at->t = table_of(a, ref);
        enum find rc = find_in_table(p, k, &shape, at);
        if (rc != FIND_NEXT)
            return rc;
        ref = table_next(a, at->t);
        if (unlikely(ref == 0))
            return FIND_DAMAGED; /* a scribbled slot led on, but there is no next table (R3) */
    }
}

/* Does at->word lead to the key's record, unfrozen?  Then at->old is it. */
static inline bool peek_record(const struct arena *a, const struct index_key *k, struct place *at)
{
    uint64_t offset = slot_offset(at->word) - a->log_offset;
    if ((at->word & (SLOT_FROZEN | SLOT_TAG_MASK)) != slot_tag(k->hash) ||
        unlikely(offset > a->log_plain))
        return false;
    at->old = arena_at(a, slot_offset(at->word));
    if (unlikely(!record_has_key(at->old, k->data, k->size)))
        return false;
    at->old_bytes = record_size(at->old);
    return likely(index_fits_segment(a, offset, at->old_bytes));
}

enum peek { PEEK_PLACE, PEEK_NEXT, PEEK_LONG_WAY };

/* Decides as look_at() does: the slot is read before next, and while that is 0 none was moved. */
static ALWAYS_INLINE enum peek peek_slot(const struct arena *a, const struct index_key *k,
                                         struct place *at)
{
    at->word = load_acquire(at->slot); /* [I1] */
    if (unlikely(load_acquire(&at->t->next) != 0))
        return PEEK_LONG_WAY;
    at->old = NULL;
    if (at->word == SLOT_EMPTY || likely(peek_record(a, k, at)))
        return PEEK_PLACE;
    /* another key with the tag, or frozen: rare enough for the long way */
    return slot_has_tag(at->word, k->hash) ? PEEK_LONG_WAY : PEEK_NEXT;
}

/* The rest of the home bucket, in the order of the probe. */
static NOINLINE bool peek_further(const struct arena *a, const struct index_key *k,
                                  struct place *at)
{
    const _Atomic uint64_t *first = at->slot;
    enum peek rc = PEEK_NEXT;
    while (rc == PEEK_NEXT && (at->slot = bucket_next(at->slot)) != first)
        rc = peek_slot(a, k, at);
    return rc == PEEK_PLACE;
}

/* The common case of find_place(): no resize, and the place is in the key's home bucket. */
static ALWAYS_INLINE bool peek_place(const struct writer *w, const struct index_key *k,
                                     struct place *at)
{
    const struct arena *a = w->self.arena;
    if (unlikely(!table_view_is_current(&w->view, a)))
        return false;
    at->t = table_of(a, w->view.root);
    at->slot = table_view_first(&w->view, k->hash);
    enum peek rc = peek_slot(a, k, at);
    if (unlikely(rc == PEEK_NEXT))
        return peek_further(a, k, at);
    return likely(rc == PEEK_PLACE);
}

/* ---- publish ------------------------------------------------------------------------------- */

static int test_condition(const struct arena *a, const struct index_change *c,
                          const struct record *old)
{
    bool absent = index_is_absent(a, old);
    switch (c->condition) {
    case INDEX_ALWAYS:
        return absent ? SHMKV_ENOTFOUND : 0;
    case INDEX_IF_ABSENT:
        return absent ? 0 : SHMKV_EEXISTS;
    case INDEX_IF_PRESENT:
        return absent ? SHMKV_ENOTFOUND : 0;
    case INDEX_IF_EXPIRED:
        return absent && old != NULL && old->type == RECORD_PAIR ? 0 : SHMKV_ENOTFOUND;
    case INDEX_IF_VERSION:
        return (absent ? 0 : old->version) == c->expected ? 0 : SHMKV_EMISMATCH;
    }
    return SHMKV_EINVAL;
}

/*
 * R7: G after the slot was read; an n that runs over raises G by one.  No record's epoch is above
 * G, which was raised before its CAS, so one that seems to be was written over: then the version is
 * younger than anything else of now, but G does not follow to where epochs end (R3).
 */
static uint64_t choose_version(const struct arena *a, const struct record *old)
{
    uint64_t g = epoch_now(a);
    uint64_t version = record_next_version(old == NULL ? 0 : old->version, g);
    if (unlikely(record_epoch_of(version) > g)) {
        epoch_raise_above(a, g);
        return (g + 1) << VERSION_EPOCH_SHIFT;
    }
    return version;
}

/* What is weightless is dead as it comes, and not once more when it goes. */
static void count_weightless(const struct arena *a, const struct record *r, uint64_t bytes)
{
    if (record_is_weightless(a, r))
        segment_add_dead(a, (uint64_t)((const char *)r - a->base), bytes);
}

/* @fresh was published, @old superseded. */
static inline void count_change(struct writer *w, const struct index_change *c,
                                const struct record *fresh, const struct record *old)
{
    const struct participant *p = &w->self;
    bool was = old != NULL && old->type == RECORD_PAIR;
    bool is = c->spec.type == RECORD_PAIR;
    if (likely(is && was)) {
        stat_add(p, STAT_puts, 1);
        return;
    }
    if (!is)
        count_weightless(p->arena, fresh, c->bytes);
    if (old != NULL && !was)
        count_weightless(p->arena, old, 0 - record_size(old));
    if (old == NULL || was != is)
        stat_add(p, is ? STAT_keys_added : STAT_keys_removed, 1);
    if (!is)
        stat_add(p, STAT_tombstones_added, 1);
    if (old != NULL && !was)
        stat_add(p, STAT_tombstones_dropped, 1);
    stat_add(p, is ? STAT_puts : STAT_deletes, 1);
}

/* Have a ticket: the change would fill an EMPTY. */
static int need_ticket(struct writer *w, const struct place *at)
{
    const struct arena *a = w->self.arena;
    if (table_ticket(a, &w->resizer.tickets, table_ref(a, at->t)))
        return 0;
    return INDEX_NEED_TICKET;
}

/*
 * R18, where there is an image: a put into an EMPTY is the FIRST of its key, a tombstone tells
 * which FIRST record it supersedes.  Its segment stays as it is as long as we are in our section.
 * @body: of what stands at @l->at, as record_write() returned it.
 */
static void seal_for_image(const struct arena *a, const struct place *at, const struct append *l,
                           uint32_t body, uint64_t version)
{
    struct record *r = arena_at(a, l->at);
    if (r->type == RECORD_TOMBSTONE && r->vlen == sizeof(struct record_origin)) {
        struct record_origin origin = record_no_origin;
        if (at->old != NULL && at->old->type == RECORD_PAIR &&
            (load_relaxed(&at->old->state) & RECORD_FIRST) != 0) { /* relaxed: never changes */
            origin.segment = arena_segment_of(a, slot_offset(at->word));
            origin.incarnation = load_relaxed(&segment_at(a, origin.segment)->incarnation);
        }
        memcpy((void *)(uintptr_t)record_value(r), &origin, sizeof(origin));
        body = record_check_body(r);
    }
    record_seal(r, body, version, l->seed);
    record_set_marks(r, at->old == NULL ? RECORD_FIRST : 0);
}

/* Of a cache: nobody has read it. */
static NOINLINE void seal_marked(const struct arena *a, const struct place *at,
                                 const struct append *l, uint32_t body, uint64_t version)
{
    struct record *r = arena_at(a, l->at);
    if (a->imaged) {
        seal_for_image(a, at, l, body, version);
        return;
    }
    record_seal(r, body, version, l->seed);
    record_mark_unread(r);
}

/*
 * The heart of it: try until our CAS succeeds or the condition fails.  @r stands at @l->at, whole
 * but for version and crc.  Inside the write section.
 */
static int publish(struct writer *w, struct append *l, struct index_change *c, struct record *r,
                   uint32_t body)
{
    const struct participant *p = &w->self;
    const struct arena *a = p->arena;
    struct index_key k = {.data = c->spec.key, .size = c->spec.klen, .hash = c->hash};
    uint64_t mine = slot_record(slot_tag(c->hash), l->at);
    for (;;) { /* a failed CAS: a writer or a mover of this very slot made progress */
        struct place at;
        if (unlikely(!peek_place(w, &k, &at))) {
            if (find_place(p, &k, &at) != FIND_PLACE)
                return SHMKV_ECORRUPT;
            w->resizer.running = resize_running(a);
            table_view_renew(&w->view, a);
        }
        int rc = 0;
        if (c->condition != INDEX_ALWAYS || c->spec.type == RECORD_TOMBSTONE)
            rc = test_condition(a, c, at.old);
        if (rc == 0 && at.old == NULL)
            rc = need_ticket(w, &at);
        if (unlikely(rc != 0))
            return rc;
        c->version = choose_version(a, at.old);
        if (unlikely(a->marks))
            seal_marked(a, &at, l, body, c->version);
        else
            record_seal(r, body, c->version, l->seed);
        store_release(&p->entry->inflight, l->at); /* the record is whole; pairs with reap [I3] */
        POINT("put.inflight");
        if (at.old != NULL)
            record_mark_published(at.old);
        POINT("put.marked");
        if (cas_acq_rel(at.slot, &at.word, mine)) { /* release: shows the record [I1] */
            POINT("put.cas");
            record_mark_published(r);
            w->resizer.filled = at.old == NULL;
            if (at.old == NULL)
                w->resizer.low = --w->resizer.tickets.count == 0;
            if (at.old != NULL)
                segment_add_dead(a, slot_offset(at.word), at.old_bytes);
            count_change(w, c, r, at.old);
            return 0;
        }
        stat_add(p, STAT_retries, 1);
    }
}

/* While a resize runs a write looks into two tables; the root's bucket is under way already. */
static void prefetch_next(const struct arena *a, uint64_t hash)
{
    uint64_t next = load_acquire(&table_of(a, table_root(a))->next); /* [T1] */
    if (next == 0)
        return;
    const struct table *t = table_of(a, next);
    __builtin_prefetch((const void *)table_first(a, t, hash));
}

static void decided(const struct participant *p)
{
    POINT("put.used");
    store_release(&p->entry->inflight, 0); /* after `used`; pairs with reap [I3] */
}

/*
 * Write section around a record that stands at @l->at already, or is written now.  The record is
 * written while its bucket comes in, and before anything waits for it: what stands behind a load
 * that misses delays the next call's prefetch, as far as the processor's window reaches.
 */
static FLATTEN int write_section(struct writer *w, struct append *l, struct index_change *c,
                                 bool stands)
{
    const struct participant *p = &w->self;
    const struct arena *a = p->arena;
    int rc;
    epoch_enter_write(p);
    POINT("put.entered");
    if (likely(append_held(l, a))) {
        if (unlikely(w->resizer.running))
            prefetch_next(a, c->hash);
        struct record *r = arena_at(a, l->at);
        uint32_t body = stands ? c->body : record_write(r, &c->spec);
        POINT("put.written");
        POINT_ASSERT(record_size(r) == c->bytes); /* else `used` would lead between records */
        rc = publish(w, l, c, r, body);
        if (rc == 0) {
            append_commit(l, a, c->bytes);
            stat_add(p, STAT_bytes_put, c->bytes);
        }
        decided(p);
        if (unlikely(w->resizer.running)) {
            resize_pay(p, &w->resizer);
            w->resizer.running = resize_running(a);
        }
    } else {
        l->hold.id = SEGMENT_NONE;
        rc = stands ? SHMKV_ECORRUPT : INDEX_AGAIN; /* nobody takes what is pinned (R3) */
    }
    epoch_exit_write(p);
    POINT("put.done");
    return rc;
}

int index_write(struct writer *w, struct index_change *c)
{
    return write_section(w, &w->puts, c, false);
}

int index_publish_reserved(struct writer *w, struct append *l, struct index_change *c)
{
    return write_section(w, l, c, true);
}

/* ---- relocate ------------------------------------------------------------------------------ */

/* Swing the slot from @from to its copy at @to; 0 if the record is not current any more. */
static int swing(struct writer *w, const struct record *from, uint64_t offset)
{
    const struct participant *p = &w->self;
    const struct arena *a = p->arena;
    struct append *l = &w->moves;
    struct index_key k = {.data = record_key(from), .size = from->klen};
    k.hash = hash_key(k.data, k.size, &a->hash_secret);
    for (;;) { /* as in publish() */
        struct place at;
        if (find_place(p, &k, &at) != FIND_PLACE)
            return SHMKV_ECORRUPT;
        if (at.old == NULL || slot_offset(at.word) != offset)
            return 0;
        store_release(&p->entry->inflight, l->at); /* pairs with reap [I3] */
        POINT("relocate.inflight");
        record_mark_published(from);
        if (cas_acq_rel(at.slot, &at.word, slot_record(slot_tag(k.hash), l->at))) { /* [I1] */
            POINT("relocate.cas");
            return INDEX_RELOCATED;
        }
        stat_add(p, STAT_retries, 1);
    }
}

/* Inside the write section, the victim is ours, so @from stays as it is. */
static int copy_and_swing(struct writer *w, uint64_t from)
{
    const struct arena *a = w->self.arena;
    struct append *l = &w->moves;
    const struct record *r = arena_at(a, from);
    uint64_t bytes = record_size(r);
    uint64_t id = arena_segment_of(a, from);
    uint64_t seed = record_seed(id, load_relaxed(&segment_at(a, id)->incarnation));
    struct record *copy = arena_at(a, l->at);
    /* R3: its length was written over since room was made, or is while it is copied */
    if (unlikely(!append_has_room(l, bytes)))
        return SHMKV_ECORRUPT;
    record_copy(copy, r, bytes, seed, l->seed);
    if (unlikely(record_size(copy) != bytes))
        return SHMKV_ECORRUPT;
    if (a->cache)
        record_mark_unread(copy);
    POINT("relocate.copied");
    int rc = swing(w, r, from);
    if (rc == INDEX_RELOCATED) {
        record_mark_published(copy);
        append_commit(l, a, bytes);
        segment_add_dead(a, from, bytes);
        count_weightless(a, copy, bytes);
        count_weightless(a, r, 0 - bytes);
        stat_add(&w->self, STAT_relocations, 1);
        stat_add(&w->self, STAT_bytes_relocated, bytes);
    }
    decided(&w->self);
    return rc;
}

int index_relocate(struct writer *w, uint64_t from, uint64_t word)
{
    const struct participant *p = &w->self;
    const struct arena *a = p->arena;
    int rc = 0;
    epoch_enter_write(p);
    if (!append_held(&w->moves, a)) {
        w->moves.hold.id = SEGMENT_NONE;
        rc = INDEX_AGAIN;
    } else if (load_acquire(&segment_at(a, arena_segment_of(a, from))->state) == word) {
        rc = copy_and_swing(w, from);
    }
    epoch_exit_write(p);
    return rc;
}

/* ---- evict --------------------------------------------------------------------------------- */

/* R7: the next record of the key, which nothing in the index reminds of this one, is younger. */
static void outdate(const struct arena *a, const struct record *r)
{
    uint64_t g = epoch_now(a); /* no epoch is above it, see choose_version() */
    if (unlikely(record_epoch_of(r->version) >= g))
        epoch_raise_above(a, g);
}

static void count_eviction(struct writer *w, const struct record *r)
{
    if (r->type != RECORD_PAIR)
        return; /* the tombstone stays counted: its slot is lost until a resize as it was */
    stat_add(&w->self, STAT_evictions, 1);
    stat_add(&w->self, STAT_keys_removed, 1);
    stat_add(&w->self, STAT_tombstones_added, 1);
}

/* Take the record at @offset out of its slot. */
static int vacate(struct writer *w, uint64_t offset)
{
    const struct participant *p = &w->self;
    const struct arena *a = p->arena;
    const struct record *r = arena_at(a, offset);
    struct index_key k = {.data = record_key(r), .size = r->klen};
    k.hash = hash_key(k.data, k.size, &a->hash_secret);
    for (;;) { /* as in publish() */
        struct place at;
        if (find_place(p, &k, &at) != FIND_PLACE)
            return SHMKV_ECORRUPT;
        if (at.old == NULL || slot_offset(at.word) != offset)
            return 0;
        outdate(a, r);
        record_mark_published(r); /* its writer may be dead and undecided */
        POINT("evict.marked");
        if (cas_acq_rel(at.slot, &at.word, slot_evicted(at.word))) { /* [I1] */
            POINT("evict.cas");
            count_eviction(w, r);
            segment_add_dead(a, offset, record_size(r));
            count_weightless(a, r, 0 - record_size(r));
            return INDEX_EVICTED;
        }
        stat_add(p, STAT_retries, 1);
    }
}

int index_evict(struct writer *w, uint64_t from, uint64_t word)
{
    const struct participant *p = &w->self;
    const struct arena *a = p->arena;
    int rc = 0;
    uint64_t outer = epoch_enter(p);
    if (load_acquire(&segment_at(a, arena_segment_of(a, from))->state) == word)
        rc = vacate(w, from);
    epoch_exit(p, outer);
    return rc;
}

/* ---- decide -------------------------------------------------------------------------------- */

bool index_decide(const struct arena *a, uint64_t at)
{
    if (!index_in_log(a, at))
        return false;
    uint64_t id = arena_segment_of(a, at), room = segment_room_at(a, at);
    uint64_t seed = record_seed(id, load_relaxed(&segment_at(a, id)->incarnation));
    const struct record *r = arena_at(a, at);
    if (!record_valid_live(a, r, room, seed))
        return false;
    struct index_key k = {.data = record_key(r), .size = r->klen};
    k.hash = hash_key(k.data, k.size, &a->hash_secret);
    bool damaged = false;
    if (index_lookup(a, &k, &damaged) == r)
        return true;
    /* read after the slot: whoever superseded it had marked it before; pairs with mark_published */
    return (load_acquire(&r->state) & RECORD_PUBLISHED) != 0; /* [I2] */
}
