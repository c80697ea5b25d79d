/* SPDX-License-Identifier: MIT */
/*
 * cmd_bulk.c - the commands that store many pairs: load, mset.
 *
 * load reads blocks of at least a mebibyte, decodes records where they lie and stores them in
 * batches of 16, whose keys and values point into the block.  A batch is stored before the block
 * moves.  Each pair knows the number of its record, so that whatever is wrong with it, in the
 * file's format or for the store, can be told as FILE:NUMBER.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "progress.h"
#include "units.h"

#define BULK_BATCH 16u
#define BULK_BLOCK (1u << 20)
#define BULK_REPORTS 20u /* bad records that are told one by one */

/* Pairs on their way into the store; all of one TTL. */
struct bulk_batch {
    struct shmkv_bytes keys[BULK_BATCH];
    struct shmkv_bytes values[BULK_BATCH];
    uint64_t record[BULK_BATCH];
    uint64_t ttl_ms;
    size_t count;
};

/* A load under way; counts run over all files. */
struct bulk_load {
    struct cli *cli;
    bool skip_bad;
    uint64_t stored;
    uint64_t bad;
    uint64_t bytes; /* read so far */
    struct progress progress;
    struct bulk_batch batch;
};

/* A file being read; bytes from @start on are not yet decoded. */
struct bulk_file {
    const char *name;
    enum format_kind format;
    int fd;
    bool ended;
    struct text block;
    size_t start;
    uint64_t records;
};

/* ---- reading ------------------------------------------------------------------------------- */

/*
 * Get more bytes behind those that are left; they move to the front of the block.  A record that
 * is longer than a block is looked through from its beginning each time, so its part is doubled
 * before that, however few bytes a pipe gives at once.
 */
static int bulk_fill(struct bulk_load *load, struct bulk_file *file)
{
    struct text *block = &file->block;
    size_t left = block->size - file->start;
    if (left > 0) {
        memmove(block->data, block->data + file->start, left);
    }
    block->size = left;
    file->start = 0;
    text_reserve(block, left > BULK_BLOCK ? left : BULK_BLOCK);
    size_t enough = left > BULK_BLOCK ? 2 * left : left + 1;
    while (block->size < enough && !file->ended) {
        ssize_t got = read(file->fd, block->data + block->size, block->room - block->size);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return cli_error(file->name, "%s", strerror(errno));
        }
        block->size += (size_t)got;
        load->bytes += (uint64_t)got;
        file->ended = got == 0;
    }
    return CLI_DONE;
}

/* ---- storing ------------------------------------------------------------------------------- */

/* A record cannot be stored: tell it, and whether to go on. */
static int bulk_refuse(struct bulk_load *load, const struct bulk_file *file, uint64_t record,
                       const char *why)
{
    progress_end(&load->progress);
    load->bad++;
    if (load->bad <= BULK_REPORTS || !load->skip_bad) {
        fprintf(stderr, "shmkv: %s:%" PRIu64 ": %s\n", file->name, record, why);
    }
    if (load->skip_bad) {
        return CLI_DONE;
    }
    return cli_error(load->cli->store,
                     "stopped there, after storing %" PRIu64
                     " pairs; mend the %s, or pass over such ones with --skip-bad",
                     load->stored, file->format == FORMAT_NULL ? "pair" : "line");
}

/* The store refused record number @record. */
static int bulk_failed(struct bulk_load *load, const struct bulk_file *file, uint64_t record,
                       int rc)
{
    const char *story = shmkv_last_error();
    if (rc == SHMKV_ETOOBIG || rc == SHMKV_EKEY) {
        return bulk_refuse(load, file, record, *story ? story : shmkv_strerror(rc));
    }
    progress_end(&load->progress);
    cli_result(load->cli, rc);
    return cli_error(file->name,
                     "stopped at record %" PRIu64 "; %" PRIu64 " pairs before it are stored",
                     record, load->stored);
}

