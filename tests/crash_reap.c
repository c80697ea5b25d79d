/* SPDX-License-Identifier: MIT */
/*
 * crash_reap.c - a reaper dies at each of its steps, and the next one finishes; see reap.h.
 *
 * The death is a jump out of the point: nothing behind it is done, as after kill -9.
 */
#include "writers.h"

#include <stdlib.h>
#include <string.h>

#include "point.h"
#include "reap.h"
#include "stats.h"

#define POINTS_MOST 64u

static jmp_buf death;

static void die(void *unused)
{
    (void)unused;
    longjmp(death, 1);
}

static void reap(const struct arena *a)
{
    reap_process((void *)(uintptr_t)a, NO_PROCESS);
}

/* Reap, dying at the @nth point of that name.  False: it was not passed so often. */
static bool reap_and_die(const struct arena *a, const char *point, unsigned nth)
{
    if (setjmp(death) != 0)
        return true;
    point_arm(point, nth, POINT_CALL, die, NULL);
    reap(a);
    point_disarm();
    return false;
}

/* ---- the dead ------------------------------------------------------------------------------ */

struct remains {
    const struct arena *a;
    struct writer living, dead[2];
    struct table *claimed, *punching;
    uint64_t used; /* of the segment of each dead one, as it must be in the end */
    uint64_t epoch;
    uint64_t memory;
};

/* A put that is published but for its mark and `used`, a claim of each kind, open sections. */
static void die_in_work(struct remains *m, struct writer *w, const char *key, uint64_t free_id)
{
    writer_begin(w, m->a, NO_PROCESS);
    struct index_change c = writer_change_of(m->a, key, "in flight");
    assert_int_equal(writer_change(w, &c), 0);
    struct segment *s = segment_at(m->a, w->puts.hold.id);
    uint64_t at = w->puts.at - c.bytes;
    m->used = load_acquire(&s->used);
    store_seq_cst(&s->used, m->used - c.bytes);
    ((struct record *)arena_at(m->a, at))->state = 0;
    max_seq_cst(&m->a->sb->segment_high, free_id + 3);
    const enum segment_kind kinds[] = {SEGMENT_OPENING, SEGMENT_PUNCHING, SEGMENT_CLEANING};
    for (unsigned i = 0; i < 3; i++)
        store_seq_cst(&segment_at(m->a, free_id + i)->state,
                      claim_word(kinds[i], w->self.index, 0));
    epoch_enter(&w->self);
    epoch_enter_write(&w->self);
    store_release(&w->self.entry->inflight, at);
}

static void begin(struct remains *m, void **state)
{
    *m = (struct remains){.a = fixture_arena(state)};
    writer_begin(&m->living, m->a, writers_process(state));
    m->memory = segment_memory(m->a);
    die_in_work(m, &m->dead[0], "a", 10);
    die_in_work(m, &m->dead[1], "b", 20);
    assert_int_equal(table_claim(&m->dead[0].self, 1024, &m->claimed), 0);
    assert_int_equal(table_claim(&m->dead[1].self, 1024, &m->punching), 0);
    store_seq_cst(&m->punching->state, claim_word(TABLE_PUNCHING, m->dead[1].self.index, 0));
    m->epoch = epoch_retire(m->a);
}

static unsigned kind_of(const struct remains *m, uint64_t id)
{
    return claim_kind(load_acquire(&segment_at(m->a, id)->state));
}

