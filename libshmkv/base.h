/* SPDX-License-Identifier: MIT */
/* base.h - the few macros that every file uses. */
#ifndef SHMKV_BASE_H
#define SHMKV_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_LINE 64u
#define PAGE_BYTES 4096u
#define HUGE_PAGE_BYTES (2ull << 20)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define FLATTEN __attribute__((flatten))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Built for a sanitizer: gcc tells by a macro, clang by a feature. */
#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#elif __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#endif
#endif
#ifndef THREAD_SANITIZER
#define THREAD_SANITIZER 0
#endif
#ifndef ADDRESS_SANITIZER
#define ADDRESS_SANITIZER 0
#endif

/* @a is a power of two. */
static inline uint64_t align_up(uint64_t n, uint64_t a)
{
    return (n + a - 1) & ~(a - 1);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The smallest power of two >= @n; @n is 1..2^63. */
static inline uint64_t pow2_up(uint64_t n)
{
    return n <= 1 ? 1 : 1ull << (64 - __builtin_clzll(n - 1));
}

/* @n is a power of two. */
static inline unsigned log2_exact(uint64_t n)
{
    return (unsigned)__builtin_ctzll(n);
}

#endif
