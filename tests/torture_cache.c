/* SPDX-License-Identifier: MIT */
/*
 * torture_cache.c [SECONDS] [RANDOM] - many processes on one small cache, killed at random.
 *
 * Each worker owns every WORKERS-th key.  It alone writes these, and notes in a shared mapping what
 * it is about to write, and then that it did; it reads its own and everybody's, by get and by
 * get_many.  What it may see of its own key: what it wrote last, or nothing, since a cache evicts;
 * of a key that it deleted: nothing.  Of another's: a whole value, no older than what was noted as
 * written before the read.  Who takes a killed worker's place may find what that one had begun.
 */
#define _GNU_SOURCE
#include "audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blob.h"
#include "child.h"
#include "clock.h"
#include "gang.h"

#define MS 1000000ull
#define WORKERS 6u
#define KEYS 60000u /* several times as many as there is room for */
#define HOT 600u
#define VALUE_BYTES 60u
#define BIG_IN 1000u          /* one of so many keys has a value larger than a segment */
#define BIG_BYTES (66u << 10) /* at least */
#define BIG_MOST (4u * BIG_BYTES)
#define SIZE (4u << 20)
#define KILL_MOST_MS 8u
#define MANY 16u
#define END_MS 20000u

/*
 * Of each key the sequence that was written last, and that of the write that was begun last; they
 * grow with each write.  A sequence with the bit DELETED is a delete.
 */
#define DELETED 1u
struct notes {
    _Atomic uint32_t stop;
    _Atomic uint64_t reads, hits;
    _Atomic uint32_t done[KEYS], begun[KEYS];
};

struct torture {
    struct notes *notes;
    struct shmkv *db;
    char store[64];
    struct gang gang;
    unsigned cases, failed;
};

struct worker {
    struct torture *torture;
    unsigned index;
    uint64_t random;
};

/* ---- one worker ---------------------------------------------------------------------------- */

static size_t size_of(uint64_t key)
{
    if (key % BIG_IN != 7)
        return VALUE_BYTES;
    return BIG_BYTES * (1 + key / BIG_IN % (BIG_MOST / BIG_BYTES));
}

static uint64_t own_key(struct worker *w)
{
    uint64_t r = blob_random(&w->random);
    uint64_t n = r % 4 == 0 ? HOT : KEYS;
    return (r >> 32) % (n / WORKERS) * WORKERS + w->index;
}

/* The value of @key at @item is whole; 0, or the sequence. */
static uint32_t sequence_of(const struct shmkv_item *item, uint64_t key)
{
    uint64_t sequence;
    child_assert(item->size == size_of(key));
    child_assert(blob_read(item->value, item->size, key, &sequence));
    child_assert((sequence & DELETED) == 0 && sequence != 0);
    return (uint32_t)sequence;
}

/* @before: what was noted as done before the read.  A deleted key's older values are older. */
static void judge_other(const struct torture *t, uint64_t key, uint32_t before,
                        const struct shmkv_item *item)
{
    uint32_t seen = sequence_of(item, key);
    child_assert(seen >= before);
    child_assert(seen <= load_acquire(&t->notes->begun[key]));
}

/* Its own key: exactly what was written last, or evicted. */
static void read_own(struct worker *w, uint64_t key)
{
    struct torture *t = w->torture;
    struct shmkv_section section;
    struct shmkv_item item;
    child_assert(shmkv_begin(t->db, &section) == 0);
    int rc = shmkv_get(&section, &key, sizeof(key), &item);
    child_assert(rc == 0 || rc == SHMKV_ENOTFOUND);
    if (rc == 0)
        child_assert(sequence_of(&item, key) == load_relaxed(&t->notes->done[key]));
    shmkv_end(&section);
    add_seq_cst(&t->notes->reads, 1);
    add_seq_cst(&t->notes->hits, rc == 0);
}

static void read_others(struct worker *w)
{
    struct torture *t = w->torture;
    uint64_t keys[MANY];
    uint32_t before[MANY];
    struct shmkv_bytes names[MANY];
    struct shmkv_item items[MANY];
    struct shmkv_section section;
    for (unsigned i = 0; i < MANY; i++) {
        keys[i] = blob_random(&w->random) % (i % 2 == 0 ? HOT : KEYS);
        before[i] = load_acquire(&t->notes->done[keys[i]]);
        names[i] = (struct shmkv_bytes){&keys[i], sizeof(keys[i])};
    }
    child_assert(shmkv_begin(t->db, &section) == 0);
    int found = shmkv_get_many(&section, names, MANY, items);
    child_assert(found >= 0);
    for (unsigned i = 0; i < MANY; i++) {
        if (items[i].value == NULL)
            continue;
        judge_other(t, keys[i], before[i], &items[i]);
        found--;
    }
    child_assert(found == 0);
    shmkv_end(&section);
}

