/* SPDX-License-Identifier: MIT */
/*
 * crash_index.c - one writer is stopped at a step of its change, and others change the same key.
 *
 * All are participants of one thread: who is stopped at a point is the caller of what the others do
 * meanwhile.  See index.h for what must hold.
 */
#include "writers.h"

#include <string.h>

#include "point.h"

struct scene {
    const struct arena *a;
    struct writer w, other;
    uint64_t version; /* of what the other one did last */
    bool published;   /* what index_decide() must say at the point */
    unsigned passed;
};

static void begin(struct scene *s, void **state)
{
    *s = (struct scene){.a = fixture_arena(state)};
    writer_begin(&s->w, s->a, writers_process(state));
    writer_begin(&s->other, s->a, writers_process(state));
}

static void end(struct scene *s)
{
    assert_int_equal(s->passed, 1);
    point_disarm();
    writer_end(&s->w);
    writer_end(&s->other);
}

/* One record of the key in the root table, with this value; NULL: none, or a tombstone. */
static void assert_one(const struct scene *s, const char *key, const char *value)
{
    unsigned slots = slots_with(s->a, table_root(s->a), key, NULL);
    const struct record *r = record_found(&s->w, key);
    assert_in_range(slots, value != NULL, 1);
    if (value == NULL) {
        assert_true(r == NULL || r->type == RECORD_TOMBSTONE);
        return;
    }
    assert_non_null(r);
    assert_int_equal(r->vlen, strlen(value));
    assert_memory_equal(record_value(r), value, r->vlen);
}

static void resize(struct writer *w)
{
    const struct arena *a = w->self.arena;
    epoch_raise_above(a, epoch_now(a));
    assert_int_equal(resize_grow(&w->self, &w->resizer, table_root(a)), 0);
    resize_finish(&w->self);
}

/* ---- INV-I1 -------------------------------------------------------------------------------- */

static void ask(void *arg)
{
    struct scene *s = arg;
    uint64_t at = load_acquire(&s->w.self.entry->inflight);
    assert_true(at == s->w.puts.at);
    assert_int_equal(index_decide(s->a, at), s->published);
    s->passed++;
}

static void ask_when_superseded(void *arg)
{
    struct scene *s = arg;
    writer_put(&s->other, "k", "younger");
    ask(arg);
}

/* What is in flight is void up to the CAS, and published from then on, found or superseded. */
static void decided_alike_at_every_step(void **state)
{
    static const struct {
        const char *point;
        bool published;
    } steps[] = {{"put.inflight", false}, {"put.marked", false}, {"put.cas", true}};
    for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
        for (int old = 0; old < 2; old++) {
            for (int superseded = 0; superseded < 2; superseded++) {
                struct scene s;
                begin(&s, state);
                s.published = steps[i].published;
                if (old)
                    writer_put(&s.other, "k", "old");
                point_arm(steps[i].point, 1, POINT_CALL, superseded ? ask_when_superseded : ask,
                          &s);
                writer_put(&s.w, "k", "mine");
                assert_one(&s, "k", superseded && s.published ? "younger" : "mine");
                writer_delete(&s.w, "k");
                resize(&s.w);
                end(&s);
            }
        }
    }
}

/* ---- INV-I2 -------------------------------------------------------------------------------- */

static void insert(void *arg)
{
    struct scene *s = arg;
    s->version = writer_put(&s->other, "k", "theirs");
    s->passed++;
}

static void insert_and_delete(void *arg)
{
    struct scene *s = arg;
    writer_put(&s->other, "k", "theirs");
    s->version = writer_delete(&s->other, "k");
    s->passed++;
}

static void inserters_meet_at_one_slot(void **state)
{
    static const char *const points[] = {"put.written", "put.inflight", "put.marked"};
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
        for (int deleted = 0; deleted < 2; deleted++) {
            struct scene s;
            begin(&s, state);
            point_arm(points[i], 1, POINT_CALL, deleted ? insert_and_delete : insert, &s);
            assert_true(writer_put(&s.w, "k", "mine") > s.version);
            assert_one(&s, "k", "mine");
            writer_delete(&s.w, "k");
            resize(&s.w);
            end(&s);
        }
    }
}

