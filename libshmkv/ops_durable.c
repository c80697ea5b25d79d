/* SPDX-License-Identifier: MIT */
/* ops_durable.c - the public calls that concern images; a volatile store has none. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "error.h"
#include "ops.h"
#include "point.h"
#include "verify_image.h"

int ops_check_image(const struct store *s)
{
    if (s->arena.imaged)
        return 0;
    return error_set(SHMKV_ENOTSUP,
                     "%s: a volatile store has no image; what is to survive a power "
                     "loss belongs in a store that is named by a path",
                     s->arena.name);
}

int ops_sync(struct context *c, int64_t timeout_ms)
{
    struct store *s = c->store;
    struct writer *w = &c->writer;
    if (load_relaxed(&w->self.entry->reading) != 0) /* own word */
        return error_set(SHMKV_EINVAL, "%s: sync inside the caller's own read section",
                         s->arena.name);
    if (w->busy)
        return error_set(SHMKV_EBUSY,
                         "%s: sync was called by a signal handler that interrupted a write",
                         s->arena.name);
    w->busy = true;
    barrier_compiler(); /* as in ops.c, guarded_change() [B1] */
    int rc = durable_sync(&s->durable, &w->self, timeout_ms);
    barrier_compiler(); /* [B1] */
    w->busy = false;
    return rc;
}

/* What every call here needs: a context that may write, and an image. */
static int context_of(struct shmkv *db, struct context **c)
{
    int rc = store_context(db, c);
    if (rc == 0)
        rc = ops_check_image((*c)->store);
    return rc != 0 ? rc : store_check_writable(*c);
}

int shmkv_sync(struct shmkv *db, int64_t timeout_ms)
{
    struct context *c;
    int rc = context_of(db, &c);
    return rc != 0 ? rc : ops_sync(c, timeout_ms);
}

int shmkv_checkpoint(struct shmkv *db)
{
    struct context *c;
    int rc = context_of(db, &c);
    if (rc == 0)
        rc = ops_sync(c, -1);
    if (rc == 0)
        durable_raise_horizon(&c->store->durable, &c->writer.self);
    return rc;
}

/* ---- a new image --------------------------------------------------------------------------- */

/* May an image get this name? */
static int check_new(const char *path)
{
    if (strncmp(path, "shm:", 4) == 0)
        return error_set(SHMKV_EINVAL, "%s: what is to be made is a file: give its path", path);
    if (access(path, F_OK) == 0)
        return error_set(SHMKV_ESTOREEXISTS, "%s: exists; name a file that does not", path);
    return 0;
}

/*
 * An empty file beside @path, under a name that nobody has; NULL and an error if there is none.  An
 * image is written there until it is whole: a death leaves none that opens and lacks everything.
 */
static char *make_partial(const char *path, int *rc)
{
    char *partial;
    *rc = check_new(path);
    if (*rc != 0)
        return NULL;
    if (asprintf(&partial, "%s.XXXXXX", path) < 0) {
        *rc = error_set(SHMKV_ESYSTEM, "%s: no memory", path);
        return NULL;
    }
    int fd = mkostemp(partial, O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        return partial;
    }
    *rc = error_errno(errno == EACCES   ? SHMKV_EACCESS
                      : errno == EROFS  ? SHMKV_EREADONLY
                      : errno == ENOENT ? SHMKV_ENOSTORE
                      : errno == ENOSPC ? SHMKV_ENOSPC
                                        : SHMKV_ESYSTEM,
                      "%s: making a file beside it", path);
    free(partial);
    return NULL;
}

/* The directory, by the file of an image that has its last name. */
static int sync_name(const char *path)
{
    struct file f;
    int rc = file_open(&f, path, FILE_READONLY, 0);
    if (rc != 0)
        return rc;
    rc = f.table->barrier_name(&f);
    file_close(&f);
    return rc;
}

/* 0, or -1 with EEXIST if another has it.  ZFS, say, had no such renaming until 2.2; two names for
 * a moment do no harm, and if we die there the first is a leftover like any other. */
