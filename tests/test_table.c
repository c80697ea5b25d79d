/* SPDX-License-Identifier: MIT */
/* test_table.c - areas from claim to reuse, and the tickets of a table; see table.h. */
#include "writers.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const struct shmkv_options small = {.flags = SHMKV_NO_KEEPER, .size = 4u << 20};

static unsigned kind_of(const struct table *t)
{
    return claim_kind(load_acquire(&t->state));
}

static struct table *root_of(const struct arena *a)
{
    return table_of(a, table_root(a));
}

static uint64_t tickets_of(const struct table *t)
{
    return load_acquire(&t->tickets) & TICKETS_COUNT;
}

static uint64_t filled(const struct arena *a, const struct table *t)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < t->slots; i++) {
        uint64_t word = load_acquire(&table_slots(a, t)[i]);
        n += word != SLOT_EMPTY && word != SLOT_MOVED_EMPTY;
    }
    return n;
}

static struct table *claim(const struct writer *w, uint64_t slots)
{
    struct table *t = NULL;
    bool complete = false;
    assert_int_equal(table_claim(&w->self, slots, &t), 0);
    assert_int_equal(table_take(w->self.arena, t, UINT64_MAX, &complete), 0);
    assert_true(complete);
    return t;
}

/* ---- INV-T1 -------------------------------------------------------------------------------- */

/* Puts, deletes and puts again by several writers that come and go: at no time too many slots. */
static void tickets_come_before_slots(void **state)
{
    const struct arena *a = fixture_arena(state);
    const struct table *t = root_of(a);
    struct writer w[4];
    char key[16];
    for (unsigned i = 0; i < 4; i++)
        writer_begin(&w[i], a, writers_process(state));
    for (unsigned i = 0; root_of(a) == t && load_acquire(&t->next) == 0; i++) {
        snprintf(key, sizeof(key), "key %u", i);
        writer_put(&w[i % 4], key, "value");
        if (i % 3 == 0)
            writer_delete(&w[(i + 1) % 4], key);
        if (i % 6 == 0)
            writer_put(&w[(i + 2) % 4], key, "again");
        if (i % 50 == 0) {
            writer_end(&w[i % 4]);
            writer_begin(&w[i % 4], a, writers_process(state));
        }
        if ((load_acquire(&t->tickets) & TICKETS_CLOSED) == 0)
            assert_in_range(filled(a, t), i + 1, table_quota(t->slots) - tickets_of(t));
    }
    assert_in_range(filled(a, t), table_quota(t->slots) - 64, table_quota(t->slots));
    for (unsigned i = 0; i < 4; i++)
        writer_end(&w[i]);
}

static void tickets_not_used_are_given_back(void **state)
{
    const struct arena *a = fixture_arena(state);
    const struct table *t = root_of(a);
    struct tickets held = {.ref = 0};
    uint64_t r = tickets_of(t);
    assert_true(r == table_quota(t->slots));
    assert_true(table_ticket(a, &held, table_root(a)));
    assert_in_range(held.count, 1, 16);
    assert_true(tickets_of(t) == r - held.count);
    uint64_t count = held.count;
    assert_true(table_ticket(a, &held, table_root(a))); /* has some: takes none */
    assert_true(held.count == count && tickets_of(t) == r - count);
    held.count--;
    table_return_tickets(a, &held);
    assert_true(held.count == 0 && tickets_of(t) == r - 1);
    table_return_tickets(a, &held);
    assert_true(tickets_of(t) == r - 1);
}

/* To the last one, and none of a closed word, or of another table. */
static void tickets_run_out(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct table *t = root_of(a);
    uint64_t ref = table_root(a), quota = table_quota(t->slots), sum = 0;
    struct tickets held = {.ref = 0};
    while (table_ticket(a, &held, ref)) {
        sum += held.count;
        held.count = 0; /* used */
    }
    assert_true(sum == quota && tickets_of(t) == 0);
    store_seq_cst(&t->tickets, TICKETS_CLOSED | (ref + TABLE_AREAS));
    assert_false(table_ticket(a, &held, ref));
    held = (struct tickets){.ref = ref, .count = 5};
    table_return_tickets(a, &held); /* dropped */
    assert_true(held.count == 0);
    assert_true(load_acquire(&t->tickets) == (TICKETS_CLOSED | (ref + TABLE_AREAS)));
    store_seq_cst(&t->tickets, 10);
    held = (struct tickets){.ref = ref - TABLE_AREAS, .count = 5}; /* of the area's last life */
    table_return_tickets(a, &held);
    assert_true(held.count == 0 && tickets_of(t) == 10);
    held = (struct tickets){.ref = ref - TABLE_AREAS, .count = 5};
    assert_true(table_ticket(a, &held, ref));
    assert_true(held.ref == ref && held.count == 1 && tickets_of(t) == 9);
}

