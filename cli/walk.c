/* SPDX-License-Identifier: MIT */
/* walk.c - reading pairs out of a store and printing them; see walk.h. */
#define _GNU_SOURCE
#include "walk.h"

#include <string.h>

#include "units.h"

struct walk_print walk_choose(const struct cli *cli)
{
    struct walk_print print = {.keys_only = cli_has(cli, OPT_KEYS_ONLY)};
    if (cli_has(cli, OPT_JSON)) {
        print.format = FORMAT_JSONL;
    } else if (cli_has(cli, OPT_FORMAT)) {
        print.format = (enum format_kind)cli->number[OPT_FORMAT];
    } else {
        print.format = FORMAT_TSV;
        print.shown = cli_output_is_terminal();
    }
    return print;
}

const char *walk_add(struct walk_print *print, const struct format_pair *pair, struct text *out)
{
    if (print->shown) {
        text_add_shown(out, pair->key, pair->klen);
        if (!print->keys_only) {
            text_add(out, "\t", 1);
            text_add_shown(out, pair->value, pair->vlen);
        }
        text_add(out, "\n", 1);
        return NULL;
    }
    if (print->keys_only) {
        return format_encode_key(print->format, pair, out);
    }
    const char *why = format_encode(print->format, pair, out);
    print->expiring += !why && pair->ttl_ms > 0 && print->format != FORMAT_JSONL;
    return why;
}

int walk_cannot(const struct cli *cli, const struct format_pair *pair, const char *why)
{
    struct text key = {0};
    text_add_shown(&key, pair->key, pair->klen < 100 ? pair->klen : 100);
    text_add(&key, pair->klen < 100 ? "" : "...", pair->klen < 100 ? 1 : 4);
    cli_error(cli->store, "cannot print the pair \"%s\" in this format: %s; use --format jsonl",
              key.data, why);
    text_free(&key);
    return CLI_ERROR;
}

void walk_filter(const struct cli *cli, struct shmkv_scan_options *options)
{
    if (cli_has(cli, OPT_PREFIX)) {
        options->prefix = cli->text[OPT_PREFIX];
        options->prefix_len = strlen(cli->text[OPT_PREFIX]);
    }
    if (cli_has(cli, OPT_MATCH)) {
        options->match = cli->text[OPT_MATCH];
    }
}

int walk_read(struct shmkv *db, const void *key, size_t klen, struct text *value,
              struct shmkv_item *item)
{
    size_t wanted = 4096;
    for (;;) {
        text_reserve(value, wanted);
        int rc = shmkv_read(db, key, klen, value->data, value->room, item);
        if (rc == 0) {
            value->size = item->size;
        }
        if (rc != SHMKV_EBUFFER) {
            return rc;
        }
        wanted = item->size; /* it may have grown again by the time it is read again */
    }
}

uint64_t walk_ttl_left(struct shmkv *db, int64_t expires_ms)
{
    int64_t now = 0;
    if (expires_ms == 0) {
        return 0;
    }
    shmkv_get_clock(db, &now); /* it was read from, so that cannot fail */
    int64_t left = expires_ms - now;
    return left > 0 ? (uint64_t)left : 1;
}
