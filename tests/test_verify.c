/* SPDX-License-Identifier: MIT */
/*
 * test_verify.c - shmkv_check() finds each kind of damage, finds none where there is none, and
 * neither it nor a reader dies of what it finds.
 */
#include "fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blob.h"
#include "child.h"
#include "clock.h"
#include "expire.h"
#include "index.h"
#include "reap.h"
#include "store.h"
#include "trim.h"
#include "writers.h"

#define KEYS 2000u

/* ---- what is reported ---------------------------------------------------------------------- */

struct report {
    unsigned findings, notes;
    char first[400];
};

static void note_line(void *arg, const char *line)
{
    struct report *r = arg;
    bool note = strncmp(line, "note: ", 6) == 0;
    if (r->first[0] == '\0' && !note)
        snprintf(r->first, sizeof(r->first), "%s", line);
    r->notes += note;
    r->findings += !note;
}

static struct report check(struct shmkv *db)
{
    struct report r = {.findings = 0};
    int rc = shmkv_check(db, note_line, &r);
    if (rc != (r.findings == 0 ? 0 : SHMKV_ECORRUPT))
        fail_msg("check returned %d with %u findings", rc, r.findings);
    return r;
}

static void assert_sound(struct shmkv *db)
{
    struct report r = check(db);
    if (r.findings != 0)
        fail_msg("%u findings, the first: %s", r.findings, r.first);
}

static void put_keys(struct shmkv *db, char prefix, unsigned keys)
{
    char key[24], value[200];
    memset(value, 'v', sizeof(value));
    for (unsigned i = 0; i < keys; i++) {
        int len = snprintf(key, sizeof(key), "%c%u", prefix, i);
        assert_rc(shmkv_put(db, key, (size_t)len, value, i % sizeof(value), NULL), 0);
    }
}

/* ---- no damage ----------------------------------------------------------------------------- */

static void an_empty_store_is_sound(void **state)
{
    assert_sound(fixture_db(state));
    assert_rc(shmkv_check(fixture_db(state), NULL, NULL), 0);
}

static void a_store_that_was_used_is_sound(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct shmkv_put_options soon = {.ttl_ms = 1};
    struct shmkv_reservation r;
    for (unsigned round = 0; round < 3; round++) {
        put_keys(db, 'a', 20000);
        put_keys(db, 'b', 5000);
        for (unsigned i = 0; i < 5000; i++) {
            char key[24];
            snprintf(key, sizeof(key), "b%u", i);
            delete_text(db, key);
        }
        assert_rc(shmkv_put(db, "soon", 4, "x", 1, &soon), 0);
        assert_rc(shmkv_reserve(db, "reserved", 8, 100, NULL, &r), 0);
        assert_sound(db);
        shmkv_cancel(&r);
        assert_sound(db);
        assert_rc(shmkv_compact(db), 0);
        assert_sound(db);
    }
    assert_int_equal(check(db).notes, 0); /* at rest the counters are exact */
}

/* Who moves or evicts a record has changed its slot and not yet the counters: he may have lost the
 * processor there. */
static void counters_may_lag_behind_a_write(void **state)
{
    struct shmkv *db = fixture_db(state);
    const struct arena *a = &db->store->arena;
    struct participant other;
    put_keys(db, 'a', KEYS);
    assert_int_equal(check(db).notes, 0);
    store_relaxed(&a->dead[0], load_relaxed(&a->dead[0]) + 8);
    assert_int_equal(check(db).notes, 1);
    assert_rc(epoch_join(&other, a, 0), 0);
    epoch_enter_write(&other);
    assert_int_equal(check(db).notes, 0);
    epoch_exit_write(&other);
    assert_int_equal(check(db).notes, 1);
    epoch_leave(&other);
}

static void a_readonly_handle_can_check(void **state)
{
    struct shmkv *db;
    put_keys(fixture_db(state), 'a', KEYS);
    db = fixture_open(*state, SHMKV_READONLY);
    assert_sound(db);
    shmkv_close(db);
}

/* ---- each kind of damage ------------------------------------------------------------------- */

static const struct arena *arena_of(struct shmkv *db)
{
    return &load_relaxed(&db->store)->arena;
}

static const struct table *root_of(struct shmkv *db)
{
    return table_of(arena_of(db), table_root(arena_of(db)));
}

