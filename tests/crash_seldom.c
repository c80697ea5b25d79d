/* SPDX-License-Identifier: MIT */
/*
 * crash_seldom.c - death and standstill at steps that need something rare to be passed: a mover
 * that meets what was evicted, a segment on lease, an idle table, memory given back unasked, taken
 * ahead or made huge pages, a walk, a checkpoint that copies much, or a run, or decides the record
 * of somebody who stands still, a backup, a repair, the mending of an image's head, a segment that
 * is rewritten by a recovery.
 *
 * With the other crash tests every point of the library is one at which a test acts; the last line
 * of `make check` counts them (points.sh).
 */
#include "live.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "cleaner.h"
#include "clock.h"
#include "collapse.h"
#include "home.h"
#include "point.h"
#include "store.h"

#define LIMIT_MS 20000u
#define KEYS 300u
#define MUCH 4000u /* keys of which most are deleted, or written at once */
#define VALUE_BYTES 1000u
#define RUN_BYTES 600000u /* of a value that takes several segments */

static int put(struct shmkv *db, unsigned key, char what)
{
    char value[VALUE_BYTES];
    memset(value, what, sizeof(value));
    return shmkv_put(db, &key, sizeof(key), value, sizeof(value), NULL);
}

static int put_range(struct shmkv *db, unsigned first, unsigned end, char what)
{
    int rc = 0;
    for (unsigned key = first; rc == 0 && key < end; key++)
        rc = put(db, key, what);
    return rc;
}

/* What the key's value is made of; 0: absent. */
static char look(struct shmkv *db, unsigned key)
{
    char value[VALUE_BYTES];
    int rc = shmkv_read(db, &key, sizeof(key), value, sizeof(value), NULL);
    if (rc == SHMKV_ENOTFOUND)
        return 0;
    assert_rc(rc, 0);
    assert_int_equal(value[0], value[VALUE_BYTES - 1]);
    return value[0];
}

static void assert_range(struct shmkv *db, unsigned first, unsigned end, char what)
{
    for (unsigned key = first; key < end; key++)
        assert_int_equal(look(db, key), what);
}

static struct context *context_of(struct shmkv *db)
{
    struct context *c;
    child_assert(store_writer(db, &c) == 0);
    return c;
}

/* ---- in memory ----------------------------------------------------------------------------- */

static const struct shmkv_options usual = {.flags = SHMKV_NO_KEEPER, .size = 32u << 20};

struct plan {
    const char *point;
    enum point_action action;
    struct fixture *fixture;
    void (*prepare)(struct shmkv *db);
    void (*run)(struct shmkv *db, const struct plan *p);
    char left; /* what the keys have in the end, if it comes so far; 0: nothing */
};

static void arm(const struct plan *p)
{
    point_arm(p->point, 1, p->action, NULL, NULL);
}

static int perform(void *arg)
{
    const struct plan *p = arg;
    struct shmkv *db = fixture_open(p->fixture, SHMKV_NO_KEEPER);
    p->run(db, p);
    child_assert(shmkv_close(db) == 0);
    return 0;
}

static void others_go_on(struct shmkv *db, bool held)
{
    int rc = put_range(db, MUCH, MUCH + KEYS, 'o');
    if (rc != 0 && !(held && rc == SHMKV_EHELD))
        fail_msg("others do not go on: %s", shmkv_last_error());
    assert_rc(shmkv_compact(db), 0);
}

static void assert_sound(struct shmkv *db)
{
    audit_reap(db);
    assert_int_equal(audit_claims(db), 0);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
    const struct arena *a = audit_arena(db);
    assert_in_range(arena_allocated(a), 1, segment_memory(a)); /* INV-S2 */
}