/* Only one of two that both want to be the first. */
static void one_of_two_is_first(void **state)
{
    static const char *const points[] = {"put.written", "put.inflight", "put.marked"};
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
        struct scene s;
        begin(&s, state);
        struct index_change c = writer_change_of(s.a, "k", "mine");
        c.condition = INDEX_IF_ABSENT;
        point_arm(points[i], 1, POINT_CALL, insert, &s);
        assert_int_equal(writer_change(&s.w, &c), SHMKV_EEXISTS);
        assert_one(&s, "k", "theirs");
        assert_true(load_acquire(&s.w.self.entry->inflight) == 0);
        writer_delete(&s.w, "k");
        resize(&s.w);
        end(&s);
    }
}

/* A token holds until the CAS, not only until it was compared. */
static void a_token_is_compared_at_the_cas(void **state)
{
    struct scene s;
    begin(&s, state);
    struct index_change c = writer_change_of(s.a, "k", "mine");
    c.condition = INDEX_IF_VERSION;
    c.expected = writer_put(&s.w, "k", "old");
    point_arm("put.inflight", 1, POINT_CALL, insert, &s);
    assert_int_equal(writer_change(&s.w, &c), SHMKV_EMISMATCH);
    assert_one(&s, "k", "theirs");
    end(&s);
}

/* ---- INV-I3 -------------------------------------------------------------------------------- */

/* The key comes, goes, and its tombstone is dropped: nothing is left to be compared with. */
static void come_and_go_without_a_trace(void *arg)
{
    struct scene *s = arg;
    insert_and_delete(arg);
    epoch_raise_above(s->a, epoch_now(s->a) + 3);
    writer_put(&s->other, "k", "late");
    s->version = writer_delete(&s->other, "k");
    resize(&s->other);
    assert_null(record_found(&s->other, "k"));
}

static void a_version_is_chosen_after_the_slot_was_read(void **state)
{
    static const char *const points[] = {"put.written", "put.inflight", "put.marked"};
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
        struct scene s;
        begin(&s, state);
        point_arm(points[i], 1, POINT_CALL, come_and_go_without_a_trace, &s);
        assert_true(writer_put(&s.w, "k", "mine") > s.version);
        assert_one(&s, "k", "mine");
        writer_delete(&s.w, "k");
        resize(&s.w);
        end(&s);
    }
}

/* ---- INV-I4 -------------------------------------------------------------------------------- */

static void start_resize(struct scene *s)
{
    uint64_t root = table_root(s->a);
    assert_int_equal(resize_grow(&s->other.self, &s->other.resizer, root), 0);
    assert_true(load_acquire(&table_of(s->a, root)->next) != 0);
}

static void resize_and_insert(void *arg)
{
    struct scene *s = arg;
    start_resize(s);
    insert(arg);
}

static void resize_and_finish(void *arg)
{
    struct scene *s = arg;
    resize(&s->other);
    insert(arg);
}

/* Two whole resizes: the table that we look at is two behind, and must still be there. */
static void resize_twice(void *arg)
{
    struct scene *s = arg;
    resize(&s->other);
    resize(&s->other);
    grace_pass(s->a);
    table_reclaim(&s->other.self);
    insert(arg);
}

/* The slot that was chosen is in a table that is being moved, or has been: EMPTY or a record. */
static void a_place_in_the_old_table_is_given_up(void **state)
{
    static const char *const points[] = {"put.written", "put.inflight", "put.marked"};
    static void (*const meanwhile[])(void *) = {resize_and_insert, resize_and_finish, resize_twice};
    for (unsigned i = 0; i < ARRAY_SIZE(points) * ARRAY_SIZE(meanwhile); i++) {
        for (int old = 0; old < 2; old++) {
            struct scene s;
            begin(&s, state);
            if (old)
                writer_put(&s.w, "k", "old");
            point_arm(points[i % 3], 1, POINT_CALL, meanwhile[i / 3], &s);
            assert_true(writer_put(&s.w, "k", "mine") > s.version);
            point_disarm();
            resize_finish(&s.w.self);
            assert_one(&s, "k", "mine");
            writer_delete(&s.w, "k");
            resize(&s.w);
            assert_one(&s, "k", NULL);
            end(&s);
        }
    }
}