static int give_name(const char *partial, const char *path)
{
    if (renameat2(AT_FDCWD, partial, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    if ((errno != EINVAL && errno != ENOSYS) || link(partial, path) != 0)
        return -1;
    unlink(partial);
    return 0;
}

/* It gets its name if @rc is 0, and keeps it if that is durable, else it is removed; frees
 * @partial. */
static int end_partial(char *partial, const char *path, int rc)
{
    const char *name = partial;
    if (rc == 0 && give_name(partial, path) != 0) {
        rc = error_errno(errno == EEXIST ? SHMKV_ESTOREEXISTS : SHMKV_ESYSTEM, "%s: naming it",
                         path);
    } else if (rc == 0) {
        name = path;
        rc = sync_name(path);
    }
    if (rc != 0)
        unlink(name);
    free(partial);
    return rc;
}

/* ---- backup -------------------------------------------------------------------------------- */

/* Every record that the image lists is whole: what an opening would find. */
static int verify_copy(const char *path)
{
    struct image_sink sink = {.findings = 0};
    int rc = verify_image(path, &sink);
    return rc != SHMKV_ECORRUPT ? rc
                                : error_set(rc, "%s: was not read back as it was written", path);
}

static int write_copy(struct context *c, const char *path)
{
    const struct arena *a = &c->store->arena;
    const struct superblock *sb = a->sb;
    struct image im;
    uint64_t epoch;
    struct image_geometry g = {.hash_seed = sb->hash_seed,
                               .segment_bytes = a->segment_mask + 1,
                               .segment_count = arena_segments(a),
                               .size = load_relaxed(&sb->size)};
    if (getrandom(g.uuid, sizeof(g.uuid), 0) != (ssize_t)sizeof(g.uuid))
        return error_errno(SHMKV_ESYSTEM, "%s: getrandom", path);
    int rc = image_create(&im, path, &g, 0);
    if (rc != 0)
        return rc;
    image_set_generation(&im, sb->generation);
    rc = checkpoint_make(&im, &c->writer.self, IMAGE_CLEAN, &epoch);
    image_close(&im);
    return rc != 0 ? rc : verify_copy(path);
}

static int backup(struct context *c, const char *path)
{
    int rc;
    char *partial = make_partial(path, &rc);
    if (partial == NULL)
        return rc;
    rc = write_copy(c, partial);
    POINT("backup.written");
    return end_partial(partial, path, rc);
}

int shmkv_backup(struct shmkv *db, const char *path)
{
    struct context *c;
    if (path == NULL)
        return error_set(SHMKV_EINVAL, "backup: the path is NULL");
    int rc = context_of(db, &c);
    if (rc == 0 && load_relaxed(&c->writer.self.entry->reading) != 0) /* own word */
        rc = error_set(SHMKV_EINVAL, "backup: inside the caller's own read section");
    return rc != 0 ? rc : backup(c, path);
}

/* ---- images that are not open -------------------------------------------------------------- */

static int check_path(const char *path)
{
    if (path == NULL)
        return error_set(SHMKV_EINVAL, "the path of the image is NULL");
    if (strncmp(path, "shm:", 4) == 0)
        return error_set(SHMKV_EINVAL, "%s: a volatile store has no image", path);
    return 0;
}

int shmkv_check_image(const char *path, void (*report)(void *arg, const char *line), void *arg)
{
    struct image_sink sink = {.report = report, .arg = arg};
    int rc = check_path(path);
    return rc != 0 ? rc : verify_image(path, &sink);
}

int shmkv_repair(const char *path, const char *out, void (*report)(void *arg, const char *line),
                 void *arg)
{
    struct image_sink sink = {.report = report, .arg = arg};
    if (out == NULL)
        return error_set(SHMKV_EINVAL, "repair: no output is named");
    int rc = check_path(path);
    char *partial = rc == 0 ? make_partial(out, &rc) : NULL;
    if (partial == NULL)
        return rc;
    rc = verify_image_repair(path, partial, &sink);
    POINT("repair.written");
    return end_partial(partial, out, rc);
}
