/* SPDX-License-Identifier: MIT */
/* test_bucket.c - one line of slots: the vector path and the portable one see the same; order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bucket.h"

#define LINES 200000u

static _Alignas(CACHE_LINE) _Atomic uint64_t line[BUCKET_SLOTS];

/* xorshift64*, seeded: a failure repeats. */
static uint64_t random_word(void)
{
    static uint64_t x = 88172645463325252ull;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return x * 2685821657736338717ull;
}

/* Tags at which signs, halves and the special words meet. */
static uint64_t some_tag(void)
{
    static const uint64_t edges[] = {0, 1, 2, 3, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff};
    uint64_t r = random_word();
    return r % 3 == 0 ? r >> 48 : edges[r / 3 % ARRAY_SIZE(edges)];
}

static uint64_t some_word(uint64_t tag)
{
    uint64_t r = random_word();
    switch (r % 6) {
    case 0:
        return SLOT_EMPTY;
    case 1:
        return SLOT_MOVED_EMPTY;
    case 2:
        return (random_word() & ~SLOT_TAG_MASK) | tag;
    default:
        return (random_word() & ~SLOT_TAG_MASK) | some_tag();
    }
}

static void both_paths_see_the_same(void **state)
{
    (void)state;
    for (unsigned n = 0; n < LINES; n++) {
        uint64_t tag = slot_tag(some_tag());
        for (unsigned i = 0; i < BUCKET_SLOTS; i++)
            store_relaxed(&line[i], some_word(tag));
        unsigned expected = bucket_match_portable(line, tag);
        if (bucket_match(line, tag) != expected)
            fail_msg("line %u, tag %#x: %#x, not %#x", n, (unsigned)tag, bucket_match(line, tag),
                     expected);
    }
}

/* Slots with the tag of a hash, in lines in which it is rare or not. */
static void candidates_have_the_tag(void **state)
{
    (void)state;
    unsigned found = 0;
    for (unsigned n = 0; n < LINES; n++) {
        uint64_t hash = some_tag(), tag = slot_tag(hash);
        unsigned with = 0, empty = 0;
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            uint64_t word = n % 2 == 0 ? some_word(tag) : some_word(tag) & ~SLOT_TAG_MASK;
            if (n % 2 != 0 && i == n % 16 / 2)
                word |= tag;
            store_relaxed(&line[i], word);
            with += slot_tag_of(word) == tag;
            empty += word == SLOT_EMPTY;
        }
        /* an EMPTY one before it ends the portable path, as it ends each probe */
        uint64_t words[] = {bucket_candidate(&line[n % BUCKET_SLOTS], hash),
                            bucket_candidate_portable(&line[n % BUCKET_SLOTS], hash)};
        for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
            if (words[i] == SLOT_EMPTY)
                assert_true(with == 0 || empty != 0);
            else
                assert_int_equal(slot_tag_of(words[i]), tag);
        }
#if defined(BUCKET_SSE2)
        assert_true((words[0] == SLOT_EMPTY) == (with == 0));
#endif
        found += with != 0;
    }
    assert_in_range(found, LINES / 2, LINES - LINES / 100);
}

static void what_deserves_a_look(void **state)
{
    (void)state;
    uint64_t tag = 0x8123, other = 0x0123;
    uint64_t words[BUCKET_SLOTS] = {
        slot_record(tag, 4096),
        slot_record(other, 4096),
        SLOT_EMPTY,
        SLOT_MOVED_EMPTY,
        slot_moved(slot_record(tag, 4096)),
        slot_dropped(slot_record(other, 4096)),
        slot_record(tag, 8192) | SLOT_FROZEN,
        slot_record(other, 8192) | SLOT_FROZEN,
    };
    for (unsigned i = 0; i < BUCKET_SLOTS; i++)
        store_relaxed(&line[i], words[i]);
    assert_int_equal(bucket_match_portable(line, tag), 0x5d);
    assert_int_equal(bucket_match(line, tag), 0x5d);
    assert_int_equal(bucket_match(line, other), 0xae);
    assert_int_equal(bucket_match(line, 2), 0x0c);
}

/* Each mask from each slot: the candidates come once each, in the order of the probe. */
static void a_probe_wraps_in_its_bucket(void **state)
{
    (void)state;
    for (unsigned mask = 0; mask < 1u << BUCKET_SLOTS; mask++) {
        for (unsigned first = 0; first < BUCKET_SLOTS; first++) {
            unsigned m = bucket_rotate(mask, first);
            for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
                unsigned slot = (first + i) % BUCKET_SLOTS;
                if ((mask >> slot & 1) == 0)
                    continue;
                assert_true(m != 0);
                assert_int_equal(bucket_slot(m, first), slot);
                m &= m - 1;
            }
            assert_int_equal(m, 0);
        }
    }
}

/* ---- the word (slot.h) --------------------------------------------------------------------- */

static void tags_of_keys_are_never_special(void **state)
{
    (void)state;
    for (uint64_t low = 0; low <= SLOT_TAG_MASK; low++) {
        uint64_t tag = slot_tag(random_word() << 16 | low);
        assert_true(tag >= SLOT_TAG_FIRST && tag <= SLOT_TAG_MASK);
        assert_int_equal(tag & ~SLOT_TAG_FIRST, low & ~SLOT_TAG_FIRST); /* it tells 2^15 apart */
    }
}

static void a_slot_is_one_thing_and_keeps_its_tag(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 10000; n++) {
        uint64_t tag = slot_tag(random_word());
        uint64_t offset = (random_word() & ((1ull << 50) - 1) & ~7ull) | 4096;
        uint64_t w = slot_record(tag, offset), frozen = w | SLOT_FROZEN;
        assert_true(slot_offset(w) == offset && slot_offset(frozen) == offset);
        assert_true(slot_is_record(w) && slot_is_record(frozen));
        assert_false(slot_is_gone(w) || slot_is_terminal(frozen));
        assert_true(slot_is_moved(slot_moved(frozen)) && !slot_is_moved(slot_dropped(w)));
        assert_true(slot_is_gone(slot_moved(frozen)) && slot_is_gone(slot_dropped(w)));
        assert_true(slot_is_terminal(slot_moved(frozen)) && slot_is_terminal(slot_dropped(w)));
        assert_false(slot_is_record(slot_moved(w)) || slot_is_record(slot_dropped(w)));
        assert_true(slot_tag_of(frozen) == tag && slot_tag_of(slot_moved(frozen)) == tag);
        assert_true(slot_tag_of(slot_dropped(w)) == tag);
    }
    assert_true(slot_is_terminal(SLOT_MOVED_EMPTY) && !slot_is_gone(SLOT_MOVED_EMPTY));
    assert_false(slot_is_terminal(SLOT_EMPTY) || slot_is_record(SLOT_EMPTY));
    assert_false(slot_is_record(SLOT_MOVED_EMPTY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_paths_see_the_same),
        cmocka_unit_test(candidates_have_the_tag),
        cmocka_unit_test(what_deserves_a_look),
        cmocka_unit_test(a_probe_wraps_in_its_bucket),
        cmocka_unit_test(tags_of_keys_are_never_special),
        cmocka_unit_test(a_slot_is_one_thing_and_keeps_its_tag),
    };
    return cmocka_run_group_tests_name("bucket", tests, NULL, NULL);
}
