/* SPDX-License-Identifier: MIT */
/*
 * arena_create.c - make the two objects of a store, under the exclusive LOCK_CREATE; see arena.c
 * for the states they pass, and for what a death at each step leaves.
 */
#define _GNU_SOURCE
#include "arena_parts.h"

#include "clock.h"
#include "descriptor.h"
#include "error.h"
#include "point.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

/* Bits with which the sync object is made: whoever may read the store writes there. */
static mode_t sync_mode(mode_t mode)
{
    return mode | ((mode & 0444) >> 1);
}

static mode_t arena_mode(const struct arena_options *opt)
{
    return opt->mode ? opt->mode & 0777u : 0600;
}

/* Make an object that was not there.  Its mode is set afterwards: the umask must not narrow it. */
static int make_object(const struct arena *a, const char *path, mode_t mode, int *fd)
{
    *fd = descriptor_open(path, O_RDWR | O_CREAT | O_EXCL | ARENA_OPEN_FLAGS, 0600);
    if (*fd < 0 && errno == EEXIST)
        return ARENA_AGAIN;
    if (*fd < 0)
        return arena_name_error(a, "making", path);
    if (fchmod(*fd, mode) != 0)
        return arena_name_error(a, "setting the mode of", path);
    return 0;
}

int arena_create_sync(struct arena *a, const struct arena_options *opt)
{
    return make_object(a, a->sync_path, sync_mode(arena_mode(opt)), &a->sync_fd);
}

/* RLIMIT_FSIZE would not only fail the call, but kill us by SIGXFSZ. */
static int extend(const struct arena *a, int fd, const char *path, uint64_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur < bytes)
        return error_set(SHMKV_ENOSPC,
                         "%s: files may not exceed %llu KiB here (ulimit -f), but %s is a sparse "
                         "file of %llu KiB",
                         a->name, (unsigned long long)limit.rlim_cur >> 10, path,
                         (unsigned long long)bytes >> 10);
    if (ftruncate(fd, (off_t)bytes) != 0)
        return arena_name_error(a, "extending", path);
    return 0;
}

/* Choose the geometry by what address range is to be had, and map.  Valgrind says EINVAL for a
 * range that is larger than what it has left. */
static int map_new(struct arena *a, struct superblock *plan, uint64_t size)
{
    uint64_t made_for = max_u64(size, arena_geometry_made_for(plan));
    uint64_t reserve = arena_geometry_reserve(made_for);
    uint64_t least = arena_geometry_reserve_min(made_for);
    void *base = NULL;
    for (;;) {
        base = arena_geometry_map(a->fd, reserve, PROT_READ | PROT_WRITE);
        if (base || (errno != ENOMEM && errno != EINVAL) || reserve <= least)
            break;
        reserve = max_u64(align_up(reserve / 2, HUGE_PAGE_BYTES), least);
    }
    if (!base)
        return arena_geometry_refused(a, reserve);
    munmap(base, reserve);
    arena_geometry_choose(plan, size, reserve);
    if (!arena_geometry_valid(plan))
        return error_set(SHMKV_ENOSPC,
                         "%s: its image has %llu segments of %llu KiB, for which %llu MiB of "
                         "address space are too few; see ulimit -v",
                         a->name, (unsigned long long)plan->segment_count,
                         (unsigned long long)plan->segment_bytes >> 10,
                         (unsigned long long)reserve >> 20);
    return arena_geometry_attach(a, plan);
}

static int take_fixed(const struct arena *a, const struct superblock *plan)
{
    int rc = arena_take(a, 0, (uint64_t)((char *)&a->dead[plan->segment_count] - a->base));
    if (rc == 0 && plan->ghosts != 0)
        rc = arena_take(a, plan->ghosts_offset, plan->ghosts * sizeof(struct ghosts));
    if (rc == 0)
        rc = arena_take_sync(a, 0, SYNC_PROCESS_OFFSET + PAGE_BYTES);
    if (rc == 0)
        rc = arena_take_sync(a, SYNC_PARTICIPANT_OFFSET,
                             ARENA_PARTICIPANTS * sizeof(struct participant_entry));
    return rc;
}

static int random_bytes(const struct arena *a, void *bytes, size_t n)
{
    ssize_t got;
    do {
        got = getrandom(bytes, n, 0); /* up to 256 bytes come whole */
    } while (got < 0 && errno == EINTR);
    return got == (ssize_t)n ? 0 : error_errno(SHMKV_ESYSTEM, "%s: getrandom", a->name);
}

