/* SPDX-License-Identifier: MIT */
/*
 * format.h - the four bulk formats of load, dump and scan.
 *
 *   tsv    key TAB value LF         key without TAB and LF, value without LF
 *   space  key SPACE value LF       key without SPACE and LF, value without LF
 *   null   key NUL value NUL        neither with a NUL
 *   jsonl  {"key": "...", "value": "...", "ttl_ms": 500} LF
 *          any bytes: what is not UTF-8 goes as key_b64 or value_b64
 *
 * Only jsonl carries an expiry.  A last line may lack its LF; a last pair of "null" may lack
 * nothing, else a cut-off file would pass for a whole one.  Nothing is trimmed: a CR before LF
 * belongs to the value.
 */
#ifndef CLI_FORMAT_H
#define CLI_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

/* What an expiry that never comes has left is not more than this. */
#define FORMAT_TTL_MAX ((uint64_t)INT64_MAX)

enum format_kind { FORMAT_TSV, FORMAT_SPACE, FORMAT_JSONL, FORMAT_NULL, FORMAT_KINDS };

struct format_pair {
    const char *key;
    size_t klen;
    const char *value;
    size_t vlen;
    uint64_t ttl_ms;  /* 0: never expires */
    uint64_t version; /* 0: not given */
};

/* Bytes being decoded. */
struct format_input {
    char *text;
    size_t size;
    bool last;       /* nothing comes after these bytes */
    size_t used;     /* out: bytes of the record that was decoded or refused */
    const char *why; /* out, for FORMAT_BAD: what is wrong with it */
};

enum format_result {
    FORMAT_OK,   /* a pair; it points into the text, which may have been decoded in place */
    FORMAT_MORE, /* the text ends inside a record (or is empty): come again with more */
    FORMAT_BAD,  /* not a record; going on behind @used is possible */
};

const char *format_name(enum format_kind kind);
bool format_by_name(const char *name, enum format_kind *kind);

/* By the end of a file's name: .data is space, .jsonl .ndjson .json are jsonl, .null .nul are
 * null; tsv otherwise, and for NULL. */
enum format_kind format_by_path(const char *path);

enum format_result format_decode(enum format_kind kind, struct format_input *in,
                                 struct format_pair *pair);

/* Add @pair to @out.  Returns NULL, or why this format cannot carry it (nothing is added). */
const char *format_encode(enum format_kind kind, const struct format_pair *pair, struct text *out);

/* The same for a key alone: one a line, or ended by NUL, or as {"key": "..."}. */
const char *format_encode_key(enum format_kind kind, const struct format_pair *pair,
                              struct text *out);

#endif
