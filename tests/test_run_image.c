/* SPDX-License-Identifier: MIT */
/*
 * test_run_image.c - values larger than a segment in stores with an image: they are copied, listed,
 * recovered, dropped, verified and saved as a whole.
 *
 * To lose the memory is what a reboot does: the objects in shared memory are gone, the image is as
 * it was written.
 */
#include "blob.h"
#include "home.h"
#include "writers.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint.h"
#include "clock.h"
#include "collect.h"
#include "expire.h"
#include "verify_image.h"

#define SIZE (8u << 20)
#define SEGMENT (64u << 10)
#define LARGEST ((2u << 20) - 24u - 8u - 8u) /* a quarter, less header, expiry and a short key */

static struct shmkv *open_path(const char *path)
{
    struct shmkv *db;
    struct shmkv_options o = {.flags = SHMKV_CREATE | SHMKV_NO_KEEPER,
                              .size = SIZE,
                              .interval_ms = NEVER,
                              .shm_dir = scratch_dir()};
    assert_rc(shmkv_open(path, &o, &db), 0);
    return db;
}

static void print_finding(void *arg, const char *line)
{
    (void)arg;
    print_message("# %s\n", line);
}

static void assert_sound(struct shmkv *db)
{
    assert_rc(shmkv_check(db, print_finding, NULL), 0);
    assert_rc(shmkv_check_image(home_image, print_finding, NULL), 0);
}

/* Without what was not synced. */
static struct shmkv *reboot(struct shmkv *db)
{
    assert_rc(shmkv_close(db), 0);
    scratch_lose_memory();
    db = open_path(home_image);
    assert_sound(db);
    return db;
}

static void put_bytes(struct shmkv *db, const void *key, size_t klen, uint64_t sequence,
                      size_t size)
{
    char *value = malloc(size + BLOB_MIN);
    assert_non_null(value);
    blob_write(value, size + BLOB_MIN, klen, sequence);
    assert_rc(shmkv_put(db, key, klen, value, size, NULL), 0);
    free(value);
}

static void put_blob(struct shmkv *db, const char *key, uint64_t sequence, size_t size)
{
    put_bytes(db, key, strlen(key), sequence, size);
}

/* The value of a key is that of @sequence; size 0: absent. */
static void assert_bytes(struct shmkv *db, const void *key, size_t klen, uint64_t sequence,
                         size_t size)
{
    struct shmkv_section section;
    struct shmkv_item item;
    char *value = malloc(size + BLOB_MIN);
    assert_non_null(value);
    blob_write(value, size + BLOB_MIN, klen, sequence);
    assert_rc(shmkv_begin(db, &section), 0);
    assert_rc(shmkv_get(&section, key, klen, &item), 0);
    assert_int_equal(item.size, size);
    assert_memory_equal(item.value, value, size);
    shmkv_end(&section);
    free(value);
}

static void assert_blob(struct shmkv *db, const char *key, uint64_t sequence, size_t size)
{
    assert_bytes(db, key, strlen(key), sequence, size);
}

static unsigned count_kind(struct shmkv *db, enum segment_kind kind)
{
    struct segment_census c;
    segment_count(audit_arena(db), &c);
    return (unsigned)c.kinds[kind];
}

static unsigned count_runs(struct shmkv *db)
{
    return count_kind(db, SEGMENT_RUN_HEAD) + count_kind(db, SEGMENT_RUN_REST);
}

static struct writer *writer_of(struct shmkv *db)
{
    struct context *c;
    assert_rc(store_context(db, &c), 0);
    return &c->writer;
}

/* ---- they survive -------------------------------------------------------------------------- */

static const size_t sizes[] = {0,
                               SEGMENT / 4,
                               SEGMENT / 2,
                               SEGMENT - 32, /* the record fills a segment */
                               SEGMENT - 24,
                               SEGMENT,
                               SEGMENT + SEGMENT / 100,
                               2 * SEGMENT - 32,
                               2 * SEGMENT - 31,
                               10 * SEGMENT,
                               LARGEST};

