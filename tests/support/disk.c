/* SPDX-License-Identifier: MIT */
/* disk.c - see disk.h. */
#include "disk.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"
#include "blob.h"
#include "error.h"

static struct {
    pthread_mutex_t lock;
    struct disk_op *ops;
    size_t count, room;
    char *start; /* what was durable before the log began */
    uint64_t start_size, size;
    unsigned calls, fail_at, fail_more, replays;
    int fail_rc;
    bool (*swallow)(const struct disk_op *last);
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

/* ---- the log ------------------------------------------------------------------------------- */

static void append(enum disk_kind kind, uint64_t at, uint64_t bytes, const void *data)
{
    if (disk.ops == NULL || disk.count == disk.room) {
        disk.room = disk.room * 2 + 64;
        disk.ops = must(realloc(disk.ops, disk.room * sizeof(*disk.ops)));
    }
    struct disk_op *op = &disk.ops[disk.count++];
    *op = (struct disk_op){.kind = kind, .at = at, .bytes = bytes};
    if (data != NULL)
        op->data = memcpy(must(malloc(bytes)), data, bytes);
}

static void set_size(uint64_t size)
{
    if (size != disk.size)
        append(DISK_SIZE, 0, size, NULL);
    disk.size = size;
}

static void clear_log(void)
{
    for (size_t i = 0; i < disk.count; i++)
        free(disk.ops[i].data);
    free(disk.ops);
    disk.ops = NULL;
    disk.count = disk.room = 0;
}

size_t disk_count(void)
{
    return disk.count;
}

const struct disk_op *disk_op(size_t i)
{
    return &disk.ops[i];
}

void disk_note(uint64_t what)
{
    pthread_mutex_lock(&disk.lock);
    append(DISK_NOTE, what, 0, NULL);
    pthread_mutex_unlock(&disk.lock);
}

/* ---- the table ----------------------------------------------------------------------------- */

/* Shall this call fail? */
static int fate(const char *what)
{
    disk.calls++;
    if (disk.fail_at == 0 || disk.calls < disk.fail_at ||
        disk.calls > disk.fail_at + disk.fail_more)
        return 0;
    return error_set(disk.fail_rc, "%s failed, as the test wants", what);
}

static int disk_open(struct file *f, const char *path, unsigned flags, uint32_t mode)
{
    const struct file_table *table = f->table;
    int rc = file_system.open(f, path, flags, mode);
    f->table = table;
    return rc;
}

static int disk_write(struct file *f, const void *from, size_t bytes, uint64_t at)
{
    pthread_mutex_lock(&disk.lock);
    int rc = fate("a write");
    if (rc == 0) {
        assert(bytes % PAGE_BYTES == 0 && at % PAGE_BYTES == 0);
        append(DISK_WRITE, at, bytes, from);
        if (at + bytes > disk.size)
            disk.size = at + bytes;
        rc = file_system.write(f, from, bytes, at);
    }
    pthread_mutex_unlock(&disk.lock);
    return rc;
}

static int disk_barrier(struct file *f)
{
    (void)f; /* the power does not fail here: the log is what counts */
    pthread_mutex_lock(&disk.lock);
    int rc = fate("a barrier");
    const struct disk_op *last = disk.count != 0 ? &disk.ops[disk.count - 1] : NULL;
    if (rc != 0)
        append(DISK_FAILED_BARRIER, 0, 0, NULL);
    else if (disk.swallow == NULL || last == NULL || !disk.swallow(last))
        append(DISK_BARRIER, 0, 0, NULL);
    pthread_mutex_unlock(&disk.lock);
    return rc;
}

static int disk_allocate(struct file *f, uint64_t at, uint64_t bytes)
{
    pthread_mutex_lock(&disk.lock);
    int rc = fate("reserving room");
    if (rc == 0)
        rc = file_system.allocate(f, at, bytes);
    if (rc == 0 && at + bytes > disk.size)
        set_size(at + bytes);
    pthread_mutex_unlock(&disk.lock);
    return rc;
}

static int disk_truncate(struct file *f, uint64_t bytes)
{
    pthread_mutex_lock(&disk.lock);
    int rc = fate("cutting");
    if (rc == 0)
        rc = file_system.truncate(f, bytes);
    if (rc == 0)
        set_size(bytes);
    pthread_mutex_unlock(&disk.lock);
    return rc;
}

static void disk_hint(const struct file *f, uint64_t at, uint64_t bytes, enum file_hint hint)
{
    (void)f;
    (void)at;
    (void)bytes;
    (void)hint;
}

static int disk_barrier_name(struct file *f)
{
    (void)f;
    return 0;
}

static struct file_table disk_table;

/* What is there before the log begins. */
static void load_start(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        abort();
    disk.start_size = disk.size = (uint64_t)st.st_size;
    disk.start = must(malloc(disk.size + 1));
    if (pread(fd, disk.start, disk.size, 0) != (ssize_t)disk.size)
        abort();
    close(fd);
}

void disk_begin(const char *path)
{
    if (path != NULL)
        load_start(path);
    disk_table = file_system;
    disk_table.open = disk_open;
    disk_table.write = disk_write;
    disk_table.barrier = disk_barrier;
    disk_table.allocate = disk_allocate;
    disk_table.truncate = disk_truncate;
    disk_table.hint = disk_hint;
    disk_table.barrier_name = disk_barrier_name;
    file_use(&disk_table);
}

void disk_pause(void)
{
    file_use(NULL);
}

void disk_end(void)
{
    disk_pause();
    clear_log();
    free(disk.start);
    disk.start = NULL;
    disk.start_size = disk.size = 0;
    disk.calls = disk.fail_at = disk.fail_more = 0;
    disk.swallow = NULL;
}

void disk_fail(unsigned nth, int rc, unsigned more)
{
    pthread_mutex_lock(&disk.lock);
    disk.fail_at = nth != 0 ? disk.calls + nth : 0;
    disk.fail_rc = rc;
    disk.fail_more = more;
    pthread_mutex_unlock(&disk.lock);
}

unsigned disk_calls(void)
{
    pthread_mutex_lock(&disk.lock);
    unsigned calls = disk.calls;
    pthread_mutex_unlock(&disk.lock);
    return calls;
}

void disk_break(bool (*swallow)(const struct disk_op *last))
{
    disk.swallow = swallow;
}

/* ---- replay -------------------------------------------------------------------------------- */

struct disk_replay {
    char *durable;
    uint64_t room;
    uint64_t size;
    uint64_t sure;   /* of it, when the last barrier returned */
    size_t next;     /* op that comes next */
    size_t *pending; /* writes that are not durable */
    size_t count, most;
    unsigned kind;   /* what becomes of writes before a failed barrier, see give_up() */
    uint64_t random; /* for it */
    struct disk_state state;
};

static void grow(struct disk_replay *r, uint64_t size)
{
    if (r->durable != NULL && size <= r->room)
        return;
    uint64_t room = size + (size >> 1);
    r->durable = must(realloc(r->durable, room));
    r->state.bytes = must(realloc(r->state.bytes, room));
    memset(r->durable + r->room, 0, room - r->room);
    r->room = room;
}

struct disk_replay *disk_replay_begin(void)
{
    struct disk_replay *r = must(calloc(1, sizeof(*r)));
    grow(r, disk.start_size + 1);
    if (disk.start != NULL)
        memcpy(r->durable, disk.start, disk.start_size);
    r->size = r->sure = disk.start_size;
    r->kind = disk.replays++;
    r->random = r->kind + 1;
    return r;
}

void disk_replay_end(struct disk_replay *r)
{
    free(r->durable);
    free(r->pending);
    free(r->state.bytes);
    free(r);
}

static void settle(struct disk_replay *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct disk_op *op = &disk.ops[r->pending[i]];
        memcpy(r->durable + op->at, op->data, op->bytes);
    }
    r->count = 0;
    r->sure = r->size;
}

