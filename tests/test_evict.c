/* SPDX-License-Identifier: MIT */
/* test_evict.c - a cache is never full, keeps what is read, and gives back nothing; evict.h. */
#include "writers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blob.h"
#include "child.h"
#include "cleaner.h"
#include "clock.h"
#include "evict.h"
#include "stats.h"
#include "store.h"

#define HOT 200u
#define VALUE_BYTES 100u
#define PASSES 4u     /* times that a cache is filled */
#define LAP_PUTS 100u /* less than what fills a segment */
#define DAMAGED 2u

static const struct shmkv_options cache = {.flags = SHMKV_NO_KEEPER | SHMKV_CACHE,
                                           .size = 4u << 20};

static const struct shmkv_options large_cache = {.flags = SHMKV_NO_KEEPER | SHMKV_CACHE,
                                                 .size = 16u << 20};

static char value[VALUE_BYTES];

static struct shmkv_stats stats_of(struct shmkv *db)
{
    struct shmkv_stats s;
    assert_rc(shmkv_get_stats(db, &s), 0);
    return s;
}

static int put_numbered(struct shmkv *db, const char *kind, unsigned i)
{
    char key[32];
    int n = snprintf(key, sizeof(key), "%s %u", kind, i);
    return shmkv_put(db, key, (size_t)n, value, sizeof(value), NULL);
}

static bool has_numbered(struct shmkv *db, const char *kind, unsigned i)
{
    char key[32];
    int n = snprintf(key, sizeof(key), "%s %u", kind, i);
    int rc = shmkv_exists(db, key, (size_t)n);
    assert_true(rc == 0 || rc == SHMKV_ENOTFOUND);
    return rc == 0;
}

/* How many of the keys are there; each look is a hit. */
static unsigned count_hot(struct shmkv *db)
{
    unsigned n = 0;
    for (unsigned i = 0; i < HOT; i++)
        n += has_numbered(db, "hot", i);
    return n;
}

/* As many puts of new keys as fill the store so often. */
static unsigned cold_puts(void)
{
    return PASSES * (unsigned)(cache.size / VALUE_BYTES);
}

static void assert_sound(struct shmkv *db)
{
    assert_rc(shmkv_check(db, NULL, NULL), 0);
    assert_in_range(stats_of(db).memory, 1, cache.size);
}

/* ---- INV-V1 -------------------------------------------------------------------------------- */

static void never_full(void **state)
{
    struct shmkv *db = fixture_db(state);
    for (unsigned i = 0; i < cold_puts(); i++) {
        assert_rc(put_numbered(db, "cold", i), 0);
        assert_true(has_numbered(db, "cold", i));
    }
    struct shmkv_stats s = stats_of(db);
    assert_in_range(s.evictions, cold_puts() / 2, cold_puts());
    assert_int_equal(s.evictions + s.keys, cold_puts());
    assert_in_range(s.live_bytes, cache.size / 2, cache.size); /* and yet full */
    assert_sound(db);
}

/* The log has the memory of the next table until shortly before that is needed: most of the time a
 * full cache has no room for it. */
static void the_next_table_lends_its_memory(void **state)
{
    struct shmkv *db = fixture_db(state);
    unsigned fills = (unsigned)(large_cache.size / VALUE_BYTES), looks = 0, lent = 0;
    for (unsigned i = 0; i < PASSES * fills; i++) {
        assert_rc(put_numbered(db, "cold", i), 0);
        if (i < fills || i % 256 != 0)
            continue;
        struct shmkv_stats s = stats_of(db);
        uint64_t table = s.slots * sizeof(uint64_t);
        assert_in_range(s.memory, 1, large_cache.size);
        looks++;
        lent += s.log_bytes + 2 * table > large_cache.size;
    }
    assert_true(stats_of(db).resizes > PASSES);
    assert_in_range(lent, looks / 2, looks - 1);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
}

/* When it is lent and when given back is policy: with the memory held back all the time, a table
 * that has to grow gets it all the same. */
