/* SPDX-License-Identifier: MIT */
/* verify_image.c - see verify_image.h. */
#include "verify_image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "error.h"
#include "record.h"

/* A segment, or a run of them, in memory. */
struct piece {
    uint64_t id, segments;
    uint64_t bytes; /* that were listed */
    uint64_t kept;  /* of them, closed up at the start */
    char *data;
};

/* What was seen of the records of an image. */
struct survey {
    struct image *im;
    struct image_sink *sink;
    uint64_t records, lost; /* bytes */
    uint64_t epoch;         /* the highest */
};

static bool is_run(const struct image_entry *e, uint32_t flag)
{
    return e->bytes != 0 && (e->flags & flag) != 0;
}

/* A run goes on as recovery has it: behind a full segment, in the same life. */
static void measure(const struct image *im, struct piece *p)
{
    const struct image_entry *head = image_listed(im, p->id), *e = head;
    p->segments = 1;
    p->bytes = head->bytes;
    while (is_run(head, IMAGE_RUN_HEAD) && e->bytes == im->super.segment_bytes &&
           p->id + p->segments < im->super.segment_count) {
        e = image_listed(im, p->id + p->segments);
        if (!is_run(e, IMAGE_RUN_REST) || e->incarnation != head->incarnation)
            break;
        p->bytes += e->bytes;
        p->segments++;
    }
}

static uint64_t file_place(const struct image *im, const struct piece *p, uint64_t at)
{
    uint64_t n = at / im->super.segment_bytes;
    return image_position(im, image_listed(im, p->id + n)->slot, at % im->super.segment_bytes);
}

static void lost(struct survey *s, const struct piece *p, uint64_t from, uint64_t to)
{
    s->lost += to - from;
    image_found(s->sink,
                "segment %llu, offset %llu: %llu bytes are damaged (byte %llu of the file)",
                (unsigned long long)p->id, (unsigned long long)from,
                (unsigned long long)(to - from), (unsigned long long)file_place(s->im, p, from));
}

