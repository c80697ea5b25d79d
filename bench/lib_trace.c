/* SPDX-License-Identifier: MIT */
/* lib_trace.c - see lib_trace.h. */
#include "lib_trace.h"
#include "lib_memory.h"

#include <math.h>

#define PHASES 20u
#define ONEHIT_PERCENT 30u
#define SCAN_PART 10u
#define DRIFT_REQUESTS 50u

static const char *const names[] = {
#define TRACE_NAME(name, text, exponent) text,
    TRACES(TRACE_NAME)
#undef TRACE_NAME
};

static const double exponents[] = {
#define TRACE_EXPONENT(name, text, exponent) exponent,
    TRACES(TRACE_EXPONENT)
#undef TRACE_EXPONENT
};

const char *trace_name(enum trace_kind kind)
{
    return names[kind];
}

/* ---- chance -------------------------------------------------------------------------------- */

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static double next_fraction(uint64_t *state)
{
    return (double)(next_random(state) >> 11) * 0x1p-53;
}

/* Zipf by rejection and inversion (Hoermann, Derflinger 1996): no table, whatever the exponent. */
struct zipf {
    double exponent, low, high, shortcut;
    uint64_t n;
};

/* The integral of x^-exponent, and its inverse; near exponent 1 these are logarithms. */
static double integral(double exponent, double x)
{
    double log_x = log(x), t = (1 - exponent) * log_x;
    return (fabs(t) > 1e-8 ? expm1(t) / t : 1 + t / 2) * log_x;
}

static double inverse(double exponent, double y)
{
    double t = fmax(y * (1 - exponent), -1);
    return exp((fabs(t) > 1e-8 ? log1p(t) / t : 1 - t / 2) * y);
}

static struct zipf zipf_make(double exponent, uint64_t n)
{
    struct zipf z = {.exponent = exponent, .n = n};
    z.low = integral(exponent, 1.5) - 1;
    z.high = integral(exponent, (double)n + 0.5);
    z.shortcut = 2 - inverse(exponent, integral(exponent, 2.5) - pow(2, -exponent));
    return z;
}

/* 0: the most popular. */
static uint64_t zipf_rank(const struct zipf *z, uint64_t *state)
{
    for (;;) { /* a few rounds at most, each succeeds more often than not */
        double y = z->high + next_fraction(state) * (z->low - z->high);
        double x = inverse(z->exponent, y);
        double k = fmin(fmax(floor(x + 0.5), 1), (double)z->n);
        if (k - x <= z->shortcut || y >= integral(z->exponent, k + 0.5) - pow(k, -z->exponent))
            return (uint64_t)k - 1;
    }
}

/* ---- traces -------------------------------------------------------------------------------- */

/* What is asked for instead of what the distribution says. */
struct intruder {
    uint64_t left, next; /* of a running scan */
};

static uint64_t moved_on(enum trace_kind kind, const struct trace *t, uint64_t request)
{
    if (kind == TRACE_shift)
        return request * PHASES / t->requests * (t->keys / PHASES);
    return kind == TRACE_drift ? request / DRIFT_REQUESTS : 0;
}

static uint64_t scan_next(struct intruder *i, const struct trace *t, uint64_t request,
                          uint64_t *state)
{
    uint64_t period = t->requests / PHASES;
    if (request % period == period / 2) {
        i->left = t->keys / SCAN_PART < period / 2 ? t->keys / SCAN_PART : period / 2;
        i->next = next_random(state) % t->keys;
    }
    if (i->left == 0)
        return UINT64_MAX;
    i->left--;
    return i->next++ % t->keys;
}

void trace_make(struct trace *t, enum trace_kind kind, uint64_t keys, uint64_t requests)
{
    *t = (struct trace){.requests = requests, .keys = keys, .unique = keys};
    t->key = memory_get(requests * sizeof(*t->key));
    struct zipf z = zipf_make(exponents[kind], keys);
    struct intruder intruder = {.left = 0};
    uint64_t state = 1 + (uint64_t)kind;
    for (uint64_t i = 0; i < requests; i++) {
        uint64_t key = UINT64_MAX;
        if (kind == TRACE_scans)
            key = scan_next(&intruder, t, i, &state);
        if (kind == TRACE_onehit && next_random(&state) % 100 < ONEHIT_PERCENT)
            key = t->unique++;
        if (key == UINT64_MAX) {
            uint64_t rank = zipf_rank(&z, &state) - moved_on(kind, t, i);
            key = rank * 0x9e3779b97f4a7c15ull & (keys - 1); /* odd: one to one */
        }
        t->key[i] = (uint32_t)key;
    }
}

void trace_free(struct trace *t)
{
    memory_put(t->key, t->requests * sizeof(*t->key));
    t->key = NULL;
}
