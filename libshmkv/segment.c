/* SPDX-License-Identifier: MIT */
/* segment.c - see segment.h for states and invariants. */
#include "segment.h"

#include "point.h"
#include "shmkv.h"
#include "stats.h"

/* Less room than this is not worth an owner's while: 1/32 of a segment. */
#define PARTIAL_SHIFT 5
#define RESERVE_MIN 4u
#define TOMBSTONE_RESERVE 2u
#define TABLE_MARGIN 3u /* for puts while the slots are moved, beside the memory of a table */
#define RESERVE_SHIFT 8 /* a 256th of the segments is kept for the cleaner */
/* Of what the limit leaves for records; a little more than the nine tenths that are promised. */
#define ADMITTED_PERCENT 92u
#define PREFILL_STEP (256ull << 10)
#define CROWDED_SHIFT 3 /* at most an eighth of the segments is owned for longer than a write */

static uint64_t segment_bytes(const struct arena *a)
{
    return a->segment_mask + 1;
}

static uint64_t high(const struct arena *a)
{
    return load_acquire(&a->sb->segment_high);
}

static bool change(struct segment *s, uint64_t from, uint64_t to)
{
    /* seq_cst: SEALING and `writing` are a store-load pair [S1], LIMBO and G too [E2]. */
    return cas_seq_cst(&s->state, &from, to);
}

static uint64_t index_memory(const struct arena *a)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < TABLE_AREAS; i++)
        bytes += load_acquire(&a->tables[i].taken);
    return bytes;
}

static uint64_t largest_table(const struct arena *a)
{
    uint64_t largest = 0;
    for (unsigned i = 0; i < TABLE_AREAS; i++)
        largest = max_u64(largest, load_relaxed(&a->tables[i].taken));
    return largest;
}

/* What a table as large as the largest needs, so that tombstones and lost tickets come back. */
static uint64_t index_headroom(const struct arena *a)
{
    uint64_t largest = largest_table(a), all = index_memory(a);
    return all < 2 * largest ? 2 * largest - all : 0;
}

/* How much of that puts leave alone already, see resize_prepare(). */
static uint64_t index_wanted(const struct arena *a)
{
    uint64_t root = load_relaxed(&a->sb->root); /* relaxed, both: policy */
    return min_u64(load_relaxed(&a->tables[root % TABLE_AREAS].wanted), index_headroom(a));
}

/*
 * What is admitted leaves room for one more table as large as the present one; it is the same
 * whether that is there or not, or a resize would stop the puts that move its slots.
 */
static uint64_t admitted_bytes(const struct arena *a, const struct segment_census *c)
{
    uint64_t size = load_relaxed(&a->sb->size);
    uint64_t rest = arena_fixed_bytes(a) + largest_table(a);
    uint64_t table = (index_headroom(a) + a->segment_mask) >> a->segment_shift;
    uint64_t spare = c->reserve + c->removals + 1 + table;
    uint64_t most = c->capacity > spare ? c->capacity - spare : 0;
    uint64_t log = size > rest ? size - rest : 0;
    return min_u64(most << a->segment_shift, log / 100 * ADMITTED_PERCENT);
}

static uint64_t run_bytes(const struct arena *a, uint64_t id)
{
    return segment_span(a, id) << a->segment_shift;
}

void segment_count(const struct arena *a, struct segment_census *c)
{
    *c = (struct segment_census){0};
    for (uint64_t id = 0, n = high(a); id < n; id++) {
        const struct segment *s = segment_at(a, id);
        unsigned kind = claim_kind(load_acquire(&s->state));
        c->kinds[kind]++;
        c->limbo += kind == SEGMENT_LIMBO ? segment_span(a, id) : 0;
        c->taken += load_relaxed(&s->taken);
        if (kind >= SEGMENT_OPEN && kind < SEGMENT_LIMBO) {
            uint64_t used = load_relaxed(&s->used);
            c->used += used;
            c->live += used - min_u64(used, load_relaxed(&a->dead[id]));
            if (kind == SEGMENT_OPEN)
                c->room += segment_bytes(a) - min_u64(used, segment_bytes(a));
            if (kind == SEGMENT_RUN_HEAD)
                c->waste += run_bytes(a, id) - min_u64(used, run_bytes(a, id));
        }
    }
    uint64_t backed = high(a) - c->kinds[SEGMENT_HOLE];
    uint64_t other = arena_fixed_bytes(a) + index_memory(a);
    uint64_t size = load_relaxed(&a->sb->size);
    c->capacity = size > other ? (size - other) >> a->segment_shift : 0;
    uint64_t holes = c->capacity > backed ? c->capacity - backed : 0;
    c->available = c->kinds[SEGMENT_FREE] + min_u64(holes, a->sb->segment_count - backed);
    /* a cache evicts what the cleaner finds no room for */
    c->removals = a->cache ? 0 : TOMBSTONE_RESERVE;
    c->reserve = a->cache ? 1 : max_u64(RESERVE_MIN, c->capacity >> RESERVE_SHIFT);
    uint64_t wanted = index_wanted(a);
    c->table = wanted == 0 ? 0 : (wanted >> a->segment_shift) + (a->cache ? 1 : TABLE_MARGIN);
    c->admitted = a->cache ? UINT64_MAX : admitted_bytes(a, c);
}

