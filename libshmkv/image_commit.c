/* SPDX-License-Identifier: MIT */
/*
 * image_commit.c - make a new list the contents of the image.
 *
 *   by the journal          by a fold (the journal is full, or the superblock has to change)
 *   -----------------       ---------------------------------------------------------------
 *                           the whole list -> the table that is not in use
 *   BARRIER 1: all that was copied, and the table, is on the disk
 *   record, twice           superblock 0: names the table, its checksum, the commit
 *   BARRIER 2: the commit is durable
 *   release slots           release slots; superblock 1 the same; BARRIER 3; the journal begins
 *                           at its start
 *
 * Without BARRIER 1 a record could be on the disk before what it names, without BARRIER 2 file
 * slots that the old list needs could be written over before the new one counts.  BARRIER 3 comes
 * before the journal is written over: what superblock 1 named until then needs it.
 *
 * A record that carries all that is new names nothing that BARRIER 1 would have to wait for, except
 * room that was added to the file: image_carry.c says how.
 *
 * A failure before BARRIER 2 has returned 0 leaves it open which of both lists the disk has; the
 * next image_begin() finds out, and makes that durable before anything else is done.
 */
#include "image_parts.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "point.h"

#define TAIL_LEAST 16u /* free slots behind the last one in use that are kept anyway */

/* A commit that is being made. */
struct commit {
    struct image_commit_head head;
    struct image_entry *entries; /* the whole list, in the order of segments */
    uint64_t count;
    struct image_entry *changes;
    uint64_t changed;
    uint64_t carried; /* bytes that the record carries */
    uint64_t interval_ms;
    bool carries;
};

static struct image_entry entry_of(const struct image *im, const struct image_item *item)
{
    return (struct image_entry){
        .incarnation = item->incarnation,
        .birth = item->birth,
        .segment = (uint32_t)item->segment,
        .slot = im->segments[item->segment].slot,
        .bytes = (uint32_t)item->bytes,
        .flags = item->flags,
    };
}

static bool journal_has_room(const struct image *im, const struct commit *c)
{
    return im->journal_at + 2 * image_journal_bytes(c->changed, c->carried) <=
           im->super.journal_bytes;
}

/* Was the item reserved and copied?  Anything else is an error of the caller. */
static bool item_copied(const struct image *im, const struct image_item *item)
{
    if (item->segment >= im->super.segment_count)
        return false;
    const struct image_segment *s = &im->segments[item->segment];
    uint64_t most = item->carried != NULL ? im->super.segment_bytes
                                          : max_u64(s->copied, image_known(im, item->segment));
    return s->slot != IMAGE_SLOT_NONE && s->incarnation == item->incarnation && item->bytes != 0 &&
           item->bytes <= most && item->bytes % 8 == 0;
}

static int compare_entries(const void *a, const void *b)
{
    const struct image_entry *x = a, *y = b;
    return x->segment < y->segment ? -1 : x->segment > y->segment;
}

static int list_items(struct image *im, struct commit *c, const struct image_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!item_copied(im, &items[i]))
            return error_set(SHMKV_EINVAL,
                             "%s: segment %llu is to be committed, and was not copied whole",
                             im->file.path, (unsigned long long)items[i].segment);
        im->segments[items[i].segment].carried = items[i].carried;
        c->entries[c->count++] = entry_of(im, &items[i]);
    }
    qsort(c->entries, c->count, sizeof(*c->entries), compare_entries);
    return 0;
}

/* What differs from the last commit. */
static void find_changes(const struct image *im, struct commit *c)
{
    const struct image_entry *e = c->entries, *end = c->entries + c->count;
    for (uint64_t id = 0; id < im->segment_high; id++) {
        const struct image_entry *old = &im->segments[id].listed;
        if (e < end && e->segment == id) {
            if (memcmp(e, old, sizeof(*e)) != 0)
                c->changes[c->changed++] = *e;
            e++;
        } else if (old->bytes != 0) {
            c->changes[c->changed++] =
                (struct image_entry){.segment = (uint32_t)id, .slot = IMAGE_SLOT_NONE};
        }
    }
}

/* Is there nothing new but what the caller has given, and room for that in the journal? */
static bool carries(const struct image *im, struct commit *c)
{
    for (uint64_t i = 0; i < c->changed; i++) {
        const struct image_entry *e = &c->changes[i];
        uint64_t known = image_known(im, e->segment);
        if (e->bytes != 0 && e->bytes != known &&
            (e->bytes < known || im->segments[e->segment].carried == NULL))
            return false;
    }
    c->carried = image_carry_bytes(im, c->changes, c->changed);
    return (im->super.features & IMAGE_FEATURE_CARRY) != 0 && journal_has_room(im, c);
}

