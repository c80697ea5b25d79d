/* SPDX-License-Identifier: MIT */
/*
 * imaged.h - a store with an image (home.h), by the public calls: its keys have values of one turn
 * or the next, its memory is lost, it is opened again.
 */
#ifndef TEST_IMAGED_H
#define TEST_IMAGED_H

#include "audit.h"
#include "home.h"
#include "store.h"

#define IMAGED_KEYS 400u

/* The image, without checkpoints of its own accord. */
struct shmkv *imaged_open_image(uint32_t flags);

/* Key @i has the value "key i, turn t"; t UINT32_MAX: absent. */
int imaged_put(struct shmkv *db, uint32_t i, uint32_t turn);
uint32_t imaged_turn_of(struct shmkv *db, uint32_t i);
int imaged_put_all(struct shmkv *db, uint32_t turn);
void imaged_assert_all(struct shmkv *db, uint32_t turn);
/* Of a store that nobody has open the memory is lost, and it is opened again. */
struct shmkv *imaged_after_a_loss(void);
/* Then all keys have that turn. */
void imaged_assert_kept(uint32_t turn);
/* A prefix of the writes: keys from 0 on have one turn, not before @least, the others the turn
 * before. */
void imaged_assert_prefix(struct shmkv *db, uint32_t least);

const struct durable_words *imaged_words(struct shmkv *db);

#endif
