/* SPDX-License-Identifier: MIT */
/*
 * test_run.c - values larger than a segment: claimed, written, read, replaced, freed.
 */
#include "blob.h"
#include "child.h"
#include "collect.h"
#include "expire.h"
#include "writers.h"

#include <stdlib.h>
#include <string.h>

#define SEGMENT (64u << 10) /* of the usual store */
#define LARGEST (16u << 20) /* record of the usual store: a quarter of it */
#define EXTRA (24u + 8 + 8) /* header, expiry, key */

static const struct shmkv_options small = {.flags = SHMKV_NO_KEEPER, .size = 8u << 20};

/* ---- helpers ------------------------------------------------------------------------------- */

static void put_blob(struct shmkv *db, const char *key, uint64_t sequence, size_t size)
{
    char *value = malloc(size);
    blob_write(value, size, 1, sequence);
    assert_rc(shmkv_put(db, key, strlen(key), value, size, NULL), 0);
    free(value);
}

/* The value is whole, is that of @sequence and has @size bytes. */
static void assert_blob(struct shmkv *db, const char *key, uint64_t sequence, size_t size)
{
    struct shmkv_section section;
    struct shmkv_item item;
    uint64_t found;
    assert_rc(shmkv_begin(db, &section), 0);
    assert_rc(shmkv_get(&section, key, strlen(key), &item), 0);
    assert_int_equal(item.size, size);
    assert_true(blob_read(item.value, item.size, 1, &found));
    assert_int_equal(found, sequence);
    shmkv_end(&section);
}

static unsigned count_kind(struct shmkv *db, enum segment_kind kind)
{
    struct segment_census c;
    segment_count(audit_arena(db), &c);
    return (unsigned)c.kinds[kind];
}

static struct writer *writer_of(struct shmkv *db)
{
    struct context *c;
    assert_rc(store_context(db, &c), 0);
    return &c->writer;
}

/* Let everything that is in limbo become free. */
static void pass_time(struct shmkv *db)
{
    grace_pass(audit_arena(db));
    segment_reclaim(audit_arena(db));
    assert_int_equal(count_kind(db, SEGMENT_LIMBO), 0);
}

static void print_finding(void *arg, const char *line)
{
    (void)arg;
    print_message("# %s\n", line);
}

static void assert_sound(struct shmkv *db)
{
    assert_rc(shmkv_check(db, print_finding, NULL), 0);
}

/* ---- life of a run ------------------------------------------------------------------------- */

static void a_value_of_many_segments(void **state)
{
    struct shmkv *db = fixture_db(state);
    static const size_t sizes[] = {SEGMENT - EXTRA + 9,     SEGMENT,       SEGMENT + SEGMENT / 100,
                                   2 * SEGMENT - EXTRA,     100 * SEGMENT, LARGEST - EXTRA,
                                   2 * SEGMENT - EXTRA + 9, 3 * SEGMENT};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        put_blob(db, "k", i, sizes[i]);
        assert_blob(db, "k", i, sizes[i]);
        assert_int_equal(count_kind(db, SEGMENT_RUN_HEAD), 1);
        unsigned segments = (unsigned)((sizes[i] + EXTRA - 8 + SEGMENT - 1) / SEGMENT);
        assert_in_range(count_kind(db, SEGMENT_RUN_REST), segments - 1, 2 * LARGEST / SEGMENT);
        assert_sound(db);
    }
    pass_time(db);
    assert_int_equal(count_kind(db, SEGMENT_RUN_REST), 3); /* the last value's */
    delete_text(db, "k");
    assert_text(db, "k", NULL);
    assert_int_equal(collect_runs(writer_of(db), false), 1);
    pass_time(db);
    assert_int_equal(count_kind(db, SEGMENT_RUN_HEAD) + count_kind(db, SEGMENT_RUN_REST), 0);
    assert_sound(db);
}

/* What a reader sees stays, though the value was replaced and others need the room. */
static void a_reader_keeps_its_run(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_reader *reader;
    struct shmkv_section section;
    struct shmkv_item item;
    uint64_t found;
    put_blob(db, "k", 1, LARGEST / 2);
    assert_rc(shmkv_reader_open(db, &reader), 0);
    assert_rc(shmkv_reader_begin(reader, &section), 0);
    assert_rc(shmkv_get(&section, "k", 1, &item), 0);
    for (uint64_t i = 2; i < 6; i++)
        put_blob(db, "k", i, LARGEST / 2);
    assert_true(blob_read(item.value, item.size, 1, &found));
    assert_int_equal(found, 1);
    shmkv_end(&section);
    shmkv_reader_close(reader);
    pass_time(db);
    assert_int_equal(count_kind(db, SEGMENT_RUN_HEAD), 1);
    assert_sound(db);
}