/* Store what the batch holds; a refused pair is passed over or ends the load. */
static int bulk_flush(struct bulk_load *load, const struct bulk_file *file)
{
    struct bulk_batch *batch = &load->batch;
    struct shmkv_put_options options = {.ttl_ms = batch->ttl_ms};
    int status = CLI_DONE;
    for (size_t at = 0; at < batch->count && status == CLI_DONE;) {
        size_t done = 0;
        int rc = shmkv_put_many(load->cli->db, batch->keys + at, batch->values + at,
                                batch->count - at, &options, &done);
        load->stored += done;
        at += done;
        if (rc != 0) {
            status = bulk_failed(load, file, batch->record[at], rc);
            at++;
        }
    }
    batch->count = 0;
    progress_step(&load->progress, load->bytes, load->stored);
    return status;
}

static int bulk_add(struct bulk_load *load, const struct bulk_file *file,
                    const struct format_pair *pair)
{
    struct bulk_batch *batch = &load->batch;
    int status = CLI_DONE;
    if (batch->count == BULK_BATCH || (batch->count > 0 && batch->ttl_ms != pair->ttl_ms)) {
        status = bulk_flush(load, file);
    }
    size_t i = batch->count++;
    batch->keys[i] = (struct shmkv_bytes){pair->key, pair->klen};
    batch->values[i] = (struct shmkv_bytes){pair->value, pair->vlen};
    batch->record[i] = file->records;
    batch->ttl_ms = pair->ttl_ms;
    return status;
}

/* ---- one file ------------------------------------------------------------------------------ */

/* Decode and batch every whole record of the block. */
static int bulk_decode(struct bulk_load *load, struct bulk_file *file)
{
    for (;;) {
        struct format_input in = {.text = file->block.data + file->start,
                                  .size = file->block.size - file->start,
                                  .last = file->ended};
        struct format_pair pair;
        enum format_result result = format_decode(file->format, &in, &pair);
        if (result == FORMAT_MORE) {
            return CLI_DONE;
        }
        file->start += in.used;
        file->records++;
        int status;
        if (result == FORMAT_OK) {
            status = bulk_add(load, file, &pair);
        } else {
            /* What came before the bad record is stored before it is told. */
            status = bulk_flush(load, file);
            status = status == CLI_DONE ? bulk_refuse(load, file, file->records, in.why) : status;
        }
        if (status != CLI_DONE) {
            return status;
        }
    }
}

static int bulk_load_file(struct bulk_load *load, struct bulk_file *file)
{
    int status = CLI_DONE;
    while (status == CLI_DONE && !file->ended) {
        status = bulk_fill(load, file);
        if (status == CLI_DONE) {
            status = bulk_decode(load, file);
        }
        if (status == CLI_DONE) {
            status = bulk_flush(load, file);
        }
    }
    text_free(&file->block);
    return status;
}

/* ---- load ---------------------------------------------------------------------------------- */

static int bulk_open(const char *name)
{
    return strcmp(name, "-") == 0 ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
}

/* Is there a file that we may read?  Not by open(2): a named pipe is opened once, or who writes to
 * it would lose his reader. */
static bool bulk_look(const char *name, struct stat *st)
{
    if (strcmp(name, "-") == 0) {
        return fstat(STDIN_FILENO, st) == 0;
    }
    return stat(name, st) == 0 && eaccess(name, R_OK) == 0;
}

/* Look at each file before the store is made or changed; add its size to @total. */
static int bulk_preview(const struct cli *cli, uint64_t *total)
{
    for (int i = 0; i < cli->args; i++) {
        struct stat st;
        if (!bulk_look(cli->arg[i], &st)) {
            return cli_error(cli->arg[i], "cannot read: %s", strerror(errno));
        }
        if (S_ISDIR(st.st_mode)) {
            return cli_error(cli->arg[i], "cannot read: it is a directory");
        }
        *total += S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    }
    return CLI_DONE;
}

