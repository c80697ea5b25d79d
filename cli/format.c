/* SPDX-License-Identifier: MIT */
/* format.c - the bulk formats; see format.h. */
#define _GNU_SOURCE
#include "format.h"

#include <inttypes.h>
#include <string.h>

#include "shmkv.h"

static const struct {
    const char *name;
    char divider; /* between key and value */
    char end;     /* of a record */
    const char *bad_key;
    const char *bad_value;
} formats[FORMAT_KINDS] = {
    [FORMAT_TSV] = {"tsv", '\t', '\n', "the key has a tab or a line feed",
                    "the value has a line feed"},
    [FORMAT_SPACE] = {"space", ' ', '\n', "the key has a space or a line feed",
                      "the value has a line feed"},
    [FORMAT_JSONL] = {"jsonl", 0, '\n', NULL, NULL},
    [FORMAT_NULL] = {"null", '\0', '\0', "the key has a NUL byte", "the value has a NUL byte"},
};

const char *format_name(enum format_kind kind)
{
    return formats[kind].name;
}

bool format_by_name(const char *name, enum format_kind *kind)
{
    for (int i = 0; i < FORMAT_KINDS; i++) {
        if (strcmp(name, formats[i].name) == 0) {
            *kind = (enum format_kind)i;
            return true;
        }
    }
    return false;
}

enum format_kind format_by_path(const char *path)
{
    static const struct {
        const char *end;
        enum format_kind kind;
    } ends[] = {
        {".data", FORMAT_SPACE},   {".tsv", FORMAT_TSV},    {".jsonl", FORMAT_JSONL},
        {".ndjson", FORMAT_JSONL}, {".json", FORMAT_JSONL}, {".null", FORMAT_NULL},
        {".nul", FORMAT_NULL},
    };
    const char *dot = path ? strrchr(path, '.') : NULL;
    for (size_t i = 0; dot && i < sizeof(ends) / sizeof(ends[0]); i++) {
        if (strcmp(dot, ends[i].end) == 0) {
            return ends[i].kind;
        }
    }
    return FORMAT_TSV;
}

/* ---- decoding ------------------------------------------------------------------------------ */

static enum format_result format_bad(struct format_input *in, const char *why)
{
    in->why = why;
    return FORMAT_BAD;
}

static enum format_result format_check_key(struct format_input *in, const struct format_pair *pair)
{
    if (pair->klen < 1 || pair->klen > SHMKV_KEY_MAX) {
        return format_bad(in,
                          pair->klen ? "the key is longer than 65535 bytes" : "the key is empty");
    }
    return FORMAT_OK;
}

/* Key, divider, value in one line of @size bytes. */
static enum format_result format_split(char divider, struct format_input *in, size_t size,
                                       struct format_pair *pair)
{
    const char *at = memchr(in->text, divider, size);
    if (!at) {
        return format_bad(in, divider == '\t' ? "no tab between key and value"
                                              : "no space between key and value");
    }
    pair->key = in->text;
    pair->klen = (size_t)(at - in->text);
    pair->value = at + 1;
    pair->vlen = size - pair->klen - 1;
    return format_check_key(in, pair);
}

static enum format_result format_decode_null(struct format_input *in, struct format_pair *pair)
{
    const char *key_end = memchr(in->text, '\0', in->size);
    size_t rest = key_end ? in->size - (size_t)(key_end + 1 - in->text) : 0;
    const char *value_end = rest ? memchr(key_end + 1, '\0', rest) : NULL;
    if (!value_end) {
        if (!in->last) {
            return FORMAT_MORE;
        }
        in->used = in->size;
        return format_bad(in, "the input ends inside a pair (each needs two NUL bytes)");
    }
    pair->key = in->text;
    pair->klen = (size_t)(key_end - in->text);
    pair->value = key_end + 1;
    pair->vlen = (size_t)(value_end - key_end - 1);
    in->used = (size_t)(value_end + 1 - in->text);
    return format_check_key(in, pair);
}

static void format_skip_blanks(char **at, const char *end)
{
    while (*at < end && (**at == ' ' || **at == '\t' || **at == '\r')) {
        (*at)++;
    }
}

static bool format_take(char **at, const char *end, char c)
{
    format_skip_blanks(at, end);
    if (*at == end || **at != c) {
        return false;
    }
    (*at)++;
    format_skip_blanks(at, end);
    return true;
}

/* A JSON integer from 1 to @limit; neither a sign nor a leading zero. */
static const char *format_take_number(char **at, const char *end, uint64_t limit, uint64_t *number)
{
    uint64_t n = 0;
    char *p = *at;
    if (p == end || *p < '1' || *p > '9') {
        return "ttl_ms and version must be whole numbers from 1 on";
    }
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (n > (limit - digit) / 10) {
            return "a number that is too large";
        }
        n = n * 10 + digit;
    }
    *number = n;
    *at = p;
    return NULL;
}

enum format_member { MEMBER_KEY, MEMBER_VALUE, MEMBER_TTL, MEMBER_VERSION };

static const struct {
    const char *name;
    enum format_member member;
    bool base64;
} format_members[] = {
    {"key", MEMBER_KEY, false},     {"key_b64", MEMBER_KEY, true},
    {"value", MEMBER_VALUE, false}, {"value_b64", MEMBER_VALUE, true},
    {"ttl_ms", MEMBER_TTL, false},  {"version", MEMBER_VERSION, false},
};

