/* SPDX-License-Identifier: MIT */
/*
 * process.c - which processes are attached, and which of them live.
 *
 * Process p is alive as long as byte LOCK_PROCESS(p) of the sync object is locked: lockpage.h says
 * why such a lock ends with the process and with nothing else.  No pid is ever looked at: they are
 * reused, and mean nothing in another pid namespace.
 *
 *   entry.used   lock byte     meaning                       who may change it
 *   ----------   ---------     -------                       -----------------
 *   0            free          nobody                        who takes the byte
 *   0            held          joining or leaving            the holder
 *   1            held          attached                      the holder
 *   1            free          died                          who takes the byte: reap, then 0
 *   1            held          (also:) being reaped          the holder
 *
 * So everything that concerns p is done by the holder of its byte, and there is no other rule:
 * joining over a dead one's entry is reaping it first.
 *
 * Joining:  byte, [reap if used], pid and name, used = 1, high-water mark.  `used` and the mark
 *           only tell where a byte may be free.
 * Leaving:  used = 0, byte.  Nothing of ours may be claimed in the store by then.
 *
 * Death while joining before used = 1: a free entry.  After it: an entry in use with nothing
 * claimed yet, reaped like any other; if the mark was not raised, then by who joins beyond it.
 * Death while leaving: nothing, or a free entry.  Death of a reaper: used is still 1, the byte is
 * free, so the next one reaps again from the start; hence @reap must be idempotent.
 *
 * INV-P1  A living process is never reaped: its byte is held.    test_process: only_the_dead
 * INV-P2  A dead process' entry is reaped before it is reused.   test_process: join_reaps
 * INV-P3  Two never reap one process at the same time: the byte is held exclusively, through a
 *         description of its own, which also excludes threads.   test_process: one_reaper
 *
 * Memory for the entries is taken a page at a time, by who holds a byte in that page.  If no page
 * can be had, who reaps takes over the entry of a dead process, which has its memory; a reader, who
 * cannot reap, finds one that is unused, or is refused.                    tests/cli/errors.sh
 */
#define _GNU_SOURCE
#include "process.h"

#include "atomic_text.h"
#include "error.h"
#include "lockpage.h"
#include "point.h"

#include <errno.h>
#include <unistd.h>

#define ENTRIES_PER_PAGE (PAGE_BYTES / sizeof(struct process_entry))
#define GUESS_SOME 4u   /* entries that are tried, whether they are in use or not */
#define GUESS_UNUSED 8u /* that nobody uses: others who join at this moment try the same */

/* Where to look for a free byte, best first. */
struct guess {
    struct lockpage_range range[GUESS_SOME + GUESS_UNUSED + 2];
    unsigned count;
};

static struct lockpage_file sync_file(const struct arena *a)
{
    return (struct lockpage_file){a->sync_path, a->sync_device, a->sync_inode};
}

void *process_lock_page(const struct arena *a, uint64_t byte, bool exclusive, int *rc)
{
    struct lockpage_file file = sync_file(a);
    void *page = NULL;
    *rc = lockpage_take(&file, byte, exclusive, &page);
    return *rc == 0 ? page : NULL;
}

void process_unlock_page(void *page)
{
    lockpage_release(page);
}

/* For people: the program's name, cut to 15 bytes. */
static void set_identity(struct process_entry *entry)
{
    store_relaxed(&entry->pid, (uint32_t)getpid()); /* shown by the release of `used` [P1] */
    atomic_text_store(entry->name, PROCESS_NAME_WORDS, program_invocation_short_name);
}

static void raise_high(const struct arena *a, uint32_t count)
{
    uint32_t high = load_relaxed(&a->sync->process_high);
    while (high < count) { /* a failed CAS saw a higher mark: at most PROCESS_MAX rounds */
        if (cas_acq_rel(&a->sync->process_high, &high, count)) /* [P1] */
            break;
    }
}

