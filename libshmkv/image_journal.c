/* SPDX-License-Identifier: MIT */
/*
 * image_journal.c - the journal: records of commits since the table was written.
 *
 *   | n+1 | n+1 | n+2 | n+2 | n+3 | n+3 | older, or zero ...
 *
 * Each record stands twice, and chains to the one before by its checksum and its number; both
 * copies go out in one write before the second barrier of a commit.  The chain ends where neither
 * copy of the next record is sound: a power loss came before that barrier had returned.  Then no
 * later record can be there, since it would have been written after; nor one of the next number
 * that does not fit, since that was written behind another record, which was durable.  So if one
 * is, the chain is damaged, which is an error and not an older state.
 *                                                        test_image_journal, fuzz_image
 *
 * The chain begins with the superblock's checksum, which changes with each fold, so records of
 * before it never fit; their numbers are smaller anyway.
 */
#include "image_parts.h"

#include <stdlib.h>
#include <string.h>

#include "crc32c.h"
#include "error.h"

uint64_t image_journal_bytes(uint64_t entries, uint64_t carried)
{
    return align_up(sizeof(struct image_record) + entries * sizeof(struct image_entry) + carried,
                    PAGE_BYTES);
}

static uint64_t bytes_of(const struct image_record *r)
{
    return image_journal_bytes(r->head.entries, r->carried);
}

static uint64_t tie(const struct image_super *s)
{
    uint64_t half;
    memcpy(&half, s->uuid, sizeof(half));
    return half;
}

static uint32_t record_crc(const struct image_record *r, uint64_t bytes)
{
    return crc32c(0, (const char *)r + sizeof(r->crc), bytes - sizeof(r->crc));
}

uint32_t image_journal_make(const struct image *im, const struct image_commit_head *head,
                            const struct image_entry *entries, uint64_t carried, char *buffer)
{
    uint64_t bytes = image_journal_bytes(head->entries, carried);
    struct image_record *r = (void *)buffer;
    struct image_entry *list = (void *)(r + 1);
    memset(buffer, 0, bytes);
    r->magic = IMAGE_RECORD_MAGIC;
    r->previous = im->journal_crc;
    r->page = (uint32_t)(im->journal_at / PAGE_BYTES);
    r->tie = tie(&im->super);
    r->head = *head;
    r->carried = carried;
    memcpy(list, entries, head->entries * sizeof(*entries));
    if (carried != 0)
        image_carry_make(im, entries, head->entries, (char *)(list + head->entries));
    r->crc = record_crc(r, bytes);
    memcpy(buffer + bytes, buffer, bytes);
    return r->crc;
}

/* A whole record of this image at byte @at of the journal; cheap for what is none. */
static bool is_record(const struct image *im, const char *journal, uint64_t at)
{
    const struct image_record *r = (const void *)(journal + at);
    uint64_t room = im->super.journal_bytes - at;
    return r->magic == IMAGE_RECORD_MAGIC && r->tie == tie(&im->super) &&
           r->head.entries <= room / sizeof(struct image_entry) && r->carried <= room &&
           bytes_of(r) <= room && r->head.sequence > im->super.head.sequence &&
           r->crc == record_crc(r, bytes_of(r));
}

/* The record that follows im->head: at im->journal_at, or its second copy behind. */
static const struct image_record *next_record(const struct image *im, const char *journal)
{
    for (uint64_t at = im->journal_at; at < im->super.journal_bytes; at += PAGE_BYTES) {
        const struct image_record *r = (const void *)(journal + at);
        if (r->magic == IMAGE_RECORD_MAGIC && r->head.sequence == im->head.sequence + 1 &&
            r->previous == im->journal_crc && r->page == im->journal_at / PAGE_BYTES &&
            r->head.generation == im->head.generation && is_record(im, journal, at) &&
            im->journal_at + 2 * bytes_of(r) <= im->super.journal_bytes)
            return r;
    }
    return NULL;
}

static uint64_t position_of(const struct image *im, const char *journal,
                            const struct image_record *r)
{
    return im->super.journal_offset + (uint64_t)((const char *)r - journal);
}

static int apply(struct image *im, const char *journal, const struct image_record *r)
{
    const struct image_entry *e = (const void *)(r + 1);
    int rc = image_carry_take(im, r, position_of(im, journal, r));
    for (uint32_t i = 0; rc == 0 && i < r->head.entries; i++, e++) {
        if (!image_entry_sound(im, e))
            rc = SHMKV_ECORRUPT;
        else
            im->segments[e->segment].listed = *e;
    }
    im->head = r->head;
    return rc != SHMKV_ECORRUPT ? rc
                                : error_set(rc,
                                            "%s: commit %llu in the journal has a right checksum "
                                            "and makes no sense",
                                            im->file.path, (unsigned long long)r->head.sequence);
}

