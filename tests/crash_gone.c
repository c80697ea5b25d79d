/* SPDX-License-Identifier: MIT */
/*
 * crash_gone.c - shmkv_gc() and the memory of images that are gone: it removes what was in the
 * image, too, and nothing that anybody wrote or could see and that the image has not.
 *
 * "Gone" is here an image that was moved, so that it can be opened afterwards and looked at.  And
 * who opens an image removes what it has left under uuids of its earlier lives.
 */
#include "home.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "point.h"

#define LIMIT_MS 30000u
#define BIG_BYTES 200000u

/* @interval_ms NEVER: what is written is not in the image when it is closed. */
static struct shmkv *open_with(uint32_t flags, uint64_t interval_ms)
{
    struct shmkv *db;
    return home_open(home_image, flags, interval_ms, &db) == 0 ? db : NULL;
}

/* Open and close as the last one: all of it is in the image. */
static void settle(void)
{
    struct shmkv *db = open_with(SHMKV_CREATE | SHMKV_NO_KEEPER, 0);
    assert_non_null(db);
    assert_rc(shmkv_put(db, "base", 4, "value", 5, NULL), 0);
    assert_rc(shmkv_close(db), 0);
}

/* How many stores are removed while the image is moved away. */
static size_t removed(void)
{
    size_t n;
    assert_int_equal(rename(home_image, home_path("moved")), 0);
    assert_rc(shmkv_gc(scratch_dir(), &n), 0);
    assert_int_equal(rename(home_path("moved"), home_image), 0);
    return n;
}

/* Does the store, in memory or loaded from its image, have the key? */
static bool has(const char *key)
{
    struct shmkv *db = open_with(SHMKV_READONLY, 0);
    assert_non_null(db);
    int rc = shmkv_exists(db, key, strlen(key));
    assert_true(rc == 0 || rc == SHMKV_ENOTFOUND);
    assert_rc(shmkv_close(db), 0);
    return rc == 0;
}

static void what_was_settled_is_removed(void **state)
{
    (void)state;
    settle();
    assert_int_equal(removed(), 1);
    assert_int_equal(scratch_count(), 0);
    settle();
    settle();
    assert_int_equal(removed(), 1);
    assert_true(has("base"));
}

static int put_small(struct shmkv *db)
{
    return shmkv_put(db, "small", 5, "value", 5, NULL);
}

static int put_again(struct shmkv *db)
{
    return shmkv_put(db, "base", 4, "other", 5, NULL);
}

static int delete (struct shmkv *db)
{
    return shmkv_delete(db, "base", 4);
}

static int put_big(struct shmkv *db)
{
    static const char value[BIG_BYTES];
    return shmkv_put(db, "big", 3, value, sizeof(value), NULL);
}

static int clear(struct shmkv *db)
{
    return shmkv_clear(db);
}

static int fill_reservation(struct shmkv *db)
{
    struct shmkv_reservation r;
    int rc = shmkv_reserve(db, "reserved", 8, 1000, NULL, &r);
    if (rc != 0)
        return rc;
    memset(r.value, 'r', 1000);
    return shmkv_commit(&r);
}

static void what_was_written_after_it_stays(void **state)
{
    (void)state;
    int (*const writes[])(struct shmkv *) = {put_small, put_again, delete,
                                             put_big,   clear,     fill_reservation};
    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        settle();
        struct shmkv *db = open_with(SHMKV_NO_KEEPER, NEVER);
        assert_non_null(db);
        assert_rc(writes[i](db), 0);
        assert_rc(shmkv_close(db), 0);
        assert_int_equal(removed(), 0);
    }
    settle();
    assert_int_equal(removed(), 1);
    assert_true(has("reserved"));
    assert_true(has("base"));
    assert_false(has("big"));
}

static void what_was_never_settled_stays(void **state)
{
    (void)state;
    struct shmkv *db = open_with(SHMKV_CREATE | SHMKV_NO_KEEPER, NEVER);
    assert_non_null(db);
    assert_rc(put_small(db), 0);
    assert_rc(shmkv_close(db), 0);
    assert_int_equal(removed(), 0);
    assert_true(has("small"));
}

