/* SPDX-License-Identifier: MIT */
/*
 * atomics.h - thin names for the C11 atomics, so that each access names its order in few letters.
 *
 * Every word that two parties touch is an _Atomic of at most 8 bytes and lock-free: a lock inside
 * an atomic would live in one process and guard nothing against the others.
 *
 * barrier_compiler() orders nothing at run time.  It is one half of an asymmetric fence: the other
 * half is a membarrier(2) by the (rare) other side, see epoch.h.
 */
#ifndef SHMKV_ATOMICS_H
#define SHMKV_ATOMICS_H

#include <stdatomic.h>
#include <stdint.h>

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
               "atomics must be lock-free");
_Static_assert(sizeof(_Atomic uint64_t) == 8 && sizeof(_Atomic uint32_t) == 4,
               "atomics carry a lock");

#define load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define load_seq_cst(p) atomic_load_explicit((p), memory_order_seq_cst)
#define store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define store_seq_cst(p, v) atomic_store_explicit((p), (v), memory_order_seq_cst)
#define add_relaxed(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define add_seq_cst(p, v) atomic_fetch_add_explicit((p), (v), memory_order_seq_cst)
#define sub_relaxed(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_relaxed)
#define sub_seq_cst(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_seq_cst)

/* Compare and swap; on failure *@expected is what was there (read with acquire). */
#define cas_acq_rel(p, expected, desired)                                                          \
    atomic_compare_exchange_strong_explicit((p), (expected), (desired), memory_order_acq_rel,      \
                                            memory_order_acquire)
#define cas_seq_cst(p, expected, desired)                                                          \
    atomic_compare_exchange_strong_explicit((p), (expected), (desired), memory_order_seq_cst,      \
                                            memory_order_seq_cst)
#define cas_relaxed(p, expected, desired)                                                          \
    atomic_compare_exchange_strong_explicit((p), (expected), (desired), memory_order_relaxed,      \
                                            memory_order_relaxed)

#define fence_seq_cst() atomic_thread_fence(memory_order_seq_cst)
#define barrier_compiler() atomic_signal_fence(memory_order_seq_cst)

/* Tell the core that this is a spin loop. */
static inline void cpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Raise *@p to at least @v; the caller's next seq_cst accesses come after that, whoever raised it.
 * Terminates: each failed CAS saw a larger value than before. */
static inline void max_seq_cst(_Atomic uint64_t *p, uint64_t v)
{
    uint64_t old = load_seq_cst(p);
    while (old < v && !cas_seq_cst(p, &old, v)) {
    }
}

#endif
