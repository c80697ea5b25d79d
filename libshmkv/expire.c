/* SPDX-License-Identifier: MIT */
/* expire.c - see expire.h. */
#include "expire.h"

#include "point.h"
#include "stats.h"

static bool is_expired(const struct arena *a, uint64_t word, uint64_t now)
{
    if (!slot_is_record(word) || !index_in_log(a, slot_offset(word)))
        return false;
    const struct record *r = arena_at(a, slot_offset(word));
    return r->type == RECORD_PAIR && record_expires(r) && record_expiry(r) <= now &&
           index_fits_room(a, r);
}

/* A key so long that not even its tombstone fits into a segment. */
static int replace_in_run(struct writer *w, struct index_change *c)
{
    struct append l = APPEND_INIT;
    int rc = run_open(&l, &w->self, SEGMENT_FOR_TOMBSTONE, c->bytes);
    if (rc == 0) {
        c->body = record_write(arena_at(w->self.arena, l.at), &c->spec);
        rc = index_publish_reserved(w, &l, c);
    }
    append_close(&l, w->self.arena);
    return rc;
}

/* A deletion, on the condition that what is there has expired; as of index_write(). */
static int replace(struct writer *w, const struct record *r)
{
    const struct arena *a = w->self.arena;
    struct index_change c = {.condition = INDEX_IF_EXPIRED};
    c.spec = (struct record_spec){.key = record_key(r),
                                  .klen = r->klen,
                                  .value = &record_no_origin,
                                  .vlen = a->tombstone_bytes,
                                  .type = RECORD_TOMBSTONE};
    c.hash = hash_key(c.spec.key, c.spec.klen, &a->hash_secret);
    c.bytes = record_bytes(c.spec.klen, c.spec.vlen, false);
    int rc;
    if (unlikely(run_needed(a, c.bytes)))
        return replace_in_run(w, &c);
    do { /* again only if our segment was taken while we were idle */
        rc = append_reserve(&w->puts, &w->self, SEGMENT_FOR_TOMBSTONE, c.bytes);
        if (rc == 0)
            rc = index_write(w, &c);
    } while (rc == INDEX_AGAIN);
    POINT("expire.replaced");
    return rc;
}

bool expire_record(struct writer *w, const struct record *r)
{
    if (likely(!record_expires(r)) || r->type != RECORD_PAIR ||
        record_expiry(r) > arena_clock(w->self.arena))
        return false;
    int rc = replace(w, r);
    return rc == 0 || rc == SHMKV_ENOTFOUND;
}

static unsigned sweep_bucket(struct writer *w, const _Atomic uint64_t *bucket, uint64_t now)
{
    const struct arena *a = w->self.arena;
    unsigned replaced = 0;
    for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
        uint64_t word = load_acquire(&bucket[i]); /* [I1] */
        if (is_expired(a, word, now))
            replaced += replace(w, arena_at(a, slot_offset(word))) == 0;
    }
    return replaced;
}

unsigned expire_sweep(struct writer *w, uint64_t buckets)
{
    const struct arena *a = w->self.arena;
    uint64_t now = arena_clock(a);
    uint64_t outer = epoch_enter(&w->self); /* what is replaced is read until it is */
    struct table_shape root;
    uint64_t n = likely(table_look(a, table_root(a), &root)) ? min_u64(buckets, root.mask + 1) : 0;
    uint64_t at = add_relaxed(&a->sb->sweep, n); /* only divides work */
    unsigned replaced = 0;
    for (uint64_t i = 0; i < n; i++)
        replaced += sweep_bucket(w, table_shape_bucket(&root, at + i), now);
    epoch_exit(&w->self, outer);
    return replaced;
}

bool expire_wanted(const struct arena *a)
{
    return load_relaxed(&a->sb->expiring) != 0; /* relaxed: it is only ever set; policy */
}
