/* SPDX-License-Identifier: MIT */
/*
 * test_differential.c - ten million random calls, each compared with what liburcu's hash table
 * says, in a store so small that cleaner and resizes are at work all the time.
 */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blob.h"
#include "oracle.h"

#if ADDRESS_SANITIZER || THREAD_SANITIZER
#define CALLS 1000000u
#else
#define CALLS 10000000u
#endif
#define PHASE 125000u /* calls with one number of keys; each begins with none */
#define VALUE_MAX 600u
#define BATCH 5u
#define TTL_MS 1000000000u /* nothing expires while the test runs */

static const unsigned key_ranges[] = {64, 6000, 300, 12000, 2000};

struct run {
    struct shmkv *db;
    struct oracle *o;
    uint64_t random;
    uint64_t number; /* of the call */
    unsigned keys;
    unsigned generation;     /* of keys: all were removed before it */
    uint64_t highest[12000]; /* version of each key, also of those that are gone */
    /* of the call under way */
    unsigned id;
    char key[ORACLE_KEY_MAX];
    size_t klen;
    struct oracle_item *old;
    char value[VALUE_MAX];
    size_t size;
};

/* What does not agree ends the test. */
#define agree(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            disagree(r, #condition);                                                               \
    } while (0)

static _Noreturn void disagree(const struct run *r, const char *condition)
{
    fail_msg("call %llu, key %u: %s does not hold; last error: %s", (unsigned long long)r->number,
             r->id, condition, shmkv_last_error());
    abort(); /* the line above does not return */
}

/* ---- keys and values ----------------------------------------------------------------------- */

/* Short and long ones, with all kinds of bytes. */
static size_t key_of(unsigned generation, unsigned id, char *key)
{
    size_t klen = 3 + id * 7 % (ORACLE_KEY_MAX - 2);
    uint64_t seed = id;
    key[0] = (char)id;
    key[1] = (char)(id >> 8);
    key[2] = (char)generation;
    for (size_t i = 3; i < klen; i++)
        key[i] = (char)blob_random(&seed);
    return klen;
}

static void choose_key(struct run *r)
{
    r->id = (unsigned)(blob_random(&r->random) % r->keys);
    r->klen = key_of(r->generation, r->id, r->key);
    r->old = oracle_find(r->o, r->key, r->klen);
}

/* Numbers, for shmkv_add(), and other things; large ones where there are few keys. */
static void choose_value(struct run *r)
{
    uint64_t x = blob_random(&r->random);
    size_t most = r->keys > 1000 ? 60 : VALUE_MAX;
    if (x % 4 == 0) {
        r->size = (size_t)snprintf(r->value, sizeof(r->value), "%d", (int)(x >> 32));
        return;
    }
    r->size = (x >> 8) % (most + 1);
    memset(r->value, 'a' + (int)(x >> 32) % 26, r->size);
}

/* A write has succeeded; @version is what it reported, 0: nothing. */
static void stored(struct run *r, const void *value, size_t size, uint64_t version, int64_t expires)
{
    uint64_t lowest = r->highest[r->id];
    struct oracle_item *item = oracle_put(r->o, r->key, r->klen, value, size);
    item->expires = expires;
    item->version = version;
    agree(version == 0 || version > lowest);
    if (version != 0)
        r->highest[r->id] = version;
}

static void removed(struct run *r)
{
    oracle_remove(r->o, r->old);
    r->old = NULL;
}

/* ---- one call each ------------------------------------------------------------------------- */

static void compare_item(struct run *r, const struct shmkv_item *item)
{
    struct oracle_item *old = r->old;
    agree(item->size == old->size && memcmp(item->value, old->value, old->size) == 0);
    agree(item->version >= r->highest[r->id]);
    agree(old->version == 0 || item->version == old->version);
    agree(old->expires == -1 ? item->expires_ms > 0 : item->expires_ms == old->expires);
    old->version = r->highest[r->id] = item->version;
    old->expires = item->expires_ms;
}

static void try_get(struct run *r)
{
    struct shmkv_section section;
    struct shmkv_item item;
    agree(shmkv_begin(r->db, &section) == 0);
    int rc = shmkv_get(&section, r->key, r->klen, &item);
    agree(rc == (r->old != NULL ? 0 : SHMKV_ENOTFOUND));
    if (rc == 0)
        compare_item(r, &item);
    shmkv_end(&section);
}

