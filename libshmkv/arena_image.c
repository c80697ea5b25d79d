/* SPDX-License-Identifier: MIT */
/*
 * arena_image.c - the image that an arena belongs to: where it was, whether it is still there, and
 * whether the arena holds anything that was never in it.
 *
 * An arena is found from its image (store_image.c), so one whose image was removed is of no use any
 * more, and shmkv_gc() may remove it; but only if that loses nothing, whatever has happened:
 *
 *   at the path of the image     its file system              the arena has more      shmkv_gc()
 *   ------------------------     ---------------              ------------------      ----------
 *   the image                    -                            -                       leaves it
 *   nothing, another file        holds the directory there    no                      removes it
 *   nothing, another file        holds the directory there    yes, or unknown         leaves it
 *   anything else                another: not mounted now     -                       leaves it
 *
 * The image may not have been removed but moved: then it is opened under its new name, with this
 * arena if it is still there, otherwise from the file.  Both are the same store only if all of the
 * arena was in the image.  Who closes a store as the last one knows that: under the lease it takes
 * a mark of the log, sees that all of it is in the image, and notes the mark in durable.settled.
 * Whatever is written later changes the mark, since each record raises `used` of its segment and
 * each new life of a segment changes its incarnation; freeing changes neither.  A process that died
 * may have left a record of which `used` does not tell yet: its entry stays in use until it is
 * reaped, so where there is one nothing is settled.
 *                                                                     tests/cli/gone.sh, crash_gone
 */
#define _GNU_SOURCE
#include "arena_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "atomic_text.h"
#include "descriptor.h"

#define PATH_WORDS (IMAGE_PATH_BYTES / 8)
#define CHUNK 64u /* descriptors, or entries, that are read at once */

/* ---- where it is --------------------------------------------------------------------------- */

/* Relaxed: information.  Others who set it do so to the same, unless the image is being moved. */
void arena_set_image_path(struct superblock *sb, const char *path)
{
    bool fits = path != NULL && strlen(path) < IMAGE_PATH_BYTES;
    atomic_text_store(sb->image_path, PATH_WORDS, fits ? path : "");
}

bool arena_image_path(const struct superblock *sb, char *path)
{
    atomic_text_load(sb->image_path, PATH_WORDS, path);
    return path[0] == '/';
}

/* Nothing is there.  Would the image be seen if it were?  The nearest directory above tells. */
static enum arena_image_state judge_missing(uint64_t device, const char *path)
{
    char above[IMAGE_PATH_BYTES];
    struct stat st;
    snprintf(above, sizeof(above), "%s", path);
    do {
        char *slash = strrchr(above, '/');
        slash[slash == above] = 0;
        if (stat(above, &st) == 0)
            return S_ISDIR(st.st_mode) && st.st_dev == device ? ARENA_IMAGE_GONE
                                                              : ARENA_IMAGE_UNSEEN;
    } while (errno == ENOENT && above[1] != 0);
    return ARENA_IMAGE_UNSEEN;
}

enum arena_image_state arena_image_state(const struct superblock *sb, const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return errno == ENOENT ? judge_missing(sb->image_device, path) : ARENA_IMAGE_UNSEEN;
    if (st.st_dev != sb->image_device)
        return ARENA_IMAGE_UNSEEN;
    return arena_is_image(sb, st.st_dev, st.st_ino) ? ARENA_IMAGE_THERE : ARENA_IMAGE_GONE;
}

/* ---- what it lacks ------------------------------------------------------------------------- */

static uint64_t mix(uint64_t mark, uint64_t word)
{
    mark = (mark ^ word) * 0x9e3779b97f4a7c15ull;
    return mark ^ mark >> 29;
}

/* Relaxed: `used` and the incarnation of what is being written differ later in any case. */
static uint64_t add_segment(uint64_t mark, const struct segment *s)
{
    return mix(mix(mark, load_relaxed(&s->incarnation)), load_relaxed(&s->used));
}

uint64_t arena_log_mark(const struct arena *a)
{
    uint64_t mark = 0;
    uint64_t high = min_u64(load_acquire(&a->sb->segment_high), arena_segments(a)); /* R3 */
    for (uint64_t id = 0; id < high; id++)
        mark = add_segment(mark, &a->segments[id]);
    return mark | 1;
}

/* The same from the object, which its owner might cut short: so it is read, not mapped. */
static bool read_mark(const struct arena *a, const struct superblock *sb, uint64_t *mark)
{
    struct segment some[CHUNK];
    uint64_t high = min_u64(load_relaxed(&sb->segment_high), sb->segment_count);
    int fd = descriptor_open(a->path, O_RDONLY | ARENA_OPEN_FLAGS, 0);
    bool whole = fd >= 0;
    *mark = 0;
    for (uint64_t id = 0; whole && id < high; id += CHUNK) {
        uint64_t n = min_u64(high - id, CHUNK);
        off_t at = (off_t)(ARENA_SEGMENTS_OFFSET + id * sizeof(struct segment));
        whole = pread(fd, some, n * sizeof(some[0]), at) == (ssize_t)(n * sizeof(some[0]));
        for (uint64_t i = 0; whole && i < n; i++)
            *mark = add_segment(*mark, &some[i]);
    }
    *mark |= 1;
    if (fd >= 0)
        close(fd);
    return whole;
}

/* Has every process that had the store open left it, or been reaped? */
static bool all_left(const struct arena *a, const struct sync_header *header)
{
    struct process_entry some[CHUNK];
    uint32_t high = load_relaxed(&header->process_high);
    int fd = descriptor_open(a->sync_path, O_RDONLY | ARENA_OPEN_FLAGS, 0);
    bool left = fd >= 0 && high <= PROCESS_MAX;
    for (uint32_t p = 0; left && p < high; p += CHUNK) {
        size_t n = min_u64(high - p, CHUNK);
        off_t at = (off_t)(SYNC_PROCESS_OFFSET + p * sizeof(struct process_entry));
        left = pread(fd, some, n * sizeof(some[0]), at) == (ssize_t)(n * sizeof(some[0]));
        for (size_t i = 0; left && i < n; i++)
            left = load_relaxed(&some[i].used) == 0; /* a copy */
    }
    if (fd >= 0)
        close(fd);
    return left;
}

bool arena_image_settled(const struct arena *a, const struct arena_look *look)
{
    uint64_t settled = load_relaxed(&look->header.durable.settled); /* relaxed, all: copies */
    uint64_t mark;
    return settled != 0 && all_left(a, &look->header) && read_mark(a, &look->sb, &mark) &&
           mark == settled;
}
