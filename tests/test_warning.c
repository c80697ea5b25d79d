/* SPDX-License-Identifier: MIT */
/* test_warning.c - who holds memory back is told: by readers, by SHMKV_EHELD, by a function. */
#include "fixture.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "atomics.h"
#include "child.h"
#include "clock.h"

#define MS 1000000ull
#define LIMIT_MS 20000u
#define KEYS 16u
#define VALUE 4096u

static const struct shmkv_options small = {.flags = SHMKV_NO_KEEPER, .size = 4u << 20};
static const struct shmkv_options kept = {.size = 4u << 20};

/* What the function was told, and what it shall do. */
struct told {
    struct shmkv *db;
    _Atomic unsigned calls, refused;
    _Atomic unsigned wait, inside; /* it stays inside while it is told to wait */
    int set_rc, close_rc, put_rc;
    int code;
    char text[512];
    struct shmkv_participant who;
};

static void note(struct told *t, const struct shmkv_warning *w)
{
    t->code = w->code;
    t->who = *w->who;
    snprintf(t->text, sizeof(t->text), "%s", w->text);
    add_seq_cst(&t->refused, (unsigned)w->refused);
    add_seq_cst(&t->calls, 1u);
}

static void warned(void *arg, const struct shmkv_warning *w)
{
    note(arg, w);
}

static int overwrite(struct shmkv *db, unsigned i)
{
    char value[VALUE] = "v";
    unsigned key = i % KEYS;
    return shmkv_put(db, &key, sizeof(key), value, sizeof(value), NULL);
}

/* Until somebody who stands holds everything back. */
static void overwrite_until_refused(struct shmkv *db)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0; i++) {
        assert_true(i < 100000);
        rc = overwrite(db, i);
    }
    assert_rc(rc, SHMKV_EHELD);
}

static uint64_t own_thread(void)
{
    return (uint64_t)syscall(SYS_gettid);
}

/* ---- readers ------------------------------------------------------------------------------- */

struct seen {
    struct shmkv_participant oldest;
    unsigned threads;
};

static int look(void *arg, const struct shmkv_participant *p)
{
    struct seen *s = arg;
    s->threads += p->thread > 0;
    if (p->age_ms > s->oldest.age_ms)
        s->oldest = *p;
    return 0;
}

static void a_standing_section_has_an_age(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct seen before = {.threads = 0}, after = {.threads = 0};
    struct shmkv_reader *reader;
    struct shmkv_section s;
    assert_rc(overwrite(db, 0), 0);
    assert_rc(shmkv_readers(db, look, &before), 0);
    assert_int_equal(before.oldest.age_ms, 0);
    assert_rc(shmkv_reader_open(db, &reader), 0);
    assert_rc(shmkv_reader_begin(reader, &s), 0);
    overwrite_until_refused(db); /* takes a tenth of a second at the end */
    assert_rc(shmkv_readers(db, look, &after), 0);
    assert_int_equal(after.threads, 2);
    assert_true(after.oldest.age_ms >= 50);
    assert_int_equal(after.oldest.pid, getpid());
    assert_int_equal(after.oldest.thread, own_thread());
    assert_true(after.oldest.reading != 0 && after.oldest.writing == 0);
    assert_true(after.oldest.bytes_held > small.size / 4);
    shmkv_end(&s);
    shmkv_reader_close(reader);
    struct seen end = {.threads = 0};
    assert_rc(shmkv_readers(db, look, &end), 0);
    assert_int_equal(end.oldest.age_ms, 0);
}

