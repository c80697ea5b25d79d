/* SPDX-License-Identifier: MIT */
/* crash_ops.c - see crash_ops.h. */
#include "crash_ops.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "blob.h"
#include "child.h"
#include "clock.h"

#define VALUE_MOST 300000u
#define HUGE 200000u      /* four segments of the usual store */
#define ONE_KEY 5u        /* what the one-key operations change */
#define FRESH_KEY 1000u   /* not there in the beginning */
#define MANY_KEYS 100000u /* of the operations of many steps, from here on */
#define HUGE_KEYS 2000u
#define FILLER 1000000u /* keys that a preparation puts and deletes */
#define LARGE 1000u
#define SOON_MS 60u
#define SQUEEZE_SLOTS 16384u /* the next table is larger than the holes that puts leave */
#define FEW_TICKETS 240u /* of the 896 of the first table; from 223 on the next one is prepared */

int crash_put(struct shmkv *db, uint64_t key, uint64_t sequence, size_t size)
{
    char value[VALUE_MOST];
    blob_write(value, size, key, sequence);
    return shmkv_put(db, &key, sizeof(key), value, size, NULL);
}

uint64_t crash_look(struct shmkv *db, uint64_t key)
{
    char value[VALUE_MOST];
    struct shmkv_item item;
    uint64_t sequence;
    int rc = shmkv_read(db, &key, sizeof(key), value, sizeof(value), &item);
    if (rc == SHMKV_ENOTFOUND)
        return ABSENT;
    return rc == 0 && blob_read(value, item.size, key, &sequence) ? sequence : UINT64_MAX;
}

static void must(int rc)
{
    child_assert(rc == 0);
}

/* ---- preparations -------------------------------------------------------------------------- */

static void prepare_base(struct shmkv *db)
{
    for (uint64_t key = 0; key < BASE_KEYS; key++)
        must(crash_put(db, key, 1, BASE_SIZE));
}

/* Keys that come and go; they leave tombstones, dead records and used tickets. */
static void come_and_go(struct shmkv *db, uint64_t count, size_t size)
{
    for (uint64_t key = FILLER; key < FILLER + count; key++)
        must(crash_put(db, key, 1, size));
    for (uint64_t key = FILLER; key < FILLER + count; key++)
        must(shmkv_delete(db, &key, sizeof(key)));
}

static uint64_t tickets_left(struct shmkv *db)
{
    struct shmkv_stats s;
    must(shmkv_get_stats(db, &s));
    return s.tickets;
}

/* Few tickets are left, all keys current: the table will grow in the operation. */
static void prepare_grow(struct shmkv *db)
{
    prepare_base(db);
    for (uint64_t key = FILLER; tickets_left(db) > FEW_TICKETS; key++)
        must(crash_put(db, key, 1, BASE_SIZE));
}

/* The same, nearly all of it tombstones: the table will keep its size. */
static void prepare_same(struct shmkv *db)
{
    prepare_base(db);
    for (uint64_t key = FILLER; tickets_left(db) > FEW_TICKETS; key++) {
        must(crash_put(db, key, 1, BASE_SIZE));
        must(shmkv_delete(db, &key, sizeof(key)));
    }
}

static void prepare_shrink(struct shmkv *db)
{
    prepare_base(db);
    come_and_go(db, 5000, BASE_SIZE);
}

/* Segments in which every second record is dead. */
static void prepare_clean(struct shmkv *db)
{
    prepare_base(db);
    for (uint64_t key = FILLER; key < FILLER + 400; key++)
        must(crash_put(db, key, 1, LARGE));
    for (uint64_t key = FILLER; key < FILLER + 400; key += 2)
        must(crash_put(db, key, 2, LARGE));
}

/* A small store whose memory is all taken, by dead records. */
static void prepare_full(struct shmkv *db)
{
    struct shmkv_stats s = {.stalls = 0};
    prepare_base(db);
    for (uint64_t i = 0; s.stalls == 0; i++) { /* until a put has to clean */
        must(crash_put(db, FILLER + i % 100, 1, LARGE));
        must(shmkv_get_stats(db, &s));
    }
}

/* A small store whose memory is all taken, by records that have expired. */
static void prepare_expire(struct shmkv *db)
{
    static const struct shmkv_put_options soon = {.ttl_ms = SOON_MS};
    struct shmkv_stats s = {.stalls = 0};
    char value[LARGE] = "";
    prepare_base(db);
    for (uint64_t key = FILLER; s.stalls == 0; key++) {
        int rc = shmkv_put(db, &key, sizeof(key), value, sizeof(value), &soon);
        child_assert(rc == 0 || rc == SHMKV_ENOSPC);
        must(shmkv_get_stats(db, &s));
    }
    clock_sleep_ns(SOON_MS * 1000000ull);
}

