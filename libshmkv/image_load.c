/* SPDX-License-Identifier: MIT */
/*
 * image_load.c - from the file to memory, and what to believe of it.
 *
 * What a read shows need not be on the disk: the process that wrote it may have died before its
 * barrier, or its barrier may have failed, after which the kernel holds pages for clean that never
 * got there, and no later barrier says so (INV-F3).  So before anything is built on what was read,
 * it is written again, the same bytes to the same places: table and journal, a barrier, then the
 * superblocks, first the one that is not needed.  Lists of commits need no more: a record or a
 * superblock is only ever written after the barrier over all that it names has returned 0.
 *
 * Death while settling: each place holds, before and after, the same bytes or ones that nothing
 * leads to.
 */
#include "image_parts.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "point.h"

/* What a commit was read from, to be written again. */
struct readings {
    struct image_page *table;
    char *journal;
};

bool image_entry_sound(const struct image *im, const struct image_entry *e)
{
    if (e->segment >= im->super.segment_count)
        return false;
    if (e->bytes == 0)
        return e->slot == IMAGE_SLOT_NONE;
    return e->slot < im->super.slot_count && e->bytes <= im->super.segment_bytes &&
           e->bytes % 8 == 0 && (e->flags & ~(unsigned)(IMAGE_RUN_HEAD | IMAGE_RUN_REST)) == 0;
}

bool image_epochs_sound(const struct image_commit_head *h)
{
    return h->epoch <= h->ceiling && h->ceiling <= IMAGE_EPOCH_MOST;
}

uint64_t image_position(const struct image *im, uint64_t slot, uint64_t at)
{
    return im->super.data_offset + slot * im->super.segment_bytes + at;
}

static int load_super(struct image *im)
{
    struct image_supers supers;
    int rc = image_super_read(&im->file, false, &supers);
    if (rc != 0)
        return rc;
    if (supers.state != IMAGE_READY)
        return error_set(SHMKV_EFORMAT, "%s: was never finished; create the store anew",
                         im->file.path);
    im->newest = supers.newest;
    im->super = supers.copy[supers.newest];
    im->mirrored = memcmp(&supers.copy[0], &supers.copy[1], sizeof(supers.copy[0])) == 0;
    im->moved = im->super.device != im->file.device || im->super.inode != im->file.inode;
    im->head = im->super.head;
    im->journal_at = 0;
    im->journal_crc = im->super.crc;
    return 0;
}

