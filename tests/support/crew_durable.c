/* SPDX-License-Identifier: MIT */
/*
 * crew_durable.c - see crew.h: what is durable, and what a recovery has brought back.
 *
 * A syncer takes down what was acknowledged, syncs, and tells it to all when that has returned 0;
 * if it dies in between, less is known than is true.  What is told only grows.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "blob.h"
#include "child.h"
#include "crew_parts.h"

#define NAME_BYTES 48u
#define SYNC_MS 60000
#define CAUSE_LARGE 70000u /* more than a segment of a small store */
#define QUEUE_LOOK 100u    /* so many keys before those that may be there */

/* ---- syncs --------------------------------------------------------------------------------- */

/* What was acknowledged before a sync. */
struct notes {
    uint64_t keys[CREW_KEYS], sums[CREW_SUMS];
    uint64_t queue_next[CREW_PLACES], causes[CREW_PLACES];
};

static void take_down(const struct crew *crew, struct notes *n)
{
    for (uint64_t i = 0; i < CREW_KEYS; i++)
        n->keys[i] = load_seq_cst(&crew->keys[i].acked);
    for (uint64_t i = 0; i < CREW_SUMS; i++)
        n->sums[i] = crew_sum_acked(crew, i);
    for (unsigned p = 0; p < CREW_PLACES; p++) {
        n->queue_next[p] = load_seq_cst(&crew->places[p].queue_next);
        n->causes[p] = load_seq_cst(&crew->places[p].cause_acked);
    }
}

static void tell(struct crew_durable *d, const struct notes *n)
{
    for (uint64_t i = 0; i < CREW_KEYS; i++)
        max_seq_cst(&d->keys[i], n->keys[i]);
    for (uint64_t i = 0; i < CREW_SUMS; i++)
        max_seq_cst(&d->sums[i], n->sums[i]);
    for (unsigned p = 0; p < CREW_PLACES; p++) {
        max_seq_cst(&d->queue_next[p], n->queue_next[p]);
        max_seq_cst(&d->causes[p], n->causes[p]);
    }
    add_seq_cst(&d->syncs, 1);
}

void crew_sync(struct worker *w)
{
    struct notes n;
    take_down(w->crew, &n);
    int rc = shmkv_sync(w->db, SYNC_MS);
    child_assert(rc == 0);
    tell(&w->crew->durable, &n);
}

/* ---- causes -------------------------------------------------------------------------------- */

struct cause {
    uint64_t count;
    uint64_t seen[CREW_PLACES]; /* counts of the others, read before this was written */
};

static size_t cause_name(char *name, unsigned place)
{
    return (size_t)snprintf(name, NAME_BYTES, "cause %u", place);
}

/* All zero: it was never written. */
static struct cause read_cause(struct worker *w, unsigned place)
{
    char name[NAME_BYTES];
    struct cause c = {0};
    struct shmkv_section section;
    struct shmkv_item item;
    child_assert(shmkv_begin(w->db, &section) == 0);
    int rc = shmkv_get(&section, name, cause_name(name, place), &item);
    child_assert(rc == SHMKV_ENOTFOUND || (rc == 0 && item.size >= sizeof(c)));
    if (rc == 0)
        memcpy(&c, item.value, sizeof(c));
    shmkv_end(&section);
    return c;
}

/* Read all, then write the own one: what was read is a cause of what is written. */
static void write_cause(struct worker *w)
{
    static char value[CAUSE_LARGE];
    char name[NAME_BYTES];
    struct cause c = {.count = read_cause(w, w->index).count + 1};
    for (unsigned p = 0; p < CREW_PLACES; p++)
        c.seen[p] = p != w->index ? read_cause(w, p).count : 0;
    size_t size = blob_random(&w->random) % 16 == 0 ? sizeof(value) : sizeof(c);
    memcpy(value, &c, sizeof(c));
    crew_begin_call(w);
    int rc = shmkv_put(w->db, name, cause_name(name, w->index), value, size, NULL);
    crew_end_call(w, "put cause", rc);
    child_assert(rc == 0 || rc == SHMKV_ENOSPC || rc == SHMKV_EHELD);
    if (rc == 0)
        store_seq_cst(&w->place->cause_acked, c.count);
}

void crew_use_image(struct worker *w)
{
    if (blob_random(&w->random) % 8 == 0)
        crew_sync(w);
    else
        write_cause(w);
}

/* ---- after the loss of the memory ------------------------------------------------------------ */

