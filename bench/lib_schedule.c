/* SPDX-License-Identifier: MIT */
#include "lib_schedule.h"

#include "lib_clock.h"

#include <string.h>

struct schedule *schedule;
static const char idle[] = "idle";

/* Times are ticks without those in which the kernel was asked. */
struct observer {
    struct schedule_seen *seen;
    struct pause_watch watch;
    uint64_t asked;
    uint64_t longest; /* what takes longer is asked about */
    uint64_t ended;   /* the last call */
    double due;       /* the next one */
    double free;      /* when the last call would have ended if the machine took nothing */
    uint64_t taken;   /* from this call, by the machine */
};

/* Something took @ticks until now: how many of them did the machine take? */
static uint64_t ask(struct observer *o, const char *what, uint64_t ticks)
{
    uint64_t begin = clock_ticks();
    uint64_t taken = 0;
    struct pause p;

    pause_took(&o->watch, what, (uint64_t)((double)ticks * schedule->ns_per_tick), &p);
    if (!schedule->all_own)
        taken =
            what == idle ? ticks : (uint64_t)((double)pause_taken_ns(&p) / schedule->ns_per_tick);
    pause_keep(&o->seen->longest, &p);
    o->seen->stops++;
    o->seen->taken += taken;
    o->asked += clock_ticks() - begin;
    return taken < ticks ? taken : ticks;
}

/* Wait until the next call is due; the time then. */
static uint64_t wait_until_due(struct observer *o, uint64_t ready)
{
    uint64_t last = o->ended;
    uint64_t now;

    for (;; last = now) {
        now = clock_ticks() - o->asked;
        if (now - last > o->longest) {
            uint64_t taken = ask(o, idle, now - last);
            uint64_t late = now > ready ? now - ready : 0;

            o->taken = taken < late ? taken : late;
        }
        if ((double)now >= o->due)
            return now;
    }
}

/* A call has ended: enter by both clocks how long after it was due. */
static void enter(struct observer *o, enum schedule_kind kind, uint64_t ready, uint64_t now)
{
    uint64_t due = (uint64_t)o->due;
    uint64_t took = now - ready;

    o->free = (o->free > o->due ? o->free : o->due) + (double)(took - o->taken);
    histogram_add(&o->seen->latency[kind], now > due ? now - due : 0);
    histogram_add(&o->seen->latency[kind + KIND_GET_RUNNING], (uint64_t)(o->free - o->due));
    o->ended = now;
}

static const char *call_once(const struct lane *lane, void *context, struct batch *b)
{
    uint64_t begin = clock_ticks();

    if (schedule->spin == 0)
        return lane->engine->run[OP_MIX](context, b) == b->count ? NULL
                                                                 : lane->engine->explain(context);
    while (clock_ticks() - begin < schedule->spin)
        ;
    return NULL;
}

static void observer_begin(struct observer *o)
{
    memset(o, 0, sizeof(*o));
    o->longest = (uint64_t)(PAUSE_LONG_NS / schedule->ns_per_tick);
    pause_watch_begin(&o->watch);
    o->ended = clock_ticks();
    o->due = (double)o->ended;
}

const char *schedule_keep(const struct lane *lane, void *context, unsigned role)
{
    unsigned place = atomic_fetch_add(&schedule->next, 1);
    uint64_t unit = lane->engine->unit > 1 ? lane->engine->unit : 1;
    const struct stream *stream = schedule->stream;
    struct batch b = {.workload = lane->setup.workload, .stream = stream};
    const char *failure = NULL;
    struct observer o;
    uint64_t start;

    (void)role;
    observer_begin(&o);
    o.seen = &schedule->seen[place];
    start = o.ended;
    b.at = (schedule->turn * 7919 + place * 104729) * TEAM_SAMPLE % (stream->count - unit);
    while (failure == NULL && o.ended - start < schedule->duration) {
        enum schedule_kind kind = stream->write[b.at] ? KIND_SET : KIND_GET;
        uint64_t ready = (double)o.ended > o.due ? o.ended : (uint64_t)o.due;
        uint64_t stopped;
        uint64_t begin;
        uint64_t now;

        o.taken = 0;
        begin = wait_until_due(&o, ready);
        b.count = unit;
        failure = call_once(lane, context, &b);
        now = clock_end() - o.asked;
        stopped =
            now - begin > o.longest ? ask(&o, kind == KIND_SET ? "set" : "get", now - begin) : 0;
        o.taken += stopped;
        enter(&o, kind, ready, now);
        o.seen->busy += now - begin - stopped;
        o.seen->done += unit;
        o.due += schedule->interval;
        b.at = (b.at + unit) % (stream->count - unit);
    }
    o.seen->ticks = o.ended - start;
    pause_watch_end(&o.watch);
    return failure;
}
