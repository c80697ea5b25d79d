/* SPDX-License-Identifier: MIT */
/*
 * units.h - numbers, sizes and times: from what people type, and back to what they read.
 *
 * Every units_parse_...() takes the whole text or nothing: no blanks, no sign where none makes
 * sense, no rest, no overflow.  It returns false then and leaves the result alone.
 */
#ifndef CLI_UNITS_H
#define CLI_UNITS_H

#include <stdbool.h>
#include <stdint.h>

#define UNITS_TEXT 32 /* room for what any units_show_...() writes */

bool units_parse_number(const char *text, uint64_t *number);
bool units_parse_signed(const char *text, int64_t *number);

/* Whether @text is a whole number, of more than 64 bits. */
bool units_is_too_large(const char *text);

/* Bytes: "4096", "64K", "1G"; K, M, G, T are powers of 1024, in either case. */
bool units_parse_size(const char *text, uint64_t *bytes);

/* The limits of a store's --size, as the library has them. */
#define UNITS_STORE_LEAST (1ull << 20)
#define UNITS_STORE_MOST (1ull << 44)
#define UNITS_STORE_RANGE "1M to 16T"
static inline bool units_is_store_size(uint64_t bytes)
{
    return bytes >= UNITS_STORE_LEAST && bytes <= UNITS_STORE_MOST;
}

/* Milliseconds from "250ms", "10s", "5m", "2h", "7d"; a bare number is seconds, as for sleep(1);
 * "never" and 0 are 0. */
bool units_parse_time(const char *text, uint64_t *ms);

/* Permission bits in octal: "600", "0640". */
bool units_parse_mode(const char *text, uint64_t *mode);

/* "512", "4.0K", "1.5G" */
void units_show_size(char out[static UNITS_TEXT], uint64_t bytes);

/* Milliseconds as "250ms", "5.3s", "12.0m", "7.5h", "3.0d" */
void units_show_time(char out[static UNITS_TEXT], uint64_t ms);

/* Unix time in milliseconds as "2031-05-06T07:08:09.010Z" */
void units_show_date(char out[static UNITS_TEXT], int64_t unix_ms);

uint64_t units_now_ms(void);  /* Unix time */
uint64_t units_mono_ns(void); /* for measuring */

#endif
