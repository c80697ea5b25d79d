/* SPDX-License-Identifier: MIT */
/*
 * crash_disk.c - stores with an image on a disk that is slow, or fails: no put waits for it, who
 * synced is told, and what was said to be durable is there after a loss of power, too.
 */
#include "imaged.h"

#include <signal.h>

#include "child.h"
#include "clock.h"
#include "disk.h"
#include "file.h"
#include "point.h"

/* ---- a slow disk --------------------------------------------------------------------------- */

#define LIMIT_MS 60000u
#define LATER_MS 60000u /* an interval that no test waits for */
#define MANY 20000u     /* keys, a third of the store */

static int slow_write(struct file *f, const void *from, size_t bytes, uint64_t at)
{
    clock_sleep_ns(bytes * 60); /* 16 MB/s */
    return file_system.write(f, from, bytes, at);
}

static int slow_barrier(struct file *f)
{
    clock_sleep_ns(10000000);
    return file_system.barrier(f);
}

/* A put in time; where a checkpoint copies more slowly than puts are made, there is more of it. */
static int put_in_time(struct shmkv *db, uint32_t i, uint32_t turn)
{
    int rc = SHMKV_EHELD;
    for (unsigned n = 0; n < FIXTURE_PATIENCE && rc == SHMKV_EHELD; n++)
        rc = imaged_put(db, i, turn);
    return rc;
}

/* Much faster than the disk, which has only just begun with a cut when all has changed. */
static int overwrite_on_a_slow_disk(void *arg)
{
    struct file_table slow = file_system;
    struct shmkv *db;
    (void)arg;
    slow.write = slow_write;
    slow.barrier = slow_barrier;
    file_use(&slow);
    child_assert(home_open(home_image, SHMKV_CREATE | SHMKV_KEEPER, 5, &db) == 0);
    uint64_t end = clock_mono_ns() + 3000000000ull, later = UINT64_MAX;
    for (uint32_t turn = 0; clock_mono_ns() < end || load_seq_cst(&imaged_words(db)->epoch) < later;
         turn++) { /* until a cut was made of later turns than the first */
        for (uint32_t i = 0; i < MANY; i++)
            child_assert(put_in_time(db, i, turn) == 0);
        if (turn == 0)
            child_assert(shmkv_sync(db, -1) == 0);
        if (turn == 1)
            later = load_seq_cst(&audit_arena(db)->sb->epoch) + 1;
    }
    return raise(SIGKILL);
}

static void no_put_waits_for_the_disk(void **state)
{
    (void)state;
    int status = child_wait(child_start(overwrite_on_a_slow_disk, NULL), LIMIT_MS);
    assert_int_equal(status, CHILD_SIGNAL + SIGKILL);
    struct shmkv *db = imaged_after_a_loss();
    uint32_t first = imaged_turn_of(db, 0), before = first;
    for (uint32_t i = 1; i < MANY; i++) {
        uint32_t turn = imaged_turn_of(db, i);
        assert_true(turn == before || (before == first && turn == first - 1));
        before = turn;
    }
    print_message("# the cut is of turn %u\n", first);
    assert_true(first != UINT32_MAX && first > 0);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
    assert_rc(shmkv_close(db), 0);
}

/* ---- errors of the disk -------------------------------------------------------------------- */

