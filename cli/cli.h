/* SPDX-License-Identifier: MIT */
/*
 * cli.h - what the commands of the tool share: options, arguments, the open store, errors.
 *
 * A command is a row in main.c's table: its name, the arguments it takes, the options it knows
 * and the function that runs it.  The command line is read and checked before that function is
 * called; it sees plain numbers and returns an enum cli_status.  It opens the store itself,
 * after it has checked what else there is to check, so that a mistaken command changes nothing.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "format.h"
#include "shmkv.h"
#include "text.h"

/* Exit status; part of the user's contract. */
enum cli_status {
    CLI_DONE = 0,
    CLI_NO = 1,    /* not found, or a condition not met */
    CLI_USAGE = 2, /* the command line is wrong; nothing was opened */
    CLI_ERROR = 3, /* the store, a file or the system failed; said on stderr */
};

/* Every option: id, letter or 0, long name, kind of value, name of the value, help. */
#define CLI_OPTIONS(X)                                                                             \
    X(OPT_STORE, 'f', "store", TEXT, "STORE",                                                      \
      "PATH of a store, or shm:NAME (default: $SHMKV_STORE)")                                      \
    X(OPT_SHM_DIR, 0, "shm-dir", TEXT, "DIR", "tmpfs that holds the stores (default: /dev/shm)")   \
    X(OPT_HELP, 'h', "help", FLAG, NULL, "show help")                                              \
    X(OPT_VERSION, 'V', "version", FLAG, NULL, "show the version")                                 \
    X(OPT_VERBOSE, 'v', "verbose", FLAG, NULL, "tell more (get: version, expiry and size)")        \
    X(OPT_JSON, 0, "json", FLAG, NULL, "print JSON, one object a line")                            \
    X(OPT_PROMETHEUS, 0, "prometheus", FLAG, NULL, "print Prometheus text format")                 \
    X(OPT_TTL, 0, "ttl", TIME, "TIME", "expire after 250ms, 10s, 5m, 2h, 7d, or never")            \
    X(OPT_KEEP_TTL, 0, "keep-ttl", FLAG, NULL, "keep the expiry of the older value")               \
    X(OPT_NX, 0, "nx", FLAG, NULL, "only if the key is absent")                                    \
    X(OPT_XX, 0, "xx", FLAG, NULL, "only if the key is present")                                   \
    X(OPT_PREFIX, 0, "prefix", TEXT, "P", "only keys that begin with P")                           \
    X(OPT_MATCH, 0, "match", TEXT, "GLOB", "only keys that match: * ? [a-z] [!a] \\x")             \
    X(OPT_LIMIT, 0, "limit", NUMBER, "N", "stop after N pairs")                                    \
    X(OPT_KEYS_ONLY, 0, "keys", FLAG, NULL, "print keys without values")                           \
    X(OPT_FORMAT, 0, "format", FORMAT, "tsv|space|jsonl|null", "default: by file name, else tsv")  \
    X(OPT_SKIP_BAD, 0, "skip-bad", FLAG, NULL, "report bad lines and go on")                       \
    X(OPT_SIZE, 0, "size", SIZE, "SIZE", "limit of memory (default: half of RAM)")                 \
    X(OPT_CACHE, 0, "cache", FLAG, NULL, "evict keys rather than be full")                         \
    X(OPT_RESERVE, 0, "reserve", NUMBER, "N", "make the index for N keys at once")                 \
    X(OPT_MODE, 0, "mode", MODE, "MODE", "permission bits in octal (default: 600)")                \
    X(OPT_FORCE, 0, "force", FLAG, NULL, "even if processes are attached")                         \
    X(OPT_CHANGES, 0, "count", NUMBER, "N", "end after N changes")                                 \
    X(OPT_SINCE, 0, "since", NUMBER, "VERSION", "the known version (default: the current)")        \
    X(OPT_TIMEOUT, 0, "timeout", TIME, "TIME", "end after so long (exit status 1)")                \
    X(OPT_ONCE, 0, "once", FLAG, NULL, "print one table and end")                                  \
    X(OPT_SECONDS, 0, "seconds", NUMBER, "N", "time for each part (default: 2)")                   \
    X(OPT_BENCH_KEYS, 0, "keys", NUMBER, "N", "number of keys (default: 100000)")                  \
    X(OPT_VALUE_SIZE, 0, "value-size", SIZE, "SIZE", "bytes in a value (default: 35)")

enum cli_option {
#define CLI_OPTION_ENUM(id, letter, name, kind, value, help) id,
    CLI_OPTIONS(CLI_OPTION_ENUM)
#undef CLI_OPTION_ENUM
        OPTIONS_END
};

