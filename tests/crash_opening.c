/* SPDX-License-Identifier: MIT */
/*
 * crash_opening.c - a thread that opens a store, and loads its image, or closes one, and makes its
 * last checkpoint, keeps the other threads of its process from nothing but the same store.
 *
 * The slow step is one at which a thread is held for as long as the test likes.
 */
#define _GNU_SOURCE
#include "home.h"

#include <pthread.h>
#include <stdbool.h>
#include <unistd.h>

#include "child.h"
#include "clock.h"
#include "point.h"
#include "store.h"

#define LIMIT_MS 30000u

static int open_name(const char *name, uint32_t flags, struct shmkv **db)
{
    return home_open(name, flags | SHMKV_NO_KEEPER, 0, db);
}

static struct shmkv *must_open(const char *name, uint32_t flags)
{
    struct shmkv *db;
    assert_rc(open_name(name, flags, &db), 0);
    return db;
}

/* ---- the thread that is held ---------------------------------------------------------------- */

static _Atomic uint32_t held, let_go;

static void hold(void *unused)
{
    (void)unused;
    store_release(&held, 1);
    for (unsigned i = 0; i < LIMIT_MS && load_acquire(&let_go) == 0; i++)
        clock_sleep_ns(1000000);
    store_release(&held, 0);
}

static bool wait_for(_Atomic uint32_t *word)
{
    for (unsigned i = 0; i < LIMIT_MS && load_acquire(word) == 0; i++)
        clock_sleep_ns(1000000);
    return load_acquire(word) != 0;
}

/* A thread that opens @name, or closes @db. */
struct job {
    const char *name;
    struct shmkv *db;
    int rc;
    _Atomic uint32_t done;
    pthread_t thread;
};

static void *do_open(void *arg)
{
    struct job *j = arg;
    j->rc = open_name(j->name, 0, &j->db);
    store_release(&j->done, 1);
    return NULL;
}

static void *do_close(void *arg)
{
    struct job *j = arg;
    j->rc = shmkv_close(j->db);
    store_release(&j->done, 1);
    return NULL;
}

static void start(struct job *j, void *(*fn)(void *))
{
    assert_int_equal(pthread_create(&j->thread, NULL, fn, j), 0);
}

/* Start a thread and have it held at @point. */
static void start_held(struct job *j, void *(*fn)(void *), const char *point)
{
    store_relaxed(&held, 0);
    store_relaxed(&let_go, 0);
    point_arm(point, 1, POINT_CALL, hold, NULL);
    start(j, fn);
    assert_true(wait_for(&held));
}

static void end(struct job *j)
{
    assert_true(wait_for(&j->done));
    pthread_join(j->thread, NULL);
    assert_rc(j->rc, 0);
}

/* ---- what goes on meanwhile ------------------------------------------------------------------ */

static void *use(void *arg)
{
    struct shmkv *db = arg;
    bool good = shmkv_put(db, "k", 1, "other", 5, NULL) == 0 && shmkv_exists(db, "k", 1) == 0;
    return good ? db : NULL;
}

/* Other stores are opened, used by a thread that has never used them, and closed. */
static void others_go_on(struct shmkv *db)
{
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, use, db), 0);
    pthread_join(thread, &result);
    assert_non_null(result);
    struct shmkv *other = must_open("shm:other", SHMKV_CREATE);
    assert_non_null(use(other));
    assert_rc(shmkv_close(other), 0);
    assert_int_equal(load_acquire(&held), 1); /* all the time */
}

/* An image with something in it, which is not in memory. */
static void make_image(void)
{
    struct shmkv *db = must_open(home_image, SHMKV_CREATE);
    assert_rc(shmkv_put(db, "key", 3, "value", 5, NULL), 0);
    assert_rc(shmkv_close(db), 0);
    scratch_lose_memory();
}

static void assert_one_store(const struct job *a, const struct job *b)
{
    struct shmkv_stats stats;
    assert_ptr_equal(a->db->store, b->db->store);
    assert_rc(shmkv_get_stats(a->db, &stats), 0);
    assert_int_equal(stats.processes, 1);
    assert_rc(shmkv_exists(a->db, "key", 3), 0);
    assert_rc(shmkv_close(a->db), 0);
    assert_rc(shmkv_exists(b->db, "key", 3), 0);
    assert_rc(shmkv_close(b->db), 0);
}

