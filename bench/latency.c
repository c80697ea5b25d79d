/* SPDX-License-Identifier: MIT */
/*
 * latency.c - how long does a GET or a SET take while another process loads at full speed and the
 * index is being resized?
 *
 * One process loads new keys into a store that was empty and of default size; a second one reads
 * and overwrites keys that are there, one operation per microsecond, and times every one.  The
 * yardstick (whose index needs no resize) is put under the same load in turn.  The longest
 * operations are printed with what the kernel says about each: whether the process was waiting for
 * a processor, or the time was spent in the operation.  Beside them stand the longest breaks of
 * the loop that waits for the next microsecond: what this machine does to a program that calls
 * nothing at all.
 */
#include "lib_clock.h"
#include "lib_memory.h"
#include "lib_pause.h"
#include "lib_report.h"
#include "lib_team.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The sampler's own keys, in the store before the loader begins. */
#define SAMPLED 100000u
#define PERIOD_NS 1000u
#define LANES 2u

/* The second pair: without what was spent waiting for a processor. */
enum sampled { SAMPLED_GET, SAMPLED_SET, SAMPLED_GET_OWN, SAMPLED_SET_OWN, SAMPLED_KINDS };

static const char *const sampled_names[] = {"get", "set", "get, running", "set, running"};

/* Written by the two processes of a round, read by the parent. */
struct observation {
    _Atomic bool loaded; /* the loader is through */
    uint64_t load_ns;
    struct histogram latency[SAMPLED_KINDS]; /* ticks */
    struct pause_list longest;
    struct pause_list own;
    struct pause_list breaks;
};

/* What was seen of one engine: of one run, and of all runs. */
struct score {
    struct histogram latency[SAMPLED_KINDS];
    double p50[SAMPLED_KINDS][REPORT_RUNS];
    double p99[SAMPLED_KINDS][REPORT_RUNS];
    double p999[SAMPLED_KINDS][REPORT_RUNS];
    uint64_t max[SAMPLED_KINDS];
    double sampled[SAMPLED_KINDS];
    double seconds;
    double loaded;
    struct pause_list longest;
    struct pause_list own;
    struct pause_list breaks;
};

static struct settings settings;
static struct report report;
static struct workload workload;
static struct stream before; /* the sampler's keys */
static struct stream during; /* the loader's */
static struct stream sample; /* the sampler's operations */
static struct team team;
static struct observation *seen;
static double ns_per_tick;

/* ---- the two processes --------------------------------------------------------------------- */

static const char *load(const struct lane *lane, void *context)
{
    struct batch b = {.workload = &workload, .stream = &during};
    uint64_t begin = clock_ns();

    for (b.at = 0; b.at < during.count; b.at += b.count) {
        b.count = during.count - b.at < TEAM_SAMPLE ? during.count - b.at : TEAM_SAMPLE;
        if (lane->engine->run[OP_FRESH](context, &b) != b.count)
            return lane->engine->explain(context);
    }
    seen->load_ns = clock_ns() - begin;
    return NULL;
}

/* Wait for the next tick of the schedule; tell of any break in the waiting. */
static void idle_until(uint64_t ticks, uint64_t longest, struct pause_watch *watch)
{
    uint64_t last = clock_ticks();

    while (last < ticks) {
        uint64_t now = clock_ticks();

        if (now - last > longest) {
            struct pause p;

            pause_took(watch, "idle", (uint64_t)((double)(now - last) * ns_per_tick), &p);
            pause_keep(&seen->breaks, &p);
            now = clock_ticks();
        }
        last = now;
    }
}

/* Enter what an operation took; if that was long, ask why. */
static void note(unsigned kind, uint64_t took, uint64_t longest, struct pause_watch *watch)
{
    uint64_t own = took;

    if (took > longest) {
        struct pause p;

        pause_took(watch, sampled_names[kind], (uint64_t)((double)took * ns_per_tick), &p);
        pause_keep(&seen->longest, &p);
        pause_keep(&seen->own, &p);
        own = (uint64_t)((double)pause_own_ns(&p) / ns_per_tick);
    }
    histogram_add(&seen->latency[kind], took);
    histogram_add(&seen->latency[kind + SAMPLED_GET_OWN], own);
}

