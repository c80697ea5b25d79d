/* SPDX-License-Identifier: MIT */
/* victim.c - see victim.h. */
#include "victim.h"

/* A victim must give back at least 1/64 of a segment, or cleaning only turns in circles. */
#define WORTH_SHIFT 6
/* Kept free beyond the reserve: 1/128 of what is not live; where that is less than a quarter of the
 * store, and much is moved for what is gained, 1/232 of the store.  What is owned has room, too, so
 * it is one less for eight of these, but one for eight where that is more. */
#define AHEAD_DEAD_PART 128u
#define AHEAD_FULL 4u
#define AHEAD_FULL_PART 232u
#define AHEAD_OWNED_SHIFT 3
#define AHEAD_MIN 1u
#define AHEAD_MOST_SHIFT 6 /* of the store */

bool victim_may_be(uint64_t word)
{
    return claim_kind(word) == SEGMENT_SEALED || claim_kind(word) == SEGMENT_PARTIAL;
}

/* Relaxed throughout: the owner, and whoever supersedes a record, may be at it. */
static double score(const struct arena *a, uint64_t id, uint64_t word, uint64_t life, uint64_t now)
{
    const struct segment *s = segment_at(a, id);
    uint64_t bytes = segment_size(a);
    uint64_t used = load_relaxed(&s->used);
    uint64_t dead = min_u64(load_relaxed(&a->dead[id]), used);
    uint64_t live = used - dead;
    if (dead != 0 && claim_kind(word) == SEGMENT_SEALED)
        dead = bytes - live; /* the rest, which nobody fills, is gained too */
    if (dead <= bytes >> WORTH_SHIFT)
        return 0;
    /* an incarnation tells the store's generation above the number that was handed out */
    uint64_t born = life & ((1ull << CLAIM_EPOCH_BITS) - 1);
    uint64_t age = now - min_u64(now, born) + 1;
    return (double)dead / (double)(live + 1) * (double)dead * (double)age;
}

static void judge(const struct arena *a, struct victim_search *s, uint64_t id)
{
    /* acquire: the counts are of this life or a later one; pairs with begin_life [S3] */
    uint64_t word = load_acquire(&segment_at(a, id)->state);
    if (!victim_may_be(word))
        return;
    uint64_t life = load_relaxed(&segment_at(a, id)->incarnation);
    double gain = score(a, id, word, life, s->now);
    if (gain > s->score) {
        s->best = id;
        s->word = word;
        s->life = life;
        s->score = gain;
    }
}

bool victim_search(const struct arena *a, struct victim_search *s, uint64_t most)
{
    /* relaxed: who raises it has claimed nothing below it yet, so it shows nothing: a segment is
     * shown by its state [S3], and one that is missed here the next search finds */
    uint64_t high = min_u64(load_relaxed(&a->sb->segment_high), arena_segments(a));
    if (s->next == 0) {
        uint64_t now = load_relaxed(&a->sb->incarnations); /* relaxed: an age, policy */
        *s = (struct victim_search){.now = now, .best = SEGMENT_NONE};
    }
    uint64_t end = high - min_u64(s->next, high) <= most ? high : s->next + most;
    for (; s->next < end; s->next++)
        judge(a, s, s->next);
    if (end < high)
        return false;
    s->next = 0;
    return true;
}

uint64_t victim_choose(const struct arena *a, uint64_t *word)
{
    struct victim_search s = {0};
    victim_search(a, &s, UINT64_MAX);
    *word = s.word;
    return s.best;
}

/* Segments to be kept free beyond what is kept anyway, with @live segments' worth of records. */
static uint64_t ahead_of(const struct segment_census *c, uint64_t live)
{
    uint64_t dead = c->capacity - live;
    uint64_t part =
        dead * AHEAD_FULL < c->capacity ? c->capacity / AHEAD_FULL_PART : dead / AHEAD_DEAD_PART;
    uint64_t most = max_u64(c->capacity >> AHEAD_MOST_SHIFT, AHEAD_MIN);
    uint64_t owned = c->kinds[SEGMENT_OPEN] >> AHEAD_OWNED_SHIFT;
    part = max_u64(part - min_u64(part, owned), owned);
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
