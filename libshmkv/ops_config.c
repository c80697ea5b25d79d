/* SPDX-License-Identifier: MIT */
/*
 * ops_config.c - the settings of a store, and those that change while it is in use.
 *
 * The limit of memory in use is one word, superblock.size.  Whoever takes memory counts it first
 * and compares it with this word then (INV-S2), so raising it needs nothing more.  To lower it we
 * clean, set it, and look whether what is in use fits below it, with the room that cleaning needs;
 * if not it is set back.  A writer that meets the lower limit meanwhile waits longer than that
 * takes; one that took memory at that very moment may exceed it by the segment it took, once.
 *
 * The interval between checkpoints is one word, too; whoever keeps house looks at it (durable.c),
 * and the next checkpoint writes it into the image.
 *
 * Death: after the word was set and before it is set back the lower limit stays.  Nothing is lost;
 * writes may find no room until it is raised again.                        tests/cli/config.sh
 */
#include <inttypes.h>

#include "error.h"
#include "ops.h"

#define SIZE_SHARE 4u /* three of so many descriptors may be in use: runs need neighbours */

static uint64_t largest_size(const struct arena *a)
{
    uint64_t most = arena_segments(a) / SIZE_SHARE * (SIZE_SHARE - 1) << a->segment_shift;
    return max_u64(min_u64(most, ARENA_SIZE_MAX), load_relaxed(&a->sb->size));
}

int shmkv_get_config(struct shmkv *db, struct shmkv_config *config)
{
    struct context *c;
    if (config == NULL)
        return error_set(SHMKV_EINVAL, "get_config: the result is NULL");
    int rc = store_context(db, &c);
    if (rc != 0)
        return rc;
    const struct arena *a = &c->store->arena;
    *config = (struct shmkv_config){
        .size = load_relaxed(&a->sb->size), /* relaxed, here and below: a number of its own */
        .size_most = largest_size(a),
        .segment_size = a->segment_mask + 1,
        .cache = a->cache,
        .image = c->store->durable.path != NULL ? c->store->durable.path
                 : a->imaged                    ? a->name /* a private view of it */
                                                : NULL,
        .memory = a->path,
        .interval_ms = a->imaged ? durable_interval_ms(a) : 0,
    };
    return 0;
}

/* The least size that holds what is in use and what cleaning it needs, as the limit is now. */
static uint64_t least_size(const struct arena *a)
{
    struct segment_census census;
    segment_count(a, &census);
    uint64_t kept = segment_kept(&census, SEGMENT_FOR_PUT) + 1;
    uint64_t unused = census.kinds[SEGMENT_FREE];
    uint64_t lacking = kept > unused ? kept - unused : 0;
    uint64_t bound = census.live + census.waste;
    uint64_t dense = bound > census.admitted ? bound - census.admitted : 0;
    uint64_t size = segment_memory(a) + (lacking << a->segment_shift);
    return max_u64(size, load_relaxed(&a->sb->size) + dense);
}

static int lower(struct shmkv *db, const struct arena *a, uint64_t size)
{
    int rc = shmkv_compact(db);
    if (rc != 0)
        return rc;
    uint64_t old = load_relaxed(&a->sb->size);
    while (old > size && !cas_relaxed(&a->sb->size, &old, size))
        continue; /* another one has set it: its value is what we go back to */
    uint64_t least = least_size(a);
    if (old <= size || least <= size)
        return 0;
    uint64_t mine = size;
    cas_relaxed(&a->sb->size, &mine, old); /* lost: somebody has set another one since */
    return error_set(SHMKV_ENOSPC,
                     "%s: what is in use, and room to clean it, takes about %" PRIu64
                     " bytes: its size cannot be %" PRIu64 "; delete keys first",
                     a->name, least, size);
}

int shmkv_set_size(struct shmkv *db, uint64_t size)
{
    struct context *c;
    int rc = store_writer(db, &c);
    if (rc != 0)
        return rc;
    const struct arena *a = &c->store->arena;
    uint64_t wanted = size & ~(uint64_t)(PAGE_BYTES - 1);
    uint64_t most = largest_size(a);
    if (wanted < ARENA_SIZE_MIN || wanted > most)
        return error_set(SHMKV_EINVAL,
                         "%s: as it was made, its size can be 1 MiB to %" PRIu64
                         " bytes, not %" PRIu64 "; for more, load a dump into a larger store",
                         a->name, most, size);
    uint64_t old = load_relaxed(&a->sb->size);
    while (old < wanted) {
        if (cas_relaxed(&a->sb->size, &old, wanted))
            return 0;
    }
    return old == wanted ? 0 : lower(db, a, wanted);
}

int shmkv_set_interval(struct shmkv *db, uint64_t interval_ms)
{
    struct context *c;
    int rc = store_writer(db, &c);
    if (rc == 0)
        rc = ops_check_image(c->store);
    if (rc != 0)
        return rc;
    const struct arena *a = &c->store->arena;
    if (interval_ms > DURABLE_INTERVAL_MOST_MS)
        return error_set(SHMKV_EINVAL, "%s: its interval can be 1 ms to 366 days, not %" PRIu64,
                         a->name, interval_ms);
    store_relaxed(&a->sb->interval_ms, interval_ms); /* relaxed: a number of its own */
    return 0;
}
