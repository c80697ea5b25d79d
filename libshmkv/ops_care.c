/* SPDX-License-Identifier: MIT */
/* ops_care.c - the public calls that look after a store. */
#include <string.h>

#include "cleaner.h"
#include "clock.h"
#include "collect.h"
#include "error.h"
#include "held.h"
#include "ops.h"

#define LIMBO_PATIENCE_NS 100000000u
#define POLL_NS 1000000u

static void index_stats(struct context *c, struct shmkv_stats *out)
{
    const struct arena *a = &c->store->arena;
    uint64_t outer = epoch_enter(&c->writer.self);
    const struct table *t = table_of(a, table_root(a));
    uint64_t word = load_acquire(&t->tickets);
    out->slots = t->slots;
    out->tickets = (word & TICKETS_CLOSED) != 0 ? 0 : word & TICKETS_COUNT;
    epoch_exit(&c->writer.self, outer);
    for (unsigned i = 0; i < TABLE_AREAS; i++)
        out->index_bytes += load_relaxed(&a->tables[i].taken);
}

static void memory_stats(const struct arena *a, struct shmkv_stats *out)
{
    struct segment_census census;
    segment_count(a, &census);
    out->size = load_relaxed(&a->sb->size);
    out->table_bytes = arena_fixed_bytes(a);
    out->log_bytes = census.taken;
    out->memory = out->table_bytes + out->index_bytes + out->log_bytes;
    out->live_bytes = census.live;
    out->segment_size = a->segment_mask + 1;
    for (unsigned k = SEGMENT_FREE; k < SEGMENT_KINDS; k++)
        out->segments += census.kinds[k];
    out->segments_free = census.kinds[SEGMENT_FREE];
    out->segments_limbo = census.kinds[SEGMENT_LIMBO];
}

static void people_stats(const struct arena *a, uint32_t self, struct shmkv_stats *out)
{
    uint32_t high = epoch_entries(a);
    for (uint32_t i = 0; i < high; i++)
        out->participants += load_relaxed(&a->participants[i].owner) != 0;
    out->processes = process_count(a, self);
}

int shmkv_get_stats(struct shmkv *db, struct shmkv_stats *stats)
{
    struct context *c;
    if (stats == NULL)
        return error_set(SHMKV_EINVAL, "get_stats: the result is NULL");
    int rc = store_context(db, &c);
    if (rc != 0)
        return rc;
    const struct arena *a = &c->store->arena;
    uint64_t sums[STAT_COUNT];
    *stats = (struct shmkv_stats){.epoch = epoch_now(a)};
    stats_sum(a, sums);
#define STAT_COPY(name, text) stats->name = sums[STAT_##name];
    SHMKV_STATS(STAT_COPY)
#undef STAT_COPY
    stats->gets = stats->hits + sums[STAT_misses];
    stats->graces = load_relaxed(&a->sb->safe); /* one for each epoch that is over */
    stats->keys = stats_keys(sums);
    stats->tombstones = stats_tombstones(sums);
    index_stats(c, stats);
    memory_stats(a, stats);
    people_stats(a, c->store->process.index, stats);
    return 0;
}

int shmkv_readers(struct shmkv *db, int (*fn)(void *arg, const struct shmkv_participant *p),
                  void *arg)
{
    struct context *c;
    int rc = store_context(db, &c);
    if (rc != 0)
        return rc;
    if (fn == NULL)
        return error_set(SHMKV_EINVAL, "readers: the callback is NULL");
    const struct arena *a = &c->store->arena;
    uint32_t high = epoch_entries(a);
    uint64_t oldest;
    epoch_oldest(a, &oldest); /* so that what stands is noted, whoever else looks */
    for (uint32_t i = 0; rc == 0 && i < high; i++) {
        struct shmkv_participant p;
        uint64_t owner = load_acquire(&a->participants[i].owner);
        if (owner == 0)
            continue;
        held_look(a, i, owner, &p);
        rc = fn(arg, &p);
    }
    return rc;
}

int shmkv_set_warning(struct shmkv *db, shmkv_warning_fn *fn, void *arg)
{
    struct context *c;
    int rc = store_context(db, &c);
    return rc != 0 ? rc : warn_set(&c->store->warn, db, fn, arg);
}

