/* SPDX-License-Identifier: MIT */
/* keeper.c - see keeper.h. */
#define _GNU_SOURCE
#include "keeper.h"

#include <limits.h>
#include <sched.h>
#include <signal.h>

#include "cleaner.h"
#include "clock.h"
#include "collect.h"
#include "evict.h"
#include "expire.h"
#include "futex.h"
#include "reap.h"

#define TICK_MIN_NS 1000000ll      /* while there is work */
#define TICK_MAX_NS 100000000ll    /* doubled up to this while there is none */
#define TICK_COLLAPSE_NS 8000000ll /* between units, see collapse.h */
#define LEASE_RETRY_NS 200000000ull
#define YIELD_NS 1000000000ull        /* so long a service has to take what was given up */
#define YIELD_AGAIN_NS 10000000000ull /* so long it waits, having let that pass */
#define REAP_NS 500000000ull
#define GRACE_NS 10000000ull /* between looks at sections that nobody waits for */
#define LOOK_NS 500000000ull /* for the name of the store */
#define PREPARE_BYTES (1u << 20)
#define PREFILL_SHIFT 6
#define SWEEP_BUCKETS 1024u /* of expiry, with each tick */

static uint32_t own_name(const struct keeper *k)
{
    return k->process->index + 1;
}

static void release_lease(struct keeper *k)
{
    uint32_t self = own_name(k);
    if (k->lease == NULL)
        return;
    durable_unkeep(k->durable);
    cas_relaxed(&k->arena->sync->keeper, &self, 0); /* relaxed: information, as all uses of it */
    process_unlock_page(k->lease);
    k->lease = NULL;
}

/* A living service asks for the lease that we, no service, have. */
static bool should_yield(struct keeper *k, uint64_t now)
{
    uint32_t service = load_relaxed(&k->arena->sync->service); /* relaxed: policy */
    if (load_relaxed(&k->service) != 0 || service == 0 || service == own_name(k) ||
        now < k->next_yield_ns)
        return false;
    k->next_yield_ns = now + YIELD_AGAIN_NS;
    return process_alive(k->arena, k->process->index, service - 1);
}

/* A service that has no lease says that it wants it, unless another one does. */
static void ask_for_lease(struct keeper *k)
{
    uint32_t none = 0;
    if (load_relaxed(&k->service) != 0)
        cas_relaxed(&k->arena->sync->service, &none, own_name(k)); /* relaxed: policy */
}

static bool have_lease(struct keeper *k, uint64_t now)
{
    if (k->lease != NULL) {
        if (!should_yield(k, now))
            return true;
        release_lease(k);
        k->next_lease_ns = now + YIELD_NS;
        return false;
    }
    if (now < k->next_lease_ns)
        return false;
    int rc;
    k->next_lease_ns = now + LEASE_RETRY_NS;
    ask_for_lease(k);
    k->lease = process_lock_page(k->arena, LOCK_KEEPER, true, &rc);
    if (k->lease == NULL)
        return false;
    store_relaxed(&k->arena->sync->keeper, own_name(k)); /* relaxed: information */
    collapse_begin(&k->collapse, now);
    return true;
}

static bool resize_some(struct writer *w)
{
    const struct arena *a = w->self.arena;
    uint64_t before = load_relaxed(&a->sb->root);
    uint64_t outer = epoch_enter(&w->self);
    resize_help(&w->self, &w->resizer, TABLE_CHUNK_SLOTS);
    bool running = resize_advancing(a, &w->resizer);
    epoch_exit(&w->self, outer);
    resize_purge(&w->self, &w->resizer);
    resize_prepare(&w->self, &w->resizer, PREPARE_BYTES);
    bool preparing = w->resizer.prepared != NULL && !w->resizer.ready;
    return running || before != load_relaxed(&a->sb->root) || preparing;
}

/* By a unit, where it is not more than @segments. */
static uint64_t prefill_by(struct keeper *k, uint64_t segments)
{
    const struct participant *p = &k->writer.self;
    uint64_t bytes = segments < segment_unit(k->arena) ? 0 : segment_prefill_unit(p);
    return bytes != 0 ? bytes : segment_prefill(p);
}

