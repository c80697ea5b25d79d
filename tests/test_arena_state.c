/* SPDX-License-Identifier: MIT */
/* test_arena_state.c - stores that are removed, left over, damaged, foreign, listed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arena.h"
#include "arena_parts.h"
#include "error.h"
#include "futex.h"
#include "lockpage.h"
#include "peer.h"
#include "scratch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARENA_CASE(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

static void make_store(const char *name)
{
    struct arena a;
    assert_int_equal(scratch_open(&a, name, true), 0);
    arena_close(&a);
}

/* Overwrite @n bytes of @file at @offset. */
static void scribble(const char *file, size_t offset, const void *bytes, size_t n)
{
    int fd = open(scratch_path(file), O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, (off_t)offset), (ssize_t)n);
    close(fd);
}

/* Opening gives @rc and a text with @word; opening with create gives @create_rc. */
static void assert_open(int rc, const char *word, int create_rc)
{
    struct arena a;
    assert_int_equal(scratch_open(&a, "shm:a", false), rc);
    assert_non_null(strstr(error_text(), word));
    assert_int_equal(scratch_open(&a, "shm:a", true), create_rc);
    if (create_rc == 0) {
        assert_int_equal(load_relaxed(&a.sb->root), 0); /* made anew */
        arena_close(&a);
    }
}

static void nothing_is_there(void **state)
{
    (void)state;
    assert_open(SHMKV_ENOSTORE, "no store shm:a", 0);
}

static void the_arena_was_removed(void **state)
{
    struct arena a, b;

    (void)state;
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    assert_true(arena_current(&a));
    unlink(scratch_path("shmkv.a"));
    assert_false(arena_current(&a));
    assert_open(SHMKV_EDEFUNCT, "while processes use it", SHMKV_EDEFUNCT);
    assert_int_equal(arena_take(&a, a.log_offset, 1 << 20), 0); /* who is in it goes on */
    memset(arena_at(&a, a.log_offset), 1, 1 << 20);
    assert_true(arena_allocated(&a) > 1 << 20);
    arena_close(&a);
    assert_int_equal(scratch_open(&b, "shm:a", false), SHMKV_ENOSTORE);
    assert_open(SHMKV_ENOSTORE, "only", 0);
}

static void the_sync_object_was_removed(void **state)
{
    struct arena a, b;

    (void)state;
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    unlink(scratch_path("shmkv.a.sync"));
    assert_false(arena_current(&a));
    assert_int_equal(scratch_open(&b, "shm:a", false), SHMKV_EDEFUNCT);
    assert_int_equal(load_relaxed(&a.sb->state), STORE_READY);
    assert_int_equal(scratch_open(&b, "shm:a", true), 0);
    assert_int_equal(load_relaxed(&a.sb->state), STORE_DEFUNCT); /* the orphan learns it */
    assert_true(arena_current(&b));
    arena_close(&a);
    assert_true(arena_current(&b));
    arena_close(&b);
}

static void an_empty_object_is_nobodys(void **state)
{
    (void)state;
    scribble("shmkv.a", 0, "", 0);
    assert_open(SHMKV_EDEFUNCT, "create the store anew", 0);
    scratch_remove();
    assert_true(scratch_make(0));
    scribble("shmkv.a.sync", 0, "", 0);
    assert_open(SHMKV_ENOSTORE, "create it anew", 0);
    scratch_remove();
    assert_true(scratch_make(0));
    scribble("shmkv.a.sync", 5000, "", 1);
    scribble("shmkv.a", 5000, "", 1);
    assert_open(SHMKV_ENOSTORE, "never finished", 0);
}

static void a_store_cut_short_is_made_anew(void **state)
{
    (void)state;
    make_store("shm:a");
    assert_int_equal(truncate(scratch_path("shmkv.a"), 1 << 20), 0);
    assert_open(SHMKV_ENOSTORE, "cut short", 0);
    assert_int_equal(truncate(scratch_path("shmkv.a.sync"), 1 << 16), 0);
    assert_open(SHMKV_ENOSTORE, "cut short", 0);
}

static void a_store_cut_short_in_use_is_defunct(void **state)
{
    struct arena a;

    (void)state;
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    assert_int_equal(truncate(scratch_path("shmkv.a"), (off_t)a.log_offset), 0);
    assert_open(SHMKV_EDEFUNCT, "cut short", SHMKV_EDEFUNCT);
    assert_int_equal(arena_take(&a, a.log_offset, 4096), SHMKV_EDEFUNCT);
    arena_close(&a);
}

static void a_store_of_another_boot_is_made_anew(void **state)
{
    (void)state;
    make_store("shm:a");
    scribble("shmkv.a", offsetof(struct superblock, root), "x", 1);
    scribble("shmkv.a", offsetof(struct superblock, boot_id), "another boot", 12);
    assert_open(SHMKV_ENOSTORE, "earlier boot", 0);
}

