/* SPDX-License-Identifier: MIT */
/* ops_durable.c - the public calls that concern images; a volatile store has none. */
#include <string.h>

#include "error.h"
#include "ops.h"
#include "verify_image.h"

static int refuse_volatile(struct shmkv *db)
{
    struct context *c;
    int rc = store_context(db, &c);
    if (rc != 0)
        return rc;
    return error_set(SHMKV_ENOTSUP,
                     "%s: a volatile store has no image; what is to survive a power "
                     "loss belongs in a store that is named by a path",
                     c->store->arena.name);
}

int shmkv_sync(struct shmkv *db, int64_t timeout_ms)
{
    (void)timeout_ms;
    return refuse_volatile(db);
}

int shmkv_checkpoint(struct shmkv *db)
{
    return refuse_volatile(db);
}

int shmkv_backup(struct shmkv *db, const char *path)
{
    return path != NULL ? refuse_volatile(db) : error_set(SHMKV_EINVAL, "backup: the path is NULL");
}

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
    int rc = out != NULL ? check_path(path) : error_set(SHMKV_EINVAL, "repair: no output is named");
    return rc != 0 ? rc : verify_image_repair(path, out, &sink);
}