static void meet(struct plan *p)
{
    static struct fixture f;
    p->fixture = &f;
    fixture_begin(&f, &usual);
    p->prepare(f.db);
    pid_t pid = child_start(perform, p);
    if (p->action == POINT_KILL) {
        assert_int_equal(child_wait(pid, LIMIT_MS), CHILD_SIGNAL + SIGKILL);
    } else {
        assert_true(child_wait_stopped(pid, LIMIT_MS));
        others_go_on(f.db, true);
        kill(pid, SIGCONT);
        assert_int_equal(child_wait(pid, LIMIT_MS), 0);
    }
    others_go_on(f.db, false);
    assert_range(f.db, 0, KEYS, p->left);
    assert_sound(f.db);
    assert_rc(put_range(f.db, 0, KEYS, 'n'), 0);
    assert_range(f.db, 0, KEYS, 'n');
    fixture_end(&f);
}

static void meet_both(struct plan *p)
{
    p->action = POINT_KILL;
    meet(p);
    p->action = POINT_STOP;
    meet(p);
}

static void prepare_keys(struct shmkv *db)
{
    assert_rc(put_range(db, 0, KEYS, 'k'), 0);
}

static void walk(struct shmkv *db, const struct plan *p)
{
    uint64_t count;
    arm(p);
    child_assert(shmkv_count(db, &count) == 0);
    child_assert(count >= KEYS);
}

static void in_a_walk(void **state)
{
    struct plan p = {.point = "scan.table", .prepare = prepare_keys, .run = walk, .left = 'k'};
    (void)state;
    meet_both(&p);
}

/* Most of it is free, with its memory. */
static void prepare_shrunk(struct shmkv *db)
{
    struct context *c;
    prepare_keys(db);
    assert_rc(put_range(db, MUCH, 4 * MUCH, 'd'), 0);
    for (unsigned key = MUCH; key < 4 * MUCH; key++)
        assert_rc(shmkv_delete(db, &key, sizeof(key)), 0);
    assert_rc(store_writer(db, &c), 0);
    while (cleaner_step(&c->writer) > 0)
        continue;
    append_close(&c->writer.moves, &c->store->arena);
    grace_pass(&c->store->arena);
    segment_reclaim(&c->store->arena);
}

/* As a keeper does whose store has been quiet for some time. */
static void trim(struct shmkv *db, const struct plan *p)
{
    struct trim t = {.checked_ns = 0};
    struct context *c = context_of(db);
    uint64_t now = clock_mono_ns();
    arm(p);
    for (unsigned i = 0; i < 10; i++)
        trim_step(&c->writer, &t, now + i * 2000000000ull);
}

static void in_giving_memory_back(void **state)
{
    struct plan p = {.point = "trim.given", .prepare = prepare_shrunk, .run = trim, .left = 'k'};
    (void)state;
    meet_both(&p);
}

static void take_ahead(struct shmkv *db, const struct plan *p)
{
    const struct context *c = context_of(db);
    arm(p);
    child_assert(segment_prefill_unit(&c->writer.self) == HUGE_PAGE_BYTES);
}

/* The next unit of holes is one in which a run was. */
static void prepare_former_run(struct shmkv *db)
{
    static char value[RUN_BYTES];
    struct context *c;
    prepare_keys(db);
    for (unsigned i = 0; i < 12; i++)
        assert_rc(shmkv_put(db, &i, 1, value, sizeof(value), NULL), 0);
    for (unsigned i = 0; i < 12; i++)
        assert_rc(shmkv_delete(db, &i, 1), 0);
    assert_rc(store_writer(db, &c), 0);
    const struct arena *a = &c->store->arena;
    assert_rc(shmkv_compact(db), 0);
    segment_punch(&c->writer.self, UINT64_MAX);
    unsigned heads = 0;
    for (uint64_t id = 0; id < segment_high(a); id++)
        heads += load_acquire(&segment_at(a, id)->state) == SEGMENT_HOLE && segment_span(a, id) > 1;
    assert_true(heads > 0);
}

static void in_taking_memory_ahead(void **state)
{
    static const char *const points[] = {"segment.unit", "segment.ahead"};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
        struct plan p = {
            .point = points[i], .prepare = prepare_former_run, .run = take_ahead, .left = 'k'};
        meet_both(&p);
    }
}

