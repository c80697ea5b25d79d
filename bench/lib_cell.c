/* SPDX-License-Identifier: MIT */
#include "lib_cell.h"

#include "lib_clock.h"
#include "lib_memory.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* More than any engine writes per second and processor; sizes the room for a slice. */
#define FASTEST 15e6
/* After so many slices that write as fast as that, or passes, the engines get new stores; after
 * fewer, but two, if their room were larger than this: all of it is faulted in. */
#define SLICES_PER_STORE 8
#define ROOM_MAX (512u << 20)
#define PASSES_PER_STORE 8
/* Of so many keys one may be new and removed again, and the store is as good as before. */
#define KEYS_PER_REMOVED 1000u
/* Larger ones take longer to fill than to measure: one store for all runs. */
#define RENEWED_MAX (160u << 20) /* bytes of records */
/* Keys of a peer that are verified after the measurement. */
#define PEER_KEYS_AFTER 65536u
/* Room for what each of many processes has begun and not filled. */
#define MANY_PROCS 64u
#define ROOM_PER_PROC (256u << 10)

struct cell {
    struct bench *bench;
    const struct cell_plan *plan;
    unsigned most; /* processes */
    unsigned lanes;
    int yardstick;                /* lane, or -1 */
    uint64_t written[TEAM_LANES]; /* bytes, since the store was made */
    unsigned passes[TEAM_LANES];  /* likewise */
    double bytes_per_key[TEAM_LANES];
    void *context[TEAM_LANES]; /* the parent's */
    struct score *scores;      /* see score_of() */
};

static struct team team;

/* ---- cells --------------------------------------------------------------------------------- */

/* Of the lane @i with the number of processes that @size is the index of. */
static struct score *score_of(const struct cell *c, unsigned size, unsigned i, unsigned role)
{
    return &c->scores[(size * TEAM_LANES + i) * TEAM_ROLES + role];
}

static size_t scores_bytes(const struct cell_plan *plan)
{
    return plan->procs_count * TEAM_LANES * TEAM_ROLES * sizeof(struct score);
}

/* Every other turn goes backwards, so that no engine is always the first or behind the same. */
static unsigned in_turn(unsigned turn, unsigned k, unsigned count)
{
    return turn % 2 == 0 ? k : count - 1 - k;
}

static double write_share(const struct settings *s, enum operation op)
{
    if (op == OP_MIX)
        return 1 - s->read / 100.0;
    return op == OP_GET || op == OP_MGET ? 0 : 1;
}

/* What can be written at most in a slice (or a pass). */
static uint64_t slice_bytes(const struct cell *c)
{
    const struct settings *s = &c->bench->settings;
    double writers = write_share(s, c->plan->op) * c->most + s->writers;
    double cpus = (double)sysconf(_SC_NPROCESSORS_ONLN);
    double record = (double)engine_record_bytes(&c->bench->workload);

    if (c->plan->passes && !c->plan->filled && c->plan->op != OP_INCR)
        return 0;
    if (c->plan->passes)
        return c->plan->op == OP_GET ? 0 : c->plan->stream->count * (uint64_t)record;
    writers = writers < cpus ? writers : cpus;
    return (uint64_t)(writers * FASTEST * record * s->slice_ms / 1000);
}

static unsigned slices_per_store(const struct cell *c)
{
    uint64_t bytes = slice_bytes(c);
    uint64_t n = bytes == 0 ? SLICES_PER_STORE : ROOM_MAX / bytes;

    if (c->plan->passes)
        return c->plan->kept ? PASSES_PER_STORE : 1;
    return n < 2 ? 2 : n > SLICES_PER_STORE ? SLICES_PER_STORE : (unsigned)n;
}

static void add_lane(struct cell *c, const struct engine *engine, enum operation op)
{
    const struct settings *s = &c->bench->settings;
    struct lane *lane = &team.shared->lanes[c->lanes];
    struct engine_setup *setup = &lane->setup;

    lane->engine = engine;
    lane->op = op;
    if (s->store != NULL)
        snprintf(setup->name, sizeof(setup->name), "%s", s->store);
    else
        snprintf(setup->name, sizeof(setup->name), "bench-%d-%u", (int)getpid(), c->lanes);
    setup->workload = &c->bench->workload;
    setup->slots = c->bench->slots;
    setup->write_bytes = slices_per_store(c) * slice_bytes(c);
    if (c->most > MANY_PROCS)
        setup->write_bytes += c->most * ROOM_PER_PROC;
    setup->growing = c->plan->op == OP_GROWING;
    setup->warm = settings_warm(s, c->plan->op);
    setup->keeper = s->keeper;
    setup->attach_only = s->store != NULL;
    c->lanes++;
}