static const struct arena *shared;

static void *take_and_return(void *arg)
{
    struct tickets held = {.ref = 0};
    for (unsigned i = 0; i < 20000; i++) {
        if (table_ticket(shared, &held, table_root(shared)) && i % 3 == 0)
            table_return_tickets(shared, &held);
        else if (held.count != 0)
            held.count -= i % 1000 == 0; /* used */
        *(uint64_t *)arg += i % 3 != 0 && i % 1000 == 0;
    }
    table_return_tickets(shared, &held);
    return NULL;
}

static void tickets_are_conserved(void **state)
{
    pthread_t threads[4];
    uint64_t used[4] = {0}, sum = 0;
    shared = fixture_arena(state);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_return, &used[i]), 0);
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        sum += used[i];
    }
    const struct table *t = root_of(shared);
    assert_true(sum != 0 && tickets_of(t) == table_quota(t->slots) - sum);
}

/* ---- INV-T2 -------------------------------------------------------------------------------- */

/* What movers may fill, and what tickets may, is all that may be filled. */
static void tickets_of_the_next_table_leave_room_for_movers(void **state)
{
    const struct arena *a = fixture_arena(state);
    const struct table *t = root_of(a);
    struct writer w;
    char key[16];
    writer_begin(&w, a, writers_process(state));
    for (unsigned i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "key %u", i);
        writer_put(&w, key, "value");
    }
    uint64_t r = tickets_of(t);
    assert_int_equal(resize_grow(&w.self, &w.resizer, table_root(a)), 0);
    uint64_t ref = load_acquire(&t->next);
    const struct table *to = table_of(a, ref);
    assert_true(load_acquire(&t->tickets) == (TICKETS_CLOSED | ref));
    assert_true(to->bound == table_quota(t->slots) - r && to->bound >= filled(a, t));
    assert_true(load_acquire(&to->tickets) == table_quota(to->slots) - to->bound); /* not TOPPED */
    assert_int_equal(kind_of(to), TABLE_LIVE);
    writer_end(&w);
}

/* ---- areas --------------------------------------------------------------------------------- */

static void an_area_comes_zeroed_and_goes(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    uint64_t memory = segment_memory(a), generation = 0;
    for (int i = 0; i < 3; i++) {
        struct table *t = claim(&w, 4096);
        assert_int_equal(kind_of(t), TABLE_CLAIMED);
        assert_int_equal(claim_participant(load_acquire(&t->state)), w.self.index);
        assert_true(table_of(a, table_ref(a, t)) == t);
        assert_true(load_relaxed(&t->generation) > generation); /* areas are reused, these not */
        generation = load_relaxed(&t->generation);
        assert_int_equal(segment_memory(a), memory + table_bytes(4096));
        assert_int_equal(filled(a, t), 0);
        for (uint64_t c = 0; c < t->chunks; c++)
            assert_int_equal(load_relaxed(&table_chunk_words(a, t)[c]), 0);
        memset(arena_at(a, t->slots_offset), 0xee, table_bytes(4096));
        table_unclaim_owner(&w.self, t);
        assert_int_equal(kind_of(t), TABLE_FREE);
        assert_int_equal(segment_memory(a), memory);
    }
    writer_end(&w);
}

static void an_area_is_taken_in_steps(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct table *t;
    bool complete = false;
    unsigned steps = 0;
    writer_begin(&w, a, writers_process(state));
    assert_int_equal(table_claim(&w.self, 1u << 16, &t), 0);
    uint64_t before = arena_allocated(a);
    while (!complete) {
        assert_int_equal(table_take(a, t, 65536, &complete), 0);
        assert_int_equal(arena_allocated(a),
                         before + min_u64(++steps * 65536ull, table_bytes(1u << 16)));
    }
    assert_int_equal(load_relaxed(&t->cursor), 0); /* movers begin at the first chunk */
    assert_int_equal(steps, (table_bytes(1u << 16) + 65535) / 65536);
    writer_end(&w);
}

static void no_more_than_there_are(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct table *t;
    unsigned n = 0;
    writer_begin(&w, a, writers_process(state));
    while (table_claim(&w.self, 1024, &t) == 0)
        n++;
    assert_int_equal(n, TABLE_AREAS - 1);
    table_reap(a, w.self.index);
    assert_int_equal(table_claim(&w.self, 1024, &t), 0);
    writer_end(&w);
}

