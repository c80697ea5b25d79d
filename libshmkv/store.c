/* SPDX-License-Identifier: MIT */
/*
 * store.c - opening and closing of stores and handles.
 *
 *   store.c           what is asked for, found or opened; the last handle's close
 *   store_registry.c  the lock, and the lists of what is open, opened or closed
 *   store_context.c   the side of each thread
 *   store_volatile.c  stores without an image
 *   store_image.c     stores with one
 *
 * One image may be asked for by two names that only its inode shows to be one (hard links).  Then
 * it may be opened twice at once; who comes second to the registry closes his and takes the first.
 *                                                                                    crash_opening
 */
#include "store.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "fork.h"
#include "point.h"
#include "reap.h"
#include "store_parts.h"

#define CLOSED_KEPT 64u /* closed handles that still say SHMKV_ECLOSED */

static struct shmkv *closed_first, *closed_last;
static unsigned closed_count;

/* ---- one store ----------------------------------------------------------------------------- */

int store_join_process(struct store *s)
{
    reap_fn *reap = s->arena.readonly ? NULL : reap_process;
    return process_join(&s->process, &s->arena, reap, &s->arena);
}

int store_renew_locked(struct store *s)
{
    if (s->fork_word == fork_word())
        return 0;
    s->contexts = NULL;
    s->keeper.running = false; /* the thread is the parent's */
    warn_after_fork(&s->warn);
    epoch_register_process();
    int rc = arena_after_fork(&s->arena);
    if (rc == 0)
        rc = durable_after_fork(&s->durable);
    if (rc == 0)
        rc = store_join_process(s);
    if (rc == 0)
        s->fork_word = fork_word();
    return rc;
}

static void free_store(struct store *s)
{
    free(s->key);
    free(s);
}

/* Not yet open, but with its key.  NULL: *@rc says why. */
static struct store *make_store(const char *name, int *rc)
{
    char path[PATH_MAX];
    *rc = store_is_volatile(name) ? 0 : store_image_path(name, path);
    if (*rc != 0)
        return NULL;
    struct store *s = aligned_alloc(CACHE_LINE, align_up(sizeof(*s), CACHE_LINE));
    char *key = strdup(store_is_volatile(name) ? name : path);
    if (s == NULL || key == NULL) {
        free(s);
        free(key);
        *rc = error_set(SHMKV_ESYSTEM, "%s: no memory for a handle", name);
        return NULL;
    }
    *s = (struct store){.key = key};
    return s;
}

static int open_store(struct store *s, const char *name, const struct shmkv_options *o)
{
    int rc =
        store_is_volatile(name) ? store_open_volatile(s, name, o) : store_open_image(s, name, o);
    s->wants_keeper = (o->flags & (SHMKV_NO_KEEPER | SHMKV_READONLY)) == 0;
    POINT("store.opened");
    return rc;
}

/* What is left when there are no contexts and no keeper. */
static void detach_store(struct store *s)
{
    if (s->fork_word == fork_word())
        process_leave(&s->process);
    durable_free(&s->durable);
    arena_close(&s->arena);
}

/* ---- open ---------------------------------------------------------------------------------- */

/* Keep house from now on, and before others; again in a child that opens the store anew. */
static void serve(struct store *s, const struct shmkv_options *o)
{
    if ((o->flags & SHMKV_KEEPER) == 0)
        return;
    s->wants_keeper = s->service = true;
    keeper_start(&s->keeper, &s->durable, &s->warn, &s->process, true);
}

/* Without the lock meanwhile.  *@out is @fresh, or what was registered by another name of it. */
static int open_fresh_locked(struct store *fresh, const char *name, const struct shmkv_options *o,
                             struct store **out)
{
    fresh->fork_word = fork_word(); /* a child's, by the lock: before it is 0 there */
    store_begin_change_locked(fresh);
    store_unlock_registry();
    int rc = open_store(fresh, name, o);
    store_lock_registry();
    store_end_change_locked(fresh);
    if (rc != 0)
        return rc;
    *out = store_registered_locked(name, o);
    if (*out != NULL)
        return 0;
    store_register_locked(fresh);
    *out = fresh;
    return 0;
}

static int open_handle(const char *name, const struct shmkv_options *o, struct store **out)
{
    int rc;
    struct store *fresh = make_store(name, &rc);
    if (fresh == NULL)
        return rc;
    store_lock_registry();
    store_await_change_locked(fresh->key);
    struct store *s = store_registered_locked(name, o);
    bool known = s != NULL;
    if (known && (o->flags & SHMKV_EXCLUSIVE) != 0)
        rc = error_set(SHMKV_ESTOREEXISTS, "%s: exists, and is open in this process", name);
    else if (!known)
        rc = open_fresh_locked(fresh, name, o, &s);
    bool twice = rc == 0 && !known && s != fresh;
    if (rc == 0) /* a failure leaves it to the handles there are, else to the next open */
        rc = store_renew_locked(s);
    if (rc == 0) {
        s->handles++;
        serve(s, o);
    }
    store_unlock_registry();
    if (twice)
        detach_store(fresh);
    if (s != fresh)
        free_store(fresh);
    *out = s;
    return rc;
}

