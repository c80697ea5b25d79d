/* SPDX-License-Identifier: MIT */
/* test_store_access.c - what one may not do to an image, or its memory, changes nothing and is told
 * in words that do no harm if they are followed. */
#include "home.h"

#include <fcntl.h>
#include <glob.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "layout.h"

#define LIMIT_MS 30000u
#define ALICE 31001u

static int open_with(uint32_t flags, uint64_t interval_ms, struct shmkv **db)
{
    return home_open(home_image, flags | SHMKV_NO_KEEPER, interval_ms, db);
}

static void make(uint64_t interval_ms)
{
    struct shmkv *db;
    assert_rc(open_with(SHMKV_CREATE, interval_ms, &db), 0);
    put_text(db, "key", "value");
    assert_rc(shmkv_close(db), 0);
}

static void assert_there(uint32_t flags)
{
    struct shmkv *db;
    assert_rc(open_with(flags, NEVER, &db), 0);
    assert_text(db, "key", "value");
    assert_rc(shmkv_close(db), 0);
}

/* ---- removing ------------------------------------------------------------------------------ */

/* Its owner may write to the image, and remove its memory, but not the file. */
static int destroy_as_owner(void *arg)
{
    struct shmkv *db;
    (void)arg;
    child_assert(setuid(ALICE) == 0);
    child_assert(open_with(SHMKV_CREATE, NEVER, &db) == 0);
    child_assert(shmkv_put(db, "key", 3, "value", 5, NULL) == 0);
    child_assert(shmkv_close(db) == 0);
    child_assert(shmkv_destroy(home_image, scratch_dir(), 1) == SHMKV_EACCESS);
    child_assert(open_with(0, NEVER, &db) == 0);
    child_assert(shmkv_exists(db, "key", 3) == 0);
    child_assert(shmkv_close(db) == 0);
    return 0;
}

static void a_refused_removal_removes_nothing(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    int fd = open(home_image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && fchown(fd, ALICE, ALICE) == 0);
    close(fd);
    assert_int_equal(chmod(home_dir, 0755), 0);
    assert_int_equal(child_wait(child_start(destroy_as_owner, NULL), LIMIT_MS), 0);
    assert_there(0);
    assert_rc(shmkv_destroy(home_image, scratch_dir(), 0), 0);
}

/* ---- reading what nobody may write --------------------------------------------------------- */

static bool set_immutable(bool on)
{
    int bits = 0;
    int fd = open(home_image, O_RDONLY | O_CLOEXEC);
    bool done = fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &bits) == 0;
    bits = on ? bits | FS_IMMUTABLE_FL : bits & ~FS_IMMUTABLE_FL;
    done = done && ioctl(fd, FS_IOC_SETFLAGS, &bits) == 0;
    if (fd >= 0)
        close(fd);
    return done;
}

/* Not even root may open it for writing. */
static void an_immutable_image_is_read(void **state)
{
    struct shmkv *db;
    (void)state;
    make(0);
    scratch_lose_memory();
    if (!set_immutable(true))
        skip();
    int written = open_with(0, 0, &db);
    int destroyed = shmkv_destroy(home_image, scratch_dir(), 0);
    int read = open_with(SHMKV_READONLY, 0, &db);
    assert_true(set_immutable(false));
    assert_rc(written, SHMKV_EACCESS);
    assert_rc(destroyed, SHMKV_EACCESS);
    assert_rc(read, 0);
    assert_text(db, "key", "value");
    assert_rc(shmkv_close(db), 0);
    assert_there(0);
}

/* ---- memory that cannot be used ------------------------------------------------------------ */

/* Put a byte into the arena, and into the sync object, too, if @both. */
static void scribble(off_t offset, uint8_t byte, bool both)
{
    glob_t objects;
    char pattern[100];
    snprintf(pattern, sizeof(pattern), "%s/shmkv.*", scratch_dir());
    assert_int_equal(glob(pattern, 0, NULL, &objects), 0);
    assert_int_equal(objects.gl_pathc, 2);
    for (size_t i = 0; i < 2; i++) {
        int fd = open(objects.gl_pathv[i], O_RDWR | O_CLOEXEC);
        if (both || strstr(objects.gl_pathv[i], ".sync") == NULL)
            assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
        close(fd);
    }
    globfree(&objects);
}

/* What the text says does not cost the image. */
static void follow(const char *text)
{
    char name[200] = "";
    const char *at = strstr(text, "shmkv destroy shm:");
    assert_non_null(at);
    sscanf(at, "shmkv destroy %199[a-f0-9hms:.]", name);
    if (name[strlen(name) - 1] == ':')
        name[strlen(name) - 1] = 0;
    assert_rc(shmkv_destroy(name, scratch_dir(), 0), 0);
    assert_int_equal(scratch_count(), 0);
    assert_there(0);
}

static void memory_of_another_format_is_told_from_the_image(void **state)
{
    struct shmkv *db;
    (void)state;
    make(0);
    scribble(offsetof(struct superblock, version), LAYOUT_VERSION + 1, true);
    assert_rc(open_with(0, 0, &db), SHMKV_EVERSION);
    follow(shmkv_last_error());
}

static void damaged_memory_is_told_from_the_image(void **state)
{
    struct shmkv *db;
    static const off_t offsets[] = {offsetof(struct superblock, reserve),
                                    offsetof(struct superblock, state)};
    (void)state;
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        make(0);
        scribble(offsets[i], 77, false);
        assert_rc(open_with(0, 0, &db), SHMKV_ECORRUPT);
        follow(shmkv_last_error());
    }
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, home_setup, home_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_refused_removal_removes_nothing),
        TEST(an_immutable_image_is_read),
        TEST(memory_of_another_format_is_told_from_the_image),
        TEST(damaged_memory_is_told_from_the_image),
    };
    return cmocka_run_group_tests_name("test_store_access", tests, NULL, NULL);
}
