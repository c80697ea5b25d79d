/* SPDX-License-Identifier: MIT */
/* cli.c - command line, store, errors and values for all commands; see cli.h. */
#define _GNU_SOURCE
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "units.h"

enum cli_kind { KIND_FLAG, KIND_TEXT, KIND_NUMBER, KIND_SIZE, KIND_TIME, KIND_MODE, KIND_FORMAT };

static const struct cli_option_row {
    const char *name;
    const char *value;
    const char *help;
    enum cli_kind kind;
    char letter;
} cli_options[OPTIONS_END] = {
#define CLI_OPTION_ROW(id, letter, name, kind, value, help)                                        \
    [id] = {name, value, help, KIND_##kind, letter},
    CLI_OPTIONS(CLI_OPTION_ROW)
#undef CLI_OPTION_ROW
};

_Static_assert(OPTIONS_END <= 64, "a set of options is one 64-bit word");

/* ---- errors -------------------------------------------------------------------------------- */

int cli_usage(const struct cli *cli, const char *format, ...)
{
    fputs("shmkv: ", stderr);
    if (cli->command) {
        fprintf(stderr, "%s: ", cli->command->name);
    }
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n'shmkv %s%s--help' tells how.\n", cli->command ? cli->command->name : "",
            cli->command ? " " : "");
    return CLI_USAGE;
}

int cli_error(const char *what, const char *format, ...)
{
    fputs("shmkv: ", stderr);
    if (what) {
        fprintf(stderr, "%s: ", what);
    }
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return CLI_ERROR;
}

int cli_result(const struct cli *cli, int rc)
{
    if (rc == 0) {
        return CLI_DONE;
    }
    bool no = rc == SHMKV_ENOTFOUND || rc == SHMKV_EEXISTS || rc == SHMKV_EMISMATCH;
    const char *story = shmkv_last_error();
    if (!no || isatty(STDERR_FILENO)) {
        const char *text = no || !*story ? shmkv_strerror(rc) : story;
        cli_error(strstr(text, cli->store) ? NULL : cli->store, "%s", text);
    }
    return no ? CLI_NO : CLI_ERROR;
}

/* ---- the command line ---------------------------------------------------------------------- */

bool cli_has(const struct cli *cli, enum cli_option option)
{
    return cli->given & CLI_BIT(option);
}

int64_t cli_timeout(const struct cli *cli)
{
    bool none = !cli_has(cli, OPT_TIMEOUT) || strcmp(cli->text[OPT_TIMEOUT], "never") == 0;
    return none ? -1 : (int64_t)cli->number[OPT_TIMEOUT];
}

uint64_t cli_common_options(void)
{
    return CLI_BIT(OPT_STORE) | CLI_BIT(OPT_SHM_DIR) | CLI_BIT(OPT_HELP);
}

void cli_print_options(uint64_t set)
{
    for (int i = 0; i < OPTIONS_END; i++) {
        if (!(set & CLI_BIT(i))) {
            continue;
        }
        const struct cli_option_row *row = &cli_options[i];
        char left[64];
        char letter[8] = "    ";
        if (row->letter) {
            snprintf(letter, sizeof(letter), "-%c, ", row->letter);
        }
        snprintf(left, sizeof(left), "%s--%s %s", letter, row->name, row->value ? row->value : "");
        printf("  %-27s %s\n", left, row->help);
    }
}

/* Two options may share a name ("--keys") as long as no command knows both. */
static int cli_find_option(uint64_t known, const char *name, size_t size, char letter)
{
    for (int i = 0; i < OPTIONS_END; i++) {
        const struct cli_option_row *row = &cli_options[i];
        bool same = letter ? row->letter == letter
                           : strlen(row->name) == size && memcmp(row->name, name, size) == 0;
        if (same && known & CLI_BIT(i)) {
            return i;
        }
    }
    return -1;
}

static bool cli_parse_value(enum cli_kind kind, const char *text, uint64_t *number)
{
    enum format_kind format;
    switch (kind) {
    case KIND_NUMBER:
        return units_parse_number(text, number);
    case KIND_SIZE:
        return units_parse_size(text, number);
    case KIND_TIME:
        return units_parse_time(text, number);
    case KIND_MODE:
        return units_parse_mode(text, number);
    case KIND_FORMAT:
        if (!format_by_name(text, &format)) {
            return false;
        }
        *number = format;
        return true;
    case KIND_FLAG:
    case KIND_TEXT:
        break;
    }
    return true;
}

