/* SPDX-License-Identifier: MIT */
/*
 * image_super.c - superblocks: layout, reading, and what is under a name.
 *
 * Both hold the same, and are written one after the other with a barrier between; so one of them is
 * sound at every moment, and one that is not is either being replaced or damaged, and is not
 * needed.  While an image is made the first page holds IMAGE_MAKING: what has that there, and no
 * sound second superblock, is what a creator left that died.
 */
#include "image_parts.h"

#include <string.h>

#include "crc32c.h"
#include "error.h"

#define JOURNAL_LEAST (128ull << 10)
#define JOURNAL_MOST (64ull << 20)
#define SEGMENT_LEAST (64ull << 10)
#define SEGMENT_MOST (8ull << 20)
#define SEGMENTS_MOST (1ull << 30)
#define READS_MORE 3u /* if one saw both superblocks being written */

void image_super_layout(struct image_super *s)
{
    uint64_t table = image_table_pages(s->segment_count) * PAGE_BYTES;
    uint64_t journal = max_u64(pow2_up(2 * table), JOURNAL_LEAST);
    s->journal_offset = 2ull * PAGE_BYTES;
    s->journal_bytes = journal < JOURNAL_MOST ? journal : JOURNAL_MOST;
    s->table_bytes = table;
    s->table_offset[0] = s->journal_offset + s->journal_bytes;
    s->table_offset[1] = s->table_offset[0] + table;
    s->data_offset = align_up(s->table_offset[1] + table, SEGMENT_LEAST);
    s->slot_count = 2 * s->segment_count;
}

void image_super_seal(struct image_super *s)
{
    s->crc = crc32c(0, s, offsetof(struct image_super, crc));
}

static bool is_zero(const void *page)
{
    static const char zeros[PAGE_BYTES];
    return memcmp(page, zeros, PAGE_BYTES) == 0;
}

static bool is_summed(const struct image_super *s)
{
    return s->magic == IMAGE_MAGIC && s->crc == crc32c(0, s, offsetof(struct image_super, crc));
}

/* The checksum is right; is what it says something that we would have written? */
static bool is_sane(const struct image_super *s)
{
    struct image_super plan = *s;
    if ((s->segment_bytes & (s->segment_bytes - 1)) != 0 || s->segment_bytes < SEGMENT_LEAST ||
        s->segment_bytes > SEGMENT_MOST || s->segment_count == 0 ||
        s->segment_count > SEGMENTS_MOST || s->table > 1 || s->head.entries > s->segment_count)
        return false;
    image_super_layout(&plan);
    return memcmp(&plan, s, sizeof(plan)) == 0;
}

/* A file that may be made into an image, though it is there. */
static bool is_blank(const struct image_supers *s, uint64_t size)
{
    bool making = s->copy[0].magic == IMAGE_MAKING;
    return size == 0 || making || (size <= PAGE_BYTES && is_zero(&s->copy[0]));
}

static int judge_version(const struct file *f, const struct image_super *s)
{
    if (s->version > IMAGE_VERSION)
        return error_set(
            SHMKV_EVERSION,
            "%s: has format %u, and this shmkv knows formats up to %u; use a newer one", f->path,
            s->version, IMAGE_VERSION);
    if (s->version == 0 || (s->features & ~IMAGE_FEATURES) != 0)
        return error_set(SHMKV_EVERSION,
                         "%s: needs features (bits %#x) that this shmkv does not know; use a newer "
                         "one",
                         f->path, s->features & ~IMAGE_FEATURES);
    if (!is_sane(s))
        return error_set(SHMKV_ECORRUPT,
                         "%s: its superblock has a right checksum and makes no sense", f->path);
    return 0;
}

static int judge(const struct file *f, struct image_supers *s, uint64_t size)
{
    bool sound[2] = {is_summed(&s->copy[0]), is_summed(&s->copy[1])};
    s->state = IMAGE_READY;
    if (sound[0] || sound[1]) {
        bool second =
            !sound[0] || (sound[1] && s->copy[1].super_sequence > s->copy[0].super_sequence);
        s->newest = second;
        return judge_version(f, &s->copy[s->newest]);
    }
    s->state = is_blank(s, size) ? IMAGE_BLANK : IMAGE_NONE;
    if (s->state == IMAGE_BLANK)
        return 0;
    if (s->copy[0].magic != IMAGE_MAGIC && s->copy[1].magic != IMAGE_MAGIC)
        return error_set(SHMKV_EFORMAT, "%s: is not the image of a shmkv store", f->path);
    return error_set(SHMKV_ECORRUPT,
                     "%s: both superblocks are damaged, and nothing in it can be found without "
                     "one; restore the image from a backup",
                     f->path);
}

static int read_both(const struct file *f, bool around, struct image_supers *supers, uint64_t *size)
{
    *supers = (struct image_supers){.state = IMAGE_NONE};
    int rc = file_size(f, size);
    uint64_t bytes = rc == 0 ? min_u64(*size, sizeof(supers->copy)) : 0;
    if (bytes != 0)
        rc = file_read(f, supers->copy, bytes, 0);
    if (rc == SHMKV_EIO && around && image_read_around(f, supers->copy, bytes, 0) < bytes)
        rc = 0;
    return rc;
}

static bool is_torn(const struct image_supers *s)
{
    return (s->copy[0].magic == IMAGE_MAGIC || s->copy[1].magic == IMAGE_MAGIC) &&
           !is_summed(&s->copy[0]) && !is_summed(&s->copy[1]);
}

/*
 * Who only looks does not keep others from writing, and a read is not one step: it may see the
 * first while that is written, and, if it was held up, the second while that is.
 */
int image_super_read(const struct file *f, bool around, struct image_supers *supers)
{
    uint64_t size;
    int rc = read_both(f, around, supers, &size);
    for (unsigned i = 0; i < READS_MORE && rc == 0 && is_torn(supers); i++)
        rc = read_both(f, around, supers, &size);
    return rc != 0 ? rc : judge(f, supers, size);
}

static void describe(const struct file *f, const struct image_super *s, struct image_look *look)
{
    memcpy(look->geometry.uuid, s->uuid, sizeof(s->uuid));
    look->geometry.hash_seed = s->hash_seed;
    look->geometry.segment_bytes = s->segment_bytes;
    look->geometry.segment_count = s->segment_count;
    look->geometry.size = s->head.size;
    look->generation = s->head.generation; /* recovery's commit is a fold */
    look->moved = s->device != f->device || s->inode != f->inode;
}

int image_look(const char *path, struct image_look *look)
{
    struct file f;
    struct image_supers supers;
    *look = (struct image_look){.state = IMAGE_NONE};
    int rc = file_open(&f, path, FILE_READONLY, 0);
    if (rc != 0)
        return rc == SHMKV_ENOSTORE ? 0 : rc;
    look->device = f.device;
    look->inode = f.inode;
    look->owner = f.owner;
    look->mode = f.mode;
    rc = image_super_read(&f, false, &supers);
    if (rc == 0)
        look->state = supers.state;
    if (rc == 0 && look->state == IMAGE_READY)
        describe(&f, &supers.copy[supers.newest], look);
    file_close(&f);
    return rc;
}