static void put_sizes(struct shmkv *db, unsigned turn)
{
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        char key = (char)('a' + i);
        put_bytes(db, &key, 1, i + turn, sizes[i]);
    }
}

static void assert_sizes(struct shmkv *db, unsigned turn)
{
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        char key = (char)('a' + i);
        assert_bytes(db, &key, 1, i + turn, sizes[i]);
    }
}

/* Overwrites and deletes of all sizes, so that what comes then lies here and there. */
static void churn(struct shmkv *db, unsigned count)
{
    uint64_t random = count;
    for (unsigned i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof(key), "churn %u", (unsigned)(blob_random(&random) % 20));
        size_t size = (size_t)(blob_random(&random) % 0xff + (96u << blob_random(&random) % 12));
        if (blob_random(&random) % 4 == 0)
            shmkv_delete(db, key, strlen(key));
        else
            put_blob(db, key, i, size);
        if (i % 300 == 0)
            assert_rc(shmkv_sync(db, -1), 0);
    }
    for (unsigned i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof(key), "churn %u", i);
        shmkv_delete(db, key, strlen(key));
    }
}

/* Failure 17: after churn, and after each of three losses. */
static void values_of_all_sizes(void **state)
{
    (void)state;
    struct shmkv *db = open_path(home_image);
    churn(db, 1200);
    for (unsigned turn = 0; turn < 3; turn++) {
        put_sizes(db, turn);
        assert_sizes(db, turn);
        assert_rc(shmkv_sync(db, -1), 0);
        db = reboot(db);
        assert_sizes(db, turn);
        churn(db, 100);
        assert_sizes(db, turn);
    }
    assert_rc(shmkv_close(db), 0);
}

static void keys_of_all_lengths(void **state)
{
    (void)state;
    struct shmkv *db = open_path(home_image);
    static const size_t lengths[] = {1, 8, 60000, SHMKV_KEY_MAX - 1, SHMKV_KEY_MAX};
    char *key = malloc(SHMKV_KEY_MAX);
    memset(key, 'k', SHMKV_KEY_MAX);
    for (unsigned turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
            put_bytes(db, key, lengths[i], turn, 100 * (i + turn));
        assert_rc(shmkv_sync(db, -1), 0);
        db = reboot(db);
        for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
            assert_bytes(db, key, lengths[i], turn, 100 * (i + turn));
    }
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
        assert_rc(shmkv_delete(db, key, lengths[i]), 0); /* the longest in runs of their own */
    assert_rc(shmkv_sync(db, -1), 0);
    db = reboot(db);
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
        assert_rc(shmkv_exists(db, key, lengths[i]), SHMKV_ENOTFOUND);
    assert_rc(shmkv_close(db), 0);
    free(key);
}

static void what_was_not_synced_is_lost(void **state)
{
    (void)state;
    struct shmkv *db = open_path(home_image);
    put_blob(db, "k", 1, 5 * SEGMENT);
    assert_rc(shmkv_sync(db, -1), 0);
    put_blob(db, "k", 2, 7 * SEGMENT);
    put_blob(db, "new", 1, 3 * SEGMENT);
    db = reboot(db);
    assert_blob(db, "k", 1, 5 * SEGMENT);
    assert_text(db, "new", NULL);
    assert_int_equal(count_runs(db), 6);
    put_blob(db, "k", 3, 3 * SEGMENT);
    assert_rc(shmkv_sync(db, -1), 0);
    db = reboot(db);
    assert_blob(db, "k", 3, 3 * SEGMENT);
    assert_rc(shmkv_compact(db), 0); /* the old one may have been listed: dead, not current */
    assert_int_equal(count_runs(db), 4);
    assert_rc(shmkv_close(db), 0);
}

