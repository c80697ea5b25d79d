/* SPDX-License-Identifier: MIT */
/* test_signals_fork.c - handles across signals, forks and the ends of threads. */
#define _GNU_SOURCE
#include "fixture.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "audit.h"
#include "blob.h"
#include "child.h"
#include "clock.h"
#include "scratch.h"

#define MS 1000000ull
#define LIMIT_MS 20000u
#define KEYS 200u
#define VALUE 300u
#define TICK_US 150

static const struct shmkv_options small = {.flags = SHMKV_NO_KEEPER, .size = 4u << 20};
static const struct shmkv_options kept = {.size = 4u << 20};

static int put_blob(struct shmkv *db, uint64_t key, uint64_t sequence)
{
    char value[VALUE];
    blob_write(value, sizeof(value), key, sequence);
    return shmkv_put(db, &key, sizeof(key), value, sizeof(value), NULL);
}

/* The sequence of a key's whole value; UINT64_MAX if it is none. */
static uint64_t look(const struct shmkv_section *section, uint64_t key)
{
    struct shmkv_item item;
    uint64_t sequence;
    int rc = shmkv_get(section, &key, sizeof(key), &item);
    return rc == 0 && blob_read(item.value, item.size, key, &sequence) ? sequence : UINT64_MAX;
}

static bool all_whole(struct shmkv *db, uint64_t first, uint64_t count)
{
    struct shmkv_section section;
    bool whole = shmkv_begin(db, &section) == 0;
    for (uint64_t key = first; whole && key < first + count; key++)
        whole = look(&section, key) != UINT64_MAX;
    shmkv_end(&section);
    return whole;
}

/* Overwrite some keys again and again, so that all memory is used anew. */
static void churn(struct shmkv *db, uint64_t first, uint64_t puts)
{
    for (uint64_t i = 0; i < puts; i++)
        child_assert(put_blob(db, first + i % KEYS, i) == 0);
}

/* ---- signals ------------------------------------------------------------------------------- */

static struct {
    struct shmkv *db;
    _Atomic uint64_t reads, wrong, writes, busy, full;
    bool writes_too;
} handler;

/*
 * Reads on the thread that it interrupts, wherever that is.  A write that finds it inside of a
 * section, where nothing comes back, may find no room: nobody else is there who cleans.
 */
static void on_tick(int signal)
{
    struct shmkv_section section;
    uint64_t key = handler.reads % KEYS;
    (void)signal;
    bool right = shmkv_begin(handler.db, &section) == 0 && look(&section, key) != UINT64_MAX;
    shmkv_end(&section);
    handler.reads++;
    handler.wrong += !right;
    if (!handler.writes_too)
        return;
    int rc = put_blob(handler.db, key, handler.reads);
    handler.writes += rc == 0;
    handler.busy += rc == SHMKV_EBUSY;
    handler.full += rc == SHMKV_EHELD || rc == SHMKV_ENOSPC;
    handler.wrong += rc != 0 && rc != SHMKV_EBUSY && rc != SHMKV_EHELD && rc != SHMKV_ENOSPC;
}

static void begin_ticks(struct shmkv *db, bool writes_too)
{
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    struct itimerval timer = {{0, TICK_US}, {0, TICK_US}};
    memset(&handler, 0, sizeof(handler));
    handler.db = db;
    handler.writes_too = writes_too;
    for (uint64_t key = 0; key < KEYS; key++)
        assert_rc(put_blob(db, key, 0), 0);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void end_ticks(void)
{
    struct itimerval none = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &none, NULL);
    signal(SIGALRM, SIG_IGN);
    assert_true(handler.reads > 100);
    assert_true(handler.wrong == 0);
}

static void a_handler_reads_inside_everything(void **state)
{
    struct shmkv *db = fixture_db(state);
    begin_ticks(db, false);
    for (int round = 0; round < 300; round++) {
        struct shmkv_section section;
        struct shmkv_item item;
        uint64_t sequence = 0, key = KEYS - 1;
        assert_rc(shmkv_begin(db, &section), 0);
        assert_rc(shmkv_get(&section, &key, sizeof(key), &item), 0);
        for (uint64_t i = 0; i < 20; i++) { /* without a keeper there may be no room in here */
            int rc = put_blob(db, i, i);
            assert_true(rc == 0 || rc == SHMKV_EHELD || rc == SHMKV_ENOSPC);
        }
        assert_true(blob_read(item.value, item.size, key, &sequence)); /* whoever was between */
        shmkv_end(&section);
        churn(db, 0, 300);
    }
    end_ticks();
}

