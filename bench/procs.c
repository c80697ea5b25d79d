/* SPDX-License-Identifier: MIT */
/*
 * procs.c - how many operations per second do N processes get out of one store?
 *
 * Two ways to ask.  Reading, overwriting and mixes run in slices of time on one store per engine.
 * What changes the store for good (fresh, growing, delete) runs in passes over all keys, each on a
 * new store.  Engine and yardstick take turns, in changing order, so that both see the same of
 * whatever else the machine is doing; a slice of one and the slice of the other beside it are a
 * pair, and the ratio is the median of the pairs.
 */
#include "lib_clock.h"
#include "lib_memory.h"
#include "lib_peers.h"
#include "lib_report.h"
#include "lib_team.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SLICES 16384u
/* More than any engine writes per second and processor; sizes the room for a slice. */
#define FASTEST 10e6
/* After so many slices that write, the engines get new stores. */
#define SLICES_PER_STORE 2

/* What was measured of one role in one lane. */
struct score {
    unsigned slices;
    double slice_rate[SLICES];
    unsigned runs;
    double rate[REPORT_RUNS];
    double p50[REPORT_RUNS];
    double p99[REPORT_RUNS];
    double p999[REPORT_RUNS];
    uint64_t max;
    uint64_t done; /* of the running run */
    double ns;
    struct histogram latency;
    double bytes_per_key;
};

/* One cell of the plan: an operation, by so many processes. */
struct cell {
    enum operation op;
    unsigned procs;
    unsigned lanes;
    int yardstick;                   /* lane, or -1 */
    uint64_t written[TEAM_LANES];    /* bytes, since the store was made */
    void *context[TEAM_LANES];       /* the parent's */
    struct score *score[TEAM_ROLES]; /* per lane */
};

static struct settings settings;
static struct report report;
static struct workload workload;
static struct stream in_order;
static struct stream shuffled;
static struct stream drawn;
static struct team team;
static const struct engine *peers[PEERS_MAX];
static unsigned peers_count;
static double ns_per_tick;
static uint64_t slots;

/* ---- scores -------------------------------------------------------------------------------- */

static void score_slice(struct score *s, const struct team_sum *sum)
{
    double ns = settings.cpu_clock ? (double)sum->cpu_ns : (double)sum->ticks * ns_per_tick;

    if (s->slices < SLICES)
        s->slice_rate[s->slices++] = (double)sum->done / ns * 1e9;
    s->done += sum->done;
    s->ns += ns;
    histogram_merge(&s->latency, &sum->latency);
}

static void score_end_run(struct score *s)
{
    unsigned run = s->runs++;

    s->rate[run] = (double)s->done / s->ns * 1e9;
    s->p50[run] = (double)histogram_quantile(&s->latency, 0.5) * ns_per_tick;
    s->p99[run] = (double)histogram_quantile(&s->latency, 0.99) * ns_per_tick;
    s->p999[run] = (double)histogram_quantile(&s->latency, 0.999) * ns_per_tick;
    if (s->latency.max > s->max)
        s->max = s->latency.max;
    s->done = 0;
    s->ns = 0;
    histogram_clear(&s->latency);
}

static void score_ratio(const struct score *s, const struct score *yardstick, struct row *row)
{
    static double ratio[SLICES];
    unsigned n = s->slices < yardstick->slices ? s->slices : yardstick->slices;

    for (unsigned i = 0; i < n; i++)
        ratio[i] = s->slice_rate[i] / yardstick->slice_rate[i];
    row->ratio = report_quantile(ratio, n, 0.5);
    row->ratio_low = report_quantile(ratio, n, 0.25);
    row->ratio_high = report_quantile(ratio, n, 0.75);
}

static void score_report(struct score *s, const struct score *yardstick, struct row row)
{
    row.rate = report_quantile(s->rate, s->runs, 0.5);
    row.rate_low = report_quantile(s->rate, s->runs, 0);
    row.rate_high = report_quantile(s->rate, s->runs, 1);
    row.latency.p50 = (uint64_t)report_quantile(s->p50, s->runs, 0.5);
    row.latency.p99 = (uint64_t)report_quantile(s->p99, s->runs, 0.5);
    row.latency.p999 = (uint64_t)report_quantile(s->p999, s->runs, 0.5);
    row.latency.max = (uint64_t)((double)s->max * ns_per_tick);
    row.bytes_per_key = s->bytes_per_key;
    if (yardstick != NULL)
        score_ratio(s, yardstick, &row);
    report_add(&report, &row);
}

