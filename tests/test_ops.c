/* SPDX-License-Identifier: MIT */
/* test_ops.c - put, get, read, exists, delete, cas, and time to live: meaning and every error. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "store.h"

#define LARGEST (16u << 20) /* record of the usual store: a quarter of it */

static const struct shmkv_put_options if_absent = {.flags = SHMKV_IF_ABSENT};
static const struct shmkv_put_options if_present = {.flags = SHMKV_IF_PRESENT};

/* ---- put and get --------------------------------------------------------------------------- */

static void what_was_put_is_read(void **state)
{
    struct shmkv *db = fixture_db(state);
    put_text(db, "a", "first");
    put_text(db, "b", "");
    assert_text(db, "a", "first");
    assert_text(db, "b", "");
    assert_text(db, "c", NULL);
    put_text(db, "a", "a second, longer value");
    assert_text(db, "a", "a second, longer value");
}

static void keys_and_values_are_any_bytes(void **state)
{
    struct shmkv *db = fixture_db(state);
    static const char key[] = "\0\xff\n\0", value[] = "\0\0\x80";
    char buf[8];
    struct shmkv_item item;
    assert_rc(shmkv_put(db, key, 4, value, 3, NULL), 0);
    assert_rc(shmkv_read(db, key, 4, buf, sizeof(buf), &item), 0);
    assert_int_equal(item.size, 3);
    assert_memory_equal(buf, value, 3);
    assert_rc(shmkv_exists(db, key, 3), SHMKV_ENOTFOUND); /* a prefix is another key */
    assert_rc(shmkv_exists(db, "\0\xff\n\1", 4), SHMKV_ENOTFOUND);
}

static void an_empty_value_may_be_null(void **state)
{
    struct shmkv *db = fixture_db(state);
    assert_rc(shmkv_put(db, "k", 1, NULL, 0, NULL), 0);
    assert_text(db, "k", "");
}

static void what_is_passed_in_is_copied(void **state)
{
    struct shmkv *db = fixture_db(state);
    char key[] = "key", value[] = "value";
    assert_rc(shmkv_put(db, key, 3, value, 5, NULL), 0);
    memset(key, 'x', 3);
    memset(value, 'x', 5);
    assert_text(db, "key", "value");
}

static void versions_grow_with_every_write(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t last = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t version = put_text(db, "k", i % 2 ? "odd" : "even");
        assert_true(version > last);
        assert_true(version_of(db, "k") == version);
        last = version;
        if (i % 10 == 0)
            delete_text(db, "k"); /* a key that comes back is younger than it was */
    }
}

static void a_put_with_conditions(void **state)
{
    struct shmkv *db = fixture_db(state);
    assert_rc(shmkv_put(db, "k", 1, "1", 1, &if_present), SHMKV_ENOTFOUND);
    assert_text(db, "k", NULL);
    assert_rc(shmkv_put(db, "k", 1, "2", 1, &if_absent), 0);
    assert_rc(shmkv_put(db, "k", 1, "3", 1, &if_absent), SHMKV_EEXISTS);
    assert_text(db, "k", "2");
    assert_rc(shmkv_put(db, "k", 1, "4", 1, &if_present), 0);
    assert_text(db, "k", "4");
    delete_text(db, "k");
    assert_rc(shmkv_put(db, "k", 1, "5", 1, &if_present), SHMKV_ENOTFOUND);
    assert_rc(shmkv_put(db, "k", 1, "6", 1, &if_absent), 0);
    assert_text(db, "k", "6");
}

static void a_deleted_key_is_absent(void **state)
{
    struct shmkv *db = fixture_db(state);
    assert_rc(shmkv_delete(db, "k", 1), SHMKV_ENOTFOUND);
    put_text(db, "k", "v");
    delete_text(db, "k");
    assert_text(db, "k", NULL);
    assert_rc(shmkv_exists(db, "k", 1), SHMKV_ENOTFOUND);
    assert_rc(shmkv_delete(db, "k", 1), SHMKV_ENOTFOUND);
}