/* The slot that leads to a key, and its record. */
static _Atomic uint64_t *slot_of(struct shmkv *db, const char *key, struct record **r)
{
    const struct arena *a = arena_of(db);
    const struct table *t = root_of(db);
    for (uint64_t i = 0; i < t->slots; i++) {
        _Atomic uint64_t *slot = &table_slots(a, t)[i];
        uint64_t word = load_relaxed(slot);
        if (!slot_is_record(word))
            continue;
        *r = arena_at(a, slot_offset(word));
        if ((*r)->klen == strlen(key) && memcmp(record_key(*r), key, (*r)->klen) == 0)
            return slot;
    }
    fail_msg("no slot leads to %s", key);
    abort();
}

static void damage_value(struct shmkv *db)
{
    struct record *r;
    slot_of(db, "a199", &r);
    ((char *)(uintptr_t)record_value(r))[7] ^= 1;
}

static void damage_key(struct shmkv *db)
{
    struct record *r;
    slot_of(db, "a199", &r);
    ((char *)(uintptr_t)record_key(r))[1] ^= 1;
}

static void damage_version(struct shmkv *db)
{
    struct record *r;
    slot_of(db, "a199", &r);
    r->version++;
}

static void damage_length(struct shmkv *db)
{
    struct record *r;
    slot_of(db, "a199", &r);
    r->vlen = 0xffffffff;
}

static void damage_old_record(struct shmkv *db)
{
    struct record *r;
    slot_of(db, "a199", &r);
    put_text(db, "a199", "newer");
    r->vlen ^= 8;
}

static void shift_slot(struct shmkv *db)
{
    struct record *r;
    _Atomic uint64_t *slot = slot_of(db, "a199", &r);
    store_relaxed(slot, load_relaxed(slot) + (8ull / 8 << SLOT_OFFSET_SHIFT));
}

static void lead_slot_out(struct shmkv *db)
{
    struct record *r;
    _Atomic uint64_t *slot = slot_of(db, "a199", &r);
    store_relaxed(slot, slot_record(slot_tag_of(load_relaxed(slot)), 1ull << 49));
}

static void lead_slot_to_superblock(struct shmkv *db)
{
    struct record *r;
    _Atomic uint64_t *slot = slot_of(db, "a199", &r);
    store_relaxed(slot, slot_record(slot_tag_of(load_relaxed(slot)), 64));
}

static void lead_slot_behind_used(struct shmkv *db)
{
    struct record *r;
    const struct arena *a = arena_of(db);
    _Atomic uint64_t *slot = slot_of(db, "a199", &r);
    uint64_t id = arena_segment_of(a, slot_offset(load_relaxed(slot)));
    uint64_t at = arena_segment_start(a, id) + load_relaxed(&segment_at(a, id)->used);
    store_relaxed(slot, slot_record(slot_tag_of(load_relaxed(slot)), at));
}

static void damage_tag(struct shmkv *db)
{
    struct record *r;
    _Atomic uint64_t *slot = slot_of(db, "a199", &r);
    store_relaxed(slot, load_relaxed(slot) ^ 0x8000);
}

static void swap_slots(struct shmkv *db)
{
    struct record *r;
    _Atomic uint64_t *one = slot_of(db, "a198", &r), *other = slot_of(db, "a199", &r);
    uint64_t word = load_relaxed(one);
    store_relaxed(one, load_relaxed(other));
    store_relaxed(other, word);
}

/* Two slots of one key. */
static void double_slot(struct shmkv *db)
{
    struct record *r;
    const struct table *t = root_of(db);
    uint64_t word = load_relaxed(slot_of(db, "a199", &r));
    for (uint64_t i = 0; i < t->slots; i++) {
        _Atomic uint64_t *slot = &table_slots(arena_of(db), t)[i];
        if (load_relaxed(slot) == SLOT_EMPTY) {
            put_text(db, "a199", "newer");
            store_relaxed(slot, word);
            return;
        }
    }
}

static void revive_old_record(struct shmkv *db)
{
    struct record *r;
    _Atomic uint64_t *slot = slot_of(db, "a199", &r);
    uint64_t word = load_relaxed(slot);
    put_text(db, "a199", "newer");
    store_relaxed(slot, word);
}

static void overstate_used(struct shmkv *db)
{
    add_relaxed(&segment_at(arena_of(db), 0)->used, 8);
}

static void understate_used(struct shmkv *db)
{
    store_relaxed(&segment_at(arena_of(db), 0)->used, 8);
}

