/* SPDX-License-Identifier: MIT */
/*
 * test_format.c - the bulk formats and the encodings below them: what goes out comes back, what
 * is not right is refused, whatever piece of a file is in memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "format.h"

#define ROUNDS 20000

static uint64_t seed = 88172645463325252ull;

static uint64_t random_below(uint64_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % limit;
}

/* Bytes that make trouble, more often than chance would. */
static size_t random_bytes(char *out, size_t least, size_t most)
{
    static const char odd[] = "\0\t\n\r \"\\/{}:,\x7f\x80\xbf\xc2\xa0\xe2\x82\xac\xf0\x9f\x98\x80";
    size_t size = least + random_below(most - least + 1);
    uint64_t style = random_below(3);
    for (size_t i = 0; i < size; i++) {
        char byte = (char)random_below(256);
        char letter = (char)('a' + random_below(26));
        char trouble = odd[random_below(sizeof(odd) - 1)];
        out[i] = style == 0 ? byte : style == 1 ? letter : trouble;
    }
    return size;
}

/* Decode a copy that ends exactly where its memory does, so that a sanitizer sees any overrun. */
struct decoded {
    struct format_input in;
    struct format_pair pair;
    enum format_result result;
};

static struct decoded decode(enum format_kind kind, const char *text, size_t size, bool last)
{
    struct decoded d = {.in = {.text = malloc(size ? size : 1), .size = size, .last = last}};
    assert_non_null(d.in.text);
    memcpy(d.in.text, text, size);
    d.result = format_decode(kind, &d.in, &d.pair);
    return d;
}

static void assert_same(const struct format_pair *a, const struct format_pair *b)
{
    assert_int_equal(a->klen, b->klen);
    assert_memory_equal(a->key, b->key, a->klen);
    assert_int_equal(a->vlen, b->vlen);
    if (a->vlen > 0) {
        assert_memory_equal(a->value, b->value, a->vlen);
    }
}

/* True if the pair could be carried, and then it came back. */
static bool round_trip(enum format_kind kind, const struct format_pair *pair)
{
    struct text out = {0};
    if (format_encode(kind, pair, &out)) {
        assert_int_equal(out.size, 0);
        return false;
    }
    struct decoded d = decode(kind, out.data, out.size, false);
    assert_int_equal(d.result, FORMAT_OK);
    assert_int_equal(d.in.used, out.size);
    assert_same(pair, &d.pair);
    if (kind == FORMAT_JSONL) {
        assert_int_equal(pair->ttl_ms, d.pair.ttl_ms);
        assert_int_equal(pair->version, d.pair.version);
    }
    free(d.in.text);
    text_free(&out);
    return true;
}

static void test_round_trip(void **state)
{
    (void)state;
    char key[40];
    char value[300];
    unsigned carried[FORMAT_KINDS] = {0};
    for (int i = 0; i < ROUNDS; i++) {
        struct format_pair pair = {.key = key, .value = value};
        pair.klen = random_bytes(key, 1, sizeof(key));
        pair.vlen = random_bytes(value, 0, sizeof(value));
        pair.ttl_ms = random_below(3) ? 0 : 1 + random_below(1000000);
        pair.version = random_below(2) ? 0 : UINT64_MAX - random_below(3);
        for (int kind = 0; kind < FORMAT_KINDS; kind++) {
            carried[kind] += round_trip((enum format_kind)kind, &pair);
        }
    }
    assert_int_equal(carried[FORMAT_JSONL], ROUNDS);
    assert_true(carried[FORMAT_TSV] > ROUNDS / 10);
    assert_true(carried[FORMAT_SPACE] > ROUNDS / 10);
    assert_true(carried[FORMAT_NULL] > ROUNDS / 10);
}

/* Whatever part of a record is in memory, the rest is asked for. */
static void test_pieces(void **state)
{
    (void)state;
    struct format_pair pair = {.key = "key", .klen = 3, .value = "the value", .vlen = 9};
    for (int k = 0; k < FORMAT_KINDS; k++) {
        enum format_kind kind = (enum format_kind)k;
        struct text out = {0};
        assert_null(format_encode(kind, &pair, &out));
        for (size_t size = 0; size < out.size; size++) {
            struct decoded d = decode(kind, out.data, size, false);
            assert_int_equal(d.result, FORMAT_MORE);
            free(d.in.text);
        }
        text_free(&out);
    }
}