/* Replacing for ever, in a store that holds three of them. */
static void runs_are_reused(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t largest = 2u << 20;
    for (uint64_t i = 0; i < 200; i++) {
        put_blob(db, i % 2 == 0 ? "a" : "b", i, largest - EXTRA - i * 997);
        assert_in_range(segment_memory(audit_arena(db)), 0, small.size);
    }
    assert_blob(db, "a", 198, largest - EXTRA - 198 * 997);
    assert_blob(db, "b", 199, largest - EXTRA - 199 * 997);
    assert_sound(db);
}

/* A death may lose the count of dead bytes, but not the run. */
static void a_run_without_its_count_is_found(void **state)
{
    struct shmkv *db = fixture_db(state);
    const struct arena *a = audit_arena(db);
    put_blob(db, "k", 1, 3 * SEGMENT);
    put_text(db, "k", "small");
    for (uint64_t id = 0; id < load_acquire(&a->sb->segment_high); id++)
        store_relaxed(&a->dead[id], 0);
    assert_int_equal(collect_runs(writer_of(db), false), 0);
    assert_int_equal(collect_runs(writer_of(db), true), 1);
    assert_int_equal(collect_runs(writer_of(db), true), 0);
    assert_text(db, "k", "small");
    pass_time(db);
    assert_int_equal(count_kind(db, SEGMENT_RUN_REST), 0);
}

/* ---- each operation ------------------------------------------------------------------------ */

static int to_next(void *arg, const struct shmkv_item *old, struct shmkv_bytes *value)
{
    uint64_t sequence;
    char *room = arg;
    assert_true(blob_read(old->value, old->size, 1, &sequence));
    blob_write(room, 5 * SEGMENT, 1, sequence + 1);
    *value = (struct shmkv_bytes){room, 5 * SEGMENT};
    return SHMKV_STORE;
}

static void every_operation_takes_large_values(void **state)
{
    struct shmkv *db = fixture_db(state);
    char *value = malloc(LARGEST);
    struct shmkv_item item;
    size_t size = 0;
    uint64_t version;
    struct shmkv_put_options absent = {.flags = SHMKV_IF_ABSENT, .version = &version};
    blob_write(value, 2 * SEGMENT, 1, 7);
    assert_rc(shmkv_put(db, "k", 1, value, 2 * SEGMENT, &absent), 0);
    assert_rc(shmkv_put(db, "k", 1, value, 2 * SEGMENT, &absent), SHMKV_EEXISTS);
    assert_rc(shmkv_cas(db, "k", 1, version + 1, value, 2 * SEGMENT, NULL), SHMKV_EMISMATCH);
    assert_blob(db, "k", 7, 2 * SEGMENT);
    blob_write(value, 3 * SEGMENT, 1, 8);
    assert_rc(shmkv_cas(db, "k", 1, version, value, 3 * SEGMENT, NULL), 0);
    assert_blob(db, "k", 8, 3 * SEGMENT);
    assert_rc(shmkv_add(db, "k", 1, 1, NULL), SHMKV_ENOTNUM);
    assert_rc(shmkv_update(db, "k", 1, to_next, value), 0);
    assert_blob(db, "k", 9, 5 * SEGMENT);
    assert_rc(shmkv_touch(db, "k", 1, 60000), 0);
    assert_blob(db, "k", 9, 5 * SEGMENT);
    assert_rc(shmkv_append(db, "k", 1, "abc", 3, &size), 0);
    assert_int_equal(size, 5 * SEGMENT + 3);
    assert_rc(shmkv_take(db, "k", 1, value, 5, &size), SHMKV_EBUFFER);
    assert_rc(shmkv_take(db, "k", 1, value, LARGEST, &size), 0);
    assert_memory_equal(value + 5 * SEGMENT, "abc", 3);
    assert_rc(shmkv_read(db, "k", 1, value, LARGEST, &item), SHMKV_ENOTFOUND);
    assert_rc(shmkv_compact(db), 0);
    assert_int_equal(count_kind(db, SEGMENT_RUN_HEAD) + count_kind(db, SEGMENT_RUN_REST), 0);
    free(value);
    assert_sound(db);
}

