/* SPDX-License-Identifier: MIT */
/*
 * store_context.c - contexts: what each thread, and each explicit reader, has of a store.
 *
 * They are made at the first use and end with their thread, or with their store, whoever comes
 * first; the lists are spliced under the registry lock.  A context whose store was closed stays
 * allocated until its thread looks again, or ends.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/mman.h>

#include "error.h"
#include "evict.h"
#include "fork.h"
#include "store_parts.h"

#define KEEPER_AFTER 64u /* writes of a thread after which a keeper is worth while */

static struct context nobody; /* belongs to no store */
_Thread_local struct context *store_current = &nobody;
static _Thread_local struct context *thread_contexts;
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

/* ---- one context --------------------------------------------------------------------------- */

_Static_assert(sizeof(struct context) <= PAGE_BYTES, "a context is one page");

/* A child never gives these pages back: a section may name one, and empty they cost nothing. */
static struct context *allocate_context(void)
{
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, PAGE_BYTES, MADV_WIPEONFORK) != 0) {
        munmap(page, PAGE_BYTES);
        return NULL;
    }
    return page;
}

static void free_context(struct context *c)
{
    munmap(c, PAGE_BYTES);
}

/* NULL: *@rc says why. */
static int join(struct participant *p, const struct store *s)
{
    int rc = epoch_join(p, &s->arena, s->process.index);
    if (rc != 0)
        return rc;
    rc = evict_join(p);
    if (rc != 0)
        epoch_leave(p);
    return rc;
}

static struct context *make_context(struct store *s, int *rc)
{
    struct context *c = allocate_context();
    if (c == NULL) {
        *rc = error_errno(SHMKV_ESYSTEM, "%s: no memory for a thread's context", s->arena.name);
        return NULL;
    }
    *c = (struct context){.store = s, .ours = true};
    c->writer.puts = c->writer.moves = c->reservation = (struct append)APPEND_INIT;
    *rc = join(&c->writer.self, s);
    if (*rc != 0) {
        free_context(c);
        return NULL;
    }
    table_view_begin(&c->writer.view);
    c->unfenced = c->writer.self.fenced ? NULL : s;
    c->next = s->contexts;
    s->contexts = c;
    return c;
}

/* @s is the context's store. */
static void end_context(struct store *s, struct context *c)
{
    struct context **at = &s->contexts;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    if (!s->arena.readonly) {
        append_close(&c->reservation, &s->arena);
        keeper_retire_writer(&c->writer);
    } else {
        epoch_leave(&c->writer.self);
    }
    c->store = c->unfenced = NULL;
}

void store_end_contexts_locked(struct store *s)
{
    while (s->fork_word == fork_word() && s->contexts != NULL)
        end_context(s, s->contexts);
}

/* ---- those of a thread --------------------------------------------------------------------- */

/* In a child the list ends with its parent's first context: that is empty. */
static void end_thread(void *unused)
{
    (void)unused;
    store_lock_registry();
    while (thread_contexts != NULL && thread_contexts->ours) {
        struct context *c = thread_contexts;
        thread_contexts = c->sibling;
        if (c->store != NULL)
            end_context(c->store, c);
        free_context(c);
    }
    thread_contexts = NULL;
    store_current = &nobody;
    store_unlock_registry();
}

static void make_exit_key(void)
{
    pthread_key_create(&exit_key, end_thread);
}

/* Those of closed stores, and the parent's: the first of these ends the list. */
static void forget_dead_contexts(void)
{
    struct context **at = &thread_contexts;
    while (*at != NULL && (*at)->ours) {
        struct context *c = *at;
        if (c->store != NULL) {
            at = &c->sibling;
            continue;
        }
        *at = c->sibling;
        free_context(c);
    }
    *at = NULL;
}

static int find_context_locked(struct store *s, struct context **out)
{
    int rc = store_renew_locked(s);
    if (rc != 0)
        return rc;
    forget_dead_contexts();
    for (struct context *c = thread_contexts; c != NULL; c = c->sibling) {
        if (c->store == s) {
            *out = c;
            return 0;
        }
    }
    struct context *made = make_context(s, &rc);
    if (made == NULL)
        return rc;
    made->sibling = thread_contexts;
    thread_contexts = made;
    pthread_setspecific(exit_key, made);
    *out = made;
    return 0;
}

/*
 * Without the lock: a thread that uses several stores comes by often, and a handler that reads may
 * have interrupted it inside the lock.  The list is this thread's own, spliced by single stores.
 */
static struct context *own_context(const struct store *s)
{
    struct context *c = s != NULL ? thread_contexts : NULL;
    while (c != NULL && c->store != s)
        c = c->sibling;
    return c;
}

int store_find_context(struct shmkv *db, struct context **c)
{
    *c = own_context(load_relaxed(&db->store)); /* relaxed: as in store_context() */
    if (*c != NULL) {
        store_current = *c;
        return 0;
    }
    pthread_once(&exit_once, make_exit_key);
    store_current = &nobody; /* a signal handler comes back here rather than use half of it */
    store_lock_registry();
    struct store *s = load_relaxed(&db->store);
    int rc = s != NULL ? find_context_locked(s, c)
                       : error_set(SHMKV_ECLOSED,
                                   "the handle was closed before this call; open the store anew");
    store_unlock_registry();
    if (rc == 0)
        store_current = *c;
    return rc;
}

void store_forget_context(void)
{
    store_current = &nobody;
}

int store_check_writable(struct context *c)
{
    struct store *s = c->store;
    if (s->arena.readonly)
        return error_set(SHMKV_EREADONLY,
                         "%s: opened with SHMKV_READONLY; open it without to write", s->arena.name);
    if (load_relaxed(&s->arena.sb->state) ==
        STORE_DEFUNCT) /* relaxed: final, and no order needed */
        return error_set(SHMKV_EDEFUNCT,
                         "%s: the store was removed while it was open; close it and make it anew",
                         s->arena.name);
    uint32_t after = s->durable.path != NULL ? 0 : KEEPER_AFTER; /* it writes the image */
    if (s->wants_keeper && c->writes <= after && c->writes++ == after) {
        store_lock_registry();
        keeper_start(&s->keeper, &s->durable, &s->warn, &s->process, s->service);
        store_unlock_registry();
    }
    c->plain = !s->wants_keeper || c->writes > after;
    return 0;
}

/* ---- explicit readers ---------------------------------------------------------------------- */

int store_add_reader(struct store *s, struct context **c)
{
    int rc;
    store_lock_registry();
    *c = make_context(s, &rc);
    store_unlock_registry();
    return rc;
}

void store_remove_reader(struct context *c)
{
    store_lock_registry();
    if (c->store != NULL)
        end_context(c->store, c);
    if (c->ours)
        free_context(c);
    store_unlock_registry();
}
