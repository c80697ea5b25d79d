/* SPDX-License-Identifier: MIT */
/*
 * atomic_text.h - text for people in words of shared memory: a path, a name, what went wrong.
 *
 * Relaxed throughout: it is information.  While it changes, and after a death in between, it is a
 * mixture of two; whoever needs it whole shows it by a store of his own.
 */
#ifndef SHMKV_ATOMIC_TEXT_H
#define SHMKV_ATOMIC_TEXT_H

#include <string.h>

#include "atomics.h"
#include "base.h"

/* Cut to @words * 8 - 1 bytes; the rest of the words is NUL. */
static inline void atomic_text_store(_Atomic uint64_t *to, size_t words, const char *text)
{
    size_t left = min_u64(strlen(text), words * sizeof(uint64_t) - 1);
    for (size_t i = 0; i < words; i++) {
        uint64_t word = 0;
        size_t n = min_u64(left, sizeof(word));
        memcpy(&word, text, n);
        text += n;
        left -= n;
        if (load_relaxed(&to[i]) != word) /* its line may be one that everybody reads */
            store_relaxed(&to[i], word);
    }
}

/* @text: has room for @words * 8 bytes. */
static inline void atomic_text_load(const _Atomic uint64_t *from, size_t words, char *text)
{
    for (size_t i = 0; i < words; i++) {
        uint64_t word = load_relaxed(&from[i]);
        memcpy(text + i * sizeof(word), &word, sizeof(word));
    }
    text[words * sizeof(uint64_t) - 1] = 0;
}

#endif
