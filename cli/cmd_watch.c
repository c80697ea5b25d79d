/* SPDX-License-Identifier: MIT */
/*
 * cmd_watch.c - the watch command: sleep until something changes, print it, again.
 *
 * Changes that follow each other faster than they are printed appear as one.  An expiry wakes
 * nobody, so while a value that expires is shown, the sleep is no longer than its life.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "units.h"
#include "walk.h"

/* Between two lines about the whole store: a busy one must not flood whoever looks. */
#define WATCH_PAUSE_NS 100000000

struct watch {
    struct cli *cli;
    uint64_t changes;     /* printed so far */
    uint64_t deadline_ns; /* 0: none */
};

/* Milliseconds to sleep at most, -1: for ever; @expires_ms is that of the value shown, or 0. */
static int64_t watch_timeout(const struct watch *watch, int64_t expires_ms)
{
    int64_t timeout = -1;
    if (watch->deadline_ns != 0) {
        uint64_t now = units_mono_ns();
        timeout =
            now < watch->deadline_ns ? (int64_t)((watch->deadline_ns - now + 999999) / 1000000) : 0;
    }
    if (expires_ms != 0) {
        int64_t left = (int64_t)walk_ttl_left(watch->cli->db, expires_ms);
        timeout = timeout < 0 || left < timeout ? left : timeout;
    }
    return timeout;
}

/* Enough was printed, or no more can be. */
static bool watch_is_over(const struct watch *watch)
{
    const struct cli *cli = watch->cli;
    bool enough = cli_has(cli, OPT_CHANGES) && watch->changes >= cli->number[OPT_CHANGES];
    return enough || ferror(stdout);
}

/* ---- one key ------------------------------------------------------------------------------- */

/* VERSION TAB VALUE, the value escaped; version 0 and no value: the key is gone. */
static void watch_print(const struct cli *cli, const struct text *value,
                        const struct shmkv_item *item)
{
    struct text line = {0};
    const char *key = cli->arg[0];
    if (cli_has(cli, OPT_JSON) && item->version != 0) {
        struct format_pair pair = {
            key,
            strlen(key),
            value->data,
            value->size,
            walk_ttl_left(cli->db, item->expires_ms),
            item->version,
        };
        format_encode(FORMAT_JSONL, &pair, &line);
    } else if (cli_has(cli, OPT_JSON)) {
        text_add_string(&line, "{\"key\": ");
        text_add_json(&line, key, strlen(key));
        text_add_string(&line, ", \"removed\": true}\n");
    } else {
        text_printf(&line, "%" PRIu64 "\t", item->version);
        text_add_shown(&line, value->data, value->size);
        text_add_string(&line, "\n");
    }
    cli_write(&line);
    cli_push();
    text_free(&line);
}

/* What the key holds now; version 0 if nothing. */
static int watch_read(const struct cli *cli, struct text *value, struct shmkv_item *item)
{
    value->size = 0;
    int rc = walk_read(cli->db, cli->arg[0], strlen(cli->arg[0]), value, item);
    if (rc == SHMKV_ENOTFOUND) {
        *item = (struct shmkv_item){0};
        return 0;
    }
    return rc;
}

static int watch_key(struct watch *watch)
{
    struct cli *cli = watch->cli;
    struct text value = {0};
    struct shmkv_item item;
    int rc = watch_read(cli, &value, &item);
    uint64_t seen = cli_has(cli, OPT_SINCE) ? cli->number[OPT_SINCE] : item.version;
    while (rc == 0 && !watch_is_over(watch)) {
        if (item.version != seen) {
            watch_print(cli, &value, &item);
            seen = item.version;
            watch->changes++;
            continue;
        }
        rc = shmkv_wait(cli->db, cli->arg[0], strlen(cli->arg[0]), seen,
                        watch_timeout(watch, item.expires_ms));
        bool over = rc == SHMKV_ETIMEOUT && watch_timeout(watch, 0) == 0;
        if (rc == 0 || (rc == SHMKV_ETIMEOUT && !over)) {
            rc = watch_read(cli, &value, &item);
        }
    }
    text_free(&value);
    return rc;
}

/* ---- the whole store ----------------------------------------------------------------------- */

static void watch_print_store(const struct cli *cli, const struct shmkv_stats *stats)
{
    printf(cli_has(cli, OPT_JSON) ? "{\"puts\": %" PRIu64 ", \"deletes\": %" PRIu64
                                    ", \"keys\": %" PRIu64 "}\n"
                                  : "puts %" PRIu64 " deletes %" PRIu64 " keys %" PRIu64 "\n",
           stats->puts, stats->deletes, stats->keys);
    cli_push();
}

/* A wait also ends when a process that has written leaves; only the counters tell a write. */
static int watch_store(struct watch *watch)
{
    struct shmkv *db = watch->cli->db;
    struct shmkv_stats shown, now;
    uint64_t ticket = 0;
    int rc = shmkv_get_stats(db, &shown);
    now = shown;
    while (rc == 0 && !watch_is_over(watch)) {
        if (now.puts != shown.puts || now.deletes != shown.deletes) {
            watch_print_store(watch->cli, &now);
            shown = now;
            watch->changes++;
            nanosleep(&(struct timespec){.tv_nsec = WATCH_PAUSE_NS}, NULL);
        } else {
            rc = shmkv_wait_any(db, &ticket, watch_timeout(watch, 0));
        }
        if (rc == 0) {
            rc = shmkv_get_stats(db, &now);
        }
    }
    return rc;
}

int cmd_watch(struct cli *cli)
{
    if (cli->args == 0 && cli_has(cli, OPT_SINCE)) {
        return cli_usage(cli, "--since needs a KEY");
    }
    int status = cli->args > 0 ? cli_check_key(cli, cli->arg[0]) : CLI_DONE;
    if (status == CLI_DONE) {
        status = cli_open(cli, SHMKV_READONLY);
    }
    if (status != CLI_DONE) {
        return status;
    }
    struct watch watch = {.cli = cli};
    int64_t timeout = cli_timeout(cli);
    if (timeout >= 0 && timeout <= INT64_MAX / 1000000) { /* 292 years are no limit */
        watch.deadline_ns = units_mono_ns() + (uint64_t)timeout * 1000000;
    }
    int rc = cli->args > 0 ? watch_key(&watch) : watch_store(&watch);
    return rc == SHMKV_ETIMEOUT ? CLI_NO : cli_result(cli, rc);
}
