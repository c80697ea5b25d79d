/* SPDX-License-Identifier: MIT */
/*
 * crash_kv.c - death and standstill at every step of every operation.
 *
 * Each operation (crash_ops.h) is run once to learn which points it passes and how often.  Then,
 * for every (operation, point, nth passage), a child is killed there: this process and another one
 * go on, nobody waits, every write that returned is there, the one under way is there or not, and
 * nothing is left of the dead.  And a child is stopped there: others write, resize and clean, one
 * writes the key in work; then it goes on, and nothing is wrong.
 *
 * With SHMKV_CRASH_MORE in the environment more passages of each point are tried; below a thread
 * sanitizer, the first one only.
 */
#include "audit.h"
#include "fixture.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "child.h"
#include "cleaner.h"
#include "crash_ops.h"
#include "lap.h"
#include "point.h"

#define LIMIT_MS 20000u
#define CALL_MS (200u * FIXTURE_PATIENCE)
#define POINTS_MOST 128u
#define TRIES_MOST 32u
#define FOLLOW 10000000u /* keys of those who go on */
#define RIVAL 9u         /* sequence of what another process writes to the key in work */
#define STEP_FAILED 3

struct seen {
    char name[40];
    unsigned count;
};

/* What the children tell. */
struct told {
    _Atomic uint32_t acked;            /* steps that returned */
    _Atomic int32_t rc;                /* of the step that failed */
    _Atomic uint64_t longest_ns, held; /* of those who go on */
    unsigned points;
    struct seen seen[POINTS_MOST];
};

/* Whose death a reaper finds. */
struct victim {
    const char *op, *point;
    unsigned nth;
};

struct trial {
    const struct crash_op *op;   /* whose effects are expected */
    const struct crash_op *runs; /* what the child does; the same, or "reap" */
    const struct victim *victim; /* NULL: nobody died before */
    const char *point;
    unsigned nth;
    enum point_action action;
    struct fixture fixture;
    struct told *told;
    bool failed;
    bool missed; /* the point was not passed so often this time: some depend on the clock */
};

static void wrong(struct trial *t, const char *what, uint64_t a, uint64_t b)
{
    printf("# %s%s%s, %s at %s %u: %s %" PRIu64 " %" PRIu64 "\n", t->runs->name,
           t->victim != NULL ? " after " : "", t->victim != NULL ? t->victim->point : "",
           t->action == POINT_KILL ? "killed" : "stopped", t->point, t->nth, what, a, b);
    t->failed = true;
}

/* ---- the child ----------------------------------------------------------------------------- */

static void note(void *arg, const char *name)
{
    struct told *told = arg;
    unsigned i = 0;
    while (i < told->points && strcmp(told->seen[i].name, name) != 0)
        i++;
    if (i == POINTS_MOST)
        return;
    if (i == told->points) {
        snprintf(told->seen[i].name, sizeof(told->seen[i].name), "%s", name);
        told->points++;
    }
    told->seen[i].count++;
}

static int perform(void *arg)
{
    const struct trial *t = arg;
    struct shmkv *db = t->fixture.db;
    int rc = 0;
    if (t->runs == t->op)
        shmkv_exists(db, "", 1); /* registering is another matter, unless it reaps */
    if (t->action == POINT_NONE)
        point_record(note, t->told);
    else
        point_arm(t->point, t->nth, t->action, NULL, NULL);
    for (unsigned i = 0; rc == 0 && i < t->runs->steps; i++) {
        rc = t->runs->step(db, i);
        store_seq_cst(&t->told->acked, i + (rc == 0));
    }
    point_record(NULL, NULL);
    store_seq_cst(&t->told->rc, rc);
    int closed = shmkv_close(db);
    child_assert(closed == 0 || closed == SHMKV_ECLOSED);
    return rc == 0 ? 0 : STEP_FAILED;
}

/* ---- those who go on ----------------------------------------------------------------------- */

