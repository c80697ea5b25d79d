/* SPDX-License-Identifier: MIT */
/*
 * counter.c - one of two small programs that share a store: this one counts words.
 *
 *   build/examples/counter shm:words < README.md      # in one terminal, or in many at once
 *   build/examples/follow  shm:words the              # in another one
 *
 * Any number of counters may run at the same time: shmkv_add() is atomic.  Kill one at any moment
 * and the others go on.  The store is made by whoever comes first and stays until it is removed
 * (`shmkv -f shm:words destroy`) or the machine restarts.
 */
#include <shmkv.h>

#include <ctype.h>
#include <stdio.h>

#define WORD_MAX 64

/* The next word of @in in lower case; its length, 0 at the end. */
static size_t next_word(FILE *in, char *word)
{
    size_t length = 0;
    int c;

    while ((c = getc(in)) != EOF) {
        if (isalnum(c)) {
            if (length < WORD_MAX)
                word[length++] = (char)tolower(c);
        } else if (length > 0) {
            break;
        }
    }
    return length;
}

int main(int argc, char **argv)
{
    const struct shmkv_options options = {.flags = SHMKV_CREATE};
    struct shmkv *db;
    char word[WORD_MAX];
    size_t length;
    unsigned long words = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: counter STORE < TEXT\n");
        return 2;
    }
    if (shmkv_open(argv[1], &options, &db) != 0) {
        fprintf(stderr, "counter: %s\n", shmkv_last_error());
        return 1;
    }
    while ((length = next_word(stdin, word)) > 0) {
        if (shmkv_add(db, word, length, 1, NULL) != 0) {
            fprintf(stderr, "counter: %s\n", shmkv_last_error());
            shmkv_close(db);
            return 1;
        }
        words++;
    }
    printf("%lu words counted\n", words);
    return shmkv_close(db) == 0 ? 0 : 1;
}
