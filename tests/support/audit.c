/* SPDX-License-Identifier: MIT */
/* audit.c - see audit.h. */
#include "audit.h"

#include <inttypes.h>
#include <stdio.h>

#include "process.h"
#include "reap.h"

unsigned audit_reap(struct shmkv *db)
{
    const struct store *s = load_relaxed(&db->store);
    return process_reap_dead(&s->arena, s->process.index, reap_process,
                             (void *)(uintptr_t)&s->arena);
}

/* Does participant @i belong to an attached process? */
static bool is_attached(const struct arena *a, uint32_t i)
{
    uint64_t owner = load_acquire(&a->participants[i].owner);
    return owner != 0 && load_acquire(&a->processes[owner - 1].used) != 0;
}

static unsigned complain(const char *what, uint64_t index, uint64_t word)
{
    fprintf(stderr, "# left behind: %s %" PRIu64 ", word %#" PRIx64 "\n", what, index, word);
    return 1;
}

static unsigned audit_segments(const struct arena *a)
{
    unsigned found = 0;
    for (uint64_t id = 0; id < load_acquire(&a->sb->segment_high); id++) {
        uint64_t word = load_acquire(&segment_at(a, id)->state);
        switch ((enum segment_kind)claim_kind(word)) {
        case SEGMENT_OPENING:
        case SEGMENT_OPEN:
        case SEGMENT_PINNED:
        case SEGMENT_SEALING:
        case SEGMENT_CLEANING:
        case SEGMENT_PUNCHING:
            if (!is_attached(a, claim_participant(word)))
                found += complain("segment", id, word);
            break;
        case SEGMENT_HOLE:
        case SEGMENT_FREE:
        case SEGMENT_PARTIAL:
        case SEGMENT_SEALED:
        case SEGMENT_RUN_HEAD:
        case SEGMENT_RUN_REST: /* shmkv_check() looks for its head */
        case SEGMENT_LIMBO:
        case SEGMENT_KINDS:
            break;
        }
    }
    return found;
}

static unsigned audit_tables(const struct arena *a)
{
    unsigned found = 0, live = 0;
    for (unsigned i = 0; i < TABLE_AREAS; i++) {
        uint64_t word = load_acquire(&a->tables[i].state);
        unsigned kind = claim_kind(word);
        live += kind == TABLE_LIVE;
        if ((kind == TABLE_CLAIMED || kind == TABLE_PUNCHING || kind == TABLE_TAKING) &&
            !is_attached(a, claim_participant(word)))
            found += complain("index area", i, word);
        if (kind == TABLE_FREE && load_relaxed(&a->tables[i].taken) != 0)
            found +=
                complain("memory of the free index area", i, load_relaxed(&a->tables[i].taken));
    }
    if (live > 2) /* the root, and the one it is moved to */
        found += complain("number of tables in use", live, 0);
    return found;
}

static unsigned audit_participants(const struct arena *a)
{
    unsigned found = 0;
    for (uint32_t i = 0; i < load_acquire(&a->sync->participant_high); i++) {
        const struct participant_entry *e = &a->participants[i];
        uint64_t owner = load_acquire(&e->owner);
        if (owner != 0 && !is_attached(a, i))
            found += complain("participant", i, owner);
        if (owner == 0 && (load_relaxed(&e->reading) | load_relaxed(&e->writing)) != 0)
            found += complain("section of the free participant", i, load_relaxed(&e->reading));
        if (owner == 0 && load_relaxed(&e->inflight) != 0)
            found += complain("record of the free participant", i, load_relaxed(&e->inflight));
    }
    return found;
}

unsigned audit_claims(struct shmkv *db)
{
    const struct arena *a = audit_arena(db);
    return audit_segments(a) + audit_tables(a) + audit_participants(a);
}
