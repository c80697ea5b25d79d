/* SPDX-License-Identifier: MIT */
/* segment.c - see segment.h for states and invariants. */
#include "segment.h"

#include "point.h"
#include "shmkv.h"
#include "stats.h"

/* Less room than this is not worth an owner's while: 1/32 of a segment. */
#define PARTIAL_SHIFT 5
#define PREFILL_STEP (256ull << 10)
#define CROWDED_SHIFT 3 /* at most an eighth of the segments is owned for longer than a write */

static bool change(struct segment *s, uint64_t from, uint64_t to)
{
    /* seq_cst: SEALING and `writing` are a store-load pair [S1], LIMBO and G too [E2]. */
    return cas_seq_cst(&s->state, &from, to);
}

/* ---- open and close ------------------------------------------------------------------------ */

/* Nobody goes on where no record can end: what was written over leads to no neighbour (R3). */
static bool has_room(const struct arena *a, const struct segment *s, uint64_t need)
{
    uint64_t used = load_acquire(&s->used), size = segment_size(a);
    return used <= size && used % 8 == 0 && need <= size - used;
}

/* 40 bits last for seven years if a segment is opened each 200 us. */
uint64_t segment_stamp(const struct arena *a, uint64_t segments)
{
    /* after what it counts can be seen; pairs with last_stamp [L5] */
    return add_seq_cst(&a->sb->incarnations, segments) + segments;
}

static uint64_t fresh_word(const struct participant *p)
{
    return claim_word(SEGMENT_OPEN, p->index, segment_stamp(p->arena, 1));
}

/* A cache does not mix what was put with what the cleaner kept. */
static bool of_class(const struct arena *a, const struct segment *s, bool kept)
{
    return !a->cache || (load_relaxed(&s->kept) != 0) == kept;
}

static bool adopt_partial(const struct participant *p, bool kept, uint64_t need,
                          struct segment_hold *hold)
{
    const struct arena *a = p->arena;
    uint64_t n = segment_high(a);
    uint64_t start = n == 0 ? 0 : p->index % n; /* adopters begin apart */
    for (uint64_t k = 0; k < n; k++) {
        uint64_t i = start + k < n ? start + k : start + k - n;
        struct segment *s = segment_at(a, i);
        uint64_t word = load_acquire(&s->state);
        if (claim_kind(word) != SEGMENT_PARTIAL || !has_room(a, s, need) || !of_class(a, s, kept))
            continue;
        uint64_t mine = fresh_word(p);
        if (!change(s, word, mine))
            continue;
        hold->id = i;
        hold->word = mine;
        segment_stamp(a, 1); /* again: who counted before he saw the CAS has a glance know of it */
        POINT("segment.adopted");
        if (has_room(a, s, need)) /* it may have been filled between look and CAS */
            return true;
        segment_close_owner(a, hold);
    }
    return false;
}

/* Claim the first segment of that kind below @n, without looking at limits. */
static bool claim_unused(const struct participant *p, enum segment_kind kind, uint64_t n,
                         uint64_t *id)
{
    const struct arena *a = p->arena;
    for (uint64_t i = 0; i < n; i++) {
        struct segment *s = segment_at(a, i);
        uint64_t word = load_acquire(&s->state);
        if (claim_kind(word) != kind)
            continue;
        max_seq_cst(&a->sb->segment_high, i + 1);
        if (change(s, word, claim_word(SEGMENT_OPENING, p->index, 0))) {
            *id = i;
            return true;
        }
    }
    return false;
}

/* What a hole was the head of says nothing any more to a reaper, who may find it OPENING. */
static void forget_run(const struct arena *a, uint64_t id)
{
    store_release(&segment_at(a, id)->run, 0); /* shows OPENING, as in begin_life() [L4] */
}

static bool fill_hole(const struct participant *p, uint64_t *id)
{
    const struct arena *a = p->arena;
    if (!claim_unused(p, SEGMENT_HOLE, arena_segments(a), id))
        return false;
    forget_run(a, *id);
    POINT("segment.hole");
    if (segment_memory(a) <= load_relaxed(&a->sb->size))
        return true;
    /* Too much, INV-S2: two that fill the last hole at once may both step back and try again. */
    change(segment_at(a, *id), claim_word(SEGMENT_OPENING, p->index, 0), SEGMENT_HOLE);
    return false;
}

