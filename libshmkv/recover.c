/* SPDX-License-Identifier: MIT */
/* recover.c - see recover.h for the steps, and for what a death in each leaves. */
#include "recover_parts.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "point.h"
#include "stats.h"

#define STAMP_MASK ((1ull << CLAIM_EPOCH_BITS) - 1)
#define AHEAD_LEAST (16ull << 20) /* less is there before another thread has begun */
#define BYTES_PER_KEY 96u         /* where the image does not say how many keys there are */

/* ---- threads ------------------------------------------------------------------------------- */

static void *worker_main(void *arg)
{
    recover_load(arg);
    return NULL;
}

static void *ahead_main(void *arg)
{
    recover_ahead(arg);
    return NULL;
}

static unsigned thread_count(const struct recover_options *opt, uint64_t bytes)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t n = opt->threads != 0 ? opt->threads : (uint64_t)(processors > 0 ? processors : 1);
    n = min_u64(n, bytes / (1ull << 20) + 1); /* a small store is done before a thread has begun */
    return (unsigned)min_u64(n, RECOVER_THREADS_MOST);
}

/* The program's signals are for its own threads. */
static bool start(pthread_t *thread, void *(*run)(void *), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(thread, NULL, run, arg) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

/* The first is the caller's; fewer threads are slower, that is all. */
static unsigned start_all(pthread_t *threads, struct recover_worker *workers, unsigned n)
{
    unsigned started = 1;
    workers[0].caller = true;
    while (started < n && recover_index_attach(&workers[started]) &&
           start(&threads[started], worker_main, &workers[started]))
        started++;
    return started;
}

/* The caller's share of a pass, with the disk at work meanwhile. */
static void load_and_read_ahead(struct recover_worker *w)
{
    struct recovery *v = w->v;
    pthread_t thread;
    bool ahead = v->reading && v->bytes >= AHEAD_LEAST && start(&thread, ahead_main, v);
    recover_load(w);
    if (!ahead)
        return;
    store_relaxed(&v->ahead_ends, 1); /* relaxed: released by the next */
    recover_ahead_turn(v);
    pthread_join(thread, NULL);
}

/* Go through all segments once; @total receives what the threads have counted. */
static int pass(struct recovery *v, struct recover_worker *total)
{
    struct recover_worker *workers = calloc(RECOVER_THREADS_MOST, sizeof(*workers));
    pthread_t threads[RECOVER_THREADS_MOST];
    unsigned n = thread_count(v->opt, v->bytes);
    for (unsigned i = 0; workers != NULL && i < n; i++)
        workers[i].v = v;
    if (workers == NULL || !recover_index_attach(&workers[0])) {
        free(workers);
        return error_set(SHMKV_ESYSTEM, "%s: no memory for its recovery", v->im->file.path);
    }
    v->alone = n == 1;
    store_relaxed(&v->next, 0); /* relaxed: before the threads */
    unsigned started = start_all(threads, workers, n);
    load_and_read_ahead(&workers[0]);
    *total = (struct recover_worker){0};
    for (unsigned i = 0; i < started; i++) {
        if (i != 0)
            pthread_join(threads[i], NULL);
        total->records += workers[i].records;
        total->dropped += workers[i].dropped;
        total->pairs += workers[i].pairs;
        total->tombstones += workers[i].tombstones;
        total->expiring = total->expiring || workers[i].expiring;
        add_relaxed(&v->left, workers[i].tickets); /* relaxed: the threads are joined */
    }
    for (unsigned i = 0; i < n; i++)
        recover_index_free(&workers[i]);
    free(workers);
    return v->rc != 0 ? error_set(v->rc, "%s", v->text) : 0;
}

static void forget_dead(const struct recovery *v)
{
    for (uint64_t id = 0; id < v->segments; id++)
        store_relaxed(&v->a->dead[id], 0); /* relaxed: nobody else is there */
}

/* Load everything; if the table was too small, make one that is not, and enter all again. */
static int load_all(struct recovery *v, struct recover_worker *total)
{
    uint64_t keys = v->im->head.keys != 0 ? v->im->head.keys : v->bytes / BYTES_PER_KEY;
    keys = min_u64(keys, v->bytes / sizeof(struct record));
    int rc = recover_index_begin(v, max_u64(keys, v->opt->keys));
    v->reading = true;
    if (rc == 0)
        rc = pass(v, total);
    POINT("recover.loaded");
    if (rc != 0 || load_relaxed(&v->full) == 0)
        return rc;
    recover_index_drop(v);
    forget_dead(v);
    v->reading = false;
    rc = recover_index_begin(v, total->records);
    if (rc == 0)
        rc = pass(v, total);
    if (rc == 0 && load_relaxed(&v->full) != 0)
        rc = error_set(SHMKV_ENOSPC,
                       "%s: the index does not fit the store's address range; recover it on a "
                       "machine without a limit of it (ulimit -v)",
                       v->a->name);
    return rc;
}

/* ---- segments of which something was dropped ------------------------------------------------- */

/* The current records of a segment, closed up, in a new life of it; returns their bytes. */
static uint64_t compact(struct recovery *v, uint64_t id, uint64_t life)
{
    const struct arena *a = v->a;
    const struct segment *s = segment_at(a, id);
    uint64_t start = arena_segment_start(a, id), to = 0;
    uint64_t from_seed = record_seed(id, load_relaxed(&s->incarnation)); /* relaxed: all ours */
    uint64_t to_seed = record_seed(id, life);
    for (uint64_t at = 0, bytes; at < load_relaxed(&s->used); at += bytes) {
        const struct record *r = arena_at(a, start + at);
        bytes = record_size(r);
        _Atomic uint64_t *slot = recover_index_find(v, r, start + at);
        if (slot == NULL)
            continue;
        struct record *copy = (void *)(v->scratch + to);
        record_copy(copy, r, bytes, from_seed, to_seed);
        record_mark_published(copy);
        store_relaxed(slot, slot_record(slot_tag_of(load_relaxed(slot)), start + to));
        to += bytes;
    }
    memcpy(arena_at(a, start), v->scratch, to);
    return to;
}

static int rewrite(struct recovery *v, uint64_t id)
{
    const struct arena *a = v->a;
    struct segment *s = segment_at(a, id);
    uint64_t bytes, copied;
    uint64_t stamp = add_relaxed(&a->sb->incarnations, 1) + 1; /* relaxed, all: nobody is there */
    uint64_t life = a->sb->generation << CLAIM_EPOCH_BITS | stamp;
    if (recover_load_run(v, id, &bytes) > 1)
        bytes = 0; /* one record, and that was dropped */
    else
        bytes = compact(v, id, life);
    store_relaxed(&s->incarnation, life);
    store_relaxed(&s->used, bytes);
    store_relaxed(&a->dead[id], 0);
    if (bytes == 0 || v->im->file.readonly)
        return 0;
    int rc = image_reserve(v->im, id, life, &copied);
    return rc != 0 ? rc : image_write(v->im, id, arena_at(a, arena_segment_start(a, id)), 0, bytes);
}

/* A run that was dropped goes as a whole. */
static void drop_rest(const struct recovery *v, uint64_t id)
{
    uint64_t bytes;
    uint64_t n = recover_load_run(v, id, &bytes);
    for (uint64_t i = id + 1; i < id + n; i++)
        store_relaxed(&segment_at(v->a, i)->used, 0); /* relaxed: nobody else is there */
}

static int rewrite_dirty(struct recovery *v)
{
    int rc = 0;
    v->scratch = calloc(1, v->a->segment_mask + 1);
    if (v->scratch == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for its recovery", v->im->file.path);
    for (uint64_t id = 0; rc == 0 && id < v->segments; id++) {
        if (v->dirty[id] == 0)
            continue;
        rc = rewrite(v, id);
        drop_rest(v, id);
        POINT("recover.rewritten");
    }
    free(v->scratch);
    return rc;
}

/* ---- the end ------------------------------------------------------------------------------- */

/* The states of what begins at @id, a segment or a run; returns how many segments that are. */
static uint64_t set_state(const struct recovery *v, uint64_t id)
{
    const struct arena *a = v->a;
    struct segment *s = segment_at(a, id);
    uint64_t bytes, n = recover_load_run(v, id, &bytes);
    uint64_t x = load_relaxed(&s->incarnation); /* relaxed, all: shown by arena_ready() */
    if (load_relaxed(&s->used) == 0)            /* a run that was dropped is freed one by one */
        n = 1;
    if (load_relaxed(&s->taken) == 0)
        return n;
    max_seq_cst(&a->sb->segment_high, id + n);
    if (n == 1) {
        bool empty = load_relaxed(&s->used) == 0;
        store_relaxed(&s->state, claim_word(empty ? SEGMENT_FREE : SEGMENT_SEALED, 0, 0));
        return n;
    }
    store_relaxed(&s->used, bytes);
    store_relaxed(&s->run, n);
    store_relaxed(&s->state, claim_word(SEGMENT_RUN_HEAD, 0, x));
    for (uint64_t i = id + 1; i < id + n; i++)
        store_relaxed(&segment_at(a, i)->state, claim_word(SEGMENT_RUN_REST, 0, x));
    return n;
}

static void set_states(const struct recovery *v)
{
    for (uint64_t id = 0; id < v->segments;)
        id += set_state(v, id);
}

static void set_clock(const struct recovery *v)
{
    struct superblock *sb = v->a->sb;
    sb->clock_real_ms = max_u64(clock_real_ms(), v->im->head.clock_ms);
    sb->clock_boot_ms = clock_boot_ms();
}

static uint64_t list(const struct recovery *v, struct image_item *items)
{
    uint64_t n = 0;
    for (uint64_t id = 0; id < v->segments; id++) {
        const struct segment *s = segment_at(v->a, id);
        const struct image_entry *e = image_listed(v->im, id);
        unsigned kind = claim_kind(load_relaxed(&s->state)); /* relaxed, all: nobody is there */
        bool run = kind == SEGMENT_RUN_HEAD || kind == SEGMENT_RUN_REST;
        if (!run && kind != SEGMENT_SEALED)
            continue;
        items[n++] = (struct image_item){
            .segment = id,
            .incarnation = load_relaxed(&s->incarnation),
            .birth = load_relaxed(&s->birth),
            .bytes = run ? e->bytes : load_relaxed(&s->used),
            .flags = run ? e->flags : 0,
        };
    }
    return n;
}

/* Epochs that nobody has used. */
static void set_epochs(const struct recovery *v)
{
    struct superblock *sb = v->a->sb;
    uint64_t g = v->im->head.ceiling + 1;
    store_relaxed(&sb->epoch, g); /* relaxed, all: shown by arena_ready() */
    store_relaxed(&sb->ceiling, g + IMAGE_CEILING);
    store_relaxed(&sb->horizon, 0); /* R18: no tombstone is dropped before it was worked out */
}

/* What makes it stay so: the new generation. */
static int commit(struct recovery *v, uint64_t keys)
{
    const struct superblock *sb = v->a->sb;
    uint64_t g = load_relaxed(&sb->epoch); /* relaxed, all: nobody else is there */
    struct image_cut cut = {
        .epoch = g - 1,
        .ceiling = load_relaxed(&sb->ceiling),
        .clock_ms = arena_clock(v->a),
        .keys = keys,
        .size = load_relaxed(&sb->size),
        .interval_ms = load_relaxed(&sb->interval_ms),
    };
    struct image_item *items = calloc(v->segments + 1, sizeof(*items));
    if (items == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for its recovery", v->im->file.path);
    image_set_generation(v->im, sb->generation);
    POINT("recover.committing");
    int rc = image_commit(v->im, &cut, items, list(v, items));
    POINT("recover.committed");
    free(items);
    return rc;
}

static void count_keys(const struct recovery *v, const struct recover_worker *total)
{
    _Atomic uint64_t *sums = v->a->sync->retired;
    add_relaxed(&sums[STAT_keys_added], (uint64_t)total->pairs); /* relaxed: counters */
    add_relaxed(&sums[STAT_tombstones_added], (uint64_t)total->tombstones);
    if (total->expiring)
        store_relaxed(&v->a->sb->expiring, 1); /* relaxed: shown by arena_ready() */
}

static int check_geometry(const struct recovery *v)
{
    const struct image_super *s = &v->im->super;
    if (s->segment_bytes == v->a->segment_mask + 1 && s->segment_count <= arena_segments(v->a) &&
        s->hash_seed == v->a->sb->hash_seed)
        return 0;
    return error_set(SHMKV_EINVAL, "%s: the arena was not made for this image", v->im->file.path);
}

static int recover(struct recovery *v, struct recover_worker *total)
{
    int rc = check_geometry(v);
    uint64_t stamp = 0;
    for (uint64_t id = 0; id < v->segments; id++) {
        v->bytes += image_listed(v->im, id)->bytes;
        stamp = max_u64(stamp, image_listed(v->im, id)->incarnation & STAMP_MASK);
    }
    /* States of runs hold theirs, and no two may be the same; relaxed: nobody else is there. */
    store_relaxed(&v->a->sb->incarnations, stamp);
    if (rc == 0)
        rc = load_all(v, total);
    if (rc == 0)
        rc = rewrite_dirty(v);
    if (rc != 0)
        return rc;
    set_states(v);
    set_clock(v);
    count_keys(v, total);
    recover_index_show(v, (uint64_t)total->tombstones);
    set_epochs(v);
    return v->im->file.readonly ? 0 : commit(v, (uint64_t)(total->pairs + total->tombstones));
}

int recover_store(struct image *im, const struct participant *p, const struct recover_options *opt,
                  struct recover_result *result)
{
    static const struct recover_options defaults;
    uint64_t begun = clock_mono_ns();
    struct recover_worker total = {0};
    int rc = im->file.readonly ? 0 : image_begin(im);
    if (rc != 0)
        return rc;
    struct recovery v = {.im = im, .p = p, .a = p->arena, .opt = opt != NULL ? opt : &defaults};
    v.segments = im->super.segment_count;
    v.group = max_u64(HUGE_PAGE_BYTES >> p->arena->segment_shift, 1);
    v.epoch = im->head.epoch;
    p->arena->sb->generation = im->head.generation + 1;
    v.dirty = calloc(v.segments, 1);
    rc = v.dirty != NULL
             ? recover(&v, &total)
             : error_set(SHMKV_ESYSTEM, "%s: no memory for its recovery", im->file.path);
    free(v.dirty);
    *result = (struct recover_result){
        .records = total.records,
        .keys = (uint64_t)(total.pairs + total.tombstones),
        .dropped = total.dropped,
        .bytes = v.bytes,
        .ms = (clock_mono_ns() - begun) / 1000000,
    };
    return rc;
}
