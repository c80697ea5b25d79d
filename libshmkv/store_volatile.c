/* SPDX-License-Identifier: MIT */
/* store_volatile.c - opening, or making, a store that has no image: shm:NAME. */
#include <string.h>

#include "error.h"
#include "store_parts.h"

#define FIRST_PART 16384u      /* of a store's size, for its first table, */
#define FIRST_SLOTS (1u << 15) /* which has no more than these if none was asked for */

bool store_is_volatile(const char *name)
{
    return strncmp(name, "shm:", 4) == 0;
}

/*
 * For so many keys as are expected.  If that is not known, a small part of what the store may take:
 * each resize that there is not is one that moves no keys.
 */
static uint64_t first_slots(const struct arena *a, uint64_t keys)
{
    uint64_t part = load_relaxed(&a->sb->size) / FIRST_PART / sizeof(uint64_t);
    uint64_t unknown = keys != 0 ? 0 : min_u64(pow2_up(part), FIRST_SLOTS);
    keys = min_u64(keys, TABLE_KEYS_MOST);
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

int store_open_volatile(struct store *s, const char *name, const struct shmkv_options *o)
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
    rc = store_join_process(s);
    if (rc == 0 && created) {
        rc = build(s, o->reserve);
        if (rc != 0)
            process_leave(&s->process);
    }
    if (rc != 0)
        arena_close(&s->arena);
    return rc;
}