/*
 * One that is free, else a hole.  Single segments stay below the number that the limit allows,
 * where there is always one unused: what is above it is left to runs, which need neighbours.
 */
static bool claim_single(const struct participant *p, uint64_t *id)
{
    const struct arena *a = p->arena;
    uint64_t line = min_u64(segment_high(a), load_relaxed(&a->sb->size) >> a->segment_shift);
    if (claim_unused(p, SEGMENT_FREE, line, id) || fill_hole(p, id))
        return true;
    /* what is free above the line gives its memory to a hole below it */
    if (segment_punch(p, segment_size(a)) != 0 && fill_hole(p, id))
        return true;
    return claim_unused(p, SEGMENT_FREE, segment_high(a), id);
}

/* In steps, so that the process' memory map is never locked for long. */
int segment_take_memory(const struct arena *a, enum segment_purpose purpose, uint64_t id,
                        uint64_t bytes)
{
    struct segment *s = segment_at(a, id);
    for (uint64_t at = load_relaxed(&s->taken), step; at < bytes; at += step) {
        uint64_t offset = arena_segment_start(a, id) + at;
        step = min_u64(PREFILL_STEP, segment_size(a) - at);
        int rc = purpose == SEGMENT_FOR_PUT ? arena_take_value(a, offset, step)
                                            : arena_take(a, offset, step);
        if (rc != 0)
            return rc;
        store_relaxed(&s->taken, at + step); /* relaxed: ours until the CAS that follows */
    }
    return 0;
}

uint64_t segment_prefill(const struct participant *p)
{
    uint64_t id, bytes = segment_size(p->arena);
    if (!fill_hole(p, &id))
        return 0;
    bool taken = segment_take_memory(p->arena, SEGMENT_FOR_PUT, id, bytes) == 0;
    change(segment_at(p->arena, id), claim_word(SEGMENT_OPENING, p->index, 0), SEGMENT_FREE);
    return taken ? bytes : 0;
}

static void step_back(const struct participant *p, uint64_t id)
{
    struct segment *s = segment_at(p->arena, id);
    bool bare = load_relaxed(&s->taken) == 0;
    change(s, claim_word(SEGMENT_OPENING, p->index, 0), bare ? SEGMENT_HOLE : SEGMENT_FREE);
}

/* What came of claiming a unit. */
enum unit_claim { UNIT_CLAIMED, UNIT_IN_USE, UNIT_TOO_MUCH };

/* All of the @n segments from @first on, which are holes; none if one is not, or is too many. */
static enum unit_claim claim_holes(const struct participant *p, uint64_t first, uint64_t n)
{
    const struct arena *a = p->arena;
    for (uint64_t id = first; id < first + n; id++)
        if (claim_kind(load_acquire(&segment_at(a, id)->state)) != SEGMENT_HOLE)
            return UNIT_IN_USE;
    max_seq_cst(&a->sb->segment_high, first + n);
    uint64_t claimed = 0;
    for (; claimed < n; claimed++) {
        if (!change(segment_at(a, first + claimed), SEGMENT_HOLE,
                    claim_word(SEGMENT_OPENING, p->index, 0)))
            break;
        forget_run(a, first + claimed);
    }
    POINT("segment.unit");
    bool fits = segment_memory(a) <= load_relaxed(&a->sb->size);
    if (claimed == n && fits)
        return UNIT_CLAIMED;
    while (claimed > 0) /* as from a hole that was one too many [INV-S2] */
        step_back(p, first + --claimed);
    return fits ? UNIT_IN_USE : UNIT_TOO_MUCH;
}

/* The first unit of @n segments that is all holes, where claim_single() would look for one. */
static bool claim_unit(const struct participant *p, uint64_t n, uint64_t *first)
{
    const struct arena *a = p->arena;
    uint64_t line = min_u64(load_relaxed(&a->sb->size) >> a->segment_shift, arena_segments(a));
    enum unit_claim came_to = UNIT_IN_USE;
    for (uint64_t at = 0; came_to == UNIT_IN_USE && at + n <= line; at += n) {
        came_to = claim_holes(p, at, n);
        *first = at;
    }
    return came_to == UNIT_CLAIMED;
}

