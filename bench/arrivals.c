/* SPDX-License-Identifier: MIT */
/*
 * arrivals.c - how long does an operation take when they arrive at a fixed rate?
 *
 * A loop that sends the next operation when the last one is done does not see how long those would
 * have waited that a real client had sent meanwhile.  Here the schedule is fixed beforehand:
 * operation k is due k intervals after the start, and its latency counts from then, however late
 * it begins.  A store that stops for a millisecond so makes a thousand operations late, not one.
 *
 * First the highest rate of each engine is measured by closed loops.  Shmkv and the yardstick then
 * get the same schedule, at shares of shmkv's highest rate; each peer gets the same shares of its
 * own.  An engine whose operations go together (a pipeline, a transaction) gets them so, at the
 * same rate of operations.
 */
#include "lib_cell.h"
#include "lib_clock.h"
#include "lib_memory.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FASTEST 12e6
#define SHARES 2u

static const double shares[SHARES] = {0.5, 0.8};
static const double quantiles[] = {0,     0.1,   0.25,   0.5,    0.75,    0.9,     0.95,     0.99,
                                   0.995, 0.999, 0.9995, 0.9999, 0.99995, 0.99999, 0.999999, 1};
#define QUANTILES (sizeof(quantiles) / sizeof(quantiles[0]))

enum kind { KIND_GET, KIND_SET, KINDS };

/* What a slice is to do, and what its processes have seen. */
struct observation {
    double interval; /* ticks between two calls of one process */
    uint64_t duration;
    uint64_t turn;
    _Atomic unsigned next; /* gives each process a place */
    struct {
        uint64_t done;
        uint64_t ticks;
        struct histogram latency[KINDS];
    } seen[TEAM_MAX];
};

/* Of one engine at one share of its rate. */
struct score_at {
    struct histogram run[KINDS];
    struct histogram all[KINDS];
    double quantile[KINDS][3][REPORT_RUNS];
    double done;
    double ticks;
    double rate; /* offered */
};

struct candidate {
    struct lane *lane;
    void *context;
    unsigned number;
    double highest; /* operations per second */
    struct score_at at[SHARES];
};

static struct bench bench;
static struct stream drawn;
static struct team team;
static struct observation *shared;
static struct candidate *candidates;
static unsigned count;

/* ---- a process ----------------------------------------------------------------------------- */

static const char *observe(const struct lane *lane, void *context, unsigned role)
{
    unsigned place = atomic_fetch_add(&shared->next, 1);
    uint64_t unit = lane->engine->unit > 1 ? lane->engine->unit : 1;
    struct batch b = {.workload = &bench.workload, .stream = &drawn};
    uint64_t start = clock_ticks();
    double due = (double)start;
    uint64_t now = start;

    (void)role;
    b.at = (shared->turn * 7919 + place * 104729) * TEAM_SAMPLE % (drawn.count - unit);
    while (now - start < shared->duration) {
        enum kind kind = drawn.write[b.at] ? KIND_SET : KIND_GET;

        while (clock_ticks() < (uint64_t)due)
            ;
        b.count = unit;
        if (lane->engine->run[OP_MIX](context, &b) != unit)
            return lane->engine->explain(context);
        now = clock_end();
        histogram_add(&shared->seen[place].latency[kind],
                      now > (uint64_t)due ? now - (uint64_t)due : 0);
        shared->seen[place].done += unit;
        due += shared->interval;
        b.at = (b.at + unit) % (drawn.count - unit);
    }
    shared->seen[place].ticks = now - start;
    return NULL;
}

/* ---- slices -------------------------------------------------------------------------------- */

static void slice_at(struct candidate *c, unsigned share, uint64_t turn)
{
    const struct settings *s = &bench.settings;
    struct score_at *at = &c->at[share];
    unsigned unit = c->lane->engine->unit > 1 ? c->lane->engine->unit : 1;
    struct team_order order = {
        .verb = TEAM_CALL, .lane = c->number, .context = c->context, .call = observe};

    memset(shared, 0, sizeof(*shared));
    shared->interval = 1e9 / at->rate * unit * s->procs[0] / bench.ns_per_tick;
    shared->duration = (uint64_t)(s->slice_ms * 1e6 / bench.ns_per_tick);
    shared->turn = turn;
    team_do(&team, &order);
    for (unsigned i = 0; i < s->procs[0]; i++) {
        at->done += (double)shared->seen[i].done;
        at->ticks += (double)shared->seen[i].ticks / s->procs[0];
        for (unsigned kind = 0; kind < KINDS; kind++) {
            histogram_merge(&at->run[kind], &shared->seen[i].latency[kind]);
            histogram_merge(&at->all[kind], &shared->seen[i].latency[kind]);
        }
    }
}

