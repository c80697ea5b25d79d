/* SPDX-License-Identifier: MIT */
/* lib_lru.h - a cache that always gives up what was used longest ago: the yardstick, simulated. */
#ifndef BENCH_LRU_H
#define BENCH_LRU_H

#include "lib_trace.h"

/* Misses of a cache of @capacity keys on the requests from @from on; those before fill it. */
uint64_t lru_misses(const struct trace *t, uint64_t capacity, uint64_t from);

#endif
