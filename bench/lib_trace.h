/* SPDX-License-Identifier: MIT */
/*
 * lib_trace.h - sequences of requests for a cache: which key is asked for next.
 *
 * A trace is a function of its kind, its sizes and nothing else, so that every engine sees the
 * same.  Popular keys lie anywhere: a rank is turned into a key by a multiplication that is one to
 * one.
 */
#ifndef BENCH_TRACE_H
#define BENCH_TRACE_H

#include <stdint.h>

/* Name, and what it is. */
#define TRACES(X)                                                                                  \
    X(zipf08, "zipf 0.8", 0.8)                                                                     \
    X(zipf099, "zipf 0.99", 0.99)                                                                  \
    X(zipf12, "zipf 1.2", 1.2)                                                                     \
    X(onehit, "30 % one-hit", 0.99) /* of the requests are for keys that come once */              \
    X(scans, "scans", 0.99)         /* twenty, each of a tenth of the keys, in their order */      \
    X(shift, "shifting", 0.99)      /* twenty times a 20th of the keys comes before all others */  \
    X(drift, "drifting", 0.99)      /* with every 50 requests one key comes before all others */

enum trace_kind {
#define TRACE_ENUM(name, text, exponent) TRACE_##name,
    TRACES(TRACE_ENUM)
#undef TRACE_ENUM
        TRACE_KINDS
};

struct trace {
    uint32_t *key; /* of each request */
    uint64_t requests;
    uint64_t keys;   /* of the distribution */
    uint64_t unique; /* all numbers in @key are below it */
};

const char *trace_name(enum trace_kind kind);
/* @keys is a power of two, at most 2^30. */
void trace_make(struct trace *t, enum trace_kind kind, uint64_t keys, uint64_t requests);
void trace_free(struct trace *t);

#endif
