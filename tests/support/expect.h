/* SPDX-License-Identifier: MIT */
/*
 * expect.h - what each key of a store must hold, in a mapping that survives the death of those who
 * write it (the idea of RocksDB's expected-state file).
 *
 * A key has one writer at a time, who takes it, notes what its write will leave, writes, and notes
 * that it returned.  A death in between leaves both notes: the key must hold one of the two, and
 * who takes the dead one's place looks which.
 *
 * A state is sequence << 1 | present; the sequence of a key grows with each write.
 */
#ifndef TEST_EXPECT_H
#define TEST_EXPECT_H

#include <stdbool.h>

#include "atomics.h"

struct expect {
    _Atomic uint64_t owner;    /* who writes it now, + 1; 0: nobody */
    _Atomic uint64_t acked;    /* after the last write that returned */
    _Atomic uint64_t intended; /* what the write under way will leave; as acked: there is none */
    _Atomic uint64_t given;    /* last sequence given out */
};

static inline bool expect_present(uint64_t state)
{
    return (state & 1) != 0;
}

static inline uint64_t expect_sequence(uint64_t state)
{
    return state >> 1;
}

static inline uint64_t expect_state(uint64_t sequence, bool present)
{
    return sequence << 1 | present;
}

/* Become its writer; false: somebody else is. */
bool expect_take(struct expect *e, unsigned who);
void expect_release(struct expect *e);
/* Begin a write; returns its sequence. */
uint64_t expect_intend(struct expect *e, bool present);
/* It returned with success, or without having changed anything. */
void expect_acked(struct expect *e);
void expect_failed(struct expect *e);

/*
 * expect_resolve() - the writer @e died; the key was found to be in @found: present or not, and
 * with which sequence.  False: that is neither of the two possible ones.
 */
bool expect_resolve(struct expect *e, uint64_t found);

/*
 * May a reader have found @found, if acked was @before when it began and intended is @after since
 * it ended?  (An absent key has no sequence to show: it is right if some state of that time was.)
 */
bool expect_possible(uint64_t before, uint64_t after, uint64_t found);

#endif