static void enlarge_used(struct shmkv *db)
{
    store_relaxed(&segment_at(arena_of(db), 0)->used, 1ull << 40);
}

static void free_segment(struct shmkv *db)
{
    store_relaxed(&segment_at(arena_of(db), 0)->state, SEGMENT_FREE);
}

static void damage_state(struct shmkv *db)
{
    store_relaxed(&segment_at(arena_of(db), 0)->state, 15);
}

static void claim_by_nobody(struct shmkv *db)
{
    store_relaxed(&segment_at(arena_of(db), 0)->state, claim_word(SEGMENT_CLEANING, 999, 0));
}

static void change_incarnation(struct shmkv *db)
{
    add_relaxed(&segment_at(arena_of(db), 0)->incarnation, 1u);
}

static void forge_tickets(struct shmkv *db)
{
    struct table *t = (struct table *)(uintptr_t)root_of(db);
    store_relaxed(&t->tickets, table_quota(t->slots) - 1);
}

static void damage_slots(struct shmkv *db)
{
    ((struct table *)(uintptr_t)root_of(db))->slots = 12345;
}

static void damage_slots_offset(struct shmkv *db)
{
    ((struct table *)(uintptr_t)root_of(db))->slots_offset = UINT64_MAX / 2;
}

static void damage_segment_high(struct shmkv *db)
{
    store_relaxed(&arena_of(db)->sb->segment_high, UINT64_MAX / 2);
}

static void damage_safe(struct shmkv *db)
{
    store_relaxed(&arena_of(db)->sb->safe, 1ull << 40);
}

static void damage_section(struct shmkv *db)
{
    struct participant_entry *entry = &arena_of(db)->participants[60];
    store_relaxed(&entry->writing, 1ull << 50);
    store_relaxed(&arena_of(db)->sync->participant_high, 61);
}

static const struct {
    const char *name;
    void (*damage)(struct shmkv *db);
    const char *expected; /* part of the first finding */
} kinds[] = {
    {"value", damage_value, "fail their checksum; key 61313939 (4 bytes)"},
    {"key", damage_key, "fail their checksum"},
    {"version", damage_version, "fail their checksum"},
    {"length", damage_length, "are no record"},
    {"old record", damage_old_record, "bytes"},
    {"slot shifted", shift_slot, "leads to what is no record"},
    {"slot out", lead_slot_out, "leads out of the log"},
    {"slot to superblock", lead_slot_to_superblock, "leads out of the log"},
    {"slot behind used", lead_slot_behind_used, "leads"},
    {"tag", damage_tag, "has the tag of another key"},
    {"slots swapped", swap_slots, "cannot be found by its key"},
    {"slot twice", double_slot, "slot"},
    {"old record revived", revive_old_record, "is newer than"},
    {"used too large", overstate_used, "segment 0"},
    {"used too small", understate_used, "segment 0"},
    {"used enormous", enlarge_used, "segment 0: of "},
    {"segment freed", free_segment, "leads into a segment without records"},
    {"segment state", damage_state, "segment 0: state 15 is none"},
    {"segment claim", claim_by_nobody, "participant 999, which does not exist"},
    {"incarnation", change_incarnation, "segment 0, offset 0"},
    {"tickets", forge_tickets, "tickets are left"},
    {"table slots", damage_slots, "its header was written over"},
    {"table offset", damage_slots_offset, "its header was written over"},
    {"segment count", damage_segment_high, "nothing else can be checked"},
    {"safe epoch", damage_safe, "is not above the safe epoch"},
    {"section", damage_section, "participant 60: is in a section"},
};

/* In a child: the damage must not reach the other tests. */
static int damage_and_check(void *arg)
{
    size_t i = *(size_t *)arg;
    struct fixture f;
    struct report r = {.findings = 0};
    const struct shmkv_options o = {.size = 8u << 20, .flags = SHMKV_NO_KEEPER};
    signal(SIGSEGV, SIG_DFL); /* cmocka's handler would go on with the next test */
    fixture_begin(&f, &o);
    put_keys(f.db, 'a', KEYS);
    child_assert(shmkv_check(f.db, NULL, NULL) == 0);
    kinds[i].damage(f.db);
    int rc = shmkv_check(f.db, note_line, &r);
    if (rc != SHMKV_ECORRUPT || strstr(r.first, kinds[i].expected) == NULL)
        fprintf(stderr, "%s: rc %d, %u findings, the first: %s\n", kinds[i].name, rc, r.findings,
                r.first);
    fixture_remove(&f);
    return rc == SHMKV_ECORRUPT && strstr(r.first, kinds[i].expected) != NULL ? 0 : 1;
}

