/* SPDX-License-Identifier: MIT */
/* test_index.c - one operation on the index: publication, one slot for a key, versions; index.h. */
#include "writers.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* A record that stands behind the mark of @w, sealed, not published; its offset. */
static uint64_t write_only(struct writer *w, const char *key, const char *value, uint64_t version)
{
    const struct arena *a = w->self.arena;
    struct index_change c = writer_change_of(a, key, value);
    assert_int_equal(append_reserve(&w->puts, &w->self, SEGMENT_FOR_PUT, 256), 0);
    struct record *r = arena_at(a, w->puts.at);
    record_seal(r, record_write(r, &c.spec), version, w->puts.seed);
    return w->puts.at;
}

static bool is_marked(const struct arena *a, uint64_t at)
{
    return (load_acquire(&((struct record *)arena_at(a, at))->state) & RECORD_PUBLISHED) != 0;
}

static void assert_value(const struct writer *w, const char *key, const char *value)
{
    const struct record *r = record_found(w, key);
    if (value == NULL) {
        assert_true(r == NULL || r->type == RECORD_TOMBSTONE);
        return;
    }
    assert_non_null(r);
    assert_int_equal(r->vlen, strlen(value));
    assert_memory_equal(record_value(r), value, r->vlen);
}

/* ---- INV-I1 -------------------------------------------------------------------------------- */

static void decide(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w, other;
    writer_begin(&w, a, writers_process(state));
    writer_begin(&other, a, writers_process(state));
    uint64_t at = write_only(&w, "k", "mine", 1ull << 30);
    assert_false(index_decide(a, at)); /* nothing in the slot */
    writer_put(&other, "k", "another");
    assert_false(index_decide(a, at)); /* the slot holds another */
    struct index_change c = writer_change_of(a, "k", "mine");
    assert_int_equal(writer_change(&w, &c), 0);
    assert_true(offset_of(a, record_found(&w, "k")) == at);
    assert_true(index_decide(a, at));
    ((struct record *)arena_at(a, at))->state = 0; /* as if it had died before it could mark it */
    assert_true(index_decide(a, at));
    writer_put(&other, "k", "younger");
    assert_true(is_marked(a, at)); /* by who superseded it */
    assert_true(index_decide(a, at));
    writer_end(&w);
    writer_end(&other);
}

/* A torn record, one of an earlier life, no record at all: void, and no crash. */
static void decide_what_is_no_record(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, "k", "value");
    uint64_t at = offset_of(a, record_found(&w, "k"));
    char *value = (char *)(uintptr_t)record_value(arena_at(a, at));
    assert_true(index_decide(a, at));
    value[0] ^= 1;
    assert_false(index_decide(a, at));
    value[0] ^= 1;
    struct segment *s = segment_at(a, arena_segment_of(a, at));
    add_relaxed(&s->incarnation, 1);
    assert_false(index_decide(a, at));
    sub_relaxed(&s->incarnation, 1);
    assert_true(index_decide(a, at));
    static const uint64_t nowhere[] = {8, 4096, UINT64_MAX, UINT64_MAX - 64};
    for (unsigned i = 0; i < ARRAY_SIZE(nowhere); i++)
        assert_false(index_decide(a, nowhere[i]));
    assert_false(index_decide(a, a->log_offset + a->log_bytes - 8));
    writer_end(&w);
}

/* Deletes, the cleaner, and a resize that drops a tombstone take a record from its slot as well. */
static void decide_whoever_took_it_from_its_slot(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    for (int i = 0; i < 3; i++) {
        char key[] = {(char)('a' + i), '\0'};
        writer_put(&w, key, "value");
        if (i == 2)
            writer_delete(&w, key);
        uint64_t at = offset_of(a, record_found(&w, key));
        ((struct record *)arena_at(a, at))->state = 0;
        if (i == 0) {
            writer_delete(&w, key);
        } else if (i == 1) {
            uint64_t id = arena_segment_of(a, at);
            append_close(&w.puts, a);
            assert_true(segment_claim_victim(&w.self, id, load_acquire(&segment_at(a, id)->state)));
            assert_int_equal(append_reserve(&w.moves, &w.self, SEGMENT_FOR_CLEANING, 64), 0);
            uint64_t claimed = load_acquire(&segment_at(a, id)->state);
            assert_int_equal(index_relocate(&w, at, claimed), INDEX_RELOCATED);
            segment_unclaim_owner(&w.self, id, 0);
        } else {
            epoch_raise_above(a, epoch_now(a));
            resize_grow(&w.self, &w.resizer, table_root(a));
            resize_finish(&w.self);
            assert_null(record_found(&w, key));
        }
        assert_true(is_marked(a, at) && index_decide(a, at));
    }
    writer_end(&w);
}

