/* SPDX-License-Identifier: MIT */
/*
 * crash_evict.c - a process dies, or stands still, at each step of eviction, beside others that go
 * on using the cache.
 *
 * Before each write the child notes in a shared mapping what it is about to do, after it that it
 * is done.  Whatever the step was: a key has its last acknowledged value, or the one that was under
 * way, or none; a deleted key has none; nobody waits; and the cache goes on, whole.
 */
#include "writers.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "blob.h"
#include "child.h"
#include "evict.h"
#include "point.h"

#define KEYS 60000u /* three times as many as there is room for */
#define HOT 500u
#define VALUE_BYTES 60u
#define BIG_IN 1000u          /* one of so many keys has a value larger than a segment */
#define BIG_BYTES (66u << 10) /* at least */
#define BIG_MOST (4u * BIG_BYTES)
#define STEPS 120000u
#define LIMIT_MS 60000u

static const struct shmkv_options cache = {.flags = SHMKV_NO_KEEPER | SHMKV_CACHE,
                                           .size = 4u << 20};

/* What the writer says of each key: 0: deleted, or never put. */
struct notes {
    _Atomic uint32_t done[KEYS], begun[KEYS];
};

struct plan {
    const char *point;
    unsigned nth;
    enum point_action action;
    struct fixture *fixture;
    struct notes *notes;
};