static void write_own(struct worker *w, uint64_t key, bool removal)
{
    struct torture *t = w->torture;
    static char value[BIG_MOST];
    size_t size = size_of(key);
    uint32_t sequence = (load_relaxed(&t->notes->begun[key]) | DELETED) + 1;
    if (removal)
        sequence |= DELETED;
    store_release(&t->notes->begun[key], sequence);
    int rc;
    if (removal) {
        rc = shmkv_delete(t->db, &key, sizeof(key));
        rc = rc == SHMKV_ENOTFOUND ? 0 : rc;
    } else {
        blob_write(value, size, key, sequence);
        rc = shmkv_put(t->db, &key, sizeof(key), value, size, NULL);
    }
    child_assert(rc == 0); /* INV-V1 */
    store_release(&t->notes->done[key], sequence);
}

/* What the dead had begun is decided by making each such key absent. */
static void take_over(struct worker *w)
{
    struct notes *n = w->torture->notes;
    for (uint64_t key = w->index; key < KEYS; key += WORKERS) {
        if (load_relaxed(&n->begun[key]) != load_relaxed(&n->done[key]))
            write_own(w, key, true);
    }
}

static int work(void *arg)
{
    struct worker *w = arg;
    struct notes *n = w->torture->notes;
    take_over(w);
    while (load_relaxed(&n->stop) == 0) {
        uint64_t key = own_key(w);
        write_own(w, key, blob_random(&w->random) % 8 == 0);
        read_own(w, key);
        read_own(w, own_key(w));
        read_others(w);
    }
    return shmkv_close(w->torture->db);
}

/* ---- the others' fate ---------------------------------------------------------------------- */

static pid_t start(void *arg, unsigned place)
{
    struct torture *t = arg;
    struct worker w = {.torture = t, .index = place, .random = blob_random(&t->gang.random)};
    return child_start(work, &w);
}

static void torture_for(struct torture *t, uint64_t ns)
{
    uint64_t begin = clock_mono_ns();
    gang_start(&t->gang);
    while (clock_mono_ns() - begin < ns && t->gang.failures == 0)
        gang_strike(&t->gang, KILL_MOST_MS);
    store_release(&t->notes->stop, 1);
    gang_wait(&t->gang, END_MS);
}

/* ---- verdicts ------------------------------------------------------------------------------ */

static void verdict(struct torture *t, bool right, const char *name)
{
    printf("%s %u - %s\n", right ? "ok" : "not ok", ++t->cases, name);
    t->failed += !right;
}

/* Keys that have what nobody wrote last, or began to. */
static unsigned wrong_keys(struct torture *t)
{
    unsigned wrong = 0;
    for (uint64_t key = 0; key < KEYS; key++) {
        static char value[BIG_MOST];
        struct shmkv_item item;
        uint64_t seen = 0;
        int rc = shmkv_read(t->db, &key, sizeof(key), value, sizeof(value), &item);
        if (rc == SHMKV_ENOTFOUND)
            continue;
        bool whole = rc == 0 && blob_read(value, item.size, key, &seen);
        wrong += !whole || (seen != t->notes->done[key] && seen != t->notes->begun[key]);
    }
    return wrong;
}

static void print_finding(void *arg, const char *line)
{
    (void)arg;
    printf("# check: %s\n", line);
}

static void judge(struct torture *t)
{
    struct shmkv_stats s = {.keys = 0};
    audit_reap(t->db);
    verdict(t, t->gang.failures == 0, "no worker saw anything torn, stale or resurrected");
    verdict(t, audit_claims(t->db) == 0, "nothing is left in the hands of the dead");
    verdict(t, wrong_keys(t) == 0, "every key has its last value, or none");
    verdict(t, shmkv_check(t->db, print_finding, NULL) == 0, "the cache checks out");
    verdict(t, shmkv_get_stats(t->db, &s) == 0 && s.memory <= s.size, "memory is bounded");
    printf("# %" PRIu64 " deaths, %" PRIu64 " puts, %" PRIu64 " deletes, %" PRIu64
           " evictions, %" PRIu64 " of %" PRIu64 " reads of own keys hit\n",
           t->gang.deaths, s.puts, s.deletes, s.evictions, t->notes->hits, t->notes->reads);
    verdict(t, t->gang.deaths > 5 && s.evictions > KEYS / 4, "deaths and eviction took part");
}

int main(int argc, char **argv)
{
    static struct torture t;
    unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 10;
    uint64_t random = argc > 2 ? strtoull(argv[2], NULL, 0) : clock_mono_ns();
    t.gang = (struct gang){.places = WORKERS, .start = start, .arg = &t, .random = random};
    t.notes =
        mmap(NULL, sizeof(*t.notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (t.notes == MAP_FAILED)
        return 1;
    snprintf(t.store, sizeof(t.store), "shm:torture-cache-%ld", (long)getpid());
    struct shmkv_options o = {
        .flags = SHMKV_CREATE | SHMKV_EXCLUSIVE | SHMKV_CACHE | SHMKV_NO_KEEPER, .size = SIZE};
    if (shmkv_open(t.store, &o, &t.db) != 0) {
        printf("not ok 1 - open: %s\n", shmkv_last_error());
        return 1;
    }
    printf("# %u workers, %u seconds, random numbers from %" PRIu64 "\n", WORKERS, seconds, random);
    torture_for(&t, seconds * 1000ull * MS);
    judge(&t);
    shmkv_close(t.db);
    shmkv_destroy(t.store, NULL, 1);
    printf("1..%u\n", t.cases);
    return t.failed != 0;
}