static void no_more_than_the_limit(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    struct table *t;
    writer_begin(&w, a, writers_process(state));
    uint64_t memory = segment_memory(a), size = load_relaxed(&a->sb->size);
    store_relaxed(&a->sb->size, memory + table_bytes(1024) - 1);
    assert_int_equal(table_claim(&w.self, 1024, &t), SHMKV_ENOSPC);
    assert_int_equal(segment_memory(a), memory);
    store_relaxed(&a->sb->size, memory + table_bytes(1024));
    assert_int_equal(table_claim(&w.self, 1024, &t), 0);
    store_relaxed(&a->sb->size, size);
    writer_end(&w);
}

static void every_size_has_its_place(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    for (uint64_t slots = TABLE_MIN_SLOTS; slots <= table_max_slots(a); slots *= 2) {
        struct table *t;
        if (table_claim(&w.self, slots, &t) != 0)
            break; /* the size of the store ends it */
        assert_true(table_bytes(slots) <= a->sb->area_bytes);
        assert_true(t->chunks_offset >= t->slots_offset + slots * 8);
        assert_true(t->chunks * TABLE_CHUNK_SLOTS >= slots);
        assert_true(t->chunks_offset + t->chunks * 4 <= t->slots_offset + table_bytes(slots));
        assert_int_equal(table_home(t, UINT64_MAX), table_buckets(t) - 1);
        assert_int_equal(table_home(t, 0), 0);
        assert_int_equal(table_first_slot(t, UINT64_MAX), BUCKET_SLOTS - 1);
        assert_in_range(table_quota(slots), slots / 2, slots - 1); /* a probe always ends */
        table_unclaim_owner(&w.self, t);
    }
    writer_end(&w);
}

/* ---- life ---------------------------------------------------------------------------------- */

static void a_table_lives_by_its_own_name_only(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    struct table *t = claim(&w, 1024);
    uint64_t old = table_ref(a, t);
    table_enliven(a, old - TABLE_AREAS);
    table_enliven(a, old + TABLE_AREAS);
    assert_int_equal(kind_of(t), TABLE_CLAIMED);
    table_restamp_owner(&w.self, t);
    assert_true(table_ref(a, t) > old && table_of(a, table_ref(a, t)) == t);
    table_enliven(a, old);
    assert_int_equal(kind_of(t), TABLE_CLAIMED);
    table_enliven(a, table_ref(a, t));
    assert_int_equal(kind_of(t), TABLE_LIVE);
    table_unclaim_owner(&w.self, t); /* too late */
    assert_int_equal(kind_of(t), TABLE_LIVE);
    writer_end(&w);
}

static void an_old_table_goes_when_nobody_looks(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w, reader;
    writer_begin(&w, a, writers_process(state));
    writer_begin(&reader, a, writers_process(state));
    struct table *old = root_of(a), *t = claim(&w, 1024), *young = claim(&w, 1024);
    uint64_t taken = load_relaxed(&old->taken);
    store_seq_cst(&t->tickets, table_quota(t->slots) | TICKETS_TOPPED);
    table_enliven(a, table_ref(a, t));
    table_enliven(a, table_ref(a, young));
    uint64_t outer = epoch_enter(&reader.self);
    table_retire_old(a); /* none is older than the root */
    assert_int_equal(kind_of(old), TABLE_LIVE);
    store_seq_cst(&a->sb->root, table_ref(a, t));
    table_retire_old(a);
    assert_int_equal(kind_of(old), TABLE_LIMBO);
    assert_int_equal(kind_of(t), TABLE_LIVE);
    assert_int_equal(kind_of(young), TABLE_LIVE);
    grace_pass(a);
    table_reclaim(&w.self);
    assert_int_equal(kind_of(old), TABLE_LIMBO);
    assert_int_equal(load_relaxed(&old->taken), taken);
    epoch_exit(&reader.self, outer);
    grace_pass(a);
    table_reclaim(&w.self);
    assert_int_equal(kind_of(old), TABLE_FREE);
    assert_int_equal(load_relaxed(&old->taken), 0);
    writer_end(&w);
    writer_end(&reader);
}

/* R3: the neighbour keeps what it has. */
static void an_area_with_too_much_taken_gives_back_its_own(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, "k", "value");
    struct table *t = claim(&w, 1024);
    store_seq_cst(&t->taken, a->log_offset + a->log_bytes - t->slots_offset);
    table_unclaim_owner(&w.self, t);
    assert_int_equal(kind_of(t), TABLE_FREE);
    assert_memory_equal(record_value(record_found(&w, "k")), "value", 5);
    writer_end(&w);
}

/* ---- reaping ------------------------------------------------------------------------------- */

