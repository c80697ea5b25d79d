/* SPDX-License-Identifier: MIT */
/*
 * gang.h - processes of a test that are killed at random, and replaced.
 *
 * Each has a place, 0 and up.  Another takes the place of one that was killed, or came to its end;
 * one that ended in any other way has seen something wrong, and is counted as a failure.
 */
#ifndef TEST_GANG_H
#define TEST_GANG_H

#include <stdint.h>
#include <sys/types.h>

#define GANG_MOST 16u

struct gang {
    unsigned places; /* at most GANG_MOST */
    /* Start the one of a place: child_start(). */
    pid_t (*start)(void *arg, unsigned place);
    void *arg;
    uint64_t random; /* who dies, and when, follows from it; and what others draw from it */
    pid_t pids[GANG_MOST];
    uint64_t deaths;
    unsigned failures;
};

/* A number below @n. */
uint64_t gang_pick(struct gang *g, uint64_t n);
/* Start one in each place. */
void gang_start(struct gang *g);
/* Replace those that have ended. */
void gang_replace(struct gang *g);
/* In less than @most_ms kill one, which may end later: others are killed meanwhile. */
void gang_strike(struct gang *g, unsigned most_ms);
/* Kill all at once, as far as signals can. */
void gang_kill(struct gang *g);
/* Wait for the ends of all; nobody is replaced any more.  Who is late is killed, and a failure. */
void gang_wait(struct gang *g, unsigned limit_ms);

#endif
