/* SPDX-License-Identifier: MIT */
/* ops.c - what the public write calls share: room, tickets, retries, waking. */
#include "ops.h"

#include <stdlib.h>
#include <string.h>

#include "cleaner.h"
#include "collect.h"
#include "error.h"
#include "point.h"

#define PREPARE_BYTES (64u << 10)

int ops_check_key(const void *key, size_t klen)
{
    if (unlikely(klen == 0 || klen > SHMKV_KEY_MAX))
        return error_set(SHMKV_EKEY, "a key must have 1 to %u bytes, not %zu", SHMKV_KEY_MAX, klen);
    if (unlikely(key == NULL))
        return error_set(SHMKV_EINVAL, "the key is NULL");
    return 0;
}

/* The largest record that may be put: any key, at least, and its tombstone. */
static uint64_t largest_record(const struct arena *a)
{
    return max_u64(run_largest(a), record_bytes(SHMKV_KEY_MAX, a->tombstone_bytes, true));
}

int ops_check_size(const struct arena *a, size_t klen, size_t vlen)
{
    uint64_t room = largest_record(a);
    uint64_t least = record_bytes(klen, 0, true);
    uint64_t most = min_u64((room - min_u64(room, least)) & ~7ull, UINT32_MAX);
    if (likely(vlen <= most && least <= room))
        return 0;
    return error_set(SHMKV_ETOOBIG,
                     "%s: a value of %zu bytes is too large: this store takes at most %llu with "
                     "this key, a quarter of its size; make a store with a larger size",
                     a->name, vlen, (unsigned long long)most);
}

uint64_t ops_expiry(const struct store *s, uint64_t ttl_ms)
{
    if (ttl_ms == 0)
        return 0;
    if (load_relaxed(&s->arena.sb->expiring) == 0)
        store_relaxed(&s->arena.sb->expiring, 1); /* relaxed: it is only ever set; policy */
    uint64_t now = arena_clock(&s->arena);
    return ttl_ms > (uint64_t)INT64_MAX - now ? (uint64_t)INT64_MAX : now + ttl_ms;
}

/* ---- room ---------------------------------------------------------------------------------- */

static int make_room(struct context *c, struct cleaner_need *need)
{
    return cleaner_make_room(&c->writer, c->store->process.index, need);
}

static int reserve(struct context *c, struct append *l, struct cleaner_need *need, uint64_t bytes)
{
    if (unlikely(!append_has_room(l, bytes)))
        cleaner_help(&c->writer, l, bytes);
    for (;;) { /* cleaner_make_room() ends it */
        int rc = append_reserve(l, &c->writer.self, need->purpose, bytes);
        if (likely(rc != SHMKV_ENOSPC))
            return rc;
        need->refused = l->lacks;
        rc = make_room(c, need);
        if (rc == SHMKV_ENOSPC && need->refused != 0) /* not the store is full: say what is */
            return append_reserve(l, &c->writer.self, need->purpose, bytes);
        if (rc != 0)
            return rc;
    }
}

/* Ends as reserve() does. */
static int reserve_run(struct context *c, struct append *l, struct cleaner_need *need,
                       uint64_t bytes)
{
    const struct arena *a = &c->store->arena;
    struct cleaner_need run = *need;
    int rc;
    run.run = run_length(a, bytes);
    append_close(&c->writer.puts, a); /* what it has left is room, too */
    do {
        rc = run_open(l, &c->writer.self, need->purpose, bytes);
        if (rc != SHMKV_ENOSPC)
            return rc;
        run.refused = l->lacks;
        rc = make_room(c, &run);
        if (rc == SHMKV_ENOSPC && run.refused != 0) /* as in reserve() */
            return run_open(l, &c->writer.self, need->purpose, bytes);
    } while (rc == 0);
    return rc;
}

int ops_reserve(struct context *c, struct append *l, enum segment_purpose purpose, uint64_t bytes)
{
    struct cleaner_need need = {.purpose = purpose};
    return run_needed(&c->store->arena, bytes) ? reserve_run(c, l, &need, bytes)
                                               : reserve(c, l, &need, bytes);
}

