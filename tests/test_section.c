/* SPDX-License-Identifier: MIT */
/* test_section.c - what is read in a section stays as it is, whatever others write. */
#include "fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blob.h"
#include "clock.h"
#include "lap.h"

#define SIZE (4u << 20)
#define VALUE 1000u
#define REUSES_ALL (10 * SIZE / VALUE) /* so many puts need all memory several times */
#define MS 1000000ull
#define PATIENCE_MS (200u * FIXTURE_PATIENCE) /* no call may take longer, see failure-tests */

static const struct shmkv_options small = {.flags = SHMKV_NO_KEEPER, .size = SIZE};

static int put_blob(struct shmkv *db, uint64_t key, uint64_t sequence)
{
    char value[VALUE];
    blob_write(value, sizeof(value), key, sequence);
    return shmkv_put(db, &key, sizeof(key), value, sizeof(value), NULL);
}

/* In an open section: the value of @key, which must be whole. */
static struct shmkv_item get_blob(const struct shmkv_section *section, uint64_t key,
                                  uint64_t *sequence)
{
    struct shmkv_item item = {.value = NULL};
    assert_rc(shmkv_get(section, &key, sizeof(key), &item), 0);
    assert_true(blob_read(item.value, item.size, key, sequence));
    return item;
}

static void assert_blob(const struct shmkv_item *item, uint64_t key, uint64_t sequence)
{
    uint64_t found = 0;
    assert_true(blob_read(item->value, item->size, key, &found));
    assert_true(found == sequence);
}

/* ---- a writer beside ----------------------------------------------------------------------- */

struct task {
    struct shmkv *db;
    uint64_t keys, count; /* overwrite so many keys, so many times in all */
    int rc;               /* what ended it */
    uint64_t done;
    uint64_t longest_ns;
};

static void *overwrite(void *arg)
{
    struct task *t = arg;
    struct lap lap;
    lap_open(&lap);
    for (t->done = 0; t->done < t->count; t->done++) {
        lap_begin(&lap);
        t->rc = put_blob(t->db, t->done % t->keys, t->done);
        uint64_t took = lap_used_ns(lap_end(&lap));
        t->longest_ns = took > t->longest_ns ? took : t->longest_ns;
        if (t->rc != 0)
            break;
    }
    lap_close(&lap);
    return NULL;
}

static void in_another_thread(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, fn, arg), 0);
    pthread_join(thread, NULL);
}

/* ---- values stay --------------------------------------------------------------------------- */

static void a_value_stays_while_it_is_overwritten(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct task t = {.db = db, .keys = 100, .count = SIZE / VALUE / 2};
    for (int round = 0; round < 20; round++) {
        struct shmkv_section section;
        struct shmkv_item items[100];
        uint64_t sequence[100];
        for (uint64_t k = 0; k < t.keys; k++)
            assert_rc(put_blob(db, k, k + (uint64_t)round), 0);
        assert_rc(shmkv_begin(db, &section), 0);
        for (uint64_t k = 0; k < t.keys; k++)
            items[k] = get_blob(&section, k, &sequence[k]);
        in_another_thread(overwrite, &t);
        assert_true(t.done > 0);
        for (uint64_t k = 0; k < t.keys; k++)
            assert_blob(&items[k], k, sequence[k]);
        shmkv_end(&section);
        clock_sleep_ns(5 * MS); /* the memory that the section held is reused from now on */
    }
    struct shmkv_stats stats;
    assert_rc(shmkv_get_stats(db, &stats), 0);
    assert_true(stats.segments_cleaned > 100);
}