static void a_handlers_write_inside_a_write_is_refused(void **state)
{
    struct shmkv *db = fixture_db(state);
    begin_ticks(db, true);
    uint64_t end = clock_mono_ns() + 10000 * MS;
    while ((handler.busy < 20 || handler.writes < 20 * (handler.full + 1) || handler.reads < 200) &&
           clock_mono_ns() < end) {
        churn(db, 0, 500);
        all_whole(db, 0, KEYS);
    }
    end_ticks();
    assert_true(handler.busy > 0);
    assert_true(handler.writes >= 20 * (handler.full + 1));
    assert_true(all_whole(db, 0, KEYS));
}

static struct {
    struct shmkv_reservation reservation;
    volatile bool open;
    uint64_t committed, refused, wrong;
} filled;

static void commit_on_tick(int signal)
{
    (void)signal;
    if (!filled.open)
        return;
    int rc = shmkv_commit(&filled.reservation);
    filled.open = rc != 0;
    filled.committed += rc == 0;
    filled.refused += rc == SHMKV_EBUSY;
    filled.wrong += rc != 0 && rc != SHMKV_EBUSY;
    if (rc == SHMKV_EBUSY)
        shmkv_cancel(&filled.reservation); /* does nothing, either */
}

static void a_commit_that_was_refused_may_be_repeated(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct sigaction action = {.sa_handler = commit_on_tick, .sa_flags = SA_RESTART};
    uint64_t end = clock_mono_ns() + 10000 * MS, reserved = 0;
    memset(&filled, 0, sizeof(filled));
    begin_ticks(db, false);
    sigaction(SIGALRM, &action, NULL);
    while ((filled.refused < 20 || filled.committed < 20) && clock_mono_ns() < end) {
        if (!filled.open) {
            reserved++;
            assert_rc(shmkv_reserve(db, "r", 1, sizeof(reserved), NULL, &filled.reservation), 0);
            memcpy(filled.reservation.value, &reserved, sizeof(reserved));
            filled.open = true;
        }
        churn(db, 0, 500);
    }
    signal(SIGALRM, SIG_IGN);
    handler.reads = UINT64_MAX; /* of the other handler */
    end_ticks();
    if (filled.open)
        assert_rc(shmkv_commit(&filled.reservation), 0);
    uint64_t stored = 0;
    assert_rc(shmkv_read(db, "r", 1, &stored, sizeof(stored), NULL), 0);
    assert_true(stored == reserved);
    assert_true(filled.refused > 0);
    assert_true(filled.committed > 0);
    assert_true(filled.wrong == 0);
}

/* The thread goes from one store to the other all the time; the handler reads one of them. */
static void a_handler_reads_beside_two_stores(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct fixture other;
    fixture_begin(&other, &small);
    begin_ticks(db, false);
    for (int i = 0; i < 200000; i++) {
        assert_rc(put_blob(other.db, 1, 1), 0);
        assert_rc(shmkv_exists(db, &(uint64_t){1}, sizeof(uint64_t)), 0);
    }
    end_ticks();
    fixture_end(&other);
}

/* ---- fork ---------------------------------------------------------------------------------- */

struct shared {
    struct shmkv *db;
    struct shmkv_section *section;
    struct shmkv_reservation *reservation;
};

static int count_sections(void *arg, const struct shmkv_participant *p)
{
    *(int *)arg += p->reading != 0;
    return 0;
}

static int end_inherited_section(void *arg)
{
    struct shared *s = arg;
    int sections = 0;
    struct shmkv_item item;
    struct shmkv_bytes key = {"k", 1};
    child_assert(shmkv_get(s->section, key.data, key.size, &item) == SHMKV_EINVAL);
    child_assert(shmkv_get_many(s->section, &key, 1, &item) == SHMKV_EINVAL);
    shmkv_end(s->section);
    child_assert(shmkv_readers(s->db, count_sections, &sections) == 0);
    child_assert(sections == 1); /* the parent's */
    child_assert(put_blob(s->db, 1, 77) == 0);
    child_assert(all_whole(s->db, 0, KEYS));
    for (uint64_t i = 0; i < 20000; i++) { /* until the parent's section holds all there is */
        int rc = put_blob(s->db, i % KEYS, i);
        child_assert(rc == 0 || rc == SHMKV_EHELD);
        if (rc != 0)
            break;
    }
    child_assert(shmkv_close(s->db) == 0);
    return 0;
}

