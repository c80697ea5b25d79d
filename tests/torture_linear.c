/* SPDX-License-Identifier: MIT */
/*
 * torture_linear.c [SECONDS] - what processes see of a few hot keys is linearizable (lincheck.h).
 *
 * In each round some workers call get, put, cas and the like on the same few keys, and note in
 * shared memory what they called, when, and what it returned.  Two others grow, purge and shrink
 * the index, and compact, so that the hot keys are moved all the time; workers give up the
 * processor between two steps now and then, and one or two are killed in the middle of a call.
 * Then each key's history is checked.
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blob.h"
#include "child.h"
#include "clock.h"
#include "lincheck.h"
#include "point.h"
#include "resize.h"
#include "store.h"

#define MS 1000000ull
#define KEYS 4u
#define WORKERS 5u
#define MOVERS 2u
#define CALLS 6000u /* of a worker in a round */
#define YIELD_IN 40u
#define LIMIT_MS 60000u

static unsigned seconds = 2;
static const struct shmkv_options small = {.size = 3u << 20, .flags = SHMKV_NO_KEEPER};

struct call {
    struct lincheck_op op;
    uint32_t key;
};

/* What all processes of a round share. */
struct round {
    _Atomic uint32_t go, stop;
    uint64_t seed;
    const struct fixture *fixture;
    _Atomic uint32_t count[WORKERS]; /* calls begun */
    struct call calls[WORKERS][CALLS];
};

struct job {
    struct round *round;
    uint32_t place;
};

/* ---- workers ------------------------------------------------------------------------------- */

struct worker {
    struct shmkv *db;
    struct round *round;
    uint32_t place;
    uint64_t random;
    uint64_t last_end;
    uint64_t seen[KEYS]; /* version of each key, when last read */
};

static void yield_sometimes(void *random, const char *name)
{
    (void)name;
    if (blob_random(random) % YIELD_IN == 0)
        sched_yield();
}

/* What moves a hot key meets it rarely: let others in each time. */
static void yield_when_moving(void *random, const char *name)
{
    bool moving = strncmp(name, "move.", 5) == 0 || strncmp(name, "relocate.", 9) == 0;
    if (blob_random(random) % (moving ? 6 : YIELD_IN) == 0)
        sched_yield();
}

/* The time, and nothing that stands behind it is done before it was taken. */
static uint64_t time_before(void)
{
    uint64_t now = clock_mono_ns();
#if defined(__x86_64__)
    __builtin_ia32_lfence();
#else
    fence_seq_cst();
#endif
    return now;
}

static int call_get(struct worker *w, uint32_t key, char name, struct lincheck_op *op)
{
    struct shmkv_item item;
    char text[24] = "";
    int rc = shmkv_read(w->db, &name, 1, text, sizeof(text) - 1, &item);
    if (rc == 0) {
        op->value = strtoull(text, NULL, 10);
        op->version = w->seen[key] = item.version;
    }
    return rc;
}

static int call_take(struct worker *w, char name, struct lincheck_op *op)
{
    char text[24] = "";
    size_t size = 0;
    int rc = shmkv_take(w->db, &name, 1, text, sizeof(text) - 1, &size);
    text[rc == 0 ? size : 0] = '\0'; /* behind it may stand what an earlier try has copied */
    op->value = strtoull(text, NULL, 10);
    return rc;
}

static int call_store(struct worker *w, char name, struct lincheck_op *op)
{
    struct shmkv_put_options o = {.version = &op->version};
    char text[24];
    size_t size = (size_t)snprintf(text, sizeof(text), "%llu", (unsigned long long)op->value);
    if (op->kind == LINCHECK_CAS)
        return shmkv_cas(w->db, &name, 1, op->expected, text, size, &o);
    o.flags = op->kind == LINCHECK_PUT_ABSENT    ? SHMKV_IF_ABSENT
              : op->kind == LINCHECK_PUT_PRESENT ? SHMKV_IF_PRESENT
                                                 : 0;
    return shmkv_put(w->db, &name, 1, text, size, &o);
}

