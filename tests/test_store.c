/* SPDX-License-Identifier: MIT */
/* test_store.c - opening and closing: options, handles of one process, names, what stays. */
#include "fixture.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "scratch.h"
#include "store.h"

#define MIB (1ull << 20)
#define STORE "shm:store"

static struct shmkv *open_in(const char *dir, uint32_t flags)
{
    struct shmkv_options o = {.flags = flags | SHMKV_NO_KEEPER, .size = 16 * MIB, .shm_dir = dir};
    struct shmkv *db;
    if (shmkv_open(STORE, &o, &db) != 0)
        fail_msg("open in %s: %s", dir, shmkv_last_error());
    return db;
}

static uint64_t processes_of(struct shmkv *db)
{
    struct shmkv_stats stats;
    assert_rc(shmkv_get_stats(db, &stats), 0);
    return stats.processes;
}

/* ---- handles ------------------------------------------------------------------------------- */

static void a_second_handle_shares_the_mapping(void **state)
{
    (void)state;
    struct shmkv *one = open_in(scratch_dir(), SHMKV_CREATE);
    struct shmkv *two = open_in(scratch_dir(), SHMKV_CREATE);
    assert_ptr_not_equal(one, two);
    assert_ptr_equal(one->store, two->store);
    assert_int_equal(processes_of(one), 1);
    put_text(one, "k", "v");
    assert_text(two, "k", "v");
    assert_rc(shmkv_close(one), 0);
    assert_text(two, "k", "v");
    assert_rc(shmkv_close(two), 0);
}

/* A directory has many names: with a slash, relative, through a link. */
static void another_name_of_the_directory_is_the_same(void **state)
{
    (void)state;
    char path[256], here[256];
    struct shmkv *db = open_in(scratch_dir(), SHMKV_CREATE), *other;
    snprintf(path, sizeof(path), "%s/", scratch_dir());
    other = open_in(path, 0);
    assert_ptr_equal(other->store, db->store);
    assert_rc(shmkv_close(other), 0);

    assert_non_null(getcwd(here, sizeof(here)));
    assert_int_equal(chdir(scratch_dir()), 0);
    other = open_in(".", 0);
    assert_int_equal(chdir(here), 0);
    assert_ptr_equal(other->store, db->store);
    assert_rc(shmkv_close(other), 0);

    snprintf(path, sizeof(path), "/tmp/shmkv-test-%d", getpid());
    assert_int_equal(symlink(scratch_dir(), path), 0);
    other = open_in(path, 0);
    assert_int_equal(unlink(path), 0);
    assert_ptr_equal(other->store, db->store);
    assert_int_equal(processes_of(db), 1);
    assert_rc(shmkv_close(other), 0);
    assert_rc(shmkv_close(db), 0);
}

static void another_directory_of_the_same_tmpfs_is_not(void **state)
{
    (void)state;
    char path[256];
    snprintf(path, sizeof(path), "%s/sub-XXXXXX", scratch_dir());
    assert_non_null(mkdtemp(path));
    struct shmkv *db = open_in(scratch_dir(), SHMKV_CREATE);
    struct shmkv *other = open_in(path, SHMKV_CREATE);
    put_text(db, "k", "here");
    put_text(other, "k", "there");
    assert_text(db, "k", "here");
    assert_rc(shmkv_close(db), 0);
    assert_rc(shmkv_close(other), 0);
    assert_rc(shmkv_destroy(STORE, path, 0), 0);
    assert_int_equal(rmdir(path), 0);
}

static void a_read_only_handle_has_its_own_mapping(void **state)
{
    (void)state;
    struct shmkv *db = open_in(scratch_dir(), SHMKV_CREATE);
    struct shmkv *readonly = open_in(scratch_dir(), SHMKV_READONLY);
    assert_ptr_not_equal(db->store, readonly->store);
    put_text(db, "k", "v");
    assert_text(readonly, "k", "v");
    assert_rc(shmkv_delete(readonly, "k", 1), SHMKV_EREADONLY);
    assert_rc(shmkv_close(readonly), 0);
    assert_text(db, "k", "v");
    assert_rc(shmkv_close(db), 0);
}

static void a_store_made_anew_is_another_one(void **state)
{
    (void)state;
    struct shmkv *old = open_in(scratch_dir(), SHMKV_CREATE);
    put_text(old, "k", "old");
    assert_rc(shmkv_destroy(STORE, scratch_dir(), 1), 0);
    struct shmkv *new = open_in(scratch_dir(), SHMKV_CREATE);
    assert_text(new, "k", NULL);
    put_text(new, "k", "new");
    assert_text(old, "k", "old"); /* still mapped */
    assert_rc(shmkv_put(old, "k", 1, "v", 1, NULL), SHMKV_EDEFUNCT);
    assert_rc(shmkv_close(old), 0);
    assert_text(new, "k", "new");
    assert_rc(shmkv_close(new), 0);
}