static int prepare(struct image *im, struct commit *c, const struct image_cut *cut,
                   const struct image_item *items, size_t n)
{
    uint64_t most = im->segment_high + 1; /* more than that was not reserved; not 0 */
    c->entries = malloc(most * sizeof(*c->entries));
    c->changes = malloc(most * sizeof(*c->changes));
    if (c->entries == NULL || c->changes == NULL || n > most)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for a list of %zu segments", im->file.path,
                         n);
    int rc = list_items(im, c, items, n);
    if (rc != 0)
        return rc;
    find_changes(im, c);
    c->interval_ms = cut->interval_ms;
    im->folding |= c->interval_ms != im->super.interval_ms; /* it is in superblocks only */
    c->carries = !im->folding && carries(im, c);
    if (!c->carries)
        c->carried = 0;
    c->head = (struct image_commit_head){
        .sequence = im->head.sequence + 1,
        .generation = im->head.generation,
        .epoch = cut->epoch,
        .ceiling = cut->ceiling,
        .clock_ms = cut->clock_ms,
        .keys = cut->keys,
        .size = cut->size,
        .flags = cut->flags,
    };
    return 0;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* A barrier over all that was copied so far. */
static int barrier(struct image *im)
{
    int rc = file_barrier(&im->file);
    if (rc != 0)
        return rc;
    im->written = im->grown = false;
    im->slot_sure = im->slot_high;
    for (uint64_t i = 0; i < im->slot_high; i++)
        im->slots[i] &= (uint8_t)~IMAGE_SLOT_WRITTEN;
    return 0;
}

