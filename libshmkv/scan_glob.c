/* SPDX-License-Identifier: MIT */
/* scan_glob.c - see scan_glob.h. */
#include "scan_glob.h"

/* One byte of a bracket, maybe quoted; moves on behind it.  False at the end of the pattern. */
static bool next_byte(const char **pattern, unsigned char *byte)
{
    if (**pattern == '\\')
        ++*pattern;
    *byte = (unsigned char)**pattern;
    if (*byte == '\0')
        return false;
    ++*pattern;
    return true;
}

/* @pattern stands behind the [; it is moved behind the ].  False if there is none. */
static bool match_bracket(const char **pattern, unsigned char byte, bool *hit)
{
    bool negated = **pattern == '!';
    *pattern += negated;
    *hit = false;
    for (bool first = true; first || **pattern != ']'; first = false) {
        unsigned char low, high;
        if (!next_byte(pattern, &low))
            return false;
        high = low;
        if ((*pattern)[0] == '-' && (*pattern)[1] != ']') {
            ++*pattern;
            if (!next_byte(pattern, &high))
                return false;
        }
        *hit = *hit || (low <= byte && byte <= high);
    }
    ++*pattern;
    *hit = *hit != negated;
    return true;
}

/* Match one byte against what the pattern begins with, which is no star; moves on behind it. */
static bool match_one(const char **pattern, unsigned char byte)
{
    bool hit = true;
    switch (*(*pattern)++) {
    case '?':
        return true;
    case '[':
        match_bracket(pattern, byte, &hit);
        return hit;
    case '\\':
        return (unsigned char)*(*pattern)++ == byte;
    default:
        return (unsigned char)(*pattern)[-1] == byte;
    }
}

bool scan_glob_valid(const char *pattern)
{
    while (*pattern != '\0') {
        bool ignored;
        char c = *pattern++;
        if (c == '[' && !match_bracket(&pattern, 0, &ignored))
            return false;
        if (c == '\\' && *pattern++ == '\0')
            return false;
    }
    return true;
}

/*
 * On a mismatch the last star takes one byte more; earlier stars need not be tried again, since
 * what stands between two stars was matched as early in the key as it can be.
 */
bool scan_glob_match(const char *pattern, const char *key, size_t klen)
{
    const char *behind_star = NULL;
    size_t at = 0, retry = 0;
    while (at < klen) {
        if (*pattern == '*') {
            behind_star = ++pattern;
            retry = at;
        } else if (*pattern != '\0' && match_one(&pattern, (unsigned char)key[at])) {
            at++;
        } else if (behind_star != NULL) {
            pattern = behind_star;
            at = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}
