/* SPDX-License-Identifier: MIT */
#include "huge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

#include <cmocka.h>

#define COLLAPSE 25

uint64_t huge_bytes(const void *address)
{
    char line[512];
    unsigned long from, to, kib = 0;
    bool inside = false;
    FILE *f = fopen("/proc/self/smaps", "r");

    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = (uintptr_t)address >= from && (uintptr_t)address < to;
        else if (inside && sscanf(line, "ShmemPmdMapped: %lu kB", &kib) == 1)
            break;
    }
    fclose(f);
    return kib * 1024;
}

bool huge_made(const struct arena *a)
{
    uint64_t offset = a->reserve / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES - HUGE_PAGE_BYTES;
    bool made = arena_take(a, offset, PAGE_BYTES) == 0 &&
                madvise(arena_at(a, offset), HUGE_PAGE_BYTES, COLLAPSE) == 0;
    assert_int_equal(arena_release(a, offset, HUGE_PAGE_BYTES), 0);
    return made;
}
