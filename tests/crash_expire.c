/* SPDX-License-Identifier: MIT */
/*
 * crash_expire.c - the sweep beside others that write the same keys, and its death or standstill at
 * each step: a value that was deleted, expired or replaced never comes back.
 *
 * At the end the clock is set back to before the expiry: what the sweep has replaced must be gone,
 * not merely expired.
 */
#include "clock_shift.h"
#include "writers.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "child.h"
#include "expire.h"
#include "point.h"

#define KEYS 3000u
#define LIMIT_MS 20000u
#define ALL_BUCKETS UINT64_MAX

static const struct shmkv_put_options for_an_hour = {.ttl_ms = HOUR_MS};

static void an_hour_passes(void)
{
    store_relaxed(&shift_boot_ms, HOUR_MS + 1);
}

/* ---- races: another participant acts between two steps of the first ------------------------ */

struct race {
    struct shmkv *db;
    struct writer sweeper;
    int rc; /* of the other's call */
};

/* What a race does while the sweep stands before its CAS; the key, "k", has expired. */
static void put_new(void *arg)
{
    struct race *r = arg;
    r->rc = shmkv_put(r->db, "k", 1, "new", 3, NULL);
}

static void put_keeping(void *arg)
{
    static const struct shmkv_put_options keep = {.flags = SHMKV_KEEP_TTL};
    struct race *r = arg;
    r->rc = shmkv_put(r->db, "k", 1, "new", 3, &keep);
}

static void touch(void *arg)
{
    struct race *r = arg;
    r->rc = shmkv_touch(r->db, "k", 1, HOUR_MS);
}

static void persist(void *arg)
{
    struct race *r = arg;
    r->rc = shmkv_touch(r->db, "k", 1, 0);
}

static void delete_key(void *arg)
{
    struct race *r = arg;
    r->rc = shmkv_delete(r->db, "k", 1);
}

/* And the other way: time passes, and the sweep does its work, while a call stands. */
static void expire_and_sweep(void *arg)
{
    struct race *r = arg;
    an_hour_passes();
    r->rc = expire_sweep(&r->sweeper, ALL_BUCKETS) == 1 ? 0 : -1;
}

static const char *const before_cas[] = {"put.entered", "put.written", "put.inflight",
                                         "put.marked"};

static void race_begin(struct race *r, void **state)
{
    *r = (struct race){.db = fixture_db(state), .rc = 1};
    writer_begin(&r->sweeper, fixture_arena(state), writers_process(state));
    store_relaxed(&shift_boot_ms, 0);
    assert_rc(shmkv_put(r->db, "k", 1, "old", 3, &for_an_hour), 0);
}

/* The clock as it was when the old value was good: @value or nothing, never the old one. */
static void race_end(struct race *r, const char *value)
{
    point_disarm();
    assert_text(r->db, "k", value);
    assert_int_equal(expire_sweep(&r->sweeper, ALL_BUCKETS), 0);
    store_relaxed(&shift_boot_ms, 0);
    assert_text(r->db, "k", value);
    writer_end(&r->sweeper);
    assert_rc(shmkv_check(r->db, NULL, NULL), 0);
}

static void the_sweep_meets_a_write(void **state)
{
    static const struct {
        void (*act)(void *);
        int rc;
        const char *value;
    } others[] = {{put_new, 0, "new"},
                  {put_keeping, 0, "new"},
                  {touch, SHMKV_ENOTFOUND, NULL},
                  {persist, SHMKV_ENOTFOUND, NULL},
                  {delete_key, SHMKV_ENOTFOUND, NULL}};
    for (unsigned i = 0; i < ARRAY_SIZE(before_cas) * ARRAY_SIZE(others); i++) {
        unsigned who = i / ARRAY_SIZE(before_cas);
        struct race r;
        race_begin(&r, state);
        an_hour_passes();
        point_arm(before_cas[i % ARRAY_SIZE(before_cas)], 1, POINT_CALL, others[who].act, &r);
        unsigned swept = expire_sweep(&r.sweeper, ALL_BUCKETS);
        assert_rc(r.rc, others[who].rc);
        assert_int_equal(swept, others[who].value == NULL);
        race_end(&r, others[who].value);
    }
}

