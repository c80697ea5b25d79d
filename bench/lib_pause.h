/* SPDX-License-Identifier: MIT */
/*
 * lib_pause.h - long operations, and who is to blame for each.
 *
 * A watch remembers what the kernel has told of the thread: how long it waited for a processor,
 * how long it ran, how often it was switched away, how many page faults it had.  Asking costs
 * system calls, so it is asked only after something took long; as nothing long goes unasked, the
 * differences belong to the long operation (but for what added up in short ones meanwhile).
 */
#ifndef BENCH_PAUSE_H
#define BENCH_PAUSE_H

#include <stdbool.h>
#include <stdint.h>

#define PAUSE_TOP 10u
/* Shorter than this nobody asks why. */
#define PAUSE_LONG_NS 20000u

struct pause_facts {
    uint64_t waited_ns; /* ready to run, without a processor */
    uint64_t ran_ns;
    uint64_t away_ns;  /* did not run, for whatever reason */
    uint64_t switched; /* switched away against its will */
    uint64_t slept;    /* gave the processor up */
    uint64_t faults;
    uint64_t stolen_ms; /* by the hypervisor, from all processors; counted in steps of 10 ms */
};

struct pause {
    const char *what;
    uint64_t ns;
    uint64_t at_ns; /* since the watch began */
    struct pause_facts facts;
};

/* The longest of all, longest first: in all, or without the waiting for a processor. */
struct pause_list {
    bool by_own;
    unsigned count;
    struct pause top[PAUSE_TOP];
};

struct pause_watch {
    int schedstat; /* descriptor, -1: the kernel does not tell */
    uint64_t began_ns;
    struct pause_facts last;
};

void pause_watch_begin(struct pause_watch *w);
void pause_watch_end(struct pause_watch *w);
/* Something took @ns until now: ask why. */
void pause_took(struct pause_watch *w, const char *what, uint64_t ns, struct pause *p);
/* Keep it if it is one of the longest. */
void pause_keep(struct pause_list *list, const struct pause *p);

/* The part that the thread did not merely wait for a processor. */
uint64_t pause_own_ns(const struct pause *p);
/* The part that was taken from it: waiting for a processor, or the hypervisor had that; not what it
 * slept. */
uint64_t pause_taken_ns(const struct pause *p);
/* "preempted ..." or what else it was. */
const char *pause_explain(const struct pause *p, char *text, unsigned size);
void pause_merge(struct pause_list *into, const struct pause_list *from);

#endif
