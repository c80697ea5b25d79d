/* SPDX-License-Identifier: MIT */
/* verify_log.c - segments: state, marks, and every record up to `used`. */
#include <inttypes.h>

#include "index.h"
#include "verify_parts.h"

#define LINES_PER_SEGMENT 16u

/* The walk over one segment, inside a section in which it was readable. */
struct walk {
    struct verify *v;
    uint64_t id;
    uint64_t start; /* offset of the segment in the arena */
    uint64_t used;
    uint64_t seed;
    uint64_t bad; /* ranges that hold no record */
};

static const struct record *record_at(const struct walk *w, uint64_t at)
{
    return arena_at(w->v->a, w->start + at);
}

static bool valid_at(const struct walk *w, uint64_t at)
{
    return record_valid_live(w->v->a, record_at(w, at), w->used - at, w->seed);
}

/* The next valid record behind @at; `used` if there is none. */
static uint64_t resume_after(const struct walk *w, uint64_t at)
{
    do {
        at += 8;
    } while (at < w->used && !valid_at(w, at));
    return at;
}

static void report_bad(struct walk *w, uint64_t at, uint64_t next)
{
    const struct record *r = record_at(w, at);
    char key[VERIFY_KEY_TEXT];
    if (w->bad++ >= LINES_PER_SEGMENT) {
        w->v->findings++;
        return;
    }
    verify_key_text(r, w->used - at, key);
    bool fits = w->used - at >= sizeof(*r) && record_size(r) == next - at;
    verify_finding(w->v,
                   "segment %" PRIu64 ", offset %" PRIu64 " of %" PRIu64 " (arena %#" PRIx64
                   "): %" PRIu64 " bytes %s; %s",
                   w->id, at, w->used, w->start + at, next - at,
                   fits ? "fail their checksum" : "are no record", key);
}

/*
 * A record below `used` was published once, and versions of a key only grow, so the index leads to
 * it or to a newer one; or to none, if a tombstone came later and was dropped.
 */
static void check_current(struct walk *w, const struct record *r, uint64_t at)
{
    const struct arena *a = w->v->a;
    struct index_key k = {.data = record_key(r), .size = r->klen};
    k.hash = hash_key(k.data, k.size, &a->hash_secret);
    bool damaged = false;
    const struct record *now = index_lookup(a, &k, &damaged);
    char key[VERIFY_KEY_TEXT];
    uint64_t g = epoch_now(a);
    if (now != NULL && now->version < r->version) {
        verify_key_text(r, w->used - at, key);
        verify_finding(w->v,
                       "segment %" PRIu64 ", offset %" PRIu64 ": version %" PRIu64
                       " is newer than %" PRIu64 ", to which the index leads; %s",
                       w->id, at, r->version, now->version, key);
    }
    if (record_epoch_of(r->version) > g) {
        verify_key_text(r, w->used - at, key);
        verify_finding(w->v,
                       "segment %" PRIu64 ", offset %" PRIu64 ": is of epoch %" PRIu64
                       ", now is %" PRIu64 "; %s",
                       w->id, at, record_epoch_of(r->version), g, key);
    }
}

static void check_records(struct verify *v, uint64_t id, uint64_t used)
{
    const struct segment *s = segment_at(v->a, id);
    struct walk w = {.v = v, .id = id, .used = used};
    w.start = arena_segment_start(v->a, id);
    w.seed = record_seed(id, load_relaxed(&s->incarnation)); /* stays while it is readable */
    for (uint64_t at = 0; at < used;) {
        if (valid_at(&w, at)) {
            if (v->followable)
                check_current(&w, record_at(&w, at), at);
            at += record_size(record_at(&w, at));
        } else {
            uint64_t next = resume_after(&w, at);
            report_bad(&w, at, next);
            at = next;
        }
    }
    if (w.bad > LINES_PER_SEGMENT)
        verify_note(v, "segment %" PRIu64 ": %" PRIu64 " more ranges that hold no record", id,
                    w.bad - LINES_PER_SEGMENT);
}

