/* SPDX-License-Identifier: MIT */
/*
 * tdb.c - Samba's TDB as an engine: tdb-mutex locks by robust mutexes in the mapped file, tdb-fcntl
 * by two system calls per operation.  On tmpfs, as many hash chains as the others have slots; a
 * value is read where it stands, under the chain's lock.
 */
#include "lib_batches.h"
#include "lib_files.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <tdb.h>

#define CHAINS_UNKNOWN 131072

struct context {
    struct tdb_context *db;
    char path[PEER_PATH];
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

static inline TDB_DATA data(const char *bytes, size_t size)
{
    return (TDB_DATA){.dptr = (unsigned char *)(uintptr_t)bytes, .dsize = size};
}

static int show(TDB_DATA key, TDB_DATA value, void *argument)
{
    struct peer_look *look = argument;

    (void)key;
    look->visit((const char *)value.dptr, value.dsize, look->argument);
    return 0;
}

static inline bool peer_get(void *context, const char *key, size_t size, peer_visit *visit,
                            void *argument)
{
    struct context *c = context;
    struct peer_look look = {.visit = visit, .argument = argument};

    return tdb_parse_record(c->db, data(key, size), show, &look) == 0;
}

static inline bool peer_put(void *context, const char *key, const char *value,
                            const struct workload *w)
{
    struct context *c = context;

    return tdb_store(c->db, data(key, w->key_size), data(value, w->value_size), 0) == 0;
}

static inline bool peer_delete(void *context, const char *key, size_t size)
{
    struct context *c = context;

    return tdb_delete(c->db, data(key, size)) == 0;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void destroy(const struct engine_setup *setup)
{
    char path[PEER_PATH];

    peer_path(setup, "tdb", path);
    peer_remove(path);
}

/* The first to open it makes it: TDB asks for this where mutexes are used. */
static const char *create(const struct engine_setup *setup)
{
    destroy(setup);
    return NULL;
}

static const char *attach_as(const struct engine_setup *setup, int flags, void **context)
{
    struct context *c = calloc(1, sizeof(*c));
    int chains = setup->growing ? CHAINS_UNKNOWN : (int)setup->slots;

    if (c == NULL)
        return "out of memory";
    flags |= TDB_CLEAR_IF_FIRST | TDB_NOSYNC | TDB_INCOMPATIBLE_HASH;
    peer_path(setup, "tdb", c->path);
    c->db = tdb_open(c->path, chains, flags, O_RDWR | O_CREAT, 0600);
    if (c->db == NULL) {
        const char *failure = peer_failed(c->path, strerror(errno));

        free(c);
        return failure;
    }
    if (setup->warm)
        peer_warm(c->path);
    *context = c;
    return NULL;
}

static const char *attach_mutex(const struct engine_setup *setup, void **context)
{
    return attach_as(setup, TDB_MUTEX_LOCKING, context);
}

static const char *attach_fcntl(const struct engine_setup *setup, void **context)
{
    return attach_as(setup, 0, context);
}

static void detach(void *context)
{
    struct context *c = context;

    tdb_close(c->db);
    free(c);
}

static void usage(void *context, struct engine_usage *usage)
{
    struct context *c = context;

    memset(usage, 0, sizeof(*usage));
    usage->bytes = peer_file_bytes(c->path);
}

static const char *explain(void *context)
{
    struct context *c = context;

    return tdb_errorstr(c->db);
}

#define COMMON                                                                                     \
    .create = create, .destroy = destroy, .detach = detach, .usage = usage, .explain = explain,    \
    .verify = peer_run_verify, .reuses = true, .run = {PEER_RUNS}

static const struct engine mutex = {.name = "tdb-mutex", .attach = attach_mutex, COMMON};
static const struct engine locks = {.name = "tdb-fcntl", .attach = attach_fcntl, COMMON};
static const struct engine *const engines[] = {&mutex, &locks, NULL};

__attribute__((visibility("default"))) const struct peer bench_peer = {.engines = engines};
