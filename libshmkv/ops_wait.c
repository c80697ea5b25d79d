/* SPDX-License-Identifier: MIT */
/* ops_wait.c - the public calls that sleep until something changes. */
#include "clock.h"
#include "error.h"
#include "notify.h"
#include "ops.h"

#define NS_PER_MS 1000000

/* What is waited for. */
struct target {
    struct context *c;
    const void *key;
    size_t klen;
    uint64_t hash;
    uint64_t seen; /* the version, or the ticket */
};

/* Has it changed?  1, 0, or a negative code. */
typedef int look_fn(struct target *t);

/* INT64_MAX ns are 292 years: more milliseconds than that are no limit, as negative ones. */
static uint64_t deadline_of(int64_t timeout_ms)
{
    if (timeout_ms < 0 || timeout_ms > INT64_MAX / NS_PER_MS)
        return UINT64_MAX;
    return clock_mono_ns() + (uint64_t)timeout_ms * NS_PER_MS;
}

static int check_waitable(const struct context *c)
{
    if (load_relaxed(&c->writer.self.entry->reading) != 0) /* own word */
        return error_set(SHMKV_EINVAL,
                         "%s: a wait inside the caller's own read section would hold memory back; "
                         "end the section first",
                         c->store->arena.name);
    return 0;
}

/* A store that is removed is not written any more: nobody would wake us. */
static int check_defunct(const struct arena *a)
{
    if (load_relaxed(&a->sb->state) != STORE_DEFUNCT) /* relaxed: final, and no order needed */
        return 0;
    return error_set(SHMKV_EDEFUNCT, "%s: the store was destroyed while a wait was under way",
                     a->name);
}

/* 0, as soon as @look says so. */
static int wait_until(struct target *t, unsigned word, look_fn *look, int64_t timeout_ms)
{
    const struct arena *a = &t->c->store->arena;
    uint64_t deadline = deadline_of(timeout_ms);
    struct notify_wait n = {.self = &t->c->writer.self, .word = word};
    int rc = look(t);
    if (rc == 0 && timeout_ms == 0)
        return error_code(SHMKV_ETIMEOUT);
    while (rc == 0) {
        notify_arm(&n);
        rc = look(t);
        if (rc == 0)
            rc = check_defunct(a);
        uint64_t now = clock_mono_ns();
        if (rc == 0 && now >= deadline)
            rc = error_code(SHMKV_ETIMEOUT);
        if (rc == 0) {
            notify_sleep(&n, deadline - now);
            rc = look(t); /* mostly that is it, and whoever woke us took our arming away */
        }
        if (rc != 0)
            notify_disarm(&n);
    }
    return rc < 0 ? rc : 0;
}

static int look_at_key(struct target *t)
{
    const struct participant *p = &t->c->writer.self;
    int rc;
    uint64_t outer = epoch_enter(p);
    const struct record *r = ops_find(t->c, t->key, t->klen, t->hash, &rc);
    bool differs = (r != NULL ? r->version : 0) != t->seen;
    epoch_exit(p, outer);
    if (rc != 0)
        return error_set(rc, "%s: the index is damaged; shmkv check lists where", p->arena->name);
    return differs;
}

int shmkv_wait(struct shmkv *db, const void *key, size_t klen, uint64_t seen, int64_t timeout_ms)
{
    struct context *c;
    int rc = store_context(db, &c);
    if (rc == 0)
        rc = ops_check_key(key, klen);
    if (rc == 0)
        rc = check_waitable(c);
    if (rc != 0)
        return rc;
    struct target t = {.c = c, .key = key, .klen = klen, .seen = seen};
    t.hash = hash_key(key, klen, &c->store->arena.hash_secret);
    return wait_until(&t, notify_word(t.hash), look_at_key, timeout_ms);
}

/* What the new ticket counts must be visible to the caller: the fence makes each writer's CAS,
 * which comes before its counter, as visible as the counter was; x86 would not need it. */
static int look_at_ticket(struct target *t)
{
    const struct arena *a = &t->c->store->arena;
    uint64_t ticket = notify_ticket(a);
    if (ticket == t->seen)
        return 0;
    t->seen = ticket;
    epoch_fence_all(a);
    return 1;
}

int shmkv_wait_any(struct shmkv *db, uint64_t *ticket, int64_t timeout_ms)
{
    struct context *c;
    int rc = store_context(db, &c);
    if (rc == 0)
        rc = check_waitable(c);
    if (rc != 0)
        return rc;
    if (ticket == NULL)
        return error_set(SHMKV_EINVAL, "wait_any: the ticket is NULL");
    struct target t = {.c = c, .seen = *ticket}; /* 0 is no ticket: it differs */
    rc = wait_until(&t, NOTIFY_ANY, look_at_ticket, timeout_ms);
    *ticket = t.seen;
    return rc;
}
