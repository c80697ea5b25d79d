/* SPDX-License-Identifier: MIT */
/* main.c - the shmkv tool: the table of commands, which also prints the help. */
#define _GNU_SOURCE
#include <stdio.h>

#include "cli.h"

#define O(name) CLI_BIT(OPT_##name)

static int main_help_for(struct cli *cli);

/* A row without a function is a heading.  The order is that of the help. */
static const struct cli_command commands[] = {
    {"One key", "", "", NULL, 0, 0, 0, false},
    {"set", "KEY VALUE", "store a value ('-' reads it from standard input)", cmd_set,
     O(TTL) | O(KEEP_TTL) | O(NX) | O(XX) | O(VERBOSE), 2, 2, false},
    {"get", "KEY", "print a value", cmd_get, O(VERBOSE) | O(JSON), 1, 1, false},
    {"del", "KEY... | --prefix P", "remove keys", cmd_del, O(PREFIX) | O(VERBOSE), 0, -1, false},
    {"exists", "KEY...", "tell by the exit status whether all of these are there", cmd_exists, 0, 1,
     -1, false},
    {"incr", "KEY [BY]", "add to a decimal counter and print it", cmd_incr, 0, 1, 2, false},
    {"append", "KEY VALUE", "add bytes to the end of a value", cmd_append, O(VERBOSE), 2, 2, false},
    {"cas", "KEY VERSION VALUE", "store a value if the version is still that (0: absent)", cmd_cas,
     O(TTL) | O(VERBOSE), 3, 3, false},
    {"touch", "KEY TIME", "let a key expire after a time, or never", cmd_touch, 0, 2, 2, false},
    {"ttl", "KEY", "print the time a key has left", cmd_ttl, O(JSON), 1, 1, false},

    {"Many keys", "", "", NULL, 0, 0, 0, false},
    {"mget", "KEY...", "print those pairs that are there", cmd_mget, O(FORMAT) | O(JSON), 1, -1,
     false},
    {"mset", "KEY VALUE...", "store pairs, each atomically", cmd_mset, O(TTL), 2, -1, false},
    {"load", "[FILE...]", "store the pairs of files or of standard input", cmd_load,
     O(FORMAT) | O(SKIP_BAD) | O(VERBOSE), 0, -1, false},
    {"dump", "[FILE]", "write all pairs to a file or to standard output", cmd_dump,
     O(FORMAT) | O(JSON) | O(PREFIX) | O(MATCH), 0, 1, false},
    {"scan", "", "print pairs or keys, in no order", cmd_scan,
     O(PREFIX) | O(MATCH) | O(LIMIT) | O(KEYS_ONLY) | O(FORMAT) | O(JSON), 0, 0, false},
    {"count", "", "print the number of keys", cmd_count, O(PREFIX) | O(MATCH), 0, 0, false},

    {"A store", "", "", NULL, 0, 0, 0, false},
    {"create", "", "make a store (the first write makes one, too)", cmd_create,
     O(SIZE) | O(CACHE) | O(RESERVE) | O(MODE), 0, 0, false},
    {"info", "", "describe a store", cmd_info, O(JSON), 0, 0, false},
    {"config", "[KEY=VALUE...]", "print the settings of a store, or change them", cmd_config,
     O(JSON), 0, -1, false},
    {"clear", "", "remove every key", cmd_clear, 0, 0, 0, false},
    {"destroy", "", "remove a store", cmd_destroy, O(FORCE), 0, 0, false},
    {"ls", "", "list the stores of this machine", cmd_ls, O(JSON), 0, 0, true},
    {"gc", "", "remove from shared memory what nobody will use", cmd_gc, 0, 0, 0, true},

    {"Look and care", "", "", NULL, 0, 0, 0, false},
    {"stat", "", "print counters and sizes", cmd_stat, O(JSON) | O(PROMETHEUS), 0, 0, false},
    {"readers", "", "list who is attached and what memory each holds back", cmd_readers, O(JSON), 0,
     0, false},
    {"top", "", "show who does how much, and the store's memory, each second", cmd_top,
     O(ONCE) | O(JSON), 0, 0, false},
    {"watch", "[KEY]", "print each change of a key, or that anything changed", cmd_watch,
     O(CHANGES) | O(SINCE) | O(TIMEOUT) | O(JSON), 0, 1, false},
    {"sync", "", "wait until everything written is durable", cmd_sync, O(TIMEOUT), 0, 0, false},
    {"checkpoint", "", "write a checkpoint to the image now", cmd_checkpoint, 0, 0, 0, false},
    {"backup", "FILE", "copy the store to a new image while it is in use", cmd_backup, 0, 1, 1,
     false},
    {"check", "", "verify every checksum and invariant, of memory and image", cmd_check, 0, 0, 0,
     false},
    {"repair", "OUT", "save what is whole of a damaged image into a new one", cmd_repair, 0, 1, 1,
     false},
    {"compact", "", "clean until nothing is gained any more", cmd_compact, O(VERBOSE), 0, 0, false},
    {"bench", "", "a quick measurement on a scratch store of its own", cmd_bench,
     O(SECONDS) | O(BENCH_KEYS) | O(VALUE_SIZE) | O(SIZE) | O(JSON), 0, 0, true},
    {"help", "[COMMAND]", "show this, or the options of a command", main_help_for, 0, 0, 1, true},
    {NULL, NULL, NULL, NULL, 0, 0, 0, false},
};