/* ---- INV-I2 -------------------------------------------------------------------------------- */

/* Keys of one bucket, more than it holds: they go on into the next ones. */
static void colliding_keys(const struct arena *a, char keys[][16], unsigned n)
{
    const struct table *t = table_of(a, table_root(a));
    unsigned found = 0;
    for (unsigned i = 0; found < n; i++) {
        snprintf(keys[found], 16, "%u", i);
        found += table_home(t, key_of(a, keys[found]).hash) == 7;
    }
}

static void one_slot(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w[3];
    enum { KEYS = 20 };
    char keys[KEYS][16];
    _Atomic uint64_t *slots[KEYS] = {NULL}, *slot = NULL;
    uint64_t root = table_root(a);
    colliding_keys(a, keys, KEYS);
    for (unsigned i = 0; i < 3; i++)
        writer_begin(&w[i], a, writers_process(state));
    for (unsigned i = 0; i < KEYS; i++) {
        writer_put(&w[i % 3], keys[i], "first");
        assert_int_equal(slots_with(a, root, keys[i], &slots[i]), 1);
        for (unsigned k = 0; k < i; k++)
            assert_true(slots[k] != slots[i]);
    }
    for (unsigned i = 0; i < 500; i++) { /* put, delete, again, by all: a key stays where it is */
        unsigned k = i * 7 % KEYS;
        if (record_found(&w[0], keys[k])->type == RECORD_PAIR && i % 2 == 0)
            writer_delete(&w[i % 3], keys[k]);
        else
            writer_put(&w[i % 3], keys[k], "again");
        assert_int_equal(slots_with(a, root, keys[k], &slot), 1);
        assert_true(slot == slots[k]);
    }
    for (unsigned i = 0; i < 3; i++)
        writer_end(&w[i]);
}

/* The shortcut of a get sees what the lookup sees, or leaves it to that. */
static void a_peek_is_a_lookup(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    enum { KEYS = 40 };
    char keys[KEYS][16];
    unsigned peeked = 0;
    colliding_keys(a, keys, KEYS);
    writer_begin(&w, a, writers_process(state));
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < KEYS; i++) {
            const struct record *r = NULL;
            struct index_key k = key_of(a, keys[i]);
            bool found = index_peek(&w, &k, &r);
            assert_true(!found || (r == record_found(&w, keys[i]) && r->type == RECORD_PAIR));
            assert_true(!found || round == 1); /* nothing is there yet */
            peeked += found;
            if (i % 4 != 3)
                writer_put(&w, keys[i], "value");
            if (i % 4 == 2)
                writer_delete(&w, keys[i]);
        }
    }
    assert_in_range(peeked, 4, BUCKET_SLOTS); /* those of the home bucket */
    writer_end(&w);
}

/* ---- INV-I3 -------------------------------------------------------------------------------- */

static void versions_grow(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w[2];
    uint64_t last = 0;
    writer_begin(&w[0], a, writers_process(state));
    writer_begin(&w[1], a, writers_process(state));
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t version =
            i % 5 == 4 ? writer_delete(&w[i % 2], "k") : writer_put(&w[i % 2], "k", "value");
        assert_true(version > last && record_epoch_of(version) <= epoch_now(a));
        last = version;
        if (i % 7 == 0)
            epoch_raise_above(a, epoch_now(a));
        if (i % 100 == 99) { /* the tombstone may go, what it stood for does not come back */
            resize_grow(&w[0].self, &w[0].resizer, table_root(a));
            resize_finish(&w[0].self);
        }
    }
    writer_end(&w[0]);
    writer_end(&w[1]);
}