static void test_end_of_file(void **state)
{
    (void)state;
    struct decoded d = decode(FORMAT_TSV, "k\tv", 3, true);
    assert_int_equal(d.result, FORMAT_OK);
    assert_int_equal(d.in.used, 3);
    assert_int_equal(d.pair.vlen, 1);
    free(d.in.text);
    d = decode(FORMAT_NULL, "k\0v", 3, true);
    assert_int_equal(d.result, FORMAT_BAD);
    assert_int_equal(d.in.used, 3);
    free(d.in.text);
    d = decode(FORMAT_NULL, "", 0, true);
    assert_int_equal(d.result, FORMAT_MORE);
    free(d.in.text);
}

static void test_cannot_carry(void **state)
{
    (void)state;
    static const struct {
        enum format_kind kind;
        const char *key;
        const char *value;
    } cases[] = {
        {FORMAT_TSV, "a\tb", "v"},  {FORMAT_TSV, "a\nb", "v"},   {FORMAT_TSV, "a", "v\nw"},
        {FORMAT_SPACE, "a b", "v"}, {FORMAT_SPACE, "a\nb", "v"}, {FORMAT_SPACE, "a", "v\nw"},
    };
    struct text out = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct format_pair pair = {.key = cases[i].key,
                                   .klen = strlen(cases[i].key),
                                   .value = cases[i].value,
                                   .vlen = strlen(cases[i].value)};
        assert_non_null(format_encode(cases[i].kind, &pair, &out));
    }
    struct format_pair nul = {.key = "a", .klen = 1, .value = "v\0w", .vlen = 3};
    assert_non_null(format_encode(FORMAT_NULL, &nul, &out));
    assert_int_equal(out.size, 0);
    /* A tab in a value, a space in a value: the first divider counts. */
    struct format_pair fine = {.key = "a", .klen = 1, .value = "v\tw x", .vlen = 5};
    assert_true(round_trip(FORMAT_TSV, &fine));
    assert_true(round_trip(FORMAT_SPACE, &fine));
}

static void test_bad_lines(void **state)
{
    (void)state;
    static const struct {
        enum format_kind kind;
        const char *line;
    } cases[] = {
        {FORMAT_TSV, "\n"},
        {FORMAT_TSV, "no tab\n"},
        {FORMAT_TSV, "\tno key\n"},
        {FORMAT_SPACE, "nospace\n"},
        {FORMAT_SPACE, " nokey\n"},
        {FORMAT_JSONL, "\n"},
        {FORMAT_JSONL, "[]\n"},
        {FORMAT_JSONL, "{}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\"}\n"},
        {FORMAT_JSONL, "{\"value\": \"a\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"\", \"value\": \"a\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"b\"\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"b\"} x\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"b\",}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\" \"value\": \"b\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"key\": \"a\", \"value\": \"b\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"key_b64\": \"YQ==\", \"value\": \"b\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": 1}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": null}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"b\", \"other\": 1}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"b\", \"ttl_ms\": 0}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"b\", \"ttl_ms\": -1}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"b\", \"ttl_ms\": 1.5}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"b\", \"ttl_ms\": 99999999999999999999}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"b\\x\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"b\\u12g4\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"\\ud800\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"\\udc00\\ud800\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"\\ud800\\u0041\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"\t\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"\xff\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value\": \"\xc0\xaf\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value_b64\": \"YQ\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value_b64\": \"YR==\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value_b64\": \"Y===\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value_b64\": \"Y Q=\"}\n"},
        {FORMAT_JSONL, "{\"key\": \"a\", \"value_b64\": \"=QYY\"}\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct decoded d = decode(cases[i].kind, cases[i].line, strlen(cases[i].line), false);
        if (d.result != FORMAT_BAD || !d.in.why) {
            fail_msg("was accepted: %s", cases[i].line);
        }
        assert_int_equal(d.in.used, strlen(cases[i].line));
        free(d.in.text);
    }
}

