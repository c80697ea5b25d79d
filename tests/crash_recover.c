/* SPDX-License-Identifier: MIT */
/*
 * crash_recover.c - a recovery that is killed at each of its steps, and again, changes nothing of
 * what the next one finds; and it is the same by however many threads (failure 22, INV-X1).
 */
#include "fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blob.h"
#include "child.h"
#include "crc32c.h"
#include "index.h"
#include "point.h"
#include "process.h"
#include "recover.h"
#include "scratch.h"
#include "segment.h"

#define LIMIT_MS 60000u
#define VALUE 300u
#define TURNS 3u

static char image[256];
static uint32_t keys; /* that may be in it */
static uint64_t size;

static int setup(void **state)
{
    int rc = scratch_setup(state);
    epoch_register_process();
    snprintf(image, sizeof(image), "%s", scratch_path("image"));
    return rc;
}

static int open_store(uint32_t flags, struct shmkv **db)
{
    struct shmkv_options o = {
        .flags = flags, .size = size, .interval_ms = NEVER, .shm_dir = scratch_dir()};
    return shmkv_open(image, &o, db);
}

/* ---- an image of a busy moment -------------------------------------------------------------- */

struct busy {
    struct shmkv *db;
    uint64_t random;
    _Atomic uint32_t stop;
};

static void *write_all_the_time(void *arg)
{
    struct busy *b = arg;
    char value[VALUE];
    while (load_relaxed(&b->stop) == 0) { /* relaxed: soon is enough */
        uint64_t draw = blob_random(&b->random);
        uint32_t key = (uint32_t)(draw >> 32) % keys;
        memset(value, (int)draw, sizeof(value));
        if (draw % 8 == 0)
            shmkv_delete(b->db, &key, sizeof(key));
        else
            shmkv_put(b->db, &key, sizeof(key), value, draw % VALUE, NULL);
    }
    return NULL;
}

/* Others get on while a cut is made: records of after it come along. */
static void dawdle(void *arg, const char *name)
{
    (void)arg;
    if (strcmp(name, "checkpoint.epoch") == 0)
        clock_sleep_ns(2000000);
}

static void make_image(uint32_t how_many, uint64_t bytes)
{
    struct busy b[2] = {{.random = 1}, {.random = 2}};
    pthread_t threads[2];
    keys = how_many;
    size = bytes;
    scratch_lose_memory();
    unlink(image);
    assert_rc(open_store(SHMKV_CREATE | SHMKV_NO_KEEPER, &b[0].db), 0);
    b[1].db = b[0].db;
    for (uint32_t key = 0; key < keys; key++)
        assert_rc(shmkv_put(b[0].db, &key, sizeof(key), &key, sizeof(key), NULL), 0);
    point_record(dawdle, NULL); /* while there is no other thread, here as below */
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_all_the_time, &b[i]), 0);
    for (unsigned i = 0; i < 12; i++)
        assert_rc(shmkv_sync(b[0].db, -1), 0);
    for (unsigned i = 0; i < 2; i++) {
        store_relaxed(&b[i].stop, 1);
        pthread_join(threads[i], NULL);
    }
    point_record(NULL, NULL);
    assert_rc(shmkv_close(b[0].db), 0);
    scratch_lose_memory();
}

/* ---- what is recovered ---------------------------------------------------------------------- */

/* Everything of a key that a user can see, in one number. */
static uint64_t sum_of(struct shmkv *db, uint32_t key)
{
    struct shmkv_item item;
    char value[VALUE];
    int rc = shmkv_read(db, &key, sizeof(key), value, sizeof(value), &item);
    if (rc == SHMKV_ENOTFOUND)
        return 1;
    assert_rc(rc, 0);
    uint64_t sum = item.version * 31 + item.size;
    for (size_t i = 0; i < item.size; i++)
        sum = sum * 1099511628211u + (unsigned char)value[i];
    return sum;
}