/* ---- the view of the root ------------------------------------------------------------------ */

static bool peek(struct scene *s)
{
    const struct record *r;
    struct index_key k = key_of(s->a, "k");
    return index_peek(&s->w, &k, &r) && r == record_found(&s->w, "k");
}

static void read_below(void *arg)
{
    struct scene *s = arg;
    assert_false(peek(s));
    resize(&s->other);
    assert_true(table_view_renew(&s->w.view, s->a));
    assert_true(peek(s));
    s->passed++;
}

/* A signal handler that comes while a view is renewed does not use half of one, nor leave one. */
static void a_view_is_of_one_table(void **state)
{
    struct scene s;
    begin(&s, state);
    writer_put(&s.w, "k", "value");
    assert_true(peek(&s));
    resize(&s.other);
    assert_false(peek(&s));
    point_arm("view.half", 1, POINT_CALL, read_below, &s);
    assert_true(table_view_renew(&s.w.view, s.a));
    assert_false(table_view_is_current(&s.w.view, s.a)); /* and that is seen */
    assert_true(table_view_renew(&s.w.view, s.a));
    assert_true(peek(&s));
    end(&s);
}

/* ---- relocation ---------------------------------------------------------------------------- */

static void overwrite(void *arg)
{
    struct scene *s = arg;
    writer_put(&s->other, "k", "theirs");
    s->passed++;
}

static void remove_it(void *arg)
{
    struct scene *s = arg;
    writer_delete(&s->other, "k");
    s->passed++;
}

static void remove_without_a_trace(void *arg)
{
    struct scene *s = arg;
    writer_delete(&s->other, "k");
    resize(&s->other);
    s->passed++;
}

static void move_it(void *arg)
{
    struct scene *s = arg;
    start_resize(s);
    resize_finish(&s->other.self);
    s->passed++;
}

/* Claim the segment of "k" and move the record, as the cleaner does. */
static int relocate(struct scene *s)
{
    struct writer *w = &s->w;
    uint64_t from = offset_of(s->a, record_found(w, "k")), id = arena_segment_of(s->a, from);
    append_close(&w->puts, s->a);
    append_close(&w->moves, s->a);
    assert_int_equal(append_reserve(&w->moves, &w->self, SEGMENT_FOR_CLEANING, 4096), 0);
    const struct segment *segment = segment_at(s->a, id);
    assert_true(segment_claim_victim(&w->self, id, load_acquire(&segment->state)));
    int rc = index_relocate(w, from, load_acquire(&segment->state));
    segment_unclaim_owner(&w->self, id, 0);
    return rc;
}

/* Whatever is done to a key while its record is moved: it is done, and stays so. */
static void a_relocated_record_brings_nothing_back(void **state)
{
    static const char *const points[] = {"relocate.copied", "relocate.inflight"};
    static const struct {
        void (*meanwhile)(void *);
        const char *value;
        int rc;
    } cases[] = {
        {overwrite, "theirs", 0},
        {remove_it, NULL, 0},
        {remove_without_a_trace, NULL, 0},
        {move_it, "old", INDEX_RELOCATED},
    };
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
        struct scene s;
        begin(&s, state);
        writer_put(&s.w, "k", "old");
        point_arm(points[i % 2], 1, POINT_CALL, cases[i / 2].meanwhile, &s);
        assert_int_equal(relocate(&s), cases[i / 2].rc);
        assert_one(&s, "k", cases[i / 2].value);
        resize(&s.w);
        assert_one(&s, "k", cases[i / 2].value);
        end(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(decided_alike_at_every_step),
        FIXTURE(inserters_meet_at_one_slot),
        FIXTURE(one_of_two_is_first),
        FIXTURE(a_token_is_compared_at_the_cas),
        FIXTURE(a_version_is_chosen_after_the_slot_was_read),
        FIXTURE(a_place_in_the_old_table_is_given_up),
        FIXTURE(a_view_is_of_one_table),
        FIXTURE(a_relocated_record_brings_nothing_back),
    };
    return cmocka_run_group_tests_name("index, step by step", tests, NULL, NULL);
}
