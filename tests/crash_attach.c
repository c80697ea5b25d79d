/* SPDX-License-Identifier: MIT */
/*
 * crash_attach.c - kill whoever makes, opens, joins, leaves or removes a store, at each step.
 *
 * The steps are not listed here: each operation is run once while the points it passes are
 * recorded, and then again with a death at each passage of each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "error.h"
#include "peer.h"
#include "point.h"
#include "process.h"
#include "scratch.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#define STEPS_MOST 64
#define CRASH_CASE(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

/* Passages of points, in memory shared with the peers. */
struct steps {
    unsigned count;
    char name[STEPS_MOST][32];
    _Atomic uint32_t reaped;
};
static struct steps *steps;

static void seen(void *arg, const char *name)
{
    (void)arg;
    if (steps->count < STEPS_MOST)
        strncpy(steps->name[steps->count], name, sizeof(steps->name[0]) - 1);
    steps->count++;
}

static void count_reaped(void *arg, uint32_t process)
{
    (void)arg;
    (void)process;
    add_seq_cst(&steps->reaped, 1u);
}

/* ---- the operations -------------------------------------------------------------------------- */

/* Make or open, join, leave, close. */
static int lives(void)
{
    struct arena_options options = scratch_options(true);
    struct process p;
    struct arena a;
    bool created;
    CHECK(arena_open(&a, "shm:a", &options, &created) == 0);
    CHECK(process_join(&p, &a, count_reaped, NULL) == 0);
    store_relaxed(&a.sb->epoch, 1);
    POINT("test.built");
    CHECK(!created || arena_ready(&a) == 0);
    process_leave(&p);
    arena_close(&a);
    return 0;
}

static int destroys(void)
{
    CHECK(arena_destroy("shm:a", scratch_dir(), true) == 0);
    return 0;
}

static int reaps(void)
{
    struct arena a;
    CHECK(scratch_open(&a, "shm:a", false) == 0);
    process_reap_dead(&a, UINT32_MAX, count_reaped, NULL);
    arena_close(&a);
    return 0;
}

struct plan {
    int (*operation)(void);
    const char *name; /* of the point at which to die; NULL: record */
    unsigned nth;
};

static int run_plan(struct peer *parent, void *arg)
{
    const struct plan *plan = arg;
    (void)parent;
    if (plan->name)
        point_arm(plan->name, plan->nth, POINT_KILL, NULL, NULL);
    else
        point_record(seen, NULL);
    return plan->operation();
}

/* Record what @operation passes, into @found; the count. */
static unsigned record(int (*operation)(void), char found[STEPS_MOST][32])
{
    struct plan plan = {operation, NULL, 0};
    memset(steps, 0, sizeof(*steps));
    assert_int_equal(peer_run(run_plan, &plan), 0);
    assert_in_range(steps->count, 1, STEPS_MOST);
    memcpy(found, steps->name, sizeof(steps->name));
    return steps->count;
}

/* Die at step @i of those found. */
static void die_at(int (*operation)(void), char found[STEPS_MOST][32], unsigned i)
{
    struct plan plan = {operation, found[i], 1};
    for (unsigned k = 0; k < i; k++)
        plan.nth += strcmp(found[k], found[i]) == 0;
    int result = peer_run(run_plan, &plan);
    if (result != 128 + SIGKILL)
        print_message("at %s, passage %u:\n", plan.name, plan.nth);
    assert_int_equal(result, 128 + SIGKILL);
}

/* ---- afterwards ------------------------------------------------------------------------------ */

/* Whatever was left: it can be made or opened, joined, and the dead are reaped. */
static int goes_on(struct peer *parent, void *arg)
{
    struct arena a;
    struct process p;
    (void)parent;
    (void)arg;
    CHECK(scratch_open(&a, "shm:a", true) == 0);
    CHECK(load_acquire(&a.sb->state) == STORE_READY);
    CHECK(memcmp(a.sb->uuid, a.sync->uuid, 16) == 0);
    CHECK(arena_current(&a));
    CHECK(process_join(&p, &a, count_reaped, NULL) == 0);
    process_reap_dead(&a, p.index, count_reaped, NULL);
    for (uint32_t i = 0; i < load_relaxed(&a.sync->process_high); i++)
        CHECK(i == p.index || load_relaxed(&a.processes[i].used) == 0);
    CHECK(arena_take(&a, a.log_offset, 65536) == 0);
    memset(arena_at(&a, a.log_offset), 1, 65536);
    process_leave(&p);
    arena_close(&a);
    return 0;
}

static void assert_goes_on(const char *step)
{
    int result = peer_run(goes_on, NULL);
    if (result != 0)
        print_message("after a death at %s:\n", step);
    assert_int_equal(result, 0);
    assert_int_equal(scratch_count(), 2);
}

static void clear_away(void)
{
    int rc = arena_destroy("shm:a", scratch_dir(), false);
    assert_true(rc == 0 || rc == SHMKV_ENOSTORE);
    assert_int_equal(scratch_count(), 0);
}

/* ---- the cases ------------------------------------------------------------------------------- */

