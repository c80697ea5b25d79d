/* SPDX-License-Identifier: MIT */
/*
 * arena_limits.c - how much memory may still be taken before the machine or a cgroup is out of it.
 *
 * tmpfs itself gives a page as long as its own limit allows, and leaves it to the OOM killer to
 * find room.  So before memory is taken we look at MemAvailable and at the limits of the memory
 * cgroups that we are in (v1 and v2, each level), less a margin.  For what users store it is less
 * what removals and the cleaner will need then, and that concerns the tmpfs too.
 *
 * Looking costs some twenty system calls, taking costs one, so one look admits many: until a
 * 64th of the headroom it found, at most 64 MiB, has been taken by this process, or ten seconds
 * (one, if there was less than 1 GiB) are over.  So 64 processes that look at the same moment do
 * not exceed the headroom together.  Which cgroups have limits is found out once a minute.
 *
 * One thread of a process looks at a time; others are let through meanwhile, they take a step of
 * some MiB each.  Whose turn it is, and whose findings these are, is told by the fork word: a child
 * finds its parent's, which count for nothing.
 */
#define _GNU_SOURCE
#include "arena_parts.h"

#include "clock.h"
#include "descriptor.h"
#include "error.h"
#include "fork.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SECOND_NS 1000000000ull
#define MINUTE_NS (60 * SECOND_NS)
#define MIB (1ull << 20)
#define PLENTY (1ull << 30)
#define BUDGET_MOST (64 * MIB)
#define BUDGET_SHARE 64u
#define MARGIN_MOST (64 * MIB)
#define MARGIN_SHARE 32u
#define KEEP_SHARE 2u  /* of what there is in all, the most that is kept for removals */
#define SPARE_SHARE 8u /* of a cgroup's limit, what must be left beside what need not be */
#define LEVELS_MOST 8u
#define UNLIMITED (1ull << 60) /* cgroup v1 writes a huge number for "none" */

/* One cgroup that has a limit. */
struct level {
    char dir[256];
    bool v2;
    uint64_t limit;
};

/* What one look has admitted. */
struct budget {
    _Atomic uint64_t bytes; /* that may be taken without looking */
    _Atomic uint64_t expires_ns;
    _Atomic uint64_t device; /* of the tmpfs that was looked at */
};

/* Who has least left. */
struct tightest {
    uint64_t left;
    const char *cgroup; /* NULL: the machine, or the tmpfs */
    bool tmpfs;
};

static struct {
    struct budget budgets[2]; /* for those who keep something, and the others */
    _Atomic uint64_t owner;   /* the process to which budgets and levels belong */
    _Atomic uint64_t turn;    /* the process of which a thread is looking; 0: nobody is */
    /* Below: of who has the turn. */
    uint64_t levels_ns; /* when they were found */
    unsigned level_count;
    struct level levels[LEVELS_MOST];
} limits;

/* This process; never 0, not even in a child that has no word yet. */
static uint64_t self(void)
{
    return fork_word() | 1;
}

/* Read the small file @path as a string. */
static bool read_text(const char *path, char *text, size_t size)
{
    int fd = descriptor_open(path, O_RDONLY, 0);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

static bool read_number(const char *dir, const char *file, uint64_t *value)
{
    char path[320], text[64];
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    if (!read_text(path, text, sizeof(text)))
        return false;
    char *end;
    *value = strtoull(text, &end, 10);
    return end != text; /* "max" is no number */
}

/* The number after @label, which begins a line of @text; 0 if there is none. */
static uint64_t labelled(const char *text, const char *label)
{
    size_t length = strlen(label);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, label, length) == 0)
            return strtoull(line + length, NULL, 10);
    }
    return 0;
}

static uint64_t meminfo(const char *label)
{
    char text[4096];
    return read_text("/proc/meminfo", text, sizeof(text)) ? labelled(text, label) * 1024 : 0;
}

/* Does the cgroup @dir limit memory? */
static bool read_limit(const char *dir, bool v2, uint64_t *limit)
{
    uint64_t high;
    bool found = read_number(dir, v2 ? "memory.max" : "memory.limit_in_bytes", limit);
    if (v2 && read_number(dir, "memory.high", &high)) { /* beyond it we would crawl */
        *limit = found ? min_u64(*limit, high) : high;
        found = true;
    }
    return found && *limit < UNLIMITED;
}

