/* SPDX-License-Identifier: MIT */
/* test_keeper.c - who keeps house: at most one, a service before others, nobody for ever. */
#include "writers.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "clock.h"
#include "store.h"

#define MS 1000000ull
#define LIMIT_MS 8000u

static const struct shmkv_options usual = {.flags = SHMKV_NO_KEEPER, .size = 16u << 20};

static const struct shmkv_options large = {.flags = SHMKV_NO_KEEPER, .size = 256u << 20};

static struct shmkv_keeper keeper_of(struct shmkv *db)
{
    struct shmkv_keeper k;
    assert_rc(shmkv_get_keeper(db, &k), 0);
    return k;
}

/* Wait until @pid has the lease; 0: until nobody has.  False: it took longer than the limit. */
static bool comes_to(struct shmkv *db, int64_t pid)
{
    for (unsigned ms = 0; ms < LIMIT_MS; ms += 10) {
        if (keeper_of(db).pid == pid)
            return true;
        clock_sleep_ns(10 * MS);
    }
    return false;
}

static int stay_with(void *arg, uint32_t flags)
{
    struct fixture *f = arg;
    shmkv_close(f->db); /* the first handle of a process decides whether it wants a keeper */
    struct shmkv *db = fixture_open(f, flags);
    for (int i = 0; i < 200; i++) /* an ordinary process' thread comes with its writes */
        child_assert(shmkv_put(db, &i, sizeof(i), "v", 1, NULL) == 0);
    while (pause() != 0) {
    }
    return 0;
}

static int stay_as_service(void *arg)
{
    return stay_with(arg, SHMKV_KEEPER);
}

static int stay_as_writer(void *arg)
{
    return stay_with(arg, 0);
}

static int stay_idle(void *arg)
{
    return stay_with(arg, SHMKV_NO_KEEPER);
}

static void a_service_keeps_house_before_any_write(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(keeper_of(f->db).pid, 0);
    struct shmkv *db = fixture_open(f, SHMKV_KEEPER);
    assert_true(comes_to(f->db, getpid()));
    assert_int_equal(keeper_of(f->db).mine, 1);
    assert_string_equal(keeper_of(f->db).name, "test_keeper");
    shmkv_close(db);
}

/* The policy of the thread of this process that is called @comm; -1: there is none. */
static int policy_of(const char *comm)
{
    int policy = -1;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (const struct dirent *e; (e = readdir(tasks)) != NULL;) {
        char path[64 + sizeof(e->d_name)], name[32] = "";
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
        FILE *f = fopen(path, "r");
        if (f == NULL)
            continue;
        if (fgets(name, sizeof(name), f) != NULL && strncmp(name, comm, strlen(comm)) == 0)
            policy = sched_getscheduler((pid_t)strtol(e->d_name, NULL, 10));
        fclose(f);
    }
    closedir(tasks);
    return policy;
}

/* It takes the processor from nobody who reads or writes. */
static void it_works_in_the_background(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(policy_of("shmkv-keeper"), -1);
    struct shmkv *db = fixture_open(f, SHMKV_KEEPER);
    assert_true(comes_to(f->db, getpid()));
    assert_int_equal(policy_of("shmkv-keeper"), SCHED_BATCH);
    assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
    shmkv_close(db);
}

static unsigned free_segments(const struct arena *a)
{
    struct segment_census c;
    segment_count(a, &c);
    return (unsigned)c.kinds[SEGMENT_FREE];
}

/* Write until there is memory ahead of us, and end. */
static int grow_and_end(void *arg)
{
    static const char value[1000];
    struct fixture *f = arg;
    shmkv_close(f->db); /* as in stay_with() */
    struct shmkv *db = fixture_open(f, SHMKV_KEEPER);
    const struct arena *a = audit_arena(db);
    for (unsigned i = 0; free_segments(a) == 0; i++) {
        child_assert(i < 100000);
        child_assert(shmkv_put(db, &i, sizeof(i), value, sizeof(value), NULL) == 0);
    }
    shmkv_close(db);
    return 0;
}

static void what_was_taken_ahead_is_given_back_at_the_end(void **state)
{
    const struct arena *a = fixture_arena(state);
    assert_int_equal(child_wait(child_start(grow_and_end, *state), LIMIT_MS), 0);
    assert_int_equal(free_segments(a), 0);
    assert_rc(shmkv_check(fixture_db(state), NULL, NULL), 0);
}

static void a_writer_gives_the_lease_to_a_service(void **state)
{
    struct fixture *f = *state;
    pid_t writer = child_start(stay_as_writer, f);
    assert_true(comes_to(f->db, writer));
    assert_int_equal(keeper_of(f->db).mine, 0);
    pid_t service = child_start(stay_as_service, f);
    assert_true(comes_to(f->db, service));
    child_kill(service); /* and gets it back when the service is dead */
    assert_true(comes_to(f->db, writer));
    service = child_start(stay_as_service, f);
    child_kill(writer);
    assert_true(comes_to(f->db, service));
    child_kill(service);
    assert_true(comes_to(f->db, 0));
}

