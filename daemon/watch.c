/* SPDX-License-Identifier: MIT */
/* watch.c - see watch.h. */
#include "watch.h"

#include <inttypes.h>

#include "say.h"
#include "units.h"

#define WATCH_SLOW_NS 2000000000ull    /* between two of the slower looks */
#define WATCH_SETTLE_NS 1500000000ull  /* so long a keeper has to hand its work over */
#define WATCH_STALLS_NS 10000000000ull /* between two lines about writers that wait */
#define WATCH_FAILED_NS 60000000000ull /* between two lines about checkpoints that fail */
#define WATCH_SLOW_DISK_MS 10000u
#define WATCH_FULL_PERCENT 88u /* of the log; new values are refused at 90 */
#define WATCH_ROOM_PERCENT 80u

/* ---- checkpoints --------------------------------------------------------------------------- */

/* A failure is told at once, and then once a minute as long as none succeeds. */
static void watch_checkpoints(struct watch *w, const struct shmkv_keeper *k, uint64_t now)
{
    bool told = w->failed_ns != 0;
    if (k->failing && k->failures > w->failures &&
        (!told || now - w->failed_ns >= WATCH_FAILED_NS)) {
        say(SAY_ERROR, w->store,
            "a checkpoint failed: %s; the older one stands, what was written since is in memory "
            "only, and it is tried again",
            k->error_text);
        w->failed_ns = now;
    } else if (!k->failing && told) {
        say(SAY_INFO, w->store, "checkpoints succeed again");
        w->failed_ns = 0;
    }
    w->failures = k->failures;
}

static void watch_disk(struct watch *w, const struct shmkv_keeper *k)
{
    bool slow = k->checkpoint_ms >= (w->slow ? WATCH_SLOW_DISK_MS / 2 : WATCH_SLOW_DISK_MS);
    if (slow && !w->slow) {
        say(SAY_WARNING, w->store,
            "the disk cannot follow: the last checkpoint took %" PRIu64 " ms, and so long may "
            "pass before a write is durable",
            k->checkpoint_ms);
    } else if (!slow && w->slow) {
        say(SAY_INFO, w->store, "the disk follows again");
    }
    w->slow = slow;
}

/* ---- who keeps house ----------------------------------------------------------------------- */

static int watch_keeper(struct watch *w, uint64_t now)
{
    struct shmkv_keeper k;
    int rc = shmkv_get_keeper(w->db, &k);
    if (rc != 0) {
        return rc;
    }
    watch_checkpoints(w, &k, now);
    watch_disk(w, &k);
    bool settled = w->told_keeper || now - w->begun_ns >= WATCH_SETTLE_NS;
    if (k.mine && !w->mine) {
        say(SAY_INFO, w->store,
            w->told_keeper ? "keeps house now; process %" PRId64 " is gone" : "keeps house",
            w->keeper);
    } else if (!k.mine && k.pid != 0 && k.pid != w->keeper && settled) {
        say(SAY_NOTICE, w->store, "stands by: process %" PRId64 " (%s) keeps house", k.pid, k.name);
    } else {
        return 0;
    }
    w->told_keeper = true;
    w->mine = k.mine;
    w->keeper = k.pid;
    return 0;
}

/* ---- room ---------------------------------------------------------------------------------- */

static void watch_room(struct watch *w, const struct shmkv_stats *s)
{
    uint64_t fixed = s->index_bytes + s->table_bytes;
    uint64_t log = s->size > fixed ? s->size - fixed : 1;
    uint64_t percent = s->live_bytes / (log / 100 + 1);
    if (!w->full && percent >= WATCH_FULL_PERCENT) {
        w->full = true;
        say(SAY_WARNING, w->store,
            "is almost full: current values take %" PRIu64 " %% of its room, new ones are refused "
            "from 90 %% on; delete some, or make the store larger",
            percent);
    } else if (w->full && percent < WATCH_ROOM_PERCENT) {
        w->full = false;
        say(SAY_INFO, w->store, "has room again: %" PRIu64 " %% are taken", percent);
    }
}

static void watch_stalls(struct watch *w, const struct shmkv_stats *s, uint64_t now)
{
    if (now - w->stalls_ns < WATCH_STALLS_NS) {
        return;
    }
    if (s->stalls > w->stalls) {
        say(SAY_WARNING, w->store,
            "cleaning falls behind: %" PRIu64 " writes had to wait for room; write less, delete, "
            "or make the store larger",
            s->stalls - w->stalls);
        w->stalls_ns = now;
    } else if (w->stalls_ns != 0) {
        say(SAY_INFO, w->store, "cleaning keeps up again");
        w->stalls_ns = 0;
    }
    w->stalls = s->stalls;
}

static void watch_reaped(struct watch *w, const struct shmkv_stats *s)
{
    if (s->reaped > w->reaped) {
        say(SAY_INFO, w->store, "finished what %" PRIu64 " dead %s had left", s->reaped - w->reaped,
            s->reaped - w->reaped == 1 ? "process" : "processes");
    }
    w->reaped = s->reaped;
}

/* ---- memory held back ---------------------------------------------------------------------- */

/* Called by the library, in its housekeeping thread. */
static void watch_warned(void *arg, const struct shmkv_warning *warning)
{
    struct watch *w = arg;
    char size[UNITS_TEXT];
    const struct shmkv_participant *who = warning->who;
    units_show_size(size, who->bytes_held);
    say(SAY_WARNING, w->store,
        "is held back by process %" PRId64 " (%s), thread %" PRId64 ", which has been in a %s for "
        "%" PRIu64 " s: %s cannot be freed before it goes on or ends",
        who->pid, who->name, who->thread, who->writing != 0 ? "write" : "read section",
        who->age_ms / 1000, size);
    atomic_store(&w->holder, who->pid);
}

static int watch_holds(void *arg, const struct shmkv_participant *p)
{
    return p->pid == *(const int64_t *)arg && p->bytes_held != 0;
}

static void watch_held(struct watch *w)
{
    int64_t holder = atomic_load(&w->holder);
    if (holder != 0 && shmkv_readers(w->db, watch_holds, &holder) == 0) {
        say(SAY_INFO, w->store, "is held back no more by process %" PRId64, holder);
        atomic_compare_exchange_strong(&w->holder, &holder, 0);
    }
}

/* ---- all of it ------------------------------------------------------------------------------ */

void watch_begin(struct watch *w, const char *store, struct shmkv *db)
{
    struct shmkv_stats stats = {0};
    struct shmkv_keeper keeper = {0};
    shmkv_get_stats(db, &stats);
    shmkv_get_keeper(db, &keeper);
    *w = (struct watch){
        .store = store,
        .db = db,
        .begun_ns = units_mono_ns(),
        .stalls = stats.stalls,
        .reaped = stats.reaped,
        .failures = keeper.failures,
    };
    shmkv_set_warning(db, watch_warned, w);
}

void watch_end(struct watch *w)
{
    shmkv_set_warning(w->db, NULL, NULL);
}

int watch_look(struct watch *w)
{
    uint64_t now = units_mono_ns();
    int rc = watch_keeper(w, now);
    if (rc != 0 || now < w->next_ns) {
        return rc;
    }
    w->next_ns = now + WATCH_SLOW_NS;
    struct shmkv_stats stats;
    rc = shmkv_get_stats(w->db, &stats);
    if (rc == 0) {
        watch_room(w, &stats);
        watch_stalls(w, &stats, now);
        watch_reaped(w, &stats);
        watch_held(w);
    }
    return rc;
}
