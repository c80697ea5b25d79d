/* SPDX-License-Identifier: MIT */
/*
 * store_image.c - opening a store by the path of its image.
 *
 * Locks on bytes of the image file, before and around those of the arena (arena.c):
 *   LOCK_CREATE    shared while the arena is attached to; exclusive while image or arena are made,
 *                  or the image is loaded.  After locking the name is looked up again.
 *   LOCK_ATTACHED  shared, by each process as long as it has the store open
 *   LOCK_KEEPER    by who writes to the image, durable.h
 *
 *   image        arena             attached to the image?    what happens
 *   -----        -----             ----------------------    ------------
 *   none, blank  -                 -                         made, empty
 *   there        there, usable     any                       attached to
 *   there        missing, half     no                        made, loaded from the image
 *                made, other boot
 *   there        missing ...       yes                       SHMKV_EDEFUNCT: what those processes
 *                                                            wrote since is in their mappings alone
 *   there        out of date       no                        removed and made anew if all of it was
 *                                                            in the image, else SHMKV_EDEFUNCT
 *   there        out of date       yes                       SHMKV_EDEFUNCT
 *   moved or     -                 -                         given a uuid of its own, then loaded
 *   copied
 *
 * An arena is out of date when the image was loaded into another one since: found in another
 * directory of shared memory, of a container, say, or by another machine that shares the disk.  The
 * generation tells, since each loading raises it.  To go on from such an arena would take back what
 * was written, and synced, to the other.                                     test_stale
 *
 * Who opens for reading only, and finds no arena, loads a private one under the shared LOCK_CREATE:
 * the image is not written to, and need not be writable.  It is nobody else's, and never becomes
 * READY, so it goes with its process; after a kill it is a leftover like any other.
 *                                             crash_readonly
 *
 * Who makes an arena has drawn a uuid for it, unless the image has one: what a death leaves is
 * found by device and inode only.  So whoever makes the next one removes all that the image has
 * left, and what it had when another was written over it.                         crash_gone
 *
 * Death: before arena_ready() the arena is a leftover that the next opener removes (arena.c); the
 * image is blank, empty, or holds its last commit.
 *                                             crash_durable
 */
#define _GNU_SOURCE
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "descriptor.h"
#include "error.h"
#include "point.h"
#include "recover.h"
#include "store_parts.h"

#define LOCK_SECONDS 10u
#define POLL_FIRST_NS 100000u
#define POLL_MOST_NS 10000000u
#define AGAIN SHMKV_EBUSY /* not now, try again; inside this file */

/* One opening. */
struct opening {
    struct store *s;
    const char *name;
    const struct shmkv_options *o;
    char path[PATH_MAX];
    struct image_look look;
    bool exclusive;    /* LOCK_CREATE is to be taken so */
    bool alone;        /* the arena is private */
    bool stale;        /* there is one that is out of date */
    void *create_page; /* holds it */
};

static int look(struct opening *op)
{
    int rc = image_look(op->path, &op->look);
    if (rc == 0 && op->look.state != IMAGE_READY && (op->o->flags & SHMKV_CREATE) == 0)
        return error_set(SHMKV_ENOSTORE, "there is no store %s%s; create it first", op->name,
                         op->look.state == IMAGE_BLANK ? " (the file is empty)" : "");
    return rc;
}

/* An empty file, so that there is something to lock. */
static int make_file(const struct opening *op)
{
    mode_t mode = op->o->mode != 0 ? op->o->mode & 0777u : 0600;
    int fd = descriptor_open(op->path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0 && errno == EEXIST)
        return 0;
    if (fd < 0)
        return error_errno(errno == EACCES   ? SHMKV_EACCESS
                           : errno == EROFS  ? SHMKV_EREADONLY
                           : errno == ENOSPC ? SHMKV_ENOSPC
                                             : SHMKV_ESYSTEM,
                           "%s: making the image", op->name);
    int rc =
        fchmod(fd, mode) == 0 ? 0 : error_errno(SHMKV_ESYSTEM, "%s: setting its mode", op->name);
    close(fd);
    return rc;
}

