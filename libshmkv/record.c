/* SPDX-License-Identifier: MIT */
/* record.c - see record.h for the form of a record. */
#include "record.h"

#include <string.h>

#include "crc32c.h"

#define BODY_OFFSET 16u /* behind crc, state and version */

/* Copy @n bytes to the 8-aligned @to and zero what is left of the last word. */
static char *put_padded(char *to, const void *from, uint64_t n)
{
    uint64_t padded = align_up(n, 8);
    if (padded == 0)
        return to;
    memset(to + padded - 8, 0, 8);
    memcpy(to, from, n);
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
    put_padded(p, spec->value, spec->vlen);
    return record_check_body(at);
}

uint32_t record_check_body(const struct record *at)
{
    return crc32c(0, (const char *)at + BODY_OFFSET, record_size(at) - BODY_OFFSET);
}

static uint32_t fold(uint64_t seed)
{
    return (uint32_t)(seed >> 32) ^ (uint32_t)seed;
}

void record_seal(struct record *at, uint32_t body, uint64_t version, uint64_t seed)
{
    at->version = version;
    at->crc = crc32c(body, &at->version, sizeof(at->version)) ^ fold(seed);
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
    return crc ^ fold(from) ^ fold(to);
}

bool record_valid(const struct record *r, uint64_t room, uint64_t seed)
{
    if (room < sizeof(*r) || r->klen == 0 || record_size(r) > room
        || (r->type != RECORD_PAIR && r->type != RECORD_TOMBSTONE)
        || (r->flags & ~(unsigned)RECORD_EXPIRES) != 0)
        return false;
    uint32_t crc = crc32c(record_check_body(r), &r->version, sizeof(r->version));
    return (crc ^ fold(seed)) == r->crc;
}
