/* SPDX-License-Identifier: MIT */
/*
 * arena.h - the two shared-memory objects of a store: create, attach, take memory, offsets.
 */
#ifndef SHMKV_ARENA_H
#define SHMKV_ARENA_H

#include "clock.h"
#include "hash.h"
#include "layout.h"

#define ARENA_SIZE_MIN (1ull << 20)
#define ARENA_SIZE_MAX (1ull << 44)

/* A mapping of a store in this process.  Immutable once attached, but for the descriptors. */
struct arena {
    char *base; /* of the arena object */
    struct superblock *sb;
    struct table *tables;
    struct segment *segments;
    dead_bytes *dead; /* one per segment */
    struct sync_header *sync;
    struct wait_word *waits;
    struct process_entry *processes;
    struct participant_entry *participants;
    struct hit_ring *rings; /* of a cache */
    struct ghosts *ghosts;  /* likewise */
    uint64_t log_offset;
    uint64_t log_bytes;    /* of all segments there may be: what an offset may lead into */
    uint64_t log_plain;    /* bytes of it where a record with the longest key, and a value as
                              long as a segment, may begin */
    uint64_t segment_mask; /* segment_bytes - 1 */
    unsigned segment_shift;
    bool readonly;
    bool imaged;              /* there is an image: the superblock's image_inode is not 0 */
    uint32_t tombstone_bytes; /* of a tombstone's value: 0, or a struct record_origin */
    bool cache;               /* STORE_CACHE */
    bool marks;               /* one of the two: what is written gets marks */
    struct hash_secret hash_secret;
    size_t reserve;
    int fd;      /* of the arena object; -1: none.  Never trusted: see arena_take() */
    int sync_fd; /* of the sync object, likewise */
    uint64_t device, inode, sync_device, sync_inode;
    char *name; /* "shm:NAME", or the path of the image as it was opened */
    char *path; /* of the arena object */
    char *sync_path;
    void *attach_page;  /* holds the lock LOCK_ATTACHED, see lockpage.h */
    void *create_page;  /* holds the lock LOCK_CREATE while the store is looked at or made */
    uint64_t fork_word; /* fork_word() of the process to which these two belong */
    int64_t trusted;    /* user id of the image's owner; -1: there is no image */
    bool building;      /* we are making it: until arena_ready() it goes when we go */
};

/* The image that an arena belongs to; its objects are named after these. */
struct arena_image {
    uint8_t uuid[16];
    uint64_t device, inode; /* of the file */
    uint32_t owner;         /* user id: what he owns is trusted, what we make is his */
    const char *path;       /* absolute, without symbolic links */
    uint64_t hash_seed;
    uint64_t segment_bytes; /* 0: to be chosen by the size, as the next */
    uint64_t segment_count;
};

struct arena_options {
    bool create, exclusive, readonly, cache;
    uint32_t mode; /* 0: 0600 */
    uint64_t size; /* 0: half of the machine's memory */
    const char *shm_dir;
    const struct arena_image *image; /* NULL: a volatile store */
};

/*
 * arena_open() - create or attach.  On success a->base etc. are set and, if this call created the
 * store, *@created is true: the superblock's geometry is set, every other word is 0, its state is
 * still STORE_BUILDING and the create lock is held; the caller builds the first table and calls
 * arena_ready().  Attached: the state is STORE_READY and the attached lock is held.
 */
int arena_open(struct arena *a, const char *name, const struct arena_options *opt, bool *created);
/* Publish a created store to others: STORE_READY, attached lock held, create lock given up. */
int arena_ready(struct arena *a);
/* Unmap, give up the locks.  A store left in STORE_BUILDING is unlinked. */
void arena_close(struct arena *a);
/*
 * arena_after_fork() - take an attached lock for a forked child; the parent's is not inherited.
 * After fork_renew() and before the child touches the store; repeated it does nothing.
 * Return: 0, SHMKV_EDEFUNCT (the store was removed meanwhile), SHMKV_ESYSTEM.
 */
int arena_after_fork(struct arena *a);

/*
 * arena_take() - give [@offset, @offset + @bytes) of the arena memory, so that touching it cannot
 * raise SIGBUS.  Idempotent; contents stay.  Looks at MemAvailable and the cgroup's limit first
 * (from time to time: usually it is one system call).
 * Return: 0, SHMKV_ENOSPC (tmpfs, cgroup or machine is full), SHMKV_EDEFUNCT, SHMKV_ECORRUPT (not
 *         inside the arena), SHMKV_ESYSTEM.
 */
int arena_take(const struct arena *a, uint64_t offset, uint64_t bytes);
/*
 * The same for what nobody else uses yet: whole units of 2 MiB become huge pages, where the kernel
 * can.  It may wait for other processors, so no operation on a store in use may call it.
 */
int arena_take_huge(const struct arena *a, uint64_t offset, uint64_t bytes);
/*
 * arena_collapse() - make the 2 MiB at @offset, a multiple of that, a huge page.  What has no
 * memory there has some afterwards, so the caller sees to it that nothing is given back meanwhile
 * (collapse.h).  It may wait for other processors, as above.
 * The memory counts as ours from then on, where cgroups count it.
 * Return: 0, SHMKV_EBUSY (not this one, or another time), SHMKV_ENOSPC (none for now; both without
 *         a text), SHMKV_ECORRUPT, SHMKV_EDEFUNCT as arena_take().
 */