static void prepare_huge(struct shmkv *db)
{
    prepare_base(db);
    must(crash_put(db, ONE_KEY, 1, HUGE));
    for (uint64_t key = HUGE_KEYS; key < HUGE_KEYS + 3; key++)
        must(crash_put(db, key, 1, HUGE));
}

/* As prepare_full(), with large values in it. */
static void prepare_huge_full(struct shmkv *db)
{
    struct shmkv_stats s = {.stalls = 0};
    prepare_huge(db);
    for (uint64_t i = 0; s.stalls == 0; i++) {
        must(crash_put(db, FILLER + i % 100, 1, LARGE));
        must(shmkv_get_stats(db, &s));
    }
}

/* Dead, but nobody has freed them. */
static void prepare_huge_dead(struct shmkv *db)
{
    prepare_base(db);
    for (uint64_t key = FILLER; key < FILLER + 3; key++) {
        must(crash_put(db, key, 1, HUGE));
        must(crash_put(db, key, 2, BASE_SIZE));
    }
}

/* All memory taken by dead records, then an index whose growth needs memory that segments have. */
static void prepare_squeeze(struct shmkv *db)
{
    struct shmkv_stats s = {.slots = 0};
    prepare_full(db);
    for (uint64_t key = 2 * FILLER; s.slots < SQUEEZE_SLOTS || s.tickets > FEW_TICKETS; key++) {
        must(crash_put(db, key, 1, BASE_SIZE));
        must(shmkv_get_stats(db, &s));
    }
}

/* ---- steps --------------------------------------------------------------------------------- */

static const uint64_t one_key = ONE_KEY;

static int put_fresh(struct shmkv *db, unsigned i)
{
    return crash_put(db, FRESH_KEY + i, 2, BASE_SIZE);
}

static int put_over(struct shmkv *db, unsigned i)
{
    (void)i;
    return crash_put(db, one_key, 2, BASE_SIZE);
}

static int delete_one(struct shmkv *db, unsigned i)
{
    (void)i;
    return shmkv_delete(db, &one_key, sizeof(one_key));
}

static int take_one(struct shmkv *db, unsigned i)
{
    char value[VALUE_MOST];
    (void)i;
    return shmkv_take(db, &one_key, sizeof(one_key), value, sizeof(value), NULL);
}

static int cas_one(struct shmkv *db, unsigned i)
{
    char value[BASE_SIZE];
    struct shmkv_item item;
    (void)i;
    int rc = shmkv_read(db, &one_key, sizeof(one_key), value, sizeof(value), &item);
    if (rc != 0)
        return rc;
    blob_write(value, sizeof(value), one_key, 2);
    return shmkv_cas(db, &one_key, sizeof(one_key), item.version, value, sizeof(value), NULL);
}

static int reserve_one(struct shmkv *db, unsigned i)
{
    struct shmkv_reservation r;
    (void)i;
    int rc = shmkv_reserve(db, &one_key, sizeof(one_key), BASE_SIZE, NULL, &r);
    if (rc != 0)
        return rc;
    blob_write(r.value, BASE_SIZE, one_key, 2);
    return shmkv_commit(&r);
}

static int put_many_keys(struct shmkv *db, unsigned i)
{
    return crash_put(db, MANY_KEYS + i, 2, BASE_SIZE);
}

static int put_large(struct shmkv *db, unsigned i)
{
    return crash_put(db, MANY_KEYS + i, 2, LARGE);
}

static int put_huge(struct shmkv *db, unsigned i)
{
    return crash_put(db, HUGE_KEYS + i, 2, HUGE);
}

static int reserve_huge(struct shmkv *db, unsigned i)
{
    struct shmkv_reservation r;
    (void)i;
    int rc = shmkv_reserve(db, &one_key, sizeof(one_key), HUGE, NULL, &r);
    if (rc != 0)
        return rc;
    blob_write(r.value, HUGE, one_key, 2);
    return shmkv_commit(&r);
}

static int compact(struct shmkv *db, unsigned i)
{
    (void)i;
    return shmkv_compact(db);
}

static int take_idle(struct shmkv *db, unsigned i)
{
    (void)i;
    segment_take_idle(audit_arena(db));
    return 0;
}

