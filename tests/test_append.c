/* SPDX-License-Identifier: MIT */
/* test_append.c - an owner's end of the log: only decided records stay; see append.h. */
#include "writers.h"

#include <string.h>

static uint64_t used_of(const struct writer *w)
{
    return load_acquire(&segment_at(w->self.arena, w->puts.hold.id)->used);
}

static uint64_t start_of(const struct writer *w)
{
    return arena_segment_start(w->self.arena, w->puts.hold.id);
}

/* [0, used) is records, one behind the other, each with a good crc; returns how many. */
static unsigned walk(const struct writer *w)
{
    const struct arena *a = w->self.arena;
    uint64_t id = w->puts.hold.id, end = start_of(w) + used_of(w);
    uint64_t seed = record_seed(id, load_relaxed(&segment_at(a, id)->incarnation));
    unsigned n = 0;
    uint64_t at = start_of(w);
    while (at < end) {
        const struct record *r = arena_at(a, at);
        assert_true(record_valid(r, end - at, seed));
        at += record_size(r);
        n++;
    }
    assert_true(at == end);
    return n;
}

static int put_if_absent(struct writer *w, const char *key, const char *value)
{
    struct index_change c = writer_change_of(w->self.arena, key, value);
    c.condition = INDEX_IF_ABSENT;
    return writer_change(w, &c);
}

/* ---- R9 ------------------------------------------------------------------------------------ */

static void r9(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, "there", "value");
    uint64_t at = w.puts.at, used = used_of(&w);
    assert_true(used == record_bytes(5, 5, false) && at == start_of(&w) + used);
    assert_int_equal(put_if_absent(&w, "there", "a longer value that is not published"),
                     SHMKV_EEXISTS);
    assert_true(w.puts.at == at && used_of(&w) == used);
    assert_true(load_acquire(&w.self.entry->inflight) == 0);
    assert_int_equal(walk(&w), 1);
    writer_put(&w, "other", "x"); /* over what was not published */
    assert_true(offset_of(a, record_found(&w, "other")) == at);
    assert_int_equal(walk(&w), 2);
    writer_end(&w);
}

/* The same when the change ends as INDEX_AGAIN or for want of tickets, or the key is absent. */
static void r9_however_it_fails(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, "there", "value");
    uint64_t used = used_of(&w);
    struct index_change c = writer_change_of(a, "nowhere", NULL);
    assert_int_equal(writer_change(&w, &c), SHMKV_ENOTFOUND);
    c = writer_change_of(a, "there", "mismatch");
    c.condition = INDEX_IF_VERSION;
    assert_int_equal(writer_change(&w, &c), SHMKV_EMISMATCH);
    assert_true(used_of(&w) == used);
    resize_leave(&w.self, &w.resizer); /* tickets of before */
    struct table *t = table_of(a, table_root(a));
    uint64_t tickets = load_relaxed(&t->tickets);
    store_seq_cst(&t->tickets, TICKETS_TOPPED);
    c = writer_change_of(a, "fresh", "value");
    assert_int_equal(index_write(&w, &c), INDEX_NEED_TICKET);
    store_seq_cst(&t->tickets, tickets);
    assert_true(used_of(&w) == used && load_acquire(&w.self.entry->inflight) == 0);
    assert_int_equal(walk(&w), 1);
    writer_end(&w);
}

/* ---- R8 ------------------------------------------------------------------------------------ */

/* Between reservation and write the segment was taken: nothing is written, nothing is held. */
static void a_taken_segment_is_reserved_again(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w, other;
    writer_begin(&w, a, writers_process(state));
    writer_begin(&other, a, writers_process(state));
    writer_put(&w, "k", "first");
    struct index_change c = writer_change_of(a, "k", "second");
    assert_int_equal(append_reserve(&w.puts, &w.self, SEGMENT_FOR_PUT, 64), 0);
    assert_int_equal(segment_take_idle(a), 1);
    writer_put(&other, "o", "adopted"); /* where ours would have gone */
    uint64_t adopted = offset_of(a, record_found(&other, "o"));
    assert_int_equal(index_write(&w, &c), INDEX_AGAIN);
    assert_true(w.puts.hold.id == SEGMENT_NONE);
    assert_true(load_acquire(&w.self.entry->writing) == 0);
    assert_memory_equal(record_value(record_found(&w, "k")), "first", 5);
    assert_memory_equal(record_value(arena_at(a, adopted)), "adopted", 7);
    assert_int_equal(writer_change(&w, &c), 0);
    assert_memory_equal(record_value(record_found(&w, "k")), "second", 6);
    assert_int_equal(walk(&other), 2);
    writer_end(&w);
    writer_end(&other);
}

