/* SPDX-License-Identifier: MIT */
/*
 * memcached.c - memcached as engines, over a Unix socket, by its text protocol, with two threads
 * and its hash table as large as the others': memcached-1 is one connection and one request at a
 * time; -p16 is sixteen requests in a row, -c50 fifty connections, -c50p16 both.
 */
#include "../lib_peers.h"
#include "lib_files.h"
#include "lib_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the protocol -------------------------------------------------------------------------- */

static void arguments(const struct engine_setup *setup, const char *socket, const char **argv)
{
    static char megabytes[24];
    static char power[32];
    const char *const all[] = {"-s", socket, "-m", megabytes, "-U", "0",  "-t",  "2",
                               "-u", "root", "-c", "1024",    "-M", "-o", power, NULL};
    unsigned bits = 1;

    while (bits < 30 && 1ull << bits < setup->slots)
        bits++;
    snprintf(power, sizeof(power), "hashpower=%u", setup->growing ? 16 : bits);
    snprintf(megabytes, sizeof(megabytes), "%llu",
             (unsigned long long)(peer_live_bytes(setup) >> 19) + 256);
    memcpy(argv, all, sizeof(all));
}

static size_t get(char *out, const char *key, size_t key_size)
{
    char *end = server_text(server_text(out, "get ", 4), key, key_size);

    return (size_t)(server_text(end, "\r\n", 2) - out);
}

static size_t set(char *out, const char *key, const char *value, const struct workload *w)
{
    char *end = server_text(server_text(out, "set ", 4), key, w->key_size);

    end += sprintf(end, " 0 0 %zu\r\n", w->value_size);
    end = server_text(end, value, w->value_size);
    return (size_t)(server_text(end, "\r\n", 2) - out);
}

static size_t del(char *out, const char *key, size_t key_size)
{
    char *end = server_text(server_text(out, "delete ", 7), key, key_size);

    return (size_t)(server_text(end, "\r\n", 2) - out);
}

/* The length stands behind the third blank: VALUE key flags length. */
static struct answer read_value(const char *in, const char *line_end, size_t size)
{
    struct answer a = {.good = true, .value = line_end + 1};
    const char *at = in;

    for (unsigned blanks = 0; blanks < 3; blanks++)
        at = (const char *)memchr(at, ' ', (size_t)(line_end - at)) + 1;
    a.value_size = strtoul(at, NULL, 10);
    a.size = (size_t)(line_end - in) + 1 + a.value_size + 2 + 5;
    if (a.size > size)
        a = (struct answer){0};
    return a;
}

static struct answer read_answer(const char *in, size_t size, enum operation op)
{
    const char *line_end = memchr(in, '\n', size);
    struct answer a = {0};

    if (line_end == NULL)
        return a;
    if (op == OP_GET && in[0] == 'V')
        return read_value(in, line_end, size);
    a.size = (size_t)(line_end - in) + 1;
    a.good = op != OP_GET && (in[0] == 'S' || in[0] == 'D');
    return a;
}

static const struct protocol protocol = {.program = "memcached",
                                         .arguments = arguments,
                                         .get = get,
                                         .set = set,
                                         .del = del,
                                         .read = read_answer};

/* ---- engines ------------------------------------------------------------------------------- */

static const char *missing(void)
{
    return server_missing(&protocol);
}

static const char *create(const struct engine_setup *setup)
{
    if (setup->workload->key_size > 250 || setup->workload->value_size > 1000000)
        return "memcached's keys are at most 250 bytes long, its values 1 MB";
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
    .reuses = true, .run = {SERVER_RUNS}

static const struct engine one = {.name = "memcached-1", .attach = attach_1_1, COMMON};
static const struct engine deep = {
    .name = "memcached-p16", .unit = 16, .attach = attach_1_16, COMMON};
static const struct engine many = {
    .name = "memcached-c50", .unit = 50, .attach = attach_50_1, COMMON};
static const struct engine both = {
    .name = "memcached-c50p16", .unit = 800, .attach = attach_50_16, COMMON};
static const struct engine *const engines[] = {&one, &deep, &many, &both, NULL};

__attribute__((visibility("default")))
const struct peer bench_peer = {.engines = engines, .missing = missing};
