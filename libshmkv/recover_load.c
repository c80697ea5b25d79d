/* SPDX-License-Identifier: MIT */
/*
 * recover_load.c - segments from the file into the arena, each by one thread, in steps that stay in
 * the processor's cache until their records are verified and entered.
 *
 * The bytes of a file are nobody's word: each record is bounded by what is listed before it is
 * looked at, and verified before it is believed.
 */
#include "recover_parts.h"

#include <stdio.h>

#include "error.h"

#define STEP (128ull << 10)
#define MOST_OF_HUGE (HUGE_PAGE_BYTES / 16 * 15)
#define SHOW_NS 100000000u

/* The segments that one thread loads: one, or a run. */
struct load {
    uint64_t id;
    uint64_t bytes; /* that are listed, all segments of a run together */
    uint64_t seed;
    char *base;
    bool taken; /* it has its memory */
};

/* Is segment @id listed as one in which the run goes on that fills the one before? */
static bool goes_on(const struct recovery *v, uint64_t id)
{
    const struct image_entry *e = image_listed(v->im, id);
    if (id == 0 || e->bytes == 0 || (e->flags & IMAGE_RUN_REST) == 0)
        return false;
    const struct image_entry *before = image_listed(v->im, id - 1);
    return before->flags != 0 && before->bytes == v->a->segment_mask + 1 &&
           before->incarnation == e->incarnation;
}

uint64_t recover_load_run(const struct recovery *v, uint64_t id, uint64_t *bytes)
{
    uint64_t n = 1;
    *bytes = image_listed(v->im, id)->bytes;
    if ((image_listed(v->im, id)->flags & IMAGE_RUN_HEAD) == 0)
        return n;
    while (id + n < v->segments && goes_on(v, id + n))
        *bytes += image_listed(v->im, id + n++)->bytes;
    return n;
}

static int bad_record(const struct recovery *v, const struct load *l, uint64_t at)
{
    uint64_t segment = l->id + (at >> v->a->segment_shift);
    uint64_t offset = at & v->a->segment_mask;
    const struct image_entry *e = image_listed(v->im, segment);
    return error_set(SHMKV_ECORRUPT,
                     "%s: a record is damaged (segment %llu, offset %llu, byte %llu of the file); "
                     "restore the image from a backup, or save what can be saved with shmkv repair",
                     v->im->file.path, (unsigned long long)segment, (unsigned long long)offset,
                     (unsigned long long)image_position(v->im, e->slot, offset));
}

/* Is it of the cut? */
static bool take_record(struct recover_worker *w, const struct load *l, const struct record *r)
{
    struct recovery *v = w->v;
    w->records++;
    if (record_epoch_of(r->version) > v->epoch) {
        v->dirty[l->id] = 1;
        w->dropped++;
        return false;
    }
    record_mark_published(r); /* its owner may have died before it did */
    w->expiring = w->expiring || record_expires(r);
    return true;
}

/* The next records from @at on that are whole before @end, at most RECOVER_BATCH; returns how many.
 * *@bad: what follows them is none. */
static unsigned find_some(const struct load *l, uint64_t at, uint64_t end,
                          const struct record **found, bool *bad)
{
    unsigned n = 0;
    while (n < RECOVER_BATCH && at + sizeof(struct record) <= end) {
        const struct record *r = (const void *)(l->base + at);
        *bad = r->klen == 0 || record_size(r) > l->bytes - at;
        if (*bad || record_size(r) > end - at)
            break;
        found[n++] = r;
        at += record_size(r);
    }
    return n;
}

/* The same, verified: *@at is behind them; returns how many of them, in @batch, are to be entered,
 * or an error. */
static int walk_some(struct recover_worker *w, const struct load *l, uint64_t *at, uint64_t end,
                     const struct record **batch)
{
    const struct record *found[RECOVER_BATCH];
    bool bad = false;
    unsigned n = find_some(l, *at, end, found, &bad);
    if (bad && n == 0)
        return bad_record(w->v, l, *at);
    unsigned valid = w->v->reading ? record_valid_some(found, n, l->seed) : n;
    if (valid != n)
        return bad_record(w->v, l, (uint64_t)((const char *)found[valid] - l->base));
    int taken = 0;
    for (unsigned i = 0; i < n; i++) {
        batch[taken] = found[i];
        taken += take_record(w, l, found[i]);
        *at += record_size(found[i]);
    }
    return taken;
}

/* The records from *@at on that are whole before @end. */
static int walk(struct recover_worker *w, const struct load *l, uint64_t *at, uint64_t end)
{
    const struct record *batch[RECOVER_BATCH];
    uint64_t from;
    do {
        from = *at;
        int n = walk_some(w, l, at, end, batch);
        if (n < 0)
            return n;
        recover_index_add(w, batch, (unsigned)n);
    } while (*at != from);
    return *at != end && end == l->bytes ? bad_record(w->v, l, *at) : 0;
}

static void show(struct recover_worker *w, uint64_t bytes)
{
    const struct recover_options *opt = w->v->opt;
    uint64_t done = add_relaxed(&w->v->done, bytes) + bytes; /* relaxed: a count for people */
    if (!w->caller || opt->progress == NULL)
        return;
    uint64_t now = clock_mono_ns();
    if (now - w->shown_ns < SHOW_NS && done != w->v->bytes)
        return;
    w->shown_ns = now;
    opt->progress(opt->arg, done, w->v->bytes);
}

/* Memory from @at on, a huge page's worth at most.  What a segment lacks to its last huge page is
 * taken too if that is hardly anything. */
