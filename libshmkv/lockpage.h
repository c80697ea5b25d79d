/* SPDX-License-Identifier: MIT */
/*
 * lockpage.h - a lock on a byte of a file that lives exactly as long as this address space.
 *
 * An open-file-description lock (OFD) ends when the last reference to its description ends.  Here
 * that reference is a mapping: a private description is opened, locked, mapped with MADV_DONTFORK,
 * and its descriptor closed again.  So the lock
 *   - ends at the latest when the process has died, however it died, and at exec;
 *   - survives closefrom(3) and close(2) of any number;
 *   - is not inherited by a child of fork(), _Fork() or clone(2) without CLONE_VM;
 *   - excludes other threads and other holders of this process too (another description).
 * A process that dumps core keeps its locks until the dump is written: it is not dead before.
 *
 * Between open and close the description is one that a fork by another thread would copy (and keep
 * locked beyond our death).  fork() waits for the end of that window; _Fork() and a bare clone(2)
 * do not, so in a child of these the lock of a parent killed later may look held until the child
 * ends or calls exec.
 */
#ifndef SHMKV_LOCKPAGE_H
#define SHMKV_LOCKPAGE_H

#include <stdbool.h>
#include <stdint.h>

/* A file, and which one is expected under the name. */
struct lockpage_file {
    const char *path;
    uint64_t device, inode;
};

/* @count of its bytes, from @first on. */
struct lockpage_range {
    uint64_t first, count;
};

/*
 * lockpage_take() - lock @byte of @file, shared or exclusive, without waiting.
 * @page:  receives what lockpage_release() wants.
 * Return: 0; SHMKV_EBUSY: it is held in a conflicting way; SHMKV_EDEFUNCT: another file or none is
 *         under that name (looked up again after locking); SHMKV_EACCESS; SHMKV_ESYSTEM.
 */
int lockpage_take(const struct lockpage_file *file, uint64_t byte, bool exclusive, void **page);
/* Lock the first byte of the @n ranges that is free, exclusively; @byte tells which. */
int lockpage_take_first(const struct lockpage_file *file, const struct lockpage_range *ranges,
                        unsigned n, uint64_t *byte, void **page);
/* Give the lock up.  Not in a forked child: the page is not there.  NULL does nothing. */
void lockpage_release(void *page);

/* A descriptor of @file of our own for lockpage_held(); to be closed; or a negative code. */
int lockpage_open(const struct lockpage_file *file);
/* Does anybody, this process included, hold @byte of the file in any way? */
bool lockpage_held(int fd, uint64_t byte);

#endif