static void adopted_where_the_last_owner_stopped(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w, heir;
    writer_begin(&w, a, writers_process(state));
    writer_begin(&heir, a, writers_process(state));
    writer_put(&w, "k", "first");
    uint64_t id = w.puts.hold.id, at = w.puts.at;
    writer_end(&w);
    writer_put(&heir, "l", "second");
    assert_true(heir.puts.hold.id == id && offset_of(a, record_found(&heir, "l")) == at);
    assert_int_equal(walk(&heir), 2);
    writer_end(&heir);
}

/* ---- memory -------------------------------------------------------------------------------- */

static const struct shmkv_options large = {.size = 512u << 20, .flags = SHMKV_NO_KEEPER};

static void memory_is_taken_in_steps_that_grow(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    uint64_t half = (a->segment_mask + 1) / 2;
    const uint64_t steps[] = {PAGE_BYTES, 8 * PAGE_BYTES, half};
    assert_true(half > 8 * PAGE_BYTES);
    writer_begin(&w, a, writers_process(state));
    for (uint64_t bytes = 64, n = 0; bytes <= 2 * half; bytes += w.puts.taken - w.puts.at, n++) {
        assert_int_equal(append_reserve(&w.puts, &w.self, SEGMENT_FOR_PUT, bytes), 0);
        uint64_t taken = load_relaxed(&segment_at(a, w.puts.hold.id)->taken);
        assert_int_equal(taken, align_up(bytes, steps[min_u64(n, 2)]));
        assert_true(w.puts.taken == start_of(&w) + taken);
        memset(arena_at(a, w.puts.at), 0xee, bytes); /* no SIGBUS */
    }
    assert_true(append_has_room(&w.puts, 2 * half));
    assert_false(append_has_room(&w.puts, 2 * half + 8));
    writer_end(&w);
}

static void a_full_segment_is_left(void **state)
{
    static char value[10000];
    const struct arena *a = fixture_arena(state);
    struct writer w;
    char key[] = "a";
    memset(value, 'v', sizeof(value) - 1);
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, key, value);
    uint64_t id = w.puts.hold.id;
    while (w.puts.hold.id == id) {
        key[0]++;
        writer_put(&w, key, value);
    }
    struct segment *s = segment_at(a, id);
    assert_in_range(load_acquire(&s->used), a->segment_mask - 10100, a->segment_mask + 1);
    assert_int_equal(claim_kind(load_acquire(&s->state)), SEGMENT_PARTIAL); /* small ones fit */
    assert_int_equal(walk(&w), 1);
    append_close(&w.puts, a);
    writer_put(&w, "small", "value");
    assert_true(w.puts.hold.id == id);
    writer_end(&w);
}

/* A refusal leaves nothing held. */
static void no_room_holds_nothing(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    uint64_t size = load_relaxed(&a->sb->size);
    writer_begin(&w, a, writers_process(state));
    store_relaxed(&a->sb->size, segment_memory(a));
    assert_int_equal(append_reserve(&w.puts, &w.self, SEGMENT_FOR_CLEANING, 64), SHMKV_ENOSPC);
    assert_true(w.puts.hold.id == SEGMENT_NONE);
    assert_false(append_has_room(&w.puts, 8) || append_held(&w.puts, a));
    store_relaxed(&a->sb->size, size);
    writer_put(&w, "k", "v");
    writer_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(r9),
        FIXTURE(r9_however_it_fails),
        FIXTURE(a_taken_segment_is_reserved_again),
        FIXTURE(adopted_where_the_last_owner_stopped),
        FIXTURE_WITH(memory_is_taken_in_steps_that_grow, &large),
        FIXTURE(a_full_segment_is_left),
        FIXTURE(no_room_holds_nothing),
    };
    return cmocka_run_group_tests_name("append", tests, NULL, NULL);
}
