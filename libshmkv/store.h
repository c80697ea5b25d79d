/* SPDX-License-Identifier: MIT */
/*
 * store.h - an open store in this process, and what each of its threads has of it.
 *
 *   struct shmkv (handle) --> struct store (one per store and process) --> struct arena
 *                                  |
 *                                  +--> struct context (one per thread or reader) --> participant
 *
 * A thread finds its context in a thread-local word; the context is valid while its fork word is
 * this process'.  A child made by fork() meets a foreign fork word and makes everything anew, so
 * that it never touches its parent's entries.
 */
#ifndef SHMKV_STORE_H
#define SHMKV_STORE_H

#include "index.h"
#include "keeper.h"
#include "process.h"
#include "shmkv.h"

struct store {
    struct arena arena;
    struct process process;
    struct keeper keeper;
    uint64_t fork_word; /* of the process that `process` belongs to */
    unsigned handles;   /* open handles on it */
    bool wants_keeper;
    bool service;             /* its keeper comes before others', and runs from the start */
    struct context *contexts; /* of this process; under the registry lock */
    struct store *next;       /* in the registry */
};

struct shmkv {
    struct store *_Atomic store; /* NULL: closed */
    struct shmkv *next;          /* of the closed ones */
};

/* One thread's, or one reader's, side of a store. */
struct context {
    struct writer writer; /* first: writer.self is what sections need */
    struct store *store;  /* NULL: the store was closed */
    uint64_t fork_word;
    bool reserved; /* a reservation is open */
    struct append reservation;
    uint32_t writes;         /* until the keeper is started */
    bool plain;              /* may write, and nothing is left to be started */
    struct context *next;    /* of the store */
    struct context *sibling; /* of the thread */
};

extern _Thread_local struct context *store_current;

/* The slow half of store_context(): registers the thread. */
int store_find_context(struct shmkv *db, struct context **c);

/* This thread's context; 0, SHMKV_ECLOSED, SHMKV_ELIMIT... with a text. */
static inline int store_context(struct shmkv *db, struct context **c)
{
    struct store *s = load_relaxed(&db->store); /* closing beside a call is the caller's error */
    *c = store_current;
    if (likely(*c != NULL && (*c)->store == s && s != NULL && (*c)->fork_word == fork_word()))
        return 0;
    return store_find_context(db, c);
}

/* The slow half of store_writer(): may this context write?  Starts the keeper in time. */
int store_check_writable(struct context *c);

/* The same for a writer: also refuses read-only handles and stores that were destroyed. */
static inline int store_writer(struct shmkv *db, struct context **c)
{
    int rc = store_context(db, c);
    return unlikely(rc != 0) ? rc : store_check_writable(*c);
}

/* Make and end a context that no thread owns. */
int store_add_reader(struct store *s, struct context **c);
void store_remove_reader(struct context *c);

#endif