uint64_t segment_prefill_unit(const struct participant *p)
{
    const struct arena *a = p->arena;
    uint64_t n = segment_unit(a), first = 0, bytes = n << a->segment_shift;
    if (!claim_unit(p, n, &first))
        return 0;
    uint64_t offset = arena_segment_start(a, first);
    bool taken = arena_take_ahead(a, offset, bytes) == 0;
    POINT("segment.ahead");
    bool bare = !taken && arena_release(a, offset, bytes) == 0; /* what there was of it */
    for (uint64_t id = first; id < first + n; id++) {
        if (taken)
            store_relaxed(&segment_at(a, id)->taken, segment_size(a)); /* shown by the CAS */
        change(segment_at(a, id), claim_word(SEGMENT_OPENING, p->index, 0),
               bare ? SEGMENT_HOLE : SEGMENT_FREE);
    }
    return taken ? bytes : 0;
}

/* OPENING(p) -> OPEN(p): a new incarnation begins. */
static void begin_life(const struct participant *p, bool kept, struct segment_hold *hold)
{
    const struct arena *a = p->arena;
    struct segment *s = segment_at(a, hold->id);
    POINT("segment.opening");
    hold->word = fresh_word(p);
    store_relaxed(&s->used, 0); /* relaxed: shown by the CAS below */
    store_relaxed(&s->walked, 0);
    store_relaxed(&a->dead[hold->id], 0);
    store_relaxed(&s->kept, kept);
    store_relaxed(&s->birth, epoch_now(a));
    store_release(&s->run, 0); /* shows OPENING; pairs with checkpoint_piece_read [L4] */
    /* release: who reads a life's number reads no older `used`; the same [L4] */
    store_release(&s->incarnation, a->sb->generation << CLAIM_EPOCH_BITS | claim_epoch(hold->word));
    change(s, claim_word(SEGMENT_OPENING, p->index, 0), hold->word); /* [S3] */
    POINT("segment.opened");
}

/*
 * What the cleaner moves has a segment of its own, unless these are scarce: users fill the rest of
 * it, which would bring what is free below the reserve, and nothing would bring it back.
 */
static bool may_adopt(const struct arena *a, const struct segment_census *c,
                      enum segment_purpose purpose)
{
    if (a->cache) /* where these do not mix */
        return true;
    if (purpose == SEGMENT_FOR_PUT)
        return !segment_committed(c);
    return purpose == SEGMENT_FOR_TOMBSTONE || c->available <= c->reserve + c->removals;
}

/* How many more may he have?  Half of what the others leave, so that each finds some. */
static uint64_t spares_allowed(const struct arena *a, const struct segment_census *c,
                               const struct segment_spares *spares)
{
    uint64_t left = c->available - min_u64(c->available, segment_kept(c, SEGMENT_FOR_PUT) + 1);
    uint64_t bytes = segment_bound(c) + c->room;
    uint64_t rest = (c->admitted - min_u64(c->admitted, bytes)) >> a->segment_shift;
    uint64_t owned = (c->capacity >> CROWDED_SHIFT) -
                     min_u64(c->capacity >> CROWDED_SHIFT, c->kinds[SEGMENT_OPEN]);
    return min_u64(spares->busy, min_u64(left, min_u64(rest, owned)) / 2);
}

/* Free ones behind @id, without a look at limits. */
static void claim_spares(const struct participant *p, uint64_t id, uint64_t wanted,
                         struct segment_spares *spares)
{
    const struct arena *a = p->arena;
    uint64_t mine = claim_word(SEGMENT_OPENING, p->index, 0);
    uint64_t line = load_relaxed(&a->sb->size) >> a->segment_shift; /* as for single ones */
    uint64_t n = min_u64(segment_high(a), line);
    for (uint64_t i = id + 1; i < n && spares->count < wanted; i++) {
        struct segment *s = segment_at(a, i);
        uint64_t word = load_acquire(&s->state);
        if (claim_kind(word) == SEGMENT_FREE && change(s, word, mine))
            spares->hold[spares->count++] = (struct segment_hold){.id = i};
    }
}

static void give_up_spares(const struct participant *p, struct segment_spares *spares)
{
    while (spares->count != 0)
        step_back(p, spares->hold[--spares->count].id);
}

static void begin_spares(const struct participant *p, struct segment_spares *spares)
{
    for (uint32_t i = 0; i < spares->count; i++)
        begin_life(p, false, &spares->hold[i]);
    spares->busy = (uint32_t)min_u64(2 * spares->busy + 1, SEGMENT_SPARES);
}

void segment_close_spares(const struct arena *a, struct segment_spares *spares)
{
    while (spares->count != 0)
        segment_close_owner(a, &spares->hold[--spares->count]);
    spares->busy = 0;
}

