/* SPDX-License-Identifier: MIT */
/* blob.c - see blob.h. */
#include "blob.h"

#include <string.h>

static uint64_t begin(const uint64_t *header)
{
    return header[0] * 0x9e3779b97f4a7c15ull ^ header[1] << 20 ^ header[2];
}

void blob_write(void *value, size_t size, uint64_t key, uint64_t sequence)
{
    uint64_t header[3] = {key, sequence, size};
    uint64_t state = begin(header);
    memcpy(value, header, BLOB_MIN);
    for (size_t at = BLOB_MIN; at < size; at += 8) {
        uint64_t word = blob_random(&state);
        memcpy((char *)value + at, &word, size - at < 8 ? size - at : 8);
    }
}

bool blob_read(const void *value, size_t size, uint64_t key, uint64_t *sequence)
{
    uint64_t header[3];
    if (size < BLOB_MIN)
        return false;
    memcpy(header, value, BLOB_MIN);
    if (header[0] != key || header[2] != size)
        return false;
    uint64_t state = begin(header);
    for (size_t at = BLOB_MIN; at < size; at += 8) {
        uint64_t word = blob_random(&state);
        if (memcmp((const char *)value + at, &word, size - at < 8 ? size - at : 8) != 0)
            return false;
    }
    *sequence = header[1];
    return true;
}
