/* SPDX-License-Identifier: MIT */
/* text.c - bytes that grow, UTF-8, base64 and JSON strings; see text.h. */
#include "text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}

void text_reserve(struct text *t, size_t more)
{
    if (t->room - t->size >= more) {
        return;
    }
    size_t need = t->size + more;
    size_t room = t->room < 256 ? 256 : t->room;
    while (room < need && room <= SIZE_MAX / 2) {
        room *= 2;
    }
    char *data = need < t->size || room < need ? NULL : realloc(t->data, room);
    if (!data) {
        fprintf(stderr, "shmkv: out of memory: no %zu more bytes to be had\n", more);
        exit(3);
    }
    t->data = data;
    t->room = room;
}

void text_add(struct text *t, const void *data, size_t size)
{
    text_reserve(t, size);
    if (size > 0) {
        memcpy(t->data + t->size, data, size);
        t->size += size;
    }
}

void text_add_string(struct text *t, const char *string)
{
    text_add(t, string, strlen(string));
}

void text_printf(struct text *t, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (size > 0) {
        text_add(t, line, (size_t)size < sizeof(line) ? (size_t)size : sizeof(line) - 1);
    }
}

/* ---- UTF-8 --------------------------------------------------------------------------------- */

/* Length by the lead byte, with the bounds of the second byte, which alone rule out overlong
 * forms, surrogates and what lies beyond U+10FFFF. */
static size_t text_utf8_lead(unsigned char c, unsigned char *low, unsigned char *high)
{
    *low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    *high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (c < 0x80) {
        return 1;
    }
    if (c < 0xc2 || c > 0xf4) {
        return 0;
    }
    return c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

size_t text_utf8_char(const char *s, size_t size)
{
    const unsigned char *p = (const unsigned char *)s;
    unsigned char low;
    unsigned char high;
    size_t length = size ? text_utf8_lead(p[0], &low, &high) : 0;
    if (length > size) {
        return 0;
    }
    if (length > 1 && (p[1] < low || p[1] > high)) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return length;
}

bool text_is_utf8(const char *s, size_t size)
{
    while (size > 0) {
        size_t length = text_utf8_char(s, size);
        if (length == 0) {
            return false;
        }
        s += length;
        size -= length;
    }
    return true;
}

static size_t text_put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    out[0] = (char)(lead[length] | c);
    return length;
}

/* ---- for people ---------------------------------------------------------------------------- */

void text_add_shown(struct text *t, const char *s, size_t size)
{
    for (size_t i = 0; i < size;) {
        unsigned char c = (unsigned char)s[i];
        size_t length = text_utf8_char(s + i, size - i);
        /* U+0080..U+009F are control characters that some terminals obey. */
        bool c1 = length == 2 && c == 0xc2 && (unsigned char)s[i + 1] < 0xa0;
        if (c == '\n' || c == '\t' || c == '\r' || c == '\\') {
            char pair[2] = {'\\', c == '\n' ? 'n' : c == '\t' ? 't' : c == '\r' ? 'r' : '\\'};
            text_add(t, pair, 2);
            length = 1;
        } else if (length == 0 || c < 0x20 || c == 0x7f || c1) {
            text_printf(t, "\\x%02x", c);
            length = 1;
        } else {
            text_add(t, s + i, length);
        }
        i += length;
    }
}

/* ---- JSON strings -------------------------------------------------------------------------- */