int segment_open(const struct participant *p, enum segment_purpose purpose, uint64_t need,
                 struct segment_hold *hold, struct segment_spares *spares)
{
    const struct arena *a = p->arena;
    while (spares != NULL && spares->count != 0) {
        *hold = spares->hold[--spares->count];
        if (segment_held(a, hold)) /* and if it is taken later, its owner finds out as always */
            return 0;
    }
    struct segment_census c;
    segment_glance(a, &c);
    if (c.kinds[SEGMENT_LIMBO] != 0)
        epoch_tick(a); /* so that sections that begin now do not hold it back */
    if (c.kinds[SEGMENT_LIMBO] != 0 && !segment_allowed(&c, purpose)) {
        epoch_poll(a); /* not sooner: the membarrier in it interrupts all who read */
        segment_reclaim(a);
        segment_glance(a, &c);
    }
    /* INV-S5; after a removal, too, puts would go on in the rest of the segment */
    hold->crowded =
        c.kinds[SEGMENT_OPEN] > c.capacity >> CROWDED_SHIFT || segment_nearly_committed(a, &c);
    bool kept = purpose == SEGMENT_FOR_CLEANING;
    bool some = c.kinds[SEGMENT_PARTIAL] != 0;
    if (some && may_adopt(a, &c, purpose) && adopt_partial(p, kept, need, hold))
        return 0;
    if (!segment_allowed(&c, purpose))
        return SHMKV_ENOSPC;
    POINT("segment.counted");
    if (!claim_single(p, &hold->id))
        return SHMKV_ENOSPC;
    bool more = spares != NULL && purpose == SEGMENT_FOR_PUT && !hold->crowded && !a->cache;
    if (more)
        claim_spares(p, hold->id, spares_allowed(a, &c, spares), spares);
    POINT("segment.claimed");
    bool overdrawn = segment_overdrawn(a, purpose);
    if (overdrawn && more && spares->count != 0) {
        give_up_spares(p, spares);
        overdrawn = segment_overdrawn(a, purpose);
    }
    if (overdrawn) {
        step_back(p, hold->id);
        hold->id = SEGMENT_NONE;
        return SHMKV_ENOSPC;
    }
    begin_life(p, kept, hold);
    if (more)
        begin_spares(p, spares);
    return 0;
}

/*
 * Where a segment goes that nobody appends to any more.  One in which nothing ever was published
 * nobody has seen, so it needs no grace period; it counts as having memory, for an owner that died
 * may have taken some before it could say so.
 */
static uint64_t resting_state(const struct arena *a, const struct segment *s)
{
    uint64_t used = load_acquire(&s->used), room = segment_size(a) - used;
    if (used == 0)
        return SEGMENT_FREE;
    bool worth = room >= segment_size(a) >> PARTIAL_SHIFT;
    return claim_word(worth ? SEGMENT_PARTIAL : SEGMENT_SEALED, 0, 0);
}

/* ---- runs ---------------------------------------------------------------------------------- */

/*
 * What was claimed for the run at @id, whose incarnation is @x; each only if it still is.  From the
 * last one on, so that those that are left stand behind the head without a gap.
 */
static void free_rests(const struct arena *a, uint64_t id, uint64_t x)
{
    for (uint64_t i = id + segment_span(a, id) - 1; i > id; i--) {
        struct segment *s = segment_at(a, i);
        change(s, claim_word(SEGMENT_RUN_REST, 0, x),
               load_relaxed(&s->taken) != 0 ? SEGMENT_FREE : SEGMENT_HOLE); /* [S2] */
        POINT("run.freed");
    }
}

/*
 * End what the owner of a run, OPENING(p) or PINNED(p, x), has of it: by him or his reaper, who has
 * decided the record.  What was never published nobody has seen, so it needs no grace period.
 */
static void end_run(const struct arena *a, uint64_t id, uint64_t word)
{
    struct segment *s = segment_at(a, id);
    if (claim_kind(word) == SEGMENT_PINNED && load_acquire(&s->used) != 0) {
        change(s, word, claim_word(SEGMENT_RUN_HEAD, 0, claim_epoch(word)));
        return;
    }
    free_rests(a, id, load_relaxed(&s->incarnation)); /* relaxed: his own, or of the dead */
    bool bare = segment_span(a, id) != 1 && load_relaxed(&s->taken) == 0;
    change(s, word, bare ? SEGMENT_HOLE : SEGMENT_FREE);
}

