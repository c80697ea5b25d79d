/* SPDX-License-Identifier: MIT */
/*
 * board.h - what a process that keeps a store tells the one that started it: a page that both map.
 *
 * One writes, the other reads; a death leaves what was written last.  `error` is written before
 * `state` becomes BOARD_FAILED and not afterwards, and otherwise read after the writer's end only.
 */
#ifndef DAEMON_BOARD_H
#define DAEMON_BOARD_H

#include <stdatomic.h>
#include <stdint.h>

enum board_state {
    BOARD_OPENING, /* the store, which may mean its recovery */
    BOARD_KEEPING,
    BOARD_STANDBY, /* another process keeps house */
    BOARD_CLOSING, /* the final checkpoint */
    BOARD_FAILED,  /* `error` tells why; the process ends */
};

struct board {
    _Atomic uint32_t state;
    _Atomic uint64_t beat_ns; /* CLOCK_MONOTONIC: alive then */
    char error[512];
};

#endif
