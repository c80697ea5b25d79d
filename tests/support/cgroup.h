/* SPDX-License-Identifier: MIT */
/* cgroup.h - a memory cgroup (v1) of a test's own; the machine must have that controller. */
#ifndef TESTS_CGROUP_H
#define TESTS_CGROUP_H

#include <stdbool.h>

/* Make one that allows @limit bytes (decimal).  False: not root, or no such controller. */
bool cgroup_make(const char *limit);
/* The calling process, a child of the test, goes there. */
bool cgroup_enter(void);
/* Remove it, once the children have ended. */
void cgroup_remove(void);

#endif