static void never_full_whatever_is_held_back(void **state)
{
    struct shmkv *db = fixture_db(state);
    const struct arena *a = audit_arena(db);
    uint64_t slots = 0;
    for (unsigned i = 0; i < PASSES * (unsigned)(large_cache.size / VALUE_BYTES); i++) {
        struct table *root = table_of(a, table_root(a)); /* no others: it stays */
        store_relaxed(&root->wanted, table_bytes(root->slots));
        assert_rc(put_numbered(db, "cold", i), 0);
        slots = root->slots;
    }
    assert_in_range(slots * sizeof(uint64_t), large_cache.size / 16, large_cache.size / 4);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
}

/* Write over the first record of some segments of this kind, of those that were filled first. */
static void damage(struct shmkv *db, unsigned wanted)
{
    const struct arena *a = audit_arena(db);
    unsigned damaged = 0;
    for (uint64_t id = 0; id < segment_high(a) && damaged < DAMAGED; id++) {
        if (claim_kind(load_acquire(&segment_at(a, id)->state)) != wanted)
            continue;
        struct record *r = arena_at(a, arena_segment_start(a, id));
        r->klen = 0; /* what ends a walk */
        r->vlen = wanted == SEGMENT_RUN_HEAD ? UINT32_MAX : r->vlen;
        damaged++;
    }
    assert_int_equal(damaged, DAMAGED);
}

/* One that is damaged must not be the oldest for ever: what is behind it makes room. */
static void never_full_of_what_is_damaged(void **state)
{
    struct shmkv *db = fixture_db(state);
    for (unsigned i = 0; i < cold_puts() / PASSES / 2; i++)
        assert_rc(put_numbered(db, "cold", i), 0);
    damage(db, SEGMENT_SEALED);
    for (unsigned i = 0; i < cold_puts(); i++)
        assert_rc(put_numbered(db, "other", i), 0);
}

/* Room comes from what is over before its turn, and tombstones need none of the log for long. */
static void never_full_of_what_is_over(void **state)
{
    static const struct shmkv_put_options soon = {.ttl_ms = 1};
    struct shmkv *db = fixture_db(state);
    for (unsigned i = 0; i < cold_puts(); i++) {
        assert_rc(shmkv_put(db, &i, sizeof(i), value, sizeof(value), i % 2 == 0 ? &soon : NULL), 0);
        int rc = i % 3 == 0 ? shmkv_delete(db, &i, sizeof(i)) : 0;
        assert_true(rc == 0 || rc == SHMKV_ENOTFOUND);
    }
    assert_sound(db);
}

/* Values from nothing to a quarter of a segment, over the same keys and new ones. */
static void never_full_of_any_size(void **state)
{
    static char large[16000];
    struct shmkv *db = fixture_db(state);
    for (unsigned i = 0; i < 20000; i++) {
        unsigned key = i % 3 == 0 ? i % 100 : i;
        assert_rc(shmkv_put(db, &key, sizeof(key), large, i * 37 % sizeof(large), NULL), 0);
    }
    assert_sound(db);
}

/* ---- runs ---------------------------------------------------------------------------------- */

#define SEGMENT (64u << 10)
#define BIG (3 * SEGMENT) /* a value; its record takes four segments */

static char big[16 * SEGMENT];

static int put_big(struct shmkv *db, const char *kind, unsigned i, size_t size)
{
    char key[32];
    int n = snprintf(key, sizeof(key), "%s %u", kind, i);
    memset(big, (int)i, size);
    return shmkv_put(db, key, (size_t)n, big, size, NULL);
}

static unsigned count_runs(struct shmkv *db)
{
    struct segment_census c;
    segment_count(audit_arena(db), &c);
    return (unsigned)c.kinds[SEGMENT_RUN_HEAD];
}

