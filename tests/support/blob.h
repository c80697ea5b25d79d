/* SPDX-License-Identifier: MIT */
/*
 * blob.h - values that describe themselves, so that whoever reads one knows whether it is whole and
 * which write of which key it is.
 *
 *   0        8          16           24
 *   +--------+----------+------------+------------------------------+
 *   | key    | sequence | size       | bytes that follow from these |
 *   +--------+----------+------------+------------------------------+
 */
#ifndef TEST_BLOB_H
#define TEST_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOB_MIN 24u

/* A pseudo-random number; *@state is any number to begin with. */
static inline uint64_t blob_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15ull; /* Weyl sequence, mixed: splitmix64 */
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

/* Fill @size (>= BLOB_MIN) bytes. */
void blob_write(void *value, size_t size, uint64_t key, uint64_t sequence);
/* Is it a whole value of @key?  *@sequence says which. */
bool blob_read(const void *value, size_t size, uint64_t key, uint64_t *sequence);

#endif