/* Resizes replace the table that the section found the value through. */
static void a_value_stays_while_the_index_grows(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_section section;
    uint64_t sequence;
    struct shmkv_stats stats;
    assert_rc(put_blob(db, 1000000, 7), 0);
    assert_rc(shmkv_begin(db, &section), 0);
    struct shmkv_item item = get_blob(&section, 1000000, &sequence);
    for (uint64_t k = 0; k < 20000; k++)
        assert_rc(shmkv_put(db, &k, sizeof(k), "v", 1, NULL), 0);
    assert_rc(shmkv_delete(db, &(uint64_t){1000000}, sizeof(uint64_t)), 0);
    assert_rc(shmkv_get_stats(db, &stats), 0);
    assert_true(stats.resizes >= 2);
    assert_blob(&item, 1000000, 7);
    shmkv_end(&section);
}

static void sections_nest(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_section outer, inner;
    uint64_t sequence;
    struct task t = {.db = db, .keys = 100, .count = REUSES_ALL};
    assert_rc(put_blob(db, 5, 1), 0);
    assert_rc(shmkv_begin(db, &outer), 0);
    struct shmkv_item item = get_blob(&outer, 5, &sequence);
    for (int i = 0; i < 1000; i++) {
        assert_rc(shmkv_begin(db, &inner), 0);
        get_blob(&inner, 5, &sequence);
        shmkv_end(&inner);
    }
    in_another_thread(overwrite, &t); /* the end of an inner section does not let go of it */
    assert_blob(&item, 5, 1);
    shmkv_end(&outer);
}

static void an_ended_section_reads_nothing(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_section section;
    struct shmkv_item item;
    assert_rc(shmkv_begin(db, &section), 0);
    shmkv_end(&section);
    assert_rc(shmkv_get(&section, "k", 1, &item), SHMKV_EINVAL);
    shmkv_end(&section);
}

/* ---- a store that a section holds ---------------------------------------------------------- */

/* Write until it fails; the store's memory is then held by the section of the caller. */
static void fill_behind_a_section(struct shmkv *db, struct task *t)
{
    *t = (struct task){.db = db, .keys = 100, .count = REUSES_ALL};
    in_another_thread(overwrite, t);
}

static void a_held_store_says_who_holds_it(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_section section;
    struct task t;
    char pid[32];
    assert_rc(put_blob(db, 0, 0), 0);
    assert_rc(shmkv_begin(db, &section), 0);
    fill_behind_a_section(db, &t);
    assert_int_equal(t.rc, SHMKV_EHELD);
    assert_true(t.longest_ns < PATIENCE_MS * MS);
    assert_rc(put_blob(db, 0, 1), SHMKV_EHELD);
    snprintf(pid, sizeof(pid), "process %ld ", (long)getpid());
    assert_non_null(strstr(shmkv_last_error(), pid));
    shmkv_end(&section);
    assert_rc(put_blob(db, 0, 2), 0); /* the memory comes back with the end */
    t.count = 10000;
    in_another_thread(overwrite, &t);
    assert_int_equal(t.rc, 0);
}

struct held {
    uint64_t bytes;
    unsigned sections;
};

static int add_held(void *arg, const struct shmkv_participant *p)
{
    struct held *h = arg;
    assert_int_equal(p->pid, getpid());
    h->sections += p->reading != 0;
    h->bytes += p->bytes_held;
    return 0;
}

static void readers_tell_what_a_section_holds(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_section section;
    struct task t;
    struct held held = {.bytes = 0};
    assert_rc(shmkv_readers(db, add_held, &held), 0);
    assert_int_equal(held.sections, 0);
    assert_rc(shmkv_begin(db, &section), 0);
    fill_behind_a_section(db, &t);
    assert_rc(shmkv_readers(db, add_held, &held), 0);
    assert_int_equal(held.sections, 1);
    assert_true(held.bytes > 0 && held.bytes <= SIZE);
    shmkv_end(&section);
}

static int stop_at_once(void *arg, const struct shmkv_participant *p)
{
    (void)p;
    ++*(int *)arg;
    return -77;
}

static void readers_can_be_stopped(void **state)
{
    int calls = 0;
    assert_int_equal(shmkv_readers(fixture_db(state), stop_at_once, &calls), -77);
    assert_int_equal(calls, 1);
    assert_rc(shmkv_readers(fixture_db(state), NULL, NULL), SHMKV_EINVAL);
}

