/* SPDX-License-Identifier: MIT */
/* store_parts.h - what the store*.c files share; nobody else includes it. */
#ifndef SHMKV_STORE_PARTS_H
#define SHMKV_STORE_PARTS_H

#include "store.h"

/* ---- store_registry.c: with the lock, where the name says so ------------------------------- */

/* Signals wait meanwhile: a handler's first use of a handle would spin on its own thread's lock. */
void store_lock_registry(void);
void store_unlock_registry(void);

/* A store of this process that the same open would give; NULL if there is none. */
struct store *store_registered_locked(const char *name, const struct shmkv_options *o);
void store_register_locked(struct store *s);
void store_unregister_locked(const struct store *s);

/* From one to the other @s is being opened or closed. */
void store_begin_change_locked(struct store *s);
void store_end_change_locked(const struct store *s);
/* Until no other thread of this process opens or closes what @key names. */
void store_await_change_locked(const char *key);

/* ---- store_context.c ----------------------------------------------------------------------- */

/* This thread looks for its context anew before it uses one. */
void store_forget_context(void);
/* End all that this process has of @s. */
void store_end_contexts_locked(struct store *s);

/* ---- store_volatile.c ---------------------------------------------------------------------- */

bool store_is_volatile(const char *name);
/* Open, or make, the store @name: all but the keeper. */
int store_open_volatile(struct store *s, const char *name, const struct shmkv_options *o);

/* ---- store.c ------------------------------------------------------------------------------- */

/* As process_join(); who cannot write mends nothing of what the dead have left. */
int store_join_process(struct store *s);
/* First use in a child: everything of the parent's is left alone, our own is made. */
int store_renew_locked(struct store *s);

#endif