int arena_collapse(const struct arena *a, uint64_t offset);
/* Is there memory to spare for it?  Some twenty system calls. */
bool arena_collapses(void);
/*
 * The same as arena_take() for what makes a store grow: memory of some segments and of a table is
 * left for removals and the cleaner, so that a store can be emptied though it was not its own limit
 * that ended its growth.
 */
int arena_take_value(const struct arena *a, uint64_t offset, uint64_t bytes);
/* Both: huge pages, for what will make it grow. */
int arena_take_ahead(const struct arena *a, uint64_t offset, uint64_t bytes);
/* The same in the sync object. */
int arena_take_sync(const struct arena *a, uint64_t offset, uint64_t bytes);
/* May the process take so much memory of its own?  SHMKV_ENOSPC says whose limit is in the way. */
int arena_admit(const struct arena *a, uint64_t bytes);
/*
 * arena_preload() - map what has memory now, so that touching it is no fault; holes, which even
 * reading would fill, stay holes.  Best effort.
 */
void arena_preload(const struct arena *a);
/*
 * Give the memory back; the range reads as zero afterwards (and no page of it stays mapped).
 * Return: 0; SHMKV_EBUSY: it has memory still, for it is part of a huge page that others are just
 *         touching; SHMKV_ECORRUPT, SHMKV_EDEFUNCT as arena_take(), SHMKV_ESYSTEM.
 */
int arena_release(const struct arena *a, uint64_t offset, uint64_t bytes);
/* True if the object that @a maps is still the one under its name. */
bool arena_current(const struct arena *a);
/*
 * True if it has no name at all any more: somebody removed it by hand.  Its path would not do for
 * that, since this process may have another root directory by now; so one whose descriptors were
 * closed cannot tell.
 */
bool arena_unlinked(const struct arena *a);
/* True if it is also what an open with this @shm_dir would find: directories have many names. */
bool arena_found_in(const struct arena *a, const char *shm_dir);
/* Bytes that the file system counts for both objects. */
uint64_t arena_allocated(const struct arena *a);

int arena_destroy(const char *name, const char *shm_dir, bool force);
/* The same for the arena of an image, named @name in messages. */
int arena_destroy_image(const char *name, const char *shm_dir, const struct arena_image *image,
                        bool force);
/*
 * The same for one that is out of date, if nobody uses it and all of it was in the image.
 * SHMKV_EINUSE, without a text: not so; SHMKV_EBUSY, without a text: not now.
 */
int arena_remove_settled(const char *name, const char *shm_dir, const struct arena_image *image);
/*
 * Remove what else the image has left: memory that was never finished, or that it had under another
 * uuid and all of which was in it.  Nobody makes an arena for it meanwhile.  Best effort.
 */
void arena_gc_image(const char *shm_dir, const struct arena_image *image);
/* What "shm:" may be put before to name the two objects alone, not the image they belong to. */
const char *arena_name_bare(const struct arena *a);
/* Note where the image of a store is, so that others can tell whether it is still there. */
void arena_set_image_path(struct superblock *sb, const char *path);
/*
 * Stands for all that was ever written to the log: while it is the same, nothing was added.  Taken
 * before a look that finds all of that in the image, it goes to durable.settled.  Never 0.
 */
uint64_t arena_log_mark(const struct arena *a);
/* Remove the memory that images left which stood under @path and are there no more. */
int arena_destroy_lost(const char *path, const char *shm_dir, bool force);
struct shmkv_store_info;
int arena_list(const char *shm_dir, int (*fn)(void *, const struct shmkv_store_info *), void *arg);
int arena_gc(const char *shm_dir, size_t *removed);

/* Memory in use by what is neither index nor log. */
uint64_t arena_fixed_bytes(const struct arena *a);

/* The store's clock: ms since 1970, unmoved by steps of the wall clock. */
static inline uint64_t arena_clock(const struct arena *a)
{
    return a->sb->clock_real_ms + (clock_boot_ms() - a->sb->clock_boot_ms);
}

/* ---- offsets ------------------------------------------------------------------------------- */

static inline void *arena_at(const struct arena *a, uint64_t offset)
{
    return a->base + offset;
}

/* Is that file the store's image, and not one that has got its name since? */
static inline bool arena_is_image(const struct superblock *sb, uint64_t device, uint64_t inode)
{
    return device == sb->image_device && inode == sb->image_inode;
}

/* How many segments there are, of the geometry that was checked when it was mapped: what the
 * superblock says may have been written over since (R3). */
static inline uint64_t arena_segments(const struct arena *a)
{
    return a->log_bytes >> a->segment_shift;
}

static inline uint64_t arena_segment_of(const struct arena *a, uint64_t offset)
{
    return (offset - a->log_offset) >> a->segment_shift;
}

static inline uint64_t arena_segment_start(const struct arena *a, uint64_t id)
{
    return a->log_offset + (id << a->segment_shift);
}

#endif
