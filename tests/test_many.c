/* SPDX-License-Identifier: MIT */
/*
 * test_many.c - many processes attached at once, and many that come for one write.
 *
 * With SHMKV_TEST_FULL in the environment a thousand writers and ten thousand one-shots.
 */
#include "fixture.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "audit.h"
#include "blob.h"
#include "child.h"
#include "clock.h"
#include "futex.h"
#include "lap.h"

#define MS 1000000ull
#define LIMIT_MS 100000u
#define CALL_MS (200u * FIXTURE_PATIENCE)
#define WRITERS_MOST 1000u
#define KEYS_EACH 20u
#define VALUE 200u

static const struct shmkv_options usual = {.flags = SHMKV_NO_KEEPER, .size = 64u << 20};

static bool in_full(void)
{
    return getenv("SHMKV_TEST_FULL") != NULL;
}

static int put_blob(struct shmkv *db, uint64_t key, uint64_t sequence)
{
    char value[VALUE];
    blob_write(value, sizeof(value), key, sequence);
    return shmkv_put(db, &key, sizeof(key), value, sizeof(value), NULL);
}

static bool has_blob(struct shmkv *db, uint64_t key, uint64_t sequence)
{
    char value[VALUE];
    struct shmkv_item item;
    uint64_t found;
    return shmkv_read(db, &key, sizeof(key), value, sizeof(value), &item) == 0 &&
           blob_read(value, item.size, key, &found) && found == sequence;
}

/* ---- a thousand attached writers ----------------------------------------------------------- */

struct crowd {
    _Atomic uint32_t ready, round; /* children wait for each round */
    _Atomic uint64_t longest_ns;
    const struct fixture *fixture;
    unsigned index;
};

static void put_keys(struct crowd *c, struct shmkv *db, uint64_t sequence)
{
    struct lap lap;
    lap_open(&lap);
    for (uint64_t k = 0; k < KEYS_EACH; k++) {
        uint64_t key = c->index * KEYS_EACH + k;
        lap_begin(&lap);
        child_assert(put_blob(db, key, sequence) == 0);
        max_seq_cst(&c->longest_ns, lap_used_ns(lap_end(&lap)));
        child_assert(has_blob(db, key, sequence));
    }
    lap_close(&lap);
}

/* Attach, write, stay; write again when all are there; leave. */
static int attach_and_write(void *arg)
{
    struct crowd *c = arg;
    struct shmkv *db;
    struct shmkv_options o = {.flags = SHMKV_NO_KEEPER};
    uint64_t index = c->index;
    struct crowd mine = {.index = (unsigned)index};
    child_assert(shmkv_open(c->fixture->name, &o, &db) == 0);
    put_keys(&mine, db, 1);
    add_seq_cst(&c->ready, 1);
    while (load_acquire(&c->round) == 0)
        futex_wait(&c->round, 0, 1000 * MS);
    for (uint64_t round = 2; round < 6; round++)
        put_keys(&mine, db, round);
    max_seq_cst(&c->longest_ns, load_relaxed(&mine.longest_ns));
    child_assert(shmkv_close(db) == 0);
    return 0;
}

static void a_crowd_of_writers(void **state)
{
    struct fixture *f = *state;
    unsigned count = in_full() ? WRITERS_MOST : 150;
    static pid_t pids[WRITERS_MOST];
    struct crowd *c =
        mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(c != MAP_FAILED);
    c->fixture = f;
    for (c->index = 0; c->index < count; c->index++) {
        pids[c->index] = child_start(attach_and_write, c);
        while (load_acquire(&c->ready) <= c->index) /* it has taken its number */
            clock_sleep_ns(MS / 10);
    }
    struct shmkv_stats s;
    struct segment_census census;
    assert_rc(shmkv_get_stats(f->db, &s), 0);
    segment_count(audit_arena(f->db), &census);
    print_message("# %llu processes attached, %llu of %llu segments owned\n",
                  (unsigned long long)s.processes, (unsigned long long)census.kinds[SEGMENT_OPEN],
                  (unsigned long long)census.capacity);
    assert_int_equal(s.processes, count + 1);
    assert_true(census.kinds[SEGMENT_OPEN] <= census.capacity / 8 + 8);
    store_release(&c->round, 1);
    futex_wake(&c->round, INT32_MAX);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(child_wait(pids[i], LIMIT_MS), 0);
    for (uint64_t key = 0; key < count * KEYS_EACH; key++)
        assert_true(has_blob(f->db, key, 5));
    print_message("# longest put %.1f ms of its own\n", (double)load_relaxed(&c->longest_ns) / 1e6);
    assert_true(load_relaxed(&c->longest_ns) < CALL_MS * MS);
    assert_int_equal(audit_claims(f->db), 0);
    munmap(c, sizeof(*c));
}

