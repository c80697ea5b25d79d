/* SPDX-License-Identifier: MIT */
/* test_file.c - the system's table of file functions: what it refuses, and how it says so. */
#define _GNU_SOURCE
#include "file.h"
#include "fixture.h"
#include "scratch.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[256];
static char page[4096], back[4096];

static int setup(void **state)
{
    int rc = scratch_setup(state);
    snprintf(path, sizeof(path), "%s", scratch_path("file"));
    memset(page, 'p', sizeof(page));
    return rc;
}

static void assert_text_has(const char *part)
{
    if (strstr(shmkv_last_error(), part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", shmkv_last_error(), part);
}

static void create(struct file *f)
{
    assert_rc(file_open(f, path, FILE_CREATE, 0640), 0);
    assert_rc(file_write(f, page, sizeof(page), 0), 0);
    assert_rc(file_barrier(f), 0);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct file f;
    struct stat st;
    uint64_t size;
    mode_t mask = umask(077);
    create(&f);
    umask(mask);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_rc(f.table->allocate(&f, 4096, 1 << 20), 0);
    assert_rc(file_size(&f, &size), 0);
    assert_int_equal(size, 4096 + (1 << 20));
    assert_rc(file_write(&f, page, sizeof(page), 200 << 20), 0); /* beyond the mapping */
    assert_rc(file_barrier(&f), 0);
    assert_rc(file_read(&f, back, sizeof(back), 0), 0);
    assert_memory_equal(page, back, sizeof(page));
    assert_rc(f.table->truncate(&f, 4096), 0);
    assert_rc(file_barrier(&f), 0);
    assert_rc(f.table->barrier_name(&f), 0);
    assert_rc(file_read(&f, back, sizeof(back), 4096), SHMKV_ECORRUPT);
    assert_text_has("cut short");
    file_close(&f);
}

static void a_closed_descriptor_is_opened_again(void **state)
{
    (void)state;
    struct file f;
    create(&f);
    int number = f.fd;
    close(number);
    int other = open("/dev/zero", O_RDWR);
    assert_int_equal(other, number); /* somebody else's now */
    page[0] = 'q';
    assert_rc(file_write(&f, page, sizeof(page), 0), 0);
    assert_rc(file_barrier(&f), 0);
    assert_rc(file_read(&f, back, sizeof(back), 0), 0);
    assert_int_equal(back[0], 'q');
    file_close(&f);
    assert_int_not_equal(fcntl(other, F_GETFD), -1); /* and stays theirs */
    close(other);
}

static void a_removed_file_is_told_of(void **state)
{
    (void)state;
    struct file f;
    create(&f);
    close(f.fd);
    assert_int_equal(unlink(path), 0);
    assert_rc(file_write(&f, page, sizeof(page), 0), SHMKV_EDEFUNCT);
    assert_text_has("removed or replaced");
    file_close(&f);
}

static void what_has_no_name_is_not_written_to(void **state)
{
    (void)state;
    struct file f;
    create(&f);
    int number = f.fd;
    assert_int_equal(unlink(path), 0);
    assert_rc(file_write(&f, page, sizeof(page), 0), SHMKV_EDEFUNCT); /* though it is open */
    assert_text_has("removed or replaced");
    file_close(&f);
    assert_int_equal(fcntl(number, F_GETFD), -1); /* and it is closed all the same */
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    struct file f;
    assert_rc(file_open(&f, path, 0, 0), SHMKV_ENOSTORE);
    assert_rc(file_open(&f, "/no/such/place", FILE_CREATE, 0), SHMKV_ENOSTORE);
    assert_text_has("no directory");
    assert_rc(file_open(&f, "/dev/null", 0, 0), SHMKV_EFORMAT);
    assert_text_has("not a regular file");
    assert_rc(file_open(&f, "/tmp", 0, 0), SHMKV_EFORMAT);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_rc(file_open(&f, path, 0, 0), SHMKV_EFORMAT);
}

static void read_only_file_systems(void **state)
{
    (void)state;
    struct file f;
    create(&f);
    file_close(&f);
    if (mount(NULL, scratch_dir(), NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0)
        skip();
    assert_rc(file_open(&f, path, 0, 0), SHMKV_EREADONLY);
    assert_text_has("file system is read-only");
    assert_rc(file_open(&f, path, FILE_READONLY, 0), 0);
    assert_rc(file_read(&f, back, sizeof(back), 0), 0);
    file_close(&f);
    mount(NULL, scratch_dir(), NULL, MS_REMOUNT, NULL);
}

/* As another user, in a child. */
static int as_nobody(unsigned flags)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct file f;
        if (setgid(65534) != 0 || setuid(65534) != 0)
            _exit(100);
        _exit(-file_open(&f, path, flags, 0));
    }
    int status;
    waitpid(pid, &status, 0);
    return -WEXITSTATUS(status);
}

static void the_wrong_owner(void **state)
{
    (void)state;
    struct file f;
    if (geteuid() != 0)
        skip();
    create(&f);
    file_close(&f);
    chmod(path, 0604);
    assert_int_equal(as_nobody(0), SHMKV_EACCESS);
    assert_int_equal(as_nobody(FILE_READONLY), 0);
    chmod(path, 0600);
    assert_int_equal(as_nobody(FILE_READONLY), SHMKV_EACCESS);
}

static void a_full_disk(void **state)
{
    (void)state;
    struct file f;
    if (!scratch_make(256))
        skip();
    snprintf(path, sizeof(path), "%s", scratch_path("file"));
    create(&f);
    assert_rc(f.table->allocate(&f, 4096, 1 << 20), SHMKV_ENOSPC);
    assert_text_has("the disk is used up");
    int rc = 0;
    for (uint64_t at = 4096; rc == 0 && at < 1 << 20; at += sizeof(page))
        rc = file_write(&f, page, sizeof(page), at);
    assert_rc(rc, SHMKV_ENOSPC);
    assert_rc(file_read(&f, back, sizeof(back), 0), 0);
    file_close(&f);
    scratch_remove();
}

static void a_limit_of_file_sizes(void **state)
{
    (void)state;
    struct file f;
    struct rlimit before, small = {.rlim_cur = 64 << 10, .rlim_max = RLIM_INFINITY};
    create(&f);
    assert_rc(f.table->allocate(&f, 4096, 1 << 20), 0);
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    int rc = f.table->allocate(&f, 1 << 20, 1 << 20); /* no SIGXFSZ */
    int within = file_write(&f, page, sizeof(page), 4096);
    int beyond = file_write(&f, page, sizeof(page), 64 << 10); /* where it has grown already */
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(rc, SHMKV_ENOSPC);
    assert_int_equal(within, 0);
    assert_int_equal(beyond, SHMKV_ENOSPC);
    assert_text_has("ulimit -f");
    file_close(&f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_read),
        TEST(a_closed_descriptor_is_opened_again),
        TEST(a_removed_file_is_told_of),
        TEST(what_has_no_name_is_not_written_to),
        TEST(what_is_no_file_is_refused),
        TEST(read_only_file_systems),
        TEST(the_wrong_owner),
        cmocka_unit_test(a_full_disk),
        TEST(a_limit_of_file_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
