/* SPDX-License-Identifier: MIT */
#include "lib_memory.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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