static void every_length_is_kept(void **state)
{
    struct shmkv *db = fixture_db(state);
    char value[300], buf[300];
    for (size_t i = 0; i < sizeof(value); i++)
        value[i] = (char)(i * 7 + 1);
    for (size_t klen = 1; klen < 40; klen++) {
        for (size_t vlen = 0; vlen < sizeof(value); vlen += klen % 9 + 1) {
            struct shmkv_item item;
            assert_rc(shmkv_put(db, value, klen, value, vlen, NULL), 0);
            assert_rc(shmkv_read(db, value, klen, buf, sizeof(buf), &item), 0);
            assert_int_equal(item.size, vlen);
            assert_memory_equal(buf, value, vlen);
        }
    }
}

/* ---- reading ------------------------------------------------------------------------------- */

static void get_tells_size_version_and_expiry(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_section section;
    struct shmkv_item item;
    uint64_t version = put_text(db, "k", "value");
    assert_rc(shmkv_begin(db, &section), 0);
    assert_rc(shmkv_get(&section, "k", 1, &item), 0);
    assert_int_equal(item.size, 5);
    assert_true(item.version == version);
    assert_true(item.expires_ms == 0);
    assert_int_equal((uintptr_t)item.value % 8, 0);
    shmkv_end(&section);
}

static void get_leaves_the_item_alone_on_error(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_section section;
    struct shmkv_item item, before;
    memset(&item, 0x55, sizeof(item));
    before = item;
    assert_rc(shmkv_begin(db, &section), 0);
    assert_rc(shmkv_get(&section, "k", 1, &item), SHMKV_ENOTFOUND);
    assert_rc(shmkv_get(&section, "k", 0, &item), SHMKV_EKEY);
    assert_memory_equal(&item, &before, sizeof(item));
    shmkv_end(&section);
}

static void read_cuts_at_the_buffers_end(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_item item;
    char buf[4] = "....";
    put_text(db, "k", "value");
    assert_rc(shmkv_read(db, "k", 1, buf, 3, &item), SHMKV_EBUFFER);
    assert_memory_equal(buf, "val.", 4);
    assert_int_equal(item.size, 5);
    assert_ptr_equal(item.value, buf);
    assert_rc(shmkv_read(db, "k", 1, NULL, 0, &item), SHMKV_EBUFFER);
    assert_int_equal(item.size, 5);
    assert_rc(shmkv_read(db, "k", 1, NULL, 1, &item), SHMKV_EINVAL);
    put_text(db, "k", "");
    assert_rc(shmkv_read(db, "k", 1, NULL, 0, NULL), 0);
}

static void a_failed_begin_can_be_ended(void **state)
{
    struct fixture *f = *state;
    struct shmkv *db = fixture_open(f, 0);
    struct shmkv_section section;
    struct shmkv_item item;
    assert_rc(shmkv_close(db), 0);
    assert_rc(shmkv_begin(db, &section), SHMKV_ECLOSED);
    assert_rc(shmkv_get(&section, "k", 1, &item), SHMKV_EINVAL);
    shmkv_end(&section);
}

/* ---- cas ----------------------------------------------------------------------------------- */

static void cas_wants_the_version(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t second = 0;
    uint64_t first = put_text(db, "k", "1");
    struct shmkv_put_options tell = {.version = &second};
    assert_rc(shmkv_cas(db, "k", 1, first + 1, "x", 1, NULL), SHMKV_EMISMATCH);
    assert_rc(shmkv_cas(db, "k", 1, first, "2", 1, &tell), 0);
    assert_true(second > first);
    assert_true(version_of(db, "k") == second);
    assert_rc(shmkv_cas(db, "k", 1, first, "x", 1, NULL), SHMKV_EMISMATCH);
    assert_text(db, "k", "2");
}

static void cas_token_0_means_absent(void **state)
{
    struct shmkv *db = fixture_db(state);
    assert_rc(shmkv_cas(db, "k", 1, 0, "1", 1, NULL), 0);
    assert_rc(shmkv_cas(db, "k", 1, 0, "2", 1, NULL), SHMKV_EMISMATCH);
    assert_text(db, "k", "1");
    uint64_t version = version_of(db, "k");
    delete_text(db, "k");
    assert_rc(shmkv_cas(db, "k", 1, version, "3", 1, NULL), SHMKV_EMISMATCH);
    assert_text(db, "k", NULL);
    assert_rc(shmkv_cas(db, "k", 1, 0, "4", 1, NULL), 0);
    assert_true(version_of(db, "k") > version);
}

/* ---- time to live -------------------------------------------------------------------------- */

