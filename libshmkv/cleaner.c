/* SPDX-License-Identifier: MIT */
/* cleaner.c - see cleaner.h. */
#include "cleaner.h"

#include <inttypes.h>

#include "clock.h"
#include "collect.h"
#include "error.h"
#include "evict.h"
#include "expire.h"
#include "held.h"
#include "point.h"
#include "process.h"
#include "reap.h"
#include "shmkv.h"
#include "victim.h"

#define PATIENCE_NS 100000000ull
#define POLL_NS 100000u
/* No longer is limbo waited for if nothing moves: a section may stand. */
#define STILL_NS 20000000ull
#define GRACES_NS 10000000ull /* a few grace periods */
/* Cleaned beyond the deadline, some milliseconds: it may have passed while we did not run. */
#define EXTRA_BYTES (1u << 20)
/* Fewer rounds than this: others had the processor, and it is theirs to show that nothing goes. */
#define ROUNDS 200u
/* For those of a run, or of a table: as many victims may be needed for each, if much is live. */
#define ROUNDS_PER_SEGMENT 8u
#define SWEEP_BUCKETS 4096u /* of expiry, by a writer that finds no room */
#define MOVE_SLOTS 16384u   /* of a resize that runs, with each round; some milliseconds */
#define BATCH 16u
/* A writer that helps does so after so many bytes, and goes through so many batches at most. */
#define PACE 256u
#define PIECE_BATCHES 1u
#define PIECE_SEGMENTS 256u /* that are looked at for a victim, instead */

/* ---- one victim ---------------------------------------------------------------------------- */

/* Offsets of the next records of a walk; 0 records: the end, or what is no record. */
static unsigned next_batch(const struct arena *a, uint64_t *at, uint64_t end, uint64_t *batch)
{
    unsigned n = 0;
    while (n < BATCH && *at < end) {
        const struct record *r = arena_at(a, *at);
        if (end - *at < sizeof(*r) || r->klen == 0 || record_size(r) > end - *at)
            break;
        index_prefetch(a, hash_key(record_key(r), r->klen, &a->hash_secret));
        batch[n++] = *at;
        *at += record_size(r);
    }
    return n;
}

/* Does the index point to the record?  If not now, then never again. */
static bool is_current(const struct writer *w, const struct record *r)
{
    const struct arena *a = w->self.arena;
    struct index_key k = {.data = record_key(r), .size = r->klen};
    bool damaged = false;
    k.hash = hash_key(k.data, k.size, &a->hash_secret);
    uint64_t outer = epoch_enter(&w->self);
    const struct record *found = index_lookup(a, &k, &damaged);
    epoch_exit(&w->self, outer);
    return found == r || damaged;
}

/*
 * A tombstone that nothing needs (R18, no image) is not moved: a queue over cold data would have
 * each of its own moved once.  Its slot stays lost until a resize, as it was.
 */
static bool is_spent(const struct arena *a, const struct record *r)
{
    return r->type == RECORD_TOMBSTONE && record_epoch_of(r->version) < epoch_now(a) &&
           load_relaxed(&a->sb->horizon) == UINT64_MAX; /* relaxed: final in a store without */
}

/* 0: the record takes up no room any more.  INDEX_RELOCATED: it takes up room elsewhere. */
static int relocate(struct writer *w, uint64_t at, uint64_t word)
{
    const struct arena *a = w->self.arena;
    const struct record *r = arena_at(a, at);
    uint64_t bytes = record_size(r);
    if (is_spent(a, r)) {
        int rc = index_evict(w, at, word);
        return rc < 0 ? rc : 0;
    }
    if (expire_record(w, r)) /* a store full of such records would be moved for nothing */
        return 0;
    /* A segment of dead records can be had when nothing is free to move anything to. */
    if (!append_has_room(&w->moves, bytes) && !is_current(w, r))
        return 0;
    for (;;) { /* again only if our segment was taken while we were idle */
        int rc = append_reserve(&w->moves, &w->self, SEGMENT_FOR_CLEANING, bytes);
        if (rc == 0)
            rc = index_relocate(w, at, word);
        if (rc != INDEX_AGAIN)
            return rc;
    }
}

