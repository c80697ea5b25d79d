/* SPDX-License-Identifier: MIT */
/*
 * walk.h - reading pairs out of a store and printing them.
 *
 * Nothing is written to a file or pipe inside a read section: pairs are encoded into memory and
 * written between two calls of the library.  A reader of the pipe that stops (a pager, ^S) then
 * holds back no memory of the store.
 */
#ifndef CLI_WALK_H
#define CLI_WALK_H

#include "cli.h"

/* How pairs are printed.  All zero but @format prints pairs as dump does. */
struct walk_print {
    enum format_kind format;
    bool shown; /* escaped, for people, instead of exact */
    bool keys_only;
    uint64_t expiring; /* out: pairs whose expiry the format could not carry */
};

/* From --format, --json, and whether standard output is a terminal. */
struct walk_print walk_choose(const struct cli *cli);

/* Add one pair to @out.  NULL, or why the format cannot carry it. */
const char *walk_add(struct walk_print *print, const struct format_pair *pair, struct text *out);

/* Say that @key cannot be printed, and in which format it can.  Returns CLI_ERROR. */
int walk_cannot(const struct cli *cli, const struct format_pair *pair, const char *why);

/* Put --prefix and --match into @options. */
void walk_filter(const struct cli *cli, struct shmkv_scan_options *options);

/* Copy the value of a key into @value, whatever its size. */
int walk_read(struct shmkv *db, const void *key, size_t klen, struct text *value,
              struct shmkv_item *item);

/* Milliseconds until @expires_ms of the store's clock, at least 1; 0 if that is 0 (never). */
uint64_t walk_ttl_left(struct shmkv *db, int64_t expires_ms);

#endif