static int main_help(void)
{
    puts("usage: shmkv [-f STORE] COMMAND [ARGUMENT...] [OPTION...]\n"
         "A key-value store that any number of local processes share in memory.");
    for (const struct cli_command *c = commands; c->name; c++) {
        if (!c->run) {
            printf("\n%s\n", c->name);
            continue;
        }
        char left[64];
        snprintf(left, sizeof(left), "%s %s", c->name, c->args);
        printf("  %-26s %s\n", left, c->does);
    }
    puts("\nEvery command");
    cli_print_options(cli_common_options() | CLI_BIT(OPT_VERSION));
    puts("\n'shmkv COMMAND --help' shows the options of a command; shmkv(1) tells the rest.\n"
         "Exit status: 0 done, 1 not found or condition not met, 2 usage, 3 error.");
    return CLI_DONE;
}

static int main_command_help(const struct cli_command *c)
{
    printf("usage: shmkv %s%s%s%s%s\n%c%s.\n\n", c->storeless ? "" : "[-f STORE] ", c->name,
           *c->args ? " " : "", c->args, c->options ? " [OPTION...]" : "", c->does[0] & ~0x20,
           c->does + 1);
    cli_print_options(c->options | cli_common_options());
    return CLI_DONE;
}

static int main_help_for(struct cli *cli)
{
    if (cli->args == 0) {
        return main_help();
    }
    const struct cli_command *c = cli_find_command(commands, cli->arg[0]);
    return c ? main_command_help(c) : cli_usage(cli, "unknown command '%s'", cli->arg[0]);
}

static int main_finish(struct cli *cli, int status)
{
    if (cli->db) {
        shmkv_close(cli->db);
    }
    return cli_flush(status);
}

static int main_run(struct cli *cli)
{
    if (cli_has(cli, OPT_VERSION)) {
        printf("shmkv %s\n", shmkv_version());
        return CLI_DONE;
    }
    if (!cli->command) {
        return cli_has(cli, OPT_HELP) ? main_help() : cli_usage(cli, "no command is given");
    }
    return cli_has(cli, OPT_HELP) ? main_command_help(cli->command) : cli->command->run(cli);
}

int main(int argc, char **argv)
{
    struct cli cli = {0};
    int status = cli_parse(&cli, commands, argc, argv);
    if (status == CLI_DONE) {
        status = main_run(&cli);
    }
    return main_finish(&cli, status);
}