static void prepare_much(struct shmkv *db)
{
    prepare_keys(db);
    assert_rc(put_range(db, MUCH, 3 * MUCH, 'd'), 0);
}

static void make_huge(struct shmkv *db, const struct plan *p)
{
    struct collapse c = {.next_ns = 0};
    arm(p);
    while (collapse_step(&context_of(db)->writer.self, &c, clock_mono_ns()))
        c.next_ns = 0;
}

static void in_making_huge_pages(void **state)
{
    static const char *const points[] = {"collapse.unit", "collapse.done"};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
        struct plan p = {
            .point = points[i], .prepare = prepare_much, .run = make_huge, .left = 'k'};
        meet_both(&p);
    }
}

struct evicting {
    const struct plan *plan;
    const struct arena *a;
    struct writer other;
};

/* Another one ends the resize, and evicts every key from the new table. */
static void finish_and_evict(void *arg)
{
    struct evicting *e = arg;
    resize_finish(&e->other.self);
    for (unsigned key = 0; key < KEYS; key++) {
        struct index_key k = {.data = &key, .size = sizeof(key)};
        bool damaged = false;
        k.hash = hash_key(&key, sizeof(key), &e->a->hash_secret);
        uint64_t at = offset_of(e->a, index_lookup(e->a, &k, &damaged));
        const struct segment *s = segment_at(e->a, arena_segment_of(e->a, at));
        child_assert(index_evict(&e->other, at, load_acquire(&s->state)) == INDEX_EVICTED);
    }
    arm(e->plan);
}

static void move_what_was_evicted(struct shmkv *db, const struct plan *p)
{
    struct context *c = context_of(db);
    struct evicting e = {.plan = p, .a = &c->store->arena};
    writer_begin(&e.other, e.a, c->store->process.index);
    child_assert(resize_grow(&c->writer.self, &c->writer.resizer, table_root(e.a)) == 0);
    point_arm("move.placing", 1, POINT_CALL, finish_and_evict, &e);
    resize_finish(&c->writer.self);
    writer_end(&e.other);
}

static void in_a_move_of_what_was_evicted(void **state)
{
    struct plan p = {
        .point = "move.evicted", .prepare = prepare_keys, .run = move_what_was_evicted};
    (void)state;
    meet_both(&p);
}

/* So many segments are owned by this process that each writer has one for a single write. */
static void prepare_crowd(struct shmkv *db)
{
    struct context *c;
    struct segment_census census;
    prepare_keys(db);
    assert_rc(store_writer(db, &c), 0);
    segment_count(&c->store->arena, &census);
    for (uint64_t i = 0; i <= census.capacity / 8 + 1; i++) {
        struct segment_hold hold;
        assert_int_equal(segment_open(&c->writer.self, SEGMENT_FOR_PUT,
                                      c->store->arena.segment_mask + 1, &hold, NULL),
                         0);
    }
    append_close(&c->writer.puts, &c->store->arena); /* what it has is one that others may use */
}

static void put_on_lease(struct shmkv *db, const struct plan *p)
{
    const struct context *c = context_of(db);
    struct segment_census before, after;
    segment_count(&c->store->arena, &before);
    arm(p);
    for (unsigned key = 3 * MUCH; key < 3 * MUCH + 20; key++) {
        child_assert(put(db, key, 'l') == 0);
        child_assert(c->writer.puts.hold.id == SEGMENT_NONE);
    }
    segment_count(&c->store->arena, &after);
    child_assert(after.kinds[SEGMENT_OPEN] <= before.kinds[SEGMENT_OPEN]);
}

static void in_a_write_on_lease(void **state)
{
    static const char *const points[] = {"segment.adopted", "put.entered",   "put.inflight",
                                         "put.cas",         "put.used",      "append.memory",
                                         "segment.closed",  "segment.opened"};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
        struct plan p = {
            .point = points[i], .prepare = prepare_crowd, .run = put_on_lease, .left = 'k'};
        meet_both(&p);
    }
}

