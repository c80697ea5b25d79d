/* SPDX-License-Identifier: MIT */
/* cmd_data.c - the commands that work on one key: set get del exists incr append cas touch ttl. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "units.h"
#include "walk.h"

/* Check KEY, read VALUE, open the store: what every writing command begins with. */
static int data_begin_write(struct cli *cli, const char *argument, struct text *value,
                            uint32_t flags)
{
    int status = cli_check_key(cli, cli->arg[0]);
    if (status == CLI_DONE && argument) {
        status = cli_value(argument, value);
    }
    return status == CLI_DONE ? cli_open(cli, flags) : status;
}

static int data_begin_read(struct cli *cli)
{
    int status = cli_check_key(cli, cli->arg[0]);
    return status == CLI_DONE ? cli_open(cli, SHMKV_READONLY) : status;
}

static int data_end_write(struct cli *cli, int rc, uint64_t version)
{
    if (rc == 0 && cli_has(cli, OPT_VERBOSE)) {
        printf("%" PRIu64 "\n", version);
    }
    return cli_result(cli, rc);
}

int cmd_set(struct cli *cli)
{
    bool nx = cli_has(cli, OPT_NX);
    bool xx = cli_has(cli, OPT_XX);
    bool keep = cli_has(cli, OPT_KEEP_TTL);
    if (nx && xx) {
        return cli_usage(cli, "--nx and --xx exclude each other");
    }
    if (keep && cli_has(cli, OPT_TTL)) {
        return cli_usage(cli, "--ttl and --keep-ttl exclude each other");
    }
    uint64_t version = 0;
    struct shmkv_put_options options = {.ttl_ms = cli->number[OPT_TTL], .version = &version};
    options.flags =
        (nx ? SHMKV_IF_ABSENT : 0) | (xx ? SHMKV_IF_PRESENT : 0) | (keep ? SHMKV_KEEP_TTL : 0);
    struct text value = {0};
    /* --xx needs a key, so it has nothing to do in a store that does not exist. */
    int status = data_begin_write(cli, cli->arg[1], &value, xx ? 0 : SHMKV_CREATE);
    if (status == CLI_DONE) {
        const char *key = cli->arg[0];
        int rc = shmkv_put(cli->db, key, strlen(key), value.data, value.size, &options);
        status = data_end_write(cli, rc, version);
    }
    text_free(&value);
    return status;
}

int cmd_cas(struct cli *cli)
{
    uint64_t expected;
    if (!units_parse_number(cli->arg[1], &expected)) {
        return cli_usage(cli, "VERSION: '%s' is %s", cli->arg[1],
                         units_is_too_large(cli->arg[1]) ? "too large a number"
                                                         : "not a whole number");
    }
    uint64_t version = 0;
    struct shmkv_put_options options = {.ttl_ms = cli->number[OPT_TTL], .version = &version};
    struct text value = {0};
    int status = data_begin_write(cli, cli->arg[2], &value, expected == 0 ? SHMKV_CREATE : 0);
    if (status == CLI_DONE) {
        const char *key = cli->arg[0];
        int rc = shmkv_cas(cli->db, key, strlen(key), expected, value.data, value.size, &options);
        status = data_end_write(cli, rc, version);
    }
    text_free(&value);
    return status;
}

int cmd_append(struct cli *cli)
{
    struct text value = {0};
    int status = data_begin_write(cli, cli->arg[1], &value, SHMKV_CREATE);
    if (status == CLI_DONE) {
        const char *key = cli->arg[0];
        size_t total = 0;
        int rc = shmkv_append(cli->db, key, strlen(key), value.data, value.size, &total);
        status = data_end_write(cli, rc, total);
    }
    text_free(&value);
    return status;
}

/* What is wrong is the value, so say whose. */
static int data_bad_counter(const struct cli *cli)
{
    const char *story = shmkv_last_error();
    struct text key = {0};
    text_add_shown(&key, cli->arg[0], strlen(cli->arg[0]));
    cli_error(cli->store, "key '%.*s': %s", (int)key.size, key.data, story);
    text_free(&key);
    return CLI_ERROR;
}

int cmd_incr(struct cli *cli)
{
    int64_t by = 1;
    if (cli->args > 1 && !units_parse_signed(cli->arg[1], &by)) {
        return cli_usage(cli, "BY: '%s' is not a 64-bit whole number", cli->arg[1]);
    }
    int status = data_begin_write(cli, NULL, NULL, SHMKV_CREATE);
    if (status != CLI_DONE) {
        return status;
    }
    int64_t result;
    int rc = shmkv_add(cli->db, cli->arg[0], strlen(cli->arg[0]), by, &result);
    if (rc == 0) {
        printf("%" PRId64 "\n", result);
    }
    return rc == SHMKV_ENOTNUM || rc == SHMKV_EOVERFLOW ? data_bad_counter(cli)
                                                        : cli_result(cli, rc);
}

int cmd_touch(struct cli *cli)
{
    uint64_t ttl_ms;
    if (!units_parse_time(cli->arg[1], &ttl_ms)) {
        return cli_usage(cli, "TIME: '%s' is not a time such as 250ms, 10s, 5m, 2h, 7d or never",
                         cli->arg[1]);
    }
    int status = data_begin_write(cli, NULL, NULL, 0);
    if (status != CLI_DONE) {
        return status;
    }
    return cli_result(cli, shmkv_touch(cli->db, cli->arg[0], strlen(cli->arg[0]), ttl_ms));
}

/* ---- remove -------------------------------------------------------------------------------- */

