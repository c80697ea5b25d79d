/* SPDX-License-Identifier: MIT */
/*
 * expire.h - turn expired records into tombstones, so that their room comes back.
 *
 * An expired record is absent to readers at once; that costs nothing.  Its memory is another
 * matter: a sweep goes round the index, some buckets at a time, and replaces each expired record by
 * a tombstone, by the same publication as a deletion (index.h), so a put that comes between wins.
 * The cleaner does the same with those it meets, in place of moving them.
 * The mark of where the sweep is lies in the superblock and only divides work.
 *
 * Death: at any point a sweep leaves what a deletion would leave.
 */
#ifndef SHMKV_EXPIRE_H
#define SHMKV_EXPIRE_H

#include "index.h"

/* Sweep the next @buckets buckets of the index; returns how many records were replaced. */
unsigned expire_sweep(struct writer *w, uint64_t buckets);

/*
 * The cleaner found the record in its victim, which is no run: if it has expired, put a tombstone
 * in the place of it.  True: it is dead now; false: it is to be moved, not expired or for lack of
 * room.
 */
bool expire_record(struct writer *w, const struct record *r);

/* True if records that expire have been put at all. */
bool expire_wanted(const struct arena *a);

#endif