static void put_with_ttl(struct shmkv *db, const char *key, const char *value, uint64_t ttl_ms)
{
    struct shmkv_put_options o = {.ttl_ms = ttl_ms};
    assert_rc(shmkv_put(db, key, strlen(key), value, strlen(value), &o), 0);
}

static void an_expired_key_is_absent(void **state)
{
    struct shmkv *db = fixture_db(state);
    static const struct shmkv_put_options keep = {.flags = SHMKV_KEEP_TTL};
    put_with_ttl(db, "k", "v", 60);
    put_with_ttl(db, "long", "v", 60000);
    assert_text(db, "k", "v");
    uint64_t version = version_of(db, "k");
    clock_sleep_ns(100000000);
    assert_text(db, "k", NULL);
    assert_text(db, "long", "v");
    assert_rc(shmkv_exists(db, "k", 1), SHMKV_ENOTFOUND);
    assert_rc(shmkv_delete(db, "k", 1), SHMKV_ENOTFOUND);
    assert_rc(shmkv_put(db, "k", 1, "x", 1, &if_present), SHMKV_ENOTFOUND);
    assert_rc(shmkv_cas(db, "k", 1, version, "x", 1, NULL), SHMKV_EMISMATCH);
    assert_rc(shmkv_put(db, "k", 1, "w", 1, &keep), 0); /* nothing is left to keep */
    assert_text(db, "k", "w");
    clock_sleep_ns(70000000);
    assert_text(db, "k", "w");
    assert_true(version_of(db, "k") > version);
}

static void an_expired_key_can_be_put_if_absent(void **state)
{
    struct shmkv *db = fixture_db(state);
    put_with_ttl(db, "k", "v", 1);
    put_with_ttl(db, "c", "v", 1);
    clock_sleep_ns(5000000);
    assert_rc(shmkv_put(db, "k", 1, "w", 1, &if_absent), 0);
    assert_text(db, "k", "w");
    assert_rc(shmkv_cas(db, "c", 1, 0, "w", 1, NULL), 0);
    assert_text(db, "c", "w");
}

static int64_t expiry_of(struct shmkv *db, const char *key)
{
    struct shmkv_item item = {.expires_ms = -1};
    char buf[64];
    assert_rc(shmkv_read(db, key, strlen(key), buf, sizeof(buf), &item), 0);
    return item.expires_ms;
}

static void expiry_is_unix_time(void **state)
{
    struct shmkv *db = fixture_db(state);
    put_with_ttl(db, "k", "v", 50000);
    int64_t now = (int64_t)clock_real_ms();
    int64_t left = expiry_of(db, "k") - now;
    assert_true(left > 40000 && left < 51000);
}

/* As if the wall clock had been set back by an hour since the store was made. */
static void the_clock_tells_what_is_left(void **state)
{
    struct shmkv *db = fixture_db(state);
    int64_t now;
    db->store->arena.sb->clock_real_ms += 3600000;
    put_with_ttl(db, "k", "v", 50000);
    assert_rc(shmkv_get_clock(db, &now), 0);
    int64_t left = expiry_of(db, "k") - now;
    assert_true(left > 40000 && left <= 50000);
    assert_rc(shmkv_get_clock(db, NULL), SHMKV_EINVAL);
}

static void a_huge_ttl_does_not_overflow(void **state)
{
    struct shmkv *db = fixture_db(state);
    put_with_ttl(db, "k", "v", UINT64_MAX);
    assert_text(db, "k", "v");
    assert_true(expiry_of(db, "k") > (int64_t)clock_real_ms());
    put_with_ttl(db, "k", "v", INT64_MAX);
    assert_text(db, "k", "v");
}

static void a_put_without_ttl_makes_permanent(void **state)
{
    struct shmkv *db = fixture_db(state);
    put_with_ttl(db, "k", "v", 50000);
    put_text(db, "k", "w");
    assert_true(expiry_of(db, "k") == 0);
}

