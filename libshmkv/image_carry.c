/* SPDX-License-Identifier: MIT */
/*
 * image_carry.c - bytes of segments that the journal carries, so that a small commit needs one
 * write and one barrier.
 *
 *   file slot:  | durable, a plain commit listed it | not written yet |
 *   journal:                                        | n | n+1  | n+2  |  each in the record of
 *               0                                   f0  f1     f2   bytes        its commit
 *
 * A record that carries holds, for each entry, all bytes from what the commit before listed (of the
 * same incarnation in the same slot, else from 0) to the end of the entry.  It names nothing else,
 * so there is nothing that would have to be on the disk before it: BARRIER 1 falls away, unless a
 * file slot was added to the end of the file.  Torn, it fails its checksum, as any record does.
 *
 * What is carried is a part of the image like the bytes in slots: image_read() puts both together.
 * It comes home, into its slot behind the bytes that are durable there, when a commit does not
 * carry (the keeper copies everything that is not in its slot) or folds: the journal begins anew
 * only behind a barrier over all slots.
 *
 *   INV-F4  For each listed segment the slot up to the first carried byte, and the records of the
 *           journal from there on, hold all listed bytes, durable.    test_image: carried_*
 *
 * Death while bytes come home: the journal still has them, and they are written again; the page
 * that holds the end of the durable bytes gets these once more, so a torn write does no harm.
 */
#include "image_parts.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

#define MOST (64ull << 10)

/* Before the bytes of each entry of a record that carries. */
struct part {
    uint32_t from; /* where in the segment they begin; they end where the entry does */
    uint32_t zero;
};

uint64_t image_carry_most(const struct image *im)
{
    return min_u64(im->super.journal_bytes / 32, MOST);
}

uint64_t image_known(const struct image *im, uint64_t segment)
{
    const struct image_segment *s = &im->segments[segment];
    const struct image_entry *e = &s->listed;
    bool same = e->bytes != 0 && e->incarnation == s->incarnation && e->slot == s->slot;
    return same ? e->bytes : 0;
}

/* ---- records ------------------------------------------------------------------------------- */

uint64_t image_carry_bytes(const struct image *im, const struct image_entry *e, uint64_t n)
{
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (e[i].bytes != 0)
            bytes += sizeof(struct part) + e[i].bytes - image_known(im, e[i].segment);
    }
    return bytes;
}

void image_carry_make(const struct image *im, const struct image_entry *e, uint64_t n, char *to)
{
    for (uint64_t i = 0; i < n; i++) {
        struct part part = {.from = (uint32_t)image_known(im, e[i].segment)};
        uint64_t bytes = e[i].bytes - part.from;
        if (e[i].bytes == 0)
            continue;
        memcpy(to, &part, sizeof(part));
        memcpy(to + sizeof(part), im->segments[e[i].segment].carried, bytes);
        to += sizeof(part) + bytes;
    }
}

/* The next part of a record: its bytes for entry @e, at most @room; false: it makes no sense. */
static bool take_part(const char *at, uint64_t room, const struct image_entry *e,
                      struct image_patch *patch)
{
    struct part part;
    if (room < sizeof(part))
        return false;
    memcpy(&part, at, sizeof(part));
    *patch = (struct image_patch){.incarnation = e->incarnation,
                                  .segment = e->segment,
                                  .slot = e->slot,
                                  .from = part.from,
                                  .to = e->bytes};
    return part.from <= e->bytes && part.from % 8 == 0 && part.zero == 0 &&
           e->bytes - part.from <= room - sizeof(part);
}

/* Before the entry is entered into the list: does the patch go on where that ends? */
static bool continues(const struct image *im, const struct image_patch *patch)
{
    const struct image_entry *old = &im->segments[patch->segment].listed;
    bool same =
        old->bytes != 0 && old->incarnation == patch->incarnation && old->slot == patch->slot;
    return patch->from == (same ? old->bytes : 0);
}

