/* SPDX-License-Identifier: MIT */
/*
 * imaged.h - a store with an image, by the public calls: its keys have values of one turn or the
 * next, its memory is lost, it is opened again.
 *
 * A loss of the memory is what a reboot leaves: the objects in shared memory are gone, the image is
 * as it was written.
 */
#ifndef TEST_IMAGED_H
#define TEST_IMAGED_H

#include "fixture.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "scratch.h"
#include "store.h"

#define LIMIT_MS 60000u
#define KEYS 400u
#define NEVER UINT64_MAX
#define LATER_MS 60000u /* an interval that no test waits for */

extern char imaged_directory[64]; /* of the image, and of nothing else at first */
extern char imaged_path[80];

int imaged_setup(void **state);
int imaged_teardown(void **state);

/* Of a directory without directories. */
void imaged_empty(const char *path, bool itself);
void imaged_lose_memory(void);

int imaged_open_path(const char *path, uint32_t flags, uint64_t interval_ms, struct shmkv **db);
/* The image, without checkpoints of its own accord. */
struct shmkv *imaged_open_image(uint32_t flags);

/* Key @i has the value "key i, turn t"; t UINT32_MAX: absent. */
int imaged_put(struct shmkv *db, uint32_t i, uint32_t turn);
uint32_t imaged_turn_of(struct shmkv *db, uint32_t i);
int imaged_put_all(struct shmkv *db, uint32_t turn);
void imaged_assert_all(struct shmkv *db, uint32_t turn);
/* A prefix of the writes: keys from 0 on have one turn, not before @least, the others the turn
 * before. */
void imaged_assert_prefix(struct shmkv *db, uint32_t least);

const struct durable_words *imaged_words(struct shmkv *db);

#endif