/* Make both copies whole, so that writing the chain again mends what was damaged. */
static void take(struct image *im, char *journal, const struct image_record *r)
{
    uint64_t bytes = bytes_of(r);
    char *at = journal + im->journal_at;
    im->journal_crc = r->crc;
    memmove(at, r, bytes);
    memcpy(at + bytes, at, bytes);
    im->journal_at += 2 * bytes;
}

/* The whole record with the smallest number above im->head's; NULL: there is none. */
static const struct image_record *later_record(const struct image *im, const char *journal)
{
    const struct image_record *best = NULL;
    for (uint64_t at = 0; at < im->super.journal_bytes; at += PAGE_BYTES) {
        const struct image_record *r = (const void *)(journal + at);
        if (r->magic == IMAGE_RECORD_MAGIC && r->head.sequence > im->head.sequence &&
            (best == NULL || r->head.sequence < best->head.sequence) && is_record(im, journal, at))
            best = r;
    }
    return best;
}

static int check_end(const struct image *im, const char *journal)
{
    const struct image_record *r = later_record(im, journal);
    if (r == NULL)
        return 0;
    bool next = r->head.sequence == im->head.sequence + 1;
    return error_set(SHMKV_ECORRUPT,
                     "%s: commit %llu in the journal (byte %llu of the file) %s; restore the image "
                     "from a backup, or save what can be saved with shmkv repair",
                     im->file.path, (unsigned long long)im->head.sequence + 1,
                     (unsigned long long)im->super.journal_offset + im->journal_at,
                     next ? "does not fit the one before" : "is damaged, a later one is there");
}

int image_journal_load(struct image *im, char **chain)
{
    char *journal = malloc(im->super.journal_bytes);
    *chain = journal;
    if (journal == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for its journal", im->file.path);
    int rc = file_read(&im->file, journal, im->super.journal_bytes, im->super.journal_offset);
    const struct image_record *r;
    while (rc == 0 && (r = next_record(im, journal)) != NULL) {
        rc = apply(im, journal, r);
        take(im, journal, r);
    }
    return rc != 0 ? rc : check_end(im, journal);
}

/* Is it where it belongs, behind the one before, twice?  Returns if it belongs to the chain. */
static bool salvage_place(struct image *im, const char *journal, const struct image_record *r,
                          struct image_sink *sink)
{
    uint64_t at = (uint64_t)((const char *)r - journal), bytes = bytes_of(r);
    unsigned long long number = r->head.sequence, next = im->head.sequence + 1;
    bool fits = r == next_record(im, journal);
    if (number != next)
        image_found(sink, "commits %llu to %llu in the journal are damaged", next, number - 1);
    else if (!fits)
        image_found(sink, "commit %llu in the journal does not fit the one before", number);
    im->incomplete |= !fits;
    if (at + 2 * bytes > im->super.journal_bytes || r->page != at / PAGE_BYTES ||
        memcmp(r, (const char *)r + bytes, bytes) != 0)
        image_note(sink, "note: one of both copies of commit %llu (byte %llu) is damaged", number,
                   (unsigned long long)im->super.journal_offset + at);
    return fits;
}

static void apply_sound(struct image *im, const char *journal, const struct image_record *r,
                        struct image_sink *sink)
{
    const struct image_entry *e = (const void *)(r + 1);
    if (image_carry_take(im, r, position_of(im, journal, r)) != 0)
        image_found(sink, "commit %llu in the journal makes no sense, or lacks what was before it",
                    (unsigned long long)r->head.sequence);
    for (uint32_t i = 0; i < r->head.entries; i++) {
        if (image_entry_sound(im, &e[i]))
            im->segments[e[i].segment].listed = e[i];
    }
    im->head = r->head;
}

void image_journal_salvage(struct image *im, struct image_sink *sink)
{
    char *journal = calloc(1, im->super.journal_bytes);
    const struct image_record *r;
    uint64_t size = im->super.journal_bytes;
    uint64_t bad = journal == NULL
                       ? size
                       : image_read_around(&im->file, journal, size, im->super.journal_offset);
    if (bad != 0) {
        im->incomplete = true;
        image_found(sink, "%llu bytes of the journal cannot be read: %s", (unsigned long long)bad,
                    error_text());
    }
    if (bad == size) {
        free(journal);
        return;
    }
    while ((r = next_record(im, journal)) != NULL || (r = later_record(im, journal)) != NULL) {
        bool fits = salvage_place(im, journal, r, sink);
        apply_sound(im, journal, r, sink);
        if (fits) {
            take(im, journal, r);
        } else { /* as if it had been the next */
            im->journal_crc = r->crc;
            im->journal_at = (uint64_t)r->page * PAGE_BYTES + 2 * bytes_of(r);
        }
    }
    free(journal);
}
