/* SPDX-License-Identifier: MIT */
/*
 * lib_histogram.h - counts of durations, exact to 3 % at any size, of fixed memory.
 *
 * Durations below 32 have a bucket each; above, each power of two is cut into 32 buckets.  Plain
 * memory without pointers: it may lie in shared memory and histograms of processes can be added.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 5u
#define HISTOGRAM_SUB (1u << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_OCTAVES 40u
#define HISTOGRAM_BUCKETS (HISTOGRAM_SUB * (HISTOGRAM_OCTAVES + 1))

struct histogram {
    uint64_t total;
    uint64_t max;
    uint32_t count[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t value)
{
    unsigned octave;

    if (value < HISTOGRAM_SUB)
        return (unsigned)value;
    octave = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    if (octave >= HISTOGRAM_OCTAVES)
        return HISTOGRAM_BUCKETS - 1;
    return (octave + 1) * HISTOGRAM_SUB + (unsigned)(value >> octave) % HISTOGRAM_SUB;
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
    h->count[histogram_bucket(value)]++;
    h->total++;
    if (value > h->max)
        h->max = value;
}

void histogram_clear(struct histogram *h);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The duration that the fraction @q (0..1) of all does not exceed; 0 if there are none. */
uint64_t histogram_quantile(const struct histogram *h, double q);

#endif
