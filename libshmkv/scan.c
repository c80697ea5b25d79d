/* SPDX-License-Identifier: MIT */
/* scan.c - see scan.h for what a step promises. */
#include "scan.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "index.h"
#include "point.h"
#include "scan_glob.h"

#define WINDOW_BUCKETS 4u /* whose records are fetched before the first is looked at */

/* What one step is after. */
struct step {
    const struct arena *arena;
    const struct scan_filter *filter;
    struct scan_batch *batch;
    uint64_t first, last; /* hashes */
    uint32_t table;
};

/* ---- one record ---------------------------------------------------------------------------- */

static int add(struct scan_batch *b, struct scan_entry entry)
{
    if (b->count == b->room) {
        size_t room = b->room != 0 ? b->room * 2 : 128;
        struct scan_entry *grown = realloc(b->entries, room * sizeof(*grown));
        if (grown == NULL)
            return error_set(SHMKV_ESYSTEM, "scan: no memory for a batch of %zu keys", room);
        b->entries = grown;
        b->room = room;
    }
    b->entries[b->count++] = entry;
    return 0;
}

static bool passes(const struct scan_filter *f, const char *key, size_t klen)
{
    if (f->prefix_len > klen)
        return false;
    if (f->prefix_len != 0 && memcmp(key, f->prefix, f->prefix_len) != 0)
        return false;
    return f->match == NULL || scan_glob_match(f->match, key, klen);
}

/* The record behind a word, NULL if it does not lead to a whole one (R3). */
static const struct record *record_of(const struct arena *a, uint64_t word)
{
    uint64_t offset = slot_offset(word);
    if (unlikely(!index_in_log(a, offset)))
        return NULL;
    const struct record *r = arena_at(a, offset);
    uint64_t room = segment_high(a) << a->segment_shift;
    bool whole = r->klen != 0 && offset - a->log_offset + record_size(r) <= room;
    return likely(whole) ? r : NULL;
}

static int collect_word(const struct step *s, uint64_t word)
{
    const struct arena *a = s->arena;
    if (!slot_is_record(word))
        return 0;
    const struct record *r = record_of(a, word);
    uint64_t hash = r != NULL ? hash_key(record_key(r), r->klen, &a->hash_secret) : 0;
    if (unlikely(r == NULL || slot_tag(hash) != slot_tag_of(word))) {
        s->batch->damaged = true;
        return 0;
    }
    if (hash < s->first || hash > s->last || !passes(s->filter, record_key(r), r->klen))
        return 0;
    return add(s->batch, (struct scan_entry){.hash = hash, .record = r, .table = s->table});
}

/* ---- one table ----------------------------------------------------------------------------- */

struct window {
    uint64_t words[WINDOW_BUCKETS * BUCKET_SLOTS];
    unsigned count;
    bool ended; /* at the end of the last home's probe */
};

/* Load the slots of a bucket and fetch their records; @last: probes that it ends end here. */
static void load_bucket(const struct arena *a, const _Atomic uint64_t *bucket, bool last,
                        struct window *w)
{
    for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
        uint64_t word = load_acquire(&bucket[i]); /* shows the record behind it [I1] */
        w->ended |= last && (word == SLOT_EMPTY || word == SLOT_MOVED_EMPTY);
        if (slot_is_record(word) && index_in_log(a, slot_offset(word)))
            __builtin_prefetch(arena_at(a, slot_offset(word)));
        w->words[w->count++] = word;
    }
}

static int collect_table(const struct step *s, const struct table_shape *t)
{
    const struct arena *a = s->arena;
    uint64_t home = table_shape_home(t, s->first);
    uint64_t homes = table_shape_home(t, s->last) - home + 1;
    struct window w = {.ended = false};
    for (uint64_t n = 0; n <= t->mask && !w.ended;) {
        w.count = 0;
        for (unsigned i = 0; i < WINDOW_BUCKETS && n <= t->mask && !w.ended; i++, n++)
            load_bucket(a, table_shape_bucket(t, home + n), n + 1 >= homes, &w);
        for (unsigned i = 0; i < w.count; i++) {
            int rc = collect_word(s, w.words[i]);
            if (rc != 0)
                return rc;
        }
    }
    return 0;
}

/* ---- one step ------------------------------------------------------------------------------ */

/* By hash, and of one hash the later table first. */
static bool comes_before(const struct scan_entry *x, const struct scan_entry *y)
{
    return x->hash != y->hash ? x->hash < y->hash : x->table > y->table;
}

/* By insertion: the entries come nearly sorted, and few. */
static void sort(struct scan_batch *b)
{
    for (size_t i = 1; i < b->count; i++) {
        struct scan_entry e = b->entries[i];
        size_t at = i;
        for (; at > 0 && comes_before(&e, &b->entries[at - 1]); at--)
            b->entries[at] = b->entries[at - 1];
        b->entries[at] = e;
    }
}

/* Is the key of entry @i also that of an entry before it, which is of a later table? */
static bool is_older_copy(const struct scan_batch *b, size_t i)
{
    const struct record *r = b->entries[i].record;
    for (size_t k = i; k > 0 && b->entries[k - 1].hash == b->entries[i].hash; k--) {
        const struct record *other = b->entries[k - 1].record;
        if (other->klen == r->klen && memcmp(record_key(other), record_key(r), r->klen) == 0)
            return true;
    }
    return false;
}

/* Keep one entry per key, and those only that users see.  From the end, so that entries are still
 * there to compare with. */
static void keep_current(const struct arena *a, struct scan_batch *b)
{
    size_t first = b->count;
    for (size_t i = b->count; i-- > 0;) {
        if (!is_older_copy(b, i) && !index_is_absent(a, b->entries[i].record))
            b->entries[--first] = b->entries[i];
    }
    b->count -= first;
    if (first != 0 && b->count != 0)
        memmove(b->entries, b->entries + first, b->count * sizeof(*b->entries));
}

int scan_step(const struct arena *a, const struct scan_filter *f, uint64_t cursor, uint64_t homes,
              struct scan_batch *b)
{
    uint64_t ref = table_root(a);
    struct table_shape t;
    struct step s = {.arena = a, .filter = f, .batch = b, .first = cursor, .last = UINT64_MAX};
    b->count = 0;
    b->next = 0;
    b->damaged = !table_look(a, ref, &t);
    if (unlikely(b->damaged))
        return 0;
    uint64_t home = table_shape_home(&t, cursor);
    if (homes < t.mask + 1 - home)
        s.last = ((home + homes) << t.shift) - 1;
    b->next = s.last + 1; /* 0 behind the last hash */
    for (;;) {
        int rc = collect_table(&s, &t);
        if (rc != 0)
            return rc;
        POINT("scan.table");
        ref = table_next(a, table_of(a, ref)); /* after the slots, INV-W2 */
        if (ref == 0)
            break;
        if (unlikely(!table_look(a, ref, &t))) {
            b->damaged = true;
            break;
        }
        s.table++;
    }
    sort(b);
    keep_current(a, b);
    return 0;
}

void scan_free(struct scan_batch *b)
{
    free(b->entries);
    *b = (struct scan_batch){.entries = NULL};
}