/* We hold the byte of @entry: finish what its dead owner left. */
static void reap_entry(struct process_entry *entry, uint32_t index,
                       void (*reap)(void *arg, uint32_t process), void *arg)
{
    POINT("reap.locked");
    reap(arg, index);
    POINT("reap.done");
    store_release(&entry->used, 0); /* [P1]; a death before repeats the reaping */
    POINT("reap.freed");
}

/* Entries that may be in use.  Acquire: their memory was taken before the mark was raised [P1]. */
static uint32_t entry_count(const struct arena *a)
{
    uint32_t high = load_acquire(&a->sync->process_high);
    return high < PROCESS_MAX ? high : PROCESS_MAX;
}

static void add_range(struct guess *g, uint32_t first, uint32_t count)
{
    if (count != 0)
        g->range[g->count++] = (struct lockpage_range){LOCK_PROCESS(first), count};
}

/* A few that lie apart, used or not, so that those of the dead are found, and do not become more
 * than a part of all: each that is missed raises the mark, by which these move. */
static void guess_some(struct guess *g, uint32_t high)
{
    uint32_t some = high < GUESS_SOME ? high : GUESS_SOME;
    for (uint32_t i = 0; i < some; i++)
        add_range(g, i * high / some, 1);
}

/* To ask for each byte from the first on would cost as many system calls as there are processes,
 * and each the longer, the more there are. */
static void guess(const struct arena *a, bool reaps, struct guess *g)
{
    uint32_t high = entry_count(a);
    g->count = 0;
    if (reaps)
        guess_some(g, high);
    for (uint32_t i = 0; i < high && g->count < GUESS_SOME + GUESS_UNUSED; i++) {
        if (load_acquire(&a->processes[i].used) == 0) /* [P1] */
            add_range(g, i, 1);
    }
    add_range(g, high, PROCESS_MAX - high);
    add_range(g, 0, high);
}

/* Lock one of the bytes; SHMKV_EBUSY, without a text: none is free. */
static int lock_entry(const struct arena *a, const struct guess *g, uint32_t *index, void **page)
{
    struct lockpage_file file = sync_file(a);
    uint64_t byte = 0;
    int rc = lockpage_take_first(&file, g->range, g->count, &byte, page);
    *index = (uint32_t)(byte - LOCK_PROCESS(0));
    return rc;
}

static int take_entry_memory(const struct arena *a, uint32_t index, void *page)
{
    uint64_t offset = SYNC_PROCESS_OFFSET + index / ENTRIES_PER_PAGE * PAGE_BYTES;
    int rc = arena_take_sync(a, offset, PAGE_BYTES);
    if (rc != 0)
        lockpage_release(page);
    return rc;
}

/* A free byte, and memory for its entry. */
static int take_entry(const struct arena *a, const struct guess *g, uint32_t *index, void **page)
{
    int rc = lock_entry(a, g, index, page);
    if (rc == SHMKV_EBUSY)
        return error_set(SHMKV_ELIMIT,
                         "%s: all %u entries for processes that have it open are in use", a->name,
                         PROCESS_MAX);
    return rc != 0 ? rc : take_entry_memory(a, *index, *page);
}

/* There is no page for further entries: one of the dead has its own.  If all live, the refusal of
 * that page stands. */
static int take_over(const struct arena *a, uint32_t *index, void **page)
{
    struct guess there = {.count = 0};
    add_range(&there, 0, entry_count(a));
    int rc = lock_entry(a, &there, index, page);
    if (rc == SHMKV_EBUSY)
        return SHMKV_ENOSPC;
    return rc != 0 ? rc : take_entry_memory(a, *index, *page);
}

/* Who cannot reap passes over the entries of the dead. */
static int take_next_unused(const struct arena *a, uint32_t *index, void **page)
{
    int rc;
    for (uint32_t first = 0;; first = *index + 1) {
        struct guess g = {.count = 0};
        add_range(&g, first, PROCESS_MAX - first);
        rc = take_entry(a, &g, index, page);
        if (rc != 0 || load_acquire(&a->processes[*index].used) == 0) /* [P1] */
            return rc;
        lockpage_release(*page);
    }
}