/* One record of a cache: what is worth it and finds a place is moved, all else goes. */
static int keep_or_evict(struct writer *w, struct evict_walk *e, uint64_t at, uint64_t word)
{
    const struct record *r = arena_at(w->self.arena, at);
    int rc = SHMKV_ENOSPC;
    if (evict_keeps(w, e, r))
        rc = relocate(w, at, word);
    if (rc == SHMKV_ENOSPC)
        rc = evict_record(w, e, r, word);
    return rc < 0 ? rc : 0;
}

/* How far a walk is to go, and how far it came. */
struct piece {
    uint64_t wanted;  /* bytes to be gained */
    uint64_t gained;  /* bytes that were passed and take up no room any more */
    uint64_t from;    /* walked before */
    uint64_t walked;  /* bytes from the segment's start in which nothing alive is left */
    uint64_t used;    /* of the segment */
    unsigned batches; /* that may be gone through */
};

/* Where the last walk ended.  Of a word that cannot be right nothing is believed. */
static void resume(const struct segment *s, struct piece *piece)
{
    piece->used = load_acquire(&s->used);     /* pairs with append_commit [L1] */
    piece->walked = load_acquire(&s->walked); /* pairs with segment_unclaim_owner [E2] */
    if (piece->walked > piece->used || piece->walked % 8 != 0)
        piece->walked = 0;
    piece->from = piece->walked;
}

/* Walk on; 0 if nothing alive is left in what was walked.  @e: of a cache, else NULL. */
static int walk(struct writer *w, uint64_t id, struct evict_walk *e, struct piece *piece)
{
    const struct arena *a = w->self.arena;
    uint64_t word = claim_word(SEGMENT_CLEANING, w->self.index, 0);
    uint64_t start = arena_segment_start(a, id);
    uint64_t end = start + piece->used;
    uint64_t at = start + piece->walked;
    uint64_t batch[BATCH];
    while (at < end && piece->gained < piece->wanted && piece->batches-- != 0) {
        unsigned n = next_batch(a, &at, end, batch);
        if (n == 0)
            return SHMKV_ECORRUPT;
        uint64_t outer = epoch_enter(&w->self); /* a slot is read: the table must stay */
        for (unsigned i = 0; i < n; i++)
            index_prefetch_record(a, hash_key(record_key(arena_at(a, batch[i])),
                                              ((struct record *)arena_at(a, batch[i]))->klen,
                                              &a->hash_secret));
        epoch_exit(&w->self, outer);
        for (unsigned i = 0; i < n; i++) {
            int rc = e != NULL ? keep_or_evict(w, e, batch[i], word) : relocate(w, batch[i], word);
            if (rc < 0)
                return rc;
            uint64_t next = i + 1 < n ? batch[i + 1] : at;
            piece->walked = next - start;
            piece->gained += rc == INDEX_RELOCATED ? 0 : next - batch[i];
        }
        POINT("clean.batch");
    }
    return 0;
}

/* 1: it is clean, 0: it is not, or a negative code. */
static int clean(struct writer *w, uint64_t id, struct evict_walk *e, struct piece *piece)
{
    /* to ask for processor time is a system call, which a put would wait for */
    bool whole = piece->wanted == UINT64_MAX;
    uint64_t begin = whole ? clock_cpu_ns() : clock_mono_ns();
    POINT("clean.claimed");
    resume(segment_at(w->self.arena, id), piece);
    int rc = walk(w, id, e, piece);
    stat_add(&w->self, STAT_cleaning_ns, (whole ? clock_cpu_ns() : clock_mono_ns()) - begin);
    if (rc == 0 && piece->walked == piece->used) {
        if (e != NULL)
            evict_walked(w->self.arena, e);
        segment_retire_owner(&w->self, id);
        stat_add(&w->self, STAT_segments_cleaned, 1);
        return 1;
    }
    if (rc == SHMKV_ECORRUPT) { /* leave it alone: `check` reports it */
        store_relaxed(&w->self.arena->dead[id], 0);
        if (e != NULL)
            evict_requeue(w->self.arena, id);
    }
    segment_unclaim_owner(&w->self, id, piece->walked);
    return rc == SHMKV_ECORRUPT ? 0 : rc;
}

/*
 * Whose turn it is in a cache; SEGMENT_NONE: nobody's.  A run is dealt with here, and if that gains
 * memory *@gained is set.
 */
