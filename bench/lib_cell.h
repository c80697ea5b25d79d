/* SPDX-License-Identifier: MIT */
/*
 * lib_cell.h - one question put to all engines in turns.
 *
 * A cell is an operation by one or several numbers of processes.  It is asked in one of two ways.
 * Reading, overwriting and mixes run in slices of time on one store per engine and run.  What
 * changes the store for good runs in passes over a whole stream, each on a new store; or on one
 * that is kept, if a pass leaves the keys as they were, or adds a few to very many, which are
 * removed before the next.  The engines take turns, forth and back, so that all see the same of
 * whatever else the machine is doing; what a slice of one and the yardstick's beside it say, forth
 * and back, is one value of their ratio, and the ratio is the median.  So do the numbers of
 * processes, each within one turn: how an engine scales is the median of what the turns say, and so
 * is its ratio to the yardstick's.
 * All processes are attached all the time; those that are not asked sleep.
 */
#ifndef BENCH_CELL_H
#define BENCH_CELL_H

#include "lib_peers.h"
#include "lib_report.h"
#include "lib_score.h"

struct cell_plan {
    enum operation op;
    const char *label;     /* in the report; NULL: the operation's own name */
    const unsigned *procs; /* numbers of processes; ours, as long as the cell is measured */
    unsigned procs_count;
    const struct stream *stream;
    bool passes;
    bool filled;                   /* passes: the store holds the keys beforehand */
    bool kept;                     /* passes: one store for many of them, see below */
    double weight;                 /* operations that one of the stream counts for; 0: one */
    unsigned sample;               /* of so many operations one is timed; 0: the usual */
    double published;              /* what somebody's own test printed; 0: nothing */
    const char *published_latency; /* or NULL */
};

/* What all cells of a benchmark share. */
struct bench {
    struct settings settings;
    struct report report;
    struct workload workload;
    struct stream in_order; /* the keys that a filled store holds */
    uint64_t slots;         /* of the index that shmkv makes for that many */
    double ns_per_tick;
    const struct engine *peers[PEERS_MAX];
    unsigned peers_count;
};

/*
 * After the settings have been read: prints the head, loads the peers, makes keys and values;
 * @more keys than a filled store holds.
 */
void bench_begin(struct bench *b, const char *name, uint64_t more);
/* Make keys and values anew, after settings have changed. */
void bench_remake(struct bench *b, uint64_t more);
/* Measure a cell and report it. */
void bench_measure(struct bench *b, const struct cell_plan *plan);
/* A length for a drawn stream: no cache holds it, a multiple of sampled batches. */
uint64_t bench_stream_length(const struct bench *b);

#endif