/* Enter the limited ones of the cgroup @path under @mount and its ancestors into the table. */
static void find_levels(const char *mount, const char *path, bool v2)
{
    char dir[256];
    int n = snprintf(dir, sizeof(dir), "%s%s", mount, strcmp(path, "/") == 0 ? "" : path);
    /* A container may show paths of the host: there the mount itself is our cgroup. */
    if (n >= (int)sizeof(dir) || access(dir, F_OK) != 0)
        n = snprintf(dir, sizeof(dir), "%s", mount);
    while (n >= (int)strlen(mount)) {
        struct level *level = &limits.levels[limits.level_count];
        if (limits.level_count < LEVELS_MOST && read_limit(dir, v2, &level->limit)) {
            memcpy(level->dir, dir, sizeof(dir));
            level->v2 = v2;
            limits.level_count++;
        }
        char *slash = strrchr(dir, '/');
        n = (int)(slash - dir);
        *slash = 0;
    }
}

/* A line of /proc/self/cgroup: "0::PATH" is v2, "N:...,memory,...:PATH" is v1. */
static void find_line(char *line)
{
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
        return;
    *controllers++ = 0;
    *path++ = 0;
    if (*controllers == 0) {
        find_levels("/sys/fs/cgroup", path, true);
        find_levels("/sys/fs/cgroup/unified", path, true);
    }
    char *save = NULL;
    for (char *c = strtok_r(controllers, ",", &save); c; c = strtok_r(NULL, ",", &save)) {
        if (strcmp(c, "memory") == 0)
            find_levels("/sys/fs/cgroup/memory", path, false);
    }
}

static void find_all_levels(uint64_t now)
{
    char text[4096];
    char *save = NULL;
    if (load_relaxed(&limits.owner) == self() && now - limits.levels_ns < MINUTE_NS)
        return;
    limits.levels_ns = now;
    limits.level_count = 0;
    if (!read_text("/proc/self/cgroup", text, sizeof(text)))
        return;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        find_line(line);
}

static uint64_t less(uint64_t available, uint64_t part)
{
    return available > part ? available - part : 0;
}

/* @available less a margin, which is for everybody else and for page tables, and less what is kept,
 * of a small total not too much. */
static uint64_t less_margin(uint64_t available, uint64_t total, uint64_t keep)
{
    uint64_t margin = min_u64(total / MARGIN_SHARE, MARGIN_MOST);
    return less(less(available, margin), min_u64(keep, total / KEEP_SHARE));
}

/* Pages of files, the image's among them: the kernel drops them before it kills; those that were
 * read twice, as by a recovery, count as active. */
static uint64_t file_pages(const struct level *level, const char *text)
{
    const char *inactive = level->v2 ? "inactive_file " : "total_inactive_file ";
    const char *active = level->v2 ? "active_file " : "total_active_file ";
    return labelled(text, inactive) + labelled(text, active);
}

/* What a cgroup has left; file pages that it could drop are looked at only when it is tight. */
static uint64_t level_headroom(const struct level *level, uint64_t keep)
{
    char path[320], text[4096];
    uint64_t used = 0;
    if (!read_number(level->dir, level->v2 ? "memory.current" : "memory.usage_in_bytes", &used))
        return UINT64_MAX;
    if (used > level->limit / 2) {
        snprintf(path, sizeof(path), "%s/memory.stat", level->dir);
        if (read_text(path, text, sizeof(text)))
            used -= min_u64(used, file_pages(level, text));
    }
    return less_margin(less(level->limit, used), level->limit, keep);
}

/* What a tmpfs has left; without a margin: when it is full, it says so and does no harm. */
static uint64_t tmpfs_headroom(const char *path, uint64_t keep)
{
    struct statfs fs;
    if (statfs(path, &fs) != 0 || fs.f_blocks == 0) /* has no limit, or the name is gone */
        return UINT64_MAX;
    uint64_t block = (uint64_t)fs.f_bsize;
    return less(fs.f_bavail * block, min_u64(keep, fs.f_blocks * block / KEEP_SHARE));
}

static struct tightest headroom(const struct arena *a, uint64_t keep, uint64_t now)
{
    char text[4096];
    struct tightest least = {.left = UINT64_MAX};
    if (read_text("/proc/meminfo", text, sizeof(text)))
        least.left = less_margin(labelled(text, "MemAvailable:") * 1024,
                                 labelled(text, "MemTotal:") * 1024, keep);
    find_all_levels(now);
    for (unsigned i = 0; i < limits.level_count; i++) {
        uint64_t left = level_headroom(&limits.levels[i], keep);
        if (left < least.left)
            least = (struct tightest){.left = left, .cgroup = limits.levels[i].dir};
    }
    uint64_t left = keep != 0 ? tmpfs_headroom(a->path, keep) : UINT64_MAX;
    if (left < least.left)
        least = (struct tightest){.left = left, .tmpfs = true};
    return least;
}

