/* SPDX-License-Identifier: MIT */
/*
 * test_expire.c - what has expired is absent, and its memory comes back unasked; the store's clock
 * does not care what is done to the system's.
 *
 * With SHMKV_TEST_FULL in the environment a million keys expire at once, else a tenth of that.
 */
#include "clock_shift.h"
#include "live.h"
#include "scratch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "clock.h"
#include "lap.h"

#define MIB (1u << 20)
#define MS 1000000ull
#define VALUE_BYTES 100u
#define OWN_KEYS 1000u                        /* of the one who goes on */
#define OWN_FIRST 100000000u                  /* they are numbers from here on */
#define FITS 100000u                          /* so many into the one without a keeper */
#define PATIENCE_MS (200u * FIXTURE_PATIENCE) /* no call may take longer */
#define LIMIT_MS 60000u

static const struct shmkv_options kept = {.flags = SHMKV_KEEPER, .size = 96 * MIB};
static const struct shmkv_options kept_large = {.flags = SHMKV_KEEPER, .size = 512 * MIB};
static const struct shmkv_options full = {.flags = SHMKV_NO_KEEPER, .size = 32 * MIB};
static const struct shmkv_put_options for_an_hour = {.ttl_ms = HOUR_MS};

static char value[VALUE_BYTES];

static uint64_t many(void)
{
    return getenv("SHMKV_TEST_FULL") != NULL ? 1000000 : 100000;
}

static struct shmkv_stats stats_of(struct shmkv *db)
{
    struct shmkv_stats s;
    assert_rc(shmkv_get_stats(db, &s), 0);
    return s;
}

static int put_number(struct shmkv *db, uint64_t n, const struct shmkv_put_options *o)
{
    return shmkv_put(db, &n, sizeof(n), value, sizeof(value), o);
}

static void an_hour_passes(void)
{
    add_relaxed(&shift_boot_ms, HOUR_MS + 1);
    add_relaxed(&shift_real_ms, HOUR_MS + 1);
}

/* ---- the sweep ----------------------------------------------------------------------------- */

/* Not a key is touched from the expiry on until all is given back but what trim.h keeps. */
static void memory_comes_back_unasked(void **state)
{
    struct shmkv *db = fixture_db(state);
    for (uint64_t n = 0; n < many(); n++)
        assert_rc(put_number(db, n, n % 50 == 0 ? NULL : &for_an_hour), 0);
    struct shmkv_stats before = stats_of(db), s;
    uint64_t allocated = arena_allocated(audit_arena(db));
    an_hour_passes();
    uint64_t end = clock_mono_ns() + LIMIT_MS * MS;
    do {
        clock_sleep_ns(20 * MS);
        s = stats_of(db);
    } while ((s.keys > many() / 50 || s.memory > before.memory / 3 ||
              arena_allocated(audit_arena(db)) > allocated / 3) &&
             clock_mono_ns() < end);
    print_message("# %" PRIu64 " keys in %" PRIu64 " bytes; after expiry %" PRIu64 " in %" PRIu64
                  "\n",
                  before.keys, before.memory, s.keys, s.memory);
    assert_int_equal(s.keys, many() / 50);
    assert_in_range(s.memory, 1, before.memory / 3);
    assert_in_range(arena_allocated(audit_arena(db)), 1, allocated / 3);
    assert_int_equal(s.gets, before.gets); /* nobody helped */
    assert_int_equal(s.puts, before.puts);
    for (uint64_t n = 0; n < many(); n++)
        assert_rc(shmkv_exists(db, &n, sizeof(n)), n % 50 == 0 ? 0 : SHMKV_ENOTFOUND);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
}

/* One step of somebody who goes on; returns how long it took. */
static uint64_t timed_step(struct shmkv *db, struct lap *lap, uint64_t i)
{
    uint64_t key = OWN_FIRST + i % OWN_KEYS, gone = i % many();
    lap_begin(lap);
    int rc = put_number(db, key, i % 2 == 0 ? NULL : &for_an_hour);
    uint64_t took = lap_used_ns(lap_end(lap));
    assert_rc(rc, 0);
    lap_begin(lap);
    rc = shmkv_exists(db, &gone, sizeof(gone));
    uint64_t read = lap_used_ns(lap_end(lap));
    assert_rc(rc, SHMKV_ENOTFOUND);
    return read > took ? read : took;
}