static void a_durable_put_is_durable(void **state)
{
    (void)state;
    static const struct shmkv_put_options durable = {.flags = SHMKV_DURABLE};
    struct shmkv *db = open_path(home_image);
    char *value = malloc(LARGEST + BLOB_MIN);
    blob_write(value, LARGEST + BLOB_MIN, 1, 9);
    assert_rc(shmkv_put(db, "k", 1, value, LARGEST, &durable), 0);
    free(value);
    put_blob(db, "lost", 1, 3 * SEGMENT);
    db = reboot(db);
    assert_blob(db, "k", 9, LARGEST);
    assert_text(db, "lost", NULL);
    assert_rc(shmkv_close(db), 0);
}

/* The first record of a key was a run: its delete holds, whatever becomes of run and tombstone. */
static void a_deleted_run_stays_away(void **state)
{
    (void)state;
    struct shmkv *db = open_path(home_image);
    for (unsigned turn = 0; turn < 6; turn++) {
        put_blob(db, "k", turn, 4 * SEGMENT);
        assert_rc(shmkv_sync(db, -1), 0);
        delete_text(db, "k");
        if (turn % 2 == 0)
            assert_rc(shmkv_compact(db), 0);
        assert_rc(shmkv_sync(db, -1), 0);
        if (turn % 3 != 0) {
            assert_rc(shmkv_compact(db), 0); /* the run is free, so the tombstone may go */
            assert_rc(shmkv_sync(db, -1), 0);
        }
        db = reboot(db);
        assert_text(db, "k", NULL);
    }
    assert_rc(shmkv_close(db), 0);
}

static int to_larger(void *arg, const struct shmkv_item *old, struct shmkv_bytes *value)
{
    assert_int_equal(old->size, 4 * SEGMENT + BLOB_MIN);
    blob_write(arg, 5 * SEGMENT + BLOB_MIN, 1, 3);
    *value = (struct shmkv_bytes){arg, 5 * SEGMENT};
    return SHMKV_STORE;
}

static struct shmkv *sync_and_reboot(struct shmkv *db)
{
    assert_rc(shmkv_sync(db, -1), 0);
    return reboot(db);
}

/* Each way to a large value, and away from it, and whether it is there after a loss. */
static void every_operation(void **state)
{
    (void)state;
    struct shmkv *db = open_path(home_image);
    struct shmkv_reservation r;
    char *value = malloc(6 * SEGMENT);
    assert_rc(shmkv_reserve(db, "k", 1, 4 * SEGMENT + BLOB_MIN, NULL, &r), 0);
    assert_rc(shmkv_sync(db, -1), 0); /* one that is being filled is not of the cut */
    blob_write(r.value, 4 * SEGMENT + BLOB_MIN, 1, 2);
    assert_rc(shmkv_commit(&r), 0);
    db = sync_and_reboot(db);
    assert_rc(shmkv_update(db, "k", 1, to_larger, value), 0);
    db = sync_and_reboot(db);
    assert_bytes(db, "k", 1, 3, 5 * SEGMENT);
    size_t size;
    assert_rc(shmkv_append(db, "k", 1, "tail", 4, &size), 0);
    assert_rc(shmkv_touch(db, "k", 1, 3600000), 0);
    db = sync_and_reboot(db);
    assert_rc(shmkv_take(db, "k", 1, value, 6 * SEGMENT, &size), 0);
    assert_int_equal(size, 5 * SEGMENT + 4);
    assert_memory_equal(value + size - 4, "tail", 4);
    db = sync_and_reboot(db);
    assert_text(db, "k", NULL);
    assert_rc(shmkv_reserve(db, "k", 1, 4 * SEGMENT, NULL, &r), 0);
    shmkv_cancel(&r);
    db = sync_and_reboot(db);
    assert_text(db, "k", NULL);
    assert_rc(shmkv_compact(db), 0);
    assert_int_equal(count_runs(db), 0);
    free(value);
    assert_rc(shmkv_close(db), 0);
}

