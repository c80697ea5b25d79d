/* SPDX-License-Identifier: MIT */
/*
 * file.c - the table of functions that asks the system.
 *
 * Descriptors.  The program around us may close any of them, as daemons do, and the number may then
 * be somebody else's file; so it is compared with the file that is meant before each use, and the
 * file opened anew by its name if it is not the one.  Its times are not asked for: since Linux 6.13
 * whoever has seen a time makes the next write put a new one into the inode, by a transaction of
 * the file system's journal, and a sync took half as long again.
 *
 * Barrier.  msync(MS_SYNC) over a read-only mapping of the file writes its dirty pages and waits
 * for the disk, as fdatasync(2) does (both end in vfs_fsync_range() with datasync), and needs no
 * descriptor.  Nothing is ever stored through a mapping: on a full disk that would be a SIGBUS.
 *
 * Room.  Each file slot has room before it is written, by fallocate(2), so that a full disk is an
 * error before a checkpoint has begun; where the file system cannot do that, it is one of write.
 */
#define _GNU_SOURCE
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "atomics.h"
#include "base.h"
#include "descriptor.h"
#include "error.h"

#define MAP_STEP (64ull << 20)
#define BTRFS_MAGIC 0x9123683e
#define OPEN_FLAGS (O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

static const struct {
    uint32_t magic;
    const char *name;
} refused[] = {
    {0x6969, "NFS"},        {0x65735546, "FUSE"}, {0xff534d42, "CIFS"},
    {0xfe534d42, "SMB"},    {0x01021997, "9p"},   {0x00c36400, "Ceph"},
    {0x5346414f, "AFS"},    {0x73757245, "Coda"}, {0x786f4256, "VirtualBox"},
    {0x0bd00bd0, "Lustre"},
};

static const struct file_table *_Atomic table_in_force;

void file_use(const struct file_table *table)
{
    store_release(&table_in_force, table); /* pairs with file_open [D1] */
}

static unsigned long long kib(uint64_t bytes)
{
    return (unsigned long long)bytes >> 10;
}

/* ---- errors -------------------------------------------------------------------------------- */

/* The error for errno after @doing something at @at. */
static int failed(const struct file *f, const char *doing, uint64_t at)
{
    switch (errno) {
    case ENOSPC:
    case EDQUOT:
        return error_set(SHMKV_ENOSPC,
                         "%s: %s at %llu KiB: %s is used up; make room and it goes on, the last "
                         "checkpoint stands",
                         f->path, doing, kib(at), errno == EDQUOT ? "the quota" : "the disk");
    case EFBIG:
        return error_set(SHMKV_ENOSPC, "%s: %s at %llu KiB: files may not be so large here",
                         f->path, doing, kib(at));
    case EROFS:
        return error_set(SHMKV_EREADONLY, "%s: the file system is read-only", f->path);
    default:
        return error_errno(SHMKV_EIO, "%s: %s at %llu KiB", f->path, doing, kib(at));
    }
}

static int open_failed(const char *path, unsigned flags)
{
    struct stat st;
    switch (errno) {
    case ENOENT:
        return error_set(SHMKV_ENOSTORE, "%s: there is no such file%s", path,
                         (flags & FILE_CREATE) != 0 ? ", and no directory to make it in" : "");
    case EACCES:
    case EPERM:
        if (stat(path, &st) == 0)
            return error_set(SHMKV_EACCESS,
                             "%s: you (uid %u) may not %s it (owner uid %u, mode %04o)", path,
                             geteuid(), (flags & FILE_READONLY) != 0 ? "read" : "write", st.st_uid,
                             st.st_mode & 07777u);
        return error_set(SHMKV_EACCESS, "%s: you (uid %u) may not %s it", path, geteuid(),
                         (flags & FILE_CREATE) != 0 ? "make" : "reach");
    case EROFS:
        return error_set(SHMKV_EREADONLY, "%s: the file system is read-only", path);
    case EISDIR:
        return error_set(SHMKV_EFORMAT, "%s: is a directory", path);
    case ENOSPC:
    case EDQUOT:
        return error_set(SHMKV_ENOSPC, "%s: there is no room on the disk for another file", path);
    default:
        return error_errno(SHMKV_ESYSTEM, "%s: opening it", path);
    }
}