static void other_formats_are_refused_by_name(void **state)
{
    static const uint32_t version = 77, features = 0x80;
    char ours[32];

    (void)state;
    snprintf(ours, sizeof(ours), "for format %u", LAYOUT_VERSION);
    make_store("shm:a");
    scribble("shmkv.a", offsetof(struct superblock, version), &version, 4);
    assert_open(SHMKV_EVERSION, "format 77", SHMKV_EVERSION);
    assert_non_null(strstr(error_text(), ours));
    assert_int_equal(arena_destroy("shm:a", scratch_dir(), false), 0);
    make_store("shm:a");
    scribble("shmkv.a.sync", offsetof(struct sync_header, features), &features, 4);
    assert_open(SHMKV_EVERSION, "0x80", SHMKV_EVERSION);
}

static void a_scribbled_superblock_is_corrupt(void **state)
{
    static const struct {
        size_t offset;
        uint64_t value;
    } cases[] = {
        {offsetof(struct superblock, reserve), UINT64_MAX},
        {offsetof(struct superblock, segment_bytes), 12345},
        {offsetof(struct superblock, segment_count), UINT64_MAX / 2},
        {offsetof(struct superblock, segment_count), 0},
        {offsetof(struct superblock, areas_offset), 0},
        {offsetof(struct superblock, area_bytes), 1ull << 60},
        {offsetof(struct superblock, log_offset), 4096},
        {offsetof(struct superblock, segment_shift), 63},
        {offsetof(struct superblock, uuid), 63},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        make_store("shm:a");
        scribble("shmkv.a", cases[i].offset, &cases[i].value, i == 7 ? 4 : 8);
        assert_open(SHMKV_ECORRUPT, "damaged", SHMKV_ECORRUPT);
        assert_int_equal(arena_destroy("shm:a", scratch_dir(), false), 0);
    }
}

static void assert_untouched(const char *file, const char *text)
{
    char found[64] = "";
    int fd = open(scratch_path(file), O_RDONLY);
    assert_int_equal(read(fd, found, sizeof(found) - 1), (ssize_t)strlen(text));
    assert_string_equal(found, text);
    close(fd);
}

static void squatted(void **state)
{
    size_t removed;

    (void)state;
    scribble("shmkv.a", 0, "my diary", 8);
    assert_open(SHMKV_EFORMAT, "left alone", SHMKV_EFORMAT);
    assert_int_equal(arena_destroy("shm:a", scratch_dir(), true), SHMKV_EFORMAT);
    assert_int_equal(scratch_count(), 1);
    scribble("shmkv.b.sync", 0, "my diary", 8);
    assert_int_equal(arena_destroy("shm:b", scratch_dir(), true), SHMKV_EFORMAT);
    assert_int_equal(arena_gc(scratch_dir(), &removed), 0);
    assert_int_equal(removed, 0);
    assert_untouched("shmkv.a", "my diary");
    assert_untouched("shmkv.b.sync", "my diary");
}

static void squatted_by_no_file(void **state)
{
    (void)state;
    assert_int_equal(mkdir(scratch_path("shmkv.a"), 0700), 0);
    assert_open(SHMKV_EFORMAT, "not a regular file", SHMKV_EFORMAT);
    assert_int_equal(rmdir(scratch_path("shmkv.a")), 0);
    assert_int_equal(mkfifo(scratch_path("shmkv.a"), 0600), 0);
    assert_open(SHMKV_EFORMAT, "not a regular file", SHMKV_EFORMAT);
    assert_int_equal(unlink(scratch_path("shmkv.a")), 0);
    assert_int_equal(symlink("shmkv.b", scratch_path("shmkv.a.sync")), 0);
    assert_open(SHMKV_EFORMAT, "not a regular file", SHMKV_EFORMAT);
    assert_int_equal(scratch_count(), 1);
}

/* ---- destroy, list, gc ----------------------------------------------------------------------- */

static int sleeps(struct peer *parent, void *arg)
{
    struct arena a;
    (void)arg;
    CHECK(scratch_open(&a, "shm:a", false) == 0);
    peer_send(parent, 0);
    uint32_t seen = load_relaxed(&a.waits[77].changes);
    CHECK(futex_wait(&a.waits[77].changes, seen, 20000000000) == 0);
    CHECK(load_relaxed(&a.sb->state) == STORE_DEFUNCT);
    CHECK(arena_take(&a, a.log_offset, 4096) == SHMKV_EDEFUNCT);
    for (int i = 0; arena_current(&a) && i < 5000; i++)
        usleep(1000); /* we are told before it is removed */
    CHECK(!arena_current(&a));
    arena_close(&a);
    return 0;
}

