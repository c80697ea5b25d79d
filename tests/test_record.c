/* SPDX-License-Identifier: MIT */
/* test_record.c - records have one form, validate where and when they belong, and nowhere else. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "record.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ROOM 512u
#define SEED 0x1234567890abcdefull
#define VERSION (5ull << VERSION_EPOCH_SHIFT | 3)

static _Alignas(8) char place[ROOM];

static struct record_spec spec_of(const char *key, const char *value, uint64_t expiry)
{
    return (struct record_spec){.key = key,
                                .value = value,
                                .klen = (uint32_t)strlen(key),
                                .vlen = (uint32_t)strlen(value),
                                .expiry = expiry,
                                .type = RECORD_PAIR};
}

static struct record *make(void *at, const struct record_spec *spec)
{
    struct record *r = at;
    memset(at, 0xee, record_bytes(spec->klen, spec->vlen, spec->expiry != 0));
    record_seal(r, record_write(r, spec), VERSION, SEED);
    return r;
}

/* ---- form ---------------------------------------------------------------------------------- */

static void what_is_written_is_read(void **state)
{
    (void)state;
    static const char text[] = "0123456789012345678901234567890123456789";
    for (uint32_t klen = 1; klen <= 40; klen++) {
        for (uint32_t vlen = 0; vlen <= 40; vlen++) {
            for (uint64_t expiry = 0; expiry <= 99; expiry += 99) {
                struct record_spec spec = {.key = text,
                                           .value = text,
                                           .klen = klen,
                                           .vlen = vlen,
                                           .expiry = expiry,
                                           .type = RECORD_PAIR};
                const struct record *r = make(place, &spec);
                assert_int_equal(record_size(r), record_bytes(klen, vlen, expiry != 0));
                assert_int_equal(record_size(r) % 8, 0);
                assert_true(record_has_key(r, text, klen));
                assert_int_equal((uintptr_t)record_value(r) % 8, 0);
                assert_int_equal(r->vlen, vlen);
                assert_memory_equal(record_value(r), text, vlen);
                assert_true(record_expiry(r) == expiry);
                assert_int_equal(record_is_plain(r, text, klen), expiry == 0);
                assert_true(record_valid(r, record_size(r), SEED));
            }
        }
    }
}

/* The same pair gives the same bytes, whatever was there before. */
static void a_record_has_one_form(void **state)
{
    (void)state;
    static _Alignas(8) char other[ROOM];
    struct record_spec spec = spec_of("key", "value of some bytes", 7);
    const struct record *r = make(place, &spec);
    memset(other, 0x11, sizeof(other));
    struct record *again = (struct record *)(void *)other;
    record_seal(again, record_write(again, &spec), VERSION, SEED);
    assert_memory_equal(r, again, record_size(r));
}

static void a_value_filled_in_place_gives_the_same_record(void **state)
{
    (void)state;
    static _Alignas(8) char other[ROOM];
    static const char value[] = "filled in later";
    struct record_spec spec = spec_of("key", value, 0);
    const struct record *r = make(place, &spec);
    memset(other, 0x11, sizeof(other));
    struct record *later = (struct record *)(void *)other;
    spec.value = NULL;
    record_write(later, &spec);
    memcpy((char *)(uintptr_t)record_value(later), value, strlen(value));
    record_seal(later, record_check_body(later), VERSION, SEED);
    assert_memory_equal(r, later, record_size(r));
}

/* ---- validity ------------------------------------------------------------------------------ */

static void every_bit_but_published_counts(void **state)
{
    (void)state;
    struct record_spec spec = spec_of("some key", "some value", 1234);
    struct record *r = make(place, &spec);
    size_t size = record_size(r), published = 8 * offsetof(struct record, state);
    for (size_t bit = 0; bit < size * 8; bit++) {
        place[bit / 8] = (char)(place[bit / 8] ^ 1 << bit % 8);
        if (record_valid(r, ROOM, SEED) != (bit == published))
            fail_msg("bit %zu", bit);
        place[bit / 8] = (char)(place[bit / 8] ^ 1 << bit % 8);
    }
    assert_true(record_valid(r, ROOM, SEED));
}

#define SEVERAL 11u

/* Of all sizes, one of them large, so that some of the four that are summed together end before
 * others. */