int image_carry_reserve(struct image *im, uint64_t n)
{
    uint64_t room = max_u64(2 * im->patches_room, im->patches_count + n);
    if (im->patches_count + n <= im->patches_room)
        return 0;
    struct image_patch *more = realloc(im->patches, room * sizeof(*more));
    if (more == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for its journal", im->file.path);
    im->patches = more;
    im->patches_room = room;
    return 0;
}

/* What was carried of the listed bytes of a segment is in its slot now, or not needed. */
static void forget(struct image *im, uint64_t segment)
{
    const struct image_entry *e = &im->segments[segment].listed;
    if (e->bytes == 0 || (im->slots[e->slot] & IMAGE_SLOT_CARRIED) == 0)
        return;
    im->slots[e->slot] &= (uint8_t)~IMAGE_SLOT_CARRIED;
    for (uint64_t i = 0; i < im->patches_count; i++) {
        if (im->patches[i].segment == segment)
            im->patches[i].to = im->patches[i].from;
    }
}

static void keep_patch(struct image *im, const struct image_patch *patch)
{
    if (patch->from == 0)
        forget(im, patch->segment);
    if (patch->from == patch->to)
        return;
    im->patches[im->patches_count++] = *patch;
    im->slots[patch->slot] |= IMAGE_SLOT_CARRIED;
}

int image_carry_take(struct image *im, const struct image_record *r, uint64_t position)
{
    const struct image_entry *e = (const void *)(r + 1);
    const char *start = (const void *)(e + r->head.entries), *at = start;
    struct image_patch patch;
    bool whole = true;
    int rc = r->carried != 0 ? image_carry_reserve(im, r->head.entries) : 0;
    for (uint32_t i = 0; rc == 0 && i < r->head.entries; i++, e++) {
        if (!image_entry_sound(im, e))
            return SHMKV_ECORRUPT;
        if (e->bytes == 0 || r->carried == 0) {
            forget(im, e->segment);
            continue;
        }
        if (!take_part(at, r->carried - (uint64_t)(at - start), e, &patch))
            return SHMKV_ECORRUPT;
        whole &= continues(im, &patch);
        patch.at = position + (uint64_t)(at - (const char *)r) + sizeof(struct part);
        keep_patch(im, &patch);
        at += sizeof(struct part) + (patch.to - patch.from);
    }
    whole &= (uint64_t)(at - start) == r->carried;
    return rc == 0 && !whole ? SHMKV_ECORRUPT : rc;
}

/* ---- what is carried now ------------------------------------------------------------------- */

void image_carry_prune(struct image *im, bool all_home)
{
    uint64_t left = 0;
    for (uint64_t i = 0; i < im->patches_count; i++)
        im->slots[im->patches[i].slot] &= (uint8_t)~IMAGE_SLOT_CARRIED;
    for (uint64_t i = 0; !all_home && i < im->patches_count; i++) {
        const struct image_patch *p = &im->patches[i];
        const struct image_entry *e = &im->segments[p->segment].listed;
        if (e->bytes == 0 || e->incarnation != p->incarnation || e->slot != p->slot ||
            p->from == p->to)
            continue;
        im->slots[p->slot] |= IMAGE_SLOT_CARRIED;
        im->patches[left++] = *p;
    }
    im->patches_count = left;
}

uint64_t image_carry_begins(const struct image *im, uint64_t segment)
{
    uint64_t least = im->segments[segment].listed.bytes;
    bool some = (im->slots[im->segments[segment].listed.slot] & IMAGE_SLOT_CARRIED) != 0;
    for (uint64_t i = 0; some && i < im->patches_count; i++) {
        const struct image_patch *p = &im->patches[i];
        if (p->segment == segment && p->from != p->to)
            least = min_u64(least, p->from);
    }
    return least;
}

/* Read the bytes [@at, @at + @bytes) of a slot of which the journal carries some. */
static int read_patched(const struct image *im, uint64_t slot, char *to, uint64_t at,
                        uint64_t bytes)
{
    uint64_t position = image_position(im, slot, at);
    int rc = file_read(&im->file, to, bytes, position);
    for (uint64_t i = 0; rc == 0 && i < im->patches_count; i++) {
        const struct image_patch *p = &im->patches[i];
        uint64_t from = max_u64(p->from, at), end = min_u64(p->to, at + bytes);
        if (p->slot == slot && from < end)
            rc = file_read(&im->file, to + (from - at), end - from, p->at + (from - p->from));
    }
    return rc;
}

void image_expect(const struct image *im, uint64_t segment)
{
    const struct image_entry *e = image_listed(im, segment);
    if (e->bytes != 0)
        file_hint(&im->file, image_position(im, e->slot, 0), e->bytes, FILE_SOON);
}

int image_read(const struct image *im, uint64_t slot, void *to, uint64_t at, uint64_t bytes)
{
    if ((im->slots[slot] & IMAGE_SLOT_CARRIED) != 0)
        return read_patched(im, slot, to, at, bytes);
    return file_read(&im->file, to, bytes, image_position(im, slot, at));
}

uint64_t image_salvage_read(const struct image *im, uint64_t slot, void *to, uint64_t bytes)
{
    uint64_t bad = image_read_around(&im->file, to, bytes, image_position(im, slot, 0));
    bool some = (im->slots[slot] & IMAGE_SLOT_CARRIED) != 0;
    for (uint64_t i = 0; some && i < im->patches_count; i++) {
        const struct image_patch *p = &im->patches[i];
        uint64_t end = min_u64(p->to, bytes);
        if (p->slot == slot && p->from < end)
            bad += image_read_around(&im->file, (char *)to + p->from, end - p->from, p->at);
    }
    return bad;
}

/* ---- home ---------------------------------------------------------------------------------- */

/* All of a segment up to @bytes into its slot: what is listed, then the new bytes at @carried. */
static int bring_home(struct image *im, uint64_t segment, uint64_t bytes)
{
    struct image_segment *s = &im->segments[segment];
    uint64_t first = s->copied & ~(uint64_t)(PAGE_BYTES - 1), known = image_known(im, segment);
    uint64_t room = align_up(bytes, PAGE_BYTES) - first;
    char *buffer = calloc(1, room);
    if (buffer == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for a commit", im->file.path);
    uint64_t end = max_u64(known, s->copied);
    int rc = image_read(im, s->slot, buffer, first, end - first);
    if (rc == 0 && bytes > end)
        memcpy(buffer + (end - first), (const char *)s->carried + (end - known), bytes - end);
    if (rc == 0)
        rc = image_write(im, segment, buffer, first, bytes);
    free(buffer);
    return rc;
}

int image_carry_home(struct image *im, const struct image_entry *e, uint64_t n)
{
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && i < n; i++) {
        if (im->segments[e[i].segment].copied < e[i].bytes)
            rc = bring_home(im, e[i].segment, e[i].bytes);
    }
    return rc;
}
