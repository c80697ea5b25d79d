/* SPDX-License-Identifier: MIT */
/* test_epoch.c - sections hold back what they could see, and nothing else; see epoch.h. */
#define _GNU_SOURCE
#include "writers.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child.h"
#include "error.h"

#define LIMIT_MS 10000u

static struct participant join(void **state)
{
    struct participant p;
    assert_int_equal(epoch_join(&p, fixture_arena(state), writers_process(state)), 0);
    return p;
}

/* ---- INV-E1 -------------------------------------------------------------------------------- */

static void grace_ends_without_sections(void **state)
{
    const struct arena *a = fixture_arena(state);
    uint64_t e = epoch_retire(a);
    assert_true(epoch_poll(a) < e || epoch_now(a) > e); /* not before G has passed it */
    assert_true(grace_pass(a) >= e);
}

static void grace_waits_for_a_read_section(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct participant p = join(state);
    grace_pass(a);
    uint64_t outer = epoch_enter(&p);
    uint64_t e = epoch_retire(a); /* unlinked while it may be looked at */
    for (int i = 0; i < 10; i++)
        assert_true(grace_pass(a) < e);
    epoch_exit(&p, outer);
    assert_true(grace_pass(a) >= e);
    epoch_leave(&p);
}

/* Raised so often that a section that was begun before stands; and looked at. */
static uint64_t stand(const struct arena *a)
{
    uint64_t epoch;
    epoch_raise_above(a, epoch_now(a) + 1);
    epoch_oldest(a, &epoch);
    return epoch;
}

static void standing_sections_are_noted(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct participant p = join(state);
    uint64_t outer = epoch_enter(&p);
    uint64_t e = epoch_now(a);
    assert_true(epoch_standing_ns(p.entry, e) == 0);
    epoch_oldest(a, &e);
    assert_true(epoch_standing_ns(p.entry, e) == 0); /* G has not left it behind */
    assert_true(stand(a) == e);
    clock_sleep_ns(2000000);
    uint64_t age = epoch_standing_ns(p.entry, e);
    assert_true(age >= 2000000);
    stand(a);
    assert_true(epoch_standing_ns(p.entry, e) >= age); /* it is noted once */
    assert_true(epoch_standing_ns(p.entry, e + 1) == 0);
    epoch_exit(&p, outer);
    assert_true(epoch_standing_ns(p.entry, 0) == 0); /* none is no section */
    epoch_leave(&p);
}

static void grace_waits_for_a_write_section(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct participant p = join(state);
    grace_pass(a);
    epoch_enter_write(&p);
    uint64_t e = epoch_retire(a);
    for (int i = 0; i < 10; i++)
        assert_true(grace_pass(a) < e);
    epoch_exit_write(&p);
    assert_true(grace_pass(a) >= e);
    epoch_leave(&p);
}

static void grace_does_not_wait_for_later_sections(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct participant p = join(state), q = join(state);
    uint64_t e = epoch_retire(a);
    epoch_raise_above(a, e);
    uint64_t outer = epoch_enter(&p);
    epoch_enter_write(&q);
    assert_true(epoch_poll(a) >= e);
    epoch_exit(&p, outer);
    epoch_exit_write(&q);
    epoch_leave(&p);
    epoch_leave(&q);
}

/* The oldest of many sections counts, reading or writing, in any order of entries. */
static void grace_waits_for_the_oldest(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct participant p[3];
    uint64_t entered[3], e;
    for (int i = 0; i < 3; i++)
        p[i] = join(state);
    for (int i = 0; i < 3; i++) {
        int who = (i + 1) % 3;
        entered[who] = epoch_now(a);
        i == 1 ? epoch_enter_write(&p[who]) : (void)epoch_enter(&p[who]);
        epoch_raise_above(a, epoch_now(a));
    }
    assert_int_equal(epoch_oldest(a, &e), p[1].index);
    assert_true(e == entered[1] && epoch_poll(a) == entered[1] - 1);
    epoch_exit(&p[1], 0);
    assert_int_equal(epoch_oldest(a, &e), p[2].index);
    assert_true(e == entered[2] && epoch_poll(a) == entered[2] - 1);
    epoch_exit_write(&p[2]);
    assert_true(epoch_poll(a) == entered[0] - 1);
    epoch_exit(&p[0], 0);
    assert_int_equal(epoch_oldest(a, &e), -1);
    assert_true(epoch_poll(a) >= entered[0]);
    for (int i = 0; i < 3; i++)
        epoch_leave(&p[i]);
}

/* ---- INV-E2 -------------------------------------------------------------------------------- */

static void monotone(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct participant p = join(state);
    uint64_t g = epoch_now(a), safe = load_acquire(&a->sb->safe);
    for (unsigned i = 0; i < 2000; i++) {
        unsigned step = i * 2654435761u >> 29;
        if (step == 0)
            epoch_raise_above(a, g - 1 + i % 3); /* also where it is already */
        else if (step == 1 && load_relaxed(&p.entry->reading) == 0)
            epoch_enter(&p);
        else if (step == 2)
            epoch_exit(&p, 0);
        uint64_t polled = epoch_poll(a);
        uint64_t now = epoch_now(a), safe_now = load_acquire(&a->sb->safe);
        assert_true(now >= g && safe_now >= safe && polled <= safe_now && safe_now < now);
        g = now;
        safe = safe_now;
    }
    epoch_raise_above(a, 5); /* long ago */
    assert_true(epoch_now(a) == g);
    epoch_exit(&p, 0);
    epoch_leave(&p);
}

