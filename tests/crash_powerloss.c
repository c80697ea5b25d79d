/* SPDX-License-Identifier: MIT */
/*
 * crash_powerloss.c - a store as users have it, on a disk that remembers: several writers, values
 * larger than a segment among small ones, deletes, cleaning, a keeper and syncs at once; and
 * whatever a power loss at any moment leaves opens to one cut that holds every write synced before
 * (INV-F1, INV-K1, INV-K2, INV-X1).
 *
 * Each writer's operations are in a row.  What is recovered must be, for each writer, the outcome
 * of a beginning of that row: at least what was synced when the power failed; and with an operation
 * also what its writer had read of the others before it.
 *
 * In rounds: one of the states that a power loss may have left is what the next round begins with,
 * so its recovery is part of the next log: a power loss at any step of it changes nothing, and what
 * one recovery has dropped never comes back (failures 1, 2, 7, 8 and 12).
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "atomics.h"
#include "blob.h"
#include "disk.h"
#include "point.h"
#include "scratch.h"

#define WRITERS 3u
#define KEYS 120u /* of each writer */
#define HOT 10u   /* of them: so segments die, and leave a few that live */
#define OPS 4000u
#define NOTES 4000u
#define LARGE_KEY (KEYS - 1) /* of each writer; its values are runs of two or three segments */
#define LARGE_LEAST 66000u
#define LARGE_MOST 140000u
#define SIZE (2u << 20)
#define LEAST_OPERATIONS 1000u /* in a round */

/* What stands under a key: which operation put it, 0: none. */
struct state {
    uint32_t by[KEYS];
};

/* An operation of a writer; numbers are never given twice. */
struct op {
    uint32_t number;
    uint32_t seen[WRITERS]; /* numbers that it had read of the others */
};

struct writer_row {
    struct op ops[OPS];
    struct state after[OPS]; /* [0]: before the first */
    uint32_t count;          /* of ops, the empty one at [0] included */
    _Atomic uint32_t acked;  /* the last that has returned */
    uint32_t number;         /* the last that was given */
    uint32_t large;          /* of the operations, those that put a run */
    uint64_t random;
    struct shmkv *db;
    char value[LARGE_MOST];
};

/* How far each writer's row must reach at least, or exactly. */
struct mark {
    uint32_t least[WRITERS];
    bool exact;
    bool none; /* there need not be a store yet */
};

static struct {
    struct writer_row rows[WRITERS];
    struct mark marks[NOTES];
    _Atomic uint32_t notes;
    _Atomic uint32_t stop;
    uint64_t random;
    uint64_t states, wrong;
    uint64_t operations, moved;  /* moved: records, by the cleaner */
    uint64_t large, large_found; /* values: acknowledged, and recovered */
    bool fails;                  /* so does the disk, now and then */
    char path[256], state[256];
} t;

static uint64_t lot(uint64_t n)
{
    return blob_random(&t.random) % n;
}

/* ---- the store ------------------------------------------------------------------------------ */

static int open_store(const char *path, uint32_t flags, uint64_t interval_ms, struct shmkv **db)
{
    struct shmkv_options o = {
        .flags = flags, .size = SIZE, .interval_ms = interval_ms, .shm_dir = scratch_dir()};
    return shmkv_open(path, &o, db);
}

struct key {
    uint32_t writer, key;
};

/* A value is its number, and that number's lowest byte as often as it fits. */
static void fill_value(char *value, uint32_t number, size_t size)
{
    memset(value, (int)number, size);
    memcpy(value, &number, sizeof(number));
}

static uint32_t read_value(const char *value, size_t size)
{
    uint32_t number;
    memcpy(&number, value, sizeof(number));
    for (size_t at = sizeof(number); at < size; at++) {
        if (value[at] != (char)number)
            return UINT32_MAX;
    }
    return number;
}

/* The number under a key, 0: absent. */
static uint32_t number_of(struct shmkv *db, uint32_t writer, uint32_t key, size_t *size)
{
    struct key k = {writer, key};
    struct shmkv_section section;
    struct shmkv_item item;
    uint32_t number = UINT32_MAX;
    *size = 0;
    if (shmkv_begin(db, &section) != 0)
        return number;
    int rc = shmkv_get(&section, &k, sizeof(k), &item);
    if (rc == SHMKV_ENOTFOUND)
        number = 0;
    else if (rc == 0)
        number = read_value(item.value, *size = item.size);
    shmkv_end(&section);
    return number;
}

/* The highest number of a writer that can be read now. */
static uint32_t read_newest(struct shmkv *db, uint32_t writer)
{
    size_t size;
    return number_of(db, writer, 0, &size);
}

