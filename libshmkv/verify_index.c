/* SPDX-License-Identifier: MIT */
/* verify_index.c - areas, table headers, tickets, and every slot of the tables that are current. */
#include <inttypes.h>
#include <string.h>

#include "index.h"
#include "verify_parts.h"

#define BUCKETS_PER_SECTION 64u
#define RESTARTS 8u   /* each is a resize that ended meanwhile; the table grows faster than that */
#define PATIENCE 100u /* looks at one slot that changes all the time */

/* A pass over the slots of one table. */
struct pass {
    struct verify *v;
    uint64_t ref;
    const struct table *t;
    struct table_shape shape; /* as its header was found sound last */
    uint64_t filled;          /* slots that were ever filled */
    uint64_t resizing;        /* table.next, when last looked at */
};

/* ---- one slot ------------------------------------------------------------------------------ */

/* A slot's record, as far as it can be followed. */
struct target {
    uint64_t id;     /* of the segment */
    uint64_t offset; /* in it */
    const struct record *r;
    uint64_t room;
};

/* Has its owner published the record, but not moved `used` yet? */
static bool in_flight(const struct verify *v, const struct target *g, uint64_t state)
{
    const struct arena *a = v->a;
    const struct segment *s = segment_at(a, g->id);
    uint32_t owner = claim_participant(state);
    uint64_t at = arena_segment_start(a, g->id) + g->offset;
    if (owner < PARTICIPANT_MAX && verify_somebody(v, owner) &&
        load_acquire(&a->participants[owner].inflight) == at)
        return true;
    return load_acquire(&s->used) > g->offset; /* by now it has */
}

/* What is wrong with where the word leads, NULL if nothing; then @g is set. */
static const char *follow(const struct verify *v, uint64_t word, struct target *g)
{
    const struct arena *a = v->a;
    uint64_t offset = slot_offset(word);
    if (!index_in_log(a, offset))
        return "leads out of the log";
    g->id = arena_segment_of(a, offset);
    g->offset = offset - arena_segment_start(a, g->id);
    const struct segment *s = segment_at(a, g->id);
    uint64_t state = load_acquire(&s->state);
    if (!verify_readable(state))
        return "leads into a segment without records";
    uint64_t taken = verify_taken(a, g->id);
    if (g->offset + sizeof(struct record) > taken)
        return "leads to where no memory is";
    g->room = taken - g->offset;
    g->r = arena_at(a, offset);
    if (g->offset >= load_acquire(&s->used) && !in_flight(v, g, state))
        return "leads behind the end of a segment's records";
    return NULL;
}

/* The same, and with the record itself. */
static const char *examine(const struct verify *v, uint64_t word, struct target *g)
{
    const struct arena *a = v->a;
    g->room = 0;
    const char *wrong = follow(v, word, g);
    if (wrong != NULL)
        return wrong;
    uint64_t seed = record_seed(g->id, load_relaxed(&segment_at(a, g->id)->incarnation));
    if (!record_valid_live(a, g->r, g->room, seed))
        return "leads to what is no record, or fails its checksum";
    struct index_key k = {.data = record_key(g->r), .size = g->r->klen};
    k.hash = hash_key(k.data, k.size, &a->hash_secret);
    if (slot_tag(k.hash) != slot_tag_of(word))
        return "has the tag of another key";
    bool damaged = false;
    const struct record *found = index_lookup(a, &k, &damaged);
    if (found == g->r)
        return NULL;
    if (damaged)
        return "cannot be found, since a damaged slot stands before it";
    return found == NULL ? "cannot be found by its key"
                         : "has a key for which another slot is found";
}

static void report_slot(struct pass *p, uint64_t index, uint64_t word, const struct target *g,
                        const char *wrong)
{
    char key[VERIFY_KEY_TEXT] = "no key";
    if (g->room != 0)
        verify_key_text(g->r, g->room, key);
    verify_finding(p->v,
                   "index table %" PRIu64 ", slot %" PRIu64 " (%#018" PRIx64 ", segment %" PRIi64
                   ", offset %" PRIu64 "): %s; %s",
                   p->ref / TABLE_AREAS, index, word, g->room != 0 ? (int64_t)g->id : -1,
                   g->room != 0 ? g->offset : 0, wrong, key);
}

