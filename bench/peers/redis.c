/* SPDX-License-Identifier: MIT */
/*
 * redis.c - Redis as engines, over a Unix socket, nothing written to a disk: redis-1 is one
 * connection and one request at a time; -p16 is sixteen requests in a row, -c50 fifty connections,
 * -c50p16 both.
 */
#include "../lib_peers.h"
#include "lib_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the protocol -------------------------------------------------------------------------- */

static void arguments(const struct engine_setup *setup, const char *socket, const char **argv)
{
    static const char *const fixed[] = {
        "--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no", "--unixsocket"};
    unsigned n = sizeof(fixed) / sizeof(fixed[0]);

    (void)setup;
    memcpy(argv, fixed, sizeof(fixed));
    argv[n] = socket;
    argv[n + 1] = NULL;
}

static char *bytes(char *out, const char *from, size_t size)
{
    out += sprintf(out, "$%zu\r\n", size);
    return server_text(server_text(out, from, size), "\r\n", 2);
}

static size_t get(char *out, const char *key, size_t key_size)
{
    char *end = server_text(out, "*2\r\n$3\r\nGET\r\n", 13);

    return (size_t)(bytes(end, key, key_size) - out);
}

static size_t set(char *out, const char *key, const char *value, const struct workload *w)
{
    char *end = server_text(out, "*3\r\n$3\r\nSET\r\n", 13);

    end = bytes(end, key, w->key_size);
    return (size_t)(bytes(end, value, w->value_size) - out);
}

static size_t del(char *out, const char *key, size_t key_size)
{
    char *end = server_text(out, "*2\r\n$3\r\nDEL\r\n", 13);

    return (size_t)(bytes(end, key, key_size) - out);
}

static size_t incr(char *out, const char *key, size_t key_size)
{
    char *end = server_text(out, "*2\r\n$4\r\nINCR\r\n", 14);

    return (size_t)(bytes(end, key, key_size) - out);
}

static struct answer read_answer(const char *in, size_t size, enum operation op)
{
    const char *line_end = memchr(in, '\n', size);
    struct answer a = {0};

    if (line_end == NULL)
        return a;
    a.size = (size_t)(line_end - in) + 1;
    if (in[0] != '$') {
        a.good =
            op == OP_DELETE ? strncmp(in, ":1\r", 3) == 0 : in[0] == (op == OP_INCR ? ':' : '+');
        return a;
    }
    if (in[1] == '-')
        return a;
    a.value_size = strtoul(in + 1, NULL, 10);
    a.value = line_end + 1;
    a.size += a.value_size + 2;
    a.good = op == OP_GET;
    if (a.size > size)
        a = (struct answer){0};
    return a;
}

static const struct protocol protocol = {.program = "redis-server",
                                         .arguments = arguments,
                                         .get = get,
                                         .set = set,
                                         .del = del,
                                         .incr = incr,
                                         .read = read_answer};

/* ---- engines ------------------------------------------------------------------------------- */

static const char *missing(void)
{
    return server_missing(&protocol);
}

static const char *create(const struct engine_setup *setup)
{
    return server_create(&protocol, setup);
}

static const char *attach_1_1(const struct engine_setup *setup, void **context)
{
    return server_attach(&protocol, setup, 1, 1, context);
}

static const char *attach_1_16(const struct engine_setup *setup, void **context)
{
    return server_attach(&protocol, setup, 1, SERVER_DEPTH, context);
}

static const char *attach_50_1(const struct engine_setup *setup, void **context)
{
    return server_attach(&protocol, setup, SERVER_CONNECTIONS, 1, context);
}

static const char *attach_50_16(const struct engine_setup *setup, void **context)
{
    return server_attach(&protocol, setup, SERVER_CONNECTIONS, SERVER_DEPTH, context);
}

#define COMMON                                                                                     \
    .create = create, .destroy = server_destroy, .detach = server_detach, .usage = server_usage,   \
    .explain = server_explain, .verify = server_run_verify, .fill = server_run_fill,               \
    .reuses = true, .run = {SERVER_RUNS, [OP_INCR] = server_run_incr}

static const struct engine one = {.name = "redis-1", .attach = attach_1_1, COMMON};
static const struct engine deep = {.name = "redis-p16", .unit = 16, .attach = attach_1_16, COMMON};
static const struct engine many = {.name = "redis-c50", .unit = 50, .attach = attach_50_1, COMMON};
static const struct engine both = {
    .name = "redis-c50p16", .unit = 800, .attach = attach_50_16, COMMON};
static const struct engine *const engines[] = {&one, &deep, &many, &both, NULL};

__attribute__((visibility("default")))
const struct peer bench_peer = {.engines = engines, .missing = missing};
