/* SPDX-License-Identifier: MIT */
/*
 * lib_team.h - processes that work on stores together, on the parent's orders.
 *
 * The parent writes an order into shared memory and raises the phase of those it is for; they carry
 * it out, leave their results in places of their own and count themselves done.  Between orders
 * members sleep.
 * A member that dies or fails ends the benchmark with its story.  An engine that serves one
 * process only is run by threads of the parent in the members' stead.
 */
#ifndef BENCH_TEAM_H
#define BENCH_TEAM_H

#include "lib_engine.h"
#include "lib_histogram.h"

#include <stdatomic.h>
#include <sys/types.h>

#define TEAM_MAX 256u
#define TEAM_LANES 40u
#define TEAM_ROLES 2u
/* Of so many operations (or calls of OP_MGET) one is timed. */
#define TEAM_SAMPLE 64u

/* An engine with a store of its own, and what is done with it. */
struct lane {
    const struct engine *engine;
    struct engine_setup setup;
    enum operation op;
    bool made;
};

enum team_verb { TEAM_ATTACH, TEAM_RUN, TEAM_CALL, TEAM_DETACH, TEAM_QUIT };

/* What members of one role do in TEAM_RUN. */
struct team_task {
    enum operation op;
    const struct stream *stream;
};

struct team_order {
    enum team_verb verb;
    unsigned lane;
    unsigned active; /* so many of role 0 do it, and share it; 0: all */
    void *context;   /* the parent's, for an engine of threads */
    /* TEAM_CALL: what a member does instead; NULL or what failed. */
    const char *(*call)(const struct lane *lane, void *context, unsigned role);
    struct team_task task[TEAM_ROLES];
    uint64_t turn;     /* time slices: number of the slice, moves the place in the stream */
    unsigned sample;   /* of so many operations one is timed; 0: TEAM_SAMPLE */
    uint64_t duration; /* ticks; 0: one pass, each member takes its part of the stream */
};

struct team_result {
    uint64_t done;  /* operations */
    uint64_t right; /* of them, that did what they should */
    uint64_t begin; /* ticks */
    uint64_t end;
    uint64_t cpu_ns;          /* in between */
    struct histogram latency; /* ticks */
    char failure[240];
};

/* What a role did in one slice or pass. */
struct team_sum {
    uint64_t done;
    uint64_t ticks;  /* from the first that began to the last that ended */
    uint64_t cpu_ns; /* mean of the members */
    struct histogram latency;
};

struct team_shared {
    _Atomic uint32_t phase[TEAM_MAX]; /* per member: orders so far */
    _Atomic uint32_t done;
    struct team_order order;
    struct lane lanes[TEAM_LANES];
    struct team_result results[];
};

struct team {
    struct team_shared *shared;
    unsigned members;
    unsigned first; /* members below have role 0, the others role 1 */
    pid_t pids[TEAM_MAX];
};

/* Fork @readers members of role 0 and @writers of role 1.  One team at a time. */
void team_start(struct team *t, unsigned readers, unsigned writers);
/* Carry out @order; returns when all that it is for have.  The others' results are zero. */
void team_do(struct team *t, const struct team_order *order);
void team_sum(const struct team *t, unsigned role, struct team_sum *sum);
void team_stop(struct team *t);

/* One process' run over a whole stream, for filling and checking; dies if anything goes wrong. */
void team_run_alone(const struct lane *lane, void *context, engine_run *run,
                    const struct stream *stream);

void lane_create(struct lane *lane);
void lane_destroy(struct lane *lane);
void *lane_attach(struct lane *lane);

#endif
