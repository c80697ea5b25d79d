/* SPDX-License-Identifier: MIT */
/*
 * oracle.c - see oracle.h.
 *
 * One test needs liburcu-cds, so it is loaded when that test runs, and no program is linked to it.
 * There is one thread, so what is removed may be freed at once.
 */
#define _GNU_SOURCE
#include "oracle.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <urcu.h>
#include <urcu/rculfhash.h>

#define BUCKETS 32768u

struct node {
    struct cds_lfht_node lfht; /* first, so that it is easy to come from one to the other */
    struct oracle_item item;
};

/* The functions of liburcu-cds. */
struct functions {
    __typeof__(_cds_lfht_new) *new;
    __typeof__(cds_lfht_lookup) *lookup;
    __typeof__(cds_lfht_add) *add;
    __typeof__(cds_lfht_del) *del;
    __typeof__(cds_lfht_first) *first;
    __typeof__(cds_lfht_next) *next;
    __typeof__(cds_lfht_destroy) *destroy;
};

struct oracle {
    struct functions f;
    void *library;
    struct cds_lfht *table;
    size_t count;
};

/* A function pointer out of a void pointer, as POSIX wants it. */
static bool find_function(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof(found));
    return found != NULL;
}

static bool find_functions(void *library, struct functions *f)
{
    return find_function(library, "_cds_lfht_new", &f->new) &&
           find_function(library, "cds_lfht_lookup", &f->lookup) &&
           find_function(library, "cds_lfht_add", &f->add) &&
           find_function(library, "cds_lfht_del", &f->del) &&
           find_function(library, "cds_lfht_first", &f->first) &&
           find_function(library, "cds_lfht_next", &f->next) &&
           find_function(library, "cds_lfht_destroy", &f->destroy);
}

struct oracle *oracle_open(void)
{
    void *library = dlopen("liburcu-cds.so.8", RTLD_NOW);
    struct oracle *o = calloc(1, sizeof(*o));
    if (library == NULL || o == NULL || !find_functions(library, &o->f)) {
        free(o);
        return NULL;
    }
    o->library = library;
    rcu_register_thread();
    o->table = o->f.new(BUCKETS, BUCKETS, BUCKETS, 0, NULL, &rcu_flavor, NULL);
    return o;
}

void oracle_clear(struct oracle *o)
{
    struct cds_lfht_iter it;
    rcu_read_lock();
    o->f.first(o->table, &it);
    while (o->count > 0) {
        struct node *n = (struct node *)cds_lfht_iter_get_node(&it);
        o->f.next(o->table, &it);
        oracle_remove(o, &n->item);
    }
    rcu_read_unlock();
}

void oracle_close(struct oracle *o)
{
    oracle_clear(o);
    o->f.destroy(o->table, NULL);
    rcu_unregister_thread();
    dlclose(o->library);
    free(o);
}

struct wanted {
    const void *key;
    size_t klen;
};

static int match(struct cds_lfht_node *node, const void *key)
{
    const struct oracle_item *item = &((struct node *)node)->item;
    const struct wanted *w = key;
    return item->klen == w->klen && memcmp(item->key, w->key, w->klen) == 0;
}

/* FNV-1a: anything but the store's own. */
static unsigned long hash_of(const void *key, size_t klen)
{
    unsigned long h = 14695981039346656037ul;
    for (size_t i = 0; i < klen; i++)
        h = (h ^ ((const unsigned char *)key)[i]) * 1099511628211ul;
    return h;
}

struct oracle_item *oracle_find(struct oracle *o, const void *key, size_t klen)
{
    struct wanted w = {.key = key, .klen = klen};
    struct cds_lfht_iter it;
    rcu_read_lock();
    o->f.lookup(o->table, hash_of(key, klen), match, &w, &it);
    struct node *n = (struct node *)cds_lfht_iter_get_node(&it);
    rcu_read_unlock();
    return n != NULL ? &n->item : NULL;
}

static struct oracle_item *add(struct oracle *o, const void *key, size_t klen)
{
    struct node *n = calloc(1, sizeof(*n));
    if (n == NULL || klen > ORACLE_KEY_MAX)
        abort();
    memcpy(n->item.key, key, klen);
    n->item.klen = klen;
    cds_lfht_node_init(&n->lfht);
    rcu_read_lock();
    o->f.add(o->table, hash_of(key, klen), &n->lfht);
    rcu_read_unlock();
    o->count++;
    return &n->item;
}

struct oracle_item *oracle_put(struct oracle *o, const void *key, size_t klen, const void *value,
                               size_t size)
{
    struct oracle_item *item = oracle_find(o, key, klen);
    char *copy = malloc(size + 1);
    if (copy == NULL)
        abort();
    memcpy(copy, value, size);
    if (item == NULL)
        item = add(o, key, klen);
    free(item->value);
    item->value = copy;
    item->size = size;
    item->version = 0;
    item->expires = 0;
    return item;
}

void oracle_remove(struct oracle *o, struct oracle_item *item)
{
    struct node *n = (struct node *)((char *)item - offsetof(struct node, item));
    rcu_read_lock();
    if (o->f.del(o->table, &n->lfht) != 0)
        abort();
    rcu_read_unlock();
    o->count--;
    free(item->value);
    free(n);
}

size_t oracle_count(const struct oracle *o)
{
    return o->count;
}