/*
 * Memory ahead of the writers: as many free segments as were opened since the last tick, and as
 * many again, at most a 64th of the store.  A store that does not grow takes none.
 */
static bool prefill(struct keeper *k)
{
    struct segment_census c;
    segment_count(k->arena, &c);
    uint64_t backed = c.high - c.kinds[SEGMENT_HOLE];
    uint64_t opened = backed - min_u64(backed, c.kinds[SEGMENT_FREE]);
    uint64_t grown = opened - min_u64(opened, k->opened); /* 0 at the first tick */
    k->opened = opened;
    uint64_t free = c.kinds[SEGMENT_FREE], kept = segment_kept(&c, SEGMENT_FOR_PUT);
    uint64_t want = min_u64(2 * grown, max_u64(c.capacity >> PREFILL_SHIFT, 1));
    uint64_t may = min_u64(c.available - min_u64(c.available, max_u64(free, kept)),
                           want - min_u64(want, free));
    uint64_t filled = may == 0 ? 0 : prefill_by(k, may);
    k->ahead = min_u64(k->ahead, free << k->arena->segment_shift) + filled;
    return filled != 0;
}

/* What was taken for writes that did not come: nobody may be left who would find it idle.  If we
 * die before, it stays free for whoever writes next, or for the next keeper to trim. */
static void give_back_ahead(struct keeper *k)
{
    if (k->lease != NULL && k->ahead != 0)
        segment_punch(&k->writer.self, k->ahead);
    k->ahead = 0;
}

/* Near the limit what idle owners have is for those who write, who would ask for each write. */
static void call_in(const struct arena *a)
{
    struct segment_census c;
    segment_count(a, &c);
    bool near = segment_nearly_committed(a, &c) && !segment_overfull(&c);
    if (near && c.kinds[SEGMENT_OPEN] > 1)
        segment_take_idle(a);
}

/* Their writes, that nobody else will find, would be lost with them.  An image gets them all. */
static void tell_orphans(struct keeper *k, uint64_t now)
{
    if (k->arena->imaged || now < k->next_look_ns)
        return;
    k->next_look_ns = now + LOOK_NS;
    if (arena_unlinked(k->arena))
        store_relaxed(&k->arena->sb->state, STORE_DEFUNCT); /* relaxed: final, without order */
}

/*
 * Let an epoch pass, so that what sections held comes back.  The membarrier in it interrupts all
 * who read, for microseconds: a thousand a second are seen by one get of some thousands.  So only
 * now and then, unless puts have no segment left; who finds none looks himself.
 */
static void pass_epoch(struct keeper *k, uint64_t now)
{
    struct segment_census c;
    segment_count(k->arena, &c);
    epoch_tick(k->arena); /* so that sections that begin now do not hold back what goes by then */
    k->enough = c.available > segment_kept(&c, SEGMENT_FOR_PUT);
    if (k->enough && now < k->next_grace_ns)
        return;
    k->next_grace_ns = now + GRACE_NS;
    epoch_poll(k->arena);
}

/* One round of everything; true if there is more to do. */
static bool tick(struct keeper *k)
{
    struct writer *w = &k->writer;
    uint64_t now = clock_mono_ns();
    k->drained = 0;
    k->collapsing = false;
    tell_orphans(k, now); /* without the lease too, which nobody gets any more */
    if (!have_lease(k, now))
        return false;
    if (now >= k->next_reap_ns) {
        k->next_reap_ns = now + REAP_NS;
        process_reap_dead(k->arena, k->process->index, reap_process, (void *)(uintptr_t)k->arena);
        collect_runs(w, true);
        call_in(k->arena);
    }
    collect_runs(w, false);
    pass_epoch(k, now);
    segment_reclaim(k->arena);
    table_reclaim(&w->self);
    k->drained = k->arena->cache ? evict_drain(&w->self) : 0;
    bool more = resize_some(w);
    more |= prefill(k);
    bool cleaned = cleaner_wanted(k->arena) ? cleaner_step(w) > 0 : trim_step(w, &k->trim, now);
    if (!cleaned) /* the rest of it is for others */
        append_close(&w->moves, k->arena);
    more |= cleaned;
    if (expire_wanted(k->arena))
        more |= expire_sweep(w, SWEEP_BUCKETS) != 0;
    append_close(&w->puts, k->arena);
    more |= durable_tick(k->durable, &w->self, clock_mono_ns());
    k->collapsing = k->enough && collapse_step(&w->self, &k->collapse, clock_mono_ns());
    return more;
}