static int cli_set_option(struct cli *cli, int option, const char *value)
{
    static const char *const wanted[] = {
        [KIND_NUMBER] = "a whole number",
        [KIND_SIZE] = "a size such as 4096, 64M or 1G",
        [KIND_TIME] = "a time such as 250ms, 10s, 5m, 2h, 7d or never",
        [KIND_MODE] = "permission bits in octal such as 660",
        [KIND_FORMAT] = "one of tsv, space, jsonl, null",
    };
    const struct cli_option_row *row = &cli_options[option];
    if (!cli_parse_value(row->kind, value, &cli->number[option])) {
        if (row->kind == KIND_NUMBER && units_is_too_large(value)) {
            return cli_usage(cli, "--%s: '%s' is too large a number", row->name, value);
        }
        return cli_usage(cli, "--%s: '%s' is not %s", row->name, value, wanted[row->kind]);
    }
    cli->given |= CLI_BIT(option);
    cli->text[option] = value;
    return CLI_DONE;
}

/* Where reading stands: words before @next are done. */
struct cli_words {
    char **word;
    int count;
    int next;
};

static int cli_take_option(struct cli *cli, uint64_t known, struct cli_words *words)
{
    const char *word = words->word[words->next++];
    bool is_long = word[1] == '-';
    const char *name = word + (is_long ? 2 : 1);
    const char *value = is_long ? strchr(name, '=') : name[1] ? name + 1 : NULL;
    size_t size = is_long && value ? (size_t)(value - name) : strlen(name);
    int option = cli_find_option(known, name, size, is_long ? 0 : name[0]);
    if (option < 0) {
        return cli_usage(cli, "unknown option '%s'%s", word,
                         cli->command ? " (put -- before what begins with - and is none)"
                                      : " (options of a command come after its name)");
    }
    if (is_long && value) {
        value++;
    }
    if (cli_options[option].kind == KIND_FLAG) {
        return value ? cli_usage(cli, "--%s takes no value", cli_options[option].name)
                     : cli_set_option(cli, option, "");
    }
    if (!value) {
        if (words->next == words->count) {
            return cli_usage(cli, "--%s needs a value: %s", cli_options[option].name,
                             cli_options[option].value);
        }
        value = words->word[words->next++];
    }
    return cli_set_option(cli, option, value);
}

const struct cli_command *cli_find_command(const struct cli_command *commands, const char *name)
{
    for (const struct cli_command *c = commands; c->name; c++) {
        if (c->run && strcmp(c->name, name) == 0) {
            return c;
        }
    }
    return NULL;
}

/* Options begin with '-', but "-" stands for standard input and "-5" is a number. */
static bool cli_is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && !(word[1] >= '0' && word[1] <= '9');
}

static int cli_check_args(const struct cli *cli)
{
    const struct cli_command *c = cli->command;
    if (cli->args < c->least) {
        return cli_usage(cli, "too few arguments: %s %s", c->name, c->args);
    }
    if (c->most >= 0 && cli->args > c->most) {
        return cli_usage(cli, "'%s' is one argument too many: %s %s", cli->arg[c->most], c->name,
                         c->args);
    }
    if (cli->store && !*cli->store) {
        return cli_usage(cli, "'' is no name of a store");
    }
    if (!c->storeless && !cli->store) {
        return cli_usage(cli, "no store is named: use -f PATH, -f shm:NAME, or set SHMKV_STORE");
    }
    return CLI_DONE;
}

static void cli_defaults(struct cli *cli)
{
    const char *store = getenv("SHMKV_STORE");
    cli->store = cli_has(cli, OPT_STORE) ? cli->text[OPT_STORE] : store && *store ? store : NULL;
    cli->shm_dir = cli_has(cli, OPT_SHM_DIR) ? cli->text[OPT_SHM_DIR] : NULL;
}