/* A claimed table that nobody goes on with, of this process. */
static void prepare_idle_table(struct shmkv *db)
{
    struct context *c;
    prepare_keys(db);
    assert_rc(store_writer(db, &c), 0);
    const struct arena *a = &c->store->arena;
    struct table *t = table_of(a, table_root(a));
    uint64_t word = load_acquire(&t->tickets);
    store_seq_cst(&t->tickets, table_quota(t->slots) / 5);
    resize_prepare(&c->writer.self, &c->writer.resizer, UINT64_MAX);
    store_seq_cst(&t->tickets, word);
    assert_non_null(c->writer.resizer.prepared);
}

static void take_idle_table(struct shmkv *db, const struct plan *p)
{
    const struct context *c = context_of(db);
    arm(p);
    table_take_idle(&c->writer.self);
}

static void in_taking_an_idle_table(void **state)
{
    static const char *const points[] = {"table.idle", "table.taking", "table.fenced"};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
        struct plan p = {
            .point = points[i], .prepare = prepare_idle_table, .run = take_idle_table, .left = 'k'};
        meet_both(&p);
    }
}

/* ---- with an image ------------------------------------------------------------------------- */

static int open_image(uint32_t flags, struct shmkv **db)
{
    return home_open(home_image, flags | SHMKV_NO_KEEPER, NEVER, db);
}

static struct shmkv *must_open(uint32_t flags)
{
    struct shmkv *db;
    assert_rc(open_image(flags, &db), 0);
    return db;
}

static void make_image(void)
{
    struct shmkv *db = must_open(SHMKV_CREATE);
    assert_rc(put_range(db, 0, KEYS, 'k'), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(shmkv_close(db), 0);
}

static int open_armed(void *arg)
{
    struct shmkv *db;
    arm(arg);
    child_assert(open_image(0, &db) == 0);
    return 0;
}

/* Nobody can go on beside a standing recovery, so there is no stop: others say who it is. */
static void in_settling_an_image(void **state)
{
    static const char *const points[] = {"image.rewritten", "image.super_rewritten"};
    (void)state;
    make_image();
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
        struct plan p = {.point = points[i], .action = POINT_KILL};
        scratch_lose_memory();
        assert_int_equal(child_wait(child_start(open_armed, &p), LIMIT_MS), CHILD_SIGNAL + SIGKILL);
        scratch_lose_memory();
        struct shmkv *db = must_open(0);
        assert_range(db, 0, KEYS, 'k');
        assert_sound(db);
        assert_rc(shmkv_close(db), 0);
    }
}

static int recover_armed(void *arg)
{
    struct live l;
    arm(arg);
    child_assert(live_recover(&l, home_image, 1) == 0);
    return 0;
}

static void in_rewriting_a_segment(void **state)
{
    struct plan p = {.point = "recover.rewritten", .action = POINT_KILL};
    struct live l;
    (void)state;
    live_create(&l, home_image);
    writer_put(&l.writer, "a", "1");
    uint64_t e = live_cut(&l);
    writer_put(&l.writer, "a", "ghost"); /* copied, but later than the cut */
    assert_int_equal(live_commit(&l, e), 0);
    live_lose(&l);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(child_wait(child_start(recover_armed, &p), LIMIT_MS),
                         CHILD_SIGNAL + SIGKILL);
    assert_int_equal(live_recover(&l, home_image, 1), 0);
    assert_int_equal(l.result.dropped, 1);
    assert_string_equal(live_get(&l, "a"), "1");
    assert_int_equal(live_checkpoint(&l), 0);
    live_lose(&l);
    assert_int_equal(live_recover(&l, home_image, 1), 0);
    assert_int_equal(l.result.dropped, 0);
    assert_string_equal(live_get(&l, "a"), "1");
    live_lose(&l);
    assert_int_equal(shmkv_gc(NULL, NULL), 0); /* what the dead had half made */
}

