/* SPDX-License-Identifier: MIT */
/* progress.h - a progress bar on standard error, if that is a terminal. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* All zero: a bar that shows nothing. */
struct progress {
    bool on;
    bool drawn;
    uint64_t total; /* 0: unknown, only figures are shown */
    uint64_t start_ns;
    uint64_t next_ns;
    uint32_t calls;
};

/* @with_output: standard output is written meanwhile, so it must not be the same terminal. */
void progress_begin(struct progress *p, uint64_t total, bool with_output);

/* @done of the total (bytes, or pairs), and the number of pairs.  Cheap enough for each batch. */
void progress_step(struct progress *p, uint64_t done, uint64_t pairs);

/* Take the bar away. */
void progress_end(struct progress *p);

#endif
