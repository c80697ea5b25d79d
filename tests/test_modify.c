/* SPDX-License-Identifier: MIT */
/* test_modify.c - add, append, touch, update, take: meaning and every error. */
#include "fixture.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define LARGEST (16u << 20) /* record of the usual store: a quarter of it */

static int64_t expiry_of(struct shmkv *db, const char *key)
{
    struct shmkv_item item = {.expires_ms = -1};
    char buf[256];
    assert_rc(shmkv_read(db, key, strlen(key), buf, sizeof(buf), &item), 0);
    return item.expires_ms;
}

/* Put "k" so that it expires much later; returns when. */
static int64_t put_expiring(struct shmkv *db, const char *value)
{
    struct shmkv_put_options o = {.ttl_ms = 50000};
    assert_rc(shmkv_put(db, "k", 1, value, strlen(value), &o), 0);
    return expiry_of(db, "k");
}

/* ---- add ----------------------------------------------------------------------------------- */

static void add_counts(void **state)
{
    struct shmkv *db = fixture_db(state);
    int64_t result = 0;
    assert_rc(shmkv_add(db, "k", 1, 5, &result), 0);
    assert_true(result == 5);
    assert_rc(shmkv_add(db, "k", 1, -12, &result), 0);
    assert_true(result == -7);
    assert_text(db, "k", "-7");
    assert_rc(shmkv_add(db, "k", 1, 0, NULL), 0);
    assert_text(db, "k", "-7");
    put_text(db, "k", "0099");
    assert_rc(shmkv_add(db, "k", 1, 1, &result), 0);
    assert_text(db, "k", "100");
    delete_text(db, "k");
    assert_rc(shmkv_add(db, "k", 1, 3, &result), 0);
    assert_true(result == 3);
}

static void add_knows_all_64_bits(void **state)
{
    struct shmkv *db = fixture_db(state);
    int64_t result;
    assert_rc(shmkv_add(db, "k", 1, INT64_MAX, NULL), 0);
    assert_text(db, "k", "9223372036854775807");
    assert_rc(shmkv_add(db, "k", 1, INT64_MIN, &result), 0);
    assert_true(result == -1);
    assert_rc(shmkv_add(db, "l", 1, INT64_MIN, NULL), 0);
    assert_text(db, "l", "-9223372036854775808");
    assert_rc(shmkv_add(db, "l", 1, INT64_MAX, &result), 0);
    assert_true(result == -1);
}

static void add_keeps_the_expiry(void **state)
{
    struct shmkv *db = fixture_db(state);
    int64_t expiry = put_expiring(db, "1");
    assert_rc(shmkv_add(db, "k", 1, 1, NULL), 0);
    assert_true(expiry_of(db, "k") == expiry);
}

static void add_wants_a_number(void **state)
{
    struct shmkv *db = fixture_db(state);
    static const char *const bad[] = {"",    "-",   " 1",  "1 ",
                                      "+1",  "0x1", "1.0", "9223372036854775808",
                                      "abc", "--1", "1\n", "-9223372036854775809"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t result = 77;
        uint64_t version = put_text(db, "k", bad[i]);
        assert_rc(shmkv_add(db, "k", 1, 1, &result), SHMKV_ENOTNUM);
        assert_true(result == 77);
        assert_true(version_of(db, "k") == version);
    }
    assert_rc(shmkv_put(db, "k", 1, "12\0", 3, NULL), 0);
    assert_rc(shmkv_add(db, "k", 1, 1, NULL), SHMKV_ENOTNUM); /* three bytes are no number */
}

static void add_does_not_overflow(void **state)
{
    struct shmkv *db = fixture_db(state);
    int64_t result = 77;
    put_text(db, "k", "9223372036854775807");
    assert_rc(shmkv_add(db, "k", 1, 1, &result), SHMKV_EOVERFLOW);
    assert_text(db, "k", "9223372036854775807");
    put_text(db, "k", "-9223372036854775808");
    assert_rc(shmkv_add(db, "k", 1, -1, &result), SHMKV_EOVERFLOW);
    assert_text(db, "k", "-9223372036854775808");
    assert_true(result == 77);
}