static void each_kind_of_damage_is_found(void **state)
{
    (void)state;
    unsigned missed = 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        int status = child_wait(child_start(damage_and_check, &i), 20000);
        if (status != 0)
            print_error("%s: status %d\n", kinds[i].name, status);
        missed += status != 0;
    }
    assert_int_equal(missed, 0);
}

/* The cleaner carries the checksum that there was to the new place: it computes none. */
static void what_was_moved_is_as_damaged_as_before(void **state)
{
    struct shmkv *db = fixture_db(state);
    struct record *before, *after;
    char key[24];
    put_keys(db, 'a', KEYS);
    damage_value(db);
    slot_of(db, "a199", &before);
    for (unsigned i = 0; i < KEYS; i++) {
        int len = snprintf(key, sizeof(key), "a%u", i);
        if (i != 199)
            assert_rc(shmkv_delete(db, key, (size_t)len), 0);
    }
    put_keys(db, 'b', KEYS);
    assert_rc(shmkv_compact(db), 0);
    slot_of(db, "a199", &after);
    assert_ptr_not_equal(before, after);
    struct report r = check(db);
    assert_int_equal(r.findings, 2); /* the record, and the slot that leads to it */
    assert_non_null(strstr(r.first, "fail their checksum; key 61313939 (4 bytes)"));
    put_text(db, "a199", "anew"); /* and who writes it anew is rid of it */
    assert_rc(shmkv_compact(db), 0);
    slot_of(db, "a199", &after);
    assert_text(db, "a199", "anew");
}

/* ---- stray writes -------------------------------------------------------------------------- */

#define SCRIBBLES 200u

static void scribble(struct shmkv *db, uint64_t seed)
{
    const struct arena *a = arena_of(db);
    const struct table *t = root_of(db);
    uint64_t log = load_relaxed(&segment_at(a, 0)->used);
    for (unsigned i = 0; i < 1 + seed % 300; i++) {
        uint64_t where = blob_random(&seed), what = blob_random(&seed);
        char *at = (where & 1) != 0
                       ? (char *)arena_at(a, t->slots_offset) + where / 2 % t->slots * 8
                       : (char *)arena_at(a, a->log_offset) + where / 2 % log / 8 * 8;
        memcpy(at, &what, 1 + (what >> 8) % 8);
    }
}

static int see(void *arg, const struct shmkv_pair *pair)
{
    volatile char *sum = arg;
    for (size_t i = 0; i < pair->klen; i++)
        *sum += ((const char *)pair->key)[i];
    for (size_t i = 0; i < pair->item.size; i++)
        *sum += ((const char *)pair->item.value)[i];
    return 0;
}

/* Read all there is; what is returned may be wrong, but nobody may die of it. */
static int read_scribbled(void *arg)
{
    struct fixture f;
    struct report r = {.findings = 0};
    const struct shmkv_options o = {.size = 8u << 20, .flags = SHMKV_NO_KEEPER};
    char key[24], buffer[400], sum = 0;
    uint64_t cursor = 0;
    signal(SIGSEGV, SIG_DFL);
    fixture_begin(&f, &o);
    put_keys(f.db, 'a', KEYS);
    scribble(f.db, *(uint64_t *)arg);
    for (unsigned i = 0; i < KEYS; i++) {
        int len = snprintf(key, sizeof(key), "a%u", i);
        int rc = shmkv_read(f.db, key, (size_t)len, buffer, sizeof(buffer), NULL);
        child_assert(rc == 0 || rc == SHMKV_ENOTFOUND || rc == SHMKV_ECORRUPT ||
                     rc == SHMKV_EBUFFER);
    }
    int rc = shmkv_scan(f.db, &cursor, NULL, see, &sum);
    child_assert(cursor == 0 && (rc == 0 || rc == SHMKV_ECORRUPT));
    child_assert(shmkv_check(f.db, note_line, &r) == SHMKV_ECORRUPT && r.findings > 0);
    fixture_remove(&f);
    return 0;
}

