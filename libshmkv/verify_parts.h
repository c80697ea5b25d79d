/* SPDX-License-Identifier: MIT */
/* verify_parts.h - what the verify*.c files share; nobody else includes it. */
#ifndef SHMKV_VERIFY_PARTS_H
#define SHMKV_VERIFY_PARTS_H

#include "record.h"
#include "segment.h"
#include "verify.h"

/* A run of verify_store(). */
struct verify {
    const struct participant *p;
    const struct arena *a;
    struct verify_sink sink;
    uint64_t findings;
    uint64_t segments; /* ids below were used at some time */
    bool followable;   /* the headers of the current tables are sound, so keys may be looked up */
    uint64_t *live;    /* of each segment: bytes of the records that slots lead to */
    uint64_t pairs;    /* slots that lead to a pair */
    bool complete;     /* pairs and live are those of a whole index that was not being resized */
};

/* One line; a finding is counted, a note is not. */
void verify_finding(struct verify *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void verify_note(struct verify *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The beginning of a record's key for people, within @room bytes; @text has VERIFY_KEY_TEXT. */
#define VERIFY_KEY_TEXT 80u
void verify_key_text(const struct record *r, uint64_t room, char *text);

/* Does a segment of this state hold records that may be read? */
static inline bool verify_readable(uint64_t word)
{
    unsigned kind = claim_kind(word);
    return kind >= SEGMENT_OPEN && kind <= SEGMENT_CLEANING;
}

/* Bytes from the beginning of a segment, or run, on that have memory. */
uint64_t verify_taken(const struct arena *a, uint64_t id);

/* Is @participant an index under which somebody is registered now? */
bool verify_somebody(const struct verify *v, uint32_t participant);

/* verify_log.c: descriptors and records of all segments. */
void verify_log(struct verify *v);
/* verify_index.c: areas and table headers, which sets v->followable; then slots. */
void verify_tables(struct verify *v);
void verify_index(struct verify *v);

#endif