static void keep_ttl_keeps_it(void **state)
{
    struct shmkv *db = fixture_db(state);
    static const struct shmkv_put_options keep = {.flags = SHMKV_KEEP_TTL};
    static const struct shmkv_put_options keep_absent = {.flags = SHMKV_KEEP_TTL | SHMKV_IF_ABSENT};
    static const struct shmkv_put_options keep_present = {.flags =
                                                              SHMKV_KEEP_TTL | SHMKV_IF_PRESENT};
    put_with_ttl(db, "k", "v", 50000);
    int64_t expiry = expiry_of(db, "k");
    assert_rc(shmkv_put(db, "k", 1, "w", 1, &keep), 0);
    assert_text(db, "k", "w");
    assert_true(expiry_of(db, "k") == expiry);
    assert_rc(shmkv_put(db, "k", 1, "x", 1, &keep_absent), SHMKV_EEXISTS);
    assert_rc(shmkv_put(db, "k", 1, "x", 1, &keep_present), 0);
    assert_true(expiry_of(db, "k") == expiry);
    assert_rc(shmkv_put(db, "new", 3, "x", 1, &keep_present), SHMKV_ENOTFOUND);
    assert_rc(shmkv_put(db, "new", 3, "x", 1, &keep_absent), 0);
    assert_true(expiry_of(db, "new") == 0);
}

/* ---- errors: nothing changed then ---------------------------------------------------------- */

/* The last error's text says @what; it names @f's store, if it is of one. */
static void assert_said(const struct fixture *f, const char *what)
{
    const char *text = shmkv_last_error();
    if (strstr(text, what) == NULL || (f != NULL && strstr(text, f->name) == NULL))
        fail_msg("\"%s\" should say \"%s\"%s", text, what, f != NULL ? " and the store" : "");
}

