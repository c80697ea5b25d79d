/* SPDX-License-Identifier: MIT */
/*
 * one.c - one process, one engine, so many operations, and nothing else.
 *
 * For tools that watch a process from outside: bench/cost.sh runs it twice under each of them, with
 * few and with many operations, and takes the difference, so that making and filling the store do
 * not count.
 */
#include "lib_cell.h"
#include "lib_memory.h"

#include <stdio.h>
#include <unistd.h>

static struct bench bench;

static const struct engine *only_engine(void)
{
    const struct settings *s = &bench.settings;

    if ((unsigned)(s->shmkv + s->cache + s->limit) + bench.peers_count != 1)
        die("name one engine, by --engines or by --engines none --peers");
    if (s->shmkv)
        return &engine_shmkv;
    if (s->cache)
        return &engine_cache;
    return s->limit ? &engine_limit : bench.peers[0];
}

static enum operation only_operation(void)
{
    enum operation only = OP_COUNT;

    for (unsigned op = 0; op < OP_COUNT; op++)
        if (bench.settings.op[op]) {
            if (only != OP_COUNT)
                die("--op: one is needed");
            only = (enum operation)op;
        }
    return only;
}

/* In calls of as many operations as go together. */
static void run(const struct lane *lane, void *context, const struct stream *stream, uint64_t ops)
{
    struct batch b = {.workload = &bench.workload, .stream = stream};
    uint64_t step = lane->engine->unit > TEAM_SAMPLE ? lane->engine->unit : TEAM_SAMPLE;

    for (uint64_t done = 0; done < ops; done += b.count) {
        b.count = ops - done < step ? ops - done : step;
        if (lane->op == OP_MGET)
            b.count = ENGINE_MANY;
        b.at = done % (stream->count - b.count + 1);
        if (lane->engine->run[lane->op](context, &b) != b.count)
            die("%s: %s", lane->engine->name, lane->engine->explain(context));
    }
}

int main(int argc, char **argv)
{
    const struct settings *s = &bench.settings;
    struct lane lane = {0};
    struct stream stream;
    void *context;

    settings_read(&bench.settings, argc, argv);
    bench_begin(&bench, "one", 0);
    lane.engine = only_engine();
    lane.op = only_operation();
    if (lane.engine->run[lane.op] == NULL || lane.op == OP_FRESH || lane.op == OP_GROWING)
        die("%s cannot do that here", lane.engine->name);
    if (lane.op == OP_DELETE && s->ops > s->keys)
        die("--ops: there are only %llu keys", (unsigned long long)s->keys);
    if (lane.op == OP_DELETE)
        stream_shuffled(&stream, &bench.workload);
    else
        stream_drawn(&stream, &bench.workload, s->dist, s->read, bench_stream_length(&bench));
    snprintf(lane.setup.name, sizeof(lane.setup.name), "bench-%d-1", (int)getpid());
    lane.setup.workload = &bench.workload;
    lane.setup.slots = bench.slots;
    lane.setup.write_bytes = s->ops * engine_record_bytes(&bench.workload);
    lane.setup.warm = settings_warm(s, lane.op);
    lane_create(&lane);
    context = lane_attach(&lane);
    team_run_alone(&lane, context, engine_fill(lane.engine), &bench.in_order);
    run(&lane, context, &stream, s->ops);
    lane.engine->detach(context);
    lane_destroy(&lane);
    printf("%s: %llu operations done\n", lane.engine->name, (unsigned long long)s->ops);
    return 0;
}