static unsigned recovered_keys(struct worker *w)
{
    unsigned wrong = 0;
    for (uint64_t key = 0; key < CREW_KEYS; key++) {
        struct expect *e = &w->crew->keys[key];
        _Atomic uint64_t *durable = &w->crew->durable.keys[key];
        uint64_t version, found = crew_look(w, key, &version);
        bool right = expect_possible(load_seq_cst(durable), load_seq_cst(&e->intended), found);
        if (!right)
            printf("# key %" PRIu64 ": found %" PRIu64 ", durable %" PRIu64 ", intended %" PRIu64
                   "\n",
                   key, found, load_seq_cst(durable), load_seq_cst(&e->intended));
        wrong += !right;
        if (!expect_present(found))
            found = expect_state(load_seq_cst(&e->given), false);
        store_seq_cst(&e->acked, found);
        store_seq_cst(&e->intended, found);
        store_seq_cst(&e->owner, 0);
        store_seq_cst(durable, found);
    }
    return wrong;
}

static unsigned recovered_sums(struct worker *w, uint64_t deaths)
{
    struct crew *crew = w->crew;
    unsigned wrong = 0;
    for (uint64_t i = 0; i < CREW_SUMS; i++) {
        uint64_t sum = crew_sum_now(w, i), durable = load_seq_cst(&crew->durable.sums[i]);
        bool right = sum >= durable && sum <= crew_sum_acked(crew, i) + deaths;
        if (!right)
            printf("# sum %" PRIu64 " is %" PRIu64 ", durable %" PRIu64 "\n", i, sum, durable);
        wrong += !right;
        for (unsigned p = 0; p < CREW_PLACES; p++)
            store_seq_cst(&crew->places[p].sums_acked[i], p == 0 ? sum : 0);
        store_seq_cst(&crew->durable.sums[i], sum);
    }
    return wrong;
}

/*
 * Each put of a queue comes after the removal of the one before: of those since the last sync at
 * most one is there, and none of older ones.
 */
static unsigned recovered_queue(struct worker *w, unsigned place)
{
    uint64_t next = load_seq_cst(&w->crew->places[place].queue_next);
    uint64_t durable = load_seq_cst(&w->crew->durable.queue_next[place]), there = 0;
    unsigned wrong = 0;
    for (uint64_t n = durable > QUEUE_LOOK ? durable - QUEUE_LOOK : 1; n <= next; n++) {
        if (!crew_is_queued(w, place, n))
            continue;
        wrong += n < durable || there != 0;
        if (n < durable || there != 0)
            printf("# queue %u %" PRIu64 " is there, durable %" PRIu64 ", another %" PRIu64 "\n",
                   place, n, durable, there);
        there = n;
    }
    if (there != 0) { /* who comes next removes the last one only */
        uint64_t last = next;
        store_seq_cst(&w->crew->places[place].queue_next, there);
        crew_take_over_queue(&(struct worker){
            .crew = w->crew, .place = &w->crew->places[place], .db = w->db, .index = place});
        store_seq_cst(&w->crew->places[place].queue_next, last);
    }
    return wrong;
}

/* No cause is missing of an effect that is there. */
static unsigned recovered_causes(struct worker *w)
{
    struct cause all[CREW_PLACES];
    unsigned wrong = 0;
    for (unsigned p = 0; p < CREW_PLACES; p++)
        all[p] = read_cause(w, p);
    for (unsigned p = 0; p < CREW_PLACES; p++) {
        uint64_t durable = load_seq_cst(&w->crew->durable.causes[p]);
        if (all[p].count < durable)
            printf("# cause %u is %" PRIu64 ", durable %" PRIu64 "\n", p, all[p].count, durable);
        wrong += all[p].count < durable;
        for (unsigned q = 0; q < CREW_PLACES; q++) {
            if (all[p].seen[q] <= all[q].count)
                continue;
            printf("# cause %u had seen %" PRIu64 " of %u, which is %" PRIu64 "\n", p,
                   all[p].seen[q], q, all[q].count);
            wrong++;
        }
        store_seq_cst(&w->crew->places[p].cause_acked, all[p].count);
        store_seq_cst(&w->crew->durable.causes[p], all[p].count);
    }
    return wrong;
}

unsigned crew_recovered(struct worker *w, uint64_t deaths)
{
    unsigned wrong = recovered_keys(w) + recovered_sums(w, deaths) + recovered_causes(w);
    for (unsigned p = 0; p < CREW_PLACES; p++)
        wrong += recovered_queue(w, p);
    return wrong;
}
