/* SPDX-License-Identifier: MIT */
/*
 * fuzz_image.c - opening, recovering, checking and repairing an image against any bytes.
 *
 * The input changes one of some small images that are whole, which have bytes in their journals and
 * values larger than a segment too; image_seed.h says how, and how it gets behind the checksums.
 * Whatever comes of it must be opened or refused, without a crash; what opens must be repairable,
 * what was repaired must have no findings, and what has none must be recovered, to a store that is
 * sound.  What was recovered, and so committed again, is recovered once more to the same.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blob.h"
#include "error.h"
#include "image_seed.h"
#include "memory_file.h"
#include "process.h"
#include "recover.h"
#include "verify.h"
#include "verify_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed);
/* libFuzzer has it; who only replays inputs does without. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most) __attribute__((weak));

#define SIZE (2u << 20)
#define OUT "/no/such/place/out"

/* The input is in the fuzzer's hands; which line it broke is not. */
static void require_at(int condition, int line, const char *text)
{
    if (condition)
        return;
    fprintf(stderr, "fuzz_image.c:%d: not so: %s; the last error: %s\n", line, text, error_text());
    abort();
}
#define require(condition) require_at((condition), __LINE__, #condition)

static void say_nothing(void *arg, const char *line)
{
    (void)arg;
    (void)line;
}

/* An arena that nobody else sees. */
static void make_arena(struct arena *a, const struct image *im)
{
    bool created;
    char name[40];
    const struct image_super *s = &im->super;
    struct arena_image about = {.device = 1,
                                .inode = 2,
                                .owner = geteuid(),
                                .hash_seed = s->hash_seed,
                                .segment_bytes = s->segment_bytes,
                                .segment_count = s->segment_count};
    struct arena_options o = {.create = true, .size = SIZE, .image = &about};
    snprintf(name, sizeof(name), "fuzz %d", (int)getpid());
    memcpy(about.uuid, &(pid_t){getpid()}, sizeof(pid_t));
    require(arena_open(a, name, &o, &created) == 0 && created);
}

/* Into an arena that is dropped; 0, or what recovery says. */
static int recover(struct image *im, struct recover_result *result)
{
    struct arena a;
    struct process process;
    struct participant p;
    struct recover_options one = {.threads = 1};
    if (im->super.segment_count != SEED_SEGMENTS || im->super.segment_bytes != SEED_SEGMENT)
        return SHMKV_EINVAL; /* the seed is any; with another geometry the arena is not for it */
    make_arena(&a, im);
    require(process_join(&process, &a, NULL, NULL) == 0);
    store_relaxed(&a.sb->epoch, 1);
    require(epoch_join(&p, &a, process.index) == 0);
    int rc = recover_store(im, &p, &one, result);
    if (rc == 0)
        require(verify_store(&p, process.index, &(struct verify_sink){.report = say_nothing}) == 0);
    epoch_leave(&p);
    process_leave(&process);
    arena_close(&a);
    return rc;
}

/* The code of opening, or of recovery. */
static int open_and_recover(const char *path, bool readonly, struct recover_result *result)
{
    struct image im;
    int rc = image_open(&im, path, readonly);
    if (rc != 0)
        return rc;
    rc = recover(&im, result);
    image_close(&im);
    return rc;
}

static bool is_whole(const char *path)
{
    struct image_sink sink = {.report = say_nothing};
    return verify_image(path, &sink) == 0;
}

/* What has no findings is recovered, and what has some is not. */
static void check(int recovered)
{
    struct image_sink sink = {.report = say_nothing};
    int checked = verify_image("image", &sink);
    require(recovered != 0 || checked == 0);
    require(recovered == 0 || recovered == SHMKV_EINVAL || checked != 0);
}

/* What opens, with segments of so many bytes (0: it does not), can be repaired to a store, if there
 * is room: all but the end of its last segment is in its file. */
static void repair(uint64_t segment)
{
    struct image_sink sink = {.report = say_nothing};
    struct recover_result result;
    memset(memory_other.bytes, 0, memory_other.size);
    memory_other.size = 0;
    int rc = verify_image_repair("image", OUT, &sink);
    require(rc == 0 || segment == 0 || memory_image.size + segment > MEMORY_ROOM);
    if (rc != 0)
        return;
    require(is_whole(OUT));
    rc = open_and_recover(OUT, true, &result);
    require(rc == 0 || rc == SHMKV_EINVAL);
}

/* As a store: what recovery writes is the same, with nothing to drop. */
static void live_on(const struct recover_result *first)
{
    struct recover_result result, again;
    require(open_and_recover("image", false, &result) == 0);
    require(result.keys == first->keys && result.dropped == first->dropped);
    require(is_whole("image"));
    require(open_and_recover("image", true, &again) == 0);
    require(again.keys == result.keys && again.dropped == 0);
}

/* Bytes of its segments; 0: it does not open. */
static uint64_t opens_for_reading(void)
{
    struct image im;
    if (image_open(&im, "image", true) != 0)
        return 0;
    image_close(&im);
    return im.super.segment_bytes;
}

static void settle(void)
{
    struct image im;
    if (image_open(&im, "image", false) != 0)
        return;
    image_begin(&im);
    image_close(&im);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed)
{
    uint64_t random = seed;
    if (size < SEED_HEADER || memory_image.bytes == NULL || blob_random(&random) % 2 == 0)
        return LLVMFuzzerMutate(data, size, most);
    return seed_propose(data, size, most, &random);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct recover_result result = {0};
    if (memory_image.bytes == NULL) {
        epoch_register_process();
        memory_use();
        seed_make();
    }
    seed_change(data, size);
    uint64_t segment = opens_for_reading();
    int recovered = segment != 0 ? open_and_recover("image", true, &result) : SHMKV_ECORRUPT;
    check(recovered);
    repair(segment);
    if (recovered == 0)
        live_on(&result);
    else
        settle();
    return 0;
}