/* The value of member number @index. */
static const char *format_take_value(char **at, const char *end, size_t index,
                                     struct format_pair *pair)
{
    enum format_member member = format_members[index].member;
    if (member == MEMBER_VERSION) {
        return format_take_number(at, end, UINT64_MAX, &pair->version);
    }
    if (member == MEMBER_TTL) {
        return format_take_number(at, end, FORMAT_TTL_MAX, &pair->ttl_ms);
    }
    struct text_span string;
    const char *why = text_take_json(at, end, &string);
    if (why) {
        return why;
    }
    if (format_members[index].base64 && !text_unbase64(&string)) {
        return "a member that ends in _b64 is not base64";
    }
    if (member == MEMBER_KEY) {
        pair->key = string.data;
        pair->klen = string.size;
    } else {
        pair->value = string.data;
        pair->vlen = string.size;
    }
    return NULL;
}

/* "name": value; @seen has a bit for each member met so far. */
static const char *format_take_member(char **at, const char *end, unsigned *seen,
                                      struct format_pair *pair)
{
    struct text_span name;
    const char *why = text_take_json(at, end, &name);
    if (why) {
        return why;
    }
    size_t count = sizeof(format_members) / sizeof(format_members[0]);
    for (size_t i = 0; i < count; i++) {
        const char *known = format_members[i].name;
        if (strlen(known) != name.size || memcmp(known, name.data, name.size) != 0) {
            continue;
        }
        unsigned bit = 1u << format_members[i].member;
        if (*seen & bit) {
            return "a member that is given twice";
        }
        *seen |= bit;
        if (!format_take(at, end, ':')) {
            return "a colon was expected";
        }
        return format_take_value(at, end, i, pair);
    }
    return "an unknown member (known: key, key_b64, value, value_b64, ttl_ms, version)";
}

static const char *format_take_object(char *at, const char *end, struct format_pair *pair)
{
    unsigned seen = 0;
    if (!format_take(&at, end, '{')) {
        return "a JSON object was expected";
    }
    if (format_take(&at, end, '}')) {
        return at == end ? "key and value are both needed" : "something follows the JSON object";
    }
    do {
        const char *why = format_take_member(&at, end, &seen, pair);
        if (why) {
            return why;
        }
    } while (format_take(&at, end, ','));
    if (!format_take(&at, end, '}')) {
        return "a comma or a closing brace was expected";
    }
    if (at != end) {
        return "something follows the JSON object";
    }
    unsigned needed = 1u << MEMBER_KEY | 1u << MEMBER_VALUE;
    return (seen & needed) == needed ? NULL : "key and value are both needed";
}

static enum format_result format_decode_line(enum format_kind kind, struct format_input *in,
                                             struct format_pair *pair)
{
    const char *lf = memchr(in->text, '\n', in->size);
    if (!lf && !in->last) {
        return FORMAT_MORE;
    }
    size_t size = lf ? (size_t)(lf - in->text) : in->size;
    in->used = lf ? size + 1 : size;
    if (kind != FORMAT_JSONL) {
        return format_split(formats[kind].divider, in, size, pair);
    }
    const char *why = format_take_object(in->text, in->text + size, pair);
    return why ? format_bad(in, why) : format_check_key(in, pair);
}

enum format_result format_decode(enum format_kind kind, struct format_input *in,
                                 struct format_pair *pair)
{
    *pair = (struct format_pair){0};
    in->used = 0;
    in->why = NULL;
    if (in->size == 0) {
        return FORMAT_MORE;
    }
    return kind == FORMAT_NULL ? format_decode_null(in, pair) : format_decode_line(kind, in, pair);
}

/* ---- encoding ------------------------------------------------------------------------------ */

static void format_encode_string(const char *name, const char *s, size_t size, struct text *out)
{
    if (text_is_utf8(s, size)) {
        text_printf(out, "\"%s\": ", name);
        text_add_json(out, s, size);
    } else {
        text_printf(out, "\"%s_b64\": \"", name);
        text_add_base64(out, s, size);
        text_add(out, "\"", 1);
    }
}

static void format_encode_json(const struct format_pair *pair, struct text *out)
{
    text_add(out, "{", 1);
    format_encode_string("key", pair->key, pair->klen, out);
    text_add(out, ", ", 2);
    format_encode_string("value", pair->value, pair->vlen, out);
    if (pair->ttl_ms) {
        text_printf(out, ", \"ttl_ms\": %" PRIu64, pair->ttl_ms);
    }
    if (pair->version) {
        text_printf(out, ", \"version\": %" PRIu64, pair->version);
    }
    text_add(out, "}\n", 2);
}

const char *format_encode(enum format_kind kind, const struct format_pair *pair, struct text *out)
{
    if (kind == FORMAT_JSONL) {
        format_encode_json(pair, out);
        return NULL;
    }
    char divider = formats[kind].divider;
    char end = formats[kind].end;
    if (memchr(pair->key, divider, pair->klen) || memchr(pair->key, end, pair->klen)) {
        return formats[kind].bad_key;
    }
    if (pair->vlen && memchr(pair->value, end, pair->vlen)) {
        return formats[kind].bad_value;
    }
    text_reserve(out, pair->klen + pair->vlen + 2);
    text_add(out, pair->key, pair->klen);
    text_add(out, &divider, 1);
    text_add(out, pair->value, pair->vlen);
    text_add(out, &end, 1);
    return NULL;
}

const char *format_encode_key(enum format_kind kind, const struct format_pair *pair,
                              struct text *out)
{
    if (kind == FORMAT_JSONL) {
        text_add(out, "{", 1);
        format_encode_string("key", pair->key, pair->klen, out);
        text_add(out, "}\n", 2);
        return NULL;
    }
    char end = formats[kind].end;
    if (memchr(pair->key, end, pair->klen)) {
        return kind == FORMAT_NULL ? "the key has a NUL byte" : "the key has a line feed";
    }
    text_add(out, pair->key, pair->klen);
    text_add(out, &end, 1);
    return NULL;
}
