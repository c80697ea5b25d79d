/* SPDX-License-Identifier: MIT */
/* test_arena_memory.c - taking memory and giving it back, and where there is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arena.h"
#include "arena_parts.h"
#include "base.h"
#include "cgroup.h"
#include "error.h"
#include "huge.h"
#include "peer.h"
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARENA_CASE(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
#define MIB (1ull << 20)
#define POPULATE_WRITE 23

static void taking_and_releasing(void **state)
{
    struct arena a;

    (void)state;
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    uint64_t fixed = arena_allocated(&a);
    assert_int_equal(arena_take(&a, a.log_offset, 4 * MIB), 0);
    assert_int_equal(arena_allocated(&a), fixed + 4 * MIB);
    memset(arena_at(&a, a.log_offset), 7, 4 * MIB);
    assert_int_equal(arena_take(&a, a.log_offset + MIB, 4 * MIB), 0); /* what is there stays */
    assert_int_equal(arena_allocated(&a), fixed + 5 * MIB);
    assert_int_equal(*((char *)arena_at(&a, a.log_offset + 4 * MIB - 1)), 7);
    assert_int_equal(arena_release(&a, a.log_offset, 2 * MIB), 0);
    assert_int_equal(arena_allocated(&a), fixed + 3 * MIB);
    assert_int_equal(arena_take(&a, a.log_offset, 2 * MIB), 0);
    assert_int_equal(*((char *)arena_at(&a, a.log_offset)), 0);
    assert_int_equal(arena_release(&a, a.log_offset, 5 * MIB), 0);
    assert_int_equal(arena_allocated(&a), fixed);
    arena_close(&a);
}

static void whole_units_are_huge_pages(void **state)
{
    struct arena a;

    (void)state;
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    if (!huge_made(&a)) {
        arena_close(&a);
        skip();
    }
    char *unit = arena_at(&a, a.log_offset);
    uint64_t fixed = arena_allocated(&a), before = huge_bytes(unit);
    assert_int_equal(arena_take(&a, a.log_offset, 64 * 1024), 0);
    memset(unit, 7, 64 * 1024);
    assert_int_equal(huge_bytes(unit), before);
    assert_int_equal(arena_take_huge(&a, a.log_offset, 4 * MIB + 4096), 0);
    assert_int_equal(huge_bytes(unit), before + 4 * MIB);
    assert_int_equal(arena_allocated(&a), fixed + 4 * MIB + 4096);
    assert_int_equal(unit[64 * 1024 - 1], 7); /* what is there stays */
    assert_int_equal(unit[64 * 1024], 0);
    memset(unit, 7, 4 * MIB);
    assert_int_equal(arena_release(&a, a.log_offset + MIB, MIB), 0); /* half of one */
    assert_int_equal(arena_allocated(&a), fixed + 3 * MIB + 4096);
    assert_int_equal(unit[MIB - 1], 7);
    assert_int_equal(unit[2 * MIB], 7);
    assert_int_equal(arena_take(&a, a.log_offset + MIB, MIB), 0);
    assert_int_equal(unit[MIB], 0);
    arena_close(&a);
}

#define PARTS 16u /* of a unit that is read, and is given back in part */
#define UNITS 100u

/* The other half of a unit: who finds it gone waits for it in a page fault. */
static int reads_for_ever(struct peer *parent, void *arg)
{
    const volatile char *unit = arg;

    peer_send(parent, unit[MIB]);
    for (uint64_t i = 0;; i += 4096)
        (void)unit[MIB + i % MIB];
    return 1;
}

