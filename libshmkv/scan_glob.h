/* SPDX-License-Identifier: MIT */
/*
 * scan_glob.h - glob patterns over keys, which are any bytes.
 *
 *   *       any number of bytes      [a-z0]    one byte of these
 *   ?       one byte                 [!a]      one byte, none of these
 *   \x      the byte x itself, also within brackets; a ] that comes first in brackets is itself
 */
#ifndef SHMKV_SCAN_GLOB_H
#define SHMKV_SCAN_GLOB_H

#include "base.h"

/* Is the pattern whole?  A bracket must be closed, a backslash followed by something. */
bool scan_glob_valid(const char *pattern);

/* Does the whole @key match the valid @pattern?  Time: at most both lengths multiplied. */
bool scan_glob_match(const char *pattern, const char *key, size_t klen);

#endif