/* Relaxed: information; the text may be a mixture of two. */
static void durable_stats(const struct store *s, struct shmkv_keeper *keeper)
{
    const struct durable_words *w = &s->arena.sync->durable;
    keeper->checkpoints = load_relaxed(&w->made);
    keeper->failures = load_relaxed(&w->failures);
    keeper->failing = keeper->failures != 0 && keeper->checkpoints == load_relaxed(&w->made_until);
    keeper->checkpoint_ms = load_relaxed(&w->took_ns) / 1000000;
    keeper->error = -(int)load_relaxed(&w->error);
    _Static_assert(sizeof(keeper->error_text) == DURABLE_TEXT, "");
    durable_failure_text(w, keeper->error_text);
    keeper->recovered = s->recovered;
    keeper->recovered_ms = s->recovered_ms;
}

int shmkv_get_keeper(struct shmkv *db, struct shmkv_keeper *keeper)
{
    struct context *c;
    if (keeper == NULL)
        return error_set(SHMKV_EINVAL, "get_keeper: the result is NULL");
    int rc = store_context(db, &c);
    if (rc != 0)
        return rc;
    const struct arena *a = &c->store->arena;
    uint32_t self = c->store->process.index;
    *keeper = (struct shmkv_keeper){0};
    if (load_relaxed(&a->sb->state) == STORE_DEFUNCT || !arena_current(a)) /* relaxed: final */
        return error_set(SHMKV_EDEFUNCT, "%s: the store was removed while it was open; close it",
                         a->name);
    if (!durable_current(&c->store->durable))
        return error_set(SHMKV_EDEFUNCT,
                         "%s: the image was removed or replaced while it was open; close the "
                         "store, and open it again",
                         a->name);
    uint32_t holder = keeper_holder(a, self);
    if (holder != 0)
        keeper->pid = held_process(a, holder, keeper->name);
    keeper->mine = holder == self + 1;
    durable_stats(c->store, keeper);
    return 0;
}

/* Give free segments back to the system, those in limbo too if their grace period ends soon. */
static void give_back(const struct participant *p)
{
    const struct arena *a = p->arena;
    uint64_t deadline = clock_mono_ns() + LIMBO_PATIENCE_NS;
    struct segment_census census;
    for (;;) {
        epoch_poll(a);
        segment_reclaim(a);
        segment_count(a, &census);
        bool inside = load_relaxed(&p->entry->reading) != 0; /* own word: we would wait for us */
        if (census.kinds[SEGMENT_LIMBO] == 0 || inside || clock_mono_ns() >= deadline)
            break;
        clock_sleep_ns(POLL_NS);
    }
    table_reclaim(p);
    segment_punch(p, UINT64_MAX);
}

int shmkv_compact(struct shmkv *db)
{
    struct context *c;
    int rc = store_writer(db, &c);
    if (rc != 0)
        return rc;
    struct writer *w = &c->writer;
    if (w->busy)
        return error_set(SHMKV_EBUSY, "compact: called from a signal handler inside a write");
    w->busy = true;
    resize_purge(&w->self, &w->resizer);
    resize_finish(&w->self);
    collect_runs(w, true);
    do {
        epoch_poll(&c->store->arena);
        segment_reclaim(&c->store->arena);
        rc = cleaner_step(w);
    } while (rc > 0);
    append_close(&w->moves, &c->store->arena);
    give_back(&w->self);
    w->busy = false;
    return rc == SHMKV_ENOSPC ? 0 : rc; /* as far as there was room to move records to */
}

int shmkv_destroy(const char *name, const char *shm_dir, int force)
{
    if (name == NULL)
        return error_set(SHMKV_EINVAL, "destroy: the name is NULL");
    return strncmp(name, "shm:", 4) == 0 ? arena_destroy(name, shm_dir, force != 0)
                                         : store_destroy_image(name, shm_dir, force != 0);
}

int shmkv_list(const char *shm_dir, int (*fn)(void *arg, const struct shmkv_store_info *info),
               void *arg)
{
    if (fn == NULL)
        return error_set(SHMKV_EINVAL, "list: the callback is NULL");
    return arena_list(shm_dir, fn, arg);
}

int shmkv_gc(const char *shm_dir, size_t *removed)
{
    size_t count = 0;
    int rc = arena_gc(shm_dir, &count);
    if (removed != NULL)
        *removed = count;
    return rc;
}
