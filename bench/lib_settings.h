/* SPDX-License-Identifier: MIT */
/* lib_settings.h - what the user asked for on the command line. */
#ifndef BENCH_SETTINGS_H
#define BENCH_SETTINGS_H

#include "lib_engine.h"

#define SETTINGS_PROCS 16u

enum memory_state { MEMORY_USUAL, MEMORY_WARM, MEMORY_COLD };

struct settings {
    unsigned procs[SETTINGS_PROCS];
    unsigned procs_count;
    uint64_t keys;
    size_t key_size;
    size_t value_size;
    unsigned read; /* percent */
    const char *workload;
    enum distribution dist;
    double seconds; /* measured per engine and run */
    unsigned runs;
    uint64_t ops; /* of bench/one */
    unsigned slice_ms;
    unsigned writers; /* processes that overwrite beside those that are measured */
    bool op[OP_COUNT];
    enum memory_state memory;
    bool keeper;
    bool cpu_clock; /* rates by the processor time that was had, not by the time that passed */
    bool shmkv;
    bool cache; /* shmkv as one */
    bool limit;
    const char *peers; /* names, for peers_find(); NULL: none */
    const char *store; /* of somebody else's making; NULL: make our own */
    const char *json;
    const char *plot;
};

/* One option: its name, its argument's name (NULL: none), what it does, and who reads it. */
struct settings_option {
    const char *name;
    const char *argument;
    const char *help;
    void (*read)(struct settings *s, const char *argument);
};

/* Reads the options; leaves with a message if one is wrong. */
void settings_read(struct settings *s, int argc, char **argv);
/* The same in two steps, for a benchmark that has defaults of its own. */
void settings_default(struct settings *s);
void settings_parse(struct settings *s, int argc, char **argv);
/* The name of an operation, as in --op. */
const char *settings_op_name(enum operation op);
const char *settings_dist_name(enum distribution dist);
/* Is memory faulted in before this operation is measured? */
bool settings_warm(const struct settings *s, enum operation op);

#endif