/* A call must succeed in time.  False: the stopped one holds all memory, which is its right. */
static bool expect_call(struct trial *t, struct lap *lap, int rc)
{
    uint64_t used = lap_used_ns(lap_end(lap));
    if (used > load_relaxed(&t->told->longest_ns))
        store_relaxed(&t->told->longest_ns, used);
    if (rc == SHMKV_EHELD && t->action == POINT_STOP)
        add_relaxed(&t->told->held, 1);
    else if (rc != 0)
        wrong(t, shmkv_last_error(), 0, 0);
    lap_begin(lap);
    return rc != SHMKV_EHELD;
}

/* What shmkv_compact() does, without its wait for memory that sections hold. */
static int clean(struct shmkv *db)
{
    struct context *c;
    int rc = store_writer(db, &c);
    if (rc != 0)
        return rc;
    resize_purge(&c->writer.self, &c->writer.resizer);
    resize_finish(&c->writer.self);
    do {
        rc = cleaner_step(&c->writer);
    } while (rc > 0);
    append_close(&c->writer.moves, &c->store->arena);
    return rc == SHMKV_ENOSPC ? 0 : rc;
}

/* Write, overwrite, delete, resize, clean. */
static void go_on(struct trial *t, struct shmkv *db, unsigned who, unsigned count)
{
    uint64_t first = FOLLOW + who * FOLLOW;
    bool goes = true;
    struct lap lap;
    lap_open(&lap);
    lap_begin(&lap);
    for (uint64_t key = 10; goes && key < BASE_KEYS; key++) /* unchanged, but in another place */
        goes = expect_call(t, &lap, crash_put(db, key, 1, BASE_SIZE));
    for (uint64_t key = first; goes && key < first + count; key++)
        goes = expect_call(t, &lap, crash_put(db, key, 3, BASE_SIZE));
    for (uint64_t key = first; goes && key < first + 100; key++)
        goes = expect_call(t, &lap, crash_put(db, key, 4, 1000));
    for (uint64_t key = first + 100; goes && key < first + count; key++)
        goes = expect_call(t, &lap, shmkv_delete(db, &key, sizeof(key)));
    goes = goes && expect_call(t, &lap, clean(db));
    for (uint64_t key = first; goes && key < first + 100; key++) {
        uint64_t found = crash_look(db, key);
        if (found != 4)
            wrong(t, "a bystander's key is", found, key);
    }
    lap_close(&lap);
}

struct bystander {
    struct trial *trial;
    unsigned count;
};

static int stand_by(void *arg)
{
    const struct bystander *b = arg;
    struct shmkv *db = b->trial->fixture.db;
    go_on(b->trial, db, 1, b->count);
    child_assert(shmkv_close(db) == 0);
    return b->trial->failed;
}

static void others_go_on(struct trial *t, unsigned count)
{
    struct bystander b = {t, count};
    go_on(t, t->fixture.db, 0, count);
    int status = child_wait(child_start(stand_by, &b), LIMIT_MS);
    if (status != 0)
        wrong(t, "another process ended with status", (uint64_t)status, 0);
}

/* ---- verdict ------------------------------------------------------------------------------- */

static void expect_key(struct trial *t, uint64_t key, uint64_t one, uint64_t other)
{
    uint64_t found = crash_look(t->fixture.db, key);
    if (found != one && found != other)
        wrong(t, "wrong sequence of key", key, found);
}

/* @rival: another sequence that the key in work may have. */
static void expect_states(struct trial *t, uint64_t rival)
{
    uint32_t acked = load_seq_cst(&t->told->acked);
    for (unsigned i = 0; t->op->effect != NULL && i < t->op->steps; i++) {
        struct crash_effect e = t->op->effect(i);
        if (i < acked)
            expect_key(t, e.key, e.to, i + 1 == acked && rival != 0 ? rival : e.to);
        else if (i == acked)
            expect_key(t, e.key, rival != 0 ? rival : e.from, e.to);
        else
            expect_key(t, e.key, e.from, e.from);
    }
    uint64_t changed = t->op->effect != NULL ? t->op->effect(0).key : UINT64_MAX;
    for (uint64_t key = 0; key < BASE_KEYS; key++) {
        if (key != changed)
            expect_key(t, key, 1, 1);
    }
}