static void a_fork_inside_a_section(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_section section;
    struct shmkv_item item;
    uint64_t key = 5, sequence = 0;
    struct shared s = {.db = db, .section = &section};
    churn(db, 0, KEYS);
    assert_rc(shmkv_begin(db, &section), 0);
    assert_rc(shmkv_get(&section, &key, sizeof(key), &item), 0);
    assert_int_equal(child_wait(child_start(end_inherited_section, &s), LIMIT_MS), 0);
    assert_true(blob_read(item.value, item.size, key, &sequence) && sequence == key);
    shmkv_end(&section);
    churn(db, 0, 20000);
    assert_true(all_whole(db, 0, KEYS));
}

static int write_elsewhere(void *arg)
{
    struct shared *s = arg;
    churn(s->db, KEYS, 30000);
    child_assert(all_whole(s->db, KEYS, KEYS));
    child_assert(shmkv_close(s->db) == 0);
    return 0;
}

/* Parent and child had the same open segments in their memory: only one of them owns these. */
static void a_fork_with_open_segments(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shared s = {.db = db};
    churn(db, 0, 1000);
    pid_t pid = child_start(write_elsewhere, &s);
    churn(db, 0, 30000);
    assert_int_equal(child_wait(pid, LIMIT_MS), 0);
    assert_true(all_whole(db, 0, 2 * KEYS));
}

static int commit_inherited(void *arg)
{
    struct shared *s = arg;
    child_assert(shmkv_commit(s->reservation) == SHMKV_EINVAL);
    shmkv_cancel(s->reservation);
    struct shmkv_reservation own;
    child_assert(shmkv_reserve(s->db, "child", 5, 1, NULL, &own) == 0);
    *(char *)own.value = 'c';
    child_assert(shmkv_commit(&own) == 0);
    return 0;
}

static void a_fork_with_a_reservation(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_reservation r;
    struct shared s = {.db = db, .reservation = &r};
    assert_rc(shmkv_reserve(db, "k", 1, 5, NULL, &r), 0);
    memcpy(r.value, "value", 5);
    assert_int_equal(child_wait(child_start(commit_inherited, &s), LIMIT_MS), 0);
    assert_text(db, "k", NULL);
    assert_rc(shmkv_commit(&r), 0);
    assert_text(db, "k", "value");
    assert_text(db, "child", "c");
}

/* ---- fork inside a callback ---------------------------------------------------------------- */

struct forking {
    struct shmkv *db;
    pid_t child;
    unsigned calls;
    bool is_child;
    unsigned char seen[KEYS];
};

static int fork_in_update(void *arg, const struct shmkv_item *old, struct shmkv_bytes *value)
{
    struct forking *f = arg;
    (void)old;
    if (f->calls++ == 0) {
        fflush(NULL);
        f->child = fork();
        f->is_child = f->child == 0;
    }
    *value = (struct shmkv_bytes){"updated", 7};
    return SHMKV_STORE;
}

static void a_fork_inside_an_update(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct forking f = {.db = db};
    put_text(db, "k", "old");
    int rc = shmkv_update(db, "k", 1, fork_in_update, &f);
    if (f.is_child) {
        child_assert(rc == SHMKV_EINVAL);
        child_assert(put_blob(db, 1, 1) == 0);
        _exit(0);
    }
    assert_rc(rc, 0);
    assert_int_equal(child_wait(f.child, LIMIT_MS), 0);
    assert_text(db, "k", "updated");
    churn(db, 0, 20000);
    assert_true(all_whole(db, 0, KEYS));
}

static int fork_in_scan(void *arg, const struct shmkv_pair *pair)
{
    struct forking *f = arg;
    uint64_t key, sequence;
    if (f->calls++ == 10) {
        fflush(NULL);
        f->child = fork();
        f->is_child = f->child == 0;
        if (f->is_child)
            clock_sleep_ns(200 * MS); /* meanwhile the parent's section ends */
    }
    memcpy(&key, pair->key, sizeof(key));
    if (f->is_child && f->calls == 11) /* this pair was handed out before the fork */
        return 0;
    bool whole = blob_read(pair->item.value, pair->item.size, key, &sequence);
    return whole && key < KEYS && f->seen[key]++ == 0 ? 0 : -999;
}

