/* SPDX-License-Identifier: MIT */
/*
 * lib_peers.h - other stores as engines, each loaded only if it is asked for.
 *
 * A peer is a shared object, build/peers/NAME.so, made of bench/peers/NAME.c if the headers it
 * needs were there.  So the benchmark itself is linked with none of them, and a process that
 * measures one has no other's code, threads or allocator in it.  One peer offers one or more
 * engines: the same store used in different ways.
 */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

#include "lib_engine.h"

#define PEERS_MAX 32u

/* What a shared object shows, by the name bench_peer. */
struct peer {
    const struct engine *const *engines; /* NULL ends them */
    /* What is missing on this machine, beyond what the linker has found; NULL: nothing. */
    const char *(*missing)(void);
};

/*
 * The engines that @list names ("all", or names of peers or of engines between commas), at most
 * PEERS_MAX.  Says on stderr which it skips, and why; dies if a name means nothing.
 */
unsigned peers_find(const char *list, const struct engine **found);

#endif
