/* SPDX-License-Identifier: MIT */
/*
 * crash_copy.c - copies and backups of an image, and an image that is removed or replaced: each is
 * a store of its own, and none is taken for another.
 */
#include "imaged.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "file.h"

static void a_copy_of_an_image_is_a_store_of_its_own(void **state)
{
    (void)state;
    struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER), *other;
    const char *copy = home_path("copy");
    assert_rc(imaged_put_all(db, 5), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    scratch_copy(home_image, copy);
    assert_rc(home_open(copy, SHMKV_NO_KEEPER, NEVER, &other), 0);
    imaged_assert_all(other, 5);
    assert_rc(imaged_put_all(other, 6), 0);
    imaged_assert_all(db, 5);
    assert_rc(shmkv_sync(other, -1), 0);
    assert_rc(imaged_put_all(db, 7), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    shmkv_close(db);
    shmkv_close(other);
    db = imaged_after_a_loss();
    imaged_assert_all(db, 7);
    assert_rc(home_open(copy, 0, NEVER, &other), 0);
    imaged_assert_all(other, 6);
    shmkv_close(db);
    shmkv_close(other);
}

static void a_backup_is_one_cut_and_opens(void **state)
{
    (void)state;
    struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER), *other;
    const char *copy = home_path("backup");
    assert_rc(imaged_put_all(db, 5), 0);
    assert_rc(shmkv_backup(db, copy), 0);
    assert_rc(shmkv_backup(db, copy), SHMKV_ESTOREEXISTS);
    assert_rc(imaged_put_all(db, 6), 0);
    assert_rc(home_open(copy, 0, NEVER, &other), 0);
    imaged_assert_all(other, 5);
    assert_rc(shmkv_close(other), 0);
    assert_rc(shmkv_close(db), 0);
    assert_int_equal(rename(copy, home_image), 0); /* nobody has it open */
    db = imaged_open_image(0);
    imaged_assert_all(db, 5);
    assert_rc(shmkv_close(db), 0);
}

static int refuse_renaming; /* an error number; 0: do it */

/* In the place of the C library's. */
int renameat2(int from, const char *name, int to, const char *other, unsigned flags)
{
    errno = refuse_renaming;
    return refuse_renaming != 0 ? -1 : (int)syscall(SYS_renameat2, from, name, to, other, flags);
}

/* As on a file system that knows no flags of it. */
static void a_backup_where_renaming_is_plain(void **state)
{
    struct shmkv *other;
    (void)state;
    const char *copy = home_path("backup");
    struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
    assert_rc(imaged_put_all(db, 5), 0);
    refuse_renaming = EINVAL;
    int rc = shmkv_backup(db, copy);
    refuse_renaming = 0;
    assert_rc(rc, 0);
    assert_rc(shmkv_close(db), 0);
    assert_rc(home_open(copy, 0, NEVER, &other), 0);
    imaged_assert_all(other, 5);
    assert_rc(shmkv_close(other), 0);
    struct stat st;
    assert_int_equal(stat(copy, &st), 0);
    assert_int_equal(st.st_nlink, 1);
}

static unsigned names_synced;

static int sync_one_name(struct file *f)
{
    return names_synced++ == 0 ? file_system.barrier_name(f)
                               : error_set(SHMKV_EIO, "syncing a name failed, as the test wants");
}

/* ... though it had its name already. */
static void a_backup_that_failed_is_not_there(void **state)
{
    struct file_table table = file_system;
    (void)state;
    const char *copy = home_path("backup");
    struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
    table.barrier_name = sync_one_name;
    names_synced = 0;
    file_use(&table);
    assert_rc(shmkv_backup(db, copy), SHMKV_EIO);
    file_use(NULL);
    assert_rc(shmkv_backup(db, copy), 0);
    assert_rc(shmkv_close(db), 0);
}

/* Its keeper has it open, and nobody would ever read what it writes there. */
static void an_image_that_is_gone_is_told_of(void **state)
{
    (void)state;
    struct shmkv_keeper k;
    for (int replaced = 0; replaced <= 1; replaced++) {
        struct shmkv *db = imaged_open_image(SHMKV_CREATE);
        assert_rc(imaged_put_all(db, 5), 0);
        assert_rc(shmkv_sync(db, -1), 0);
        assert_rc(shmkv_get_keeper(db, &k), 0);
        while (load_seq_cst(&imaged_words(db)->holder) ==
               0) /* the sync was perhaps before its keeper */
            clock_sleep_ns(1000000);
        const char *other = home_path("backup");
        assert_rc(shmkv_backup(db, other), 0);
        assert_int_equal(replaced ? rename(other, home_image) : unlink(home_image), 0);
        assert_rc(imaged_put_all(db, 6), 0);
        assert_rc(shmkv_sync(db, -1), SHMKV_EDEFUNCT);
        assert_true(strstr(shmkv_last_error(), "removed or replaced") != NULL);
        assert_rc(shmkv_get_keeper(db, &k), SHMKV_EDEFUNCT);
        shmkv_close(db);
        if (!replaced)
            assert_int_equal(rename(other, home_image), 0);
        db = imaged_open_image(0);
        imaged_assert_all(db, 5); /* it begins with what the backup has */
        assert_rc(shmkv_close(db), 0);
        assert_int_equal(unlink(home_image), 0);
        scratch_lose_memory();
    }
}

/* What another image promises binds this one to nothing (INV-E5). */
static void a_backup_does_not_raise_the_ceiling(void **state)
{
    (void)state;
    const char *copy = home_path("backup");
    struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
    _Atomic uint64_t *ceiling = &audit_arena(db)->sb->ceiling;
    assert_rc(imaged_put_all(db, 1), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    uint64_t promised = load_seq_cst(ceiling);
    assert_rc(imaged_put_all(db, 2), 0);
    assert_rc(shmkv_backup(db, copy), 0);
    assert_int_equal(load_seq_cst(ceiling), promised);
    assert_rc(shmkv_sync(db, -1), 0);
    assert_true(load_seq_cst(ceiling) > promised);
    assert_rc(shmkv_close(db), 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, home_setup, home_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_copy_of_an_image_is_a_store_of_its_own), TEST(a_backup_is_one_cut_and_opens),
        TEST(a_backup_where_renaming_is_plain),         TEST(a_backup_that_failed_is_not_there),
        TEST(an_image_that_is_gone_is_told_of),         TEST(a_backup_does_not_raise_the_ceiling),
    };
    return cmocka_run_group_tests_name("crash_copy", tests, NULL, NULL);
}
