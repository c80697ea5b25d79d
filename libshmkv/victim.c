/* SPDX-License-Identifier: MIT */
/* victim.c - see victim.h. */
#include "victim.h"

/* A victim must give back at least 1/64 of a segment, or cleaning only turns in circles. */
#define WORTH_SHIFT 6
/* Kept free beyond the reserve: 1/256 of what is not live, or one for two that are being filled. */
#define AHEAD_SHIFT 8
#define AHEAD_OWNED_SHIFT 1
#define AHEAD_MIN 1u
#define AHEAD_MOST_SHIFT 6 /* of the store */

static bool is_candidate(uint64_t word)
{
    return claim_kind(word) == SEGMENT_SEALED || claim_kind(word) == SEGMENT_PARTIAL;
}

/* Relaxed throughout: the owner, and whoever supersedes a record, may be at it. */
static double score(const struct arena *a, uint64_t id, uint64_t word, uint64_t now)
{
    const struct segment *s = segment_at(a, id);
    uint64_t bytes = a->segment_mask + 1;
    uint64_t used = load_relaxed(&s->used);
    uint64_t dead = min_u64(load_relaxed(&a->dead[id]), used);
    uint64_t live = used - dead;
    if (dead != 0 && claim_kind(word) == SEGMENT_SEALED)
        dead = bytes - live; /* the rest, which nobody fills, is gained too */
    if (dead <= bytes >> WORTH_SHIFT)
        return 0;
    /* an incarnation tells the store's generation above the number that was handed out */
    uint64_t born = load_relaxed(&s->incarnation) & ((1ull << CLAIM_EPOCH_BITS) - 1);
    uint64_t age = now - min_u64(now, born) + 1;
    return (double)dead / (double)(live + 1) * (double)dead * (double)age;
}

uint64_t victim_choose(const struct arena *a, uint64_t *word)
{
    uint64_t best = SEGMENT_NONE;
    uint64_t now = load_relaxed(&a->sb->incarnations);
    double best_score = 0;
    for (uint64_t id = 0, n = load_acquire(&a->sb->segment_high); id < n; id++) {
        uint64_t seen = load_acquire(&segment_at(a, id)->state);
        double gain = is_candidate(seen) ? score(a, id, seen, now) : 0;
        if (gain > best_score) {
            best = id;
            best_score = gain;
            *word = seen;
        }
    }
    return best;
}

enum victim_need victim_need(const struct arena *a)
{
    struct segment_census c;
    segment_count(a, &c);
    uint64_t live = segment_bound(&c) >> a->segment_shift;
    uint64_t ahead = (c.capacity - min_u64(live, c.capacity)) >> AHEAD_SHIFT;
    ahead = max_u64(ahead, c.kinds[SEGMENT_OPEN] >> AHEAD_OWNED_SHIFT);
    ahead = min_u64(max_u64(ahead, AHEAD_MIN), max_u64(c.capacity >> AHEAD_MOST_SHIFT, AHEAD_MIN));
    uint64_t soon = c.available + c.limbo;
    uint64_t kept = segment_kept(&c, SEGMENT_FOR_PUT);
    if (soon > kept + ahead)
        return VICTIM_NONE;
    return soon > kept + ahead / 2 ? VICTIM_AHEAD : VICTIM_SOON;
}
