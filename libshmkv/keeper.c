/* SPDX-License-Identifier: MIT */
/* keeper.c - see keeper.h. */
#define _GNU_SOURCE
#include "keeper.h"

#include <signal.h>

#include "cleaner.h"
#include "clock.h"
#include "expire.h"
#include "futex.h"
#include "reap.h"

#define TICK_MIN_NS 1000000ll   /* while there is work */
#define TICK_MAX_NS 100000000ll /* doubled up to this while there is none */
#define LEASE_RETRY_NS 200000000ull
#define REAP_NS 500000000ull
#define PREPARE_BYTES (1u << 20)
#define PREFILL_SHIFT 6
#define SWEEP_BUCKETS 1024u /* of expiry, with each tick */

static bool have_lease(struct keeper *k, uint64_t now)
{
    if (k->lease != NULL)
        return true;
    if (now < k->next_lease_ns)
        return false;
    int rc;
    k->next_lease_ns = now + LEASE_RETRY_NS;
    k->lease = process_lock_page(k->arena, LOCK_KEEPER, true, &rc);
    return k->lease != NULL;
}

static bool resize_some(struct writer *w)
{
    const struct arena *a = w->self.arena;
    uint64_t before = load_relaxed(&a->sb->root);
    uint64_t outer = epoch_enter(&w->self);
    resize_help(&w->self, &w->resizer, TABLE_CHUNK_SLOTS / BUCKET_SLOTS);
    bool running = resize_running(a);
    epoch_exit(&w->self, outer);
    resize_purge(&w->self, &w->resizer);
    resize_prepare(&w->self, &w->resizer, PREPARE_BYTES);
    bool preparing = w->resizer.prepared != NULL && !w->resizer.ready;
    return running || before != load_relaxed(&a->sb->root) || preparing;
}

/*
 * Memory ahead of the writers: as many free segments as were opened since the last tick, and as
 * many again, at most a 64th of the store.  A store that does not grow takes none.
 */
static bool prefill(struct keeper *k)
{
    struct segment_census c;
    segment_count(k->arena, &c);
    uint64_t backed = load_relaxed(&k->arena->sb->segment_high) - c.kinds[SEGMENT_HOLE];
    uint64_t opened = backed - min_u64(backed, c.kinds[SEGMENT_FREE]);
    uint64_t grown = opened - min_u64(opened, k->opened); /* 0 at the first tick */
    k->opened = opened;
    uint64_t want = min_u64(2 * grown, max_u64(c.capacity >> PREFILL_SHIFT, 1));
    return c.kinds[SEGMENT_FREE] < want && c.available > c.reserve &&
           segment_prefill(&k->writer.self);
}

/* One round of everything; true if there is more to do. */
static bool tick(struct keeper *k)
{
    struct writer *w = &k->writer;
    uint64_t now = clock_mono_ns();
    if (!have_lease(k, now))
        return false;
    if (now >= k->next_reap_ns) {
        k->next_reap_ns = now + REAP_NS;
        process_reap_dead(k->arena, k->process->index, reap_process, (void *)(uintptr_t)k->arena);
    }
    epoch_poll(k->arena);
    segment_reclaim(k->arena);
    table_reclaim(&w->self);
    bool more = resize_some(w);
    more |= prefill(k);
    if (cleaner_wanted(k->arena))
        more |= cleaner_step(w) > 0;
    else
        append_close(&w->moves, k->arena);
    if (expire_wanted(k->arena))
        more |= expire_sweep(w, SWEEP_BUCKETS) != 0;
    append_close(&w->puts, k->arena);
    return more;
}

static void *run(void *arg)
{
    struct keeper *k = arg;
    int64_t pause = TICK_MIN_NS;
    while (load_acquire(&k->stop) == 0) { /* pairs with keeper_stop [K1] */
        bool busy = tick(k);
        pause = busy ? 0 : pause == 0 ? TICK_MIN_NS : pause * 2;
        pause = pause > TICK_MAX_NS ? TICK_MAX_NS : pause;
        if (pause != 0)
            futex_wait(&k->stop, 0, pause);
    }
    return NULL;
}

void keeper_start(struct keeper *k, const struct arena *a, const struct process *p)
{
    if (k->running)
        return;
    *k = (struct keeper){.arena = a, .process = p, .opened = UINT64_MAX};
    k->writer.puts = k->writer.moves = (struct append)APPEND_INIT;
    if (epoch_join(&k->writer.self, a, p->index) != 0)
        return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the program's */
    k->running = pthread_create(&k->thread, NULL, run, k) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (k->running)
        pthread_setname_np(k->thread, "shmkv-keeper");
    else
        keeper_retire_writer(&k->writer);
}

void keeper_stop(struct keeper *k)
{
    if (!k->running)
        return;
    store_release(&k->stop, 1); /* pairs with run [K1] */
    futex_wake(&k->stop, 1);
    pthread_join(k->thread, NULL);
    k->running = false;
    keeper_retire_writer(&k->writer);
    if (k->lease != NULL)
        process_unlock_page(k->lease);
    k->lease = NULL;
}

void keeper_retire_writer(struct writer *w)
{
    append_close(&w->puts, w->self.arena);
    append_close(&w->moves, w->self.arena);
    resize_leave(&w->self, &w->resizer);
    epoch_leave(&w->self);
}
