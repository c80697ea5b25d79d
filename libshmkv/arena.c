/* SPDX-License-Identifier: MIT */
/*
 * arena.c - make a store's two objects, or attach to them.
 *
 * Names.  In the directory of shared memory, shmkv.NAME is the arena and shmkv.NAME.sync the sync
 * object; for a store with an image NAME is UUID.DEVICE.INODE of that, see store_image.c for what
 * comes before.
 *
 * Locks.  Two bytes of the sync object, each held by a mapping (lockpage.h), so that they are free
 * as soon as their holder is dead, and polled for at most ten seconds, so that a stopped holder is
 * named and not waited for:
 *   LOCK_CREATE    exclusive while the pair is made, made anew or removed; shared while it is
 *                  looked at and mapped.  After locking the name is looked up again: the sync
 *                  object may have been removed meanwhile, and its lock then guards nothing.
 *   LOCK_ATTACHED  shared, by each process for as long as it has the store open.
 * Both objects are made, replaced and removed only under LOCK_CREATE.  The sync object is made
 * first and removed last.
 *
 * States of a pair, all changes under the exclusive LOCK_CREATE:
 *
 *   nothing -> sync object, empty -> arena, blank -> superblock BUILDING -> sync header
 *      ^              ^                                                         |
 *      |              '--------- "fresh": may be used by any creator            v
 *      |                                                   table made (store.c), attached
 *      |  (sync object unlinked)                                                |
 *      '------------ arena unlinked <------- DEFUNCT <-------- READY  <---------'
 *
 * A head that is being written says so by its first word, LAYOUT_MAKING, and counts as blank: what
 * a death leaves in the middle of it is no stranger's file (write_heads in arena_create.c).
 *
 * Death.  At any step before READY the pair is a leftover: LOCK_CREATE is free and nobody holds
 * LOCK_ATTACHED.  Whoever opens the store next with `create` takes the lock exclusively, sees that
 * (arena_look.c has the table), removes what is there and starts from nothing; nothing half-made is
 * ever repaired.  shmkv_gc() removes it likewise.  A remover that dies leaves DEFUNCT or a lone
 * sync object, treated the same.  Every step is a POINT(), and crash_attach kills at each.
 *
 * A pair that somebody removes by hand, as RemoveIPC does, becomes DEFUNCT too, once a keeper sees
 * it: those attached write where newcomers do not look, and shall be told.  With an image they may
 * go on, as all that they write gets there, and newcomers are sent away until they have left.
 *
 * INV-A1  Who maps a pair has seen it READY under the shared LOCK_CREATE and took LOCK_ATTACHED
 *         before giving LOCK_CREATE up: nobody removed it in between.   test_arena: two_hundred
 * INV-A2  At no time are there two pairs that both are READY and under the name.  crash_overtake
 * INV-A3  An object that is not ours is never changed.            test_arena_state: squatted
 *
 * The state word: the creator stores READY (release) after everything else; attachers have seen it
 * through the lock, which is a system call on both sides, and load it once more (acquire).
 */
#define _GNU_SOURCE
#include "arena_parts.h"

#include "clock.h"
#include "descriptor.h"
#include "error.h"
#include "fork.h"
#include "point.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define POLL_FIRST_NS 100000u
#define POLL_MOST_NS 10000000u

/* ---- the sync object and its locks --------------------------------------------------------- */

/* A sync object that root has just made may not have its mode yet. */
static int sync_denied(const struct arena *a, const struct arena_look *look)
{
    struct stat st;
    if (stat(a->sync_path, &st) == 0 && st.st_size == 0 && st.st_uid == 0)
        return ARENA_AGAIN;
    if (look->rc == SHMKV_EACCESS)
        return look->rc;
    if (eaccess(a->sync_path, R_OK) != 0)
        return arena_name_denied(a, a->sync_path);
    return error_set(SHMKV_EACCESS,
                     "%s: you (uid %u) may not write %s (owner uid %u, mode %04o); readers need "
                     "that too, so the store must be created with a mode that lets you read",
                     a->name, geteuid(), a->sync_path, st.st_uid, st.st_mode & 07777u);
}

