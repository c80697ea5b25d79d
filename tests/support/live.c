/* SPDX-License-Identifier: MIT */
/* live.c - see live.h. */
#include "live.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleaner.h"
#include "collect.h"
#include "error.h"
#include "scratch.h"

uint64_t live_size = LIVE_SIZE;

static void must(int rc)
{
    if (rc != 0)
        fail_msg("live: %s", shmkv_last_error());
}

/* An arena that nobody sees yet, of the image's geometry if @g is not NULL. */
static void make_arena(struct live *l, const struct image_geometry *g)
{
    static unsigned count;
    char name[64];
    bool created;
    struct arena_options o = {.create = true, .exclusive = true, .size = live_size};
    snprintf(name, sizeof(name), "shm:test-live-%ld-%u", (long)getpid(), ++count);
    must(arena_open(&l->arena, name, &o, &created));
    struct superblock *sb = l->arena.sb;
    sb->image_inode = 1; /* whichever: records are marked, tombstones name first records */
    l->arena.imaged = l->arena.marks = true;
    l->arena.tombstone_bytes = TOMBSTONE_BYTES;
    if (g != NULL) {
        sb->hash_seed = g->hash_seed;
        hash_init(&l->arena.hash_secret, g->hash_seed);
        memcpy(sb->uuid, g->uuid, sizeof(sb->uuid));
    }
    must(process_join(&l->process, &l->arena, NULL, NULL));
    writer_begin(&l->writer, &l->arena, l->process.index);
}

static void drop_arena(struct live *l)
{
    char name[64];
    snprintf(name, sizeof(name), "%s", l->arena.name);
    writer_end(&l->writer);
    process_leave(&l->process);
    arena_close(&l->arena);
    arena_destroy(name, NULL, true);
}

void live_create(struct live *l, const char *path)
{
    *l = (struct live){0};
    make_arena(l, NULL);
    const struct superblock *sb = l->arena.sb;
    struct image_geometry g = {.hash_seed = sb->hash_seed,
                               .segment_bytes = sb->segment_bytes,
                               .segment_count = sb->segment_count,
                               .size = live_size};
    memcpy(g.uuid, sb->uuid, sizeof(g.uuid));
    must(image_create(&l->image, path, &g, 0));
    must(recover_store(&l->image, &l->writer.self, NULL, &l->result));
    must(arena_ready(&l->arena));
}

int live_recover(struct live *l, const char *path, unsigned threads)
{
    struct recover_options o = {.threads = threads};
    struct image_geometry g;
    *l = (struct live){0};
    int rc = image_open(&l->image, path, false);
    if (rc != 0)
        return rc;
    g.hash_seed = l->image.super.hash_seed;
    memcpy(g.uuid, l->image.super.uuid, sizeof(g.uuid));
    make_arena(l, &g);
    rc = recover_store(&l->image, &l->writer.self, &o, &l->result);
    if (rc == 0) {
        must(arena_ready(&l->arena));
        return 0;
    }
    char text[ERROR_TEXT_BYTES];
    snprintf(text, sizeof(text), "%s", error_text());
    live_lose(l);
    return error_set(rc, "%s", text);
}

void live_lose(struct live *l)
{
    image_close(&l->image);
    drop_arena(l);
}

uint64_t live_cut(struct live *l)
{
    uint64_t e = epoch_now(&l->arena);
    epoch_raise_above(&l->arena, e);
    return e;
}

/* As design.md says: every segment that is not HOLE, FREE or PUNCHING. */
static bool is_listed(const struct segment *s)
{
    unsigned kind = claim_kind(load_acquire(&s->state));
    return kind > SEGMENT_OPENING && kind < SEGMENT_PUNCHING && load_relaxed(&s->used) != 0;
}

/* Two commits of three carry what is new if it is little, so all orders of both kinds come up. */
static bool carries(const struct live *l)
{
    return l->image.head.sequence % 3 != 0;
}

/* A segment, or all of a run. */
static int copy(struct live *l, uint64_t id, struct image_item *items, uint64_t *n)
{
    const struct segment *s = segment_at(&l->arena, id);
    uint64_t span = segment_span(&l->arena, id), step = l->arena.segment_mask + 1;
    uint64_t used = load_relaxed(&s->used), copied;
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && i < span; i++) {
        struct image_item *item = &items[(*n)++];
        *item = (struct image_item){.segment = id + i,
                                    .incarnation = load_relaxed(&s->incarnation),
                                    .birth = load_relaxed(&s->birth),
                                    .bytes = min_u64(used - i * step, step)};
        if (span != 1)
            item->flags = i == 0 ? IMAGE_RUN_HEAD : IMAGE_RUN_REST;
        rc = image_reserve(&l->image, id + i, item->incarnation, &copied);
        uint64_t at = copied & ~(uint64_t)(PAGE_BYTES - 1);
        const char *start = arena_at(&l->arena, arena_segment_start(&l->arena, id + i));
        uint64_t known = rc == 0 ? image_known(&l->image, id + i) : 0;
        bool little = item->bytes - known <= image_carry_most(&l->image);
        if (rc == 0 && span == 1 && little && carries(l))
            item->carried = start + known;
        else if (rc == 0)
            rc = image_write(&l->image, id + i, start + at, at, item->bytes);
    }
    return rc;
}

int live_commit(struct live *l, uint64_t epoch)
{
    const struct superblock *sb = l->arena.sb;
    uint64_t n = 0, high = load_acquire(&sb->segment_high);
    struct image_item *items = calloc(high + 1, sizeof(*items));
    int rc = image_begin(&l->image);
    for (uint64_t id = 0; rc == 0 && id < high; id++) {
        if (is_listed(segment_at(&l->arena, id)))
            rc = copy(l, id, items, &n);
    }
    struct image_cut cut = {.epoch = epoch,
                            .ceiling = epoch + IMAGE_CEILING,
                            .clock_ms = arena_clock(&l->arena),
                            .size = load_relaxed(&sb->size)};
    if (rc == 0)
        rc = image_commit(&l->image, &cut, items, n);
    free(items);
    return rc;
}

int live_checkpoint(struct live *l)
{
    return live_commit(l, live_cut(l));
}

void live_clean(struct live *l)
{
    collect_runs(&l->writer, true);
    cleaner_step(&l->writer);
    grace_pass(&l->arena);
    segment_reclaim(&l->arena);
}

const char *live_get(struct live *l, const char *key)
{
    const struct record *r = record_found(&l->writer, key);
    return index_is_absent(&l->arena, r) ? NULL : record_value(r);
}
