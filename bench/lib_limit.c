/* SPDX-License-Identifier: MIT */
/* lib_limit.c - the operations of the yardstick; see lib_limit.h. */
#include "lib_limit.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* ---- bytes --------------------------------------------------------------------------------- */

typedef uint64_t vector __attribute__((vector_size(16), aligned(1), may_alias));

static inline bool same_bytes(const char *a, const char *b, size_t n)
{
    vector d = {0, 0};
    size_t i = 0;

    if (n < 16)
        return memcmp(a, b, n) == 0;
    for (; i + 16 <= n; i += 16)
        d |= *(const vector *)(a + i) ^ *(const vector *)(b + i);
    d |= *(const vector *)(a + n - 16) ^ *(const vector *)(b + n - 16);
    return (d[0] | d[1]) == 0;
}

static inline void copy_bytes(char *to, const char *from, size_t n)
{
    size_t i = 0;

    if (n < 16 || n > 256) {
        memcpy(to, from, n);
        return;
    }
    for (; i + 16 <= n; i += 16)
        *(vector *)(to + i) = *(const vector *)(from + i);
    *(vector *)(to + n - 16) = *(const vector *)(from + n - 16);
}

/* ---- find ---------------------------------------------------------------------------------- */

static inline uint64_t limit_hash(const char *key, size_t size)
{
    return XXH3_64bits_withSeed(key, size, LIMIT_SEED);
}

/* The slot of the key, or the EMPTY one where it would stand; *@word is what it holds. */
static inline uint64_t limit_find(const struct limit *l, uint64_t hash, const char *key,
                                  size_t size, uint64_t *word)
{
    uint64_t tag = hash & 0xffff;
    uint64_t at = hash >> l->shift;

    for (;; at = (at + 1) & l->mask) {
        uint64_t w = atomic_load_explicit(&l->slots[at], memory_order_acquire);

        *word = w;
        if (w == 0)
            return at;
        if (w >> 48 == tag) {
            struct record *r = limit_record(l, w);

            if (r->klen == size && same_bytes(record_key(r), key, size))
                return at;
        }
    }
}

/* ---- one operation ------------------------------------------------------------------------- */

static inline bool limit_get_one(const struct limit *l, const char *key, size_t size,
                                 uint64_t *touched)
{
    uint64_t word;

    limit_find(l, limit_hash(key, size), key, size, &word);
    if (word == 0)
        return false;
    struct record *r = limit_record(l, word);
    *touched += batch_touch(record_value(r), r->vlen);
    return true;
}

static bool limit_chunk(struct limit *l)
{
    uint64_t at = atomic_fetch_add_explicit(&l->head->cursor, LIMIT_CHUNK, memory_order_relaxed);

    if (at + LIMIT_CHUNK > l->head->total_bytes)
        return false;
    l->at = at;
    l->end = at + LIMIT_CHUNK;
    return true;
}

/* The record is written while the slot is under way. */
static inline bool limit_put_one(struct limit *l, const struct workload *w, const char *key,
                                 const char *value)
{
    uint64_t hash = limit_hash(key, w->key_size);
    uint64_t bytes = sizeof(struct record) + round_up8(w->key_size) + round_up8(w->value_size);
    uint64_t at;
    uint64_t word;

    __builtin_prefetch((const void *)&l->slots[hash >> l->shift], 1);
    if (l->at + bytes > l->end && !limit_chunk(l))
        return false;
    struct record *r = (struct record *)(void *)(l->base + l->at);
    *r = (struct record){.state = 1,
                         .version = hash,
                         .vlen = (uint32_t)w->value_size,
                         .klen = (uint16_t)w->key_size,
                         .type = 1};
    copy_bytes((char *)(r + 1), key, w->key_size);
    copy_bytes((char *)(r + 1) + round_up8(w->key_size), value, w->value_size);
    do {
        at = limit_find(l, hash, key, w->key_size, &word);
    } while (!atomic_compare_exchange_strong_explicit(&l->slots[at], &word,
                                                      (hash & 0xffff) << 48 | l->at / 8,
                                                      memory_order_acq_rel, memory_order_relaxed));
    l->at += bytes;
    return true;
}

/* ---- batches ------------------------------------------------------------------------------- */

/*
 * The loops work on copies in local variables, and everything they call is inlined (flatten): the
 * fewer instructions an operation has, the more operations' cache misses overlap.
 */

__attribute__((flatten)) static uint64_t limit_get(void *context, struct batch *b)
{
    const struct limit l = *(struct limit *)context;
    size_t size = b->workload->key_size;
    const char *key = batch_key(b, 0);
    const char *end = batch_key(b, b->count);
    uint64_t touched = 0;
    uint64_t found = 0;

    for (; key < end; key += size)
        found += limit_get_one(&l, key, size, &touched);
    b->touched += touched;
    return found;
}