/* A removal is measured against overwriting: to be safe it must write as much as that does. The
 * yardstick's own removal, one CAS, is shown too. */
static void add_lanes(struct cell *c)
{
    const struct bench *b = c->bench;
    enum operation op = c->plan->op;

    c->yardstick = -1;
    if (b->settings.shmkv && engine_shmkv.run[op] != NULL)
        add_lane(c, &engine_shmkv, op);
    if (b->settings.cache && engine_cache.run[op] != NULL)
        add_lane(c, &engine_cache, op);
    if (b->settings.limit && engine_limit.run[op] != NULL) {
        c->yardstick = (int)c->lanes;
        add_lane(c, &engine_limit, op == OP_DELETE ? OP_OVERWRITE : op);
    }
    if (b->settings.limit && op == OP_DELETE)
        add_lane(c, &engine_limit, OP_DELETE);
    for (unsigned i = 0; i < b->peers_count; i++)
        if (b->peers[i]->run[op] != NULL)
            add_lane(c, b->peers[i], op);
}

static void order_all(const struct cell *c, enum team_verb verb)
{
    for (unsigned i = 0; i < c->lanes; i++)
        team_do(&team, &(struct team_order){.verb = verb, .lane = i, .context = c->context[i]});
}

static void name_row(const struct cell *c, unsigned size, unsigned role, struct row *row)
{
    const struct settings *s = &c->bench->settings;

    if (role == 1)
        snprintf(row->op, sizeof(row->op), "writing beside");
    else if (c->plan->label != NULL)
        snprintf(row->op, sizeof(row->op), "%s", c->plan->label);
    else if (row->kind == OP_MIX)
        snprintf(row->op, sizeof(row->op), "mix %u/%u", s->read, 100 - s->read);
    else
        snprintf(row->op, sizeof(row->op), "%s", settings_op_name(row->kind));
    if (row->does != row->kind)
        snprintf(row->variant, sizeof(row->variant), ": %s", settings_op_name(row->does));
    row->procs = role == 1 ? s->writers : c->plan->procs[size];
}

static void report_lane(struct cell *c, unsigned size, unsigned i, unsigned role)
{
    const struct lane *lane = &team.shared->lanes[i];
    double weight = c->plan->weight > 0 ? c->plan->weight : 1;
    struct row row = {.engine = lane->engine->name,
                      .kind = role == 1 ? OP_OVERWRITE : c->plan->op,
                      .does = role == 1 ? OP_OVERWRITE : lane->op,
                      .warm = lane->setup.warm};
    struct score *own = score_of(c, size, i, role);
    struct score *first = score_of(c, size, 0, role);
    struct score *yardstick =
        c->yardstick < 0 ? NULL : score_of(c, size, (unsigned)c->yardstick, role);

    name_row(c, size, role, &row);
    if (lane->engine != &engine_shmkv && team.shared->lanes[0].engine == &engine_shmkv)
        row.shmkv_times = score_times(first, own);
    row.published = c->plan->published;
    row.published_latency = c->plan->published_latency;
    row.bytes_per_key = role == 0 ? c->bytes_per_key[i] : 0;
    score_row(own, yardstick, c->bench->ns_per_tick, &row);
    row.rate *= weight;
    row.rate_low *= weight;
    row.rate_high *= weight;
    if (size > 0 && role == 0) {
        row.scaling_from = c->plan->procs[0];
        score_scaling(own, score_of(c, 0, i, 0), yardstick,
                      yardstick == NULL ? NULL : score_of(c, 0, (unsigned)c->yardstick, 0), &row);
    }
    report_add(&c->bench->report, &row);
}

static void report_cell(struct cell *c)
{
    for (unsigned size = 0; size < c->plan->procs_count; size++)
        for (unsigned role = 0; role < (c->bench->settings.writers > 0 ? 2 : 1); role++)
            for (unsigned i = 0; i < c->lanes; i++)
                report_lane(c, size, i, role);
}

static void score_role(struct cell *c, unsigned size, unsigned i, unsigned role,
                       struct team_sum *sum)
{
    const struct bench *b = c->bench;

    team_sum(&team, role, sum);
    score_slice(score_of(c, size, i, role), sum,
                b->settings.cpu_clock ? (double)sum->cpu_ns : (double)sum->ticks * b->ns_per_tick);
}

static void end_run(struct cell *c)
{
    for (unsigned size = 0; size < c->plan->procs_count; size++)
        for (unsigned i = 0; i < c->lanes; i++)
            for (unsigned role = 0; role < TEAM_ROLES; role++)
                score_end_run(score_of(c, size, i, role), c->bench->ns_per_tick);
}

