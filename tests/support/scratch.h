/* SPDX-License-Identifier: MIT */
/*
 * scratch.h - a directory of shared memory of a test's own, and arenas in it.
 *
 * As root it is a fresh tmpfs of the wanted size; otherwise a directory in /dev/shm.  It is removed
 * at the end with all that is in it.
 */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "arena.h"

/* Make it; @kib: size of the tmpfs, 0 for no small limit.  False: a limit is wanted, no root. */
bool scratch_make(size_t kib);
void scratch_remove(void);
/* Its path, sticky and writable by all as /dev/shm is. */
const char *scratch_dir(void);
/* Path of @file in it; static storage. */
const char *scratch_path(const char *file);
/* Make @to a copy of the file @from, wherever they are. */
void scratch_copy(const char *from, const char *to);
/* Number of files in it. */
int scratch_count(void);
/* Remove the objects of all stores in it, as the loss of the machine's memory does. */
void scratch_lose_memory(void);

/* Open shm:NAME in it; @create also finishes what it made (arena_ready()). */
int scratch_open(struct arena *a, const char *name, bool create);
/* Options for arena_open() there, to be varied. */
struct arena_options scratch_options(bool create);

/* For cmocka_unit_test_setup_teardown(): without limit. */
int scratch_setup(void **state);
int scratch_teardown(void **state);

#endif