/* ---- cells --------------------------------------------------------------------------------- */

static bool in_passes(enum operation op)
{
    return op == OP_FRESH || op == OP_GROWING || op == OP_DELETE;
}

static double write_share(enum operation op)
{
    if (op == OP_MIX)
        return 1 - settings.read / 100.0;
    return op == OP_GET || op == OP_MGET ? 0 : 1;
}

/* What can be written at most in a slice (or a pass). */
static uint64_t slice_bytes(const struct cell *c)
{
    double writers = write_share(c->op) * c->procs + settings.writers;
    double cpus = (double)sysconf(_SC_NPROCESSORS_ONLN);
    double record = (double)engine_record_bytes(&workload);

    if (c->op == OP_FRESH || c->op == OP_GROWING)
        return 0;
    if (in_passes(c->op))
        return workload.keys * engine_record_bytes(&workload);
    writers = writers < cpus ? writers : cpus;
    return (uint64_t)(writers * FASTEST * record * settings.slice_ms / 1000);
}

static void add_lane(struct cell *c, const struct engine *engine, enum operation op)
{
    struct lane *lane = &team.shared->lanes[c->lanes];
    struct engine_setup *setup = &lane->setup;

    lane->engine = engine;
    lane->op = op;
    if (settings.store != NULL)
        snprintf(setup->name, sizeof(setup->name), "%s", settings.store);
    else
        snprintf(setup->name, sizeof(setup->name), "bench-%d-%u", (int)getpid(), c->lanes);
    setup->workload = &workload;
    setup->slots = slots;
    setup->write_bytes = (in_passes(c->op) ? 1 : SLICES_PER_STORE) * slice_bytes(c);
    setup->growing = c->op == OP_GROWING;
    setup->warm = settings_warm(&settings, c->op);
    setup->keeper = settings.keeper;
    setup->attach_only = settings.store != NULL;
    c->lanes++;
}

/* A removal is measured against overwriting: to be safe it must write as much as that does. The
 * yardstick's own removal, one CAS, is shown too. */
static void add_lanes(struct cell *c)
{
    c->yardstick = -1;
    if (settings.shmkv)
        add_lane(c, &engine_shmkv, c->op);
    if (settings.limit) {
        c->yardstick = (int)c->lanes;
        add_lane(c, &engine_limit, c->op == OP_DELETE ? OP_OVERWRITE : c->op);
    }
    if (settings.limit && c->op == OP_DELETE)
        add_lane(c, &engine_limit, OP_DELETE);
    for (unsigned i = 0; i < peers_count; i++)
        if (peers[i]->run[c->op] != NULL)
            add_lane(c, peers[i], c->op);
}

static void order_all(const struct cell *c, enum team_verb verb)
{
    for (unsigned i = 0; i < c->lanes; i++)
        team_do(&team, &(struct team_order){.verb = verb, .lane = i, .context = c->context[i]});
}

static void name_row(const struct cell *c, unsigned role, struct row *row)
{
    if (role == 1)
        snprintf(row->op, sizeof(row->op), "writing beside");
    else if (row->kind == OP_MIX)
        snprintf(row->op, sizeof(row->op), "mix %u/%u", settings.read, 100 - settings.read);
    else
        snprintf(row->op, sizeof(row->op), "%s", settings_op_name(row->kind));
    if (row->does != row->kind)
        snprintf(row->variant, sizeof(row->variant), ": %s", settings_op_name(row->does));
    row->procs = role == 1 ? settings.writers : c->procs;
}

static void report_cell(struct cell *c)
{
    for (unsigned role = 0; role < (settings.writers > 0 ? 2 : 1); role++)
        for (unsigned i = 0; i < c->lanes; i++) {
            const struct lane *lane = &team.shared->lanes[i];
            struct row row = {.engine = lane->engine->name,
                              .kind = role == 1 ? OP_OVERWRITE : c->op,
                              .does = role == 1 ? OP_OVERWRITE : lane->op,
                              .warm = lane->setup.warm};

            name_row(c, role, &row);
            score_report(&c->score[role][i],
                         c->yardstick < 0 ? NULL : &c->score[role][c->yardstick], row);
        }
}