static int refuse(const struct arena *a, uint64_t bytes, const struct tightest *t)
{
    const char *name = a->name;
    uint64_t left = t->left;
    if (t->tmpfs)
        return arena_name_full(a, a->path);
    if (t->cgroup)
        return error_set(SHMKV_ENOSPC,
                         "%s: %" PRIu64 " KiB more would bring the memory cgroup %s to its limit "
                         "(%" PRIu64 " KiB are left to use); raise the limit or make the store "
                         "smaller",
                         name, bytes / 1024, t->cgroup, left / 1024);
    return error_set(SHMKV_ENOSPC,
                     "%s: %" PRIu64 " KiB more would leave the machine without memory (%" PRIu64
                     " KiB are left to use); free some or make the store smaller",
                     name, bytes / 1024, left / 1024);
}

/* Spend from the budget.  Relaxed: it is a count of its own, of this process. */
static bool spend(struct budget *b, uint64_t bytes)
{
    uint64_t left = load_relaxed(&b->bytes);
    while (left >= bytes) { /* a failed CAS saw another thread get on */
        if (cas_relaxed(&b->bytes, &left, left - bytes))
            return true;
    }
    return false;
}

static int look(const struct arena *a, uint64_t bytes, uint64_t keep, uint64_t now)
{
    struct budget *b = &limits.budgets[keep != 0];
    struct tightest t = headroom(a, keep, now);
    if (bytes > t.left)
        return refuse(a, bytes, &t);
    store_relaxed(&b->bytes, min_u64((t.left - bytes) / BUDGET_SHARE, BUDGET_MOST));
    store_relaxed(&b->expires_ns, now + (t.left < PLENTY ? 1 : 10) * SECOND_NS);
    store_relaxed(&b->device, a->device);
    return 0;
}

/* May this thread look?  Not while another one of the process does. */
static bool turn_take(void)
{
    uint64_t holder = load_relaxed(&limits.turn); /* the CAS decides */
    /* Acquire: the levels as the last looker left them [L1].  Lost: another thread looks. */
    return holder != self() && cas_acq_rel(&limits.turn, &holder, self());
}

/* A parent's. */
static void forget_budgets(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(limits.budgets); i++)
        store_relaxed(&limits.budgets[i].expires_ns, 0);
}

static void turn_end(void)
{
    store_relaxed(&limits.owner, self());
    store_release(&limits.turn, 0); /* [L1] */
}

int arena_limits_admit(const struct arena *a, uint64_t bytes, uint64_t keep)
{
    uint64_t now = clock_mono_ns();
    struct budget *b = &limits.budgets[keep != 0];
    bool ours = load_relaxed(&limits.owner) == self(); /* changes only by a fork, or at first */
    bool known = keep == 0 || load_relaxed(&b->device) == a->device;
    if (ours && known && now < load_relaxed(&b->expires_ns) && spend(b, bytes))
        return 0;
    if (!turn_take())
        return 0;
    if (load_relaxed(&limits.owner) != self())
        forget_budgets();
    int rc = look(a, bytes, keep, now);
    turn_end();
    return rc;
}

bool arena_limits_spare(uint64_t bytes)
{
    if (!turn_take())
        return false;
    if (load_relaxed(&limits.owner) != self())
        forget_budgets();
    find_all_levels(clock_mono_ns());
    bool spare = meminfo("MemAvailable:") >= bytes + MARGIN_MOST;
    for (unsigned i = 0; spare && i < limits.level_count; i++) {
        const struct level *l = &limits.levels[i];
        spare = level_headroom(l, l->limit / SPARE_SHARE) >= bytes;
    }
    turn_end();
    return spare;
}

uint64_t arena_limits_total(void)
{
    uint64_t total = meminfo("MemTotal:");
    if (!turn_take())
        return total;
    if (load_relaxed(&limits.owner) != self())
        forget_budgets();
    find_all_levels(clock_mono_ns());
    for (unsigned i = 0; i < limits.level_count; i++)
        total = min_u64(total, limits.levels[i].limit);
    turn_end();
    return total;
}