static void report(const char *what, uint64_t keys, uint64_t steps, uint64_t longest)
{
    print_message("# %s: %" PRIu64 " keys expired at once, %" PRIu64
                  " steps beside it, longest operation %.2f ms\n",
                  what, keys, steps, (double)longest / 1e6);
    assert_in_range(longest, 1, PATIENCE_MS * MS);
}

static void expiry_at_once_stalls_nobody(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t i = 0, longest = 0;
    for (uint64_t n = 0; n < many(); n++)
        assert_rc(put_number(db, n, &for_an_hour), 0);
    struct lap lap;
    lap_open(&lap);
    an_hour_passes();
    uint64_t end = clock_mono_ns() + LIMIT_MS * MS;
    while (stats_of(db).keys > OWN_KEYS && clock_mono_ns() < end) {
        for (unsigned k = 0; k < OWN_KEYS; k++)
            longest = max_u64(longest, timed_step(db, &lap, i++));
    }
    lap_close(&lap);
    report("with a keeper", many(), i, longest);
    assert_int_equal(stats_of(db).keys, OWN_KEYS);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
}

/* The store is full of it, again and again, and nobody but the writer is there to sweep. */
static void a_full_store_expires_at_once(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t n = 0, longest = 0;
    while (put_number(db, n, &for_an_hour) == 0)
        n++;
    assert_true(n > FITS);
    struct lap lap;
    lap_open(&lap);
    an_hour_passes();
    for (uint64_t i = 0; i < many(); i++) {
        if (i != 0 && i % FITS == 0) /* no more than what there is room for is current */
            an_hour_passes();
        uint64_t key = OWN_FIRST + i;
        lap_begin(&lap);
        int rc = put_number(db, key, &for_an_hour);
        longest = max_u64(longest, lap_used_ns(lap_end(&lap)));
        assert_rc(rc, 0);
    }
    lap_close(&lap);
    report("a full store without one", n, many(), longest);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
}

/* ---- the store's clock --------------------------------------------------------------------- */

static bool is_there(struct shmkv *db, uint64_t n)
{
    int rc = shmkv_exists(db, &n, sizeof(n));
    assert_true(rc == 0 || rc == SHMKV_ENOTFOUND);
    return rc == 0;
}

/* A year forward: nothing expires; a year back: nothing lives longer. */
static void a_stepped_wall_clock_changes_nothing(void **state)
{
    static const int64_t steps[] = {YEAR_MS, -YEAR_MS};
    struct shmkv *db = fixture_db(state);
    for (uint64_t i = 0; i < ARRAY_SIZE(steps); i++) {
        assert_rc(put_number(db, 2 * i, &for_an_hour), 0);
        store_relaxed(&shift_real_ms, steps[i]);
        assert_true(is_there(db, 2 * i));
        assert_rc(put_number(db, 2 * i + 1, &for_an_hour), 0); /* put when it was wrong */
        add_relaxed(&shift_boot_ms, HOUR_MS / 2);
        assert_true(is_there(db, 2 * i) && is_there(db, 2 * i + 1));
        store_relaxed(&shift_real_ms, 0);
        assert_true(is_there(db, 2 * i) && is_there(db, 2 * i + 1));
        add_relaxed(&shift_boot_ms, HOUR_MS / 2 + 1);
        assert_false(is_there(db, 2 * i) || is_there(db, 2 * i + 1));
    }
}

/* The boot clock goes on while the machine sleeps, CLOCK_MONOTONIC does not. */
static void time_passes_in_suspend(void **state)
{
    struct shmkv *db = fixture_db(state);
    assert_rc(put_number(db, 1, &for_an_hour), 0);
    add_relaxed(&shift_boot_ms, HOUR_MS + 1);
    assert_false(is_there(db, 1));
}

/* ---- and over a reboot --------------------------------------------------------------------- */