/* The kernel may not be able to split it: then it has its memory still, and that is not hidden. */
static void part_of_a_huge_page_goes_or_is_told_to_stay(void **state)
{
    struct arena a;
    struct peer reader;
    unsigned stayed = 0;

    (void)state;
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    if (!huge_made(&a)) {
        arena_close(&a);
        skip();
    }
    assert_int_equal(arena_take(&a, a.log_offset, HUGE_PAGE_BYTES), 0);
    peer_start(&reader, reads_for_ever, arena_at(&a, a.log_offset));
    assert_int_equal(peer_receive(&reader), 0);
    for (unsigned unit = 0; unit < UNITS; unit++) {
        arena_collapse(&a, a.log_offset);
        for (unsigned part = 0; part < PARTS / 2; part++) {
            uint64_t bytes = HUGE_PAGE_BYTES / PARTS, before = arena_allocated(&a);
            int rc = arena_release(&a, a.log_offset + part * bytes, bytes);
            assert_true(rc == 0 || rc == SHMKV_EBUSY);
            assert_int_equal(arena_allocated(&a), rc == 0 ? before - bytes : before);
            stayed += rc != 0;
        }
        assert_int_equal(arena_take(&a, a.log_offset, HUGE_PAGE_BYTES), 0);
    }
    print_message("# %u of %u parts stayed\n", stayed, UNITS * PARTS / 2);
    peer_kill(&reader);
    assert_int_equal(arena_release(&a, a.log_offset, MIB), 0);
    arena_close(&a);
}

static void ranges_are_whole_pages_inside(void **state)
{
    struct arena a;

    (void)state;
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    uint64_t fixed = arena_allocated(&a);
    assert_int_equal(arena_take(&a, a.log_offset + 4095, 2), 0);
    assert_int_equal(arena_allocated(&a), fixed + 8192);
    assert_int_equal(arena_take(&a, a.reserve - 1, 1), 0);
    assert_int_equal(arena_take(&a, a.reserve, 1), SHMKV_ECORRUPT);
    assert_int_equal(arena_take(&a, a.reserve - 4096, 8192), SHMKV_ECORRUPT);
    assert_int_equal(arena_take(&a, UINT64_MAX, 2), SHMKV_ECORRUPT);
    assert_int_equal(arena_take(&a, 4096, UINT64_MAX), SHMKV_ECORRUPT);
    assert_int_equal(arena_release(&a, a.reserve, 4096), SHMKV_ECORRUPT);
    assert_int_equal(arena_take_sync(&a, SYNC_BYTES - 256, 256), 0);
    assert_int_equal(arena_take_sync(&a, SYNC_BYTES, 256), SHMKV_ECORRUPT);
    arena_close(&a);
}

/* ---- no room ------------------------------------------------------------------------------- */

/* Take the log in steps until that fails; everything taken is written to. */
static int fill(struct arena *a, uint64_t *taken, uint64_t limit)
{
    for (*taken = 0; *taken < limit; *taken += MIB / 4) {
        int rc = arena_take(a, a->log_offset + *taken, MIB / 4);
        if (rc != 0)
            return rc;
        memset(arena_at(a, a->log_offset + *taken), 1, MIB / 4);
    }
    return 0;
}

static void a_full_tmpfs_is_an_error_not_a_signal(void **state)
{
    struct arena a;
    uint64_t taken;

    (void)state;
    if (!scratch_make(4096))
        skip();
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    assert_int_equal(fill(&a, &taken, 64 * MIB), SHMKV_ENOSPC);
    assert_in_range(taken, 3 * MIB, 4 * MIB);
    assert_non_null(strstr(error_text(), "4096 KiB"));
    assert_non_null(strstr(error_text(), "remount,size="));
    assert_int_equal(*((char *)arena_at(&a, a.log_offset + taken - 1)), 1);
    assert_int_equal(arena_release(&a, a.log_offset, MIB), 0);
    assert_int_equal(arena_take(&a, a.log_offset + taken, MIB / 2), 0);
    arena_close(&a);
    scratch_remove();
}

static void a_store_that_does_not_fit_leaves_nothing(void **state)
{
    struct arena a;

    (void)state;
    if (!scratch_make(48))
        skip();
    assert_int_equal(scratch_open(&a, "shm:a", true), SHMKV_ENOSPC);
    assert_non_null(strstr(error_text(), "48 KiB"));
    assert_int_equal(scratch_count(), 0);
    int fd = open(scratch_path("ballast"), O_RDWR | O_CREAT, 0600);
    assert_int_equal(fallocate(fd, 0, 0, 48 << 10), 0); /* not a page is left */
    close(fd);
    assert_int_equal(scratch_open(&a, "shm:a", true), SHMKV_ENOSPC);
    assert_int_equal(scratch_count(), 1);
    scratch_remove();
}