/* Whoever polls all the time does not use the epochs up. */
static void raised_at_most_once_a_millisecond(void **state)
{
    const struct arena *a = fixture_arena(state);
    uint64_t start = clock_mono_ns(), g = epoch_now(a);
    while (clock_mono_ns() - start < 20000000)
        epoch_poll(a);
    uint64_t passed_ms = (clock_mono_ns() - start) / 1000000;
    assert_in_range(epoch_now(a), g + 1, g + 1 + passed_ms);
}

/* ---- INV-E3 -------------------------------------------------------------------------------- */

static void nested(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct participant p = join(state);
    uint64_t outer = epoch_enter(&p);
    uint64_t entered = load_relaxed(&p.entry->reading);
    assert_true(outer == 0 && entered != 0);
    epoch_raise_above(a, entered + 5);
    uint64_t inner = epoch_enter(&p);
    assert_true(inner == entered && load_relaxed(&p.entry->reading) == entered);
    epoch_exit(&p, inner);
    assert_true(load_relaxed(&p.entry->reading) == entered);
    assert_true(grace_pass(a) < entered);
    epoch_exit(&p, outer);
    assert_true(load_relaxed(&p.entry->reading) == 0);
    assert_true(grace_pass(a) >= entered);
    epoch_leave(&p);
}

static struct participant interrupted;
static _Atomic uint32_t interruptions, broken;

/* A section of its own, wherever the thread was: as it was before when it ends. */
static void read_in_handler(int sig)
{
    (void)sig;
    uint64_t before = load_relaxed(&interrupted.entry->reading);
    uint64_t outer = epoch_enter(&interrupted);
    if (load_relaxed(&interrupted.entry->reading) == 0)
        store_relaxed(&broken, 1u);
    epoch_exit(&interrupted, outer);
    if (load_relaxed(&interrupted.entry->reading) != before)
        store_relaxed(&broken, 1u);
    add_relaxed(&interruptions, 1u);
}

/* INV-E3 with real signals: they come between any two instructions of begin and end. */
static void nested_in_signal_handlers(void **state)
{
    struct sigaction action = {.sa_handler = read_in_handler}, old;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    struct itimerspec often = {{0, 20000}, {0, 20000}};
    timer_t timer;
    interrupted = join(state);
    assert_int_equal(sigaction(SIGALRM, &action, &old), 0);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    assert_int_equal(timer_settime(timer, 0, &often, NULL), 0);
    while (load_relaxed(&interruptions) < 2000) {
        uint64_t outer = epoch_enter(&interrupted);
        for (int i = 0; i < 20; i++) {
            if (load_relaxed(&interrupted.entry->reading) == 0)
                store_relaxed(&broken, 1u);
        }
        epoch_exit(&interrupted, outer);
        if (load_relaxed(&interrupted.entry->reading) != 0)
            store_relaxed(&broken, 1u);
    }
    timer_delete(timer);
    sigaction(SIGALRM, &old, NULL);
    assert_int_equal(load_relaxed(&broken), 0);
    epoch_leave(&interrupted);
}

/* ---- INV-E4 -------------------------------------------------------------------------------- */

static void join_is_seen_by_every_scan(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct participant p = join(state);
    assert_in_range(p.index, 0, load_relaxed(&a->sync->participant_high) - 1);
    assert_int_equal(load_relaxed(&p.entry->owner), writers_process(state) + 1);
    assert_true(p.entry == &a->participants[p.index]);
    assert_true(load_relaxed(&p.entry->reading) == 0 && load_relaxed(&p.entry->writing) == 0);
    uint64_t outer = epoch_enter(&p), e;
    assert_int_equal(epoch_oldest(a, &e), p.index);
    epoch_exit(&p, outer);
    epoch_leave(&p);
    assert_int_equal(epoch_oldest(a, &e), -1);
}

static void join_takes_the_lowest_free_entry(void **state)
{
    struct participant p = join(state), q = join(state), r;
    uint32_t index = p.index;
    assert_int_equal(q.index, index + 1);
    store_relaxed(&p.entry->inflight, 8);
    epoch_leave(&p);
    r = join(state);
    assert_int_equal(r.index, index);
    assert_true(load_relaxed(&r.entry->inflight) == 0);
    epoch_leave(&q);
    epoch_leave(&r);
}

static void join_says_when_all_are_taken(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct participant last = join(state), p;
    while (last.index != PARTICIPANT_MAX - 1)
        last = join(state);
    assert_int_equal(epoch_join(&p, a, writers_process(state)), SHMKV_ELIMIT);
    assert_non_null(strstr(error_text(), "16384"));
    uint64_t outer = epoch_enter(&last); /* the last one is scanned as well */
    uint64_t e = epoch_retire(a);
    assert_true(grace_pass(a) < e);
    epoch_exit(&last, outer);
    assert_true(grace_pass(a) >= e);
}

