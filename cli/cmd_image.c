/* SPDX-License-Identifier: MIT */
/* cmd_image.c - the commands that concern a store's image: sync checkpoint backup check repair. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

/* A file that is there already is an error here, and no condition. */
static int image_result(const struct cli *cli, int rc)
{
    return rc == SHMKV_EEXISTS ? cli_error(NULL, "%s", shmkv_last_error()) : cli_result(cli, rc);
}

int cmd_sync(struct cli *cli)
{
    int64_t timeout = cli_timeout(cli);
    int status = cli_open(cli, 0);
    return status == CLI_DONE ? image_result(cli, shmkv_sync(cli->db, timeout)) : status;
}

int cmd_checkpoint(struct cli *cli)
{
    int status = cli_open(cli, 0);
    return status == CLI_DONE ? image_result(cli, shmkv_checkpoint(cli->db)) : status;
}

int cmd_backup(struct cli *cli)
{
    int status = cli_open(cli, 0);
    return status == CLI_DONE ? image_result(cli, shmkv_backup(cli->db, cli->arg[0])) : status;
}

/* A finding on a line of its own. */
static void image_report(void *arg, const char *line)
{
    (void)arg;
    puts(line);
}

/* The store as it is in memory, if it is there. */
static int image_open_memory(struct cli *cli)
{
    struct shmkv_options options = {.flags = SHMKV_READONLY | SHMKV_LIVE, .shm_dir = cli->shm_dir};
    return shmkv_open(cli->store, &options, &cli->db);
}

/* While somebody writes to the image, what is read of it may be of two commits. */
static int image_check_unused(struct cli *cli)
{
    struct shmkv_stats stats;
    if (cli_is_volatile(cli) || image_open_memory(cli) != 0) {
        return CLI_DONE; /* what is wrong with it is for the repair to say */
    }
    if (shmkv_get_stats(cli->db, &stats) == 0 && stats.processes > 1) {
        return cli_error(NULL,
                         "%s: in use (other processes: %" PRIu64 "), so what is in memory is "
                         "newer: save that with shmkv backup, or stop them first",
                         cli->store, stats.processes - 1);
    }
    shmkv_close(cli->db);
    cli->db = NULL;
    return CLI_DONE;
}

int cmd_repair(struct cli *cli)
{
    int status = image_check_unused(cli);
    return status != CLI_DONE
               ? status
               : image_result(cli, shmkv_repair(cli->store, cli->arg[0], image_report, NULL));
}

/* ---- check --------------------------------------------------------------------------------- */

/* The store in memory; @alone: it has no image. */
static int image_check_memory(struct cli *cli, bool alone)
{
    int rc = image_open_memory(cli);
    if (rc == SHMKV_ENOSTORE && !alone) {
        if (cli_output_is_terminal()) {
            puts("the image is sound; the store is not in memory");
        }
        return CLI_DONE;
    }
    if (rc == 0) {
        rc = shmkv_check(cli->db, image_report, NULL);
    }
    if (rc == 0 && cli_output_is_terminal()) {
        puts("no damage was found");
    }
    return cli_result(cli, rc);
}

int cmd_check(struct cli *cli)
{
    if (cli_is_volatile(cli)) {
        return image_check_memory(cli, true);
    }
    int rc = shmkv_check_image(cli->store, image_report, NULL);
    return rc == 0 ? image_check_memory(cli, false) : cli_result(cli, rc);
}
