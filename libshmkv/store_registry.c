/* SPDX-License-Identifier: MIT */
/*
 * store_registry.c - the stores that this process has open, and those that it opens or closes.
 *
 * The registry lock is a word that holds the fork word of the process whose thread has it: a child
 * made while another thread of its parent had the lock finds a foreign word, and takes it.  The
 * lists it guards are only spliced by single stores, so the child finds them whole.
 *
 * What takes long is done without it: a store that is being opened (its image may be loaded) or
 * closed (a last checkpoint) is in another list meanwhile, under the key by which it is asked for.
 * Who asks for the same sleeps until that has ended; everybody else goes on.  In a child the stores
 * of that list are those of threads that it does not have, and are passed over.
 *
 *   opening:  - -> changing -> registered, or freed after an error
 *   closing:  registered -> changing -> freed
 */
#include <sched.h>
#include <signal.h>
#include <string.h>

#include "fork.h"
#include "futex.h"
#include "store_parts.h"

#define CHANGE_NS 100000000ll /* between looks for the end of another thread's change */

static struct store *stores;
static struct store *changing;
static _Atomic uint32_t changes; /* futex: how often a store has left that list */
static _Atomic uint64_t registry_word;
static sigset_t registry_mask; /* of the thread that has the lock */

void store_lock_registry(void)
{
    sigset_t all, before;
    if (fork_word() == 0)
        fork_renew();
    uint64_t mine = fork_word();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (;;) {
        uint64_t holder = load_relaxed(&registry_word);
        if (holder != mine && cas_acq_rel(&registry_word, &holder, mine))
            break; /* pairs with store_unlock_registry [F1] */
        sched_yield();
    }
    registry_mask = before;
}

void store_unlock_registry(void)
{
    sigset_t before = registry_mask;
    store_release(&registry_word, 0); /* pairs with store_lock_registry [F1] */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void enlist(struct store **list, struct store *s)
{
    s->next = *list;
    *list = s;
}

static void take_off(struct store **list, const struct store *s)
{
    while (*list != s)
        list = &(*list)->next;
    *list = s->next;
}

/* ---- stores that are open ------------------------------------------------------------------ */

struct store *store_registered_locked(const char *name, const struct shmkv_options *o)
{
    bool readonly = (o->flags & SHMKV_READONLY) != 0;
    for (struct store *s = stores; s != NULL; s = s->next) {
        bool same =
            store_is_volatile(name) ? strcmp(s->arena.name, name) == 0 : store_is_image(s, name);
        if (s->arena.readonly == readonly && same && arena_found_in(&s->arena, o->shm_dir))
            return s;
    }
    return NULL;
}

void store_register_locked(struct store *s)
{
    enlist(&stores, s);
}

void store_unregister_locked(const struct store *s)
{
    take_off(&stores, s);
}

/* ---- stores that are being opened or closed ------------------------------------------------ */

void store_begin_change_locked(struct store *s)
{
    enlist(&changing, s);
}

void store_end_change_locked(const struct store *s)
{
    take_off(&changing, s);
    add_relaxed(&changes, 1); /* relaxed, as the load: ordered by the lock */
    futex_wake(&changes, INT_MAX);
}

static bool is_changing(const char *key)
{
    const struct store *s = changing;
    while (s != NULL && (s->fork_word != fork_word() || strcmp(s->key, key) != 0))
        s = s->next;
    return s != NULL;
}

void store_await_change_locked(const char *key)
{
    while (is_changing(key)) {
        uint32_t seen = load_relaxed(&changes);
        store_unlock_registry();
        futex_wait(&changes, seen, CHANGE_NS);
        store_lock_registry();
    }
}
