/* SPDX-License-Identifier: MIT */
/* ops_walk.c - the public calls that walk over all keys. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "ops.h"
#include "scan.h"
#include "scan_glob.h"

#define CLEAR_BATCH 256u

static int check_options(const struct shmkv_scan_options *o)
{
    if (o->prefix == NULL && o->prefix_len != 0)
        return error_set(SHMKV_EINVAL, "scan: the prefix is NULL but has %zu bytes", o->prefix_len);
    if (o->match != NULL && !scan_glob_valid(o->match))
        return error_set(SHMKV_EINVAL,
                         "scan: the pattern \"%s\" ends inside of brackets or behind a backslash; "
                         "to mean the character, put a backslash before it",
                         o->match);
    return 0;
}

/* A scan under way. */
struct walk {
    uint64_t cursor;
    size_t left; /* pairs until the limit */
    shmkv_scan_fn *fn;
    void *arg;
    const char *damaged; /* name of the store, once damage was seen */
};

/* Hand a batch over; w->cursor is set to what follows.  What @fn returned. */
static int deliver(struct walk *w, const struct scan_batch *b)
{
    uint64_t word = fork_word();
    for (size_t i = 0; i < b->count; i++) {
        const struct scan_entry *e = &b->entries[i];
        w->cursor = e->hash;
        if (w->left == 0 && e->hash != b->entries[i - 1].hash)
            return 0;
        struct shmkv_pair pair = {.key = record_key(e->record), .klen = e->record->klen};
        pair.item.value = record_value(e->record);
        pair.item.size = e->record->vlen;
        pair.item.version = e->record->version;
        pair.item.expires_ms = (int64_t)record_expiry(e->record);
        int rc = w->fn(w->arg, &pair);
        if (rc != 0)
            return rc;
        w->left -= w->left != 0;
        if (unlikely(fork_word() != word)) { /* only the parent's section keeps the rest in place */
            w->cursor = i + 1 < b->count ? b->entries[i + 1].hash : b->next;
            return 0;
        }
    }
    w->cursor = b->next;
    return 0;
}

/* One step in a section of its own, so that a long scan holds no memory back.  By the public calls:
 * they know what to do if @fn forks. */
static int step(struct shmkv *db, struct walk *w, const struct scan_filter *f, struct scan_batch *b)
{
    struct shmkv_section section;
    int rc = shmkv_begin(db, &section);
    if (rc != 0)
        return rc;
    struct context *c = section.context;
    uint64_t word = fork_word(), written = c->writer.puts.at;
    uint64_t homes = min_u64(w->left / 4 + 1, SCAN_HOMES_MAX);
    rc = scan_step(&c->store->arena, f, w->cursor, homes, b);
    if (b->damaged)
        w->damaged = c->store->arena.name;
    if (rc == 0)
        rc = deliver(w, b);
    shmkv_end(&section);
    if (c->writer.puts.at != written && fork_word() == word)
        ops_regain(c);
    return rc;
}

/* What is damaged is passed over: all the rest is delivered before the scan says so. */
int shmkv_scan(struct shmkv *db, uint64_t *cursor, const struct shmkv_scan_options *opt,
               shmkv_scan_fn *fn, void *arg)
{
    static const struct shmkv_scan_options all;
    const struct shmkv_scan_options *o = opt != NULL ? opt : &all;
    int rc = cursor != NULL && fn != NULL
                 ? check_options(o)
                 : error_set(SHMKV_EINVAL, "scan: the cursor or the callback is NULL");
    if (rc != 0)
        return rc;
    struct scan_filter f = {.prefix = o->prefix, .prefix_len = o->prefix_len, .match = o->match};
    struct walk w = {.cursor = *cursor, .fn = fn, .arg = arg};
    struct scan_batch b = {.entries = NULL};
    w.left = o->limit != 0 ? o->limit : SIZE_MAX;
    do {
        rc = step(db, &w, &f, &b);
    } while (rc == 0 && w.cursor != 0 && w.left != 0);
    scan_free(&b);
    *cursor = w.cursor;
    if (rc == 0 && w.damaged != NULL)
        rc = error_set(SHMKV_ECORRUPT,
                       "%s: the index is damaged, the scan passed over what it could not read; "
                       "shmkv check lists where",
                       w.damaged);
    return rc;
}

static int count_pair(void *arg, const struct shmkv_pair *pair)
{
    (void)pair;
    ++*(uint64_t *)arg;
    return 0;
}

int shmkv_count(struct shmkv *db, uint64_t *count)
{
    uint64_t cursor = 0;
    if (count == NULL)
        return error_set(SHMKV_EINVAL, "count: there is nowhere to store the count");
    *count = 0;
    return shmkv_scan(db, &cursor, NULL, count_pair, count);
}

/* ---- clear --------------------------------------------------------------------------------- */

/* Keys copied out of a section: deleting may have to wait for memory, which a section would hold
 * back. */
struct keys {
    struct shmkv_bytes of[CLEAR_BATCH];
    size_t count;
};

static void free_keys(struct keys *k)
{
    for (size_t i = 0; i < k->count; i++)
        free((void *)(uintptr_t)k->of[i].data);
    k->count = 0;
}

static int copy_key(void *arg, const struct shmkv_pair *pair)
{
    struct keys *k = arg;
    if (k->count == CLEAR_BATCH) /* several keys of one hash at the limit: for the next round */
        return 1;
    void *copy = malloc(pair->klen);
    if (copy == NULL)
        return error_set(SHMKV_ESYSTEM, "clear: no memory for a key of %zu bytes", pair->klen);
    memcpy(copy, pair->key, pair->klen);
    k->of[k->count++] = (struct shmkv_bytes){.data = copy, .size = pair->klen};
    return 0;
}

int shmkv_clear(struct shmkv *db)
{
    const struct shmkv_scan_options some = {.limit = CLEAR_BATCH};
    struct context *c;
    struct keys keys = {.count = 0};
    uint64_t cursor = 0;
    int rc = store_writer(db, &c);
    if (rc != 0)
        return rc;
    do {
        rc = shmkv_scan(db, &cursor, &some, copy_key, &keys);
        if (rc >= 0)
            rc = shmkv_delete_many(db, keys.of, keys.count, NULL);
        free_keys(&keys);
    } while (rc == 0 && cursor != 0);
    return rc;
}
