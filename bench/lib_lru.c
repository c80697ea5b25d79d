/* SPDX-License-Identifier: MIT */
/* lib_lru.c - see lib_lru.h. */
#include "lib_lru.h"
#include "lib_memory.h"

#include <stdbool.h>

/* A ring of keys by their numbers, most recently used first; the number behind all is its head. */
struct link {
    uint32_t before, after;
};

static void unlink_key(struct link *ring, uint32_t key)
{
    ring[ring[key].before].after = ring[key].after;
    ring[ring[key].after].before = ring[key].before;
}

static void link_first(struct link *ring, uint32_t head, uint32_t key)
{
    ring[key] = (struct link){.before = head, .after = ring[head].after};
    ring[ring[head].after].before = key;
    ring[head].after = key;
}

uint64_t lru_misses(const struct trace *t, uint64_t capacity, uint64_t from)
{
    uint32_t head = (uint32_t)t->unique;
    struct link *ring = memory_get((t->unique + 1) * sizeof(*ring));
    bool *held = memory_get(t->unique);
    uint64_t count = 0, misses = 0;
    ring[head] = (struct link){.before = head, .after = head};
    for (uint64_t i = 0; i < t->requests; i++) {
        uint32_t key = t->key[i];
        if (held[key]) {
            unlink_key(ring, key);
        } else {
            misses += i >= from;
            held[key] = true;
            uint32_t last = ring[head].before;
            if (count++ == capacity) {
                held[last] = false;
                unlink_key(ring, last);
                count--;
            }
        }
        link_first(ring, head, key);
    }
    memory_put(ring, (t->unique + 1) * sizeof(*ring));
    memory_put(held, t->unique);
    return misses;
}