/* The letter of a two-character escape for @c, or 0. */
static char text_json_letter(unsigned char c)
{
    switch (c) {
    case '"':
    case '\\':
        return (char)c;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

void text_add_json(struct text *t, const char *s, size_t size)
{
    text_add(t, "\"", 1);
    for (size_t i = 0; i < size;) {
        unsigned char c = (unsigned char)s[i];
        size_t length = text_utf8_char(s + i, size - i);
        char letter = text_json_letter(c);
        if (letter) {
            char pair[2] = {'\\', letter};
            text_add(t, pair, 2);
        } else if (length == 0) {
            text_add_string(t, "\\ufffd");
            length = 1;
        } else if (c < 0x20 || c == 0x7f) {
            text_printf(t, "\\u%04x", c);
        } else {
            text_add(t, s + i, length);
        }
        i += length;
    }
    text_add(t, "\"", 1);
}

static int text_hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hexadecimal digits at @s. */
static bool text_hex4(const char *s, const char *end, uint32_t *value)
{
    if (end - s < 4) {
        return false;
    }
    *value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = text_hex_digit(s[i]);
        if (digit < 0) {
            return false;
        }
        *value = *value << 4 | (uint32_t)digit;
    }
    return true;
}

/* \uXXXX, or two of them that make a surrogate pair; @*in stands behind the 'u'. */
static const char *text_json_unicode(char **in, const char *end, char **out)
{
    uint32_t c;
    if (!text_hex4(*in, end, &c)) {
        return "\\u needs four hexadecimal digits";
    }
    *in += 4;
    if (c >= 0xd800 && c < 0xe000) {
        uint32_t low = 0;
        bool paired = c < 0xdc00 && end - *in >= 6 && (*in)[0] == '\\' && (*in)[1] == 'u' &&
                      text_hex4(*in + 2, end, &low) && low >= 0xdc00 && low < 0xe000;
        if (!paired) {
            return "half of a surrogate pair in a string";
        }
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        *in += 6;
    }
    *out += text_put_utf8(*out, c);
    return NULL;
}

static const char *text_json_escape(char **in, const char *end, char **out)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    if (*in == end) {
        return "a string that does not end";
    }
    char letter = *(*in)++;
    if (letter == 'u') {
        return text_json_unicode(in, end, out);
    }
    const char *known = letter ? strchr(letters, letter) : NULL;
    if (!known) {
        return "an unknown escape in a string";
    }
    *(*out)++ = meanings[known - letters];
    return NULL;
}

const char *text_take_json(char **at, const char *end, struct text_span *string)
{
    char *in = *at;
    if (in == end || *in != '"') {
        return "a string was expected";
    }
    char *out = ++in;
    string->data = out;
    while (in < end && *in != '"') {
        size_t length = text_utf8_char(in, (size_t)(end - in));
        if (length == 0) {
            return "a string that is not UTF-8 (use key_b64, value_b64)";
        }
        if ((unsigned char)*in < 0x20) {
            return "a control character in a string";
        }
        if (*in == '\\') {
            in++;
            const char *why = text_json_escape(&in, end, &out);
            if (why) {
                return why;
            }
            continue;
        }
        for (; length > 0; length--) {
            *out++ = *in++;
        }
    }
    if (in == end) {
        return "a string that does not end";
    }
    string->size = (size_t)(out - string->data);
    *at = in + 1;
    return NULL;
}

/* ---- base64 -------------------------------------------------------------------------------- */

static const char text_base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void text_add_base64(struct text *t, const char *s, size_t size)
{
    text_reserve(t, size / 3 * 4 + 4);
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i < 3 ? size - i : 3;
        uint32_t bits = 0;
        for (size_t j = 0; j < 3; j++) {
            bits = bits << 8 | (j < left ? (unsigned char)s[i + j] : 0u);
        }
        char quad[4];
        for (size_t j = 0; j < 4; j++) {
            quad[j] = j <= left ? text_base64_alphabet[bits >> (18 - 6 * j) & 63] : '=';
        }
        text_add(t, quad, 4);
    }
}

static int text_base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool text_unbase64(struct text_span *span)
{
    if (span->size % 4 != 0) {
        return false;
    }
    size_t chars = span->size;
    while (chars > 0 && span->size - chars < 2 && span->data[chars - 1] == '=') {
        chars--;
    }
    uint32_t bits = 0;
    size_t out = 0;
    for (size_t i = 0; i < chars; i++) {
        int value = text_base64_value(span->data[i]);
        if (value < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 > 0) {
            span->data[out++] = (char)(bits >> (6 - i % 4 * 2) & 0xff);
        }
    }
    /* The bits that padding leaves over must be zero, or two texts would mean one value. */
    uint32_t over = chars % 4 == 2 ? 15 : chars % 4 == 3 ? 3 : 0;
    span->size = out;
    return (bits & over) == 0;
}