static void count_target(struct verify *v, const struct target *g)
{
    v->pairs += g->r->type == RECORD_PAIR;
    if (v->live != NULL && g->id < v->segments)
        v->live[g->id] += record_is_weightless(v->a, g->r) ? 0 : record_size(g->r);
}

/* Wrong is what is wrong about a word that stands there before and after. */
static void check_slot(struct pass *p, uint64_t index)
{
    const _Atomic uint64_t *slot = p->shape.slots + index;
    for (unsigned i = 0; i < PATIENCE; i++) {
        struct target g = {.room = 0};
        uint64_t word = load_acquire(slot); /* shows the record behind it [I1] */
        if (!slot_is_record(word)) {
            p->filled += word != SLOT_EMPTY && word != SLOT_MOVED_EMPTY;
            return;
        }
        const char *wrong = examine(p->v, word, &g);
        if (wrong != NULL && ((load_acquire(slot) ^ word) & ~SLOT_FROZEN) != 0)
            continue;
        p->filled++;
        if (wrong != NULL)
            report_slot(p, index, word, &g, wrong);
        else
            count_target(p->v, &g);
        return;
    }
    p->filled++;
}

/* ---- one table ----------------------------------------------------------------------------- */

/* Is the table of the pass still the root or the next one?  Inside a section, so that it stays. */
static bool is_current(struct pass *p)
{
    const struct arena *a = p->v->a;
    uint64_t root = table_root(a);
    p->resizing = load_acquire(&table_of(a, root)->next);
    return root == p->ref || p->resizing == p->ref;
}

static uint64_t pass_slots(const struct pass *p)
{
    return (p->shape.mask + 1) * BUCKET_SLOTS;
}

/* Of a table that is root or next: may its slots be followed? */
static bool check_header(struct pass *p)
{
    const struct arena *a = p->v->a;
    const struct table *t = p->t;
    uint64_t generation = p->ref / TABLE_AREAS;
    uint64_t state = load_acquire(&t->state);
    bool sound = table_look(a, p->ref, &p->shape) && table_next(a, t) != TABLE_NONE &&
                 load_relaxed(&t->taken) == table_bytes(pass_slots(p));
    bool live = claim_kind(state) == TABLE_LIVE && claim_epoch(state) == generation;
    if ((sound && live) || !is_current(p))
        return sound && live;
    verify_finding(p->v,
                   "index table %" PRIu64 " (area %" PRIu64 "): its header was written over "
                   "(state %u of generation %" PRIu64 ", %" PRIu64 " slots)",
                   generation, p->ref % TABLE_AREAS, claim_kind(state), claim_epoch(state),
                   t->slots);
    return false;
}

/* INV-T1.  Slots are only ever filled and the word is read after them, so fewer may have been
 * counted than there are, never more. */
static void check_tickets(struct pass *p)
{
    uint64_t word = load_acquire(&p->t->tickets);
    uint64_t left = word & TICKETS_COUNT;
    uint64_t quota = table_quota(pass_slots(p));
    if ((word & TICKETS_CLOSED) == 0 && (left > quota || p->filled > quota - left))
        verify_finding(p->v,
                       "index table %" PRIu64 ": %" PRIu64 " of %" PRIu64 " slots were "
                       "filled and %" PRIu64 " tickets are left, together more than %" PRIu64,
                       p->ref / TABLE_AREAS, p->filled, pass_slots(p), left, quota);
}

enum outcome { PASS_DONE, PASS_RETIRED, PASS_UNSOUND };

/* Some buckets from @slot on. */
static uint64_t check_slots(struct pass *p, uint64_t slot)
{
    uint64_t end = min_u64(pass_slots(p), slot + BUCKETS_PER_SECTION * BUCKET_SLOTS);
    for (; slot < end; slot++)
        check_slot(p, slot);
    return slot;
}

