/* SPDX-License-Identifier: MIT */
/*
 * test_tombstone.c - R18: a removal holds over a power loss as long as anything older of its key
 * may be in the image, and not much longer.
 *
 * Each writer has a segment of its own.  The first record of a key, "k", is in one that stays in
 * use for the sake of its neighbour; others come and go.  Whatever happens between, resizes that
 * drop what may be dropped included, the removal counts when the memory is lost.
 */
#include "live.h"
#include "scratch.h"

#include <stdio.h>
#include <string.h>

#include "expire.h"

#define LONG_AGO 1u /* an expiry */

static char path[256];

struct scene {
    struct live live;
    struct writer first, second, third, cleaner;
};

static int setup(void **state)
{
    int rc = scratch_setup(state);
    epoch_register_process(); /* grace periods are slow without */
    snprintf(path, sizeof(path), "%s", scratch_path("image"));
    return rc;
}

static void begin_writers(struct scene *s)
{
    const struct arena *a = &s->live.arena;
    writer_begin(&s->first, a, s->live.process.index);
    writer_begin(&s->second, a, s->live.process.index);
    writer_begin(&s->third, a, s->live.process.index);
    writer_begin(&s->cleaner, a, s->live.process.index);
}

static void begin(struct scene *s)
{
    live_create(&s->live, path);
    begin_writers(s);
    writer_put(&s->first, "neighbour", "here");
}

static void end_writers(struct scene *s)
{
    writer_end(&s->first);
    writer_end(&s->second);
    writer_end(&s->third);
    writer_end(&s->cleaner);
}

static uint64_t segment_of(const struct writer *w)
{
    assert_true(w->puts.hold.id != SEGMENT_NONE);
    return w->puts.hold.id;
}

/* Everything that may be dropped is: the epoch goes on, the horizon is raised, all slots move. */
static void resize(struct scene *s)
{
    const struct arena *a = &s->live.arena;
    struct writer *w = &s->third;
    grace_pass(a);
    segment_raise_horizon(a);
    assert_int_equal(resize_grow(&w->self, &w->resizer, table_root(a)), 0);
    resize_finish(&w->self);
    grace_pass(a);
    table_reclaim(&w->self);
}

static void move(struct writer *w, uint64_t at, uint64_t word)
{
    int rc;
    do {
        uint64_t bytes = record_size(arena_at(w->self.arena, at));
        assert_int_equal(append_reserve(&w->moves, &w->self, SEGMENT_FOR_CLEANING, bytes), 0);
        rc = index_relocate(w, at, word);
    } while (rc == INDEX_AGAIN);
    assert_true(rc == 0 || rc == INDEX_RELOCATED);
}

/* As the cleaner does, but a segment of our choice: what is current moves, the rest is lost. */
static void clean(struct scene *s, uint64_t id)
{
    const struct arena *a = &s->live.arena;
    const struct participant *p = &s->cleaner.self;
    uint64_t word = load_acquire(&segment_at(a, id)->state);
    uint64_t mine = claim_word(SEGMENT_CLEANING, p->index, 0);
    uint64_t at = arena_segment_start(a, id), end = at + load_acquire(&segment_at(a, id)->used);
    assert_true(segment_claim_victim(p, id, word));
    for (; at < end; at += record_size(arena_at(a, at)))
        move(&s->cleaner, at, mine);
    segment_retire_owner(p, id);
    grace_pass(a);
    segment_reclaim(a);
    assert_int_equal(claim_kind(load_acquire(&segment_at(a, id)->state)), SEGMENT_FREE);
}

/* A writer ends; its segment is cleaned, and another one will be his if he comes back. */
static void leave_and_clean(struct scene *s, struct writer *w)
{
    uint64_t id = segment_of(w);
    append_close(&w->puts, w->self.arena);
    clean(s, id);
}

static void put_expiring(struct writer *w, const char *key, const char *value)
{
    struct index_change c = writer_change_of(w->self.arena, key, value);
    c.spec.expiry = LONG_AGO;
    c.bytes = record_bytes(c.spec.klen, c.spec.vlen, true);
    assert_int_equal(writer_change(w, &c), 0);
}

/* As the keeper and the cleaner do. */
static void sweep(struct scene *s)
{
    assert_int_equal(expire_sweep(&s->third, UINT64_MAX), 1);
    assert_int_equal(record_found(&s->third, "k")->type, RECORD_TOMBSTONE);
}

