/* SPDX-License-Identifier: MIT */
/*
 * store.h - an open store in this process, and what each of its threads has of it.
 *
 *   struct shmkv (handle) --> struct store (one per store and process) --> struct arena
 *                                  |
 *                                  +--> struct context (one per thread or reader) --> participant
 *
 * A thread finds its context in a thread-local word.  Contexts lie in pages that the kernel empties
 * in a forked child (MADV_WIPEONFORK, see fork.h): there they belong to no store, have no arena and
 * no participant, so a child makes everything anew and never touches its parent's entries; and no
 * call has to ask whether there was a fork.
 */
#ifndef SHMKV_STORE_H
#define SHMKV_STORE_H

#include <limits.h>

#include "index.h"
#include "keeper.h"
#include "process.h"
#include "shmkv.h"

struct store {
    char *key; /* what it is asked for by: the path of its image, or shm:NAME */
    struct arena arena;
    struct process process;
    struct durable durable;
    struct warn warn;
    struct keeper keeper;
    uint64_t fork_word; /* of the process that `process` belongs to */
    unsigned handles;   /* open handles on it */
    bool wants_keeper;
    bool service;                     /* its keeper comes before others', and runs from the start */
    uint64_t recovered, recovered_ms; /* records loaded from the image when it was opened */
    struct context *contexts;         /* of this process; under the registry lock */
    struct store *next;               /* in the registry */
};

struct shmkv {
    struct store *_Atomic store; /* NULL: closed */
    struct shmkv *next;          /* of the closed ones */
};

/* One thread's, or one reader's, side of a store.  All zero in a child of the process. */
struct context {
    struct writer writer; /* first: writer.self is what sections need */
    struct store *store;  /* NULL: the store was closed, or the context is a parent's */
    struct store
        *unfenced; /* the same, but NULL for who must fence: a read begins without a test */
    bool reserved; /* a reservation is open */
    struct append reservation;
    uint32_t writes;         /* until the keeper is started */
    bool plain;              /* may write, and nothing is left to be started */
    bool ours;               /* made by this process: empty contexts are a parent's */
    struct context *next;    /* of the store */
    struct context *sibling; /* of the thread */
};

extern _Thread_local struct context *store_current; /* never NULL */

/* The slow half of store_context(): registers the thread. */
int store_find_context(struct shmkv *db, struct context **c);

/* The context that this thread used last, if it is of this handle's store; else NULL. */
static ALWAYS_INLINE struct context *store_last_context(const struct shmkv *db)
{
    struct store *s = load_relaxed(&db->store); /* closing beside a call is the caller's error */
    struct context *c = store_current;
    return likely(c->store == s && s != NULL) ? c : NULL;
}

/* This thread's context; 0, SHMKV_ECLOSED, SHMKV_ELIMIT... with a text. */
static inline int store_context(struct shmkv *db, struct context **c)
{
    *c = store_last_context(db);
    return likely(*c != NULL) ? 0 : store_find_context(db, c);
}

/* The slow half of store_writer(): may this context write?  Starts the keeper in time. */
int store_check_writable(struct context *c);

/* The same for a writer: also refuses read-only handles and stores that were destroyed. */
static inline int store_writer(struct shmkv *db, struct context **c)
{
    int rc = store_context(db, c);
    return unlikely(rc != 0) ? rc : store_check_writable(*c);
}

/* Open, or make, the store of the image @name, in store_image.c: all but the keeper. */
int store_open_image(struct store *s, const char *name, const struct shmkv_options *o);
/* @path: of the image @name, absolute and without symbolic links; it may not be there yet. */
int store_image_path(const char *name, char path[PATH_MAX]);
/* Is that the image of this store? */
bool store_is_image(const struct store *s, const char *name);
/* As shmkv_destroy(), in store_destroy.c. */
int store_destroy_image(const char *name, const char *shm_dir, bool force);

/* Make and end a context that no thread owns. */
int store_add_reader(struct store *s, struct context **c);
void store_remove_reader(struct context *c);

#endif