static int bulk_load_named(struct bulk_load *load, const char *name)
{
    struct cli *cli = load->cli;
    bool standard = strcmp(name, "-") == 0;
    struct bulk_file file = {.name = standard ? "standard input" : name};
    file.format = cli_has(cli, OPT_FORMAT) ? (enum format_kind)cli->number[OPT_FORMAT]
                                           : format_by_path(standard ? NULL : name);
    file.fd = bulk_open(name);
    if (file.fd < 0) {
        return cli_error(name, "cannot read: %s", strerror(errno));
    }
    int status = bulk_load_file(load, &file);
    if (!standard) {
        close(file.fd);
    }
    return status;
}

static void bulk_summary(const struct bulk_load *load, uint64_t start_ns)
{
    if (load->bad > 0) {
        fprintf(stderr, "shmkv: %s: %" PRIu64 " bad records were passed over\n", load->cli->store,
                load->bad);
    }
    if (isatty(STDERR_FILENO) || cli_has(load->cli, OPT_VERBOSE)) {
        double seconds = (double)(units_mono_ns() - start_ns) / 1e9;
        fprintf(stderr, "%" PRIu64 " pairs stored in %.1f s, %.0f/s\n", load->stored, seconds,
                (double)load->stored / (seconds > 0 ? seconds : 1));
    }
}

int cmd_load(struct cli *cli)
{
    static char *standard[] = {"-"};
    if (cli->args == 0) {
        cli->arg = standard;
        cli->args = 1;
    }
    struct bulk_load load = {.cli = cli, .skip_bad = cli_has(cli, OPT_SKIP_BAD)};
    uint64_t total = 0;
    int status = bulk_preview(cli, &total);
    if (status == CLI_DONE) {
        status = cli_open(cli, SHMKV_CREATE | CLI_KEEPER);
    }
    uint64_t start_ns = units_mono_ns();
    progress_begin(&load.progress, total, false);
    for (int i = 0; i < cli->args && status == CLI_DONE; i++) {
        status = bulk_load_named(&load, cli->arg[i]);
    }
    progress_end(&load.progress);
    if (status == CLI_DONE) {
        bulk_summary(&load, start_ns);
    }
    return status;
}

/* ---- mset ---------------------------------------------------------------------------------- */

static int mset_check(const struct cli *cli)
{
    int dashes = 0;
    for (int i = 0; i < cli->args; i += 2) {
        if (cli_check_key(cli, cli->arg[i]) != CLI_DONE) {
            return CLI_USAGE;
        }
        if (i + 1 == cli->args) {
            return cli_usage(cli, "the key '%s' has no value", cli->arg[i]);
        }
        dashes += strcmp(cli->arg[i + 1], "-") == 0;
    }
    return dashes > 1 ? cli_usage(cli, "only one VALUE can come from standard input") : CLI_DONE;
}

int cmd_mset(struct cli *cli)
{
    struct text input = {0};
    int status = mset_check(cli);
    for (int i = 1; i < cli->args && status == CLI_DONE; i += 2) {
        if (strcmp(cli->arg[i], "-") == 0) {
            status = cli_value("-", &input);
        }
    }
    if (status == CLI_DONE) {
        status = cli_open(cli, SHMKV_CREATE);
    }
    struct shmkv_put_options options = {.ttl_ms = cli->number[OPT_TTL]};
    for (int i = 0; i < cli->args && status == CLI_DONE; i += 2) {
        const char *key = cli->arg[i];
        const char *value = cli->arg[i + 1];
        struct shmkv_bytes bytes = {value, strlen(value)};
        if (strcmp(value, "-") == 0) {
            bytes = (struct shmkv_bytes){input.data, input.size};
        }
        int rc = shmkv_put(cli->db, key, strlen(key), bytes.data, bytes.size, &options);
        status = cli_result(cli, rc);
    }
    text_free(&input);
    return status;
}
