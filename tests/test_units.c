/* SPDX-License-Identifier: MIT */
/* test_units.c - numbers, sizes and times as people type them: all of the text, or nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "units.h"

static void test_numbers(void **state)
{
    (void)state;
    uint64_t n = 7;
    assert_true(units_parse_number("0", &n) && n == 0);
    assert_true(units_parse_number("18446744073709551615", &n) && n == UINT64_MAX);
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "-1",
                                      "+1",
                                      "0x10",
                                      "1e3",
                                      "abc",
                                      "18446744073709551616",
                                      "99999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        n = 7;
        assert_false(units_parse_number(bad[i], &n));
        assert_int_equal(n, 7);
    }
}

static void test_signed_numbers(void **state)
{
    (void)state;
    int64_t n;
    assert_true(units_parse_signed("-9223372036854775808", &n) && n == INT64_MIN);
    assert_true(units_parse_signed("9223372036854775807", &n) && n == INT64_MAX);
    assert_true(units_parse_signed("+5", &n) && n == 5);
    assert_true(units_parse_signed("-0", &n) && n == 0);
    assert_false(units_parse_signed("9223372036854775808", &n));
    assert_false(units_parse_signed("-9223372036854775809", &n));
    assert_false(units_parse_signed("-", &n));
    assert_false(units_parse_signed("--5", &n));
}

static void test_sizes(void **state)
{
    (void)state;
    uint64_t n;
    assert_true(units_parse_size("4096", &n) && n == 4096);
    assert_true(units_parse_size("64K", &n) && n == 65536);
    assert_true(units_parse_size("3m", &n) && n == 3u << 20);
    assert_true(units_parse_size("2G", &n) && n == 2ull << 30);
    assert_true(units_parse_size("1T", &n) && n == 1ull << 40);
    assert_false(units_parse_size("1X", &n));
    assert_false(units_parse_size("G", &n));
    assert_false(units_parse_size("-1G", &n));
    assert_false(units_parse_size("16777216T", &n));
}

static void test_times(void **state)
{
    (void)state;
    uint64_t n;
    assert_true(units_parse_time("250ms", &n) && n == 250);
    assert_true(units_parse_time("10s", &n) && n == 10000);
    assert_true(units_parse_time("10", &n) && n == 10000);
    assert_true(units_parse_time("5m", &n) && n == 300000);
    assert_true(units_parse_time("2h", &n) && n == 7200000);
    assert_true(units_parse_time("7d", &n) && n == 604800000);
    assert_true(units_parse_time("never", &n) && n == 0);
    assert_false(units_parse_time("", &n));
    assert_false(units_parse_time("s", &n));
    assert_false(units_parse_time("10x", &n));
    assert_false(units_parse_time("-10s", &n));
    assert_false(units_parse_time("9999999999999d", &n));
    assert_true(units_parse_time("9223372036854775807ms", &n) && n == INT64_MAX);
    assert_false(units_parse_time("9223372036854775808ms", &n));
}

static void test_modes(void **state)
{
    (void)state;
    uint64_t n;
    assert_true(units_parse_mode("0640", &n) && n == 0640);
    assert_true(units_parse_mode("777", &n) && n == 0777);
    assert_false(units_parse_mode("1777", &n));
    assert_false(units_parse_mode("888", &n));
    assert_false(units_parse_mode("", &n));
    assert_false(units_parse_mode("rw", &n));
}

static void test_showing(void **state)
{
    (void)state;
    char text[UNITS_TEXT];
    units_show_size(text, 1023);
    assert_string_equal(text, "1023");
    units_show_size(text, 1024);
    assert_string_equal(text, "1.0K");
    units_show_size(text, 1536u << 20);
    assert_string_equal(text, "1.5G");
    units_show_size(text, (1u << 20) - 1);
    assert_string_equal(text, "1.0M");
    units_show_size(text, UINT64_MAX);
    assert_string_equal(text, "16.0E");
    units_show_time(text, 999);
    assert_string_equal(text, "999ms");
    units_show_time(text, 5390);
    assert_string_equal(text, "5.3s");
    units_show_time(text, 3 * 86400000ull + 43200000);
    assert_string_equal(text, "3.5d");
    units_show_date(text, 1700000000123);
    assert_string_equal(text, "2023-11-14T22:13:20.123Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_signed_numbers),
        cmocka_unit_test(test_sizes),   cmocka_unit_test(test_times),
        cmocka_unit_test(test_modes),   cmocka_unit_test(test_showing),
    };
    return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
