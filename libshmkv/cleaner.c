/* SPDX-License-Identifier: MIT */
/* cleaner.c - see cleaner.h. */
#include "cleaner.h"

#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "expire.h"
#include "point.h"
#include "process.h"
#include "reap.h"
#include "shmkv.h"

#define PATIENCE_NS 100000000ull
#define POLL_NS 100000u
/* Cleaned beyond the deadline, some milliseconds: it may have passed while we did not run. */
#define EXTRA_BYTES (1u << 20)
#define SWEEP_BUCKETS 4096u /* of expiry, by a writer that finds no room */
#define BATCH 16u
/* A victim must give back at least 1/64 of a segment, or cleaning only turns in circles. */
#define WORTH_SHIFT 6

/* ---- one victim ---------------------------------------------------------------------------- */

static bool is_candidate(uint64_t word)
{
    return claim_kind(word) == SEGMENT_SEALED || claim_kind(word) == SEGMENT_PARTIAL;
}

/* Dead bytes as counted, and room that nobody fills. */
static uint64_t gain_of(const struct arena *a, const struct segment *s)
{
    uint64_t used = load_relaxed(&s->used);
    uint64_t live = used - min_u64(used, load_relaxed(&s->dead));
    return a->segment_mask + 1 - live;
}

static bool claim_best(struct writer *w, uint64_t *id)
{
    const struct arena *a = w->self.arena;
    uint64_t best_gain = (a->segment_mask + 1) >> WORTH_SHIFT;
    uint64_t best = SEGMENT_NONE, best_word = 0;
    for (uint64_t i = 0, n = load_acquire(&a->sb->segment_high); i < n; i++) {
        const struct segment *s = segment_at(a, i);
        uint64_t word = load_acquire(&s->state);
        uint64_t gain = gain_of(a, s);
        if (is_candidate(word) && load_relaxed(&s->dead) != 0 && gain > best_gain) {
            best = i;
            best_gain = gain;
            best_word = word;
        }
    }
    *id = best;
    return best != SEGMENT_NONE && segment_claim_victim(&w->self, best, best_word);
}

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

static int relocate(struct writer *w, uint64_t at, uint64_t word)
{
    const struct arena *a = w->self.arena;
    const struct record *r = arena_at(a, at);
    uint64_t bytes = record_size(r);
    /* A segment of dead records can be had when nothing is free to move anything to. */
    if (!append_has_room(&w->moves, bytes) && !is_current(w, r))
        return 0;
    for (;;) { /* again only if our segment was taken while we were idle */
        int rc = append_reserve(&w->moves, &w->self, SEGMENT_FOR_CLEANING, bytes);
        if (rc == 0)
            rc = index_relocate(w, at, word);
        if (rc != INDEX_AGAIN)
            return rc < 0 ? rc : 0;
    }
}

/* Walk all of it; 0 if nothing alive is left. */
static int walk(struct writer *w, uint64_t id)
{
    const struct arena *a = w->self.arena;
    uint64_t word = claim_word(SEGMENT_CLEANING, w->self.index, 0);
    uint64_t at = arena_segment_start(a, id);
    uint64_t end = at + load_acquire(&segment_at(a, id)->used); /* pairs with append_commit [L1] */
    uint64_t batch[BATCH];
    while (at < end) {
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
            int rc = relocate(w, batch[i], word);
            if (rc != 0)
                return rc;
        }
        POINT("clean.batch");
    }
    return 0;
}

int cleaner_step(struct writer *w)
{
    uint64_t id;
    if (!claim_best(w, &id))
        return id == SEGMENT_NONE ? 0 : 1;
    POINT("clean.claimed");
    int rc = walk(w, id);
    if (rc == 0) {
        segment_retire_owner(&w->self, id);
        stat_add(&w->self, STAT_segments_cleaned, 1);
        return 1;
    }
    if (rc == SHMKV_ECORRUPT) /* leave it alone: `check` reports it */
        store_relaxed(&segment_at(w->self.arena, id)->dead, 0);
    segment_unclaim_owner(&w->self, id);
    return rc == SHMKV_ECORRUPT ? 0 : rc;
}

/* ---- room ---------------------------------------------------------------------------------- */

static bool has_room(const struct arena *a, const struct cleaner_need *need)
{
    struct segment_census c;
    segment_count(a, &c);
    uint64_t table = (need->index_bytes + a->segment_mask) >> a->segment_shift;
    if (table != 0 && need->purpose == SEGMENT_FOR_CLEANING) /* a purge may use all there is */
        return c.available >= table;
    c.available -= min_u64(c.available, table);
    return segment_allowed(&c, need->purpose);
}

/* Is there room, and memory for it? */
static bool is_enough(const struct arena *a, const struct cleaner_need *need)
{
    return need->refused == 0 && has_room(a, need);
}

/* Bytes that wait for sections to end. */
static uint64_t held_bytes(const struct arena *a, const struct segment_census *c)
{
    uint64_t bytes = c->kinds[SEGMENT_LIMBO] << a->segment_shift;
    for (unsigned i = 0; i < TABLE_AREAS; i++) {
        if (claim_kind(load_acquire(&a->tables[i].state)) == TABLE_LIMBO)
            bytes += load_relaxed(&a->tables[i].taken);
    }
    return bytes;
}