static uint64_t choose_to_evict(struct writer *w, struct evict_walk *e, uint64_t *word, int *gained)
{
    for (unsigned kept = 0;; kept++) {
        uint64_t id = evict_choose(w, e, word);
        if (id == SEGMENT_NONE || claim_kind(*word) != SEGMENT_RUN_HEAD)
            return id;
        e->budget = kept < EVICT_RUNS_KEPT ? UINT64_MAX : 0;
        *gained = evict_run(w, e, id, *word);
        if (*gained > 0 || kept > EVICT_RUNS_KEPT) /* it has changed under us, too */
            return SEGMENT_NONE;
    }
}

int cleaner_step(struct writer *w)
{
    const struct arena *a = w->self.arena;
    struct evict_walk e;
    uint64_t word;
    int gained = 0;
    uint64_t id = a->cache ? choose_to_evict(w, &e, &word, &gained) : victim_choose(a, &word);
    if (id == SEGMENT_NONE)
        return gained > 0;
    if (!segment_claim_victim(&w->self, id, word))
        return 1;
    struct piece all = {.wanted = UINT64_MAX, .batches = UINT32_MAX};
    return clean(w, id, a->cache ? &e : NULL, &all);
}

/* Looking for a victim is work, too: some each time, and what was found is begun with the next. */
static void choose_to_help(struct writer *w)
{
    struct cleaning *c = &w->cleaning;
    c->life = 0;
    if (victim_search(w->self.arena, &c->search, PIECE_SEGMENTS) &&
        c->search.best != SEGMENT_NONE) {
        c->id = c->search.best;
        c->life = c->search.life;
    }
}

/* Go on with the victim until @bytes more are gained, or enough is done for once. */
static void clean_piece(struct writer *w, uint64_t bytes)
{
    const struct arena *a = w->self.arena;
    struct cleaning *c = &w->cleaning;
    if (c->owed < (int64_t)segment_size(a))
        c->owed += (int64_t)bytes;
    if (c->owed <= 0) /* the last piece gained more than was asked for */
        return;
    const struct segment *s = segment_at(a, c->life != 0 ? c->id : 0);
    uint64_t word = load_acquire(&s->state);
    /* relaxed: a life that has just ended makes a bad victim, not a wrong one */
    if (c->life == 0 || load_relaxed(&s->incarnation) != c->life || !victim_may_be(word)) {
        choose_to_help(w);
        return;
    }
    struct piece piece = {.wanted = (uint64_t)c->owed, .batches = PIECE_BATCHES};
    if (!segment_claim_victim(&w->self, c->id, word))
        return;
    int rc = clean(w, c->id, NULL, &piece);
    if (rc == 1)
        piece.gained += segment_size(a) - piece.used;
    if (rc != 0 || piece.walked == piece.from)
        c->life = 0; /* clean, or damaged there: another one next time */
    c->owed -= (int64_t)piece.gained;
}

/* ---- room ---------------------------------------------------------------------------------- */

static bool suffices(const struct arena *a, struct segment_census *c,
                     const struct cleaner_need *need)
{
    uint64_t table = (need->index_bytes + a->segment_mask) >> a->segment_shift;
    if (table != 0 && need->purpose == SEGMENT_FOR_CLEANING) /* a purge may use all there is */
        return c->available >= table;
    c->table = table != 0 ? 0 : c->table; /* it is for this that puts have left it */
    c->available -= min_u64(c->available, table);
    return segment_allowed_run(a, c, need->purpose, max_u64(need->run, 1));
}

static bool has_room(const struct arena *a, const struct cleaner_need *need)
{
    struct segment_census c;
    segment_count(a, &c);
    return suffices(a, &c, need);
}

/* Will there be, once the sections of now have ended?  Then more cleaning is for nothing: what dies
 * until room is needed again would be moved. */
static bool room_is_coming(const struct arena *a, const struct cleaner_need *need)
{
    struct segment_census c;
    if (a->cache && need->refused == 0)
        return evict_enough(a, need->run,
                            (need->index_bytes + a->segment_mask) >> a->segment_shift);
    segment_count(a, &c);
    c.available += c.limbo;
    return need->refused == 0 && need->still_ns < STILL_NS && suffices(a, &c, need) &&
           (need->purpose != SEGMENT_FOR_PUT || victim_need(a) != VICTIM_SOON);
}

/* Is there room, and memory for it? */
static bool is_enough(const struct arena *a, const struct cleaner_need *need)
{
    return need->refused == 0 && has_room(a, need);
}