static void stray_writes_kill_nobody(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SCRIBBLES; seed++) {
        int status = child_wait(child_start(read_scribbled, &seed), 20000);
        if (status != 0)
            fail_msg("seed %llu: status %d", (unsigned long long)seed, status);
    }
}

static int ignore(void *unused, const struct shmkv_participant *p)
{
    (void)unused;
    (void)p;
    return 0;
}

/* More participants than there is room for in the sync object, or segments than in the arena. */
static int count_too_many(void *arg)
{
    struct fixture f;
    struct shmkv_stats stats;
    struct report r = {.findings = 0};
    const struct shmkv_options o = {.size = 8u << 20, .flags = SHMKV_NO_KEEPER};
    uint64_t ticket = 0;
    uint64_t cursor = 0;
    char sum = 0;
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    fixture_begin(&f, &o);
    put_keys(f.db, 'a', KEYS);
    const struct arena *a = arena_of(f.db);
    if (*(bool *)arg)
        store_relaxed(&a->sb->segment_high, 1ull << 40);
    else
        store_relaxed(&a->sync->participant_high, UINT32_MAX);
    put_keys(f.db, 'a', KEYS);
    child_assert(shmkv_get_stats(f.db, &stats) == 0 && stats.participants == 1);
    child_assert(shmkv_readers(f.db, ignore, NULL) == 0);
    child_assert(shmkv_wait_any(f.db, &ticket, 0) != SHMKV_ECORRUPT);
    child_assert(shmkv_compact(f.db) == 0);
    child_assert(shmkv_scan(f.db, &cursor, NULL, see, &sum) == 0 && cursor == 0);
    reap_process((void *)(uintptr_t)a, PROCESS_MAX);
    child_assert(shmkv_check(f.db, note_line, &r) == SHMKV_ECORRUPT && r.findings > 0);
    fixture_end(&f);
    return 0;
}

static void a_count_that_cannot_be_kills_nobody(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        bool segments = i != 0;
        assert_int_equal(child_wait(child_start(count_too_many, &segments), 20000), 0);
    }
}

/* What the keeper does for memory comes to an end: it would never sleep otherwise. */
static void trim_to_the_end(struct shmkv *db)
{
    const struct arena *a = arena_of(db);
    struct writer keeper;
    struct trim trim = {.quiet = true, .checked_ns = UINT64_MAX / 2};
    unsigned steps = 0;
    writer_begin(&keeper, a, db->store->process.index);
    uint64_t outer = epoch_enter(&keeper.self);
    resize_help(&keeper.self, &keeper.resizer, root_of(db)->slots);
    epoch_exit(&keeper.self, outer);
    while (trim_step(&keeper, &trim, trim.checked_ns))
        child_assert(++steps < 1000);
    writer_end(&keeper);
}

/* A slot that leads nowhere cannot be moved: the resize never ends, and that is said. */
static int grow_over_a_lost_slot(void *arg)
{
    struct fixture f;
    const struct shmkv_options o = {.size = 8u << 20, .flags = SHMKV_NO_KEEPER};
    char key[24];
    int rc = 0;
    (void)arg;
    fixture_begin(&f, &o);
    put_keys(f.db, 'a', KEYS);
    const struct arena *a = arena_of(f.db);
    _Atomic uint64_t *slot = table_slots(a, root_of(f.db));
    while (!slot_is_record(load_relaxed(slot)))
        slot++;
    store_relaxed(slot, slot_record(slot_tag_of(load_relaxed(slot)), a->reserve));
    for (unsigned i = 0; rc == 0 && i < 100 * KEYS; i++) {
        int len = snprintf(key, sizeof(key), "b%u", i);
        rc = shmkv_put(f.db, key, (size_t)len, "v", 1, NULL);
    }
    child_assert(rc == SHMKV_ECORRUPT);
    child_assert(shmkv_exists(f.db, "b0", 2) == 0); /* what is whole can be read */
    child_assert(shmkv_put(f.db, "b0", 2, "w", 1, NULL) == 0);
    trim_to_the_end(f.db);
    child_assert(shmkv_compact(f.db) == 0);
    child_assert(shmkv_check(f.db, NULL, NULL) == SHMKV_ECORRUPT);
    fixture_remove(&f);
    return 0;
}

static void a_lost_slot_holds_up_nobody(void **state)
{
    (void)state;
    assert_int_equal(child_wait(child_start(grow_over_a_lost_slot, NULL), 20000), 0);
}

