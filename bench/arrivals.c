/* SPDX-License-Identifier: MIT */
/*
 * arrivals.c - how long does an operation take when they arrive at a fixed rate?
 *
 * A loop that sends the next operation when the last one is done does not see how long those would
 * have waited that a real client had sent meanwhile.  Here the schedule is fixed beforehand:
 * operation k is due k intervals after the start, and its latency counts from then, however late
 * it begins.  A store that stops for a millisecond so makes a thousand operations late, not one.
 *
 * The highest rate of each engine is found by the same loop with everything due at once: one
 * operation at a time, each timed, as those that arrive are served.  (A closed loop that is free to
 * overlap one operation's cache misses with the next one's is nearly twice as fast; at half of its
 * rate this one hardly keeps up, and shows the length of the run instead of the store.)  Shmkv and
 * the yardstick then get the same schedule, at shares of shmkv's highest rate; each peer gets the
 * same shares of its own.  An engine whose operations go together (a pipeline, a transaction) gets
 * them so, at the same rate of operations.
 *
 * What the machine takes is told apart, not left out.  Whenever something took long the kernel is
 * asked, and the schedule stands still meanwhile; "running" rows are of a clock that stands still
 * also while the thread was off the processor without having asked for it.  Breaks too short to ask
 * about remain (an interrupt takes as long as twenty operations): the engine "nothing" gets shmkv's
 * schedule and spins for as long as shmkv's operations take, so that its row is what this machine
 * makes of any program at that rate.
 */
#include "lib_cell.h"
#include "lib_clock.h"
#include "lib_memory.h"
#include "lib_schedule.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FASTEST 12e6
#define SHARES 2u

static const double shares[SHARES] = {0.5, 0.8};
static const double quantiles[] = {0,     0.1,   0.25,   0.5,    0.75,    0.9,     0.95,     0.99,
                                   0.995, 0.999, 0.9995, 0.9999, 0.99995, 0.99999, 0.999999, 1};
#define QUANTILES (sizeof(quantiles) / sizeof(quantiles[0]))

/* Of one engine at one share of its rate. */
struct score_at {
    struct histogram run[KINDS];
    struct histogram all[KINDS];
    double quantile[KINDS][3][REPORT_RUNS];
    double done;
    double ticks;
    double stops;
    double taken; /* ticks */
    double rate;  /* offered */
};

struct candidate {
    const char *name;
    struct lane *lane; /* "nothing" has shmkv's and does not use it */
    void *context;
    unsigned number;
    bool idles;     /* spins in place of calls */
    double highest; /* operations per second */
    double busy;    /* ticks of a call, mean */
    struct pause_list longest;
    struct score_at at[SHARES];
};

static struct bench bench;
static struct stream drawn;
static struct team team;
static struct candidate *candidates;
static unsigned count;

/* ---- slices -------------------------------------------------------------------------------- */

static unsigned unit_of(const struct candidate *c)
{
    return c->lane->engine->unit > 1 ? c->lane->engine->unit : 1;
}

/* @rate: of all processes together; 0: as fast as it goes. */
static void slice(struct candidate *c, double rate, uint64_t turn)
{
    const struct settings *s = &bench.settings;
    unsigned procs = s->procs[0];
    struct team_order order = {
        .verb = TEAM_CALL, .lane = c->number, .context = c->context, .call = schedule_keep};

    memset(schedule, 0, offsetof(struct schedule, seen) + procs * sizeof(schedule->seen[0]));
    if (rate > 0)
        schedule->interval = 1e9 / rate * unit_of(c) * procs / bench.ns_per_tick;
    schedule->duration = (uint64_t)(s->slice_ms * 1e6 / bench.ns_per_tick);
    schedule->spin = c->idles ? (uint64_t)candidates[0].busy : 0;
    schedule->turn = turn;
    schedule->stream = &drawn;
    schedule->ns_per_tick = bench.ns_per_tick;
    schedule->all_own = s->keeper;
    team_do(&team, &order);
}

static void slice_at(struct candidate *c, unsigned share, uint64_t turn)
{
    struct score_at *at = &c->at[share];

    slice(c, at->rate, turn);
    for (unsigned i = 0; i < bench.settings.procs[0]; i++) {
        const struct schedule_seen *seen = &schedule->seen[i];

        at->done += (double)seen->done;
        at->ticks += (double)seen->ticks / bench.settings.procs[0];
        at->stops += (double)seen->stops;
        at->taken += (double)seen->taken;
        pause_merge(&c->longest, &seen->longest);
        for (unsigned kind = 0; kind < KINDS; kind++) {
            histogram_merge(&at->run[kind], &seen->latency[kind]);
            histogram_merge(&at->all[kind], &seen->latency[kind]);
        }
    }
}

