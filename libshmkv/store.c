/* SPDX-License-Identifier: MIT */
/*
 * store.c - opening and closing; the registry of this process' stores; contexts of its threads.
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
 *
 * One image may be asked for by two names that only its inode shows to be one (hard links).  Then
 * it may be opened twice at once; who comes second to the registry closes his and takes the first.
 *                                                                                    crash_opening
 */
#define _GNU_SOURCE
#include "store.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "evict.h"
#include "futex.h"
#include "point.h"
#include "reap.h"

#define CLOSED_KEPT 64u        /* closed handles that still say SHMKV_ECLOSED */
#define FIRST_PART 16384u      /* of a store's size, for its first table, */
#define FIRST_SLOTS (1u << 15) /* which has no more than these if none was asked for */
#define CHANGE_NS 100000000ll  /* between looks for the end of another thread's change */
#define KEEPER_AFTER 64u       /* writes of a thread after which a keeper is worth while */

static struct context nobody; /* belongs to no store */
_Thread_local struct context *store_current = &nobody;
static _Thread_local struct context *thread_contexts;

static struct store *stores;
static struct store *changing;
static _Atomic uint32_t changes; /* futex: how often a store has left that list */
static struct shmkv *closed_first, *closed_last;
static unsigned closed_count;
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static _Atomic uint64_t registry_word;
static sigset_t registry_mask; /* of the thread that has the lock */

/* Signals wait meanwhile: a handler's first use of a handle would spin on its own thread's lock. */
static void registry_lock(void)
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
            break; /* pairs with registry_unlock [F1] */
        sched_yield();
    }
    registry_mask = before;
}

static void registry_unlock(void)
{
    sigset_t before = registry_mask;
    store_release(&registry_word, 0); /* pairs with registry_lock [F1] */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- contexts ------------------------------------------------------------------------------ */

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

/* In a child the list ends with its parent's first context: that is empty. */
static void end_thread(void *unused)
{
    (void)unused;
    registry_lock();
    while (thread_contexts != NULL && thread_contexts->ours) {
        struct context *c = thread_contexts;
        thread_contexts = c->sibling;
        if (c->store != NULL)
            end_context(c->store, c);
        free_context(c);
    }
    thread_contexts = NULL;
    store_current = &nobody;
    registry_unlock();
}

static void make_exit_key(void)
{
    pthread_key_create(&exit_key, end_thread);
}

/* ---- after fork ---------------------------------------------------------------------------- */

static reap_fn *reaper_of(const struct store *s)
{
    return s->arena.readonly ? NULL
                             : reap_process; /* whose mapping cannot be written mends nothing */
}

/* First use in a child: everything of the parent's is left alone, our own is made. */
static int renew(struct store *s)
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
        rc = process_join(&s->process, &s->arena, reaper_of(s), &s->arena);
    if (rc == 0)
        s->fork_word = fork_word();
    return rc;
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
    int rc = renew(s);
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
    registry_lock();
    struct store *s = load_relaxed(&db->store);
    int rc = s != NULL ? find_context_locked(s, c)
                       : error_set(SHMKV_ECLOSED, "the handle was closed before this call");
    registry_unlock();
    if (rc == 0)
        store_current = *c;
    return rc;
}

int store_check_writable(struct context *c)
{
    struct store *s = c->store;
    if (s->arena.readonly)
        return error_set(SHMKV_EREADONLY, "%s: opened with SHMKV_READONLY", s->arena.name);
    if (load_relaxed(&s->arena.sb->state) ==
        STORE_DEFUNCT) /* relaxed: final, and no order needed */
        return error_set(SHMKV_EDEFUNCT,
                         "%s: the store was removed while it was open; close it and make it anew",
                         s->arena.name);
    uint32_t after = s->durable.path != NULL ? 0 : KEEPER_AFTER; /* it writes the image */
    if (s->wants_keeper && c->writes <= after && c->writes++ == after) {
        registry_lock();
        keeper_start(&s->keeper, &s->durable, &s->warn, &s->process, s->service);
        registry_unlock();
    }
    c->plain = !s->wants_keeper || c->writes > after;
    return 0;
}

