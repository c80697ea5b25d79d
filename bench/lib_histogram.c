/* SPDX-License-Identifier: MIT */
#include "lib_histogram.h"

#include <string.h>

void histogram_clear(struct histogram *h)
{
    memset(h, 0, sizeof(*h));
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->count[i] += from->count[i];
    into->total += from->total;
    if (from->max > into->max)
        into->max = from->max;
}

/* The largest value that falls into bucket @i. */
static uint64_t histogram_upper(unsigned i)
{
    unsigned octave;

    if (i < 2 * HISTOGRAM_SUB)
        return i;
    octave = i / HISTOGRAM_SUB - 1;
    return ((uint64_t)(HISTOGRAM_SUB + i % HISTOGRAM_SUB + 1) << octave) - 1;
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
    uint64_t seen = 0;
    uint64_t wanted = (uint64_t)(q * (double)h->total);

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->count[i];
        if (seen > wanted) {
            uint64_t upper = histogram_upper(i);
            return upper < h->max ? upper : h->max;
        }
    }
    return h->max;
}