/* The 2^24th change within an epoch begins the next one, and G follows. */
static void versions_run_over_into_the_next_epoch(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, "k", "value");
    struct record *r = (struct record *)(uintptr_t)record_found(&w, "k");
    uint64_t g = epoch_now(a);
    r->version = ((g + 1) << VERSION_EPOCH_SHIFT) - 1;
    assert_true(writer_put(&w, "k", "over") == (g + 1) << VERSION_EPOCH_SHIFT);
    assert_true(epoch_now(a) == g + 1);
    writer_end(&w);
}

/* R3: a version that was written over does not take G, and all memory with it, to the end of
 * epochs: a bit above, and no section would hold back anything. */
static void versions_written_over_do_not_lead_g(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    uint64_t last = writer_put(&w, "k", "value");
    static const uint64_t versions[] = {(uint64_t)-2, (uint64_t)-1 << 24, 1ull << 63, 1ull << 40};
    for (unsigned i = 0; i < ARRAY_SIZE(versions); i++) {
        uint64_t g = epoch_now(a);
        ((struct record *)(uintptr_t)record_found(&w, "k"))->version = versions[i];
        uint64_t version = i % 2 == 0 ? writer_put(&w, "k", "over") : writer_delete(&w, "k");
        assert_true(version > last && version == (g + 1) << VERSION_EPOCH_SHIFT);
        assert_true(epoch_now(a) == g + 1);
        last = writer_put(&w, "k", "over");
        assert_true(last > version && epoch_now(a) == g + 1);
    }
    writer_end(&w);
}

/* ---- INV-I4 -------------------------------------------------------------------------------- */

/*
 * A key that a resize comes to late: each write moves two buckets, from the first one on.  Those of
 * different @tenth (5 to 9) of the table are not in each other's way.
 */
static char *late_key(const struct arena *a, char *key, unsigned tenth)
{
    const struct table *t = table_of(a, table_root(a));
    unsigned i = 0;
    do {
        snprintf(key, 16, "%c%u", (char)('a' + tenth), i++);
    } while (table_home(t, key_of(a, key).hash) / (table_buckets(t) / 10) != tenth);
    return key;
}

/* Every kind of change while nothing near has been moved: old table first, then the next one. */
static void old_table_first(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    char over[16], gone[16], kept[16], fresh[16];
    _Atomic uint64_t *slot;
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, late_key(a, over, 5), "old");
    writer_put(&w, late_key(a, gone, 6), "old");
    writer_put(&w, late_key(a, kept, 7), "old");
    uint64_t from = table_root(a);
    struct index_key k = key_of(a, late_key(a, fresh, 8));
    const _Atomic uint64_t *home =
        table_bucket(a, table_of(a, from), table_home(table_of(a, from), k.hash)) +
        table_first_slot(table_of(a, from), k.hash);
    assert_int_equal(slots_with(a, from, over, &slot), 1);
    assert_int_equal(resize_grow(&w.self, &w.resizer, from), 0);
    uint64_t to = load_acquire(&table_of(a, from)->next);
    assert_true(slot_is_record(load_acquire(slot)) && load_acquire(home) == SLOT_EMPTY);
    writer_put(&w, over, "young");
    assert_true(slot_is_moved(load_acquire(slot)));
    assert_int_equal(slots_with(a, to, over, NULL), 1);
    writer_put(&w, fresh, "young");
    assert_int_equal(slots_with(a, from, fresh, NULL), 0);
    assert_int_equal(slots_with(a, to, fresh, NULL), 1);
    assert_true(slot_is_terminal(load_acquire(home))); /* nobody can insert it there any more */
    writer_delete(&w, gone);
    struct index_change c = writer_change_of(a, "nothing", NULL);
    assert_int_equal(writer_change(&w, &c), SHMKV_ENOTFOUND);
    for (int finished = 0; finished < 2; finished++) {
        assert_true(table_root(a) == (finished ? to : from));
        assert_value(&w, over, "young");
        assert_value(&w, fresh, "young");
        assert_value(&w, gone, NULL);
        assert_value(&w, kept, "old");
        resize_finish(&w.self);
    }
    writer_end(&w);
}

/* ---- conditions ---------------------------------------------------------------------------- */

static int change_if(struct writer *w, const char *key, const char *value,
                     enum index_condition condition, uint64_t expected)
{
    struct index_change c = writer_change_of(w->self.arena, key, value);
    c.condition = condition;
    c.expected = expected;
    return writer_change(w, &c);
}