/* Closed loops, for the highest rate. */
static double highest_of(struct candidate *c, uint64_t turn)
{
    struct team_order order = {
        .verb = TEAM_RUN, .lane = c->number, .context = c->context, .turn = turn};
    static struct team_sum sum;

    order.task[0] = (struct team_task){OP_MIX, &drawn};
    order.duration = (uint64_t)(bench.settings.slice_ms * 1e6 / bench.ns_per_tick);
    team_do(&team, &order);
    team_sum(&team, 0, &sum);
    return (double)sum.done / ((double)sum.ticks * bench.ns_per_tick) * 1e9;
}

static void find_highest(void)
{
    for (unsigned i = 0; i < count; i++) {
        double rate[5];

        for (unsigned k = 0; k < 5; k++)
            rate[k] = highest_of(&candidates[i], k);
        candidates[i].highest = report_quantile(rate, 5, 0.5);
    }
    for (unsigned i = 0; i < count; i++)
        for (unsigned share = 0; share < SHARES; share++) {
            bool same = candidates[i].lane->engine == &engine_limit;

            candidates[i].at[share].rate = shares[share] * candidates[same ? 0 : i].highest;
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

    find_highest();
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

static void remove_all(void)
{
    for (unsigned i = 0; i < count; i++) {
        struct candidate *c = &candidates[i];

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

static void report_at(struct candidate *c, struct candidate *limit, unsigned share, enum kind kind)
{
    struct score_at *at = &c->at[share];
    unsigned runs = bench.settings.runs;
    struct row row = {.engine = c->lane->engine->name,
                      .kind = OP_MIX,
                      .does = OP_MIX,
                      .procs = bench.settings.procs[0],
                      .warm = true};
    double ratio[REPORT_RUNS];

    snprintf(row.op, sizeof(row.op), "%s at %.0f %%", kind == KIND_GET ? "get" : "set",
             shares[share] * 100);
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

static void report_all(void)
{
    struct candidate *limit = NULL;
    char text[24];

    for (unsigned i = 0; i < count; i++) {
        if (candidates[i].lane->engine == &engine_limit)
            limit = &candidates[i];
        printf("%-14s highest rate of a closed loop: %s/s\n", candidates[i].lane->engine->name,
               report_count(candidates[i].highest, text, sizeof(text)));
    }
    printf("\n");
    report_columns();
    for (unsigned share = 0; share < SHARES; share++)
        for (unsigned kind = 0; kind < KINDS; kind++)
            for (unsigned i = 0; i < count; i++)
                if (candidates[i].at[share].all[kind].total > 0)
                    report_at(&candidates[i], limit, share, (enum kind)kind);
    printf("of limit: p99.9 as a multiple of the yardstick's on the same schedule (a peer's is its"
           " own)\n");
}

int main(int argc, char **argv)
{
    const struct settings *s = &bench.settings;

    settings_read(&bench.settings, argc, argv);
    if (s->writers > 0 || s->store != NULL || s->procs_count != 1 || !s->shmkv)
        die("--writers, --store, several --procs, and leaving out shmkv: not here");
    bench_begin(&bench, "arrivals", 0);
    stream_drawn(&drawn, &bench.workload, s->dist, s->read, bench_stream_length(&bench));
    shared = memory_get_shared(sizeof(*shared));
    candidates = memory_get(TEAM_LANES * sizeof(*candidates));
    team_start(&team, s->procs[0], 0);
    add(&engine_shmkv);
    if (s->limit)
        add(&engine_limit);
    for (unsigned i = 0; i < bench.peers_count; i++)
        add(bench.peers[i]);
    measure();
    report_all();
    report_end(&bench.report);
    remove_all();
    team_stop(&team);
    return 0;
}