/* ---- old kernels ----------------------------------------------------------------------------- */

/* From here on the kernel does not know MADV_POPULATE_WRITE. */
static int forget_populate(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, POPULATE_WRITE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_SIZE(filter), filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

#define NO_SECCOMP 77
#define FOREIGN_FDS 20

static int takes_without_populate(struct peer *parent, void *arg)
{
    struct arena a;
    (void)parent;
    (void)arg;
    if (forget_populate() != 0)
        return NO_SECCOMP;
    CHECK(scratch_open(&a, "shm:a", true) == 0);
    CHECK(madvise(a.base, 4096, POPULATE_WRITE) == -1 && errno == EINVAL);
    uint64_t fixed = arena_allocated(&a);
    CHECK(arena_take(&a, a.log_offset, MIB) == 0);
    CHECK(arena_allocated(&a) == fixed + MIB);
    /* the descriptors are closed, and their numbers somebody else's */
    CHECK(close_range(3, ~0u, 0) == 0);
    CHECK(arena_take(&a, a.log_offset + MIB, MIB) == 0);
    int other = open("/dev/null", O_RDWR);
    for (int fd = other; fd >= 0 && fd < FOREIGN_FDS; fd = dup(other)) {
    }
    CHECK(arena_take(&a, a.log_offset + 2 * MIB, MIB) == 0);
    CHECK(arena_take_sync(&a, SYNC_PARTICIPANT_OFFSET + MIB, 4096) == 0);
    CHECK(arena_allocated(&a) == fixed + 3 * MIB + 4096);
    unlink(scratch_path("shmkv.a"));
    CHECK(arena_take(&a, a.log_offset + 3 * MIB, MIB) == SHMKV_EDEFUNCT);
    arena_close(&a);
    for (int fd = 3; fd < FOREIGN_FDS; fd++)
        CHECK(fcntl(fd, F_GETFD) >= 0); /* closing it did not close somebody else's */
    return 0;
}

static int fills_without_populate(struct peer *parent, void *arg)
{
    struct arena a;
    uint64_t taken;
    (void)parent;
    (void)arg;
    if (forget_populate() != 0)
        return NO_SECCOMP;
    CHECK(scratch_open(&a, "shm:a", true) == 0);
    CHECK(fill(&a, &taken, 64 * MIB) == SHMKV_ENOSPC);
    CHECK(strstr(error_text(), "is full"));
    arena_close(&a);
    return 0;
}

static void without_populate(void **state)
{
    int result = peer_run(takes_without_populate, NULL);

    (void)state;
    if (result == NO_SECCOMP)
        skip();
    assert_int_equal(result, 0);
}

static void a_full_tmpfs_without_populate(void **state)
{
    (void)state;
    if (!scratch_make(4096))
        skip();
    int result = peer_run(fills_without_populate, NULL);
    scratch_remove();
    if (result == NO_SECCOMP)
        skip();
    assert_int_equal(result, 0);
}

static int takes_after_closefrom(struct peer *parent, void *arg)
{
    struct arena a;
    (void)parent;
    (void)arg;
    CHECK(scratch_open(&a, "shm:a", true) == 0);
    uint64_t fixed = arena_allocated(&a);
    CHECK(close_range(3, ~0u, 0) == 0);
    CHECK(arena_take(&a, a.log_offset, MIB) == 0);
    CHECK(arena_allocated(&a) == fixed + MIB);
    CHECK(arena_current(&a));
    arena_close(&a);
    return 0;
}

static void descriptors_may_be_closed(void **state)
{
    (void)state;
    assert_int_equal(peer_run(takes_after_closefrom, NULL), 0);
}

/* ---- limits -------------------------------------------------------------------------------- */

#define CGROUP_LIMIT "134217728" /* 128 MiB */
#if THREAD_SANITIZER
#define LEAST_TAKEN (4 * MIB) /* its shadow memory is four times as large */
#else
#define LEAST_TAKEN (64 * MIB)
#endif

static int fills_its_cgroup(struct peer *parent, void *arg)
{
    struct arena_options options = scratch_options(true);
    struct arena a;
    uint64_t taken;
    bool created;
    (void)parent;
    (void)arg;
    if (!cgroup_enter())
        return NO_SECCOMP;
    CHECK(arena_limits_total() == strtoull(CGROUP_LIMIT, NULL, 10));
    options.size = 0;
    CHECK(arena_open(&a, "shm:a", &options, &created) == 0);
    CHECK(load_relaxed(&a.sb->size) == 64 * MIB);
    CHECK(arena_ready(&a) == 0);
    CHECK(fill(&a, &taken, 256 * MIB) == SHMKV_ENOSPC);
    CHECK(taken >= LEAST_TAKEN && taken < 128 * MIB);
    CHECK(strstr(error_text(), "cgroup"));
    CHECK(strstr(error_text(), "shmkv-test"));
    CHECK(arena_release(&a, a.log_offset, taken) == 0);
    sleep(2); /* until it looks again */
    CHECK(arena_take(&a, a.log_offset, 8 * MIB) == 0);
    arena_close(&a);
    return 0;
}

static void a_cgroup_limit_is_an_error_not_a_kill(void **state)
{
    (void)state;
    if (!cgroup_make(CGROUP_LIMIT))
        skip();
    int result = peer_run(fills_its_cgroup, NULL);
    cgroup_remove();
    if (result == NO_SECCOMP)
        skip();
    assert_int_equal(result, 0);
}

static void more_than_the_machine_has_is_refused(void **state)
{
    struct arena_options options = scratch_options(true);
    struct arena a;
    bool created;

    (void)state;
    options.size = 4 * arena_limits_total();
    assert_int_equal(arena_open(&a, "shm:a", &options, &created), 0);
    assert_int_equal(arena_take(&a, a.log_offset, 2 * arena_limits_total()), SHMKV_ENOSPC);
    assert_non_null(strstr(error_text(), "left to use"));
    assert_int_equal(arena_allocated(&a), arena_fixed_bytes(&a));
    arena_close(&a);
}

/* ---- cost ---------------------------------------------------------------------------------- */

#define SEGMENTS 16
#define STEPS 4

static int takes_segments(struct peer *parent, void *arg)
{
    struct arena a;
    (void)parent;
    (void)arg;
    CHECK(scratch_open(&a, "shm:a", true) == 0);
    CHECK(arena_take(&a, a.log_offset, 4096) == 0);
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    for (unsigned i = 0; i < SEGMENTS * STEPS; i++)
        CHECK(arena_take(&a, a.log_offset + i * 2 * MIB, 2 * MIB) == 0);
    raise(SIGSTOP);
    arena_close(&a);
    return 0;
}

/* System calls of the traced process @pid between its two stops; -1: it died. */
static int count_calls(pid_t pid)
{
    int status, stops = 0;
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        return -1;
    ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)PTRACE_O_TRACESYSGOOD);
    for (;;) {
        ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
        if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
            return -1;
        if (WSTOPSIG(status) == SIGSTOP)
            break;
        stops += WSTOPSIG(status) == (SIGTRAP | 0x80);
    }
    ptrace(PTRACE_CONT, pid, NULL, NULL);
    return stops / 2; /* entry and exit */
}

static void a_segment_costs_five_system_calls(void **state)
{
    struct peer p;

    (void)state;
    peer_start(&p, takes_segments, NULL);
    int calls = count_calls(p.pid);
    assert_int_equal(peer_wait(&p), 0);
    assert_in_range(calls, SEGMENTS * STEPS, SEGMENTS * 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ARENA_CASE(taking_and_releasing),
        ARENA_CASE(whole_units_are_huge_pages),
        ARENA_CASE(part_of_a_huge_page_goes_or_is_told_to_stay),
        ARENA_CASE(ranges_are_whole_pages_inside),
        cmocka_unit_test(a_full_tmpfs_is_an_error_not_a_signal),
        cmocka_unit_test(a_store_that_does_not_fit_leaves_nothing),
        ARENA_CASE(without_populate),
        cmocka_unit_test(a_full_tmpfs_without_populate),
        ARENA_CASE(descriptors_may_be_closed),
        ARENA_CASE(a_cgroup_limit_is_an_error_not_a_kill),
        ARENA_CASE(more_than_the_machine_has_is_refused),
        ARENA_CASE(a_segment_costs_five_system_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
