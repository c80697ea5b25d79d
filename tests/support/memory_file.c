/* SPDX-License-Identifier: MIT */
/* memory_file.c - see memory_file.h. */
#include "memory_file.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "shmkv.h"

struct memory_file memory_image, memory_other;

static int memory_open(struct file *f, const char *path, unsigned flags, uint32_t mode)
{
    (void)mode;
    f->own = strcmp(path, "image") == 0 ? &memory_image : &memory_other;
    f->path = strdup(path);
    f->readonly = (flags & FILE_READONLY) != 0;
    f->device = 1;
    f->inode = 2;
    return 0;
}

static void memory_close(struct file *f)
{
    free(f->path);
    f->path = NULL;
}

static int memory_size(const struct file *f, uint64_t *bytes)
{
    *bytes = ((struct memory_file *)f->own)->size;
    return 0;
}

static int memory_read(const struct file *f, void *to, size_t bytes, uint64_t at)
{
    const struct memory_file *m = f->own;
    if (at > m->size || bytes > m->size - at)
        return error_set(SHMKV_ECORRUPT, "%s: cut short", f->path);
    memcpy(to, m->bytes + at, bytes);
    return 0;
}

static int memory_write(struct file *f, const void *from, size_t bytes, uint64_t at)
{
    struct memory_file *m = f->own;
    if (f->readonly)
        abort();
    if (at > MEMORY_ROOM || bytes > MEMORY_ROOM - at)
        return error_set(SHMKV_ENOSPC, "%s: full", f->path);
    memcpy(m->bytes + at, from, bytes);
    m->size = m->size < at + bytes ? at + bytes : m->size;
    return 0;
}

static int memory_barrier(struct file *f)
{
    (void)f;
    return 0;
}

static int memory_truncate(struct file *f, uint64_t bytes)
{
    struct memory_file *m = f->own;
    if (bytes > MEMORY_ROOM)
        return error_set(SHMKV_ENOSPC, "%s: full", f->path);
    if (bytes < m->size)
        memset(m->bytes + bytes, 0, m->size - bytes);
    m->size = bytes;
    return 0;
}

static int memory_allocate(struct file *f, uint64_t at, uint64_t bytes)
{
    const struct memory_file *m = f->own;
    return at + bytes > m->size ? memory_truncate(f, at + bytes) : 0;
}

static void memory_hint(const struct file *f, uint64_t at, uint64_t bytes, enum file_hint hint)
{
    (void)f;
    (void)at;
    (void)bytes;
    (void)hint;
}

static const struct file_table memory_table = {
    .open = memory_open,
    .close = memory_close,
    .size = memory_size,
    .read = memory_read,
    .write = memory_write,
    .barrier = memory_barrier,
    .allocate = memory_allocate,
    .truncate = memory_truncate,
    .hint = memory_hint,
    .barrier_name = memory_barrier,
};

void memory_use(void)
{
    memory_image.bytes = calloc(1, MEMORY_ROOM);
    memory_other.bytes = calloc(1, MEMORY_ROOM);
    if (memory_image.bytes == NULL || memory_other.bytes == NULL)
        abort();
    file_use(&memory_table);
}