/* Segments of a run lie apart in the file; what cannot be read leaves a hole of zeros. */
static int read_piece(struct survey *s, struct piece *p)
{
    uint64_t step = s->im->super.segment_bytes, at = 0;
    p->data = calloc(p->segments, step);
    if (p->data == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for a segment", s->im->file.path);
    for (uint64_t i = 0; i < p->segments; i++, at += step) {
        const struct image_entry *e = image_listed(s->im, p->id + i);
        if (image_salvage_read(s->im, e->slot, p->data + at, e->bytes) != 0)
            image_found(s->sink, "segment %llu: %s", (unsigned long long)p->id + i, error_text());
    }
    return 0;
}

/* The next place from @at on, where a record validates; the end if there is none. */
static uint64_t next_valid(const struct piece *p, uint64_t at, uint64_t seed)
{
    while (at < p->bytes &&
           !record_valid((const struct record *)(const void *)(p->data + at), p->bytes - at, seed))
        at += 8;
    return at < p->bytes ? at : p->bytes;
}

/* A run is one record, which needs it; what is behind that, or in its place, has one segment. */
static void keep(struct survey *s, struct piece *p, uint64_t at)
{
    const struct record *r = (const void *)(p->data + at);
    uint64_t bytes = record_size(r);
    if (p->kept != 0 && p->kept + bytes > s->im->super.segment_bytes) {
        lost(s, p, at, at + bytes);
        return;
    }
    s->records++;
    s->epoch = max_u64(s->epoch, record_epoch_of(r->version));
    memmove(p->data + p->kept, r, bytes);
    p->kept += bytes;
}

/* Nothing of it is damaged, and yet recovery refuses it. */
static void check_run(struct survey *s, const struct piece *p)
{
    if (is_run(image_listed(s->im, p->id), IMAGE_RUN_HEAD) && p->kept == p->bytes &&
        p->kept <= s->im->super.segment_bytes)
        image_found(s->sink,
                    "segment %llu is listed as the beginning of a value of several segments, and "
                    "holds none",
                    (unsigned long long)p->id);
}

static int survey_piece(struct survey *s, struct piece *p)
{
    measure(s->im, p);
    uint64_t seed = record_seed(p->id, image_listed(s->im, p->id)->incarnation);
    int rc = read_piece(s, p);
    for (uint64_t at = 0; rc == 0 && at < p->bytes;) {
        uint64_t found = next_valid(p, at, seed);
        if (found != at)
            lost(s, p, at, found);
        at = found;
        if (at == p->bytes)
            break;
        uint64_t bytes = record_size((const struct record *)(const void *)(p->data + at));
        keep(s, p, at);
        at += bytes;
    }
    if (rc == 0)
        check_run(s, p);
    return rc;
}

/* Every record of the image; @fn, if not NULL, gets each piece. */
static int survey(struct survey *s, int (*fn)(void *arg, const struct piece *p), void *arg)
{
    int rc = 0;
    for (uint64_t id = 0; rc == 0 && id < s->im->super.segment_count;) {
        struct piece p = {.id = id, .segments = 1};
        const struct image_entry *e = image_listed(s->im, id);
        if (is_run(e, IMAGE_RUN_REST)) {
            image_found(s->sink, "segment %llu is the rest of a value whose beginning is lost",
                        (unsigned long long)id);
        } else if (e->bytes != 0) {
            rc = survey_piece(s, &p);
            if (rc == 0 && fn != NULL && p.kept != 0)
                rc = fn(arg, &p);
            free(p.data);
        }
        id += p.segments;
    }
    return rc;
}

/* What salvage makes the best of, an opening may refuse: a list that contradicts itself, say. */
static void open_it(const char *path, struct image_sink *sink)
{
    struct image im;
    if (image_open(&im, path, true) != 0)
        image_found(sink, "%s", error_text());
    else
        image_close(&im);
}

int verify_image(const char *path, struct image_sink *sink)
{
    struct image im;
    int rc = image_salvage(&im, path, sink);
    if (rc != 0)
        return rc;
    struct survey s = {.im = &im, .sink = sink};
    rc = survey(&s, NULL, NULL);
    image_close(&im);
    if (rc == 0 && sink->findings == 0)
        open_it(path, sink);
    if (rc == 0 && sink->findings != 0)
        rc = error_set(SHMKV_ECORRUPT,
                       "%s: %llu findings; restore it from a backup, or save what can be saved "
                       "with shmkv repair",
                       path, (unsigned long long)sink->findings);
    return rc;
}

/* ---- repair -------------------------------------------------------------------------------- */

struct rescue {
    struct image *from;
    struct image to;
    struct image_item *items;
    size_t count;
};

static int rescue_piece(void *arg, const struct piece *p)
{
    struct rescue *r = arg;
    uint64_t step = r->from->super.segment_bytes;
    bool run = p->kept > step; /* whatever was listed */
    for (uint64_t i = 0; i < p->segments && i * step < p->kept; i++) {
        const struct image_entry *e = image_listed(r->from, p->id + i);
        uint64_t bytes = min_u64(p->kept - i * step, step), copied;
        uint32_t part = i == 0 ? IMAGE_RUN_HEAD : IMAGE_RUN_REST;
        int rc = image_reserve(&r->to, p->id + i, e->incarnation, &copied);
        if (rc == 0)
            rc = image_write(&r->to, p->id + i, p->data + i * step, 0, bytes);
        if (rc != 0)
            return rc;
        r->items[r->count++] =
            (struct image_item){.segment = p->id + i,
                                .incarnation = e->incarnation,
                                .birth = min_u64(e->birth, r->from->head.ceiling),
                                .bytes = bytes,
                                .flags = run ? part : 0u};
    }
    return 0;
}

static int make_out(struct rescue *r, const char *out)
{
    struct image_geometry g = {.hash_seed = r->from->super.hash_seed,
                               .segment_bytes = r->from->super.segment_bytes,
                               .segment_count = r->from->super.segment_count,
                               .size = r->from->head.size};
    if (getrandom(g.uuid, sizeof(g.uuid), 0) != (ssize_t)sizeof(g.uuid))
        return error_errno(SHMKV_ESYSTEM, "getrandom");
    r->items = calloc(g.segment_count, sizeof(*r->items));
    if (r->items == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for its table", out);
    return image_create(&r->to, out, &g, 0);
}

/*
 * If the list was whole, so is the cut.  Else a later commit may be lost, and with it the E and the
 * ceiling by which to tell what belongs to it: what validates counts, and versions go on above it.
 */
static int commit(struct rescue *r, const struct survey *s)
{
    const struct image_commit_head *h = &r->from->head;
    uint64_t seen = min_u64(s->epoch, IMAGE_EPOCH_MOST - IMAGE_CEILING);
    uint64_t epoch = r->from->incomplete ? max_u64(h->epoch, seen) : h->epoch;
    struct image_cut cut = {
        .epoch = epoch,
        .ceiling = max_u64(h->ceiling, min_u64(epoch + IMAGE_CEILING, IMAGE_EPOCH_MOST)),
        .clock_ms = h->clock_ms,
        .keys = h->keys,
        .size = h->size,
        .interval_ms = r->from->super.interval_ms,
    };
    image_set_generation(&r->to, h->generation + 1);
    return image_commit(&r->to, &cut, r->items, r->count);
}

static int rescue_all(struct rescue *r, const char *out, struct image_sink *sink)
{
    struct survey s = {.im = r->from, .sink = sink};
    int rc = make_out(r, out);
    if (rc != 0)
        return rc;
    rc = survey(&s, rescue_piece, r);
    if (rc == 0)
        rc = commit(r, &s);
    image_close(&r->to);
    if (rc == 0)
        image_note(sink, "%llu records saved, %llu bytes lost", (unsigned long long)s.records,
                   (unsigned long long)s.lost);
    return rc;
}

int verify_image_repair(const char *path, const char *out, struct image_sink *sink)
{
    struct image im;
    struct rescue r = {.from = &im};
    int rc = image_salvage(&im, path, sink);
    if (rc != 0)
        return rc;
    rc = rescue_all(&r, out, sink);
    free(r.items);
    image_close(&im);
    return rc;
}
