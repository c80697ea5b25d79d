/* SPDX-License-Identifier: MIT */
/* cmd_walk.c - the commands that print many pairs: scan dump count mget. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "progress.h"
#include "walk.h"

/* A walk under way. */
struct walk_state {
    const struct cli *cli;
    FILE *file;
    const char *path; /* of it; NULL: standard output */
    struct walk_print print;
    struct text out;     /* what the current call of shmkv_scan() found */
    uint64_t pairs;      /* found so far */
    uint64_t limit;      /* of them at most */
    const char *why;     /* the format cannot carry a pair, ... */
    struct text why_key; /* ... this one */
    struct progress progress;
};

enum { WALK_ENOUGH = 1, WALK_CANNOT = 2 }; /* what walk_found() ends a scan with */

static int walk_found(void *arg, const struct shmkv_pair *found)
{
    struct walk_state *walk = arg;
    if (walk->pairs >= walk->limit) {
        return WALK_ENOUGH;
    }
    const struct shmkv_item *item = &found->item;
    struct format_pair pair = {
        found->key,
        found->klen,
        item->value,
        item->size,
        walk_ttl_left(walk->cli->db, item->expires_ms),
        0,
    };
    walk->why = walk_add(&walk->print, &pair, &walk->out);
    if (walk->why) {
        text_add(&walk->why_key, found->key, found->klen);
        return WALK_CANNOT;
    }
    walk->pairs++;
    return 0;
}

/* Pairs for the next call: many small ones, or few large ones, so that a megabyte or so of
 * memory is enough here. */
static size_t walk_next_batch(size_t batch, size_t bytes)
{
    if (bytes > 1 << 20) {
        return batch > 1 ? batch / 2 : 1;
    }
    return bytes < 1 << 18 && batch < 1024 ? batch * 2 : batch;
}

static int walk_flush(struct walk_state *walk)
{
    size_t size = walk->out.size;
    walk->out.size = 0;
    if (size > 0 && fwrite(walk->out.data, 1, size, walk->file) != size) {
        return cli_error(walk->path ? walk->path : "standard output", "cannot write: %s",
                         strerror(errno));
    }
    return CLI_DONE;
}

/* The library knows what a pattern is, so it is a mistake only once the store is open. */
static int walk_bad_match(const struct cli *cli)
{
    return cli_usage(cli, "--match: '%s' is no pattern: a [ without its ], or a \\ at the end",
                     cli->text[OPT_MATCH]);
}

static int walk_result(struct walk_state *walk, int rc)
{
    if (rc == SHMKV_EINVAL && cli_has(walk->cli, OPT_MATCH)) {
        return walk_bad_match(walk->cli);
    }
    if (rc == WALK_CANNOT) {
        struct format_pair pair = {.key = walk->why_key.data, .klen = walk->why_key.size};
        return walk_cannot(walk->cli, &pair, walk->why);
    }
    return rc == WALK_ENOUGH ? CLI_DONE : cli_result(walk->cli, rc);
}

static int walk_run(struct walk_state *walk)
{
    struct shmkv_scan_options options = {.limit = 16};
    walk_filter(walk->cli, &options);
    uint64_t cursor = 0;
    int rc;
    int status;
    do {
        rc = shmkv_scan(walk->cli->db, &cursor, &options, walk_found, walk);
        options.limit = walk_next_batch(options.limit, walk->out.size);
        status = walk_flush(walk);
        progress_step(&walk->progress, walk->pairs, walk->pairs);
    } while (rc == 0 && status == CLI_DONE && cursor != 0);
    progress_end(&walk->progress);
    if (rc != 0) {
        status = walk_result(walk, rc);
    }
    text_free(&walk->out);
    text_free(&walk->why_key);
    return status;
}

/* ---- scan, count, mget --------------------------------------------------------------------- */

int cmd_scan(struct cli *cli)
{
    struct walk_state walk = {.cli = cli, .file = stdout, .limit = UINT64_MAX};
    walk.print = walk_choose(cli);
    if (cli_has(cli, OPT_LIMIT)) {
        walk.limit = cli->number[OPT_LIMIT];
    }
    int status = cli_open(cli, SHMKV_READONLY);
    return status == CLI_DONE ? walk_run(&walk) : status;
}

