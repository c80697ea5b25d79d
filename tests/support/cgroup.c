/* SPDX-License-Identifier: MIT */
/* cgroup.c - see cgroup.h. */
#define _GNU_SOURCE
#include "cgroup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[64];

static bool write_text(const char *file, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", directory, file);
    int fd = open(path, O_WRONLY);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

bool cgroup_make(const char *limit)
{
    snprintf(directory, sizeof(directory), "/sys/fs/cgroup/memory/shmkv-test-%d", getpid());
    if (mkdir(directory, 0755) == 0 && write_text("memory.limit_in_bytes", limit))
        return true;
    rmdir(directory);
    return false;
}

bool cgroup_enter(void)
{
    return write_text("cgroup.procs", "0");
}

void cgroup_remove(void)
{
    for (int i = 0; i < 100 && rmdir(directory) != 0; i++)
        usleep(10000);
}
