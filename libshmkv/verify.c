/* SPDX-License-Identifier: MIT */
/* verify.c - see verify.h; here: reporting, superblock, participants, what holds at rest. */
#include "verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "notify.h"
#include "process.h"
#include "stats.h"
#include "table.h"
#include "verify_parts.h"

#define LINES_MOST 1000u /* of a store that is damaged all over the first ones tell enough */
#define LINE_BYTES 400u
#define KEY_BYTES 24u /* of a key that are shown */

/* ---- report -------------------------------------------------------------------------------- */

static void say(const struct verify *v, const char *prefix, const char *fmt, va_list args)
{
    char line[LINE_BYTES];
    int n = snprintf(line, sizeof(line), "%s", prefix);
    vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, args);
    if (v->sink.report != NULL)
        v->sink.report(v->sink.arg, line);
}

void verify_finding(struct verify *v, const char *fmt, ...)
{
    va_list args;
    if (v->findings++ >= LINES_MOST)
        return;
    va_start(args, fmt);
    say(v, "", fmt, args);
    va_end(args);
}

void verify_note(struct verify *v, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(v, "note: ", fmt, args);
    va_end(args);
}

void verify_key_text(const struct record *r, uint64_t room, char *text)
{
    uint64_t shown = room < sizeof(*r) ? 0 : min_u64(r->klen, KEY_BYTES);
    if (shown == 0 || (uint64_t)(record_key(r) - (const char *)r) + shown > room) {
        snprintf(text, VERIFY_KEY_TEXT, "no key");
        return;
    }
    int n = snprintf(text, VERIFY_KEY_TEXT, "key ");
    for (uint64_t i = 0; i < shown; i++)
        n += snprintf(text + n, VERIFY_KEY_TEXT - (size_t)n, "%02x",
                      (unsigned char)record_key(r)[i]);
    snprintf(text + n, VERIFY_KEY_TEXT - (size_t)n, "%s (%u bytes)", shown < r->klen ? "..." : "",
             r->klen);
}

/* ---- superblock ---------------------------------------------------------------------------- */

/* The mapping was made by a geometry that was sound; it is written once. */
static bool check_geometry(struct verify *v)
{
    const struct arena *a = v->a;
    const struct superblock *sb = a->sb;
    bool sound = load_relaxed(&sb->magic) == LAYOUT_MAGIC && sb->version == LAYOUT_VERSION &&
                 sb->reserve == a->reserve && sb->log_offset == a->log_offset &&
                 sb->segment_bytes == a->segment_mask + 1 &&
                 sb->segment_shift == a->segment_shift &&
                 sb->segment_count <= (a->reserve - a->log_offset) >> a->segment_shift &&
                 sb->area_bytes <= a->log_offset / TABLE_AREAS &&
                 sb->areas_offset + TABLE_AREAS * sb->area_bytes == a->log_offset;
    if (!sound) {
        verify_finding(v, "superblock: its geometry was written over; nothing else can be checked");
        return false;
    }
    v->segments = load_acquire(&sb->segment_high);
    if (v->segments > sb->segment_count) {
        verify_finding(v,
                       "superblock: %" PRIu64 " segments were used, there are only %" PRIu64
                       "; nothing else can be checked",
                       v->segments, sb->segment_count);
        return false;
    }
    return true;
}

/* Words that grow: the smaller side first. */
static void check_epochs(struct verify *v)
{
    const struct superblock *sb = v->a->sb;
    uint64_t safe = load_acquire(&sb->safe);
    uint64_t root = load_acquire(&sb->root);
    uint64_t g = load_acquire(&sb->epoch);
    uint64_t generations = load_acquire(&sb->generations);
    if (g == 0 || safe >= g)
        verify_finding(v, "superblock: epoch %" PRIu64 " is not above the safe epoch %" PRIu64, g,
                       safe);
    if (root / TABLE_AREAS > generations)
        verify_finding(v, "superblock: the root has generation %" PRIu64 ", the last is %" PRIu64,
                       root / TABLE_AREAS, generations);
}

/* ---- participants -------------------------------------------------------------------------- */

bool verify_somebody(const struct verify *v, uint32_t participant)
{
    return participant < epoch_entries(v->a) &&
           load_acquire(&v->a->participants[participant].owner) != 0;
}

