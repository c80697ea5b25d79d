/* SPDX-License-Identifier: MIT */
#include "lib_memory.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Readers of keys may load a few bytes past the last one. */
#define SLACK 64u

static void *map(size_t bytes, int flags)
{
    void *memory = mmap(NULL, bytes + SLACK, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        die("cannot get %zu bytes of memory: %s; use fewer --keys", bytes, strerror(errno));
    return memory;
}

void *memory_get(size_t bytes)
{
    void *memory = map(bytes, MAP_PRIVATE);

    madvise(memory, bytes + SLACK, MADV_HUGEPAGE);
    return memory;
}

void *memory_get_shared(size_t bytes)
{
    return map(bytes, MAP_SHARED);
}

void memory_put(void *memory, size_t bytes)
{
    munmap(memory, bytes + SLACK);
}

void *memory_map(int fd, off_t offset, size_t bytes)
{
    size_t room = bytes + MEMORY_HUGE;
    char *range = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (range == MAP_FAILED)
        return range;
    munmap(range, room); /* the place is free now, and the benchmark has one thread yet */
    range += -(uintptr_t)range % MEMORY_HUGE;
    return mmap(range, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, offset);
}

int memory_supply(void *memory, size_t bytes)
{
    char *at = memory, *end = at + bytes;
    int rc = 0;

    for (size_t n; rc == 0 && at < end; at += n) {
        n = MEMORY_HUGE - (uintptr_t)at % MEMORY_HUGE;
        n = n < (size_t)(end - at) ? n : (size_t)(end - at);
        if (n == MEMORY_HUGE && madvise(at, 1, MADV_POPULATE_WRITE) == 0)
            madvise(at, n, MADV_COLLAPSE); /* which refuses a unit that has no page at all */
        rc = madvise(at, n, MADV_POPULATE_WRITE);
    }
    return rc;
}

void die(const char *format, ...)
{
    va_list args;

    fflush(stdout);
    va_start(args, format);
    fprintf(stderr, "bench: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}