static void test_json_reading(void **state)
{
    (void)state;
    static const char line[] = " { \"ttl_ms\" : 25 , \"value\" : \"\\u20ac\\ud83d\\ude00\\n\\/\" ,"
                               "\t\"key_b64\":\"AP8=\"} \r\n";
    struct decoded d = decode(FORMAT_JSONL, line, sizeof(line) - 1, false);
    assert_int_equal(d.result, FORMAT_OK);
    struct format_pair want = {
        .key = "\0\xff", .klen = 2, .vlen = 9, .value = "\xe2\x82\xac\xf0\x9f\x98\x80\n/"};
    assert_same(&want, &d.pair);
    assert_int_equal(d.pair.ttl_ms, 25);
    free(d.in.text);
}

static void test_key_length(void **state)
{
    (void)state;
    static char line[70000];
    memset(line, 'k', sizeof(line));
    line[65535] = '\t';
    line[65536] = '\n';
    struct decoded d = decode(FORMAT_TSV, line, 65537, false);
    assert_int_equal(d.result, FORMAT_OK);
    free(d.in.text);
    line[65535] = 'k';
    line[65536] = '\t';
    line[65537] = '\n';
    d = decode(FORMAT_TSV, line, 65538, false);
    assert_int_equal(d.result, FORMAT_BAD);
    free(d.in.text);
}

static void test_keys_alone(void **state)
{
    (void)state;
    struct format_pair pair = {.key = "a\tb c", .klen = 5};
    struct text out = {0};
    assert_null(format_encode_key(FORMAT_TSV, &pair, &out));
    assert_int_equal(out.size, 6);
    assert_memory_equal(out.data, "a\tb c\n", 6);
    out.size = 0;
    assert_null(format_encode_key(FORMAT_JSONL, &pair, &out));
    assert_memory_equal(out.data, "{\"key\": \"a\\tb c\"}\n", out.size);
    pair.key = "a\nb";
    pair.klen = 3;
    assert_non_null(format_encode_key(FORMAT_TSV, &pair, &out));
    text_free(&out);
}

static void test_names(void **state)
{
    (void)state;
    enum format_kind kind;
    for (int i = 0; i < FORMAT_KINDS; i++) {
        assert_true(format_by_name(format_name((enum format_kind)i), &kind));
        assert_int_equal(kind, i);
    }
    assert_false(format_by_name("csv", &kind));
    assert_int_equal(format_by_path(NULL), FORMAT_TSV);
    assert_int_equal(format_by_path("a.b/c"), FORMAT_TSV);
    assert_int_equal(format_by_path("x.data"), FORMAT_SPACE);
    assert_int_equal(format_by_path("x.jsonl"), FORMAT_JSONL);
    assert_int_equal(format_by_path("x.null"), FORMAT_NULL);
}

static void test_base64(void **state)
{
    (void)state;
    static const char *const known[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct text out = {0};
        text_add_base64(&out, known[i][0], strlen(known[i][0]));
        assert_int_equal(out.size, strlen(known[i][1]));
        assert_memory_equal(out.data, known[i][1], out.size);
        struct text_span span = {out.data, out.size};
        assert_true(text_unbase64(&span));
        assert_int_equal(span.size, strlen(known[i][0]));
        assert_memory_equal(span.data, known[i][0], span.size);
        text_free(&out);
    }
}

static void test_utf8(void **state)
{
    (void)state;
    static const char *const good[] = {"a",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xe2\x82",
                                      "\xe2\x28\xa1"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(text_utf8_char(good[i], strlen(good[i])), strlen(good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(text_is_utf8(bad[i], strlen(bad[i])));
    }
}

static void test_shown(void **state)
{
    (void)state;
    static const char raw[] = "a\n\x1b[2J\\\xff\xc2\x9b\xc3\xa4";
    static const char want[] = "a\\n\\x1b[2J\\\\\\xff\\xc2\\x9b\xc3\xa4";
    struct text out = {0};
    text_add_shown(&out, raw, sizeof(raw) - 1);
    assert_int_equal(out.size, sizeof(want) - 1);
    assert_memory_equal(out.data, want, out.size);
    text_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_end_of_file), cmocka_unit_test(test_cannot_carry),
        cmocka_unit_test(test_bad_lines),   cmocka_unit_test(test_json_reading),
        cmocka_unit_test(test_key_length),  cmocka_unit_test(test_keys_alone),
        cmocka_unit_test(test_names),       cmocka_unit_test(test_base64),
        cmocka_unit_test(test_utf8),        cmocka_unit_test(test_shown),
    };
    return cmocka_run_group_tests_name("format", tests, NULL, NULL);
}
