/* SPDX-License-Identifier: MIT */
/*
 * replay.c FILE... - run a fuzzer's function over inputs that were kept; built with each of them,
 * by any compiler.  An input that fails ends the process, its name is the last line.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST (1u << 20)

/* False: it cannot be read. */
static int replay(const char *path)
{
    static uint8_t room[MOST];
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return 0;
    size_t size = fread(room, 1, sizeof(room), f);
    int whole = feof(f) && !ferror(f);
    fclose(f);
    if (!whole)
        return 0;
    uint8_t *data = malloc(size != 0 ? size : 1); /* so that a sanitizer knows its end */
    if (data == NULL)
        return 0;
    for (size_t i = 0; i < size; i++)
        data[i] = room[i];
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 1;
}

int main(int argc, char **argv)
{
    int bad = 0;
    for (int i = 1; i < argc; i++) {
        printf("# %s\n", argv[i]);
        fflush(stdout);
        if (replay(argv[i]))
            continue;
        printf("# %s: cannot be read\n", argv[i]);
        bad = 1;
    }
    printf("%s 1 - %d inputs\n", bad ? "not ok" : "ok", argc - 1);
    return bad;
}