static void several_are_as_valid_as_one(void **state)
{
    (void)state;
    static _Alignas(8) char places[SEVERAL][4096];
    static char text[4000];
    const struct record *r[SEVERAL];
    memset(text, 't', sizeof(text));
    for (uint32_t i = 0; i < SEVERAL; i++) {
        struct record_spec spec = {.key = text,
                                   .value = text,
                                   .klen = 1 + i * 7 % 40,
                                   .vlen = i == 5 ? sizeof(text) : i * 13 % 40,
                                   .expiry = i % 3,
                                   .type = RECORD_PAIR};
        r[i] = make(places[i], &spec);
    }
    for (unsigned n = 0; n <= SEVERAL; n++)
        assert_int_equal(record_valid_some(r, n, SEED), n);
    assert_int_equal(record_valid_some(r, SEVERAL, SEED + 1), 0);
    for (unsigned i = 0; i < SEVERAL; i++) {
        for (uint64_t at = 0; at < record_size(r[i]); at++) {
            if (at >= offsetof(struct record, vlen) && at < sizeof(struct record))
                continue; /* what tells the size was looked at before */
            places[i][at] = (char)(places[i][at] ^ 0x40);
            assert_int_equal(record_valid_some(r, SEVERAL, SEED), i);
            assert_int_equal(record_valid_some(r, i, SEED), i);
            places[i][at] = (char)(places[i][at] ^ 0x40);
        }
    }
}

static void it_validates_in_its_place_and_time_only(void **state)
{
    (void)state;
    struct record_spec spec = spec_of("key", "value", 0);
    struct record *r = (struct record *)(void *)place;
    for (uint64_t id = 0; id < 40; id++) {
        for (uint64_t incarnation = 1; incarnation < 40; incarnation++) {
            record_seal(r, record_write(r, &spec), VERSION, record_seed(id, incarnation));
            assert_true(record_valid(r, ROOM, record_seed(id, incarnation)));
            assert_false(record_valid(r, ROOM, record_seed(id, incarnation + 1)));
            assert_false(record_valid(r, ROOM, record_seed(id + 1, incarnation)));
            if (id != incarnation)
                assert_false(record_valid(r, ROOM, record_seed(incarnation, id)));
        }
    }
}

static void reseeding_moves_a_record_and_blesses_nothing(void **state)
{
    (void)state;
    struct record_spec spec = spec_of("key", "value", 0);
    struct record *r = make(place, &spec);
    uint64_t to = record_seed(3, 4);
    uint32_t good = r->crc;
    r->crc = record_reseed(good, SEED, to);
    assert_true(record_valid(r, ROOM, to));
    assert_false(record_valid(r, ROOM, SEED));
    assert_int_equal(record_reseed(r->crc, to, SEED), good);
    place[sizeof(*r)] ^= 1; /* a stray write before the move is one after it */
    r->crc = record_reseed(r->crc, to, SEED);
    assert_false(record_valid(r, ROOM, SEED));
}