/* Absolute, without symbolic links; the file itself may not be there yet. */
int store_image_path(const char *name, char path[PATH_MAX])
{
    const char *slash = strrchr(name, '/');
    const char *last = slash != NULL ? slash + 1 : name;
    char directory[PATH_MAX] = ".";
    char real[PATH_MAX];
    if (realpath(name, path) != NULL)
        return 0;
    size_t n = slash != NULL ? (size_t)(slash - name) + (slash == name) : 1;
    if (*last == 0 || n >= sizeof(directory))
        return error_set(SHMKV_EINVAL, "%s: is no name of a file", name);
    if (slash != NULL) {
        memcpy(directory, name, n);
        directory[n] = 0;
    }
    if (realpath(directory, real) == NULL)
        return error_errno(errno == EACCES ? SHMKV_EACCESS : SHMKV_ENOSTORE, "directory %s of %s",
                           directory, name);
    const char *join = real[1] != 0 ? "/" : "";
    if (snprintf(path, PATH_MAX, "%s%s%s", real, join, last) >= PATH_MAX)
        return error_set(SHMKV_EINVAL, "%s: the path is too long", name);
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && access(path, F_OK) != 0 && errno == ENOENT)
        return error_set(SHMKV_ENOSTORE,
                         "%s: is a symbolic link to what is not there; remove it, or make that",
                         name);
    return 0;
}

static int lock(struct opening *op)
{
    struct lockpage_file file = {op->path, op->look.device, op->look.inode};
    int rc = lockpage_take(&file, LOCK_CREATE, op->exclusive, &op->create_page);
    POINT("open.locked");
    return rc == SHMKV_EDEFUNCT ? AGAIN : rc;
}

static void unlock(struct opening *op)
{
    lockpage_release(op->create_page);
    op->create_page = NULL;
}

/* Does any process have the image open, with whatever arena? */
static int check_unattached(const struct opening *op)
{
    struct lockpage_file file = {op->path, op->look.device, op->look.inode};
    int fd = lockpage_open(&file);
    if (fd < 0)
        return fd == SHMKV_EDEFUNCT ? AGAIN : fd;
    bool held = lockpage_held(fd, LOCK_ATTACHED);
    close(fd);
    return !held ? 0
                 : error_set(SHMKV_EDEFUNCT,
                             "%s: its shared memory was removed while processes use it; it can be "
                             "opened again when they have closed it (fuser -v %s names them)",
                             op->name, op->path);
}

static int random_bytes(const struct opening *op, void *to, size_t n)
{
    ssize_t got;
    do {
        got = getrandom(to, n, 0);
    } while (got < 0 && errno == EINTR);
    return got == (ssize_t)n ? 0 : error_errno(SHMKV_ESYSTEM, "%s: getrandom", op->name);
}

static int describe(const struct opening *op, struct arena_image *image)
{
    const struct image_geometry *g = &op->look.geometry;
    bool there = op->look.state == IMAGE_READY;
    int rc = 0;
    *image = (struct arena_image){
        .device = op->look.device,
        .inode = op->look.inode,
        .owner = op->look.owner,
        .path = op->path,
    };
    if (there) {
        image->hash_seed = g->hash_seed;
        image->segment_bytes = g->segment_bytes;
        image->segment_count = g->segment_count;
        memcpy(image->uuid, g->uuid, sizeof(image->uuid));
    } else {
        rc = random_bytes(op, &image->hash_seed, sizeof(image->hash_seed));
    }
    if (rc == 0 && (!there || op->look.moved))
        rc = random_bytes(op, image->uuid, sizeof(image->uuid));
    return rc;
}

/* ---- making and loading -------------------------------------------------------------------- */

static int open_image(const struct opening *op, struct image *im)
{
    const struct arena *a = &op->s->arena;
    const struct superblock *sb = a->sb;
    struct image_geometry g = {.hash_seed = sb->hash_seed,
                               .segment_bytes = a->segment_mask + 1,
                               .segment_count = arena_segments(a),
                               .size = load_relaxed(&sb->size)};
    memcpy(g.uuid, sb->uuid, sizeof(g.uuid));
    if (op->look.state != IMAGE_READY)
        return image_create(im, op->path, &g, op->look.mode & 0777u);
    int rc = image_open(im, op->path, op->alone);
    if (rc != 0 || op->alone)
        return rc;
    rc = image_begin(im);
    if (rc == 0 && op->look.moved)
        image_set_uuid(im, sb->uuid);
    if (rc != 0)
        image_close(im);
    return rc;
}

/* A new image that became no store: as empty as it was, so that it may be created again. */
static int blank(struct file *f, int refused)
{
    char why[ERROR_TEXT_BYTES];
    snprintf(why, sizeof(why), "%s", error_text());
    f->table->truncate(f, 0); /* if that fails, too, the file is an image without records */
    return error_set(refused, "%s", why);
}

