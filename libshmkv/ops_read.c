/* SPDX-License-Identifier: MIT */
/* ops_read.c - the public read calls. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "evict.h"
#include "ops.h"

#define BATCH 32u

struct shmkv_reader {
    struct context *context;
};

static void begin(struct context *c, struct shmkv_section *section)
{
    section->context = c;
    section->outer = epoch_enter(&c->writer.self);
}

/* The thread's first use of the store, a change from one store to another, or it must fence. */
static NOINLINE int begin_slowly(struct shmkv *db, struct shmkv_section *section)
{
    struct context *c;
    int rc = store_find_context(db, &c);
    if (rc == 0)
        begin(c, section);
    else
        section->context = NULL;
    return rc;
}

int shmkv_begin(struct shmkv *db, struct shmkv_section *section)
{
    struct store *s = load_relaxed(&db->store); /* relaxed: as in store_context() */
    struct context *c = store_current;
    if (unlikely(c->unfenced != s || s == NULL))
        return begin_slowly(db, section);
    section->context = c;
    section->outer = epoch_enter_unfenced(&c->writer.self);
    return 0;
}

void shmkv_end(struct shmkv_section *section)
{
    struct context *c = section->context;
    if (likely(c != NULL && c->writer.self.entry != NULL)) /* else it is the parent's */
        epoch_exit(&c->writer.self, section->outer);
    section->context = NULL;
}

static void fill(const struct record *r, struct shmkv_item *item)
{
    item->value = record_value(r);
    item->size = r->vlen;
    item->version = r->version;
    item->expires_ms = (int64_t)record_expiry(r);
}

static int damaged(const struct context *c)
{
    return error_set(SHMKV_ECORRUPT, "%s: the index is damaged; shmkv check lists where",
                     c->store->arena.name);
}

/* @c: of the section; NULL: it was not begun, or its end has come. */
static int no_section(const struct context *c)
{
    if (c == NULL)
        return error_set(SHMKV_EINVAL, "the section is not open; call shmkv_begin() first");
    return error_set(SHMKV_EINVAL, "the section was begun before a fork, or its handle was closed; "
                                   "call shmkv_begin() anew");
}

static ALWAYS_INLINE void fill_plain(const struct record *r, size_t klen, struct shmkv_item *item)
{
    item->value = (const char *)(r + 1) + align_up(klen, 8);
    item->size = r->vlen;
    item->version = r->version;
    item->expires_ms = 0;
}

/* What is not the common case: refusals, long keys, a running resize, expiry, absence, and what is
 * read for the first time in a cache. */
static NOINLINE int get_slowly(struct context *c, const void *key, size_t klen,
                               struct shmkv_item *item)
{
    if (c == NULL || c->store == NULL)
        return no_section(c);
    int rc = ops_check_key(key, klen);
    if (rc != 0)
        return rc;
    struct index_key k = {.data = key, .size = klen};
    const struct record *r;
    k.hash = hash_key(key, klen, &c->store->arena.hash_secret);
    if (unlikely(!table_view_is_current(&c->writer.view, &c->store->arena)))
        table_view_renew(&c->writer.view, &c->store->arena);
    if (likely(index_peek(&c->writer, &k, &r))) {
        stat_add(&c->writer.self, STAT_hits, 1);
        fill_plain(r, klen, item);
        return 0;
    }
    r = ops_find(c, key, klen, k.hash, &rc);
    stat_add(&c->writer.self, r != NULL ? STAT_hits : STAT_misses, 1);
    if (r == NULL)
        return rc == 0 ? error_code(SHMKV_ENOTFOUND) : damaged(c);
    if (c->store->arena.cache)
        evict_hit(&c->writer.self, k.hash, r);
    fill(r, item);
    return 0;
}

/*
 * Each instruction between two cache misses is one the next call's misses wait for: what is not
 * the common case goes elsewhere in tail calls, so that nothing has to be saved for it.
 */
FLATTEN int shmkv_get(const struct shmkv_section *section, const void *key, size_t klen,
                      struct shmkv_item *item)
{
    struct context *c = section->context;
    if (unlikely(c == NULL || c->store == NULL || key == NULL || klen - 1 >= HASH_SHORT))
        return get_slowly(c, key, klen, item);
    const struct arena *a = c->writer.self.arena;
    struct index_key k = {.data = key, .size = klen};
    const struct record *r;
    k.hash = hash_key(key, klen, &a->hash_secret);
    if (unlikely(!index_peek(&c->writer, &k, &r)))
        return get_slowly(c, key, klen, item);
    stat_add(&c->writer.self, STAT_hits, 1);
    fill_plain(r, klen, item);
    return 0;
}

/* One of a batch that is not its slot's plain record; 1 found, 0 absent, negative: damaged. */
static NOINLINE int get_one_slowly(struct context *c, const struct shmkv_bytes *key, uint64_t hash,
                                   struct shmkv_item *item)
{
    int rc;
    const struct record *r = ops_find(c, key->data, key->size, hash, &rc);
    if (r != NULL && c->store->arena.cache)
        evict_hit(&c->writer.self, hash, r);
    if (r != NULL)
        fill(r, item);
    else
        *item = (struct shmkv_item){.value = NULL};
    return rc != 0 ? damaged(c) : r != NULL;
}