#define ADDERS 4
#define ADDS 20000

static void *add_many(void *db)
{
    for (int i = 0; i < ADDS; i++)
        assert_rc(shmkv_add(db, "k", 1, 1, NULL), 0);
    return NULL;
}

static void no_addition_is_lost(void **state)
{
    struct shmkv *db = fixture_db(state);
    pthread_t threads[ADDERS];
    for (int i = 0; i < ADDERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, db), 0);
    for (int i = 0; i < ADDERS; i++)
        pthread_join(threads[i], NULL);
    int64_t result;
    assert_rc(shmkv_add(db, "k", 1, 0, &result), 0);
    assert_int_equal(result, ADDERS * ADDS);
}

/* ---- append -------------------------------------------------------------------------------- */

static void append_adds_to_the_end(void **state)
{
    struct shmkv *db = fixture_db(state);
    size_t total = 0;
    assert_rc(shmkv_append(db, "k", 1, "one", 3, &total), 0);
    assert_int_equal(total, 3);
    assert_rc(shmkv_append(db, "k", 1, " two", 4, &total), 0);
    assert_int_equal(total, 7);
    assert_rc(shmkv_append(db, "k", 1, NULL, 0, &total), 0);
    assert_int_equal(total, 7);
    assert_rc(shmkv_append(db, "k", 1, ".", 1, NULL), 0);
    assert_text(db, "k", "one two.");
    assert_rc(shmkv_append(db, "empty", 5, NULL, 0, &total), 0);
    assert_int_equal(total, 0);
    assert_text(db, "empty", "");
}

static void append_keeps_the_expiry(void **state)
{
    struct shmkv *db = fixture_db(state);
    int64_t expiry = put_expiring(db, "a");
    assert_rc(shmkv_append(db, "k", 1, "b", 1, NULL), 0);
    assert_text(db, "k", "ab");
    assert_true(expiry_of(db, "k") == expiry);
}

static void append_stops_at_the_limit(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct snapshot before = snapshot_take(db);
    char *value = calloc(1, LARGEST);
    size_t total = 77;
    assert_rc(shmkv_append(db, "present", 7, value, LARGEST, &total), SHMKV_ETOOBIG);
    assert_rc(shmkv_append(db, "present", 7, value, LARGEST - 48, &total), SHMKV_ETOOBIG);
    assert_rc(shmkv_append(db, "present", 7, value, SIZE_MAX, &total), SHMKV_ETOOBIG);
    assert_rc(shmkv_append(db, "present", 7, NULL, 1, &total), SHMKV_EINVAL);
    assert_rc(shmkv_append(db, "", 0, "x", 1, &total), SHMKV_EKEY);
    free(value);
    assert_int_equal(total, 77);
    assert_unchanged(db, &before);
}

/* ---- touch --------------------------------------------------------------------------------- */

static void touch_sets_and_removes_the_expiry(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t version = put_text(db, "k", "v");
    assert_rc(shmkv_touch(db, "k", 1, 50000), 0);
    assert_true(version_of(db, "k") > version);
    assert_true(expiry_of(db, "k") > (int64_t)clock_real_ms() + 40000);
    assert_rc(shmkv_touch(db, "k", 1, 0), 0);
    assert_true(expiry_of(db, "k") == 0);
    assert_rc(shmkv_touch(db, "k", 1, 20), 0);
    assert_text(db, "k", "v");
    clock_sleep_ns(30000000);
    assert_text(db, "k", NULL);
    assert_rc(shmkv_touch(db, "k", 1, 50000), SHMKV_ENOTFOUND); /* it does not raise the dead */
    assert_text(db, "k", NULL);
}

static void touch_wants_a_key(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct snapshot before = snapshot_take(db);
    assert_rc(shmkv_touch(db, "absent", 6, 5), SHMKV_ENOTFOUND);
    assert_rc(shmkv_touch(db, "", 0, 5), SHMKV_EKEY);
    assert_unchanged(db, &before);
}

