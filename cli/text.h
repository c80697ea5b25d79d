/* SPDX-License-Identifier: MIT */
/*
 * text.h - growing runs of bytes, and the encodings the bulk formats need: UTF-8, base64,
 * JSON strings.  Strict where it reads: what a correct writer would not write is refused.
 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes that grow; all zero is an empty one.  Running out of memory ends the program. */
struct text {
    char *data;
    size_t size;
    size_t room;
};

void text_free(struct text *t);
void text_reserve(struct text *t, size_t more);
void text_add(struct text *t, const void *data, size_t size);
void text_add_string(struct text *t, const char *string);
void text_printf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Length of the UTF-8 character at @s, or 0 if there is no valid one within @size bytes. */
size_t text_utf8_char(const char *s, size_t size);
bool text_is_utf8(const char *s, size_t size);

/* Add @s for people to read on one line: control characters, backslashes and what is not UTF-8
 * become \n, \t, \\, \xHH. */
void text_add_shown(struct text *t, const char *s, size_t size);

/* Add @s as a quoted JSON string; bytes that are not UTF-8 become U+FFFD. */
void text_add_json(struct text *t, const char *s, size_t size);
void text_add_base64(struct text *t, const char *s, size_t size);

/* A piece of a buffer that is being decoded where it stands: decoding never lengthens. */
struct text_span {
    char *data;
    size_t size;
};

/*
 * Decode the JSON string at @*at, which must begin with its quote; @*at moves behind it.
 * Returns NULL, or what is wrong.
 */
const char *text_take_json(char **at, const char *end, struct text_span *string);

/* Decode base64 in place: standard alphabet, padded, no blanks.  Returns false if it is not. */
bool text_unbase64(struct text_span *span);

#endif