/* ---- explicit readers ---------------------------------------------------------------------- */

int store_add_reader(struct store *s, struct context **c)
{
    int rc;
    registry_lock();
    *c = make_context(s, &rc);
    registry_unlock();
    return rc;
}

void store_remove_reader(struct context *c)
{
    registry_lock();
    if (c->store != NULL)
        end_context(c->store, c);
    if (c->ours)
        free_context(c);
    registry_unlock();
}

/* ---- open ---------------------------------------------------------------------------------- */

/*
 * For so many keys as are expected.  If that is not known, a small part of what the store may take:
 * each resize that there is not is one that moves no keys.
 */
static uint64_t first_slots(const struct arena *a, uint64_t keys)
{
    uint64_t part = load_relaxed(&a->sb->size) / FIRST_PART / sizeof(uint64_t);
    uint64_t unknown = keys != 0 ? 0 : min_u64(pow2_up(part), FIRST_SLOTS);
    uint64_t slots = max_u64(pow2_up(keys / 7 * 8 + 8), max_u64(unknown, TABLE_MIN_SLOTS));
    return min_u64(slots, table_max_slots(a));
}

/* The first table, in a store that nobody else sees yet. */
static int build_index(const struct participant *p, uint64_t keys)
{
    const struct arena *a = p->arena;
    struct table *t;
    bool complete;
    int rc = table_claim(p, first_slots(a, keys), &t);
    if (rc == SHMKV_ENOSPC)
        return error_set(rc, "%s: the size is too small for an index of %llu keys", a->name,
                         (unsigned long long)keys);
    if (rc == 0)
        rc = table_take(a, t, UINT64_MAX, &complete);
    if (rc != 0)
        return rc;
    uint64_t quota = table_quota(t->slots);
    store_relaxed(&t->tickets, quota | TICKETS_TOPPED); /* relaxed: shown by arena_ready() */
    store_relaxed(&t->topped, quota + 1);
    table_enliven(a, table_ref(a, t));
    store_relaxed(&a->sb->root, table_ref(a, t));
    return 0;
}

static int build(struct store *s, uint64_t keys)
{
    struct participant p;
    store_relaxed(&s->arena.sb->epoch, 1); /* 0 in an entry means: in no section */
    int rc = epoch_join(&p, &s->arena, s->process.index);
    if (rc != 0)
        return rc;
    rc = build_index(&p, keys);
    epoch_leave(&p);
    return rc != 0 ? rc : arena_ready(&s->arena);
}

static bool is_volatile(const char *name)
{
    return strncmp(name, "shm:", 4) == 0;
}