/* With the lease of an image until somebody wants a checkpoint; keeper_stop() wakes both. */
static void sleep_until(struct keeper *k, _Atomic uint32_t *request, uint32_t seen, int64_t pause)
{
    if (k->lease != NULL && k->arena->imaged) {
        if (load_acquire(&k->stop) == 0)
            futex_wait(request, seen, pause);
    } else {
        futex_wait(&k->stop, 0, pause);
    }
}

/*
 * It wakes up many hundred times a second, and each time would take the processor from whoever
 * reads or writes; as a batch job it waits for its turn instead, and those who get short meanwhile
 * help themselves.  A refusal, or a policy that somebody chose, is as good as before.
 */
static void work_in_the_background(void)
{
    if (sched_getscheduler(0) == SCHED_OTHER)
        sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){.sched_priority = 0});
}

static void *run(void *arg)
{
    struct keeper *k = arg;
    int64_t pause = TICK_MIN_NS;
    _Atomic uint32_t *request = &k->arena->sync->durable.request;
    epoch_name_thread(&k->writer.self);
    work_in_the_background();
    while (load_acquire(&k->stop) == 0) {      /* pairs with keeper_stop [K1] */
        uint32_t seen = load_seq_cst(request); /* pairs with durable.c, ask [K2] */
        bool busy = tick(k);
        warn_look(k->warn, k->arena);
        pause = busy ? 0 : pause == 0 ? TICK_MIN_NS : pause * 2;
        pause = pause > TICK_MAX_NS ? TICK_MAX_NS : pause;
        if (pause != 0 && k->drained != 0) /* a cache that is read fills its rings in no time */
            pause = TICK_MIN_NS;
        if (k->collapsing)
            pause = pause > TICK_COLLAPSE_NS ? TICK_COLLAPSE_NS : pause;
        if (pause != 0)
            sleep_until(k, request, seen, pause);
    }
    return NULL;
}

void keeper_start(struct keeper *k, struct durable *d, struct warn *w, const struct process *p,
                  bool service)
{
    const struct arena *a = p->arena;
    if (k->running) {
        if (service)
            store_relaxed(&k->service, 1); /* relaxed: policy */
        return;
    }
    *k = (struct keeper){.arena = a, .durable = d, .warn = w, .process = p, .opened = UINT64_MAX};
    store_relaxed(&k->service, service); /* relaxed: policy */
    k->writer.puts = k->writer.moves = (struct append)APPEND_INIT;
    if (epoch_join(&k->writer.self, a, p->index) != 0)
        return;
    table_view_begin(&k->writer.view);
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
    add_seq_cst(&k->arena->sync->durable.request, 1u); /* [K2] */
    futex_wake(&k->arena->sync->durable.request, INT_MAX);
    pthread_join(k->thread, NULL);
    k->running = false;
    give_back_ahead(k);
    keeper_retire_writer(&k->writer);
    release_lease(k);
    uint32_t self = own_name(k);
    cas_relaxed(&k->arena->sync->service, &self, 0); /* relaxed: policy */
}

uint32_t keeper_holder(const struct arena *a, uint32_t self)
{
    uint32_t holder = load_relaxed(&a->sync->keeper); /* relaxed: information */
    bool known = holder != 0 && holder <= PROCESS_MAX;
    return known && process_alive(a, self, holder - 1) ? holder : 0;
}

void keeper_retire_writer(struct writer *w)
{
    append_close(&w->puts, w->self.arena);
    append_close(&w->moves, w->self.arena);
    resize_leave(&w->self, &w->resizer);
    epoch_leave(&w->self);
}