/* It stays away, before and after a sweep has put a tombstone in its place. */
static void an_expired_run_stays_away(void **state)
{
    (void)state;
    static const struct shmkv_put_options soon = {.ttl_ms = 1};
    struct shmkv *db = open_path(home_image);
    char *value = calloc(1, 4 * SEGMENT);
    assert_rc(shmkv_put(db, "k", 1, value, 4 * SEGMENT, &soon), 0);
    free(value);
    assert_rc(shmkv_sync(db, -1), 0);
    clock_sleep_ns(2000000);
    db = reboot(db);
    assert_text(db, "k", NULL);
    assert_int_equal(count_runs(db), 5);
    expire_sweep(writer_of(db), UINT64_MAX);
    db = sync_and_reboot(db);
    assert_text(db, "k", NULL);
    assert_rc(shmkv_compact(db), 0);
    assert_int_equal(count_runs(db), 0);
    assert_rc(shmkv_close(db), 0);
}

/* A run that dies while nothing else is written goes from the image with the next checkpoint. */
static void what_is_dead_leaves_the_image(void **state)
{
    (void)state;
    struct shmkv *db = open_path(home_image);
    for (unsigned turn = 0; turn < 40; turn++) {
        put_blob(db, "k", turn, LARGEST);
        assert_rc(shmkv_sync(db, -1), 0);
    }
    assert_blob(db, "k", 39, LARGEST);
    struct image im;
    assert_rc(image_open(&im, home_image, true), 0);
    assert_in_range(im.slot_high, 1, 6 * (LARGEST / SEGMENT + 1)); /* old, new, and a tail */
    image_close(&im);
    assert_rc(shmkv_close(db), 0);
}

static void nothing_new_is_nothing_pending(void **state)
{
    (void)state;
    struct shmkv *db = open_path(home_image);
    struct image im;
    put_blob(db, "k", 1, 9 * SEGMENT);
    put_blob(db, "small", 1, 9);
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(image_open(&im, home_image, true), 0);
    assert_int_equal(checkpoint_pending(&im, audit_arena(db)), 0);
    put_blob(db, "k", 2, 5 * SEGMENT);
    assert_in_range(checkpoint_pending(&im, audit_arena(db)), 5 * SEGMENT, 6 * SEGMENT);
    image_close(&im);
    assert_rc(shmkv_close(db), 0);
}

/* INV-S4 over recoveries: no two runs have the same number, as their words would be the same. */
static void numbers_of_runs_are_given_once(void **state)
{
    (void)state;
    struct shmkv *db = open_path(home_image);
    uint64_t seen[64];
    unsigned n = 0;
    for (unsigned turn = 0; turn < 5; turn++) {
        char key = (char)('a' + turn);
        put_bytes(db, &key, 1, turn, 2 * SEGMENT);
        assert_rc(shmkv_sync(db, -1), 0);
        db = reboot(db);
    }
    const struct arena *a = audit_arena(db);
    for (uint64_t id = 0; id < load_acquire(&a->sb->segment_high); id++) {
        uint64_t word = load_acquire(&segment_at(a, id)->state);
        if (claim_kind(word) != SEGMENT_RUN_HEAD)
            continue;
        for (unsigned i = 0; i < n; i++)
            assert_int_not_equal(seen[i], word);
        seen[n++] = word;
    }
    assert_int_equal(n, 5);
    assert_rc(shmkv_close(db), 0);
}

/* R18: a large value that stays for ever does not keep every tombstone for as long. */
static void a_run_holds_no_tombstones_back(void **state)
{
    (void)state;
    struct shmkv *db = open_path(home_image);
    const struct arena *a = audit_arena(db);
    put_blob(db, "k", 1, 5 * SEGMENT);
    uint64_t put_in = epoch_now(a);
    grace_pass(a);
    grace_pass(a);
    segment_raise_horizon(a);
    assert_true(load_relaxed(&a->sb->horizon) <= put_in);
    put_blob(db, "small", 1, 100);
    collect_renew_runs(&writer_of(db)->self);
    segment_raise_horizon(a);
    assert_true(load_relaxed(&a->sb->horizon) > put_in);
    assert_true(load_relaxed(&a->sb->horizon) <= epoch_now(a));
    uint64_t horizon = load_relaxed(&a->sb->horizon);
    delete_text(db, "k"); /* in an epoch that is not below */
    assert_true(record_epoch_of(record_found(writer_of(db), "k")->version) >= horizon);
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(shmkv_compact(db), 0);
    db = reboot(db);
    assert_text(db, "k", NULL);
    assert_rc(shmkv_close(db), 0);
}