/*
 * LIMBO(e) -> FREE, e <= safe.  The length and incarnation are those of this life if the word,
 * which never repeats, is still there after they were read.
 */
static bool free_limbo(const struct arena *a, uint64_t id, uint64_t word)
{
    struct segment *s = segment_at(a, id);
    if (load_acquire(&s->run) != 0) {               /* pairs with run_open [S2] */
        uint64_t x = load_acquire(&s->incarnation); /* likewise [S2] */
        if (load_acquire(&s->state) != word)
            return false;
        free_rests(a, id, x);
    }
    return change(s, word, SEGMENT_FREE);
}

void segment_close_owner(const struct arena *a, struct segment_hold *hold)
{
    if (hold->id == SEGMENT_NONE)
        return;
    struct segment *s = segment_at(a, hold->id);
    unsigned kind = claim_kind(hold->word);
    if (kind == SEGMENT_OPENING || (kind == SEGMENT_PINNED && segment_span(a, hold->id) != 1))
        end_run(a, hold->id, hold->word);
    else
        change(s, hold->word, resting_state(a, s)); /* fails if it was just taken: as well */
    hold->id = SEGMENT_NONE;
    POINT("segment.closed");
}

bool segment_pin_owner(const struct arena *a, struct segment_hold *hold)
{
    uint64_t pinned = (hold->word & ~15ull) | SEGMENT_PINNED;
    if (!change(segment_at(a, hold->id), hold->word, pinned)) {
        hold->id = SEGMENT_NONE; /* else the next reservation would be made in it again */
        return false;
    }
    hold->word = pinned;
    return true;
}

/*
 * R18.  A record of S that a tombstone t superseded stood in S before t was published, so t's epoch
 * is not below S's birth.  What is opened during the scan is born in G as loaded first, or later:
 * each opener stores its state before it loads G (both seq_cst here).
 */
void segment_raise_horizon(const struct arena *a)
{
    uint64_t d = load_seq_cst(&a->sb->epoch);
    for (uint64_t id = 0, n = segment_high(a); id < n; id++) {
        const struct segment *s = segment_at(a, id);
        unsigned kind = claim_kind(load_seq_cst(&s->state));
        if (kind != SEGMENT_HOLE && kind != SEGMENT_FREE && kind != SEGMENT_RUN_REST)
            d = min_u64(d, load_relaxed(&s->birth)); /* relaxed: an older birth is safe */
    }
    max_seq_cst(&a->sb->horizon, d); /* pairs with resize_move.c, droppable [S4] */
}

/* ---- changing hands ------------------------------------------------------------------------ */

unsigned segment_reclaim(const struct arena *a)
{
    unsigned reclaimed = 0;
    uint64_t safe = load_acquire(&a->sb->safe); /* pairs with epoch_poll [E5] */
    for (uint64_t id = 0, n = segment_high(a); id < n; id++) {
        struct segment *s = segment_at(a, id);
        uint64_t word = load_acquire(&s->state);
        if (claim_kind(word) == SEGMENT_LIMBO && claim_epoch(word) <= safe)
            reclaimed += free_limbo(a, id, word);
    }
    return reclaimed;
}

/*
 * Second half of a taking: the owner was seen outside of its write section after SEALING was set,
 * so from its next section on it sees that the segment is gone.  A section with a younger epoch
 * than that of the taking proves nothing: G may be raised, and the section entered, between the
 * taker's last look and its CAS.
 */
static bool finish_sealing(const struct arena *a, struct segment *s, uint64_t word)
{
    if (!epoch_fence_all(a)) /* [S1] */
        return false;
    const struct participant_entry *owner = epoch_entry(a, claim_participant(word));
    /* acquire: `used` as the last write left it [S1] */
    if (owner == NULL || load_acquire(&owner->writing) != 0)
        return false;
    POINT("handover.seen");
    return change(s, word, resting_state(a, s));
}

unsigned segment_take_idle(const struct arena *a)
{
    unsigned taken = 0;
    for (uint64_t id = 0, n = segment_high(a); id < n; id++) {
        struct segment *s = segment_at(a, id);
        uint64_t word = load_acquire(&s->state);
        if (claim_kind(word) == SEGMENT_OPEN) {
            uint64_t sealing = (word & ~15ull) | SEGMENT_SEALING;
            const struct participant_entry *owner = epoch_entry(a, claim_participant(word));
            if (owner == NULL || load_relaxed(&owner->writing) != 0) /* a look, before the fence */
                continue;
            POINT("handover.idle");
            if (!change(s, word, sealing))
                continue;
            POINT("handover.sealing");
            word = sealing;
        }
        if (claim_kind(word) == SEGMENT_SEALING)
            taken += finish_sealing(a, s, word);
    }
    return taken;
}

