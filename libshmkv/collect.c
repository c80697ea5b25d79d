/* SPDX-License-Identifier: MIT */
/* collect.c - see collect.h. */
#include "collect.h"

#include "point.h"

/* Is the run of state @word, whose memory stays in this section, without a current record? */
static bool is_dead(const struct arena *a, uint64_t id, uint64_t word)
{
    const struct record *r = arena_at(a, arena_segment_start(a, id));
    if (load_acquire(&segment_at(a, id)->state) != word || !index_fits_log(a, r))
        return false; /* it has just gone, or was written over: `check` reports that */
    struct index_key k = {.data = record_key(r), .size = r->klen};
    bool damaged = false;
    k.hash = hash_key(k.data, k.size, &a->hash_secret);
    return index_lookup(a, &k, &damaged) != r && !damaged;
}

bool collect_run(struct writer *w, uint64_t id, uint64_t word)
{
    const struct arena *a = w->self.arena;
    uint64_t outer = epoch_enter(&w->self);
    bool dead = is_dead(a, id, word);
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
    for (uint64_t id = 0, n = load_acquire(&a->sb->segment_high); id < n; id++) {
        const struct segment *s = segment_at(a, id);
        uint64_t word = load_acquire(&s->state);
        if (claim_kind(word) != SEGMENT_RUN_HEAD)
            continue;
        if (thorough || load_relaxed(&s->dead) >= load_relaxed(&s->used))
            retired += collect_run(w, id, word);
    }
    return retired;
}