static int count_found(void *arg, const struct shmkv_pair *pair)
{
    (void)pair;
    ++*(uint64_t *)arg;
    return 0;
}

int cmd_count(struct cli *cli)
{
    int status = cli_open(cli, SHMKV_READONLY);
    if (status != CLI_DONE) {
        return status;
    }
    uint64_t count = 0;
    int rc = 0;
    if (cli_has(cli, OPT_PREFIX) || cli_has(cli, OPT_MATCH)) {
        struct shmkv_scan_options options = {.limit = 1024};
        walk_filter(cli, &options);
        uint64_t cursor = 0;
        do {
            rc = shmkv_scan(cli->db, &cursor, &options, count_found, &count);
        } while (rc == 0 && cursor != 0);
    } else {
        rc = shmkv_count(cli->db, &count);
    }
    if (rc == 0) {
        printf("%" PRIu64 "\n", count);
    }
    return rc == SHMKV_EINVAL && cli_has(cli, OPT_MATCH) ? walk_bad_match(cli)
                                                         : cli_result(cli, rc);
}

static int mget_one(struct cli *cli, struct walk_print *print, const char *key, struct text *value)
{
    struct shmkv_item item;
    int rc = walk_read(cli->db, key, strlen(key), value, &item);
    if (rc != 0) {
        return rc == SHMKV_ENOTFOUND ? CLI_NO : cli_result(cli, rc);
    }
    struct format_pair pair = {
        key, strlen(key), value->data, value->size, walk_ttl_left(cli->db, item.expires_ms), 0,
    };
    struct text line = {0};
    const char *why = walk_add(print, &pair, &line);
    cli_write(&line);
    text_free(&line);
    return why ? walk_cannot(cli, &pair, why) : CLI_DONE;
}

int cmd_mget(struct cli *cli)
{
    int status = cli_check_keys(cli);
    if (status == CLI_DONE) {
        status = cli_open(cli, SHMKV_READONLY);
    }
    if (status != CLI_DONE) {
        return status;
    }
    struct walk_print print = walk_choose(cli);
    struct text value = {0};
    for (int i = 0; i < cli->args && status != CLI_ERROR; i++) {
        value.size = 0;
        int one = mget_one(cli, &print, cli->arg[i], &value);
        status = one == CLI_DONE ? status : one;
    }
    text_free(&value);
    return status;
}

/* ---- dump ---------------------------------------------------------------------------------- */

/* Where a dump goes.  An existing regular file is replaced only by a whole dump. */
struct dump_file {
    FILE *file;
    const char *path; /* NULL: standard output */
    char *part;       /* written first, then renamed to @path; NULL if @path is written directly */
};

/* Who is killed takes the part with him, where the signal lets him. */
static const int dump_signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGXCPU, SIGXFSZ};
#define DUMP_SIGNALS (sizeof(dump_signals) / sizeof(dump_signals[0]))

static char *volatile dump_doomed; /* for the handler; NULL: nothing is to be removed */

static void dump_on_signal(int number)
{
    const char *part = dump_doomed;
    if (part) {
        unlink(part);
    }
    raise(number); /* SA_RESETHAND: once this returns it ends the process, as it would have */
}

