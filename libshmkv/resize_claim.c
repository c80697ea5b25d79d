/* SPDX-License-Identifier: MIT */
/*
 * resize_claim.c - the table that the next resize moves to: how large, claimed, with its memory.
 *
 * A claim is a participant's own until a CLOSED word names it, and anybody's to take while he is in
 * no section (INV-T3).  Sizes are policy; what they must hold is asked by who starts (R14).
 */
#include "resize_parts.h"
#include "segment.h"
#include "shmkv.h"

#define QUICK_SLOTS (1u << 20)      /* smaller tables grow fourfold: keys are moved half as often */
#define QUICK_SLOTS_HELD (1u << 16) /* where it is not keys that fill them */
#define TAKE_STEP (1u << 20)

/* ---- how large ----------------------------------------------------------------------------- */

struct resize_load resize_load(const struct arena *a)
{
    uint64_t sums[STAT_COUNT];
    stats_sum(a, sums);
    return (struct resize_load){
        .keys = stats_keys(sums),
        .tombstones = stats_tombstones(sums),
    };
}

/* The last resize gave hardly any tickets: the next table must be larger. */
static bool starved(const struct table *t)
{
    uint64_t topped = load_relaxed(&t->topped);
    return topped != 0 && topped < table_quota(t->slots) / 4;
}

uint64_t resize_purgeable(const struct arena *a, const struct table *t)
{
    uint64_t now = resize_load(a).tombstones;
    return now - min_u64(now, load_relaxed(&t->tombstones));
}

/*
 * Somebody stands still in a section, or over a claimed area: tables that went are not given back.
 * Larger ones then take fewer areas, so that it is memory that runs out in the end.
 */
static bool areas_are_held(const struct arena *a)
{
    unsigned spare = 0;
    for (unsigned i = 0; i < TABLE_AREAS; i++)
        spare += load_relaxed(&a->tables[i].state) == TABLE_FREE; /* policy only */
    return spare < TABLE_AREAS / 2;
}

/*
 * With so many keys the next table must be larger.  A cache, which pays for a large index by keys
 * that it evicts, and which resizes for ever, has it filled as far as makes two moves for a put.
 */
static uint64_t most_keys(const struct arena *a, uint64_t slots)
{
    return slots / 16 * (a->cache ? 10 : 7);
}

static uint64_t filled_bound(const struct table *t)
{
    return table_quota(t->slots) - (load_acquire(&t->tickets) & TICKETS_COUNT);
}

/* Keys fill 3/16 to 7/16 of it when it begins. */
uint64_t resize_next_slots(const struct arena *a, const struct table *t)
{
    uint64_t keys = resize_load(a).keys;
    uint64_t slots = t->slots;
    bool full = starved(t) && resize_purgeable(a, t) < table_quota(slots) / 4;
    bool held = areas_are_held(a);
    bool many = keys >= most_keys(a, slots);
    if (full || held || many)
        slots *= slots < (many && !held ? QUICK_SLOTS : QUICK_SLOTS_HELD) && !a->cache ? 4 : 2;
    while (!held && slots > TABLE_MIN_SLOTS && keys < slots / 16 * 3 / 2 &&
           table_quota(slots / 2) >= filled_bound(t) + table_quota(slots / 2) / 4)
        slots /= 2;
    return min_u64(max_u64(slots, TABLE_MIN_SLOTS), table_max_slots(a));
}

/* ---- its claim, and its memory ------------------------------------------------------------- */

void resize_drop_prepared(const struct participant *p, struct resizer *z)
{
    table_unclaim_owner(p, z->prepared);
    z->prepared = NULL;
}

/*
 * Growing leaves what deletes and the cleaner need, or it would wedge the store.  A purge may use
 * their reserve: it needs no segment to finish, and gives back as much as it took.
 */
static int claim(const struct participant *p, struct resizer *z, const struct table *t,
                 uint64_t slots)
{
    struct segment_census c;
    z->lacks_growth = slots > t->slots;
    z->lacks = table_bytes(slots);
    z->refused = 0;
    int rc = table_claim(p, slots, &z->prepared);
    if (rc != 0)
        return rc;
    segment_count(p->arena, &c);
    c.table = 0; /* it is for this that puts have left it */
    if (!z->lacks_growth || segment_allowed(&c, SEGMENT_FOR_PUT))
        return 0;
    resize_drop_prepared(p, z);
    return SHMKV_ENOSPC;
}

int resize_claim_next(const struct participant *p, struct resizer *z, const struct table *t)
{
    uint64_t slots = resize_next_slots(p->arena, t);
    bool purges = z->urgent || resize_purgeable(p->arena, t) >= table_quota(t->slots) / 8;
    bool crowded = p->arena->cache && slots > t->slots; /* it is for evictions to make room */
    uint64_t least = max_u64(purges && !crowded ? t->slots : 2 * t->slots, TABLE_MIN_SLOTS);
    z->ready = false;
    z->prepared = NULL;
    if (slots == t->slots && starved(t) && !purges) {
        z->lacks = 0;
        return SHMKV_ENOSPC; /* the largest table there is, and it is full */
    }
    int rc = claim(p, z, t, slots);
    while (rc == SHMKV_ENOSPC && slots / 2 >= least) {
        slots /= 2;
        rc = claim(p, z, t, slots);
    }
    return rc;
}

void resize_forget_taken(const struct participant *p, struct resizer *z)
{
    if (z->prepared != NULL && !table_claimed_owner(p, z->prepared))
        resize_drop_prepared(p, z); /* if it is TAKING still: who began that may be dead */
}

int resize_get_prepared(const struct participant *p, struct resizer *z, const struct table *t)
{
    resize_forget_taken(p, z);
    if (z->prepared != NULL && z->prepared->slots < t->slots)
        resize_drop_prepared(p, z); /* made when the table was smaller */
    if (z->prepared == NULL) {
        int rc = resize_claim_next(p, z, t);
        if (rc != 0)
            return rc;
    }
    int rc = 0;
    while (rc == 0 && !z->ready && (load_acquire(&t->tickets) & TICKETS_CLOSED) == 0)
        rc = table_take(p->arena, z->prepared, TAKE_STEP, &z->ready);
    if (rc != 0) {
        z->refused = rc == SHMKV_ENOSPC ? table_bytes(z->prepared->slots) : 0;
        resize_drop_prepared(p, z);
    }
    return rc;
}