static int open_sync(struct arena *a, const struct arena_options *opt,
                     const struct arena_look *look)
{
    struct stat st;
    a->sync_fd = descriptor_open(a->sync_path, O_RDWR | ARENA_OPEN_FLAGS, 0);
    if (a->sync_fd < 0 && errno == ENOENT && opt->create) {
        int rc = arena_create_sync(a, opt);
        if (rc != 0)
            return rc;
        POINT("attach.sync_made");
    }
    if (a->sync_fd < 0 && errno == EACCES)
        return sync_denied(a, look);
    if (a->sync_fd < 0 && errno == ENOENT)
        return ARENA_AGAIN;
    if (a->sync_fd < 0 || fstat(a->sync_fd, &st) != 0)
        return arena_name_error(a, "opening", a->sync_path);
    a->sync_device = st.st_dev;
    a->sync_inode = st.st_ino;
    return 0;
}

static int lock_create(struct arena *a, bool exclusive)
{
    struct lockpage_file file = arena_name_sync(a);
    int rc = lockpage_take(&file, LOCK_CREATE, exclusive, &a->create_page);
    return rc == SHMKV_EDEFUNCT ? ARENA_AGAIN : rc; /* replaced or removed since we opened it */
}

static int lock_attached(struct arena *a)
{
    struct lockpage_file file = arena_name_sync(a);
    int rc = lockpage_take(&file, LOCK_ATTACHED, false, &a->attach_page);
    if (rc == SHMKV_EBUSY)
        return error_set(SHMKV_ESYSTEM, "%s: another program locks %s", a->name, a->sync_path);
    return rc;
}

/* ---- attach -------------------------------------------------------------------------------- */

static int open_arena(struct arena *a, const struct arena_look *look)
{
    struct stat st;
    a->fd = descriptor_open(a->path, (a->readonly ? O_RDONLY : O_RDWR) | ARENA_OPEN_FLAGS, 0);
    if (a->fd < 0 && errno == EACCES && !a->readonly && eaccess(a->path, R_OK) == 0)
        return error_set(SHMKV_EACCESS,
                         "%s: you (uid %u) may read %s but not write it (owner uid %u, mode %04o); "
                         "open it for reading only",
                         a->name, geteuid(), a->path, look->arena.st_uid,
                         look->arena.st_mode & 07777u);
    if (a->fd < 0)
        return errno == ENOENT ? ARENA_AGAIN : arena_name_error(a, "opening", a->path);
    if (fstat(a->fd, &st) != 0)
        return arena_name_error(a, "looking at", a->path);
    a->device = st.st_dev;
    a->inode = st.st_ino;
    return st.st_dev == look->arena.st_dev && st.st_ino == look->arena.st_ino ? 0 : ARENA_AGAIN;
}

static int attach(struct arena *a, const struct arena_look *look)
{
    int rc = open_arena(a, look);
    if (rc == 0)
        rc = arena_geometry_attach(a, &look->sb);
    if (rc != 0)
        return rc;
    POINT("attach.mapped");
    rc = lock_attached(a);
    if (rc != 0)
        return rc == SHMKV_EDEFUNCT ? ARENA_AGAIN : rc;
    POINT("attach.attached");
    /* Acquire: pairs with arena_ready() [A1].  Both hold unless somebody used rm. */
    if (load_acquire(&a->sb->state) != STORE_READY || !arena_current(a))
        return ARENA_AGAIN;
    lockpage_release(a->create_page);
    a->create_page = NULL;
    POINT("attach.unlocked");
    return 0;
}

/* ---- open ---------------------------------------------------------------------------------- */

static bool ours(const struct arena *a)
{
    return a->fork_word == fork_word();
}

static void close_fd(int fd, uint64_t device, uint64_t inode)
{
    struct stat st;
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == device && st.st_ino == inode)
        close(fd);
}