/* ---- slices -------------------------------------------------------------------------------- */

static void fill(struct cell *c, unsigned i)
{
    struct lane *lane = &team.shared->lanes[i];
    struct engine_usage usage;

    lane_create(lane);
    c->written[i] = 0;
    c->context[i] = lane_attach(lane);
    if (!lane->setup.attach_only)
        team_run_alone(lane, c->context[i], engine_fill(lane->engine), &in_order);
    team_run_alone(lane, c->context[i], lane->engine->verify, &in_order);
    lane->engine->usage(c->context[i], &usage);
    c->score[0][i].bytes_per_key = (double)usage.bytes / (double)workload.keys;
}

static void empty_out(struct cell *c, unsigned i)
{
    struct lane *lane = &team.shared->lanes[i];

    team_do(&team, &(struct team_order){.verb = TEAM_DETACH, .lane = i});
    team_run_alone(lane, c->context[i], lane->engine->verify, &in_order);
    lane->engine->detach(c->context[i]);
    lane_destroy(lane);
}

/* A new store if the old one's room may not suffice for another slice. */
static void make_room(struct cell *c, unsigned i)
{
    struct lane *lane = &team.shared->lanes[i];

    if (lane->setup.attach_only || lane->engine->reuses ||
        c->written[i] + slice_bytes(c) <= lane->setup.write_bytes)
        return;
    empty_out(c, i);
    fill(c, i);
    team_do(&team, &(struct team_order){.verb = TEAM_ATTACH, .lane = i});
}

static void slice(struct cell *c, unsigned i, unsigned turn)
{
    struct lane *lane = &team.shared->lanes[i];
    struct team_order order = {.verb = TEAM_RUN, .lane = i, .context = c->context[i], .turn = turn};
    static struct team_sum sum;

    order.task[0] = (struct team_task){lane->op, &drawn};
    order.task[1] = (struct team_task){OP_OVERWRITE, &drawn};
    order.duration = (uint64_t)(settings.slice_ms * 1e6 / ns_per_tick);
    make_room(c, i);
    team_do(&team, &order);
    for (unsigned role = 0; role < TEAM_ROLES; role++) {
        team_sum(&team, role, &sum);
        score_slice(&c->score[role][i], &sum);
        c->written[i] += (uint64_t)((double)sum.done * (role == 1 ? 1 : write_share(c->op))) *
                         engine_record_bytes(&workload);
    }
}

static void end_run(struct cell *c)
{
    for (unsigned i = 0; i < c->lanes; i++)
        for (unsigned role = 0; role < TEAM_ROLES; role++)
            score_end_run(&c->score[role][i]);
}

static void measure_in_slices(struct cell *c)
{
    unsigned turns = (unsigned)(settings.seconds * 1000 / settings.slice_ms + 0.5);
    unsigned turn = 0;

    for (unsigned i = 0; i < c->lanes; i++)
        fill(c, i);
    order_all(c, TEAM_ATTACH);
    for (unsigned run = 0; run < settings.runs; run++) {
        for (unsigned k = 0; k < (turns > 0 ? turns : 1); k++, turn++)
            for (unsigned i = 0; i < c->lanes; i++)
                slice(c, turn % 2 == 0 ? i : c->lanes - 1 - i, turn);
        end_run(c);
    }
    for (unsigned i = 0; i < c->lanes; i++)
        empty_out(c, i);
}

/* ---- passes -------------------------------------------------------------------------------- */

