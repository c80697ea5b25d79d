/* SPDX-License-Identifier: MIT */
/* units.c - numbers, sizes and times as text; see units.h. */
#define _GNU_SOURCE
#include "units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* Digits at the front of @text; where they end goes to @end.  False: none, or more than 64 bits. */
static bool units_digits(const char *text, uint64_t *number, const char **end)
{
    uint64_t n = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (n > (UINT64_MAX - digit) / 10) {
            return false;
        }
        n = n * 10 + digit;
    }
    *number = n;
    *end = p;
    return p != text;
}

static bool units_scaled(const char *text, const struct unit *units, uint64_t *result)
{
    uint64_t n;
    const char *rest;
    if (!units_digits(text, &n, &rest)) {
        return false;
    }
    for (const struct unit *u = units; u->name; u++) {
        if (strcasecmp(rest, u->name) == 0) {
            if (n > UINT64_MAX / u->factor) {
                return false;
            }
            *result = n * u->factor;
            return true;
        }
    }
    return false;
}

bool units_parse_number(const char *text, uint64_t *number)
{
    static const struct unit none[] = {{"", 1}, {NULL, 0}};
    return units_scaled(text, none, number);
}

bool units_is_too_large(const char *text)
{
    uint64_t ignored;
    return *text && strspn(text, "0123456789") == strlen(text) &&
           !units_parse_number(text, &ignored);
}

bool units_parse_signed(const char *text, int64_t *number)
{
    bool negative = *text == '-';
    const char *digits = text + (negative || *text == '+' ? 1 : 0);
    uint64_t n;
    if (!units_parse_number(digits, &n) || n > (uint64_t)INT64_MAX + (negative ? 1 : 0)) {
        return false;
    }
    /* -(n - 1) - 1: the smallest number has no positive counterpart. */
    *number = negative && n > 0 ? -(int64_t)(n - 1) - 1 : (int64_t)n;
    return true;
}

bool units_parse_size(const char *text, uint64_t *bytes)
{
    static const struct unit sizes[] = {
        {"", 1},           {"k", 1ull << 10}, {"m", 1ull << 20},
        {"g", 1ull << 30}, {"t", 1ull << 40}, {NULL, 0},
    };
    return units_scaled(text, sizes, bytes);
}

bool units_parse_time(const char *text, uint64_t *ms)
{
    static const struct unit times[] = {
        {"", 1000},     {"ms", 1},       {"s", 1000}, {"m", 60000},
        {"h", 3600000}, {"d", 86400000}, {NULL, 0},
    };
    uint64_t value = 0;
    if (strcmp(text, "never") != 0 && !units_scaled(text, times, &value)) {
        return false;
    }
    if (value > INT64_MAX) { /* as milliseconds are signed elsewhere */
        return false;
    }
    *ms = value;
    return true;
}

bool units_parse_mode(const char *text, uint64_t *mode)
{
    uint64_t n = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '7' && n <= 0777; p++) {
        n = n * 8 + (uint64_t)(*p - '0');
    }
    if (p == text || *p || n > 0777) {
        return false;
    }
    *mode = n;
    return true;
}

void units_show_size(char out[static UNITS_TEXT], uint64_t bytes)
{
    static const char letters[] = "KMGTPE";
    if (bytes < 1024) {
        snprintf(out, UNITS_TEXT, "%" PRIu64, bytes);
        return;
    }
    double value = (double)bytes / 1024;
    size_t letter = 0;
    while (value >= 1023.95 && letter + 2 < sizeof(letters)) {
        value /= 1024;
        letter++;
    }
    snprintf(out, UNITS_TEXT, "%.1f%c", value, letters[letter]);
}

void units_show_time(char out[static UNITS_TEXT], uint64_t ms)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (ms >= units[i].ms) {
            uint64_t tenths = ms / (units[i].ms / 10);
            snprintf(out, UNITS_TEXT, "%" PRIu64 ".%" PRIu64 "%s", tenths / 10, tenths % 10,
                     units[i].name);
            return;
        }
    }
    snprintf(out, UNITS_TEXT, "%" PRIu64 "ms", ms);
}

void units_show_date(char out[static UNITS_TEXT], int64_t unix_ms)
{
    time_t seconds = unix_ms / 1000;
    struct tm tm;
    char day[24];
    if (!gmtime_r(&seconds, &tm) || !strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm)) {
        snprintf(out, UNITS_TEXT, "%" PRId64 "ms", unix_ms);
        return;
    }
    snprintf(out, UNITS_TEXT, "%s.%03dZ", day, (int)(unix_ms % 1000));
}

static uint64_t units_clock(clockid_t clock, uint64_t per_second)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * per_second + (uint64_t)now.tv_nsec / (1000000000u / per_second);
}

uint64_t units_now_ms(void)
{
    return units_clock(CLOCK_REALTIME, 1000);
}

uint64_t units_mono_ns(void)
{
    return units_clock(CLOCK_MONOTONIC, 1000000000u);
}
