/* SPDX-License-Identifier: MIT */
/*
 * crash_readonly.c - an image that is not in memory, opened for reading only: a private arena with
 * the same contents as a recovery gives, nothing written, nothing left.
 */
#define _GNU_SOURCE
#include "home.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "point.h"

#define LIMIT_MS 20000u
#define KEYS 300u

static int open_path(const char *path, uint32_t flags, struct shmkv **db)
{
    struct shmkv_options o = {
        .flags = flags, .size = 8u << 20, .interval_ms = NEVER, .shm_dir = scratch_dir()};
    return shmkv_open(path, &o, db);
}

static struct shmkv *open_image(uint32_t flags)
{
    struct shmkv *db;
    assert_rc(open_path(home_image, flags, &db), 0);
    return db;
}

static int put_all(struct shmkv *db, uint32_t turn)
{
    char value[200];
    int rc = 0;
    memset(value, (int)('a' + turn), sizeof(value));
    memcpy(value, &turn, sizeof(turn));
    for (uint32_t i = 0; rc == 0 && i < KEYS; i++) {
        rc = i % 7 == turn % 7 ? shmkv_delete(db, &i, sizeof(i))
                               : shmkv_put(db, &i, sizeof(i), value, sizeof(value), NULL);
        rc = rc == SHMKV_ENOTFOUND ? 0 : rc;
    }
    return rc;
}

/* What a store holds: of each key its turn, UINT32_MAX: absent. */
struct contents {
    uint32_t turn[KEYS];
};

static struct contents contents_of(struct shmkv *db)
{
    struct contents c;
    char value[200];
    uint64_t keys = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        int rc = shmkv_read(db, &i, sizeof(i), value, sizeof(value), NULL);
        c.turn[i] = UINT32_MAX;
        if (rc == SHMKV_ENOTFOUND)
            continue;
        assert_rc(rc, 0);
        memcpy(&c.turn[i], value, sizeof(c.turn[i]));
        keys++;
    }
    struct shmkv_stats stats;
    assert_rc(shmkv_get_stats(db, &stats), 0);
    assert_int_equal(stats.keys, keys);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
    return c;
}

