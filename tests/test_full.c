/* SPDX-License-Identifier: MIT */
/* test_full.c - stores that run full, are emptied and filled again; sizes at the limits. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blob.h"
#include "clock.h"
#include "lap.h"

#define MS 1000000ull
#define MIB (1u << 20)
#define PATIENCE_MS (200u * FIXTURE_PATIENCE) /* no call may take longer, see failure-tests */

static const struct shmkv_options small = {.flags = SHMKV_NO_KEEPER, .size = 8 * MIB};
static const struct shmkv_options tiny = {.flags = SHMKV_NO_KEEPER, .size = MIB};
static const struct shmkv_options large = {.flags = SHMKV_NO_KEEPER, .size = 128 * MIB};

static struct shmkv_stats stats_of(struct shmkv *db)
{
    struct shmkv_stats stats;
    assert_rc(shmkv_get_stats(db, &stats), 0);
    return stats;
}

/* Value sizes of a test that mixes them: a function of the key. */
static size_t size_of(uint64_t key, size_t most)
{
    uint64_t state = key;
    return BLOB_MIN + blob_random(&state) % (most - BLOB_MIN + 1);
}

static int put_blob(struct shmkv *db, uint64_t key, uint64_t sequence, size_t most)
{
    char *value = malloc(most);
    size_t size = size_of(key, most);
    blob_write(value, size, key, sequence);
    int rc = shmkv_put(db, &key, sizeof(key), value, size, NULL);
    free(value);
    return rc;
}

static void assert_blob(struct shmkv *db, uint64_t key, uint64_t sequence)
{
    struct shmkv_section section;
    struct shmkv_item item;
    uint64_t found = 0;
    assert_rc(shmkv_begin(db, &section), 0);
    assert_rc(shmkv_get(&section, &key, sizeof(key), &item), 0);
    assert_true(blob_read(item.value, item.size, key, &found));
    assert_true(found == sequence);
    shmkv_end(&section);
}

/* Put fresh keys from @first on until the store is full; returns the first that was refused. */
static uint64_t fill(struct shmkv *db, uint64_t first, size_t most)
{
    for (uint64_t key = first;; key++) {
        int rc = put_blob(db, key, key, most);
        if (rc == SHMKV_ENOSPC)
            return key;
        assert_rc(rc, 0);
    }
}

/* ---- full ---------------------------------------------------------------------------------- */

static void a_full_store_says_so_and_keeps_all(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t count = fill(db, 0, 200);
    struct shmkv_stats stats = stats_of(db);
    assert_true(stats.memory <= stats.size);
    assert_true(stats.live_bytes > stats.size / 2);
    struct lap lap;
    lap_open(&lap);
    for (int i = 0; i < 5; i++) {
        lap_begin(&lap);
        assert_rc(put_blob(db, count, 0, 200), SHMKV_ENOSPC);
        assert_true(lap_used_ns(lap_end(&lap)) < PATIENCE_MS * MS);
    }
    lap_close(&lap);
    assert_non_null(strstr(shmkv_last_error(), "no room"));
    for (uint64_t key = 0; key < count; key++)
        assert_blob(db, key, key);
    assert_rc(shmkv_exists(db, &count, sizeof(count)), SHMKV_ENOTFOUND);
}

static void delete_all(struct shmkv *db, uint64_t first, uint64_t end)
{
    struct lap lap;
    lap_open(&lap);
    for (uint64_t key = first; key < end; key++) {
        lap_begin(&lap);
        assert_rc(shmkv_delete(db, &key, sizeof(key)), 0);
        assert_true(lap_used_ns(lap_end(&lap)) < PATIENCE_MS * MS);
    }
    lap_close(&lap);
}

/* Emptied, it takes as much again, but for a segment's worth; over and over, other keys too. */
static void refill(struct shmkv *db, size_t most, bool fresh_keys)
{
    uint64_t first = 0, before = 0;
    uint64_t slack = stats_of(db).segment_size / (32 + (BLOB_MIN + most) / 2);
    for (int round = 0; round < 6; round++) {
        uint64_t end = fill(db, first, most);
        uint64_t count = end - first;
        assert_true(round == 0 || count + slack >= before - before / 10);
        before = round == 0 ? count : before;
        for (uint64_t key = first; key < end; key++)
            assert_blob(db, key, key);
        delete_all(db, first, end);
        assert_rc(shmkv_exists(db, &first, sizeof(first)), SHMKV_ENOTFOUND);
        first = fresh_keys ? end : 0;
    }
}

