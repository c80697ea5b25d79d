/* SPDX-License-Identifier: MIT */
/*
 * killed.c - what does it cost the others when a process is killed at full speed?
 *
 * Processes read and overwrite; first undisturbed, then one of them, a random one, is killed every
 * tenth of a second and another one started in its place.  Told are the rate of all, how long after
 * a kill each survivor has gone on by two batches (which includes waiting for a processor, so the
 * same is asked without a kill), and how long a new process needs to its first batch.  At the end
 * every key must be there with a right value.  (TDB empties a store that nobody has open, and is no
 * peer here.)
 */
#include "lib_cell.h"
#include "lib_child.h"
#include "lib_clock.h"
#include "lib_memory.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PERIOD_MS 100u
#define WORKERS 64u
#define WRITE_BYTES (512u << 20)
#define GIVE_UP_NS 10000000000u

enum phase { UNDISTURBED, KILLED, PHASES };
static const char *const phase_names[] = {"undisturbed", "one killed per 0.1 s"};

struct place {
    _Alignas(64) _Atomic uint64_t batches;
    _Atomic uint64_t first_ns; /* when the first one was done */
};

struct score_of {
    double rate[REPORT_RUNS];
    struct histogram pause; /* nanoseconds */
    struct histogram arrival;
};

static struct bench bench;
static struct stream drawn;
static struct place *places;
static pid_t pids[WORKERS];
static unsigned workers;
static struct lane lane;
static pid_t parent;

/* ---- workers ------------------------------------------------------------------------------- */

static void work(unsigned number, uint64_t turn)
{
    struct batch b = {.workload = &bench.workload, .stream = &drawn, .count = TEAM_SAMPLE};
    void *context = lane_attach(&lane);

    b.at = (number * 104729 + turn * 977) * TEAM_SAMPLE % (drawn.count - TEAM_SAMPLE);
    for (;;) {
        if (lane.engine->run[OP_MIX](context, &b) != b.count)
            die("%s: %s", lane.engine->name, lane.engine->explain(context));
        if (atomic_load(&places[number].first_ns) == 0)
            atomic_store(&places[number].first_ns, clock_ns());
        atomic_store(&places[number].batches, atomic_load(&places[number].batches) + 1);
        b.at = (b.at + b.count) % (drawn.count - TEAM_SAMPLE);
    }
}

static void start(unsigned number, uint64_t turn)
{
    atomic_store(&places[number].first_ns, 0);
    pids[number] = child_fork();
    if (pids[number] == 0)
        work(number, turn);
}

static void stop(unsigned number)
{
    kill(pids[number], SIGKILL);
    waitpid(pids[number], NULL, 0);
    pids[number] = 0;
}

static void nap(void)
{
    struct timespec t = {.tv_nsec = 50000};

    nanosleep(&t, NULL);
}

static void await_first(unsigned number)
{
    uint64_t begin = clock_ns();

    while (atomic_load(&places[number].first_ns) == 0) {
        if (clock_ns() - begin > GIVE_UP_NS || waitpid(pids[number], NULL, WNOHANG) != 0)
            die("%s: process %u does not get on", lane.engine->name, number + 1);
        nap();
    }
}

/* ---- measuring ----------------------------------------------------------------------------- */

static uint64_t total(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < workers; i++)
        sum += atomic_load(&places[i].batches);
    return sum;
}

/* Until each but @except has gone on by two batches. */
static uint64_t await_others(unsigned except)
{
    uint64_t seen[WORKERS];
    uint64_t begin = clock_ns();

    for (unsigned i = 0; i < workers; i++)
        seen[i] = atomic_load(&places[i].batches);
    for (unsigned i = 0; i < workers; i++)
        while (i != except && atomic_load(&places[i].batches) < seen[i] + 2) {
            if (clock_ns() - begin > GIVE_UP_NS)
                die("%s: process %u stands still after a kill", lane.engine->name, i + 1);
            nap();
        }
    return clock_ns() - begin;
}

static void disturb(enum phase phase, uint64_t turn, struct score_of *s)
{
    unsigned victim = (unsigned)(((turn * 2654435761u >> 7) & 0xffff) * workers >> 16);
    uint64_t begin;

    if (phase == KILLED)
        stop(victim);
    histogram_add(&s->pause, await_others(victim));
    if (phase == UNDISTURBED)
        return;
    begin = clock_ns();
    start(victim, turn);
    await_first(victim);
    histogram_add(&s->arrival, atomic_load(&places[victim].first_ns) - begin);
}

static void run(enum phase phase, unsigned number, struct score_of *s)
{
    uint64_t begin = clock_ns();
    uint64_t before = total();
    uint64_t end = begin + (uint64_t)(bench.settings.seconds * 1e9);

    for (uint64_t turn = 1; clock_ns() < end; turn++) {
        uint64_t next = begin + turn * PERIOD_MS * 1000000u;
        uint64_t now = clock_ns();

        if (next > now)
            clock_sleep_ms((unsigned)((next - now) / 1000000));
        disturb(phase, turn + number * 131, s);
    }
    s->rate[number] = (double)(total() - before) * TEAM_SAMPLE / (double)(clock_ns() - begin) * 1e9;
}

