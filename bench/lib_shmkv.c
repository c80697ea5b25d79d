/* SPDX-License-Identifier: MIT */
/* lib_shmkv.c - shmkv as an engine, by its public header alone. */
#include "lib_engine.h"
#include "lib_memory.h"

#include "shmkv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_VALUE (32u << 10)

struct context {
    struct shmkv *db;
    bool warm;
    int failure; /* of the last operation that failed */
};

/* ---- batches ------------------------------------------------------------------------------- */

static inline bool get_one(struct context *c, const char *key, size_t size, uint64_t *touched)
{
    struct shmkv_section section;
    struct shmkv_item item;
    int rc = shmkv_begin(c->db, &section);

    if (rc == 0) {
        rc = shmkv_get(&section, key, size, &item);
        if (rc == 0)
            *touched += batch_touch(item.value, item.size);
        shmkv_end(&section);
    }
    if (rc != 0)
        c->failure = rc;
    return rc == 0;
}

static uint64_t run_get(void *context, struct batch *b)
{
    size_t size = b->workload->key_size;
    const char *key = batch_key(b, 0);
    const char *end = batch_key(b, b->count);
    uint64_t touched = 0;
    uint64_t found = 0;

    for (; key < end; key += size)
        found += get_one(context, key, size, &touched);
    b->touched += touched;
    return found;
}

static uint64_t run_verify(void *context, struct batch *b)
{
    struct context *c = context;
    uint64_t right = 0;

    for (uint64_t i = 0; i < b->count; i++) {
        struct shmkv_section section;
        struct shmkv_item item;
        int rc = shmkv_begin(c->db, &section);

        if (rc == 0) {
            rc = shmkv_get(&section, batch_key(b, i), b->workload->key_size, &item);
            right += rc == 0 && workload_value_right(b->workload, item.value, item.size);
            shmkv_end(&section);
        }
        if (rc != 0)
            c->failure = rc;
    }
    return right;
}

static uint64_t get_16(struct context *c, struct batch *b, uint64_t first)
{
    struct shmkv_bytes keys[ENGINE_MANY];
    struct shmkv_item items[ENGINE_MANY];
    struct shmkv_section section;
    int found = shmkv_begin(c->db, &section);

    if (found == 0) {
        for (unsigned i = 0; i < ENGINE_MANY; i++)
            keys[i] = (struct shmkv_bytes){batch_key(b, first + i), b->workload->key_size};
        found = shmkv_get_many(&section, keys, ENGINE_MANY, items);
        for (unsigned i = 0; found > 0 && i < ENGINE_MANY; i++)
            if (items[i].value != NULL)
                b->touched += batch_touch(items[i].value, items[i].size);
        shmkv_end(&section);
    }
    if (found < 0)
        c->failure = found;
    return found < 0 ? 0 : (uint64_t)found;
}

static uint64_t run_mget(void *context, struct batch *b)
{
    uint64_t found = 0;

    for (uint64_t i = 0; i < b->count; i += ENGINE_MANY)
        found += get_16(context, b, i);
    return found;
}

static inline bool put_one(struct context *c, const struct workload *w, const char *key,
                           const char *value)
{
    int rc = shmkv_put(c->db, key, w->key_size, value, w->value_size, NULL);

    if (rc != 0)
        c->failure = rc;
    return rc == 0;
}

static uint64_t run_put(void *context, struct batch *b)
{
    const struct workload w = *b->workload;
    const char *key = batch_key(b, 0);
    uint64_t done = 0;

    for (uint64_t i = 0; i < b->count; i++, key += w.key_size)
        done += put_one(context, &w, key, workload_value_at(&w, b->at + i));
    return done;
}

static uint64_t run_delete(void *context, struct batch *b)
{
    struct context *c = context;
    uint64_t done = 0;

    for (uint64_t i = 0; i < b->count; i++) {
        int rc = shmkv_delete(c->db, batch_key(b, i), b->workload->key_size);

        if (rc != 0)
            c->failure = rc;
        done += rc == 0;
    }
    return done;
}

