/* SPDX-License-Identifier: MIT */
/* record.c - see record.h for the form of a record. */
#include "record.h"

#include <string.h>

#include "crc32c.h"

#define BODY_OFFSET 16u /* behind crc, state and version */

#define INLINE_MAX 256u

/* Sixteen bytes at once, of any alignment. */
typedef uint64_t record_chunk __attribute__((vector_size(16), aligned(1), may_alias));

/* Copy @n bytes to the 8-aligned @to and zero what is left of the last word. */
static inline char *put_padded(char *to, const void *from, uint64_t n)
{
    const char *f = from;
    uint64_t padded = align_up(n, 8);
    if (padded == 0)
        return to;
    memset(to + padded - 8, 0, 8);
    if (n < sizeof(record_chunk) || n > INLINE_MAX) {
        memcpy(to, f, n);
        return to + padded;
    }
    for (uint64_t i = 0; i + sizeof(record_chunk) < n; i += sizeof(record_chunk))
        *(record_chunk *)(to + i) = *(const record_chunk *)(f + i);
    /* the last chunk may overlap what was copied */
    *(record_chunk *)(to + n - sizeof(record_chunk)) =
        *(const record_chunk *)(f + n - sizeof(record_chunk));
    return to + padded;
}

uint32_t record_write(struct record *at, const struct record_spec *spec)
{
    char *p = (char *)(at + 1);
    store_relaxed(&at->state, 0); /* nobody can find the record yet */
    at->vlen = spec->vlen;
    at->klen = (uint16_t)spec->klen;
    at->flags = spec->expiry != 0 ? RECORD_EXPIRES : 0;
    at->type = (uint8_t)spec->type;
    if (spec->expiry != 0) {
        memcpy(p, &spec->expiry, 8);
        p += 8;
    }
    p = put_padded(p, spec->key, spec->klen);
    if (spec->value == NULL) {
        if (spec->vlen != 0)
            memset(p + align_up(spec->vlen, 8) - 8, 0, 8);
        return 0;
    }
    p = put_padded(p, spec->value, spec->vlen);
    const char *body = (const char *)at + BODY_OFFSET;
    return crc32c(0, body, (size_t)(p - body));
}

uint32_t record_check_body(const struct record *at)
{
    return crc32c(0, (const char *)at + BODY_OFFSET, record_size(at) - BODY_OFFSET);
}

/* The finalizer of MurmurHash3 (Appleby, public domain) over both words: each bit spreads. */
uint64_t record_seed(uint64_t segment, uint64_t incarnation)
{
    uint64_t x = segment * 0x9e3779b97f4a7c15ull ^ incarnation;
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdull;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 33;
}

uint32_t record_reseed(uint32_t crc, uint64_t from, uint64_t to)
{
    return crc ^ record_fold(from) ^ record_fold(to);
}

bool record_valid(const struct record *r, uint64_t room, uint64_t seed)
{
    if (room < sizeof(*r) || r->klen == 0 || record_size(r) > room ||
        (r->type != RECORD_PAIR && r->type != RECORD_TOMBSTONE) ||
        (r->flags & ~(unsigned)RECORD_EXPIRES) != 0)
        return false;
    return (record_check_body(r) ^ record_tie(r->version, seed)) == r->crc;
}