/* A cache that is full of large values evicts them, the oldest first, and no more than it must. */
static void never_full_of_runs(void **state)
{
    struct shmkv *db = fixture_db(state);
    unsigned fit = 0;
    for (unsigned i = 0; i < 400; i++) {
        assert_rc(put_big(db, "big", i, BIG), 0);
        assert_true(has_numbered(db, "big", i));
        fit = count_runs(db) > fit ? count_runs(db) : fit;
    }
    unsigned left = 0, oldest = 400;
    for (unsigned i = 400; i-- > 0;) {
        if (!has_numbered(db, "big", i))
            continue;
        left++;
        oldest = i;
    }
    struct shmkv_stats s = stats_of(db);
    assert_int_equal(s.evictions + s.keys, 400);
    assert_int_equal(s.keys, left);
    assert_true(fit * 4 * SEGMENT > cache.size / 2); /* it was full of them */
    assert_in_range(left, fit / 2, fit);
    assert_int_equal(400 - oldest, left); /* in order */
    assert_sound(db);
}

/* Of all sizes up to the largest, small ones beside them. */
static void never_full_of_runs_and_others(void **state)
{
    struct shmkv *db = fixture_db(state);
    uint64_t random = 3;
    for (unsigned i = 0; i < 3000; i++) {
        unsigned shift = (unsigned)(blob_random(&random) % 14);
        assert_rc(put_big(db, "any", i % 500, 100 + ((unsigned)i % 77) + (60u << shift)), 0);
        assert_true(has_numbered(db, "any", i % 500));
        assert_rc(put_numbered(db, "cold", i), 0);
    }
    assert_in_range(stats_of(db).evictions, 1000, 6000);
    assert_sound(db);
}

/* Large values push out small ones, and these make room for runs, too. */
static void a_run_pushes_out_small_ones(void **state)
{
    struct shmkv *db = fixture_db(state);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < cold_puts() / PASSES; i++)
            assert_rc(put_numbered(db, "cold", i), 0);
        for (unsigned i = 0; i < 3; i++)
            assert_rc(put_big(db, "big", i, 15 * SEGMENT), 0);
        assert_true(has_numbered(db, "big", 2));
        assert_sound(db);
    }
}

static void never_full_of_damaged_runs(void **state)
{
    struct shmkv *db = fixture_db(state);
    for (unsigned i = 0; i < 2 * DAMAGED; i++)
        assert_rc(put_big(db, "big", i, BIG), 0);
    damage(db, SEGMENT_RUN_HEAD);
    for (unsigned i = 0; i < 400; i++)
        assert_rc(put_big(db, "other", i, BIG), 0);
}

/* One that is read stays, as small ones do, while others come and go; and is moved nowhere. */
static void a_run_that_is_read_stays(void **state)
{
    struct shmkv *db = fixture_db(state);
    assert_rc(put_big(db, "hot", 1, BIG), 0);
    uint64_t relocated = stats_of(db).bytes_relocated;
    for (unsigned i = 0; i < 400; i++) {
        assert_true(has_numbered(db, "hot", 1));
        assert_rc(put_big(db, "big", i, BIG), 0);
    }
    assert_true(has_numbered(db, "hot", 1));
    assert_int_equal(stats_of(db).bytes_relocated, relocated);
    for (unsigned i = 0; i < 100; i++) /* and goes when it is not read any more */
        assert_rc(put_big(db, "big", i, BIG), 0);
    assert_false(has_numbered(db, "hot", 1));
    assert_sound(db);
}

/* INV-V3: all were read, all the time. */
static void runs_that_are_all_hot(void **state)
{
    struct shmkv *db = fixture_db(state);
    for (unsigned i = 0; i < 200; i++) {
        assert_rc(put_big(db, "big", i, BIG), 0);
        for (unsigned k = 0; k <= i; k++)
            has_numbered(db, "big", k);
    }
    assert_sound(db);
}

/* ---- what is kept -------------------------------------------------------------------------- */