/* R3: nor are its slots there still, when the next table is made of it. */
static void an_area_with_too_little_taken_is_emptied(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    bool complete;
    writer_begin(&w, a, writers_process(state));
    struct table *t = claim(&w, 4096), *same;
    assert_int_equal(table_take(a, t, UINT64_MAX, &complete), 0);
    store_seq_cst(&table_slots(a, t)[4000], SLOT_MOVED_EMPTY);
    store_seq_cst(&t->taken, 8);
    table_unclaim_owner(&w.self, t);
    same = claim(&w, 4096);
    assert_ptr_equal(same, t);
    assert_true(load_acquire(&table_slots(a, t)[4000]) == SLOT_EMPTY);
    table_unclaim_owner(&w.self, t);
    writer_end(&w);
}

/* R3: no more is taken than the table needs, and that comes to an end. */
static void no_more_is_taken_than_is_needed(void **state)
{
    static const uint64_t words[] = {0, 8, 1ull << 44, UINT64_MAX};
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(words); i++) {
        struct table *t = claim(&w, 4096);
        uint64_t steps = table_bytes(4096) / PAGE_BYTES;
        bool complete = false;
        store_seq_cst(i % 2 == 0 ? &t->taken : &t->cursor, words[i / 2]);
        for (unsigned n = 0; !complete; n++) {
            assert_in_range(n, 0, steps - 1);
            assert_int_equal(table_take(a, t, PAGE_BYTES, &complete), 0);
        }
        table_unclaim_owner(&w.self, t);
    }
    writer_end(&w);
}

static void what_the_dead_had_claimed_is_free(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer dead, living;
    writer_begin(&dead, a, NO_PROCESS);
    writer_begin(&living, a, writers_process(state));
    uint64_t memory = segment_memory(a);
    struct table *claimed = claim(&dead, 1024), *punching = claim(&dead, 1024);
    struct table *unmade = claim(&dead, 1024), *other = claim(&living, 1024);
    store_seq_cst(&punching->state, claim_word(TABLE_PUNCHING, dead.self.index, 0));
    store_relaxed(&unmade->generation, 3); /* it died before it had made the header */
    for (int repeated = 0; repeated < 2; repeated++) {
        table_reap(a, dead.self.index);
        assert_int_equal(kind_of(claimed), TABLE_FREE);
        assert_int_equal(kind_of(punching), TABLE_FREE);
        assert_int_equal(kind_of(unmade), TABLE_FREE);
        assert_int_equal(kind_of(other), TABLE_CLAIMED);
        assert_int_equal(kind_of(root_of(a)), TABLE_LIVE);
        assert_int_equal(segment_memory(a), memory + table_bytes(1024));
    }
    writer_end(&living);
}

/* The dead one closed the tickets, so its table has been promised to everybody. */
static void what_is_named_lives_on(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer dead, living;
    writer_begin(&dead, a, NO_PROCESS);
    writer_begin(&living, a, writers_process(state));
    writer_put(&living, "k", "v");
    struct table *t = root_of(a), *to = claim(&dead, 1024);
    uint64_t word = load_acquire(&t->tickets);
    to->bound = table_quota(t->slots) - (word & TICKETS_COUNT);
    store_seq_cst(&to->tickets, table_quota(to->slots) - to->bound);
    store_seq_cst(&t->tickets, TICKETS_CLOSED | table_ref(a, to));
    table_reap(a, dead.self.index);
    assert_int_equal(kind_of(to), TABLE_LIVE);
    resize_finish(&living.self);
    assert_true(table_root(a) == table_ref(a, to));
    assert_memory_equal(record_value(record_found(&living, "k")), "v", 1);
    writer_put(&living, "l", "w");
    writer_end(&living);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(tickets_come_before_slots),
        FIXTURE(tickets_not_used_are_given_back),
        FIXTURE(tickets_run_out),
        FIXTURE(tickets_are_conserved),
        FIXTURE(tickets_of_the_next_table_leave_room_for_movers),
        FIXTURE(an_area_comes_zeroed_and_goes),
        FIXTURE(an_area_is_taken_in_steps),
        FIXTURE(no_more_than_there_are),
        FIXTURE_WITH(no_more_than_the_limit, &small),
        FIXTURE(every_size_has_its_place),
        FIXTURE(a_table_lives_by_its_own_name_only),
        FIXTURE(an_old_table_goes_when_nobody_looks),
        FIXTURE(an_area_with_too_much_taken_gives_back_its_own),
        FIXTURE(an_area_with_too_little_taken_is_emptied),
        FIXTURE(no_more_is_taken_than_is_needed),
        FIXTURE(what_the_dead_had_claimed_is_free),
        FIXTURE(what_is_named_lives_on),
    };
    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