/* A child of a process one of whose threads opens a store may open it, too: as any process. */
static int open_in_a_child(void *arg)
{
    struct shmkv *db;
    child_assert(open_name(arg, 0, &db) == 0);
    child_assert(shmkv_exists(db, "key", 3) == 0);
    child_assert(shmkv_close(db) == 0);
    return 0;
}

static void while_an_image_is_loaded(void **state)
{
    (void)state;
    struct shmkv *db = must_open("shm:known", SHMKV_CREATE);
    struct job slow = {.name = home_image}, same = {.name = home_image};
    make_image();
    start_held(&slow, do_open, "recover.committing");
    others_go_on(db);
    start(&same, do_open);
    others_go_on(db);
    assert_int_equal(load_acquire(&same.done), 0); /* never before it is loaded */
    store_release(&let_go, 1);
    end(&slow);
    end(&same);
    assert_one_store(&slow, &same);
    assert_rc(shmkv_close(db), 0);
}

static void while_it_is_loaded_and_cannot_be(void **state)
{
    (void)state;
    struct shmkv *db = must_open("shm:known", SHMKV_CREATE);
    struct job slow = {.name = home_image}, same = {.name = home_image};
    start_held(&slow, do_open, "store.opened"); /* there is no such image */
    start(&same, do_open);
    others_go_on(db);
    store_release(&let_go, 1);
    assert_true(wait_for(&slow.done) && wait_for(&same.done));
    pthread_join(slow.thread, NULL);
    pthread_join(same.thread, NULL);
    assert_int_equal(slow.rc, SHMKV_ENOSTORE);
    assert_int_equal(same.rc, SHMKV_ENOSTORE);
    assert_rc(shmkv_close(db), 0);
}

/* By a name of which only the inode tells that it is the same. */
static void by_another_name(void **state)
{
    (void)state;
    struct job slow = {.name = home_image}, same = {.name = home_path("linked")};
    make_image();
    assert_int_equal(link(home_image, home_path("linked")), 0);
    start_held(&slow, do_open, "store.opened");
    start(&same, do_open);
    assert_true(wait_for(&same.done));
    store_release(&let_go, 1);
    end(&slow);
    end(&same);
    assert_one_store(&slow, &same);
}

static void while_a_last_checkpoint_is_made(void **state)
{
    (void)state;
    struct shmkv *db = must_open("shm:known", SHMKV_CREATE);
    make_image();
    struct job slow = {.db = must_open(home_image, 0)}, same = {.name = home_image};
    assert_rc(shmkv_put(slow.db, "late", 4, "value", 5, NULL), 0);
    start_held(&slow, do_close, "checkpoint.done");
    others_go_on(db);
    start(&same, do_open);
    others_go_on(db);
    assert_int_equal(load_acquire(&same.done), 0);
    store_release(&let_go, 1);
    end(&slow);
    end(&same);
    assert_rc(shmkv_exists(same.db, "late", 4), 0);
    assert_rc(shmkv_close(same.db), 0);
    assert_rc(shmkv_close(db), 0);
}

static void a_child_meanwhile(void **state)
{
    (void)state;
    struct job slow = {.name = home_image};
    make_image();
    start_held(&slow, do_open, "store.opened");
    assert_int_equal(child_wait(child_start(open_in_a_child, home_image), LIMIT_MS), 0);
    store_release(&let_go, 1);
    end(&slow);
    assert_rc(shmkv_exists(slow.db, "key", 3), 0);
    start_held(&slow, do_close, "store.closed");
    assert_int_equal(child_wait(child_start(open_in_a_child, home_image), LIMIT_MS), 0);
    store_release(&let_go, 1);
    assert_true(wait_for(&slow.done));
    pthread_join(slow.thread, NULL);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, home_setup, home_teardown)
    const struct CMUnitTest tests[] = {
        TEST(while_an_image_is_loaded), TEST(while_it_is_loaded_and_cannot_be),
        TEST(by_another_name),          TEST(while_a_last_checkpoint_is_made),
        TEST(a_child_meanwhile),
    };
    return cmocka_run_group_tests_name("crash_opening", tests, NULL, NULL);
}