/* A barrier has failed: of the writes before it none, all or some will never be on the disk, though
 * they can be read; a later barrier makes durable what is left. */
static void give_up(struct disk_replay *r)
{
    size_t left = 0;
    for (size_t i = 0; i < r->count; i++) {
        bool lost = r->kind % 3 == 1 || (r->kind % 3 == 2 && (blob_random(&r->random) & 1) != 0);
        if (!lost)
            r->pending[left++] = r->pending[i];
    }
    r->count = left;
}

static void step(struct disk_replay *r, const struct disk_op *op)
{
    switch (op->kind) {
    case DISK_WRITE:
        if (r->count == r->most) {
            r->most = r->most * 2 + 16;
            r->pending = must(realloc(r->pending, r->most * sizeof(*r->pending)));
        }
        r->pending[r->count++] = r->next;
        grow(r, op->at + op->bytes);
        if (op->at + op->bytes > r->size)
            r->size = op->at + op->bytes;
        break;
    case DISK_BARRIER:
        settle(r);
        break;
    case DISK_SIZE:
        grow(r, op->bytes);
        if (op->bytes < r->size)
            memset(r->durable + op->bytes, 0, r->size - op->bytes);
        r->size = op->bytes;
        r->sure = min_u64(r->sure, r->size);
        break;
    case DISK_FAILED_BARRIER:
        give_up(r);
        break;
    default:
        break;
    }
}