/* The highest rate, and what a call takes then: medians. */
static void find_highest(struct candidate *c)
{
    double rate[5];
    double busy[5];

    for (unsigned k = 0; k < 5; k++) {
        rate[k] = busy[k] = 0;
        slice(c, 0, k);
        for (unsigned i = 0; i < bench.settings.procs[0]; i++) {
            const struct schedule_seen *seen = &schedule->seen[i];

            rate[k] += (double)seen->done / ((double)seen->ticks * bench.ns_per_tick) * 1e9;
            busy[k] += (double)seen->busy * unit_of(c) / (double)seen->done;
        }
    }
    c->highest = report_quantile(rate, 5, 0.5);
    c->busy = report_quantile(busy, 5, 0.5) / bench.settings.procs[0];
}

static void find_rates(void)
{
    for (unsigned i = 0; i < count; i++) {
        struct candidate *c = &candidates[i];
        bool same = c->idles || c->lane->engine == &engine_limit;

        find_highest(c);
        for (unsigned share = 0; share < SHARES; share++)
            c->at[share].rate = shares[share] * candidates[same ? 0 : i].highest;
    }
}

static void end_run(struct score_at *at, unsigned run)
{
    static const double wanted[3] = {0.5, 0.99, 0.999};

    for (unsigned kind = 0; kind < KINDS; kind++) {
        for (unsigned q = 0; q < 3; q++)
            at->quantile[kind][q][run] =
                (double)histogram_quantile(&at->run[kind], wanted[q]) * bench.ns_per_tick;
        histogram_clear(&at->run[kind]);
    }
}

static void measure(void)
{
    const struct settings *s = &bench.settings;
    unsigned turns = (unsigned)(s->seconds * 1000 / s->slice_ms + 0.5);
    uint64_t turn = 0;

    find_rates();
    for (unsigned run = 0; run < s->runs; run++)
        for (unsigned share = 0; share < SHARES; share++) {
            for (unsigned k = 0; k < (turns > 0 ? turns : 1); k++, turn++)
                for (unsigned i = 0; i < count; i++)
                    slice_at(&candidates[turn % 2 == 0 ? i : count - 1 - i], share, turn);
            for (unsigned i = 0; i < count; i++)
                end_run(&candidates[i].at[share], run);
        }
}

/* ---- stores -------------------------------------------------------------------------------- */

static void add(const struct engine *engine)
{
    const struct settings *s = &bench.settings;
    struct candidate *c = &candidates[count];
    struct engine_setup *setup;
    double written = (s->seconds * s->runs * SHARES + s->slice_ms * 0.01) * FASTEST *
                     (1 - s->read / 100.0) * (double)engine_record_bytes(&bench.workload);

    c->name = engine->name;
    c->number = count;
    c->lane = &team.shared->lanes[count++];
    c->lane->engine = engine;
    setup = &c->lane->setup;
    snprintf(setup->name, sizeof(setup->name), "bench-%d-%u", (int)getpid(), c->number);
    setup->workload = &bench.workload;
    setup->slots = bench.slots;
    setup->write_bytes = (uint64_t)written;
    setup->warm = true;
    setup->keeper = s->keeper;
    lane_create(c->lane);
    c->context = lane_attach(c->lane);
    team_run_alone(c->lane, c->context, engine_fill(engine), &bench.in_order);
    team_do(&team, &(struct team_order){.verb = TEAM_ATTACH, .lane = c->number});
}

/* No store: last of all, since lanes are numbered as candidates are. */
static void add_nothing(void)
{
    struct candidate *c = &candidates[count++];

    c->name = "nothing";
    c->lane = candidates[0].lane;
    c->idles = true;
}

static void remove_all(void)
{
    for (unsigned i = 0; i < count; i++) {
        struct candidate *c = &candidates[i];

        if (c->idles)
            continue;
        team_do(&team, &(struct team_order){.verb = TEAM_DETACH, .lane = i});
        team_run_alone(c->lane, c->context, c->lane->engine->verify, &bench.in_order);
        c->lane->engine->detach(c->context);
        lane_destroy(c->lane);
    }
}

/* ---- report -------------------------------------------------------------------------------- */

/* The distribution, as pairs of quantile and nanoseconds. */
static void write_curve(const struct histogram *h, double offered, char *text, size_t size)
{
    int n = snprintf(text, size, "\"offered\": %.0f, \"curve\": [", offered);

    for (unsigned i = 0; i < QUANTILES && n > 0 && (size_t)n < size; i++)
        n += snprintf(text + n, size - (size_t)n, "%s[%g, %.0f]", i == 0 ? "" : ", ", quantiles[i],
                      (double)histogram_quantile(h, quantiles[i]) * bench.ns_per_tick);
    if (n > 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, "]");
}