uint64_t segment_memory(const struct arena *a)
{
    uint64_t backed = 0;
    for (uint64_t id = 0, n = high(a); id < n; id++)
        backed += claim_kind(load_acquire(&segment_at(a, id)->state)) != SEGMENT_HOLE;
    return arena_fixed_bytes(a) + index_memory(a) + (backed << a->segment_shift);
}

/* ---- open and close ------------------------------------------------------------------------ */

static bool has_room(const struct arena *a, const struct segment *s, uint64_t need)
{
    return load_acquire(&s->used) + need <= segment_bytes(a);
}

/* 40 bits last for years of opening a segment every 10 us. */
uint64_t segment_stamp(const struct arena *a)
{
    return add_relaxed(&a->sb->incarnations, 1) + 1; /* relaxed: only its being new matters */
}

static uint64_t fresh_word(const struct participant *p)
{
    return claim_word(SEGMENT_OPEN, p->index, segment_stamp(p->arena));
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
    uint64_t n = high(a);
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

static bool fill_hole(const struct participant *p, uint64_t *id)
{
    const struct arena *a = p->arena;
    if (!claim_unused(p, SEGMENT_HOLE, a->sb->segment_count, id))
        return false;
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
    uint64_t line = min_u64(high(a), load_relaxed(&a->sb->size) >> a->segment_shift);
    if (claim_unused(p, SEGMENT_FREE, line, id) || fill_hole(p, id))
        return true;
    /* what is free above the line gives its memory to a hole below it */
    if (segment_punch(p, segment_bytes(a)) != 0 && fill_hole(p, id))
        return true;
    return claim_unused(p, SEGMENT_FREE, high(a), id);
}

/* In steps, so that the process' memory map is never locked for long. */
int segment_take_memory(const struct arena *a, enum segment_purpose purpose, uint64_t id,
                        uint64_t bytes)
{
    struct segment *s = segment_at(a, id);
    for (uint64_t at = load_relaxed(&s->taken), step; at < bytes; at += step) {
        uint64_t offset = arena_segment_start(a, id) + at;
        step = min_u64(PREFILL_STEP, segment_bytes(a) - at);
        int rc = purpose == SEGMENT_FOR_PUT ? arena_take_value(a, offset, step)
                                            : arena_take(a, offset, step);
        if (rc != 0)
            return rc;
        store_relaxed(&s->taken, at + step); /* relaxed: ours until the CAS that follows */
    }
    return 0;
}

bool segment_prefill(const struct participant *p)
{
    uint64_t id;
    if (!fill_hole(p, &id))
        return false;
    bool taken = segment_take_memory(p->arena, SEGMENT_FOR_PUT, id, segment_bytes(p->arena)) == 0;
    change(segment_at(p->arena, id), claim_word(SEGMENT_OPENING, p->index, 0), SEGMENT_FREE);
    return taken;
}

/* OPENING(p) -> OPEN(p): a new incarnation begins. */
static void begin_life(const struct participant *p, bool kept, struct segment_hold *hold)
{
    const struct arena *a = p->arena;
    struct segment *s = segment_at(a, hold->id);
    POINT("segment.opening");
    hold->word = fresh_word(p);
    store_relaxed(&s->used, 0); /* relaxed: shown by the CAS below */
    store_relaxed(&a->dead[hold->id], 0);
    store_relaxed(&s->kept, kept);
    store_relaxed(&s->birth, epoch_now(a));
    store_release(&s->run, 0); /* shows OPENING; pairs with checkpoint_piece_read [L4] */
    /* release: who reads a life's number reads no older `used`; the same [L4] */
    store_release(&s->incarnation, a->sb->generation << CLAIM_EPOCH_BITS | claim_epoch(hold->word));
    change(s, claim_word(SEGMENT_OPENING, p->index, 0), hold->word); /* [S3] */
    POINT("segment.opened");
}

uint64_t segment_kept(const struct segment_census *c, enum segment_purpose purpose)
{
    if (purpose == SEGMENT_FOR_CLEANING)
        return 0;
    uint64_t kept = c->reserve + c->kinds[SEGMENT_CLEANING];
    return purpose == SEGMENT_FOR_PUT ? kept + c->removals + c->table : kept;
}

bool segment_allowed(const struct segment_census *c, enum segment_purpose purpose)
{
    if (purpose == SEGMENT_FOR_PUT && segment_committed(c))
        return false;
    return c->available > segment_kept(c, purpose);
}

bool segment_allowed_run(const struct arena *a, const struct segment_census *c,
                         enum segment_purpose purpose, uint64_t count)
{
    struct segment_census rest = *c; /* with all but one of them gone */
    rest.available -= min_u64(rest.available, count - 1);
    rest.live += (count - 1) << a->segment_shift;
    return segment_allowed(&rest, purpose);
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

bool segment_overdrawn(const struct arena *a, enum segment_purpose purpose)
{
    struct segment_census c;
    segment_count(a, &c);
    return c.available < segment_kept(&c, purpose);
}

static void step_back(const struct participant *p, uint64_t id)
{
    struct segment *s = segment_at(p->arena, id);
    bool bare = load_relaxed(&s->taken) == 0;
    change(s, claim_word(SEGMENT_OPENING, p->index, 0), bare ? SEGMENT_HOLE : SEGMENT_FREE);
}

int segment_open(const struct participant *p, enum segment_purpose purpose, uint64_t need,
                 struct segment_hold *hold)
{
    const struct arena *a = p->arena;
    struct segment_census c;
    segment_count(a, &c);
    if (c.kinds[SEGMENT_LIMBO] != 0)
        epoch_tick(a); /* so that sections that begin now do not hold it back */
    if (c.kinds[SEGMENT_LIMBO] != 0 && c.available <= segment_kept(&c, purpose)) {
        epoch_poll(a); /* not sooner: the membarrier in it interrupts all who read */
        segment_reclaim(a);
        segment_count(a, &c);
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
    if (segment_overdrawn(a, purpose)) {
        step_back(p, hold->id);
        hold->id = SEGMENT_NONE;
        return SHMKV_ENOSPC;
    }
    begin_life(p, kept, hold);
    return 0;
}

/* Where a segment goes that nobody appends to any more. */
static uint64_t resting_state(const struct arena *a, const struct segment *s)
{
    uint64_t room = segment_bytes(a) - load_acquire(&s->used);
    bool worth = room >= segment_bytes(a) >> PARTIAL_SHIFT;
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
    for (uint64_t id = 0, n = load_seq_cst(&a->sb->segment_high); id < n; id++) {
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
    for (uint64_t id = 0, n = high(a); id < n; id++) {
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
    const struct participant_entry *owner = &a->participants[claim_participant(word)];
    if (load_acquire(&owner->writing) != 0) /* acquire: `used` as the last write left it [S1] */
        return false;
    POINT("handover.seen");
    return change(s, word, resting_state(a, s));
}

unsigned segment_take_idle(const struct arena *a)
{
    unsigned taken = 0;
    for (uint64_t id = 0, n = high(a); id < n; id++) {
        struct segment *s = segment_at(a, id);
        uint64_t word = load_acquire(&s->state);
        if (claim_kind(word) == SEGMENT_OPEN) {
            uint64_t sealing = (word & ~15ull) | SEGMENT_SEALING;
            if (load_relaxed(&a->participants[claim_participant(word)].writing) != 0)
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

void segment_unclaim_owner(const struct participant *p, uint64_t id)
{
    change(segment_at(p->arena, id), claim_word(SEGMENT_CLEANING, p->index, 0), SEGMENT_SEALED);
}

/* PUNCHING -> HOLE; the memory goes first, so that a death in between leaves it counted. */
static bool punch(const struct arena *a, uint64_t id, uint64_t word)
{
    struct segment *s = segment_at(a, id);
    if (arena_release(a, arena_segment_start(a, id), segment_bytes(a)) != 0)
        return false;
    store_relaxed(&s->taken, 0); /* relaxed: shown by the CAS */
    POINT("punch.released");
    return change(s, word, SEGMENT_HOLE);
}

uint64_t segment_punch(const struct participant *p, uint64_t bytes)
{
    const struct arena *a = p->arena;
    uint64_t given = 0;
    for (uint64_t id = high(a); id-- > 0 && given < bytes;) {
        struct segment *s = segment_at(a, id);
        uint64_t word = load_acquire(&s->state);
        uint64_t mine = claim_word(SEGMENT_PUNCHING, p->index, 0);
        if (claim_kind(word) != SEGMENT_FREE || !change(s, word, mine))
            continue;
        POINT("punch.claimed");
        if (punch(a, id, mine))
            given += segment_bytes(a);
        else
            change(s, mine, SEGMENT_FREE); /* refused: better in use than nobody's */
    }
    return given;
}

void segment_reap(const struct arena *a, uint32_t dead)
{
    for (uint64_t id = 0, n = high(a); id < n; id++) {
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
            punch(a, id, word);
    }
}