/* As systemd's RemoveIPC does.  Others would never find what is written from then on. */
static void who_is_in_a_store_that_was_removed_by_hand_is_told(void **state)
{
    (void)state;
    struct shmkv_options o = {
        .flags = SHMKV_CREATE | SHMKV_KEEPER, .size = 16 * MIB, .shm_dir = scratch_dir()};
    struct shmkv *old, *new;
    assert_rc(shmkv_open(STORE, &o, &old), 0);
    uint64_t count = 0, deadline = clock_mono_ns() + 60000000000;
    for (; count < 1000; count++) /* which starts its keeper */
        assert_rc(shmkv_put(old, &count, sizeof(count), "v", 1, NULL), 0);
    assert_int_equal(unlink(scratch_path("shmkv.store")), 0);
    assert_int_equal(unlink(scratch_path("shmkv.store.sync")), 0);
    while (shmkv_put(old, &count, sizeof(count), "v", 1, NULL) == 0) {
        count++;
        assert_true(clock_mono_ns() < deadline);
        clock_sleep_ns(1000000);
    }
    assert_rc(shmkv_put(old, "k", 1, "v", 1, NULL), SHMKV_EDEFUNCT);
    assert_non_null(strstr(shmkv_last_error(), "was removed while it was open"));
    assert_rc(shmkv_delete(old, &(uint64_t){0}, sizeof(uint64_t)), SHMKV_EDEFUNCT);
    for (uint64_t key = 0; key < count; key++)
        assert_rc(shmkv_exists(old, &key, sizeof(key)), 0); /* nothing is lost */
    new = open_in(scratch_dir(), SHMKV_CREATE);
    assert_rc(shmkv_exists(new, &(uint64_t){0}, sizeof(uint64_t)), SHMKV_ENOTFOUND);
    put_text(new, "k", "new");
    assert_rc(shmkv_close(old), 0);
    assert_text(new, "k", "new");
    assert_rc(shmkv_close(new), 0);
}

/* ---- options ------------------------------------------------------------------------------- */

static void wrong_options_are_refused(void **state)
{
    (void)state;
    struct shmkv *db = (struct shmkv *)state;
    static const uint32_t wrong[] = {1u << 31, SHMKV_EXCLUSIVE, SHMKV_EXCLUSIVE | SHMKV_READONLY,
                                     SHMKV_CREATE | SHMKV_READONLY};
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct shmkv_options o = {.flags = wrong[i], .shm_dir = scratch_dir()};
        assert_rc(shmkv_open(STORE, &o, &db), SHMKV_EINVAL);
        assert_null(db);
    }
    assert_rc(shmkv_open(NULL, NULL, &db), SHMKV_EINVAL);
    assert_int_equal(scratch_count(), 0);
}

static void exclusive_means_the_first(void **state)
{
    (void)state;
    struct shmkv_options o = {.flags = SHMKV_CREATE | SHMKV_EXCLUSIVE | SHMKV_NO_KEEPER,
                              .size = 16 * MIB,
                              .shm_dir = scratch_dir()};
    struct shmkv *db, *other;
    assert_rc(shmkv_open(STORE, &o, &db), 0);
    assert_rc(shmkv_open(STORE, &o, &other), SHMKV_ESTOREEXISTS); /* open in this process */
    assert_null(other);
    assert_rc(shmkv_close(db), 0);
    assert_rc(shmkv_open(STORE, &o, &other), SHMKV_ESTOREEXISTS);
}

static void a_missing_store_is_not_made(void **state)
{
    (void)state;
    struct shmkv_options o = {.shm_dir = scratch_dir()};
    struct shmkv *db;
    assert_rc(shmkv_open(STORE, &o, &db), SHMKV_ENOSTORE);
    assert_int_equal(scratch_count(), 0);
}

static void the_index_is_made_for_the_keys_announced(void **state)
{
    (void)state;
    struct shmkv_options o = {.flags = SHMKV_CREATE | SHMKV_NO_KEEPER,
                              .size = 64 * MIB,
                              .reserve = 100000,
                              .shm_dir = scratch_dir()};
    struct shmkv_stats stats;
    struct shmkv *db;
    assert_rc(shmkv_open(STORE, &o, &db), 0);
    for (uint32_t key = 0; key < 100000; key++)
        assert_rc(shmkv_put(db, &key, sizeof(key), "v", 1, NULL), 0);
    assert_rc(shmkv_get_stats(db, &stats), 0);
    assert_int_equal(stats.resizes, 0);
    assert_rc(shmkv_close(db), 0);
    o.flags |= SHMKV_EXCLUSIVE;
    assert_rc(shmkv_destroy(STORE, scratch_dir(), 0), 0);
    for (unsigned i = 0; i < 24; i++) { /* more than the size can hold */
        o.reserve = UINT64_MAX >> i;
        assert_rc(shmkv_open(STORE, &o, &db), SHMKV_ENOSPC);
    }
    assert_int_equal(scratch_count(), 0);
}

