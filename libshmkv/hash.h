/* SPDX-License-Identifier: MIT */
/*
 * hash.h - the hash of keys: XXH3 with the store's secret seed, so that nobody who does not know
 * the seed can choose colliding keys.  Stored nowhere; a changed hash is a changed format.
 */
#ifndef SHMKV_HASH_H
#define SHMKV_HASH_H

#include <stddef.h>
#include <stdint.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static inline uint64_t hash_key(const void *key, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(key, len, seed);
}

#endif