static void print_finding(void *arg, const char *line)
{
    (void)arg;
    printf("# check: %s\n", line);
}

static void expect_nothing_left(struct trial *t)
{
    audit_reap(t->fixture.db);
    unsigned left = audit_claims(t->fixture.db);
    if (left != 0)
        wrong(t, "claims left behind", left, 0);
    if (shmkv_check(t->fixture.db, NULL, NULL) != 0) {
        shmkv_check(t->fixture.db, print_finding, NULL);
        wrong(t, "the check finds", 0, 0);
    }
}

/* ---- one trial ----------------------------------------------------------------------------- */

static void begin(struct trial *t)
{
    struct told *told = t->told;
    fixture_begin(&t->fixture, &t->op->options);
    t->op->prepare(t->fixture.db);
    store_seq_cst(&told->acked, 0);
    store_seq_cst(&told->rc, 0);
    store_seq_cst(&told->held, 0);
    t->failed = t->missed = false;
    if (t->victim == NULL)
        return;
    struct trial dead = *t;
    dead.runs = t->op;
    dead.point = t->victim->point;
    dead.nth = t->victim->nth;
    dead.action = POINT_KILL;
    int status = child_wait(child_start(perform, &dead), LIMIT_MS);
    if (status == 0)
        t->missed = true;
    else if (status != CHILD_SIGNAL + SIGKILL)
        wrong(t, "the victim ends with status", (uint64_t)status, 0);
}

static void end(struct trial *t)
{
    fixture_end(&t->fixture);
}

static void try_kill(struct trial *t)
{
    begin(t);
    uint32_t acked = load_seq_cst(&t->told->acked);
    int status = child_wait(child_start(perform, t), LIMIT_MS);
    t->missed |= status == 0;
    if (status != CHILD_SIGNAL + SIGKILL && !t->missed)
        wrong(t, "it ends with status", (uint64_t)status, 0);
    if (t->victim != NULL)
        store_seq_cst(&t->told->acked, acked);
    expect_states(t, 0);
    others_go_on(t, 300);
    expect_states(t, 0);
    expect_nothing_left(t);
    end(t);
}

/* Another process writes the key that the stopped one has in work. */
static uint64_t write_rival(struct trial *t)
{
    uint32_t acked = load_seq_cst(&t->told->acked);
    if (t->op->effect == NULL || acked >= t->op->steps)
        return 0;
    int rc = crash_put(t->fixture.db, t->op->effect(acked).key, RIVAL, BASE_SIZE);
    if (rc != 0 && rc != SHMKV_EHELD)
        wrong(t, shmkv_last_error(), acked, 0);
    return rc == 0 ? RIVAL : 0;
}

/*
 * The key of a slot that a stopped mover has frozen is written before anybody else has moved it:
 * the write must neither act on that slot nor be lost when the mover goes on.  UINT64_MAX: there is
 * none, or the stopped one holds all memory.
 */
