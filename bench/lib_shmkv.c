/* SPDX-License-Identifier: MIT */
/* lib_shmkv.c - shmkv as an engine, by its public header alone. */
#include "lib_engine.h"
#include "lib_memory.h"

#include "shmkv.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WARM_SLACK (64u << 20)

struct context {
    struct shmkv *db;
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

/* By a copy in local variables, as the yardstick's. */
static uint64_t run_get(void *context, struct batch *b)
{
    struct context c = *(struct context *)context;
    size_t size = b->workload->key_size;
    const char *key = batch_key(b, 0);
    const char *end = batch_key(b, b->count);
    uint64_t touched = 0;
    uint64_t found = 0;

    for (; key < end; key += size)
        found += get_one(&c, key, size, &touched);
    b->touched += touched;
    *(struct context *)context = c;
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

static uint64_t run_mput(void *context, struct batch *b)
{
    struct shmkv_bytes keys[ENGINE_MANY_PUT];
    struct shmkv_bytes values[ENGINE_MANY_PUT];
    struct context *c = context;
    size_t done = 0;
    int rc;

    for (uint64_t i = 0; i < b->count; i++) {
        keys[i] = (struct shmkv_bytes){batch_key(b, i), b->workload->key_size};
        values[i] = (struct shmkv_bytes){batch_value(b, i), b->workload->value_size};
    }
    rc = shmkv_put_many(c->db, keys, values, b->count, NULL, &done);
    if (rc != 0)
        c->failure = rc;
    return done;
}

static uint64_t run_incr(void *context, struct batch *b)
{
    struct context *c = context;
    uint64_t done = 0;

    for (uint64_t i = 0; i < b->count; i++) {
        int rc = shmkv_add(c->db, batch_key(b, i), b->workload->key_size, 1, NULL);

        if (rc != 0)
            c->failure = rc;
        done += rc == 0;
    }
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

    return (live + setup->write_bytes) * 3 / 2 + setup->slots * 8 + (64u << 20);
}

/* Where the log begins in the store's file: at the last run of data, if little was written. */
static off_t log_start(int fd)
{
    off_t at = 0;
    off_t start = 0;

    while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
        start = at;
        at = lseek(fd, at, SEEK_HOLE);
    }
    return start;
}

/*
 * Give the log its pages before the clock runs, behind the library's back: it takes memory only as
 * that is needed, and gives back what it frees.  As huge pages, as a keeper leaves them.
 */
static const char *store_warm(struct shmkv *db, const struct engine_setup *setup)
{
    uint64_t bytes = setup->workload->keys * engine_record_bytes(setup->workload) +
                     setup->write_bytes + WARM_SLACK;
    char path[128];
    void *log = MAP_FAILED;
    int rc = -1;

    if (shmkv_put(db, "warm", 4, "", 0, NULL) != 0 || shmkv_delete(db, "warm", 4) != 0)
        return shmkv_last_error();
    snprintf(path, sizeof(path), "/dev/shm/shmkv.%s", setup->name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        log = memory_map(fd, log_start(fd), bytes);
        close(fd);
    }
    if (log != MAP_FAILED) {
        rc = memory_supply(log, bytes);
        munmap(log, bytes);
    }
    return rc == 0 ? NULL : "cannot get the memory for --memory warm; see df /dev/shm";
}

static const char *make(const struct engine_setup *setup, unsigned flags)
{
    struct shmkv_options options = {.flags =
                                        SHMKV_CREATE | SHMKV_EXCLUSIVE | SHMKV_NO_KEEPER | flags};
    struct shmkv *db;
    const char *failure;
    char name[128];

    if (!setup->growing) {
        options.size = store_size(setup);
        options.reserve = setup->workload->keys;
    }
    store_name(setup, name, sizeof(name));
    if (shmkv_open(name, &options, &db) != 0)
        return shmkv_last_error();
    failure = setup->warm ? store_warm(db, setup) : NULL;
    shmkv_close(db);
    return failure;
}

static const char *create(const struct engine_setup *setup)
{
    return make(setup, 0);
}

static const char *create_cache(const struct engine_setup *setup)
{
    return make(setup, SHMKV_CACHE);
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
    usage->slots = s.slots;
}

static const char *explain(void *context)
{
    struct context *c = context;
    const char *story = shmkv_last_error();

    return story[0] != '\0' ? story : shmkv_strerror(c->failure);
}

/* A store, and the same as a cache that is large enough: what does it cost to note what is read? */
#define ENGINE(label, maker)                                                                       \
    {                                                                                              \
        .name = (label), .create = (maker), .destroy = destroy, .attach = attach,                  \
        .detach = detach, .usage = usage, .explain = explain, .verify = run_verify,                \
        .run = {[OP_GET] = run_get,     [OP_MGET] = run_mget,     [OP_FRESH] = run_put,            \
                [OP_GROWING] = run_put, [OP_OVERWRITE] = run_put, [OP_DELETE] = run_delete,        \
                [OP_MIX] = run_mix,     [OP_MPUT] = run_mput,     [OP_INCR] = run_incr},           \
    }

const struct engine engine_shmkv = ENGINE("shmkv", create);
const struct engine engine_cache = ENGINE("shmkv-cache", create_cache);