static int attach(void *arg)
{
    struct shmkv *db = open_with(SHMKV_NO_KEEPER, NEVER);
    child_assert(db != NULL);
    point_arm(arg, 1, POINT_KILL, NULL, NULL);
    child_assert(put_small(db) == 0);
    raise(SIGSTOP);
    return 0;
}

static void in_use_it_stays(void **state)
{
    (void)state;
    settle();
    pid_t child = child_start(attach, "none");
    assert_true(child_wait_stopped(child, LIMIT_MS));
    assert_int_equal(removed(), 0);
    child_kill(child);
    assert_int_equal(removed(), 0);
    assert_true(has("small"));
}

/* What is visible after a death must be so after gc, even if nobody was told that it is stored. */
static void death_in_a_put(void **state)
{
    (void)state;
    static const char *const points[] = {"put.entered", "put.written", "put.inflight", "put.cas",
                                         "put.marked",  "put.used",    "put.done"};
    unsigned seen = 0;
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        settle();
        pid_t child = child_start(attach, (void *)(uintptr_t)points[i]);
        assert_int_equal(child_wait(child, LIMIT_MS), CHILD_SIGNAL + SIGKILL);
        bool visible = has("small");
        seen += visible;
        removed();
        assert_int_equal(has("small"), visible);
        struct shmkv *db = open_with(SHMKV_NO_KEEPER, 0);
        assert_non_null(db);
        assert_rc(shmkv_check(db, NULL, NULL), 0);
        if (visible)
            assert_rc(shmkv_delete(db, "small", 5), 0);
        assert_rc(shmkv_close(db), 0);
    }
    assert_true(seen >= 3); /* it was published in some, and not in others */
    assert_true(seen < sizeof(points) / sizeof(points[0]));
}

/* ---- the image is there, and its memory is another's ----------------------------------------- */

static int open_killed(void *point)
{
    point_arm(point, 1, POINT_KILL, NULL, NULL);
    child_assert(open_with(SHMKV_CREATE | SHMKV_NO_KEEPER, 0) == NULL);
    return 0;
}

/* Each tries with a uuid of its own: the image is a copy, which has none yet. */
static void creators_that_die_leave_nothing(void **state)
{
    (void)state;
    static const char *const points[] = {"attach.sync_made",   "attach.filled",
                                         "attach.sync_header", "open.image",
                                         "recover.loaded",     "recover.committing"};
    settle();
    scratch_lose_memory();
    scratch_copy(home_image, home_path("moved"));
    assert_int_equal(rename(home_path("moved"), home_image), 0);
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        pid_t child = child_start(open_killed, (void *)(uintptr_t)points[i]);
        assert_int_equal(child_wait(child, LIMIT_MS), CHILD_SIGNAL + SIGKILL);
        assert_in_range(scratch_count(), 1, 2);
    }
    settle();
    assert_int_equal(scratch_count(), 2);
    assert_true(has("base"));
}

/* A backup is written over the image: the bytes change, not the file. */
static void an_image_written_over_has_one_memory(void **state)
{
    (void)state;
    settle();
    scratch_lose_memory();
    assert_int_equal(rename(home_image, home_path("moved")), 0);
    settle();
    scratch_copy(home_path("moved"), home_image);
    settle();
    assert_int_equal(scratch_count(), 2);
    scratch_copy(home_path("moved"), home_image);
    struct shmkv *db = open_with(SHMKV_NO_KEEPER, NEVER);
    assert_non_null(db);
    assert_rc(put_small(db), 0);
    assert_rc(shmkv_close(db), 0);
    assert_int_equal(scratch_count(), 2);
    scratch_copy(home_path("moved"),
                 home_image); /* what was never saved is not removed with the rest */
    settle();
    assert_int_equal(scratch_count(), 4);
    assert_int_equal(unlink(home_path("moved")), 0);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, home_setup, home_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_settled_is_removed),
        TEST(what_was_written_after_it_stays),
        TEST(what_was_never_settled_stays),
        TEST(in_use_it_stays),
        TEST(death_in_a_put),
        TEST(creators_that_die_leave_nothing),
        TEST(an_image_written_over_has_one_memory),
    };
    return cmocka_run_group_tests_name("crash_gone", tests, NULL, NULL);
}
