/* SPDX-License-Identifier: MIT */
/* table.c - see table.h for states, tickets and invariants. */
#include "table.h"

#include "point.h"
#include "segment.h"
#include "shmkv.h"

static bool change(struct table *t, uint64_t from, uint64_t to)
{
    return cas_seq_cst(&t->state, &from, to); /* seq_cst: LIMBO and G, as in segments [E2] */
}

/* ---- areas --------------------------------------------------------------------------------- */

static uint64_t chunk_count(uint64_t slots)
{
    return (slots + TABLE_CHUNK_SLOTS - 1) / TABLE_CHUNK_SLOTS;
}

uint64_t table_bytes(uint64_t slots)
{
    return align_up(slots * 8 + chunk_count(slots) * 4, PAGE_BYTES);
}

uint64_t table_max_slots(const struct arena *a)
{
    return a->sb->area_bytes / 16; /* a power of two; slots and chunk words fit in the area */
}

static uint64_t area_offset(const struct arena *a, const struct table *t)
{
    return a->sb->areas_offset + (uint64_t)(t - a->tables) * a->sb->area_bytes;
}

/* Of the header one word is used, loaded once; the others must be what follows from it. */
bool table_look(const struct arena *a, uint64_t ref, struct table_shape *shape)
{
    const struct table *t = table_of(a, ref);
    uint64_t slots = __atomic_load_n(&t->slots, __ATOMIC_RELAXED); /* shown by what led here [T1] */
    uint64_t start = area_offset(a, t);
    if (slots < TABLE_MIN_SLOTS || (slots & (slots - 1)) != 0 || slots > table_max_slots(a))
        return false;
    shape->slots = arena_at(a, start);
    shape->mask = slots / BUCKET_SLOTS - 1;
    shape->shift = 64 - log2_exact(slots / BUCKET_SLOTS);
    return load_relaxed(&t->generation) == ref / TABLE_AREAS && t->slots_offset == start &&
           t->shift == shape->shift && t->chunks_offset == start + slots * 8 &&
           t->chunks == chunk_count(slots);
}

bool table_view_renew(struct table_view *v, const struct arena *a)
{
    uint64_t root = table_root(a);
    struct table_shape shape;
    if (!table_look(a, root, &shape))
        return false;
    store_relaxed(&v->slots, (uintptr_t)shape.slots | (shape.shift - 3));
    POINT("view.half");
    barrier_compiler(); /* until then it is of a root that has been, for a handler, too */
    store_relaxed(&v->root, root);
    return true;
}

static void make_header(const struct arena *a, struct table *t, uint64_t generation, uint64_t slots)
{
    uint64_t offset = area_offset(a, t);
    store_relaxed(&t->next, 0); /* relaxed, all of it: shown by the release of root or next [T1] */
    store_relaxed(&t->generation, generation);
    t->slots = slots;
    t->slots_offset = offset;
    t->chunks_offset = offset + slots * 8;
    t->chunks = chunk_count(slots);
    t->shift = 64 - log2_exact(slots / BUCKET_SLOTS);
    t->bound = 0;
    store_relaxed(&t->topped, 0);
    store_relaxed(&t->tombstones, 0);
    store_relaxed(&t->cursor, 0);
    store_relaxed(&t->wanted, 0);
    /* release: who sees this word open sees the new generation, and gives nothing back to it that
     * was of the area's earlier life; pairs with table_return_tickets [T3] */
    store_release(&t->tickets, 0);
}

static bool is_claim(uint64_t word)
{
    return claim_kind(word) == TABLE_CLAIMED || claim_kind(word) == TABLE_TAKING;
}

bool table_claimed_owner(const struct participant *p, const struct table *t)
{
    uint64_t word = load_acquire(&t->state); /* after the section began; pairs with finish_taking */
    return claim_kind(word) == TABLE_CLAIMED && claim_participant(word) == p->index; /* [T2] */
}

/* From CLAIMED or TAKING of @participant, while it is that, to @to; false if it is not. */
static bool end_claim(struct table *t, uint32_t participant, uint64_t to)
{
    uint64_t word = load_acquire(&t->state);
    while (is_claim(word) && claim_participant(word) == participant) {
        if (change(t, word, to))
            return true;
        word = load_acquire(&t->state); /* it became TAKING, at most once, or is gone */
    }
    return false;
}

int table_claim(const struct participant *p, uint64_t slots, struct table **out)
{
    const struct arena *a = p->arena;
    uint64_t generation = add_relaxed(&a->sb->generations, 1) + 1;
    table_reclaim(p);
    for (unsigned i = 0; i < TABLE_AREAS; i++) {
        struct table *t = &a->tables[i];
        if (load_acquire(&t->state) != TABLE_FREE ||
            !change(t, TABLE_FREE, claim_word(TABLE_CLAIMED, p->index, generation)))
            continue;
        POINT("table.claimed");
        make_header(a, t, generation, slots);
        store_seq_cst(&t->taken, table_bytes(slots)); /* counted first, as segments (INV-S2) */
        if (segment_memory(a) > load_relaxed(&a->sb->size)) {
            table_unclaim_owner(p, t);
            return SHMKV_ENOSPC;
        }
        *out = t;
        return 0;
    }
    return SHMKV_ENOSPC;
}

