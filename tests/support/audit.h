/* SPDX-License-Identifier: MIT */
/*
 * audit.h - does anything in the store still belong to somebody who is gone?
 */
#ifndef TEST_AUDIT_H
#define TEST_AUDIT_H

#include "store.h"

/* The arena behind a handle. */
static inline const struct arena *audit_arena(struct shmkv *db)
{
    return &load_relaxed(&db->store)->arena;
}

/* Reap whoever died: to be called by a process that has @db open for writing. */
unsigned audit_reap(struct shmkv *db);

/*
 * audit_claims() - the number of claims whose holder is gone: segments, index areas, participants
 * of processes that are not attached, sections and records in flight in free entries.  Each is
 * printed to stderr.  At rest and after audit_reap() it is 0.
 */
unsigned audit_claims(struct shmkv *db);

#endif
