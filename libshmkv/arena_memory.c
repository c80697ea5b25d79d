/* SPDX-License-Identifier: MIT */
/*
 * arena_memory.c - take memory for parts of the two objects before they are touched, and give it
 * back.
 *
 * A store into a page that tmpfs cannot supply is SIGBUS; so each page is supplied by a call that
 * can fail instead: MADV_POPULATE_WRITE on our mapping (Linux 5.14; no descriptor needed, and the
 * pages are mapped into this process at once), else fallocate(2).  Pages once taken stay until
 * released, whoever took them, so a taker that dies in the middle leaves memory that is in use but
 * not counted by the store; taking the range again finds it there.
 *
 * Memory is given back by MADV_REMOVE, or where that does nothing (qemu-user only pretends it,
 * other kernels in user space refuse it, and Linux where a program has called mlockall(2)) by
 * fallocate(2) again: an index area that is used anew must read as zero.  A part of a huge page
 * goes only if the kernel can split that, which it cannot while somebody waits in a page fault for
 * it; then the part is zeroed, and stays, and the kernel says nothing.  mincore(2) tells.
 *
 * The descriptors are used for fallocate and fstat only (what has memory is asked of another one),
 * and are not trusted: closefrom(3) in the program may have closed them, and their numbers may now
 * be somebody else's files.
 */
#define _GNU_SOURCE
#include "arena_parts.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* As many as the cleaner and tombstones keep of a store's own limit, and room for quarters. */
#define KEPT_SEGMENTS 8ull

/*
 * A range of one of the two objects, in whole pages of the kernel: where these are larger than
 * 4 KiB more is taken than was asked for, or some of it again.  What is released begins on 64 KiB
 * boundaries.
 */
struct range {
    char *base;
    uint64_t offset, bytes;
    int fd;
    const char *path;
    uint64_t device, inode;
};

static struct range range_of(const struct arena *a, bool sync, uint64_t offset, uint64_t bytes)
{
    uint64_t page = (uint64_t)getpagesize(); /* PAGE_BYTES, or up to 64 KiB on aarch64 */
    uint64_t start = offset & ~(page - 1);
    uint64_t length = align_up(offset + bytes, page) - start;
    if (sync)
        return (struct range){(char *)a->sync, start,          length,       a->sync_fd,
                              a->sync_path,    a->sync_device, a->sync_inode};
    return (struct range){a->base, start, length, a->fd, a->path, a->device, a->inode};
}

static int populate_pages(char *from, uint64_t bytes)
{
    int rc;
    do {
        rc = madvise(from, bytes, MADV_POPULATE_WRITE);
    } while (rc != 0 && (errno == EINTR || errno == EAGAIN));
    return rc;
}

/* @huge: whole units as huge pages, if the kernel has any. */
static int populate(const struct range *r, bool huge)
{
    if (!huge)
        return populate_pages(r->base + r->offset, r->bytes);
    uint64_t end = r->offset + r->bytes;
    int rc = 0;
    for (uint64_t at = r->offset, n; rc == 0 && at < end; at += n) {
        n = min_u64(end, align_up(at + 1, HUGE_PAGE_BYTES)) - at;
        if (n == HUGE_PAGE_BYTES)
            arena_huge_prepare(r->base + at);
        rc = populate_pages(r->base + at, n);
    }
    return rc;
}

/* The system call itself: the C library's posix_fallocate() would emulate it by writing. */
static int allocate(const struct range *r, int mode)
{
    int fd = arena_name_fd(r->fd, r->path, r->device, r->inode);
    int rc;
    if (fd < 0) {
        errno = ESTALE;
        return -1;
    }
    do {
        rc = fallocate(fd, mode, (off_t)r->offset, (off_t)r->bytes);
    } while (rc != 0 && errno == EINTR);
    if (fd != r->fd) {
        int saved = errno;
        close(fd);
        errno = saved;
    }
    return rc;
}

/* tmpfs had no page for us: is it the tmpfs, or was the object cut short? */
static int explain_fault(const struct arena *a, const struct range *r)
{
    struct stat st;
    int fd = arena_name_fd(r->fd, r->path, r->device, r->inode);
    bool cut = fd >= 0 && fstat(fd, &st) == 0 && (uint64_t)st.st_size < r->offset + r->bytes;

    if (fd >= 0 && fd != r->fd)
        close(fd);
    if (cut)
        return error_set(SHMKV_EDEFUNCT,
                         "%s: %s was cut short; close the store, remove it and "
                         "create it anew",
                         a->name, r->path);
    return arena_name_full(a, r->path);
}

static int explain(const struct arena *a, const struct range *r)
{
    switch (errno) {
    case EFAULT: /* populate: the page fault would have been a SIGBUS */
    case ENOSPC: /* fallocate */
        return explain_fault(a, r);
    case ENOMEM:
        return error_set(SHMKV_ENOSPC,
                         "%s: the kernel refuses memory; is a cgroup's limit reached?", a->name);
    case ESTALE:
        return error_set(SHMKV_EDEFUNCT,
                         "%s: %s was removed, it cannot grow; close the store and open it again",
                         a->name, r->path);
    default:
        return error_errno(SHMKV_ESYSTEM, "%s: taking %llu bytes of memory", a->name,
                           (unsigned long long)r->bytes);
    }
}