/* Tickets ran out: help the resize, or start one; if that lacks memory, make some. */
static int grow(struct context *c, struct cleaner_need *need)
{
    const struct arena *a = &c->store->arena;
    const struct participant *p = &c->writer.self;
    uint64_t outer = epoch_enter(p);
    uint64_t root = table_root(a);
    epoch_exit(p, outer);
    int rc = resize_grow(p, &c->writer.resizer, root);
    if (rc != SHMKV_ENOSPC)
        return rc;
    struct cleaner_need table = *need;
    table.index_bytes = c->writer.resizer.lacks;
    table.root = root;
    table.refused = c->writer.resizer.refused;
    table.purpose = c->writer.resizer.lacks_growth ? SEGMENT_FOR_PUT : SEGMENT_FOR_CLEANING;
    rc = make_room(c, &table);
    need->deadline_ns = table.deadline_ns;
    need->seen = table.seen;
    need->moved_ns = table.moved_ns;
    need->rounds = table.rounds;
    need->extra = table.extra;
    need->last = table.last;
    if (rc == SHMKV_ENOSPC && table.refused != 0) /* as in reserve() */
        rc = resize_grow(p, &c->writer.resizer, root);
    return rc;
}

/* ---- change -------------------------------------------------------------------------------- */

static struct index_change change_of(const struct arena *a, const struct ops_write *w)
{
    bool removes = w->type == RECORD_TOMBSTONE;
    return (struct index_change){
        .spec = {.key = w->key,
                 .klen = (uint32_t)w->klen,
                 .value = removes        ? &record_no_origin
                          : w->vlen == 0 ? ""
                                         : w->val,
                 .vlen = removes ? a->tombstone_bytes : (uint32_t)w->vlen,
                 .expiry = w->expiry,
                 .type = w->type},
        .hash = w->hash,
        .condition = w->condition,
        .expected = w->expected,
        .bytes = record_bytes(w->klen, removes ? a->tombstone_bytes : w->vlen, w->expiry != 0),
    };
}

static enum segment_purpose purpose_of(const struct ops_write *w)
{
    return w->type == RECORD_TOMBSTONE ? SEGMENT_FOR_TOMBSTONE : SEGMENT_FOR_PUT;
}

void ops_tend(struct context *c)
{
    struct writer *wr = &c->writer;
    if (wr->puts.hold.crowded) /* an eighth is owned, or the store is nearly full: per write */
        append_close(&wr->puts, &c->store->arena);
    if (wr->resizer.low) {
        wr->resizer.low = false;
        resize_prepare(&wr->self, &wr->resizer, PREPARE_BYTES);
    }
}

void ops_regain(struct context *c)
{
    struct cleaner_need need = {.purpose = SEGMENT_FOR_TOMBSTONE};
    struct segment_census census;
    if (load_relaxed(&c->writer.self.entry->reading) != 0) /* own word */
        return;
    do
        segment_count(&c->store->arena, &census);
    while (!segment_allowed(&census, need.purpose) && make_room(c, &need) == 0);
}

/* @standing: where the record stands already, whole but for its crc; NULL: it is not written. */
static inline int change(struct context *c, const struct ops_write *w, struct index_change *ch,
                         struct append *standing)
{
    struct writer *wr = &c->writer;
    struct cleaner_need need = {.purpose = purpose_of(w)};
    for (;;) { /* make_room() ends it when nothing helps */
        int rc = 0;
        if (standing == NULL)
            rc = reserve(c, &wr->puts, &need, ch->bytes);
        if (likely(rc == 0))
            rc = standing != NULL ? index_publish_reserved(wr, standing, ch) : index_write(wr, ch);
        if (likely(rc == 0))
            ops_published(c, w->hash);
        if (rc == INDEX_NEED_TICKET)
            rc = grow(c, &need);
        else if (rc != INDEX_AGAIN)
            return rc;
        if (rc < 0)
            return rc;
    }
}