/* A value that only fits without an expiry does not exist: the limit counts one always. */
static void the_largest_value_can_be_touched(void **state)
{
    struct shmkv *db = fixture_db(state);
    char *value = calloc(1, LARGEST);
    size_t size = LARGEST - 24 - 8 - 8;
    assert_rc(shmkv_put(db, "k", 1, value, size, NULL), 0);
    assert_rc(shmkv_touch(db, "k", 1, 50000), 0);
    assert_rc(shmkv_put(db, "k", 1, value, size + 1, NULL), SHMKV_ETOOBIG);
    free(value);
}

/* ---- update -------------------------------------------------------------------------------- */

struct plan {
    int action;
    const char *value;
    char seen[32];    /* the old value, "-" if absent */
    struct shmkv *db; /* NULL, or where somebody else writes meanwhile, once */
    int calls;
    int64_t expires_ms;
};

static int follow_plan(void *arg, const struct shmkv_item *old, struct shmkv_bytes *value)
{
    struct plan *p = arg;
    strcpy(p->seen, "-");
    if (old != NULL) {
        memcpy(p->seen, old->value, old->size);
        p->seen[old->size] = '\0';
        p->expires_ms = old->expires_ms;
    }
    value->data = p->value;
    value->size = p->value != NULL ? strlen(p->value) : 0;
    p->calls++;
    return p->action;
}

static void update_does_what_the_callback_says(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct plan p = {.action = SHMKV_KEEP};
    assert_rc(shmkv_update(db, "k", 1, follow_plan, &p), 0);
    assert_string_equal(p.seen, "-");
    assert_text(db, "k", NULL);
    p = (struct plan){.action = SHMKV_STORE, .value = "new"};
    assert_rc(shmkv_update(db, "k", 1, follow_plan, &p), 0);
    assert_text(db, "k", "new");
    p = (struct plan){.action = SHMKV_STORE, .value = "newer"};
    assert_rc(shmkv_update(db, "k", 1, follow_plan, &p), 0);
    assert_string_equal(p.seen, "new");
    assert_text(db, "k", "newer");
    uint64_t version = version_of(db, "k");
    p = (struct plan){.action = SHMKV_KEEP};
    assert_rc(shmkv_update(db, "k", 1, follow_plan, &p), 0);
    assert_true(version_of(db, "k") == version);
    p = (struct plan){.action = SHMKV_REMOVE};
    assert_rc(shmkv_update(db, "k", 1, follow_plan, &p), 0);
    assert_string_equal(p.seen, "newer");
    assert_text(db, "k", NULL);
    assert_rc(shmkv_update(db, "k", 1, follow_plan, &p), SHMKV_ENOTFOUND);
}

static void update_returns_the_callbacks_code(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct snapshot before = snapshot_take(db);
    struct plan p = {.action = -12345, .value = "x"};
    assert_int_equal(shmkv_update(db, "present", 7, follow_plan, &p), -12345);
    p.action = 99;
    assert_rc(shmkv_update(db, "present", 7, follow_plan, &p), SHMKV_EINVAL);
    assert_rc(shmkv_update(db, "present", 7, NULL, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_update(db, "", 0, follow_plan, &p), SHMKV_EKEY);
    assert_unchanged(db, &before);
}

static void update_keeps_the_expiry(void **state)
{
    struct shmkv *db = fixture_db(state);
    int64_t expiry = put_expiring(db, "a");
    struct plan p = {.action = SHMKV_STORE, .value = "b"};
    assert_rc(shmkv_update(db, "k", 1, follow_plan, &p), 0);
    assert_true(p.expires_ms == expiry);
    assert_true(expiry_of(db, "k") == expiry);
}

/* Somebody else's write between callback and publication: a thread, since a callback must not. */
static void *write_beside(void *db)
{
    put_text(db, "k", "beside");
    return NULL;
}

static int interrupted(void *arg, const struct shmkv_item *old, struct shmkv_bytes *value)
{
    struct plan *p = arg;
    if (p->calls == 0) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, write_beside, p->db), 0);
        pthread_join(thread, NULL);
    }
    return follow_plan(arg, old, value);
}

static void update_runs_again_if_the_key_changed(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct plan p = {.action = SHMKV_STORE, .value = "mine", .db = db};
    put_text(db, "k", "old");
    assert_rc(shmkv_update(db, "k", 1, interrupted, &p), 0);
    assert_int_equal(p.calls, 2);
    assert_string_equal(p.seen, "beside");
    assert_text(db, "k", "mine");
}