/* Lengths that lead out of the room are refused before they are followed. */
static void nothing_is_read_behind_the_room(void **state)
{
    (void)state;
    char *pages =
        mmap(NULL, 2 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(pages != MAP_FAILED);
    assert_int_equal(mprotect(pages + PAGE_BYTES, PAGE_BYTES, PROT_NONE), 0);
    struct record_spec spec = spec_of("some key", "some value", 0);
    uint64_t size = record_bytes(spec.klen, spec.vlen, false);
    for (uint64_t room = 0; room <= size; room += 8) {
        char *at = pages + PAGE_BYTES - room;
        make(place, &spec);
        memcpy(at, place, room);
        assert_int_equal(record_valid((void *)at, room, SEED), room == size);
    }
    struct record *r = (void *)(pages + PAGE_BYTES - size);
    r->vlen = UINT32_MAX;
    assert_false(record_valid(r, size, SEED));
    r->vlen = spec.vlen;
    r->klen = UINT16_MAX;
    assert_false(record_valid(r, size, SEED));
    munmap(pages, 2 * PAGE_BYTES);
}

/* Even with a right crc. */
static void what_is_no_record_is_not_valid(void **state)
{
    (void)state;
    struct record_spec spec = spec_of("key", "value", 0);
    struct record *r = make(place, &spec);
    r->type = 0;
    record_seal(r, record_check_body(r), VERSION, SEED);
    assert_false(record_valid(r, ROOM, SEED));
    r->type = RECORD_TOMBSTONE + 1;
    record_seal(r, record_check_body(r), VERSION, SEED);
    assert_false(record_valid(r, ROOM, SEED));
    r->type = RECORD_PAIR;
    r->flags = 0x80;
    record_seal(r, record_check_body(r), VERSION, SEED);
    assert_false(record_valid(r, ROOM, SEED));
    memset(place, 0, sizeof(place));
    record_seal(r, record_check_body(r), 0, SEED);
    assert_false(record_valid(r, ROOM, SEED));
}

/* ---- versions (R7) ------------------------------------------------------------------------- */

static void versions_grow_with_key_and_epoch(void **state)
{
    (void)state;
    uint64_t first = record_next_version(0, 9);
    assert_true(first == 9ull << VERSION_EPOCH_SHIFT);
    assert_true(record_next_version(first, 9) == first + 1);
    assert_true(record_next_version(first, 8) == first + 1); /* a stale G does not bring it back */
    assert_true(record_next_version(first, 10) == 10ull << VERSION_EPOCH_SHIFT);
    uint64_t last = (10ull << VERSION_EPOCH_SHIFT) - 1;
    assert_int_equal(record_epoch_of(last), 9);
    assert_int_equal(record_epoch_of(record_next_version(last, 9)), 10);
}

/* ---- keys ---------------------------------------------------------------------------------- */

#define KEY_MOST 100u

/* Against memcmp(): every length, every place of a difference, keys at the end of a page. */
static void keys_are_compared_whole(void **state)
{
    (void)state;
    char *pages =
        mmap(NULL, 2 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char other[KEY_MOST];
    assert_true(pages != MAP_FAILED);
    assert_int_equal(mprotect(pages + PAGE_BYTES, PAGE_BYTES, PROT_NONE), 0);
    for (size_t n = 0; n <= KEY_MOST; n++) {
        char *key = pages + PAGE_BYTES - n;
        for (size_t i = 0; i < n; i++)
            key[i] = other[i] = (char)(i * 7 + n);
        assert_true(record_bytes_equal(key, other, n));
        for (size_t i = 0; i < n; i++) {
            other[i] ^= 0x40;
            if (record_bytes_equal(key, other, n))
                fail_msg("%zu bytes, difference at %zu", n, i);
            other[i] ^= 0x40;
        }
    }
    munmap(pages, 2 * PAGE_BYTES);
}

static void plain_are_pairs_that_never_expire(void **state)
{
    (void)state;
    struct record_spec spec = spec_of("key", "value", 0);
    struct record *r = make(place, &spec);
    assert_true(record_is_plain(r, "key", 3));
    assert_false(record_is_plain(r, "kez", 3));
    assert_false(record_is_plain(r, "ke", 2));
    assert_false(record_is_plain(r, "key\0", 4));
    r->type = RECORD_TOMBSTONE;
    assert_false(record_is_plain(r, "key", 3));
    spec.expiry = 1;
    assert_false(record_is_plain(make(place, &spec), "key", 3));
}

/* FIRST and COPY are part of what the crc covers, PUBLISHED is not; a copy carries no FIRST. */
static void marks(void **state)
{
    (void)state;
    _Alignas(8) char from[256], to[256];
    struct record *r = (void *)from, *copy = (void *)to;
    struct record_spec spec = {
        .key = "key", .klen = 3, .value = "value", .vlen = 5, .type = RECORD_PAIR};
    uint64_t here = record_seed(1, 2), there = record_seed(3, 4);
    record_seal(r, record_write(r, &spec), 77, here);
    record_set_marks(r, RECORD_FIRST);
    assert_true(record_valid(r, sizeof(from), here));
    record_mark_published(r);
    assert_true(record_valid(r, sizeof(from), here));
    store_relaxed(&r->state, RECORD_PUBLISHED);
    assert_false(record_valid(r, sizeof(from), here));
    store_relaxed(&r->state, RECORD_FIRST | RECORD_COPY);
    assert_false(record_valid(r, sizeof(from), here));
    store_relaxed(&r->state, RECORD_FIRST | 8u);
    assert_false(record_valid(r, sizeof(from), here));
    store_relaxed(&r->state, RECORD_FIRST);
    assert_false(record_is_copy(r));
    record_copy(copy, r, record_size(r), here, there);
    assert_true(record_valid(copy, sizeof(to), there));
    assert_true(record_is_copy(copy));
    assert_int_equal(load_relaxed(&copy->state) & RECORD_FIRST, 0);
    from[record_size(r) - 8] ^= 1; /* a stray write is not blessed by copying */
    record_copy(copy, r, record_size(r), here, there);
    assert_false(record_valid(copy, sizeof(to), there));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_record_has_one_form),
        cmocka_unit_test(a_value_filled_in_place_gives_the_same_record),
        cmocka_unit_test(every_bit_but_published_counts),
        cmocka_unit_test(several_are_as_valid_as_one),
        cmocka_unit_test(it_validates_in_its_place_and_time_only),
        cmocka_unit_test(reseeding_moves_a_record_and_blesses_nothing),
        cmocka_unit_test(nothing_is_read_behind_the_room),
        cmocka_unit_test(what_is_no_record_is_not_valid),
        cmocka_unit_test(versions_grow_with_key_and_epoch),
        cmocka_unit_test(keys_are_compared_whole),
        cmocka_unit_test(plain_are_pairs_that_never_expire),
        cmocka_unit_test(marks),
    };
    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
