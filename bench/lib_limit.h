/* SPDX-License-Identifier: MIT */
/*
 * lib_limit.h - the yardstick: what the memory itself allows, with no protocol around it.
 *
 *   +------+-----------------------+-----------------------------------------------------+
 *   | head | slots: tag 16 | off/8 | log                                                 |
 *   +------+-----------------------+-----------------------------------------------------+
 *
 * The same hash, the same number of slots and the same records as shmkv's (24 bytes of header, key
 * and value 8-aligned), in the same kind of memory (a file of the same tmpfs, pages of 4 KiB).  A
 * read is hash -> slot -> record -> compare -> touch.  A write appends a record to a chunk of the
 * process' own and publishes it with one CAS.  There is no checksum, version, epoch, reclamation,
 * resize or bounds check, and no answer to a process that dies: nothing that does more than this
 * can be faster, so the ratio to it is the price of everything that makes a store usable.
 *
 * Linear probing starts at the key's own slot and compares word by word: measured against
 * comparing a whole bucket with SSE2, AVX2 and AVX-512 this is the fastest, because the processor
 * predicts "the first slot is it" and has the record under way before a mask were computed.
 *
 * Nothing is reclaimed: before the log is full the benchmark makes a new store.
 */
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

#include "lib_engine.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define LIMIT_SEED 0x2545f4914f6cdd1du
#define LIMIT_SLOTS_OFFSET (2ul << 20) /* where huge pages may begin */
#define LIMIT_CHUNK (256u << 10)
#define LIMIT_SLACK (32u << 20) /* for the rest of chunks that processes abandon */
#define LIMIT_OFFSET_MASK ((1ull << 48) - 1)
/* Points to bytes of the head that are zero: a record with an empty key, which is nobody's. */
#define LIMIT_DELETED 8ull

struct record {
    uint32_t crc;
    uint32_t state;
    uint64_t version;
    uint32_t vlen;
    uint16_t klen;
    uint8_t flags;
    uint8_t type;
};
_Static_assert(sizeof(struct record) == 24, "the same as shmkv's");

struct head {
    uint64_t slots;
    uint64_t log_offset;
    uint64_t total_bytes;
    uint64_t pad[5];
    uint8_t no_record[64];                /* LIMIT_DELETED leads here */
    _Alignas(64) _Atomic uint64_t cursor; /* next chunk, from the start of the mapping */
};
_Static_assert(offsetof(struct head, no_record) <= LIMIT_DELETED * 8 &&
                   offsetof(struct head, no_record) + 64 >= LIMIT_DELETED * 8 + 24,
               "LIMIT_DELETED must lead into no_record");

struct limit {
    char *base;
    _Atomic uint64_t *slots;
    uint64_t mask;
    unsigned shift;
    uint64_t at; /* free part of this process' chunk */
    uint64_t end;
    struct head *head;
};

static inline uint64_t round_up8(uint64_t n)
{
    return (n + 7) & ~(uint64_t)7;
}

static inline struct record *limit_record(const struct limit *l, uint64_t word)
{
    return (struct record *)(void *)(l->base + (word & LIMIT_OFFSET_MASK) * 8);
}

static inline char *record_key(struct record *r)
{
    return (char *)(r + 1);
}

static inline char *record_value(struct record *r)
{
    return (char *)(r + 1) + round_up8(r->klen);
}

static inline uint64_t record_bytes(const struct record *r)
{
    return sizeof(*r) + round_up8(r->klen) + round_up8(r->vlen);
}

/* lib_limit_store.c; see struct engine for what they do. */
const char *limit_create(const struct engine_setup *setup);
void limit_destroy(const struct engine_setup *setup);
const char *limit_attach(const struct engine_setup *setup, void **context);
void limit_detach(void *context);
void limit_usage(void *context, struct engine_usage *usage);
const char *limit_explain(void *context);

#endif
