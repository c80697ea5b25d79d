/* SPDX-License-Identifier: MIT */
/*
 * victim.h - policy of the cleaner: when to clean, and which segment.
 * Nothing here changes anything; nothing that is correct depends on what is said here.
 *
 * Which.  Let d and l be the shares of a segment that are dead and live, and t its age, counted in
 * segments that were opened since.  The victim is the one with the highest
 *
 *     d / l    what is gained for what is copied: cost and benefit (Rosenblum and Ousterhout 1992)
 *   * d * t    the longer it takes to die, the less is gained by waiting: left alone, d / l would
 *              grow by about 1 / (d * t) of itself until t has passed again (declining cost, Lomet
 *              and Luo 2021, with the segment's own past as the estimate of its future)
 *
 * Hot segments are left until they are nearly dead, cold ones are cleaned for a few dead records.
 * The cleaner copies into segments of its own (writer.moves), so what has survived comes to lie
 * apart from what is fresh.  A simulation of this, of greed and of plain cost and benefit, with one
 * to seven temperatures of survivors, is why there is one such stream: more gain 2 to 7 % under a
 * Zipf distribution, and cost an open segment each.
 *
 * When.  A segment that is free before it is needed is one whose dead had no time to become more;
 * at 90 % live each hundredth of the store that is kept free costs a tenth of the write rate.  But
 * what was cleaned is in limbo for a millisecond, and puts wait where nothing else is left.  So
 * what is kept free beyond the reserve, what is in limbo included, is a little of what is not live,
 * and more the more has to be moved for what is gained.
 */
#ifndef SHMKV_VICTIM_H
#define SHMKV_VICTIM_H

#include "index.h"

/*
 * victim_choose() - the segment to be cleaned next, SEGMENT_NONE if none is worth it.
 * @word:  receives the state in which it was judged, SEALED or PARTIAL; segment_claim_victim()
 *         fails if it is not that any more.
 */
uint64_t victim_choose(const struct arena *a, uint64_t *word);

/*
 * victim_search() - the same in steps of @most segments, for those who must not take long: true if
 * all were looked at, and s->best, of incarnation s->life, is to be cleaned next; the search after
 * that begins anew.  What has changed meanwhile the caller finds out: nothing was claimed.
 */
bool victim_search(const struct arena *a, struct victim_search *s, uint64_t most);

/* May a segment in that state be one? */
bool victim_may_be(uint64_t word);

/* How urgent more room is. */
enum victim_need {
    VICTIM_NONE,  /* there is enough */
    VICTIM_AHEAD, /* who keeps house should clean */
    VICTIM_SOON,  /* so should writers, while they fill their next segment */
};
enum victim_need victim_need(const struct arena *a);

#endif
