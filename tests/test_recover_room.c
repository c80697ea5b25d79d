/* SPDX-License-Identifier: MIT */
/*
 * test_recover_room.c - a recovery needs memory for what is listed, not for all that it could take
 * at once: here each segment of 64 KiB has one value of 50,000 bytes, and a quarter of it is free.
 * The image is large enough to be read ahead.
 */
#include "audit.h"
#include "blob.h"
#include "fixture.h"
#include "scratch.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SIZE (64u << 20)
#define VALUES 600u
#define BYTES 50000u
#define LISTED_KIB (VALUES * BYTES / 1024)
#define MORE_KIB 3072u /* the index, the heads of the two objects */

static char image[] = "/tmp/shmkv-room-XXXXXX";

static int open_image(unsigned flags, struct shmkv **db)
{
    struct shmkv_options o = {.flags = flags | SHMKV_NO_KEEPER,
                              .size = SIZE,
                              .interval_ms = UINT64_MAX,
                              .shm_dir = scratch_dir()};
    return shmkv_open(image, &o, db);
}

static void fill(void)
{
    char key[16], value[BYTES];
    struct shmkv *db;
    assert_rc(open_image(SHMKV_CREATE, &db), 0);
    for (unsigned i = 0; i < VALUES; i++) {
        size_t klen = (size_t)snprintf(key, sizeof(key), "k%u", i);
        blob_write(value, BYTES, klen, i);
        assert_rc(shmkv_put(db, key, klen, value, BYTES, NULL), 0);
    }
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(shmkv_close(db), 0);
}

static void assert_filled(struct shmkv *db)
{
    char key[16], value[BYTES];
    struct shmkv_section section;
    struct shmkv_item item;
    assert_rc(shmkv_begin(db, &section), 0);
    for (unsigned i = 0; i < VALUES; i++) {
        size_t klen = (size_t)snprintf(key, sizeof(key), "k%u", i);
        blob_write(value, BYTES, klen, i);
        assert_rc(shmkv_get(&section, key, klen, &item), 0);
        assert_int_equal(item.size, BYTES);
        assert_memory_equal(item.value, value, BYTES);
    }
    shmkv_end(&section);
}

/* Memory is lost, and what is there now is a tmpfs of @kib. */
static bool reboot(size_t kib)
{
    scratch_lose_memory();
    scratch_remove();
    return scratch_make(kib);
}

static void what_is_listed_fits(void **state)
{
    struct shmkv *db;
    (void)state;
    close(mkstemp(image));
    unlink(image);
    assert_true(scratch_make(0));
    fill();
    if (!reboot(LISTED_KIB + MORE_KIB)) {
        unlink(image);
        skip();
    }
    assert_rc(open_image(0, &db), 0);
    assert_filled(db);
    assert_rc(shmkv_close(db), 0);
    assert_true(reboot(LISTED_KIB / 4 * 3));
    assert_rc(open_image(0, &db), SHMKV_ENOSPC);
    assert_non_null(strstr(shmkv_last_error(), "full"));
    assert_int_equal(scratch_count(), 0); /* nothing that would be in the way of the next */
    assert_true(reboot(0));
    assert_rc(open_image(0, &db), 0);
    assert_filled(db);
    assert_rc(shmkv_close(db), 0);
    scratch_lose_memory();
    scratch_remove();
    unlink(image);
}

/* Counts that went with a death, so that fewer keys came than went, do not make the index that a
 * recovery makes as large as for the smallest keys there are. */
static void lost_counts_make_no_large_index(void **state)
{
    struct shmkv *db;
    struct shmkv_stats after;
    (void)state;
    assert_true(scratch_make(0));
    fill();
    assert_rc(open_image(0, &db), 0);
    sub_relaxed(&audit_arena(db)->sync->retired[STAT_keys_added], 2 * VALUES);
    assert_rc(shmkv_put(db, "k0", 2, "v", 1, NULL), 0); /* so that there is something to save */
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(shmkv_close(db), 0);
    assert_true(reboot(0));
    assert_rc(open_image(0, &db), 0);
    assert_rc(shmkv_get_stats(db, &after), 0);
    assert_int_equal(after.keys, VALUES);
    assert_in_range(after.index_bytes, 1, SIZE / 8);
    assert_rc(shmkv_close(db), 0);
    scratch_lose_memory();
    scratch_remove();
    unlink(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_listed_fits),
        cmocka_unit_test(lost_counts_make_no_large_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
