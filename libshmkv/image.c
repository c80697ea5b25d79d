/* SPDX-License-Identifier: MIT */
/* image.c - making, opening and closing an image; copying segments to file slots. */
#include "image_parts.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "point.h"

#define ZERO_STEP (256ull << 10)

/* ---- making -------------------------------------------------------------------------------- */

static int check_geometry(const char *path, const struct image_geometry *g)
{
    bool fits = g->segment_bytes >= 64ull << 10 && g->segment_bytes <= 8ull << 20 &&
                (g->segment_bytes & (g->segment_bytes - 1)) == 0 && g->segment_count != 0 &&
                g->segment_count <= 1ull << 30;
    return fits ? 0
                : error_set(SHMKV_EINVAL, "%s: an image of %llu segments of %llu bytes", path,
                            (unsigned long long)g->segment_count,
                            (unsigned long long)g->segment_bytes);
}

static void plan(struct image *im, const struct image_geometry *g)
{
    struct image_super *s = &im->super;
    memset(s, 0, sizeof(*s));
    s->magic = IMAGE_MAGIC;
    s->version = IMAGE_VERSION;
    s->features = IMAGE_FEATURES;
    memcpy(s->uuid, g->uuid, sizeof(s->uuid));
    s->device = im->file.device;
    s->inode = im->file.inode;
    s->super_sequence = 1;
    s->hash_seed = g->hash_seed;
    s->segment_bytes = g->segment_bytes;
    s->segment_count = g->segment_count;
    s->created_ms = clock_real_ms();
    s->head.size = g->size;
    image_super_layout(s);
    image_super_seal(s);
}

static int refuse_full(const struct file *f)
{
    struct image_supers supers;
    int rc = image_super_read(f, false, &supers);
    if (rc == 0 && supers.state != IMAGE_BLANK)
        rc = error_set(SHMKV_ESTOREEXISTS, "%s: there is an image already", f->path);
    return rc;
}

/* Whatever stood there is gone, and says so until the superblocks come. */
static int begin_making(struct file *f)
{
    struct image_super making = {.magic = IMAGE_MAKING};
    int rc = f->table->truncate(f, 0);
    if (rc == 0)
        rc = file_write(f, &making, sizeof(making), 0);
    return rc != 0 ? rc : file_barrier(f);
}

/* The journal is written before it is used, so that a commit changes nothing but its pages. */
static int write_zeros(struct file *f, uint64_t from, uint64_t to)
{
    char *zeros = calloc(1, ZERO_STEP);
    int rc = zeros != NULL ? 0 : error_set(SHMKV_ESYSTEM, "%s: no memory", f->path);
    for (uint64_t at = from; rc == 0 && at < to; at += ZERO_STEP)
        rc = file_write(f, zeros, min_u64(ZERO_STEP, to - at), at);
    free(zeros);
    return rc;
}

static int make(struct image *im, const struct image_geometry *g)
{
    struct file *f = &im->file;
    plan(im, g);
    int rc = begin_making(f);
    POINT("image.making");
    if (rc == 0)
        rc = f->table->allocate(f, 0, im->super.data_offset);
    if (rc == 0)
        rc = write_zeros(f, PAGE_BYTES, im->super.data_offset);
    POINT("image.zeroed");
    if (rc == 0)
        rc = file_barrier(f);
    if (rc == 0)
        rc = file_write(f, &im->super, sizeof(im->super), PAGE_BYTES);
    POINT("image.second_super");
    if (rc == 0)
        rc = file_barrier(f);
    if (rc == 0)
        rc = file_write(f, &im->super, sizeof(im->super), 0);
    if (rc == 0)
        rc = file_barrier(f);
    POINT("image.made");
    return rc != 0 ? rc : f->table->barrier_name(f);
}

int image_create(struct image *im, const char *path, const struct image_geometry *g, uint32_t mode)
{
    *im = (struct image){0};
    int rc = check_geometry(path, g);
    if (rc == 0)
        rc = file_open(&im->file, path, FILE_CREATE, mode != 0 ? mode : 0600);
    if (rc != 0)
        return rc;
    rc = refuse_full(&im->file);
    if (rc == 0)
        rc = make(im, g);
    if (rc == 0)
        rc = image_load(im);
    if (rc != 0)
        image_close(im);
    else
        im->settled = true;
    return rc;
}

/* ---- opening ------------------------------------------------------------------------------- */

int image_open(struct image *im, const char *path, bool readonly)
{
    *im = (struct image){0};
    int rc = file_open(&im->file, path, readonly ? FILE_READONLY : 0, 0);
    if (rc == 0)
        rc = image_load(im);
    if (rc != 0)
        image_close(im);
    return rc;
}