/* A record that is larger than a segment: it is written in a run, before the write section. */
static NOINLINE int change_in_run(struct context *c, const struct ops_write *w,
                                  struct index_change *ch)
{
    const struct arena *a = &c->store->arena;
    struct append l = APPEND_INIT;
    struct cleaner_need need = {.purpose = purpose_of(w)};
    int rc = reserve_run(c, &l, &need, ch->bytes);
    if (rc != 0)
        return rc;
    ch->body = record_write(arena_at(a, l.at), &ch->spec);
    POINT("run.written");
    rc = change(c, w, ch, &l);
    append_close(&l, a);
    if (rc == 0)
        collect_runs(&c->writer, false); /* the older value, if it was as large */
    return rc;
}

/* The same with one that the caller has filled in place. */
static int change_reserved(struct context *c, const struct ops_write *w, struct index_change *ch)
{
    struct append *l = &c->reservation;
    const struct record *r = arena_at(&c->store->arena, l->at);
    ch->bytes = record_size(r);
    if (ch->bytes > l->end - l->at) /* who filled it wrote over its header (R3) */
        return SHMKV_ECORRUPT;
    ch->body = record_check_body(r);
    return change(c, w, ch, l);
}

/* Errors on which a program decides are frequent: they get their code's text only. */
static int explain(const struct context *c, int rc)
{
    if (likely(rc == 0))
        return 0;
    if (rc == SHMKV_EHELD)
        warn_refused(&c->store->warn, &c->store->arena);
    if (rc == SHMKV_ECORRUPT)
        return error_set(rc, "%s: the index is damaged; shmkv check lists where",
                         c->store->arena.name);
    if (rc == SHMKV_ENOTFOUND || rc == SHMKV_EEXISTS || rc == SHMKV_EMISMATCH)
        return error_code(rc);
    return rc;
}

static inline int guarded_change(struct context *c, const struct ops_write *w, uint64_t *version,
                                 bool reserved)
{
    struct writer *wr = &c->writer;
    if (unlikely(wr->busy))
        return error_set(SHMKV_EBUSY,
                         "%s: a write was called by a signal handler that interrupted "
                         "a write of the same thread",
                         c->store->arena.name);
    wr->busy = true;
    barrier_compiler(); /* a handler sees it before anything of the write is begun [B1] */
    struct index_change ch = change_of(&c->store->arena, w);
    int rc;
    if (reserved)
        rc = change_reserved(c, w, &ch);
    else if (unlikely(run_needed(&c->store->arena, ch.bytes)))
        rc = change_in_run(c, w, &ch);
    else
        rc = change(c, w, &ch, NULL);
    barrier_compiler(); /* and until everything is ended [B1] */
    wr->busy = false;
    if (rc == 0 && version != NULL)
        *version = ch.version;
    return explain(c, rc);
}

int ops_change(struct context *c, const struct ops_write *w, uint64_t *version)
{
    return guarded_change(c, w, version, false);
}

int ops_change_reserved(struct context *c, const struct ops_write *w, uint64_t *version)
{
    return guarded_change(c, w, version, true);
}

int ops_copy(struct context *c, const struct ops_write *w, size_t spare, struct ops_copy *copy)
{
    *copy = (struct ops_copy){.value = NULL};
    uint64_t outer = epoch_enter(&c->writer.self);
    int rc;
    const struct record *r = ops_find(c, w->key, w->klen, w->hash, &rc);
    if (r != NULL) {
        copy->size = r->vlen;
        copy->version = r->version;
        copy->expiry = record_expiry(r);
        copy->value = malloc(copy->size + spare + 1); /* the length is read once (R3) */
        if (copy->value != NULL)
            memcpy(copy->value, record_value(r), copy->size);
        else
            rc = error_set(SHMKV_ESYSTEM, "%s: no memory for a copy of %zu bytes",
                           c->store->arena.name, copy->size);
    }
    epoch_exit(&c->writer.self, outer);
    return rc;
}
