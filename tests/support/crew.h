/* SPDX-License-Identifier: MIT */
/*
 * crew.h - the workers of the many-process tests: what they share, and what each does until it is
 * killed or told to stop.
 *
 * Keys, by number:
 *   0 .. CREW_KEYS-1  one writer at a time (expect.h).  By number modulo 8:
 *                     0 a counter, 1 a list of words, else a blob; the value tells its sequence
 *   "sum 0" ..        counters that all add to at once
 *   "any 0" ..        blobs that all write at once
 *   "queue S N"       put and deleted once each by the worker in place S
 *   "cause S"         in a store with an image: how often it was written, and what its writer, in
 *                     place S, had read of the others of these before
 *
 * In a store with an image workers sync now and then, and note what was durable with that; after
 * the loss of the memory crew_recovered() compares.
 */
#ifndef TEST_CREW_H
#define TEST_CREW_H

#include "expect.h"
#include "lap.h"
#include "shmkv.h"

#define CREW_KEYS 4096u
#define CREW_SUMS 4u
#define CREW_ANY 8u
#define CREW_PLACES 16u
#define CREW_CALL_BYTES 16u

/* What workers prefer to do, so that the store grows, shrinks and churns in turn. */
enum crew_phase { CREW_GROW, CREW_SHRINK, CREW_CHURN, CREW_PHASES };

/* One place in the crew; whoever dies there is followed by another. */
struct crew_place {
    _Atomic uint64_t sums_acked[CREW_SUMS];             /* additions that returned */
    _Atomic uint64_t queue_next;                        /* number of the queue key in work */
    _Atomic uint64_t any_sequence;                      /* of what it writes to the "any" keys */
    _Atomic uint64_t cause_acked;                       /* writes to "cause" that returned */
    _Atomic uint64_t calls, refused, stops;             /* refused: SHMKV_ENOSPC or SHMKV_EHELD */
    _Atomic uint64_t longest_used_ns, longest_wall_ns;  /* of the longest call, without and with */
    _Atomic uint64_t longest_call[CREW_CALL_BYTES / 8]; /* its name */
};

/* What a sync that returned 0 has made durable, or more: the state of a key, ... */
struct crew_durable {
    _Atomic uint64_t keys[CREW_KEYS];
    _Atomic uint64_t sums[CREW_SUMS];
    _Atomic uint64_t queue_next[CREW_PLACES], causes[CREW_PLACES];
    _Atomic uint64_t syncs; /* that were noted */
};

struct crew {
    _Atomic uint32_t stop;
    _Atomic uint32_t phase;
    char store[64];
    bool imaged; /* the store has an image */
    struct crew_durable durable;
    struct expect keys[CREW_KEYS];
    struct crew_place places[CREW_PLACES];
};

/* One worker. */
struct worker {
    struct crew *crew;
    struct crew_place *place;
    struct shmkv *db;
    unsigned index; /* of its place */
    uint64_t random;
    struct lap lap;
    uint64_t stops; /* of the place, when the call began */
};

/* Finish what the one before left in this place; ends the process if the store is wrong. */
void crew_take_over(struct worker *w);
/* Write and read until told to stop. */
void crew_work(struct worker *w);
/* Hold sections, and see that what was read in them stays; until told to stop. */
void crew_hold(struct worker *w);
/* Time a call and count it; the result is @rc, which may be a lack of room. */
void crew_begin_call(struct worker *w);
int crew_end_call(struct worker *w, const char *name, int rc);

/* At the end, by one process while nobody writes: is everything as it should be? */
unsigned crew_wrong_keys(struct worker *w);
unsigned crew_wrong_sums(struct worker *w, uint64_t deaths);
unsigned crew_wrong_queues(struct worker *w);

/* Sync; what was acknowledged before it is durable then. */
void crew_sync(struct worker *w);
/*
 * After the loss of the memory, likewise: how much is not what a cut may hold that has all that is
 * durable?  What is found is what the next workers go on from.
 */
unsigned crew_recovered(struct worker *w, uint64_t deaths);

#endif