static void a_refusal_says_who_and_how_long(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_reader *reader;
    struct shmkv_section s;
    char who[128];
    unsigned seconds, tenths;
    assert_rc(overwrite(db, 0), 0);
    assert_rc(shmkv_reader_open(db, &reader), 0);
    assert_rc(shmkv_reader_begin(reader, &s), 0);
    overwrite_until_refused(db);
    const char *text = shmkv_last_error();
    snprintf(who, sizeof(who), "process %d (test_warning), thread %" PRIu64 ", has been for ",
             (int)getpid(), own_thread());
    const char *at = strstr(text, who);
    assert_non_null(at);
    assert_int_equal(sscanf(at + strlen(who), "%u.%u s inside a read section", &seconds, &tenths),
                     2);
    assert_non_null(strstr(text, " bytes back; let it go on, or end it"));
    shmkv_end(&s);
    shmkv_reader_close(reader);
}

/* ---- the function: refused writes ---------------------------------------------------------- */

/* It may use the store, but not change what is called, nor close; its failures are its own. */
static void warned_and_curious(void *arg, const struct shmkv_warning *w)
{
    struct told *t = arg;
    note(t, w);
    t->set_rc = shmkv_set_warning(t->db, NULL, NULL);
    t->close_rc = shmkv_close(t->db);
    t->put_rc = overwrite(t->db, 1);
}

static void a_refused_write_tells_once(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct told t = {.db = db};
    struct shmkv_reader *reader;
    struct shmkv_section s;
    assert_rc(shmkv_set_warning(db, warned_and_curious, &t), 0);
    assert_rc(overwrite(db, 0), 0);
    assert_rc(shmkv_reader_open(db, &reader), 0);
    assert_rc(shmkv_reader_begin(reader, &s), 0);
    overwrite_until_refused(db);
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.refused, 1);
    assert_int_equal(t.code, SHMKV_EHELD);
    assert_int_equal(t.who.thread, own_thread());
    assert_non_null(strstr(t.text, "a write found no room: process "));
    assert_int_equal(t.set_rc, SHMKV_EBUSY);
    assert_int_equal(t.close_rc, SHMKV_EBUSY);
    assert_int_equal(t.put_rc, SHMKV_EHELD); /* it got as far as any write does now */
    assert_non_null(strstr(shmkv_last_error(), "no room: process "));
    assert_rc(overwrite(db, 0), SHMKV_EHELD); /* of the same section */
    assert_int_equal(t.calls, 1);
    shmkv_end(&s);
    assert_rc(overwrite(db, 0), 0);
    assert_rc(shmkv_reader_begin(reader, &s), 0);
    overwrite_until_refused(db);
    assert_int_equal(t.calls, 2); /* another one */
    shmkv_end(&s);
    shmkv_reader_close(reader);
}

static void a_refused_reservation_tells(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct told t = {.db = db};
    struct shmkv_reader *reader;
    struct shmkv_section s;
    struct shmkv_reservation r;
    assert_rc(overwrite(db, 0), 0);
    assert_rc(shmkv_reader_open(db, &reader), 0);
    assert_rc(shmkv_reader_begin(reader, &s), 0);
    overwrite_until_refused(db);
    assert_rc(shmkv_set_warning(db, warned, &t), 0);
    assert_rc(shmkv_reserve(db, "k", 1, 60000, NULL, &r), SHMKV_EHELD);
    assert_int_equal(t.calls, 1);
    shmkv_end(&s);
    shmkv_reader_close(reader);
}

static void it_ends_with_its_handle(void **state)
{
    struct fixture *f = *state;
    struct told t = {.db = NULL};
    struct shmkv *other = fixture_open(f, SHMKV_NO_KEEPER);
    struct shmkv_reader *reader;
    struct shmkv_section s;
    assert_rc(shmkv_set_warning(other, warned, &t), 0);
    assert_rc(shmkv_close(other), 0);
    assert_rc(overwrite(f->db, 0), 0);
    assert_rc(shmkv_reader_open(f->db, &reader), 0);
    assert_rc(shmkv_reader_begin(reader, &s), 0);
    overwrite_until_refused(f->db);
    assert_int_equal(t.calls, 0);
    shmkv_end(&s);
    shmkv_reader_close(reader);
    assert_rc(shmkv_set_warning(other, warned, &t), SHMKV_ECLOSED);
}