/* Read while so many new keys come that none of them would be left if it were not. */
static void what_is_read_stays(void **state)
{
    struct shmkv *db = fixture_db(state);
    for (unsigned i = 0; i < HOT; i++)
        assert_rc(put_numbered(db, "hot", i), 0);
    for (unsigned i = 0; i < cold_puts(); i++) {
        assert_rc(put_numbered(db, "cold", i), 0);
        if (i % 1000 == 0)
            assert_int_equal(count_hot(db), HOT);
    }
    assert_in_range(stats_of(db).relocations, HOT, UINT32_MAX);
    assert_sound(db);
}

static void what_is_not_read_goes(void **state)
{
    struct shmkv *db = fixture_db(state);
    for (unsigned i = 0; i < HOT; i++)
        assert_rc(put_numbered(db, "hot", i), 0);
    for (unsigned i = 0; i < cold_puts(); i++)
        assert_rc(put_numbered(db, "cold", i), 0);
    assert_in_range(count_hot(db), 0,
                    HOT / 50); /* whose ghost is taken for another's: sixteen bits */
}

/* A batch counts as single reads do. */
static void what_is_read_in_batches_stays(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_bytes keys[HOT];
    struct shmkv_item items[HOT];
    static char names[HOT][16];
    for (unsigned i = 0; i < HOT; i++) {
        assert_rc(put_numbered(db, "hot", i), 0);
        keys[i] = (struct shmkv_bytes){names[i], (size_t)snprintf(names[i], 16, "hot %u", i)};
    }
    for (unsigned i = 0; i < cold_puts(); i++) {
        struct shmkv_section s;
        assert_rc(put_numbered(db, "cold", i), 0);
        if (i % 1000 != 0)
            continue;
        assert_rc(shmkv_begin(db, &s), 0);
        assert_int_equal(shmkv_get_many(&s, keys, HOT, items), HOT);
        shmkv_end(&s);
    }
}

struct reading {
    struct fixture *fixture;
    _Atomic uint64_t laps; /* rounds in which all hot keys were found */
};

static int read_only_reader(void *arg)
{
    struct reading *reading = arg;
    struct shmkv *db = fixture_open(reading->fixture, SHMKV_READONLY);
    while (count_hot(db) == HOT) /* until the parent ends it */
        add_relaxed(&reading->laps, 1);
    return 1;
}

/* A process that maps the arena read-only keeps keys by reading them: all of them between any two
 * segments that are walked, even if it has no processor but while it is waited for. */