/* ---- opening ------------------------------------------------------------------------------- */

/* Some keep no promises about barriers, some cannot show two mappings the same bytes. */
static int check_system(const struct file *f, bool fresh)
{
    struct statfs fs;
    if (fstatfs(f->fd, &fs) != 0)
        return error_errno(SHMKV_ESYSTEM, "%s: looking at its file system", f->path);
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        if ((uint32_t)fs.f_type == refused[i].magic)
            return error_set(SHMKV_ENOTSUP,
                             "%s: is on %s, which cannot keep what was synced; put it on a local "
                             "file system",
                             f->path, refused[i].name);
    }
    int bits;
    if (fresh && (uint32_t)fs.f_type == BTRFS_MAGIC && ioctl(f->fd, FS_IOC_GETFLAGS, &bits) == 0) {
        bits |= FS_NOCOW_FL; /* pages are overwritten in place all the time; a matter of speed */
        ioctl(f->fd, FS_IOC_SETFLAGS, &bits);
    }
    return 0;
}

static int check_file(struct file *f, uint32_t mode)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return error_errno(SHMKV_ESYSTEM, "%s: looking at it", f->path);
    if (!S_ISREG(st.st_mode))
        return error_set(SHMKV_EFORMAT, "%s: is not a regular file", f->path);
    f->device = st.st_dev;
    f->inode = st.st_ino;
    f->owner = st.st_uid;
    f->mode = st.st_mode & 0777u;
    bool fresh = st.st_size == 0 && !f->readonly;
    if (fresh && mode != 0 && st.st_uid == geteuid()) {
        fchmod(f->fd, mode & 0777u); /* the umask must not narrow what was asked for */
        f->mode = mode & 0777u;
    }
    return check_system(f, fresh);
}

static void system_close(struct file *f);

static int system_open(struct file *f, const char *path, unsigned flags, uint32_t mode)
{
    char absolute[PATH_MAX];
    bool readonly = (flags & FILE_READONLY) != 0;
    int how = OPEN_FLAGS | (readonly ? O_RDONLY : O_RDWR);
    if ((flags & FILE_CREATE) != 0)
        how |= O_CREAT;
    f->readonly = readonly;
    f->fd = descriptor_open(path, how, mode != 0 ? mode : 0600);
    if (f->fd < 0)
        return open_failed(path, flags);
    f->path = strdup(realpath(path, absolute) != NULL ? absolute : path);
    int rc =
        f->path != NULL ? check_file(f, mode) : error_errno(SHMKV_ESYSTEM, "%s: opening it", path);
    if (rc != 0)
        system_close(f);
    return rc;
}

/* Number, size and names; filters of system calls that are older than statx() refuse it. */
static int look(int fd, struct stat *st)
{
    struct statx s;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_SIZE | STATX_NLINK, &s) != 0)
        return fstat(fd, st);
    st->st_dev = makedev(s.stx_dev_major, s.stx_dev_minor);
    st->st_ino = s.stx_ino;
    st->st_size = (off_t)s.stx_size;
    st->st_nlink = s.stx_nlink;
    return 0;
}

static bool is_it(const struct file *f, int fd, nlink_t names)
{
    struct stat st;
    return fd >= 0 && look(fd, &st) == 0 && st.st_dev == f->device && st.st_ino == f->inode &&
           st.st_nlink >= names;
}

static int size_of(int fd, uint64_t *bytes)
{
    struct stat st = {0};
    int rc = look(fd, &st);
    *bytes = (uint64_t)st.st_size;
    return rc;
}

/*
 * A descriptor that is certainly the file; to be closed if it is not f->fd.  What is written to a
 * file that has no name any more is gone with the last who has it open, so that is an error.
 */