static int take_memory(const struct recovery *v, const struct load *l, uint64_t at)
{
    uint64_t offset = arena_segment_start(v->a, l->id) + at;
    uint64_t bytes = min_u64(align_up(l->bytes, PAGE_BYTES) - at, HUGE_PAGE_BYTES);
    bool most = bytes >= MOST_OF_HUGE && v->a->segment_mask + 1 >= HUGE_PAGE_BYTES;
    if (most && arena_take_huge(v->a, offset, HUGE_PAGE_BYTES) == 0)
        return 0;
    return arena_take_huge(v->a, offset, bytes);
}

static int read_step(struct recover_worker *w, const struct load *l, uint64_t at, uint64_t n)
{
    const struct recovery *v = w->v;
    uint64_t id = l->id + (at >> v->a->segment_shift);
    int rc = !l->taken && at % HUGE_PAGE_BYTES == 0 ? take_memory(v, l, at) : 0;
    if (rc != 0)
        return rc;
    show(w, n);
    return image_read(v->im, image_listed(v->im, id)->slot, l->base + at, at & v->a->segment_mask,
                      n);
}

static int load_bytes(struct recover_worker *w, const struct load *l)
{
    uint64_t walked = 0;
    int rc = 0;
    uint64_t step = min_u64(STEP, w->v->a->segment_mask + 1); /* a run's are apart in the file */
    for (uint64_t at = 0; rc == 0 && at < l->bytes; at += step) {
        uint64_t n = min_u64(step, l->bytes - at);
        if (w->v->reading)
            rc = read_step(w, l, at, n);
        if (rc == 0)
            rc = walk(w, l, &walked, at + n);
    }
    return rc;
}

/* The descriptors of what was loaded; the states come when all is decided. */
static void describe(const struct recovery *v, uint64_t id, uint64_t n)
{
    for (uint64_t i = id; i < id + n; i++) {
        const struct image_entry *e = image_listed(v->im, i);
        struct segment *s = segment_at(v->a, i);
        store_relaxed(&s->incarnation, e->incarnation); /* relaxed, all: shown by arena_ready() */
        store_relaxed(&s->birth, e->birth);
        store_relaxed(&s->used, e->bytes);
        store_relaxed(&s->taken, align_up(e->bytes, PAGE_BYTES));
    }
}

/* A run holds one record, which begins in its first segment and ends in its last. */
static bool is_run_whole(const struct recovery *v, const struct load *l, uint64_t n)
{
    const struct record *r = (const void *)l->base;
    return n > 1 && l->bytes > (n - 1) << v->a->segment_shift && record_size(r) == l->bytes;
}

/*
 * Segments that are smaller than a huge page, and together fill one but for hardly anything, are
 * given it; false: each of them is to take what it needs, no more, for that may be all there is.
 */
static bool take_group(const struct recovery *v, uint64_t id)
{
    uint64_t bytes = 0, offset = arena_segment_start(v->a, id);
    if (v->group == 1 || id + v->group > v->segments)
        return false;
    for (uint64_t i = id; i < id + v->group; i++) {
        const struct image_entry *e = image_listed(v->im, i);
        if (e->bytes == 0 || e->flags != 0)
            return false;
        bytes += e->bytes;
    }
    if (bytes < MOST_OF_HUGE)
        return false;
    bool taken = arena_take_huge(v->a, offset, HUGE_PAGE_BYTES) == 0;
    if (!taken)
        arena_release(v->a, offset, HUGE_PAGE_BYTES);
    return taken;
}

static int load_segment(struct recover_worker *w, uint64_t id, bool taken)
{
    struct recovery *v = w->v;
    const struct image_entry *e = image_listed(v->im, id);
    struct load l = {.id = id, .seed = record_seed(id, e->incarnation)};
    if (e->bytes == 0)
        return 0;
    if ((e->flags & IMAGE_RUN_REST) != 0) /* loaded with its head */
        return goes_on(v, id) ? 0 : bad_record(v, &l, 0);
    l.taken = taken;
    l.base = arena_at(v->a, arena_segment_start(v->a, id));
    uint64_t n = recover_load_run(v, id, &l.bytes);
    int rc = load_bytes(w, &l);
    if (rc == 0 && (e->flags & IMAGE_RUN_HEAD) != 0 && !is_run_whole(v, &l, n))
        rc = bad_record(v, &l, 0);
    if (v->reading)
        describe(v, id, n);
    return rc;
}

/* The first failure counts; the text is the thread's, so it is handed over. */
static void fail(struct recovery *v, int rc)
{
    uint32_t none = 0;
    if (cas_acq_rel(&v->text_taken, &none, 1)) {
        v->rc = rc;
        snprintf(v->text, sizeof(v->text), "%s", error_text());
    }
    store_relaxed(&v->failed, 1); /* relaxed: rc and text are read after the threads are joined */
}

static int load_group(struct recover_worker *w, uint64_t id)
{
    const struct recovery *v = w->v;
    bool taken = v->reading && take_group(v, id);
    int rc = 0;
    for (uint64_t i = id; rc == 0 && i < id + v->group && i < v->segments; i++)
        rc = load_segment(w, i, taken);
    return rc;
}

void recover_load(struct recover_worker *w)
{
    struct recovery *v = w->v;
    while (load_relaxed(&v->failed) == 0) {
        uint64_t id = add_relaxed(&v->next, v->group); /* relaxed: hands out numbers */
        recover_ahead_turn(v);
        if (id >= v->segments)
            break;
        int rc = load_group(w, id);
        if (rc != 0) {
            fail(v, rc);
            return;
        }
    }
    recover_index_flush(w);
}
