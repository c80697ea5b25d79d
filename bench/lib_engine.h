/* SPDX-License-Identifier: MIT */
/*
 * lib_engine.h - what a store must offer to be measured.
 *
 * An engine's functions run whole batches, so that a call through a pointer is not paid per
 * operation.  The store itself is found by name: each process attaches on its own, as unrelated
 * processes would.  Engines that serve one process only are run by threads of the parent instead.
 * The engines of others, bench/peers/, are loaded by lib_peers.h.
 */
#ifndef BENCH_ENGINE_H
#define BENCH_ENGINE_H

#include "lib_workload.h"

enum operation {
    OP_GET,       /* one section per key: find, touch the value */
    OP_MGET,      /* sixteen keys per section */
    OP_FRESH,     /* put a new key, index made for all beforehand */
    OP_GROWING,   /* put a new key, store empty and of default size at first */
    OP_OVERWRITE, /* put a key that is there */
    OP_DELETE,    /* remove a key that is there */
    OP_MIX,       /* get or overwrite, as the stream says */
    OP_MPUT,      /* overwrite, a thousand keys per call */
    OP_INCR,      /* add one to a counter, which is made if it is not there */
    OP_COUNT
};

/* Batches of OP_MGET hold a multiple of so many keys. */
#define ENGINE_MANY 16u
/* Those of OP_MPUT at most so many. */
#define ENGINE_MANY_PUT 1000u

/* What a store is made for; set by the benchmark, read by the engine. */
struct engine_setup {
    char name[64]; /* unique on this machine while the benchmark runs */
    const struct workload *workload;
    uint64_t slots;       /* size of the index that shmkv makes for that many keys */
    uint64_t write_bytes; /* room wanted for records beside one of each key */
    bool growing;         /* nothing is known of the size beforehand */
    bool warm;            /* memory faulted in before, in the object and in each process */
    bool keeper;          /* let attached processes do housekeeping in the background */
    bool attach_only;     /* somebody else's store: do not create, do not destroy */
};

/* Some operations in a row. */
struct batch {
    const struct workload *workload;
    const struct stream *stream;
    uint64_t at; /* of the first operation */
    uint64_t count;
    uint64_t touched; /* out: what was read, so that the compiler cannot leave it out */
};

/* Memory and content of a store. */
struct engine_usage {
    uint64_t keys;
    uint64_t bytes; /* in use: records, index, tables */
    uint64_t slots;
};

/* Runs a batch; returns how many operations did what they should. */
typedef uint64_t engine_run(void *context, struct batch *batch);

struct engine {
    const char *name;
    /* All that can fail returns NULL or says what failed, in memory that stays. */
    const char *(*create)(const struct engine_setup *setup);
    void (*destroy)(const struct engine_setup *setup);
    const char *(*attach)(const struct engine_setup *setup, void **context);
    void (*detach)(void *context);
    void (*usage)(void *context, struct engine_usage *usage);
    /* Why did the last batch fall short? */
    const char *(*explain)(void *context);
    engine_run *verify;        /* each key is there and has a right value */
    engine_run *run[OP_COUNT]; /* NULL: it cannot */

    /* What shmkv and the yardstick leave out. */
    engine_run *fill; /* as run[OP_FRESH], where a faster way is of use in preparing; or NULL */
    unsigned unit;    /* operations that go together, a pipeline or a transaction; 0: one */
    bool reuses;      /* needs no new store for being overwritten again and again */
    bool threads;     /* for one process: only the parent attaches, and threads of it work */
    void (*enter)(void *context); /* called by each such thread, NULL: nothing to do */
    void (*leave)(void *context);
};

extern const struct engine engine_shmkv;
extern const struct engine engine_cache;
extern const struct engine engine_limit;

/* NULL if there is none of that name; peers are not looked at. */
const struct engine *engine_by_name(const char *name);

/* How a store is filled. */
static inline engine_run *engine_fill(const struct engine *engine)
{
    return engine->fill != NULL ? engine->fill : engine->run[OP_FRESH];
}

/* Bytes of a record of either engine: 24 of header, key and value each rounded up to 8. */
static inline uint64_t engine_record_bytes(const struct workload *w)
{
    return 24 + ((w->key_size + 7) & ~(size_t)7) + ((w->value_size + 7) & ~(size_t)7);
}

static inline const char *batch_key(const struct batch *b, uint64_t i)
{
    return b->stream->keys + (b->at + i) * b->workload->key_size;
}

static inline const char *batch_value(const struct batch *b, uint64_t i)
{
    return workload_value_at(b->workload, b->at + i);
}

/* What "touch the value" means: its first and its last byte. */
static inline uint64_t batch_touch(const void *value, size_t size)
{
    const unsigned char *bytes = value;

    return size == 0 ? 0 : (uint64_t)bytes[0] + bytes[size - 1];
}

#endif
