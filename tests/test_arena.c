/* SPDX-License-Identifier: MIT */
/* test_arena.c - make, attach to and leave the two objects of a store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arena.h"
#include "arena_parts.h"
#include "base.h"
#include "clock.h"
#include "error.h"
#include "fork.h"
#include "peer.h"
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define ARENA_CASE(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
#define CROWD 200

static void names_are_checked(void **state)
{
    static const struct {
        const char *name;
        int rc;
    } cases[] = {
        {NULL, SHMKV_EINVAL},
        {"", SHMKV_EINVAL},
        {"/tmp/store", SHMKV_ENOTSUP},
        {"store", SHMKV_ENOTSUP},
        {"shm:", SHMKV_EINVAL},
        {"shm:a/b", SHMKV_EINVAL},
        {"shm:a b", SHMKV_EINVAL},
        {"shm:a.sync", SHMKV_EINVAL},
        {"shm:.sync", SHMKV_EINVAL},
        {"shm:..", SHMKV_ENOSTORE},
        {"shm:A-z_0.9", SHMKV_ENOSTORE},
        {"shm:sync", SHMKV_ENOSTORE},
    };
    char name[256] = "shm:";
    struct arena a;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(scratch_open(&a, cases[i].name, false), cases[i].rc);
    memset(name + 4, 'x', 200);
    assert_int_equal(scratch_open(&a, name, true), 0);
    arena_close(&a);
    name[204] = 'x';
    assert_int_equal(scratch_open(&a, name, true), SHMKV_EINVAL);
}

static void sizes_give_a_sound_geometry(void **state)
{
    (void)state;
    for (uint64_t size = ARENA_SIZE_MIN; size <= ARENA_SIZE_MAX; size += size / 3) {
        for (uint64_t reserve = arena_geometry_reserve(size);
             reserve >= arena_geometry_reserve_min(size); reserve = reserve / 2 & ~0x1fffffull) {
            struct superblock sb = {0};
            arena_geometry_choose(&sb, size & ~4095ull, reserve);
            assert_true(arena_geometry_valid(&sb));
            assert_true(sb.segment_count << sb.segment_shift >= size);
            assert_true(sb.area_bytes >= HUGE_PAGE_BYTES);
        }
    }
}

static void sizes_are_checked(void **state)
{
    struct arena_options options = scratch_options(true);
    struct arena a;
    bool created;

    (void)state;
    options.size = ARENA_SIZE_MIN - 1;
    assert_int_equal(arena_open(&a, "shm:a", &options, &created), SHMKV_EINVAL);
    assert_non_null(strstr(error_text(), "1 MiB"));
    options.size = ARENA_SIZE_MAX + 1;
    assert_int_equal(arena_open(&a, "shm:a", &options, &created), SHMKV_EINVAL);
    assert_int_equal(scratch_count(), 0);
    options.size = 0;
    assert_int_equal(arena_open(&a, "shm:a", &options, &created), 0);
    assert_in_range(load_relaxed(&a.sb->size), arena_limits_total() / 2 - 4096,
                    arena_limits_total() / 2);
    arena_close(&a);
    options.readonly = true;
    assert_int_equal(arena_open(&a, "shm:a", &options, &created), SHMKV_EINVAL);
}

static bool all_zero(const void *bytes, size_t n)
{
    const char *b = bytes;
    return b[0] == 0 && memcmp(b, b + 1, n - 1) == 0;
}

static void a_new_store_is_empty(void **state)
{
    struct arena_options options = scratch_options(true);
    struct arena a;
    bool created;

    (void)state;
    assert_int_equal(arena_open(&a, "shm:a", &options, &created), 0);
    assert_true(created);
    assert_int_equal(load_relaxed(&a.sb->state), STORE_BUILDING);
    assert_int_equal((uintptr_t)a.base % HUGE_PAGE_BYTES, 0);
    assert_true(arena_geometry_valid(a.sb));
    assert_int_equal(a.sb->segment_bytes, 64 << 10);
    assert_int_equal(load_relaxed(&a.sb->size), 8 << 20);

    assert_true(a.sb->hash_seed != 0 && a.sb->clock_real_ms != 0 && a.sb->clock_boot_ms != 0);
    assert_false(all_zero(a.sb->boot_id, 16));
    assert_true(all_zero(a.tables, PAGE_BYTES));
    assert_true(all_zero(a.segments, a.sb->segment_count * sizeof(struct segment)));
    assert_true(all_zero(a.dead, a.sb->segment_count * sizeof(dead_bytes)));
    assert_true((char *)&a.dead[a.sb->segment_count] <= (char *)a.ghosts);
    assert_true(all_zero(a.waits, WAIT_WORDS * sizeof(struct wait_word)));
    assert_true(all_zero(a.participants, ARENA_PARTICIPANTS * sizeof(struct participant_entry)));
    assert_int_equal(load_relaxed(&a.sb->root), 0);
    assert_int_equal(arena_allocated(&a), arena_fixed_bytes(&a));
    assert_int_equal(arena_ready(&a), 0);
    arena_close(&a);
}

static int reads_what_was_written(struct peer *parent, void *arg)
{
    struct arena a;
    (void)parent;
    CHECK(scratch_open(&a, "shm:a", true) == 0);
    CHECK(load_relaxed(&a.sb->root) == 4711);
    CHECK(memcmp(a.sb->uuid, arg, 16) == 0);
    store_relaxed(&a.sb->root, 4712);
    arena_close(&a);
    return 0;
}

static void processes_share_it(void **state)
{
    struct arena_options options = scratch_options(true);
    struct arena a, b;
    bool created;

    (void)state;
    assert_int_equal(scratch_open(&a, "shm:a", false), SHMKV_ENOSTORE);
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    store_relaxed(&a.sb->root, 4711);
    assert_int_equal(peer_run(reads_what_was_written, a.sb->uuid), 0);
    assert_int_equal(load_relaxed(&a.sb->root), 4712);
    assert_int_equal(scratch_open(&b, "shm:a", false), 0);
    assert_int_equal(load_relaxed(&b.sb->root), 4712);
    options.exclusive = true;
    struct arena c;
    assert_int_equal(arena_open(&c, "shm:a", &options, &created), SHMKV_ESTOREEXISTS);
    arena_close(&b);
    assert_true(arena_current(&a));
    arena_close(&a);
    assert_int_equal(scratch_open(&b, "shm:a", false), 0); /* it outlives its users */
    arena_close(&b);
}