/* The child goes on without the section that kept the rest of the batch in its place. */
static void a_fork_inside_a_scan(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct forking f = {.db = db};
    uint64_t cursor = 0;
    churn(db, 0, KEYS);
    int rc = shmkv_scan(db, &cursor, NULL, fork_in_scan, &f);
    if (f.is_child) {
        child_assert(rc == 0 || rc == SHMKV_EINVAL);
        child_assert(put_blob(db, 1, 1) == 0);
        _exit(0);
    }
    assert_rc(rc, 0);
    assert_int_equal(f.calls, KEYS);
    churn(db, 0, 20000);
    assert_int_equal(child_wait(f.child, LIMIT_MS), 0);
}

/* ---- however it was made ------------------------------------------------------------------- */

/* A thread sanitizer has none: it ends a child of several threads that begins another one. */
static void wants_children_with_threads(void)
{
#if THREAD_SANITIZER
    skip();
#endif
}

/* A thread that begins takes locks of the address sanitizer, which a child would find taken. */
static void let_threads_begin(void)
{
#if ADDRESS_SANITIZER
    clock_sleep_ns(20000000);
#endif
}

static int use_and_leave(void *db)
{
    churn(db, KEYS, 500);
    return shmkv_close(db);
}

static void a_bare_clone(void **state)
{
    struct shmkv *db = fixture_db(state);
    churn(db, 0, 1000);
    fflush(NULL);
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        _exit(use_and_leave(db));
    churn(db, 0, 1000);
    assert_int_equal(child_wait((pid_t)pid, LIMIT_MS), 0);
    assert_true(all_whole(db, 0, 2 * KEYS));
}

static int fork_again(void *db)
{
    churn(db, KEYS, 100);
    let_threads_begin();
    pid_t pid = child_start(use_and_leave, db);
    churn(db, KEYS, 100);
    child_assert(child_wait(pid, LIMIT_MS) == 0);
    return shmkv_close(db);
}

static void a_grandchild(void **state)
{
    wants_children_with_threads();
    struct shmkv *db = fixture_db(state);
    churn(db, 0, 1000);
    let_threads_begin();
    assert_int_equal(child_wait(child_start(fork_again, db), LIMIT_MS), 0);
    assert_true(all_whole(db, 0, 2 * KEYS));
}

struct busy_thread {
    struct shmkv *db;
    uint64_t first;
    _Atomic bool writes, stop;
};

static void *keep_writing(void *arg)
{
    struct busy_thread *b = arg;
    while (!atomic_load(&b->stop)) {
        churn(b->db, b->first, KEYS);
        atomic_store(&b->writes, true);
    }
    return NULL;
}

/* The child has one thread; the others' locks and halves of writes are not its business. */
static void forks_beside_writing_threads(void **state)
{
    wants_children_with_threads();
    struct shmkv *db = fixture_db(state);
    struct busy_thread busy[2] = {{.db = db, .first = 0}, {.db = db, .first = 2 * KEYS}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, keep_writing, &busy[i]), 0);
    for (int i = 0; i < 2; i++) {
        while (!atomic_load(&busy[i].writes))
            clock_sleep_ns(100000);
    }
    let_threads_begin();
    for (int i = 0; i < 50; i++)
        assert_int_equal(child_wait(child_start(use_and_leave, db), LIMIT_MS), 0);
    for (int i = 0; i < 2; i++) {
        atomic_store(&busy[i].stop, true);
        pthread_join(threads[i], NULL);
    }
    assert_true(all_whole(db, 0, 3 * KEYS));
}

static int close_all_descriptors(void *db)
{
    churn(db, 0, 100);
    child_assert(syscall(SYS_close_range, 3, ~0u, 0) == 0);
    churn(db, 0, 30000);
    child_assert(all_whole(db, 0, KEYS));
    return shmkv_close(db);
}

static void closed_descriptors_do_not_matter(void **state)
{
    struct fixture *f = *state;
    pid_t pid = child_start(close_all_descriptors, f->db);
    churn(f->db, KEYS, 30000); /* whoever lacks room looks for the dead */
    assert_int_equal(child_wait(pid, LIMIT_MS), 0);
    assert_true(all_whole(f->db, 0, 2 * KEYS));
}

#define PAGES 64