/* Nor does who keeps house follow it, or try for ever. */
static void keep_house(struct shmkv *db)
{
    struct writer keeper;
    writer_begin(&keeper, arena_of(db), db->store->process.index);
    child_assert(expire_sweep(&keeper, 4096) == 0);
    uint64_t size = load_relaxed(&arena_of(db)->sb->size);
    store_relaxed(&arena_of(db)->sb->size, 0); /* there is no memory for a table either */
    resize_purge_urgent(&keeper.self, &keeper.resizer);
    store_relaxed(&arena_of(db)->sb->size, size);
    writer_end(&keeper);
    trim_to_the_end(db);
    child_assert(shmkv_compact(db) == 0);
}

enum lost { LOST_ROOT, LOST_NEXT, LEADS_BACK, LOST_KINDS };

/* Root, or next, leads to an area that was never made a table; or next to the root, for ever. */
static int use_without_table(void *arg)
{
    enum lost lost = *(enum lost *)arg;
    bool next = lost != LOST_ROOT;
    struct fixture f;
    const struct shmkv_options o = {.size = 8u << 20, .flags = SHMKV_NO_KEEPER};
    char key[24], buffer[400];
    signal(SIGSEGV, SIG_DFL);
    fixture_begin(&f, &o);
    put_keys(f.db, 'a', KEYS);
    put_text(f.db, "b", "to be rid of");
    delete_text(f.db, "b");
    const struct arena *a = arena_of(f.db);
    uint64_t to = load_relaxed(&a->sb->root);
    struct table *root = (struct table *)(uintptr_t)root_of(f.db);
    if (lost != LEADS_BACK)
        to = (to ^ 7) + (5u << 4);
    store_relaxed(next ? &root->next : &a->sb->root, to);
    for (unsigned i = 0; i < 2 * KEYS; i++) {
        int len = snprintf(key, sizeof(key), "a%u", i);
        int rc = shmkv_read(f.db, key, (size_t)len, buffer, sizeof(buffer), NULL);
        child_assert(next ? rc == 0 || i >= KEYS : rc == SHMKV_ECORRUPT);
        rc = shmkv_put(f.db, key, (size_t)len, "v", 1, NULL);
        child_assert(rc == SHMKV_ECORRUPT);
        rc = shmkv_delete(f.db, key, (size_t)len);
        child_assert(rc == SHMKV_ECORRUPT || (next && rc == SHMKV_ENOTFOUND));
    }
    struct shmkv_bytes many[40];
    for (size_t i = 0; i < 40; i++)
        many[i] = (struct shmkv_bytes){.data = &many[i], .size = 8};
    child_assert(shmkv_put_many(f.db, many, many, 40, NULL, NULL) == SHMKV_ECORRUPT);
    uint64_t cursor = 0;
    child_assert(shmkv_scan(f.db, &cursor, NULL, see, buffer) == SHMKV_ECORRUPT && cursor == 0);
    child_assert(shmkv_check(f.db, NULL, NULL) == SHMKV_ECORRUPT);
    keep_house(f.db);
    table_of(a, to)->slots = 1ull << 40;
    table_of(a, to)->slots_offset = 1ull << 60;
    keep_house(f.db);
    fixture_remove(&f);
    return 0;
}

static void a_lost_table_kills_nobody(void **state)
{
    (void)state;
    for (enum lost lost = 0; lost < LOST_KINDS; lost++)
        assert_int_equal(child_wait(child_start(use_without_table, &lost), 20000), 0);
}

struct header_word {
    size_t at; /* in the root's header, in words */
    uint64_t value;
};

/* What is read and written goes on, or says that the index is damaged. */
static int use_with_header(void *arg)
{
    const struct header_word *word = arg;
    struct fixture f;
    const struct shmkv_options o = {.size = 8u << 20, .flags = SHMKV_NO_KEEPER};
    char buffer[400];
    bool full = false;
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    fixture_begin(&f, &o);
    put_keys(f.db, 'a', KEYS);
    store_relaxed((_Atomic uint64_t *)(uintptr_t)root_of(f.db) + word->at, word->value);
    for (unsigned turn = 0; turn < 2; turn++) { /* one that knew the table, and one that did not */
        struct shmkv *db = turn == 0 ? f.db : fixture_open(&f, SHMKV_READONLY);
        for (unsigned i = 0; i < KEYS; i++) {
            char key[24];
            int len = snprintf(key, sizeof(key), "a%u", i);
            int rc = shmkv_read(db, key, (size_t)len, buffer, sizeof(buffer), NULL);
            child_assert(rc == 0 || rc == SHMKV_ECORRUPT);
            if (turn == 0 && !full)
                rc = shmkv_put(db, key, (size_t)len, "v", 1, NULL);
            full |= rc == SHMKV_ENOSPC; /* what the index is said to take counts as taken */
            child_assert(rc == 0 || rc == SHMKV_ECORRUPT || (turn == 0 && rc == SHMKV_ENOSPC));
        }
    }
    fixture_end(&f);
    return 0;
}

