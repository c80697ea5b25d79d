/* SPDX-License-Identifier: MIT */
/*
 * live.h - a store with an image, in one thread and by hand: put, clean, cut, lose the memory,
 * recover.  What it does in a checkpoint is what a checkpoint may do without writers beside it.
 */
#ifndef TEST_LIVE_H
#define TEST_LIVE_H

#include "image.h"
#include "recover.h"
#include "writers.h"

#define LIVE_SIZE (2ull << 20)
extern uint64_t live_size; /* of stores made and recovered from here on: LIVE_SIZE */

struct live {
    struct arena arena;
    struct process process;
    struct writer writer;
    struct image image;
    struct recover_result result;
};

/* Make a store whose image is the file @path. */
void live_create(struct live *l, const char *path);
/* The memory is lost; open the image @path and recover: the code of recovery. */
int live_recover(struct live *l, const char *path, unsigned threads);
/* Lose the memory; the image is closed as a dead process closes it. */
void live_lose(struct live *l);

/* Begin a cut: what is written from here on is not in it.  Returns E. */
uint64_t live_cut(struct live *l);
/* Copy all that there is and commit it as cut @epoch. */
int live_commit(struct live *l, uint64_t epoch);
/* Both. */
int live_checkpoint(struct live *l);
/* Move records, free segments. */
void live_clean(struct live *l);
/* The value of a key, NULL: absent. */
const char *live_get(struct live *l, const char *key);

#endif
