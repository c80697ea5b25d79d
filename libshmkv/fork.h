/* SPDX-License-Identifier: MIT */
/*
 * fork.h - a word by which a process notices that it is a forked child.
 *
 * It lies in a page that the kernel empties in the child (MADV_WIPEONFORK), so it works for fork(),
 * _Fork() and a bare clone(2) alike, which pthread_atfork() does not.  Whoever registers something
 * that belongs to one process keeps the word of that moment beside it and compares: a difference
 * means that the registration is an ancestor's.
 */
#ifndef SHMKV_FORK_H
#define SHMKV_FORK_H

#include "atomics.h"

extern const _Atomic uint64_t *fork_page;

/* 0 in a child that has not called fork_renew(), and before fork_init(). */
static inline uint64_t fork_word(void)
{
    return load_relaxed(fork_page); /* own memory; only a fork changes it behind our back */
}

/* Make the page; any number of times, by any thread. */
int fork_init(void);
/* Give a child a word of its own, different from those of all its ancestors; any thread. */
int fork_renew(void);

#endif
