/* SPDX-License-Identifier: MIT */
#include "lib_files.h"

#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

void peer_path(const struct engine_setup *setup, const char *suffix, char *path)
{
    snprintf(path, PEER_PATH, "/dev/shm/%s.%s", setup->name, suffix);
}

void peer_warm(const char *path)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    struct stat st;

    while (maps != NULL && stat(path, &st) == 0 && fgets(line, sizeof(line), maps) != NULL) {
        unsigned long from;
        unsigned long to;
        char rights[5];

        if (strstr(line, path) == NULL || sscanf(line, "%lx-%lx %4s", &from, &to, rights) != 3)
            continue;
        if (to - from > (unsigned long)st.st_size)
            to = from + ((unsigned long)st.st_size & ~4095ul);
        madvise((void *)from, to - from, /* NOLINT(performance-no-int-to-ptr): of /proc */
                rights[1] == 'w' ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
    }
    if (maps != NULL)
        fclose(maps);
}

/* Calls @each for the file, or for each file in the directory. */
static void each_file(const char *path, void (*each)(const char *path, uint64_t *sum),
                      uint64_t *sum)
{
    char name[512];
    DIR *dir = opendir(path);

    if (dir == NULL) {
        each(path, sum);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.')
            each(name, sum);
    }
    closedir(dir);
}

static void remove_one(const char *path, uint64_t *sum)
{
    (void)sum;
    unlink(path);
}

void peer_remove(const char *path)
{
    each_file(path, remove_one, NULL);
    rmdir(path);
}

static void add_bytes(const char *path, uint64_t *sum)
{
    struct stat st;

    if (stat(path, &st) == 0)
        *sum += (uint64_t)st.st_blocks * 512;
}

uint64_t peer_file_bytes(const char *path)
{
    uint64_t sum = 0;

    each_file(path, add_bytes, &sum);
    return sum;
}

uint64_t peer_heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

const char *peer_failed(const char *what, const char *why)
{
    static char text[256];

    snprintf(text, sizeof(text), "%s: %s", what, why);
    return text;
}

uint64_t peer_live_bytes(const struct engine_setup *setup)
{
    return setup->workload->keys * (engine_record_bytes(setup->workload) + 32);
}