/* The arena is ours alone: fill it. */
static int load(struct opening *op)
{
    struct store *s = op->s;
    struct participant p;
    struct image im;
    struct recover_result result;
    struct recover_options options = {
        .keys = op->look.state != IMAGE_READY ? op->o->reserve : 0,
    };
    int rc = open_image(op, &im);
    if (rc != 0)
        return rc;
    POINT("open.image");
    uint64_t size = im.head.size; /* as of the last commit: it may have been changed */
    if (op->look.state == IMAGE_READY && size >= ARENA_SIZE_MIN && size <= ARENA_SIZE_MAX)
        store_relaxed(&s->arena.sb->size, size); /* relaxed: nobody else sees it yet */
    store_relaxed(&s->arena.sb->epoch, 1);       /* relaxed, both: as above */
    store_relaxed(&s->arena.sb->interval_ms, im.super.interval_ms);
    rc = epoch_join(&p, &s->arena, s->process.index);
    if (rc == 0) {
        rc = recover_store(&im, &p, &options, &result);
        epoch_leave(&p);
    }
    if (rc == 0) {      /* relaxed: as above */
        if (im.settled) /* else as in durable.c, make() */
            store_relaxed(&s->arena.sync->durable.sequence, im.head.sequence);
        s->recovered = result.records;
        s->recovered_ms = result.ms;
    }
    if (rc != 0 && op->look.state != IMAGE_READY)
        rc = blank(&im.file, rc);
    image_close(&im);
    POINT("open.loaded");
    return rc;
}

/* ---- attaching ----------------------------------------------------------------------------- */

/* Is what is attached the memory into which the image was loaded last? */
static int check_generation(struct opening *op)
{
    const struct arena *a = &op->s->arena;
    op->stale = a->sb->generation != op->look.generation;
    return !op->stale
               ? 0
               : error_set(SHMKV_EDEFUNCT,
                           "%s: its memory here, %s, is out of date: the image was loaded "
                           "elsewhere since (by another --shm-dir, container or machine), or "
                           "replaced; to go on with the image, and lose what was never saved of "
                           "that memory, shmkv destroy shm:%s",
                           op->name, a->path, arena_name_bare(a));
}

static int open_arena(struct opening *op, bool make)
{
    struct arena_image image;
    struct store *s = op->s;
    bool created;
    int rc = describe(op, &image);
    if (rc != 0)
        return rc;
    struct arena_options ao = {
        .create = make,
        .readonly = (op->o->flags & SHMKV_READONLY) != 0,
        .mode = op->look.mode & 0666u,
        .size = op->look.state == IMAGE_READY ? op->look.geometry.size : op->o->size,
        .shm_dir = op->o->shm_dir,
        .image = &image,
    };
    rc = arena_open(&s->arena, op->name, &ao, &created);
    if (rc != 0)
        return rc;
    rc = created ? 0 : check_generation(op);
    if (rc == 0)
        rc = store_join_process(s);
    if (rc == 0) {
        if (created)
            rc = load(op);
        if (rc == 0)
            rc = durable_init(&s->durable, &s->arena, &s->process, op->path);
        if (rc == 0 && created)
            rc = arena_ready(&s->arena);
        if (rc != 0) {
            durable_free(&s->durable);
            process_leave(&s->process);
        }
    }
    if (rc != 0)
        arena_close(&s->arena);
    return rc;
}

/* @refused: what it was called; stays if the arena is needed. */
static int remove_stale(const struct opening *op, int refused)
{
    struct arena_image image;
    int rc = describe(op, &image);
    if (rc == 0)
        rc = arena_remove_settled(op->name, op->o->shm_dir, &image);
    return rc == SHMKV_EINUSE ? refused : rc;
}

/* Make the arena; others that the image had are of no use from now on. */
static int make_anew(struct opening *op)
{
    struct arena_image image = {.device = op->look.device, .inode = op->look.inode};
    arena_gc_image(op->o->shm_dir, &image);
    return open_arena(op, true);
}

/* Under the exclusive lock: nobody attaches meanwhile. */
static int open_alone(struct opening *op)
{
    int rc =
        op->look.moved || op->look.state != IMAGE_READY ? SHMKV_ENOSTORE : open_arena(op, false);
    if (rc != SHMKV_ENOSTORE && rc != SHMKV_EDEFUNCT)
        return rc;
    rc = op->stale ? remove_stale(op, rc) : 0;
    if (rc == 0)
        rc = check_unattached(op);
    return rc != 0 ? rc : make_anew(op);
}