static void report_at(struct candidate *c, struct candidate *limit, unsigned share,
                      enum schedule_kind kind)
{
    struct score_at *at = &c->at[share];
    unsigned runs = bench.settings.runs;
    struct row row = {.engine = c->name,
                      .kind = OP_MIX,
                      .does = OP_MIX,
                      .procs = bench.settings.procs[0],
                      .warm = true};
    double ratio[REPORT_RUNS];

    snprintf(row.op, sizeof(row.op), "%s at %.0f %%%s", kind % 2 == KIND_GET ? "get" : "set",
             shares[share] * 100, kind >= KIND_GET_RUNNING ? ", running" : "");
    write_curve(&at->all[kind], at->rate, row.extra, sizeof(row.extra));
    row.rate = row.rate_low = row.rate_high = at->done / (at->ticks * bench.ns_per_tick) * 1e9;
    for (unsigned i = 0; limit != NULL && i < runs; i++)
        ratio[i] = at->quantile[kind][2][i] / limit->at[share].quantile[kind][2][i];
    if (limit != NULL) {
        row.ratio = report_quantile(ratio, runs, 0.5);
        row.ratio_low = report_quantile(ratio, runs, 0);
        row.ratio_high = report_quantile(ratio, runs, 1);
    }
    row.latency.p50 = (uint64_t)report_quantile(at->quantile[kind][0], runs, 0.5);
    row.latency.p99 = (uint64_t)report_quantile(at->quantile[kind][1], runs, 0.5);
    row.latency.p999 = (uint64_t)report_quantile(at->quantile[kind][2], runs, 0.5);
    row.latency.max = (uint64_t)((double)at->all[kind].max * bench.ns_per_tick);
    report_add(&bench.report, &row);
}

/* What the machine has taken, and the longest. */
static void report_stops(const struct candidate *c)
{
    char title[160];
    char taken[24];
    double ticks = 0;
    double lost = 0;
    double stops = 0;

    for (unsigned share = 0; share < SHARES; share++) {
        ticks += c->at[share].ticks;
        lost += c->at[share].taken / bench.settings.procs[0];
        stops += c->at[share].stops;
    }
    report_time(lost * bench.ns_per_tick, taken, sizeof(taken));
    snprintf(title, sizeof(title),
             "\n%s: %.0f over %u us in %.2f s; the machine took %s (%.2f %%); the longest\n",
             c->name, stops, PAUSE_LONG_NS / 1000, ticks * bench.ns_per_tick / 1e9, taken,
             lost / ticks * 100);
    report_pauses(title, &c->longest);
}

static void report_all(void)
{
    struct candidate *limit = NULL;
    char text[24];

    for (unsigned i = 0; i < count; i++) {
        if (candidates[i].lane->engine == &engine_limit)
            limit = &candidates[i];
        printf("%-14s highest rate, one operation at a time: %s/s\n", candidates[i].name,
               report_count(candidates[i].highest, text, sizeof(text)));
    }
    printf("\n");
    report_columns();
    for (unsigned share = 0; share < SHARES; share++)
        for (unsigned kind = 0; kind < KINDS; kind++)
            for (unsigned i = 0; i < count; i++)
                if (candidates[i].at[share].all[kind].total > 0)
                    report_at(&candidates[i], limit, share, (enum schedule_kind)kind);
    printf("of limit: p99.9 as a multiple of the yardstick's on the same schedule (a peer's is its"
           " own)\nrunning: by a clock that stands still while the machine has taken the processor"
           " for more than %u us\nnothing: a loop that spins for as long as shmkv's operations"
           " take, on the same schedule\n",
           PAUSE_LONG_NS / 1000);
    for (unsigned i = 0; i < count; i++)
        report_stops(&candidates[i]);
}

int main(int argc, char **argv)
{
    const struct settings *s = &bench.settings;

    settings_read(&bench.settings, argc, argv);
    if (s->writers > 0 || s->store != NULL || s->procs_count != 1 || !s->shmkv)
        die("--writers, --store, several --procs, and leaving out shmkv: not here");
    bench_begin(&bench, "arrivals", 0);
    stream_drawn(&drawn, &bench.workload, s->dist, s->read, bench_stream_length(&bench));
    schedule = memory_get_shared(sizeof(*schedule));
    candidates = memory_get(TEAM_LANES * sizeof(*candidates));
    team_start(&team, s->procs[0], 0);
    add(&engine_shmkv);
    if (s->limit)
        add(&engine_limit);
    for (unsigned i = 0; i < bench.peers_count; i++)
        add(bench.peers[i]);
    add_nothing();
    measure();
    report_all();
    report_end(&bench.report);
    remove_all();
    team_stop(&team);
    return 0;
}
