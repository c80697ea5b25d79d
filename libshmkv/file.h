/* SPDX-License-Identifier: MIT */
/*
 * file.h - all input and output of images, behind one small table of functions.
 *
 * The image never calls the system itself, so that a test can stand between: record every write and
 * barrier and replay what a power loss may leave of them, inject EIO and ENOSPC at each call, slow
 * the disk down.  Whatever table is in force when a file is opened serves it until it is closed.
 *
 * Promises that the image is built on:
 *   - a write covers whole pages of PAGE_BYTES and is visible to all readers of the file at once;
 *   - until a barrier that began after a write returned has itself returned 0, any of the written
 *     sectors of 512 bytes may be lost, in any combination; afterwards none is;
 *   - after a barrier that failed nothing is known about what was written since the last one that
 *     succeeded, and a later barrier tells nothing about it either: it has to be written again.
 *
 * Errors have a text that names the file, the place and the remedy.  SHMKV_ENOSPC is a full disk
 * or quota, SHMKV_ECORRUPT a file that ends too early, SHMKV_EIO what else the disk refuses.
 */
#ifndef SHMKV_FILE_H
#define SHMKV_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file_table;

/* An open image file.  Reads may run beside each other, everything else is one caller's. */
struct file {
    const struct file_table *table;
    char *path;             /* absolute; our own copy */
    uint64_t device, inode; /* the file that is meant: descriptors and names are compared with it */
    uint32_t owner, mode;   /* user id; permission bits */
    bool readonly;
    int fd;         /* not trusted: the program may have closed it, see file.c */
    char *map;      /* read-only, for barriers; NULL: none yet */
    uint64_t bytes; /* of the mapping */
    void *own;      /* for a table of a test */
};

enum file_flag {
    FILE_CREATE = 1u << 0,   /* make it if it is not there */
    FILE_READONLY = 1u << 1, /* writes fail */
};

/* What becomes of pages in memory. */
enum file_hint {
    FILE_SOON,    /* they are read soon: returns when the cache has them, or cannot */
    FILE_NO_MORE, /* they are clean, and need not be kept */
};

/* Each returns 0 or a negative code with a text. */
struct file_table {
    int (*open)(struct file *f, const char *path, unsigned flags, uint32_t mode);
    void (*close)(struct file *f);
    int (*size)(const struct file *f, uint64_t *bytes);
    /* All of @bytes at @at; SHMKV_ECORRUPT if the file ends before. */
    int (*read)(const struct file *f, void *to, size_t bytes, uint64_t at);
    int (*write)(struct file *f, const void *from, size_t bytes, uint64_t at);
    /* Everything written so far survives a power loss. */
    int (*barrier)(struct file *f);
    /* Room on the disk for [@at, @at + @bytes); the file grows over it and reads zero there. */
    int (*allocate)(struct file *f, uint64_t at, uint64_t bytes);
    int (*truncate)(struct file *f, uint64_t bytes);
    /* Tell what is coming; nothing may come of it. */
    void (*hint)(const struct file *f, uint64_t at, uint64_t bytes, enum file_hint hint);
    /* The entry of the file in its directory survives a power loss. */
    int (*barrier_name)(struct file *f);
};

/* The table that asks the system. */
extern const struct file_table file_system;

/* Have files opened from now on served by @table; NULL: file_system.  For tests. */
void file_use(const struct file_table *table);

/*
 * file_open() - open an image file and note which one it is.
 * Refuses what is not a regular file, and file systems that cannot keep the promises (by name).
 * SHMKV_ENOSTORE, SHMKV_EACCESS, SHMKV_EREADONLY, SHMKV_ENOTSUP, SHMKV_EFORMAT, SHMKV_ESYSTEM.
 */
int file_open(struct file *f, const char *path, unsigned flags, uint32_t mode);
void file_close(struct file *f);

/* In a forked child, before file_close(): the mapping is the parent's alone. */
static inline void file_forget_map(struct file *f)
{
    f->map = NULL;
}

static inline int file_size(const struct file *f, uint64_t *bytes)
{
    return f->table->size(f, bytes);
}

static inline int file_read(const struct file *f, void *to, size_t bytes, uint64_t at)
{
    return f->table->read(f, to, bytes, at);
}

static inline int file_write(struct file *f, const void *from, size_t bytes, uint64_t at)
{
    return f->table->write(f, from, bytes, at);
}

static inline void file_hint(const struct file *f, uint64_t at, uint64_t bytes, enum file_hint hint)
{
    f->table->hint(f, at, bytes, hint);
}

static inline int file_barrier(struct file *f)
{
    return f->table->barrier(f);
}

#endif
