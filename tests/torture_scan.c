/* SPDX-License-Identifier: MIT */
/*
 * torture_scan.c - keys that stay are returned exactly once, beside writers, cleaner and resizes.
 *
 * First, step by step: the table is moved, and keys are changed, between the reading of a table and
 * of the next.  Then, for some seconds: two processes grow, purge and shrink the index, a third
 * overwrites the stable keys and lets the cleaner move them, and one scans.
 */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "cleaner.h"
#include "clock.h"
#include "point.h"
#include "resize.h"
#include "store.h"

#define KEYS 3000u

static unsigned seconds = 2;

static int key_of(char *key, size_t room, char prefix, unsigned n)
{
    return snprintf(key, room, "%c%u", prefix, n);
}

static void put_keys(struct shmkv *db, char prefix, unsigned from, unsigned to)
{
    char key[24];
    for (unsigned i = from; i < to; i++) {
        key_of(key, sizeof(key), prefix, i);
        put_text(db, key, "value");
    }
}

struct seen {
    unsigned char times[KEYS];
    uint64_t version[KEYS];
};

static int see(void *arg, const struct shmkv_pair *pair)
{
    struct seen *s = arg;
    char text[24] = "";
    memcpy(text, pair->key, pair->klen);
    unsigned long n = text[0] == 'k' ? strtoul(text + 1, NULL, 10) : KEYS;
    if (n < KEYS) {
        s->times[n]++;
        s->version[n] = pair->item.version;
    }
    return 0;
}

static struct seen scan_all(struct shmkv *db, size_t limit)
{
    struct shmkv_scan_options o = {.limit = limit};
    struct seen s;
    uint64_t cursor = 0;
    memset(&s, 0, sizeof(s));
    do {
        child_assert(shmkv_scan(db, &cursor, &o, see, &s) == 0);
    } while (cursor != 0);
    return s;
}

/* ---- step by step -------------------------------------------------------------------------- */

static struct context *writer_of(struct shmkv *db)
{
    struct context *c;
    assert_rc(store_writer(db, &c), 0);
    return c;
}

static bool resizing(struct shmkv *db)
{
    struct context *c = writer_of(db);
    uint64_t outer = epoch_enter(&c->writer.self);
    bool running = resize_running(&db->store->arena);
    epoch_exit(&c->writer.self, outer);
    return running;
}

/* Put keys until a resize has begun. */
static void begin_resize(struct shmkv *db)
{
    for (unsigned n = 0; !resizing(db); n++)
        put_keys(db, 'x', n, n + 1);
}

static void finish_resize(void *arg)
{
    resize_finish(&writer_of(arg)->writer.self);
}

/* Every key is in both tables: as read in the first, and moved to the second since. */
static void keys_moved_within_a_step_come_once(void **state)
{
    struct shmkv *db = fixture_db(state);
    put_keys(db, 'k', 0, KEYS);
    begin_resize(db);
    point_arm("scan.table", 1, POINT_CALL, finish_resize, db);
    struct seen s = scan_all(db, 0);
    point_disarm();
    assert_false(resizing(db));
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(s.times[i], 1);
}

static void change_one(void *arg)
{
    put_text(arg, "k7", "newer");
}

/* Of the two copies of a key that is changed between the two tables the newer one comes. */
static void a_key_changed_within_a_step_comes_once(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_scan_options one = {.limit = 1};
    struct seen s;
    uint64_t cursor = hash_key("k7", 2, &db->store->arena.hash_secret); /* a scan begins with it */
    put_keys(db, 'k', 0, KEYS);
    begin_resize(db);
    memset(&s, 0, sizeof(s));
    point_arm("scan.table", 1, POINT_CALL, change_one, db);
    assert_rc(shmkv_scan(db, &cursor, &one, see, &s), 0);
    point_disarm();
    assert_int_equal(s.times[7], 1);
    assert_int_equal(s.version[7], version_of(db, "k7"));
}

/* The root is two tables on when the step gets to the second. */
static void resize_twice(void *arg)
{
    finish_resize(arg);
    begin_resize(arg);
    finish_resize(arg);
    begin_resize(arg);
}