static int no_room(const struct arena *a, bool inside)
{
    struct segment_census c;
    struct shmkv_participant holder;
    if (held_oldest(a, &holder)) {
        char text[HELD_TEXT];
        held_describe(&holder, text, sizeof(text));
        return error_set(SHMKV_EHELD, "%s: no room: %s; let it go on, or end it", a->name, text);
    }
    segment_count(a, &c);
    bool ends = inside && !segment_overfull(&c);
    return error_set(SHMKV_ENOSPC,
                     "%s: no room: %" PRIu64 " of %" PRIu64 " bytes are in use, %" PRIu64
                     " by current records; %s",
                     a->name, segment_memory(a), load_relaxed(&a->sb->size), c.live,
                     ends ? "end this thread's section, in which nothing comes back"
                          : "delete keys, or make a larger store");
}

/* A part of a running resize: the old table's memory comes back, even if nobody can write. */
static bool move_slots(struct writer *w)
{
    const struct arena *a = w->self.arena;
    uint64_t outer = epoch_enter(&w->self);
    bool running = resize_advancing(a, &w->resizer);
    resize_help(&w->self, &w->resizer, MOVE_SLOTS);
    epoch_exit(&w->self, outer);
    return running;
}

/* Is it only that others own what is left [INV-S5]?  Cleaning does not help against that. */
static bool is_owned(const struct arena *a)
{
    struct segment_census c;
    segment_count(a, &c);
    return segment_committed(&c) && !segment_overfull(&c);
}

/* Clean, or do what may help where nothing can be cleaned. */
static bool gain(struct writer *w, const struct cleaner_need *need)
{
    const struct arena *a = w->self.arena;
    bool moved = move_slots(w);
    if (need->purpose == SEGMENT_FOR_PUT && is_owned(a) && segment_take_idle(a) != 0)
        return true;
    if (cleaner_step(w) > 0)
        return true; /* and the next victim goes behind this one, or no segment is ever gained */
    bool better = false;
    if (expire_wanted(a) && !is_enough(a, need))
        better = expire_sweep(w, SWEEP_BUCKETS) != 0;
    better |= w->moves.hold.id != SEGMENT_NONE; /* its rest can be adopted */
    append_close(&w->moves, a);
    if (!better && !is_enough(a, need)) /* takes other cleaners' too */
        better = segment_take_idle(a) != 0 || table_take_idle(&w->self);
    return better || moved;
}

/* Everything that may help, cheapest first; true if something changed for the better. */
static bool help(struct writer *w, const struct cleaner_need *need)
{
    const struct arena *a = w->self.arena;
    epoch_poll(a);
    bool better = segment_reclaim(a) != 0;
    table_reclaim(&w->self);
    better |= collect_runs(w, true) != 0;
    if (!room_is_coming(a, need))
        better |= gain(w, need);
    if (need->refused != 0)
        better |= segment_punch(&w->self, need->refused) != 0;
    else if (need->index_bytes != 0 && has_room(a, need))
        better |= segment_punch(&w->self, need->index_bytes) != 0;
    return better;
}

/* Is there more than is admitted, of which tombstones may be a part?  These end in a resize. */
static bool overfull(const struct arena *a)
{
    struct segment_census c;
    if (!a->imaged) /* there they weigh nothing */
        return false;
    segment_count(a, &c);
    return segment_overfull(&c);
}

/*
 * Did anybody get room, or did sections end, a short time ago?  Where many writers are short at
 * once, what one has cleaned another takes: that is no reason to give up.
 */
static void see_progress(const struct arena *a, struct cleaner_need *need, uint64_t now)
{
    uint64_t sum = load_relaxed(&a->sb->safe) + load_relaxed(&a->sb->incarnations);
    if (need->seen != 0 && sum != need->seen)
        need->moved_ns = now;
    need->seen = sum;
    need->still_ns = now - need->moved_ns;
}

/* Has somebody else begun with the resize for which memory is lacking?  Then none is. */
static bool is_overtaken(const struct writer *w, const struct cleaner_need *need)
{
    const struct arena *a = w->self.arena;
    if (need->index_bytes == 0)
        return false;
    uint64_t outer = epoch_enter(&w->self); /* the root must stay */
    uint64_t root = table_root(a);
    uint64_t tickets = load_acquire(&table_of(a, root)->tickets);
    epoch_exit(&w->self, outer);
    return root != need->root || (tickets & TICKETS_CLOSED) != 0;
}

