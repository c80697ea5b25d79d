/* SPDX-License-Identifier: MIT */
/* scratch.c - see scratch.h. */
#define _GNU_SOURCE
#include "scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[64];
static bool mounted;

bool scratch_make(size_t kib)
{
    char options[64];
    /* Not named shmkv*: the test runner must not take it for something left behind. */
    snprintf(directory, sizeof(directory), "/dev/shm/tests.XXXXXX");
    if (!mkdtemp(directory))
        abort();
    snprintf(options, sizeof(options), "mode=1777,size=%zuk", kib);
    mounted = mount("tests", directory, "tmpfs", 0, kib ? options : "mode=1777") == 0;
    if (!mounted && kib) {
        rmdir(directory);
        return false;
    }
    if (!mounted)
        chmod(directory, 01777);
    return true;
}

static void remove_files(void)
{
    DIR *dir = opendir(directory);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            remove(scratch_path(entry->d_name));
    }
    if (dir)
        closedir(dir);
}

void scratch_copy(const char *from, const char *to)
{
    char bytes[65536];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = in >= 0 && out >= 0 ? 1 : -1;
    while (n > 0) {
        n = read(in, bytes, sizeof(bytes));
        if (n > 0 && write(out, bytes, (size_t)n) != n)
            n = -1;
    }
    if (n < 0)
        abort();
    close(in);
    close(out);
}

void scratch_remove(void)
{
    remove_files();
    if (mounted)
        umount2(directory, MNT_DETACH);
    rmdir(directory);
}

const char *scratch_dir(void)
{
    return directory;
}

const char *scratch_path(const char *file)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", directory, file);
    return path;
}

void scratch_lose_memory(void)
{
    struct dirent *e;
    DIR *d = opendir(scratch_dir());
    while (d != NULL && (e = readdir(d)) != NULL) {
        if (strncmp(e->d_name, "shmkv.", 6) == 0)
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d != NULL)
        closedir(d);
}

int scratch_count(void)
{
    int count = 0;
    DIR *dir = opendir(directory);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (dir)
        closedir(dir);
    return count;
}

struct arena_options scratch_options(bool create)
{
    return (struct arena_options){.create = create, .size = 8u << 20, .shm_dir = directory};
}

int scratch_open(struct arena *a, const char *name, bool create)
{
    struct arena_options options = scratch_options(create);
    bool created;
    int rc = arena_open(a, name, &options, &created);
    if (rc == 0 && created)
        rc = arena_ready(a);
    return rc;
}

int scratch_setup(void **state)
{
    (void)state;
    return scratch_make(0) ? 0 : -1;
}

int scratch_teardown(void **state)
{
    (void)state;
    scratch_remove();
    return 0;
}