static int no_room(const struct arena *a)
{
    struct segment_census c;
    uint64_t epoch;
    segment_count(a, &c);
    int64_t who = epoch_oldest(a, &epoch);
    uint64_t size = load_relaxed(&a->sb->size);
    uint64_t held = held_bytes(a, &c);
    if (who >= 0 && held > 0 && epoch < epoch_now(a)) {
        uint64_t process = load_relaxed(&a->participants[who].owner) - 1;
        const struct process_entry *pe = &a->processes[process % PROCESS_MAX];
        char name[17] = "";
        uint64_t words[2] = {load_relaxed(&pe->name[0]), load_relaxed(&pe->name[1])};
        memcpy(name, words, 16);
        return error_set(SHMKV_EHELD,
                         "%s: no room: process %" PRIu32 " (%s) has been inside a section since "
                         "epoch %" PRIu64 " (now %" PRIu64 ") and holds %" PRIu64
                         " bytes back; let it go on, or end it",
                         a->name, load_relaxed(&pe->pid), name, epoch, epoch_now(a), held);
    }
    return error_set(SHMKV_ENOSPC,
                     "%s: no room: %" PRIu64 " of %" PRIu64 " bytes are in use, %" PRIu64
                     " by current records; delete keys, or make a larger store",
                     a->name, segment_memory(a), size, c.live);
}

/* Everything that may help, cheapest first; true if something changed for the better. */
static bool help(struct writer *w, const struct cleaner_need *need)
{
    const struct arena *a = w->self.arena;
    epoch_poll(a);
    bool better = segment_reclaim(a) != 0;
    table_reclaim(&w->self);
    int cleaned = is_enough(a, need) ? 0 : cleaner_step(w);
    if (cleaned <= 0 && expire_wanted(a) && !is_enough(a, need))
        better |= expire_sweep(w, SWEEP_BUCKETS) != 0;
    if (cleaned <=
        0) { /* else the next victim goes behind this one, or no segment is ever gained */
        better |= w->moves.hold.id != SEGMENT_NONE; /* its rest can be adopted */
        append_close(&w->moves, a);
        if (!better && !is_enough(a, need)) /* takes other cleaners' too */
            better = segment_take_idle(a) != 0 || table_take_idle(&w->self);
        resize_finish(&w->self); /* the old table's memory comes back, even if nobody can write */
    }
    if (need->refused != 0)
        better |= segment_punch(&w->self, need->refused) != 0;
    else if (need->index_bytes != 0 && has_room(a, need))
        better |= segment_punch(&w->self, need->index_bytes) != 0;
    return better || cleaned > 0;
}

/* Is there more than is admitted?  Cleaning does not help then, the end of tombstones may. */
static bool overfull(const struct arena *a)
{
    struct segment_census c;
    segment_count(a, &c);
    return c.live >= c.admitted;
}

/* One round; 0: something has changed, or may have. */
static int make_some_room(struct writer *w, uint32_t process, struct cleaner_need *need)
{
    const struct arena *a = w->self.arena;
    uint64_t now = clock_mono_ns();
    if (need->deadline_ns == 0) {
        need->deadline_ns = now + PATIENCE_NS;
        stat_add(&w->self, STAT_stalls, 1);
    }
    bool late = now >= need->deadline_ns;
    if (need->index_bytes == 0 && overfull(a))
        resize_purge_urgent(&w->self, &w->resizer);
    bool inside = load_relaxed(&w->self.entry->reading) != 0;    /* own word */
    bool no_area = need->index_bytes != 0 && is_enough(a, need); /* it was not for lack of memory */
    bool better = help(w, need);
    bool room = is_enough(a, need);
    if ((late || inside) && room && !need->last) {
        need->last = true;
        return 0;
    }
    if (!late && (better || (room && !no_area)))
        return 0;
    if (late && better && need->extra < (EXTRA_BYTES >> a->segment_shift) + 1) {
        need->extra++;
        return 0;
    }
    if (need->index_bytes == 0) /* else it is what the caller will try again */
        resize_purge_urgent(&w->self, &w->resizer);
    process_reap_dead(a, process, reap_process, (void *)(uintptr_t)a);
    if (inside || late)
        return no_room(a);
    clock_sleep_ns(POLL_NS);
    return 0;
}

int cleaner_make_room(struct writer *w, uint32_t process, struct cleaner_need *need)
{
    int rc;
    do { /* a table is tried again when there is room for all of it: a try costs system calls */
        rc = make_some_room(w, process, need);
    } while (rc == 0 && need->index_bytes != 0 && !need->last && need->refused == 0 &&
             !has_room(w->self.arena, need));
    return rc;
}

bool cleaner_wanted(const struct arena *a)
{
    struct segment_census c;
    segment_count(a, &c);
    return c.available < c.capacity / 10 + c.reserve;
}
