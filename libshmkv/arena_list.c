/* SPDX-License-Identifier: MIT */
/* arena_list.c - stores of a directory: list them, remove one, remove what the dead left. */
#define _GNU_SOURCE
#include "arena_parts.h"

#include "clock.h"
#include "descriptor.h"
#include "error.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLL_NS 5000000u

/* ---- the names in a directory -------------------------------------------------------------- */

/* Sorted names of stores, without prefix and suffix, each once. */
struct names {
    char **name;
    size_t count, room;
};

static void names_free(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->name[i]);
    free(names->name);
    *names = (struct names){0};
}

/* Enter the store to which object @file belongs.  False: out of memory. */
static bool names_add(struct names *names, const char *file)
{
    size_t prefix = strlen(ARENA_PREFIX), suffix = strlen(ARENA_SYNC_SUFFIX);
    if (strncmp(file, ARENA_PREFIX, prefix) != 0)
        return true;
    const char *bare = file + prefix;
    size_t length = strlen(bare);
    if (length > suffix && strcmp(bare + length - suffix, ARENA_SYNC_SUFFIX) == 0)
        length -= suffix;
    char *name = strndup(bare, length);
    if (name && !arena_name_valid(name, length)) {
        free(name);
        return true;
    }
    if (name && names->count == names->room) {
        size_t room = names->room ? 2 * names->room : 16;
        char **grown = reallocarray(names->name, room, sizeof(*grown));
        if (!grown) {
            free(name);
            return false;
        }
        names->name = grown;
        names->room = room;
    }
    if (name)
        names->name[names->count++] = name;
    return name != NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_sort(struct names *names)
{
    size_t kept = 0;
    if (names->count == 0)
        return;
    qsort(names->name, names->count, sizeof(*names->name), by_name);
    for (size_t i = 1; i < names->count; i++) {
        if (strcmp(names->name[kept], names->name[i]) == 0)
            free(names->name[i]);
        else
            names->name[++kept] = names->name[i];
    }
    names->count = kept + 1;
}

static int names_read(struct names *names, const char *shm_dir)
{
    char path[PATH_MAX];
    bool complete = true;
    memset(names, 0, sizeof(*names));
    int rc = arena_name_directory(shm_dir, path, sizeof(path));
    if (rc != 0)
        return rc;
    DIR *dir = opendir(path);
    if (!dir)
        return error_errno(errno == EACCES ? SHMKV_EACCESS : SHMKV_ESYSTEM, "reading %s", path);
    for (struct dirent *entry; complete && (entry = readdir(dir));)
        complete = names_add(names, entry->d_name);
    closedir(dir);
    if (!complete) {
        names_free(names);
        return error_set(SHMKV_ESYSTEM, "reading %s: out of memory", path);
    }
    names_sort(names);
    return 0;
}

static int name_set(struct arena *a, const char *bare, const char *shm_dir)
{
    char name[256];
    snprintf(name, sizeof(name), "shm:%s", bare);
    return arena_name_set(a, name, shm_dir);
}

/* ---- list ---------------------------------------------------------------------------------- */

/* Attached processes: entries in use whose byte is locked. */
static uint64_t count_processes(const struct arena *a, const struct arena_look *look)
{
    uint32_t high = load_relaxed(&look->header.process_high);
    uint32_t count = high < PROCESS_MAX ? high : PROCESS_MAX;
    uint64_t alive = 0;
    int fd = look->attached ? descriptor_open(a->sync_path, O_RDONLY | ARENA_OPEN_FLAGS, 0) : -1;

    for (uint32_t i = 0; fd >= 0 && i < count; i++) {
        struct process_entry entry;
        off_t offset = (off_t)(SYNC_PROCESS_OFFSET + i * sizeof(entry));
        if (pread(fd, &entry, sizeof(entry), offset) == (ssize_t)sizeof(entry) &&
            load_relaxed(&entry.used) && lockpage_held(fd, LOCK_PROCESS(i)))
            alive++;
    }
    if (fd >= 0)
        close(fd);
    return alive;
}

static int image_code(enum arena_image_state state)
{
    return state == ARENA_IMAGE_THERE  ? 0
           : state == ARENA_IMAGE_GONE ? SHMKV_ENOSTORE
                                       : SHMKV_EACCESS;
}

int arena_list(const char *shm_dir, int (*fn)(void *, const struct shmkv_store_info *), void *arg)
{
    struct names names;
    int rc = names_read(&names, shm_dir);
    if (rc != 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < names.count; i++) {
        struct arena a;
        struct arena_look look;
        char path[IMAGE_PATH_BYTES];
        rc = name_set(&a, names.name[i], shm_dir);
        if (rc != 0)
            break;
        arena_look(&a, false, &look);
        bool made = load_relaxed(&look.sb.magic) == LAYOUT_MAGIC; /* a copy, as below */
        bool imaged = made && arena_image_path(&look.sb, path);
        struct shmkv_store_info info = {
            .name = a.name,
            .size = made ? load_relaxed(&look.sb.size) : 0,
            .allocated = (uint64_t)(look.arena.st_blocks + look.sync.st_blocks) * 512,
            .processes = count_processes(&a, &look),
            .state = look.rc,
            .image = imaged ? path : NULL,
            .image_state = imaged ? image_code(arena_image_state(&look.sb, path)) : 0,
        };
        rc = fn(arg, &info);
        arena_name_free(&a);
    }
    names_free(&names);
    return rc;
}

/* ---- destroy and gc ------------------------------------------------------------------------ */

/*
 * Take LOCK_CREATE exclusively.  An arena without sync object gets one first: otherwise somebody
 * could make a new pair between our look and our removal.  ARENA_AGAIN: not now.
 */
static int lock_pair(struct arena *a, const struct arena_look *look)
{
    struct stat st;
    int fd = -1;
    if (!look->sync_there)
        fd = descriptor_open(a->sync_path, O_RDWR | O_CREAT | O_EXCL | ARENA_OPEN_FLAGS, 0600);
    if (fd >= 0)
        close(fd);
    if (lstat(a->sync_path, &st) != 0)
        return errno == ENOENT ? ARENA_AGAIN : arena_name_error(a, "looking at", a->sync_path);
    a->sync_device = st.st_dev;
    a->sync_inode = st.st_ino;
    struct lockpage_file file = arena_name_sync(a);
    int rc = lockpage_take(&file, LOCK_CREATE, true, &a->create_page);
    if (rc == SHMKV_EACCESS)
        return arena_name_denied(a, a->sync_path);
    return rc == SHMKV_EDEFUNCT ? ARENA_AGAIN : rc;
}

/* One try. */
static int destroy_once(struct arena *a, bool force)
{
    struct arena_look look;
    arena_look(a, false, &look);
    if (look.rc == SHMKV_EFORMAT || look.rc == SHMKV_EACCESS ||
        (!look.arena_there && !look.sync_there))
        return look.rc;
    int rc = lock_pair(a, &look);
    if (rc != 0)
        return rc;
    arena_look(a, false, &look);
    if (look.rc == SHMKV_EFORMAT || look.rc == SHMKV_EACCESS)
        return look.rc;
    if (look.attached && !force)
        return error_set(SHMKV_EINUSE,
                         "%s is in use (shmkv readers shows by whom); it can be removed by force, "
                         "those who use it then get an error",
                         a->name);
    return arena_look_remove(a);
}

static int destroy_timed_out(const struct arena *a)
{
    return error_set(SHMKV_ETIMEOUT,
                     "%s: for %u s another process has been creating, opening or removing it, or "
                     "was stopped while it did; fuser -v %s names those that have it open",
                     a->name, ARENA_LOCK_SECONDS, a->sync_path);
}

static int destroy(struct arena *a, bool force)
{
    uint64_t deadline = clock_mono_ns() + ARENA_LOCK_SECONDS * 1000000000ull;
    int rc;
    while ((rc = destroy_once(a, force)) == ARENA_AGAIN) {
        if (clock_mono_ns() > deadline) {
            rc = destroy_timed_out(a);
            break;
        }
        clock_sleep_ns(POLL_NS);
    }
    lockpage_release(a->create_page);
    arena_name_free(a);
    return rc;
}

int arena_destroy(const char *name, const char *shm_dir, bool force)
{
    struct arena a;
    int rc = arena_name_set(&a, name, shm_dir);
    return rc != 0 ? rc : destroy(&a, force);
}

int arena_destroy_image(const char *name, const char *shm_dir, const struct arena_image *image,
                        bool force)
{
    struct arena a;
    int rc = arena_name_set_image(&a, name, shm_dir, image);
    return rc != 0 ? rc : destroy(&a, force);
}

/* Its image stood under @path, or under any if NULL, and is there no more. */
static bool is_lost(const struct arena_look *look, const char *path)
{
    char was[IMAGE_PATH_BYTES];
    return look->rc == 0 && arena_image_path(&look->sb, was) &&
           (path == NULL || strcmp(path, was) == 0) &&
           arena_image_state(&look->sb, was) == ARENA_IMAGE_GONE;
}

/* May it be removed without a loss?  Nobody attaches meanwhile, or this is only a hint. */
static bool is_garbage(const struct arena *a, const struct arena_look *look)
{
    return look->leftover ||
           (!look->attached && is_lost(look, NULL) && arena_image_settled(a, look));
}

/* Remove what is @unneeded; SHMKV_EINUSE: it is not.  Another code: it cannot be locked now, so it
 * is being made or opened, or it cannot be removed. */
static int collect(struct arena *a,
                   bool (*unneeded)(const struct arena *, const struct arena_look *))
{
    struct arena_look look;
    arena_look(a, false, &look);
    int rc = unneeded(a, &look) ? lock_pair(a, &look) : SHMKV_EINUSE;
    if (rc != 0)
        return rc;
    arena_look(a, false, &look);
    rc = unneeded(a, &look) ? arena_look_remove(a) : SHMKV_EINUSE;
    lockpage_release(a->create_page);
    return rc;
}

/* Has the arena nothing that its image may lack?  Else it goes only if somebody asks for that. */
static bool is_spare(const struct arena *a, const struct arena_look *look)
{
    return look->rc != 0 || (!look->attached && arena_image_settled(a, look));
}

int arena_remove_settled(const char *name, const char *shm_dir, const struct arena_image *image)
{
    struct arena a;
    int rc = arena_name_set_image(&a, name, shm_dir, image);
    if (rc != 0)
        return rc;
    rc = collect(&a, is_spare);
    arena_name_free(&a);
    return rc;
}

int arena_gc(const char *shm_dir, size_t *removed)
{
    struct names names;
    size_t count = 0;
    int rc = names_read(&names, shm_dir);
    if (removed)
        *removed = 0;
    if (rc != 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < names.count; i++) {
        struct arena a;
        rc = name_set(&a, names.name[i], shm_dir);
        if (rc != 0)
            break;
        count += collect(&a, is_garbage) == 0;
        arena_name_free(&a);
    }
    names_free(&names);
    if (removed)
        *removed = count;
    return rc;
}

static bool is_former(const struct arena *a, const struct arena_look *look)
{
    return look->leftover || (look->rc == 0 && is_spare(a, look));
}

void arena_gc_image(const char *shm_dir, const struct arena_image *image)
{
    struct names names;
    char end[48];
    size_t length =
        (size_t)snprintf(end, sizeof(end), ".%" PRIx64 ".%" PRIx64, image->device, image->inode);
    if (names_read(&names, shm_dir) != 0)
        return;
    for (size_t i = 0; i < names.count; i++) {
        struct arena a;
        const char *name = names.name[i];
        size_t n = strlen(name);
        if (n <= length || strcmp(name + n - length, end) != 0 || name_set(&a, name, shm_dir) != 0)
            continue;
        collect(&a, is_former);
        arena_name_free(&a);
    }
    names_free(&names);
}

int arena_destroy_lost(const char *path, const char *shm_dir, bool force)
{
    struct names names;
    int found = SHMKV_ENOSTORE;
    int rc = names_read(&names, shm_dir);
    for (size_t i = 0; rc == 0 && i < names.count; i++) {
        struct arena a;
        struct arena_look look;
        rc = name_set(&a, names.name[i], shm_dir);
        if (rc != 0)
            break;
        arena_look(&a, false, &look);
        if (is_lost(&look, path))
            rc = found = destroy(&a, force);
        arena_name_free(&a);
    }
    names_free(&names);
    return rc != 0 ? rc : found;
}
