/* SPDX-License-Identifier: MIT */
/* crew_shared.c - see crew.h: keys that all write at once, queues, and sections that are held. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blob.h"
#include "child.h"
#include "clock.h"
#include "crew_parts.h"

#define NAME_BYTES 48u
#define ANY_MOST 600u
#define TAKE_OVER_TRIES 20
#define HELD 32u
#define HOLD_MOST_NS 8000000u

static bool lacks_room(int rc)
{
    return rc == SHMKV_ENOSPC || rc == SHMKV_EHELD;
}

/* ---- sums ---------------------------------------------------------------------------------- */

static size_t sum_name(char *name, uint64_t i)
{
    return (size_t)snprintf(name, NAME_BYTES, "sum %" PRIu64, i);
}

void crew_add_sum(struct worker *w)
{
    char name[NAME_BYTES];
    uint64_t i = blob_random(&w->random) % CREW_SUMS;
    size_t n = sum_name(name, i);
    crew_begin_call(w);
    int rc = crew_end_call(w, "add to sum", shmkv_add(w->db, name, n, 1, NULL));
    child_assert(rc == 0 || lacks_room(rc));
    if (rc == 0)
        add_seq_cst(&w->place->sums_acked[i], 1);
}

uint64_t crew_sum_acked(const struct crew *crew, uint64_t i)
{
    uint64_t acked = 0;
    for (unsigned p = 0; p < CREW_PLACES; p++)
        acked += load_seq_cst(&crew->places[p].sums_acked[i]);
    return acked;
}

uint64_t crew_sum_now(struct worker *w, uint64_t i)
{
    char name[NAME_BYTES], value[32] = "0";
    size_t n = sum_name(name, i);
    shmkv_read(w->db, name, n, value, sizeof(value) - 1, NULL);
    return strtoull(value, NULL, 10);
}

/* Every addition that returned is in it; beside those only what the dead had begun. */
unsigned crew_wrong_sums(struct worker *w, uint64_t deaths)
{
    unsigned wrong = 0;
    for (uint64_t i = 0; i < CREW_SUMS; i++) {
        uint64_t acked = crew_sum_acked(w->crew, i), sum = crew_sum_now(w, i);
        bool right = sum >= acked && sum <= acked + deaths;
        if (!right)
            printf("# sum %" PRIu64 " is %" PRIu64 ", acknowledged %" PRIu64 "\n", i, sum, acked);
        wrong += !right;
    }
    return wrong;
}

/* ---- any ----------------------------------------------------------------------------------- */

/* Last writer wins; what is read is some writer's whole value. */
void crew_write_any(struct worker *w)
{
    char name[NAME_BYTES], value[ANY_MOST];
    uint64_t key = blob_random(&w->random) % CREW_ANY;
    uint64_t sequence = (uint64_t)w->index << 40 | (add_seq_cst(&w->place->any_sequence, 1) + 1);
    size_t n = (size_t)snprintf(name, sizeof(name), "any %" PRIu64, key);
    size_t size = BLOB_MIN + blob_random(&w->random) % (ANY_MOST - BLOB_MIN);
    struct shmkv_item item;
    blob_write(value, size, key, sequence);
    crew_begin_call(w);
    int rc = blob_random(&w->random) % 4 == 0 ? shmkv_delete(w->db, name, n)
                                              : shmkv_put(w->db, name, n, value, size, NULL);
    crew_end_call(w, "put any", rc);
    child_assert(rc == 0 || rc == SHMKV_ENOTFOUND || lacks_room(rc));
    crew_begin_call(w);
    rc = crew_end_call(w, "read any", shmkv_read(w->db, name, n, value, sizeof(value), &item));
    child_assert(rc == 0 || rc == SHMKV_ENOTFOUND);
    if (rc != 0)
        return;
    child_assert(blob_read(value, item.size, key, &sequence));
    const struct crew_place *p = &w->crew->places[sequence >> 40 & (CREW_PLACES - 1)];
    child_assert((sequence & ((1ull << 40) - 1)) <= load_seq_cst(&p->any_sequence));
}

