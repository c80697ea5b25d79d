/* SPDX-License-Identifier: MIT */
/*
 * tkrzw.c - Tkrzw as engines: tkrzw-hash is HashDBM, a file on tmpfs, tkrzw-tiny is TinyDBM, in the
 * heap.  One process writes at a time, so both are run by threads.  With as many buckets as keys;
 * a value is read where it stands, by a callback.
 */
#include "lib_batches.h"
#include "lib_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tkrzw_langc.h>

struct context {
    TkrzwDBM *db;
    uint64_t heap_before;
    char path[PEER_PATH]; /* "": none */
};

/* ---- operations ---------------------------------------------------------------------------- */

static inline bool peer_begin(void *context, bool write)
{
    (void)context;
    (void)write;
    return true;
}

static inline bool peer_end(void *context)
{
    (void)context;
    return true;
}

static const char *show(void *argument, const char *key, int32_t key_size, const char *value,
                        int32_t value_size, int32_t *new_size)
{
    struct peer_look *look = argument;

    (void)key;
    (void)key_size;
    (void)new_size;
    if (value != NULL) {
        look->visit(value, (size_t)value_size, look->argument);
        look->found = true;
    }
    return TKRZW_REC_PROC_NOOP;
}

static inline bool peer_get(void *context, const char *key, size_t size, peer_visit *visit,
                            void *argument)
{
    struct context *c = context;
    struct peer_look look = {.visit = visit, .argument = argument};

    return tkrzw_dbm_process(c->db, key, (int32_t)size, show, &look, false) && look.found;
}

static inline bool peer_put(void *context, const char *key, const char *value,
                            const struct workload *w)
{
    struct context *c = context;

    return tkrzw_dbm_set(c->db, key, (int32_t)w->key_size, value, (int32_t)w->value_size, true);
}

static inline bool peer_delete(void *context, const char *key, size_t size)
{
    struct context *c = context;

    return tkrzw_dbm_remove(c->db, key, (int32_t)size);
}

/* ---- life ---------------------------------------------------------------------------------- */

static void destroy(const struct engine_setup *setup)
{
    char path[PEER_PATH];

    peer_path(setup, "tkh", path);
    peer_remove(path);
}

static const char *create(const struct engine_setup *setup)
{
    destroy(setup);
    return NULL;
}

static const char *open_db(struct context *c, const char *type, uint64_t buckets, void **context)
{
    char options[96];

    snprintf(options, sizeof(options), "dbm=%s,num_buckets=%llu", type,
             (unsigned long long)buckets);
    c->heap_before = peer_heap_bytes();
    c->db = tkrzw_dbm_open(c->path, true, options);
    if (c->db == NULL) {
        free(c);
        return tkrzw_get_last_status_message();
    }
    *context = c;
    return NULL;
}

static const char *attach_hash(const struct engine_setup *setup, void **context)
{
    struct context *c = calloc(1, sizeof(*c));
    const char *failure;

    if (c == NULL)
        return "out of memory";
    peer_path(setup, "tkh", c->path);
    failure = open_db(c, "hash", setup->growing ? 131071 : setup->slots, context);
    if (failure == NULL && setup->warm)
        peer_warm(c->path);
    return failure;
}

static const char *attach_tiny(const struct engine_setup *setup, void **context)
{
    struct context *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return "out of memory";
    return open_db(c, "tiny", setup->growing ? 131071 : setup->slots, context);
}

static void detach(void *context)
{
    struct context *c = context;

    tkrzw_dbm_close(c->db);
    free(c);
}

static void usage(void *context, struct engine_usage *usage)
{
    struct context *c = context;

    memset(usage, 0, sizeof(*usage));
    usage->keys = (uint64_t)tkrzw_dbm_count(c->db);
    if (c->path[0] != '\0')
        usage->bytes = (uint64_t)tkrzw_dbm_get_file_size(c->db);
    else
        usage->bytes = peer_heap_bytes() - c->heap_before;
}

static const char *explain(void *context)
{
    (void)context;
    return tkrzw_get_last_status_message();
}

#define COMMON                                                                                     \
    .create = create, .destroy = destroy, .detach = detach, .usage = usage, .explain = explain,    \
    .verify = peer_run_verify, .threads = true, .reuses = true, .run = {PEER_RUNS}

static const struct engine hash = {.name = "tkrzw-hash", .attach = attach_hash, COMMON};
static const struct engine tiny = {.name = "tkrzw-tiny", .attach = attach_tiny, COMMON};
static const struct engine *const engines[] = {&hash, &tiny, NULL};

__attribute__((visibility("default"))) const struct peer bench_peer = {.engines = engines};
