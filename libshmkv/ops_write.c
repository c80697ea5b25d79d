/* SPDX-License-Identifier: MIT */
/* ops_write.c - the public calls that store or remove what the caller gives. */
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "ops.h"

#define BATCH 16u

static const struct shmkv_put_options no_options;

/* The hash of a key; its bucket is fetched meanwhile. */
static inline uint64_t prefetch_one(struct context *c, const void *key, size_t klen)
{
    const struct arena *a = c->writer.self.arena;
    uint64_t hash = hash_key(key, klen, &a->hash_secret);
    index_prefetch(a, hash);
    return hash;
}

/* The same for a key that is yet to be checked. */
static uint64_t prefetch_unchecked(struct context *c, const void *key, size_t klen)
{
    return prefetch_one(c, key, key != NULL && klen <= SHMKV_KEY_MAX ? klen : 0);
}

static int check_value(const struct arena *a, const struct ops_write *w)
{
    if (unlikely(w->val == NULL && w->vlen != 0))
        return error_set(SHMKV_EINVAL, "the value is NULL but has %zu bytes", w->vlen);
    return ops_check_size(a, w->klen, w->vlen);
}

static int check_flags(const struct shmkv_put_options *o)
{
    const unsigned known = SHMKV_IF_ABSENT | SHMKV_IF_PRESENT | SHMKV_KEEP_TTL | SHMKV_DURABLE;
    const unsigned both = SHMKV_IF_ABSENT | SHMKV_IF_PRESENT;
    if (unlikely((o->flags & ~known) != 0 || (o->flags & both) == both ||
                 ((o->flags & SHMKV_KEEP_TTL) != 0 && o->ttl_ms != 0)))
        return error_set(SHMKV_EINVAL, "put: unknown flags %#x, or flags that exclude each other",
                         o->flags);
    return 0;
}

static enum index_condition condition_of(const struct shmkv_put_options *o)
{
    if (likely(o->flags == 0))
        return INDEX_ALWAYS;
    if ((o->flags & SHMKV_IF_ABSENT) != 0)
        return INDEX_IF_ABSENT;
    return (o->flags & SHMKV_IF_PRESENT) != 0 ? INDEX_IF_PRESENT : INDEX_ALWAYS;
}

/* The old expiry must be that of the version replaced: a conditional write, until it succeeds. */
static int put_keeping_ttl(struct context *c, struct ops_write *w,
                           const struct shmkv_put_options *o)
{
    enum index_condition asked = condition_of(o);
    for (;;) { /* a mismatch: somebody else's write succeeded */
        uint64_t outer = epoch_enter(&c->writer.self);
        int rc;
        const struct record *r = ops_find(c, w->key, w->klen, w->hash, &rc);
        w->expected = r != NULL ? r->version : 0;
        w->expiry = r != NULL ? record_expiry(r) : 0;
        epoch_exit(&c->writer.self, outer);
        if (rc == 0 && asked == INDEX_IF_ABSENT && w->expected != 0)
            rc = error_code(SHMKV_EEXISTS);
        if (rc == 0 && asked == INDEX_IF_PRESENT && w->expected == 0)
            rc = error_code(SHMKV_ENOTFOUND);
        if (rc != 0)
            return rc;
        w->condition = INDEX_IF_VERSION;
        rc = ops_change(c, w, o->version);
        if (rc != SHMKV_EMISMATCH)
            return rc;
    }
}

/* @w holds key, value and hash; all but the condition of a cas is in @o. */
static int put(struct context *c, struct ops_write *w, const struct shmkv_put_options *o)
{
    int rc = ops_check_key(w->key, w->klen);
    if (likely(rc == 0))
        rc = check_value(&c->store->arena, w);
    if (unlikely(rc != 0))
        return rc;
    w->type = RECORD_PAIR;
    w->expiry = likely(o->ttl_ms == 0) ? 0 : ops_expiry(c->store, o->ttl_ms);
    if (unlikely((o->flags & SHMKV_KEEP_TTL) != 0) && w->condition != INDEX_IF_VERSION)
        return put_keeping_ttl(c, w, o);
    return ops_change(c, w, o->version);
}

