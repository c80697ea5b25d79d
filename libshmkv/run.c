/* SPDX-License-Identifier: MIT */
/* run.c - see run.h, and segment.h for states. */
#include "run.h"

#include "point.h"
#include "shmkv.h"

/* At most a quarter of the store is one record. */
#define LARGEST_SHIFT 2

/* A run that is being claimed. */
struct run {
    const struct participant *p;
    uint64_t id;
    uint64_t count; /* segments */
    uint64_t stamp; /* given once */
    uint64_t incarnation;
};

uint64_t run_largest(const struct arena *a)
{
    uint64_t segments = load_relaxed(&a->sb->size) >> LARGEST_SHIFT >> a->segment_shift;
    return max_u64(segments, 1) << a->segment_shift;
}

static bool is_unused(uint64_t word)
{
    return claim_kind(word) == SEGMENT_HOLE || claim_kind(word) == SEGMENT_FREE;
}

static uint64_t opening(const struct run *r)
{
    return claim_word(SEGMENT_OPENING, r->p->index, 0);
}

static bool change(const struct run *r, uint64_t id, uint64_t from, uint64_t to)
{
    return cas_seq_cst(&segment_at(r->p->arena, id)->state, &from, to); /* as in segment.c */
}

/* All goes back: what has memory becomes FREE, the rest HOLE. */
static void give_up(const struct run *r)
{
    struct segment_hold hold = {.id = r->id, .word = opening(r)};
    segment_close_owner(r->p->arena, &hold);
}

/* The first stretch of unused segments from @from on; false: there is none. */
static bool find_stretch(const struct run *r, uint64_t from, uint64_t *id)
{
    const struct arena *a = r->p->arena;
    uint64_t length = 0;
    for (uint64_t i = from; i < arena_segments(a); i++) {
        length = is_unused(load_acquire(&segment_at(a, i)->state)) ? length + 1 : 0;
        if (length == r->count) {
            *id = i + 1 - length;
            return true;
        }
    }
    return false;
}

static bool claim_head(struct run *r)
{
    const struct arena *a = r->p->arena;
    struct segment *s = segment_at(a, r->id);
    uint64_t word = load_acquire(&s->state);
    max_seq_cst(&a->sb->segment_high, r->id + r->count);
    if (!is_unused(word) || !change(r, r->id, word, opening(r)))
        return false;
    POINT("run.head");
    /* Before anything else is claimed, so that our reaper finds it.  Release: who frees this life's
     * run must not take the next one's figures for it; pairs with free_limbo [S2]. */
    store_release(&s->run, r->count); /* and of checkpoint_piece_read [L4] */
    POINT("run.length");
    store_release(&s->incarnation, r->incarnation);
    POINT("run.numbered");
    return true;
}

/* The others; false: all was given up, and *@from is where to go on. */
static bool claim_rests(const struct run *r, uint64_t *from)
{
    for (uint64_t i = r->id + 1; i < r->id + r->count; i++) {
        uint64_t word = load_acquire(&segment_at(r->p->arena, i)->state);
        if (!is_unused(word) || !change(r, i, word, claim_word(SEGMENT_RUN_REST, 0, r->stamp))) {
            give_up(r);
            *from = i;
            return false;
        }
        POINT("run.rest");
    }
    return true;
}

static bool claim(struct run *r)
{
    for (uint64_t from = 0;
         find_stretch(r, from, &r->id);) { /* each round begins behind the last */
        from = r->id + 1;
        if (claim_head(r) && claim_rests(r, &from))
            return true;
    }
    return false;
}

/* INV-S2.  Memory that free segments elsewhere have is given back for it. */
static bool within_limit(const struct run *r)
{
    const struct arena *a = r->p->arena;
    uint64_t size = load_relaxed(&a->sb->size);
    uint64_t memory = segment_memory(a);
    if (memory > size && segment_punch(r->p, memory - size) != 0)
        memory = segment_memory(a);
    return memory <= size;
}

/* *@lacks: what was refused. */
static int take_memory(const struct run *r, enum segment_purpose purpose, uint64_t bytes,
                       uint64_t *lacks)
{
    const struct arena *a = r->p->arena;
    for (uint64_t i = 0; i < r->count; i++) {
        uint64_t rest = bytes - (i << a->segment_shift);
        int rc = segment_take_memory(a, purpose, r->id + i, min_u64(rest, a->segment_mask + 1));
        if (rc == SHMKV_ENOSPC)
            *lacks = rest;
        if (rc != 0)
            return rc;
        POINT("run.memory");
    }
    return 0;
}

/* OPENING(p) -> PINNED(p, x). */
static void begin_life(const struct run *r, struct append *l)
{
    const struct arena *a = r->p->arena;
    struct segment *s = segment_at(a, r->id);
    uint64_t word = claim_word(SEGMENT_PINNED, r->p->index, r->stamp);
    store_relaxed(&s->used, 0); /* relaxed: shown by the CAS below */
    store_relaxed(&a->dead[r->id], 0);
    store_relaxed(&s->kept, 0);
    store_relaxed(&s->birth, epoch_now(a));
    change(r, r->id, opening(r), word);
    POINT("run.opened");
    l->hold = (struct segment_hold){.id = r->id, .word = word};
    l->at = arena_segment_start(a, r->id);
    l->end = l->taken = l->stop = l->at + (r->count << a->segment_shift);
    l->seed = record_seed(r->id, r->incarnation);
}

int run_open(struct append *l, const struct participant *p, enum segment_purpose purpose,
             uint64_t bytes)
{
    const struct arena *a = p->arena;
    struct segment_census c;
    l->lacks = 0;
    segment_count(a, &c);
    if (c.kinds[SEGMENT_LIMBO] != 0) {
        epoch_poll(a);
        segment_reclaim(a);
        segment_count(a, &c);
    }
    struct run r = {.p = p, .count = run_length(a, bytes)};
    if (!segment_allowed_run(a, &c, purpose, r.count))
        return SHMKV_ENOSPC;
    r.stamp = segment_stamp(a, 1);
    r.incarnation = a->sb->generation << CLAIM_EPOCH_BITS | r.stamp;
    if (!claim(&r))
        return SHMKV_ENOSPC;
    segment_stamp(a, r.count); /* for glances: one for each, after they can be seen */
    POINT("run.claimed");
    bool allowed = within_limit(&r) && !segment_overdrawn(a, purpose);
    int rc = allowed ? take_memory(&r, purpose, bytes, &l->lacks) : SHMKV_ENOSPC;
    if (rc != 0)
        give_up(&r);
    else
        begin_life(&r, l);
    return rc;
}