/* ---- writing inside a section -------------------------------------------------------------- */

static void a_put_inside_the_own_section(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_section section;
    uint64_t sequence;
    assert_rc(put_blob(db, 0, 0), 0);
    assert_rc(shmkv_begin(db, &section), 0);
    struct shmkv_item item = get_blob(&section, 0, &sequence);
    for (uint64_t i = 1; i <= 100; i++) {
        assert_rc(put_blob(db, 0, i), 0);
        get_blob(&section, 0, &sequence);
        assert_true(sequence == i); /* what is written is seen, what was read stays */
    }
    assert_blob(&item, 0, 0);
    shmkv_end(&section);
}

/* Nobody else can help, so it does not wait for memory that its own section holds. */
static void a_put_inside_the_own_section_of_a_full_store(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_section section;
    struct task t = {.db = db, .keys = 100, .count = REUSES_ALL};
    assert_rc(shmkv_begin(db, &section), 0);
    overwrite(&t);
    assert_true(t.rc == SHMKV_EHELD || t.rc == SHMKV_ENOSPC);
    t.count = 1;
    for (int i = 0; i < 10; i++) {
        t.longest_ns = 0;
        overwrite(&t);
        assert_true(t.rc < 0);
        assert_true(t.longest_ns < PATIENCE_MS * MS / 4);
    }
    shmkv_end(&section);
    assert_rc(put_blob(db, 0, 0), 0);
}

struct pair_task {
    struct task task;
    pthread_barrier_t *together;
};

static void *put_in_a_section(void *arg)
{
    struct pair_task *p = arg;
    struct shmkv_section section;
    assert_rc(shmkv_begin(p->task.db, &section), 0);
    pthread_barrier_wait(p->together);
    overwrite(&p->task);
    pthread_barrier_wait(p->together);
    shmkv_end(&section);
    pthread_barrier_wait(p->together);
    assert_rc(put_blob(p->task.db, 3, 3), 0);
    return NULL;
}

