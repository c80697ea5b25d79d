/* SPDX-License-Identifier: MIT */
/*
 * lib_server.h - a server as a peer: started on a Unix socket of its own, asked in waves, stopped.
 *
 * A wave is what one call of the harness asks for: each of so many connections gets so many
 * requests in one write, then the answers are read in the same order.  One connection with one
 * request is how most programs use a server, and mostly measures how fast the kernel wakes two
 * processes in turn; more of either gives the server more to do per wake-up.
 *
 * A server is a child of the benchmark, dies with it, and is stopped by its pid.
 */
#ifndef BENCH_PEERS_SERVER_H
#define BENCH_PEERS_SERVER_H

#include "../lib_engine.h"

#include <string.h>

#define SERVER_CONNECTIONS 50u
#define SERVER_DEPTH 16u

/* An answer in the buffer of a connection. */
struct answer {
    size_t size; /* of the whole; 0: it is not all there yet */
    bool good;
    const char *value;
    size_t value_size;
};

/* How a server is started and spoken to.  A request is written to @out; its size is returned. */
struct protocol {
    const char *program;
    /* Puts the arguments behind argv[0], NULL behind them. */
    void (*arguments)(const struct engine_setup *setup, const char *socket, const char **argv);
    size_t (*get)(char *out, const char *key, size_t key_size);
    size_t (*set)(char *out, const char *key, const char *value, const struct workload *w);
    size_t (*del)(char *out, const char *key, size_t key_size);
    size_t (*incr)(char *out, const char *key, size_t key_size); /* or NULL */
    /* What is at @in, @size bytes of it, the answer to an @op being awaited. */
    struct answer (*read)(const char *in, size_t size, enum operation op);
};

/* Writes the bytes of a request, returns where the next go. */
static inline char *server_text(char *out, const char *from, size_t size)
{
    memcpy(out, from, size);
    return out + size;
}

/* The parts of an engine that uses @p with @connections, each @depth requests deep. */
const char *server_missing(const struct protocol *p);
const char *server_create(const struct protocol *p, const struct engine_setup *setup);
void server_destroy(const struct engine_setup *setup);
const char *server_attach(const struct protocol *p, const struct engine_setup *setup,
                          unsigned connections, unsigned depth, void **context);
void server_detach(void *context);
/* The memory that the server's process has got since it was empty. */
void server_usage(void *context, struct engine_usage *usage);
const char *server_explain(void *context);

uint64_t server_run_get(void *context, struct batch *b);
uint64_t server_run_put(void *context, struct batch *b);
uint64_t server_run_delete(void *context, struct batch *b);
uint64_t server_run_incr(void *context, struct batch *b);
uint64_t server_run_mix(void *context, struct batch *b);
uint64_t server_run_verify(void *context, struct batch *b);
/* As run_put, as deep as the buffers allow. */
uint64_t server_run_fill(void *context, struct batch *b);

/* For struct engine's run. */
#define SERVER_RUNS                                                                                \
    [OP_GET] = server_run_get, [OP_FRESH] = server_run_put, [OP_GROWING] = server_run_put,         \
    [OP_OVERWRITE] = server_run_put, [OP_DELETE] = server_run_delete, [OP_MIX] = server_run_mix,   \
    [OP_MPUT] = server_run_put

#endif