/* Three passes over sixteen keys: buckets, records, values; each fetches ahead for the next. */
static inline uint64_t limit_get_16(const struct limit *l, const char *keys, size_t size,
                                    uint64_t *touched)
{
    uint64_t hash[ENGINE_MANY];
    uint64_t found = 0;

    for (unsigned i = 0; i < ENGINE_MANY; i++) {
        hash[i] = limit_hash(keys + i * size, size);
        __builtin_prefetch((const void *)&l->slots[hash[i] >> l->shift]);
    }
    for (unsigned i = 0; i < ENGINE_MANY; i++) {
        uint64_t at = hash[i] >> l->shift;
        uint64_t w = atomic_load_explicit(&l->slots[at], memory_order_relaxed);

        while (w != 0 && w >> 48 != (hash[i] & 0xffff)) {
            at = (at + 1) & l->mask;
            w = atomic_load_explicit(&l->slots[at], memory_order_relaxed);
        }
        const char *r = (const char *)limit_record(l, w);
        __builtin_prefetch(r);
        __builtin_prefetch(r + 64);
    }
    for (unsigned i = 0; i < ENGINE_MANY; i++) {
        uint64_t word;

        limit_find(l, hash[i], keys + i * size, size, &word);
        if (word != 0) {
            struct record *r = limit_record(l, word);
            *touched += batch_touch(record_value(r), r->vlen);
            found++;
        }
    }
    return found;
}

__attribute__((flatten)) static uint64_t limit_mget(void *context, struct batch *b)
{
    const struct limit l = *(struct limit *)context;
    size_t size = b->workload->key_size;
    uint64_t touched = 0;
    uint64_t found = 0;

    for (uint64_t i = 0; i < b->count; i += ENGINE_MANY)
        found += limit_get_16(&l, batch_key(b, i), size, &touched);
    b->touched += touched;
    return found;
}

__attribute__((flatten)) static uint64_t limit_put(void *context, struct batch *b)
{
    const struct workload w = *b->workload;
    struct limit l = *(struct limit *)context;
    const char *key = batch_key(b, 0);
    uint64_t done = 0;

    for (uint64_t i = 0; i < b->count; i++, key += w.key_size)
        done += limit_put_one(&l, &w, key, workload_value_at(&w, b->at + i));
    *(struct limit *)context = l;
    return done;
}

__attribute__((flatten)) static uint64_t limit_delete(void *context, struct batch *b)
{
    const struct limit l = *(struct limit *)context;
    size_t size = b->workload->key_size;
    uint64_t done = 0;

    for (uint64_t i = 0; i < b->count; i++) {
        const char *key = batch_key(b, i);
        uint64_t word;
        uint64_t at = limit_find(&l, limit_hash(key, size), key, size, &word);

        done += word != 0 &&
                atomic_compare_exchange_strong_explicit(&l.slots[at], &word, LIMIT_DELETED,
                                                        memory_order_acq_rel, memory_order_relaxed);
    }
    return done;
}

__attribute__((flatten)) static uint64_t limit_mix(void *context, struct batch *b)
{
    const struct workload w = *b->workload;
    const uint8_t *write = b->stream->write + b->at;
    struct limit l = *(struct limit *)context;
    const char *key = batch_key(b, 0);
    uint64_t touched = 0;
    uint64_t done = 0;

    for (uint64_t i = 0; i < b->count; i++, key += w.key_size)
        done += write[i] ? limit_put_one(&l, &w, key, workload_value_at(&w, b->at + i))
                         : limit_get_one(&l, key, w.key_size, &touched);
    b->touched += touched;
    *(struct limit *)context = l;
    return done;
}

static uint64_t limit_verify(void *context, struct batch *b)
{
    struct limit *l = context;
    size_t size = b->workload->key_size;
    uint64_t right = 0;

    for (uint64_t i = 0; i < b->count; i++) {
        const char *key = batch_key(b, i);
        uint64_t word;

        limit_find(l, limit_hash(key, size), key, size, &word);
        if (word != 0) {
            struct record *r = limit_record(l, word);
            right += workload_value_right(b->workload, record_value(r), r->vlen);
        }
    }
    return right;
}

const struct engine engine_limit = {
    .name = "limit",
    .create = limit_create,
    .destroy = limit_destroy,
    .attach = limit_attach,
    .detach = limit_detach,
    .usage = limit_usage,
    .explain = limit_explain,
    .verify = limit_verify,
    .run = {[OP_GET] = limit_get,
            [OP_MGET] = limit_mget,
            [OP_FRESH] = limit_put,
            [OP_GROWING] = limit_put,
            [OP_OVERWRITE] = limit_put,
            [OP_DELETE] = limit_delete,
            [OP_MIX] = limit_mix},
};
