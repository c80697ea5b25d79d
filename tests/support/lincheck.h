/* SPDX-License-Identifier: MIT */
/*
 * lincheck.h - was what several processes saw of one key possible if each call took effect at one
 * moment between its start and its end?  (Linearizability; Herlihy and Wing 1990, and the search
 * after Wing and Gong 1993.)
 *
 * The events of a history are gone through in the order of time with the set of all
 * configurations that explain it so far: the state of the key, and which of the calls under way
 * have taken effect already.  When a call ends it must have: each configuration in which it has
 * not is replaced by all that follow from it by letting calls under way take effect, this one
 * last.  If none is left, there is no explanation.  A process has one call under way at a time, so
 * the set stays small, and the time grows with the length of the history only.
 *
 * A call whose process was killed inside it has no end: it takes effect at some time, or never.
 */
#ifndef TEST_LINCHECK_H
#define TEST_LINCHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINCHECK_PROCESSES 64u
#define LINCHECK_NO_END UINT64_MAX

enum lincheck_kind {
    LINCHECK_GET,         /* value, version */
    LINCHECK_PUT,         /* value; version */
    LINCHECK_PUT_ABSENT,  /* the same if the key is absent, */
    LINCHECK_PUT_PRESENT, /* or present */
    LINCHECK_CAS,         /* expected, value; version */
    LINCHECK_DELETE,
    LINCHECK_TAKE, /* value */
    LINCHECK_ADD,  /* value is added to a number (absent: 0); result */
};

/* One call.  Values are numbers. */
struct lincheck_op {
    uint64_t start, end; /* of any clock that all share; equal times overlap, so a process'
                            next call must start later than this one ended */
    enum lincheck_kind kind;
    uint32_t process;  /* below LINCHECK_PROCESSES; one that was killed is used no more */
    bool done;         /* false: not found, exists, does not match */
    uint64_t value;    /* given or returned */
    uint64_t expected; /* of a CAS: version, 0 is absent */
    uint64_t result;   /* of an ADD */
    uint64_t version;  /* returned; 0: unknown */
};

/*
 * lincheck() - is there an explanation?  The key is absent at first.  Sorts @ops by their start.
 * @bad: if not, the operation at whose end the last one was lost.
 * Versions of a key must grow strictly, also over deletions.
 */
bool lincheck(struct lincheck_op *ops, size_t n, size_t *bad);

/* One line about an operation, for people. */
void lincheck_describe(const struct lincheck_op *op, char *text, size_t room);

#endif
