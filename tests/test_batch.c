/* SPDX-License-Identifier: MIT */
/* test_batch.c - get_many, put_many, delete_many; reserve, commit, cancel. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define MANY 100u
#define LARGEST (16u << 20) /* record of the usual store: a quarter of it */

/* Keys "key 0".. and values "value 0".. */
struct batch {
    char text[MANY][2][16];
    struct shmkv_bytes keys[MANY], values[MANY];
};

static void fill_batch(struct batch *b)
{
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(b->text[i][0], sizeof(b->text[i][0]), "key %u", i);
        snprintf(b->text[i][1], sizeof(b->text[i][1]), "value %u", i);
        b->keys[i] = (struct shmkv_bytes){b->text[i][0], strlen(b->text[i][0])};
        b->values[i] = (struct shmkv_bytes){b->text[i][1], strlen(b->text[i][1])};
    }
}

/* ---- batches ------------------------------------------------------------------------------- */

static void put_many_stores_all(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct batch b;
    size_t done = 0;
    fill_batch(&b);
    assert_rc(shmkv_put_many(db, b.keys, b.values, MANY, NULL, &done), 0);
    assert_int_equal(done, MANY);
    for (unsigned i = 0; i < MANY; i++)
        assert_text(db, b.text[i][0], b.text[i][1]);
    assert_rc(shmkv_put_many(db, NULL, NULL, 0, NULL, &done), 0);
    assert_int_equal(done, 0);
}

static void put_many_goes_in_order(void **state)
{
    struct shmkv *db = fixture_db(state);
    static const struct shmkv_bytes keys[] = {{"k", 1}, {"k", 1}, {"k", 1}};
    static const struct shmkv_bytes values[] = {{"1", 1}, {"2", 1}, {"3", 1}};
    assert_rc(shmkv_put_many(db, keys, values, 3, NULL, NULL), 0);
    assert_text(db, "k", "3");
}

static void put_many_stops_at_the_first_error(void **state)
{
    struct shmkv *db = fixture_db(state);
    static const struct shmkv_put_options if_absent = {.flags = SHMKV_IF_ABSENT};
    struct batch b;
    size_t done = 0;
    fill_batch(&b);
    b.keys[37].size = 0;
    assert_rc(shmkv_put_many(db, b.keys, b.values, MANY, NULL, &done), SHMKV_EKEY);
    assert_int_equal(done, 37);
    assert_text(db, "key 36", "value 36");
    assert_text(db, "key 38", NULL);
    fill_batch(&b);
    put_text(db, "key 50", "was here");
    assert_rc(shmkv_put_many(db, b.keys + 37, b.values + 37, MANY - 37, &if_absent, &done),
              SHMKV_EEXISTS);
    assert_int_equal(done, 13);
    assert_text(db, "key 50", "was here");
    assert_text(db, "key 51", NULL);
}