static void conditions(void **state)
{
    struct writer w;
    writer_begin(&w, fixture_arena(state), writers_process(state));
    for (int removed = 0; removed < 2; removed++) { /* absent, and absent by a tombstone */
        assert_int_equal(change_if(&w, "k", "v", INDEX_IF_PRESENT, 0), SHMKV_ENOTFOUND);
        assert_int_equal(change_if(&w, "k", "v", INDEX_IF_VERSION, 1), SHMKV_EMISMATCH);
        assert_int_equal(change_if(&w, "k", NULL, INDEX_ALWAYS, 0), SHMKV_ENOTFOUND);
        assert_value(&w, "k", NULL);
        assert_int_equal(removed == 0 ? change_if(&w, "k", "v", INDEX_IF_ABSENT, 0)
                                      : change_if(&w, "k", "v", INDEX_IF_VERSION, 0),
                         0);
        uint64_t version = record_found(&w, "k")->version;
        assert_int_equal(change_if(&w, "k", "w", INDEX_IF_ABSENT, 0), SHMKV_EEXISTS);
        assert_int_equal(change_if(&w, "k", "w", INDEX_IF_VERSION, 0), SHMKV_EMISMATCH);
        assert_int_equal(change_if(&w, "k", "w", INDEX_IF_VERSION, version - 1), SHMKV_EMISMATCH);
        assert_value(&w, "k", "v");
        assert_int_equal(change_if(&w, "k", "x", INDEX_IF_VERSION, version), 0);
        assert_int_equal(change_if(&w, "k", "y", INDEX_IF_PRESENT, 0), 0);
        assert_value(&w, "k", "y");
        writer_delete(&w, "k");
    }
    writer_end(&w);
}

/* ---- relocation ---------------------------------------------------------------------------- */

static void relocation_is_the_same_record_elsewhere(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w, other;
    writer_begin(&w, a, writers_process(state));
    writer_begin(&other, a, writers_process(state));
    uint64_t version = writer_put(&w, "k", "value");
    writer_put(&w, "l", "value");
    uint64_t from = offset_of(a, record_found(&w, "k"));
    uint64_t dead = offset_of(a, record_found(&w, "l")), id = w.puts.hold.id;
    append_close(&w.puts, a);
    uint64_t before = load_acquire(&segment_at(a, id)->state);
    assert_int_equal(append_reserve(&w.moves, &w.self, SEGMENT_FOR_CLEANING, 256), 0);
    uint64_t moves = w.moves.at;
    assert_true(segment_claim_victim(&w.self, id, before));
    writer_put(&other, "l", "younger");
    uint64_t claimed = load_acquire(&segment_at(a, id)->state);
    assert_int_equal(index_relocate(&w, from, before), 0); /* not ours in that word: untouched */
    assert_int_equal(index_relocate(&w, dead, claimed), 0);
    assert_true(w.moves.at == moves); /* what was not published is written over */
    assert_value(&w, "l", "younger");
    assert_int_equal(index_relocate(&w, from, claimed), INDEX_RELOCATED);
    const struct record *r = record_found(&w, "k");
    assert_true(offset_of(a, r) == moves && r->version == version);
    uint64_t seed =
        record_seed(w.moves.hold.id, load_relaxed(&segment_at(a, w.moves.hold.id)->incarnation));
    assert_true(record_valid(r, record_size(r), seed));
    assert_int_equal(index_relocate(&w, from, claimed), 0); /* it is dead now */
    assert_true(load_acquire(&w.self.entry->inflight) == 0);
    assert_int_equal(segment_take_idle(a), 2); /* the cleaner's, and the other writer's */
    assert_int_equal(index_relocate(&w, from, claimed), INDEX_AGAIN);
    assert_true(w.moves.hold.id == SEGMENT_NONE);
    writer_end(&w);
    writer_end(&other);
}

