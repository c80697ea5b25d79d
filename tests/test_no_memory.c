/* SPDX-License-Identifier: MIT */
/*
 * test_no_memory.c - stores whose own limit allows more than tmpfs or cgroup give: each write that
 * finds no memory says whose limit it is, and removals make room as in a store that is full.
 */
#include "fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena_parts.h"
#include "audit.h"
#include "cgroup.h"
#include "clock.h"
#include "peer.h"
#include "scratch.h"
#include "segment.h"
#include "store.h"

#define MIB (1ull << 20)
#define STORE "shm:a"
#define VALUE 1000u
#define TMPFS_KIB 6144u
#define CGROUP_LIMIT "100663296" /* 96 MiB */
#define SKIPPED 77

static int put(struct shmkv *db, uint32_t key, char fill)
{
    char value[VALUE];
    memset(value, fill, sizeof(value));
    return shmkv_put(db, &key, sizeof(key), value, sizeof(value), NULL);
}

static bool is(struct shmkv *db, uint32_t key, char fill)
{
    char value[VALUE], expected[VALUE];
    memset(expected, fill, sizeof(expected));
    return shmkv_read(db, &key, sizeof(key), value, sizeof(value), NULL) == 0 &&
           memcmp(value, expected, sizeof(value)) == 0;
}

static struct shmkv *open_store(uint64_t size)
{
    struct shmkv_options o = {
        .flags = SHMKV_CREATE | SHMKV_NO_KEEPER, .size = size, .shm_dir = scratch_dir()};
    struct shmkv *db;
    return shmkv_open(STORE, &o, &db) == 0 ? db : NULL;
}