static int append_record(struct image *im, struct commit *c)
{
    uint64_t bytes = 2 * image_journal_bytes(c->changed, c->carried);
    char *buffer = image_carry_reserve(im, c->changed) == 0 ? malloc(bytes) : NULL;
    if (buffer == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for a commit", im->file.path);
    c->head.entries = (uint32_t)c->changed;
    uint32_t crc = image_journal_make(im, &c->head, c->changes, c->carried, buffer);
    int rc = im->grown || (im->written && !c->carries) ? barrier(im) : 0;
    POINT("image.barrier1");
    if (rc == 0)
        rc = file_write(&im->file, buffer, bytes, im->super.journal_offset + im->journal_at);
    POINT("image.recorded");
    if (rc == 0)
        rc = file_barrier(&im->file);
    if (rc == 0)
        image_carry_take(im, (void *)buffer, im->super.journal_offset + im->journal_at);
    free(buffer);
    if (rc != 0)
        return image_doubt(im, rc);
    im->journal_at += bytes;
    im->journal_crc = crc;
    im->bytes_written += bytes;
    return 0;
}

static int write_table(struct image *im, const struct commit *c, struct image_super *s)
{
    s->table = 1 - im->super.table;
    struct image_page *pages =
        image_table_make(c->entries, c->count, c->head.sequence, &s->table_crc);
    uint64_t bytes = image_table_pages(c->count) * PAGE_BYTES;
    if (pages == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for its table", im->file.path);
    int rc = bytes == 0 ? 0 : file_write(&im->file, pages, bytes, s->table_offset[s->table]);
    free(pages);
    im->bytes_written += bytes;
    return rc != 0 ? rc : barrier(im);
}

static int write_super(struct image *im, const struct image_super *s, unsigned which)
{
    int rc = file_write(&im->file, s, sizeof(*s), (uint64_t)which * PAGE_BYTES);
    im->bytes_written += sizeof(*s);
    return rc != 0 ? rc : file_barrier(&im->file);
}

static int fold(struct image *im, struct commit *c)
{
    struct image_super s = im->super;
    c->head.entries = (uint32_t)c->count;
    s.features = IMAGE_FEATURES;
    s.head = c->head;
    s.interval_ms = c->interval_ms;
    s.super_sequence++;
    int rc = write_table(im, c, &s);
    POINT("image.table");
    if (rc == 0) {
        image_super_seal(&s);
        rc = write_super(im, &s, 0);
    }
    POINT("image.super");
    if (rc != 0)
        return image_doubt(im, rc);
    im->super = s;
    im->newest = 0;
    im->journal_at = 0;
    im->journal_crc = s.crc;
    im->folding = false;
    if (write_super(im, &s, 1) != 0) /* durable all the same; mended before the next commit */
        im->settled = im->mirrored = false;
    POINT("image.mirrored");
    return 0;
}

/* ---- afterwards ---------------------------------------------------------------------------- */

/* The new list counts: the slots that only the old one named, and abandoned copies, are free. */
static void adopt(struct image *im, const struct commit *c)
{
    uint64_t high = 0;
    im->head = c->head;
    for (uint64_t i = 0; i < im->slot_high; i++)
        im->slots[i] &= (uint8_t)~IMAGE_SLOT_STATE;
    for (uint64_t id = 0; id < im->segment_high; id++)
        im->segments[id].listed = (struct image_entry){0};
    for (uint64_t i = 0; i < c->count; i++) {
        im->segments[c->entries[i].segment].listed = c->entries[i];
        im->slots[c->entries[i].slot] |= IMAGE_SLOT_LISTED;
    }
    for (uint64_t id = 0; id < im->segment_high; id++) {
        if (im->segments[id].listed.bytes == 0)
            im->segments[id].slot = IMAGE_SLOT_NONE;
        else
            high = id + 1;
    }
    im->segment_high = high;
    image_carry_prune(im, !c->carries);
}

/* The caller's bytes are his again. */
static void let_go(struct image *im, const struct image_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (items[i].segment < im->super.segment_count)
            im->segments[items[i].segment].carried = NULL;
    }
}

/* What is full is not written to again: its pages in memory are as good for others (R15). */
static void forget_full(struct image *im, const struct commit *c)
{
    for (uint64_t i = 0; i < c->changed; i++) {
        const struct image_entry *e = &c->changes[i];
        if (e->bytes == im->super.segment_bytes)
            file_hint(&im->file, image_position(im, e->slot, 0), e->bytes, FILE_NO_MORE);
    }
}

/* Cut off a long tail of free slots; if that fails they stay. */
static void give_back_tail(struct image *im)
{
    uint64_t high = im->slot_high;
    while (high > 0 && (im->slots[high - 1] & IMAGE_SLOT_STATE) == IMAGE_SLOT_FREE)
        high--;
    uint64_t keep = high + max_u64(high / 4, TAIL_LEAST);
    if (keep < im->slot_high &&
        im->file.table->truncate(&im->file, image_position(im, keep, 0)) == 0)
        im->slot_high = keep;
    im->slot_sure = min_u64(im->slot_sure, im->slot_high);
}

static int make_durable(struct image *im, struct commit *c)
{
    int rc = c->carries ? 0 : image_carry_home(im, c->entries, c->count);
    if (rc != 0)
        return rc;
    return im->folding || !journal_has_room(im, c) ? fold(im, c) : append_record(im, c);
}

/* What has begun to be written is in doubt: image_begin() first. */
static int check_settled(const struct image *im)
{
    return im->settled ? 0
                       : error_set(SHMKV_EIO, "%s: a commit after an error, without beginning anew",
                                   im->file.path);
}

int image_commit(struct image *im, const struct image_cut *cut, const struct image_item *items,
                 size_t n)
{
    struct commit c = {0};
    int rc = check_settled(im);
    if (rc != 0)
        return rc;
    rc = prepare(im, &c, cut, items, n);
    if (rc == 0)
        rc = make_durable(im, &c);
    if (rc == 0) {
        adopt(im, &c);
        forget_full(im, &c);
        give_back_tail(im);
    }
    let_go(im, items, n);
    free(c.entries);
    free(c.changes);
    return rc;
}

/* Copies for the next commit stay as they are: no file slot changes hands. */
int image_raise_ceiling(struct image *im, uint64_t ceiling)
{
    struct commit c = {.head = im->head, .interval_ms = im->super.interval_ms};
    int rc = check_settled(im);
    if (rc != 0)
        return rc;
    c.entries = malloc((im->segment_high + 1) * sizeof(*c.entries));
    if (c.entries == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for a list of segments", im->file.path);
    for (uint64_t id = 0; id < im->segment_high; id++) {
        if (im->segments[id].listed.bytes != 0)
            c.entries[c.count++] = im->segments[id].listed;
    }
    c.head.sequence++;
    c.head.ceiling = ceiling;
    c.carries = !im->folding && journal_has_room(im, &c);
    rc = make_durable(im, &c);
    if (rc == 0) {
        im->head = c.head;
        image_carry_prune(im, !c.carries);
    }
    free(c.entries);
    return rc;
}
