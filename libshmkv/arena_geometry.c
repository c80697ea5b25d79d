/* SPDX-License-Identifier: MIT */
/*
 * arena_geometry.c - how large the parts of an arena are, and where they are mapped.
 *
 * The address range T is what a store can ever grow into; it costs nothing until memory is taken.
 *
 *   size      limit of memory in use; 1 MiB .. 16 TiB
 *   T         max(64 GiB, 16 x size); halved while the system refuses, to 4 x size (or 128 MiB)
 *   segment   size / 1024, a power of two, 64 KiB .. 8 MiB
 *   area      T / 32, a power of two: sixteen index areas are half of T
 *   log       the rest of T, at most four times as many segments as fit into size, and 64: what
 *             is larger than one needs neighbours (run.h), and size may be raised
 *   ghosts    of a cache: a key of either queue for each 192 bytes of size
 *
 * Mappings begin on 2 MiB boundaries, so that the kernel may use huge pages whoever collapses them.
 */
#define _GNU_SOURCE
#include "arena_parts.h"

#include "error.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define RESERVE_WANTED (64ull << 30)
#define RESERVE_LEAST (128ull << 20)
#define SEGMENT_LEAST (64ull << 10)
#define SEGMENT_MOST (8ull << 20)
#define SEGMENTS_MORE 64u
#define GHOST_BYTES 192u
#define LARGEST_KEY_ONLY (sizeof(struct record) + 65536u) /* a record with no value */
#define TABLES_OFFSET PAGE_BYTES

_Static_assert(TABLE_AREAS * sizeof(struct table) <= PAGE_BYTES, "the table headers are one page");

static uint64_t pow2_down(uint64_t n)
{
    return 1ull << (63 - __builtin_clzll(n | 1));
}

static uint64_t clamp(uint64_t n, uint64_t least, uint64_t most)
{
    return min_u64(max_u64(n, least), most);
}

int arena_geometry_size(const char *name, uint64_t *size)
{
    if (*size == 0)
        *size = max_u64(arena_limits_total() / 2, ARENA_SIZE_MIN);
    if (*size < ARENA_SIZE_MIN || *size > ARENA_SIZE_MAX)
        return error_set(SHMKV_EINVAL, "%s: a store's size is 1 MiB to 16 TiB, not %llu bytes",
                         name, (unsigned long long)*size);
    *size &= ~(uint64_t)(PAGE_BYTES - 1);
    return 0;
}

uint64_t arena_geometry_reserve(uint64_t size)
{
    return align_up(max_u64(RESERVE_WANTED, 16 * size), HUGE_PAGE_BYTES);
}

uint64_t arena_geometry_reserve_min(uint64_t size)
{
    return align_up(max_u64(RESERVE_LEAST, 4 * size), HUGE_PAGE_BYTES);
}

uint64_t arena_geometry_made_for(const struct superblock *sb)
{
    uint64_t n = sb->segment_count;
    return n > SEGMENTS_MORE ? (n - SEGMENTS_MORE) / 4 * sb->segment_bytes : 0;
}

void arena_geometry_choose(struct superblock *sb, uint64_t size, uint64_t reserve)
{
    bool given = sb->segment_bytes != 0; /* what an image was made with */
    uint64_t chosen = clamp(pow2_down(size >> 11), SEGMENT_LEAST, SEGMENT_MOST);
    uint64_t segment = given ? sb->segment_bytes : chosen;
    uint64_t wanted = given ? sb->segment_count : 4 * size / segment + SEGMENTS_MORE;

    sb->reserve = reserve;
    sb->segment_bytes = segment;
    sb->segment_shift = log2_exact(segment);
    sb->area_bytes = max_u64(pow2_down(reserve / (2 * TABLE_AREAS)), HUGE_PAGE_BYTES);
    sb->ghosts_offset = align_up(ARENA_SEGMENTS_OFFSET + wanted * ARENA_SEGMENT_ENTRY, PAGE_BYTES);
    if ((sb->features & STORE_CACHE) != 0)
        sb->ghosts = size / (GHOST_BYTES * GHOST_WAYS);
    sb->areas_offset =
        align_up(sb->ghosts_offset + sb->ghosts * sizeof(struct ghosts), HUGE_PAGE_BYTES);
    sb->log_offset = sb->areas_offset + TABLE_AREAS * sb->area_bytes;
    sb->segment_count = given ? wanted : min_u64(wanted, (reserve - sb->log_offset) / segment);
    store_relaxed(&sb->size, size); /* nobody else sees it yet */
}

