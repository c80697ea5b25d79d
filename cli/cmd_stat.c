/* SPDX-License-Identifier: MIT */
/* cmd_stat.c - the commands that show figures: stat readers. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "units.h"

/* ---- stat ---------------------------------------------------------------------------------- */

enum stat_kind { STAT_COUNTER, STAT_GAUGE, STAT_BYTES };

static const struct stat_row {
    const char *name;
    const char *text;
    size_t offset;
    enum stat_kind kind;
} stat_rows[] = {
#define STAT_COUNTER_ROW(name, text)                                                               \
    {#name, text, offsetof(struct shmkv_stats, name), STAT_COUNTER},
#define STAT_ROW(name, kind, text) {#name, text, offsetof(struct shmkv_stats, name), kind},
    SHMKV_STATS(STAT_COUNTER_ROW) STAT_ROW(keys, STAT_GAUGE,
                                           "keys in the store, expired ones included")
        STAT_ROW(tombstones, STAT_GAUGE, "records of removals not yet dropped") STAT_ROW(
            size, STAT_BYTES, "limit of memory in use") STAT_ROW(memory, STAT_BYTES,
                                                                 "memory in use")
            STAT_ROW(index_bytes, STAT_BYTES, "of it: index") STAT_ROW(table_bytes, STAT_BYTES,
                                                                       "of it: fixed tables")
                STAT_ROW(log_bytes, STAT_BYTES, "of it: log segments") STAT_ROW(
                    live_bytes, STAT_BYTES, "records that are current")
                    STAT_ROW(segment_size, STAT_BYTES, "size of a log segment") STAT_ROW(
                        segments, STAT_GAUGE, "log segments that have memory")
                        STAT_ROW(segments_free, STAT_GAUGE, "of them: free") STAT_ROW(
                            segments_limbo, STAT_GAUGE, "of them: waiting for readers to move on")
                            STAT_ROW(slots, STAT_GAUGE, "capacity of the index in keys") STAT_ROW(
                                tickets, STAT_GAUGE, "new keys before the index is resized")
                                STAT_ROW(epoch, STAT_GAUGE, "global epoch")
                                    STAT_ROW(processes, STAT_GAUGE, "attached processes") STAT_ROW(
                                        participants, STAT_GAUGE, "registered threads and readers")
#undef STAT_ROW
#undef STAT_COUNTER_ROW
};

#define STAT_ROWS (sizeof(stat_rows) / sizeof(stat_rows[0]))

/* A member that is added to the header must get a row here. */
_Static_assert(STAT_ROWS == sizeof(struct shmkv_stats) / sizeof(uint64_t),
               "every member of struct shmkv_stats has a row");

static uint64_t stat_value(const struct shmkv_stats *stats, const struct stat_row *row)
{
    uint64_t value;
    memcpy(&value, (const char *)stats + row->offset, sizeof(value));
    return value;
}

static double stat_bytes_per_key(const struct shmkv_stats *stats)
{
    return stats->keys ? (double)stats->memory / (double)stats->keys : 0;
}

static void stat_print_json(const struct cli *cli, const struct shmkv_stats *stats,
                            const char *image)
{
    struct text out = {0};
    text_add_string(&out, "{\"store\": ");
    text_add_json(&out, cli->store, strlen(cli->store));
    if (image) {
        text_add_string(&out, ", \"image\": ");
        text_add_json(&out, image, strlen(image));
    }
    for (size_t i = 0; i < STAT_ROWS; i++) {
        text_printf(&out, ", \"%s\": %" PRIu64, stat_rows[i].name,
                    stat_value(stats, &stat_rows[i]));
    }
    text_printf(&out, ", \"bytes_per_key\": %.1f}\n", stat_bytes_per_key(stats));
    cli_write(&out);
    text_free(&out);
}

/* Counters end in _total and sizes in _bytes, as that format's users expect. */
static void stat_print_prometheus(const struct cli *cli, const struct shmkv_stats *stats)
{
    struct text label = {0};
    text_add_json(&label, cli->store, strlen(cli->store));
    for (size_t i = 0; i < STAT_ROWS; i++) {
        const struct stat_row *row = &stat_rows[i];
        const char *end = row->kind == STAT_COUNTER ? "_total" : "";
        if (row->kind == STAT_BYTES && !strstr(row->name, "_bytes")) {
            end = "_bytes";
        }
        printf("# HELP shmkv_%s%s %s\n# TYPE shmkv_%s%s %s\n", row->name, end, row->text, row->name,
               end, row->kind == STAT_COUNTER ? "counter" : "gauge");
        printf("shmkv_%s%s{store=%.*s} %" PRIu64 "\n", row->name, end, (int)label.size, label.data,
               stat_value(stats, row));
    }
    text_free(&label);
}

static void stat_print_table(const struct shmkv_stats *stats, const char *image)
{
    bool people = cli_output_is_terminal();
    for (size_t i = 0; i < STAT_ROWS; i++) {
        const struct stat_row *row = &stat_rows[i];
        char value[UNITS_TEXT];
        snprintf(value, sizeof(value), "%" PRIu64, stat_value(stats, row));
        if (!people) {
            printf("%s\t%s\n", row->name, value);
            continue;
        }
        if (row->kind == STAT_BYTES) {
            units_show_size(value, stat_value(stats, row));
        }
        printf("%-18s %14s  %s\n", row->name, value, row->text);
    }
    printf(people ? "%-18s %14.1f  %s\n" : "%s\t%.1f\n", "bytes_per_key", stat_bytes_per_key(stats),
           "memory in use for each key");
    if (image) {
        printf(people ? "%-18s %s\n" : "%s\t%s\n", "image", image);
    }
}

int cmd_stat(struct cli *cli)
{
    if (cli_has(cli, OPT_JSON) && cli_has(cli, OPT_PROMETHEUS)) {
        return cli_usage(cli, "--json and --prometheus exclude each other");
    }
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
    if (rc != 0) {
        return cli_result(cli, rc);
    }
    if (cli_has(cli, OPT_JSON)) {
        stat_print_json(cli, &stats, config.image);
    } else if (cli_has(cli, OPT_PROMETHEUS)) {
        stat_print_prometheus(cli, &stats);
    } else {
        stat_print_table(&stats, config.image);
    }
    return CLI_DONE;
}

/* ---- readers ------------------------------------------------------------------------------- */

static void readers_print_json(const struct shmkv_participant *p, const char *name, size_t size)
{
    struct text out = {0};
    text_printf(&out, "{\"pid\": %" PRId64 ", \"name\": ", p->pid);
    text_add_json(&out, name, size);
    text_printf(&out, ", \"reading\": %" PRIu64 ", \"writing\": %" PRIu64, p->reading, p->writing);
    text_printf(&out, ", \"bytes_held\": %" PRIu64 ", \"operations\": %" PRIu64, p->bytes_held,
                p->operations);
    text_printf(&out, ", \"thread\": %" PRId64 ", \"age_ms\": %" PRIu64 "}\n", p->thread,
                p->age_ms);
    cli_write(&out);
    text_free(&out);
}

/* What stands in a line for people: which of the two sections it is in, and for how long. */
static void readers_print_row(const struct shmkv_participant *p, const struct text *name)
{
    char held[UNITS_TEXT], age[UNITS_TEXT] = "-";
    units_show_size(held, p->bytes_held);
    if (p->age_ms != 0) {
        units_show_time(age, p->age_ms);
    }
    printf("%-10" PRId64 " %-10" PRId64 " %-16.*s %10" PRIu64 " %10" PRIu64 " %9s %9s %12" PRIu64
           "\n",
           p->pid, p->thread, (int)name->size, name->data, p->reading, p->writing, age, held,
           p->operations);
}

static int readers_print(void *arg, const struct shmkv_participant *p)
{
    const struct cli *cli = arg;
    size_t size = strnlen(p->name, sizeof(p->name));
    if (cli_has(cli, OPT_JSON)) {
        readers_print_json(p, p->name, size);
        return 0;
    }
    /* A process chooses its own name: it must not be able to move the cursor. */
    struct text name = {0};
    text_add_shown(&name, p->name, size);
    if (cli_output_is_terminal()) {
        readers_print_row(p, &name);
    } else {
        printf("%" PRId64 "\t%.*s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRId64
               "\t%" PRIu64 "\n",
               p->pid, (int)name.size, name.data, p->reading, p->writing, p->bytes_held,
               p->operations, p->thread, p->age_ms);
    }
    text_free(&name);
    return 0;
}

int cmd_readers(struct cli *cli)
{
    int status = cli_open(cli, SHMKV_READONLY);
    if (status != CLI_DONE) {
        return status;
    }
    if (!cli_has(cli, OPT_JSON) && cli_output_is_terminal()) {
        printf("%-10s %-10s %-16s %10s %10s %9s %9s %12s\n", "PID", "THREAD", "NAME", "READING",
               "WRITING", "AGE", "HELD", "OPERATIONS");
    }
    return cli_result(cli, shmkv_readers(cli->db, readers_print, cli));
}
