/* SPDX-License-Identifier: MIT */
/* watch.c - see watch.h. */
#include "watch.h"

#include <inttypes.h>
#include <string.h>

#include "say.h"
#include "units.h"

#define WATCH_SLOW_NS 2000000000ull    /* between two of the slower looks */
#define WATCH_SETTLE_NS 1500000000ull  /* so long a keeper has to hand its work over */
#define WATCH_STALLS_NS 10000000000ull /* between two lines about writers that wait */
#define WATCH_FAILED_NS 60000000000ull /* between two lines about checkpoints that fail */
#define WATCH_SLOW_DISK_MS 10000u
#define WATCH_HELD_PART 16u    /* of the size: held back, worth a line */
#define WATCH_FULL_PERCENT 88u /* of the log; new values are refused at 90 */
#define WATCH_ROOM_PERCENT 80u

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
}

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

/* The participant that holds most. */
static int watch_most(void *arg, const struct shmkv_participant *p)
{
    struct shmkv_participant *most = arg;
    if (p->bytes_held > most->bytes_held) {
        *most = *p;
    }
    return 0;
}

static void watch_held(struct watch *w, const struct shmkv_stats *s)
{
    struct shmkv_participant most = {0};
    shmkv_readers(w->db, watch_most, &most);
    bool much = most.bytes_held > s->size / WATCH_HELD_PART;
    if (much && most.pid != w->holder) {
        char size[UNITS_TEXT];
        units_show_size(size, most.bytes_held);
        say(SAY_WARNING, w->store,
            "is held back by process %" PRId64 " (%s), which has been %s for long: %s cannot be "
            "freed before it goes on or ends",
            most.pid, most.name, most.writing != 0 ? "in a write" : "in a read section", size);
        w->holder = most.pid;
    } else if (w->holder != 0 && most.bytes_held == 0) {
        say(SAY_INFO, w->store, "is held back no more by process %" PRId64, w->holder);
        w->holder = 0;
    }
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
        watch_held(w, &stats);
    }
    return rc;
}
