/* SPDX-License-Identifier: MIT */
/* victim.c - see victim.h. */
#include "victim.h"

/* A victim must give back at least 1/64 of a segment, or cleaning only turns in circles. */
#define WORTH_SHIFT 6
/* Kept free beyond the reserve: 1/160 of what is not live; where that is less than a quarter of the
 * store, and much is moved for what is gained, 1/256 of the store; one for eight that are owned. */
#define AHEAD_DEAD_PART 160u
#define AHEAD_FULL 4u
#define AHEAD_FULL_SHIFT 8
#define AHEAD_OWNED_SHIFT 3
#define AHEAD_MIN 1u
#define AHEAD_MOST_SHIFT 6 /* of the store */

bool victim_may_be(uint64_t word)
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
        double gain = victim_may_be(seen) ? score(a, id, seen, now) : 0;
        if (gain > best_score) {
            best = id;
            best_score = gain;
            *word = seen;
        }
    }
    return best;
}

/* Segments to be kept free beyond what is kept anyway, with @live segments' worth of records. */
static uint64_t ahead_of(const struct segment_census *c, uint64_t live)
{
    uint64_t dead = c->capacity - live;
    uint64_t part =
        dead * AHEAD_FULL < c->capacity ? c->capacity >> AHEAD_FULL_SHIFT : dead / AHEAD_DEAD_PART;
    uint64_t most = max_u64(c->capacity >> AHEAD_MOST_SHIFT, AHEAD_MIN);
    part = max_u64(part, c->kinds[SEGMENT_OPEN] >> AHEAD_OWNED_SHIFT);
    return min_u64(max_u64(part, AHEAD_MIN), most);
}

enum victim_need victim_need(const struct arena *a)
{
    struct segment_census c;
    segment_glance(a, &c);
    uint64_t ahead = ahead_of(&c, min_u64(segment_bound(&c) >> a->segment_shift, c.capacity));
    uint64_t soon = c.available + c.limbo;
    uint64_t kept = segment_kept(&c, SEGMENT_FOR_PUT);
    if (soon > kept + ahead)
        return VICTIM_NONE;
    return soon > kept + ahead / 2 ? VICTIM_AHEAD : VICTIM_SOON;
}
