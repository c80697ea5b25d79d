/* SPDX-License-Identifier: MIT */
/*
 * checkpoint_parts.h - what the checkpoint*.c files share; nobody else includes it.
 *
 * A piece is what is copied, verified and listed as one: a segment, or all segments of a run, whose
 * record goes through all of them (run.h).  Of a segment the new end is copied; of a run all of it
 * at once, or nothing, as its one record is whole or not there.  In the file each segment of a run
 * has a slot of its own, and all have the incarnation and the birth of the head.
 *
 * Who reads a piece of a life that ends meanwhile finds that out: state, then length of the run,
 * then incarnation are read before all else, state and incarnation again after all else.  Whoever
 * begins a life changes the state, then stores the length and then the incarnation (both release),
 * then the state again; so a length of a later life comes with a state that is not listed or with
 * another incarnation in the second look, and an incarnation comes with its length [L4].
 */
#ifndef SHMKV_CHECKPOINT_PARTS_H
#define SHMKV_CHECKPOINT_PARTS_H

#include "checkpoint.h"

/* A segment or a run as it was seen. */
struct checkpoint_piece {
    uint64_t id, incarnation, birth;
    uint64_t span;  /* segments: 1, or those of a run */
    uint64_t end;   /* bytes of it that belong to the cut; 0: none */
    uint64_t from;  /* of these, what is in its slot already; of a run nothing or all */
    uint64_t known; /* the same of what the last commit lists, in its slot or carried */
    uint64_t stash; /* where the others are in the stash, from the page that holds `from` on */
};

/* One checkpoint under way. */
struct checkpoint_work {
    struct image *im;
    const struct participant *p;
    const struct arena *a;
    struct checkpoint_piece *pieces;
    uint64_t count;
    uint64_t *ends; /* by segment: end of an undecided record that was published; 0: none */
    char *stash;    /* private copies, whole pages */
    uint64_t stash_bytes, stash_room;
    bool carries; /* so little is new that the commit is to carry it: image_carry.c */
};

/* ---- checkpoint_piece.c -------------------------------------------------------------------- */

/* Look at what begins at @id, in a section; false: there is nothing to be listed. */
bool checkpoint_piece_read(const struct checkpoint_work *w, uint64_t id,
                           struct checkpoint_piece *piece);
/* How many bytes of it are decided. */
uint64_t checkpoint_piece_used(const struct checkpoint_work *w,
                               const struct checkpoint_piece *piece);
/*
 * Was all that was read of the piece of one life?  After the reads.  Its cleaner may have loaded G
 * before our section began, and retired it only now: then our section does not hold it.
 */
bool checkpoint_piece_same(const struct checkpoint_work *w, const struct checkpoint_piece *piece);

/* Where the next @bytes of private copies go: *@to; or a code, and *@to stays. */
int checkpoint_piece_room(struct checkpoint_work *w, uint64_t bytes, char **to);
/* Have file slots for it; sets piece->from and piece->known.  As image_reserve(). */
int checkpoint_piece_reserve(struct checkpoint_work *w, struct checkpoint_piece *piece);
/* Inside the section in which it was seen: copy what the image lacks of its `end` bytes. */
int checkpoint_piece_stash(struct checkpoint_work *w, struct checkpoint_piece *piece);
/* Outside of sections, the disk may be slow: verify what was copied, write it to the image. */
int checkpoint_piece_write(struct checkpoint_work *w, const struct checkpoint_piece *piece);
/* Append what a commit lists of it to @items. */
void checkpoint_piece_list(const struct checkpoint_work *w, const struct checkpoint_piece *piece,
                           struct image_item *items, size_t *n);

#endif