static int take_likely(const struct arena *a, bool reaps, uint32_t *index, void **page)
{
    struct guess g;
    guess(a, reaps, &g);
    int rc = take_entry(a, &g, index, page);
    if (reaps)
        return rc == SHMKV_ENOSPC ? take_over(a, index, page) : rc;
    if (rc == 0) {
        if (load_acquire(&a->processes[*index].used) == 0) /* [P1] */
            return 0;
        lockpage_release(*page);
    } else if (rc != SHMKV_ENOSPC) {
        return rc;
    }
    return take_next_unused(a, index, page);
}

int process_join(struct process *p, const struct arena *a,
                 void (*reap)(void *arg, uint32_t process), void *arg)
{
    uint32_t index;
    void *page;
    int rc = take_likely(a, reap != NULL, &index, &page);
    if (rc != 0)
        return rc;
    POINT("process.locked");
    struct process_entry *entry = &a->processes[index];
    if (reap && load_acquire(&entry->used)) /* [P1] */
        reap_entry(entry, index, reap, arg);
    set_identity(entry);
    POINT("process.named");
    store_release(&entry->used, 1); /* [P1] who sees it sees pid and name */
    POINT("process.used");
    raise_high(a, index + 1);
    POINT("process.joined");
    *p = (struct process){a, index, page, fork_word()};
    return 0;
}

void process_leave(struct process *p)
{
    if (p->fork_word == fork_word()) { /* a child holds nothing of its parent's */
        store_release(&p->arena->processes[p->index].used, 0); /* [P1] */
        POINT("process.left");
        lockpage_release(p->lock_page);
    }
    p->lock_page = NULL;
}

/* Reap @index if it is dead indeed; whoever else has its byte deals with it. */
static bool reap_one(const struct arena *a, uint32_t index,
                     void (*reap)(void *arg, uint32_t process), void *arg)
{
    struct process_entry *entry = &a->processes[index];
    int rc;
    void *page = process_lock_page(a, LOCK_PROCESS(index), true, &rc);
    if (!page)
        return false;
    bool dead = load_acquire(&entry->used) != 0; /* [P1] no longer, if it was reaped meanwhile */
    if (dead)
        reap_entry(entry, index, reap, arg);
    process_unlock_page(page);
    return dead;
}

unsigned process_reap_dead(const struct arena *a, uint32_t self,
                           void (*reap)(void *arg, uint32_t process), void *arg)
{
    struct lockpage_file file = sync_file(a);
    uint32_t count = entry_count(a);
    unsigned reaped = 0;
    int fd = lockpage_open(&file);
    if (fd < 0) /* the store is defunct, or we are out of descriptors: somebody will do it later */
        return 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i == self || !load_acquire(&a->processes[i].used)) /* [P1] */
            continue;
        if (lockpage_held(fd, LOCK_PROCESS(i)))
            continue;
        POINT("reap.found");
        reaped += reap_one(a, i, reap, arg);
    }
    close(fd);
    return reaped;
}

uint32_t process_count(const struct arena *a, uint32_t self)
{
    struct lockpage_file file = sync_file(a);
    int fd = lockpage_open(&file);
    uint32_t alive = 0;
    for (uint32_t i = 0, count = entry_count(a); i < count; i++)
        alive += load_acquire(&a->processes[i].used) != 0 && /* [P1] */
                 (fd < 0 || i == self || lockpage_held(fd, LOCK_PROCESS(i)));
    if (fd >= 0)
        close(fd);
    return alive;
}

bool process_alive(const struct arena *a, uint32_t self, uint32_t process)
{
    struct lockpage_file file = sync_file(a);
    if (process == self)
        return true;
    int fd = lockpage_open(&file);
    if (fd < 0) /* unknown; alive is the answer that harms nobody */
        return true;
    bool held = lockpage_held(fd, LOCK_PROCESS(process));
    close(fd);
    return held;
}
