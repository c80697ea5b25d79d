/* SPDX-License-Identifier: MIT */
/* fork.c - see fork.h. */
#define _GNU_SOURCE
#include "fork.h"

#include "base.h"
#include "clock.h"
#include "error.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

/* Until the page is there everybody looks like an unregistered child, and calls fork_renew(). */
static const _Atomic uint64_t fork_none;
const _Atomic uint64_t *fork_page = &fork_none;

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static _Atomic uint64_t *fork_own; /* the same page, for writing; NULL: errno is in fork_errno */
static int fork_errno;

/* Ordinary memory: a child inherits the count, and counts on. */
static _Atomic uint32_t fork_count;

/* Different from the words of all ancestors by the count alone; the rest is for debugging. */
static uint64_t next_word(void)
{
    uint64_t count = add_relaxed(&fork_count, 1) + 1u; /* only its being different matters */
    uint64_t rest = clock_boot_ms() << 22 ^ (uint64_t)getpid();
    uint64_t word = count << 40 | (rest & ((1ull << 40) - 1));
    return word ? word : 1;
}

/* Where wiping is only pretended, as by qemu-user, at least fork(3) is noticed. */
static void wipe(void)
{
    if (load_relaxed(fork_own) != 0)
        store_relaxed(fork_own, 0);
}

static void make_page(void)
{
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED || madvise(page, PAGE_BYTES, MADV_WIPEONFORK) != 0) {
        fork_errno = errno;
        return;
    }
    fork_own = page;
    store_relaxed(fork_own, next_word()); /* pthread_once() orders it before other threads' use */
    fork_page = fork_own;
    pthread_atfork(NULL, NULL, wipe);
}

int fork_init(void)
{
    pthread_once(&fork_once, make_page);
    if (!fork_own) {
        errno = fork_errno;
        return error_errno(SHMKV_ESYSTEM,
                           "a page that is wiped at fork (Linux 4.14) cannot be had");
    }
    return 0;
}

int fork_renew(void)
{
    int rc = fork_init();
    uint64_t wiped = 0;
    if (rc != 0)
        return rc;
    cas_relaxed(fork_own, &wiped, next_word()); /* lost: another thread has renewed it */
    return 0;
}
