/* SPDX-License-Identifier: MIT */
/*
 * crash_taken.c - the figure of a segment's memory when the segment changes hands meanwhile.
 *
 * A writer takes memory for its segment outside of a write section (append.h, R8).  It is stopped
 * right after; the segment, idle to all appearances, gets another owner who takes more of it and
 * fills it.  The first one, going on, must not put its own smaller figure in place.
 */
#include "fixture.h"

#include <signal.h>
#include <string.h>

#include "child.h"
#include "point.h"
#include "segment.h"
#include "store.h"

#define LIMIT_MS 10000u
#define VALUE_BYTES 9000u

static char value[VALUE_BYTES];

static int put_value(struct shmkv *db, char key)
{
    return shmkv_put(db, &key, 1, value, sizeof(value), NULL);
}

/* Own a segment, and stop when memory for its second quarter has been taken. */
static int own(void *arg)
{
    struct shmkv *db = fixture_open(arg, SHMKV_NO_KEEPER);
    child_assert(put_value(db, 'a') == 0);
    point_arm("append.memory", 1, POINT_STOP, NULL, NULL);
    child_assert(put_value(db, 'b') == 0);
    child_assert(put_value(db, 'c') == 0);
    shmkv_close(db);
    return 0;
}

static void a_former_owner_does_not_lower_the_figure(void **state)
{
    struct fixture *f = *state;
    const struct arena *a = &load_relaxed(&f->db->store)->arena;
    const struct segment *s = segment_at(a, 0);
    pid_t pid = child_start(own, f);
    assert_true(child_wait_stopped(pid, LIMIT_MS));
    assert_int_equal(segment_take_idle(a), 1);
    for (const char *key = "pqrst"; *key != '\0'; key++)
        assert_int_equal(put_value(f->db, *key), 0);
    uint64_t taken = load_acquire(&s->taken);
    assert_in_range(load_acquire(&s->used), 5 * VALUE_BYTES, taken); /* it was this segment */
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(child_wait(pid, LIMIT_MS), 0);
    assert_in_range(load_acquire(&s->taken), taken, a->segment_mask + 1);
    assert_int_equal(shmkv_check(f->db, NULL, NULL), 0);
    assert_int_equal(shmkv_exists(f->db, "c", 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(a_former_owner_does_not_lower_the_figure),
    };
    return cmocka_run_group_tests_name("taken", tests, NULL, NULL);
}