static void batches_take_large_values(void **state)
{
    struct shmkv *db = fixture_db(state);
    char *value = malloc(4 * SEGMENT);
    blob_write(value, 4 * SEGMENT, 1, 3);
    struct shmkv_bytes keys[] = {{"a", 1}, {"b", 1}, {"c", 1}};
    struct shmkv_bytes values[] = {{value, 4 * SEGMENT}, {"small", 5}, {value, 4 * SEGMENT}};
    size_t done;
    assert_rc(shmkv_put_many(db, keys, values, 3, NULL, &done), 0);
    assert_int_equal(done, 3);
    assert_blob(db, "a", 3, 4 * SEGMENT);
    assert_text(db, "b", "small");
    assert_blob(db, "c", 3, 4 * SEGMENT);
    assert_rc(shmkv_delete_many(db, keys, 3, &done), 0);
    free(value);
    assert_sound(db);
}

/* ---- reservations -------------------------------------------------------------------------- */

static void a_large_reservation(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_reservation r;
    put_text(db, "k", "old");
    assert_rc(shmkv_reserve(db, "k", 1, 20 * SEGMENT, NULL, &r), 0);
    assert_int_equal(count_kind(db, SEGMENT_PINNED), 1);
    assert_int_equal(count_kind(db, SEGMENT_RUN_REST), 20);
    blob_write(r.value, 20 * SEGMENT, 1, 5);
    assert_sound(db);
    assert_text(db, "k", "old");
    put_blob(db, "other", 1, 2 * SEGMENT); /* other writes go on */
    assert_rc(shmkv_commit(&r), 0);
    assert_blob(db, "k", 5, 20 * SEGMENT);
    assert_blob(db, "other", 1, 2 * SEGMENT);
    assert_rc(shmkv_reserve(db, "k", 1, 30 * SEGMENT, NULL, &r), 0);
    shmkv_cancel(&r); /* nobody has seen it: free at once */
    assert_int_equal(count_kind(db, SEGMENT_PINNED), 0);
    assert_int_equal(count_kind(db, SEGMENT_RUN_REST), 20 + 2);
    assert_sound(db);
}

/* What a stray write hits while a value is being filled in place. */
struct stray {
    size_t size; /* of the value */
    bool header; /* the record's, else its segment's state */
};

static int commit_what_was_hit(void *arg)
{
    const struct stray *s = arg;
    struct fixture f;
    struct shmkv_reservation r;
    fixture_begin(&f, &small);
    child_assert(shmkv_reserve(f.db, "k", 1, s->size, NULL, &r) == 0);
    const struct arena *a = audit_arena(f.db);
    struct record *record = arena_at(a, r.offset);
    memset(r.value, 1, s->size);
    if (s->header)
        record->vlen = UINT32_MAX;
    else
        store_seq_cst(&segment_at(a, arena_segment_of(a, r.offset))->state, SEGMENT_SEALED);
    child_assert(shmkv_commit(&r) == SHMKV_ECORRUPT);
    child_assert(shmkv_exists(f.db, "k", 1) == SHMKV_ENOTFOUND);
    child_assert(shmkv_put(f.db, "k", 1, "v", 1, NULL) == 0);
    fixture_remove(&f);
    return 0;
}

static void a_stray_write_ends_a_reservation(void **state)
{
    static const struct stray strays[] = {
        {100, false}, {100, true}, {3 * SEGMENT, false}, {3 * SEGMENT, true}};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(strays); i++) {
        struct stray s = strays[i];
        assert_int_equal(child_wait(child_start(commit_what_was_hit, &s), 10000), 0);
    }
}

/* ---- room ---------------------------------------------------------------------------------- */

/* What is refused for want of room leaves nothing behind. */
static void a_full_store_refuses(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t largest = (2u << 20) - EXTRA;
    char *value = malloc(largest);
    char key[16];
    int rc = 0;
    unsigned n = 0;
    blob_write(value, largest, 1, 1);
    for (; rc == 0; n++) {
        snprintf(key, sizeof(key), "k%u", n);
        rc = shmkv_put(db, key, strlen(key), value, largest, NULL);
    }
    assert_int_equal(rc, SHMKV_ENOSPC);
    assert_in_range(n - 1, 3, 4); /* of four quarters; tables and the reserve need their part */
    assert_int_equal(count_kind(db, SEGMENT_RUN_HEAD), n - 1);
    assert_int_equal(count_kind(db, SEGMENT_OPENING) + count_kind(db, SEGMENT_PINNED), 0);
    assert_in_range(segment_memory(audit_arena(db)), 0, small.size);
    assert_sound(db);
    delete_text(db, "k1"); /* so one more fits */
    assert_rc(shmkv_put(db, key, strlen(key), value, largest, NULL), 0);
    free(value);
    assert_sound(db);
}