/* ---- slices -------------------------------------------------------------------------------- */

static void note_usage(struct cell *c, unsigned i)
{
    struct engine_usage usage;

    team.shared->lanes[i].engine->usage(c->context[i], &usage);
    c->bytes_per_key[i] = (double)usage.bytes / (double)c->bench->in_order.count;
}

static void fill(struct cell *c, unsigned i)
{
    struct lane *lane = &team.shared->lanes[i];

    lane_create(lane);
    c->written[i] = 0;
    c->context[i] = lane_attach(lane);
    if (!lane->setup.attach_only)
        team_run_alone(lane, c->context[i], engine_fill(lane->engine), &c->bench->in_order);
    team_run_alone(lane, c->context[i], lane->engine->verify, &c->bench->in_order);
    note_usage(c, i);
}

/* What was measured has left the keys as they should be; of peers a part is looked at. */
static void look_after(struct cell *c, unsigned i)
{
    const struct lane *lane = &team.shared->lanes[i];
    struct stream keys = c->bench->in_order;

    if (lane->engine->reuses && keys.count > PEER_KEYS_AFTER)
        keys.count = PEER_KEYS_AFTER;
    team_run_alone(lane, c->context[i], lane->engine->verify, &keys);
}

static void empty_out(struct cell *c, unsigned i)
{
    struct lane *lane = &team.shared->lanes[i];

    team_do(&team, &(struct team_order){.verb = TEAM_DETACH, .lane = i});
    look_after(c, i);
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

static void slice(struct cell *c, unsigned size, unsigned i, unsigned turn)
{
    const struct bench *b = c->bench;
    struct lane *lane = &team.shared->lanes[i];
    struct team_order order = {.verb = TEAM_RUN, .lane = i, .active = c->plan->procs[size]};
    static struct team_sum sum;

    order.turn = turn * c->plan->procs_count + size; /* all engines have the same keys in it */
    order.task[0] = (struct team_task){lane->op, c->plan->stream};
    order.task[1] = (struct team_task){OP_OVERWRITE, c->plan->stream};
    order.duration = (uint64_t)(b->settings.slice_ms * 1e6 / b->ns_per_tick);
    make_room(c, i);
    order.context = c->context[i];
    team_do(&team, &order);
    for (unsigned role = 0; role < TEAM_ROLES; role++) {
        double share = role == 1 ? 1 : write_share(&b->settings, c->plan->op);

        score_role(c, size, i, role, &sum);
        c->written[i] += (uint64_t)((double)sum.done * share) * engine_record_bytes(&b->workload);
    }
}

static bool is_renewed(const struct cell *c, unsigned i)
{
    const struct lane *lane = &team.shared->lanes[i];

    return !lane->setup.attach_only && !lane->engine->reuses &&
           c->bench->settings.keys * engine_record_bytes(&c->bench->workload) <= RENEWED_MAX;
}

/*
 * New stores for shmkv and the yardstick.  Where the kernel, and the hypervisor below it, have put
 * a store's pages makes some a third faster than others for as long as they live: each run has
 * places of its own, and what was freed by the one is given to the other.
 */
static void renew(struct cell *c, unsigned run)
{
    for (unsigned i = 0; i < c->lanes; i++)
        if (is_renewed(c, i))
            empty_out(c, i);
    for (unsigned k = 0; k < c->lanes; k++) {
        unsigned i = in_turn(run, k, c->lanes);

        if (!is_renewed(c, i))
            continue;
        fill(c, i);
        team_do(&team, &(struct team_order){.verb = TEAM_ATTACH, .lane = i});
    }
}

static void measure_in_slices(struct cell *c)
{
    const struct settings *s = &c->bench->settings;
    unsigned turns = (unsigned)(s->seconds * 1000 / s->slice_ms + 0.5);
    unsigned sizes = c->plan->procs_count;
    unsigned turn = 0;

    for (unsigned i = 0; i < c->lanes; i++)
        fill(c, i);
    order_all(c, TEAM_ATTACH);
    for (unsigned run = 0; run < s->runs; run++) {
        if (run > 0)
            renew(c, run);
        for (unsigned k = 0; k < (turns > 0 ? turns : 1); k++, turn++)
            for (unsigned n = 0; n < sizes; n++)
                for (unsigned i = 0; i < c->lanes; i++)
                    slice(c, in_turn(turn, n, sizes), in_turn(turn, i, c->lanes), turn);
        end_run(c);
    }
    for (unsigned i = 0; i < c->lanes; i++)
        empty_out(c, i);
}

/* ---- passes -------------------------------------------------------------------------------- */

/* A store with the keys that are to be there, and the members attached to it. */
static void pass_begin(struct cell *c, unsigned i)
{
    struct lane *lane = &team.shared->lanes[i];

    lane_create(lane);
    c->passes[i] = 0;
    c->context[i] = lane_attach(lane);
    if (c->plan->filled)
        team_run_alone(lane, c->context[i], engine_fill(lane->engine), &c->bench->in_order);
    team_do(&team, &(struct team_order){.verb = TEAM_ATTACH, .lane = i, .context = c->context[i]});
}

static void pass_end(struct cell *c, unsigned i)
{
    struct lane *lane = &team.shared->lanes[i];

    if (lane->op != OP_DELETE && lane->op != OP_INCR)
        look_after(c, i);
    team_do(&team, &(struct team_order){.verb = TEAM_DETACH, .lane = i, .context = c->context[i]});
    lane->engine->detach(c->context[i]);
    lane_destroy(lane);
}

/* One more pass on the same store?  Keys that are removed leave marks in shmkv's index for a while,
 * in the yardstick's for ever. */
static bool pass_keeps(const struct cell *c, unsigned i)
{
    const struct lane *lane = &team.shared->lanes[i];
    uint64_t added = c->plan->stream->count * KEYS_PER_REMOVED;

    if (!c->plan->kept || c->passes[i] == PASSES_PER_STORE)
        return false;
    return lane->op != OP_FRESH || lane->engine->reuses || c->bench->in_order.count >= added;
}

static void pass(struct cell *c, unsigned size, unsigned i)
{
    struct lane *lane = &team.shared->lanes[i];
    struct team_order order = {.verb = TEAM_RUN, .lane = i, .active = c->plan->procs[size]};
    static struct team_sum sum;

    if (!lane->made)
        pass_begin(c, i);
    order.context = c->context[i];
    order.sample = c->plan->sample;
    order.task[0] = (struct team_task){lane->op, c->plan->stream};
    team_do(&team, &order);
    score_role(c, size, i, 0, &sum);
    c->passes[i]++;
    if (!c->plan->filled && lane->op != OP_INCR)
        note_usage(c, i);
    if (!pass_keeps(c, i))
        pass_end(c, i);
    else if (lane->op == OP_FRESH)
        team_run_alone(lane, c->context[i], lane->engine->run[OP_DELETE], c->plan->stream);
}

static bool had_its_time(const struct cell *c, unsigned size, unsigned i)
{
    return score_of(c, size, i, 0)->ns >= c->bench->settings.seconds * 1e9;
}

/* One pass of each engine; shmkv and the yardstick stay together. */
static void pass_all(struct cell *c, unsigned size, unsigned turn)
{
    for (unsigned k = 0; k < c->lanes; k++) {
        unsigned i = in_turn(turn, k, c->lanes);

        if (!team.shared->lanes[i].engine->reuses || !had_its_time(c, size, i))
            pass(c, size, i);
    }
}

/* Until all have had their time; a turn has a pass of each number of processes. */
static void measure_in_passes(struct cell *c)
{
    const struct settings *s = &c->bench->settings;
    unsigned sizes = c->plan->procs_count;
    unsigned turn = 0;
    unsigned open;

    if (s->writers > 0)
        die("--writers goes with get, mget, overwrite and mix");
    for (unsigned run = 0; run < s->runs; run++) {
        do {
            open = 0;
            for (unsigned n = 0; n < sizes; n++) {
                unsigned size = in_turn(turn, n, sizes);

                pass_all(c, size, turn);
                open += !had_its_time(c, size, 0);
            }
            turn++;
        } while (open > 0);
        end_run(c);
    }
    for (unsigned i = 0; i < c->lanes; i++)
        if (team.shared->lanes[i].made)
            pass_end(c, i);
}

void bench_measure(struct bench *b, const struct cell_plan *plan)
{
    struct cell c = {.bench = b, .plan = plan};

    if (plan->passes && b->settings.store != NULL)
        die("--store: %s would change its keys", settings_op_name(plan->op));
    for (unsigned i = 0; i < plan->procs_count; i++)
        c.most = plan->procs[i] > c.most ? plan->procs[i] : c.most;
    c.scores = memory_get(scores_bytes(plan));
    team_start(&team, c.most, b->settings.writers);
    add_lanes(&c);
    if (plan->passes)
        measure_in_passes(&c);
    else
        measure_in_slices(&c);
    report_cell(&c);
    team_stop(&team);
    memory_put(c.scores, scores_bytes(plan));
}