static void a_callbacks_value_may_be_too_large(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct snapshot before = snapshot_take(db);
    char *value = malloc(LARGEST + 1);
    memset(value, 'x', LARGEST);
    value[LARGEST] = '\0';
    struct plan p = {.action = SHMKV_STORE, .value = value};
    assert_rc(shmkv_update(db, "present", 7, follow_plan, &p), SHMKV_ETOOBIG);
    free(value);
    assert_unchanged(db, &before);
}

/* ---- take ---------------------------------------------------------------------------------- */

static void take_gets_and_deletes(void **state)
{
    struct shmkv *db = fixture_db(state);
    char buf[16];
    size_t size = 77;
    put_text(db, "k", "value");
    assert_rc(shmkv_take(db, "k", 1, buf, sizeof(buf), &size), 0);
    assert_int_equal(size, 5);
    assert_memory_equal(buf, "value", 5);
    assert_text(db, "k", NULL);
    assert_rc(shmkv_take(db, "k", 1, buf, sizeof(buf), &size), SHMKV_ENOTFOUND);
    put_text(db, "k", "");
    assert_rc(shmkv_take(db, "k", 1, NULL, 0, NULL), 0);
    assert_text(db, "k", NULL);
}

static void take_wants_a_large_enough_buffer(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct snapshot before = snapshot_take(db);
    char buf[16];
    size_t size = 0;
    assert_rc(shmkv_take(db, "present", 7, buf, 4, &size), SHMKV_EBUFFER);
    assert_int_equal(size, strlen("as it was"));
    assert_rc(shmkv_take(db, "present", 7, NULL, 4, &size), SHMKV_EINVAL);
    assert_rc(shmkv_take(db, "", 0, buf, 4, &size), SHMKV_EKEY);
    assert_unchanged(db, &before);
}

#define TAKERS 4
#define TAKEN 5000

/* Each value is taken by one of several takers. */
static void *take_all(void *db)
{
    intptr_t taken = 0;
    char buf[8];
    for (int i = 0; i < TAKEN; i++) {
        int rc = shmkv_take(db, &i, sizeof(i), buf, sizeof(buf), NULL);
        assert_true(rc == 0 || rc == SHMKV_ENOTFOUND);
        taken += rc == 0;
    }
    return (void *)taken;
}

static void one_taker_gets_it(void **state)
{
    struct shmkv *db = fixture_db(state);
    pthread_t threads[TAKERS];
    intptr_t sum = 0;
    for (int i = 0; i < TAKEN; i++)
        assert_rc(shmkv_put(db, &i, sizeof(i), "v", 1, NULL), 0);
    for (int i = 0; i < TAKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_all, db), 0);
    for (int i = 0; i < TAKERS; i++) {
        void *taken;
        pthread_join(threads[i], &taken);
        sum += (intptr_t)taken;
    }
    assert_int_equal(sum, TAKEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(add_counts),
        FIXTURE(add_knows_all_64_bits),
        FIXTURE(add_keeps_the_expiry),
        FIXTURE(add_wants_a_number),
        FIXTURE(add_does_not_overflow),
        FIXTURE(no_addition_is_lost),
        FIXTURE(append_adds_to_the_end),
        FIXTURE(append_keeps_the_expiry),
        FIXTURE(append_stops_at_the_limit),
        FIXTURE(touch_sets_and_removes_the_expiry),
        FIXTURE(touch_wants_a_key),
        FIXTURE(the_largest_value_can_be_touched),
        FIXTURE(update_does_what_the_callback_says),
        FIXTURE(update_returns_the_callbacks_code),
        FIXTURE(update_keeps_the_expiry),
        FIXTURE(update_runs_again_if_the_key_changed),
        FIXTURE(a_callbacks_value_may_be_too_large),
        FIXTURE(take_gets_and_deletes),
        FIXTURE(take_wants_a_large_enough_buffer),
        FIXTURE(one_taker_gets_it),
    };
    return cmocka_run_group_tests_name("modify", tests, NULL, NULL);
}