/* Back to names only.  A child that inherited us has the mappings, but not the lock pages. */
static void detach(struct arena *a)
{
    if (a->building && ours(a))
        arena_look_remove(a);
    if (a->base)
        munmap(a->base, a->reserve);
    if (a->sync)
        munmap(a->sync, SYNC_BYTES);
    close_fd(a->fd, a->device, a->inode);
    close_fd(a->sync_fd, a->sync_device, a->sync_inode);
    if (ours(a)) {
        lockpage_release(a->attach_page);
        lockpage_release(a->create_page);
    }
    a->base = NULL;
    a->sync = NULL;
    a->attach_page = a->create_page = NULL;
    a->fd = a->sync_fd = -1;
    a->building = false;
}

/* Nothing to attach to.  Under the exclusive lock make it, or clear the way for the next try. */
static int create_or_clear(struct arena *a, const struct arena_options *opt,
                           const struct arena_look *look, bool exclusive)
{
    if (!opt->create || !look->leftover)
        return look->rc;
    if (!exclusive)
        return ARENA_AGAIN;
    if (look->fresh)
        return arena_create(a, opt);
    int rc = arena_look_remove(a);
    return rc ? rc : ARENA_AGAIN;
}

/* One try.  The unlocked look only chooses the kind of lock. */
static int open_once(struct arena *a, const struct arena_options *opt, bool *created)
{
    struct arena_look look;
    arena_look(a, opt->create, &look);
    bool exclusive = opt->create && look.rc != 0;
    if (!look.sync_there && !(opt->create && (look.leftover || !look.arena_there)))
        return look.rc ? look.rc : ARENA_AGAIN;
    int rc = open_sync(a, opt, &look);
    if (rc == 0)
        rc = lock_create(a, exclusive);
    if (rc != 0)
        return rc;
    POINT("attach.locked");
    arena_look(a, opt->create, &look);
    if (look.rc != 0) {
        rc = create_or_clear(a, opt, &look, exclusive);
        *created = rc == 0;
        return rc;
    }
    if (opt->exclusive)
        return error_set(SHMKV_ESTOREEXISTS, "%s exists already (%s)", a->name, a->path);
    return attach(a, &look);
}

static int timed_out(const struct arena *a)
{
    return error_set(SHMKV_ETIMEOUT,
                     "%s: for %u s another process has been creating, opening or removing this "
                     "store, or was stopped while it did; fuser -v %s names those that have it "
                     "open",
                     a->name, ARENA_LOCK_SECONDS, a->sync_path);
}

int arena_open(struct arena *a, const char *name, const struct arena_options *opt, bool *created)
{
    uint64_t deadline = clock_mono_ns() + ARENA_LOCK_SECONDS * 1000000000ull;
    uint64_t pause = POLL_FIRST_NS;
    *created = false;
    int rc = fork_renew();
    if (rc == 0 && opt->create && opt->readonly)
        rc = error_set(SHMKV_EINVAL, "%s: a store cannot be created for reading only", name);
    if (rc == 0)
        rc = opt->image != NULL ? arena_name_set_image(a, name, opt->shm_dir, opt->image)
                                : arena_name_set(a, name, opt->shm_dir);
    if (rc != 0)
        return rc;
    a->readonly = opt->readonly;
    a->fork_word = fork_word();
    while ((rc = open_once(a, opt, created)) == ARENA_AGAIN) {
        detach(a);
        if (clock_mono_ns() > deadline) {
            rc = timed_out(a);
            break;
        }
        clock_sleep_ns(pause);
        pause = min_u64(2 * pause, POLL_MOST_NS);
    }
    if (rc != 0)
        arena_close(a);
    return rc;
}

int arena_ready(struct arena *a)
{
    int rc = lock_attached(a);
    if (rc != 0)
        return rc;
    POINT("attach.held");
    /* Release: everything in the arena was written before [A1]. */
    store_release(&a->sb->state, STORE_READY);
    a->building = false;
    POINT("attach.ready");
    lockpage_release(a->create_page);
    a->create_page = NULL;
    return 0;
}

void arena_close(struct arena *a)
{
    if (!a->path)
        return;
    detach(a);
    arena_name_free(a);
}

int arena_after_fork(struct arena *a)
{
    if (ours(a) && a->attach_page)
        return 0;
    a->attach_page = a->create_page = NULL; /* not mapped here */
    a->building = false;
    a->fork_word = fork_word();
    return lock_attached(a);
}
