/* SPDX-License-Identifier: MIT */
/*
 * cmd_config.c - the config command: the settings of a store, and those that can be changed.
 *
 * All arguments are read before the store is opened, so that a mistaken one changes nothing.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "units.h"

/* What is printed, and why it cannot be changed; NULL: it can. */
static const struct config_key {
    const char *name;
    const char *fixed;
} config_keys[] = {
    {"size", NULL},
    {"size_most", "follows from the size that the store was made with"},
    {"segment_size", "is chosen when a store is made"},
    {"cache", "is chosen when a store is made"},
    {"image", "is the store's name"},
    {"memory", "follows from the store's name"},
    {"interval", NULL},
};

/* What is asked for; 0: nothing. */
struct config_wish {
    uint64_t size;
    uint64_t interval_ms;
};

/* ---- change -------------------------------------------------------------------------------- */

/* One of the values. */
static int config_take_value(const struct cli *cli, const char *name, const char *value,
                             struct config_wish *wish)
{
    bool is_size = strcmp(name, "size") == 0;
    uint64_t *number = is_size ? &wish->size : &wish->interval_ms;
    if (*number != 0) {
        return cli_usage(cli, "'%s' is given twice", name);
    }
    bool good = is_size ? units_parse_size(value, number) : units_parse_time(value, number);
    if (!good || *number == 0) {
        return cli_usage(cli, "%s: '%s' is no %s", name, value,
                         is_size ? "size such as 64M or 1G" : "time such as 250ms, 1s or 1m");
    }
    if (is_size && !units_is_store_size(*number)) {
        return cli_usage(cli, "size: '%s' is not " UNITS_STORE_RANGE, value);
    }
    return CLI_DONE;
}

/* Read KEY=VALUE. */
static int config_take(const struct cli *cli, const char *argument, struct config_wish *wish)
{
    const char *value = strchr(argument, '=');
    if (!value) {
        return cli_usage(cli, "'%s' is no KEY=VALUE", argument);
    }
    int length = (int)(value++ - argument);
    const struct config_key *key = NULL;
    for (size_t i = 0; i < sizeof(config_keys) / sizeof(config_keys[0]); i++) {
        const char *name = config_keys[i].name;
        if (strlen(name) == (size_t)length && strncmp(name, argument, (size_t)length) == 0) {
            key = &config_keys[i];
        }
    }
    if (!key) {
        return cli_usage(cli, "'%.*s' is no setting; what can be changed: size, interval", length,
                         argument);
    }
    if (key->fixed) {
        return cli_usage(cli, "'%s' cannot be changed: it %s", key->name, key->fixed);
    }
    return config_take_value(cli, key->name, value, wish);
}

/* Both or neither. */
static int config_apply(struct cli *cli, const struct config_wish *wish)
{
    struct shmkv_config before;
    int rc = shmkv_get_config(cli->db, &before);
    if (rc == 0 && wish->interval_ms != 0) {
        rc = shmkv_set_interval(cli->db, wish->interval_ms);
    }
    if (rc == 0 && wish->size != 0) {
        rc = shmkv_set_size(cli->db, wish->size);
        if (rc != 0 && wish->interval_ms != 0) {
            int first = cli_result(cli, rc);
            shmkv_set_interval(cli->db, before.interval_ms);
            return first;
        }
    }
    return cli_result(cli, rc);
}

static int config_change(struct cli *cli, const struct config_wish *wish)
{
    int status = cli_open(cli, 0);
    if (status == CLI_DONE) {
        status = config_apply(cli, wish);
    }
    if (status != CLI_DONE || cli_is_volatile(cli)) {
        return status;
    }
    if (shmkv_checkpoint(cli->db) != 0) {
        return cli_error(NULL, "it is changed, but not yet durable: %s", shmkv_last_error());
    }
    return CLI_DONE;
}

/* ---- print --------------------------------------------------------------------------------- */

static void config_print_json(const struct shmkv_config *c)
{
    struct text out = {0};
    text_printf(&out, "{\"size\": %" PRIu64 ", \"size_most\": %" PRIu64, c->size, c->size_most);
    text_printf(&out, ", \"segment_size\": %" PRIu64 ", \"cache\": %s", c->segment_size,
                c->cache ? "true" : "false");
    if (c->image) {
        text_add_string(&out, ", \"image\": ");
        text_add_json(&out, c->image, strlen(c->image));
    }
    text_add_string(&out, ", \"memory\": ");
    text_add_json(&out, c->memory, strlen(c->memory));
    if (c->interval_ms) {
        text_printf(&out, ", \"interval_ms\": %" PRIu64, c->interval_ms);
    }
    text_add_string(&out, "}\n");
    cli_write(&out);
    text_free(&out);
}

static void config_print_line(const char *name, const char *value)
{
    printf(cli_output_is_terminal() ? "%-14s %s\n" : "%s\t%s\n", name, value);
}

static void config_print_size(const char *name, uint64_t bytes)
{
    char value[UNITS_TEXT];
    if (cli_output_is_terminal()) {
        units_show_size(value, bytes);
    } else {
        snprintf(value, sizeof(value), "%" PRIu64, bytes);
    }
    config_print_line(name, value);
}

static void config_print(const struct shmkv_config *c)
{
    config_print_size("size", c->size);
    config_print_size("size_most", c->size_most);
    config_print_size("segment_size", c->segment_size);
    config_print_line("cache", c->cache ? "yes" : "no");
    if (c->image) {
        config_print_line("image", c->image);
    }
    config_print_line("memory", c->memory);
    if (c->interval_ms) {
        char value[UNITS_TEXT]; /* in a form that can be given */
        snprintf(value, sizeof(value), "%" PRIu64 "ms", c->interval_ms);
        config_print_line("interval", value);
    }
}

static int config_show(struct cli *cli)
{
    int status = cli_open(cli, SHMKV_READONLY);
    if (status != CLI_DONE) {
        return status;
    }
    struct shmkv_config config = {0};
    int rc = shmkv_get_config(cli->db, &config);
    if (rc != 0) {
        return cli_result(cli, rc);
    }
    if (cli_has(cli, OPT_JSON)) {
        config_print_json(&config);
    } else {
        config_print(&config);
    }
    return CLI_DONE;
}

int cmd_config(struct cli *cli)
{
    struct config_wish wish = {0};
    for (int i = 0; i < cli->args; i++) {
        int status = config_take(cli, cli->arg[i], &wish);
        if (status != CLI_DONE) {
            return status;
        }
    }
    if (cli->args > 0 && cli_has(cli, OPT_JSON)) {
        return cli_usage(cli, "--json is for printing settings, not for changing them");
    }
    return cli->args > 0 ? config_change(cli, &wish) : config_show(cli);
}
