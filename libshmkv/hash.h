/* SPDX-License-Identifier: MIT */
/*
 * hash.h - the hash of keys: XXH3 with a secret of the store's own, so that nobody who does not
 * know the secret can choose colliding keys.  Stored nowhere; a changed hash is a changed format.
 * The secret is spread from a 64-bit seed once per mapping: hashing with it is a third shorter
 * than hashing with the seed itself, and the hash is half of what a lookup computes.
 */
#ifndef SHMKV_HASH_H
#define SHMKV_HASH_H

#include <stddef.h>
#include <stdint.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Up to this length a hash is so few instructions that it pays to inline no more than these. */
#define HASH_SHORT 64u

struct hash_secret {
    _Alignas(64) unsigned char bytes[XXH3_SECRET_DEFAULT_SIZE];
};

static inline void hash_init(struct hash_secret *secret, uint64_t seed)
{
    XXH3_generateSecret_fromSeed(secret->bytes, seed);
}

static inline uint64_t hash_key(const void *key, size_t len, const struct hash_secret *secret)
{
    return XXH3_64bits_withSecret(key, len, secret->bytes, sizeof(secret->bytes));
}

#endif
