/* SPDX-License-Identifier: MIT */
/* held.c - see held.h. */
#include "held.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "atomic_text.h"
#include "stats.h"

#define NS_PER_MS 1000000u

/* Bytes in limbo that the end of a section in epoch @e would let go. */
static uint64_t bytes_held(const struct arena *a, uint64_t e)
{
    uint64_t bytes = 0;
    for (uint64_t id = 0, n = segment_high(a); id < n; id++) {
        uint64_t word = load_acquire(&segment_at(a, id)->state);
        if (claim_kind(word) == SEGMENT_LIMBO && claim_epoch(word) >= e)
            bytes += segment_span(a, id) << a->segment_shift;
    }
    for (unsigned i = 0; i < TABLE_AREAS; i++) {
        uint64_t word = load_acquire(&a->tables[i].state);
        if (claim_kind(word) == TABLE_LIMBO && claim_epoch(word) >= e)
            bytes += load_relaxed(&a->tables[i].taken);
    }
    return bytes;
}

int64_t held_process(const struct arena *a, uint64_t owner, char name[static 16])
{
    const struct process_entry *process = &a->processes[(owner - 1) % PROCESS_MAX];
    atomic_text_load(process->name, PROCESS_NAME_WORDS, name);
    return (int64_t)load_relaxed(&process->pid);
}

/* Relaxed: information. */
void held_look(const struct arena *a, uint32_t i, uint64_t owner, struct shmkv_participant *p)
{
    const struct participant_entry *entry = &a->participants[i];
    *p = (struct shmkv_participant){
        .reading = load_relaxed(&entry->reading),
        .writing = load_relaxed(&entry->writing),
        .thread = (int64_t)load_relaxed(&entry->thread),
        .operations = load_relaxed(&entry->counters[STAT_hits]) +
                      load_relaxed(&entry->counters[STAT_misses]) +
                      load_relaxed(&entry->counters[STAT_puts]) +
                      load_relaxed(&entry->counters[STAT_deletes]),
    };
    p->pid = held_process(a, owner, p->name);
    uint64_t oldest = epoch_older(p->reading, p->writing);
    p->bytes_held = oldest != 0 ? bytes_held(a, oldest) : 0;
    p->age_ms = epoch_standing_ns(entry, oldest) / NS_PER_MS;
}

bool held_oldest(const struct arena *a, struct shmkv_participant *p)
{
    uint64_t epoch;
    int64_t who = epoch_oldest(a, &epoch);
    uint64_t owner = who >= 0 ? load_acquire(&a->participants[who].owner) : 0;
    if (owner == 0 || epoch >= epoch_now(a))
        return false;
    held_look(a, (uint32_t)who, owner, p);
    return p->bytes_held != 0;
}

void held_describe(const struct shmkv_participant *p, char *text, size_t size)
{
    char age[48] = "is", name[sizeof(p->name)];
    memcpy(name, p->name, sizeof(name));
    for (unsigned i = 0; i < sizeof(name); i++) {
        if ((unsigned char)name[i] < ' ' && name[i] != 0)
            name[i] = '?'; /* a process chooses its name: it must not begin a line of its own */
    }
    if (p->age_ms != 0)
        snprintf(age, sizeof(age), "has been for %" PRIu64 ".%" PRIu64 " s", p->age_ms / 1000,
                 p->age_ms / 100 % 10);
    snprintf(text, size,
             "process %" PRId64 " (%.15s), thread %" PRId64 ", %s inside a %s and holds %" PRIu64
             " bytes back",
             p->pid, name, p->thread, age, p->writing != 0 ? "write" : "read section",
             p->bytes_held);
}