static void filled_emptied_and_filled_again(void **state)
{
    refill(fixture_db(state), 2000, false);
}

static void filled_emptied_and_filled_with_other_keys(void **state)
{
    refill(fixture_db(state), 2000, true);
}

/* The index and its tombstones take most of the memory. */
static void filled_with_tiny_values(void **state)
{
    refill(fixture_db(state), BLOB_MIN, true);
}

static void filled_with_large_values(void **state)
{
    refill(fixture_db(state), 60000, true);
}

static void the_smallest_store_works(void **state)
{
    refill(fixture_db(state), 100, true);
}

/* Half of the keys deleted at random: what stays is spread over all segments. */
static void room_between_living_records_is_found(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t end = fill(db, 0, 300), deleted = 0, random = 1;
    for (uint64_t key = 0; key < end; key++) {
        if (blob_random(&random) % 2 == 0) {
            assert_rc(shmkv_delete(db, &key, sizeof(key)), 0);
            deleted++;
        }
    }
    uint64_t again = fill(db, end, 300) - end;
    assert_true(again > deleted / 2);
    random = 1;
    for (uint64_t key = 0; key < end; key++) {
        if (blob_random(&random) % 2 != 0)
            assert_blob(db, key, key);
    }
}

static void expired_keys_give_their_room_back(void **state)
{
    struct shmkv *db = fixture_db(state);
    static const struct shmkv_put_options soon = {.ttl_ms = 500};
    char value[1000] = "";
    int rc = 0;
    for (uint64_t key = 0; rc == 0 && key < 20000; key++) /* a slow machine never fills it */
        rc = shmkv_put(db, &key, sizeof(key), value, sizeof(value), &soon);
    assert_true(rc == 0 || rc == SHMKV_ENOSPC);
    clock_sleep_ns(500 * MS);
    for (uint64_t key = 1000000; key < 1004000; key++)
        assert_rc(shmkv_put(db, &key, sizeof(key), value, sizeof(value), NULL), 0);
}

/* A put that has to wait for room goes on as soon as there is some. */
static void overwriting_never_runs_full(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t random = 7, longest = 0;
    struct lap lap;
    lap_open(&lap);
    for (uint64_t i = 0; i < 400000 / FIXTURE_SLOWNESS; i++) {
        lap_begin(&lap);
        assert_rc(put_blob(db, blob_random(&random) % 20000, i, 400), 0);
        uint64_t took = lap_used_ns(lap_end(&lap));
        longest = took > longest ? took : longest;
    }
    lap_close(&lap);
    struct shmkv_stats stats = stats_of(db);
    print_message("# overwriting: longest put %.1f ms, %llu segments cleaned, %.2f bytes moved per "
                  "byte put\n",
                  (double)longest / 1e6, (unsigned long long)stats.segments_cleaned,
                  (double)stats.bytes_relocated / (double)stats.bytes_put);
    assert_true(longest < PATIENCE_MS * MS);
}

/* ---- scans ---------------------------------------------------------------------------------- */

static int delete_found(void *arg, const struct shmkv_pair *pair)
{
    return shmkv_delete(arg, pair->key, pair->klen);
}

/* In the section of the scan nothing comes back, so between its steps it must. */
static void filled_it_can_be_emptied_by_a_scan(void **state)
{
    struct shmkv *db = fixture_db(state);
    for (uint64_t first = 0, round = 0; round < 3; round++) {
        uint64_t cursor = 0, end = fill(db, first, round == 1 ? 100000 : 2000);
        assert_rc(shmkv_scan(db, &cursor, NULL, delete_found, db), 0);
        assert_true(stats_of(db).keys == 0);
        first = end;
    }
}

/* ---- sizes --------------------------------------------------------------------------------- */

static void put_and_read(struct shmkv *db, const char *key, size_t klen, const char *value,
                         size_t vlen, int expected)
{
    char *buf = malloc(vlen + 1);
    struct shmkv_item item;
    assert_rc(shmkv_put(db, key, klen, value, vlen, NULL), expected);
    if (expected == 0) {
        assert_rc(shmkv_read(db, key, klen, buf, vlen + 1, &item), 0);
        assert_int_equal(item.size, vlen);
        assert_memory_equal(buf, value, vlen);
    }
    free(buf);
}

