/* SPDX-License-Identifier: MIT */
/*
 * ops_reserve.c - values that the caller fills in place.
 *
 * A reservation owns its segment, pinned, so that it is not taken from a caller who is busy filling
 * between two calls.  Until the commit the record is behind `used`: a death leaves no trace.
 */
#include <string.h>

#include "error.h"
#include "ops.h"

static int begin(struct context *c, const struct ops_write *w, struct shmkv_reservation *r)
{
    struct append *l = &c->reservation;
    const struct arena *a = &c->store->arena;
    uint64_t bytes = record_bytes(w->klen, w->vlen, w->expiry != 0);
    do {
        int rc = ops_reserve(c, l, SEGMENT_FOR_PUT, bytes);
        if (rc != 0)
            return rc;
    } while (!segment_pin_owner(a, &l->hold)); /* taken at once, by somebody in need; no run is */
    struct record_spec spec = {.key = w->key,
                               .klen = (uint32_t)w->klen,
                               .vlen = (uint32_t)w->vlen,
                               .expiry = w->expiry,
                               .type = RECORD_PAIR};
    struct record *record = arena_at(a, l->at);
    record_write(record, &spec);
    r->context = c;
    r->offset = l->at;
    r->hash = w->hash;
    r->value = (void *)(uintptr_t)record_value(record);
    return 0;
}

int shmkv_reserve(struct shmkv *db, const void *key, size_t klen, size_t vlen,
                  const struct shmkv_put_options *opt, struct shmkv_reservation *r)
{
    struct context *c;
    if (r == NULL)
        return error_set(SHMKV_EINVAL, "reserve: the reservation is NULL");
    r->context = NULL;
    r->options = opt != NULL ? *opt : (struct shmkv_put_options){.flags = 0};
    int rc = store_writer(db, &c);
    if (rc == 0)
        rc = ops_check_key(key, klen);
    if (rc == 0)
        rc = ops_check_size(&c->store->arena, klen, vlen);
    const unsigned both = SHMKV_IF_ABSENT | SHMKV_IF_PRESENT;
    if (rc == 0 && ((r->options.flags & ~both) != 0 || r->options.flags == both))
        rc = error_set(SHMKV_EINVAL, "reserve: takes SHMKV_IF_ABSENT or SHMKV_IF_PRESENT only");
    if (rc == 0 && (c->reserved || c->writer.busy))
        rc = error_set(SHMKV_EBUSY, "%s: this thread has an open reservation; commit or cancel it",
                       c->store->arena.name);
    if (rc != 0)
        return rc;
    struct ops_write w = {.key = key, .klen = klen, .vlen = vlen};
    w.hash = hash_key(key, klen, &c->store->arena.hash_secret);
    w.expiry = ops_expiry(c->store, r->options.ttl_ms);
    c->writer.busy = true;
    barrier_compiler(); /* finding room may clean, as a write does: no write in a handler [B1] */
    rc = begin(c, &w, r);
    c->reserved = rc == 0;
    barrier_compiler(); /* [B1] */
    c->writer.busy = false;
    if (rc == SHMKV_EHELD)
        warn_refused(&c->store->warn, &c->store->arena);
    return rc;
}

/* The reservation's context if it is still open, and this process'. */
static struct context *owner(const struct shmkv_reservation *r)
{
    struct context *c = r != NULL ? r->context : NULL;
    return c != NULL && c->store != NULL && c->reserved ? c : NULL;
}

static void end(struct context *c, struct shmkv_reservation *r)
{
    append_close(&c->reservation, &c->store->arena);
    c->reserved = false;
    r->context = NULL;
    r->value = NULL;
}

int shmkv_commit(struct shmkv_reservation *r)
{
    struct context *c = owner(r);
    if (c == NULL)
        return error_set(SHMKV_EINVAL, "commit: the reservation is not open in this process");
    const struct record *record = arena_at(&c->store->arena, r->offset);
    struct ops_write w = {.key = record_key(record),
                          .klen = record->klen,
                          .vlen = record->vlen,
                          .type = RECORD_PAIR,
                          .hash = r->hash};
    if ((r->options.flags & SHMKV_IF_ABSENT) != 0)
        w.condition = INDEX_IF_ABSENT;
    else if ((r->options.flags & SHMKV_IF_PRESENT) != 0)
        w.condition = INDEX_IF_PRESENT;
    int rc = ops_change_reserved(c, &w, r->options.version);
    if (rc != SHMKV_EBUSY) /* the write that was interrupted may be the commit of this very one */
        end(c, r);
    return rc;
}

void shmkv_cancel(struct shmkv_reservation *r)
{
    struct context *c = owner(r);
    if (c != NULL && !c->writer.busy) /* else as above */
        end(c, r);
}