/* All slots, in sections. */
static enum outcome pass(struct pass *p)
{
    const struct verify *v = p->v;
    enum outcome outcome = PASS_DONE;
    bool ended = false;
    p->t = table_of(v->a, p->ref);
    for (uint64_t slot = 0; outcome == PASS_DONE && !ended;) {
        uint64_t outer = epoch_enter(v->p);
        if (!is_current(p))
            outcome = PASS_RETIRED;
        else if (!check_header(p))
            outcome = is_current(p) ? PASS_UNSOUND : PASS_RETIRED;
        else
            slot = check_slots(p, slot);
        ended = outcome == PASS_DONE && slot >= pass_slots(p);
        if (ended)
            check_tickets(p);
        if (ended && !is_current(p)) /* a resize that began or ended since */
            outcome = PASS_RETIRED;
        epoch_exit(v->p, outer);
    }
    return outcome;
}

/* ---- all of it ----------------------------------------------------------------------------- */

static void check_area(struct verify *v, unsigned i)
{
    const struct table *t = &v->a->tables[i];
    uint64_t word = load_acquire(&t->state);
    unsigned kind = claim_kind(word);
    bool claimed = kind == TABLE_CLAIMED || kind == TABLE_PUNCHING || kind == TABLE_TAKING;
    if (kind >= TABLE_KINDS)
        verify_finding(v, "index area %u: state %u is none", i, kind);
    if (claimed && !verify_somebody(v, claim_participant(word)) && load_acquire(&t->state) == word)
        verify_finding(v,
                       "index area %u: state %u is claimed by participant %u, which does not "
                       "exist",
                       i, kind, claim_participant(word));
    if (load_relaxed(&t->taken) > v->a->sb->area_bytes)
        verify_finding(v, "index area %u: %" PRIu64 " bytes are taken of %" PRIu64, i,
                       load_relaxed(&t->taken), v->a->sb->area_bytes);
}

static void forget_counts(struct verify *v)
{
    v->pairs = 0;
    if (v->live != NULL)
        memset(v->live, 0, v->segments * sizeof(*v->live));
}

/* The root, then the table that it is moved to: what moves meanwhile is in the second. */
static enum outcome check_tables(struct verify *v)
{
    struct pass p = {.v = v, .ref = table_root(v->a)};
    forget_counts(v);
    enum outcome outcome = pass(&p);
    if (outcome != PASS_DONE)
        return outcome;
    v->complete = p.resizing == 0;
    if (p.resizing == 0)
        return PASS_DONE;
    struct pass next = {.v = v, .ref = p.resizing};
    return pass(&next);
}

/* The headers of the root and of the table that it is moved to, if any. */
static enum outcome check_headers(struct verify *v)
{
    enum outcome outcome = PASS_DONE;
    uint64_t outer = epoch_enter(v->p);
    struct pass p = {.v = v, .ref = table_root(v->a)};
    for (unsigned i = 0; i < 2 && outcome == PASS_DONE && p.ref != 0; i++) {
        p.t = table_of(v->a, p.ref);
        if (!check_header(&p))
            outcome = is_current(&p) ? PASS_UNSOUND : PASS_RETIRED;
        p.ref = load_acquire(&p.t->next);
    }
    epoch_exit(v->p, outer);
    return outcome;
}

void verify_tables(struct verify *v)
{
    enum outcome outcome = PASS_RETIRED;
    for (unsigned i = 0; i < TABLE_AREAS; i++)
        check_area(v, i);
    for (unsigned i = 0; i < RESTARTS && outcome == PASS_RETIRED; i++)
        outcome = check_headers(v);
    v->followable = outcome != PASS_UNSOUND;
}

void verify_index(struct verify *v)
{
    for (unsigned i = 0; i < RESTARTS; i++) {
        if (check_tables(v) != PASS_RETIRED)
            return;
    }
    verify_note(v,
                "the index was resized %u times while it was checked; check it again when less "
                "is written",
                RESTARTS);
}
