/* SPDX-License-Identifier: MIT */
/*
 * image_table.c - a table: the whole list of one commit, in pages that are checksummed one by one,
 * so that damage to one costs a repair only what stands there.
 */
#include "image_parts.h"

#include <stdlib.h>
#include <string.h>

#include "crc32c.h"
#include "error.h"

uint64_t image_table_pages(uint64_t entries)
{
    return (entries + IMAGE_PAGE_ENTRIES - 1) / IMAGE_PAGE_ENTRIES;
}

static uint32_t page_crc(const struct image_page *p)
{
    return crc32c(0, (const char *)p + sizeof(p->crc), sizeof(*p) - sizeof(p->crc));
}

struct image_page *image_table_make(const struct image_entry *entries, uint64_t n,
                                    uint64_t sequence, uint32_t *crc)
{
    uint64_t pages = image_table_pages(n);
    struct image_page *page = calloc(pages + 1, sizeof(*page));
    *crc = 0;
    for (uint64_t i = 0; page != NULL && i < pages; i++) {
        uint64_t first = i * IMAGE_PAGE_ENTRIES;
        page[i].count = (uint32_t)min_u64(n - first, IMAGE_PAGE_ENTRIES);
        page[i].sequence = sequence;
        page[i].page = i;
        memcpy(page[i].entries, entries + first, page[i].count * sizeof(*entries));
        page[i].crc = page_crc(&page[i]);
        *crc = crc32c(*crc, &page[i].crc, sizeof(page[i].crc));
    }
    return page;
}

static bool page_sound(const struct image *im, const struct image_page *p, uint64_t i)
{
    return p->crc == page_crc(p) && p->page == i && p->count <= IMAGE_PAGE_ENTRIES &&
           p->sequence == im->super.head.sequence;
}

static int damaged(const struct image *im, uint64_t at)
{
    return error_set(SHMKV_ECORRUPT,
                     "%s: the table of segments is damaged (page at byte %llu); restore the image "
                     "from a backup, or save what can be saved with shmkv repair",
                     im->file.path, (unsigned long long)at);
}

static bool take_page(struct image *im, const struct image_page *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        const struct image_entry *e = &p->entries[i];
        if (!image_entry_sound(im, e) || e->bytes == 0 ||
            im->segments[e->segment].listed.bytes != 0)
            return false;
        im->segments[e->segment].listed = *e;
    }
    return true;
}

int image_table_load(struct image *im, struct image_page **out)
{
    uint64_t pages = image_table_pages(im->super.head.entries);
    uint64_t at = im->super.table_offset[im->super.table];
    uint64_t entries = 0;
    uint32_t crc = 0;
    struct image_page *page = calloc(pages + 1, sizeof(*page));
    *out = page;
    if (page == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for its table", im->file.path);
    int rc = pages == 0 ? 0 : file_read(&im->file, page, pages * sizeof(*page), at);
    for (uint64_t i = 0; rc == 0 && i < pages; i++) {
        if (!page_sound(im, &page[i], i) || !take_page(im, &page[i]))
            rc = damaged(im, at + i * PAGE_BYTES);
        crc = crc32c(crc, &page[i].crc, sizeof(page[i].crc));
        entries += page[i].count;
    }
    if (rc == 0 && (crc != im->super.table_crc || entries != im->super.head.entries))
        rc = damaged(im, at);
    return rc;
}

void image_table_salvage(struct image *im, struct image_sink *sink)
{
    uint64_t pages = image_table_pages(im->super.head.entries);
    uint64_t at = im->super.table_offset[im->super.table];
    struct image_page page;
    for (uint64_t i = 0; i < pages; i++, at += sizeof(page)) {
        if (file_read(&im->file, &page, sizeof(page), at) != 0)
            image_found(sink, "the table of segments: %s", error_text());
        else if (!page_sound(im, &page, i) || !take_page(im, &page))
            image_found(sink,
                        "a page of the table of segments (byte %llu) is damaged: up to %u segments "
                        "are not found",
                        (unsigned long long)at, IMAGE_PAGE_ENTRIES);
    }
}