/* ---- without membarrier(2) ----------------------------------------------------------------- */

/* From here on membarrier(2) ends as @action says. */
static bool filter_membarrier(uint32_t action)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

#define CANNOT 77
#define REFUSE (SECCOMP_RET_ERRNO | 38u /* ENOSYS */)

/* Reclaims nothing while somebody has no fence of his own; with only FENCED ones it does. */
static int reclaim_without_membarrier(void *arg)
{
    const struct arena *a = arg;
    struct participant p;
    if (!filter_membarrier(REFUSE))
        return CANNOT;
    child_assert(epoch_join(&p, a, NO_PROCESS) == 0);
    child_assert(p.fenced && load_relaxed(&p.entry->flags) == PARTICIPANT_FENCED);
    child_assert(!epoch_fence_all(a));
    uint64_t safe = load_acquire(&a->sb->safe);
    epoch_raise_above(a, epoch_now(a) + 3);
    child_assert(epoch_poll(a) == safe);
    for (uint32_t i = 0; i < load_relaxed(&a->sync->participant_high); i++) {
        if (i != p.index)
            store_seq_cst(&a->participants[i].owner, 0);
    }
    child_assert(epoch_fence_all(a));
    child_assert(epoch_poll(a) > safe);
    uint64_t outer = epoch_enter(&p);
    uint64_t e = epoch_retire(a);
    child_assert(grace_pass(a) < e);
    epoch_exit(&p, outer);
    child_assert(grace_pass(a) >= e);
    return 0;
}

static void without_membarrier_fences_are_paid_for(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct participant p = join(state);
    assert_false(p.fenced);
    pid_t pid = child_start(reclaim_without_membarrier, (void *)(uintptr_t)a);
    int status = child_wait(pid, LIMIT_MS);
    if (status == CANNOT)
        skip();
    assert_int_equal(status, 0);
}

static int poll_or_die(void *arg)
{
    const struct arena *a = arg;
    if (!filter_membarrier(SECCOMP_RET_KILL_PROCESS))
        return CANNOT;
    uint64_t safe = load_acquire(&a->sb->safe);
    child_assert(epoch_poll(a) == safe);
    return 0;
}

/* A section that is seen to stand holds back what a fence would be for: readers are left alone. */
static void a_poll_in_vain_fences_nobody(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct participant p = join(state);
    uint64_t outer = epoch_enter(&p), stands = epoch_now(a);
    epoch_raise_above(a, stands + 3);
    assert_true(epoch_poll(a) == stands - 1);
    epoch_raise_above(a, epoch_now(a));
    int status = child_wait(child_start(poll_or_die, (void *)(uintptr_t)a), LIMIT_MS);
    if (status == CANNOT)
        skip();
    assert_int_equal(status, 0);
    epoch_exit(&p, outer); /* now there is something to gain */
    status = child_wait(child_start(poll_or_die, (void *)(uintptr_t)a), LIMIT_MS);
    assert_int_equal(status, CHILD_SIGNAL + SIGSYS);
    assert_true(epoch_poll(a) > stands);
}

/* Also what it counted is not lost. */
static void who_leaves_leaves_nothing(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct participant p = join(state);
    struct participant_entry *entry = p.entry;
    uint64_t before = load_relaxed(&a->sync->retired[0]);
    epoch_enter(&p);
    epoch_enter_write(&p);
    store_relaxed(&entry->inflight, 4096);
    store_relaxed(&entry->counters[0], 5);
    epoch_clear_entry(a, entry);
    assert_true(load_relaxed(&entry->owner) == 0 && load_relaxed(&entry->reading) == 0);
    assert_true(load_relaxed(&entry->writing) == 0 && load_relaxed(&entry->inflight) == 0);
    assert_true(load_relaxed(&entry->counters[0]) == 0);
    assert_true(load_relaxed(&a->sync->retired[0]) == before + 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(grace_ends_without_sections),
        FIXTURE(grace_waits_for_a_read_section),
        FIXTURE(standing_sections_are_noted),
        FIXTURE(grace_waits_for_a_write_section),
        FIXTURE(grace_does_not_wait_for_later_sections),
        FIXTURE(grace_waits_for_the_oldest),
        FIXTURE(monotone),
        FIXTURE(raised_at_most_once_a_millisecond),
        FIXTURE(nested),
        FIXTURE(nested_in_signal_handlers),
        FIXTURE(join_is_seen_by_every_scan),
        FIXTURE(join_takes_the_lowest_free_entry),
        FIXTURE(join_says_when_all_are_taken),
        FIXTURE(without_membarrier_fences_are_paid_for),
        FIXTURE(a_poll_in_vain_fences_nobody),
        FIXTURE(who_leaves_leaves_nothing),
    };
    return cmocka_run_group_tests_name("epoch", tests, NULL, NULL);
}