static int check_options(const char *name, const struct shmkv_options *o)
{
    const unsigned known = SHMKV_CREATE | SHMKV_EXCLUSIVE | SHMKV_READONLY | SHMKV_PRELOAD |
                           SHMKV_NO_KEEPER | SHMKV_KEEPER | SHMKV_CACHE | SHMKV_LIVE;
    if (name == NULL || (o->flags & ~known) != 0)
        return error_set(SHMKV_EINVAL, "open: %s",
                         name == NULL ? "the name is NULL" : "unknown flags");
    if ((o->flags & SHMKV_EXCLUSIVE) != 0 && (o->flags & SHMKV_CREATE) == 0)
        return error_set(SHMKV_EINVAL, "%s: SHMKV_EXCLUSIVE needs SHMKV_CREATE", name);
    if ((o->flags & SHMKV_CREATE) != 0 && (o->flags & SHMKV_READONLY) != 0)
        return error_set(SHMKV_EINVAL, "%s: SHMKV_CREATE and SHMKV_READONLY exclude each other",
                         name);
    if ((o->flags & SHMKV_CACHE) != 0 && !store_is_volatile(name))
        return error_set(SHMKV_ENOTSUP, "%s: a cache has no image: its name must be shm:NAME",
                         name);
    if ((o->flags & SHMKV_KEEPER) != 0 && (o->flags & (SHMKV_READONLY | SHMKV_NO_KEEPER)) != 0)
        return error_set(SHMKV_EINVAL, "%s: SHMKV_KEEPER excludes %s", name,
                         (o->flags & SHMKV_READONLY) != 0 ? "SHMKV_READONLY" : "SHMKV_NO_KEEPER");
    return 0;
}

int shmkv_open(const char *name, const struct shmkv_options *opt, struct shmkv **db)
{
    static const struct shmkv_options defaults;
    const struct shmkv_options *o = opt != NULL ? opt : &defaults;
    if (db == NULL)
        return error_set(SHMKV_EINVAL, "open: the result is NULL");
    *db = NULL;
    int rc = check_options(name, o);
    if (rc == 0)
        rc = fork_init();
    if (rc != 0)
        return rc;
    struct shmkv *handle = calloc(1, sizeof(*handle));
    if (handle == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for a handle", name);
    epoch_register_process();
    struct store *s = NULL;
    rc = open_handle(name, o, &s);
    if (rc != 0) {
        free(handle);
        return rc;
    }
    if ((o->flags & SHMKV_PRELOAD) != 0)
        arena_preload(&s->arena);
    store_relaxed(&handle->store, s); /* relaxed: not shared yet */
    *db = handle;
    return 0;
}

/* ---- close --------------------------------------------------------------------------------- */

/* Of the store, if nobody else will make it. */
static int last_checkpoint(struct store *s)
{
    struct participant p;
    int rc = s->durable.path != NULL ? epoch_join(&p, &s->arena, s->process.index) : SHMKV_ENOTSUP;
    if (rc != 0)
        return 0; /* nothing to be written, or nobody to do it: as after a death */
    rc = durable_finish(&s->durable, &p);
    epoch_leave(&p);
    return rc;
}

static void begin_close_locked(struct store *s)
{
    store_unregister_locked(s);
    store_end_contexts_locked(s);
    store_begin_change_locked(s);
}

/* Nobody has a handle on it any more. */
static int close_store(struct store *s)
{
    int rc = 0;
    if (s->fork_word == fork_word()) {
        keeper_stop(&s->keeper);
        if (!s->arena.readonly)
            rc = last_checkpoint(s);
    }
    detach_store(s);
    POINT("store.closed");
    store_lock_registry();
    store_end_change_locked(s);
    store_unlock_registry();
    free_store(s);
    return rc;
}

/* Keep the last few closed handles, so that a call on one is told what is wrong. */
static void bury(struct shmkv *db)
{
    db->next = NULL;
    *(closed_last == NULL ? &closed_first : &closed_last->next) = db;
    closed_last = db;
    if (closed_count++ < CLOSED_KEPT)
        return;
    struct shmkv *oldest = closed_first;
    closed_first = oldest->next;
    closed_count--;
    free(oldest);
}

int shmkv_close(struct shmkv *db)
{
    if (db == NULL)
        return 0;
    struct store *s = load_relaxed(&db->store); /* relaxed: as in store_context() */
    int rc = 0;
    if (s != NULL && s->fork_word == fork_word()) /* without the lock: its function may need it */
        rc = warn_unset(&s->warn, db);
    if (rc != 0)
        return rc;
    store_lock_registry();
    s = load_relaxed(&db->store);
    bool last = s != NULL && --s->handles == 0;
    if (s != NULL) {
        store_relaxed(&db->store, NULL);
        store_forget_context();
        bury(db);
    }
    if (last)
        begin_close_locked(s);
    store_unlock_registry();
    if (s == NULL)
        return error_set(SHMKV_ECLOSED, "the handle was closed before this call");
    return last ? close_store(s) : 0;
}
