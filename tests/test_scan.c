/* SPDX-License-Identifier: MIT */
/* test_scan.c - globs; a scan returns each key once, whatever the tables do meanwhile. */
#include "fixture.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "index.h"
#include "scan_glob.h"
#include "store.h"

/* ---- globs --------------------------------------------------------------------------------- */

static void globs_match_what_they_say(void **state)
{
    static const struct {
        const char *pattern, *key;
        bool matches;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "", false},
        {"*", "", true},
        {"*", "anything", true},
        {"a*", "a", true},
        {"a*c", "abbbc", true},
        {"a*c", "abbb", false},
        {"*b*b*", "abcb", true},
        {"*b*b*", "abc", false},
        {"**a**", "xay", true},
        {"*ab", "aab", true},
        {"?", "a", true},
        {"?", "", false},
        {"??", "a", false},
        {"user:*:name", "user:17:name", true},
        {"user:*:name", "user:17:names", false},
        {"[a-c]x", "bx", true},
        {"[a-c]x", "dx", false},
        {"[!a-c]x", "dx", true},
        {"[!a-c]x", "ax", false},
        {"[]]", "]", true},
        {"[!]]", "]", false},
        {"[a-]", "-", true},
        {"[-a]", "-", true},
        {"[\\]a]", "]", true},
        {"[\\!a]", "!", true},
        {"[a\\-z]", "-", true},
        {"[a\\-z]", "m", false},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"*[0-9]", "key7", true},
        {"*[0-9]", "key", false},
        {"[\x80-\xff]", "\xc3", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(scan_glob_valid(cases[i].pattern));
        if (scan_glob_match(cases[i].pattern, cases[i].key, strlen(cases[i].key)) !=
            cases[i].matches)
            fail_msg("pattern %s, key %s", cases[i].pattern, cases[i].key);
    }
    assert_true(scan_glob_match("a?b", "a\0b", 3)); /* keys are any bytes */
}

static void globs_that_do_not_end_are_invalid(void **state)
{
    (void)state;
    assert_false(scan_glob_valid("["));
    assert_false(scan_glob_valid("[a"));
    assert_false(scan_glob_valid("[]"));
    assert_false(scan_glob_valid("[!]"));
    assert_false(scan_glob_valid("[a-"));
    assert_false(scan_glob_valid("[a\\"));
    assert_false(scan_glob_valid("a\\"));
    assert_true(scan_glob_valid("a]"));
}

/* A matcher that tries every split at every star would need years. */
static void many_stars_take_no_time(void **state)
{
    char key[4096];
    (void)state;
    memset(key, 'a', sizeof(key));
    assert_false(scan_glob_match("*a*a*a*a*a*a*a*a*a*a*a*a*b", key, sizeof(key)));
}

/* ---- what a scan returns ------------------------------------------------------------------- */

#define KEYS 5000u

/* How often each key "k<number>" was returned, and what else. */
struct seen {
    unsigned char times[KEYS];
    size_t others, total;
    uint64_t last_hash;
    bool unordered;
    const struct hash_secret *secret;
    int stop_at; /* return 7 when so many were seen; 0: never */
};

static void seen_begin(struct seen *s, struct shmkv *db)
{
    memset(s, 0, sizeof(*s));
    s->secret = &db->store->arena.hash_secret;
}

static int see(void *arg, const struct shmkv_pair *pair)
{
    struct seen *s = arg;
    char text[24] = "";
    uint64_t hash = hash_key(pair->key, pair->klen, s->secret);
    s->unordered |= hash < s->last_hash;
    s->last_hash = hash;
    s->total++;
    if (pair->klen < sizeof(text))
        memcpy(text, pair->key, pair->klen);
    unsigned long n = text[0] == 'k' ? strtoul(text + 1, NULL, 10) : KEYS;
    if (n < KEYS)
        s->times[n]++;
    else
        s->others++;
    return s->stop_at != 0 && s->total == (size_t)s->stop_at ? 7 : 0;
}

static void put_number(struct shmkv *db, char prefix, unsigned n)
{
    char key[24];
    snprintf(key, sizeof(key), "%c%u", prefix, n);
    put_text(db, key, "value");
}

static void put_keys(struct shmkv *db)
{
    for (unsigned i = 0; i < KEYS; i++)
        put_number(db, 'k', i);
}

static void assert_each_once(const struct seen *s)
{
    for (unsigned i = 0; i < KEYS; i++) {
        if (s->times[i] != 1)
            fail_msg("key k%u was returned %u times", i, s->times[i]);
    }
    assert_false(s->unordered);
}