/* What is ignored stays so, as under nohup(1). */
static void dump_catch(void)
{
    struct sigaction act = {.sa_handler = dump_on_signal, .sa_flags = (int)SA_RESETHAND};
    for (size_t i = 0; i < DUMP_SIGNALS; i++) {
        struct sigaction old;
        if (sigaction(dump_signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL) {
            sigaction(dump_signals[i], &act, NULL);
        }
    }
}

/* mkstemp(), and no signal before the handler knows the name. */
static int dump_make_part(char *part)
{
    sigset_t set, old;
    sigemptyset(&set);
    for (size_t i = 0; i < DUMP_SIGNALS; i++) {
        sigaddset(&set, dump_signals[i]);
    }
    dump_catch();
    pthread_sigmask(SIG_BLOCK, &set, &old);
    int fd = mkstemp(part);
    dump_doomed = fd < 0 ? NULL : part;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return fd;
}

/* @old: the file that will be replaced, NULL if there is none.  Who could not read that must not be
 * able to read what comes in its place. */
static void dump_set_mode(int fd, const struct stat *old)
{
    mode_t mask = umask(0);
    umask(mask);
    mode_t mode = old ? old->st_mode & 0777 : 0666 & ~mask;
    if (old && fchown(fd, old->st_uid, old->st_gid) != 0) {
        mode &= 0700; /* its group would be another one */
    }
    fchmod(fd, mode);
}

static FILE *dump_open_part(struct dump_file *dump, const struct stat *old)
{
    if (asprintf(&dump->part, "%s.XXXXXX", dump->path) < 0) {
        dump->part = NULL;
        return NULL;
    }
    int fd = dump_make_part(dump->part);
    if (fd < 0) {
        free(dump->part);
        dump->part = NULL;
        return NULL;
    }
    dump_set_mode(fd, old);
    return fdopen(fd, "w");
}

static int dump_open(struct dump_file *dump, const char *path)
{
    struct stat st;
    dump->path = path;
    if (!path) {
        dump->file = stdout;
        return CLI_DONE;
    }
    /* A device, a pipe or a symbolic link is somebody's choice; do not put a file in its place. */
    bool there = lstat(path, &st) == 0;
    bool direct = there && !S_ISREG(st.st_mode);
    dump->file = direct ? fopen(path, "w") : dump_open_part(dump, there ? &st : NULL);
    return dump->file ? CLI_DONE : cli_error(path, "cannot write: %s", strerror(errno));
}

/* Returns @status, or CLI_ERROR if the file's end failed. */
static int dump_close(struct dump_file *dump, int status)
{
    if (!dump->path || !dump->file) {
        return status;
    }
    bool bad = fflush(dump->file) != 0 || ferror(dump->file) ||
               (dump->part && fsync(fileno(dump->file)) != 0);
    bad |= fclose(dump->file) != 0;
    if (status == CLI_DONE && !bad && dump->part) {
        bad = rename(dump->part, dump->path) != 0;
    }
    if (status == CLI_DONE && bad) {
        status = cli_error(dump->path, "cannot write: %s", strerror(errno));
    }
    if (dump->part && status != CLI_DONE) {
        unlink(dump->part);
    }
    dump_doomed = NULL;
    free(dump->part);
    return status;
}

static enum format_kind dump_format(const struct cli *cli, const char *path)
{
    if (cli_has(cli, OPT_JSON)) {
        return FORMAT_JSONL;
    }
    return cli_has(cli, OPT_FORMAT) ? (enum format_kind)cli->number[OPT_FORMAT]
                                    : format_by_path(path);
}

int cmd_dump(struct cli *cli)
{
    const char *path = cli->args > 0 && strcmp(cli->arg[0], "-") != 0 ? cli->arg[0] : NULL;
    int status = cli_open(cli, SHMKV_READONLY);
    struct dump_file dump = {0};
    if (status == CLI_DONE) {
        status = dump_open(&dump, path);
    }
    if (status != CLI_DONE) {
        return status;
    }
    struct walk_state walk = {.cli = cli, .file = dump.file, .path = path, .limit = UINT64_MAX};
    walk.print.format = dump_format(cli, path);
    struct shmkv_stats stats = {0};
    shmkv_get_stats(cli->db, &stats);
    progress_begin(&walk.progress, stats.keys, !path);
    status = dump_close(&dump, walk_run(&walk));
    if (status == CLI_DONE && walk.print.expiring > 0) {
        fprintf(stderr,
                "shmkv: %s: %" PRIu64 " pairs expire, which %s does not carry: they would "
                "be loaded as permanent; --format jsonl keeps the expiry\n",
                cli->store, walk.print.expiring, format_name(walk.print.format));
    }
    return status;
}
