/* SPDX-License-Identifier: MIT */
/* lockpage.c - see lockpage.h. */
#define _GNU_SOURCE
#include "lockpage.h"

#include "base.h"
#include "descriptor.h"
#include "error.h"
#include "point.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Held while there is a descriptor that a child must not inherit; fork() takes it too. */
static pthread_mutex_t lockpage_window = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t lockpage_once = PTHREAD_ONCE_INIT;

static void window_lock(void)
{
    pthread_mutex_lock(&lockpage_window);
}

static void window_unlock(void)
{
    pthread_mutex_unlock(&lockpage_window);
}

static void register_fork(void)
{
    pthread_atfork(window_lock, window_unlock, window_unlock);
}

/* Signals are blocked meanwhile: a handler that forks would wait for its own thread. */
static void window_enter(sigset_t *signals)
{
    sigset_t all;
    pthread_once(&lockpage_once, register_fork);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, signals);
    window_lock();
}

static void window_exit(const sigset_t *signals)
{
    window_unlock();
    pthread_sigmask(SIG_SETMASK, signals, NULL);
}

static bool same_file(const struct stat *st, const struct lockpage_file *file)
{
    return st->st_dev == file->device && st->st_ino == file->inode;
}

static int gone(const struct lockpage_file *file)
{
    return error_set(SHMKV_EDEFUNCT,
                     "%s was removed while the store was in use; close the store and open it again",
                     file->path);
}

int lockpage_open(const struct lockpage_file *file)
{
    struct stat st;
    const int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    int fd = descriptor_open(file->path, O_RDWR | flags, 0);
    if (fd < 0 && (errno == EACCES || errno == EPERM || errno == EROFS)) /* for a shared lock */
        fd = descriptor_open(file->path, O_RDONLY | flags, 0);
    if (fd < 0 && (errno == ENOENT || errno == ELOOP))
        return gone(file);
    if (fd < 0)
        return error_errno(errno == EACCES || errno == EPERM ? SHMKV_EACCESS : SHMKV_ESYSTEM,
                           "opening %s", file->path);
    if (fstat(fd, &st) != 0 || !same_file(&st, file)) {
        close(fd);
        return gone(file);
    }
    return fd;
}

static struct flock lock_of(uint64_t byte, short type)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
}

bool lockpage_held(int fd, uint64_t byte)
{
    struct flock lock = lock_of(byte, F_WRLCK);
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Lock, and see that the file is still what others find under the name. */
static int lock_range(int fd, const struct lockpage_file *file, const struct lockpage_range *range,
                      short type, uint64_t *byte)
{
    for (uint64_t b = range->first; b < range->first + range->count; b++) {
        struct flock lock = lock_of(b, type);
        struct stat st;
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
            *byte = b;
            return stat(file->path, &st) == 0 && same_file(&st, file) ? 0 : gone(file);
        }
        if (errno == EBADF) /* open for reading only, as more was not to be had */
            return error_set(SHMKV_EACCESS,
                             "%s may not be written: look at its permissions, and whether the "
                             "file system is read-only",
                             file->path);
        if (errno != EAGAIN && errno != EACCES)
            return error_errno(SHMKV_ESYSTEM, "locking byte %llu of %s", (unsigned long long)b,
                               file->path);
    }
    return SHMKV_EBUSY;
}

/* What to lock: the first byte of some ranges that is free. */
struct wish {
    const struct lockpage_range *ranges;
    unsigned count;
    short type;
};

static int lock_first(int fd, const struct lockpage_file *file, const struct wish *wish,
                      uint64_t *byte)
{
    int rc = SHMKV_EBUSY;
    for (unsigned i = 0; i < wish->count && rc == SHMKV_EBUSY; i++)
        rc = lock_range(fd, file, &wish->ranges[i], wish->type, byte);
    return rc;
}

/* Move the reference to the description from the descriptor to a mapping. */
static int hold(int fd, const struct lockpage_file *file, void **page)
{
    void *p = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return error_errno(SHMKV_ESYSTEM, "mapping a page of %s", file->path);
    if (madvise(p, PAGE_BYTES, MADV_DONTFORK) != 0) {
        int rc = error_errno(SHMKV_ESYSTEM, "keeping a page of %s from children", file->path);
        munmap(p, PAGE_BYTES);
        return rc;
    }
    madvise(p, PAGE_BYTES, MADV_DONTDUMP);
    *page = p;
    return 0;
}

static int take(const struct lockpage_file *file, const struct wish *wish, uint64_t *byte,
                void **page)
{
    sigset_t signals;
    window_enter(&signals);
    int fd = lockpage_open(file);
    POINT("lock.opened");
    int rc = fd < 0 ? fd : lock_first(fd, file, wish, byte);
    if (rc == 0)
        rc = hold(fd, file, page);
    if (fd >= 0)
        close(fd);
    window_exit(&signals);
    return rc;
}

int lockpage_take(const struct lockpage_file *file, uint64_t byte, bool exclusive, void **page)
{
    struct lockpage_range range = {byte, 1};
    struct wish wish = {&range, 1, exclusive ? F_WRLCK : F_RDLCK};
    return take(file, &wish, &byte, page);
}

int lockpage_take_first(const struct lockpage_file *file, const struct lockpage_range *ranges,
                        unsigned n, uint64_t *byte, void **page)
{
    struct wish wish = {ranges, n, F_WRLCK};
    return take(file, &wish, byte, page);
}

void lockpage_release(void *page)
{
    if (page)
        munmap(page, PAGE_BYTES);
}