static void an_empty_store_has_no_keys(void **state)
{
    struct seen s;
    uint64_t cursor = 0, count = 1;
    seen_begin(&s, fixture_db(state));
    assert_rc(shmkv_scan(fixture_db(state), &cursor, NULL, see, &s), 0);
    assert_int_equal(cursor, 0);
    assert_int_equal(s.total, 0);
    assert_rc(shmkv_count(fixture_db(state), &count), 0);
    assert_int_equal(count, 0);
}

static void each_key_comes_once_with_any_limit(void **state)
{
    static const size_t limits[] = {0, 1, 2, 7, 64, 1000, KEYS, KEYS + 1, SIZE_MAX};
    struct shmkv *db = fixture_db(state);
    put_keys(db);
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct shmkv_scan_options o = {.limit = limits[i]};
        struct seen s;
        uint64_t cursor = 0;
        seen_begin(&s, db);
        do {
            size_t before = s.total;
            assert_rc(shmkv_scan(db, &cursor, &o, see, &s), 0);
            assert_true(limits[i] == 0 || s.total - before <= limits[i]);
        } while (cursor != 0);
        assert_each_once(&s);
        assert_int_equal(s.total, KEYS);
    }
}

static int expect_pair(void *arg, const struct shmkv_pair *pair)
{
    const uint64_t *version = arg;
    assert_int_equal(pair->klen, 3);
    assert_memory_equal(pair->key, "a\0b", 3);
    assert_int_equal(pair->item.size, 5);
    assert_memory_equal(pair->item.value, "v\0lue", 5);
    assert_int_equal(pair->item.version, *version);
    assert_true(pair->item.expires_ms > 0);
    return 0;
}

static void a_pair_comes_whole(void **state)
{
    uint64_t version, cursor = 0;
    struct shmkv_put_options o = {.ttl_ms = 100000, .version = &version};
    assert_rc(shmkv_put(fixture_db(state), "a\0b", 3, "v\0lue", 5, &o), 0);
    assert_rc(shmkv_scan(fixture_db(state), &cursor, NULL, expect_pair, &version), 0);
}

static void deleted_and_expired_keys_do_not_come(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_put_options soon = {.ttl_ms = 1};
    uint64_t count;
    put_keys(db);
    delete_text(db, "k17");
    assert_rc(shmkv_put(db, "k18", 3, "v", 1, &soon), 0);
    usleep(5000);
    assert_rc(shmkv_count(db, &count), 0);
    assert_int_equal(count, KEYS - 2);
}

static size_t count_matching(struct shmkv *db, const char *prefix, const char *match)
{
    struct shmkv_scan_options o = {.prefix = prefix, .match = match};
    struct seen s;
    uint64_t cursor = 0;
    o.prefix_len = prefix != NULL ? strlen(prefix) : 0;
    seen_begin(&s, db);
    assert_rc(shmkv_scan(db, &cursor, &o, see, &s), 0);
    return s.total;
}

static void filters_filter(void **state)
{
    struct shmkv *db = fixture_db(state);
    put_keys(db);
    assert_int_equal(count_matching(db, "k12", NULL), 1 + 10 + 100);
    assert_int_equal(count_matching(db, "", NULL), KEYS);
    assert_int_equal(count_matching(db, "x", NULL), 0);
    assert_int_equal(count_matching(db, "k4999longer", NULL), 0);
    assert_int_equal(count_matching(db, NULL, "k??"), 90);
    assert_int_equal(count_matching(db, "k1", "*7"), 1 + 10 + 100);
}

static void wrong_arguments_are_refused(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_scan_options no_prefix = {.prefix_len = 3}, bad = {.match = "[a"};
    struct seen s = {.total = 0};
    uint64_t cursor = 0;
    assert_rc(shmkv_scan(db, &cursor, &no_prefix, see, &s), SHMKV_EINVAL);
    assert_rc(shmkv_scan(db, &cursor, &bad, see, &s), SHMKV_EINVAL);
    assert_rc(shmkv_scan(db, NULL, NULL, see, &s), SHMKV_EINVAL);
    assert_rc(shmkv_scan(db, &cursor, NULL, NULL, &s), SHMKV_EINVAL);
    assert_rc(shmkv_count(db, NULL), SHMKV_EINVAL);
}

static void a_stopped_scan_goes_on_at_the_same_pair(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct seen s;
    uint64_t cursor = 0;
    put_keys(db);
    seen_begin(&s, db);
    s.stop_at = 100;
    assert_rc(shmkv_scan(db, &cursor, NULL, see, &s), 7);
    assert_int_equal(s.total, 100);
    s.stop_at = 0;
    assert_rc(shmkv_scan(db, &cursor, NULL, see, &s), 0);
    assert_int_equal(s.total, KEYS + 1); /* the pair at which it was stopped came again */
}

