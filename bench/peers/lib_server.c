/* SPDX-License-Identifier: MIT */
/* lib_server.c - waves of requests; lib_server_life.c has the processes. */
#include "lib_server_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- one connection ------------------------------------------------------------------------ */

static bool send_all(struct server *s, struct connection *c, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(c->fd, bytes, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            snprintf(s->failure, sizeof(s->failure), "sending: %s", strerror(errno));
            return false;
        }
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

static bool receive_more(struct server *s, struct connection *c)
{
    ssize_t n;

    if (c->begin > 0) {
        memmove(c->in, c->in + c->begin, c->end - c->begin);
        c->end -= c->begin;
        c->begin = 0;
    }
    do {
        n = c->end == s->room ? 0 : read(c->fd, c->in + c->end, s->room - c->end);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        snprintf(s->failure, sizeof(s->failure), "receiving: %s",
                 n == 0 ? "the server closed the connection" : strerror(errno));
        return false;
    }
    c->end += (size_t)n;
    return true;
}

/* The next answer of the connection; stays until the one after it is asked for. */
static bool receive(struct server *s, struct connection *c, enum operation op, struct answer *a)
{
    for (;;) {
        *a = s->protocol->read(c->in + c->begin, c->end - c->begin, op);
        if (a->size != 0)
            break;
        if (!receive_more(s, c))
            return false;
    }
    if (!a->good)
        snprintf(s->failure, sizeof(s->failure), "it answered '%.60s'", c->in + c->begin);
    c->begin += a->size;
    if (c->begin == c->end)
        c->begin = c->end = 0;
    return true;
}

/* ---- waves --------------------------------------------------------------------------------- */

/* What is asked in a batch, and what is done with values. */
struct question {
    enum operation op;
    bool verify;
    uint64_t right;
};

static enum operation what(const struct question *q, const struct batch *b, uint64_t i)
{
    if (q->op != OP_MIX)
        return q->op;
    return b->stream->write[b->at + i] ? OP_OVERWRITE : OP_GET;
}

static size_t put_request(const struct server *s, const struct question *q, const struct batch *b,
                          uint64_t i, char *out)
{
    const struct protocol *p = s->protocol;
    enum operation op = what(q, b, i);

    if (op == OP_GET)
        return p->get(out, batch_key(b, i), b->workload->key_size);
    if (op == OP_INCR)
        return p->incr(out, batch_key(b, i), b->workload->key_size);
    if (op == OP_DELETE)
        return p->del(out, batch_key(b, i), b->workload->key_size);
    return p->set(out, batch_key(b, i), batch_value(b, i), b->workload);
}

static bool ask(struct server *s, struct connection *c, const struct question *q,
                const struct batch *b, const uint64_t range[2])
{
    size_t size = 0;

    for (uint64_t i = range[0]; i < range[1]; i++)
        size += put_request(s, q, b, i, s->out + size);
    return send_all(s, c, s->out, size);
}

static bool hear(struct server *s, struct connection *c, struct question *q, struct batch *b,
                 const uint64_t range[2])
{
    for (uint64_t i = range[0]; i < range[1]; i++) {
        struct answer a;

        if (!receive(s, c, what(q, b, i), &a))
            return false;
        if (q->verify)
            q->right += a.good && workload_value_right(b->workload, a.value, a.value_size);
        else
            q->right += a.good;
        if (a.value != NULL)
            b->touched += batch_touch(a.value, a.value_size);
    }
    return true;
}

/* The @n-th connection's part of the wave that begins at operation @from. */
static void part(const struct batch *b, uint64_t from, unsigned depth, unsigned n,
                 uint64_t range[2])
{
    range[0] = from + (uint64_t)n * depth;
    range[1] = range[0] + depth;
    for (unsigned i = 0; i < 2; i++)
        if (range[i] > b->count)
            range[i] = b->count;
}

static uint64_t run(struct server *s, struct question *q, struct batch *b, unsigned depth)
{
    uint64_t range[2];

    for (uint64_t at = 0; at < b->count; at += (uint64_t)s->connections * depth) {
        for (unsigned n = 0; n < s->connections; n++) {
            part(b, at, depth, n, range);
            if (range[0] < range[1] && !ask(s, &s->connection[n], q, b, range))
                return 0;
        }
        for (unsigned n = 0; n < s->connections; n++) {
            part(b, at, depth, n, range);
            if (range[0] < range[1] && !hear(s, &s->connection[n], q, b, range))
                return 0;
        }
    }
    return q->right;
}

static uint64_t run_op(void *context, struct batch *b, enum operation op)
{
    struct server *s = context;
    struct question q = {.op = op};

    return run(s, &q, b, s->depth);
}

uint64_t server_run_get(void *context, struct batch *b)
{
    return run_op(context, b, OP_GET);
}

uint64_t server_run_put(void *context, struct batch *b)
{
    return run_op(context, b, OP_OVERWRITE);
}

uint64_t server_run_delete(void *context, struct batch *b)
{
    return run_op(context, b, OP_DELETE);
}

uint64_t server_run_incr(void *context, struct batch *b)
{
    return run_op(context, b, OP_INCR);
}

uint64_t server_run_mix(void *context, struct batch *b)
{
    return run_op(context, b, OP_MIX);
}

uint64_t server_run_verify(void *context, struct batch *b)
{
    struct question q = {.op = OP_GET, .verify = true};

    return run(context, &q, b, SERVER_DEPTH);
}

uint64_t server_run_fill(void *context, struct batch *b)
{
    struct question q = {.op = OP_OVERWRITE};

    return run(context, &q, b, SERVER_DEPTH);
}