static void a_second_service_stands_by(void **state)
{
    struct fixture *f = *state;
    pid_t first = child_start(stay_as_service, f);
    assert_true(comes_to(f->db, first));
    pid_t second = child_start(stay_as_service, f);
    clock_sleep_ns(1500 * MS);
    assert_int_equal(keeper_of(f->db).pid, first);
    child_kill(first);
    assert_true(comes_to(f->db, second));
    child_kill(second);
}

/* The number of the process that has @pid, + 1. */
static uint32_t number_of(const struct arena *a, pid_t pid)
{
    for (uint32_t i = 0; i < load_acquire(&a->sync->process_high); i++)
        if (load_relaxed(&a->processes[i].used) != 0 &&
            load_relaxed(&a->processes[i].pid) == (uint32_t)pid)
            return i + 1;
    return 0;
}

static void a_stopped_service_stops_nobody(void **state)
{
    struct fixture *f = *state;
    const struct arena *a = &load_relaxed(&f->db->store)->arena;
    pid_t writer = child_start(stay_as_writer, f);
    assert_true(comes_to(f->db, writer));
    pid_t idle = child_start(stay_idle, f);
    uint32_t asker = 0;
    while ((asker = number_of(a, idle)) == 0)
        clock_sleep_ns(MS);
    kill(idle, SIGSTOP);
    assert_true(child_wait_stopped(idle, LIMIT_MS));
    store_relaxed(&a->sync->service, asker);
    assert_true(comes_to(f->db, 0));
    assert_true(comes_to(f->db, writer));
    child_kill(idle); /* its reaper takes the wish away */
    for (unsigned ms = 0; load_relaxed(&a->sync->service) != 0; ms += 10) {
        assert_true(ms < LIMIT_MS);
        clock_sleep_ns(10 * MS);
    }
    child_kill(writer);
}

static void a_keeper_of_writes_becomes_a_service(void **state)
{
    struct fixture *f = *state;
    pid_t writer = child_start(stay_as_writer, f);
    assert_true(comes_to(f->db, writer));
    shmkv_close(f->db);
    struct shmkv *db = f->db = fixture_open(f, 0);
    for (int i = 0; i < 200; i++)
        assert_rc(shmkv_put(db, &i, sizeof(i), "v", 1, NULL), 0);
    struct shmkv *served = fixture_open(f, SHMKV_KEEPER);
    assert_true(comes_to(f->db, getpid()));
    shmkv_close(served);
    child_kill(writer);
}

static void a_removed_store_is_told(void **state)
{
    struct fixture *f = *state;
    struct shmkv_keeper k;
    fixture_remove(f);
    assert_rc(shmkv_get_keeper(f->db, &k), SHMKV_EDEFUNCT);
}

static void a_service_writes(void **state)
{
    struct fixture *f = *state;
    struct shmkv *db;
    struct shmkv_options o = {.flags = SHMKV_KEEPER | SHMKV_READONLY};
    assert_rc(shmkv_open(f->name, &o, &db), SHMKV_EINVAL);
    o.flags = SHMKV_KEEPER | SHMKV_NO_KEEPER;
    assert_rc(shmkv_open(f->name, &o, &db), SHMKV_EINVAL);
}

/* Near the limit what an idle owner could fill comes back, though nobody was refused yet. */
static void what_idle_owners_have_is_called_in(void **state)
{
    struct shmkv *db = fixture_db(state);
    const struct arena *a = fixture_arena(state);
    struct segment_census c;
    struct writer idle;
    char value[1000] = "";
    uint64_t key = 0;
    writer_begin(&idle, a, writers_process(state));
    writer_put(&idle, "of the idle", "v");
    do {
        key++;
        assert_rc(shmkv_put(db, &key, sizeof(key), value, sizeof(value), NULL), 0);
        segment_count(a, &c);
    } while (!segment_nearly_committed(a, &c));
    uint64_t id = idle.puts.hold.id;
    assert_int_equal(claim_kind(load_acquire(&segment_at(a, id)->state)), SEGMENT_OPEN);
    pid_t service = child_start(stay_as_service, *state);
    bool taken = false;
    for (unsigned ms = 0; ms < LIMIT_MS && !taken; ms += 10) {
        clock_sleep_ns(10 * MS);
        taken = claim_kind(load_acquire(&segment_at(a, id)->state)) == SEGMENT_PARTIAL;
    }
    assert_true(taken);
    child_kill(service);
    writer_end(&idle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(a_service_keeps_house_before_any_write, &usual),
        FIXTURE_WITH(it_works_in_the_background, &usual),
        FIXTURE_WITH(what_was_taken_ahead_is_given_back_at_the_end, &large),
        FIXTURE_WITH(a_writer_gives_the_lease_to_a_service, &usual),
        FIXTURE_WITH(a_second_service_stands_by, &usual),
        FIXTURE_WITH(a_stopped_service_stops_nobody, &usual),
        FIXTURE_WITH(a_keeper_of_writes_becomes_a_service, &usual),
        FIXTURE_WITH(a_removed_store_is_told, &usual),
        FIXTURE_WITH(a_service_writes, &usual),
        FIXTURE_WITH(what_idle_owners_have_is_called_in, &usual),
    };
    return cmocka_run_group_tests_name("keeper", tests, NULL, NULL);
}