static int check_durable(const struct context *c, const struct shmkv_put_options *o)
{
    return (o->flags & SHMKV_DURABLE) != 0 ? ops_check_image(c->store) : 0;
}

/* After a write that returned @rc. */
static int durable(struct context *c, const struct shmkv_put_options *o, int rc)
{
    return rc == 0 && (o->flags & SHMKV_DURABLE) != 0 ? ops_sync(c, -1) : rc;
}

/* After one that stored @stored pairs before: they were to be durable, too.  Its text is kept. */
static int durable_before(struct context *c, const struct shmkv_put_options *o, size_t stored,
                          int rc)
{
    char text[ERROR_TEXT_BYTES];
    if (rc == 0 || stored == 0 || (o->flags & SHMKV_DURABLE) == 0)
        return durable(c, o, rc);
    snprintf(text, sizeof(text), "%s", error_text());
    int lost = ops_sync(c, -1);
    return lost != 0 ? lost : error_set(rc, "%s", text);
}

/* What is not the common case: options, refusals, a full segment, the first writes of a thread. */
static NOINLINE int put_slowly(struct shmkv *db, struct ops_write *w,
                               const struct shmkv_put_options *opt)
{
    const struct shmkv_put_options *o = opt != NULL ? opt : &no_options;
    struct context *c;
    int rc = store_writer(db, &c);
    if (rc == 0)
        rc = check_flags(o);
    if (rc == 0)
        rc = check_durable(c, o);
    if (rc != 0)
        return rc;
    w->condition = condition_of(o);
    w->hash = prefetch_unchecked(c, w->key, w->klen);
    return durable(c, o, put(c, w, o));
}

/* Flat, as shmkv_get(). */
FLATTEN int shmkv_put(struct shmkv *db, const void *key, size_t klen, const void *val, size_t vlen,
                      const struct shmkv_put_options *opt)
{
    struct context *c = store_last_context(db);
    if (likely(c != NULL && opt == NULL && val != NULL && ops_is_plain(c, key, klen, vlen))) {
        struct index_change ch;
        ch.hash = prefetch_one(c, key, klen); /* before all else */
        ch.condition = INDEX_ALWAYS;
        ch.bytes = record_bytes(klen, vlen, false);
        ch.spec = (struct record_spec){.key = key,
                                       .value = val,
                                       .klen = (uint32_t)klen,
                                       .vlen = (uint32_t)vlen,
                                       .type = RECORD_PAIR};
        if (likely(ops_try(c, &ch) == 0))
            return 0;
    }
    struct ops_write w = {.key = key, .klen = klen, .val = val, .vlen = vlen};
    return put_slowly(db, &w, opt);
}

int shmkv_cas(struct shmkv *db, const void *key, size_t klen, uint64_t expected, const void *val,
              size_t vlen, const struct shmkv_put_options *opt)
{
    const struct shmkv_put_options *o = opt != NULL ? opt : &no_options;
    struct context *c;
    int rc = store_writer(db, &c);
    if (rc == 0 && (o->flags & ~(unsigned)SHMKV_DURABLE) != 0)
        rc = error_set(SHMKV_EINVAL, "cas: its condition is the version; of the flags it takes "
                                     "SHMKV_DURABLE only");
    if (rc == 0)
        rc = check_durable(c, o);
    if (rc != 0)
        return rc;
    struct ops_write w = {.key = key, .klen = klen, .val = val, .vlen = vlen};
    w.condition = INDEX_IF_VERSION;
    w.expected = expected;
    w.hash = prefetch_unchecked(c, key, klen);
    return durable(c, o, put(c, &w, o));
}

static int remove_key(struct context *c, const void *key, size_t klen, uint64_t hash)
{
    struct ops_write w = {.key = key, .klen = klen, .type = RECORD_TOMBSTONE, .hash = hash};
    int rc = ops_check_key(key, klen);
    return likely(rc == 0) ? ops_change(c, &w, NULL) : rc;
}