static void a_reader_without_rights_counts(void **state)
{
    struct fixture *f = *state;
    struct reading *reading =
        mmap(NULL, sizeof(*reading), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    reading->fixture = f;
    for (unsigned i = 0; i < HOT; i++)
        assert_rc(put_numbered(f->db, "hot", i), 0);
    pid_t pid = child_start(read_only_reader, reading);
    int status;
    bool ended = false;
    for (unsigned i = 0; i < cold_puts() && !ended; i++) {
        uint64_t laps = load_relaxed(&reading->laps);
        assert_rc(put_numbered(f->db, "cold", i), 0);
        while (i % LAP_PUTS == 0 && load_relaxed(&reading->laps) < laps + 2 && !ended) {
            clock_sleep_ns(100000);
            ended = child_ended(pid, &status);
        }
    }
    assert_false(ended); /* it has found all of them, all the time */
    child_kill(pid);
    munmap(reading, sizeof(*reading));
    assert_int_equal(count_hot(f->db), HOT);
}

/* ---- hits ---------------------------------------------------------------------------------- */

static bool is_unread(struct shmkv *db, const char *name, unsigned i)
{
    char key[32];
    snprintf(key, sizeof(key), "%s %u", name, i);
    assert_rc(shmkv_exists(db, "absent", 6), SHMKV_ENOTFOUND); /* the thread's context is of @db */
    const struct record *r = record_found(&store_current->writer, key);
    assert_true((load_relaxed(&r->state) & RECORD_PUBLISHED) != 0);
    return record_is_unread(r);
}

/* Put anew it is unread again; reading it a second time changes nothing. */
static void who_may_write_notes_at_once(void **state)
{
    struct shmkv *db = fixture_db(state);
    for (int i = 0; i < 2; i++) {
        assert_rc(put_numbered(db, "k", 0), 0);
        assert_true(is_unread(db, "k", 0));
        assert_true(has_numbered(db, "k", 0));
        assert_false(is_unread(db, "k", 0));
        assert_true(has_numbered(db, "k", 0));
        assert_int_equal(evict_drain(&store_current->writer.self), 0);
        assert_sound(db);
    }
}

#define TWINS 20000u

struct twin {
    uint64_t place; /* bucket and tag */
    unsigned number;
};

static int by_place(const void *a, const void *b)
{
    const struct twin *x = a, *y = b;
    return (x->place > y->place) - (x->place < y->place);
}

/* Keys by bucket and tag: of so many, some dozens have both in common. */
static struct twin *twins_of(const struct arena *a)
{
    const struct table *root = table_of(a, table_root(a));
    struct twin *twin = calloc(TWINS, sizeof(*twin));
    char key[32];
    for (unsigned i = 0; i < TWINS; i++) {
        snprintf(key, sizeof(key), "twin %u", i);
        uint64_t hash = hash_key(key, strlen(key), &a->hash_secret);
        twin[i] = (struct twin){table_home(root, hash) << 16 | slot_tag(hash), i};
    }
    qsort(twin, TWINS, sizeof(*twin), by_place);
    return twin;
}

/* A hit is of a hash: it counts for its own key, not for who stands before it with the same tag. */
static void twins_are_told_apart(void **state)
{
    struct fixture *f = *state;
    struct shmkv *reader = fixture_open(f, SHMKV_READONLY);
    struct twin *twin = twins_of(audit_arena(f->db));
    unsigned pairs = 0;
    for (unsigned i = 0; i + 1 < TWINS; i++) {
        if (twin[i].place != twin[i + 1].place)
            continue;
        for (unsigned j = i; j < i + 2; j++)
            assert_rc(put_numbered(f->db, "twin", twin[j].number), 0);
        for (unsigned j = i; j < i + 2; j++)
            assert_true(has_numbered(reader, "twin", twin[j].number));
        assert_true(is_unread(f->db, "twin", twin[i].number)); /* and makes its context current */
        assert_int_equal(evict_drain(&store_current->writer.self), 2);
        for (unsigned j = i; j < i + 2; j++)
            assert_false(is_unread(f->db, "twin", twin[j].number));
        pairs++;
    }
    assert_in_range(pairs, 10, 200);
    free(twin);
    shmkv_close(reader);
}

/* More hits of a process that may not write than its ring has room for: the last ones are marked,
 * nothing else happens. */
static void a_ring_forgets_the_oldest(void **state)
{
    struct fixture *f = *state;
    const unsigned keys = 2 * RING_ENTRIES;
    for (unsigned i = 0; i < keys; i++)
        assert_rc(put_numbered(f->db, "k", i), 0);
    struct shmkv *reader = fixture_open(f, SHMKV_READONLY);
    for (unsigned i = 0; i < keys; i++)
        assert_true(has_numbered(reader, "k", i));
    assert_true(is_unread(f->db, "k", 0)); /* makes the context of the writer current */
    assert_int_equal(evict_drain(&store_current->writer.self), RING_ENTRIES);
    assert_int_equal(evict_drain(&store_current->writer.self), 0);
    unsigned marked = 0;
    for (unsigned i = 0; i < keys; i++) {
        if (is_unread(f->db, "k", i))
            continue;
        marked++;
        assert_true(has_numbered(reader, "k", i)); /* it is not noted twice */
    }
    assert_in_range(marked, RING_ENTRIES - RING_ENTRIES / 50, RING_ENTRIES + RING_ENTRIES / 50);
    assert_true(is_unread(f->db, "k", 0));
    assert_int_equal(evict_drain(&store_current->writer.self), 0);
    assert_rc(shmkv_close(reader), 0);
}

/* ---- INV-V2, INV-V3 ------------------------------------------------------------------------ */

/* A section that stands holds memory back: the put says so, and the cache is not emptied for it. */
static void a_held_segment_costs_little(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_reader *reader;
    struct shmkv_section s;
    for (unsigned i = 0; i < cold_puts(); i++)
        assert_rc(put_numbered(db, "cold", i), 0);
    uint64_t before = stats_of(db).keys;
    assert_rc(shmkv_reader_open(db, &reader), 0);
    assert_rc(shmkv_reader_begin(reader, &s), 0);
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < cold_puts(); i++)
        rc = put_numbered(db, "more", i);
    assert_int_equal(rc, SHMKV_EHELD);
    assert_in_range(stats_of(db).keys, before / 4 * 3, before + before / 4);
    shmkv_end(&s);
    shmkv_reader_close(reader);
    assert_rc(put_numbered(db, "more", 0), 0);
    assert_sound(db);
}

