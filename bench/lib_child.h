/* SPDX-License-Identifier: MIT */
/* lib_child.h - processes of a benchmark that do not outlive it. */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H

#include <sys/types.h>

/* fork(), or the benchmark's end with a message.  The child is killed when the thread that called
 * this ends, however that ends: a benchmark that is killed leaves no load behind. */
pid_t child_fork(void);

#endif