static int take(const struct arena *a, const struct range *r, uint64_t keep, bool huge)
{
    int rc = arena_limits_admit(a, r->bytes, keep);
    if (rc != 0)
        return rc;
    if (populate(r, huge) == 0 || (errno == EINVAL && allocate(r, 0) == 0))
        return 0;
    return explain(a, r);
}

static int check_range(const struct arena *a, uint64_t offset, uint64_t bytes, uint64_t end)
{
    if (offset > end || bytes > end - offset)
        return error_set(SHMKV_ECORRUPT,
                         "%s is damaged: %llu bytes from %llu on are not inside of it", a->name,
                         (unsigned long long)bytes, (unsigned long long)offset);
    /* A hint; who misses it finds out later.  Offset 0 is being created: reading a superblock that
     * has no page yet would be a fault, and on a full tmpfs a SIGBUS. */
    if (offset > 0 && load_relaxed(&a->sb->state) == STORE_DEFUNCT)
        return error_set(SHMKV_EDEFUNCT, "%s was removed; close it and open it again", a->name);
    return 0;
}

static int take_log(const struct arena *a, uint64_t offset, uint64_t bytes, uint64_t keep,
                    bool huge)
{
    struct range r = range_of(a, false, offset, bytes);
    int rc = check_range(a, offset, bytes, a->reserve);
    if (rc == 0 && a->readonly)
        return error_set(SHMKV_EREADONLY, "%s is open for reading only", a->name);
    return rc ? rc : take(a, &r, keep, huge);
}

int arena_take(const struct arena *a, uint64_t offset, uint64_t bytes)
{
    return take_log(a, offset, bytes, 0, false);
}

int arena_take_huge(const struct arena *a, uint64_t offset, uint64_t bytes)
{
    return take_log(a, offset, bytes, 0, true);
}

bool arena_collapses(void)
{
    return arena_limits_spare(HUGE_PAGE_BYTES); /* copy and original are there at the same time */
}

int arena_collapse(const struct arena *a, uint64_t offset)
{
    int rc = check_range(a, offset, HUGE_PAGE_BYTES, a->reserve);
    return rc ? rc : arena_huge_prepare(a->base + offset);
}

/*
 * Left for removals: segments for tombstones and the cleaner, and a table as large as the largest
 * there is, without which a store whose keys were all deleted could not forget their tombstones.
 */
static uint64_t kept_bytes(const struct arena *a)
{
    uint64_t table = 0;
    for (unsigned i = 0; i < TABLE_AREAS; i++)
        table = max_u64(table, load_relaxed(&a->tables[i].taken)); /* policy only */
    return (KEPT_SEGMENTS << a->segment_shift) + table;
}

int arena_take_value(const struct arena *a, uint64_t offset, uint64_t bytes)
{
    return take_log(a, offset, bytes, kept_bytes(a), false);
}

int arena_take_ahead(const struct arena *a, uint64_t offset, uint64_t bytes)
{
    return take_log(a, offset, bytes, kept_bytes(a), true);
}

int arena_admit(const struct arena *a, uint64_t bytes)
{
    return arena_limits_admit(a, bytes, 0);
}

int arena_take_sync(const struct arena *a, uint64_t offset, uint64_t bytes)
{
    struct range r = range_of(a, true, offset, bytes);
    int rc = check_range(a, offset, bytes, SYNC_BYTES);
    return rc ? rc : take(a, &r, 0, false);
}

void arena_preload(const struct arena *a)
{
    /* A description of our own: the position in ours may be shared with a forked child. */
    int fd = arena_name_fd(-1, a->path, a->device, a->inode);
    off_t start = 0, end = 0;
    while (fd >= 0 && (start = lseek(fd, end, SEEK_DATA)) >= 0 && (uint64_t)start < a->reserve &&
           (end = lseek(fd, start, SEEK_HOLE)) > start) {
        uint64_t bytes = min_u64((uint64_t)end, a->reserve) - (uint64_t)start;
        madvise(a->base + start, bytes, MADV_POPULATE_READ);
    }
    if (fd >= 0)
        close(fd);
}

/* What becomes of a page that is removed; found out once, of one that nobody shares. */
enum removal {
    REMOVAL_UNKNOWN,
    REMOVAL_NONE,   /* MADV_REMOVE removes nothing */
    REMOVAL_UNSEEN, /* it does, but mincore(2) does not show it */
    REMOVAL_SEEN,
};

static enum removal find_removal(void)
{
    size_t bytes = (size_t)getpagesize();
    unsigned char there = 1;
    volatile char *page =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return REMOVAL_UNSEEN;
    *page = 1;
    bool removed = madvise((char *)page, bytes, MADV_REMOVE) == 0;
    bool seen = mincore((char *)page, bytes, &there) == 0 && (there & 1) == 0;
    removed = removed && *page == 0;
    munmap((char *)page, bytes);
    return !removed ? REMOVAL_NONE : seen ? REMOVAL_SEEN : REMOVAL_UNSEEN;
}

