/* SPDX-License-Identifier: MIT */
/*
 * process.h - which processes are attached, and which of them live.
 */
#ifndef SHMKV_PROCESS_H
#define SHMKV_PROCESS_H

#include "arena.h"
#include "fork.h"

/* This process' membership in one store. */
struct process {
    const struct arena *arena;
    uint32_t index;     /* of its process entry */
    void *lock_page;    /* the mapping that keeps the lock byte; see process.c */
    uint64_t fork_word; /* fork_word() at registration */
};

/*
 * process_join() - take a process entry: its lock byte, then the entry.  An entry whose owner died
 * is first given to @reap (which must clear all that the dead process claimed), then reused; if
 * @reap is NULL it is passed over.
 * Return: 0, SHMKV_ELIMIT, SHMKV_EDEFUNCT (the store was removed), SHMKV_ENOSPC, SHMKV_ESYSTEM.
 */
int process_join(struct process *p, const struct arena *a,
                 void (*reap)(void *arg, uint32_t process), void *arg);
/* Leave in good order; no participant of this process may be left. */
void process_leave(struct process *p);

/*
 * process_reap_dead() - for each entry in use whose lock byte is free: hold the byte, call @reap,
 * free the entry.  Returns the number reaped.  Safe to call from any thread of any process.
 */
unsigned process_reap_dead(const struct arena *a, uint32_t self,
                           void (*reap)(void *arg, uint32_t process), void *arg);
/* How many processes are attached, without those that have died; with them, if that cannot be asked
 * because the store was removed or descriptors are short. */
uint32_t process_count(const struct arena *a, uint32_t self);
/* True if the lock byte of @process is held by someone (or it is @self). */
bool process_alive(const struct arena *a, uint32_t self, uint32_t process);

/*
 * process_lock_page() - take an OFD lock on @byte of the sync object (shared or exclusive) that
 * lives exactly as long as the returned mapping in this address space: not inherited by fork,
 * survives closefrom(), gone at kill -9.  NULL with *@rc = SHMKV_EBUSY if the lock is held.
 */
void *process_lock_page(const struct arena *a, uint64_t byte, bool exclusive, int *rc);
void process_unlock_page(void *page);

#endif
