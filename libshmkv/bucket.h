/* SPDX-License-Identifier: MIT */
/*
 * bucket.h - probing one cache line of eight slots.
 *
 * bucket_match() returns which of the eight slots deserve a look: those with the tag, and those
 * that end a probe (EMPTY, MOVED_EMPTY).  bucket_candidate() is for who looks for a key that is
 * mostly there, with a longer way for the rest: the word of one slot with the tag.
 *
 * Their vector loads are no atomic accesses; that is sound because they only filter: a candidate
 * is loaded again, atomically, and a slot that is passed over had, at the time of the load, another
 * key's tag, which it keeps, or was EMPTY.  A build under ThreadSanitizer, and other machines, use
 * portable paths of atomic loads.
 */
#ifndef SHMKV_BUCKET_H
#define SHMKV_BUCKET_H

#include "atomics.h"
#include "base.h"
#include "slot.h"

#define BUCKET_SLOTS 8u

/* The mask in the order of a probe that begins at slot @first ... */
static inline unsigned bucket_rotate(unsigned mask, unsigned first)
{
    return (mask >> first | mask << (BUCKET_SLOTS - first)) & ((1u << BUCKET_SLOTS) - 1);
}

/* ... and the slot of the first candidate of it; @rotated is not 0. */
static inline unsigned bucket_slot(unsigned rotated, unsigned first)
{
    return ((unsigned)__builtin_ctz(rotated) + first) % BUCKET_SLOTS;
}

#if !THREAD_SANITIZER && defined(__SSE2__)
#define BUCKET_SSE2 1
#include <emmintrin.h>
#elif !THREAD_SANITIZER && defined(__ARM_NEON) && defined(__aarch64__)
#define BUCKET_NEON 1
#include <arm_neon.h>
#endif

/* Relaxed: a filter, see above. */
static inline unsigned bucket_match_portable(const _Atomic uint64_t *bucket, uint64_t tag)
{
    unsigned mask = 0;
    for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
        uint64_t t = slot_tag_of(load_relaxed(&bucket[i]));
        mask |= (unsigned)(t == tag || t < SLOT_TAG_FIRST) << i;
    }
    return mask;
}

#if defined(BUCKET_SSE2)
/* The low halves of four slots' words from slot @i on, each with its tag on top of it. */
static ALWAYS_INLINE __m128i bucket_tags(const void *bucket, unsigned i)
{
    const __m128 *pairs = (const __m128 *)bucket + i / 2;
    __m128 four = _mm_shuffle_ps(pairs[0], pairs[1], _MM_SHUFFLE(2, 0, 2, 0));
    return _mm_slli_epi32(_mm_castps_si128(four), 16);
}

/* Two vectors of four to one of eight tags; the shifts sign-extend, so packing is exact. */
static inline unsigned bucket_match(const _Atomic uint64_t *bucket, uint64_t tag)
{
    __m128i lo = bucket_tags(bucket, 0);
    __m128i hi = bucket_tags(bucket, 4);
    __m128i tags = _mm_packs_epi32(_mm_srai_epi32(lo, 16), _mm_srai_epi32(hi, 16));
    __m128i same = _mm_cmpeq_epi16(tags, _mm_set1_epi16((short)tag));
    __m128i end = _mm_cmpeq_epi16(_mm_srli_epi16(tags, 1), _mm_setzero_si128());
    __m128i hits = _mm_or_si128(same, end);
    return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(hits, hits)) & 0xffu;
}
#elif defined(BUCKET_NEON)
static inline unsigned bucket_match(const _Atomic uint64_t *bucket, uint64_t tag)
{
    static const uint16_t weights[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    const uint64_t *line = (const uint64_t *)(const void *)bucket;
    uint32x4_t lo = vcombine_u32(vmovn_u64(vld1q_u64(line)), vmovn_u64(vld1q_u64(line + 2)));
    uint32x4_t hi = vcombine_u32(vmovn_u64(vld1q_u64(line + 4)), vmovn_u64(vld1q_u64(line + 6)));
    uint16x8_t tags = vcombine_u16(vmovn_u32(lo), vmovn_u32(hi));
    uint16x8_t hits = vorrq_u16(vceqq_u16(tags, vdupq_n_u16((uint16_t)tag)),
                                vcltq_u16(tags, vdupq_n_u16((uint16_t)SLOT_TAG_FIRST)));
    return vaddvq_u16(vandq_u16(hits, vld1q_u16(weights)));
}
#else
#define bucket_match bucket_match_portable
#endif

/* ---- the tag alone -------------------------------------------------------------------------- */

/* The next slot of a probe: in the same cache line, which is the bucket. */
static ALWAYS_INLINE _Atomic uint64_t *bucket_next(const _Atomic uint64_t *slot)
{
    uintptr_t at = (uintptr_t)slot;
    return (void *)((at & ~(uintptr_t)(CACHE_LINE - 1)) | (at + sizeof(*slot)) % CACHE_LINE);
}

/*
 * bucket_candidate() - the word of a slot with the hash's tag, in the bucket where @first, at which
 * its probe begins, lies; SLOT_EMPTY: there is none.  For who looks elsewhere if that is not it.
 */
static ALWAYS_INLINE uint64_t bucket_candidate_portable(const _Atomic uint64_t *first,
                                                        uint64_t hash)
{
    uint64_t word = load_acquire(first); /* [I1] */
    for (const _Atomic uint64_t *slot = first; unlikely(!slot_has_tag(word, hash));) {
        slot = bucket_next(slot);
        if (word == SLOT_EMPTY || slot == first)
            return SLOT_EMPTY;
        word = load_acquire(slot); /* [I1] */
    }
    return word;
}

#if defined(BUCKET_SSE2)
/* A key in five is not where its probe begins: a branch for that costs more than to compare all,
 * since what the processor has under way behind it is lost. */
static ALWAYS_INLINE uint64_t bucket_candidate(const _Atomic uint64_t *first, uint64_t hash)
{
    const char *bucket = (const char *)((uintptr_t)first & ~(uintptr_t)(CACHE_LINE - 1));
    __m128i tag = _mm_set1_epi32((int)((uint32_t)slot_tag(hash) << 16));
    __m128i same = _mm_packs_epi32(_mm_cmpeq_epi32(bucket_tags(bucket, 0), tag),
                                   _mm_cmpeq_epi32(bucket_tags(bucket, 4), tag));
    unsigned mask = (unsigned)_mm_movemask_epi8(same); /* two bits of each slot */
    if (unlikely(mask == 0))
        return SLOT_EMPTY;
    const void *slot = bucket + (unsigned)__builtin_ctz(mask) * 4;
    return load_acquire((const _Atomic uint64_t *)slot); /* [I1] */
}
#else
#define bucket_candidate bucket_candidate_portable
#endif

#endif