/* Fresh keys until there is no memory; *@n: how many. */
static int fill(struct shmkv *db, uint32_t *n, char letter)
{
    for (*n = 0; *n < 1000000; ++*n) {
        int rc = put(db, *n, letter);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Full, overwritten, emptied, filled again; @whose: what the error names. */
static int lives_with_it(struct shmkv *db, const char *whose)
{
    uint32_t n, again;
    CHECK(fill(db, &n, 'a') == SHMKV_ENOSPC);
    CHECK(strstr(shmkv_last_error(), whose) != NULL);
    CHECK(n > 1000);
    uint64_t start = clock_mono_ns();
    CHECK(put(db, 0, 'b') == SHMKV_ENOSPC);
    CHECK(strstr(shmkv_last_error(), whose) != NULL);
    CHECK(clock_mono_ns() - start < 1000000000ull); /* 100 ms of its own time */
    for (uint32_t key = 0; key < n; key++)
        CHECK(is(db, key, 'a'));
    for (uint32_t key = 0; key < n; key += 2)
        CHECK(shmkv_delete(db, &key, sizeof(key)) == 0);
    for (uint32_t round = 0; round < 3; round++) { /* room that only cleaning gives */
        for (uint32_t key = 0; key < n / 2; key += 2)
            CHECK(put(db, key, 'c') == 0);
    }
    for (uint32_t key = 0; key < n; key++)
        CHECK(key % 2 == 1 ? is(db, key, 'a') : key >= n / 2 || is(db, key, 'c'));
    for (uint32_t key = 0; key < n; key++)
        CHECK(shmkv_delete(db, &key, sizeof(key)) ==
              (key % 2 == 1 || key < n / 2 ? 0 : SHMKV_ENOTFOUND));
    CHECK(fill(db, &again, 'd') == SHMKV_ENOSPC);
    CHECK(again > n / 10 * 8);
    CHECK(shmkv_check(db, NULL, NULL) == 0);
    return 0;
}

static int fills_the_tmpfs(struct peer *parent, void *arg)
{
    (void)parent;
    (void)arg;
    struct shmkv *db = open_store(64 * MIB);
    CHECK(db != NULL);
    CHECK(lives_with_it(db, "6144 KiB") == 0);
    CHECK(shmkv_close(db) == 0);
    return 0;
}

static void a_full_tmpfs_can_be_emptied(void **state)
{
    (void)state;
    if (!scratch_make(TMPFS_KIB))
        skip();
    int result = peer_run(fills_the_tmpfs, NULL);
    scratch_remove();
    assert_int_equal(result, 0);
}

static int overwrites_in_a_tmpfs(struct peer *parent, void *arg)
{
    (void)parent;
    (void)arg;
    struct shmkv *db = open_store(64 * MIB);
    CHECK(db != NULL);
    for (uint32_t i = 0; i < 100000; i++)
        CHECK(put(db, i % 2000, (char)('a' + i / 2000 % 26)) == 0);
    for (uint32_t key = 0; key < 2000; key++)
        CHECK(is(db, key, 'a' + 49 % 26));
    CHECK(shmkv_check(db, NULL, NULL) == 0);
    CHECK(shmkv_close(db) == 0);
    return 0;
}

static void overwriting_goes_on_in_a_small_tmpfs(void **state)
{
    (void)state;
    if (!scratch_make(TMPFS_KIB))
        skip();
    int result = peer_run(overwrites_in_a_tmpfs, NULL);
    scratch_remove();
    assert_int_equal(result, 0);
}

/* Small keys, so that it is the index which does not get its next table. */
static int grows_in_a_tmpfs(struct peer *parent, void *arg)
{
    (void)parent;
    (void)arg;
    struct shmkv *db = open_store(64 * MIB);
    int rc = 0;
    uint64_t key = 0;
    CHECK(db != NULL);
    for (; rc == 0; key++)
        rc = shmkv_put(db, &key, sizeof(key), "", 0, NULL);
    CHECK(rc == SHMKV_ENOSPC);
    CHECK(strstr(shmkv_last_error(), "6144 KiB") != NULL);
    CHECK(key > 20000);
    for (uint64_t k = 0; k < key - 1; k++)
        CHECK(shmkv_delete(db, &k, sizeof(k)) == 0);
    CHECK(shmkv_put(db, "k", 1, "v", 1, NULL) == 0);
    CHECK(shmkv_check(db, NULL, NULL) == 0);
    CHECK(shmkv_close(db) == 0);
    return 0;
}

static void an_index_without_memory_says_so(void **state)
{
    (void)state;
    if (!scratch_make(TMPFS_KIB))
        skip();
    int result = peer_run(grows_in_a_tmpfs, NULL);
    scratch_remove();
    assert_int_equal(result, 0);
}

/* A unit ahead is taken whole or not at all. */
static int takes_ahead_in_a_tmpfs(struct peer *parent, void *arg)
{
    struct shmkv *db = open_store(4 * TMPFS_KIB * 1024);
    const struct arena *a = audit_arena(db);
    struct segment_census c;
    struct context *context;
    (void)parent;
    (void)arg;
    CHECK(db != NULL && store_writer(db, &context) == 0);
    while (segment_prefill_unit(&context->writer.self) != 0)
        continue;
    segment_count(a, &c);
    CHECK(c.kinds[SEGMENT_OPENING] == 0 && c.kinds[SEGMENT_FREE] >= segment_unit(a));
    CHECK(c.taken == c.kinds[SEGMENT_FREE] << a->segment_shift);
    CHECK(segment_memory(a) < TMPFS_KIB * 1024);
    CHECK(arena_allocated(a) <= segment_memory(a));
    CHECK(shmkv_close(db) == 0);
    return 0;
}

static void what_is_taken_ahead_is_whole_units(void **state)
{
    (void)state;
    if (!scratch_make(TMPFS_KIB))
        skip();
    int result = peer_run(takes_ahead_in_a_tmpfs, NULL);
    scratch_remove();
    assert_int_equal(result, 0);
}

static int fills_its_cgroup(struct peer *parent, void *arg)
{
    (void)parent;
    (void)arg;
    if (!cgroup_enter())
        return SKIPPED;
    struct shmkv *db = open_store(256 * MIB);
    CHECK(db != NULL);
    CHECK(lives_with_it(db, "shmkv-test") == 0);
    CHECK(shmkv_close(db) == 0);
    return 0;
}

static void a_cgroup_at_its_limit_can_be_emptied(void **state)
{
    (void)state;
#if ADDRESS_SANITIZER || THREAD_SANITIZER
    skip(); /* their shadow memory counts too */
#endif
    if (!cgroup_make(CGROUP_LIMIT))
        skip();
    if (!scratch_make(0))
        skip();
    int result = peer_run(fills_its_cgroup, NULL);
    scratch_remove();
    cgroup_remove();
    if (result == SKIPPED)
        skip();
    assert_int_equal(result, 0);
}

/* ---- the same with an image ----------------------------------------------------------------- */

#define IMAGED_LIMIT "50331648" /* 48 MiB */
#define LARGE (6u << 20)        /* a value in many segments: a checkpoint has a copy of it */

static char image_dir[64], image[80];

static struct shmkv *open_image(void)
{
    struct shmkv_options o = {.flags = SHMKV_CREATE | SHMKV_NO_KEEPER,
                              .size = 256 * MIB,
                              .interval_ms = UINT64_MAX,
                              .shm_dir = scratch_dir()};
    struct shmkv *db;
    return shmkv_open(image, &o, &db) == 0 ? db : NULL;
}

/* The value is there before the cgroup is full: it is no memory of the store's. */
static int put_large(struct shmkv *db, char fill)
{
    static char value[LARGE];
    memset(value, fill, LARGE);
    return shmkv_put(db, "large", 5, value, LARGE, NULL);
}

static bool is_large(struct shmkv *db, char fill)
{
    struct shmkv_section section;
    struct shmkv_item item = {.size = 0};
    if (shmkv_begin(db, &section) != 0)
        return false;
    bool right = shmkv_get(&section, "large", 5, &item) == 0 && item.size == LARGE;
    for (size_t at = 0; right && at < LARGE; at++)
        right = ((const char *)item.value)[at] == fill;
    shmkv_end(&section);
    return right;
}

/* Synced, and the memory lost: it is recovered in the same cgroup. */
static struct shmkv *reboot(struct shmkv *db)
{
    if (shmkv_sync(db, -1) != 0 || shmkv_close(db) != 0)
        return NULL;
    scratch_lose_memory();
    db = open_image();
    return db != NULL && shmkv_check(db, NULL, NULL) == 0 ? db : NULL;
}

static int fills_its_cgroup_with_an_image(struct peer *parent, void *arg)
{
    uint32_t n = 0, more = 0;
    (void)parent;
    (void)arg;
    if (!cgroup_enter())
        return SKIPPED;
    struct shmkv *db = open_image();
    CHECK(db != NULL);
    CHECK(put_large(db, 'l') == 0);
    CHECK(fill(db, &n, 'a') == SHMKV_ENOSPC);
    CHECK(strstr(shmkv_last_error(), "shmkv-test") != NULL);
    CHECK(n > 1000);
    CHECK(shmkv_sync(db, -1) == SHMKV_ENOSPC); /* no room for a copy of the large value */
    CHECK(strstr(shmkv_last_error(), "shmkv-test") != NULL);
    for (uint32_t key = n / 2; key < n; key++)
        CHECK(is(db, key, 'a') && shmkv_delete(db, &key, sizeof(key)) == 0);
    CHECK(shmkv_compact(db) == 0);
    CHECK(shmkv_sync(db, -1) == 0);
    CHECK(is_large(db, 'l'));
    CHECK(fill(db, &n, 'a') == SHMKV_ENOSPC);
    CHECK(put_large(db, 'm') == SHMKV_ENOSPC);
    CHECK(strstr(shmkv_last_error(), "shmkv-test") != NULL);
    db = reboot(db);
    CHECK(db != NULL);
    CHECK(is_large(db, 'l'));
    for (uint32_t key = 0; key < n; key++)
        CHECK(is(db, key, 'a'));
    for (uint32_t key = 0; key < n; key += 2)
        CHECK(shmkv_delete(db, &key, sizeof(key)) == 0);
    CHECK(shmkv_sync(db, -1) == 0);
    for (uint32_t key = 0; key < n / 2; key += 2) /* room that only cleaning gives */
        CHECK(put(db, key, 'c') == 0);
    db = reboot(db);
    CHECK(db != NULL);
    for (uint32_t key = 0; key < n; key++)
        CHECK(key % 2 == 1 ? is(db, key, 'a') : key >= n / 2 || is(db, key, 'c'));
    for (uint32_t key = 0; key < n; key++)
        CHECK(shmkv_delete(db, &key, sizeof(key)) ==
              (key % 2 == 1 || key < n / 2 ? 0 : SHMKV_ENOTFOUND));
    CHECK(fill(db, &more, 'd') == SHMKV_ENOSPC);
    CHECK(more > n / 10 * 8);
    db = reboot(db);
    CHECK(db != NULL && is_large(db, 'l'));
    for (uint32_t key = 0; key < more; key++)
        CHECK(is(db, key, 'd'));
    CHECK(shmkv_close(db) == 0);
    return 0;
}

static void a_cgroup_at_its_limit_loses_nothing_of_an_image(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* their shadow memory counts too */
#endif
    if (!cgroup_make(IMAGED_LIMIT))
        skip();
    snprintf(image_dir, sizeof(image_dir),
             "/tmp/shmkv-no-memory-XXXXXX"); /* a disk: tmpfs counts */
    assert_non_null(mkdtemp(image_dir));
    snprintf(image, sizeof(image), "%s/store", image_dir);
    if (!scratch_make(0))
        skip();
    int result = peer_run(fills_its_cgroup_with_an_image, NULL);
    scratch_remove();
    cgroup_remove();
    unlink(image);
    rmdir(image_dir);
    if (result == SKIPPED)
        skip();
    assert_int_equal(result, 0);
}

/* ---- cgroup v2, as its files would say ------------------------------------------------------- */

static bool write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    return f != NULL && fputs(text, f) >= 0 && fclose(f) == 0;
}

/* Our cgroup is /a/b; only /a limits, and something in it uses @used bytes. */
static bool pretend_v2(const char *used)
{
    char mine[64];
    snprintf(mine, sizeof(mine), "/proc/%d/cgroup", getpid());
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", "/sys/fs/cgroup", "tmpfs", 0, NULL) == 0 &&
           mkdir("/sys/fs/cgroup/a", 0755) == 0 && mkdir("/sys/fs/cgroup/a/b", 0755) == 0 &&
           write_file("/sys/fs/cgroup/a/memory.max", "max\n") &&
           write_file("/sys/fs/cgroup/a/memory.high", "134217728\n") &&
           write_file("/sys/fs/cgroup/a/memory.current", used) &&
           write_file("/sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 33554432\n") &&
           write_file("/sys/fs/cgroup/a/b/memory.max", "max\n") &&
           write_file("/sys/fs/cgroup/line", "0::/a/b\n") &&
           mount("/sys/fs/cgroup/line", mine, NULL, MS_BIND, NULL) == 0;
}

static int is_in_a_v2_cgroup(struct peer *parent, void *arg)
{
    struct arena_options options = scratch_options(true);
    struct arena a;
    bool created;
    (void)parent;
    (void)arg;
    if (!pretend_v2("117440512\n")) /* 112 MiB, 32 of them could be dropped */
        return SKIPPED;
    CHECK(arena_limits_total() == 128 * MIB);
    options.size = 0;
    CHECK(arena_open(&a, STORE, &options, &created) == 0);
    CHECK(a.sb->size == 64 * MIB);
    CHECK(arena_ready(&a) == 0);
    CHECK(arena_take(&a, a.log_offset, 32 * MIB) == 0); /* 48 less a margin of 4 are left */
    CHECK(arena_take(&a, a.log_offset, 48 * MIB) == SHMKV_ENOSPC);
    CHECK(strstr(error_text(), "/sys/fs/cgroup/a to its limit") != NULL);
    CHECK(arena_take_value(&a, a.log_offset, 44 * MIB) == SHMKV_ENOSPC);
    CHECK(arena_collapses()); /* 28 besides the eighth that is to be left */
    CHECK(write_file("/sys/fs/cgroup/a/memory.current", "146800640\n"));
    CHECK(!arena_collapses());
    CHECK(write_file("/sys/fs/cgroup/a/memory.current", "4096\n"));
    CHECK(arena_take(&a, a.log_offset, 64 * MIB) == 0);
    arena_close(&a);
    return 0;
}

static void cgroup_v2_limits_are_read(void **state)
{
    (void)state;
    if (!scratch_make(0))
        skip();
    int result = peer_run(is_in_a_v2_cgroup, NULL);
    scratch_remove();
    if (result == SKIPPED)
        skip(); /* not root */
    assert_int_equal(result, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_tmpfs_can_be_emptied),
        cmocka_unit_test(overwriting_goes_on_in_a_small_tmpfs),
        cmocka_unit_test(an_index_without_memory_says_so),
        cmocka_unit_test(what_is_taken_ahead_is_whole_units),
        cmocka_unit_test(a_cgroup_at_its_limit_can_be_emptied),
        cmocka_unit_test(a_cgroup_at_its_limit_loses_nothing_of_an_image),
        cmocka_unit_test(cgroup_v2_limits_are_read),
    };
    return cmocka_run_group_tests_name("no_memory", tests, NULL, NULL);
}
