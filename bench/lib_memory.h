/* SPDX-License-Identifier: MIT */
/*
 * lib_memory.h - memory for the benchmark's own data, and the ways out of a benchmark.
 *
 * In huge pages where there are any, so that the benchmark's own data take few entries of the
 * TLB away from the engine that is being measured.
 */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include <stddef.h>
#include <sys/types.h>

/* Zeroed memory, private to the process (and its children, copy on write).  Never NULL. */
void *memory_get(size_t bytes);
/* Zeroed memory that children share.  Never NULL. */
void *memory_get_shared(size_t bytes);
void memory_put(void *memory, size_t bytes);

/* Where huge pages may begin. */
#define MEMORY_HUGE (2ul << 20)

/* Map @bytes of @fd from @offset on, shared, at a multiple of MEMORY_HUGE, as @offset should be;
 * MAP_FAILED and errno as mmap(2). */
void *memory_map(int fd, off_t offset, size_t bytes);
/*
 * Supply @bytes at @memory as stores take theirs: what is a whole unit of MEMORY_HUGE as a huge
 * page, where the kernel gives one.  Contents stay.  0; or -1 and errno as madvise(2).
 */
int memory_supply(void *memory, size_t bytes);

/* Say what went wrong, and leave with status 1 through the exit handlers. */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