static int write_much_and_sync(void *arg)
{
    struct shmkv *db;
    child_assert(open_image(0, &db) == 0);
    child_assert(put_range(db, KEYS, MUCH, 's') == 0);
    arm(arg);
    child_assert(shmkv_checkpoint(db) == 0);
    return 0;
}

static int write_run_and_sync(void *arg)
{
    static char value[RUN_BYTES];
    struct shmkv *db;
    memset(value, 'r', sizeof(value));
    child_assert(open_image(0, &db) == 0);
    child_assert(shmkv_put(db, "run", 3, value, sizeof(value), NULL) == 0);
    arm(arg);
    child_assert(shmkv_checkpoint(db) == 0);
    return 0;
}

static int back_up(void *arg)
{
    struct shmkv *db;
    child_assert(open_image(0, &db) == 0);
    arm(arg);
    child_assert(shmkv_backup(db, home_path("copy")) == 0);
    return 0;
}

/* Others write; a sync is done, or says that it was not. */
static void others_sync(struct shmkv *db, bool stands)
{
    assert_rc(put(db, MUCH, 'o'), 0);
    int rc = shmkv_sync(db, stands ? 30 : -1);
    if (rc != 0 && stands)
        assert_rc(rc, SHMKV_ETIMEOUT);
    else
        assert_rc(rc, 0);
}

static void meet_image(child_fn *run, struct plan *p)
{
    make_image();
    pid_t pid = child_start(run, p);
    if (p->action == POINT_KILL)
        assert_int_equal(child_wait(pid, LIMIT_MS), CHILD_SIGNAL + SIGKILL);
    else
        assert_true(child_wait_stopped(pid, LIMIT_MS));
    struct shmkv *db = must_open(0);
    others_sync(db, p->action == POINT_STOP);
    if (p->action == POINT_STOP) {
        kill(pid, SIGCONT);
        assert_int_equal(child_wait(pid, LIMIT_MS), 0);
        others_sync(db, false);
    }
    audit_reap(db);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
    assert_rc(shmkv_close(db), 0);
    scratch_lose_memory();
    db = must_open(0);
    assert_range(db, 0, KEYS, 'k');
    assert_int_equal(look(db, MUCH), 'o');
    assert_sound(db);
    assert_rc(shmkv_close(db), 0);
}

static void meet_image_both(child_fn *run, const char *point)
{
    struct plan p = {.point = point, .action = POINT_KILL};
    meet_image(run, &p);
    unlink(home_image);
    unlink(home_path("copy"));
    scratch_lose_memory();
    p.action = POINT_STOP;
    meet_image(run, &p);
}

static void in_copying_ahead(void **state)
{
    (void)state;
    meet_image_both(write_much_and_sync, "checkpoint.ahead");
}

static void in_copying_a_run(void **state)
{
    static char value[RUN_BYTES];
    struct shmkv_item item;
    (void)state;
    meet_image_both(write_run_and_sync, "checkpoint.run");
    struct shmkv *db = must_open(0);
    assert_rc(shmkv_read(db, "run", 3, value, sizeof(value), &item), 0);
    assert_int_equal(item.size, RUN_BYTES);
    assert_true(value[0] == 'r' && memcmp(value, value + 1, sizeof(value) - 1) == 0);
    assert_rc(shmkv_close(db), 0);
}

/* It has no name before it is whole. */
static void in_a_backup(void **state)
{
    (void)state;
    struct plan p = {.point = "backup.written", .action = POINT_KILL};
    meet_image(back_up, &p);
    assert_int_equal(access(home_path("copy"), F_OK), -1);
    unlink(home_image);
    scratch_lose_memory();
    p.action = POINT_STOP;
    meet_image(back_up, &p);
    assert_int_equal(access(home_path("copy"), F_OK), 0);
    assert_rc(shmkv_check_image(home_path("copy"), NULL, NULL), 0);
}

