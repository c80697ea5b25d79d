/* SPDX-License-Identifier: MIT */
/* home.c - see home.h. */
#include "home.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char home_dir[64];
char home_image[80];

int home_setup(void **state)
{
    snprintf(home_dir, sizeof(home_dir), "/tmp/shmkv-test-XXXXXX");
    if (mkdtemp(home_dir) == NULL)
        return -1;
    snprintf(home_image, sizeof(home_image), "%s/store", home_dir);
    return scratch_setup(state);
}

int home_teardown(void **state)
{
    home_empty();
    rmdir(home_dir);
    return scratch_teardown(state);
}

const char *home_path(const char *file)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", home_dir, file);
    return path;
}

void home_empty(void)
{
    DIR *d = opendir(home_dir);
    struct dirent *e;
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(d), e->d_name, 0);
    }
    closedir(d);
}

int home_open(const char *path, uint32_t flags, uint64_t interval_ms, struct shmkv **db)
{
    struct shmkv_options o = {
        .flags = flags, .size = 16u << 20, .interval_ms = interval_ms, .shm_dir = scratch_dir()};
    return shmkv_open(path, &o, db);
}