static void values_of_every_size_after_churn(void **state)
{
    struct shmkv *db = fixture_db(state);
    size_t segment = stats_of(db).segment_size;
    size_t largest = stats_of(db).size / 4;
    char *value = malloc(largest + 1);
    uint64_t random = 3;
    blob_write(value, largest + 1, 1, 1);
    for (uint64_t i = 0; i < 100000 / FIXTURE_SLOWNESS; i++)
        assert_rc(put_blob(db, blob_random(&random) % 3000, i, 3000), 0);
    const size_t extra = 24 + 8 + 8; /* header, expiry, key */
    size_t sizes[] = {0,
                      1,
                      segment / 4,
                      segment / 2,
                      segment - extra,
                      segment,
                      segment + segment / 100,
                      largest - extra};
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
            put_and_read(db, "k", 1, value, sizes[i], 0);
        for (uint64_t i = 0; i < 1000; i++)
            assert_rc(put_blob(db, blob_random(&random) % 3000, i, 3000), 0);
    }
    put_and_read(db, "too large", 9, value, largest - extra, SHMKV_ETOOBIG);
    put_and_read(db, "k", 1, value, largest - extra + 1, SHMKV_ETOOBIG);
    put_and_read(db, "k", 1, value, largest + 1, SHMKV_ETOOBIG);
    assert_rc(shmkv_exists(db, "too large", 9), SHMKV_ENOTFOUND);
    assert_rc(shmkv_read(db, "k", 1, value, largest, NULL), 0); /* unharmed */
    free(value);
}

static void keys_of_1_and_65535_bytes(void **state)
{
    struct shmkv *db = fixture_db(state);
    char *key = malloc(SHMKV_KEY_MAX);
    blob_write(key, SHMKV_KEY_MAX, 1, 1);
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        put_and_read(db, &byte, 1, &byte, 1, 0);
    }
    for (int i = 0; i < 200; i++) {
        key[SHMKV_KEY_MAX - 1] = (char)i; /* differ in the last byte */
        put_and_read(db, key, SHMKV_KEY_MAX, key + i, (size_t)i, 0);
    }
    for (int i = 0; i < 200; i++) {
        key[SHMKV_KEY_MAX - 1] = (char)i;
        assert_rc(shmkv_delete(db, key, SHMKV_KEY_MAX), 0);
        assert_rc(shmkv_exists(db, key, SHMKV_KEY_MAX), SHMKV_ENOTFOUND);
    }
    assert_rc(shmkv_exists(db, "\x7f", 1), 0);
    free(key);
}

/* Each tombstone is as long as its key. */
static void long_keys_come_and_go(void **state)
{
    struct shmkv *db = fixture_db(state);
    char *key = calloc(1, 30000);
    for (uint64_t i = 0; i < 20000 / FIXTURE_SLOWNESS; i++) {
        memcpy(key, &i, sizeof(i));
        assert_rc(shmkv_put(db, key, 30000, "v", 1, NULL), 0);
        assert_rc(shmkv_delete(db, key, 30000), 0);
    }
    free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(a_full_store_says_so_and_keeps_all, &small),
        FIXTURE_WITH(filled_emptied_and_filled_again, &small),
        FIXTURE_WITH(filled_emptied_and_filled_with_other_keys, &small),
        FIXTURE_WITH(filled_with_tiny_values, &small),
        FIXTURE_WITH(filled_with_large_values, &small),
        FIXTURE_WITH(the_smallest_store_works, &tiny),
        FIXTURE_WITH(room_between_living_records_is_found, &small),
        FIXTURE_WITH(expired_keys_give_their_room_back, &small),
        FIXTURE_WITH(overwriting_never_runs_full, &small),
        FIXTURE_WITH(filled_it_can_be_emptied_by_a_scan, &small),
        FIXTURE_WITH(values_of_every_size_after_churn, &small),
        FIXTURE_WITH(keys_of_1_and_65535_bytes, &large),
        FIXTURE_WITH(long_keys_come_and_go, &small),
    };
    return cmocka_run_group_tests_name("full", tests, NULL, NULL);
}