/* Everything was read, every time: something goes all the same. */
static void all_hot_is_no_excuse(void **state)
{
    struct shmkv *db = fixture_db(state);
    for (unsigned i = 0; i < cold_puts(); i++) {
        assert_rc(put_numbered(db, "k", i), 0);
        for (unsigned back = 0; back < 20 && back <= i; back++)
            has_numbered(db, "k", i - back * (i / 20));
    }
    assert_sound(db);
}

/* ---- INV-V4 -------------------------------------------------------------------------------- */

static int evict(struct writer *w, const char *key)
{
    const struct arena *a = w->self.arena;
    const struct record *r = record_found(w, key);
    uint64_t at = offset_of(a, r), id = arena_segment_of(a, at);
    append_close(&w->puts, a);
    uint64_t word = load_acquire(&segment_at(a, id)->state);
    assert_true(segment_claim_victim(&w->self, id, word));
    int rc = index_evict(w, at, claim_word(SEGMENT_CLEANING, w->self.index, 0));
    assert_int_equal(index_evict(w, at, claim_word(SEGMENT_CLEANING, w->self.index, 0)), 0);
    segment_unclaim_owner(&w->self, id, 0);
    return rc;
}

static void an_evicted_key_comes_back_younger(void **state)
{
    struct writer w;
    uint64_t last = 0;
    writer_begin(&w, fixture_arena(state), writers_process(state));
    for (unsigned i = 0; i < 50; i++) {
        uint64_t version = writer_put(&w, "k", "value");
        assert_true(version > last);
        assert_int_equal(evict(&w, "k"), INDEX_EVICTED);
        assert_null(record_found(&w, "k"));
        last = version;
    }
    assert_int_equal(slots_with(w.self.arena, table_root(w.self.arena), "k", NULL), 0);
    writer_end(&w);
    assert_rc(shmkv_check(fixture_db(state), NULL, NULL), 0);
}

/* R3: nor does G follow a version that was written over, see test_index. */
static void an_evicted_version_does_not_lead_g(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct writer w;
    writer_begin(&w, a, writers_process(state));
    uint64_t last = writer_put(&w, "k", "value"), g = epoch_now(a);
    ((struct record *)(uintptr_t)record_found(&w, "k"))->version = (uint64_t)-2;
    assert_int_equal(evict(&w, "k"), INDEX_EVICTED);
    assert_true(epoch_now(a) == g + 1);
    assert_true(writer_put(&w, "k", "value") > last);
    writer_end(&w);
}

/* Tombstones too: the key stays absent, its slot is free for the next table. */
static void an_evicted_tombstone_leaves_nothing(void **state)
{
    struct writer w;
    writer_begin(&w, fixture_arena(state), writers_process(state));
    writer_put(&w, "k", "value");
    writer_delete(&w, "k");
    assert_int_equal(evict(&w, "k"), INDEX_EVICTED);
    assert_null(record_found(&w, "k"));
    assert_int_equal(resize_grow(&w.self, &w.resizer, table_root(w.self.arena)), 0);
    resize_finish(&w.self);
    const struct table *t = table_of(w.self.arena, table_root(w.self.arena));
    for (uint64_t i = 0; i < t->slots; i++)
        assert_true(load_acquire(&table_slots(w.self.arena, t)[i]) == SLOT_EMPTY);
    writer_end(&w);
}