/* The kernel gives the addresses of what a child has not inherited away again. */
static int close_an_unused_handle(void *db)
{
    char *page[PAGES];
    for (int i = 0; i < PAGES; i++) { /* unlike their neighbours, to stay single pages */
        int protection = PROT_READ | PROT_WRITE | (i % 2 == 0 ? 0 : PROT_EXEC);
        page[i] = mmap(NULL, PAGE_BYTES, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        child_assert(page[i] != MAP_FAILED);
    }
    child_assert(shmkv_close(db) == 0);
    for (int i = 0; i < PAGES; i++)
        *page[i] = 1;
    return 0;
}

static void a_child_closes_what_it_has_not_used(void **state)
{
    (void)state;
    struct shmkv_options o = {.flags = SHMKV_CREATE | SHMKV_KEEPER, .size = 4u << 20};
    struct shmkv_keeper keeper = {.mine = 0};
    struct shmkv *db;
    o.shm_dir = scratch_dir();
    assert_rc(shmkv_open(scratch_path("image"), &o, &db), 0);
    put_text(db, "k", "v");
    for (int i = 0; i < 1000 && (keeper.mine == 0 || keeper.checkpoints == 0); i++) {
        clock_sleep_ns(10 * MS);
        assert_rc(shmkv_get_keeper(db, &keeper), 0);
    }
    assert_int_equal(keeper.mine, 1);
    assert_int_equal(child_wait(child_start(close_an_unused_handle, db), LIMIT_MS), 0);
    assert_text(db, "k", "v");
    assert_rc(shmkv_checkpoint(db), 0);
    assert_rc(shmkv_close(db), 0);
}

static int die_inside(void *db)
{
    struct shmkv_section section;
    churn(db, 0, 10);
    child_assert(shmkv_begin(db, &section) == 0);
    raise(SIGKILL);
    return 0;
}

/* It is a process of its own: its death is noticed while its parent lives. */
static void a_child_that_dies(void **state)
{
    wants_children_with_threads();
    struct shmkv *db = fixture_db(state);
    struct shmkv_stats stats;
    churn(db, 0, KEYS);
    for (int i = 0; i < 20; i++) {
        int status = child_wait(child_start(die_inside, db), LIMIT_MS);
        assert_int_equal(status, CHILD_SIGNAL + SIGKILL);
    }
    audit_reap(db);
    assert_rc(shmkv_get_stats(db, &stats), 0);
    assert_int_equal(stats.participants, 1);
    assert_int_equal(stats.processes, 1);
    churn(db, 0, 30000);
    assert_true(all_whole(db, 0, KEYS));
}

/* ---- threads ------------------------------------------------------------------------------- */

static void *leave_inside_a_section(void *db)
{
    struct shmkv_section section;
    struct shmkv_reservation r;
    child_assert(shmkv_begin(db, &section) == 0);
    child_assert(shmkv_reserve(db, "never", 5, 100, NULL, &r) == 0);
    return NULL;
}

static void threads_that_end_inside_sections(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_stats stats;
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, leave_inside_a_section, db), 0);
        pthread_join(thread, NULL);
    }
    int sections = 0;
    assert_rc(shmkv_readers(db, count_sections, &sections), 0);
    assert_int_equal(sections, 0);
    assert_rc(shmkv_get_stats(db, &stats), 0);
    assert_int_equal(stats.participants, 1);
    churn(db, 0, 30000); /* nothing is held back, no segment is lost */
    assert_text(db, "never", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(a_handler_reads_inside_everything, &small),
        FIXTURE_WITH(a_handlers_write_inside_a_write_is_refused, &small),
        FIXTURE_WITH(a_commit_that_was_refused_may_be_repeated, &small),
        FIXTURE_WITH(a_handler_reads_beside_two_stores, &small),
        FIXTURE_WITH(a_fork_inside_a_section, &small),
        FIXTURE_WITH(a_fork_with_open_segments, &small),
        FIXTURE_WITH(a_fork_with_a_reservation, &small),
        FIXTURE_WITH(a_fork_inside_an_update, &small),
        FIXTURE_WITH(a_fork_inside_a_scan, &small),
        FIXTURE_WITH(a_bare_clone, &small),
        FIXTURE_WITH(a_grandchild, &kept),
        FIXTURE_WITH(forks_beside_writing_threads, &kept),
        FIXTURE_WITH(closed_descriptors_do_not_matter, &small),
        cmocka_unit_test_setup_teardown(a_child_closes_what_it_has_not_used, scratch_setup,
                                        scratch_teardown),
        FIXTURE_WITH(a_child_that_dies, &small),
        FIXTURE_WITH(threads_that_end_inside_sections, &small),
    };
    return cmocka_run_group_tests_name("signals and forks", tests, NULL, NULL);
}