static struct notes *notes_make(void)
{
    void *memory =
        mmap(NULL, sizeof(struct notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

static size_t size_of(uint64_t key)
{
    if (key % BIG_IN != 7)
        return VALUE_BYTES;
    return BIG_BYTES * (1 + key / BIG_IN % (BIG_MOST / BIG_BYTES));
}

static int put(struct shmkv *db, struct notes *n, uint64_t key, uint32_t sequence)
{
    static char value[BIG_MOST];
    size_t size = size_of(key);
    blob_write(value, size, key, sequence);
    store_release(&n->begun[key], sequence);
    int rc = shmkv_put(db, &key, sizeof(key), value, size, NULL);
    if (rc == 0)
        store_release(&n->done[key], sequence);
    return rc;
}

static int removal(struct shmkv *db, struct notes *n, uint64_t key)
{
    store_release(&n->begun[key], 0);
    int rc = shmkv_delete(db, &key, sizeof(key));
    if (rc == 0 || rc == SHMKV_ENOTFOUND)
        store_release(&n->done[key], 0);
    return rc == SHMKV_ENOTFOUND ? 0 : rc;
}

/* The key's sequence; 0: absent; UINT32_MAX: something that is no value of it. */
static uint32_t look(struct shmkv *db, uint64_t key)
{
    static char value[BIG_MOST];
    struct shmkv_item item;
    uint64_t sequence = 0;
    int rc = shmkv_read(db, &key, sizeof(key), value, sizeof(value), &item);
    if (rc == SHMKV_ENOTFOUND)
        return 0;
    bool whole =
        rc == 0 && item.size == size_of(key) && blob_read(value, item.size, key, &sequence);
    return whole ? (uint32_t)sequence : UINT32_MAX;
}

/* One step of use: hot keys are read, others come and go. */
static int use(struct shmkv *db, struct notes *n, uint64_t *random, uint32_t step)
{
    uint64_t r = blob_random(random), key = r % KEYS;
    for (unsigned i = 0; i < 2; i++)
        look(db, blob_random(random) % HOT); /* of these one is large */
    return (r >> 32) % 8 == 0 ? removal(db, n, key) : put(db, n, key, step + 1);
}

/* Reads through a handle that may not write are noted in a ring, which it drains when it evicts. */
static int victim(void *arg)
{
    const struct plan *p = arg;
    uint64_t random = 7;
    struct shmkv *db = fixture_open(p->fixture, SHMKV_NO_KEEPER);
    struct shmkv *reader = fixture_open(p->fixture, SHMKV_READONLY);
    for (uint32_t i = 0; i < STEPS / 2; i++)
        child_assert(use(db, p->notes, &random, i) == 0);
    point_arm(p->point, p->nth, p->action, NULL, NULL);
    for (uint32_t i = STEPS / 2; i < STEPS; i++) {
        look(reader, i % HOT);
        child_assert(use(db, p->notes, &random, i) == 0);
    }
    return 0; /* the point was never passed */
}

/* Absent, or what was written last, or what was about to be. */
static unsigned check_all(struct shmkv *db, struct notes *n)
{
    unsigned there = 0;
    for (uint64_t key = 0; key < KEYS; key++) {
        uint32_t done = load_acquire(&n->done[key]), begun = load_acquire(&n->begun[key]);
        uint32_t seen = look(db, key);
        assert_true(seen == 0 || seen == done || seen == begun);
        there += seen != 0;
        store_relaxed(&n->done[key], seen);
        store_relaxed(&n->begun[key], seen);
    }
    return there;
}

/* Others fill the cache several times over; what they see is theirs. */
static void go_on(struct shmkv *db, struct notes *n, uint64_t *random, uint32_t from, bool held)
{
    for (uint32_t i = from; i < from + STEPS / 4; i++) {
        int rc = use(db, n, random, i);
        if (rc == SHMKV_EHELD && held)
            return; /* a section of the stopped one holds memory back: said, and by name */
        assert_int_equal(rc, 0);
    }
}

static const char *const points[] = {
    "clean.claimed",     "evict.drained",  "evict.marked", "evict.cas",       "relocate.copied",
    "relocate.inflight", "relocate.cas",   "clean.batch",  "clean.retiring",  "segment.opening",
    "segment.opened",    "move.frozen",    "move.placing", "move.placed",     "resize.closed",
    "resize.finishing",  "table.claimed",  "run.head",     "run.rest",        "run.written",
    "run.opened",        "evict.run_kept", "collect.dead", "collect.retired", "run.freed",
};

static void one(void **state, const char *point, unsigned nth, enum point_action action)
{
    struct fixture *f = *state;
    struct plan p = {point, nth, action, f, notes_make()};
    uint64_t random = 11;
    pid_t pid = child_start(victim, &p);
    int status = 0;
    if (action == POINT_KILL) {
        status = child_wait(pid, LIMIT_MS);
        if (status != CHILD_SIGNAL + SIGKILL)
            print_error("%s %u: status %d\n", point, nth, status);
        assert_int_equal(status, CHILD_SIGNAL + SIGKILL);
    } else {
        if (!child_wait_stopped(pid, LIMIT_MS))
            fail_msg("%s %u: it did not stop there", point, nth);
    }
    assert_in_range(check_all(f->db, p.notes), KEYS / 20, KEYS);
    go_on(f->db, p.notes, &random, STEPS, action == POINT_STOP);
    if (action == POINT_STOP)
        child_kill(pid);
    check_all(f->db, p.notes);
    go_on(f->db, p.notes, &random, 2 * STEPS, false);
    check_all(f->db, p.notes);
    assert_rc(shmkv_check(f->db, NULL, NULL), 0);
    assert_rc(shmkv_clear(f->db), 0);
    munmap(p.notes, sizeof(*p.notes));
}

static void killed_at_every_step(void **state)
{
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++)
        one(state, points[i], 1, POINT_KILL);
}

static void stopped_at_every_step(void **state)
{
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++)
        one(state, points[i], 1, POINT_STOP);
}

/* ---- hits ---------------------------------------------------------------------------------- */

#define READ 100u

struct draining {
    struct writer other;
    unsigned read; /* of the keys, by what the index has for them */
};

static void drain_and_count(void *arg)
{
    struct draining *d = arg;
    char key[16];
    evict_drain(&d->other.self);
    for (unsigned i = 0; i < READ; i++) {
        snprintf(key, sizeof(key), "read %u", i);
        d->read += !record_is_unread(record_found(&d->other, key));
    }
}

/* Others evict while it stands, and what was read stays all the same. */
static void who_stands_in_draining_takes_no_hits_along(void **state)
{
    struct draining d = {.read = 0};
    struct writer keeper;
    struct shmkv *reader = fixture_open(*state, SHMKV_READONLY);
    char key[16], value[16];
    writer_begin(&keeper, fixture_arena(state), writers_process(state));
    writer_begin(&d.other, fixture_arena(state), writers_process(state));
    for (unsigned i = 0; i < READ; i++) {
        snprintf(key, sizeof(key), "read %u", i);
        writer_put(&keeper, key, "v");
        assert_rc(shmkv_read(reader, key, strlen(key), value, sizeof(value), NULL), 0);
    }
    point_arm("evict.drained", 1, POINT_CALL, drain_and_count, &d);
    assert_int_equal(evict_drain(&keeper.self), READ);
    assert_int_equal(d.read, READ);
    assert_int_equal(evict_drain(&keeper.self), 0);
    writer_end(&d.other);
    writer_end(&keeper);
    assert_rc(shmkv_close(reader), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(killed_at_every_step, &cache),
        FIXTURE_WITH(stopped_at_every_step, &cache),
        FIXTURE_WITH(who_stands_in_draining_takes_no_hits_along, &cache),
    };
    return cmocka_run_group_tests_name("eviction, killed and stopped", tests, NULL, NULL);
}