/* One call fails: who synced is told, whatever succeeds later, and nothing synced is lost. */
static void fail_at(unsigned nth, int error, bool *reached)
{
    struct shmkv *db;
    home_empty();
    scratch_lose_memory();
    disk_begin(NULL);
    db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
    assert_rc(imaged_put_all(db, 0), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    uint32_t durable = 0;
    disk_fail(nth, error, 0);
    for (uint32_t turn = 1; turn < 4; turn++) {
        assert_rc(imaged_put_all(db, turn), 0);
        int rc = shmkv_sync(db, -1);
        if (rc == 0) {
            durable = turn;
        } else {
            *reached = true;
            assert_rc(rc, error);
        }
    }
    disk_fail(0, 0, 0);
    assert_rc(shmkv_close(db), 0);
    disk_end();
    db = imaged_after_a_loss();
    imaged_assert_prefix(db, durable);
    assert_rc(shmkv_close(db), 0);
}

static void failed_calls_are_told(void **state)
{
    (void)state;
    const int errors[] = {SHMKV_EIO, SHMKV_ENOSPC};
    for (unsigned e = 0; e < ARRAY_SIZE(errors); e++) {
        unsigned told = 0;
        for (unsigned nth = 1; nth <= 16; nth++) {
            bool reached = false;
            fail_at(nth, errors[e], &reached);
            told += reached;
        }
        assert_true(told >= 6);
    }
}

/* The image as a power loss after the first @i ops of the disk's log leaves it. */
static void lose_power(size_t i, enum disk_loss how, uint64_t *random)
{
    struct disk_replay *r = disk_replay_begin();
    disk_replay_to(r, i);
    disk_put(disk_replay_lose(r, how, random), home_image);
    disk_replay_end(r);
    scratch_lose_memory();
}

/* What a sync wrote whose last barrier failed can be read, and is not on the disk: it is not all
 * written, whoever looks (INV-F3). */
static void a_close_after_a_failed_sync_writes_it_again(void **state)
{
    struct shmkv *db;
    uint64_t random = 1;
    (void)state;
    disk_begin(NULL);
    assert_rc(home_open(home_image, SHMKV_CREATE | SHMKV_NO_KEEPER, LATER_MS, &db), 0);
    assert_rc(imaged_put_all(db, 1), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(imaged_put(db, 0, 2), 0);
    disk_fail(2, SHMKV_EIO, 0); /* the barrier behind the record that carries it */
    assert_rc(shmkv_sync(db, -1), SHMKV_EIO);
    disk_fail(0, 0, 0);
    assert_rc(shmkv_close(db), 0);
    disk_pause();
    for (unsigned turn = 0; turn < 3; turn++) { /* one replay of each kind */
        lose_power(disk_count(), DISK_LOSE_ALL, &random);
        db = imaged_open_image(0);
        assert_int_equal(imaged_turn_of(db, 0), 2);
        assert_rc(shmkv_close(db), 0);
    }
    disk_end();
}

/* INV-E5: what was given out while the disk failed is given out once, and it goes on by itself. */
static void checkpoints_that_fail_stay_below_the_ceiling(void **state)
{
    struct shmkv *db;
    (void)state;
    for (unsigned folds = 0; folds < 2; folds++) {
        disk_begin(NULL);
        assert_rc(home_open(home_image, SHMKV_CREATE | SHMKV_NO_KEEPER, LATER_MS, &db), 0);
        struct superblock *sb = audit_arena(db)->sb;
        assert_rc(imaged_put_all(db, 1), 0);
        assert_rc(shmkv_sync(db, -1), 0);
        store_seq_cst(&sb->ceiling, load_seq_cst(&sb->epoch) + 3); /* hours without a checkpoint */
        uint64_t ceiling = load_seq_cst(&sb->ceiling);
        if (folds != 0)
            assert_rc(shmkv_set_interval(db, 5000), 0);
        assert_rc(imaged_put_all(db, 2), 0);
        disk_fail(1, SHMKV_EIO, 1000);
        for (unsigned i = 0; i < 10; i++)
            assert_rc(shmkv_sync(db, -1), SHMKV_EIO);
        assert_true(load_seq_cst(&sb->epoch) <= ceiling && load_seq_cst(&sb->ceiling) == ceiling);
        disk_fail(0, 0, 0);
        assert_rc(shmkv_sync(db, -1), 0);
        assert_true(load_seq_cst(&sb->ceiling) > load_seq_cst(&sb->epoch) + (1u << 20));
        imaged_assert_all(db, 2);
        assert_rc(shmkv_close(db), 0);
        disk_pause();
        imaged_assert_kept(2);
        assert_rc(shmkv_check_image(home_image, NULL, NULL), 0);
        disk_end();
        home_empty();
        scratch_lose_memory();
    }
}

/* The same if the disk takes the promise, and no more. */
static void a_promise_is_kept_without_a_checkpoint(void **state)
{
    struct shmkv *db;
    uint64_t random = 1;
    (void)state;
    disk_begin(NULL);
    assert_rc(home_open(home_image, SHMKV_CREATE | SHMKV_NO_KEEPER, LATER_MS, &db), 0);
    struct superblock *sb = audit_arena(db)->sb;
    assert_rc(imaged_put_all(db, 1), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    store_seq_cst(&sb->ceiling, load_seq_cst(&sb->epoch) + 3);
    assert_rc(imaged_put(db, 0, 2), 0);
    disk_fail(3, SHMKV_EIO, 1000); /* behind the record of the promise and its barrier */
    assert_rc(shmkv_sync(db, -1), SHMKV_EIO);
    uint64_t promised = load_seq_cst(&sb->ceiling);
    assert_true(promised > load_seq_cst(&sb->epoch) + (1u << 20));
    assert_rc(shmkv_close(db), SHMKV_EIO);
    disk_pause();
    lose_power(disk_count(), DISK_LOSE_ALL, &random);
    db = imaged_open_image(0);
    imaged_assert_all(db, 1);
    assert_true(load_seq_cst(&audit_arena(db)->sb->epoch) > promised);
    assert_rc(shmkv_close(db), 0);
    disk_end();
}

static int die_before_the_barrier(void *arg)
{
    struct shmkv *db;
    (void)arg;
    child_assert(home_open(home_image, SHMKV_NO_KEEPER, NEVER, &db) == 0);
    child_assert(imaged_put(db, 0, 2) == 0);
    point_arm("image.recorded", 1, POINT_KILL, NULL, NULL);
    shmkv_sync(db, -1);
    return 0;
}

/* The same when he died who wrote it. */
static void a_close_after_a_death_writes_it_again(void **state)
{
    struct shmkv *db;
    (void)state;
    assert_rc(home_open(home_image, SHMKV_CREATE | SHMKV_NO_KEEPER, LATER_MS, &db), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    pid_t child = child_start(die_before_the_barrier, NULL);
    assert_int_equal(child_wait(child, LIMIT_MS), CHILD_SIGNAL + SIGKILL);
    disk_begin(home_image);
    assert_rc(shmkv_close(db), 0);
    disk_pause();
    assert_true(disk_count() >= 2);
    assert_int_equal(disk_op(0)->kind, DISK_WRITE);
    disk_end();
}

#define SUPER_CALL 3u /* of the disk in a fold: the writing of the first superblock */
#define FOLD_CALLS 6u

/* Two folds, of which one call of the first fails; then the power may fail at any moment. */
static void fold_twice(unsigned nth)
{
    struct shmkv *db;
    home_empty();
    scratch_lose_memory();
    disk_begin(NULL);
    db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
    assert_rc(imaged_put_all(db, 1), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(shmkv_set_interval(db, 5000), 0);
    disk_fail(nth, SHMKV_EIO, 0);
    shmkv_sync(db, -1);
    disk_fail(0, 0, 0);
    size_t since = disk_count();
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(shmkv_set_interval(db, 6000), 0);
    assert_rc(imaged_put(db, 0, 2), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(shmkv_close(db), 0);
    disk_pause();
    uint64_t random = nth + 1;
    for (size_t i = since, n = disk_count(); i <= n; i++) {
        for (int turn = 0; turn < 6 * DISK_LOSSES; turn++) {
            lose_power(i, (enum disk_loss)(turn % DISK_LOSSES), &random);
            db = imaged_open_image(0);
            assert_int_equal(imaged_turn_of(db, 1), 1);
            assert_rc(shmkv_close(db), 0);
        }
    }
    disk_end();
}

/* A second superblock that did not get to the disk is not taken for one that did. */
static void a_fold_after_a_failed_one_may_be_cut_off(void **state)
{
    (void)state;
    for (unsigned nth = SUPER_CALL; nth <= FOLD_CALLS; nth++)
        fold_twice(nth);
}

/* Room in the file that was reserved for a checkpoint that failed is taken for another: with what
 * leads to it on the disk, and the size of the file not, the image would be cut short. */
static void room_that_was_reserved_in_vain(void **state)
{
    (void)state;
    disk_begin(NULL);
    struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
    assert_rc(imaged_put(db, 0, 1), 0);
    disk_fail(2, SHMKV_EIO, 0); /* the record that carries it, behind the room for its segment */
    assert_rc(shmkv_sync(db, -1), SHMKV_EIO);
    disk_fail(0, 0, 0);
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(shmkv_close(db), 0);
    disk_pause();
    uint64_t random = 1;
    for (size_t i = disk_count() - 3, n = disk_count(); i <= n; i++) {
        for (int turn = 0; turn < 6 * DISK_LOSSES; turn++) {
            lose_power(i, (enum disk_loss)(turn % DISK_LOSSES), &random);
            db = imaged_open_image(0);
            assert_true(i < n || imaged_turn_of(db, 0) == 1);
            assert_rc(shmkv_close(db), 0);
        }
    }
    disk_end();
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, home_setup, home_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(failed_calls_are_told),
        TEST(a_close_after_a_failed_sync_writes_it_again),
        TEST(a_close_after_a_death_writes_it_again),
        TEST(a_fold_after_a_failed_one_may_be_cut_off),
        TEST(room_that_was_reserved_in_vain),
        TEST(checkpoints_that_fail_stay_below_the_ceiling),
        TEST(a_promise_is_kept_without_a_checkpoint),
        TEST(no_put_waits_for_the_disk),
    };
    return cmocka_run_group_tests_name("crash_disk", tests, NULL, NULL);
}