static void a_write_meets_the_sweep(void **state)
{
    static const struct {
        void (*act)(void *);
        int rc;
        const char *value;
    } calls[] = {{put_new, 0, "new"},
                 {put_keeping, 0, "new"},
                 {touch, SHMKV_ENOTFOUND, NULL},
                 {persist, SHMKV_ENOTFOUND, NULL},
                 {delete_key, SHMKV_ENOTFOUND, NULL}};
    for (unsigned i = 0; i < ARRAY_SIZE(before_cas) * ARRAY_SIZE(calls); i++) {
        unsigned what = i / ARRAY_SIZE(before_cas);
        struct race r, own;
        race_begin(&r, state);
        own = (struct race){.db = r.db};
        point_arm(before_cas[i % ARRAY_SIZE(before_cas)], 1, POINT_CALL, expire_and_sweep, &r);
        calls[what].act(&own);
        assert_int_equal(r.rc, 0); /* the sweep came between, and replaced it */
        assert_rc(own.rc, calls[what].rc);
        race_end(&r, calls[what].value);
    }
}

/* ---- death and standstill ------------------------------------------------------------------ */

struct plan {
    const char *point;
    unsigned nth;
    enum point_action action;
    struct fixture *fixture;
};

static int sweep_all(struct shmkv *db)
{
    struct context *c;
    int rc = store_writer(db, &c);
    if (rc == 0)
        expire_sweep(&c->writer, ALL_BUCKETS);
    return rc;
}

static int sweep_armed(void *arg)
{
    const struct plan *p = arg;
    shmkv_exists(p->fixture->db, "", 1); /* registering is another matter */
    point_arm(p->point, p->nth, p->action, NULL, NULL);
    child_assert(sweep_all(p->fixture->db) == 0);
    point_disarm();
    return 0;
}

/* A third is put again, a third deleted, a third left to the sweep. */
static void write_some(struct shmkv *db)
{
    for (uint64_t key = 0; key < KEYS; key++) {
        if (key % 3 == 0)
            assert_rc(shmkv_put(db, &key, sizeof(key), "new", 3, NULL), 0);
        else if (key % 3 == 1)
            assert_rc(shmkv_delete(db, &key, sizeof(key)), SHMKV_ENOTFOUND);
    }
}

static void expect_all(struct shmkv *db)
{
    char value[8];
    struct shmkv_item item;
    for (uint64_t key = 0; key < KEYS; key++) {
        int rc = shmkv_read(db, &key, sizeof(key), value, sizeof(value), &item);
        assert_rc(rc, key % 3 == 0 ? 0 : SHMKV_ENOTFOUND);
        assert_true(rc != 0 || (item.size == 3 && memcmp(value, "new", 3) == 0));
    }
}

static void one(void **state, const char *point, unsigned nth, enum point_action action)
{
    struct fixture *f = *state;
    struct plan p = {point, nth, action, f};
    store_relaxed(&shift_boot_ms, 0);
    for (uint64_t key = 0; key < KEYS; key++)
        assert_rc(shmkv_put(f->db, &key, sizeof(key), "old", 3, &for_an_hour), 0);
    an_hour_passes();
    pid_t pid = child_start(sweep_armed, &p);
    if (action == POINT_KILL)
        assert_int_equal(child_wait(pid, LIMIT_MS), CHILD_SIGNAL + SIGKILL);
    else
        assert_true(child_wait_stopped(pid, LIMIT_MS));
    write_some(f->db);
    expect_all(f->db);
    if (action == POINT_STOP) {
        kill(pid, SIGCONT);
        assert_int_equal(child_wait(pid, LIMIT_MS), 0);
    }
    audit_reap(f->db);
    assert_int_equal(audit_claims(f->db), 0);
    assert_int_equal(sweep_all(f->db), 0);
    expect_all(f->db);
    store_relaxed(&shift_boot_ms, 0);
    expect_all(f->db); /* gone, not merely expired */
    assert_rc(shmkv_check(f->db, NULL, NULL), 0);
}

static const char *const points[] = {
    "segment.opening", "segment.opened", "put.entered", "put.written", "put.inflight",
    "put.marked",      "put.cas",        "put.used",    "put.done",    "expire.replaced",
};

static void at_every_step(void **state, enum point_action action)
{
    static const unsigned many[] = {1, KEYS / 2, KEYS};
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
        unsigned times = strncmp(points[i], "segment.", 8) == 0 ? 1 : ARRAY_SIZE(many);
        for (unsigned k = 0; k < times; k++)
            one(state, points[i], many[k], action);
    }
}

static void killed_at_every_step(void **state)
{
    at_every_step(state, POINT_KILL);
}

static void stopped_at_every_step(void **state)
{
    at_every_step(state, POINT_STOP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(the_sweep_meets_a_write),
        FIXTURE(a_write_meets_the_sweep),
        FIXTURE(killed_at_every_step),
        FIXTURE(stopped_at_every_step),
    };
    return cmocka_run_group_tests_name("expiry, raced, killed and stopped", tests, NULL, NULL);
}