static int opens_and_tells(struct peer *parent, void *arg)
{
    struct arena_options options = scratch_options(true);
    struct arena a;
    bool created;
    (void)arg;
    peer_receive(parent);
    CHECK(arena_open(&a, "shm:a", &options, &created) == 0);
    if (created) {
        usleep(20000);
        store_relaxed(&a.sb->root, 1);
        CHECK(arena_ready(&a) == 0);
    }
    CHECK(load_relaxed(&a.sb->root) == 1);
    CHECK(memcmp(a.sb->uuid, a.sync->uuid, 16) == 0);
    peer_send(parent, created);
    peer_receive(parent);
    CHECK(arena_current(&a));
    arena_close(&a);
    return 0;
}

static void two_hundred(void **state)
{
    static struct peer crowd[CROWD];
    int creators = 0, failures = 0;

    (void)state;
    for (int i = 0; i < CROWD; i++)
        peer_start(&crowd[i], opens_and_tells, NULL);
    for (int i = 0; i < CROWD; i++)
        peer_send(&crowd[i], 0);
    for (int i = 0; i < CROWD; i++) {
        int32_t created = peer_receive(&crowd[i]);
        creators += created == 1;
        failures += created != 0 && created != 1;
    }
    for (int i = 0; i < CROWD; i++) {
        peer_send(&crowd[i], 0);
        failures += peer_wait(&crowd[i]) != 0;
    }
    assert_int_equal(creators, 1);
    assert_int_equal(failures, 0);
    assert_int_equal(scratch_count(), 2);
}