/* What is dead, or dies, is not renewed. */
static void a_dead_run_is_as_old_as_it_is(void **state)
{
    (void)state;
    struct shmkv *db = open_path(home_image);
    const struct arena *a = audit_arena(db);
    put_blob(db, "k", 1, 5 * SEGMENT);
    uint64_t put_in = epoch_now(a);
    grace_pass(a);
    delete_text(db, "k");
    grace_pass(a);
    collect_renew_runs(&writer_of(db)->self);
    segment_raise_horizon(a);
    assert_true(load_relaxed(&a->sb->horizon) <= put_in);
    assert_rc(shmkv_close(db), 0);
}

static void a_backup_has_them(void **state)
{
    (void)state;
    struct shmkv *db = open_path(home_image);
    put_sizes(db, 3);
    assert_rc(shmkv_backup(db, home_path("other")), 0);
    assert_rc(shmkv_close(db), 0);
    db = open_path(home_path("other"));
    assert_sizes(db, 3);
    assert_rc(shmkv_check(db, print_finding, NULL), 0);
    assert_rc(shmkv_close(db), 0);
}

/* ---- damage -------------------------------------------------------------------------------- */

/* A file offset inside segment @part of the only run. */
static uint64_t place_in_run(unsigned part)
{
    struct image im;
    uint64_t at = 0;
    assert_rc(image_open(&im, home_image, true), 0);
    for (uint64_t id = 0; id < im.super.segment_count && at == 0; id++) {
        const struct image_entry *e = image_listed(&im, id);
        if (e->bytes != 0 && (e->flags & IMAGE_RUN_HEAD) != 0)
            at = image_position(&im, image_listed(&im, id + part)->slot, 1000);
    }
    image_close(&im);
    assert_int_not_equal(at, 0);
    return at;
}

static void write_at(uint64_t at, const void *bytes, size_t n)
{
    int fd = open(home_image, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, (off_t)at), n);
    close(fd);
}

static void assert_others_are_saved(void)
{
    unlink(home_path("other"));
    assert_rc(shmkv_repair(home_image, home_path("other"), NULL, NULL), 0);
    struct shmkv *db = open_path(home_path("other"));
    assert_text(db, "k", NULL);
    assert_blob(db, "small", 1, 100);
    assert_int_equal(count_runs(db), 0);
    assert_rc(shmkv_check(db, print_finding, NULL), 0);
    assert_rc(shmkv_close(db), 0);
    scratch_lose_memory();
}

static void a_damaged_run_is_named(void **state)
{
    (void)state;
    struct shmkv *db = open_path(home_image);
    struct shmkv_options o = {.flags = SHMKV_NO_KEEPER, .shm_dir = scratch_dir()};
    put_blob(db, "k", 1, 6 * SEGMENT - 100);
    put_blob(db, "small", 1, 100);
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(shmkv_close(db), 0);
    for (unsigned part = 0; part < 6; part++) {
        char was[4];
        uint64_t at = place_in_run(part);
        int fd = open(home_image, O_RDONLY);
        assert_int_equal(pread(fd, was, sizeof(was), (off_t)at), sizeof(was));
        close(fd);
        scratch_lose_memory();
        write_at(at, "\xa5\x5a\xa5", 3);
        assert_rc(shmkv_open(home_image, &o, &db), SHMKV_ECORRUPT);
        assert_non_null(strstr(shmkv_last_error(), "is damaged (segment "));
        assert_rc(shmkv_check_image(home_image, NULL, NULL), SHMKV_ECORRUPT);
        assert_others_are_saved();
        write_at(at, was, sizeof(was));
    }
    db = open_path(home_image);
    assert_blob(db, "k", 1, 6 * SEGMENT - 100);
    assert_sound(db);
    assert_rc(shmkv_close(db), 0);
}

