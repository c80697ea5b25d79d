/* SPDX-License-Identifier: MIT */
/*
 * crash_verify.c - shmkv_check() has no finding while a writer, mover or cleaner is stopped between
 * any two steps, nor after it was killed there.
 */
#include "fixture.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "child.h"
#include "point.h"
#include "resize.h"
#include "store.h"

#define KEYS 1500u
#define LIMIT_MS 20000u

static const struct shmkv_options small = {.size = 2u << 20, .flags = SHMKV_NO_KEEPER};

struct worker {
    const struct fixture *fixture;
    const char *point;
    unsigned nth;
};

/* Everything that passes points: puts, deletes, resizes, cleaning. */
static int work(void *arg)
{
    const struct worker *w = arg;
    struct shmkv *db = fixture_open(w->fixture, SHMKV_NO_KEEPER);
    struct context *c;
    child_assert(store_writer(db, &c) == 0);
    point_arm(w->point, w->nth, POINT_STOP, NULL, NULL);
    for (unsigned i = 0; i < 20 * KEYS; i++) {
        char key[24], value[100] = "v";
        int len = snprintf(key, sizeof(key), "k%u", i * 7 % KEYS);
        child_assert(shmkv_put(db, key, (size_t)len, value, i % sizeof(value), NULL) == 0);
        snprintf(key, sizeof(key), "%s%u", w->point, i); /* new ones, so that tables fill up */
        child_assert(shmkv_put(db, key, strlen(key), value, i % sizeof(value), NULL) == 0);
        child_assert(shmkv_delete(db, key, strlen(key)) == 0);
        if (i % 500 == 0)
            child_assert(shmkv_compact(db) == 0);
    }
    shmkv_close(db);
    return 0;
}

static void keep_first(void *arg, const char *line)
{
    char *first = arg;
    if (first[0] == '\0' && strncmp(line, "note: ", 6) != 0)
        snprintf(first, 400, "%s", line);
}

static void assert_sound(struct shmkv *db, const struct worker *w, const char *when)
{
    char first[400] = "";
    if (shmkv_check(db, keep_first, first) != 0)
        fail_msg("%s, passage %u, %s: %s", w->point, w->nth, when, first);
}

/* Was it stopped there? */
static bool try_point(const struct fixture *f, const char *point, unsigned nth)
{
    struct worker w = {.fixture = f, .point = point, .nth = nth};
    pid_t pid = child_start(work, &w);
    bool stopped = child_wait_stopped(pid, LIMIT_MS);
    if (!stopped) {
        assert_int_equal(child_wait(pid, LIMIT_MS), 0);
        return false;
    }
    assert_sound(f->db, &w, "stopped");
    child_kill(pid);
    assert_sound(f->db, &w, "killed");
    return true;
}

static void a_store_is_sound_at_every_step(void **state)
{
    static const char *const points[] = {
        "put.entered",    "put.written",        "put.inflight",    "put.marked",
        "put.cas",        "put.used",           "put.done",        "find.closed",
        "move.frozen",    "move.placed",        "move.chunk",      "table.claimed",
        "resize.bound",   "resize.closed",      "resize.started",  "resize.topped",
        "resize.rooted",  "resize.finishing",   "table.released",  "clean.claimed",
        "clean.batch",    "clean.retiring",     "relocate.copied", "relocate.cas",
        "segment.opened", "relocate.inflight",  "segment.opening", "segment.closed",
        "append.memory",  "notify.before_wake",
    };
    static const unsigned passages[] = {1, 2, 30};
    struct fixture *f = *state;
    unsigned stops = 0, never = 0;
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        unsigned before = stops;
        for (size_t k = 0; k < sizeof(passages) / sizeof(passages[0]); k++)
            stops += try_point(f, points[i], passages[k]);
        if (stops == before)
            print_message("%s was never passed\n", points[i]);
        never += stops == before;
    }
    print_message("checked at %u stops\n", stops);
    assert_true(never <= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(a_store_is_sound_at_every_step, &small),
    };
    return cmocka_run_group_tests_name("verify", tests, NULL, NULL);
}