static int go_on(void *arg)
{
    struct fixture *f = ((void **)arg)[0];
    struct seen *s = ((void **)arg)[1];
    uint64_t *cursor = ((void **)arg)[2];
    struct shmkv *db = fixture_open(f, SHMKV_READONLY);
    child_assert(shmkv_scan(db, cursor, NULL, see, s) == 0);
    for (unsigned i = 0; i < KEYS; i++)
        child_assert(s->times[i] == 1);
    shmkv_close(db);
    return 0;
}

static void another_process_can_go_on(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_scan_options half = {.limit = KEYS / 2};
    struct seen s;
    uint64_t cursor = 0;
    void *arg[] = {*state, &s, &cursor};
    put_keys(db);
    seen_begin(&s, db);
    assert_rc(shmkv_scan(db, &cursor, &half, see, &s), 0);
    assert_int_equal(child_wait(child_start(go_on, arg), 10000), 0);
}

struct forking {
    size_t seen;
    pid_t child; /* 0: we are the child */
};

static int fork_inside(void *arg, const struct shmkv_pair *pair)
{
    struct forking *f = arg;
    (void)pair;
    if (f->seen++ == 0)
        f->child = fork();
    return f->seen == 2 && f->child != 0 ? 7 : 0;
}

/* The child goes on with a registration of its own, and does not end the parent's section. */
static void a_callback_may_fork(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t cursor = 0;
    struct forking f = {0};
    put_keys(db);
    int rc = shmkv_scan(db, &cursor, NULL, fork_inside, &f);
    if (f.child == 0)
        _exit(rc == 0 && f.seen == KEYS ? 0 : 1);
    assert_true(f.child > 0);
    assert_int_equal(child_wait(f.child, 10000), 0);
    assert_int_equal(rc, 7);
}

/* ---- one table ----------------------------------------------------------------------------- */

/* Put keys "h<n>" whose home is @home of a table of @buckets buckets, until there are @count. */
static void put_homed(struct shmkv *db, uint64_t home, uint64_t buckets, unsigned count)
{
    const struct hash_secret *secret = &db->store->arena.hash_secret;
    char key[24];
    for (unsigned n = 0; count > 0; n++) {
        int len = snprintf(key, sizeof(key), "h%u", n);
        uint64_t hash = hash_key(key, (size_t)len, secret);
        if (hash / (UINT64_MAX / buckets + 1) != home)
            continue;
        put_text(db, key, "value");
        count--;
    }
}

/* Of the smallest table: the run of its last home, and of some in the middle, cover others' homes,
 * and wrap. */
static void long_runs_and_wraps(void **state)
{
    struct shmkv *db = fixture_db(state);
    const uint64_t buckets = TABLE_MIN_SLOTS / BUCKET_SLOTS;
    struct shmkv_stats st;
    put_homed(db, buckets - 1, buckets, 60);
    put_homed(db, 0, buckets, 20);
    put_homed(db, 40, buckets, 100);
    put_homed(db, 41, buckets, 1);
    put_homed(db, 50, buckets, 9);
    for (size_t limit = 0; limit < 40; limit += 3) {
        struct shmkv_scan_options o = {.limit = limit};
        struct seen s;
        uint64_t cursor = 0;
        seen_begin(&s, db);
        do {
            assert_rc(shmkv_scan(db, &cursor, &o, see, &s), 0);
        } while (cursor != 0);
        assert_int_equal(s.total, 190);
        assert_false(s.unordered);
    }
    assert_rc(shmkv_get_stats(db, &st), 0);
    assert_int_equal(st.slots, TABLE_MIN_SLOTS);
}

/* ---- resizes between and within the calls of one scan -------------------------------------- */

/* What happens between two calls. */
typedef void churn_fn(struct shmkv *db, unsigned *n);

/* Only the stable keys count for the limit, else what is added would make the scan ever longer. */
static void scan_beside(struct shmkv *db, size_t limit, churn_fn *churn, unsigned *n)
{
    struct shmkv_scan_options o = {.limit = limit, .prefix = "k", .prefix_len = 1};
    struct seen s;
    uint64_t cursor = 0;
    seen_begin(&s, db);
    do {
        assert_rc(shmkv_scan(db, &cursor, &o, see, &s), 0);
        churn(db, n);
    } while (cursor != 0);
    assert_each_once(&s);
}

static uint64_t resizes_of(struct shmkv *db, uint64_t *slots)
{
    struct shmkv_stats st;
    assert_rc(shmkv_get_stats(db, &st), 0);
    *slots = st.slots;
    return st.resizes;
}

static void add_some(struct shmkv *db, unsigned *n)
{
    for (unsigned i = 0; i < 20; i++)
        put_number(db, 'x', (*n)++);
}

