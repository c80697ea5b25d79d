/* SPDX-License-Identifier: MIT */
/*
 * lib_memcached.h - a memcached of the benchmark's own on a unix socket: start, ask, stop.
 */
#ifndef BENCH_MEMCACHED_H
#define BENCH_MEMCACHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MEMCACHED_BATCH 64u
#define MEMCACHED_KEY 64u /* bytes of a key, with its end */

struct memcached {
    pid_t pid;
    int fd;
    char dir[64];
    char path[96];
};

/* Is there one on this machine? */
bool memcached_there(void);
/* Start it with @mib of memory for keys and values; leaves with a message if it does not start. */
void memcached_start(struct memcached *m, uint64_t mib);
/* Ask for @n keys at once; found[i] tells which are there.  Their values are read and dropped. */
void memcached_get(struct memcached *m, char keys[][MEMCACHED_KEY], unsigned n, bool *found);
/* Store; not answered. */
void memcached_set(struct memcached *m, const char *key, const char *value, size_t size);
/* A figure of its `stats`; 0 if it has none of that name. */
uint64_t memcached_stat(struct memcached *m, const char *name);
void memcached_stop(struct memcached *m);

#endif
