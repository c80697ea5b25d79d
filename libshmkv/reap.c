/* SPDX-License-Identifier: MIT */
/* reap.c - see reap.h. */
#include "reap.h"

#include "epoch.h"
#include "index.h"
#include "notify.h"
#include "point.h"
#include "record.h"
#include "segment.h"
#include "stats.h"
#include "table.h"

static void decide_inflight(const struct arena *a, struct participant_entry *entry)
{
    uint64_t at = load_acquire(&entry->inflight); /* pairs with index.c, inflight [I3] */
    if (at == 0 || !index_in_log(a, at))
        return;
    uint64_t id = arena_segment_of(a, at);
    struct segment *s = segment_at(a, id);
    uint64_t start = at - arena_segment_start(a, id);
    if (start >= load_acquire(&s->used) && index_decide(a, at)) {
        const struct record *r = arena_at(a, at);
        POINT("reap.decided");
        store_release(&s->used, start + record_size(r)); /* pairs with cleaner walks [L1] */
    }
    POINT("reap.used");
    store_release(&entry->inflight, 0);
}

static void reap_participant(const struct arena *a, uint32_t i)
{
    struct participant_entry *entry = &a->participants[i];
    decide_inflight(a, entry);
    POINT("reap.inflight");
    segment_reap(a, i);
    POINT("reap.segments");
    table_reap(a, i);
    POINT("reap.tables");
    notify_reap(a, i);
    POINT("reap.notified");
    epoch_clear_entry(a, entry);
}

/* It keeps house no more, nor waits to.  Relaxed: policy and information, see keeper.h. */
static void forget_keeper(const struct arena *a, uint32_t process)
{
    uint32_t keeper = process + 1, service = keeper;
    cas_relaxed(&a->sync->keeper, &keeper, 0);
    cas_relaxed(&a->sync->service, &service, 0);
}

void reap_process(void *arg, uint32_t process)
{
    const struct arena *a = arg;
    uint32_t high = epoch_entries(a);
    for (uint32_t i = 0; i < high; i++) {
        if (load_acquire(&a->participants[i].owner) == (uint64_t)process + 1)
            reap_participant(a, i);
    }
    forget_keeper(a, process);
    add_relaxed(&a->sync->retired[STAT_reaped], 1); /* who reaps need not have an entry */
    POINT("reap.done");
}