/* ---- queues -------------------------------------------------------------------------------- */

static size_t queue_name(char *name, unsigned place, uint64_t n)
{
    return (size_t)snprintf(name, NAME_BYTES, "queue %u %" PRIu64, place, n);
}

/* Keys that come once and go: their tombstones must go too. */
void crew_use_queue(struct worker *w)
{
    char name[NAME_BYTES];
    size_t n = queue_name(name, w->index, add_seq_cst(&w->place->queue_next, 1) + 1);
    static const struct shmkv_put_options if_absent = {.flags = SHMKV_IF_ABSENT};
    crew_begin_call(w);
    int rc = crew_end_call(w, "put queue", shmkv_put(w->db, name, n, name, n, &if_absent));
    child_assert(rc == 0 || lacks_room(rc));
    if (rc != 0)
        return;
    do {
        crew_begin_call(w);
        rc = crew_end_call(w, "delete queue", shmkv_delete(w->db, name, n));
        child_assert(rc == 0 || lacks_room(rc));
    } while (rc != 0 && load_relaxed(&w->crew->stop) == 0);
    child_assert(rc != 0 || shmkv_exists(w->db, name, n) == SHMKV_ENOTFOUND);
}

void crew_take_over_queue(struct worker *w)
{
    char name[NAME_BYTES];
    size_t n = queue_name(name, w->index, load_seq_cst(&w->place->queue_next));
    int rc = SHMKV_EHELD;
    for (int i = 0; i < TAKE_OVER_TRIES && lacks_room(rc); i++)
        rc = shmkv_delete(w->db, name, n);
    child_assert(rc == 0 || rc == SHMKV_ENOTFOUND);
}

bool crew_is_queued(struct worker *w, unsigned place, uint64_t n)
{
    char name[NAME_BYTES];
    return shmkv_exists(w->db, name, queue_name(name, place, n)) == 0;
}

/* Each place has at most the key that its last worker died with. */
unsigned crew_wrong_queues(struct worker *w)
{
    unsigned wrong = 0;
    for (unsigned p = 0; p < CREW_PLACES; p++) {
        uint64_t next = load_seq_cst(&w->crew->places[p].queue_next);
        for (uint64_t back = 1; back < next && back < 1000; back++) {
            if (!crew_is_queued(w, p, next - back))
                continue;
            printf("# queue %u %" PRIu64 " is there again\n", p, next - back);
            wrong++;
        }
    }
    return wrong;
}

/* ---- sections ------------------------------------------------------------------------------ */

struct held {
    uint64_t key;
    struct shmkv_item item;
    uint64_t sum;
};

static uint64_t sum_of(const struct shmkv_item *item)
{
    uint64_t sum = item->size;
    for (size_t at = 0; at < item->size; at++)
        sum = sum * 31 + ((const unsigned char *)item->value)[at];
    return sum;
}

void crew_hold(struct worker *w)
{
    while (load_relaxed(&w->crew->stop) == 0) {
        struct shmkv_section section;
        struct held held[HELD];
        unsigned n = 0;
        child_assert(shmkv_begin(w->db, &section) == 0);
        for (unsigned i = 0; i < HELD; i++) {
            struct held *h = &held[n];
            *h = (struct held){.key = blob_random(&w->random) % CREW_KEYS};
            crew_begin_call(w);
            int rc = shmkv_get(&section, &h->key, sizeof(h->key), &h->item);
            crew_end_call(w, "get in section", rc);
            child_assert(rc == 0 || rc == SHMKV_ENOTFOUND);
            if (rc != 0)
                continue;
            h->sum = sum_of(&h->item);
            n++;
        }
        clock_sleep_ns(blob_random(&w->random) % HOLD_MOST_NS);
        for (unsigned i = 0; i < n; i++)
            child_assert(sum_of(&held[i].item) == held[i].sum);
        shmkv_end(&section);
    }
}