static void destroying(void **state)
{
    struct peer c;
    struct arena a;

    (void)state;
    assert_int_equal(arena_destroy("shm:a", scratch_dir(), false), SHMKV_ENOSTORE);
    assert_int_equal(arena_destroy("shm:a", scratch_dir(), true), SHMKV_ENOSTORE);
    make_store("shm:a");
    peer_start(&c, sleeps, NULL);
    peer_receive(&c);
    usleep(50000);
    assert_int_equal(arena_destroy("shm:a", scratch_dir(), false), SHMKV_EINUSE);
    assert_int_equal(scratch_open(&a, "shm:a", false), 0);
    arena_close(&a);
    assert_int_equal(arena_destroy("shm:a", scratch_dir(), true), 0);
    assert_int_equal(scratch_count(), 0);
    assert_int_equal(peer_wait(&c), 0);
    make_store("shm:a");
    assert_int_equal(arena_destroy("shm:a", scratch_dir(), false), 0);
    assert_int_equal(scratch_count(), 0);
}

/* What arena_list() says, one line a store. */
static int describe(void *arg, const struct shmkv_store_info *info)
{
    char *text = arg;
    size_t n = strlen(text);
    snprintf(text + n, 1024 - n, "%s %u %u %d %d\n", info->name, (unsigned)(info->size >> 20),
             (unsigned)info->processes, info->allocated > 0, info->state);
    return strcmp(info->name, "shm:stop") == 0 ? 42 : 0;
}

static void assert_list(const char *expected, int rc)
{
    char text[1024] = "";
    assert_int_equal(arena_list(scratch_dir(), describe, text), rc);
    assert_string_equal(text, expected);
}

static void listing(void **state)
{
    struct arena a;

    (void)state;
    assert_list("", 0);
    make_store("shm:b");
    make_store("shm:a");
    scribble("unrelated", 0, "x", 1);
    scribble("shmkv.", 0, "x", 1);
    scribble("shmkv.squat", 0, "x", 1);
    scribble("shmkv.half.sync", 0, "", 0);
    assert_list("shm:a 8 0 1 0\nshm:b 8 0 1 0\nshm:half 0 0 0 -12\nshm:squat 0 0 1 -14\n", 0);
    make_store("shm:stop");
    make_store("shm:zzz");
    assert_list("shm:a 8 0 1 0\nshm:b 8 0 1 0\nshm:half 0 0 0 -12\nshm:squat 0 0 1 -14\n"
                "shm:stop 8 0 1 0\n",
                42);
    assert_int_equal(scratch_open(&a, "shm:a", false), 0);
    unlink(scratch_path("shmkv.a"));
    unlink(scratch_path("shmkv.stop.sync"));
    assert_list("shm:a 0 0 1 -17\nshm:b 8 0 1 0\nshm:half 0 0 0 -12\nshm:squat 0 0 1 -14\n"
                "shm:stop 8 0 1 -17\n",
                42);
    arena_close(&a);
    assert_int_equal(arena_list("/nonexistent", describe, NULL), SHMKV_EINVAL);
}

static void collecting(void **state)
{
    struct arena_options options = scratch_options(true);
    struct arena used, building;
    bool created;
    size_t removed;

    (void)state;
    make_store("shm:usable");
    make_store("shm:no-sync");
    unlink(scratch_path("shmkv.no-sync.sync"));
    make_store("shm:no-arena");
    unlink(scratch_path("shmkv.no-arena"));
    scribble("shmkv.empty.sync", 0, "", 0);
    scribble("shmkv.foreign", 0, "x", 1);
    assert_int_equal(scratch_open(&used, "shm:orphaned", true), 0);
    unlink(scratch_path("shmkv.orphaned"));
    assert_int_equal(arena_open(&building, "shm:building", &options, &created), 0);
    assert_int_equal(arena_gc(scratch_dir(), &removed), 0);
    assert_int_equal(removed, 3);
    assert_list("shm:building 8 0 1 -12\nshm:foreign 0 0 1 -14\nshm:orphaned 0 0 1 -17\n"
                "shm:usable 8 0 1 0\n",
                0);
    assert_int_equal(arena_ready(&building), 0);
    arena_close(&building);
    arena_close(&used);
    assert_int_equal(arena_gc(scratch_dir(), NULL), 0);
    assert_list("shm:building 8 0 1 0\nshm:foreign 0 0 1 -14\nshm:usable 8 0 1 0\n", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ARENA_CASE(nothing_is_there),
        ARENA_CASE(the_arena_was_removed),
        ARENA_CASE(the_sync_object_was_removed),
        ARENA_CASE(an_empty_object_is_nobodys),
        ARENA_CASE(a_store_cut_short_is_made_anew),
        ARENA_CASE(a_store_cut_short_in_use_is_defunct),
        ARENA_CASE(a_store_of_another_boot_is_made_anew),
        ARENA_CASE(other_formats_are_refused_by_name),
        ARENA_CASE(a_scribbled_superblock_is_corrupt),
        ARENA_CASE(squatted),
        ARENA_CASE(squatted_by_no_file),
        ARENA_CASE(destroying),
        ARENA_CASE(listing),
        ARENA_CASE(collecting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