static uint64_t write_frozen(struct trial *t, uint64_t *before)
{
    const struct arena *a = audit_arena(t->fixture.db);
    const struct table *root = table_of(a, table_root(a));
    uint64_t key = UINT64_MAX;
    struct shmkv_section section;
    assert_rc(shmkv_begin(t->fixture.db, &section), 0);
    for (uint64_t i = 0; i < root->slots && key == UINT64_MAX; i++) {
        uint64_t word = load_acquire(&table_slots(a, root)[i]);
        const struct record *r = arena_at(a, slot_offset(word));
        if ((word & SLOT_FROZEN) != 0 && slot_is_record(word) && r->type == RECORD_PAIR)
            memcpy(&key, record_key(r), sizeof(key));
    }
    shmkv_end(&section);
    if (key < BASE_KEYS || key == UINT64_MAX) /* those are written by all who go on */
        return UINT64_MAX;
    *before = crash_look(t->fixture.db, key);
    int rc = crash_put(t->fixture.db, key, RIVAL, BASE_SIZE);
    if (rc == SHMKV_EHELD)
        add_relaxed(&t->told->held, 1);
    else if (rc != 0)
        wrong(t, shmkv_last_error(), key, 0);
    return rc == SHMKV_EHELD ? UINT64_MAX : key;
}

static void expect_end(struct trial *t, pid_t pid, uint64_t rival)
{
    kill(pid, SIGCONT); /* does nothing if it ended */
    int status = child_wait(pid, LIMIT_MS);
    int rc = load_seq_cst(&t->told->rc);
    bool lost =
        status == STEP_FAILED && rival != 0 && (rc == SHMKV_EMISMATCH || rc == SHMKV_EEXISTS);
    if (status != 0 && !lost)
        wrong(t, "it does not go on: status, error", (uint64_t)status, (uint64_t)-rc);
}

/* The step in work met the rival's write of its key: one of the two values; as the others again. */
static void settle_rival(struct trial *t, struct crash_effect e)
{
    expect_key(t, e.key, RIVAL, e.to);
    crash_put(t->fixture.db, e.key, e.to, BASE_SIZE);
    if (e.to == ABSENT)
        shmkv_delete(t->fixture.db, &e.key, sizeof(e.key));
}

static void try_stop(struct trial *t)
{
    begin(t);
    uint32_t acked_before = load_seq_cst(&t->told->acked);
    pid_t pid = child_start(perform, t);
    bool stopped = child_wait_stopped(pid, LIMIT_MS);
    t->missed |= !stopped;
    uint64_t before, frozen = write_frozen(t, &before);
    others_go_on(t, 150 + 1350 / FIXTURE_SLOWNESS);
    uint32_t at = load_seq_cst(&t->told->acked);
    uint64_t rival = t->victim == NULL && !t->missed ? write_rival(t) : 0;
    expect_end(t, pid, rival);
    if (t->victim != NULL)
        store_seq_cst(&t->told->acked, acked_before);
    if (frozen != UINT64_MAX) {
        expect_key(t, frozen, RIVAL, RIVAL);
        crash_put(t->fixture.db, frozen, before, BASE_SIZE);
    }
    /* Afterwards everything is acknowledged; the key in work may be the rival's. */
    uint32_t acked = load_seq_cst(&t->told->acked);
    if (rival != 0)
        settle_rival(t, t->op->effect(at));
    store_seq_cst(&t->told->acked, rival != 0 && acked == at ? at + 1 : acked);
    expect_states(t, 0);
    expect_nothing_left(t);
    end(t);
}

/* ---- all of them --------------------------------------------------------------------------- */

struct sum {
    unsigned pairs, tries, missed, cases, failed;
    uint64_t longest_ns, held;
};

/* The first, the second, one in the middle, the last; or up to TRIES_MOST. */
static unsigned choose_passages(unsigned count, unsigned *nth)
{
    unsigned want = getenv("SHMKV_CRASH_MORE") != NULL ? TRIES_MOST : 4, n = 0;
    count = FIXTURE_SLOWNESS > 1 ? 1 : count;
    for (unsigned k = 0; k < want; k++) {
        unsigned next = want == 4 ? (unsigned[]){1, 2, (count + 1) / 2, count}[k]
                                  : 1 + (unsigned)((uint64_t)(count - 1) * k / (want - 1));
        if (next <= count && (n == 0 || next > nth[n - 1]))
            nth[n++] = next;
    }
    return n;
}