void image_close(struct image *im)
{
    file_close(&im->file);
    free(im->segments);
    free(im->slots);
    free(im->patches);
    im->segments = NULL;
    im->slots = NULL;
    im->patches = NULL;
    im->patches_count = im->patches_room = 0;
}

int image_begin(struct image *im)
{
    return im->settled ? 0 : image_settle(im);
}

void image_set_durable(struct image *im, uint64_t sequence)
{
    if (im->mirrored && im->head.sequence == sequence)
        im->settled = true;
}

void image_set_generation(struct image *im, uint64_t generation)
{
    im->head.generation = generation;
    im->folding = true;
}

void image_set_uuid(struct image *im, const uint8_t uuid[16])
{
    memcpy(im->super.uuid, uuid, sizeof(im->super.uuid));
    im->super.device = im->file.device;
    im->super.inode = im->file.inode;
    im->moved = false;
    im->folding = true;
}

/* ---- file slots ---------------------------------------------------------------------------- */

static void give_up_copy(struct image *im, struct image_segment *s)
{
    if (s->slot != IMAGE_SLOT_NONE && (im->slots[s->slot] & IMAGE_SLOT_STATE) == IMAGE_SLOT_PENDING)
        im->slots[s->slot] &= (uint8_t)~IMAGE_SLOT_STATE;
    s->slot = IMAGE_SLOT_NONE;
}

/* The lowest free slot; one where the disk failed only if there is no other. */
static uint64_t find_slot(const struct image *im)
{
    uint64_t shunned = im->super.slot_count;
    for (uint64_t i = 0; i < im->super.slot_count; i++) {
        uint8_t state = im->slots[i];
        if ((state & IMAGE_SLOT_STATE) != IMAGE_SLOT_FREE)
            continue;
        if ((state & IMAGE_SLOT_SHUNNED) == 0)
            return i;
        shunned = min_u64(shunned, i);
    }
    return shunned;
}

static int take_slot(struct image *im, uint64_t *slot)
{
    *slot = find_slot(im);
    if (*slot == im->super.slot_count)
        return error_set(SHMKV_ENOSPC,
                         "%s: all of its %llu places for segments are in use until a checkpoint "
                         "succeeds",
                         im->file.path, (unsigned long long)im->super.slot_count);
    im->grown |= *slot >= im->slot_sure;
    if (*slot < im->slot_high)
        return 0;
    int rc =
        im->file.table->allocate(&im->file, image_position(im, *slot, 0), im->super.segment_bytes);
    if (rc != 0)
        return rc;
    im->slot_high = *slot + 1;
    return 0;
}

int image_reserve(struct image *im, uint64_t segment, uint64_t incarnation, uint64_t *copied)
{
    struct image_segment *s = &im->segments[segment];
    uint64_t slot;
    if (s->slot == IMAGE_SLOT_NONE || s->incarnation != incarnation) {
        give_up_copy(im, s);
        int rc = take_slot(im, &slot);
        if (rc != 0)
            return rc;
        im->slots[slot] |= IMAGE_SLOT_PENDING;
        s->slot = (uint32_t)slot;
        s->incarnation = incarnation;
        s->copied = 0;
        im->segment_high = max_u64(im->segment_high, segment + 1);
    }
    *copied = s->copied;
    return 0;
}

int image_write(struct image *im, uint64_t segment, const void *data, uint64_t at, uint64_t to)
{
    struct image_segment *s = &im->segments[segment];
    if (to <= s->copied)
        return 0;
    if (to > im->super.segment_bytes) /* else the next slot, which may be listed, would suffer */
        return error_set(SHMKV_EINVAL, "%s: %llu bytes do not fit the place of a segment",
                         im->file.path, (unsigned long long)to);
    uint64_t bytes = align_up(to, PAGE_BYTES) - at;
    im->slots[s->slot] |= IMAGE_SLOT_WRITTEN;
    im->written = true;
    int rc = file_write(&im->file, data, bytes, image_position(im, s->slot, at));
    if (rc != 0)
        return image_doubt(im, rc);
    s->copied = to;
    im->bytes_written += bytes;
    if (to == im->super.segment_bytes) /* full: the disk may begin, see also forget_full() */
        file_hint(&im->file, image_position(im, s->slot, 0), to, FILE_NO_MORE);
    return 0;
}

/* ---- reading ------------------------------------------------------------------------------- */

const struct image_entry *image_listed(const struct image *im, uint64_t segment)
{
    return &im->segments[segment].listed;
}