static uint64_t *sums_of(struct shmkv *db)
{
    uint64_t *sums = calloc(keys, sizeof(*sums));
    assert_non_null(sums);
    for (uint32_t key = 0; key < keys; key++)
        sums[key] = sum_of(db, key);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
    return sums;
}

static void assert_sums(struct shmkv *db, const uint64_t *want)
{
    uint64_t *found = sums_of(db);
    for (uint32_t key = 0; key < keys; key++) {
        if (found[key] != want[key])
            fail_msg("key %u is not as it was", key);
    }
    free(found);
}

/* ---- killed --------------------------------------------------------------------------------- */

#define PASSAGES 400u

struct passed {
    char name[64];
    unsigned times;
};
static struct passed passages[PASSAGES];
static unsigned passed;

static void note_point(void *arg, const char *name)
{
    (void)arg;
    const char *rooms[] = {"recover.", "image.", "open."};
    bool ours = false;
    for (size_t i = 0; i < ARRAY_SIZE(rooms); i++)
        ours |= strncmp(name, rooms[i], strlen(rooms[i])) == 0;
    if (!ours || passed == PASSAGES)
        return;
    unsigned times = 1;
    for (unsigned i = 0; i < passed; i++)
        times += strcmp(passages[i].name, name) == 0;
    snprintf(passages[passed].name, sizeof(passages[passed].name), "%s", name);
    passages[passed++].times = times;
}

static int recover(void *arg)
{
    const struct passed *at = arg;
    struct shmkv *db;
    if (at != NULL)
        point_arm(at->name, at->times, POINT_KILL, NULL, NULL);
    child_assert(open_store(SHMKV_NO_KEEPER, &db) == 0);
    child_assert(shmkv_close(db) == 0);
    return 0;
}

/* The bytes of the file, to begin with them again. */
static char *save_image(size_t *bytes)
{
    struct stat st = {0};
    int fd = open(image, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0);
    *bytes = (size_t)st.st_size;
    char *saved = malloc(*bytes + 1);
    assert_non_null(saved);
    assert_int_equal(pread(fd, saved, *bytes, 0), *bytes);
    close(fd);
    return saved;
}

static void restore_image(const char *saved, size_t bytes)
{
    int fd = open(image, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, saved, bytes, 0), bytes);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    close(fd);
}

static void die_at(unsigned which)
{
    const struct passed *at = &passages[which % passed];
    int status = child_wait(child_start(recover, (void *)(uintptr_t)at), LIMIT_MS);
    /* A second recovery may have less to do, and so not come by there. */
    assert_true(status == CHILD_SIGNAL + SIGKILL || status == 0);
    scratch_lose_memory();
}

static void killed_at_each_step_and_again(void **state)
{
    (void)state;
    struct shmkv *db;
    size_t bytes;
    make_image(2000, 4u << 20);
    assert_rc(open_store(SHMKV_READONLY, &db), 0);
    uint64_t *want = sums_of(db);
    assert_rc(shmkv_close(db), 0);
    char *saved = save_image(&bytes);
    passed = 0;
    point_record(note_point, NULL);
    assert_int_equal(recover(NULL), 0);
    point_record(NULL, NULL);
    for (unsigned i = 0; i < passed; i++) {
        scratch_lose_memory();
        restore_image(saved, bytes);
        die_at(i);
        die_at(i * 7 + 3);
        assert_rc(open_store(SHMKV_NO_KEEPER, &db), 0);
        assert_sums(db, want);
        assert_rc(shmkv_put(db, "more", 4, "", 0, NULL), 0);
        assert_rc(shmkv_sync(db, -1), 0);
        assert_rc(shmkv_close(db), 0);
        scratch_lose_memory();
        assert_rc(open_store(SHMKV_READONLY, &db), 0);
        assert_sums(db, want);
        assert_rc(shmkv_exists(db, "more", 4), 0);
        assert_rc(shmkv_close(db), 0);
    }
    print_message("# %u steps\n", passed);
    assert_true(passed > 10);
    free(saved);
    free(want);
}