int table_take(const struct arena *a, struct table *t, uint64_t bytes, bool *complete)
{
    /* `cursor` serves as the mark: nobody moves slots of a table that is being made */
    uint64_t all = min_u64(table_bytes(t->slots), a->sb->area_bytes); /* R3: nobody else's */
    uint64_t at = min_u64(load_relaxed(&t->cursor), all);
    uint64_t step = min_u64(bytes, all - at);
    bool grows = t->slots > table_of(a, table_root(a))->slots;
    int rc = 0;
    if (step != 0)
        rc = bytes == UINT64_MAX ? arena_take_huge(a, area_offset(a, t) + at, step)
             : grows             ? arena_take_value(a, area_offset(a, t) + at, step)
                                 : arena_take(a, area_offset(a, t) + at, step);
    if (rc != 0)
        return rc;
    *complete = at + step == all;
    store_relaxed(&t->cursor, *complete ? 0 : at + step);
    return 0;
}

/* PUNCHING(p) -> FREE; the memory goes first, so that a death in between leaves it counted.  Where
 * it stays, -> LIMBO(0): nobody looks there, so whoever reclaims next tries again. */
static void empty_area(const struct arena *a, struct table *t, uint64_t word)
{
    /* R3: all of its own, whichever of the two was written over, and nobody else's */
    uint64_t taken = max_u64(load_relaxed(&t->taken), table_bytes(t->slots));
    if (arena_release(a, area_offset(a, t), min_u64(taken, a->sb->area_bytes)) != 0) {
        change(t, word, claim_word(TABLE_LIMBO, 0, 0));
        return;
    }
    POINT("table.released");
    store_seq_cst(&t->taken, 0);
    change(t, word, TABLE_FREE);
}

void table_unclaim_owner(const struct participant *p, struct table *t)
{
    uint64_t punching = claim_word(TABLE_PUNCHING, p->index, 0);
    if (end_claim(t, p->index, punching))
        empty_area(p->arena, t, punching);
}

void table_restamp_owner(const struct participant *p, struct table *t)
{
    uint64_t generation = add_relaxed(&p->arena->sb->generations, 1) + 1;
    store_relaxed(&t->generation, generation);
    end_claim(t, p->index, claim_word(TABLE_CLAIMED, p->index, generation));
}

void table_enliven(const struct arena *a, uint64_t ref)
{
    struct table *t = table_of(a, ref);
    uint64_t word = load_acquire(&t->state);
    while (is_claim(word) && claim_epoch(word) == ref / TABLE_AREAS &&
           !change(t, word, claim_word(TABLE_LIVE, 0, claim_epoch(word))))
        word = load_acquire(&t->state); /* others were faster, or it became TAKING */
}

void table_retire_old(const struct arena *a)
{
    uint64_t root = table_root(a);
    for (unsigned i = 0; i < TABLE_AREAS; i++) {
        struct table *t = &a->tables[i];
        uint64_t word = load_acquire(&t->state);
        if (claim_kind(word) == TABLE_LIVE && claim_epoch(word) < root / TABLE_AREAS)
            change(t, word, claim_word(TABLE_LIMBO, 0, epoch_retire(a)));
    }
}

/* A claimed table lives on if a CLOSED word names it. */
static bool is_named(const struct arena *a, uint64_t ref)
{
    uint64_t root = table_root(a);
    return load_seq_cst(&table_of(a, root)->tickets) == (TICKETS_CLOSED | ref);
}

/* The claimer is in no section, so it does not use what it has claimed. */
static bool is_idle(const struct arena *a, uint64_t word)
{
    const struct participant_entry *claimer = epoch_entry(a, claim_participant(word));
    return claimer != NULL &&
           (load_acquire(&claimer->reading) | load_acquire(&claimer->writing)) == 0; /* [T2] */
}

/* Claims that were seen TAKING, by area; 0: none. */
struct takings {
    uint64_t words[TABLE_AREAS];
};

/* CLAIMED -> TAKING, of idle others; of all, or of those which a younger root has overtaken.
 * False: there is none to finish, others' included. */
