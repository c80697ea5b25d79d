/* SPDX-License-Identifier: MIT */
/* cmd_admin.c - the commands that concern whole stores: create info clear destroy ls gc compact. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "units.h"

int cmd_create(struct cli *cli)
{
    if (cli_has(cli, OPT_SIZE) && cli->number[OPT_SIZE] == 0) {
        return cli_usage(cli, "--size: a store of no size can hold nothing");
    }
    if (cli_has(cli, OPT_SIZE) && !units_is_store_size(cli->number[OPT_SIZE])) {
        return cli_usage(cli, "--size: '%s' is not " UNITS_STORE_RANGE, cli->text[OPT_SIZE]);
    }
    struct shmkv_options options = {
        .flags = SHMKV_CREATE | SHMKV_EXCLUSIVE | SHMKV_NO_KEEPER |
                 (cli_has(cli, OPT_CACHE) ? (uint32_t)SHMKV_CACHE : 0u),
        .mode = (uint32_t)cli->number[OPT_MODE],
        .size = cli->number[OPT_SIZE],
        .reserve = cli->number[OPT_RESERVE],
    };
    if (cli_has(cli, OPT_MODE) && options.mode == 0) {
        return cli_usage(cli, "--mode: nobody could open a store of mode 0");
    }
    return cli_open_with(cli, &options);
}

int cmd_clear(struct cli *cli)
{
    int status = cli_open(cli, 0);
    return status == CLI_DONE ? cli_result(cli, shmkv_clear(cli->db)) : status;
}

int cmd_destroy(struct cli *cli)
{
    int rc = shmkv_destroy(cli->store, cli->shm_dir, cli_has(cli, OPT_FORCE));
    if (rc == SHMKV_EINUSE) {
        return cli_error(NULL,
                         "%s is in use: 'shmkv readers' lists by whom; --force removes it anyway, "
                         "and those get an error",
                         cli->store);
    }
    if (rc == SHMKV_ENOSTORE) {
        return cli_error(NULL, "there is no store %s", cli->store);
    }
    return cli_result(cli, rc);
}

/* ---- info ---------------------------------------------------------------------------------- */

/* One line of info. */
struct info_row {
    const char *name;
    uint64_t value;
    bool bytes;
};

static void info_print(const struct info_row *row, bool json)
{
    if (json) {
        printf(", \"%s\": %" PRIu64, row->name, row->value);
    } else if (row->bytes && cli_output_is_terminal()) {
        char size[UNITS_TEXT];
        units_show_size(size, row->value);
        printf("%-14s %s\n", row->name, size);
    } else if (cli_output_is_terminal()) {
        printf("%-14s %" PRIu64 "\n", row->name, row->value);
    } else {
        printf("%s\t%" PRIu64 "\n", row->name, row->value);
    }
}

static void info_print_text(const char *name, const char *value, bool json)
{
    struct text line = {0};
    if (json) {
        text_printf(&line, ", \"%s\": ", name);
        text_add_json(&line, value, strlen(value));
    } else {
        text_printf(&line, cli_output_is_terminal() ? "%-14s %s\n" : "%s\t%s\n", name, value);
    }
    cli_write(&line);
    text_free(&line);
}

/* A cache or not; the image and the bytes that its file has on the disk. */
static void info_print_kind(const struct shmkv_config *config, bool json)
{
    if (json) {
        printf(", \"cache\": %s", config->cache ? "true" : "false");
    } else {
        info_print_text("cache", config->cache ? "yes" : "no", false);
    }
    struct stat file;
    if (config->image && stat(config->image, &file) == 0) {
        const struct info_row row = {"image_bytes", (uint64_t)file.st_blocks * 512, true};
        info_print_text("image", config->image, json);
        info_print(&row, json);
    }
}

static void info_print_all(const struct cli *cli, const struct shmkv_stats *stats,
                           const struct shmkv_config *config)
{
    const struct info_row rows[] = {
        {"size", stats->size, true},
        {"memory", stats->memory, true},
        {"index_bytes", stats->index_bytes, true},
        {"log_bytes", stats->log_bytes, true},
        {"live_bytes", stats->live_bytes, true},
        {"segment_size", stats->segment_size, true},
        {"segments", stats->segments, false},
        {"slots", stats->slots, false},
        {"keys", stats->keys, false},
        {"processes", stats->processes, false},
    };
    bool json = cli_has(cli, OPT_JSON);
    if (json) {
        struct text name = {0};
        text_add_json(&name, cli->store, strlen(cli->store));
        printf("{\"store\": %.*s", (int)name.size, name.data);
        text_free(&name);
    } else {
        printf(cli_output_is_terminal() ? "%-14s %s\n" : "%s\t%s\n", "store", cli->store);
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        info_print(&rows[i], json);
    }
    info_print_kind(config, json);
    if (json) {
        puts("}");
    }
}

