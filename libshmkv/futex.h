/* SPDX-License-Identifier: MIT */
/*
 * futex.h - sleep on a word in shared memory until somebody in any process wakes.
 *
 * futex_wait() compares and goes to sleep in one step as seen by futex_wake(): who changes the word
 * and then wakes cannot slip in between.  Neither orders anything else for the caller.  A sleeper
 * that dies leaves nothing behind.
 */
#ifndef SHMKV_FUTEX_H
#define SHMKV_FUTEX_H

#include "atomics.h"

/*
 * Sleep while *@word is @expected.  @timeout_ns: negative for no limit.  Needs no write permission.
 * Return: 0 (woken, the word differs, or a signal: look again), -ETIMEDOUT, or another -errno.
 */
int futex_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns);
/* Wake at most @n sleepers. */
void futex_wake(_Atomic uint32_t *word, int n);

#endif