/* A record that was replaced meanwhile is dead, and its key stays. */
static void only_the_current_record_goes(void **state)
{
    struct writer w;
    const struct arena *a = fixture_arena(state);
    writer_begin(&w, a, writers_process(state));
    writer_put(&w, "k", "old");
    uint64_t at = offset_of(a, record_found(&w, "k")), id = arena_segment_of(a, at);
    append_close(&w.puts, a);
    assert_true(segment_claim_victim(&w.self, id, load_acquire(&segment_at(a, id)->state)));
    writer_put(&w, "k", "new");
    assert_int_equal(index_evict(&w, at, claim_word(SEGMENT_CLEANING, w.self.index, 0)), 0);
    assert_memory_equal(record_value(record_found(&w, "k")), "new", 3);
    segment_unclaim_owner(&w.self, id, 0);
    writer_end(&w);
}

/* A cache stays one for whoever opens it. */
static void a_cache_is_one_for_all(void **state)
{
    struct shmkv *db = fixture_open(*state, SHMKV_READONLY);
    assert_true(audit_arena(db)->cache);
    assert_rc(shmkv_close(db), 0);
}

/* Evicted records would be in the image still, and come back with it. */
static void a_cache_has_no_image(void **state)
{
    const struct shmkv_options o = {.flags = SHMKV_CREATE | SHMKV_CACHE, .size = 4u << 20};
    struct shmkv *db;
    (void)state;
    assert_rc(shmkv_open("/tmp/shmkv-test-evict", &o, &db), SHMKV_ENOTSUP);
    assert_null(db);
    assert_int_equal(access("/tmp/shmkv-test-evict", F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(never_full, &cache),
        FIXTURE_WITH(the_next_table_lends_its_memory, &large_cache),
        FIXTURE_WITH(never_full_whatever_is_held_back, &large_cache),
        FIXTURE_WITH(never_full_of_what_is_over, &cache),
        FIXTURE_WITH(never_full_of_what_is_damaged, &cache),
        FIXTURE_WITH(never_full_of_any_size, &cache),
        FIXTURE_WITH(never_full_of_runs, &cache),
        FIXTURE_WITH(never_full_of_runs_and_others, &cache),
        FIXTURE_WITH(a_run_pushes_out_small_ones, &cache),
        FIXTURE_WITH(never_full_of_damaged_runs, &cache),
        FIXTURE_WITH(a_run_that_is_read_stays, &cache),
        FIXTURE_WITH(runs_that_are_all_hot, &cache),
        FIXTURE_WITH(what_is_read_stays, &cache),
        FIXTURE_WITH(what_is_not_read_goes, &cache),
        FIXTURE_WITH(what_is_read_in_batches_stays, &cache),
        FIXTURE_WITH(a_reader_without_rights_counts, &cache),
        FIXTURE_WITH(who_may_write_notes_at_once, &cache),
        FIXTURE_WITH(twins_are_told_apart, &cache),
        FIXTURE_WITH(a_ring_forgets_the_oldest, &cache),
        FIXTURE_WITH(a_held_segment_costs_little, &cache),
        FIXTURE_WITH(all_hot_is_no_excuse, &cache),
        FIXTURE_WITH(an_evicted_key_comes_back_younger, &cache),
        FIXTURE_WITH(an_evicted_version_does_not_lead_g, &cache),
        FIXTURE_WITH(an_evicted_tombstone_leaves_nothing, &cache),
        FIXTURE_WITH(only_the_current_record_goes, &cache),
        FIXTURE_WITH(a_cache_is_one_for_all, &cache),
        cmocka_unit_test(a_cache_has_no_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
