/* SPDX-License-Identifier: MIT */
/*
 * test_stale.c - memory and image that have parted: the image was loaded into other memory since,
 * or another was written over it.  What was synced to either is never taken back, and what only
 * memory has is never removed without a word.
 *
 * Two directories of shared memory stand for two containers, or machines, that share a disk.
 */
#include "home.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"

#define LIMIT_MS 30000u
#define VALUE_BYTES 30000u

static char second[80]; /* directory of shared memory */

static int setup(void **state)
{
    if (home_setup(state) != 0)
        return -1;
    snprintf(second, sizeof(second), "%s/second", scratch_dir());
    return mkdir(second, 0700);
}

static int teardown(void **state)
{
    shmkv_destroy(home_image, second, 1);
    return home_teardown(state);
}

static int open_in(const char *shm_dir, uint32_t flags, uint64_t interval_ms, struct shmkv **db)
{
    struct shmkv_options o = {.flags = flags | SHMKV_NO_KEEPER,
                              .size = 16u << 20,
                              .interval_ms = interval_ms,
                              .shm_dir = shm_dir};
    return shmkv_open(home_image, &o, db);
}

static struct shmkv *must_open(const char *shm_dir)
{
    struct shmkv *db;
    assert_rc(open_in(shm_dir, SHMKV_CREATE, 0, &db), 0);
    return db;
}

/* As the text says: the memory goes, the image stays. */
static void remove_memory(const char *text)
{
    char name[200] = "";
    const char *at = strstr(text, "shmkv destroy shm:");
    assert_non_null(at);
    sscanf(at, "shmkv destroy %199[a-f0-9hms:.]", name);
    assert_rc(shmkv_destroy(name, scratch_dir(), 0), 0);
}

static void what_was_synced_elsewhere_stays(void **state)
{
    (void)state;
    struct shmkv *db = must_open(scratch_dir());
    put_text(db, "key", "first");
    assert_rc(shmkv_close(db), 0);
    db = must_open(second);
    assert_text(db, "key", "first");
    put_text(db, "key", "second");
    assert_rc(shmkv_close(db), 0);
    db = must_open(scratch_dir()); /* its memory is still there */
    assert_text(db, "key", "second");
    put_text(db, "more", "value");
    assert_rc(shmkv_close(db), 0);
    db = must_open(second);
    assert_text(db, "key", "second");
    assert_text(db, "more", "value");
    assert_rc(shmkv_close(db), 0);
}

/* What memory alone has is lost, or not, as its user decides. */
static void what_was_never_saved_is_not_removed(void **state)
{
    (void)state;
    struct shmkv *db;
    assert_rc(open_in(scratch_dir(), SHMKV_CREATE, NEVER, &db), 0);
    put_text(db, "key", "unsaved");
    assert_rc(shmkv_close(db), 0);
    int files = scratch_count();
    db = must_open(second);
    assert_text(db, "key", NULL);
    assert_rc(shmkv_close(db), 0);
    assert_rc(open_in(scratch_dir(), SHMKV_CREATE, 0, &db), SHMKV_EDEFUNCT);
    assert_non_null(strstr(shmkv_last_error(), "out of date"));
    assert_int_equal(scratch_count(), files);
    remove_memory(shmkv_last_error());
    db = must_open(scratch_dir());
    assert_text(db, "key", NULL);
    assert_rc(shmkv_close(db), 0);
}

static int attach(void *arg)
{
    struct shmkv *db;
    (void)arg;
    child_assert(open_in(scratch_dir(), SHMKV_READONLY, 0, &db) == 0);
    raise(SIGSTOP);
    return 0;
}

/* A copy that somebody made of the file, and put back, is of an earlier generation. */
static void in_use_it_is_not_removed(void **state)
{
    (void)state;
    struct shmkv *db = must_open(scratch_dir());
    put_text(db, "key", "first");
    assert_rc(shmkv_close(db), 0);
    scratch_copy(home_image, home_path("other"));
    scratch_lose_memory();
    db = must_open(scratch_dir());
    put_text(db, "key", "second");
    assert_rc(shmkv_close(db), 0);
    pid_t reader = child_start(attach, NULL);
    assert_true(child_wait_stopped(reader, LIMIT_MS));
    scratch_copy(home_path("other"), home_image);
    assert_rc(open_in(scratch_dir(), SHMKV_CREATE, 0, &db), SHMKV_EDEFUNCT);
    child_kill(reader);
}

static void who_reads_sees_the_image(void **state)
{
    (void)state;
    struct shmkv *db = must_open(scratch_dir());
    put_text(db, "key", "first");
    assert_rc(shmkv_close(db), 0);
    db = must_open(second);
    put_text(db, "key", "second");
    assert_rc(shmkv_close(db), 0);
    assert_rc(open_in(scratch_dir(), SHMKV_READONLY, 0, &db), 0);
    assert_text(db, "key", "second");
    assert_rc(shmkv_close(db), 0);
}

/* A copy that is put back while the store's memory is there: its generation is the same. */
static void an_older_image_is_not_written_over(void **state)
{
    (void)state;
    struct shmkv *db = must_open(scratch_dir());
    put_text(db, "key", "first");
    assert_rc(shmkv_close(db), 0);
    scratch_copy(home_image, home_path("other"));
    db = must_open(scratch_dir());
    put_text(db, "key", "second");
    assert_rc(shmkv_close(db), 0);
    scratch_copy(home_path("other"), home_image);
    db = must_open(scratch_dir());
    put_text(db, "more", "value");
    assert_rc(shmkv_sync(db, -1), SHMKV_EDEFUNCT);
    assert_non_null(strstr(shmkv_last_error(), "older"));
    assert_rc(shmkv_close(db), SHMKV_EDEFUNCT);
    remove_memory(shmkv_last_error());
    db = must_open(scratch_dir());
    assert_text(db, "key", "first");
    assert_rc(shmkv_close(db), 0);
}

/* An image of another store, with fewer segments, written over that of an open one. */
static void another_image_is_not_written_to(void **state)
{
    (void)state;
    static const char value[VALUE_BYTES];
    struct shmkv *db = must_open(scratch_dir());
    struct shmkv_options o = {
        .flags = SHMKV_CREATE | SHMKV_NO_KEEPER, .size = 1u << 20, .shm_dir = scratch_dir()};
    struct shmkv *small;
    assert_rc(shmkv_open(home_path("other"), &o, &small), 0);
    put_text(small, "key", "of the other");
    assert_rc(shmkv_close(small), 0);
    for (unsigned i = 0; i < 300; i++) { /* more segments than the other has */
        char key[8];
        snprintf(key, sizeof(key), "%u", i);
        assert_rc(shmkv_put(db, key, strlen(key), value, sizeof(value), NULL), 0);
    }
    scratch_copy(home_path("other"), home_image);
    assert_rc(shmkv_sync(db, -1), SHMKV_EDEFUNCT);
    assert_rc(shmkv_close(db), SHMKV_EDEFUNCT);
    db = must_open(scratch_dir());
    assert_text(db, "key", "of the other");
    assert_rc(shmkv_close(db), 0);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_synced_elsewhere_stays),    TEST(what_was_never_saved_is_not_removed),
        TEST(in_use_it_is_not_removed),           TEST(who_reads_sees_the_image),
        TEST(an_older_image_is_not_written_over), TEST(another_image_is_not_written_to),
    };
    return cmocka_run_group_tests_name("test_stale", tests, NULL, NULL);
}