static const char *observe(const struct lane *lane, void *context)
{
    struct batch b = {.workload = &workload, .stream = &sample};
    uint64_t period = (uint64_t)(PERIOD_NS / ns_per_tick);
    uint64_t longest = (uint64_t)(PAUSE_LONG_NS / ns_per_tick);
    struct pause_watch watch;
    const char *failure = NULL;

    pause_watch_begin(&watch);
    while (failure == NULL && !atomic_load_explicit(&seen->loaded, memory_order_relaxed)) {
        unsigned kind = b.at % 2 == 0 ? SAMPLED_GET : SAMPLED_SET;
        uint64_t begin;

        b.count = 1;
        begin = clock_begin();
        if (lane->engine->run[kind == SAMPLED_GET ? OP_GET : OP_OVERWRITE](context, &b) != 1)
            failure = lane->engine->explain(context);
        note(kind, clock_end() - begin, longest, &watch);
        b.at = (b.at + 1) % sample.count;
        idle_until(begin + period, longest, &watch);
    }
    pause_watch_end(&watch);
    return failure;
}

static const char *play_role(const struct lane *lane, void *context, unsigned role)
{
    const char *failure;

    if (role == 0)
        return observe(lane, context);
    failure = load(lane, context);
    atomic_store(&seen->loaded, true);
    return failure;
}

/* ---- rounds -------------------------------------------------------------------------------- */

static void round_of(struct lane *lane, unsigned number, struct score *score)
{
    struct team_order order = {.verb = TEAM_ATTACH, .lane = number, .call = play_role};
    void *context;

    memset(seen, 0, sizeof(*seen));
    seen->own.by_own = seen->breaks.by_own = true;
    lane_create(lane);
    context = lane_attach(lane);
    team_run_alone(lane, context, lane->engine->run[OP_FRESH], &before);
    team_do(&team, &order);
    order.verb = TEAM_CALL;
    team_do(&team, &order);
    order.verb = TEAM_DETACH;
    team_do(&team, &order);
    lane->engine->detach(context);
    lane_destroy(lane);
    for (unsigned i = 0; i < SAMPLED_KINDS; i++) {
        histogram_merge(&score->latency[i], &seen->latency[i]);
        score->sampled[i] += (double)seen->latency[i].total;
    }
    score->seconds += (double)seen->load_ns / 1e9;
    score->loaded += (double)during.count;
    pause_merge(&score->longest, &seen->longest);
    score->own.by_own = score->breaks.by_own = true;
    pause_merge(&score->own, &seen->own);
    pause_merge(&score->breaks, &seen->breaks);
}

static void score_end_run(struct score *s, unsigned run)
{
    for (unsigned i = 0; i < SAMPLED_KINDS; i++) {
        struct histogram *h = &s->latency[i];

        s->p50[i][run] = (double)histogram_quantile(h, 0.5) * ns_per_tick;
        s->p99[i][run] = (double)histogram_quantile(h, 0.99) * ns_per_tick;
        s->p999[i][run] = (double)histogram_quantile(h, 0.999) * ns_per_tick;
        if (h->max > s->max[i])
            s->max[i] = h->max;
        histogram_clear(h);
    }
}

static void set_up_lane(unsigned number, const struct engine *engine)
{
    struct lane *lane = &team.shared->lanes[number];
    struct engine_setup *setup = &lane->setup;

    lane->engine = engine;
    snprintf(setup->name, sizeof(setup->name), "bench-%d-%u", (int)getpid(), number);
    setup->workload = &workload;
    setup->slots = 8;
    while (setup->slots - setup->slots / 8 < workload.keys)
        setup->slots *= 2;
    setup->write_bytes = 16ull << 30; /* only as much as is written is taken */
    setup->growing = true;
    setup->keeper = settings.keeper;
}