static int data_del_keys(struct cli *cli)
{
    int status = CLI_DONE;
    uint64_t removed = 0;
    for (int i = 0; i < cli->args; i++) {
        int one = cli_result(cli, shmkv_delete(cli->db, cli->arg[i], strlen(cli->arg[i])));
        if (one == CLI_ERROR) {
            return one;
        }
        removed += one == CLI_DONE;
        status = one == CLI_NO ? one : status;
    }
    if (cli_has(cli, OPT_VERBOSE)) {
        printf("%" PRIu64 "\n", removed);
    }
    return status;
}

/* Keys that a scan found, one after the other, each after its length. */
static int data_collect(void *arg, const struct shmkv_pair *pair)
{
    struct text *keys = arg;
    text_add(keys, &pair->klen, sizeof(pair->klen));
    text_add(keys, pair->key, pair->klen);
    return 0;
}

static int data_delete_collected(struct cli *cli, const struct text *keys, size_t *removed)
{
    for (size_t at = 0; at < keys->size;) {
        size_t size;
        memcpy(&size, keys->data + at, sizeof(size));
        at += sizeof(size);
        int rc = shmkv_delete(cli->db, keys->data + at, size);
        if (rc != 0 && rc != SHMKV_ENOTFOUND) {
            return rc;
        }
        *removed += rc == 0;
        at += size;
    }
    return 0;
}

static int data_del_prefix(struct cli *cli)
{
    struct text keys = {0};
    struct shmkv_scan_options options = {.limit = 256};
    walk_filter(cli, &options);
    size_t removed = 0;
    uint64_t cursor = 0;
    int rc;
    do {
        keys.size = 0;
        rc = shmkv_scan(cli->db, &cursor, &options, data_collect, &keys);
        if (rc == 0) {
            rc = data_delete_collected(cli, &keys, &removed);
        }
    } while (rc == 0 && cursor != 0);
    text_free(&keys);
    if (cli_has(cli, OPT_VERBOSE)) {
        printf("%zu\n", removed);
    }
    return cli_result(cli, rc);
}

int cmd_del(struct cli *cli)
{
    bool by_prefix = cli_has(cli, OPT_PREFIX);
    if (by_prefix && cli->args > 0) {
        return cli_usage(cli, "give keys or --prefix, not both");
    }
    if (!by_prefix && cli->args == 0) {
        return cli_usage(cli, "give at least one key, or --prefix");
    }
    int status = cli_check_keys(cli);
    if (status == CLI_DONE) {
        status = cli_open(cli, 0);
    }
    if (status != CLI_DONE) {
        return status;
    }
    return by_prefix ? data_del_prefix(cli) : data_del_keys(cli);
}

/* ---- read ---------------------------------------------------------------------------------- */

int cmd_exists(struct cli *cli)
{
    int status = cli_check_keys(cli);
    if (status == CLI_DONE) {
        status = cli_open(cli, SHMKV_READONLY);
    }
    if (status != CLI_DONE) {
        return status;
    }
    int rc = 0;
    for (int i = 0; rc == 0 && i < cli->args; i++) {
        rc = shmkv_exists(cli->db, cli->arg[i], strlen(cli->arg[i]));
    }
    return rc == SHMKV_ENOTFOUND ? CLI_NO : cli_result(cli, rc);
}

/* The date of an expiry is by the wall clock as it is now, which may have been set since. */
static void data_print_facts(const struct cli *cli, const struct shmkv_item *item)
{
    char when[UNITS_TEXT] = "never";
    uint64_t left = walk_ttl_left(cli->db, item->expires_ms);
    if (left != 0) {
        uint64_t now = units_now_ms();
        units_show_date(when, (int64_t)(left < INT64_MAX - now ? now + left : INT64_MAX));
    }
    printf("version: %" PRIu64 "\nexpires: %s\nsize: %zu\n\n", item->version, when, item->size);
}

int cmd_get(struct cli *cli)
{
    int status = data_begin_read(cli);
    if (status != CLI_DONE) {
        return status;
    }
    struct text value = {0};
    struct shmkv_item item;
    const char *key = cli->arg[0];
    int rc = walk_read(cli->db, key, strlen(key), &value, &item);
    if (rc == 0 && cli_has(cli, OPT_JSON)) {
        struct format_pair pair = {
            key,
            strlen(key),
            value.data,
            value.size,
            walk_ttl_left(cli->db, item.expires_ms),
            item.version,
        };
        struct text line = {0};
        format_encode(FORMAT_JSONL, &pair, &line);
        cli_write(&line);
        text_free(&line);
    } else if (rc == 0) {
        if (cli_has(cli, OPT_VERBOSE)) {
            data_print_facts(cli, &item);
        }
        cli_write(&value);
        if (cli_output_is_terminal()) {
            putchar('\n');
        }
    }
    text_free(&value);
    return cli_result(cli, rc);
}

int cmd_ttl(struct cli *cli)
{
    int status = data_begin_read(cli);
    if (status != CLI_DONE) {
        return status;
    }
    struct shmkv_item item;
    const char *key = cli->arg[0];
    int rc = shmkv_read(cli->db, key, strlen(key), NULL, 0, &item);
    if (rc != 0 && rc != SHMKV_EBUFFER) {
        return cli_result(cli, rc);
    }
    bool json = cli_has(cli, OPT_JSON);
    if (item.expires_ms == 0) {
        puts(json ? "{\"ttl_ms\": null}" : "never");
    } else {
        uint64_t left = walk_ttl_left(cli->db, item.expires_ms);
        printf(json ? "{\"ttl_ms\": %" PRIu64 "}\n" : "%" PRIu64 "ms\n", left);
    }
    return CLI_DONE;
}
