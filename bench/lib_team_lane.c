/* SPDX-License-Identifier: MIT */
/* lib_team_lane.c - stores are made, attached to, filled and removed. */
#include "lib_memory.h"
#include "lib_team.h"

void lane_create(struct lane *lane)
{
    const char *failure;

    if (lane->setup.attach_only)
        return;
    lane->made = true;
    failure = lane->engine->create(&lane->setup);
    if (failure != NULL)
        die("%s: cannot make a store: %s", lane->engine->name, failure);
}

void lane_destroy(struct lane *lane)
{
    if (lane->made)
        lane->engine->destroy(&lane->setup);
    lane->made = false;
}

void *lane_attach(struct lane *lane)
{
    void *context = NULL;
    const char *failure = lane->engine->attach(&lane->setup, &context);

    if (failure != NULL)
        die("%s: cannot attach: %s", lane->engine->name, failure);
    return context;
}

void team_run_alone(const struct lane *lane, void *context, engine_run *run,
                    const struct stream *stream)
{
    struct batch b = {.workload = lane->setup.workload, .stream = stream};
    uint64_t step = lane->engine->unit > TEAM_SAMPLE ? lane->engine->unit : TEAM_SAMPLE;

    for (b.at = 0; b.at < stream->count; b.at += b.count) {
        b.count = stream->count - b.at < step ? stream->count - b.at : step;
        if (run(context, &b) != b.count)
            die("%s: %s (near key %llu)", lane->engine->name, lane->engine->explain(context),
                (unsigned long long)b.at);
    }
}