static void a_creator_dies_and_another_creates(void **state)
{
    char found[STEPS_MOST][32];
    unsigned count = record(lives, found);

    (void)state;
    assert_true(count >= 15);
    clear_away();
    for (unsigned i = 0; i < count; i++) {
        die_at(lives, found, i);
        assert_goes_on(found[i]);
        clear_away();
    }
}

static void a_creator_dies_and_others_are_told(void **state)
{
    char found[STEPS_MOST][32];
    unsigned count = record(lives, found);

    (void)state;
    clear_away();
    for (unsigned i = 0; i < count; i++) {
        struct arena a;
        die_at(lives, found, i);
        int rc = scratch_open(&a, "shm:a", false);
        if (rc == 0)
            arena_close(&a);
        else
            assert_int_equal(rc, SHMKV_ENOSTORE);
        size_t removed;
        assert_int_equal(arena_gc(scratch_dir(), &removed), 0);
        assert_int_equal(removed, rc != 0);
        assert_int_equal(scratch_count(), rc == 0 ? 2 : 0);
        clear_away();
    }
}

static void an_opener_dies_and_the_store_lives(void **state)
{
    char found[STEPS_MOST][32];
    struct arena a;

    (void)state;
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    store_relaxed(&a.sb->root, 4711);
    unsigned count = record(lives, found);
    for (unsigned i = 0; i < count; i++) {
        die_at(lives, found, i);
        assert_int_equal(peer_run(goes_on, NULL), 0);
        assert_int_equal(load_relaxed(&a.sb->root), 4711);
        assert_true(arena_current(&a));
    }
    arena_close(&a);
}

static void a_remover_dies_and_another_creates(void **state)
{
    char found[STEPS_MOST][32];
    struct arena a;

    (void)state;
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    arena_close(&a);
    unsigned count = record(destroys, found);
    assert_true(count >= 3);
    for (unsigned i = 0; i < count; i++) {
        assert_goes_on("nothing");
        die_at(destroys, found, i);
        assert_goes_on(found[i]);
    }
    clear_away();
}

static void a_remover_dies_while_it_is_in_use(void **state)
{
    char found[STEPS_MOST][32];
    struct arena a, b;

    (void)state;
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    arena_close(&a);
    unsigned count = record(destroys, found);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(scratch_open(&a, "shm:a", true), 0);
        die_at(destroys, found, i);
        bool begun = strncmp(found[i], "remove.", 7) == 0;
        assert_int_equal(load_relaxed(&a.sb->state), begun ? STORE_DEFUNCT : STORE_READY);
        int rc = scratch_open(&b, "shm:a", true);
        assert_true(rc == 0 || rc == SHMKV_EDEFUNCT); /* ours are gone, or must go first */
        if (rc == 0) {
            assert_int_equal(memcmp(a.sb->uuid, b.sb->uuid, 16) != 0, begun);
            arena_close(&b);
        }
        arena_close(&a);
        assert_goes_on(found[i]);
        clear_away();
    }
}

static void a_reaper_dies_and_the_next_reaps_again(void **state)
{
    struct plan plan = {lives, "process.joined", 1};
    char found[STEPS_MOST][32];
    struct arena a;

    (void)state;
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    assert_int_equal(peer_run(run_plan, &plan), 128 + SIGKILL);
    unsigned count = record(reaps, found);
    assert_int_equal(steps->reaped, 1);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(peer_run(run_plan, &plan), 128 + SIGKILL);
        store_relaxed(&steps->reaped, 0u);
        die_at(reaps, found, i);
        bool begun = load_relaxed(&steps->reaped) != 0;
        bool freed = load_relaxed(&a.processes[0].used) == 0;
        unsigned more = process_reap_dead(&a, UINT32_MAX, count_reaped, NULL);
        assert_int_equal(more, !freed);
        assert_int_equal(load_relaxed(&steps->reaped), begun + more);
        assert_true(begun + more >= 1);
        assert_int_equal(load_relaxed(&a.processes[0].used), 0);
    }
    arena_close(&a);
}

static void reap_now(void *arg)
{
    assert_int_equal(process_reap_dead(arg, UINT32_MAX, count_reaped, NULL), 1);
}

static void what_another_has_reaped_is_left_alone(void **state)
{
    struct plan plan = {lives, "process.joined", 1};
    struct arena a;

    (void)state;
    memset(steps, 0, sizeof(*steps));
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    assert_int_equal(peer_run(run_plan, &plan), 128 + SIGKILL);
    point_arm("reap.found", 1, POINT_CALL, reap_now, &a);
    assert_int_equal(process_reap_dead(&a, UINT32_MAX, count_reaped, NULL), 0);
    assert_int_equal(load_relaxed(&steps->reaped), 1);
    arena_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CRASH_CASE(a_creator_dies_and_another_creates),
        CRASH_CASE(a_creator_dies_and_others_are_told),
        CRASH_CASE(an_opener_dies_and_the_store_lives),
        CRASH_CASE(a_remover_dies_and_another_creates),
        CRASH_CASE(a_remover_dies_while_it_is_in_use),
        CRASH_CASE(a_reaper_dies_and_the_next_reaps_again),
        CRASH_CASE(what_another_has_reaped_is_left_alone),
    };
    if (fork_init() != 0)
        return 1;
    steps = mmap(NULL, sizeof(*steps), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
