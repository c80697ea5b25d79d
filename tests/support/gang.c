/* SPDX-License-Identifier: MIT */
/* gang.c - see gang.h. */
#include "gang.h"

#include <signal.h>

#include "blob.h"
#include "child.h"
#include "clock.h"

#define MS 1000000ull

uint64_t gang_pick(struct gang *g, uint64_t n)
{
    return blob_random(&g->random) % n;
}

void gang_start(struct gang *g)
{
    for (unsigned i = 0; i < g->places; i++)
        g->pids[i] = g->start(g->arg, i);
}

static void note_end(struct gang *g, unsigned place, int status)
{
    g->deaths += status == CHILD_SIGNAL + SIGKILL;
    g->failures += !child_ended_well(place, status);
}

void gang_replace(struct gang *g)
{
    for (unsigned i = 0; i < g->places; i++) {
        int status;
        if (!child_ended(g->pids[i], &status))
            continue;
        note_end(g, i, status);
        g->pids[i] = g->start(g->arg, i);
    }
}

void gang_strike(struct gang *g, unsigned most_ms)
{
    clock_sleep_ns(gang_pick(g, most_ms * MS));
    kill(g->pids[gang_pick(g, g->places)], SIGKILL);
    gang_replace(g);
}

void gang_kill(struct gang *g)
{
    for (unsigned i = 0; i < g->places; i++)
        kill(g->pids[i], SIGKILL);
}

void gang_wait(struct gang *g, unsigned limit_ms)
{
    for (unsigned i = 0; i < g->places; i++)
        note_end(g, i, child_wait(g->pids[i], limit_ms));
}
