/* SPDX-License-Identifier: MIT */
/*
 * writers.h - several writers in one thread, each a participant of its own, moved step by step.
 *
 * They do what the public calls do, without what these add: nobody cleans, waits or wakes.
 */
#ifndef TEST_WRITERS_H
#define TEST_WRITERS_H

#include "audit.h"
#include "fixture.h"
#include "index.h"

#define NO_PROCESS 77u /* an entry that nobody uses: its participants can be reaped at will */

static inline const struct arena *fixture_arena(void **state)
{
    return audit_arena(fixture_db(state));
}

/* The process entry of this test. */
uint32_t writers_process(void **state);
void writer_begin(struct writer *w, const struct arena *a, uint32_t process);
void writer_end(struct writer *w);

/* A pair, or with @value NULL a removal. */
struct index_change writer_change_of(const struct arena *a, const char *key, const char *value);
/* Reserve, publish, grow, until it succeeds or fails; public codes only. */
int writer_change(struct writer *w, struct index_change *c);
/* Put or delete; must succeed.  Returns the version. */
uint64_t writer_put(struct writer *w, const char *key, const char *value);
uint64_t writer_delete(struct writer *w, const char *key);

struct index_key key_of(const struct arena *a, const char *text);
/* What the index has for the key, tombstones included; NULL: nothing. */
const struct record *record_found(const struct writer *w, const char *key);
uint64_t offset_of(const struct arena *a, const struct record *r);
/* The slots of a table that hold a record of the key, and the last of them. */
unsigned slots_with(const struct arena *a, uint64_t ref, const char *key, _Atomic uint64_t **slot);

/* What was retired until now may be reused, as far as no section holds it: returns `safe`. */
uint64_t grace_pass(const struct arena *a);

#endif