static void a_step_survives_two_resizes(void **state)
{
    struct shmkv *db = fixture_db(state);
    put_keys(db, 'k', 0, KEYS);
    begin_resize(db);
    point_arm("scan.table", 3, POINT_CALL, resize_twice, db);
    struct seen s = scan_all(db, 50);
    point_disarm();
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(s.times[i], 1);
}

/* ---- for some seconds ---------------------------------------------------------------------- */

static const struct shmkv_options small = {.size = 16u << 20, .flags = SHMKV_NO_KEEPER};

/* What children share. */
struct shared {
    const struct fixture *fixture;
    uint64_t end_ns;
    char prefix;
};

static void churn(struct shmkv *db, char prefix, unsigned keys)
{
    struct context *c = writer_of(db);
    char key[24];
    put_keys(db, prefix, 0, keys);
    for (unsigned i = 0; i < keys; i++) {
        key_of(key, sizeof(key), prefix, i);
        child_assert(shmkv_delete(db, key, strlen(key)) == 0);
        if (i % 64 == 0) {
            epoch_poll(&db->store->arena);
            resize_purge(&c->writer.self, &c->writer.resizer);
        }
    }
}

static int churner(void *arg)
{
    const struct shared *s = arg;
    struct shmkv *db = fixture_open(s->fixture, SHMKV_NO_KEEPER);
    uint64_t random = (uint64_t)s->prefix;
    while (clock_mono_ns() < s->end_ns) {
        random = random * 6364136223846793005ull + 1;
        churn(db, s->prefix, 1u << (8 + (random >> 60) % 7));
    }
    shmkv_close(db);
    return 0;
}

static int overwriter(void *arg)
{
    const struct shared *s = arg;
    struct shmkv *db = fixture_open(s->fixture, SHMKV_NO_KEEPER);
    char value[300];
    memset(value, 'v', sizeof(value));
    for (unsigned i = 0; clock_mono_ns() < s->end_ns; i++) {
        char key[24];
        int len = key_of(key, sizeof(key), 'k', i * 7919 % KEYS);
        child_assert(shmkv_put(db, key, (size_t)len, value, i % sizeof(value), NULL) == 0);
        if (i % 4096 == 0)
            child_assert(shmkv_compact(db) == 0);
    }
    shmkv_close(db);
    return 0;
}

static void each_key_comes_once_beside_everything(void **state)
{
    struct fixture *f = *state;
    struct shared s[3];
    child_fn *fns[3] = {churner, churner, overwriter};
    pid_t pids[3];
    struct shmkv_stats before, after;
    unsigned scans = 0;
    put_keys(f->db, 'k', 0, KEYS);
    assert_rc(shmkv_get_stats(f->db, &before), 0);
    for (unsigned i = 0; i < 3; i++) {
        s[i] = (struct shared){.fixture = f, .prefix = (char)('x' + i)};
        s[i].end_ns = clock_mono_ns() + seconds * 1000000000ull;
        pids[i] = child_start(fns[i], &s[i]);
    }
    while (clock_mono_ns() < s[0].end_ns) {
        struct seen seen = scan_all(f->db, scans % 3 * 50);
        for (unsigned i = 0; i < KEYS; i++) {
            if (seen.times[i] != 1)
                fail_msg("scan %u: key k%u was returned %u times", scans, i, seen.times[i]);
        }
        scans++;
    }
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(child_wait(pids[i], 20000), 0);
    assert_rc(shmkv_get_stats(f->db, &after), 0);
    print_message("%u scans, %llu resizes, %llu records moved by the cleaner\n", scans,
                  (unsigned long long)(after.resizes - before.resizes),
                  (unsigned long long)after.relocations);
    assert_true(scans > seconds && after.resizes > before.resizes + 2 && after.relocations > 0);
    assert_rc(shmkv_check(f->db, NULL, NULL), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(keys_moved_within_a_step_come_once),
        FIXTURE(a_key_changed_within_a_step_comes_once),
        FIXTURE(a_step_survives_two_resizes),
        FIXTURE_WITH(each_key_comes_once_beside_everything, &small),
    };
    if (argc > 1)
        seconds = (unsigned)strtoul(argv[1], NULL, 10);
    return cmocka_run_group_tests_name("scan", tests, NULL, NULL);
}
