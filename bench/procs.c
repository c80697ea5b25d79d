/* SPDX-License-Identifier: MIT */
/*
 * procs.c - how many operations per second do N processes get out of one store?
 *
 * Any operation or mix, by any numbers of processes, of shmkv beside the yardstick and, with
 * --peers, beside other stores; lib_cell.h says how.
 */
#include "lib_cell.h"

static struct bench bench;
static struct stream shuffled;
static struct stream drawn;

static bool in_passes(enum operation op)
{
    return op == OP_FRESH || op == OP_GROWING || op == OP_DELETE || op == OP_INCR;
}

static void make_streams(void)
{
    const struct settings *s = &bench.settings;

    for (unsigned op = 0; op < OP_COUNT; op++) {
        if (!s->op[op])
            continue;
        if (op == OP_DELETE)
            stream_shuffled(&shuffled, &bench.workload);
        if ((!in_passes((enum operation)op) || op == OP_INCR) && drawn.count == 0)
            stream_drawn(&drawn, &bench.workload, s->dist, s->read, bench_stream_length(&bench));
    }
}

static void measure(enum operation op)
{
    const struct settings *s = &bench.settings;
    struct cell_plan plan = {
        .op = op, .procs = s->procs, .procs_count = s->procs_count, .passes = in_passes(op)};

    plan.filled = op == OP_DELETE;
    if (!plan.passes || op == OP_INCR)
        plan.stream = &drawn;
    else
        plan.stream = plan.filled ? &shuffled : &bench.in_order;
    bench_measure(&bench, &plan);
}

int main(int argc, char **argv)
{
    const struct settings *s = &bench.settings;

    settings_read(&bench.settings, argc, argv);
    bench_begin(&bench, "procs", 0);
    make_streams();
    report_columns();
    for (unsigned op = 0; op < OP_COUNT; op++)
        if (s->op[op])
            measure((enum operation)op);
    report_end(&bench.report);
    return 0;
}
