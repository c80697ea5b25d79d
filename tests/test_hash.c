/* SPDX-License-Identifier: MIT */
/* test_hash.c - the hash of keys is XXH3 with a seed, and spreads as the index needs it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base.h"
#include "hash.h"

#include <stdio.h>
#include <string.h>

static uint64_t hash(const void *key, size_t len, uint64_t seed)
{
    struct hash_secret secret;

    hash_init(&secret, seed);
    return hash_key(key, len, &secret);
}

/* Values of the xxHash specification: stores of other builds must agree on them. */
static void the_hash_is_xxh3(void **state)
{
    (void)state;
    assert_true(hash("", 0, 0) == 0x2d06800538d394c2ull);
    assert_true(hash("a", 1, 0) == 0xe6c632b61e964e1full);
    assert_true(hash("abc", 3, 0) == 0x78af5f94892f3950ull);
}

static void the_seed_changes_every_length(void **state)
{
    char key[1000];

    (void)state;
    memset(key, 'k', sizeof(key));
    for (size_t len = 1; len <= sizeof(key); len++) {
        assert_true(hash(key, len, 1) != hash(key, len, 2));
        assert_true(hash(key, len, 7) == hash(key, len, 7));
        assert_true(hash(key, len, 7) != hash(key, len - 1, 7));
    }
}

/* The index takes the bucket from the top bits and the tag from the low 16: both must spread. */
static void buckets_and_tags_spread(void **state)
{
    static uint16_t buckets[4096], tags[65536];
    char key[40];

    (void)state;
    for (unsigned i = 0; i < 65536; i++) {
        int n = snprintf(key, sizeof(key), "user:%08u:name", i);
        uint64_t h = hash(key, (size_t)n, 0x5eed);
        buckets[h >> 52]++;
        tags[h & 0xffff]++;
    }
    for (size_t i = 0; i < ARRAY_SIZE(buckets); i++) /* 16 expected, 4 standard deviations each */
        assert_in_range(buckets[i], 0, 16 + 6 * 4);
    size_t empty = 0;
    for (size_t i = 0; i < ARRAY_SIZE(tags); i++)
        empty += tags[i] == 0;
    assert_in_range(empty, 23500, 24700); /* 65536 / e = 24109 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hash_is_xxh3),
        cmocka_unit_test(the_seed_changes_every_length),
        cmocka_unit_test(buckets_and_tags_spread),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
