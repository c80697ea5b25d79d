/* SPDX-License-Identifier: MIT */
/*
 * peer.h - helper processes of a test that talk with it: a number at a time, either way.
 *
 * A peer runs a function and ends with its result: 0 is success.  It must not use the assertions
 * of cmocka (they would go on with the parent's tests), but CHECK().
 */
#ifndef TESTS_PEER_H
#define TESTS_PEER_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "error.h"

/* In a peer: say what is wrong, and fail. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s does not hold; last error: %s\n", __FILE__, __LINE__,       \
                    #condition, error_text());                                                     \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

struct peer {
    pid_t pid;
    int in, out; /* this side's ends of two pipes */
};

typedef int peer_fn(struct peer *parent, void *arg);

/* Run @fn in a forked process; @parent there is the other end of what we get. */
void peer_start(struct peer *p, peer_fn *fn, void *arg);
/* Talk: one number goes to the other side; and comes from it, waiting at most 30 s (-1: it is dead
 * or silent). */
void peer_send(const struct peer *p, int32_t value);
int32_t peer_receive(const struct peer *p);
/* The result of the peer; 128 + signal if it was killed by one; 1000 after 60 s. */
int peer_wait(struct peer *p);
/* kill -9, and wait until it is gone. */
void peer_kill(struct peer *p);
/* Run @fn in a peer and wait: its result. */
int peer_run(peer_fn *fn, void *arg);
/* In a peer: become user @uid with group @uid and no others. */
int peer_become(uid_t uid);

#endif
