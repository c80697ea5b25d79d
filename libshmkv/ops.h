/* SPDX-License-Identifier: MIT */
/* ops.h - what the public write calls share. */
#ifndef SHMKV_OPS_H
#define SHMKV_OPS_H

#include "notify.h"
#include "store.h"

/* A change of one key, as asked for. */
struct ops_write {
    const void *key;
    size_t klen;
    const void *val;
    size_t vlen;
    enum record_type type;
    enum index_condition condition;
    uint64_t expected; /* version, for INDEX_IF_VERSION */
    uint64_t expiry;   /* store clock, ms; 0: none */
    uint64_t hash;
};

/* A copy of a key's current value, or what stands for its absence. */
struct ops_copy {
    void *value; /* malloc'ed with @spare bytes behind it; NULL if absent */
    size_t size;
    uint64_t version; /* 0: absent */
    uint64_t expiry;
};

/* 0, SHMKV_EKEY, SHMKV_EINVAL (NULL with a length), each with a text. */
int ops_check_key(const void *key, size_t klen);

/* Do it: find room, take part in resizes, publish, wake.  *@version, if given: what was written. */
int ops_change(struct context *c, const struct ops_write *w, uint64_t *version);

/* What a writer owes after some of its writes: give a leased segment back, prepare a table. */
void ops_tend(struct context *c);

/*
 * What writes inside a read section used up of a full store comes back as far as it can: inside of
 * the section it could not, so the next ones would be refused.  Nothing inside another section.
 */
void ops_regain(struct context *c);

/* What comes after a publication, outside of its section. */
static ALWAYS_INLINE void ops_published(struct context *c, uint64_t hash)
{
    notify_change(&c->writer.self, hash);
    if (unlikely(c->writer.puts.hold.crowded || c->writer.resizer.low))
        ops_tend(c);
}

/*
 * ops_try() - one attempt where nothing stands in the way: the common case of ops_change().
 * 0, SHMKV_ENOTFOUND; anything else: nothing happened, ops_change() will say why.
 */
static ALWAYS_INLINE int ops_try(struct context *c, struct index_change *ch)
{
    struct writer *wr = &c->writer;
    if (unlikely(wr->busy || !append_has_room(&wr->puts, ch->bytes)))
        return INDEX_AGAIN;
    wr->busy = true;
    barrier_compiler(); /* as in ops_change() [B1] */
    int rc = index_write(wr, ch);
    if (likely(rc == 0))
        ops_published(c, ch->hash);
    barrier_compiler(); /* [B1] */
    wr->busy = false;
    return rc;
}

/* May ops_try() be used: sound arguments, a writable store, no keeper to be started?  Whether
 * there is room for such a record it sees itself. */
static inline bool ops_is_plain(const struct context *c, const void *key, size_t klen, size_t vlen)
{
    return c->plain && key != NULL && klen - 1 < SHMKV_KEY_MAX && vlen <= UINT32_MAX &&
           load_relaxed(&c->writer.self.arena->sb->state) == STORE_READY; /* final */
}

/* The same around a record that stands in c->reservation. */
int ops_change_reserved(struct context *c, const struct ops_write *w, uint64_t *version);

/* In ops_durable.c: SHMKV_ENOTSUP for a volatile store; wait as shmkv_sync(). */
int ops_check_image(const struct store *s);
int ops_sync(struct context *c, int64_t timeout_ms);

/* Copy what is there now; 0 also if absent.  The caller frees copy->value. */
int ops_copy(struct context *c, const struct ops_write *w, size_t spare, struct ops_copy *copy);

/* Have room for a record of @bytes in @l, cleaning and waiting as shmkv_put() says. */
int ops_reserve(struct context *c, struct append *l, enum segment_purpose purpose, uint64_t bytes);

/* The store-clock time at which a ttl from now ends; 0 stays 0. */
uint64_t ops_expiry(const struct store *s, uint64_t ttl_ms);

/* What is wrong with a value of @vlen bytes under a key of @klen; 0: nothing. */
int ops_check_size(const struct arena *a, size_t klen, size_t vlen);

/* Shorthand for the current record of a key, NULL if absent or expired.  Inside a section. */
static inline const struct record *ops_find(const struct context *c, const void *key, size_t klen,
                                            uint64_t hash, int *rc)
{
    bool damaged = false;
    struct index_key k = {.data = key, .size = klen, .hash = hash};
    const struct record *r = index_lookup(&c->store->arena, &k, &damaged);
    *rc = damaged ? SHMKV_ECORRUPT : 0;
    return index_is_absent(&c->store->arena, r) ? NULL : r;
}

#endif