/* Pages of the log that this process has mapped. */
static unsigned mapped_pages(const struct arena *a)
{
    char line[256];
    bool inside = false;
    unsigned long kib = 0;
    FILE *f = fopen("/proc/self/smaps", "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = from <= (uintptr_t)a->base && (uintptr_t)a->base < to;
        else if (inside)
            sscanf(line, "Rss: %lu kB", &kib);
    }
    fclose(f);
    return (unsigned)(kib / 4);
}

static void preload_maps_what_has_memory(void **state)
{
    (void)state;
    struct shmkv_stats stats;
    struct shmkv *db = open_in(scratch_dir(), SHMKV_CREATE);
    for (uint32_t key = 0; key < 50000; key++)
        assert_rc(shmkv_put(db, &key, sizeof(key), "v", 1, NULL), 0);
    assert_rc(shmkv_get_stats(db, &stats), 0);
    assert_rc(shmkv_close(db), 0);
    struct shmkv *plain = open_in(scratch_dir(), 0);
    unsigned before = mapped_pages(&plain->store->arena);
    assert_rc(shmkv_close(plain), 0);
    struct shmkv *loaded = open_in(scratch_dir(), SHMKV_PRELOAD | SHMKV_READONLY);
    unsigned after = mapped_pages(&loaded->store->arena);
    uint64_t allocated = arena_allocated(&loaded->store->arena);
    assert_rc(shmkv_close(loaded), 0);
    assert_in_range(before, 0, 64);
    assert_in_range(after, stats.live_bytes / 4096, stats.memory / 4096);
    assert_in_range(allocated, 0, stats.memory); /* holes stay holes */
}

/* ---- close --------------------------------------------------------------------------------- */

static unsigned count_entries(const char *dir)
{
    unsigned n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static unsigned count_maps(void)
{
    unsigned n = 0;
    char line[512];
    FILE *f = fopen("/proc/self/maps", "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL)
        n += strstr(line, "shmkv.") != NULL;
    fclose(f);
    return n;
}

static void *use_it(void *db)
{
    put_text(db, "thread", "v");
    return NULL;
}

static void close_gives_everything_back(void **state)
{
    (void)state;
    unsigned descriptors = count_entries("/proc/self/fd");
    for (unsigned round = 0; round < 100; round++) { /* more than the closed handles it keeps */
        struct shmkv *db = open_in(scratch_dir(), SHMKV_CREATE);
        struct shmkv_reader *reader;
        pthread_t thread;
        put_text(db, "k", "v");
        assert_rc(shmkv_reader_open(db, &reader), 0);
        shmkv_reader_close(reader);
        assert_int_equal(pthread_create(&thread, NULL, use_it, db), 0);
        pthread_join(thread, NULL);
        assert_rc(shmkv_close(db), 0);
        assert_rc(shmkv_exists(db, "k", 1), SHMKV_ECLOSED);
    }
    assert_int_equal(count_entries("/proc/self/fd"), descriptors);
    assert_int_equal(count_maps(), 0);
    assert_rc(shmkv_close(NULL), 0);
}

/* The thread's context of a closed store must not serve the next one. */
static void threads_outlive_stores(void **state)
{
    (void)state;
    struct shmkv *one = open_in(scratch_dir(), SHMKV_CREATE);
    put_text(one, "k", "one");
    assert_rc(shmkv_close(one), 0);
    assert_rc(shmkv_destroy(STORE, scratch_dir(), 0), 0);
    struct shmkv *two = open_in(scratch_dir(), SHMKV_CREATE);
    assert_text(two, "k", NULL);
    put_text(two, "k", "two");
    assert_text(two, "k", "two");
    assert_rc(shmkv_exists(one, "k", 1), SHMKV_ECLOSED);
    assert_rc(shmkv_close(one), SHMKV_ECLOSED);
    assert_rc(shmkv_close(two), 0);
}

int main(void)
{
#define STORE_CASE(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        STORE_CASE(a_second_handle_shares_the_mapping),
        STORE_CASE(another_name_of_the_directory_is_the_same),
        STORE_CASE(another_directory_of_the_same_tmpfs_is_not),
        STORE_CASE(a_read_only_handle_has_its_own_mapping),
        STORE_CASE(a_store_made_anew_is_another_one),
        STORE_CASE(who_is_in_a_store_that_was_removed_by_hand_is_told),
        STORE_CASE(wrong_options_are_refused),
        STORE_CASE(exclusive_means_the_first),
        STORE_CASE(a_missing_store_is_not_made),
        STORE_CASE(the_index_is_made_for_the_keys_announced),
        STORE_CASE(preload_maps_what_has_memory),
        STORE_CASE(close_gives_everything_back),
        STORE_CASE(threads_outlive_stores),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