/* ---- writers -------------------------------------------------------------------------------- */

static void note(const struct mark *m)
{
    uint32_t n = add_relaxed(&t.notes, 1); /* relaxed: gives numbers */
    if (n >= NOTES)
        return;
    t.marks[n] = *m;
    disk_note(n);
}

/* All that had returned before the sync began is durable when it has returned 0. */
static int sync_and_note(struct shmkv *db)
{
    struct mark m = {0};
    for (uint32_t i = 0; i < WRITERS; i++)
        m.least[i] = load_acquire(&t.rows[i].acked); /* pairs with write_one */
    int rc = shmkv_sync(db, -1);
    if (rc == 0)
        note(&m);
    return rc;
}

/* Key 0 of a writer is put with each operation that does not concern another one. */
static void write_one(struct writer_row *row, uint32_t self)
{
    uint32_t i = row->count;
    struct op *op = &row->ops[i];
    struct key k = {self, 0};
    uint64_t draw = blob_random(&row->random);
    size_t size = draw % 16 == 0 ? 5500 : 4 + draw / 16 % 2000;
    row->after[i] = row->after[i - 1];
    *op = (struct op){.number = ++row->number};
    for (uint32_t w = 0; w < WRITERS; w++)
        op->seen[w] = w != self ? read_newest(row->db, w) : 0;
    if (draw >> 32 & 3)
        k.key = (uint32_t)(draw >> 40) % ((draw >> 37 & 3) != 0 ? HOT : KEYS);
    if (k.key != 0 && (draw >> 55 & 31) == 0) {
        k.key = LARGE_KEY;
        size = LARGE_LEAST + draw / 16 % (LARGE_MOST - LARGE_LEAST);
    }
    fill_value(row->value, op->number, size);
    bool deletes = k.key != 0 && (draw >> 34 & 7) == 0;
    int rc = deletes ? shmkv_delete(row->db, &k, sizeof(k))
                     : shmkv_put(row->db, &k, sizeof(k), row->value, size, NULL);
    if (rc != 0 && rc != SHMKV_ENOTFOUND)
        return; /* no room: nothing has changed */
    row->large += !deletes && size >= LARGE_LEAST;
    row->after[i].by[k.key] = deletes ? 0 : op->number;
    row->count++;
    store_release(&row->acked, i); /* pairs with sync_and_note */
    if ((draw >> 48 & 63) == 0)
        sync_and_note(row->db);
}

static void *write_row(void *arg)
{
    struct writer_row *row = arg;
    while (row->count < OPS && load_relaxed(&t.stop) == 0) /* relaxed: soon is enough */
        write_one(row, (uint32_t)(row - t.rows));
    return NULL;
}

/* Between two steps others get on. */
static void jostle(void *arg, const char *name)
{
    static _Thread_local uint64_t random;
    (void)arg;
    bool mine = strncmp(name, "checkpoint.", 11) == 0 || strncmp(name, "put.", 4) == 0 ||
                strncmp(name, "relocate.", 9) == 0 || strncmp(name, "clean.", 6) == 0;
    if (mine && blob_random(&random) % 8 == 0)
        sched_yield();
}

static uint64_t acked(void)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < WRITERS; i++)
        sum += load_relaxed(&t.rows[i].acked); /* relaxed: soon is enough */
    return sum;
}

/* Until so much was written to the disk; where syncs fail and the writers have no processor that is
 * soon, so these have some operations at least. */
