/* SPDX-License-Identifier: MIT */
/*
 * claim.h - the state word of a segment or an index area: kind, participant, epoch in 64 bits.
 *
 *   63                      24 23            4 3    0
 *   +-------------------------+---------------+------+
 *   | epoch (40 bits)         | participant   | kind |
 *   +-------------------------+---------------+------+
 *
 * Every change is one CAS on the whole word, so an object has one claimer at a time, and who died
 * holding it can be read from the word.
 */
#ifndef SHMKV_CLAIM_H
#define SHMKV_CLAIM_H

#include "base.h"

#define CLAIM_EPOCH_BITS 40

static inline uint64_t claim_word(unsigned kind, uint32_t participant, uint64_t epoch)
{
    return (uint64_t)kind | (uint64_t)participant << 4 | epoch << 24;
}

static inline unsigned claim_kind(uint64_t word)
{
    return (unsigned)(word & 15);
}

static inline uint32_t claim_participant(uint64_t word)
{
    return (uint32_t)(word >> 4) & 0xfffff;
}

static inline uint64_t claim_epoch(uint64_t word)
{
    return word >> 24;
}

#endif