static int do_call(struct worker *w, uint32_t key, struct lincheck_op *op)
{
    char name = (char)('A' + key);
    int64_t sum = 0;
    int rc;
    switch (op->kind) {
    case LINCHECK_GET:
        return call_get(w, key, name, op);
    case LINCHECK_TAKE:
        return call_take(w, name, op);
    case LINCHECK_DELETE:
        return shmkv_delete(w->db, &name, 1);
    case LINCHECK_ADD:
        rc = shmkv_add(w->db, &name, 1, (int64_t)op->value, &sum);
        op->result = (uint64_t)sum;
        return rc;
    default:
        return call_store(w, name, op);
    }
}

/* More reads than anything else, and values that nobody else writes. */
static void choose(struct worker *w, uint32_t n, struct call *c)
{
    static const enum lincheck_kind kinds[] = {
        LINCHECK_GET,         LINCHECK_GET,    LINCHECK_GET, LINCHECK_PUT,
        LINCHECK_PUT,         LINCHECK_CAS,    LINCHECK_CAS, LINCHECK_PUT_ABSENT,
        LINCHECK_PUT_PRESENT, LINCHECK_DELETE, LINCHECK_ADD, LINCHECK_TAKE,
    };
    uint64_t x = blob_random(&w->random);
    c->key = (uint32_t)(x % KEYS);
    c->op.process = w->place;
    c->op.kind = kinds[(x >> 8) % (sizeof(kinds) / sizeof(kinds[0]))];
    c->op.value = (uint64_t)n * WORKERS + w->place + 1;
    c->op.expected = c->op.kind == LINCHECK_CAS ? w->seen[c->key] : 0;
    c->op.end = LINCHECK_NO_END;
}

/* What is noted of a call before it is made stays if we are killed in it. */
static void note_call(struct worker *w, uint32_t n)
{
    struct call *c = &w->round->calls[w->place][n];
    choose(w, n, c);
    struct lincheck_op op = c->op;
    uint64_t start = time_before();
    c->op.start = start > w->last_end ? start : w->last_end + 1;
    store_release(&w->round->count[w->place], n + 1);
    int rc = do_call(w, c->key, &op);
    uint64_t end = clock_mono_ns();
    op.start = c->op.start;
    op.done = rc == 0;
    if (rc == SHMKV_ENOTFOUND && op.kind == LINCHECK_GET)
        w->seen[c->key] = 0;
    child_assert(rc == 0 || rc == SHMKV_ENOTFOUND || rc == SHMKV_EEXISTS || rc == SHMKV_EMISMATCH);
    c->op = op; /* which has no end yet: who is killed before the last line has not returned */
    w->last_end = end > op.start ? end : op.start;
    store_release((_Atomic uint64_t *)&c->op.end, w->last_end);
}

static int work(void *arg)
{
    struct job *job = arg;
    struct worker w = {.round = job->round, .place = job->place};
    w.db = fixture_open(job->round->fixture, SHMKV_NO_KEEPER);
    w.random = job->round->seed * 100 + job->place;
    while (load_acquire(&job->round->go) == 0)
        sched_yield();
    point_record(yield_sometimes, &w.random);
    for (uint32_t n = 0; n < CALLS && load_relaxed(&job->round->stop) == 0; n++)
        note_call(&w, n);
    point_record(NULL, NULL);
    shmkv_close(w.db);
    return 0;
}

/* ---- movers -------------------------------------------------------------------------------- */

/* Fill and empty tables, purge tombstones, compact: nothing stays where it is. */
static int move(void *arg)
{
    struct job *job = arg;
    struct shmkv *db = fixture_open(job->round->fixture, SHMKV_NO_KEEPER);
    struct context *c;
    char key[24];
    uint64_t random = job->round->seed * 100 + job->place;
    child_assert(store_writer(db, &c) == 0);
    point_record(yield_when_moving, &random);
    for (unsigned n = 0; load_relaxed(&job->round->stop) == 0; n++) {
        int len = snprintf(key, sizeof(key), "%u-%u", job->place, n % 2000);
        child_assert(shmkv_put(db, key, (size_t)len, key, (size_t)len, NULL) == 0);
        if (n % 3 != 0)
            child_assert(shmkv_delete(db, key, (size_t)len) == 0);
        if (n % 64 == 0) {
            epoch_poll(&db->store->arena);
            resize_purge(&c->writer.self, &c->writer.resizer);
        }
        if (n % 512 == 0)
            child_assert(shmkv_compact(db) == 0);
    }
    point_record(NULL, NULL);
    shmkv_close(db);
    return 0;
}