static void run_writers(struct shmkv *db, size_t log)
{
    pthread_t threads[WRITERS];
    store_relaxed(&t.stop, 0); /* relaxed: before the threads */
    for (uint32_t i = 0; i < WRITERS; i++) {
        t.rows[i].db = db;
        t.rows[i].random = lot(UINT64_MAX);
        assert_int_equal(pthread_create(&threads[i], NULL, write_row, &t.rows[i]), 0);
    }
    unsigned calls = disk_calls();
    while (disk_calls() - calls < log || acked() < LEAST_OPERATIONS) {
        if (t.fails && lot(16) == 0)
            disk_fail((unsigned)lot(14) + 1, lot(2) == 0 ? SHMKV_EIO : SHMKV_ENOSPC,
                      (unsigned)lot(3));
        bool done = true;
        for (uint32_t i = 0; i < WRITERS; i++)
            done &= load_relaxed(&t.rows[i].acked) + 2 >= OPS; /* relaxed: soon is enough */
        if (done)
            break;
        int rc = sync_and_note(db);
        if (!t.fails)
            assert_rc(rc, 0);
    }
    store_relaxed(&t.stop, 1);
    for (uint32_t i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    disk_fail(0, 0, 0);
    struct shmkv_stats stats;
    assert_rc(shmkv_get_stats(db, &stats), 0);
    t.moved += stats.relocations;
    for (uint32_t i = 0; i < WRITERS; i++) {
        t.operations += t.rows[i].count - 1;
        t.large += t.rows[i].large;
        t.rows[i].large = 0;
    }
}

/* ---- what was recovered --------------------------------------------------------------------- */

/* Between which operations of its row a writer may be. */
struct place {
    uint32_t first, last;
};

static bool find_place(struct shmkv *db, uint32_t writer, struct place *p)
{
    const struct writer_row *row = &t.rows[writer];
    struct state found;
    for (uint32_t k = 0; k < KEYS; k++) {
        size_t size;
        found.by[k] = number_of(db, writer, k, &size);
        t.large_found += size >= LARGE_LEAST;
    }
    bool any = false;
    for (uint32_t i = 0; i < row->count; i++) {
        if (memcmp(&row->after[i], &found, sizeof(found)) != 0)
            continue;
        p->first = any ? p->first : i;
        p->last = i;
        any = true;
    }
    return any;
}

/* NULL: it is a cut that @m allows; @places receives where each writer is. */
static const char *judge(struct shmkv *db, const struct mark *m, struct place places[WRITERS])
{
    for (uint32_t w = 0; w < WRITERS; w++) {
        if (!find_place(db, w, &places[w]))
            return "a writer's keys were never so";
        if (places[w].last < m->least[w] || (m->exact && places[w].first > m->least[w]))
            return m->exact ? "another cut than before" : "a synced write is lost";
    }
    for (uint32_t w = 0; w < WRITERS; w++) {
        const struct op *op = &t.rows[w].ops[places[w].first];
        for (uint32_t v = 0; v < WRITERS; v++) {
            if (v != w && op->seen[v] > t.rows[v].ops[places[v].last].number)
                return "an effect is there without its cause";
        }
    }
    return shmkv_check(db, NULL, NULL) == 0 ? NULL : "check finds damage";
}

static void wrong(const char *what, size_t op, enum disk_loss how)
{
    t.wrong++;
    if (t.wrong < 5)
        print_message("# op %zu of %zu, loss %d: %s\n", op, disk_count(), (int)how, what);
}

/* One write more, synced, and the power fails again: only that has changed. */
static const char *goes_on(const struct place was[WRITERS])
{
    struct shmkv *db;
    struct place now[WRITERS];
    struct mark m = {.exact = true};
    for (uint32_t w = 0; w < WRITERS; w++)
        m.least[w] = was[w].last;
    scratch_lose_memory();
    if (open_store(t.state, SHMKV_NO_KEEPER, NEVER, &db) != 0)
        return shmkv_last_error();
    int rc = shmkv_put(db, "more", 4, "", 0, NULL);
    if (rc == 0)
        rc = shmkv_sync(db, -1);
    shmkv_close(db);
    scratch_lose_memory();
    if (rc != 0 || open_store(t.state, SHMKV_READONLY, NEVER, &db) != 0)
        return shmkv_last_error();
    const char *what = judge(db, &m, now);
    if (what == NULL && shmkv_exists(db, "more", 4) != 0)
        what = "what was synced after a recovery is lost";
    shmkv_close(db);
    return what;
}

static void look_at(const struct disk_state *s, size_t op, enum disk_loss how, const struct mark *m)
{
    struct shmkv *db;
    struct place places[WRITERS];
    t.states++;
    disk_put(s, t.state);
    bool private = lot(2) == 0;
    if (open_store(t.state, private ? SHMKV_READONLY : SHMKV_NO_KEEPER, NEVER, &db) != 0) {
        wrong(shmkv_last_error(), op, how);
        scratch_lose_memory();
        return;
    }
    const char *what = judge(db, m, places);
    shmkv_close(db);
    if (what == NULL && lot(8) == 0)
        what = goes_on(places);
    if (what != NULL)
        wrong(what, op, how);
    scratch_lose_memory();
}

/* ---- rounds --------------------------------------------------------------------------------- */

/* Go through the log and look at @states states of it; *@m: at its begin, then at op @stop. */
static void replay(uint64_t states, struct mark *m, size_t stop)
{
    struct disk_replay *r = disk_replay_begin();
    struct mark now = *m;
    uint64_t every = disk_count(), seen = 0;
    for (size_t i = 0; i < disk_count(); i++) {
        const struct disk_op *op = disk_op(i);
        disk_replay_to(r, i);
        for (seen += states; seen >= every; seen -= every) {
            if (now.none || !disk_replay_pending(r))
                continue;
            enum disk_loss how = (enum disk_loss)lot(DISK_LOSSES);
            look_at(disk_replay_lose(r, how, &t.random), i, how, &now);
        }
        if (op->kind == DISK_NOTE)
            now = t.marks[op->at];
        if (i == stop) {
            disk_put(disk_replay_lose(r, DISK_LOSE_SECTORS, &t.random), t.path);
            *m = now;
        }
    }
    disk_replay_end(r);
}

/* Open what the last round has left; from here on its rows end where the cut does. */
static void begin_round(struct shmkv **db, struct mark *m)
{
    struct place places[WRITERS];
    scratch_lose_memory();
    if (open_store(t.path, SHMKV_CREATE, 1, db) != 0)
        fail_msg("a state that opened before does not: %s", shmkv_last_error());
    const char *what = judge(*db, m, places);
    if (what != NULL)
        fail_msg("a state that was right before is not: %s", what);
    for (uint32_t w = 0; w < WRITERS; w++) {
        struct writer_row *row = &t.rows[w];
        row->ops[0] = row->ops[places[w].last];
        row->after[0] = row->after[places[w].last];
        memset(row->ops[0].seen, 0, sizeof(row->ops[0].seen));
        row->count = 1;
        store_relaxed(&row->acked, 0); /* relaxed: before the threads */
        m->least[w] = 0;
    }
    m->exact = true;
}

static void one_round(bool first, uint64_t states, size_t log, struct mark *m)
{
    struct shmkv *db;
    const struct mark opened = {.exact = false};
    store_relaxed(&t.notes, 0); /* relaxed: nobody else is there */
    disk_begin(first ? NULL : t.path);
    point_record(jostle, NULL); /* while the store has no thread, here as below */
    begin_round(&db, m);
    m->none |= first; /* or the last round's power loss came before the image was made */
    note(&opened);
    run_writers(db, log);
    shmkv_close(db);
    point_record(NULL, NULL);
    scratch_lose_memory();
    disk_pause();
    size_t stop = disk_count() / 2 + lot(disk_count() / 2);
    if (lot(4) == 0) /* in the middle of the recovery, or soon after */
        stop = lot(20);
    replay(states, m, stop);
    disk_end();
}

static void rounds(unsigned count, uint64_t states, size_t log)
{
    struct mark m = {.exact = true};
    for (uint32_t w = 0; w < WRITERS; w++) {
        t.rows[w].count = 1;
        t.rows[w].number = 0;
        t.rows[w].ops[0] = (struct op){.number = 0};
        t.rows[w].after[0] = (struct state){{0}};
    }
    t.states = t.wrong = t.operations = t.moved = t.large = t.large_found = 0;
    for (unsigned i = 0; i < count; i++)
        one_round(i == 0, states, log, &m);
    print_message("# %llu states of %llu operations, %llu of them large, %llu records moved: "
                  "%llu wrong\n",
                  (unsigned long long)t.states, (unsigned long long)t.operations,
                  (unsigned long long)t.large, (unsigned long long)t.moved,
                  (unsigned long long)t.wrong);
    assert_int_equal(t.wrong, 0);
    assert_true(t.moved > 0 && t.operations > count * 300);
    assert_true(t.large > count && t.large_found > t.states / 4);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static int setup(void **state)
{
    int rc = scratch_setup(state);
    snprintf(t.path, sizeof(t.path), "%s", scratch_path("image"));
    snprintf(t.state, sizeof(t.state), "%s", scratch_path("state"));
    const char *seed = getenv("POWERLOSS_SEED");
    t.random = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
    print_message("# POWERLOSS_SEED=%llu\n", (unsigned long long)t.random);
    return rc;
}

/* SHMKV_TEST_FULL=1: nearly 20,000 states together. */
static unsigned count_of_rounds(void)
{
    return getenv("SHMKV_TEST_FULL") != NULL ? 20 : 2;
}

static void every_state_is_one_cut(void **state)
{
    (void)state;
    t.fails = false;
    rounds(count_of_rounds(), 800, 1500);
}

static void on_a_disk_that_fails_too(void **state)
{
    (void)state;
    t.fails = true;
    rounds(count_of_rounds(), 800, 1500);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_state_is_one_cut),
        TEST(on_a_disk_that_fails_too),
    };
    return cmocka_run_group_tests_name("crash_powerloss", tests, NULL, NULL);
}
