/* SPDX-License-Identifier: MIT */
/* evict_run.c - a run of a cache whose turn it is: see evict.h, "Runs". */
#include "collect.h"
#include "evict.h"
#include "point.h"
#include "shmkv.h"

/* Its place in the kept queue is the last, and that it was read is forgotten: as a copy would. */
static void keep(const struct arena *a, uint64_t id, const struct record *r)
{
    evict_requeue(a, id);
    record_mark_unread(r);
    POINT("evict.run_kept");
}

/* In a section in which the run still is; INDEX_EVICTED, 0: it was kept or is dead, or a code. */
static int keep_or_evict(struct writer *w, struct evict_walk *walk, uint64_t id, uint64_t word)
{
    const struct arena *a = w->self.arena;
    const struct record *r = arena_at(a, arena_segment_start(a, id));
    if (!index_fits_room(a, r))
        return SHMKV_ECORRUPT; /* it was written over: `check` reports that */
    if (!evict_keeps(w, walk, r))
        return evict_record(w, walk, r, word);
    keep(a, id, r);
    return 0;
}

int evict_run(struct writer *w, struct evict_walk *walk, uint64_t id, uint64_t word)
{
    const struct arena *a = w->self.arena;
    uint64_t outer = epoch_enter(&w->self);
    int rc = 0;
    if (load_acquire(&segment_at(a, id)->state) == word)
        rc = keep_or_evict(w, walk, id, word);
    if (rc < 0) /* in the section: it is the same run still */
        evict_requeue(a, id);
    epoch_exit(&w->self, outer);
    return rc < 0 ? rc : collect_run(w, id, word);
}