/* An arena of ours, under a name that nobody else forms. */
static int make_private(struct opening *op)
{
    struct arena_image image;
    struct store *s = op->s;
    bool created;
    int rc = describe(op, &image);
    if (rc == 0)
        rc = random_bytes(op, image.uuid, sizeof(image.uuid));
    if (rc != 0)
        return rc;
    image.owner = geteuid();
    struct arena_options ao = {
        .create = true, .size = op->look.geometry.size, .shm_dir = op->o->shm_dir, .image = &image};
    rc = arena_open(&s->arena, op->name, &ao, &created);
    if (rc != 0)
        return rc;
    rc = process_join(&s->process, &s->arena, NULL, NULL);
    if (rc == 0) {
        op->alone = true;
        rc = load(op);
        if (rc != 0)
            process_leave(&s->process);
    }
    if (rc != 0)
        arena_close(&s->arena);
    return rc;
}

/* Under the shared lock: nobody makes an arena meanwhile, and so nobody writes to the image. */
static int open_private(struct opening *op)
{
    struct arena *a = &op->s->arena;
    if ((op->o->flags & SHMKV_LIVE) != 0)
        return error_set(SHMKV_ENOSTORE,
                         "%s: the store is not in memory; open it for writing once, or start "
                         "shmkvd",
                         op->name);
    int rc = check_unattached(op);
    if (rc == 0)
        rc = make_private(op);
    if (rc != 0)
        return rc;
    a->readonly = true;
    mprotect(a->base, a->reserve, PROT_READ); /* a refusal leaves it as safe as the code is */
    return 0;
}

static int open_once(struct opening *op)
{
    op->stale = false;
    int rc = look(op);
    if (rc == 0 && op->look.state == IMAGE_NONE) {
        rc = make_file(op);
        return rc != 0 ? rc : AGAIN;
    }
    if (rc != 0)
        return rc;
    bool readonly = (op->o->flags & SHMKV_READONLY) != 0;
    op->exclusive |= !readonly && (op->look.state != IMAGE_READY || op->look.moved);
    uint64_t device = op->look.device, inode = op->look.inode;
    rc = lock(op);
    if (rc == 0)
        rc = look(op);
    if (rc != 0)
        return rc;
    if (op->look.state == IMAGE_NONE || op->look.device != device || op->look.inode != inode)
        return AGAIN;
    if (op->look.state == IMAGE_READY && (op->o->flags & SHMKV_EXCLUSIVE) != 0)
        return error_set(SHMKV_ESTOREEXISTS, "%s exists already", op->name);
    if (op->exclusive)
        return open_alone(op);
    if (op->look.state != IMAGE_READY || op->look.moved)
        return readonly ? open_private(op) : AGAIN;
    rc = open_arena(op, false);
    if (rc != SHMKV_ENOSTORE && rc != SHMKV_EDEFUNCT)
        return rc;
    if (readonly)
        return open_private(op);
    op->exclusive = true;
    return AGAIN;
}

int store_open_image(struct store *s, const char *name, const struct shmkv_options *o)
{
    struct opening op = {.s = s, .name = name, .o = o};
    uint64_t deadline = clock_mono_ns() + LOCK_SECONDS * 1000000000ull;
    uint64_t pause = POLL_FIRST_NS;
    if ((o->flags & SHMKV_CACHE) != 0) /* what is evicted leaves no tombstone (R18) */
        return error_set(SHMKV_ENOTSUP, "%s: a cache has no image; name it shm:NAME", name);
    int rc = store_image_path(name, op.path);
    if (rc != 0)
        return rc;
    while ((rc = open_once(&op)) == AGAIN) {
        unlock(&op);
        if (clock_mono_ns() > deadline)
            return error_set(SHMKV_ETIMEOUT,
                             "%s: for %u s another process has been opening it, or was stopped "
                             "while it did; fuser -v %s names it",
                             name, LOCK_SECONDS, op.path);
        clock_sleep_ns(pause);
        pause = min_u64(2 * pause, POLL_MOST_NS);
    }
    unlock(&op);
    if (rc == 0 && o->interval_ms != 0)
        s->durable.own_ns =
            o->interval_ms > UINT64_MAX / 1000000u ? UINT64_MAX : o->interval_ms * 1000000u;
    return rc;
}

bool store_is_image(const struct store *s, const char *name)
{
    struct stat st;
    return s->durable.path != NULL && stat(name, &st) == 0 &&
           arena_is_image(s->arena.sb, st.st_dev, st.st_ino);
}
