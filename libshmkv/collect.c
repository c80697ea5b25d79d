/* SPDX-License-Identifier: MIT */
/* collect.c - see collect.h. */
#include "collect.h"

#include "point.h"

enum fate { UNKNOWN, CURRENT, DEAD };

/* Of the record of the run of state @word, whose memory stays in this section. */
static enum fate fate_of(const struct arena *a, uint64_t id, uint64_t word)
{
    const struct record *r = arena_at(a, arena_segment_start(a, id));
    if (load_acquire(&segment_at(a, id)->state) != word || !index_fits_room(a, r))
        return UNKNOWN; /* it has just gone, or was written over: `check` reports that */
    struct index_key k = {.data = record_key(r), .size = r->klen};
    bool damaged = false;
    k.hash = hash_key(k.data, k.size, &a->hash_secret);
    const struct record *now = index_lookup(a, &k, &damaged);
    if (damaged)
        return UNKNOWN;
    return now == r ? CURRENT : DEAD;
}

bool collect_run(struct writer *w, uint64_t id, uint64_t word)
{
    const struct arena *a = w->self.arena;
    uint64_t outer = epoch_enter(&w->self);
    bool dead = fate_of(a, id, word) == DEAD;
    epoch_exit(&w->self, outer);
    if (!dead)
        return false;
    POINT("collect.dead");
    uint64_t limbo = claim_word(SEGMENT_LIMBO, 0, epoch_retire(a));
    bool retired = cas_seq_cst(&segment_at(a, id)->state, &word, limbo); /* as in segment.c */
    POINT("collect.retired");
    return retired;
}

unsigned collect_runs(struct writer *w, bool thorough)
{
    const struct arena *a = w->self.arena;
    unsigned retired = 0;
    for (uint64_t id = 0, n = segment_high(a); id < n; id++) {
        const struct segment *s = segment_at(a, id);
        uint64_t word = load_acquire(&s->state);
        if (claim_kind(word) != SEGMENT_RUN_HEAD)
            continue;
        if (thorough || load_relaxed(&a->dead[id]) >= load_relaxed(&s->used))
            retired += collect_run(w, id, word);
    }
    return retired;
}

/* ---- R18 ----------------------------------------------------------------------------------- */

/* The oldest birth of what the cleaner can move. */
static uint64_t oldest_single(const struct arena *a)
{
    uint64_t oldest = epoch_now(a);
    for (uint64_t id = 0, n = segment_high(a); id < n; id++) {
        const struct segment *s = segment_at(a, id);
        unsigned kind = claim_kind(load_acquire(&s->state));
        if (kind > SEGMENT_FREE && kind != SEGMENT_RUN_HEAD && kind != SEGMENT_RUN_REST)
            oldest = min_u64(oldest, load_relaxed(&s->birth)); /* relaxed: policy */
    }
    return oldest;
}

static void renew(const struct participant *p, uint64_t id, uint64_t word)
{
    const struct arena *a = p->arena;
    struct segment *s = segment_at(a, id);
    uint64_t safe = load_acquire(&a->sb->safe); /* before the look; pairs with epoch_poll [E5] */
    uint64_t outer = epoch_enter(p);
    if (fate_of(a, id, word) == CURRENT && load_relaxed(&s->birth) <= safe)
        store_relaxed(&s->birth, safe + 1); /* relaxed: an older birth is as true */
    epoch_exit(p, outer);
}

void collect_renew_runs(const struct participant *p)
{
    const struct arena *a = p->arena;
    uint64_t oldest = oldest_single(a);
    for (uint64_t id = 0, n = segment_high(a); id < n; id++) {
        const struct segment *s = segment_at(a, id);
        uint64_t word = load_acquire(&s->state);
        if (claim_kind(word) == SEGMENT_RUN_HEAD && load_relaxed(&s->birth) < oldest)
            renew(p, id, word);
    }
}