static void pass(struct cell *c, unsigned i)
{
    struct lane *lane = &team.shared->lanes[i];
    struct team_order order = {.verb = TEAM_ATTACH, .lane = i};
    bool filled = c->op == OP_DELETE;
    struct engine_usage usage;
    static struct team_sum sum;
    void *context;

    lane_create(lane);
    context = lane_attach(lane);
    if (filled)
        team_run_alone(lane, context, engine_fill(lane->engine), &in_order);
    order.context = context;
    team_do(&team, &order);
    order.verb = TEAM_RUN;
    order.task[0] = (struct team_task){lane->op, filled ? &shuffled : &in_order};
    team_do(&team, &order);
    team_sum(&team, 0, &sum);
    score_slice(&c->score[0][i], &sum);
    if (!filled) {
        lane->engine->usage(context, &usage);
        c->score[0][i].bytes_per_key = (double)usage.bytes / (double)workload.keys;
    }
    if (lane->op != OP_DELETE)
        team_run_alone(lane, context, lane->engine->verify, &in_order);
    order.verb = TEAM_DETACH;
    team_do(&team, &order);
    lane->engine->detach(context);
    lane_destroy(lane);
}

static void measure_in_passes(struct cell *c)
{
    unsigned turn = 0;

    if (settings.writers > 0)
        die("--writers goes with get, mget, overwrite and mix");
    for (unsigned run = 0; run < settings.runs; run++) {
        do {
            for (unsigned i = 0; i < c->lanes; i++)
                pass(c, turn % 2 == 0 ? i : c->lanes - 1 - i);
            turn++;
        } while (c->score[0][0].ns < settings.seconds * 1e9);
        end_run(c);
    }
}

static void measure(enum operation op, unsigned procs)
{
    struct cell c = {.op = op, .procs = procs};
    size_t bytes = TEAM_LANES * sizeof(struct score);

    if (in_passes(op) && settings.store != NULL)
        die("--store: %s would change its keys", settings_op_name(op));
    for (unsigned role = 0; role < TEAM_ROLES; role++)
        c.score[role] = memory_get(bytes);
    team_start(&team, procs, settings.writers);
    add_lanes(&c);
    if (in_passes(op))
        measure_in_passes(&c);
    else
        measure_in_slices(&c);
    report_cell(&c);
    team_stop(&team);
    for (unsigned role = 0; role < TEAM_ROLES; role++)
        memory_put(c.score[role], bytes);
}

/* ---- preparation --------------------------------------------------------------------------- */

/* How many slots does shmkv make for so many keys?  The yardstick gets as many. */
static void find_slots(void)
{
    struct lane lane = {.engine = &engine_shmkv};
    struct engine_usage usage;
    void *context;

    slots = 8;
    while (slots - slots / 8 < settings.keys)
        slots *= 2;
    if (!settings.shmkv || settings.store != NULL)
        return;
    snprintf(lane.setup.name, sizeof(lane.setup.name), "bench-%d-slots", (int)getpid());
    lane.setup.workload = &workload;
    lane.setup.slots = slots;
    lane_create(&lane);
    context = lane_attach(&lane);
    engine_shmkv.usage(context, &usage);
    engine_shmkv.detach(context);
    lane_destroy(&lane);
    slots = usage.slots;
}

/* Long enough that no cache holds it, a multiple of the sampled batch, and the same for all. */
static uint64_t stream_length(void)
{
    uint64_t n = settings.keys * 2;
    uint64_t step = TEAM_SAMPLE * ENGINE_MANY;

    if (n < 1u << 20)
        n = 1u << 20;
    if (n > 8u << 20)
        n = 8u << 20;
    return n / step * step;
}

static void prepare(void)
{
    ns_per_tick = clock_calibrate();
    workload_make(&workload, settings.keys, settings.key_size, settings.value_size);
    stream_in_order(&in_order, &workload);
    for (unsigned op = 0; op < OP_COUNT; op++) {
        if (!settings.op[op])
            continue;
        if (in_passes((enum operation)op) && shuffled.count == 0)
            stream_shuffled(&shuffled, &workload);
        if (!in_passes((enum operation)op) && drawn.count == 0)
            stream_drawn(&drawn, &workload, settings.dist, settings.read, stream_length());
    }
    find_slots();
}

int main(int argc, char **argv)
{
    settings_read(&settings, argc, argv);
    if (settings.peers != NULL)
        peers_count = peers_find(settings.peers, peers);
    report.bench = "procs";
    report.settings = &settings;
    report_head(&report);
    prepare();
    report_columns();
    for (unsigned op = 0; op < OP_COUNT; op++)
        for (unsigned i = 0; settings.op[op] && i < settings.procs_count; i++)
            measure((enum operation)op, settings.procs[i]);
    report_end(&report);
    return 0;
}