/* ---- by several threads --------------------------------------------------------------------- */

/* All that recovery decides: of each key its record, of each segment what is left of it. */
struct outcome {
    uint64_t *records; /* by key: of the record's bytes and version; 0: none */
    uint64_t *segments;
    struct recover_result result;
};

static void look_into(const struct arena *a, struct outcome *o)
{
    bool damaged = false;
    for (uint32_t key = 0; key < keys; key++) {
        struct index_key k = {.data = &key, .size = sizeof(key)};
        k.hash = hash_key(k.data, k.size, &a->hash_secret);
        const struct record *r = index_lookup(a, &k, &damaged);
        if (r != NULL)
            o->records[key] = r->version * 31 + r->type + crc32c(0, record_key(r), r->klen) +
                              crc32c(0, record_value(r), r->vlen);
    }
    assert_false(damaged);
    for (uint64_t id = 0; id < a->sb->segment_count; id++) {
        const struct segment *s = segment_at(a, id);
        o->segments[id] = load_relaxed(&s->state) * 31 + load_relaxed(&s->used) * 7 +
                          load_relaxed(&s->incarnation) * 3 + load_relaxed(&s->birth);
    }
}

/* Into an arena of its own; the image stays as it is. */
static void recover_by(unsigned threads, struct outcome *o)
{
    struct image im;
    struct arena a;
    struct process process;
    struct participant p;
    bool created;
    struct recover_options ro = {.threads = threads};
    assert_rc(image_open(&im, image, true), 0);
    struct arena_image about = {.device = 1,
                                .inode = threads,
                                .owner = geteuid(),
                                .hash_seed = im.super.hash_seed,
                                .segment_bytes = im.super.segment_bytes,
                                .segment_count = im.super.segment_count};
    struct arena_options ao = {
        .create = true, .size = size, .shm_dir = scratch_dir(), .image = &about};
    assert_rc(arena_open(&a, "recovered", &ao, &created), 0);
    assert_rc(process_join(&process, &a, NULL, NULL), 0);
    store_relaxed(&a.sb->epoch, 1); /* relaxed: nobody else sees it */
    assert_rc(epoch_join(&p, &a, process.index), 0);
    assert_rc(recover_store(&im, &p, &ro, &o->result), 0);
    o->records = calloc(keys, sizeof(*o->records));
    o->segments = calloc(im.super.segment_count, sizeof(*o->segments));
    assert_true(o->records != NULL && o->segments != NULL);
    look_into(&a, o);
    epoch_leave(&p);
    process_leave(&process);
    arena_close(&a);
    image_close(&im);
}

static void by_many_threads_as_by_one(void **state)
{
    (void)state;
    uint64_t dropped = 0;
    /* on a busy machine the writers may be off the processors in each cut: then some more */
    for (unsigned turn = 0; turn < TURNS || (dropped == 0 && turn < 10 * TURNS); turn++) {
        struct outcome one;
        make_image(25000, 16u << 20);
        recover_by(1, &one);
        dropped += one.result.dropped;
        for (unsigned threads = 2; threads <= 8; threads *= 2) {
            struct outcome many;
            recover_by(threads, &many);
            assert_int_equal(many.result.records, one.result.records);
            assert_int_equal(many.result.keys, one.result.keys);
            assert_int_equal(many.result.dropped, one.result.dropped);
            assert_memory_equal(many.records, one.records, keys * sizeof(*one.records));
            assert_memory_equal(many.segments, one.segments, 256 * sizeof(*one.segments));
            free(many.records);
            free(many.segments);
        }
        free(one.records);
        free(one.segments);
    }
    print_message("# %llu records were later than their cuts\n", (unsigned long long)dropped);
    assert_true(dropped > 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(killed_at_each_step_and_again),
        TEST(by_many_threads_as_by_one),
    };
    return cmocka_run_group_tests_name("crash_recover", tests, NULL, NULL);
}
