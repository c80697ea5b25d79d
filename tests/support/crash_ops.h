/* SPDX-License-Identifier: MIT */
/*
 * crash_ops.h - what a process does while it is killed or stopped: operations in small steps, each
 * with the key that it changes, so that afterwards it can be told what must be there.
 *
 * Keys are 8-byte numbers, values blobs (blob.h) of BASE_SIZE bytes unless an operation says more.
 * Keys below BASE_KEYS have sequence 1 in the beginning.
 */
#ifndef TEST_CRASH_OPS_H
#define TEST_CRASH_OPS_H

#include <stdbool.h>

#include "shmkv.h"

#define BASE_KEYS 100u
#define BASE_SIZE 40u
#define ABSENT 0u /* in place of a sequence */

/* What one step does to one key; from == to: it changes none. */
struct crash_effect {
    uint64_t key, from, to;
};

struct crash_op {
    const char *name;
    struct shmkv_options options; /* of the store it needs */
    void (*prepare)(struct shmkv *db);
    unsigned steps;
    int (*step)(struct shmkv *db, unsigned i);
    struct crash_effect (*effect)(unsigned i); /* NULL: none of the steps changes a key */
};

extern const struct crash_op crash_ops[];
extern const unsigned crash_op_count;
const struct crash_op *crash_op_find(const char *name);

int crash_put(struct shmkv *db, uint64_t key, uint64_t sequence, size_t size);
/* The sequence of the key's value, ABSENT, or UINT64_MAX if it is no value of this key. */
uint64_t crash_look(struct shmkv *db, uint64_t key);

#endif
