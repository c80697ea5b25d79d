/* SPDX-License-Identifier: MIT */
/*
 * home.h - where a store with an image lives during a test: a directory on disk, and shared memory
 * of its own (scratch.h).
 *
 * scratch_lose_memory() is then what a reboot is: the objects in shared memory are gone, the image
 * is as it was written.
 */
#ifndef TEST_HOME_H
#define TEST_HOME_H

#include "fixture.h"

#include "scratch.h"

extern char home_dir[64];
extern char home_image[80]; /* nothing is there at first */

/* For cmocka_unit_test_setup_teardown(): an empty directory, which goes with all that is in it. */
int home_setup(void **state);
int home_teardown(void **state);

/* Path of @file in the directory; static storage. */
const char *home_path(const char *file);
/* Remove the files, also what a killed backup or repair has left. */
void home_empty(void);

/* The store of an image, of 16 MiB if it is created. */
int home_open(const char *path, uint32_t flags, uint64_t interval_ms, struct shmkv **db);

#endif