/* ---- the function: the housekeeping -------------------------------------------------------- */

static int hold(void *arg)
{
    struct shmkv *db = fixture_open(arg, SHMKV_READONLY);
    struct shmkv_section s;
    child_assert(shmkv_begin(db, &s) == 0);
    raise(SIGSTOP);
    shmkv_end(&s);
    return 0;
}

static void fill_behind(struct shmkv *db)
{
    for (unsigned i = 0; i < (small.size / 4) / VALUE; i++)
        assert_rc(overwrite(db, i), 0);
    assert_rc(shmkv_compact(db), 0);
}

static void await(const _Atomic unsigned *count, unsigned least)
{
    for (unsigned i = 0; load_acquire(count) < least; i++) {
        assert_true(i < LIMIT_MS);
        clock_sleep_ns(MS);
    }
}

static void the_housekeeping_tells(void **state)
{
    struct fixture *f = *state;
    struct told t = {.db = f->db};
    assert_rc(overwrite(f->db, 0), 0);
    pid_t pid = child_start(hold, f);
    assert_true(child_wait_stopped(pid, LIMIT_MS));
    for (unsigned i = 0; i < 100; i++) /* enough for the thread to be started */
        assert_rc(overwrite(f->db, i), 0);
    assert_rc(shmkv_set_warning(f->db, warned, &t), 0);
    fill_behind(f->db);
    await(&t.calls, 1);
    assert_rc(shmkv_set_warning(f->db, NULL, NULL), 0);
    assert_int_equal(t.refused, 0);
    assert_int_equal(t.who.pid, pid);
    assert_int_equal(t.who.thread, pid);
    assert_true(t.who.age_ms >= 1000);
    assert_true(t.who.bytes_held >= small.size / 16);
    kill(pid, SIGCONT);
    assert_int_equal(child_wait(pid, LIMIT_MS), 0);
}

static void warned_and_slow(void *arg, const struct shmkv_warning *w)
{
    struct told *t = arg;
    store_seq_cst(&t->inside, 1u);
    while (load_acquire(&t->wait) != 0)
        clock_sleep_ns(MS);
    note(t, w);
    store_seq_cst(&t->inside, 0u);
}

static void *let_go(void *arg)
{
    struct told *t = arg;
    clock_sleep_ns(50 * MS);
    store_release(&t->wait, 0u);
    return NULL;
}

/* Afterwards what it was given may be freed. */
static void who_ends_it_waits_for_it(void **state)
{
    struct fixture *f = *state;
    struct told t = {.db = f->db, .wait = 1};
    pthread_t thread;
    assert_rc(overwrite(f->db, 0), 0);
    pid_t pid = child_start(hold, f);
    assert_true(child_wait_stopped(pid, LIMIT_MS));
    assert_rc(shmkv_set_warning(f->db, warned_and_slow, &t), 0);
    for (unsigned i = 0; i < 100; i++)
        assert_rc(overwrite(f->db, i), 0);
    fill_behind(f->db);
    await(&t.inside, 1);
    assert_int_equal(pthread_create(&thread, NULL, let_go, &t), 0);
    assert_rc(shmkv_set_warning(f->db, NULL, NULL), 0);
    assert_int_equal(t.inside, 0);
    assert_int_equal(t.calls, 1);
    pthread_join(thread, NULL);
    kill(pid, SIGCONT);
    assert_int_equal(child_wait(pid, LIMIT_MS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(a_standing_section_has_an_age, &small),
        FIXTURE_WITH(a_refusal_says_who_and_how_long, &small),
        FIXTURE_WITH(a_refused_write_tells_once, &small),
        FIXTURE_WITH(a_refused_reservation_tells, &small),
        FIXTURE_WITH(it_ends_with_its_handle, &small),
        FIXTURE_WITH(the_housekeeping_tells, &kept),
        FIXTURE_WITH(who_ends_it_waits_for_it, &kept),
    };
    return cmocka_run_group_tests_name("warning", tests, NULL, NULL);
}
