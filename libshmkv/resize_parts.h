/* SPDX-License-Identifier: MIT */
/* resize_parts.h - what the resize*.c files share; nobody else includes it. */
#ifndef SHMKV_RESIZE_PARTS_H
#define SHMKV_RESIZE_PARTS_H

#include "resize.h"

/* ---- resize_move.c: slots and chunks ------------------------------------------------------- */

/* From now on @z moves @chunk of the table @ref. */
void resize_begin_chunk(struct resizer *z, uint64_t ref, uint64_t chunk);
/* Up to @slots slots of our chunk; returns how many were moved. */
uint64_t resize_advance_chunk(const struct participant *p, struct resizer *z, uint64_t slots);
/* Of the table @ref do over what others took and have not finished; sums the plain MOVED slots of
 * all chunks.  False: some cannot be moved. */
bool resize_finish_chunks(const struct participant *p, uint64_t ref, uint64_t *sum);

/* ---- resize_claim.c: the next table -------------------------------------------------------- */

/* Best effort: policy only. */
struct resize_load {
    uint64_t keys, tombstones;
};
struct resize_load resize_load(const struct arena *a);
/* Tombstones made since @t began: older ones, and miscounts of the dead, do not return. */
uint64_t resize_purgeable(const struct arena *a, const struct table *t);
/* How large the table after @t should be. */
uint64_t resize_next_slots(const struct arena *a, const struct table *t);

/*
 * Claim the table that we should like after @t, or the smallest that gives tickets; no memory yet.
 * SHMKV_ENOSPC: the limit does not allow it, see z->lacks.
 */
int resize_claim_next(const struct participant *p, struct resizer *z, const struct table *t);
/* A claimed table with its memory; or without, if somebody else has started meanwhile. */
int resize_get_prepared(const struct participant *p, struct resizer *z, const struct table *t);
/* Give z->prepared back. */
void resize_drop_prepared(const struct participant *p, struct resizer *z);
/* Idle, we may have lost what we had claimed (INV-T3).  At the beginning of a section. */
void resize_forget_taken(const struct participant *p, struct resizer *z);

/* ---- resize.c ------------------------------------------------------------------------------ */

/* Start a resize of the root @ref.  Inside a section, after root == @ref was seen in it. */
int resize_start(const struct participant *p, struct resizer *z, uint64_t ref);

#endif