static enum removal removal(void)
{
    static _Atomic uint32_t found; /* relaxed: all who find out find the same */
    if (load_relaxed(&found) == REMOVAL_UNKNOWN)
        store_relaxed(&found, find_removal());
    return load_relaxed(&found);
}

/* Has a page between @from and @end, which are in one unit, memory?  Who may not know is told that
 * all have. */
static bool is_resident(const char *from, const char *end)
{
    unsigned char pages[HUGE_PAGE_BYTES / PAGE_BYTES] = {0};
    if (mincore((void *)(uintptr_t)from, (size_t)(end - from), pages) != 0)
        return false;
    for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
        if (pages[i] & 1)
            return true;
    return false;
}

/* Did a huge page stay of which the range is a part? */
static bool has_stayed(const struct range *r)
{
    const char *from = r->base + r->offset, *end = from + r->bytes;
    uint64_t before = r->offset % HUGE_PAGE_BYTES;
    uint64_t after = (r->offset + r->bytes) % HUGE_PAGE_BYTES;
    uint64_t first = min_u64(r->bytes, HUGE_PAGE_BYTES - before);
    return (before != 0 && is_resident(from, from + first)) ||
           (after != 0 && is_resident(end - min_u64(after, r->bytes), end));
}

static int give_back(const struct range *r)
{
    int rc = -1;
    if (removal() != REMOVAL_NONE) {
        do {
            rc = madvise(r->base + r->offset, r->bytes, MADV_REMOVE);
        } while (rc != 0 && errno == EINTR);
    }
    return rc == 0 ? 0 : allocate(r, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

int arena_release(const struct arena *a, uint64_t offset, uint64_t bytes)
{
    struct range r = range_of(a, false, offset, bytes);
    int rc = check_range(a, offset, bytes, a->reserve);
    if (rc != 0)
        return rc;
    if (give_back(&r) != 0)
        return error_errno(SHMKV_ESYSTEM, "%s: giving %llu bytes of memory back", a->name,
                           (unsigned long long)bytes);
    if (removal() == REMOVAL_SEEN && has_stayed(&r))
        return error_set(SHMKV_EBUSY, "%s: a huge page is in use, no part of it can be given back",
                         a->name);
    return 0;
}

bool arena_current(const struct arena *a)
{
    return arena_name_is(a->path, a->device, a->inode) &&
           arena_name_is(a->sync_path, a->sync_device, a->sync_inode);
}

bool arena_unlinked(const struct arena *a)
{
    struct stat st;
    return a->fd >= 0 && fstat(a->fd, &st) == 0 && st.st_dev == a->device &&
           st.st_ino == a->inode && st.st_nlink == 0;
}

bool arena_found_in(const struct arena *a, const char *shm_dir)
{
    char path[PATH_MAX];
    const char *dir = shm_dir != NULL ? shm_dir : ARENA_DIRECTORY;
    int n = snprintf(path, sizeof(path), "%s%s", dir, strrchr(a->path, '/'));
    return n < (int)sizeof(path) && arena_name_is(path, a->device, a->inode) && arena_current(a);
}

static uint64_t object_bytes(int fd, const char *path, uint64_t device, uint64_t inode)
{
    struct stat st;
    int found = arena_name_fd(fd, path, device, inode);
    uint64_t bytes = found >= 0 && fstat(found, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
    if (found >= 0 && found != fd)
        close(found);
    return bytes;
}

uint64_t arena_allocated(const struct arena *a)
{
    return object_bytes(a->fd, a->path, a->device, a->inode) +
           object_bytes(a->sync_fd, a->sync_path, a->sync_device, a->sync_inode);
}

/* Pages of a table in the sync object whose first @count entries of @size bytes are in use. */
static uint64_t entry_bytes(uint64_t count, uint64_t size)
{
    return align_up(count * size, PAGE_BYTES);
}

uint64_t arena_fixed_bytes(const struct arena *a)
{
    /* Relaxed: marks that only grow, for an account. */
    uint64_t processes = max_u64(load_relaxed(&a->sync->process_high), 1);
    uint64_t participants = max_u64(load_relaxed(&a->sync->participant_high), ARENA_PARTICIPANTS);
    uint64_t segments = entry_bytes(arena_segments(a), ARENA_SEGMENT_ENTRY);
    uint64_t cache = entry_bytes(a->sb->ghosts, sizeof(struct ghosts));
    if (a->cache)
        cache += min_u64(load_relaxed(&a->sync->participant_high), PARTICIPANT_MAX) *
                 sizeof(struct hit_ring);
    return 2 * PAGE_BYTES + segments + cache + SYNC_PROCESS_OFFSET +
           entry_bytes(min_u64(processes, PROCESS_MAX), sizeof(struct process_entry)) +
           entry_bytes(min_u64(participants, PARTICIPANT_MAX), sizeof(struct participant_entry));
}
