/* SPDX-License-Identifier: MIT */
/* arena_name.c - names of stores, paths of their objects, and what can be wrong with either. */
#define _GNU_SOURCE
#include "arena_parts.h"

#include "descriptor.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define NAME_SCHEME "shm:"
#define NAME_MAX_LENGTH 200u
#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

bool arena_name_valid(const char *name, size_t length)
{
    size_t suffix = strlen(ARENA_SYNC_SUFFIX);
    if (length < 1 || length > NAME_MAX_LENGTH || strspn(name, NAME_CHARACTERS) < length)
        return false;
    return length < suffix || strncmp(name + length - suffix, ARENA_SYNC_SUFFIX, suffix) != 0;
}

static int check_name(const char *name)
{
    size_t scheme = strlen(NAME_SCHEME);
    if (!name || !*name)
        return error_set(SHMKV_EINVAL, "a store needs a name: shm:NAME");
    if (strncmp(name, NAME_SCHEME, scheme) != 0)
        return error_set(SHMKV_ENOTSUP,
                         "%s: is no name of a store without an image; that is shm:NAME", name);
    if (!arena_name_valid(name + scheme, strlen(name + scheme)))
        return error_set(SHMKV_EINVAL,
                         "%.220s: a name is shm: and 1 to %u of A-Z a-z 0-9 . _ - and does not end "
                         "in " ARENA_SYNC_SUFFIX,
                         name, NAME_MAX_LENGTH);
    return 0;
}

int arena_name_directory(const char *shm_dir, char *dir, size_t size)
{
    char *real = realpath(shm_dir ? shm_dir : ARENA_DIRECTORY, NULL);
    struct statfs fs;
    int rc = 0;

    if (!shm_dir)
        shm_dir = ARENA_DIRECTORY;
    if (!real || statfs(real, &fs) != 0)
        rc = error_errno(errno == EACCES ? SHMKV_EACCESS : SHMKV_EINVAL,
                         "directory %s for shared memory", shm_dir);
    else if (fs.f_type != TMPFS_MAGIC)
        rc = error_set(SHMKV_EINVAL,
                       "%s is not a tmpfs, so it cannot hold shared memory; choose one that is, or "
                       "mount -t tmpfs tmpfs %s",
                       shm_dir, shm_dir);
    else if ((size_t)snprintf(dir, size, "%s", real) >= size)
        rc = error_set(SHMKV_EINVAL, "the path of directory %s is too long", shm_dir);
    free(real);
    return rc;
}

static int set_names(struct arena *a, const char *name, const char *shm_dir, const char *bare)
{
    char dir[PATH_MAX];
    int rc = arena_name_directory(shm_dir, dir, sizeof(dir));
    if (rc != 0)
        return rc;
    a->name = strdup(name);
    if (asprintf(&a->path, "%s/" ARENA_PREFIX "%s", dir, bare) < 0)
        a->path = NULL;
    if (asprintf(&a->sync_path, "%s/" ARENA_PREFIX "%s" ARENA_SYNC_SUFFIX, dir, bare) < 0)
        a->sync_path = NULL;
    if (a->name && a->path && a->sync_path)
        return 0;
    arena_name_free(a);
    return error_set(SHMKV_ESYSTEM, "%s: out of memory", name);
}

static void set_none(struct arena *a)
{
    memset(a, 0, sizeof(*a));
    a->fd = a->sync_fd = -1;
    a->trusted = -1;
}

int arena_name_set(struct arena *a, const char *name, const char *shm_dir)
{
    set_none(a);
    int rc = check_name(name);
    return rc != 0 ? rc : set_names(a, name, shm_dir, name + strlen(NAME_SCHEME));
}

/* A copy of an image has another inode, so it never shares an arena with its original. */
int arena_name_set_image(struct arena *a, const char *name, const char *shm_dir,
                         const struct arena_image *image)
{
    char bare[2 * sizeof(image->uuid) + 40];
    char *at = bare;
    set_none(a);
    a->trusted = (int64_t)image->owner;
    for (size_t i = 0; i < sizeof(image->uuid); i++)
        at += sprintf(at, "%02x", image->uuid[i]);
    snprintf(at, sizeof(bare) - (size_t)(at - bare), ".%" PRIx64 ".%" PRIx64, image->device,
             image->inode);
    return set_names(a, name, shm_dir, bare);
}

void arena_name_free(struct arena *a)
{
    free(a->name);
    free(a->path);
    free(a->sync_path);
    a->name = a->path = a->sync_path = NULL;
}

const char *arena_name_bare(const struct arena *a)
{
    return strrchr(a->path, '/') + 1 + strlen(ARENA_PREFIX);
}

bool arena_name_imaged(const struct arena *a)
{
    return a->trusted >= 0;
}

int arena_name_denied(const struct arena *a, const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return error_set(SHMKV_EACCESS, "%s: you (uid %u) may not use %s", a->name, geteuid(),
                         path);
    return error_set(SHMKV_EACCESS, "%s: you (uid %u) may not use %s (owner uid %u, mode %04o)",
                     a->name, geteuid(), path, st.st_uid, st.st_mode & 07777u);
}

int arena_name_error(const struct arena *a, const char *doing, const char *path)
{
    switch (errno) {
    case EACCES:
    case EPERM:
        return arena_name_denied(a, path);
    case ELOOP:
    case EISDIR:
    case ENXIO:
        return error_set(SHMKV_EFORMAT,
                         "%s: %s is not a regular file, so not a store; remove it or "
                         "choose another name",
                         a->name, path);
    case ENOSPC:
        return error_errno(SHMKV_ENOSPC, "%s: %s %s", a->name, doing, path);
    default:
        return error_errno(SHMKV_ESYSTEM, "%s: %s %s", a->name, doing, path);
    }
}

int arena_name_full(const struct arena *a, const char *path)
{
    struct statfs fs;
    int length = (int)(strrchr(path, '/') - path);
    if (statfs(path, &fs) != 0 || fs.f_blocks == 0)
        return error_set(SHMKV_ENOSPC, "%s: there is no memory left for %s", a->name, path);
    uint64_t total = (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize >> 10;
    return error_set(SHMKV_ENOSPC,
                     "%s: %.*s is full (%llu KiB): delete keys, remove something else there, make "
                     "it larger with mount -o remount,size=SIZE %.*s, or make the store smaller",
                     a->name, length, path, (unsigned long long)total, length, path);
}

bool arena_name_is(const char *path, uint64_t device, uint64_t inode)
{
    struct stat st;
    return lstat(path, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

int arena_name_fd(int fd, const char *path, uint64_t device, uint64_t inode)
{
    struct stat st;
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == device && st.st_ino == inode)
        return fd;
    int fresh = descriptor_open(path, O_RDWR | ARENA_OPEN_FLAGS, 0);
    if (fresh < 0 && errno == EACCES)
        fresh = descriptor_open(path, O_RDONLY | ARENA_OPEN_FLAGS, 0);
    if (fresh >= 0 && fstat(fresh, &st) == 0 && st.st_dev == device && st.st_ino == inode)
        return fresh;
    if (fresh >= 0)
        close(fresh);
    return -1;
}

struct lockpage_file arena_name_sync(const struct arena *a)
{
    return (struct lockpage_file){a->sync_path, a->sync_device, a->sync_inode};
}
