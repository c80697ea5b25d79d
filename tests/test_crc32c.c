/* SPDX-License-Identifier: MIT */
/* test_crc32c.c - CRC-32C against published vectors, a bit-by-bit division, and itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base.h"
#include "crc32c.h"

#include <stdlib.h>
#include <string.h>

#define BYTES 20000u
static unsigned char input[BYTES];

/* Each path that this machine has, for tests that hold for all of them. */
static crc32c_fn *paths[3];
static size_t path_count;

static int prepare(void **state)
{
    crc32c_fn *hardware = crc32c_hardware();

    (void)state;
    srand(1);
    for (size_t i = 0; i < BYTES; i++)
        input[i] = (unsigned char)rand();
    paths[path_count++] = crc32c;
    paths[path_count++] = crc32c_portable;
    if (hardware)
        paths[path_count++] = hardware;
    return 0;
}

/* The definition, one bit at a time. */
static uint32_t by_definition(const unsigned char *p, size_t len)
{
    uint32_t crc = ~0u;

    for (size_t bit = 0; bit < 8 * len; bit++) {
        uint32_t in = ((uint32_t)p[bit / 8] >> bit % 8 ^ crc) & 1u;
        crc = crc >> 1 ^ (in ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void known_vectors(void **state)
{
    unsigned char zeros[32] = {0}, ones[32], up[32], down[32];

    (void)state;
    memset(ones, 0xff, sizeof(ones));
    for (unsigned char i = 0; i < 32; i++) {
        up[i] = i;
        down[i] = (unsigned char)(31 - i);
    }
    for (size_t i = 0; i < path_count; i++) {
        assert_int_equal(paths[i](0, "", 0), 0);
        assert_int_equal(paths[i](0, "a", 1), 0xc1d04330u);
        assert_int_equal(paths[i](0, "123456789", 9), 0xe3069283u);
        assert_int_equal(paths[i](0, zeros, 32), 0x8a9136aau); /* the next four: RFC 3720, B.4 */
        assert_int_equal(paths[i](0, ones, 32), 0x62a8ab43u);
        assert_int_equal(paths[i](0, up, 32), 0x46dd794eu);
        assert_int_equal(paths[i](0, down, 32), 0x113fdb5cu);
    }
}

static void all_paths_agree_with_the_definition(void **state)
{
    (void)state;
    for (size_t len = 0; len < 300; len++) {
        for (size_t i = 0; i < path_count; i++)
            assert_int_equal(paths[i](0, input + len, len), by_definition(input + len, len));
    }
    for (size_t i = 0; i < path_count; i++)
        assert_int_equal(paths[i](0, input, BYTES), by_definition(input, BYTES));
}

static void all_paths_agree_at_every_length_and_alignment(void **state)
{
    (void)state;
    for (size_t len = 0; len < BYTES - 8; len += 1 + len / 64) {
        for (size_t at = 0; at < 8; at++) {
            uint32_t seed = (uint32_t)(len * 2654435761u);
            uint32_t expected = crc32c_portable(seed, input + at, len);
            for (size_t i = 0; i < path_count; i++)
                assert_int_equal(paths[i](seed, input + at, len), expected);
        }
    }
}

static void parts_make_the_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < path_count; i++) {
        uint32_t whole = paths[i](0, input, BYTES);
        for (size_t cut = 0; cut <= BYTES; cut += 997)
            assert_int_equal(paths[i](paths[i](0, input, cut), input + cut, BYTES - cut), whole);
    }
}

static void every_single_bit_counts(void **state)
{
    unsigned char record[104];

    (void)state;
    memcpy(record, input, sizeof(record));
    uint32_t good = crc32c(0, record, sizeof(record));
    for (size_t bit = 0; bit < 8 * sizeof(record); bit++) {
        record[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_int_not_equal(crc32c(0, record, sizeof(record)), good);
        record[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}

static void the_hardware_is_used_where_there_is_one(void **state)
{
    (void)state;
    if (!crc32c_hardware())
        skip();
    assert_int_equal(crc32c_hardware()(0, "123456789", 9), 0xe3069283u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_vectors),
        cmocka_unit_test(all_paths_agree_with_the_definition),
        cmocka_unit_test(all_paths_agree_at_every_length_and_alignment),
        cmocka_unit_test(parts_make_the_whole),
        cmocka_unit_test(every_single_bit_counts),
        cmocka_unit_test(the_hardware_is_used_where_there_is_one),
    };
    return cmocka_run_group_tests_name("crc32c", tests, prepare, NULL);
}