static int open_volatile(struct store *s, const char *name, const struct shmkv_options *o)
{
    struct arena_options ao = {
        .create = (o->flags & SHMKV_CREATE) != 0,
        .exclusive = (o->flags & SHMKV_EXCLUSIVE) != 0,
        .readonly = (o->flags & SHMKV_READONLY) != 0,
        .cache = (o->flags & SHMKV_CACHE) != 0,
        .mode = o->mode,
        .size = o->size,
        .shm_dir = o->shm_dir,
    };
    bool created;
    int rc = arena_open(&s->arena, name, &ao, &created);
    if (rc != 0)
        return rc;
    if (s->arena.imaged) { /* nobody would write its checkpoints */
        arena_close(&s->arena);
        return error_set(SHMKV_EINVAL, "%s is the memory of an image; open that by its path", name);
    }
    rc = process_join(&s->process, &s->arena, reaper_of(s), &s->arena);
    if (rc == 0 && created) {
        rc = build(s, o->reserve);
        if (rc != 0)
            process_leave(&s->process);
    }
    if (rc != 0)
        arena_close(&s->arena);
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
    *rc = is_volatile(name) ? 0 : store_image_path(name, path);
    if (*rc != 0)
        return NULL;
    struct store *s = aligned_alloc(CACHE_LINE, align_up(sizeof(*s), CACHE_LINE));
    char *key = strdup(is_volatile(name) ? name : path);
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
    int rc = is_volatile(name) ? open_volatile(s, name, o) : store_open_image(s, name, o);
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

/* ---- stores that are being opened or closed ------------------------------------------------- */

static void begin_change_locked(struct store *s)
{
    s->next = changing;
    changing = s;
}

static void end_change_locked(const struct store *s)
{
    struct store **at = &changing;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
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

/* Until no other thread of this process opens or closes what @key names. */
static void await_change_locked(const char *key)
{
    while (is_changing(key)) {
        uint32_t seen = load_relaxed(&changes);
        registry_unlock();
        futex_wait(&changes, seen, CHANGE_NS);
        registry_lock();
    }
}

/* ---- handles -------------------------------------------------------------------------------- */

/* Keep house from now on, and before others; again in a child that opens the store anew. */
static void serve(struct store *s, const struct shmkv_options *o)
{
    if ((o->flags & SHMKV_KEEPER) == 0)
        return;
    s->wants_keeper = s->service = true;
    keeper_start(&s->keeper, &s->durable, &s->warn, &s->process, true);
}

/* A store of this process that the same open would give; NULL if there is none. */
static struct store *registered(const char *name, const struct shmkv_options *o)
{
    bool readonly = (o->flags & SHMKV_READONLY) != 0;
    for (struct store *s = stores; s != NULL; s = s->next) {
        bool same = is_volatile(name) ? strcmp(s->arena.name, name) == 0 : store_is_image(s, name);
        if (s->arena.readonly == readonly && same && arena_found_in(&s->arena, o->shm_dir))
            return s;
    }
    return NULL;
}

/* Without the lock meanwhile.  *@out is @fresh, or what was registered by another name of it. */
static int open_fresh_locked(struct store *fresh, const char *name, const struct shmkv_options *o,
                             struct store **out)
{
    fresh->fork_word = fork_word(); /* a child's, by the lock: before it is 0 there */
    begin_change_locked(fresh);
    registry_unlock();
    int rc = open_store(fresh, name, o);
    registry_lock();
    end_change_locked(fresh);
    if (rc != 0)
        return rc;
    *out = registered(name, o);
    if (*out != NULL)
        return 0;
    fresh->next = stores;
    stores = *out = fresh;
    return 0;
}

static int open_handle(const char *name, const struct shmkv_options *o, struct store **out)
{
    int rc;
    struct store *fresh = make_store(name, &rc);
    if (fresh == NULL)
        return rc;
    registry_lock();
    await_change_locked(fresh->key);
    struct store *s = registered(name, o);
    bool known = s != NULL;
    if (known && (o->flags & SHMKV_EXCLUSIVE) != 0)
        rc = error_set(SHMKV_ESTOREEXISTS, "%s: exists, and is open in this process", name);
    else if (!known)
        rc = open_fresh_locked(fresh, name, o, &s);
    bool twice = rc == 0 && !known && s != fresh;
    if (rc == 0)
        rc = renew(s); /* a failure leaves it to the handles there are, else to the next open */
    if (rc == 0) {
        s->handles++;
        serve(s, o);
    }
    registry_unlock();
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
    if ((o->flags & SHMKV_CACHE) != 0 && !is_volatile(name))
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

/* Contexts of other threads stay allocated until those threads look again, or end. */
static void begin_close_locked(struct store *s)
{
    struct store **at = &stores;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    while (s->fork_word == fork_word() && s->contexts != NULL)
        end_context(s, s->contexts);
    begin_change_locked(s);
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
    registry_lock();
    end_change_locked(s);
    registry_unlock();
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
    registry_lock();
    s = load_relaxed(&db->store);
    bool last = s != NULL && --s->handles == 0;
    if (s != NULL) {
        store_relaxed(&db->store, NULL);
        store_current = &nobody;
        bury(db);
    }
    if (last)
        begin_close_locked(s);
    registry_unlock();
    if (s == NULL)
        return error_set(SHMKV_ECLOSED, "the handle was closed before");
    return last ? close_store(s) : 0;
}