static int descriptor(const struct file *f)
{
    if (is_it(f, f->fd, 1))
        return f->fd;
    int fd = descriptor_open(f->path, OPEN_FLAGS | (f->readonly ? O_RDONLY : O_RDWR), 0);
    if (is_it(f, fd, 1))
        return fd;
    if (fd >= 0)
        close(fd);
    return error_set(SHMKV_EDEFUNCT,
                     "%s: the image was removed or replaced while it was open; close the store, "
                     "and open it again",
                     f->path);
}

static void done(const struct file *f, int fd)
{
    int saved = errno;
    if (fd != f->fd)
        close(fd);
    errno = saved;
}

static void system_close(struct file *f)
{
    if (f->map != NULL)
        munmap(f->map, f->bytes);
    if (is_it(f, f->fd, 0))
        close(f->fd);
    free(f->path);
    *f = (struct file){.table = f->table, .fd = -1};
}

/* ---- reading and writing ------------------------------------------------------------------- */

static int system_size(const struct file *f, uint64_t *bytes)
{
    int fd = descriptor(f);
    if (fd < 0)
        return fd;
    int rc = size_of(fd, bytes) == 0 ? 0 : failed(f, "looking", 0);
    done(f, fd);
    return rc;
}

static int read_all(const struct file *f, int fd, char *to, size_t bytes, uint64_t at)
{
    while (bytes != 0) {
        ssize_t n = pread(fd, to, bytes, (off_t)at);
        if (n == 0)
            return error_set(SHMKV_ECORRUPT,
                             "%s was cut short: it ends at %llu KiB, and %zu bytes more belong to "
                             "it; restore it from a backup",
                             f->path, kib(at), bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return failed(f, "reading", at);
        to += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

static int system_read(const struct file *f, void *to, size_t bytes, uint64_t at)
{
    int fd = descriptor(f);
    if (fd < 0)
        return fd;
    int rc = read_all(f, fd, to, bytes, at);
    done(f, fd);
    return rc;
}

static int write_all(const struct file *f, int fd, const char *from, size_t bytes, uint64_t at)
{
    while (bytes != 0) {
        ssize_t n = pwrite(fd, from, bytes, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return failed(f, "writing", at);
        from += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

/* RLIMIT_FSIZE would not only fail the call, but cost a SIGXFSZ; beyond it a file may not be
 * written to even where it has grown already, by who had no such limit. */
static int check_limit(const struct file *f, uint64_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
        bytes <= limit.rlim_cur)
        return 0;
    return error_set(SHMKV_ENOSPC,
                     "%s: has to be written up to %llu KiB, but files may not exceed %llu KiB here "
                     "(ulimit -f)",
                     f->path, kib(bytes), kib(limit.rlim_cur));
}

static int system_write(struct file *f, const void *from, size_t bytes, uint64_t at)
{
    int rc = check_limit(f, at + bytes);
    int fd = rc == 0 ? descriptor(f) : rc;
    if (fd < 0)
        return fd;
    rc = write_all(f, fd, from, bytes, at);
    done(f, fd);
    return rc;
}

/* ---- durability and room ------------------------------------------------------------------- */

/* Map what the file has, and a stretch beyond, which is not touched. */
static bool map_file(struct file *f, int fd, uint64_t size)
{
    if (f->map != NULL && size <= f->bytes)
        return true;
    uint64_t bytes = align_up(size + 1, MAP_STEP);
    char *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (map == MAP_FAILED)
        return false;
    madvise(map, bytes, MADV_DONTDUMP);
    madvise(map, bytes, MADV_DONTFORK);
    if (f->map != NULL)
        munmap(f->map, f->bytes);
    f->map = map;
    f->bytes = bytes;
    return true;
}

static int flush(struct file *f, int fd)
{
    uint64_t bytes;
    if (size_of(fd, &bytes) != 0)
        return -1;
    if (map_file(f, fd, bytes)) /* else there is no address space for it */
        return msync(f->map, bytes, MS_SYNC);
    return fdatasync(fd);
}

static int system_barrier(struct file *f)
{
    int fd = descriptor(f);
    if (fd < 0)
        return fd;
    int rc = flush(f, fd);
    done(f, fd);
    return rc == 0 ? 0 : failed(f, "syncing", 0);
}

static int give_room(const struct file *f, int fd, uint64_t at, uint64_t bytes)
{
    uint64_t size;
    int rc;
    do {
        rc = fallocate(fd, 0, (off_t)at, (off_t)bytes);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        rc = size_of(fd, &size);
        if (rc == 0 && size < at + bytes)
            rc = ftruncate(fd, (off_t)(at + bytes));
    }
    return rc == 0 ? 0 : failed(f, "reserving room", at);
}

static int system_allocate(struct file *f, uint64_t at, uint64_t bytes)
{
    int rc = check_limit(f, at + bytes);
    int fd = rc == 0 ? descriptor(f) : rc;
    if (fd < 0)
        return fd;
    rc = give_room(f, fd, at, bytes);
    done(f, fd);
    return rc;
}

static int system_truncate(struct file *f, uint64_t bytes)
{
    int fd = descriptor(f);
    if (fd < 0)
        return fd;
    int rc = ftruncate(fd, (off_t)bytes) == 0 ? 0 : failed(f, "cutting it", bytes);
    done(f, fd);
    return rc;
}

/* The null device; -1: what has its name is something else, which nobody may write to. */
static int open_null(void)
{
    struct stat st;
    int fd = descriptor_open("/dev/null", O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0 || (fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)))
        return fd;
    close(fd);
    return -1;
}

/* Read, and dropped without a copy; what that does not do the kernel is asked for. */
static void read_soon(int fd, off_t at, uint64_t bytes)
{
    int null = open_null();
    off_t end = at + (off_t)bytes;
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    while (null >= 0 && at < end && sendfile(null, fd, &at, (size_t)(end - at)) > 0)
        ;
    if (at < end)
        posix_fadvise(fd, at, end - at, POSIX_FADV_WILLNEED);
    if (null >= 0)
        close(null);
}

static void system_hint(const struct file *f, uint64_t at, uint64_t bytes, enum file_hint hint)
{
    if (!is_it(f, f->fd, 0))
        return;
    if (hint == FILE_SOON)
        read_soon(f->fd, (off_t)at, bytes);
    else
        posix_fadvise(f->fd, (off_t)at, (off_t)bytes, POSIX_FADV_DONTNEED);
}

static int system_barrier_name(struct file *f)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(f->path, '/');
    size_t length = slash == NULL ? 0 : max_u64((uint64_t)(slash - f->path), 1);
    memcpy(directory, slash == NULL ? "." : f->path, length + (slash == NULL));
    directory[length + (slash == NULL)] = 0;
    int fd = descriptor_open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    int rc = fd >= 0 ? fsync(fd) : -1;
    bool cannot = fd < 0 && (errno == EACCES || errno == EPERM); /* may be written, not be read */
    if (fd >= 0)
        close(fd);
    return rc == 0 || cannot || errno == EINVAL ? 0 : failed(f, "syncing its directory", 0);
}

const struct file_table file_system = {
    .open = system_open,
    .close = system_close,
    .size = system_size,
    .read = system_read,
    .write = system_write,
    .barrier = system_barrier,
    .allocate = system_allocate,
    .truncate = system_truncate,
    .hint = system_hint,
    .barrier_name = system_barrier_name,
};

int file_open(struct file *f, const char *path, unsigned flags, uint32_t mode)
{
    const struct file_table *table = load_acquire(&table_in_force); /* pairs with file_use [D1] */
    *f = (struct file){.table = table != NULL ? table : &file_system, .fd = -1};
    return f->table->open(f, path, flags, mode);
}

void file_close(struct file *f)
{
    if (f->table != NULL && f->path != NULL)
        f->table->close(f);
}
