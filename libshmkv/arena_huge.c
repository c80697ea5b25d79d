/* SPDX-License-Identifier: MIT */
/*
 * arena_huge.c - huge pages for whole units of 2 MiB.
 *
 * Pages of 4 KiB are supplied one by one, and cost 2 MiB of page tables per GiB in each process,
 * which a get at random walks through.  MADV_COLLAPSE (Linux 6.1) makes a unit one huge page now,
 * whether it has memory or not, whatever the system's settings say of shared memory, but "deny".
 *
 * It is a hint.  Contents and offsets stay, whatever it returns, and memory that has to be there is
 * supplied after it by means that can tell (arena_memory.c).  Who touches the unit meanwhile waits
 * in a page fault for the copy of it; who dies meanwhile has done it or not, as the kernel likes.
 * Other processes that map it have the huge page from their next fault on.  To give back a part of
 * it splits it.  What is a huge page already is left so, in a microsecond.
 *
 * It waits for what other processors have put off (lru_add_drain_all() in the kernel), so it is for
 * memory of a store that is being made or recovered, and for the keeper; not for operations.
 *
 * A kernel that has no huge page free looks for one for long.  So after that this process asks for
 * none for a second.
 */
#define _GNU_SOURCE
#include "arena_parts.h"

#include "clock.h"
#include "shmkv.h"

#include <errno.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define PAUSE_NS 1000000000ull

static _Atomic uint64_t asks_again_ns; /* relaxed: policy */

int arena_huge_prepare(char *unit)
{
    uint64_t again = load_relaxed(&asks_again_ns);
    if (again != 0 && clock_mono_ns() < again)
        return SHMKV_ENOSPC;
    /* A unit that has no page, and so no page table, is refused. */
    if (madvise(unit, PAGE_BYTES, MADV_POPULATE_WRITE) == 0 &&
        madvise(unit, HUGE_PAGE_BYTES, MADV_COLLAPSE) == 0)
        return 0;
    if (errno != ENOMEM) /* a page of it is in somebody's hands; or it is none for huge pages */
        return SHMKV_EBUSY;
    store_relaxed(&asks_again_ns, clock_mono_ns() + PAUSE_NS);
    return SHMKV_ENOSPC;
}