#define CLI_BIT(option) (1ull << (option))

struct cli;

struct cli_command {
    const char *name;
    const char *args; /* for the synopsis */
    const char *does;
    int (*run)(struct cli *cli);
    uint64_t options; /* CLI_BIT()s, beside those that every command knows */
    int least, most;  /* number of arguments; most < 0: any */
    bool storeless;   /* works on no single store */
};

/* One run of the tool. */
struct cli {
    const struct cli_command *command; /* NULL: none was named */
    const char *store;                 /* NULL if neither -f nor $SHMKV_STORE names one */
    const char *shm_dir;
    uint64_t given; /* CLI_BIT()s of the options on the command line */
    const char *text[OPTIONS_END];
    uint64_t number[OPTIONS_END];
    char **arg; /* the command's arguments, in order */
    int args;
    struct shmkv *db;
};

/* ---- cli.c: the command line --------------------------------------------------------------- */

bool cli_has(const struct cli *cli, enum cli_option option);

/* Milliseconds of --timeout; -1: there is none, as without the option. */
int64_t cli_timeout(const struct cli *cli);

/* Read @argv; @argv is reordered so that cli->arg can point into it. */
int cli_parse(struct cli *cli, const struct cli_command *commands, int argc, char **argv);

/* The command of that name, or NULL. */
const struct cli_command *cli_find_command(const struct cli_command *commands, const char *name);

/* The options of @set, a line each. */
void cli_print_options(uint64_t set);
uint64_t cli_common_options(void);

/* ---- cli.c: the store ---------------------------------------------------------------------- */

/* Open the store with @flags of enum shmkv_open_flag.  No housekeeping thread unless @flags has
 * CLI_KEEPER: a command that runs for a millisecond does not want one. */
#define CLI_KEEPER (1u << 31)
int cli_open(struct cli *cli, uint32_t flags);
int cli_open_with(struct cli *cli, struct shmkv_options *options);
bool cli_is_volatile(const struct cli *cli);

/* ---- cli.c: errors ------------------------------------------------------------------------- */

/* Say what is wrong with the command line.  Returns CLI_USAGE. */
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Turn a return code of the library into an exit status; says what failed where that is an error,
 * and on a terminal also which condition was not met. */
int cli_result(const struct cli *cli, int rc);

/* Say what failed, about @what (a file's name, or NULL).  Returns CLI_ERROR. */
int cli_error(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- cli.c: keys and values ---------------------------------------------------------------- */

/* CLI_DONE, or CLI_USAGE if @key has not 1 to 65535 bytes. */
int cli_check_key(const struct cli *cli, const char *key);
/* The same of all arguments. */
int cli_check_keys(const struct cli *cli);

/* The bytes of a VALUE argument: its own, or standard input's for "-". */
int cli_value(const char *argument, struct text *value);

/* Write to standard output; an error is reported by cli_flush(). */
void cli_write(const struct text *t);

/* Write out what is buffered, for whoever waits for it; an error is reported by cli_flush(). */
void cli_push(void);

/* Write out what is still buffered: a full disk must not look like success.  Returns @status, or
 * CLI_ERROR. */
int cli_flush(int status);

bool cli_output_is_terminal(void);

/* ---- the commands -------------------------------------------------------------------------- */

int cmd_set(struct cli *cli);
int cmd_get(struct cli *cli);
int cmd_del(struct cli *cli);
int cmd_exists(struct cli *cli);
int cmd_incr(struct cli *cli);
int cmd_append(struct cli *cli);
int cmd_cas(struct cli *cli);
int cmd_touch(struct cli *cli);
int cmd_ttl(struct cli *cli);
int cmd_mget(struct cli *cli);
int cmd_mset(struct cli *cli);

int cmd_load(struct cli *cli);
int cmd_dump(struct cli *cli);
int cmd_scan(struct cli *cli);
int cmd_count(struct cli *cli);

int cmd_create(struct cli *cli);
int cmd_info(struct cli *cli);
int cmd_clear(struct cli *cli);
int cmd_destroy(struct cli *cli);
int cmd_ls(struct cli *cli);
int cmd_gc(struct cli *cli);
int cmd_compact(struct cli *cli);

int cmd_sync(struct cli *cli);
int cmd_checkpoint(struct cli *cli);
int cmd_backup(struct cli *cli);
int cmd_check(struct cli *cli);
int cmd_repair(struct cli *cli);

int cmd_config(struct cli *cli);
int cmd_stat(struct cli *cli);
int cmd_readers(struct cli *cli);
int cmd_top(struct cli *cli);
int cmd_watch(struct cli *cli);
int cmd_bench(struct cli *cli);

#endif