static void try_read(struct run *r)
{
    char buf[8 * VALUE_MAX];
    struct shmkv_item item;
    size_t cap = blob_random(&r->random) % 8 == 0 ? 3 : sizeof(buf);
    int rc = shmkv_read(r->db, r->key, r->klen, buf, cap, &item);
    if (r->old == NULL)
        agree(rc == SHMKV_ENOTFOUND);
    else if (r->old->size > cap)
        agree(rc == SHMKV_EBUFFER && item.size == r->old->size);
    else
        agree(rc == 0);
    if (rc == 0)
        compare_item(r, &item);
    agree(shmkv_exists(r->db, r->key, r->klen) == (r->old != NULL ? 0 : SHMKV_ENOTFOUND));
}

static void try_get_many(struct run *r)
{
    char text[BATCH][ORACLE_KEY_MAX];
    struct shmkv_bytes keys[BATCH];
    struct shmkv_item items[BATCH];
    struct shmkv_section section;
    unsigned ids[BATCH];
    int found = 0;
    for (unsigned i = 0; i < BATCH; i++) {
        choose_key(r);
        memcpy(text[i], r->key, r->klen);
        keys[i] = (struct shmkv_bytes){.data = text[i], .size = r->klen};
        ids[i] = r->id;
        found += r->old != NULL;
    }
    agree(shmkv_begin(r->db, &section) == 0);
    agree(shmkv_get_many(&section, keys, BATCH, items) == found);
    for (unsigned i = 0; i < BATCH; i++) {
        r->id = ids[i];
        r->old = oracle_find(r->o, keys[i].data, keys[i].size);
        agree((items[i].value != NULL) == (r->old != NULL));
        if (r->old != NULL)
            compare_item(r, &items[i]);
    }
    shmkv_end(&section);
}

static void try_put(struct run *r)
{
    uint64_t version = 0, x = blob_random(&r->random);
    struct shmkv_put_options o = {.version = &version};
    o.flags = x % 8 == 0 ? SHMKV_IF_ABSENT : x % 8 == 1 ? SHMKV_IF_PRESENT : 0;
    o.flags |= x % 5 == 0 ? SHMKV_KEEP_TTL : 0;
    o.ttl_ms = (o.flags & SHMKV_KEEP_TTL) == 0 && x % 7 == 0 ? TTL_MS : 0;
    int64_t expires = o.ttl_ms != 0 ? -1 : 0;
    if ((o.flags & SHMKV_KEEP_TTL) != 0 && r->old != NULL)
        expires = r->old->expires;
    int expected = 0;
    if ((o.flags & SHMKV_IF_ABSENT) != 0 && r->old != NULL)
        expected = SHMKV_EEXISTS;
    if ((o.flags & SHMKV_IF_PRESENT) != 0 && r->old == NULL)
        expected = SHMKV_ENOTFOUND;
    agree(shmkv_put(r->db, r->key, r->klen, r->value, r->size, &o) == expected);
    if (expected == 0)
        stored(r, r->value, r->size, version, expires);
}

static void try_reserve(struct run *r)
{
    struct shmkv_reservation res;
    uint64_t version = 0;
    struct shmkv_put_options o = {.version = &version};
    agree(shmkv_reserve(r->db, r->key, r->klen, r->size, &o, &res) == 0);
    memcpy(res.value, r->value, r->size);
    if (blob_random(&r->random) % 4 == 0) {
        shmkv_cancel(&res);
        return;
    }
    agree(shmkv_commit(&res) == 0);
    stored(r, r->value, r->size, version, 0);
}

static void try_put_many(struct run *r)
{
    char text[BATCH][ORACLE_KEY_MAX];
    struct shmkv_bytes keys[BATCH], values[BATCH];
    unsigned ids[BATCH];
    size_t done;
    for (unsigned i = 0; i < BATCH; i++) {
        choose_key(r);
        ids[i] = r->id;
        memcpy(text[i], r->key, r->klen);
        keys[i] = (struct shmkv_bytes){.data = text[i], .size = r->klen};
        values[i] = (struct shmkv_bytes){.data = r->value, .size = r->size};
    }
    agree(shmkv_put_many(r->db, keys, values, BATCH, NULL, &done) == 0 && done == BATCH);
    for (unsigned i = 0; i < BATCH; i++) {
        r->id = ids[i];
        r->klen = keys[i].size;
        memcpy(r->key, text[i], r->klen);
        stored(r, r->value, r->size, 0, 0);
    }
}