static void an_abandoned_creation_leaves_nothing(void **state)
{
    struct arena_options options = scratch_options(true);
    struct arena a;
    bool created;

    (void)state;
    assert_int_equal(arena_open(&a, "shm:a", &options, &created), 0);
    assert_int_equal(scratch_count(), 2);
    arena_close(&a);
    assert_int_equal(scratch_count(), 0);
}

static int waits_for_the_creator(struct peer *parent, void *arg)
{
    struct arena a;
    (void)arg;
    peer_send(parent, 0);
    CHECK(scratch_open(&a, "shm:a", false) == 0);
    CHECK(load_relaxed(&a.sb->root) == 1);
    arena_close(&a);
    return 0;
}

static void openers_wait_for_the_creator(void **state)
{
    struct arena_options options = scratch_options(true);
    struct arena a;
    struct peer c;
    bool created;

    (void)state;
    assert_int_equal(arena_open(&a, "shm:a", &options, &created), 0);
    peer_start(&c, waits_for_the_creator, NULL);
    peer_receive(&c);
    usleep(100000);
    store_relaxed(&a.sb->root, 1);
    assert_int_equal(arena_ready(&a), 0);
    assert_int_equal(peer_wait(&c), 0);
    arena_close(&a);
}

static void a_stopped_creator_is_named_after_ten_seconds(void **state)
{
    struct arena_options options = scratch_options(true);
    struct arena a, b;
    bool created;

    (void)state;
    assert_int_equal(arena_open(&a, "shm:a", &options, &created), 0);
    uint64_t start = clock_mono_ns();
    assert_int_equal(arena_open(&b, "shm:a", &options, &created), SHMKV_ETIMEOUT);
    assert_in_range(clock_mono_ns() - start, 9900000000u, 12000000000u);
    assert_non_null(strstr(error_text(), "stopped"));
    assert_non_null(strstr(error_text(), "shmkv.a.sync"));
    assert_int_equal(arena_ready(&a), 0);
    arena_close(&a);
}

static int writes_to_the_arena(struct peer *parent, void *arg)
{
    struct arena *a = arg;
    (void)parent;
    store_relaxed(&a->sync->waiting, 7);
    *(volatile char *)a->base = 1;
    return 0;
}

static void readers_cannot_write(void **state)
{
    struct arena_options options = scratch_options(false);
    struct arena a, b;
    bool created;

    (void)state;
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    options.readonly = true;
    assert_int_equal(arena_open(&b, "shm:a", &options, &created), 0);
    assert_int_equal(peer_run(writes_to_the_arena, &b), 128 + SIGSEGV);
    assert_int_equal(load_relaxed(&a.sync->waiting), 7);
    assert_int_equal(arena_take(&b, b.log_offset, 1), SHMKV_EREADONLY);
    assert_int_equal(arena_take_sync(&b, SYNC_PARTICIPANT_OFFSET + 64 * PAGE_BYTES, 1), 0);
    arena_close(&b);
    arena_close(&a);
}

static int goes_on_with_it(struct peer *parent, void *arg)
{
    struct arena *a = arg;
    CHECK(fork_word() != a->fork_word);
    CHECK(fork_renew() == 0);
    CHECK(arena_after_fork(a) == 0);
    CHECK(arena_after_fork(a) == 0);
    peer_send(parent, 0);
    peer_receive(parent);
    CHECK(arena_current(a));
    arena_close(a);
    return 0;
}

static void a_forked_child_is_attached_too(void **state)
{
    struct arena a;
    struct peer c;

    (void)state;
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    peer_start(&c, goes_on_with_it, &a);
    assert_int_equal(peer_receive(&c), 0);
    arena_close(&a);
    assert_int_equal(arena_destroy("shm:a", scratch_dir(), false), SHMKV_EINUSE);
    peer_send(&c, 0);
    assert_int_equal(peer_wait(&c), 0);
    assert_int_equal(arena_destroy("shm:a", scratch_dir(), false), 0);
}

