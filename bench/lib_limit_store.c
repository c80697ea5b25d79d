/* SPDX-License-Identifier: MIT */
/* lib_limit_store.c - the yardstick's memory: made, mapped, counted. */
#include "lib_limit.h"
#include "lib_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- life ---------------------------------------------------------------------------------- */

static const char *limit_failed(const char *what)
{
    static char text[256];

    snprintf(text, sizeof(text), "%s: %s", what, strerror(errno));
    return text;
}

static void limit_path(const struct engine_setup *setup, char *path, size_t size)
{
    snprintf(path, size, "/dev/shm/%s.limit", setup->name);
}

static uint64_t limit_chunks_up(uint64_t bytes)
{
    return (bytes + LIMIT_CHUNK - 1) / LIMIT_CHUNK * LIMIT_CHUNK;
}

static void limit_layout(const struct engine_setup *setup, struct head *h)
{
    uint64_t live = setup->workload->keys * engine_record_bytes(setup->workload);

    memset(h, 0, sizeof(*h));
    h->slots = setup->slots;
    h->log_offset = limit_chunks_up(LIMIT_SLOTS_OFFSET + h->slots * 8);
    h->total_bytes = h->log_offset + limit_chunks_up(live + setup->write_bytes + LIMIT_SLACK);
    h->cursor = h->log_offset;
}

const char *limit_create(const struct engine_setup *setup)
{
    char path[128];
    struct head head;
    const char *failure = NULL;

    limit_layout(setup, &head);
    limit_path(setup, path, sizeof(path));
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return limit_failed(path);
    if (ftruncate(fd, (off_t)head.total_bytes) != 0 ||
        pwrite(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head)) {
        failure = limit_failed(path);
        unlink(path);
    }
    close(fd);
    return failure;
}

void limit_destroy(const struct engine_setup *setup)
{
    char path[128];

    limit_path(setup, path, sizeof(path));
    unlink(path);
}

void limit_detach(void *context)
{
    struct limit *l = context;

    munmap(l->base, l->head->total_bytes);
    free(l);
}

static const char *limit_map(const char *path, struct limit *l)
{
    struct head head;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0 || pread(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head))
        return limit_failed(path);
    l->base = memory_map(fd, 0, head.total_bytes);
    close(fd);
    if (l->base == MAP_FAILED)
        return limit_failed(path);
    l->head = (struct head *)(void *)l->base;
    l->slots = (_Atomic uint64_t *)(void *)(l->base + LIMIT_SLOTS_OFFSET);
    l->mask = head.slots - 1;
    l->shift = (unsigned)(64 - __builtin_ctzll(head.slots));
    return NULL;
}

const char *limit_attach(const struct engine_setup *setup, void **context)
{
    struct limit *l = calloc(1, sizeof(*l));
    char path[128];
    const char *failure;

    if (l == NULL)
        return "out of memory";
    limit_path(setup, path, sizeof(path));
    failure = limit_map(path, l);
    if (failure != NULL) {
        free(l);
        return failure;
    }
    *context = l;
    /* As shmkv has them: slots in huge pages; records that are taken before, too. */
    uint64_t before = setup->warm ? l->head->total_bytes : l->head->log_offset;
    if (memory_supply(l->base, before) != 0) {
        failure = limit_failed("faulting the yardstick's memory in");
        limit_detach(l);
    }
    return failure;
}

void limit_usage(void *context, struct engine_usage *usage)
{
    const struct limit *l = context;

    memset(usage, 0, sizeof(*usage));
    usage->slots = l->head->slots;
    usage->bytes = usage->slots * 8;
    for (uint64_t i = 0; i < usage->slots; i++) {
        uint64_t word = atomic_load_explicit(&l->slots[i], memory_order_relaxed);

        if (word == 0 || word == LIMIT_DELETED)
            continue;
        usage->keys++;
        usage->bytes += record_bytes(limit_record(l, word));
    }
}

const char *limit_explain(void *context)
{
    const struct limit *l = context;

    if (l->head->cursor + LIMIT_CHUNK > l->head->total_bytes)
        return "the yardstick's log is full: shorten the slices";
    return "the yardstick did not find a key that was stored";
}