static void check_participant(struct verify *v, uint32_t i)
{
    const struct participant_entry *entry = &v->a->participants[i];
    uint64_t owner = load_acquire(&entry->owner);
    uint64_t reading = load_acquire(&entry->reading);
    uint64_t writing = load_acquire(&entry->writing);
    uint64_t g = load_acquire(&v->a->sb->epoch); /* last: sections are not younger */
    if (owner > PROCESS_MAX)
        verify_finding(v, "participant %u: belongs to process entry %" PRIu64 ", of %u", i,
                       owner - 1, PROCESS_MAX);
    if (reading > g || writing > g)
        verify_finding(v, "participant %u: is in a section of epoch %" PRIu64 ", now is %" PRIu64,
                       i, max_u64(reading, writing), g);
}

/* Entries to be looked at: none if their number cannot be right. */
static uint32_t participants(const struct arena *a)
{
    uint32_t high = load_acquire(&a->sync->participant_high);
    return high <= PARTICIPANT_MAX ? high : 0;
}

static void check_people(struct verify *v, uint32_t self)
{
    const struct arena *a = v->a;
    uint32_t high = load_relaxed(&a->sync->participant_high); /* to be told of, no more */
    if (high > PARTICIPANT_MAX)
        verify_finding(v, "sync object: %u participants, at most %u are possible", high,
                       PARTICIPANT_MAX);
    for (uint32_t i = 0, n = participants(a); i < n; i++)
        check_participant(v, i);
    uint32_t processes = (uint32_t)min_u64(load_acquire(&a->sync->process_high), PROCESS_MAX);
    for (uint32_t i = 0; i < processes; i++) {
        if (load_acquire(&a->processes[i].used) == 1 && !process_alive(a, self, i))
            verify_note(v, "process entry %u (pid %u): has died, and is not cleaned up after yet",
                        i, load_relaxed(&a->processes[i].pid));
    }
}

/* ---- at rest ------------------------------------------------------------------------------- */

/* Changes with every write, relocation, eviction and resize. */
static uint64_t activity(const struct arena *a)
{
    uint64_t sums[STAT_COUNT], dead = 0;
    stats_sum(a, sums);
    for (uint64_t id = 0, n = segment_high(a); id < n; id++)
        dead += load_relaxed(&a->dead[id]);
    return notify_ticket(a) + sums[STAT_relocations] + sums[STAT_tombstones_dropped] +
           sums[STAT_slots_moved] + load_relaxed(&a->sb->root) + dead;
}

/* Is somebody in the middle of a write, or of moving or evicting a record?  Then slots and counters
 * differ, for as long as he has no processor. */
static bool somebody_writes(const struct verify *v)
{
    for (uint32_t i = 0, n = participants(v->a); i < n; i++) {
        /* acquire: pairs with epoch_exit_write [E4] */
        if (load_acquire(&v->a->participants[i].writing) != 0)
            return true;
    }
    return false;
}

static void compare_counters(struct verify *v)
{
    const struct arena *a = v->a;
    uint64_t sums[STAT_COUNT];
    stats_sum(a, sums);
    uint64_t keys = stats_keys(sums);
    if (keys != v->pairs)
        verify_note(v,
                    "the counters say %" PRIu64 " keys, the index has %" PRIu64
                    "; processes that were killed may have miscounted",
                    keys, v->pairs);
    uint64_t off = 0;
    for (uint64_t id = 0; id < v->segments; id++) {
        const struct segment *s = segment_at(a, id);
        uint64_t sum = v->live[id] + load_relaxed(&a->dead[id]);
        off += verify_readable(load_acquire(&s->state)) && sum != load_relaxed(&s->used);
    }
    if (off != 0)
        verify_note(v,
                    "%" PRIu64 " of %" PRIu64 " segments have counters of dead bytes that are "
                    "off; they only steer the cleaner",
                    off, v->segments);
}

uint64_t verify_store(const struct participant *p, uint32_t self, const struct verify_sink *sink)
{
    struct verify v = {.p = p, .a = p->arena, .sink = *sink};
    if (!check_geometry(&v))
        return v.findings;
    bool rests = !somebody_writes(&v);
    uint64_t before = activity(v.a);
    v.live = calloc(v.segments + 1, sizeof(*v.live));
    check_epochs(&v);
    check_people(&v, self);
    verify_tables(&v);
    verify_log(&v);
    if (v.followable)
        verify_index(&v);
    rests = rests && activity(v.a) == before && !somebody_writes(&v);
    if (v.findings == 0 && v.complete && v.live != NULL && rests)
        compare_counters(&v);
    if (v.findings > LINES_MOST)
        verify_note(&v, "%" PRIu64 " findings more are not listed", v.findings - LINES_MOST);
    free(v.live);
    return v.findings;
}
