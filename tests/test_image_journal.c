/* SPDX-License-Identifier: MIT */
/* test_image_journal.c - what of a damaged journal is mended, and what is refused. */
#include "fixture.h"
#include "scratch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "image.h"
#include "verify_image.h"

#define SEGMENT (64u << 10)
#define SEGMENTS 4u

static char path[256], other[256];

static int setup(void **state)
{
    int rc = scratch_setup(state);
    snprintf(path, sizeof(path), "%s", scratch_path("image"));
    snprintf(other, sizeof(other), "%s", scratch_path("other"));
    return rc;
}

/* A commit whose epoch tells it from others; lists nothing. */
static void commit(const char *name, uint64_t epoch)
{
    struct image im;
    struct image_cut cut = {.epoch = epoch, .ceiling = 1000, .size = 1u << 20};
    assert_rc(image_open(&im, name, false), 0);
    assert_rc(image_begin(&im), 0);
    assert_rc(image_commit(&im, &cut, NULL, 0), 0);
    image_close(&im);
}

static void create(void)
{
    static const struct image_geometry g = {.uuid = "0123456789abcde",
                                            .segment_bytes = SEGMENT,
                                            .segment_count = SEGMENTS,
                                            .size = 1u << 20};
    struct image im;
    assert_rc(image_create(&im, path, &g, 0), 0);
    image_close(&im);
}

/* Pages of the journal: each commit here has two, one for each copy. */
static void move_pages(const char *from, const char *to, uint64_t page, uint64_t pages)
{
    char bytes[2 * PAGE_BYTES];
    off_t at = (off_t)((2 + page) * PAGE_BYTES);
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY);
    assert_true(in >= 0 && out >= 0 && pages <= 2);
    assert_int_equal(pread(in, bytes, pages * PAGE_BYTES, at), pages * PAGE_BYTES);
    assert_int_equal(pwrite(out, bytes, pages * PAGE_BYTES, at), pages * PAGE_BYTES);
    close(in);
    close(out);
}

/* The epoch of the commit that counts; 0: it is refused.  check says the same. */
static uint64_t opens_to(void)
{
    struct image im;
    struct image_sink sink = {0};
    uint64_t epoch = 0;
    int rc = image_open(&im, path, true);
    if (rc == 0) {
        epoch = im.head.epoch;
        image_close(&im);
    }
    assert_rc(rc, rc == 0 ? 0 : SHMKV_ECORRUPT);
    assert_rc(verify_image(path, &sink), rc);
    return epoch;
}

/* The pages are as they were before the commit: that was under way when the power failed. */
static void journal_ends_where_no_copy_is_whole(void **state)
{
    (void)state;
    create();
    commit(path, 10);
    scratch_copy(path, other);
    commit(path, 20);
    assert_int_equal(opens_to(), 20);
    move_pages(other, path, 2, 1);
    assert_int_equal(opens_to(), 20);
    move_pages(other, path, 3, 1);
    assert_int_equal(opens_to(), 10);
}

static void journal_either_copy_is_mended(void **state)
{
    (void)state;
    create();
    scratch_copy(path, other);
    commit(path, 10);
    move_pages(other, path, 0, 1);
    assert_int_equal(opens_to(), 10);
    commit(path, 20);
    move_pages(other, path, 1, 1);
    assert_int_equal(opens_to(), 20);
}

/* Another commit followed it, so it was durable. */
static void journal_lost_commit_is_refused(void **state)
{
    (void)state;
    create();
    commit(path, 10);
    scratch_copy(path, other);
    commit(path, 20);
    commit(path, 30);
    move_pages(other, path, 2, 2);
    assert_int_equal(opens_to(), 0);
    assert_non_null(strstr(shmkv_last_error(), "findings"));
}

/* Whole, of the right number, and not what the one behind was written after: a page of another
 * life of the file, as in a copy that was mixed with its original. */
static void journal_foreign_commit_is_refused(void **state)
{
    (void)state;
    struct image im;
    create();
    commit(path, 10);
    scratch_copy(path, other);
    commit(path, 20);
    commit(path, 30);
    commit(other, 21);
    move_pages(other, path, 2, 2);
    assert_int_equal(opens_to(), 0);
    assert_rc(image_open(&im, path, true), SHMKV_ECORRUPT);
    assert_non_null(strstr(shmkv_last_error(), "commit 3 in the journal (byte 24576 of the file) "
                                               "does not fit the one before"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(journal_ends_where_no_copy_is_whole),
        TEST(journal_either_copy_is_mended),
        TEST(journal_lost_commit_is_refused),
        TEST(journal_foreign_commit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