static uint64_t run_mix(void *context, struct batch *b)
{
    const struct workload w = *b->workload;
    const uint8_t *write = b->stream->write + b->at;
    const char *key = batch_key(b, 0);
    uint64_t touched = 0;
    uint64_t done = 0;

    for (uint64_t i = 0; i < b->count; i++, key += w.key_size)
        done += write[i] ? put_one(context, &w, key, workload_value_at(&w, b->at + i))
                         : get_one(context, key, w.key_size, &touched);
    b->touched += touched;
    return done;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void store_name(const struct engine_setup *setup, char *name, size_t size)
{
    snprintf(name, size, "%s%s", setup->attach_only ? "" : "shm:", setup->name);
}

/* Room for one record of each key and for what is written, so that the cleaner moves nothing: what
 * it costs is not asked here.  It starts when a tenth is free. */
static uint64_t store_size(const struct engine_setup *setup)
{
    uint64_t live = setup->workload->keys * engine_record_bytes(setup->workload);

    return (live + setup->write_bytes) * 5 / 4 + setup->slots * 8 + (64u << 20);
}

/*
 * Take all of the store's memory before the clock runs: one large value is written over and over,
 * then removed.  What it leaves are segments of dead records, few and large, which are freed as
 * they are needed at no cost to speak of, and keep their memory.
 */
static int store_warm(struct shmkv *db, const struct engine_setup *setup)
{
    uint64_t bytes = store_size(setup);
    char *value = memory_get(WARM_VALUE);
    int rc = 0;

    for (uint64_t done = 0; rc == 0 && done < bytes; done += WARM_VALUE)
        rc = shmkv_put(db, "warm", 4, value, WARM_VALUE, NULL);
    memory_put(value, WARM_VALUE);
    return rc == 0 ? shmkv_delete(db, "warm", 4) : rc;
}

static const char *create(const struct engine_setup *setup)
{
    struct shmkv_options options = {.flags = SHMKV_CREATE | SHMKV_EXCLUSIVE | SHMKV_NO_KEEPER};
    struct shmkv *db;
    char name[128];
    int rc;

    if (!setup->growing) {
        options.size = store_size(setup);
        options.reserve = setup->workload->keys;
    }
    store_name(setup, name, sizeof(name));
    rc = shmkv_open(name, &options, &db);
    if (rc != 0)
        return shmkv_last_error();
    if (setup->warm)
        rc = store_warm(db, setup);
    shmkv_close(db);
    return rc == 0 ? NULL : shmkv_last_error();
}

static void destroy(const struct engine_setup *setup)
{
    char name[128];

    store_name(setup, name, sizeof(name));
    shmkv_destroy(name, NULL, 1);
}

static const char *attach(const struct engine_setup *setup, void **context)
{
    struct shmkv_options options = {.flags = setup->keeper ? 0 : SHMKV_NO_KEEPER};
    struct context *c = calloc(1, sizeof(*c));
    char name[128];

    if (c == NULL)
        return "out of memory";
    if (setup->warm)
        options.flags |= SHMKV_PRELOAD;
    store_name(setup, name, sizeof(name));
    c->warm = setup->warm;
    if (shmkv_open(name, &options, &c->db) != 0) {
        free(c);
        return shmkv_last_error();
    }
    *context = c;
    return NULL;
}

static void detach(void *context)
{
    struct context *c = context;

    shmkv_close(c->db);
    free(c);
}

static void usage(void *context, struct engine_usage *usage)
{
    struct context *c = context;
    struct shmkv_stats s = {0};

    shmkv_get_stats(c->db, &s);
    usage->keys = s.keys;
    usage->bytes = s.memory;
    if (c->warm) /* the rest of the log was taken on purpose, see store_warm() */
        usage->bytes -= s.log_bytes - s.live_bytes;
    usage->slots = s.slots;
}

static const char *explain(void *context)
{
    struct context *c = context;
    const char *story = shmkv_last_error();

    return story[0] != '\0' ? story : shmkv_strerror(c->failure);
}

const struct engine engine_shmkv = {
    .name = "shmkv",
    .create = create,
    .destroy = destroy,
    .attach = attach,
    .detach = detach,
    .usage = usage,
    .explain = explain,
    .verify = run_verify,
    .run = {[OP_GET] = run_get,
            [OP_MGET] = run_mget,
            [OP_FRESH] = run_put,
            [OP_GROWING] = run_put,
            [OP_OVERWRITE] = run_put,
            [OP_DELETE] = run_delete,
            [OP_MIX] = run_mix},
};