int cmd_info(struct cli *cli)
{
    int status = cli_open(cli, SHMKV_READONLY);
    if (status != CLI_DONE) {
        return status;
    }
    struct shmkv_stats stats = {0};
    struct shmkv_config config = {0};
    int rc = shmkv_get_stats(cli->db, &stats);
    if (rc == 0) {
        rc = shmkv_get_config(cli->db, &config);
    }
    if (rc == 0) {
        info_print_all(cli, &stats, &config);
    }
    return cli_result(cli, rc);
}

/* ---- ls and gc ----------------------------------------------------------------------------- */

/* How the list is printed: a table for people, tab-separated figures or JSON for programs. */
enum ls_style { LS_TABLE, LS_TABS, LS_JSON };

static const char *ls_state(const struct shmkv_store_info *info)
{
    if (info->state != 0) {
        return shmkv_strerror(info->state);
    }
    return info->image_state == 0                ? "usable"
           : info->image_state == SHMKV_ENOSTORE ? "the image is gone"
                                                 : "the image cannot be seen";
}

/* What it is opened by, on one line whatever is in it. */
static void ls_add_name(struct text *line, const struct shmkv_store_info *info)
{
    const char *name = info->image ? info->image : info->name;
    text_add_shown(line, name, strlen(name));
}

static void ls_print_row(const struct shmkv_store_info *info)
{
    struct text name = {0};
    char size[UNITS_TEXT];
    char allocated[UNITS_TEXT];
    ls_add_name(&name, info);
    units_show_size(size, info->size);
    units_show_size(allocated, info->allocated);
    text_add(&name, "", 1);
    printf("%-24s %9s %9s %9" PRIu64 "  %s\n", name.data, size, allocated, info->processes,
           ls_state(info));
    text_free(&name);
}

static int ls_print(void *arg, const struct shmkv_store_info *info)
{
    const enum ls_style *style = arg;
    const char *state = ls_state(info);
    if (*style == LS_TABLE) {
        ls_print_row(info);
        return 0;
    }
    struct text line = {0};
    if (*style == LS_JSON) {
        text_add_string(&line, "{\"name\": ");
        text_add_json(&line, info->name, strlen(info->name));
        if (info->image) {
            text_add_string(&line, ", \"image\": ");
            text_add_json(&line, info->image, strlen(info->image));
        }
        text_printf(&line, ", \"size\": %" PRIu64 ", \"allocated\": %" PRIu64, info->size,
                    info->allocated);
        text_printf(&line, ", \"processes\": %" PRIu64 ", \"state\": ", info->processes);
        text_add_json(&line, state, strlen(state));
        text_add_string(&line, "}\n");
    } else {
        ls_add_name(&line, info);
        text_printf(&line, "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%s\n", info->size,
                    info->allocated, info->processes, state);
    }
    cli_write(&line);
    text_free(&line);
    return 0;
}

int cmd_ls(struct cli *cli)
{
    enum ls_style style = cli_has(cli, OPT_JSON)     ? LS_JSON
                          : cli_output_is_terminal() ? LS_TABLE
                                                     : LS_TABS;
    if (style == LS_TABLE) {
        printf("%-24s %9s %9s %9s  %s\n", "NAME", "LIMIT", "MEMORY", "PROCESSES", "STATE");
    }
    int rc = shmkv_list(cli->shm_dir, ls_print, &style);
    return rc == 0 ? CLI_DONE
                   : cli_error(cli->shm_dir, "cannot list stores: %s", shmkv_last_error());
}

/* What gc may not remove is told to people: it takes memory. */
static int gc_tell(void *arg, const struct shmkv_store_info *info)
{
    (void)arg;
    if (info->state == 0 && info->image_state == SHMKV_ENOSTORE && info->processes == 0) {
        struct text name = {0};
        ls_add_name(&name, info);
        cli_error(
            NULL,
            "%.*s: the image is gone, but was not given all that was written: left in memory; "
            "to give that up: shmkv -f %s destroy",
            (int)name.size, name.data, info->name);
        text_free(&name);
    }
    return 0;
}

int cmd_gc(struct cli *cli)
{
    size_t removed = 0;
    int rc = shmkv_gc(cli->shm_dir, &removed);
    printf("%zu\n", removed);
    shmkv_list(cli->shm_dir, gc_tell, NULL);
    return rc == 0 ? CLI_DONE
                   : cli_error(cli->shm_dir, "cannot remove leftovers: %s", shmkv_last_error());
}

/* ---- compact ------------------------------------------------------------------------------- */

int cmd_compact(struct cli *cli)
{
    int status = cli_open(cli, 0);
    if (status != CLI_DONE) {
        return status;
    }
    struct shmkv_stats before = {0};
    struct shmkv_stats after = {0};
    shmkv_get_stats(cli->db, &before);
    int rc = shmkv_compact(cli->db);
    shmkv_get_stats(cli->db, &after);
    if (rc == 0 && (cli_has(cli, OPT_VERBOSE) || cli_output_is_terminal())) {
        printf("memory\t%" PRIu64 "\t%" PRIu64 "\n", before.memory, after.memory);
    }
    return cli_result(cli, rc);
}