static void resizing_to_larger_tables(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t small, large;
    unsigned n = 0;
    put_keys(db);
    uint64_t before = resizes_of(db, &small);
    for (unsigned round = 0; round < 3; round++)
        scan_beside(db, 3, add_some, &n);
    assert_true(resizes_of(db, &large) > before + 1);
    assert_true(large > small);
}

/* What a keeper does: raise the epoch, so that tombstones of before may be dropped, and start a
 * resize that does so if there are many.  The writes that follow move it on, a little each. */
static void keep(struct shmkv *db)
{
    struct context *c;
    assert_rc(store_writer(db, &c), 0);
    epoch_poll(&db->store->arena);
    resize_purge(&c->writer.self, &c->writer.resizer);
}

static void add_and_remove_some(struct shmkv *db, unsigned *n)
{
    char key[24];
    keep(db);
    for (unsigned i = 0; i < 40; i++, ++*n) {
        put_number(db, 'x', *n);
        snprintf(key, sizeof(key), "x%u", *n);
        delete_text(db, key);
    }
}

static void resizing_to_the_same_size(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t slots, after;
    unsigned n = 0;
    put_keys(db);
    uint64_t before = resizes_of(db, &slots);
    for (unsigned round = 0; round < 4; round++)
        scan_beside(db, 5, add_and_remove_some, &n);
    assert_true(resizes_of(db, &after) > before + 2);
    assert_int_equal(after, slots);
}

static void remove_some(struct shmkv *db, unsigned *n)
{
    char key[24];
    keep(db);
    for (unsigned i = 0; i < 20 && *n > 0; i++) {
        snprintf(key, sizeof(key), "x%u", --*n);
        delete_text(db, key);
    }
}

static void resizing_to_smaller_tables(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t large, small;
    unsigned n = 0;
    put_keys(db);
    while (n < 60000 || resize_running(&db->store->arena))
        put_number(db, 'x', n++);
    resizes_of(db, &large);
    while (n > 0)
        scan_beside(db, 2, remove_some, &n);
    for (unsigned round = 0; round < 4; round++)
        scan_beside(db, 2, add_and_remove_some, &n);
    resizes_of(db, &small);
    assert_true(small <= large / 4);
}

/* ---- count and clear ----------------------------------------------------------------------- */

static void clear_removes_every_key(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t count;
    put_keys(db);
    assert_rc(shmkv_clear(db), 0);
    assert_rc(shmkv_count(db, &count), 0);
    assert_int_equal(count, 0);
    assert_text(db, "k0", NULL);
    put_text(db, "k0", "again");
    assert_text(db, "k0", "again");
    struct shmkv *readonly = fixture_open(*state, SHMKV_READONLY);
    assert_rc(shmkv_clear(readonly), SHMKV_EREADONLY);
    shmkv_close(readonly);
}

static const struct shmkv_options tiny = {.size = 2u << 20, .flags = SHMKV_NO_KEEPER};

static void clear_works_on_a_full_store(void **state)
{
    struct shmkv *db = fixture_db(state);
    char key[24], value[1000];
    uint64_t count;
    memset(value, 'v', sizeof(value));
    int rc = 0;
    for (unsigned i = 0; rc == 0; i++) {
        int len = snprintf(key, sizeof(key), "k%u", i);
        rc = shmkv_put(db, key, (size_t)len, value, sizeof(value), NULL);
    }
    assert_int_equal(rc, SHMKV_ENOSPC);
    assert_rc(shmkv_clear(db), 0);
    assert_rc(shmkv_count(db, &count), 0);
    assert_int_equal(count, 0);
    assert_rc(shmkv_put(db, "k", 1, value, sizeof(value), NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(globs_match_what_they_say),
        cmocka_unit_test(globs_that_do_not_end_are_invalid),
        cmocka_unit_test(many_stars_take_no_time),
        FIXTURE(an_empty_store_has_no_keys),
        FIXTURE(each_key_comes_once_with_any_limit),
        FIXTURE(a_pair_comes_whole),
        FIXTURE(deleted_and_expired_keys_do_not_come),
        FIXTURE(filters_filter),
        FIXTURE(wrong_arguments_are_refused),
        FIXTURE(a_stopped_scan_goes_on_at_the_same_pair),
        FIXTURE(another_process_can_go_on),
        FIXTURE(a_callback_may_fork),
        FIXTURE(long_runs_and_wraps),
        FIXTURE(resizing_to_larger_tables),
        FIXTURE(resizing_to_the_same_size),
        FIXTURE(resizing_to_smaller_tables),
        FIXTURE(clear_removes_every_key),
        FIXTURE_WITH(clear_works_on_a_full_store, &tiny),
    };
    return cmocka_run_group_tests_name("scan", tests, NULL, NULL);
}