/* What is in shared memory may have been scribbled over: nothing here may overflow. */
bool arena_geometry_valid(const struct superblock *sb)
{
    uint64_t limit = 1ull << 50; /* what a slot can address */
    if (sb->reserve > limit || sb->reserve % HUGE_PAGE_BYTES || sb->segment_shift < 16 ||
        sb->segment_shift > 23 || sb->segment_bytes != 1ull << sb->segment_shift)
        return false;
    if (sb->area_bytes > sb->reserve / TABLE_AREAS || sb->area_bytes % HUGE_PAGE_BYTES ||
        sb->areas_offset % HUGE_PAGE_BYTES || sb->areas_offset < HUGE_PAGE_BYTES ||
        sb->areas_offset > sb->reserve ||
        sb->log_offset != sb->areas_offset + TABLE_AREAS * sb->area_bytes ||
        sb->log_offset > sb->reserve)
        return false;
    if (sb->ghosts_offset < ARENA_SEGMENTS_OFFSET || sb->ghosts_offset > sb->areas_offset ||
        sb->ghosts_offset % PAGE_BYTES ||
        sb->ghosts > (sb->areas_offset - sb->ghosts_offset) / sizeof(struct ghosts))
        return false;
    return sb->segment_count > 0 &&
           sb->segment_count <= (sb->reserve - sb->log_offset) >> sb->segment_shift &&
           sb->segment_count <= (sb->ghosts_offset - ARENA_SEGMENTS_OFFSET) / ARENA_SEGMENT_ENTRY;
}

void *arena_geometry_map(int fd, uint64_t length, int prot)
{
    size_t more = length + HUGE_PAGE_BYTES;
    char *range = mmap(NULL, more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED)
        return NULL;
    char *base = range + (align_up((uintptr_t)range, HUGE_PAGE_BYTES) - (uintptr_t)range);
    if (mmap(base, length, prot, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0) == MAP_FAILED) {
        int saved = errno;
        munmap(range, more);
        errno = saved;
        return NULL;
    }
    char *end = base + align_up(length, (uint64_t)getpagesize());
    if (base > range)
        munmap(range, (size_t)(base - range));
    if (end < range + more)
        munmap(end, (size_t)(range + more - end));
    madvise(base, length, MADV_DONTDUMP);
    return base;
}

static void set_pointers(struct arena *a, const struct superblock *sb, void *base, void *sync)
{
    char *s = sync;
    a->base = base;
    a->sb = base;
    a->tables = (void *)(a->base + TABLES_OFFSET);
    a->segments = (void *)(a->base + ARENA_SEGMENTS_OFFSET);
    a->dead = (void *)(a->segments + sb->segment_count);
    a->sync = sync;
    a->waits = (void *)(s + SYNC_WAIT_OFFSET);
    a->processes = (void *)(s + SYNC_PROCESS_OFFSET);
    a->participants = (void *)(s + SYNC_PARTICIPANT_OFFSET);
    a->rings = (void *)(s + SYNC_RING_OFFSET);
    a->ghosts = (void *)(a->base + sb->ghosts_offset);
    a->cache = (sb->features & STORE_CACHE) != 0;
    a->reserve = sb->reserve;
    a->log_offset = sb->log_offset;
    a->segment_mask = sb->segment_bytes - 1;
    a->log_bytes = sb->segment_count * sb->segment_bytes;
    a->log_plain = a->log_bytes - min_u64(a->log_bytes, LARGEST_KEY_ONLY + sb->segment_bytes);
    a->segment_shift = sb->segment_shift;
    a->imaged = sb->image_inode != 0;
    a->marks = a->imaged || a->cache;
    a->tombstone_bytes = a->imaged ? TOMBSTONE_BYTES : 0;
    hash_init(&a->hash_secret, sb->hash_seed);
}

int arena_geometry_refused(const struct arena *a, uint64_t bytes)
{
    return error_errno(errno == ENOMEM ? SHMKV_ENOSPC : SHMKV_ESYSTEM,
                       "%s: %llu MiB of address space are needed, and are not to be had here; see "
                       "ulimit -v",
                       a->name, (unsigned long long)(bytes >> 20));
}

int arena_geometry_attach(struct arena *a, const struct superblock *sb)
{
    int prot = a->readonly ? PROT_READ : PROT_READ | PROT_WRITE;
    void *base = arena_geometry_map(a->fd, sb->reserve, prot);
    void *sync = base ? arena_geometry_map(a->sync_fd, SYNC_BYTES, PROT_READ | PROT_WRITE) : NULL;
    if (!sync) {
        int rc = arena_geometry_refused(a, sb->reserve);
        if (base)
            munmap(base, sb->reserve);
        return rc;
    }
    set_pointers(a, sb, base, sync);
    return 0;
}
