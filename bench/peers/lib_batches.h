/* SPDX-License-Identifier: MIT */
/*
 * lib_batches.h - batches for an engine that is called once per key.
 *
 * A peer defines, after including this, the functions that are declared first:
 *
 *   bool peer_begin(void *context, bool write)    what goes before a batch (a transaction)
 *   bool peer_end(void *context)                  and after it
 *   bool peer_get(void *context, const char *key, size_t size, peer_visit *visit, void *argument)
 *   bool peer_put(void *context, const char *key, const char *value, const struct workload *w)
 *   bool peer_delete(void *context, const char *key, size_t size)
 *
 * The loops are the same as the yardstick's; everything is inlined into them where the library
 * that is called lets it.
 */
#ifndef BENCH_PEERS_BATCHES_H
#define BENCH_PEERS_BATCHES_H

#include "../lib_peers.h"

typedef void peer_visit(const char *value, size_t size, void *argument);

/* For a library that shows a value to a callback: what the callback is to do with it. */
struct peer_look {
    peer_visit *visit;
    void *argument;
    bool found;
};

static inline bool peer_begin(void *context, bool write);
static inline bool peer_end(void *context);
static inline bool peer_get(void *context, const char *key, size_t size, peer_visit *visit,
                            void *argument);
static inline bool peer_put(void *context, const char *key, const char *value,
                            const struct workload *w);
static inline bool peer_delete(void *context, const char *key, size_t size);

static inline void peer_touch(const char *value, size_t size, void *argument)
{
    uint64_t *touched = argument;

    *touched += batch_touch(value, size);
}

struct peer_check {
    const struct workload *workload;
    uint64_t right;
};

static inline void peer_verify(const char *value, size_t size, void *argument)
{
    struct peer_check *check = argument;

    check->right += workload_value_right(check->workload, value, size);
}

static uint64_t peer_run_get(void *context, struct batch *b)
{
    size_t size = b->workload->key_size;
    uint64_t touched = 0;
    uint64_t found = 0;

    if (!peer_begin(context, false))
        return 0;
    for (uint64_t i = 0; i < b->count; i++)
        found += peer_get(context, batch_key(b, i), size, peer_touch, &touched);
    b->touched += touched;
    return peer_end(context) ? found : 0;
}

static uint64_t peer_run_put(void *context, struct batch *b)
{
    uint64_t done = 0;

    if (!peer_begin(context, true))
        return 0;
    for (uint64_t i = 0; i < b->count; i++)
        done += peer_put(context, batch_key(b, i), batch_value(b, i), b->workload);
    return peer_end(context) ? done : 0;
}

static uint64_t peer_run_delete(void *context, struct batch *b)
{
    uint64_t done = 0;

    if (!peer_begin(context, true))
        return 0;
    for (uint64_t i = 0; i < b->count; i++)
        done += peer_delete(context, batch_key(b, i), b->workload->key_size);
    return peer_end(context) ? done : 0;
}

static uint64_t peer_run_mix(void *context, struct batch *b)
{
    const uint8_t *write = b->stream->write + b->at;
    size_t size = b->workload->key_size;
    uint64_t touched = 0;
    uint64_t done = 0;

    if (!peer_begin(context, true))
        return 0;
    for (uint64_t i = 0; i < b->count; i++)
        done += write[i] ? peer_put(context, batch_key(b, i), batch_value(b, i), b->workload)
                         : peer_get(context, batch_key(b, i), size, peer_touch, &touched);
    b->touched += touched;
    return peer_end(context) ? done : 0;
}

static uint64_t peer_run_verify(void *context, struct batch *b)
{
    struct peer_check check = {.workload = b->workload};

    if (!peer_begin(context, false))
        return 0;
    for (uint64_t i = 0; i < b->count; i++)
        peer_get(context, batch_key(b, i), b->workload->key_size, peer_verify, &check);
    return peer_end(context) ? check.right : 0;
}

/* For struct engine's run. */
#define PEER_RUNS                                                                                  \
    [OP_GET] = peer_run_get, [OP_FRESH] = peer_run_put, [OP_GROWING] = peer_run_put,               \
    [OP_OVERWRITE] = peer_run_put, [OP_DELETE] = peer_run_delete, [OP_MIX] = peer_run_mix

#endif