/* Does somebody exist who claims it?  SEALING names one who may have gone, see segment.h. */
static void check_claim(struct verify *v, uint64_t id, uint64_t word)
{
    const struct segment *s = segment_at(v->a, id);
    unsigned kind = claim_kind(word);
    bool claimed = kind == SEGMENT_OPENING || kind == SEGMENT_OPEN || kind == SEGMENT_PINNED ||
                   kind == SEGMENT_CLEANING || kind == SEGMENT_PUNCHING;
    if (claimed && !verify_somebody(v, claim_participant(word)) && load_acquire(&s->state) == word)
        verify_finding(v,
                       "segment %" PRIu64 ": state %u is claimed by participant %u, which does "
                       "not exist",
                       id, kind, claim_participant(word));
}

uint64_t verify_taken(const struct arena *a, uint64_t id)
{
    uint64_t sum = 0, all = a->segment_mask + 1;
    for (uint64_t i = id, end = id + segment_span(a, id); i < end; i++) {
        uint64_t taken = load_acquire(&segment_at(a, i)->taken);
        sum += taken;
        if (taken != all)
            break;
    }
    return sum;
}

/* The run that begins at @id has all its parts. */
static void check_run(struct verify *v, uint64_t id, uint64_t word)
{
    const struct arena *a = v->a;
    uint64_t x = load_acquire(&segment_at(a, id)->incarnation);
    uint64_t rest = claim_word(SEGMENT_RUN_REST, 0, x);
    for (uint64_t i = id + 1, end = id + segment_span(a, id); i < end; i++) {
        if (load_acquire(&segment_at(a, i)->state) != rest &&
            load_acquire(&segment_at(a, id)->state) == word)
            verify_finding(v, "segment %" PRIu64 ": is not part of the run from %" PRIu64 " on", i,
                           id);
    }
}

/* INV-S4: what is part of a run has a head in front of it that is in use. */
static void check_rest(struct verify *v, uint64_t id, uint64_t word)
{
    const struct arena *a = v->a;
    uint64_t head = id;
    while (head > 0 && load_acquire(&segment_at(a, head)->state) == word)
        head--;
    const struct segment *s = segment_at(a, head);
    unsigned kind = claim_kind(load_acquire(&s->state));
    bool fits = (kind == SEGMENT_OPENING || kind == SEGMENT_PINNED || kind == SEGMENT_RUN_HEAD ||
                 kind == SEGMENT_LIMBO) &&
                claim_word(SEGMENT_RUN_REST, 0, load_acquire(&s->incarnation)) == word &&
                segment_span(a, head) > id - head;
    if (!fits && load_acquire(&segment_at(a, id)->state) == word)
        verify_finding(v, "segment %" PRIu64 ": is part of a run that has no head", id);
}

/* The marks of a readable segment; false if they cannot be followed. */
static bool check_marks(struct verify *v, uint64_t id, uint64_t used)
{
    const struct segment *s = segment_at(v->a, id);
    uint64_t bytes = segment_span(v->a, id) << v->a->segment_shift;
    uint64_t taken = verify_taken(v->a, id); /* after `used`, below which it is never */
    uint64_t birth = load_acquire(&s->birth);
    uint64_t g = epoch_now(v->a);
    if (birth > g)
        verify_finding(v, "segment %" PRIu64 ": was opened in epoch %" PRIu64 ", now is %" PRIu64,
                       id, birth, g);
    if (used <= taken && taken <= bytes && used % 8 == 0)
        return true;
    verify_finding(v,
                   "segment %" PRIu64 ": of %" PRIu64 " bytes %" PRIu64 " have memory and %" PRIu64
                   " are used",
                   id, bytes, taken, used);
    return false;
}

static void check_segment(struct verify *v, uint64_t id)
{
    const struct segment *s = segment_at(v->a, id);
    uint64_t word = load_acquire(&s->state);
    if (claim_kind(word) >= SEGMENT_KINDS)
        verify_finding(v, "segment %" PRIu64 ": state %u is none", id, claim_kind(word));
    check_claim(v, id, word);
    if (claim_kind(word) == SEGMENT_RUN_REST)
        check_rest(v, id, word);
    if (claim_kind(word) == SEGMENT_RUN_HEAD)
        check_run(v, id, word);
    if (!verify_readable(word))
        return;
    uint64_t used = load_acquire(&s->used); /* shows the records below; pairs with commit [L1] */
    if (check_marks(v, id, used))
        check_records(v, id, used);
}

void verify_log(struct verify *v)
{
    for (uint64_t id = 0; id < v->segments; id++) {
        uint64_t outer = epoch_enter(v->p);
        check_segment(v, id);
        epoch_exit(v->p, outer);
    }
}