static void report_phase(enum phase phase, struct score_of *s)
{
    struct row row = {.engine = lane.engine->name,
                      .kind = OP_MIX,
                      .does = OP_MIX,
                      .procs = workers,
                      .warm = true};
    unsigned runs = bench.settings.runs;

    snprintf(row.op, sizeof(row.op), "%s", phase_names[phase]);
    row.rate = report_quantile(s->rate, runs, 0.5);
    row.rate_low = report_quantile(s->rate, runs, 0);
    row.rate_high = report_quantile(s->rate, runs, 1);
    row.latency.p50 = histogram_quantile(&s->pause, 0.5);
    row.latency.p99 = histogram_quantile(&s->pause, 0.99);
    row.latency.p999 = histogram_quantile(&s->pause, 0.999);
    row.latency.max = s->pause.max;
    snprintf(row.extra, sizeof(row.extra),
             "\"kills\": %llu, \"arrival_p50_ns\": %llu, "
             "\"arrival_max_ns\": %llu",
             (unsigned long long)s->arrival.total,
             (unsigned long long)histogram_quantile(&s->arrival, 0.5),
             (unsigned long long)s->arrival.max);
    report_add(&bench.report, &row);
}

/* In a child: no store has to outlive a fork in its user. */
static void alone(engine_run *what)
{
    pid_t child = child_fork();
    int status = 0;

    if (child == 0) {
        void *context = lane_attach(&lane);

        team_run_alone(&lane, context, what, &bench.in_order);
        lane.engine->detach(context);
        _exit(0);
    }
    waitpid(child, &status, 0);
    if (status != 0)
        die("%s: the keys are not all there as they should be", lane.engine->name);
}

static void measure(const struct engine *engine)
{
    static struct score_of scores[PHASES];
    char text[2][24];

    memset(scores, 0, sizeof(scores));
    lane = (struct lane){.engine = engine};
    snprintf(lane.setup.name, sizeof(lane.setup.name), "bench-%d-k", (int)getpid());
    lane.setup.workload = &bench.workload;
    lane.setup.slots = bench.slots;
    lane.setup.write_bytes = WRITE_BYTES;
    lane.setup.warm = true;
    lane_create(&lane);
    fflush(stdout);
    alone(engine_fill(engine));
    for (unsigned i = 0; i < workers; i++)
        start(i, 0);
    for (unsigned i = 0; i < workers; i++)
        await_first(i);
    for (unsigned i = 0; i < bench.settings.runs; i++)
        for (unsigned phase = 0; phase < PHASES; phase++)
            run((enum phase)phase, i, &scores[phase]);
    for (unsigned i = 0; i < workers; i++)
        stop(i);
    alone(engine->verify);
    lane_destroy(&lane);
    for (unsigned phase = 0; phase < PHASES; phase++)
        report_phase((enum phase)phase, &scores[phase]);
    printf("%-14s %llu killed; a new process' first batch after %s, at most %s\n", engine->name,
           (unsigned long long)scores[KILLED].arrival.total,
           report_time((double)histogram_quantile(&scores[KILLED].arrival, 0.5), text[0], 24),
           report_time((double)scores[KILLED].arrival.max, text[1], 24));
}

static void clean_up(void)
{
    if (getpid() != parent)
        return;
    for (unsigned i = 0; i < workers; i++)
        if (pids[i] > 0)
            stop(i);
    lane_destroy(&lane);
}

int main(int argc, char **argv)
{
    struct settings *s = &bench.settings;

    settings_default(s);
    s->procs[0] = 2;
    s->limit = false;
    settings_parse(s, argc, argv);
    if (s->writers > 0 || s->store != NULL || s->procs_count != 1 || s->limit)
        die("--writers, --store, several --procs, the engine limit: not here");
    workers = s->procs[0];
    if (workers < 2 || workers > WORKERS)
        die("--procs: 2 to %u here", WORKERS);
    parent = getpid();
    atexit(clean_up);
    bench_begin(&bench, "killed", 0);
    stream_drawn(&drawn, &bench.workload, s->dist, s->read, bench_stream_length(&bench));
    places = memory_get_shared(workers * sizeof(*places));
    printf("latencies: until each survivor has gone on by two batches of %u\n", TEAM_SAMPLE);
    report_columns();
    if (s->shmkv)
        measure(&engine_shmkv);
    for (unsigned i = 0; i < bench.peers_count; i++)
        if (!bench.peers[i]->threads && bench.peers[i]->unit <= 1)
            measure(bench.peers[i]);
    report_end(&bench.report);
    return 0;
}