bool segment_claim_victim(const struct participant *p, uint64_t id, uint64_t expected)
{
    return change(segment_at(p->arena, id), expected, claim_word(SEGMENT_CLEANING, p->index, 0));
}

void segment_retire_owner(const struct participant *p, uint64_t id)
{
    uint64_t e = epoch_retire(p->arena);
    POINT("clean.retiring");
    change(segment_at(p->arena, id), claim_word(SEGMENT_CLEANING, p->index, 0),
           claim_word(SEGMENT_LIMBO, 0, e));
}

void segment_unclaim_owner(const struct participant *p, uint64_t id, uint64_t walked)
{
    /* release: who goes on there retires what was unlinked before; pairs with cleaner walks [E2] */
    store_release(&segment_at(p->arena, id)->walked, walked);
    POINT("clean.paused");
    change(segment_at(p->arena, id), claim_word(SEGMENT_CLEANING, p->index, 0), SEGMENT_SEALED);
}

/*
 * PUNCHING -> HOLE of the @n segments from @id on, neighbours in one unit; the memory goes first,
 * so that a death in between leaves it counted.  Where it stays, -> FREE: better in use than
 * nobody's; as if none were taken, for who uses it next has to take what is missing.
 */
static bool punch(const struct arena *a, uint64_t id, uint64_t n, uint64_t word)
{
    bool gone = arena_release(a, arena_segment_start(a, id), n << a->segment_shift) == 0;
    POINT("punch.released");
    for (uint64_t i = id; i < id + n; i++) {
        struct segment *s = segment_at(a, i);
        store_relaxed(&s->taken, 0); /* relaxed: shown by the CAS */
        change(s, word, gone ? SEGMENT_HOLE : SEGMENT_FREE);
    }
    return gone;
}

static bool claim_free(const struct arena *a, uint64_t id, uint64_t mine)
{
    struct segment *s = segment_at(a, id);
    uint64_t word = load_acquire(&s->state);
    return claim_kind(word) == SEGMENT_FREE && change(s, word, mine);
}

/* As many neighbours as are free from @end - 1 down, at most @most, in one unit: a huge page that
 * goes as a whole need not be split. */
static uint64_t claim_neighbours(const struct arena *a, uint64_t end, uint64_t most, uint64_t mine)
{
    uint64_t unit = segment_unit(a), first = (end - 1) / unit * unit, id = end;
    while (id > first && end - id < most && claim_free(a, id - 1, mine))
        id--;
    return end - id;
}

uint64_t segment_punch(const struct participant *p, uint64_t bytes)
{
    const struct arena *a = p->arena;
    uint64_t mine = claim_word(SEGMENT_PUNCHING, p->index, 0), given = 0;
    for (uint64_t end = segment_high(a), n; end > 0 && given < bytes; end -= max_u64(n, 1)) {
        n = claim_neighbours(a, end, ((bytes - given - 1) >> a->segment_shift) + 1, mine);
        if (n == 0)
            continue;
        POINT("punch.claimed");
        if (punch(a, end - n, n, mine))
            given += n << a->segment_shift;
    }
    return given;
}

void segment_reap(const struct arena *a, uint32_t dead)
{
    for (uint64_t id = 0, n = segment_high(a); id < n; id++) {
        struct segment *s = segment_at(a, id);
        uint64_t word = load_acquire(&s->state);
        unsigned kind = claim_kind(word);
        if (kind == SEGMENT_LIMBO || claim_participant(word) != dead)
            continue;
        if (kind == SEGMENT_OPENING || (kind == SEGMENT_PINNED && segment_span(a, id) != 1))
            end_run(a, id, word);
        else if (kind == SEGMENT_OPEN || kind == SEGMENT_PINNED || kind == SEGMENT_SEALING)
            change(s, word, resting_state(a, s));
        else if (kind == SEGMENT_CLEANING)
            change(s, word, SEGMENT_SEALED);
        else if (kind == SEGMENT_PUNCHING)
            punch(a, id, 1, word);
    }
}