/* R3: a length that grows once room was made for the copy overwrites nobody. */
static void relocation_stays_in_its_room(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, "k", "value");
    struct record *r = (struct record *)(uintptr_t)record_found(&w, "k");
    uint64_t from = offset_of(a, r), id = w.puts.hold.id;
    append_close(&w.puts, a);
    assert_int_equal(append_reserve(&w.moves, &w.self, SEGMENT_FOR_CLEANING, 256), 0);
    assert_true(segment_claim_victim(&w.self, id, load_acquire(&segment_at(a, id)->state)));
    uint64_t claimed = load_acquire(&segment_at(a, id)->state), room = w.moves.stop - w.moves.at;
    char *behind = arena_at(a, w.moves.stop), was = *behind;
    r->vlen = (uint32_t)room;
    assert_int_equal(index_relocate(&w, from, claimed), SHMKV_ECORRUPT);
    assert_int_equal(*behind, was);
    assert_true(load_acquire(&w.self.entry->inflight) == 0);
    r->vlen = 5;
    assert_int_equal(index_relocate(&w, from, claimed), INDEX_RELOCATED);
    assert_value(&w, "k", "value");
    writer_end(&w);
}

/* ---- scribbled ----------------------------------------------------------------------------- */

/* R3: a slot that leads out of the log is damage, not a crash. */
static void a_slot_out_of_the_log_is_reported(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    _Atomic uint64_t *slot;
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, "k", "value");
    assert_int_equal(slots_with(a, table_root(a), "k", &slot), 1);
    uint64_t word = load_acquire(slot), ends[] = {4096, a->log_offset + a->log_bytes, 1ull << 49};
    for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
        struct index_key k = key_of(a, "k");
        const struct record *r;
        bool damaged = false;
        store_seq_cst(slot, slot_record(slot_tag_of(word), ends[i]));
        assert_null(index_lookup(a, &k, &damaged));
        assert_true(damaged);
        assert_false(index_peek(&w, &k, &r));
        struct index_change c = writer_change_of(a, "k", "again");
        assert_int_equal(writer_change(&w, &c), SHMKV_ECORRUPT);
    }
    store_seq_cst(slot, word);
    assert_value(&w, "k", "value");
    writer_end(&w);
}

/* R3: a record, or a run, that says to be longer than it has room: who touched it would take
 * memory, or die of there being none.  The short way tells apart what is longer than a segment. */
static void a_record_that_leaves_its_segment_is_reported(void **state)
{
    const struct arena *a = fixture_arena(state);
    static char small[100], large[300000];
    const char *values[] = {memset(small, 's', sizeof(small) - 1),
                            memset(large, 'l', sizeof(large) - 1)};
    for (unsigned i = 0; i < 2; i++) {
        struct writer w;
        struct index_key k = key_of(a, "k");
        const struct record *found;
        bool damaged = false;
        writer_begin(&w, a, writers_process(state));
        assert_rc(shmkv_put(fixture_db(state), "k", 1, values[i], strlen(values[i]), NULL), 0);
        struct record *r = (struct record *)(uintptr_t)record_found(&w, "k");
        uint64_t room = segment_room_at(a, (uint64_t)((char *)r - a->base));
        uint32_t was = r->vlen, most = (uint32_t)(room - sizeof(*r) - 8);
        uint32_t more[] = {most + 1, UINT32_MAX};
        assert_int_equal(room > a->segment_mask + 1, i == 1); /* a run */
        for (unsigned n = 0; n < ARRAY_SIZE(more); n++) {
            struct index_change c = writer_change_of(a, "k", "again");
            r->vlen = more[n];
            assert_null(index_lookup(a, &k, &damaged));
            assert_true(damaged);
            assert_true(r->vlen <= a->segment_mask || !index_peek(&w, &k, &found));
            assert_int_equal(writer_change(&w, &c), SHMKV_ECORRUPT);
        }
        r->vlen = most;
        assert_non_null(index_lookup(a, &k, &damaged));
        r->vlen = was;
        assert_value(&w, "k", values[i]);
        writer_end(&w);
    }
}

/* R3: a slot that is closed where no table follows: no absence, on which a reader would go on and a
 * writer not, so that one who does both, as shmkv_update(), would try for ever. */