static int plan_store(const struct arena *a, const struct arena_image *image,
                      struct superblock *plan)
{
    store_relaxed(&plan->magic, LAYOUT_MAKING); /* ours alone */
    plan->version = LAYOUT_VERSION;
    plan->clock_real_ms = clock_real_ms();
    plan->clock_boot_ms = clock_boot_ms();
    arena_look_boot_id(plan->boot_id);
    if (image != NULL) {
        memcpy(plan->uuid, image->uuid, sizeof(plan->uuid));
        plan->hash_seed = image->hash_seed;
        return 0; /* ceiling and horizon 0: raised when it has its first table */
    }
    store_relaxed(&plan->ceiling, UINT64_MAX); /* relaxed: nobody else sees it yet */
    store_relaxed(&plan->horizon, UINT64_MAX);
    int rc = random_bytes(a, &plan->hash_seed, sizeof(plan->hash_seed));
    return rc ? rc : random_bytes(a, plan->uuid, sizeof(plan->uuid));
}

/*
 * A death in the middle of a head must not leave what looks like a stranger's file: it says first
 * that it is being made, by one store, and last what it is.  Who judges it after our death sees all
 * that we have stored.  Who looks meanwhile, without LOCK_CREATE, reads it twice if it has to: the
 * fences keep the first word first for him (arena_look.c, read_head()) [A9].
 */
static void write_heads(struct arena *a, const struct superblock *plan)
{
    store_relaxed(&a->sb->magic, LAYOUT_MAKING);
    fence_seq_cst();                    /* [A9] */
    memcpy(a->sb, plan, sizeof(*plan)); /* the state is BUILDING; nobody else looks before READY */
    POINT("attach.filled");
    store_release(&a->sb->magic, LAYOUT_MAGIC);
    POINT("attach.superblock");
    store_relaxed(&a->sync->magic, LAYOUT_MAKING);
    fence_seq_cst(); /* [A9] */
    a->sync->version = plan->version;
    a->sync->features = plan->features;
    memcpy(a->sync->uuid, plan->uuid, sizeof(plan->uuid));
    POINT("attach.sync_filled");
    store_release(&a->sync->magic, LAYOUT_SYNC_MAGIC);
    POINT("attach.sync_header");
}

/* What root makes for somebody's image is that user's, as the image is. */
static int give_to_owner(const struct arena *a, uint32_t owner)
{
    if (geteuid() != 0 || owner == 0)
        return 0;
    if (fchown(a->fd, owner, (gid_t)-1) != 0)
        return arena_name_error(a, "giving its owner", a->path);
    if (fchown(a->sync_fd, owner, (gid_t)-1) != 0)
        return arena_name_error(a, "giving its owner", a->sync_path);
    return 0;
}

static int make_arena(struct arena *a, const struct arena_options *opt)
{
    struct stat st;
    int rc = make_object(a, a->path, arena_mode(opt), &a->fd);
    if (rc != 0) {
        unlink(a->sync_path); /* fresh, and nothing will come of it */
        return rc;
    }
    a->building = true; /* from here on what is under the names is ours to remove */
    POINT("attach.arena_made");
    if (fstat(a->fd, &st) != 0)
        return arena_name_error(a, "looking at", a->path);
    a->device = st.st_dev;
    a->inode = st.st_ino;
    /* Whoever made the sync object may have died before setting its mode.  If it is not ours to
     * set, then root made it, and we could open it because the mode was set. */
    if (fchmod(a->sync_fd, sync_mode(arena_mode(opt))) != 0 && errno != EPERM)
        return arena_name_error(a, "setting the mode of", a->sync_path);
    return opt->image != NULL ? give_to_owner(a, opt->image->owner) : 0;
}

static void plan_image(struct superblock *plan, const struct arena_image *image)
{
    plan->image_device = image->device;
    plan->image_inode = image->inode;
    arena_set_image_path(plan, image->path);
    plan->segment_bytes = image->segment_bytes;
    plan->segment_count = image->segment_count;
}

int arena_create(struct arena *a, const struct arena_options *opt)
{
    struct superblock plan;
    uint64_t size = opt->size;
    memset(&plan, 0, sizeof(plan));
    if (opt->image != NULL)
        plan_image(&plan, opt->image);
    plan.features = opt->cache ? STORE_CACHE : 0;
    int rc = arena_geometry_size(a->name, &size);
    if (rc != 0) {
        unlink(a->sync_path);
        return rc;
    }
    rc = make_arena(a, opt);
    if (rc == 0)
        rc = map_new(a, &plan, size);
    if (rc == 0)
        rc = extend(a, a->sync_fd, a->sync_path, SYNC_BYTES);
    if (rc == 0)
        rc = extend(a, a->fd, a->path, plan.reserve);
    POINT("attach.extended");
    if (rc == 0)
        rc = take_fixed(a, &plan);
    POINT("attach.taken");
    if (rc == 0)
        rc = plan_store(a, opt->image, &plan);
    if (rc != 0)
        return rc;
    hash_init(&a->hash_secret, plan.hash_seed);
    write_heads(a, &plan);
    return 0;
}