static void try_delete(struct run *r)
{
    agree(shmkv_delete(r->db, r->key, r->klen) == (r->old != NULL ? 0 : SHMKV_ENOTFOUND));
    if (r->old != NULL)
        removed(r);
}

static void try_delete_many(struct run *r)
{
    char text[BATCH][ORACLE_KEY_MAX];
    struct shmkv_bytes keys[BATCH];
    size_t gone, expected = 0;
    for (unsigned i = 0; i < BATCH; i++) {
        choose_key(r);
        memcpy(text[i], r->key, r->klen);
        keys[i] = (struct shmkv_bytes){.data = text[i], .size = r->klen};
        expected += r->old != NULL;
        if (r->old != NULL)
            removed(r);
    }
    agree(shmkv_delete_many(r->db, keys, BATCH, &gone) == 0 && gone == expected);
}

static void try_cas(struct run *r)
{
    uint64_t version = 0, x = blob_random(&r->random);
    uint64_t now = r->old != NULL ? r->old->version : 0;
    struct shmkv_put_options o = {.version = &version, .ttl_ms = x % 16 == 0 ? TTL_MS : 0};
    uint64_t expected = x % 4 == 0 ? x : now;
    if (r->old != NULL && now == 0) /* of a call that did not report it: a read tells */
        return;
    int rc = shmkv_cas(r->db, r->key, r->klen, expected, r->value, r->size, &o);
    agree(rc == (expected == now ? 0 : SHMKV_EMISMATCH));
    if (rc == 0)
        stored(r, r->value, r->size, version, o.ttl_ms != 0 ? -1 : 0);
}

static void try_add(struct run *r)
{
    char text[32] = "";
    int64_t result = 0, old = 0, delta = (int32_t)blob_random(&r->random);
    bool number = r->old == NULL ||
                  (r->old->size > 0 && r->old->size < 21 && r->old->value[r->old->size - 1] <= '9');
    int rc = shmkv_add(r->db, r->key, r->klen, delta, &result);
    agree(rc == (number ? 0 : SHMKV_ENOTNUM));
    if (rc != 0)
        return;
    if (r->old != NULL) {
        memcpy(text, r->old->value, r->old->size);
        old = strtoll(text, NULL, 10);
    }
    agree(result == old + delta);
    int size = snprintf(text, sizeof(text), "%lld", (long long)result);
    stored(r, text, (size_t)size, 0, r->old != NULL ? r->old->expires : 0);
}

/* Something that is no number any more, and not for ever longer. */
static void try_append(struct run *r)
{
    char whole[2 * VALUE_MAX + 8];
    size_t total = 0, before = r->old != NULL ? r->old->size : 0;
    if (before + r->size + 1 > sizeof(whole))
        return;
    if (before != 0)
        memcpy(whole, r->old->value, before);
    memcpy(whole + before, r->value, r->size);
    whole[before + r->size] = 'z';
    agree(shmkv_append(r->db, r->key, r->klen, whole + before, r->size + 1, &total) == 0);
    agree(total == before + r->size + 1);
    stored(r, whole, total, 0, r->old != NULL ? r->old->expires : 0);
}

static void try_touch(struct run *r)
{
    uint64_t ttl = blob_random(&r->random) % 2 * TTL_MS;
    int rc = shmkv_touch(r->db, r->key, r->klen, ttl);
    agree(rc == (r->old != NULL ? 0 : SHMKV_ENOTFOUND));
    if (rc != 0)
        return;
    r->old->version = 0;
    r->old->expires = ttl != 0 ? -1 : 0;
}

static void try_take(struct run *r)
{
    char buf[8 * VALUE_MAX];
    size_t size = 0, cap = blob_random(&r->random) % 8 == 0 ? 5 : sizeof(buf);
    int rc = shmkv_take(r->db, r->key, r->klen, buf, cap, &size);
    if (r->old == NULL) {
        agree(rc == SHMKV_ENOTFOUND);
        return;
    }
    agree(rc == (r->old->size > cap ? SHMKV_EBUFFER : 0) && size == r->old->size);
    if (rc != 0)
        return;
    agree(memcmp(buf, r->old->value, size) == 0);
    removed(r);
}

