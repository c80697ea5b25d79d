/* SPDX-License-Identifier: MIT */
/*
 * lmdb.c - LMDB as an engine: lmdb-1 with one operation per transaction, lmdb-1000 with a thousand.
 *
 * On tmpfs, with MDB_WRITEMAP and MDB_NOSYNC: nothing is written to a disk, as in the other
 * engines.  A reader keeps its transaction and renews it, and reads the value where it stands.
 */
#include "lib_batches.h"
#include "lib_files.h"

#include <lmdb.h>
#include <stdlib.h>
#include <string.h>

struct context {
    MDB_env *env;
    MDB_dbi dbi;
    MDB_txn *reader; /* kept for renewal */
    MDB_txn *batch;  /* the transaction of a batch; NULL: each operation has its own */
    bool batched;
    int failure;
};

/* ---- operations ---------------------------------------------------------------------------- */

static inline bool well(struct context *c, int rc)
{
    if (rc != 0)
        c->failure = rc;
    return rc == 0;
}

static inline bool peer_begin(void *context, bool write)
{
    struct context *c = context;

    return !c->batched || well(c, mdb_txn_begin(c->env, NULL, write ? 0 : MDB_RDONLY, &c->batch));
}

static inline bool peer_end(void *context)
{
    struct context *c = context;
    MDB_txn *txn = c->batch;

    c->batch = NULL;
    return txn == NULL || well(c, mdb_txn_commit(txn));
}

static inline bool peer_get(void *context, const char *key, size_t size, peer_visit *visit,
                            void *argument)
{
    struct context *c = context;
    MDB_val k = {size, (void *)(uintptr_t)key};
    MDB_val v;
    MDB_txn *txn = c->batch != NULL ? c->batch : c->reader;
    bool found;

    if (c->batch == NULL && !well(c, mdb_txn_renew(c->reader)))
        return false;
    found = well(c, mdb_get(txn, c->dbi, &k, &v));
    if (found)
        visit(v.mv_data, v.mv_size, argument);
    if (c->batch == NULL)
        mdb_txn_reset(c->reader);
    return found;
}

/* Begins the transaction of one write, unless there is one. */
static inline MDB_txn *write_begin(struct context *c)
{
    MDB_txn *txn = c->batch;

    if (txn == NULL && !well(c, mdb_txn_begin(c->env, NULL, 0, &txn)))
        return NULL;
    return txn;
}

static inline bool write_end(struct context *c, MDB_txn *txn, int rc)
{
    if (txn == c->batch)
        return well(c, rc);
    if (rc == 0)
        return well(c, mdb_txn_commit(txn));
    mdb_txn_abort(txn);
    return well(c, rc);
}

static inline bool peer_put(void *context, const char *key, const char *value,
                            const struct workload *w)
{
    struct context *c = context;
    MDB_txn *txn = write_begin(c);
    MDB_val k = {w->key_size, (void *)(uintptr_t)key};
    MDB_val v = {w->value_size, (void *)(uintptr_t)value};

    return txn != NULL && write_end(c, txn, mdb_put(txn, c->dbi, &k, &v, 0));
}

static inline bool peer_delete(void *context, const char *key, size_t size)
{
    struct context *c = context;
    MDB_txn *txn = write_begin(c);
    MDB_val k = {size, (void *)(uintptr_t)key};

    return txn != NULL && write_end(c, txn, mdb_del(txn, c->dbi, &k, NULL));
}

/* ---- life ---------------------------------------------------------------------------------- */

static void destroy(const struct engine_setup *setup)
{
    char path[PEER_PATH];

    peer_path(setup, "lmdb", path);
    peer_remove(path);
    peer_path(setup, "lmdb-lock", path);
    peer_remove(path);
}

static void detach(void *context)
{
    struct context *c = context;

    mdb_txn_abort(c->reader);
    mdb_env_close(c->env);
    free(c);
}

static int open_env(struct context *c, const struct engine_setup *setup, const char *path)
{
    unsigned flags = MDB_NOSUBDIR | MDB_WRITEMAP | MDB_NOSYNC | MDB_NORDAHEAD;
    size_t size = (size_t)(peer_live_bytes(setup) * 4 + (64u << 20)) & ~(size_t)4095;
    MDB_txn *txn;
    int rc = mdb_env_create(&c->env);

    if (rc == 0)
        rc = mdb_env_set_mapsize(c->env, size);
    if (rc == 0)
        rc = mdb_env_open(c->env, path, flags, 0600);
    if (rc == 0)
        rc = mdb_txn_begin(c->env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_dbi_open(txn, NULL, 0, &c->dbi);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    rc = mdb_txn_commit(txn);
    if (rc == 0)
        rc = mdb_txn_begin(c->env, NULL, MDB_RDONLY, &c->reader);
    if (rc == 0)
        mdb_txn_reset(c->reader);
    return rc;
}

static const char *attach_as(const struct engine_setup *setup, bool batched, void **context)
{
    struct context *c = calloc(1, sizeof(*c));
    char path[PEER_PATH];
    int rc;

    if (c == NULL)
        return "out of memory";
    peer_path(setup, "lmdb", path);
    rc = open_env(c, setup, path);
    if (rc != 0) {
        mdb_env_close(c->env);
        free(c);
        return peer_failed(path, mdb_strerror(rc));
    }
    c->batched = batched;
    mdb_reader_check(c->env, NULL); /* what dead readers have seen is kept until then */
    if (setup->warm)
        peer_warm(path);
    *context = c;
    return NULL;
}

static const char *attach(const struct engine_setup *setup, void **context)
{
    return attach_as(setup, false, context);
}

static const char *attach_batched(const struct engine_setup *setup, void **context)
{
    return attach_as(setup, true, context);
}

static const char *create(const struct engine_setup *setup)
{
    if (setup->workload->key_size > 511)
        return "LMDB's keys are at most 511 bytes long";
    destroy(setup);
    return NULL;
}

/* Pages that are neither free nor beyond the last. */
static void usage(void *context, struct engine_usage *usage)
{
    struct context *c = context;
    MDB_stat stat;
    MDB_envinfo info;

    memset(usage, 0, sizeof(*usage));
    if (mdb_env_stat(c->env, &stat) != 0 || mdb_env_info(c->env, &info) != 0)
        return;
    usage->keys = stat.ms_entries;
    usage->bytes = (info.me_last_pgno + 1) * stat.ms_psize;
}

static const char *explain(void *context)
{
    struct context *c = context;

    return mdb_strerror(c->failure);
}

static uint64_t fill(void *context, struct batch *b)
{
    struct context *c = context;
    bool batched = c->batched;
    uint64_t done;

    c->batched = true;
    done = peer_run_put(context, b);
    c->batched = batched;
    return done;
}

#define COMMON                                                                                     \
    .create = create, .destroy = destroy, .detach = detach, .usage = usage, .explain = explain,    \
    .verify = peer_run_verify, .reuses = true, .fill = fill,                                       \
    .run = {PEER_RUNS, [OP_MPUT] = peer_run_put}

static const struct engine one = {.name = "lmdb-1", .attach = attach, COMMON};
static const struct engine thousand = {
    .name = "lmdb-1000", .unit = 1000, .attach = attach_batched, COMMON};
static const struct engine *const engines[] = {&one, &thousand, NULL};

__attribute__((visibility("default"))) const struct peer bench_peer = {.engines = engines};