static int closes_it(struct peer *parent, void *arg)
{
    struct arena *a = arg;
    (void)parent;
    /* its lock page is not mapped here; what is there now is ours */
    void *there = a->attach_page ? a->attach_page : a->create_page;
    char *page = mmap(there, PAGE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(page == there);
    arena_close(a);
    *page = 1;
    return 0;
}

static void a_child_that_closes_takes_nothing_from_its_parent(void **state)
{
    struct arena_options options = scratch_options(true);
    struct arena a;
    bool created;

    (void)state;
    assert_int_equal(arena_open(&a, "shm:a", &options, &created), 0);
    assert_int_equal(peer_run(closes_it, &a), 0);
    assert_int_equal(scratch_count(), 2);
    assert_int_equal(arena_ready(&a), 0);
    assert_int_equal(peer_run(closes_it, &a), 0);
    assert_int_equal(arena_destroy("shm:a", scratch_dir(), false), SHMKV_EINUSE);
    arena_close(&a);
}

static int opens_with_little_address_space(struct peer *parent, void *arg)
{
    struct rlimit limit = {.rlim_cur = 8ull << 30, .rlim_max = RLIM_INFINITY};
    struct arena a, b;
    (void)parent;
    arena_close(arg); /* 64 GiB of our address space */
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK(scratch_open(&a, "shm:little", true) == 0);
    CHECK(a.reserve <= 8ull << 30 && a.reserve >= 1ull << 30);
    arena_close(&a);
    CHECK(scratch_open(&b, "shm:a", false) == SHMKV_ENOSPC);
    CHECK(strstr(error_text(), "65536 MiB") && strstr(error_text(), "ulimit -v"));
    limit.rlim_cur = RLIM_INFINITY;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK(scratch_open(&b, "shm:little", false) == 0);
    arena_close(&b);
    return 0;
}

static void less_address_space_makes_a_smaller_range(void **state)
{
    struct arena a;

    (void)state;
#if ADDRESS_SANITIZER || THREAD_SANITIZER
    skip(); /* sanitizers need terabytes of address space themselves */
#endif
    assert_int_equal(scratch_open(&a, "shm:a", true), 0);
    assert_int_equal(a.reserve, 64ull << 30);
    assert_int_equal(peer_run(opens_with_little_address_space, &a), 0);
    arena_close(&a);
}

static int creates_with_small_files(struct peer *parent, void *arg)
{
    struct rlimit limit = {.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};
    struct arena a;
    (void)parent;
    (void)arg;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(scratch_open(&a, "shm:a", true) == SHMKV_ENOSPC);
    CHECK(strstr(error_text(), "ulimit -f"));
    CHECK(scratch_count() == 0);
    return 0;
}

static void a_file_size_limit_is_an_error_not_a_signal(void **state)
{
    (void)state;
    assert_int_equal(peer_run(creates_with_small_files, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ARENA_CASE(names_are_checked),
        cmocka_unit_test(sizes_give_a_sound_geometry),
        ARENA_CASE(sizes_are_checked),
        ARENA_CASE(a_new_store_is_empty),
        ARENA_CASE(processes_share_it),
        ARENA_CASE(two_hundred),
        ARENA_CASE(an_abandoned_creation_leaves_nothing),
        ARENA_CASE(openers_wait_for_the_creator),
        ARENA_CASE(a_stopped_creator_is_named_after_ten_seconds),
        ARENA_CASE(readers_cannot_write),
        ARENA_CASE(a_forked_child_is_attached_too),
        ARENA_CASE(a_child_that_closes_takes_nothing_from_its_parent),
        ARENA_CASE(less_address_space_makes_a_smaller_range),
        ARENA_CASE(a_file_size_limit_is_an_error_not_a_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
