/* SPDX-License-Identifier: MIT */
/*
 * fixture.h - a store of a test's own, and short names for what tests do with it.
 *
 * For cmocka: FIXTURE(test) opens a store of 64 MiB without a keeper before the test and removes it
 * after it; FIXTURE_WITH() takes the options of another one.  Each prints the seed of its hashes;
 * with that in SHMKV_TEST_SEED all stores of a run have it.
 */
#ifndef TEST_FIXTURE_H
#define TEST_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base.h"
#include "shmkv.h"

struct fixture {
    char name[64]; /* "shm:..." */
    struct shmkv *db;
};

/* A store of @opt's size, reserve and flags, and SHMKV_CREATE.  Fails the test if it cannot. */
void fixture_begin(struct fixture *f, const struct shmkv_options *opt);
/* Close it and remove it. */
void fixture_end(struct fixture *f);
/* Another handle on it, with @flags, in this process or in a child. */
struct shmkv *fixture_open(const struct fixture *f, uint32_t flags);
/* Remove the store by name only: for a parent whose children have it open. */
void fixture_remove(const struct fixture *f);

/* As cmocka wants them; a test finds its fixture in *state. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

#define FIXTURE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
#define FIXTURE_WITH(test, options)                                                                \
    cmocka_unit_test_prestate_setup_teardown(test, fixture_setup, fixture_teardown,                \
                                             (void *)(uintptr_t)(options))

static inline struct shmkv *fixture_db(void **state)
{
    return ((struct fixture *)*state)->db;
}

#define NEVER UINT64_MAX /* an interval: no checkpoint of its own accord */

/* Below a sanitizer all is slower: of a count take less, of a time allow more. */
#if THREAD_SANITIZER
#define FIXTURE_SLOWNESS 20u
#define FIXTURE_PATIENCE 20u
#elif ADDRESS_SANITIZER
#define FIXTURE_SLOWNESS 1u
#define FIXTURE_PATIENCE 5u
#else
#define FIXTURE_SLOWNESS 1u
#define FIXTURE_PATIENCE 1u
#endif

/* ---- keys and values that are C strings ---------------------------------------------------- */

/* Put or delete; the call must succeed.  put_text() returns the version. */
uint64_t put_text(struct shmkv *db, const char *key, const char *value);
void delete_text(struct shmkv *db, const char *key);
/* The key's value is @value; NULL: it is absent. */
void assert_text(struct shmkv *db, const char *key, const char *value);
/* The key's version; 0: it is absent. */
uint64_t version_of(struct shmkv *db, const char *key);

/* The call must have returned the code @expected, with a text unless it is 0. */
#define assert_rc(call, expected) check_rc((call), (expected), #call, __FILE__, __LINE__)
void check_rc(int rc, int expected, const char *call, const char *file, int line);

/* ---- is the store as it was? --------------------------------------------------------------- */

/* What a call that fails must not change. */
struct snapshot {
    uint64_t puts, deletes, version;
    char value[32];
};

/* Of the store's counters and of "present", which is put. */
struct snapshot snapshot_take(struct shmkv *db);
/* The same now; "absent" must not be there. */
void assert_unchanged(struct shmkv *db, const struct snapshot *before);

#endif
