/* SPDX-License-Identifier: MIT */
/* test_stats.c - counters: each participant's own, summed over those present and departed. */
#include "writers.h"

#include <signal.h>
#include <string.h>

#include "child.h"
#include "stats.h"

static void sums_of(const struct arena *a, uint64_t *sums)
{
    memset(sums, 0xff, STAT_COUNT * sizeof(*sums));
    stats_sum(a, sums);
}

static void each_counter_is_its_own(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    uint64_t before[STAT_COUNT], after[STAT_COUNT];
    writer_begin(&w, a, writers_process(state));
    for (unsigned s = 0; s < STAT_COUNT; s++) {
        sums_of(a, before);
        stat_add(&w.self, (enum stat_counter)s, 1000 + s);
        stat_add(&w.self, (enum stat_counter)s, 1);
        sums_of(a, after);
        for (unsigned i = 0; i < STAT_COUNT; i++)
            assert_true(after[i] - before[i] == (i == s ? 1001 + s : 0));
    }
    writer_end(&w);
}

static void the_departed_count(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w[3];
    uint64_t before[STAT_COUNT], after[STAT_COUNT];
    sums_of(a, before);
    for (int round = 0; round < 3; round++) { /* entries are used again */
        for (int i = 0; i < 3; i++) {
            writer_begin(&w[i], a, writers_process(state));
            stat_add(&w[i].self, STAT_puts, 10);
        }
        sums_of(a, after);
        assert_true(after[STAT_puts] - before[STAT_puts] == (uint64_t)(round + 1) * 30);
        for (int i = 0; i < 3; i++)
            writer_end(&w[i]);
        sums_of(a, after);
        assert_true(after[STAT_puts] - before[STAT_puts] == (uint64_t)(round + 1) * 30);
    }
}

/* What the index counts as it goes, against what was done. */
static void keys_and_tombstones_are_counted(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    uint64_t s[STAT_COUNT];
    writer_begin(&w, a, writers_process(state));
    for (char key[] = "a"; key[0] <= 'j'; key[0]++)
        writer_put(&w, key, "first");
    for (char key[] = "a"; key[0] <= 'd'; key[0]++)
        writer_delete(&w, key);
    writer_put(&w, "a", "again");
    writer_put(&w, "z", "over");
    writer_put(&w, "z", "over");
    sums_of(a, s);
    assert_int_equal(s[STAT_keys_added] - s[STAT_keys_removed], 8);
    assert_int_equal(s[STAT_tombstones_added] - s[STAT_tombstones_dropped], 3);
    assert_int_equal(s[STAT_puts], 13);
    assert_int_equal(s[STAT_deletes], 4);
    assert_int_equal(s[STAT_retries], 0);
    assert_int_equal(s[STAT_bytes_put],
                     10 * record_bytes(1, 5, false) + 4 * record_bytes(1, 0, false) +
                         record_bytes(1, 5, false) + 2 * record_bytes(1, 4, false));
    writer_end(&w);
}

static void the_public_figures_are_these(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_stats s;
    char value[8];
    for (int i = 0; i < 5; i++)
        put_text(db, "key", "value");
    delete_text(db, "key");
    assert_rc(shmkv_read(db, "key", 3, value, sizeof(value), NULL), SHMKV_ENOTFOUND);
    put_text(db, "key", "value");
    assert_rc(shmkv_read(db, "key", 3, value, sizeof(value), NULL), 0);
    assert_rc(shmkv_get_stats(db, &s), 0);
    assert_int_equal(s.puts, 6);
    assert_int_equal(s.deletes, 1);
    assert_int_equal(s.hits, 1);
    assert_int_equal(s.gets, 2);
    assert_int_equal(s.keys, 1);
    assert_int_equal(s.tombstones, 0);
    assert_int_equal(s.participants, 1);
    assert_int_equal(s.processes, 1);
}

/* What came may have been lost with a death, what went not: there are none, rather than 2^64. */
static void no_figure_is_below_zero(void **state)
{
    struct shmkv *db = fixture_db(state);
    const struct arena *a = fixture_arena(state);
    struct shmkv_stats s;
    put_text(db, "key", "value");
    put_text(db, "other", "value");
    delete_text(db, "other");
    sub_relaxed(&a->sync->retired[STAT_keys_added], 2);
    sub_relaxed(&a->sync->retired[STAT_tombstones_added], 2);
    assert_rc(shmkv_get_stats(db, &s), 0);
    assert_int_equal(s.keys, 0);
    assert_int_equal(s.tombstones, 0);
    put_text(db, "third", "value");
    put_text(db, "fourth", "value");
    assert_rc(shmkv_get_stats(db, &s), 0);
    assert_int_equal(s.keys, 1);
}

static int attach_and_stop(void *arg)
{
    struct shmkv *db = fixture_open(arg, 0);
    put_text(db, "key", "value");
    raise(SIGSTOP);
    return 0;
}

/* Those that were killed are not attached, whether somebody has cleaned up after them or not. */
static void the_dead_are_not_counted(void **state)
{
    struct fixture *f = *state;
    struct shmkv_stats s;
    pid_t child = child_start(attach_and_stop, f);
    assert_true(child_wait_stopped(child, 20000));
    assert_rc(shmkv_get_stats(f->db, &s), 0);
    assert_int_equal(s.processes, 2);
    child_kill(child);
    assert_rc(shmkv_get_stats(f->db, &s), 0);
    assert_int_equal(s.processes, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(each_counter_is_its_own),         FIXTURE(the_departed_count),
        FIXTURE(keys_and_tombstones_are_counted), FIXTURE(the_public_figures_are_these),
        FIXTURE(no_figure_is_below_zero),         FIXTURE(the_dead_are_not_counted),
    };
    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