/* Rounds after the deadline that may yet make something better. */
static uint64_t extra_rounds(const struct arena *a, const struct cleaner_need *need)
{
    uint64_t table = (need->index_bytes + a->segment_mask) >> a->segment_shift;
    return (EXTRA_BYTES >> a->segment_shift) + 1 + (need->run + table) * ROUNDS_PER_SEGMENT;
}

/* One round; 0: something has changed, or may have. */
static int make_some_room(struct writer *w, uint32_t process, struct cleaner_need *need)
{
    const struct arena *a = w->self.arena;
    uint64_t now = clock_mono_ns();
    if (need->deadline_ns == 0) {
        need->deadline_ns = now + PATIENCE_NS;
        need->moved_ns = now;
        stat_add(&w->self, STAT_stalls, 1);
    }
    bool late = now >= need->deadline_ns;
    if (need->index_bytes == 0 && overfull(a))
        resize_purge_urgent(&w->self, &w->resizer);
    bool inside = load_relaxed(&w->self.entry->reading) != 0;    /* own word */
    bool no_area = need->index_bytes != 0 && is_enough(a, need); /* it was not for lack of memory */
    see_progress(a, need, now);
    bool better = help(w, need);
    bool room = is_enough(a, need);
    if ((late || inside) && room && !need->last) {
        need->last = true;
        return 0;
    }
    if (!late && (better || (room && !no_area)))
        return 0;
    need->rounds++;
    if (late && better && need->extra < extra_rounds(a, need)) {
        need->extra++;
        return 0;
    }
    if (late && need->still_ns < PATIENCE_NS && need->rounds < ROUNDS) {
        clock_sleep_ns(POLL_NS);
        return 0;
    }
    /* else it is what the caller will try again; and no memory is taken from what is waited for */
    if (need->index_bytes == 0 && !a->cache && !room_is_coming(a, need))
        resize_purge_urgent(&w->self, &w->resizer);
    if (process_reap_dead(a, process, reap_process, (void *)(uintptr_t)a) != 0 && !inside) {
        /* What it held comes back with the next grace periods: found late, it is worth them. */
        need->deadline_ns = max_u64(need->deadline_ns, now + GRACES_NS);
        return 0;
    }
    if (inside || late)
        return no_room(a, inside);
    clock_sleep_ns(POLL_NS);
    return 0;
}

int cleaner_make_room(struct writer *w, uint32_t process, struct cleaner_need *need)
{
    int rc;
    do { /* a table is tried again when there is room for all of it: a try costs system calls */
        if (is_overtaken(w, need))
            return 0;
        rc = make_some_room(w, process, need);
    } while (rc == 0 && need->index_bytes + need->run != 0 && !need->last && need->refused == 0 &&
             !has_room(w->self.arena, need));
    return rc;
}

bool cleaner_wanted(const struct arena *a)
{
    return a->cache ? !evict_enough(a, 0, 0) : victim_need(a) != VICTIM_NONE;
}

/* What is evicted need not be moved: a whole segment at a time. */
static void help_to_evict(struct writer *w)
{
    const struct arena *a = w->self.arena;
    if (evict_enough(a, 0, 0))
        return;
    epoch_tick(a);
    segment_reclaim(a);
    table_reclaim(&w->self); /* better the memory of the table before than of what is in use */
    cleaner_step(w);
}

void cleaner_help(struct writer *w, struct append *l, uint64_t bytes)
{
    const struct arena *a = w->self.arena;
    /* in our own section nothing comes back: a tombstone's segment, all dead, would be lost */
    if (load_relaxed(&w->self.entry->reading) != 0) /* own word */
        return;
    if (a->cache) {
        help_to_evict(w);
        return;
    }
    if (l->hold.id == SEGMENT_NONE || l->at + bytes > l->end) {
        bool soon = victim_need(a) == VICTIM_SOON;
        l->pace = soon ? PACE : 0;
        if (!soon)
            w->cleaning.owed = 0;
        if (soon && l->hold.id == SEGMENT_NONE) /* it may be one for this write alone */
            clean_piece(w, max_u64(bytes, PACE));
    } else if (l->pace != 0) {
        clean_piece(w, max_u64(bytes, l->pace));
    }
}
