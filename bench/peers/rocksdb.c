/* SPDX-License-Identifier: MIT */
/*
 * rocksdb.c - RocksDB as an engine: threads of one process, files on tmpfs, no write-ahead log, no
 * compression, tuned for point lookups by its own recipe, a block cache that holds everything.
 */
#include "lib_batches.h"
#include "lib_files.h"

#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct context {
    rocksdb_t *db;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
    char path[PEER_PATH];
    char failure[200];
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

static bool well(struct context *c, char *error)
{
    if (error == NULL)
        return true;
    snprintf(c->failure, sizeof(c->failure), "%s", error);
    rocksdb_free(error);
    return false;
}

static inline bool peer_get(void *context, const char *key, size_t size, peer_visit *visit,
                            void *argument)
{
    struct context *c = context;
    char *error = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(c->db, c->read, key, size, &error);
    size_t value_size;
    const char *value = slice == NULL ? NULL : rocksdb_pinnableslice_value(slice, &value_size);

    if (value != NULL)
        visit(value, value_size, argument);
    if (slice != NULL)
        rocksdb_pinnableslice_destroy(slice);
    return well(c, error) && value != NULL;
}

static inline bool peer_put(void *context, const char *key, const char *value,
                            const struct workload *w)
{
    struct context *c = context;
    char *error = NULL;

    rocksdb_put(c->db, c->write, key, w->key_size, value, w->value_size, &error);
    return well(c, error);
}

static inline bool peer_delete(void *context, const char *key, size_t size)
{
    struct context *c = context;
    char *error = NULL;

    rocksdb_delete(c->db, c->write, key, size, &error);
    return well(c, error);
}

/* ---- life ---------------------------------------------------------------------------------- */

static void destroy(const struct engine_setup *setup)
{
    char path[PEER_PATH];

    peer_path(setup, "rocksdb", path);
    peer_remove(path);
}

static const char *create(const struct engine_setup *setup)
{
    destroy(setup);
    return NULL;
}

static rocksdb_options_t *options_make(const struct engine_setup *setup)
{
    rocksdb_options_t *options = rocksdb_options_create();

    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_increase_parallelism(options, 2);
    rocksdb_options_set_compression(options, rocksdb_no_compression);
    rocksdb_options_optimize_for_point_lookup(options, (peer_live_bytes(setup) >> 19) + 64);
    return options;
}

static const char *attach(const struct engine_setup *setup, void **context)
{
    rocksdb_options_t *options = options_make(setup);
    struct context *c = calloc(1, sizeof(*c));
    char *error = NULL;

    if (c == NULL)
        return "out of memory";
    peer_path(setup, "rocksdb", c->path);
    c->db = rocksdb_open(options, c->path, &error);
    rocksdb_options_destroy(options);
    if (error != NULL) {
        free(c);
        return error;
    }
    c->read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(c->read, 0);
    c->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(c->write, 1);
    *context = c;
    return NULL;
}

static void detach(void *context)
{
    struct context *c = context;

    rocksdb_readoptions_destroy(c->read);
    rocksdb_writeoptions_destroy(c->write);
    rocksdb_close(c->db);
    free(c);
}

/* Its files are in memory here; blocks of them in the cache are there twice, and counted so. */
static void usage(void *context, struct engine_usage *usage)
{
    struct context *c = context;
    uint64_t memtables = 0;
    uint64_t cache = 0;

    memset(usage, 0, sizeof(*usage));
    rocksdb_property_int(c->db, "rocksdb.size-all-mem-tables", &memtables);
    rocksdb_property_int(c->db, "rocksdb.block-cache-usage", &cache);
    usage->bytes = memtables + cache + peer_file_bytes(c->path);
}

static const char *explain(void *context)
{
    struct context *c = context;

    return c->failure[0] != '\0' ? c->failure : "a key was not found";
}

static const struct engine rocksdb = {.name = "rocksdb",
                                      .create = create,
                                      .destroy = destroy,
                                      .attach = attach,
                                      .detach = detach,
                                      .usage = usage,
                                      .explain = explain,
                                      .threads = true,
                                      .reuses = true,
                                      .verify = peer_run_verify,
                                      .run = {PEER_RUNS}};
static const struct engine *const engines[] = {&rocksdb, NULL};

__attribute__((visibility("default"))) const struct peer bench_peer = {.engines = engines};