/* ---- rounds -------------------------------------------------------------------------------- */

static struct round *new_round(const struct fixture *f, uint64_t seed)
{
    struct round *r =
        mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(r != MAP_FAILED);
    r->fixture = f;
    r->seed = seed;
    return r;
}

static void clear(struct shmkv *db)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        char name = (char)('A' + key);
        int rc = shmkv_delete(db, &name, 1);
        assert_true(rc == 0 || rc == SHMKV_ENOTFOUND);
    }
}

/* Each key's calls of all workers, in one array. */
static void check_key(const struct round *r, uint32_t key)
{
    struct lincheck_op *ops = calloc((size_t)WORKERS * CALLS, sizeof(*ops));
    char text[200];
    size_t n = 0, bad;
    assert_non_null(ops);
    for (uint32_t w = 0; w < WORKERS; w++) {
        for (uint32_t i = 0; i < load_acquire(&r->count[w]); i++) {
            if (r->calls[w][i].key == key)
                ops[n++] = r->calls[w][i].op;
        }
    }
    if (!lincheck(ops, n, &bad)) {
        for (size_t i = bad > 12 ? bad - 12 : 0; i < n && i < bad + 6; i++) {
            lincheck_describe(&ops[i], text, sizeof(text));
            print_error("%s %s\n", i == bad ? "->" : "  ", text);
        }
        fail_msg("seed %llu, key %c: no order explains what was seen", (unsigned long long)r->seed,
                 'A' + key);
    }
    free(ops);
}

/* Kill one worker in the middle; its place is not used again in this round. */
static void kill_one(struct round *r, const pid_t *pids)
{
    uint32_t victim = (uint32_t)(r->seed % WORKERS);
    uint32_t when = CALLS / 4 + (uint32_t)(r->seed * 7919 % (CALLS / 2));
    while (load_acquire(&r->count[victim]) < when)
        clock_sleep_ns(50000);
    kill(pids[victim], SIGKILL);
}

static void play_round(const struct fixture *f, uint64_t seed)
{
    struct round *r = new_round(f, seed);
    struct job jobs[WORKERS + MOVERS];
    pid_t pids[WORKERS + MOVERS];
    bool kills = seed % 2 == 0;
    clear(f->db);
    for (uint32_t i = 0; i < WORKERS + MOVERS; i++) {
        jobs[i] = (struct job){.round = r, .place = i};
        pids[i] = child_start(i < WORKERS ? work : move, &jobs[i]);
    }
    store_release(&r->go, 1);
    if (kills)
        kill_one(r, pids);
    for (uint32_t i = 0; i < WORKERS; i++) {
        int status = child_wait(pids[i], LIMIT_MS);
        bool victim = kills && i == seed % WORKERS; /* who may have been done before */
        assert_true(status == 0 || (victim && status == CHILD_SIGNAL + SIGKILL));
    }
    store_release(&r->stop, 1);
    for (uint32_t i = WORKERS; i < WORKERS + MOVERS; i++)
        assert_int_equal(child_wait(pids[i], LIMIT_MS), 0);
    for (uint32_t key = 0; key < KEYS; key++)
        check_key(r, key);
    munmap(r, sizeof(*r));
}

static void hot_keys_are_linearizable(void **state)
{
    struct fixture *f = *state;
    struct shmkv_stats st;
    uint64_t end = clock_mono_ns() + seconds * 1000 * MS;
    unsigned rounds = 0;
    while (rounds < 2 || clock_mono_ns() < end)
        play_round(f, ++rounds);
    assert_rc(shmkv_get_stats(f->db, &st), 0);
    print_message("%u rounds, %llu resizes, %llu records moved, %llu retries\n", rounds,
                  (unsigned long long)st.resizes, (unsigned long long)st.relocations,
                  (unsigned long long)st.retries);
    assert_true(st.resizes > rounds / 4 && st.relocations > rounds && st.retries > rounds);
    assert_rc(shmkv_check(f->db, NULL, NULL), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(hot_keys_are_linearizable, &small),
    };
    if (argc > 1)
        seconds = (unsigned)strtoul(argv[1], NULL, 10);
    return cmocka_run_group_tests_name("linear", tests, NULL, NULL);
}
