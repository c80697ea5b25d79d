/* SPDX-License-Identifier: MIT */
/*
 * slot.h - the 64-bit word of the index.
 *
 *   63                                   17 16       15         0
 *   +--------------------------------------+--------+-----------+
 *   | offset of the record / 8 (47 bits)   | FROZEN | tag       |
 *   +--------------------------------------+--------+-----------+
 *
 *   word                  tag            meaning
 *   EMPTY = 0             0              never used; left once
 *   MOVED_EMPTY           1              was empty when the resize came by; terminal
 *   MOVED                 of the key     the record was moved to the next table; terminal
 *   MOVED_DROPPED         of the key     a tombstone that was dropped; terminal
 *   EVICTED               of the key     the key was evicted: a slot of no key until a resize
 *   record                of the key     the newest record of the key; FROZEN: a mover is at it
 *
 * A slot that has a tag keeps it, so a tag comparison on stale bytes can only err on EMPTY.
 */
#ifndef SHMKV_SLOT_H
#define SHMKV_SLOT_H

#include "base.h"

#define SLOT_EMPTY 0ull
#define SLOT_TAG_MASK 0xffffull
#define SLOT_TAG_MOVED_EMPTY 1ull
#define SLOT_TAG_FIRST 2ull /* tags of keys have this bit */
#define SLOT_FROZEN (1ull << 16)
#define SLOT_OFFSET_SHIFT 17
/* Offsets that no record can have: the superblock lies there. */
#define SLOT_OFFSET_MOVED 8ull
#define SLOT_OFFSET_DROPPED 16ull
#define SLOT_OFFSET_EVICTED 24ull
#define SLOT_MOVED_EMPTY SLOT_TAG_MOVED_EMPTY

/* The low bits of the hash, one of them set, so that no key has a tag with a meaning of its own;
 * the high bits choose the bucket. */
static inline uint64_t slot_tag(uint64_t hash)
{
    return (hash & SLOT_TAG_MASK) | SLOT_TAG_FIRST;
}

static inline uint64_t slot_record(uint64_t tag, uint64_t offset)
{
    return offset / 8 << SLOT_OFFSET_SHIFT | tag;
}

static inline uint64_t slot_tag_of(uint64_t word)
{
    return word & SLOT_TAG_MASK;
}

/* Has @word the tag of this hash? */
static inline bool slot_has_tag(uint64_t word, uint64_t hash)
{
    return (uint16_t)word == (uint16_t)slot_tag(hash);
}

static inline uint64_t slot_offset(uint64_t word)
{
    return (word >> SLOT_OFFSET_SHIFT) * 8;
}

static inline uint64_t slot_moved(uint64_t word)
{
    return slot_record(slot_tag_of(word), SLOT_OFFSET_MOVED);
}

static inline uint64_t slot_dropped(uint64_t word)
{
    return slot_record(slot_tag_of(word), SLOT_OFFSET_DROPPED);
}

static inline uint64_t slot_evicted(uint64_t word)
{
    return slot_record(slot_tag_of(word), SLOT_OFFSET_EVICTED);
}

static inline bool slot_is_evicted(uint64_t word)
{
    return slot_offset(word) == SLOT_OFFSET_EVICTED;
}

static inline bool slot_is_moved(uint64_t word)
{
    return slot_offset(word) == SLOT_OFFSET_MOVED;
}

/* MOVED or MOVED_DROPPED: not a record, and not an end of a probe. */
static inline bool slot_is_gone(uint64_t word)
{
    return slot_offset(word) == SLOT_OFFSET_MOVED || slot_offset(word) == SLOT_OFFSET_DROPPED;
}

/* Nothing happens to it any more in this table. */
static inline bool slot_is_terminal(uint64_t word)
{
    return word == SLOT_MOVED_EMPTY || slot_is_gone(word);
}

static inline bool slot_is_record(uint64_t word)
{
    return slot_offset(word) > SLOT_OFFSET_EVICTED;
}

#endif