static void learn_points(struct trial *t)
{
    t->told->points = 0;
    memset(t->told->seen, 0, sizeof(t->told->seen));
    t->action = POINT_NONE;
    t->point = "(learning)";
    begin(t);
    int status = child_wait(child_start(perform, t), LIMIT_MS);
    if (status != 0)
        wrong(t, "it does not work at all: status, error", (uint64_t)status,
              (uint64_t)-load_seq_cst(&t->told->rc));
    end(t);
}

/* All points of one operation with one fate. */
static void try_points(struct trial *t, struct sum *sum, enum point_action action)
{
    struct seen seen[POINTS_MOST];
    unsigned points = t->told->points, tries = 0, failed = 0;
    memcpy(seen, t->told->seen, sizeof(seen));
    t->action = action;
    for (unsigned i = 0; i < points; i++) {
        unsigned nth[TRIES_MOST], n = choose_passages(seen[i].count, nth);
        for (unsigned k = 0; k < n; k++) {
            t->point = seen[i].name;
            t->nth = nth[k];
            (action == POINT_KILL ? try_kill : try_stop)(t);
            failed += t->failed;
            sum->missed += t->missed;
            sum->held += load_seq_cst(&t->told->held);
        }
        tries += n;
    }
    sum->pairs += action == POINT_KILL ? points : 0;
    sum->tries += tries;
    sum->failed += failed != 0;
    printf("%s %u - %s%s%s: %s at %u passages of %u points\n", failed != 0 ? "not ok" : "ok",
           ++sum->cases, t->runs->name, t->victim != NULL ? " after " : "",
           t->victim != NULL ? t->victim->point : "", action == POINT_KILL ? "killed" : "stopped",
           tries, points);
}

static void try_op(struct told *told, struct sum *sum, const struct crash_op *op,
                   const struct victim *victim)
{
    struct trial t = {.runs = op, .op = op, .victim = victim, .told = told};
    if (victim != NULL)
        t.op = crash_op_find(victim->op);
    learn_points(&t);
    sum->failed += t.failed;
    try_points(&t, sum, POINT_KILL);
    try_points(&t, sum, POINT_STOP);
}

int main(int argc, char **argv)
{
    static const struct victim victims[] = {
        {"put over", "put.inflight", 1}, {"put over", "put.cas", 1},
        {"put fresh", "put.cas", 2},     {"reserve", "put.entered", 1},
        {"clean", "clean.batch", 1},     {"clean", "relocate.cas", 1},
        {"grow", "table.claimed", 1},    {"grow", "resize.started", 1},
        {"grow", "move.frozen", 1},      {"segments", "segment.opening", 1},
        {"squeeze", "punch.claimed", 1},
    };
    struct sum sum = {.pairs = 0};
    struct told *told =
        mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (told == MAP_FAILED)
        return 1;
    for (unsigned i = 0; i < crash_op_count; i++) {
        if (argc > 1 && strcmp(argv[1], crash_ops[i].name) != 0)
            continue;
        bool reaps = strcmp(crash_ops[i].name, "reap") == 0;
        for (unsigned v = 0; reaps && v < sizeof(victims) / sizeof(victims[0]); v++)
            try_op(told, &sum, &crash_ops[i], &victims[v]);
        if (!reaps)
            try_op(told, &sum, &crash_ops[i], NULL);
    }
    sum.longest_ns = load_relaxed(&told->longest_ns);
    printf("# %u pairs of operation and point, %u deaths and stops (%u missed); %" PRIu64
           " calls refused while "
           "one was stopped; longest call of the others %.1f ms of its own\n",
           sum.pairs, sum.tries, sum.missed, sum.held, (double)sum.longest_ns / 1e6);
    bool fast = sum.longest_ns < CALL_MS * 1000000ull;
    printf("%s %u - no call of the others takes longer than %u ms\n", fast ? "ok" : "not ok",
           ++sum.cases, CALL_MS);
    printf("1..%u\n", sum.cases);
    return sum.failed != 0 || !fast;
}
