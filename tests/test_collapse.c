/* SPDX-License-Identifier: MIT */
/* test_collapse.c - memory of a live store becomes huge pages, and nothing else; collapse.h. */
#include "writers.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "clock.h"
#include "collapse.h"
#include "huge.h"

#define MIB (1u << 20)
#define MS 1000000ull
#define LIMIT_MS 30000u
#define KEYS 300000u
#define ROUNDS 20u /* a page may be in use for a moment */

static const struct shmkv_options usual = {.flags = SHMKV_NO_KEEPER, .size = 64 * MIB};
static const struct shmkv_options served = {.flags = SHMKV_KEEPER, .size = 64 * MIB};

static void put_all(struct shmkv *db)
{
    for (uint64_t n = 0; n < KEYS; n++)
        assert_rc(shmkv_put(db, &n, sizeof(n), &n, sizeof(n), NULL), 0);
}

static void assert_all(struct shmkv *db)
{
    for (uint64_t n = 0, got = 0; n < KEYS; n++) {
        assert_rc(shmkv_read(db, &n, sizeof(n), &got, sizeof(got), NULL), 0);
        assert_true(got == n);
    }
    assert_rc(shmkv_check(db, NULL, NULL), 0);
}

/* Bytes in whole units: of the index, and of the segments that are full. */
static uint64_t whole_units(const struct arena *a)
{
    uint64_t index = table_bytes(table_of(a, table_root(a))->slots);
    uint64_t full = 0;
    while (load_relaxed(&segment_at(a, full)->taken) == segment_size(a))
        full++;
    uint64_t log = full << a->segment_shift;
    return index / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES + log / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
}

static void rounds(struct writer *keeper, struct collapse *c)
{
    do {
        c->next_ns = 0;
    } while (collapse_step(&keeper->self, c, clock_mono_ns()));
}

static void index_and_log_become_huge_pages(void **state)
{
    struct shmkv *db = fixture_db(state);
    const struct arena *a = fixture_arena(state);
    struct writer keeper;
    struct collapse c;
    if (!huge_made(a))
        skip();
    put_all(db);
    uint64_t before = arena_allocated(a), want = whole_units(a);
    assert_int_equal(huge_bytes(a->base), 0);
    assert_true(want > 14 * MIB);
    writer_begin(&keeper, a, writers_process(state));
    collapse_begin(&c, clock_mono_ns());
    assert_false(collapse_step(&keeper.self, &c, clock_mono_ns())); /* not at once */
    assert_int_equal(huge_bytes(a->base), 0);
    for (unsigned i = 0; i < ROUNDS && huge_bytes(a->base) < want; i++)
        rounds(&keeper, &c);
    assert_int_equal(huge_bytes(a->base), want);
    assert_int_equal(arena_allocated(a), before);
    assert_all(db);
    writer_end(&keeper);
}

/* The kernel cannot move a page that somebody else has: its unit comes later, be the store at rest
 * by then. */
static void a_page_in_use_is_left_to_another_round(void **state)
{
    struct shmkv *db = fixture_db(state);
    const struct arena *a = fixture_arena(state);
    struct writer keeper;
    struct collapse c = {.next_ns = 0};
    int ends[2];
    if (!huge_made(a))
        skip();
    put_all(db);
    struct iovec page = {.iov_base = arena_at(a, a->log_offset), .iov_len = PAGE_BYTES};
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(vmsplice(ends[1], &page, 1, 0), PAGE_BYTES);
    writer_begin(&keeper, a, writers_process(state));
    for (unsigned i = 0; i < ROUNDS; i++)
        rounds(&keeper, &c);
    assert_int_equal(huge_bytes(a->base), whole_units(a) - HUGE_PAGE_BYTES);
    assert_true(c.next_ns - clock_mono_ns() > 20000 * MS); /* in ever longer intervals */
    close(ends[0]);
    close(ends[1]);
    for (unsigned i = 0; i < ROUNDS; i++)
        rounds(&keeper, &c);
    assert_int_equal(huge_bytes(a->base), whole_units(a));
    assert_true(c.next_ns - clock_mono_ns() < 2000 * MS); /* there is nothing that waits */
    assert_all(db);
    writer_end(&keeper);
}

static void a_keeper_does_it(void **state)
{
    struct shmkv *db = fixture_db(state);
    const struct arena *a = fixture_arena(state);
    if (!huge_made(a))
        skip();
    put_all(db);
    uint64_t want = whole_units(a) / 2;
    for (unsigned ms = 0; huge_bytes(a->base) < want; ms += 50) {
        assert_true(ms < LIMIT_MS * FIXTURE_PATIENCE);
        clock_sleep_ns(50 * MS);
    }
    assert_all(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(index_and_log_become_huge_pages, &usual),
        FIXTURE_WITH(a_page_in_use_is_left_to_another_round, &usual),
        FIXTURE_WITH(a_keeper_does_it, &served),
    };
    return cmocka_run_group_tests_name("collapse", tests, NULL, NULL);
}