/* Two turns that are synced, one that is not; then the memory is gone. */
static struct contents make_image(void)
{
    struct shmkv *db = open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
    assert_rc(put_all(db, 1), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(put_all(db, 2), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    struct contents synced = contents_of(db);
    assert_rc(put_all(db, 3), 0);
    assert_rc(shmkv_close(db), 0);
    scratch_lose_memory();
    return synced;
}

#define assert_same(a, b) assert_memory_equal(&(a), &(b), sizeof(struct contents))

/* The file, whole: what must not change. */
static char *bytes_of(const char *path, size_t *size)
{
    struct stat st = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    char *bytes = malloc((size_t)st.st_size + 1);
    assert_non_null(bytes);
    assert_int_equal(pread(fd, bytes, (size_t)st.st_size, 0), st.st_size);
    close(fd);
    *size = (size_t)st.st_size;
    return bytes;
}

static void assert_untouched(const char *path, char *before, size_t size)
{
    size_t now;
    char *after = bytes_of(path, &now);
    assert_int_equal(now, size);
    assert_memory_equal(before, after, size);
    free(after);
}

static void it_reads_and_leaves_nothing(void **state)
{
    (void)state;
    struct contents synced = make_image();
    size_t size;
    char *before = bytes_of(home_image, &size);
    struct shmkv_config config;
    struct shmkv *db = open_image(SHMKV_READONLY);
    struct contents found = contents_of(db);
    assert_same(found, synced);
    assert_rc(shmkv_put(db, "a", 1, "b", 1, NULL), SHMKV_EREADONLY);
    assert_rc(shmkv_delete(db, "a", 1), SHMKV_EREADONLY);
    assert_rc(shmkv_sync(db, -1), SHMKV_EREADONLY);
    assert_rc(shmkv_get_config(db, &config), 0);
    assert_string_equal(config.image, home_image);
    struct shmkv *other = open_image(SHMKV_READONLY);
    found = contents_of(other);
    assert_same(found, synced);
    assert_rc(shmkv_close(db), 0);
    found = contents_of(other);
    assert_same(found, synced);
    assert_rc(shmkv_close(other), 0);
    assert_int_equal(scratch_count(), 0);
    assert_untouched(home_image, before, size);
    free(before);
}

static void it_stays_as_it_was_opened(void **state)
{
    (void)state;
    struct shmkv *live;
    struct contents synced = make_image();
    assert_rc(open_path(home_image, SHMKV_READONLY | SHMKV_LIVE, &live), SHMKV_ENOSTORE);
    struct shmkv *view = open_image(SHMKV_READONLY);
    struct shmkv *db = open_image(SHMKV_NO_KEEPER);
    assert_rc(put_all(db, 5), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    struct contents now = contents_of(db), found = contents_of(view);
    assert_same(found, synced);
    assert_rc(open_path(home_image, SHMKV_READONLY | SHMKV_LIVE, &live), 0);
    found = contents_of(live);
    assert_same(found, now);
    assert_rc(shmkv_close(view), 0);
    found = contents_of(live);
    assert_same(found, now);
    assert_rc(shmkv_close(live), 0);
    assert_rc(shmkv_close(db), 0);
}

/* What others write may stand in their memory alone: it is not guessed at. */
static int attach_and_wait(void *arg)
{
    struct shmkv *db;
    (void)arg;
    child_assert(open_path(home_image, SHMKV_NO_KEEPER, &db) == 0);
    raise(SIGSTOP);
    return 0;
}

static void memory_that_others_still_have_is_told(void **state)
{
    (void)state;
    struct shmkv *db;
    make_image();
    pid_t child = child_start(attach_and_wait, NULL);
    assert_true(child_wait_stopped(child, LIMIT_MS));
    scratch_lose_memory();
    assert_rc(open_path(home_image, SHMKV_READONLY, &db), SHMKV_EDEFUNCT);
    child_kill(child);
    db = open_image(SHMKV_READONLY);
    assert_rc(shmkv_close(db), 0);
}

static void a_copy_is_read_as_it_is(void **state)
{
    (void)state;
    struct contents synced = make_image();
    size_t size;
    char *bytes = bytes_of(home_image, &size);
    const char *copy = home_path("copy");
    int fd = open(copy, O_WRONLY | O_CREAT | O_CLOEXEC, 0400);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
    struct shmkv *db;
    assert_rc(open_path(copy, SHMKV_READONLY, &db), 0);
    struct contents found = contents_of(db);
    assert_same(found, synced);
    assert_rc(shmkv_close(db), 0);
    assert_untouched(copy, bytes, size);
    free(bytes);
}

/* ---- who may not write ---------------------------------------------------------------------- */

static int read_as_another(void *arg)
{
    struct contents *want = arg;
    struct shmkv *db;
    child_assert(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
    child_assert(open_path(home_image, 0, &db) == SHMKV_EACCESS);
    child_assert(open_path(home_image, SHMKV_READONLY, &db) == 0);
    for (uint32_t i = 0; i < KEYS; i++)
        child_assert((shmkv_exists(db, &i, sizeof(i)) == 0) == (want->turn[i] != UINT32_MAX));
    child_assert(shmkv_close(db) == 0);
    return 0;
}

static void another_user_may_read(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct contents synced = make_image();
    assert_int_equal(chmod(home_dir, 0755), 0);
    assert_int_equal(chmod(home_image, 0644), 0);
    assert_int_equal(chmod(scratch_dir(), 01777), 0);
    assert_int_equal(child_wait(child_start(read_as_another, &synced), LIMIT_MS), 0);
    assert_int_equal(scratch_count(), 0);
    assert_int_equal(chmod(home_image, 0600), 0);
    assert_int_equal(child_wait(child_start(read_as_another, &synced), LIMIT_MS), 99);
}

static void a_readonly_file_system(void **state)
{
    (void)state;
    struct shmkv *db;
    char there[120], mounted[100];
    snprintf(mounted, sizeof(mounted), "%s/mounted", home_dir);
    snprintf(there, sizeof(there), "%s/store", mounted);
    assert_int_equal(mkdir(mounted, 0700), 0);
    if (mount("tests", mounted, "tmpfs", 0, "size=32m") != 0) {
        rmdir(mounted);
        skip();
    }
    assert_rc(open_path(there, SHMKV_CREATE | SHMKV_NO_KEEPER, &db), 0);
    assert_rc(put_all(db, 4), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    struct contents synced = contents_of(db);
    assert_rc(shmkv_close(db), 0);
    scratch_lose_memory();
    assert_int_equal(mount(NULL, mounted, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    assert_rc(open_path(there, SHMKV_NO_KEEPER, &db), SHMKV_EACCESS);
    assert_rc(open_path(there, SHMKV_READONLY, &db), 0);
    struct contents found = contents_of(db);
    assert_same(found, synced);
    assert_rc(shmkv_close(db), 0);
    assert_int_equal(umount(mounted), 0);
    assert_int_equal(rmdir(mounted), 0);
}

/* ---- fork and death ------------------------------------------------------------------------- */

static void a_child_reads_it_too(void **state)
{
    (void)state;
    struct contents synced = make_image();
    struct shmkv *db = open_image(SHMKV_READONLY);
    for (int closes = 0; closes < 2; closes++) {
        pid_t child = fork();
        if (child == 0) {
            struct contents found = contents_of(db);
            bool same = memcmp(&found, &synced, sizeof(found)) == 0;
            if (closes)
                shmkv_close(db);
            _exit(same ? 0 : 1);
        }
        assert_int_equal(child_wait(child, LIMIT_MS), 0);
        struct contents found = contents_of(db);
        assert_same(found, synced);
    }
    assert_rc(shmkv_close(db), 0);
    assert_int_equal(scratch_count(), 0);
}

struct passed {
    char name[64];
    unsigned times;
};

static int live(void *arg)
{
    const struct passed *point = arg;
    struct shmkv *db;
    if (point != NULL)
        point_arm(point->name, point->times, POINT_KILL, NULL, NULL);
    child_assert(open_path(home_image, SHMKV_READONLY, &db) == 0);
    child_assert(shmkv_exists(db, &(uint32_t){0}, sizeof(uint32_t)) == 0);
    child_assert(shmkv_close(db) == 0);
    return 0;
}

#define PASSAGES 300u

static void note_point(void *arg, const char *name)
{
    struct passed *points = arg;
    unsigned n = 0, times = 1;
    for (; points[n].times != 0; n++)
        times += strcmp(points[n].name, name) == 0;
    assert_true(n < PASSAGES - 1);
    snprintf(points[n].name, sizeof(points[n].name), "%s", name);
    points[n].times = times;
}

/* Killed anywhere, it leaves what `gc` removes, and an image as it was. */
static void death_at_every_point(void **state)
{
    (void)state;
    static struct passed points[PASSAGES];
    unsigned deaths = 0;
    struct contents synced = make_image();
    size_t size, removed;
    char *before = bytes_of(home_image, &size);
    memset(points, 0, sizeof(points));
    point_record(note_point, points);
    assert_int_equal(live(NULL), 0);
    point_record(NULL, NULL);
    for (const struct passed *point = points; point->times != 0; point++, deaths++) {
        int status = child_wait(child_start(live, (void *)(uintptr_t)point), LIMIT_MS);
        if (status != CHILD_SIGNAL + SIGKILL)
            fail_msg("%s was passed for the %u. time: status %d", point->name, point->times,
                     status);
        assert_rc(shmkv_gc(scratch_dir(), &removed), 0);
        assert_int_equal(scratch_count(), 0);
        assert_untouched(home_image, before, size);
    }
    free(before);
    print_message("# %u deaths\n", deaths);
    assert_true(deaths > 30);
    struct shmkv *db = open_image(SHMKV_NO_KEEPER);
    struct contents found = contents_of(db);
    assert_same(found, synced);
    assert_rc(shmkv_close(db), 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, home_setup, home_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_reads_and_leaves_nothing),
        TEST(it_stays_as_it_was_opened),
        TEST(memory_that_others_still_have_is_told),
        TEST(a_copy_is_read_as_it_is),
        TEST(another_user_may_read),
        TEST(a_readonly_file_system),
        TEST(a_child_reads_it_too),
        TEST(death_at_every_point),
    };
    return cmocka_run_group_tests_name("crash_readonly", tests, NULL, NULL);
}