static void assert_gone(struct scene *s)
{
    if (live_get(&s->live, "k") != NULL)
        fail_msg("what was removed is back: %s", live_get(&s->live, "k"));
    assert_string_equal(live_get(&s->live, "neighbour"), "here");
}

static void lose(struct scene *s)
{
    assert_int_equal(live_checkpoint(&s->live), 0);
    end_writers(s);
    live_lose(&s->live);
    if (live_recover(&s->live, path, 1) != 0)
        fail_msg("recovery: %s", shmkv_last_error());
    begin_writers(s);
}

/* At once, and when everything was dropped that may be, in the index and in the log of the
 * removal; what is recovered is no worse. */
static void assert_gone_for_good(struct scene *s)
{
    assert_gone(s);
    resize(s);
    assert_gone(s);
    leave_and_clean(s, &s->third);
    for (unsigned round = 0; round < 2; round++) {
        lose(s);
        assert_gone(s);
        resize(s);
    }
    end_writers(s);
    live_lose(&s->live);
}

/* ---- the removal of a first record --------------------------------------------------------- */

static void a_removal_holds_beside_its_record(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    writer_put(&s.first, "k", "first");
    writer_delete(&s.third, "k");
    resize(&s);
    assert_non_null(record_found(&s.third, "k"));
    assert_gone_for_good(&s);
}

static void with_the_record_the_tombstone_goes(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    writer_put(&s.second, "k", "first");
    writer_delete(&s.third, "k");
    resize(&s);
    assert_non_null(record_found(&s.third, "k"));
    leave_and_clean(&s, &s.second);
    resize(&s);
    assert_null(record_found(&s.third, "k")); /* although older segments are in use: no horizon */
    assert_gone_for_good(&s);
}

static void a_value_that_is_put_again(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    writer_put(&s.first, "k", "first");
    writer_delete(&s.third, "k");
    resize(&s);
    writer_put(&s.second, "k", "again");
    writer_delete(&s.third, "k");
    leave_and_clean(&s, &s.second);
    assert_gone_for_good(&s);
}

static void an_overwritten_first_record(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    writer_put(&s.first, "k", "first");
    writer_put(&s.second, "k", "second");
    writer_delete(&s.third, "k");
    leave_and_clean(&s, &s.second);
    assert_gone_for_good(&s);
}

/* ---- expiry -------------------------------------------------------------------------------- */

/* Failure 31: the first value has no end, the one over it expires, and its tombstone is all that
 * keeps the first away. */
static void what_expired_uncovers_nothing_older(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    writer_put(&s.first, "k", "first");
    put_expiring(&s.second, "k", "expired");
    sweep(&s);
    leave_and_clean(&s, &s.second);
    assert_gone_for_good(&s);
}

static void what_expired_is_put_again_and_deleted(void **state)
{
    (void)state;
    for (unsigned swept = 0; swept < 2; swept++) {
        struct scene s;
        begin(&s);
        writer_put(&s.first, "k", "first");
        put_expiring(&s.third, "k", "expired");
        if (swept) {
            sweep(&s);
            resize(&s);
        }
        writer_put(&s.second, "k", "again");
        writer_delete(&s.third, "k");
        leave_and_clean(&s, &s.second);
        assert_gone_for_good(&s);
        remove(path);
    }
}

/* ---- copies -------------------------------------------------------------------------------- */

/* A cleaner that stopped half-way: the first record was copied, and stays where it was. */
static void a_copy_is_not_the_first(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    const struct arena *a = &s.live.arena;
    writer_put(&s.first, "k", "first");
    uint64_t id = segment_of(&s.first), at = offset_of(a, record_found(&s.first, "k"));
    append_close(&s.first.puts, a);
    uint64_t word = load_acquire(&segment_at(a, id)->state);
    assert_true(segment_claim_victim(&s.second.self, id, word));
    move(&s.second, at, claim_word(SEGMENT_CLEANING, s.second.self.index, 0));
    segment_unclaim_owner(&s.second.self, id, 0);
    writer_delete(&s.third, "k");
    id = s.second.moves.hold.id;
    append_close(&s.second.moves, a);
    clean(&s, id);
    assert_gone_for_good(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, scratch_teardown)
        TEST(a_removal_holds_beside_its_record),
        TEST(with_the_record_the_tombstone_goes),
        TEST(a_value_that_is_put_again),
        TEST(an_overwritten_first_record),
        TEST(what_expired_uncovers_nothing_older),
        TEST(what_expired_is_put_again_and_deleted),
        TEST(a_copy_is_not_the_first),
    };
    return cmocka_run_group_tests_name("tombstones over a power loss", tests, NULL, NULL);
}