static bool begin_taking(const struct participant *p, bool all, struct takings *seen)
{
    const struct arena *a = p->arena;
    uint64_t root = table_root(a);
    bool some = false;
    for (unsigned i = 0; i < TABLE_AREAS; i++) {
        struct table *t = &a->tables[i];
        uint64_t word = load_acquire(&t->state);
        if (claim_kind(word) == TABLE_CLAIMED && claim_participant(word) != p->index &&
            (all || claim_epoch(word) < root / TABLE_AREAS) && is_idle(a, word)) {
            POINT("table.idle");
            uint64_t taking = claim_word(TABLE_TAKING, claim_participant(word), claim_epoch(word));
            if (change(t, word, taking))
                word = taking;
            POINT("table.taking");
        }
        seen->words[i] = claim_kind(word) == TABLE_TAKING ? word : 0;
        some |= seen->words[i] != 0;
    }
    return some;
}

/*
 * TAKING -> PUNCHING, of those whose claimer is idle after the fence: from its next section on it
 * sees that the table is gone.  Only of those that were TAKING before the fence: whose word became
 * that later may have begun a section before it, which only another fence would show.  Who died
 * after naming it in CLOSED is in its section until it is reaped, and the reaper makes it LIVE; the
 * look at the name costs nothing and is the same.
 */
static bool finish_taking(const struct participant *p, const struct takings *seen)
{
    const struct arena *a = p->arena;
    uint64_t punching = claim_word(TABLE_PUNCHING, p->index, 0);
    bool taken = false;
    if (!epoch_fence_all(a)) /* pairs with table_claimed_owner [T2] */
        return false;
    POINT("table.fenced");
    for (unsigned i = 0; i < TABLE_AREAS; i++) {
        struct table *t = &a->tables[i];
        uint64_t word = seen->words[i];
        if (word == 0 || claim_participant(word) == p->index || !is_idle(a, word) ||
            is_named(a, claim_epoch(word) * TABLE_AREAS + i))
            continue;
        if (change(t, word, punching)) { /* fails if somebody else did it: a word never repeats */
            empty_area(a, t, punching);
            taken = true;
        }
    }
    return taken;
}

bool table_take_idle(const struct participant *p)
{
    struct takings seen;
    return begin_taking(p, true, &seen) && finish_taking(p, &seen);
}

void table_reclaim(const struct participant *p)
{
    const struct arena *a = p->arena;
    uint64_t punching = claim_word(TABLE_PUNCHING, p->index, 0);
    uint64_t safe = load_acquire(&a->sb->safe); /* pairs with epoch_poll [E5] */
    struct takings seen;
    for (unsigned i = 0; i < TABLE_AREAS; i++) {
        struct table *t = &a->tables[i];
        uint64_t word = load_acquire(&t->state);
        if (claim_kind(word) == TABLE_LIMBO && claim_epoch(word) <= safe &&
            change(t, word, punching))
            empty_area(a, t, punching);
    }
    if (begin_taking(p, false, &seen))
        finish_taking(p, &seen);
}

/* The claimer is dead, so if no CLOSED word names its table now, none ever will. */
void table_reap(const struct arena *a, uint32_t participant)
{
    for (unsigned i = 0; i < TABLE_AREAS; i++) {
        struct table *t = &a->tables[i];
        uint64_t word = load_acquire(&t->state);
        uint64_t punching = claim_word(TABLE_PUNCHING, participant, 0);
        if (is_claim(word) && claim_participant(word) == participant) {
            uint64_t ref = claim_epoch(word) * TABLE_AREAS + i; /* the header may not be made yet */
            if (is_named(a, ref))
                table_enliven(a, ref);
            else if (end_claim(t, participant, punching))
                empty_area(a, t, punching);
        } else if (word == punching) {
            empty_area(a, t, punching);
        }
    }
}

/* ---- tickets ------------------------------------------------------------------------------- */

bool table_ticket(const struct arena *a, struct tickets *held, uint64_t ref)
{
    if (likely(held->ref == ref && held->count != 0))
        return true;
    table_return_tickets(a, held);
    struct table *t = table_of(a, ref);
    uint64_t word = load_acquire(&t->tickets);
    for (;;) { /* a failed CAS means that others took tickets or closed: bounded by r */
        uint64_t r = word & TICKETS_COUNT;
        if ((word & TICKETS_CLOSED) != 0 || r == 0)
            return false;
        uint64_t batch = min_u64(TICKETS_BATCH, (r + 63) / 64); /* few strand in a small table */
        if (cas_acq_rel(&t->tickets, &word, word - batch)) {
            *held = (struct tickets){.ref = ref, .count = batch};
            return true;
        }
    }
}

void table_return_tickets(const struct arena *a, struct tickets *held)
{
    if (held->count == 0)
        return;
    struct table *t = table_of(a, held->ref);
    uint64_t word = load_acquire(&t->tickets); /* no newer than the generation [T3] */
    while ((word & TICKETS_CLOSED) == 0 && table_ref(a, t) == held->ref) { /* in this order */
        if (cas_acq_rel(&t->tickets, &word, word + held->count))
            break;
    }
    held->count = 0;
}