/* Each holds the memory that the other one needs: both get an error in time. */
static void two_readers_that_both_put(void **state)
{
    struct shmkv *db = fixture_db(state);
    pthread_barrier_t together;
    pthread_t threads[2];
    struct pair_task pair[2];
    pthread_barrier_init(&together, NULL, 2);
    for (int i = 0; i < 2; i++) {
        pair[i] = (struct pair_task){{.db = db, .keys = 50, .count = REUSES_ALL}, &together};
        assert_int_equal(pthread_create(&threads[i], NULL, put_in_a_section, &pair[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_true(pair[i].task.rc == SHMKV_EHELD || pair[i].task.rc == SHMKV_ENOSPC);
        assert_true(pair[i].task.longest_ns < PATIENCE_MS * MS);
    }
    pthread_barrier_destroy(&together);
}

/* ---- explicit readers ---------------------------------------------------------------------- */

static void a_reader_has_sections_of_its_own(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_reader *reader;
    struct shmkv_section section, own;
    struct shmkv_item item;
    put_text(db, "k", "value");
    assert_rc(shmkv_reader_open(db, &reader), 0);
    assert_rc(shmkv_reader_begin(reader, &section), 0);
    assert_rc(shmkv_begin(db, &own), 0);
    assert_rc(shmkv_get(&section, "k", 1, &item), 0);
    shmkv_end(&own); /* not nested in it */
    struct task t = {.db = db, .keys = 100, .count = REUSES_ALL};
    put_text(db, "k", "other");
    in_another_thread(overwrite, &t);
    assert_memory_equal(item.value, "value", 5);
    shmkv_end(&section);
    shmkv_reader_close(reader);
    shmkv_reader_close(NULL);
}

struct moving {
    struct shmkv_section section;
    struct shmkv_item item;
};

static void *get_and_end(void *arg)
{
    struct moving *m = arg;
    assert_memory_equal(m->item.value, "value", 5);
    assert_rc(shmkv_get(&m->section, "k", 1, &m->item), 0);
    shmkv_end(&m->section);
    return NULL;
}

static void a_readers_section_moves_between_threads(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_reader *reader;
    struct moving m;
    put_text(db, "k", "value");
    assert_rc(shmkv_reader_open(db, &reader), 0);
    for (int i = 0; i < 10; i++) {
        assert_rc(shmkv_reader_begin(reader, &m.section), 0);
        assert_rc(shmkv_get(&m.section, "k", 1, &m.item), 0);
        in_another_thread(get_and_end, &m);
    }
    struct held held = {.bytes = 0};
    assert_rc(shmkv_readers(db, add_held, &held), 0);
    assert_int_equal(held.sections, 0);
    shmkv_reader_close(reader);
}

static void a_reader_of_a_closed_handle(void **state)
{
    struct fixture other;
    struct shmkv_reader *reader;
    struct shmkv_section section;
    (void)state;
    fixture_begin(&other, &small);
    assert_rc(shmkv_reader_open(other.db, &reader), 0);
    fixture_end(&other);
    assert_rc(shmkv_reader_begin(reader, &section), SHMKV_ECLOSED);
    shmkv_end(&section);
    shmkv_reader_close(reader);
}

static void many_readers(void **state)
{
    enum { READERS = 500 };
    struct shmkv *db = fixture_db(state);
    static struct shmkv_reader *readers[READERS];
    static struct shmkv_section sections[READERS];
    struct held held = {.bytes = 0};
    struct shmkv_stats stats;
    for (int i = 0; i < READERS; i++) {
        assert_rc(shmkv_reader_open(db, &readers[i]), 0);
        assert_rc(shmkv_reader_begin(readers[i], &sections[i]), 0);
    }
    assert_rc(shmkv_readers(db, add_held, &held), 0);
    assert_int_equal(held.sections, READERS);
    for (int i = 0; i < READERS; i++) {
        shmkv_end(&sections[i]);
        shmkv_reader_close(readers[i]);
    }
    assert_rc(shmkv_get_stats(db, &stats), 0);
    assert_int_equal(stats.participants, 1);
}

/* ---- a reader's process may not write ------------------------------------------------------ */

static void a_read_only_handle_sees_every_write(void **state)
{
    struct fixture *f = *state;
    struct shmkv *reader = fixture_open(f, SHMKV_READONLY);
    struct shmkv_section section;
    uint64_t sequence;
    for (uint64_t i = 0; i < 20000; i++) {
        uint64_t key = i % 50;
        assert_rc(put_blob(f->db, key, i), 0);
        assert_rc(shmkv_begin(reader, &section), 0);
        get_blob(&section, key, &sequence);
        assert_true(sequence == i);
        shmkv_end(&section);
    }
    assert_rc(shmkv_close(reader), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(a_value_stays_while_it_is_overwritten, &small),
        FIXTURE_WITH(a_value_stays_while_the_index_grows, &small),
        FIXTURE_WITH(sections_nest, &small),
        FIXTURE(an_ended_section_reads_nothing),
        FIXTURE_WITH(a_held_store_says_who_holds_it, &small),
        FIXTURE_WITH(readers_tell_what_a_section_holds, &small),
        FIXTURE(readers_can_be_stopped),
        FIXTURE(a_put_inside_the_own_section),
        FIXTURE_WITH(a_put_inside_the_own_section_of_a_full_store, &small),
        FIXTURE_WITH(two_readers_that_both_put, &small),
        FIXTURE_WITH(a_reader_has_sections_of_its_own, &small),
        FIXTURE(a_readers_section_moves_between_threads),
        FIXTURE(a_reader_of_a_closed_handle),
        FIXTURE(many_readers),
        FIXTURE_WITH(a_read_only_handle_sees_every_write, &small),
    };
    return cmocka_run_group_tests_name("section", tests, NULL, NULL);
}
