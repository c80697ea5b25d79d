/* SPDX-License-Identifier: MIT */
/* lib_bench.c - what all cells of a benchmark share: peers, keys, values, the size of an index. */
#include "lib_cell.h"
#include "lib_clock.h"

#include <stdio.h>
#include <unistd.h>

/* How many slots does shmkv make for so many keys?  The yardstick gets as many. */
static uint64_t find_slots(const struct bench *b)
{
    struct lane lane = {.engine = &engine_shmkv};
    struct engine_usage usage;
    uint64_t slots = 8;
    void *context;

    while (slots - slots / 8 < b->workload.keys)
        slots *= 2;
    if (!b->settings.shmkv || b->settings.store != NULL)
        return slots;
    snprintf(lane.setup.name, sizeof(lane.setup.name), "bench-%d-slots", (int)getpid());
    lane.setup.workload = &b->workload;
    lane.setup.slots = slots;
    lane_create(&lane);
    context = lane_attach(&lane);
    engine_shmkv.usage(context, &usage);
    engine_shmkv.detach(context);
    lane_destroy(&lane);
    return usage.slots;
}

uint64_t bench_stream_length(const struct bench *b)
{
    uint64_t n = b->settings.keys * 2;
    uint64_t step = TEAM_SAMPLE * ENGINE_MANY;

    if (n < 1u << 20)
        n = 1u << 20;
    if (n > 8u << 20)
        n = 8u << 20;
    return n / step * step;
}

static void bench_make(struct bench *b, uint64_t more)
{
    const struct settings *s = &b->settings;

    workload_make(&b->workload, s->keys + more, s->key_size, s->value_size);
    stream_in_order(&b->in_order, &b->workload);
    b->in_order.count = s->keys;
    b->slots = find_slots(b);
}

void bench_begin(struct bench *b, const char *name, uint64_t more)
{
    const struct settings *s = &b->settings;

    b->report.bench = name;
    b->report.settings = s;
    if (s->peers != NULL)
        b->peers_count = peers_find(s->peers, b->peers);
    report_head(&b->report);
    b->ns_per_tick = clock_calibrate();
    bench_make(b, more);
}

void bench_remake(struct bench *b, uint64_t more)
{
    workload_free(&b->workload);
    bench_make(b, more);
}