int cli_parse(struct cli *cli, const struct cli_command *commands, int argc, char **argv)
{
    uint64_t known = cli_common_options() | CLI_BIT(OPT_VERSION);
    struct cli_words words = {argv, argc, 1};
    bool plain = false; /* after "--" */
    cli->arg = argv + 1;
    while (words.next < argc) {
        char *word = argv[words.next];
        int status = CLI_DONE;
        if (!plain && strcmp(word, "--") == 0) {
            plain = true;
            words.next++;
        } else if (!plain && cli_is_option(word)) {
            status = cli_take_option(cli, known, &words);
        } else if (!cli->command) {
            cli->command = cli_find_command(commands, word);
            if (!cli->command) {
                return cli_usage(cli, "unknown command '%s'", word);
            }
            known = cli_common_options() | cli->command->options;
            words.next++;
        } else {
            /* Never overtakes: at least the command itself stood before the arguments. */
            cli->arg[cli->args++] = argv[words.next++];
        }
        if (status != CLI_DONE) {
            return status;
        }
    }
    cli_defaults(cli);
    bool asks = cli_has(cli, OPT_HELP) || cli_has(cli, OPT_VERSION);
    return cli->command && !asks ? cli_check_args(cli) : CLI_DONE;
}

/* ---- the store ----------------------------------------------------------------------------- */

bool cli_is_volatile(const struct cli *cli)
{
    return strncmp(cli->store, "shm:", 4) == 0;
}

/*
 * A store that is in its image only is loaded for all if we may, so that the next command finds it
 * in memory; otherwise for this command alone.
 */
int cli_open_with(struct cli *cli, struct shmkv_options *options)
{
    options->shm_dir = cli->shm_dir;
    const uint32_t flags = options->flags;
    if (flags & SHMKV_READONLY) {
        options->flags |= SHMKV_LIVE;
    }
    int rc = shmkv_open(cli->store, options, &cli->db);
    if (rc == SHMKV_ENOSTORE && flags & SHMKV_READONLY && !cli_is_volatile(cli)) {
        options->flags = flags & ~(uint32_t)SHMKV_READONLY;
        rc = shmkv_open(cli->store, options, &cli->db);
        if (rc == SHMKV_EACCESS || rc == SHMKV_EREADONLY) {
            options->flags = flags;
            rc = shmkv_open(cli->store, options, &cli->db);
        }
    }
    return cli_result(cli, rc);
}

int cli_open(struct cli *cli, uint32_t flags)
{
    struct shmkv_options options = {0};
    options.flags = flags & CLI_KEEPER ? flags & ~CLI_KEEPER : flags | SHMKV_NO_KEEPER;
    return cli_open_with(cli, &options);
}

/* ---- keys and values ----------------------------------------------------------------------- */

int cli_check_key(const struct cli *cli, const char *key)
{
    size_t size = strlen(key);
    if (size < 1 || size > SHMKV_KEY_MAX) {
        return cli_usage(cli, "a key must have 1 to %u bytes; this one has %zu", SHMKV_KEY_MAX,
                         size);
    }
    return CLI_DONE;
}

int cli_check_keys(const struct cli *cli)
{
    int status = CLI_DONE;
    for (int i = 0; i < cli->args && status == CLI_DONE; i++) {
        status = cli_check_key(cli, cli->arg[i]);
    }
    return status;
}

int cli_value(const char *argument, struct text *value)
{
    if (strcmp(argument, "-") != 0) {
        text_add_string(value, argument);
        return CLI_DONE;
    }
    for (;;) {
        text_reserve(value, 65536);
        ssize_t got = read(STDIN_FILENO, value->data + value->size, value->room - value->size);
        if (got == 0) {
            return CLI_DONE;
        }
        if (got > 0) {
            value->size += (size_t)got;
        } else if (errno != EINTR) {
            return cli_error("standard input", "%s", strerror(errno));
        }
    }
}

static int cli_write_errno; /* of the first cli_write() or cli_push() that failed */

void cli_write(const struct text *t)
{
    if (t->size > 0 && fwrite(t->data, 1, t->size, stdout) != t->size && !cli_write_errno) {
        cli_write_errno = errno;
    }
}

void cli_push(void)
{
    if (fflush(stdout) != 0 && !cli_write_errno) {
        cli_write_errno = errno;
    }
}

int cli_flush(int status)
{
    errno = 0;
    bool bad = fflush(stdout) != 0 || ferror(stdout);
    if (bad && status != CLI_ERROR) {
        int error = cli_write_errno ? cli_write_errno : errno ? errno : EIO;
        status = cli_error("standard output", "cannot write: %s", strerror(error));
    }
    return status;
}

bool cli_output_is_terminal(void)
{
    return isatty(STDOUT_FILENO);
}