static char path[256];

static int setup(void **state)
{
    int rc = scratch_setup(state);
    epoch_register_process(); /* grace periods are slow without */
    snprintf(path, sizeof(path), "%s", scratch_path("image"));
    shift_reset();
    return rc;
}

static int teardown(void **state)
{
    shift_reset();
    return scratch_teardown(state);
}

static void put_for_an_hour(struct live *l, const char *key)
{
    struct index_change c = writer_change_of(&l->arena, key, "value");
    c.spec.expiry = arena_clock(&l->arena) + HOUR_MS;
    c.bytes = record_bytes(c.spec.klen, c.spec.vlen, true);
    assert_int_equal(writer_change(&l->writer, &c), 0);
}

/* Power is lost; the machine comes up with the wall clock off by @real_ms, the boot clock at 0. */
static void reboot(struct live *l, int64_t real_ms)
{
    live_lose(l);
    store_relaxed(&shift_real_ms, real_ms);
    store_relaxed(&shift_boot_ms, 0);
    store_relaxed(&shift_boot_ms, -(int64_t)clock_boot_ms());
    if (live_recover(l, path, 1) != 0)
        fail_msg("recovery: %s", shmkv_last_error());
}

/* The clock stands where the last cut left it: what was over stays so, the rest has its hour. */
static void a_reboot_with_an_earlier_clock(void **state)
{
    (void)state;
    struct live l;
    live_create(&l, path);
    put_for_an_hour(&l, "first");
    an_hour_passes();
    put_for_an_hour(&l, "second");
    writer_put(&l.writer, "for ever", "value");
    assert_null(live_get(&l, "first"));
    uint64_t seen = arena_clock(&l.arena);
    assert_int_equal(live_checkpoint(&l), 0);
    for (unsigned i = 0; i < 3; i++) { /* each time as wrong; the clock's only source is the cut */
        reboot(&l, -YEAR_MS);
        assert_true(arena_clock(&l.arena) >= seen);
        assert_null(live_get(&l, "first"));
        assert_non_null(live_get(&l, "second"));
        writer_put(&l.writer, "for ever", "something for the cut");
        seen = arena_clock(&l.arena);
        assert_int_equal(live_checkpoint(&l), 0);
    }
    add_relaxed(&shift_boot_ms, HOUR_MS + 1);
    assert_null(live_get(&l, "second")); /* not immortal */
    assert_non_null(live_get(&l, "for ever"));
    live_lose(&l);
}

/*
 * Across a reboot the wall clock is all there is: a year forward is a year.  What was over then
 * stays so when the clock is right again, and what is put lives as long as it was to.
 */
static void a_reboot_with_a_later_clock(void **state)
{
    (void)state;
    struct live l;
    live_create(&l, path);
    put_for_an_hour(&l, "first");
    writer_put(&l.writer, "for ever", "value");
    assert_int_equal(live_checkpoint(&l), 0);
    reboot(&l, YEAR_MS);
    assert_null(live_get(&l, "first"));
    put_for_an_hour(&l, "second");
    assert_int_equal(live_checkpoint(&l), 0);
    reboot(&l, 0);
    assert_null(live_get(&l, "first"));
    assert_non_null(live_get(&l, "second"));
    assert_non_null(live_get(&l, "for ever"));
    add_relaxed(&shift_boot_ms, HOUR_MS + 1);
    assert_null(live_get(&l, "second"));
    live_lose(&l);
}

int main(void)
{
#define REBOOT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct shmkv_options *size = many() > 100000 ? &kept_large : &kept;
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(memory_comes_back_unasked, size),
        FIXTURE_WITH(expiry_at_once_stalls_nobody, size),
        FIXTURE_WITH(a_full_store_expires_at_once, &full),
        FIXTURE(a_stepped_wall_clock_changes_nothing),
        FIXTURE(time_passes_in_suspend),
        REBOOT(a_reboot_with_an_earlier_clock),
        REBOOT(a_reboot_with_a_later_clock),
    };
    return cmocka_run_group_tests_name("expiry", tests, NULL, NULL);
}