static void a_bad_key(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct snapshot before = snapshot_take(db);
    char *key = calloc(1, SHMKV_KEY_MAX + 1);
    assert_rc(shmkv_put(db, "", 0, "v", 1, NULL), SHMKV_EKEY);
    assert_said(NULL, "1 to 65535 bytes, not 0");
    assert_rc(shmkv_put(db, NULL, 0, "v", 1, NULL), SHMKV_EKEY);
    assert_rc(shmkv_put(db, key, SHMKV_KEY_MAX + 1, "v", 1, NULL), SHMKV_EKEY);
    assert_rc(shmkv_put(db, key, SIZE_MAX, "v", 1, NULL), SHMKV_EKEY);
    assert_rc(shmkv_put(db, NULL, 3, "v", 1, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_delete(db, "", 0), SHMKV_EKEY);
    assert_rc(shmkv_delete(db, key, SHMKV_KEY_MAX + 1), SHMKV_EKEY);
    assert_rc(shmkv_delete(db, NULL, 3), SHMKV_EINVAL);
    assert_rc(shmkv_cas(db, "", 0, 0, "v", 1, NULL), SHMKV_EKEY);
    assert_rc(shmkv_cas(db, NULL, 3, 0, "v", 1, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_read(db, "", 0, NULL, 0, NULL), SHMKV_EKEY);
    assert_rc(shmkv_exists(db, key, SHMKV_KEY_MAX + 1), SHMKV_EKEY);
    free(key);
    assert_unchanged(db, &before);
}

static void a_value_that_is_null(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct snapshot before = snapshot_take(db);
    assert_rc(shmkv_put(db, "absent", 6, NULL, 1, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_cas(db, "absent", 6, 0, NULL, 1, NULL), SHMKV_EINVAL);
    assert_unchanged(db, &before);
}

static void a_value_that_is_too_large(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct snapshot before = snapshot_take(db);
    char *value = calloc(1, LARGEST + 1);
    static const size_t sizes[] = {LARGEST,    LARGEST + 1,      LARGEST - 24, UINT32_MAX,
                                   1ull << 32, (1ull << 32) + 1, SIZE_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_rc(shmkv_put(db, "absent", 6, value, sizes[i], NULL), SHMKV_ETOOBIG);
        assert_said(*state, "a quarter of its size; make a store with a larger size");
        assert_rc(shmkv_put(db, "present", 7, value, sizes[i], NULL), SHMKV_ETOOBIG);
        assert_rc(shmkv_cas(db, "absent", 6, 0, value, sizes[i], NULL), SHMKV_ETOOBIG);
    }
    free(value);
    assert_unchanged(db, &before);
}

static void bad_flags(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct snapshot before = snapshot_take(db);
    static const struct shmkv_put_options bad[] = {
        {.flags = 1u << 20},
        {.flags = SHMKV_IF_ABSENT | SHMKV_IF_PRESENT},
        {.flags = SHMKV_KEEP_TTL, .ttl_ms = 5},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_rc(shmkv_put(db, "absent", 6, "v", 1, &bad[i]), SHMKV_EINVAL);
        assert_rc(shmkv_put(db, "present", 7, "v", 1, &bad[i]), SHMKV_EINVAL);
    }
    assert_rc(shmkv_cas(db, "absent", 6, 0, "v", 1, &if_absent), SHMKV_EINVAL);
    assert_unchanged(db, &before);
}

static void conditions_that_fail_change_nothing(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct snapshot before = snapshot_take(db);
    uint64_t version = 77;
    struct shmkv_put_options o = {.flags = SHMKV_IF_ABSENT, .version = &version};
    assert_rc(shmkv_put(db, "present", 7, "x", 1, &o), SHMKV_EEXISTS);
    assert_rc(shmkv_put(db, "absent", 6, "x", 1, &if_present), SHMKV_ENOTFOUND);
    assert_rc(shmkv_delete(db, "absent", 6), SHMKV_ENOTFOUND);
    assert_rc(shmkv_cas(db, "present", 7, 1, "x", 1, NULL), SHMKV_EMISMATCH);
    assert_rc(shmkv_cas(db, "absent", 6, 1, "x", 1, NULL), SHMKV_EMISMATCH);
    assert_true(version == 77);
    assert_unchanged(db, &before);
}

/* Every write of a handle opened for reading. */
static void a_read_only_handle(void **state)
{
    struct fixture *f = *state;
    struct snapshot before = snapshot_take(f->db);
    struct shmkv *db = fixture_open(f, SHMKV_READONLY);
    struct shmkv_bytes one = {"absent", 6};
    struct shmkv_reservation r;
    char buf[32];
    assert_rc(shmkv_put(db, "absent", 6, "v", 1, NULL), SHMKV_EREADONLY);
    assert_said(f, "opened with SHMKV_READONLY; open it without to write");
    assert_rc(shmkv_delete(db, "present", 7), SHMKV_EREADONLY);
    assert_rc(shmkv_cas(db, "absent", 6, 0, "v", 1, NULL), SHMKV_EREADONLY);
    assert_rc(shmkv_add(db, "absent", 6, 1, NULL), SHMKV_EREADONLY);
    assert_rc(shmkv_append(db, "present", 7, "v", 1, NULL), SHMKV_EREADONLY);
    assert_rc(shmkv_touch(db, "present", 7, 5), SHMKV_EREADONLY);
    assert_rc(shmkv_update(db, "present", 7, NULL, NULL), SHMKV_EREADONLY);
    assert_rc(shmkv_take(db, "present", 7, buf, sizeof(buf), NULL), SHMKV_EREADONLY);
    assert_rc(shmkv_reserve(db, "absent", 6, 5, NULL, &r), SHMKV_EREADONLY);
    assert_rc(shmkv_put_many(db, &one, &one, 1, NULL, NULL), SHMKV_EREADONLY);
    assert_rc(shmkv_delete_many(db, &one, 1, NULL), SHMKV_EREADONLY);
    assert_rc(shmkv_compact(db), SHMKV_EREADONLY);
    assert_text(db, "present", "as it was"); /* and reading goes on */
    assert_rc(shmkv_close(db), 0);
    assert_unchanged(f->db, &before);
}

static int ignore_participant(void *arg, const struct shmkv_participant *p)
{
    (void)arg;
    (void)p;
    return 0;
}

/* Every call on a handle that was closed. */
static void a_closed_handle(void **state)
{
    struct fixture *f = *state;
    struct snapshot before = snapshot_take(f->db);
    struct shmkv *db = fixture_open(f, 0);
    struct shmkv_bytes one = {"absent", 6};
    struct shmkv_reservation r;
    struct shmkv_stats stats;
    struct shmkv_section section;
    struct shmkv_reader *reader;
    char buf[32];
    assert_rc(shmkv_close(db), 0);
    assert_rc(shmkv_close(db), SHMKV_ECLOSED);
    assert_said(NULL, "was closed before");
    assert_rc(shmkv_put(db, "absent", 6, "v", 1, NULL), SHMKV_ECLOSED);
    assert_said(NULL, "was closed before this call; open the store anew");
    assert_rc(shmkv_delete(db, "present", 7), SHMKV_ECLOSED);
    assert_rc(shmkv_cas(db, "absent", 6, 0, "v", 1, NULL), SHMKV_ECLOSED);
    assert_rc(shmkv_add(db, "absent", 6, 1, NULL), SHMKV_ECLOSED);
    assert_rc(shmkv_append(db, "present", 7, "v", 1, NULL), SHMKV_ECLOSED);
    assert_rc(shmkv_touch(db, "present", 7, 5), SHMKV_ECLOSED);
    assert_rc(shmkv_update(db, "present", 7, NULL, NULL), SHMKV_ECLOSED);
    assert_rc(shmkv_take(db, "present", 7, buf, sizeof(buf), NULL), SHMKV_ECLOSED);
    assert_rc(shmkv_reserve(db, "absent", 6, 5, NULL, &r), SHMKV_ECLOSED);
    assert_rc(shmkv_put_many(db, &one, &one, 1, NULL, NULL), SHMKV_ECLOSED);
    assert_rc(shmkv_delete_many(db, &one, 1, NULL), SHMKV_ECLOSED);
    assert_rc(shmkv_begin(db, &section), SHMKV_ECLOSED);
    assert_rc(shmkv_read(db, "present", 7, buf, sizeof(buf), NULL), SHMKV_ECLOSED);
    assert_rc(shmkv_exists(db, "present", 7), SHMKV_ECLOSED);
    assert_rc(shmkv_reader_open(db, &reader), SHMKV_ECLOSED);
    assert_rc(shmkv_get_stats(db, &stats), SHMKV_ECLOSED);
    assert_rc(shmkv_readers(db, ignore_participant, NULL), SHMKV_ECLOSED);
    assert_rc(shmkv_compact(db), SHMKV_ECLOSED);
    assert_unchanged(f->db, &before);
}

static void a_result_that_is_null(void **state)
{
    struct fixture *f = *state;
    struct shmkv_put_options o = {0};
    assert_rc(shmkv_open(f->name, NULL, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_get_stats(f->db, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_get_keeper(f->db, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_get_config(f->db, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_reader_open(f->db, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_reserve(f->db, "k", 1, 1, &o, NULL), SHMKV_EINVAL);
    assert_rc(shmkv_commit(NULL), SHMKV_EINVAL);
    shmkv_cancel(NULL);
}

static void a_store_that_was_destroyed(void **state)
{
    struct fixture *f = *state;
    put_text(f->db, "k", "v");
    assert_rc(shmkv_destroy(f->name, NULL, 0), SHMKV_EINUSE);
    put_text(f->db, "k", "w");
    assert_rc(shmkv_destroy(f->name, NULL, 1), 0);
    assert_rc(shmkv_put(f->db, "k", 1, "x", 1, NULL), SHMKV_EDEFUNCT);
    assert_rc(shmkv_delete(f->db, "k", 1), SHMKV_EDEFUNCT);
    assert_text(f->db, "k", "w"); /* what is mapped can still be read */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(what_was_put_is_read),
        FIXTURE(keys_and_values_are_any_bytes),
        FIXTURE(an_empty_value_may_be_null),
        FIXTURE(what_is_passed_in_is_copied),
        FIXTURE(versions_grow_with_every_write),
        FIXTURE(a_put_with_conditions),
        FIXTURE(a_deleted_key_is_absent),
        FIXTURE(every_length_is_kept),
        FIXTURE(get_tells_size_version_and_expiry),
        FIXTURE(get_leaves_the_item_alone_on_error),
        FIXTURE(read_cuts_at_the_buffers_end),
        FIXTURE(a_failed_begin_can_be_ended),
        FIXTURE(cas_wants_the_version),
        FIXTURE(cas_token_0_means_absent),
        FIXTURE(an_expired_key_is_absent),
        FIXTURE(an_expired_key_can_be_put_if_absent),
        FIXTURE(expiry_is_unix_time),
        FIXTURE(the_clock_tells_what_is_left),
        FIXTURE(a_huge_ttl_does_not_overflow),
        FIXTURE(a_put_without_ttl_makes_permanent),
        FIXTURE(keep_ttl_keeps_it),
        FIXTURE(a_bad_key),
        FIXTURE(a_value_that_is_null),
        FIXTURE(a_value_that_is_too_large),
        FIXTURE(bad_flags),
        FIXTURE(conditions_that_fail_change_nothing),
        FIXTURE(a_read_only_handle),
        FIXTURE(a_closed_handle),
        FIXTURE(a_result_that_is_null),
        FIXTURE(a_store_that_was_destroyed),
    };
    return cmocka_run_group_tests_name("ops", tests, NULL, NULL);
}
