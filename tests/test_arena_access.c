/* SPDX-License-Identifier: MIT */
/* test_arena_access.c - owners, modes, other users; as root only, who can be anybody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arena.h"
#include "error.h"
#include "peer.h"
#include "scratch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALICE 31001u
#define BOB 31002u
#define PROTECTED_REGULAR "/proc/sys/fs/protected_regular"

/* Open shm:a as somebody and see what comes of it. */
struct attempt {
    uid_t uid;
    bool create, readonly;
    uint32_t mode;
    int rc;
    const char *word; /* that the error text must have; NULL: any */
};

static int attempt_in_peer(struct peer *parent, void *arg)
{
    const struct attempt *t = arg;
    struct arena_options options = scratch_options(t->create);
    struct arena a;
    bool created;
    (void)parent;
    CHECK(t->uid == 0 || peer_become(t->uid) == 0);
    options.readonly = t->readonly;
    options.mode = t->mode;
    int rc = arena_open(&a, "shm:a", &options, &created);
    if (rc == 0 && created)
        rc = arena_ready(&a);
    if (rc != t->rc)
        fprintf(stderr, "uid %u got %d, not %d: %s\n", t->uid, rc, t->rc, error_text());
    CHECK(rc == t->rc);
    CHECK(rc == 0 || !t->word || strstr(error_text(), t->word));
    if (rc == 0)
        arena_close(&a);
    return 0;
}

static void assert_attempt(struct attempt t)
{
    assert_int_equal(peer_run(attempt_in_peer, &t), 0);
}

#define ARENA_CASE(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
#define NEED_ROOT()                                                                                \
    if (geteuid() != 0)                                                                            \
    skip()

static mode_t mode_of(const char *file)
{
    struct stat st;
    return stat(scratch_path(file), &st) == 0 ? st.st_mode & 07777 : 0;
}

static void modes_are_exact(void **state)
{
    static const struct {
        uint32_t mode, arena, sync;
    } cases[] = {{0, 0600, 0600},    {0600, 0600, 0600}, {0640, 0640, 0660},
                 {0644, 0644, 0666}, {0660, 0660, 0660}, {0666, 0666, 0666}};
    mode_t mask = umask(0777);

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_attempt((struct attempt){.create = true, .mode = cases[i].mode});
        assert_int_equal(mode_of("shmkv.a"), cases[i].arena);
        assert_int_equal(mode_of("shmkv.a.sync"), cases[i].sync);
        assert_int_equal(arena_destroy("shm:a", scratch_dir(), false), 0);
    }
    umask(mask);
}

static void a_private_store_is_private(void **state)
{
    (void)state;
    NEED_ROOT();
    assert_attempt((struct attempt){.uid = 0, .create = true});
    assert_attempt((struct attempt){.uid = ALICE, .rc = SHMKV_EACCESS, .word = "owner uid 0"});
    assert_attempt((struct attempt){.uid = ALICE, .rc = SHMKV_EACCESS, .word = "mode 0600"});
    assert_attempt((struct attempt){.uid = ALICE, .create = true, .rc = SHMKV_EACCESS});
    assert_attempt((struct attempt){.uid = ALICE, .readonly = true, .rc = SHMKV_EACCESS});
}

static void readers_may_read(void **state)
{
    (void)state;
    NEED_ROOT();
    assert_attempt((struct attempt){.uid = 0, .create = true, .mode = 0644});
    assert_attempt((struct attempt){.uid = ALICE, .readonly = true});
    assert_attempt(
        (struct attempt){.uid = ALICE, .rc = SHMKV_EACCESS, .word = "open it for reading only"});
    assert_int_equal(chmod(scratch_path("shmkv.a.sync"), 0644), 0);
    assert_attempt((struct attempt){
        .uid = ALICE, .readonly = true, .rc = SHMKV_EACCESS, .word = "readers need that too"});
}

static void foreign_owners_are_not_trusted(void **state)
{
    char word[64];

    (void)state;
    NEED_ROOT();
    snprintf(word, sizeof(word), "uid %u, neither to you (uid %u)", ALICE, BOB);
    assert_attempt((struct attempt){.uid = ALICE, .create = true, .mode = 0666});
    assert_attempt((struct attempt){.uid = BOB, .rc = SHMKV_EACCESS, .word = word});
    assert_attempt((struct attempt){.uid = BOB, .create = true, .rc = SHMKV_EACCESS, .word = word});
    assert_attempt((struct attempt){.uid = BOB, .readonly = true, .rc = SHMKV_EACCESS});
    assert_attempt((struct attempt){.uid = ALICE});
    /* root looks after everybody's, but does not move into one that was put in its way */
    assert_attempt((struct attempt){.uid = 0});
    assert_attempt((struct attempt){
        .uid = 0, .create = true, .rc = SHMKV_EACCESS, .word = "without asking for its creation"});
}