static int replace(void *arg, const struct shmkv_item *old, struct shmkv_bytes *value)
{
    struct run *r = arg;
    agree((old != NULL) == (r->old != NULL));
    if (old != NULL)
        agree(old->size == r->old->size && memcmp(old->value, r->old->value, old->size) == 0);
    *value = (struct shmkv_bytes){.data = r->value, .size = r->size};
    return r->size % 3 == 0 ? SHMKV_KEEP : r->size % 3 == 1 ? SHMKV_STORE : SHMKV_REMOVE;
}

static void try_update(struct run *r)
{
    int rc = shmkv_update(r->db, r->key, r->klen, replace, r);
    agree(rc == 0 || (rc == SHMKV_ENOTFOUND && r->old == NULL && r->size % 3 == 2));
    if (r->size % 3 == 1)
        stored(r, r->value, r->size, 0, r->old != NULL ? r->old->expires : 0);
    else if (r->size % 3 == 2 && r->old != NULL)
        removed(r);
}

/* ---- all of it ----------------------------------------------------------------------------- */

static int compare_pair(void *arg, const struct shmkv_pair *pair)
{
    struct run *r = arg;
    r->old = oracle_find(r->o, pair->key, pair->klen);
    agree(r->old != NULL);
    r->id = (unsigned char)r->old->key[0] | (unsigned)(unsigned char)r->old->key[1] << 8;
    compare_item(r, &pair->item);
    return 0;
}

static void compare_all(struct run *r)
{
    uint64_t cursor = 0, count;
    agree(shmkv_scan(r->db, &cursor, NULL, compare_pair, r) == 0);
    agree(shmkv_count(r->db, &count) == 0 && count == oracle_count(r->o));
    agree(shmkv_check(r->db, NULL, NULL) == 0);
}

static void begin_generation(struct run *r)
{
    uint64_t count;
    agree(shmkv_clear(r->db) == 0);
    agree(shmkv_count(r->db, &count) == 0 && count == 0);
    oracle_clear(r->o);
    r->generation++;
    memset(r->highest, 0, sizeof(r->highest));
}

static void call_one(struct run *r)
{
    static void (*const calls[])(struct run *) = {
        try_get, try_get,    try_read,    try_get_many,    try_put,      try_put,    try_put,
        try_put, try_put,    try_reserve, try_add,         try_put_many, try_delete, try_cas,
        try_cas, try_append, try_take,    try_delete_many, try_touch,    try_update,
    };
    choose_key(r);
    choose_value(r);
    calls[blob_random(&r->random) % (sizeof(calls) / sizeof(calls[0]))](r);
}

static const struct shmkv_options small = {.size = 4u << 20, .flags = SHMKV_NO_KEEPER};

static void ten_million_calls(void **state)
{
    struct run *r = calloc(1, sizeof(*r));
    struct shmkv_stats st;
    r->db = fixture_db(state);
    r->o = oracle_open();
    r->random = 20;
    if (r->o == NULL) {
        free(r);
        print_message("skip - differential: liburcu-cds is not installed\n");
        skip();
        return;
    }
    for (r->number = 0; r->number < CALLS; r->number++) {
        uint64_t phase = r->number / PHASE;
        r->keys = key_ranges[phase % (sizeof(key_ranges) / sizeof(key_ranges[0]))];
        call_one(r);
        if (r->number % PHASE == PHASE - 1) {
            compare_all(r);
            begin_generation(r);
        }
        if (r->number % (10 * PHASE) == PHASE)
            agree(shmkv_compact(r->db) == 0);
    }
    assert_rc(shmkv_get_stats(r->db, &st), 0);
    print_message("%llu resizes, %llu segments cleaned, %llu records moved, %llu stalls\n",
                  (unsigned long long)st.resizes, (unsigned long long)st.segments_cleaned,
                  (unsigned long long)st.relocations, (unsigned long long)st.stalls);
    assert_true(st.resizes > CALLS / 1000000 && st.segments_cleaned > CALLS / 10000);
    assert_true(st.relocations > CALLS / 1000);
    oracle_close(r->o);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(ten_million_calls, &small),
    };
    return cmocka_run_group_tests_name("differential", tests, NULL, NULL);
}