/* ---- leases -------------------------------------------------------------------------------- */

#define CROWD_MOST 200u

/* @holds of an eighth of the store, and two. */
static unsigned crowd_in(struct context *c, struct segment_hold *holds)
{
    struct segment_census census;
    const struct arena *a = &c->store->arena;
    unsigned n = 0;
    segment_count(a, &census);
    for (; n <= census.capacity / 8 + 1; n++) {
        assert_true(n < CROWD_MOST);
        assert_int_equal(
            segment_open(&c->writer.self, SEGMENT_FOR_PUT, a->segment_mask + 1, &holds[n], NULL),
            0);
    }
    return n;
}

static uint64_t segments_owned(const struct arena *a)
{
    struct segment_census census;
    segment_count(a, &census);
    return census.kinds[SEGMENT_OPEN];
}

/* Puts, deletes and batches go on in one segment, which is nobody's between them. */
static void a_lease_lasts_one_write(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct segment_hold holds[CROWD_MOST];
    struct context *c;
    struct shmkv_stats before, after;
    assert_rc(store_writer(db, &c), 0);
    const struct arena *a = &c->store->arena;
    unsigned crowd = crowd_in(c, holds);
    assert_rc(put_blob(db, 0, 1), 0);
    assert_rc(shmkv_get_stats(db, &before), 0);
    for (uint64_t key = 1; key < 200; key++) {
        uint64_t other = key - 1;
        assert_rc(put_blob(db, key, 1), 0);
        assert_true(c->writer.puts.hold.id == SEGMENT_NONE);
        assert_int_equal(segments_owned(a), crowd);
        assert_rc(shmkv_delete(db, &other, sizeof(other)), 0);
        assert_true(c->writer.puts.hold.id == SEGMENT_NONE);
    }
    assert_rc(shmkv_get_stats(db, &after), 0);
    assert_in_range(after.segments, before.segments, before.segments + 2);
    assert_true(has_blob(db, 199, 1));
    for (unsigned i = 0; i < crowd; i++)
        segment_close_owner(a, &holds[i]);
    assert_rc(put_blob(db, 200, 1), 0);
    assert_true(c->writer.puts.hold.id != SEGMENT_NONE); /* there is no crowd any more */
    assert_int_equal(segments_owned(a), 1);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
}

/* ---- one-shots ----------------------------------------------------------------------------- */

struct shot {
    const struct fixture *fixture;
    uint64_t key;
    bool dies;
};

/* What the tool does for one set. */
static int set_once(void *arg)
{
    const struct shot *s = arg;
    struct shmkv *db;
    child_assert(shmkv_open(s->fixture->name, NULL, &db) == 0);
    child_assert(put_blob(db, s->key, 1) == 0);
    if (s->dies)
        raise(SIGKILL);
    child_assert(shmkv_close(db) == 0);
    return 0;
}

/* Each would seal a segment that holds one record, if nobody went on in it. */
static void one_shots(struct fixture *f, bool die)
{
    uint64_t count = in_full() ? 10000 : 400;
    struct shmkv_stats s;
    assert_rc(shmkv_close(f->db), 0);
    for (uint64_t key = 0; key < count; key++) {
        struct shot shot = {f, key, die};
        int status = child_wait(child_start(set_once, &shot), LIMIT_MS);
        assert_int_equal(status, die ? CHILD_SIGNAL + SIGKILL : 0);
    }
    f->db = fixture_open(f, SHMKV_NO_KEEPER);
    for (uint64_t key = 0; key < count; key++)
        assert_true(has_blob(f->db, key, 1));
    audit_reap(f->db);
    assert_rc(shmkv_get_stats(f->db, &s), 0);
    print_message("# %llu one-shots: %llu segments, %llu participants, %llu processes\n",
                  (unsigned long long)count, (unsigned long long)s.segments,
                  (unsigned long long)s.participants, (unsigned long long)s.processes);
    assert_true(s.segments <= count * (VALUE + 64) / s.segment_size + 4);
    assert_int_equal(s.processes, 1);
    assert_int_equal(audit_claims(f->db), 0);
}

static void many_one_shots(void **state)
{
    one_shots(*state, false);
}

static void many_one_shots_that_die(void **state)
{
    one_shots(*state, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(a_crowd_of_writers, &usual),
        FIXTURE_WITH(a_lease_lasts_one_write, &usual),
        FIXTURE_WITH(many_one_shots, &usual),
        FIXTURE_WITH(many_one_shots_that_die, &usual),
    };
    return cmocka_run_group_tests_name("many", tests, NULL, NULL);
}
