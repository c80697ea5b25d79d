/* SPDX-License-Identifier: MIT */
/* image_salvage.c - open an image of which parts are damaged, for check and repair. */
#include "image_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "error.h"

static void say(const struct image_sink *sink, const char *fmt, va_list args)
{
    char line[ERROR_TEXT_BYTES];
    if (sink->report == NULL)
        return;
    vsnprintf(line, sizeof(line), fmt, args);
    sink->report(sink->arg, line);
}

void image_found(struct image_sink *sink, const char *fmt, ...)
{
    va_list args;
    sink->findings++;
    va_start(args, fmt);
    say(sink, fmt, args);
    va_end(args);
}

void image_note(struct image_sink *sink, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(sink, fmt, args);
    va_end(args);
}

/* A disk that cannot read a sector says nothing of its neighbours. */
uint64_t image_read_around(const struct file *f, void *to, uint64_t bytes, uint64_t at)
{
    uint64_t bad = 0;
    if (file_read(f, to, bytes, at) == 0)
        return 0;
    for (uint64_t done = 0, step; done < bytes; done += step) {
        step = min_u64(PAGE_BYTES - (at + done) % PAGE_BYTES, bytes - done);
        if (file_read(f, (char *)to + done, step, at + done) == 0)
            continue;
        memset((char *)to + done, 0, step);
        bad += step;
    }
    return bad;
}

/* An older superblock is one that was about to be replaced; it is no damage. */
static bool is_whole(const struct image_super *s)
{
    struct image_super sealed = *s;
    image_super_seal(&sealed);
    return s->magic == IMAGE_MAGIC && s->crc == sealed.crc;
}

static int salvage_super(struct image *im, struct image_sink *sink)
{
    struct image_supers supers;
    int rc = image_super_read(&im->file, true, &supers);
    if (rc != 0)
        return rc;
    if (supers.state != IMAGE_READY)
        return error_set(SHMKV_EFORMAT, "%s: was never finished; there is nothing in it",
                         im->file.path);
    im->super = supers.copy[supers.newest];
    im->head = im->super.head;
    im->journal_crc = im->super.crc;
    im->incomplete = !is_whole(&supers.copy[1 - supers.newest]);
    if (im->incomplete)
        image_note(sink, "note: superblock %u is damaged, the other is whole", 1 - supers.newest);
    return 0;
}

/* As if it were not known which epoch it is of. */
static void salvage_epochs(struct image *im, struct image_sink *sink)
{
    struct image_commit_head *h = &im->head;
    if (image_epochs_sound(h))
        return;
    image_found(sink, "its epoch, %llu, and its ceiling, %llu, make no sense",
                (unsigned long long)h->epoch, (unsigned long long)h->ceiling);
    h->epoch = h->ceiling = 0;
    im->incomplete = true;
}

/* What lies behind the end of the file is lost. */
static void clip(struct image *im, uint64_t size, struct image_sink *sink)
{
    for (uint64_t id = 0; id < im->super.segment_count; id++) {
        struct image_entry *e = &im->segments[id].listed;
        uint64_t start = e->bytes != 0 ? image_position(im, e->slot, 0) : 0;
        if (e->bytes == 0 || start + e->bytes <= size)
            continue;
        uint64_t left = size > start ? (size - start) & ~7ull : 0;
        image_found(sink, "segment %llu: %llu of its %u bytes lie behind the end of the file",
                    (unsigned long long)id, (unsigned long long)(e->bytes - left), e->bytes);
        e->bytes = (uint32_t)left;
    }
}

int image_salvage(struct image *im, const char *path, struct image_sink *sink)
{
    uint64_t size;
    *im = (struct image){0};
    int rc = file_open(&im->file, path, FILE_READONLY, 0);
    if (rc == 0)
        rc = salvage_super(im, sink);
    if (rc == 0)
        rc = file_size(&im->file, &size);
    if (rc == 0)
        rc = image_load_room(im, size);
    if (rc != 0) {
        image_close(im);
        return rc;
    }
    image_table_salvage(im, sink);
    image_journal_salvage(im, sink);
    salvage_epochs(im, sink);
    clip(im, size, sink);
    return 0;
}