/* What a batch remembers of a key between its passes. */
struct pending {
    uint64_t hash;
    uint64_t word; /* of its slot; SLOT_EMPTY: not in its home bucket */
    const _Atomic uint64_t *first;
};

/* Three passes, so that the cache misses of each overlap: buckets, records, results. */
static FLATTEN int get_batch(struct context *c, const struct shmkv_bytes *keys, size_t n,
                             struct shmkv_item *items)
{
    const struct arena *a = c->writer.self.arena;
    struct pending pending[BATCH];
    struct table_view view;
    int found = 0;
    if (unlikely(!table_view_renew(&view, a)))
        return damaged(c);
    for (size_t i = 0; i < n; i++) {
        if (unlikely(keys[i].data == NULL || keys[i].size - 1 >= SHMKV_KEY_MAX))
            return ops_check_key(keys[i].data, keys[i].size);
        pending[i].hash = hash_key(keys[i].data, keys[i].size, &a->hash_secret);
        pending[i].first = table_view_first(&view, pending[i].hash);
        __builtin_prefetch((const void *)pending[i].first);
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t hash = pending[i].hash;
        pending[i].word = bucket_candidate(pending[i].first, hash);
        index_prefetch_word(a, pending[i].word);
    }
    for (size_t i = 0; i < n; i++) {
        struct index_key k = {keys[i].data, keys[i].size, pending[i].hash};
        const struct record *r;
        if (likely(index_leads_plain(a, &k, pending[i].word, &r))) {
            fill_plain(r, k.size, &items[i]);
            found++;
            continue;
        }
        int rc = get_one_slowly(c, &keys[i], k.hash, &items[i]);
        if (unlikely(rc < 0))
            return rc;
        found += rc;
    }
    return found;
}

int shmkv_get_many(const struct shmkv_section *section, const struct shmkv_bytes *keys, size_t n,
                   struct shmkv_item *items)
{
    struct context *c = section->context;
    if (unlikely(c == NULL || c->store == NULL))
        return no_section(c);
    if (unlikely(n > INT32_MAX || (n != 0 && (keys == NULL || items == NULL))))
        return error_set(SHMKV_EINVAL, "get_many: a NULL array, or more than 2^31-1 keys");
    int found = 0;
    for (size_t i = 0; i < n; i += BATCH) {
        int rc = get_batch(c, keys + i, min_u64(BATCH, n - i), items + i);
        if (unlikely(rc < 0))
            return rc;
        found += rc;
    }
    stat_add(&c->writer.self, STAT_hits, (uint64_t)found);
    stat_add(&c->writer.self, STAT_misses, n - (uint64_t)found);
    return found;
}

int shmkv_read(struct shmkv *db, const void *key, size_t klen, void *buf, size_t cap,
               struct shmkv_item *item)
{
    struct shmkv_section section;
    struct shmkv_item it;
    if (unlikely(buf == NULL && cap != 0))
        return error_set(SHMKV_EINVAL, "read: the buffer is NULL");
    int rc = shmkv_begin(db, &section);
    if (unlikely(rc != 0))
        return rc;
    rc = shmkv_get(&section, key, klen, &it);
    if (rc == 0) {
        if (cap != 0)
            memcpy(buf, it.value, min_u64(it.size, cap));
        it.value = buf;
        if (item != NULL)
            *item = it;
        if (it.size > cap)
            rc = error_set(SHMKV_EBUFFER, "the value has %zu bytes, the buffer %zu", it.size, cap);
    }
    shmkv_end(&section);
    return rc;
}

int shmkv_exists(struct shmkv *db, const void *key, size_t klen)
{
    struct shmkv_section section;
    struct shmkv_item item;
    int rc = shmkv_begin(db, &section);
    if (rc == 0)
        rc = shmkv_get(&section, key, klen, &item);
    shmkv_end(&section);
    return rc;
}

int shmkv_get_clock(struct shmkv *db, int64_t *now_ms)
{
    struct context *c;
    if (now_ms == NULL)
        return error_set(SHMKV_EINVAL, "get_clock: the result is NULL");
    int rc = store_context(db, &c);
    if (rc == 0)
        *now_ms = (int64_t)arena_clock(&c->store->arena);
    return rc;
}

/* ---- explicit readers ---------------------------------------------------------------------- */

int shmkv_reader_open(struct shmkv *db, struct shmkv_reader **reader)
{
    struct context *c;
    if (reader == NULL)
        return error_set(SHMKV_EINVAL, "reader_open: the result is NULL");
    *reader = NULL;
    int rc = store_context(db, &c);
    if (rc != 0)
        return rc;
    struct shmkv_reader *r = malloc(sizeof(*r));
    if (r == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for a reader", c->store->arena.name);
    rc = store_add_reader(c->store, &r->context);
    if (rc != 0) {
        free(r);
        return rc;
    }
    *reader = r;
    return 0;
}

int shmkv_reader_begin(struct shmkv_reader *reader, struct shmkv_section *section)
{
    section->context = NULL;
    if (!reader->context->ours)
        return error_set(SHMKV_EINVAL,
                         "the reader was opened before a fork; open one in the child");
    if (reader->context->store == NULL)
        return error_set(SHMKV_ECLOSED, "the reader's handle was closed");
    begin(reader->context, section);
    return 0;
}

void shmkv_reader_close(struct shmkv_reader *reader)
{
    if (reader == NULL)
        return;
    store_remove_reader(reader->context);
    free(reader);
}
