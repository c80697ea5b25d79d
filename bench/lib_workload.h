/* SPDX-License-Identifier: MIT */
/*
 * lib_workload.h - which keys, which values, in which order.
 *
 * Everything is a function of the settings: two runs, two engines and two processes see the same.
 * All of it is made before the clock runs.  A stream holds the keys themselves, in the order of
 * the operations, so that drawing a key costs nothing but reading on (the hardware prefetches
 * that), and costs every engine the same.
 */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORKLOAD_VALUES 256u
#define WORKLOAD_ZIPF 0.99

enum distribution { DIST_UNIFORM, DIST_ZIPF, DIST_HOTCOLD };

struct workload {
    uint64_t keys;
    size_t key_size;
    size_t value_size;
    char *key_bytes;   /* key i at i * key_size */
    char *value_bytes; /* WORKLOAD_VALUES values, value_stride apart */
    size_t value_stride;
};

/* A sequence of operations. */
struct stream {
    const char *keys;     /* operation i is on the key at i * key_size */
    const uint8_t *write; /* operation i writes; NULL: the engine's function decides */
    uint64_t count;
    bool owned;
};

/* Zipf's distribution over ranks, see zipf_draw(). */
struct zipf {
    double q;
    double low;
    double high;
    double squeeze;
    uint64_t n;
};

/* Key indices drawn one by one, for runs too long for a stream. */
struct drawing {
    enum distribution dist;
    uint64_t keys;
    uint64_t step;  /* of the permutation that spreads what is hot over all keys */
    uint64_t state; /* of the random numbers */
    struct zipf zipf;
};

/* The text of key @index: a UUID if @size is 36; distinct for distinct indices. */
void workload_key(uint64_t index, size_t size, char *out);
/* The text of value @number (of WORKLOAD_VALUES), which it begins with. */
void workload_value(uint64_t number, size_t size, char *out);
/* @value is one of the values, whole. */
bool workload_value_right(const struct workload *w, const char *value, size_t size);
/* Can @keys distinct keys of @size bytes be made? */
bool workload_key_size_ok(uint64_t keys, size_t size);

void workload_make(struct workload *w, uint64_t keys, size_t key_size, size_t value_size);
void workload_free(struct workload *w);

/* The value of operation @at of any stream. */
static inline const char *workload_value_at(const struct workload *w, uint64_t at)
{
    return w->value_bytes + (at % WORKLOAD_VALUES) * w->value_stride;
}

/* All keys once, in the order of their indices. */
void stream_in_order(struct stream *s, const struct workload *w);
/* All keys once, in random order. */
void stream_shuffled(struct stream *s, const struct workload *w);
/* @count operations drawn from @dist, of which @read_percent read. */
void stream_drawn(struct stream *s, const struct workload *w, enum distribution dist,
                  unsigned read_percent, uint64_t count);
/*
 * For @parts processes that take equal parts: each inserts keys behind the first @loaded, its own,
 * in order, and reads what it has inserted and what was loaded, the younger the more often (Zipf
 * over age).  At most as many inserts as there are keys behind @loaded; the rest reads.
 */
void stream_latest(struct stream *s, const struct workload *w, uint64_t loaded, unsigned parts,
                   unsigned read_percent, uint64_t count);
/*
 * Puts a read of the same key before each write of a drawn stream, which keeps its length.
 * Returns what one operation of it counts for if such a pair counts as one.
 */
double stream_modify(struct stream *s, const struct workload *w);
/* @seed: another one, another sequence. */
void drawing_begin(struct drawing *d, const struct workload *w, enum distribution dist,
                   uint64_t seed);
/* The index of the next key. */
uint64_t drawing_next(struct drawing *d);
void stream_free(struct stream *s, const struct workload *w);

#endif
