/* SPDX-License-Identifier: MIT */
/*
 * lfht.c - liburcu's lock-free hash table as an engine: threads of one process, the memb flavour of
 * RCU with its inlined read side, nodes from malloc(), given back by call_rcu().  The table is made
 * as large as the others' index and may resize itself.
 */
#define URCU_INLINE_SMALL_FUNCTIONS
#define RCU_MEMB

#include "lib_batches.h"
#include "lib_files.h"

#include <stdlib.h>
#include <string.h>
#include <urcu.h>
#include <urcu/rculfhash.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct node {
    struct cds_lfht_node link;
    struct rcu_head rcu;
    uint32_t value_size;
    uint32_t key_size;
    char bytes[]; /* key, value */
};

struct wanted {
    const char *key;
    size_t size;
};

struct context {
    struct cds_lfht *table;
    uint64_t heap_before;
    const char *failure;
};

/* ---- operations ---------------------------------------------------------------------------- */

static inline bool peer_begin(void *context, bool write)
{
    (void)context;
    (void)write;
    return true;
}

static inline bool peer_end(void *context)
{
    (void)context;
    return true;
}

static inline struct node *node_of(struct cds_lfht_node *link)
{
    return caa_container_of(link, struct node, link);
}

static int matches(struct cds_lfht_node *link, const void *key)
{
    const struct wanted *wanted = key;
    const struct node *n = node_of(link);

    return n->key_size == wanted->size && memcmp(n->bytes, wanted->key, wanted->size) == 0;
}

static void node_free(struct rcu_head *head)
{
    free(caa_container_of(head, struct node, rcu));
}

static inline struct cds_lfht_node *find(struct context *c, const char *key, size_t size)
{
    struct wanted wanted = {key, size};
    struct cds_lfht_iter iter;

    cds_lfht_lookup(c->table, XXH3_64bits(key, size), matches, &wanted, &iter);
    return cds_lfht_iter_get_node(&iter);
}

static inline bool peer_get(void *context, const char *key, size_t size, peer_visit *visit,
                            void *argument)
{
    struct context *c = context;
    struct cds_lfht_node *link;

    rcu_read_lock();
    link = find(c, key, size);
    if (link != NULL)
        visit(node_of(link)->bytes + size, node_of(link)->value_size, argument);
    rcu_read_unlock();
    if (link == NULL)
        c->failure = "a key was not found";
    return link != NULL;
}

static inline bool peer_put(void *context, const char *key, const char *value,
                            const struct workload *w)
{
    struct context *c = context;
    struct wanted wanted = {key, w->key_size};
    struct node *n = malloc(sizeof(*n) + w->key_size + w->value_size);
    struct cds_lfht_node *old;

    if (n == NULL) {
        c->failure = "out of memory";
        return false;
    }
    cds_lfht_node_init(&n->link);
    n->key_size = (uint32_t)w->key_size;
    n->value_size = (uint32_t)w->value_size;
    memcpy(n->bytes, key, w->key_size);
    memcpy(n->bytes + w->key_size, value, w->value_size);
    rcu_read_lock();
    old = cds_lfht_add_replace(c->table, XXH3_64bits(key, w->key_size), matches, &wanted, &n->link);
    rcu_read_unlock();
    if (old != NULL)
        call_rcu(&node_of(old)->rcu, node_free);
    return true;
}

static inline bool peer_delete(void *context, const char *key, size_t size)
{
    struct context *c = context;
    struct cds_lfht_node *link;
    bool done;

    rcu_read_lock();
    link = find(c, key, size);
    done = link != NULL && cds_lfht_del(c->table, link) == 0;
    rcu_read_unlock();
    if (done)
        call_rcu(&node_of(link)->rcu, node_free);
    return done;
}

/* ---- life ---------------------------------------------------------------------------------- */

static const char *create(const struct engine_setup *setup)
{
    (void)setup;
    return NULL;
}

static void destroy(const struct engine_setup *setup)
{
    (void)setup;
}

static void enter(void *context)
{
    (void)context;
    rcu_register_thread();
}

static void leave(void *context)
{
    (void)context;
    rcu_unregister_thread();
}

static const char *attach(const struct engine_setup *setup, void **context)
{
    struct context *c = calloc(1, sizeof(*c));
    unsigned long size = setup->growing ? 64 : setup->slots;

    if (c == NULL)
        return "out of memory";
    enter(c);
    c->heap_before = peer_heap_bytes();
    c->table = cds_lfht_new(size, 64, 0, CDS_LFHT_AUTO_RESIZE | CDS_LFHT_ACCOUNTING, NULL);
    if (c->table == NULL) {
        leave(c);
        free(c);
        return "cannot make the hash table";
    }
    *context = c;
    return NULL;
}

static void detach(void *context)
{
    struct context *c = context;
    struct cds_lfht_iter iter;
    struct cds_lfht_node *link;

    rcu_read_lock();
    cds_lfht_for_each(c->table, &iter, link) if (cds_lfht_del(c->table, link) == 0)
        call_rcu(&node_of(link)->rcu, node_free);
    rcu_read_unlock();
    rcu_barrier();
    cds_lfht_destroy(c->table, NULL);
    leave(c);
    free(c);
}

static void usage(void *context, struct engine_usage *usage)
{
    struct context *c = context;

    memset(usage, 0, sizeof(*usage));
    rcu_barrier();
    usage->bytes = peer_heap_bytes() - c->heap_before;
}

static const char *explain(void *context)
{
    struct context *c = context;

    return c->failure;
}

static const struct engine lfht = {.name = "lfht",
                                   .create = create,
                                   .destroy = destroy,
                                   .attach = attach,
                                   .detach = detach,
                                   .usage = usage,
                                   .explain = explain,
                                   .enter = enter,
                                   .leave = leave,
                                   .threads = true,
                                   .reuses = true,
                                   .verify = peer_run_verify,
                                   .run = {PEER_RUNS}};
static const struct engine *const engines[] = {&lfht, NULL};

__attribute__((visibility("default"))) const struct peer bench_peer = {.engines = engines};