static void a_slot_that_leads_to_no_table_is_reported(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    _Atomic uint64_t *slot;
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, "k", "value");
    assert_int_equal(slots_with(a, table_root(a), "k", &slot), 1);
    uint64_t word = load_acquire(slot);
    uint64_t closed[] = {SLOT_MOVED_EMPTY, slot_moved(word)};
    for (unsigned i = 0; i < ARRAY_SIZE(closed); i++) {
        struct index_key k = key_of(a, "k");
        bool damaged = false;
        store_seq_cst(slot, closed[i]);
        assert_null(index_lookup(a, &k, &damaged));
        assert_true(damaged);
    }
    store_seq_cst(slot, word);
    assert_value(&w, "k", "value");
    writer_end(&w);
}

/* R3: nor does a writer who has seen no table yet take what is written over the root for one. */
static void a_root_written_over_is_no_table(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    static const uint64_t roots[] = {0, UINT64_MAX};
    uint64_t root = table_root(a);
    for (unsigned i = 0; i < 4; i++) {
        struct index_change c = writer_change_of(a, "k", "value");
        const struct record *r;
        store_seq_cst(&a->sb->root, roots[i / 2]);
        writer_begin(&w, a, writers_process(state));
        store_seq_cst(&a->sb->root, roots[i % 2]);
        struct index_key k = key_of(a, "k");
        assert_false(index_peek(&w, &k, &r));
        assert_int_equal(writer_change(&w, &c), SHMKV_ECORRUPT);
        store_seq_cst(&a->sb->root, root);
        writer_end(&w);
    }
}

#if !THREAD_SANITIZER /* whose report would be right: it is a stray write */
struct scribble {
    struct table *t;
    _Atomic bool stop;
};

/* Over and over, so that some come between a look at the header and the use of what it said. */
static void *scribble(void *arg)
{
    struct scribble *s = arg;
    volatile uint64_t *words[] = {&s->t->slots, &s->t->slots_offset};
    uint64_t was[] = {s->t->slots, s->t->slots_offset};
    for (unsigned i = 0; !load_relaxed(&s->stop); i++) {
        *words[i % 2] = 1ull << (40 + i % 24);
        for (unsigned n = i % 50; n != 0; n--)
            barrier_compiler();
        *words[i % 2] = was[i % 2];
        for (unsigned n = i % 70; n != 0; n--)
            barrier_compiler();
    }
    return NULL;
}

/* R3: what was found sound in a header is what is used of it. */
static void a_header_is_looked_at_once(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    pthread_t thread;
    unsigned found = 0, damaged = 0;
    struct scribble s = {.t = table_of(a, table_root(a))};
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, "k", "value");
    struct index_key k = key_of(a, "k");
    assert_int_equal(pthread_create(&thread, NULL, scribble, &s), 0);
    for (unsigned i = 0; i < 1000000 || found == 0 || damaged == 0; i++) {
        bool is_damaged = false;
        const struct record *r = index_lookup(a, &k, &is_damaged);
        assert_true(is_damaged || r != NULL);
        index_prefetch_record(a, k.hash);
        found += r != NULL;
        damaged += is_damaged;
        table_view_begin(&w.view); /* else the header is not looked at */
        struct index_change c = writer_change_of(a, "k", "other");
        int rc = i % 16 != 0 ? 0 : writer_change(&w, &c);
        assert_true(rc == 0 || rc == SHMKV_ECORRUPT);
    }
    store_relaxed(&s.stop, true);
    pthread_join(thread, NULL);
    assert_non_null(record_found(&w, "k"));
    writer_end(&w);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(decide),
        FIXTURE(decide_what_is_no_record),
        FIXTURE(decide_whoever_took_it_from_its_slot),
        FIXTURE(one_slot),
        FIXTURE(a_peek_is_a_lookup),
        FIXTURE(versions_grow),
        FIXTURE(versions_run_over_into_the_next_epoch),
        FIXTURE(versions_written_over_do_not_lead_g),
        FIXTURE(old_table_first),
        FIXTURE(conditions),
        FIXTURE(relocation_is_the_same_record_elsewhere),
        FIXTURE(relocation_stays_in_its_room),
        FIXTURE(a_slot_out_of_the_log_is_reported),
        FIXTURE(a_record_that_leaves_its_segment_is_reported),
        FIXTURE(a_slot_that_leads_to_no_table_is_reported),
        FIXTURE(a_root_written_over_is_no_table),
#if !THREAD_SANITIZER
        FIXTURE(a_header_is_looked_at_once),
#endif
    };
    return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