static void *put_from_thread(void *db)
{
    return (void *)(intptr_t)put_over(db, 0);
}

static int thread_comes_and_goes(struct shmkv *db, unsigned i)
{
    pthread_t thread;
    void *rc;
    (void)i;
    child_assert(pthread_create(&thread, NULL, put_from_thread, db) == 0);
    pthread_join(thread, &rc);
    return (int)(intptr_t)rc;
}

static int reader_comes_and_goes(struct shmkv *db, unsigned i)
{
    struct shmkv_reader *reader;
    (void)i;
    int rc = shmkv_reader_open(db, &reader);
    shmkv_reader_close(rc == 0 ? reader : NULL);
    return rc;
}

static int put_and_close(struct shmkv *db, unsigned i)
{
    return i == 0 ? put_over(db, i) : shmkv_close(db);
}

static int reap(struct shmkv *db, unsigned i)
{
    (void)i;
    audit_reap(db);
    return 0;
}

/* ---- effects ------------------------------------------------------------------------------- */

static struct crash_effect fresh(unsigned i)
{
    return (struct crash_effect){FRESH_KEY + i, ABSENT, 2};
}

static struct crash_effect over(unsigned i)
{
    (void)i;
    return (struct crash_effect){ONE_KEY, 1, 2};
}

static struct crash_effect over_each(unsigned i)
{
    return (struct crash_effect){HUGE_KEYS + i, 1, 2};
}

static struct crash_effect over_at_first(unsigned i)
{
    return i == 0 ? over(i) : (struct crash_effect){ONE_KEY + 1, 1, 1};
}

static struct crash_effect removed(unsigned i)
{
    (void)i;
    return (struct crash_effect){ONE_KEY, 1, ABSENT};
}

static struct crash_effect many(unsigned i)
{
    return (struct crash_effect){MANY_KEYS + i, ABSENT, 2};
}

/* ---- the list ------------------------------------------------------------------------------ */

#define USUAL                                                                                      \
    {                                                                                              \
        .flags = SHMKV_NO_KEEPER, .size = 32u << 20                                                \
    }
#define SMALL                                                                                      \
    {                                                                                              \
        .flags = SHMKV_NO_KEEPER, .size = 4u << 20                                                 \
    }

const struct crash_op crash_ops[] = {
    {"put fresh", USUAL, prepare_base, 3, put_fresh, fresh},
    {"put over", USUAL, prepare_base, 1, put_over, over},
    {"delete", USUAL, prepare_base, 1, delete_one, removed},
    {"take", USUAL, prepare_base, 1, take_one, removed},
    {"cas", USUAL, prepare_base, 1, cas_one, over},
    {"reserve", USUAL, prepare_base, 1, reserve_one, over},
    {"huge over", USUAL, prepare_huge, 3, put_huge, over_each},
    {"huge reserve", USUAL, prepare_base, 1, reserve_huge, over},
    {"huge delete", USUAL, prepare_huge, 1, delete_one, removed},
    {"huge compact", USUAL, prepare_huge_dead, 1, compact, NULL},
    {"huge full", SMALL, prepare_huge_full, 2, put_huge, over_each},
    {"segments", USUAL, prepare_base, 150, put_large, many},
    {"grow", USUAL, prepare_grow, 400, put_many_keys, many},
    {"same", USUAL, prepare_same, 300, put_many_keys, many},
    {"shrink", USUAL, prepare_shrink, 1, compact, NULL},
    {"clean", USUAL, prepare_clean, 1, compact, NULL},
    {"full", SMALL, prepare_full, 100, put_large, many},
    {"squeeze", SMALL, prepare_squeeze, 400, put_many_keys, many},
    {"expire", SMALL, prepare_expire, 50, put_large, many},
    {"close", USUAL, prepare_base, 2, put_and_close, over_at_first},
    {"hand-over", USUAL, prepare_base, 1, take_idle, NULL},
    {"thread", USUAL, prepare_base, 1, thread_comes_and_goes, over},
    {"reader", USUAL, prepare_base, 1, reader_comes_and_goes, NULL},
    {"reap", USUAL, prepare_base, 1, reap, NULL},
};
const unsigned crash_op_count = sizeof(crash_ops) / sizeof(crash_ops[0]);

const struct crash_op *crash_op_find(const char *name)
{
    for (unsigned i = 0; i < crash_op_count; i++) {
        if (strcmp(crash_ops[i].name, name) == 0)
            return &crash_ops[i];
    }
    return NULL;
}