FLATTEN int shmkv_delete(struct shmkv *db, const void *key, size_t klen)
{
    struct context *c;
    int rc = store_context(db, &c);
    if (unlikely(rc != 0))
        return rc;
    uint64_t hash = prefetch_unchecked(c, key, klen);
    if (likely(ops_is_plain(c, key, klen, 0))) {
        uint32_t vlen = c->writer.self.arena->tombstone_bytes;
        struct index_change ch = {.hash = hash, .bytes = record_bytes(klen, vlen, false)};
        ch.spec = (struct record_spec){.key = key,
                                       .value = &record_no_origin,
                                       .klen = (uint32_t)klen,
                                       .vlen = vlen,
                                       .type = RECORD_TOMBSTONE};
        rc = ops_try(c, &ch);
        if (likely(rc == 0))
            return 0;
        if (rc == SHMKV_ENOTFOUND)
            return error_code(rc);
    }
    rc = store_check_writable(c);
    return rc != 0 ? rc : remove_key(c, key, klen, hash);
}

/* ---- batches ------------------------------------------------------------------------------- */

/* Hash and fetch ahead what the next writes will touch: buckets, then the records they replace. */
static void prefetch(struct context *c, const struct shmkv_bytes *keys, size_t n, uint64_t *hash)
{
    const struct arena *a = &c->store->arena;
    for (size_t i = 0; i < n; i++)
        hash[i] = prefetch_unchecked(c, keys[i].data, keys[i].size);
    uint64_t outer = epoch_enter(&c->writer.self);
    for (size_t i = 0; i < n; i++)
        index_prefetch_record(a, hash[i]);
    epoch_exit(&c->writer.self, outer);
}

int shmkv_put_many(struct shmkv *db, const struct shmkv_bytes *keys,
                   const struct shmkv_bytes *values, size_t n, const struct shmkv_put_options *opt,
                   size_t *done)
{
    const struct shmkv_put_options *o = opt != NULL ? opt : &no_options;
    struct context *c;
    size_t unused = 0, *stored = done != NULL ? done : &unused;
    *stored = 0;
    int rc = store_writer(db, &c);
    if (rc == 0)
        rc = check_flags(o);
    if (rc == 0)
        rc = check_durable(c, o);
    if (rc != 0)
        return rc;
    if (n != 0 && (keys == NULL || values == NULL))
        return error_set(SHMKV_EINVAL, "put_many: an array is NULL");
    for (size_t i = 0; rc == 0 && i < n; i += BATCH) {
        uint64_t hash[BATCH];
        size_t m = min_u64(BATCH, n - i);
        prefetch(c, keys + i, m, hash);
        for (size_t k = 0; rc == 0 && k < m; k++) {
            struct ops_write w = {.key = keys[i + k].data, .klen = keys[i + k].size};
            w.val = values[i + k].data;
            w.vlen = values[i + k].size;
            w.condition = condition_of(o);
            w.hash = hash[k];
            rc = put(c, &w, o);
            *stored += rc == 0;
        }
    }
    return durable_before(c, o, *stored, rc);
}

int shmkv_delete_many(struct shmkv *db, const struct shmkv_bytes *keys, size_t n, size_t *removed)
{
    struct context *c;
    size_t unused = 0, *gone = removed != NULL ? removed : &unused;
    *gone = 0;
    int rc = store_writer(db, &c);
    if (rc != 0)
        return rc;
    if (n != 0 && keys == NULL)
        return error_set(SHMKV_EINVAL, "delete_many: the array is NULL");
    for (size_t i = 0; rc == 0 && i < n; i += BATCH) {
        uint64_t hash[BATCH];
        size_t m = min_u64(BATCH, n - i);
        prefetch(c, keys + i, m, hash);
        for (size_t k = 0; rc == 0 && k < m; k++) {
            rc = remove_key(c, keys[i + k].data, keys[i + k].size, hash[k]);
            *gone += rc == 0;
            rc = rc == SHMKV_ENOTFOUND ? 0 : rc;
        }
    }
    return rc;
}
