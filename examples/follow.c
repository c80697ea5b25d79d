/* SPDX-License-Identifier: MIT */
/*
 * follow.c - one of two small programs that share a store: this one watches a word's count.
 *
 *   build/examples/follow STORE WORD [TIMES]
 *
 * Prints the count now and whenever it has changed, until it has printed TIMES lines (default:
 * for ever).  It sleeps in between, and costs those who count next to nothing.
 */
#include <shmkv.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Print the count, and tell its version: 0 as long as the word was not seen.  The value is read
 * where it lies, in shared memory; until the section ends nobody changes or reuses it.
 */
static int show(struct shmkv *db, const char *word, uint64_t *version)
{
    struct shmkv_section section;
    struct shmkv_item item;
    int rc = shmkv_begin(db, &section);

    if (rc != 0)
        return rc;
    rc = shmkv_get(&section, word, strlen(word), &item);
    if (rc == 0) {
        printf("%s: %.*s\n", word, (int)item.size, (const char *)item.value);
        *version = item.version;
    } else if (rc == SHMKV_ENOTFOUND) {
        printf("%s: not seen yet\n", word);
        *version = 0;
        rc = 0;
    }
    shmkv_end(&section);
    fflush(stdout);
    return rc;
}

int main(int argc, char **argv)
{
    const struct shmkv_options options = {.flags = SHMKV_CREATE};
    struct shmkv *db;
    uint64_t version = 0;
    long times;
    int rc;

    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: follow STORE WORD [TIMES]\n");
        return 2;
    }
    times = argc == 4 ? strtol(argv[3], NULL, 10) : -1;
    rc = shmkv_open(argv[1], &options, &db);
    for (long i = 0; rc == 0 && i != times; i++) {
        if (i > 0)
            rc = shmkv_wait(db, argv[2], strlen(argv[2]), version, -1);
        if (rc == 0)
            rc = show(db, argv[2], &version);
    }
    if (rc != 0)
        fprintf(stderr, "follow: %s\n", shmkv_last_error());
    shmkv_close(db);
    return rc == 0 ? 0 : 1;
}