/* Small values have fragmented all memory: it is cleaned, and what is free given to the run. */
static void room_is_made_for_a_run(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t largest = (2u << 20) - EXTRA, random = 5;
    char value[2000] = "";
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t key = blob_random(&random) % 2000;
        assert_rc(shmkv_put(db, &key, sizeof(key), value, sizeof(value), NULL), 0);
    }
    put_blob(db, "k", 1, largest);
    assert_blob(db, "k", 1, largest);
    assert_in_range(segment_memory(audit_arena(db)), 0, small.size);
    for (uint64_t key = 0; key < 2000; key++)
        assert_rc(shmkv_exists(db, &key, sizeof(key)), 0);
    assert_sound(db);
}

/* Runs of all lengths, singles, and cleaning, for a while: the ids stay within what there is. */
static void churn_of_all_sizes(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t random = 11, sequence[24] = {0};
    size_t sizes[24];
    for (unsigned i = 1; i < 3000; i++) {
        char key[2] = {(char)('a' + blob_random(&random) % 24), '\0'};
        unsigned k = (unsigned)(key[0] - 'a');
        unsigned shift = (unsigned)(blob_random(&random) % 14);
        sizes[k] = BLOB_MIN + (blob_random(&random) & 0xff) + (96u << shift);
        put_blob(db, key, i, sizes[k]);
        sequence[k] = i;
        if (i % 5 == 0 && sequence[(k + 7) % 24] != 0) {
            key[0] = (char)('a' + (k + 7) % 24);
            delete_text(db, key);
            sequence[(k + 7) % 24] = 0;
        }
    }
    for (unsigned k = 0; k < 24; k++) {
        char key[2] = {(char)('a' + k), '\0'};
        if (sequence[k] != 0)
            assert_blob(db, key, sequence[k], sizes[k]);
        else
            assert_text(db, key, NULL);
    }
    print_message("# ids used: %llu of %llu, limit %llu\n",
                  (unsigned long long)load_relaxed(&audit_arena(db)->sb->segment_high),
                  (unsigned long long)audit_arena(db)->sb->segment_count,
                  (unsigned long long)(small.size / SEGMENT));
    assert_sound(db);
}

/* ---- keys so long that a tombstone needs a run --------------------------------------------- */

static void the_longest_key(void **state)
{
    struct shmkv *db = fixture_db(state);
    char *key = malloc(SHMKV_KEY_MAX);
    static const struct shmkv_put_options soon = {.ttl_ms = 20};
    blob_write(key, SHMKV_KEY_MAX, 1, 1);
    for (unsigned i = 0; i < 50; i++) {
        key[SHMKV_KEY_MAX - 1] = (char)i;
        assert_rc(shmkv_put(db, key, SHMKV_KEY_MAX, key, i * 100, i % 2 ? &soon : NULL), 0);
    }
    clock_sleep_ns(30000000);
    while (expire_sweep(writer_of(db), 64) != 0) {
    }
    for (unsigned i = 0; i < 50; i++) {
        key[SHMKV_KEY_MAX - 1] = (char)i;
        assert_rc(shmkv_delete(db, key, SHMKV_KEY_MAX), i % 2 ? SHMKV_ENOTFOUND : 0);
    }
    assert_sound(db);
    assert_rc(shmkv_compact(db), 0);
    assert_in_range(count_kind(db, SEGMENT_RUN_HEAD), 0, 50); /* tombstones, until a resize */
    free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(a_value_of_many_segments),
        FIXTURE(a_reader_keeps_its_run),
        FIXTURE_WITH(runs_are_reused, &small),
        FIXTURE(a_run_without_its_count_is_found),
        FIXTURE(every_operation_takes_large_values),
        FIXTURE(batches_take_large_values),
        FIXTURE(a_large_reservation),
        cmocka_unit_test(a_stray_write_ends_a_reservation),
        FIXTURE_WITH(a_full_store_refuses, &small),
        FIXTURE_WITH(room_is_made_for_a_run, &small),
        FIXTURE_WITH(churn_of_all_sizes, &small),
        FIXTURE_WITH(the_longest_key, &small),
    };
    return cmocka_run_group_tests_name("runs", tests, NULL, NULL);
}
