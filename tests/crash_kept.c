/* SPDX-License-Identifier: MIT */
/*
 * crash_kept.c - a reservation that stands open while others write and sync, and a death: it is
 * there if, and only if, it was committed, and after a power loss if that was synced (failure 16).
 */
#include "fixture.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "scratch.h"

#define LIMIT_MS 60000u

static char image[256];

static int setup(void **state)
{
    int rc = scratch_setup(state);
    snprintf(image, sizeof(image), "%s", scratch_path("image"));
    return rc;
}

static int open_store(uint32_t flags, struct shmkv **db)
{
    struct shmkv_options o = {.flags = flags | SHMKV_NO_KEEPER,
                              .size = 8u << 20,
                              .interval_ms = NEVER,
                              .shm_dir = scratch_dir()};
    return shmkv_open(image, &o, db);
}

static struct shmkv *opened(void)
{
    struct shmkv *db;
    assert_rc(open_store(SHMKV_CREATE, &db), 0);
    return db;
}

/* ---- reservations --------------------------------------------------------------------------- */

struct plan {
    bool commits, syncs_again;
};

/* Reserve and fill one, put another, sync, and die. */
static int reserve_and_die(void *arg)
{
    const struct plan *plan = arg;
    struct shmkv *db;
    struct shmkv_reservation r;
    child_assert(open_store(SHMKV_CREATE, &db) == 0);
    child_assert(shmkv_reserve(db, "reserved", 8, 1000, NULL, &r) == 0);
    memset(r.value, 'r', 1000);
    child_assert(shmkv_put(db, "other", 5, "value", 5, NULL) == 0);
    child_assert(shmkv_sync(db, -1) == 0);
    if (plan->commits)
        child_assert(shmkv_commit(&r) == 0);
    if (plan->syncs_again)
        child_assert(shmkv_sync(db, -1) == 0);
    return raise(SIGKILL);
}

static void check_reservation(const struct plan *plan, bool loses)
{
    char value[1000];
    bool there = plan->commits && (plan->syncs_again || !loses);
    scratch_lose_memory();
    unlink(image);
    assert_int_equal(child_wait(child_start(reserve_and_die, (void *)(uintptr_t)plan), LIMIT_MS),
                     CHILD_SIGNAL + SIGKILL);
    if (loses)
        scratch_lose_memory();
    struct shmkv *db = opened();
    assert_rc(shmkv_exists(db, "other", 5), 0);
    assert_rc(shmkv_read(db, "reserved", 8, value, sizeof(value), NULL),
              there ? 0 : SHMKV_ENOTFOUND);
    if (there)
        assert_true(value[0] == 'r' && value[999] == 'r');
    assert_rc(shmkv_put(db, "reserved", 8, "new", 3, NULL), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
    assert_rc(shmkv_close(db), 0);
    scratch_lose_memory();
    db = opened();
    assert_rc(shmkv_read(db, "reserved", 8, value, sizeof(value), NULL), 0);
    assert_memory_equal(value, "new", 3);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
    assert_rc(shmkv_close(db), 0);
}

static void a_reservation_is_there_when_it_was_committed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        struct plan plan = {.commits = (i & 1) != 0, .syncs_again = (i & 2) != 0};
        check_reservation(&plan, (i & 4) != 0);
    }
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_reservation_is_there_when_it_was_committed),
    };
    return cmocka_run_group_tests_name("crash_kept", tests, NULL, NULL);
}