int image_load_room(struct image *im, uint64_t size)
{
    if (size < im->super.data_offset)
        return error_set(SHMKV_ECORRUPT,
                         "%s was cut short: it has %llu bytes, its head alone is %llu; restore it "
                         "from a backup",
                         im->file.path, (unsigned long long)size,
                         (unsigned long long)im->super.data_offset);
    if (im->segments == NULL) {
        im->segments = malloc(im->super.segment_count * sizeof(*im->segments));
        im->slots = calloc(im->super.slot_count, 1);
        im->loaded = im->super.segment_count;
    }
    if (im->segments == NULL || im->slots == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for its table", im->file.path);
    if (im->loaded != im->super.segment_count)
        return error_set(SHMKV_ECORRUPT, "%s: was replaced by another image while it was open",
                         im->file.path);
    for (uint64_t i = 0; i < im->super.segment_count; i++)
        im->segments[i] = (struct image_segment){.slot = IMAGE_SLOT_NONE};
    for (uint64_t i = 0; i < im->super.slot_count; i++)
        im->slots[i] &= IMAGE_SLOT_SHUNNED;
    im->patches_count = 0;
    im->segment_high = im->slot_sure = 0;
    im->slot_high =
        min_u64((size - im->super.data_offset) / im->super.segment_bytes, im->super.slot_count);
    return 0;
}

static int check_epochs(const struct image *im)
{
    const struct image_commit_head *h = &im->head;
    if (image_epochs_sound(h))
        return 0;
    return error_set(SHMKV_ECORRUPT,
                     "%s: is said to be of epoch %llu, with a ceiling of %llu, which makes no "
                     "sense; restore it from a backup, or save what can be saved with shmkv repair",
                     im->file.path, (unsigned long long)h->epoch, (unsigned long long)h->ceiling);
}

/* A segment that was opened in an epoch to come would have tombstones dropped too early (R18). */
static int check_birth(const struct image *im, const struct image_entry *e)
{
    if (e->birth <= im->head.ceiling)
        return 0;
    return error_set(SHMKV_ECORRUPT,
                     "%s: segment %u is said to be of epoch %llu, the image is of %llu; restore it "
                     "from a backup, or save what can be saved with shmkv repair",
                     im->file.path, e->segment, (unsigned long long)e->birth,
                     (unsigned long long)im->head.epoch);
}

/* Each listed slot is listed once and lies within the file. */
static int claim_slots(struct image *im, uint64_t size)
{
    for (uint64_t id = 0; id < im->super.segment_count; id++) {
        struct image_segment *s = &im->segments[id];
        const struct image_entry *e = &s->listed;
        if (e->bytes == 0)
            continue;
        int rc = check_birth(im, e);
        if (rc != 0)
            return rc;
        if ((im->slots[e->slot] & IMAGE_SLOT_STATE) != IMAGE_SLOT_FREE)
            return error_set(SHMKV_ECORRUPT, "%s: two segments are listed in the same place",
                             im->file.path);
        if (image_position(im, e->slot, e->bytes) > size)
            return error_set(
                SHMKV_ECORRUPT,
                "%s was cut short: it has %llu bytes, and segment %llu ends at %llu; "
                "restore it from a backup, or save what can be saved with shmkv repair",
                im->file.path, (unsigned long long)size, (unsigned long long)id,
                (unsigned long long)image_position(im, e->slot, e->bytes));
        im->slots[e->slot] |= IMAGE_SLOT_LISTED;
        im->slot_sure = max_u64(im->slot_sure, e->slot + 1); /* by the barrier of its commit */
        im->segment_high = id + 1;
        if ((im->slots[e->slot] & IMAGE_SLOT_SHUNNED) != 0)
            continue;
        s->incarnation = e->incarnation;
        s->copied = image_carry_begins(im, id);
        s->slot = e->slot;
    }
    return 0;
}

static int load(struct image *im, struct readings *r)
{
    uint64_t size = 0;
    int rc = load_super(im);
    if (rc == 0)
        rc = file_size(&im->file, &size);
    if (rc == 0)
        rc = image_load_room(im, size);
    if (rc == 0)
        rc = image_table_load(im, &r->table);
    if (rc == 0)
        rc = image_journal_load(im, &r->journal);
    if (rc == 0)
        rc = check_epochs(im);
    return rc != 0 ? rc : claim_slots(im, size);
}

int image_load(struct image *im)
{
    struct readings r = {0};
    int rc = load(im, &r);
    free(r.table);
    free(r.journal);
    return rc;
}

static int rewrite_super(struct image *im, unsigned which)
{
    int rc = file_write(&im->file, &im->super, sizeof(im->super), (uint64_t)which * PAGE_BYTES);
    return rc != 0 ? rc : file_barrier(&im->file);
}

static int rewrite(struct image *im, const struct readings *r)
{
    uint64_t table = image_table_pages(im->super.head.entries) * PAGE_BYTES;
    int rc = 0;
    if (table != 0)
        rc = file_write(&im->file, r->table, table, im->super.table_offset[im->super.table]);
    if (rc == 0 && im->journal_at != 0)
        rc = file_write(&im->file, r->journal, im->journal_at, im->super.journal_offset);
    POINT("image.rewritten");
    if (rc == 0)
        rc = file_barrier(&im->file);
    if (rc == 0)
        rc = rewrite_super(im, 1 - im->newest);
    POINT("image.super_rewritten");
    return rc != 0 ? rc : rewrite_super(im, im->newest);
}

int image_settle(struct image *im)
{
    struct readings r = {0};
    int rc = load(im, &r);
    if (rc == 0)
        rc = rewrite(im, &r);
    free(r.table);
    free(r.journal);
    if (rc == 0) {
        im->settled = im->mirrored = true;
        im->written = im->grown = false;
        im->slot_sure = im->slot_high;
    }
    return rc;
}

int image_doubt(struct image *im, int rc)
{
    im->settled = false;
    for (uint64_t i = 0; rc != SHMKV_ENOSPC && i < im->super.slot_count; i++) {
        if ((im->slots[i] & IMAGE_SLOT_WRITTEN) != 0)
            im->slots[i] |= IMAGE_SLOT_SHUNNED;
    }
    return rc;
}
