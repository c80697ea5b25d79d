/* SPDX-License-Identifier: MIT */
/*
 * cleaner.h - moves live records out of sparse segments, so that overwriting for ever does not fill
 * a store that has room.  Which segment goes first, and when, is victim.h's to say.
 *
 *   SEALED or PARTIAL -> CLEANING(p) -> walk: relocate what is live -> LIMBO(e) -> FREE
 *
 * A walk goes from `walked` to `used`, or the segment goes back to SEALED with `walked` telling how
 * far it came: who claims it next goes on there.  It trusts no counter: a record is live if the
 * index points to it, which index_relocate() asks in a section of its own.
 *
 * Who keeps house walks whole segments.  A writer that would find no room soon walks pieces, one
 * each time it has put 256 bytes: for as many bytes as it appends it passes as many that are dead,
 * whatever part of the victim they are.  So a put that helps ahead of need waits for a dozen
 * records; one for which no segment is left cleans whole victims, see cleaner_make_room().
 *
 *   INV-C1  A segment goes to LIMBO only after walks, one after another, have covered [0, used) and
 *           left no slot pointing into it; nobody can make a slot point into it later, since only
 *           an owner's appended record is ever published, and of what is SEALED or CLEANING, which
 *           never is appended to again, `used` is final.  `walked` is stored (release) by the
 *           claimer when all before it is unlinked, and loaded (acquire) by the next: the epoch in
 *           which he retires the segment is loaded after all that was unlinked in it.
 *           relocate.pml, torture_kv, test_cleaner: nothing_leads_*, an_incomplete_*, pieces_*
 *
 * Death: while walking: CLEANING(p) -> SEALED by the reaper; copies made so far are current, the
 * rest is where it was, and `walked` is what it was, or says how far the dead one came.
 */
#ifndef SHMKV_CLEANER_H
#define SHMKV_CLEANER_H

#include "index.h"

/* Clean the best victim.  1: done, 0: none is worth it, or a negative code. */
int cleaner_step(struct writer *w);

/* What is short. */
struct cleaner_need {
    enum segment_purpose purpose;
    uint64_t index_bytes; /* memory that a new table lacks; 0: it is a segment that is missing */
    uint64_t root;        /* the table that the new one is to follow */
    uint64_t refused;     /* of it, or of a segment, what the machine does not give; 0: our limit */
    uint64_t run;         /* segments, in a run; 0: one will do */
    uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0: not set yet */
    uint64_t seen;        /* how far everybody's cleaning had come, see see_progress() */
    uint64_t moved_ns;    /* CLOCK_MONOTONIC when it had last moved on */
    uint64_t still_ns;    /* how long ago that was */
    uint32_t rounds;
    uint32_t extra; /* rounds after the deadline that made something better */
    bool last;      /* there was room after the deadline: one more try */
};

/*
 * cleaner_make_room() - help until there is room, or give up.
 * 0: try again.  SHMKV_ENOSPC or SHMKV_EHELD with a text: after 100 ms, or at once if nothing can
 * be gained inside the caller's own read section.  If the machine refuses memory, what was cleaned
 * is given back to it, so that it can be had again.  Room for a table is not waited for any more
 * when somebody else has made it.
 */
int cleaner_make_room(struct writer *w, uint32_t process, struct cleaner_need *need);

/* True if the keeper should clean ahead of need. */
bool cleaner_wanted(const struct arena *a);
/*
 * cleaner_help() - the part of a writer that wants @bytes more at the end of @l, if the keeper
 * falls behind.  Asked whenever @l stops: it sets the pace of these stops.
 */
void cleaner_help(struct writer *w, struct append *l, uint64_t bytes);

#endif