static void a_header_written_over_kills_nobody(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, UINT64_MAX, 0xc, 0x123456789abcdef0};
    for (unsigned i = 0; i < sizeof(struct table) / 8 * ARRAY_SIZE(values); i++) {
        struct header_word word = {i / ARRAY_SIZE(values), values[i % ARRAY_SIZE(values)]};
        int status = child_wait(child_start(use_with_header, &word), 20000);
        if (status != 0)
            fail_msg("word %zu, %#llx: status %d", word.at, (unsigned long long)word.value, status);
    }
}

/* ---- beside others ------------------------------------------------------------------------- */

static const struct shmkv_options busy = {.size = 8u << 20, .flags = SHMKV_NO_KEEPER};

struct writer_job {
    const struct fixture *fixture;
    uint64_t seed, end_ns;
};

static int write_wildly(void *arg)
{
    struct writer_job *job = arg;
    struct shmkv *db = fixture_open(job->fixture, 0); /* with a keeper */
    char key[24], value[500];
    memset(value, 'w', sizeof(value));
    while (clock_mono_ns() < job->end_ns) {
        uint64_t x = blob_random(&job->seed);
        uint64_t keys = (x >> 60) < 4 ? 20000 : 3000;
        int len = snprintf(key, sizeof(key), "a%llu", (unsigned long long)(x % keys));
        int rc = (x >> 32) % 3 == 0
                     ? shmkv_delete(db, key, (size_t)len)
                     : shmkv_put(db, key, (size_t)len, value, (x >> 40) % sizeof(value), NULL);
        child_assert(rc == 0 || rc == SHMKV_ENOTFOUND || rc == SHMKV_ENOSPC || rc == SHMKV_EHELD);
    }
    shmkv_close(db);
    return 0;
}

static void beside_writers_a_sound_store_is_sound(void **state)
{
    struct fixture *f = *state;
    struct writer_job jobs[2];
    pid_t pids[2];
    unsigned checks = 0;
    for (unsigned i = 0; i < 2; i++) {
        jobs[i] = (struct writer_job){.fixture = f, .seed = i};
        jobs[i].end_ns = clock_mono_ns() + 2000000000ull;
        pids[i] = child_start(write_wildly, &jobs[i]);
    }
    for (; clock_mono_ns() < jobs[0].end_ns; checks++)
        assert_sound(f->db);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(child_wait(pids[i], 20000), 0);
    assert_sound(f->db);
    assert_true(checks > 3);
}

static void beside_the_killed_a_sound_store_is_sound(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 30; i++) {
        struct writer_job job = {.fixture = f, .seed = i, .end_ns = UINT64_MAX};
        pid_t pid = child_start(write_wildly, &job);
        clock_sleep_ns((5 + i) * 1000000ull);
        child_kill(pid);
        assert_sound(f->db);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE(an_empty_store_is_sound),
        FIXTURE(a_store_that_was_used_is_sound),
        FIXTURE(counters_may_lag_behind_a_write),
        FIXTURE(a_readonly_handle_can_check),
        cmocka_unit_test(each_kind_of_damage_is_found),
        FIXTURE(what_was_moved_is_as_damaged_as_before),
        cmocka_unit_test(stray_writes_kill_nobody),
        cmocka_unit_test(a_count_that_cannot_be_kills_nobody),
        cmocka_unit_test(a_lost_slot_holds_up_nobody),
        cmocka_unit_test(a_lost_table_kills_nobody),
        cmocka_unit_test(a_header_written_over_kills_nobody),
        FIXTURE_WITH(beside_writers_a_sound_store_is_sound, &busy),
        FIXTURE_WITH(beside_the_killed_a_sound_store_is_sound, &busy),
    };
    return cmocka_run_group_tests_name("verify", tests, NULL, NULL);
}
