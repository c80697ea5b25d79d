/* SPDX-License-Identifier: MIT */
/*
 * recover.h - from an image to a live store (R17), and what can be saved of a damaged one.
 *
 *   the commit that the image holds -> load and verify the listed bytes, N threads -> per key the
 *   record with the highest version, tombstones and expired ones too, none of an epoch > E ->
 *   segments with a record that was dropped are made anew: the current records only, another
 *   incarnation, another file slot -> commit: generation + 1, a new ceiling -> the store may open
 *
 * The commit at the end is what makes a dropped record stay away: without it the next cut, whose E
 * is larger, would bring it back.  Until it has returned nothing that the old commit lists was
 * changed, so a recovery that dies at any step leaves what it found.
 *
 *   INV-X1  What opens is one cut, whole: every record of it, and none of a later epoch.
 *                                                             test_recover, test_powerloss
 *   INV-X2  No version and no incarnation is given out twice over recoveries.   test_recover
 */
#ifndef SHMKV_RECOVER_H
#define SHMKV_RECOVER_H

#include "epoch.h"
#include "image.h"

struct recover_options {
    unsigned threads; /* 0: as many as there are processors, at most 16 */
    uint64_t keys;    /* the index is made for so many, if there are not more */
    /* Called by one thread at a time, a few times a second; may be NULL. */
    void (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_all);
    void *arg;
};

struct recover_result {
    uint64_t records; /* that were read */
    uint64_t keys;    /* of them current, tombstones included */
    uint64_t dropped; /* were later than the cut */
    uint64_t bytes;   /* that were read */
    uint64_t ms;
};

/*
 * recover_store() - fill a fresh arena from an image, and commit that.
 * @im: the create lock held: nobody else sees arena or image.  If it is open for reading only the
 *      arena gets the same contents, and nothing is committed: it must not be written to.
 * @p:  a participant of the arena, whose geometry is the image's; STORE_BUILDING, without a table.
 * On success the caller calls arena_ready(): root, G, D, segments (all SEALED), clock, incarnations
 * and the ceiling are set.
 * Return: 0; SHMKV_ECORRUPT: a record within the listed bytes is bad, the text says where and what
 * to do; SHMKV_ENOSPC: memory, or the disk; SHMKV_EIO; nothing was committed then.
 */
int recover_store(struct image *im, const struct participant *p, const struct recover_options *opt,
                  struct recover_result *result);

#endif