static void a_private_foreign_store_is_named(void **state)
{
    (void)state;
    NEED_ROOT();
    assert_attempt((struct attempt){.uid = ALICE, .create = true});
    assert_attempt(
        (struct attempt){.uid = BOB, .create = true, .rc = SHMKV_EACCESS, .word = "not trusted"});
}

static void a_squatted_name_is_refused(void **state)
{
    (void)state;
    NEED_ROOT();
    for (int i = 0; i < 2; i++) {
        const char *file = i ? "shmkv.a.sync" : "shmkv.a";
        int fd = open(scratch_path(file), O_RDWR | O_CREAT, 0666);
        assert_int_equal(fchmod(fd, 0666), 0);
        assert_int_equal(fchown(fd, ALICE, ALICE), 0);
        close(fd);
        assert_attempt((struct attempt){.uid = BOB, .create = true, .rc = SHMKV_EACCESS});
        assert_attempt((struct attempt){.uid = 0, .create = true, .rc = SHMKV_EACCESS});
        assert_int_equal(scratch_count(), 1);
        unlink(scratch_path(file));
    }
}

static void read_number(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
    text[n > 0 ? n : 0] = 0;
    if (fd >= 0)
        close(fd);
}

static bool write_number(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

static void protected_regular_is_no_obstacle(void **state)
{
    char before[16];

    (void)state;
    NEED_ROOT();
    read_number(PROTECTED_REGULAR, before, sizeof(before));
    if (!write_number(PROTECTED_REGULAR, "2"))
        skip();
    assert_attempt((struct attempt){.uid = 0, .create = true, .mode = 0666});
    assert_attempt((struct attempt){.uid = ALICE});
    assert_attempt((struct attempt){.uid = ALICE, .create = true});
    assert_attempt((struct attempt){.uid = BOB, .create = true});
    assert_true(write_number(PROTECTED_REGULAR, before));
}

static int destroys_as_alice(struct peer *parent, void *arg)
{
    struct arena a;
    (void)parent;
    (void)arg;
    CHECK(peer_become(ALICE) == 0);
    CHECK(scratch_open(&a, "shm:a", false) == 0);
    CHECK(arena_destroy("shm:a", scratch_dir(), true) == SHMKV_EACCESS);
    CHECK(strstr(error_text(), "owner uid 0"));
    CHECK(load_relaxed(&a.sb->state) == STORE_READY);
    CHECK(arena_current(&a));
    arena_close(&a);
    size_t removed;
    CHECK(arena_gc(scratch_dir(), &removed) == 0);
    CHECK(removed == 0);
    return 0;
}

static void only_the_owner_removes(void **state)
{
    (void)state;
    NEED_ROOT();
    assert_attempt((struct attempt){.uid = 0, .create = true, .mode = 0666});
    int fd = open(scratch_path("shmkv.half.sync"), O_RDWR | O_CREAT, 0666);
    fchmod(fd, 0666);
    close(fd);
    assert_int_equal(peer_run(destroys_as_alice, NULL), 0);
    assert_attempt((struct attempt){.uid = BOB});
}

static void an_unsuitable_directory_is_named(void **state)
{
    struct arena_options options = {.create = true, .shm_dir = "/proc"};
    struct arena a;
    bool created;

    (void)state;
    assert_int_equal(arena_open(&a, "shm:a", &options, &created), SHMKV_EINVAL);
    assert_non_null(strstr(error_text(), "/proc is not a tmpfs"));
    options.shm_dir = "/no/such/directory";
    assert_int_equal(arena_open(&a, "shm:a", &options, &created), SHMKV_EINVAL);
    assert_non_null(strstr(error_text(), options.shm_dir));
}

static void a_directory_that_may_not_be_written_is_named(void **state)
{
    (void)state;
    NEED_ROOT();
    assert_int_equal(chmod(scratch_dir(), 0755), 0);
    assert_attempt((struct attempt){.uid = ALICE, .create = true, .rc = SHMKV_EACCESS});
    assert_attempt((struct attempt){.uid = ALICE, .rc = SHMKV_ENOSTORE});
    assert_int_equal(chmod(scratch_dir(), 0700), 0);
    assert_attempt((struct attempt){.uid = ALICE, .rc = SHMKV_EACCESS});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ARENA_CASE(modes_are_exact),
        ARENA_CASE(a_private_store_is_private),
        ARENA_CASE(readers_may_read),
        ARENA_CASE(foreign_owners_are_not_trusted),
        ARENA_CASE(a_private_foreign_store_is_named),
        ARENA_CASE(a_squatted_name_is_refused),
        ARENA_CASE(protected_regular_is_no_obstacle),
        ARENA_CASE(only_the_owner_removes),
        ARENA_CASE(an_unsuitable_directory_is_named),
        ARENA_CASE(a_directory_that_may_not_be_written_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