static void assert_finished(struct remains *m)
{
    for (int i = 0; i < 2; i++) {
        const struct participant_entry *entry = m->dead[i].self.entry;
        uint64_t id = m->dead[i].puts.hold.id, first = i == 0 ? 10 : 20;
        assert_true(load_acquire(&entry->owner) == 0 && load_acquire(&entry->inflight) == 0);
        assert_true(load_acquire(&entry->reading) == 0 && load_acquire(&entry->writing) == 0);
        assert_int_equal(load_acquire(&segment_at(m->a, id)->used), m->used);
        assert_int_equal(kind_of(m, id), SEGMENT_PARTIAL);
        assert_int_equal(kind_of(m, first), SEGMENT_FREE);
        assert_int_equal(kind_of(m, first + 1), SEGMENT_HOLE);
        assert_int_equal(kind_of(m, first + 2), SEGMENT_SEALED);
        const struct record *r = record_found(&m->living, i == 0 ? "a" : "b");
        assert_memory_equal(record_value(r), "in flight", 9);
    }
    assert_int_equal(claim_kind(load_acquire(&m->claimed->state)), TABLE_FREE);
    assert_int_equal(claim_kind(load_acquire(&m->punching->state)), TABLE_FREE);
    assert_true(grace_pass(m->a) >= m->epoch);
    uint64_t bytes = m->a->segment_mask + 1; /* two each: its own, and those FREE and SEALED */
    assert_int_equal(segment_memory(m->a), m->memory + 6 * bytes);
}

/* Everything is as before, for the next round. */
static void end(struct remains *m)
{
    writer_delete(&m->living, "a");
    writer_delete(&m->living, "b");
    append_close(&m->living.puts, m->a);
    writer_end(&m->living);
    for (uint64_t id = 0; id < load_acquire(&m->a->sb->segment_high); id++)
        store_seq_cst(&segment_at(m->a, id)->state, SEGMENT_HOLE);
    epoch_raise_above(m->a, epoch_now(m->a));
    struct writer w;
    writer_begin(&w, m->a, NO_PROCESS + 1);
    resize_grow(&w.self, &w.resizer, table_root(m->a)); /* drops the tombstones */
    resize_finish(&w.self);
    grace_pass(m->a);
    table_reclaim(&w.self);
    writer_end(&w);
}

/* ---- the points ---------------------------------------------------------------------------- */

struct seen {
    const char *names[POINTS_MOST];
    unsigned counts[POINTS_MOST];
    unsigned n;
};

static void note(void *arg, const char *name)
{
    struct seen *s = arg;
    unsigned i = 0;
    while (i < s->n && strcmp(s->names[i], name) != 0)
        i++;
    assert_in_range(i, 0, POINTS_MOST - 1);
    s->names[i] = name;
    s->counts[i]++;
    s->n = i == s->n ? i + 1 : s->n;
}

static void every_reaper_can_be_followed(void **state)
{
    struct remains m;
    struct seen seen = {.n = 0};
    unsigned deaths = 0;
    begin(&m, state);
    point_record(note, &seen);
    reap(m.a);
    point_record(NULL, NULL);
    assert_finished(&m);
    end(&m);
    for (unsigned i = 0; i < seen.n; i++) {
        for (unsigned nth = 1; nth <= seen.counts[i]; nth++) {
            begin(&m, state);
            assert_true(reap_and_die(m.a, seen.names[i], nth));
            if (nth % 2 == 0) /* the second one dies at its first step */
                reap_and_die(m.a, "reap.used", 1);
            reap(m.a);
            assert_finished(&m);
            end(&m);
            deaths++;
        }
    }
    print_message("# %u points, %u deaths\n", seen.n, deaths);
    assert_in_range(seen.n, 10, POINTS_MOST);
}

/* Until its entry is cleared, the section of the dead keeps what is being decided. */
static void ask(void *arg)
{
    const struct remains *m = arg;
    assert_true(grace_pass(m->a) < m->epoch);
}

static void what_is_decided_is_kept(void **state)
{
    static const char *const points[] = {"reap.decided",  "reap.used",   "reap.inflight",
                                         "reap.segments", "reap.tables", "reap.notified"};
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
        struct remains m;
        begin(&m, state);
        point_arm(points[i], 2, POINT_CALL, ask, &m); /* the second of the two dead */
        reap(m.a);
        assert_finished(&m);
        end(&m);
    }
    point_disarm();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(every_reaper_can_be_followed),
        FIXTURE(what_is_decided_is_kept),
    };
    return cmocka_run_group_tests_name("reapers", tests, NULL, NULL);
}
