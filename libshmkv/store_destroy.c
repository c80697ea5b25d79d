/* SPDX-License-Identifier: MIT */
/*
 * store_destroy.c - remove a store that has an image: its arena, then the file.
 *
 * Under the exclusive LOCK_CREATE of the image nobody opens it meanwhile.  A death between the two
 * steps leaves a store that is not in memory, at its last checkpoint.  Where somebody has removed
 * the file first, the arena is found by the path that it keeps.
 *                                                                      tests/cli/image.sh
 */
#define _GNU_SOURCE
#include "store.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "image.h"

#define LOCK_SECONDS 10u
#define POLL_NS 5000000u
#define AGAIN SHMKV_EBUSY /* not now, try again; inside this file */

/* One removal. */
struct removal {
    const char *name, *shm_dir;
    bool force;
    char path[PATH_MAX];
    struct image_look look;
    void *create_page;
};

static int look(struct removal *r)
{
    int rc = image_look(r->path, &r->look);
    if (rc == 0 && r->look.state == IMAGE_NONE)
        return error_set(SHMKV_ENOSTORE, "there is no store %s", r->name);
    return rc;
}

static struct lockpage_file file_of(const struct removal *r)
{
    return (struct lockpage_file){r->path, r->look.device, r->look.inode};
}

static int check_unused(const struct removal *r)
{
    struct lockpage_file file = file_of(r);
    int fd = lockpage_open(&file);
    if (fd < 0)
        return fd == SHMKV_EDEFUNCT ? AGAIN : fd;
    bool held = lockpage_held(fd, LOCK_ATTACHED);
    close(fd);
    return !held || r->force
               ? 0
               : error_set(SHMKV_EINUSE,
                           "%s is in use (shmkv readers shows by whom); it can be removed by "
                           "force, those who use it then get an error",
                           r->name);
}

static int remove_arena(const struct removal *r)
{
    struct arena_image image = {
        .device = r->look.device, .inode = r->look.inode, .owner = r->look.owner};
    memcpy(image.uuid, r->look.geometry.uuid, sizeof(image.uuid));
    if (r->look.state != IMAGE_READY || r->look.moved)
        return 0; /* it never had one */
    int rc = arena_destroy_image(r->name, r->shm_dir, &image, r->force);
    return rc == SHMKV_ENOSTORE ? 0 : rc;
}

/* Asked before anything is changed: the arena goes first, and may have what the image lacks. */
static int check_removable(const struct removal *r)
{
    char directory[PATH_MAX];
    struct stat st;
    int length = (int)(strrchr(r->path, '/') - r->path);
    snprintf(directory, sizeof(directory), "%.*s", length != 0 ? length : 1, r->path);
    uid_t me = geteuid();
    bool sticky = stat(directory, &st) == 0 && (st.st_mode & S_ISVTX) != 0;
    bool owned = me == 0 || me == st.st_uid || me == r->look.owner;
    if (eaccess(directory, W_OK | X_OK) == 0 && (!sticky || owned))
        return 0;
    return error_set(SHMKV_EACCESS, "%s: you (uid %u) may not remove files from %s", r->name, me,
                     directory);
}

static int remove_file(const struct removal *r, struct file *f)
{
    if (unlink(r->path) != 0)
        return error_errno(errno == EACCES || errno == EPERM ? SHMKV_EACCESS : SHMKV_ESYSTEM,
                           "%s: removing the image", r->name);
    return f->table->barrier_name(f); /* so that a power loss does not bring it back */
}

static int remove_both(const struct removal *r)
{
    struct file f;
    int rc = file_open(&f, r->path, FILE_READONLY, 0);
    if (rc != 0)
        return rc;
    rc = check_removable(r);
    if (rc == 0)
        rc = remove_arena(r);
    if (rc == 0)
        rc = remove_file(r, &f);
    file_close(&f);
    return rc;
}

static int remove_once(struct removal *r)
{
    int rc = look(r);
    if (rc != 0)
        return rc;
    struct lockpage_file file = file_of(r);
    rc = lockpage_take(&file, LOCK_CREATE, true, &r->create_page);
    if (rc != 0)
        return rc == SHMKV_EDEFUNCT ? AGAIN : rc;
    rc = look(r);
    if (rc == 0 && (r->look.device != file.device || r->look.inode != file.inode))
        rc = AGAIN;
    if (rc == 0)
        rc = check_unused(r);
    if (rc == 0)
        rc = remove_both(r);
    lockpage_release(r->create_page);
    r->create_page = NULL;
    return rc;
}

/* There is no such file; but there may have been. */
static int remove_rest(const struct removal *r)
{
    char path[PATH_MAX];
    bool plain = store_image_path(r->name, path) != 0; /* its directory is gone, too */
    int rc = arena_destroy_lost(plain ? r->name : path, r->shm_dir, r->force);
    return rc == SHMKV_ENOSTORE ? error_set(rc, "there is no store %s", r->name) : rc;
}

int store_destroy_image(const char *name, const char *shm_dir, bool force)
{
    struct removal r = {.name = name, .shm_dir = shm_dir, .force = force};
    uint64_t deadline = clock_mono_ns() + LOCK_SECONDS * 1000000000ull;
    int rc;
    if (realpath(name, r.path) == NULL)
        return errno == ENOENT ? remove_rest(&r)
                               : error_errno(errno == EACCES ? SHMKV_EACCESS : SHMKV_ENOSTORE,
                                             "store %s", name);
    while ((rc = remove_once(&r)) == AGAIN) {
        if (clock_mono_ns() > deadline)
            return error_set(SHMKV_ETIMEOUT,
                             "%s: for %u s another process has been opening or removing it, or was "
                             "stopped while it did; fuser -v %s names it",
                             name, LOCK_SECONDS, r.path);
        clock_sleep_ns(POLL_NS);
    }
    return rc;
}
