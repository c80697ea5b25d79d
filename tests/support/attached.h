/* SPDX-License-Identifier: MIT */
/* attached.h - for tests of processes: a store, and this process attached to it. */
#ifndef TESTS_ATTACHED_H
#define TESTS_ATTACHED_H

#include "process.h"

extern struct arena attached_arena;
extern struct process attached_self; /* this process, entry 0 */

/* How often each entry was reaped, by whomever: in memory shared with the peers. */
extern _Atomic uint32_t *attached_reaped;
void attached_count(void *arg, uint32_t process);

int attached_setup(void **state);
int attached_teardown(void **state);
#define ATTACHED_CASE(name) cmocka_unit_test_setup_teardown(name, attached_setup, attached_teardown)

/* Reap on behalf of this process. */
unsigned attached_reap(void);
bool attached_alive(int32_t index);
/* In a peer: attach on our own behalf.  0, or 1 with the reason on stderr. */
int attached_join(struct process *p);

#endif