/* The list of a commit lacks one of the run's segments: as a fault of ours would leave it. */
static void commit_without(unsigned part)
{
    struct image im;
    struct image_item items[16];
    size_t n = 0;
    uint64_t copied, head = UINT64_MAX;
    assert_rc(image_open(&im, home_image, false), 0);
    assert_rc(image_begin(&im), 0);
    for (uint64_t id = 0; id < im.super.segment_count; id++) {
        const struct image_entry *e = image_listed(&im, id);
        if (e->bytes != 0 && e->flags == IMAGE_RUN_HEAD)
            head = id;
        if (e->bytes == 0 || id == head + part)
            continue;
        assert_rc(image_reserve(&im, id, e->incarnation, &copied), 0);
        items[n++] = (struct image_item){.segment = id,
                                         .incarnation = e->incarnation,
                                         .birth = e->birth,
                                         .bytes = e->bytes,
                                         .flags = e->flags};
    }
    struct image_cut cut = {.epoch = im.head.epoch, .ceiling = im.head.ceiling, .size = SIZE};
    assert_rc(image_commit(&im, &cut, items, n), 0);
    image_close(&im);
}

static void a_run_that_lacks_a_segment_is_refused(void **state)
{
    (void)state;
    for (unsigned part = 0; part < 4; part++) {
        struct shmkv *db = open_path(home_image);
        struct shmkv_options o = {.flags = SHMKV_NO_KEEPER, .shm_dir = scratch_dir()};
        put_blob(db, "k", 1, 4 * SEGMENT - 100);
        put_blob(db, "small", 1, 100);
        assert_rc(shmkv_sync(db, -1), 0);
        assert_rc(shmkv_close(db), 0);
        scratch_lose_memory();
        commit_without(part);
        assert_rc(shmkv_open(home_image, &o, &db), SHMKV_ECORRUPT);
        assert_rc(shmkv_check_image(home_image, NULL, NULL), SHMKV_ECORRUPT);
        assert_others_are_saved();
        unlink(home_image);
    }
}

/* A stray write into a run is found by the checkpoint, which does not pass it on. */
static void a_stray_write_into_a_run(void **state)
{
    (void)state;
    struct shmkv *db = open_path(home_image);
    struct shmkv_section section;
    struct shmkv_item item;
    put_blob(db, "k", 1, 5 * SEGMENT);
    assert_rc(shmkv_sync(db, -1), 0);
    put_blob(db, "k", 2, 5 * SEGMENT);
    assert_rc(shmkv_begin(db, &section), 0);
    assert_rc(shmkv_get(&section, "k", 1, &item), 0);
    ((char *)(uintptr_t)item.value)[4 * SEGMENT] ^= 1;
    shmkv_end(&section);
    assert_rc(shmkv_sync(db, -1), SHMKV_ECORRUPT);
    assert_non_null(strstr(shmkv_last_error(), "memory was written over"));
    assert_rc(shmkv_check(db, NULL, NULL), SHMKV_ECORRUPT);
    db = reboot(db);
    assert_blob(db, "k", 1, 5 * SEGMENT);
    assert_rc(shmkv_close(db), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, home_setup, home_teardown)
    const struct CMUnitTest tests[] = {
        TEST(values_of_all_sizes),
        TEST(keys_of_all_lengths),
        TEST(what_was_not_synced_is_lost),
        TEST(a_durable_put_is_durable),
        TEST(a_deleted_run_stays_away),
        TEST(every_operation),
        TEST(an_expired_run_stays_away),
        TEST(what_is_dead_leaves_the_image),
        TEST(nothing_new_is_nothing_pending),
        TEST(numbers_of_runs_are_given_once),
        TEST(a_run_holds_no_tombstones_back),
        TEST(a_dead_run_is_as_old_as_it_is),
        TEST(a_backup_has_them),
        TEST(a_damaged_run_is_named),
        TEST(a_run_that_lacks_a_segment_is_refused),
        TEST(a_stray_write_into_a_run),
    };
    return cmocka_run_group_tests_name("runs in images", tests, NULL, NULL);
}