static void measure(struct score *scores)
{
    double wanted = settings.seconds;

    for (unsigned run = 0; run < settings.runs; run++) {
        double begin = scores[0].seconds;

        do {
            for (unsigned i = 0; i < LANES; i++)
                round_of(&team.shared->lanes[i], i, &scores[i]);
        } while (scores[0].seconds - begin < wanted);
        for (unsigned i = 0; i < LANES; i++)
            score_end_run(&scores[i], run);
    }
}

/* ---- report -------------------------------------------------------------------------------- */

static void report_kind(struct score *s, const struct score *limit, const char *engine,
                        unsigned kind)
{
    struct row row = {.engine = engine, .procs = 2};
    double ratio[REPORT_RUNS];
    unsigned n = settings.runs;

    for (unsigned i = 0; i < n; i++)
        ratio[i] = s->p999[kind][i] / limit->p999[kind][i];
    snprintf(row.op, sizeof(row.op), "%s", sampled_names[kind]);
    row.rate = row.rate_low = row.rate_high = s->sampled[kind] / s->seconds;
    row.latency.max = (uint64_t)((double)s->max[kind] * ns_per_tick);
    row.ratio = report_quantile(ratio, n, 0.5);
    row.ratio_low = report_quantile(ratio, n, 0);
    row.ratio_high = report_quantile(ratio, n, 1);
    row.latency.p50 = (uint64_t)report_quantile(s->p50[kind], n, 0.5);
    row.latency.p99 = (uint64_t)report_quantile(s->p99[kind], n, 0.5);
    row.latency.p999 = (uint64_t)report_quantile(s->p999[kind], n, 0.5);
    report_add(&report, &row);
}

static void print_scores(struct score *scores)
{
    char title[96];
    char rate[24];

    report_columns();
    for (unsigned kind = 0; kind < SAMPLED_KINDS; kind++)
        for (unsigned i = 0; i < LANES; i++)
            report_kind(&scores[i], &scores[1], team.shared->lanes[i].engine->name, kind);
    printf(
        "of limit: p99.9 as a multiple of the yardstick's (lowest and highest run); running: what"
        " was spent\nwaiting for a processor left out of operations over %u us\n",
        PAUSE_LONG_NS / 1000);
    for (unsigned i = 0; i < LANES; i++) {
        const char *name = team.shared->lanes[i].engine->name;

        snprintf(title, sizeof(title), "\n%s: the longest operations, beside a load of %s keys/s\n",
                 name, report_count(scores[i].loaded / scores[i].seconds, rate, sizeof(rate)));
        report_pauses(title, &scores[i].longest);
        snprintf(title, sizeof(title), "\n%s: the longest, the waiting for a processor left out\n",
                 name);
        report_pauses(title, &scores[i].own);
        snprintf(title, sizeof(title), "\n%s: the longest breaks of the idle loop, likewise\n",
                 name);
        report_pauses(title, &scores[i].breaks);
    }
}

int main(int argc, char **argv)
{
    struct score *scores = memory_get(LANES * sizeof(*scores));
    struct workload sampled;

    settings_read(&settings, argc, argv);
    if (settings.keys < 2 * SAMPLED)
        die("--keys: at least %u are needed here", 2 * SAMPLED);
    report.bench = "latency";
    report.settings = &settings;
    report_head(&report);
    ns_per_tick = clock_calibrate();
    workload_make(&workload, settings.keys, settings.key_size, settings.value_size);
    before = (struct stream){.keys = workload.key_bytes, .count = SAMPLED};
    during = (struct stream){.keys = workload.key_bytes + SAMPLED * settings.key_size,
                             .count = settings.keys - SAMPLED};
    sampled = workload;
    sampled.keys = SAMPLED;
    stream_drawn(&sample, &sampled, settings.dist, 50, 1u << 20);
    seen = memory_get_shared(sizeof(*seen));
    team_start(&team, 1, 1);
    set_up_lane(0, &engine_shmkv);
    set_up_lane(1, &engine_limit);
    measure(scores);
    print_scores(scores);
    report_end(&report);
    team_stop(&team);
    return 0;
}