static void batches_want_arrays(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct snapshot before = snapshot_take(db);
    static const struct shmkv_bytes absent = {"absent", 6}, null = {NULL, 6};
    static const struct shmkv_put_options bad = {.flags = 1u << 20};
    assert_rc(shmkv_put_many(db, NULL, &absent, 1, NULL, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_put_many(db, &absent, NULL, 1, NULL, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_put_many(db, &absent, &null, 1, NULL, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_put_many(db, &null, &absent, 1, NULL, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_put_many(db, &absent, &absent, 1, &bad, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_delete_many(db, NULL, 1, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_delete_many(db, &null, 1, NULL), SHMKV_EINVAL);
    assert_unchanged(db, &before);
}

static void delete_many_passes_over_absent_keys(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct batch b;
    size_t removed = 0;
    fill_batch(&b);
    for (unsigned i = 0; i < MANY; i += 3)
        put_text(db, b.text[i][0], b.text[i][1]);
    assert_rc(shmkv_delete_many(db, b.keys, MANY, &removed), 0);
    assert_int_equal(removed, (MANY + 2) / 3);
    for (unsigned i = 0; i < MANY; i++)
        assert_text(db, b.text[i][0], NULL);
    assert_rc(shmkv_delete_many(db, b.keys, MANY, NULL), 0);
}

static void get_many_finds_what_is_there(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_section section;
    struct shmkv_item items[MANY];
    struct batch b;
    fill_batch(&b);
    for (unsigned i = 0; i < MANY; i += 2)
        put_text(db, b.text[i][0], b.text[i][1]);
    assert_rc(shmkv_begin(db, &section), 0);
    memset(items, 0x55, sizeof(items));
    assert_int_equal(shmkv_get_many(&section, b.keys, MANY, items), MANY / 2);
    for (unsigned i = 0; i < MANY; i++) {
        if (i % 2 != 0) {
            assert_null(items[i].value);
            assert_true(items[i].version == 0);
        } else {
            assert_int_equal(items[i].size, b.values[i].size);
            assert_memory_equal(items[i].value, b.values[i].data, items[i].size);
            assert_true(items[i].version != 0);
        }
    }
    assert_int_equal(shmkv_get_many(&section, NULL, 0, NULL), 0);
    shmkv_end(&section);
}

static void get_many_refuses(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_section section;
    struct shmkv_item items[2];
    struct shmkv_bytes keys[2] = {{"k", 1}, {"", 0}};
    assert_rc(shmkv_begin(db, &section), 0);
    assert_rc(shmkv_get_many(&section, keys, 2, items), SHMKV_EKEY);
    assert_rc(shmkv_get_many(&section, NULL, 2, items), SHMKV_EINVAL);
    assert_rc(shmkv_get_many(&section, keys, 2, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_get_many(&section, keys, SIZE_MAX, items), SHMKV_EINVAL);
    shmkv_end(&section);
    assert_rc(shmkv_get_many(&section, keys, 1, items), SHMKV_EINVAL); /* ended */
}

/* ---- reservations -------------------------------------------------------------------------- */

static void reserve_text(struct shmkv *db, const char *key, const char *value,
                         const struct shmkv_put_options *o, struct shmkv_reservation *r)
{
    assert_rc(shmkv_reserve(db, key, strlen(key), strlen(value), o, r), 0);
    assert_int_equal((uintptr_t)r->value % 8, 0);
    memcpy(r->value, value, strlen(value));
}

static void a_reservation_is_seen_when_committed(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_reservation r;
    uint64_t version = 0;
    struct shmkv_put_options o = {.version = &version};
    put_text(db, "k", "old");
    reserve_text(db, "k", "new value", &o, &r);
    assert_text(db, "k", "old");
    assert_rc(shmkv_commit(&r), 0);
    assert_text(db, "k", "new value");
    assert_true(version_of(db, "k") == version);
    assert_rc(shmkv_commit(&r), SHMKV_EINVAL); /* it has ended */
    assert_text(db, "k", "new value");
}

static void a_cancelled_reservation_leaves_no_trace(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct snapshot before = snapshot_take(db);
    struct shmkv_reservation r;
    for (int i = 0; i < 100; i++) {
        reserve_text(db, "absent", "never seen", NULL, &r);
        shmkv_cancel(&r);
        shmkv_cancel(&r);
        assert_rc(shmkv_commit(&r), SHMKV_EINVAL);
    }
    assert_unchanged(db, &before);
}

static void other_writes_go_on_meanwhile(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_reservation r;
    char key[16];
    reserve_text(db, "reserved", "filled in place", NULL, &r);
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof(key), "%d", i % 500);
        put_text(db, key, "any value, many of them, so that segments fill and are cleaned");
    }
    assert_rc(shmkv_commit(&r), 0);
    assert_text(db, "reserved", "filled in place");
}

static void one_reservation_at_a_time(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_reservation r, second;
    reserve_text(db, "k", "v", NULL, &r);
    assert_rc(shmkv_reserve(db, "l", 1, 1, NULL, &second), SHMKV_EBUSY);
    shmkv_cancel(&second);
    assert_rc(shmkv_commit(&second), SHMKV_EINVAL);
    assert_rc(shmkv_commit(&r), 0);
    assert_text(db, "k", "v");
    reserve_text(db, "l", "w", NULL, &r);
    assert_rc(shmkv_commit(&r), 0);
    assert_text(db, "l", "w");
}

static void conditions_are_tested_at_the_commit(void **state)
{
    struct shmkv *db = fixture_db(state);
    static const struct shmkv_put_options if_absent = {.flags = SHMKV_IF_ABSENT};
    static const struct shmkv_put_options if_present = {.flags = SHMKV_IF_PRESENT};
    struct shmkv_reservation r;
    reserve_text(db, "k", "mine", &if_absent, &r);
    put_text(db, "k", "was faster");
    assert_rc(shmkv_commit(&r), SHMKV_EEXISTS);
    assert_rc(shmkv_commit(&r), SHMKV_EINVAL); /* ended by the error */
    assert_text(db, "k", "was faster");
    reserve_text(db, "k", "mine", &if_present, &r);
    delete_text(db, "k");
    assert_rc(shmkv_commit(&r), SHMKV_ENOTFOUND);
    assert_text(db, "k", NULL);
    reserve_text(db, "k", "mine", &if_absent, &r);
    assert_rc(shmkv_commit(&r), 0);
    assert_text(db, "k", "mine");
}

static void a_reservation_may_expire(void **state)
{
    struct shmkv *db = fixture_db(state);
    static const struct shmkv_put_options soon = {.ttl_ms = 40};
    struct shmkv_reservation r;
    reserve_text(db, "k", "v", &soon, &r);
    assert_rc(shmkv_commit(&r), 0);
    assert_text(db, "k", "v");
    clock_sleep_ns(50000000);
    assert_text(db, "k", NULL);
}

static void reserve_refuses(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct snapshot before = snapshot_take(db);
    static const struct shmkv_put_options keep = {.flags = SHMKV_KEEP_TTL};
    static const struct shmkv_put_options both = {.flags = SHMKV_IF_ABSENT | SHMKV_IF_PRESENT};
    struct shmkv_reservation r;
    assert_rc(shmkv_reserve(db, "", 0, 5, NULL, &r), SHMKV_EKEY);
    assert_rc(shmkv_reserve(db, NULL, 6, 5, NULL, &r), SHMKV_EINVAL);
    assert_rc(shmkv_reserve(db, "absent", 6, LARGEST, NULL, &r), SHMKV_ETOOBIG);
    assert_rc(shmkv_reserve(db, "absent", 6, SIZE_MAX, NULL, &r), SHMKV_ETOOBIG);
    assert_rc(shmkv_reserve(db, "absent", 6, 5, &keep, &r), SHMKV_EINVAL);
    assert_rc(shmkv_reserve(db, "absent", 6, 5, &both, &r), SHMKV_EINVAL);
    shmkv_cancel(&r);
    assert_rc(shmkv_commit(&r), SHMKV_EINVAL);
    assert_unchanged(db, &before);
}

static void every_size_is_kept(void **state)
{
    struct shmkv *db = fixture_db(state);
    char *buf = malloc(LARGEST);
    for (size_t size = 0; size + 48 <= LARGEST; size = size < 40 ? size + 1 : size * 5 / 4) {
        struct shmkv_reservation r;
        struct shmkv_item item;
        assert_rc(shmkv_reserve(db, "k", 1, size, NULL, &r), 0);
        memset(r.value, (int)size & 0xff, size);
        assert_rc(shmkv_commit(&r), 0);
        assert_rc(shmkv_read(db, "k", 1, buf, LARGEST, &item), 0);
        assert_int_equal(item.size, size);
        for (size_t i = 0; i < size; i++)
            assert_int_equal((unsigned char)buf[i], size & 0xff);
    }
    free(buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(put_many_stores_all),
        FIXTURE(put_many_goes_in_order),
        FIXTURE(put_many_stops_at_the_first_error),
        FIXTURE(batches_want_arrays),
        FIXTURE(delete_many_passes_over_absent_keys),
        FIXTURE(get_many_finds_what_is_there),
        FIXTURE(get_many_refuses),
        FIXTURE(a_reservation_is_seen_when_committed),
        FIXTURE(a_cancelled_reservation_leaves_no_trace),
        FIXTURE(other_writes_go_on_meanwhile),
        FIXTURE(one_reservation_at_a_time),
        FIXTURE(conditions_are_tested_at_the_commit),
        FIXTURE(a_reservation_may_expire),
        FIXTURE(reserve_refuses),
        FIXTURE(every_size_is_kept),
    };
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