void disk_replay_to(struct disk_replay *r, size_t i)
{
    for (; r->next < i; r->next++)
        step(r, &disk.ops[r->next]);
}

bool disk_replay_pending(const struct disk_replay *r)
{
    return r->count != 0;
}

static uint64_t sectors_of(const struct disk_op *op)
{
    return op->bytes / DISK_SECTOR;
}

static bool survives(enum disk_loss how, uint64_t sector, uint64_t chosen, uint64_t *random,
                     bool *lot)
{
    switch (how) {
    case DISK_LOSE_ALL:
        return false;
    case DISK_LOSE_NONE:
        return true;
    case DISK_LOSE_SECTORS:
        return (blob_random(random) & 1) != 0;
    case DISK_LOSE_PAGES:
        if (sector % (PAGE_BYTES / DISK_SECTOR) == 0)
            *lot = (blob_random(random) & 1) != 0;
        return *lot;
    case DISK_LOSE_ONE:
        return sector != chosen;
    case DISK_KEEP_ONE:
        return sector == chosen;
    default: /* DISK_LOSE_WRITES: drawn at its first sector */
        return *lot;
    }
}

const struct disk_state *disk_replay_lose(struct disk_replay *r, enum disk_loss how,
                                          uint64_t *random)
{
    uint64_t all = 0, first = 0, size = r->size;
    if (how == DISK_LOSE_ALL || (how != DISK_LOSE_NONE && (blob_random(random) & 1) != 0))
        size = min_u64(size, r->sure);
    for (size_t i = 0; i < r->count; i++)
        all += sectors_of(&disk.ops[r->pending[i]]);
    uint64_t chosen = all != 0 ? blob_random(random) % all : 0;
    memcpy(r->state.bytes, r->durable, size);
    for (size_t i = 0; i < r->count; i++) {
        const struct disk_op *op = &disk.ops[r->pending[i]];
        bool lot = (blob_random(random) & 1) != 0;
        for (uint64_t k = 0; k < sectors_of(op); k++) {
            uint64_t at = op->at + k * DISK_SECTOR;
            uint64_t number = how == DISK_LOSE_PAGES ? k : first + k;
            if (at < size && survives(how, number, chosen, random, &lot))
                memcpy(r->state.bytes + at, op->data + k * DISK_SECTOR, DISK_SECTOR);
        }
        first += sectors_of(op);
    }
    r->state.size = size;
    return &r->state;
}

void disk_put(const struct disk_state *s, const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || pwrite(fd, s->bytes, s->size, 0) != (ssize_t)s->size ||
        ftruncate(fd, (off_t)s->size) != 0)
        abort();
    close(fd);
}