static int repair(void *arg)
{
    arm(arg);
    int rc = shmkv_repair(home_image, home_path("copy"), NULL, NULL);
    return rc == 0 ? 0 : rc == SHMKV_ESTOREEXISTS ? 1 : 2;
}

/* So has what is repaired; and a name that somebody else took meanwhile is his. */
static void in_a_repair(void **state)
{
    (void)state;
    struct plan p = {.point = "repair.written", .action = POINT_KILL};
    make_image();
    pid_t pid = child_start(repair, &p);
    assert_int_equal(child_wait(pid, LIMIT_MS), CHILD_SIGNAL + SIGKILL);
    assert_int_equal(access(home_path("copy"), F_OK), -1);
    assert_rc(shmkv_repair(home_image, home_path("copy"), NULL, NULL), 0);
    assert_rc(shmkv_check_image(home_path("copy"), NULL, NULL), 0);
    unlink(home_path("copy"));
    p.action = POINT_STOP;
    pid = child_start(repair, &p);
    assert_true(child_wait_stopped(pid, LIMIT_MS));
    assert_int_equal(symlink("his", home_path("copy")), 0);
    kill(pid, SIGCONT);
    assert_int_equal(child_wait(pid, LIMIT_MS), 1);
    struct stat st;
    assert_int_equal(lstat(home_path("copy"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
}

static int put_and_stand(void *arg)
{
    struct shmkv *db;
    (void)arg;
    child_assert(open_image(0, &db) == 0);
    child_assert(put(db, MUCH + 1, 'a') == 0);
    point_arm("put.cas", 1, POINT_STOP, NULL, NULL);
    child_assert(put(db, MUCH + 1, 'b') == 0);
    return 0;
}

/* Somebody stands behind his publication: the cut looks whether it has happened. */
static void in_deciding_a_record(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct plan p = {.point = "checkpoint.deciding",
                         .action = i == 0 ? POINT_KILL : POINT_STOP};
        unlink(home_image);
        scratch_lose_memory();
        make_image();
        pid_t writer = child_start(put_and_stand, NULL);
        assert_true(child_wait_stopped(writer, LIMIT_MS));
        pid_t maker = child_start(write_much_and_sync, &p);
        if (i == 0)
            assert_int_equal(child_wait(maker, LIMIT_MS), CHILD_SIGNAL + SIGKILL);
        else
            assert_true(child_wait_stopped(maker, LIMIT_MS));
        struct shmkv *db = must_open(0);
        others_sync(db, i == 1);
        kill(writer, SIGCONT);
        assert_int_equal(child_wait(writer, LIMIT_MS), 0);
        kill(maker, SIGCONT);
        if (i == 1)
            assert_int_equal(child_wait(maker, LIMIT_MS), 0);
        others_sync(db, false);
        audit_reap(db);
        assert_rc(shmkv_close(db), 0);
        scratch_lose_memory();
        db = must_open(0);
        assert_range(db, 0, KEYS, 'k');
        assert_int_equal(look(db, MUCH + 1), 'b');
        assert_sound(db);
        assert_rc(shmkv_close(db), 0);
    }
}

int main(void)
{
#define IMAGE(name) cmocka_unit_test_setup_teardown(name, home_setup, home_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_a_walk),
        cmocka_unit_test(in_giving_memory_back),
        cmocka_unit_test(in_taking_memory_ahead),
        cmocka_unit_test(in_making_huge_pages),
        cmocka_unit_test(in_a_move_of_what_was_evicted),
        cmocka_unit_test(in_a_write_on_lease),
        cmocka_unit_test(in_taking_an_idle_table),
        IMAGE(in_settling_an_image),
        IMAGE(in_rewriting_a_segment),
        IMAGE(in_copying_ahead),
        IMAGE(in_copying_a_run),
        IMAGE(in_a_backup),
        IMAGE(in_a_repair),
        IMAGE(in_deciding_a_record),
    };
    return cmocka_run_group_tests_name("seldom", tests, NULL, NULL);
}
