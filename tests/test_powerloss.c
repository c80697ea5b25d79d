/* SPDX-License-Identifier: MIT */
/*
 * test_powerloss.c - whatever a power loss leaves of an image opens to one cut,
 * whole, and that is the last one that was acknowledged or one begun since
 * (INV-F1, INV-X1).
 *
 * In rounds.  A store lives on a disk that remembers: puts, deletes, cleaning,
 * checkpoints of which some fail, losses of memory.  Then the log is gone
 * through, op by op, and from many moments of it states are made and recovered,
 * each looked at, and some lived on from: another checkpoint, another loss. One
 * of the states is what the next round begins with, so that recoveries of what
 * a power loss has left are themselves in the next log.
 */
#include "disk.h"
#include "live.h"
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blob.h"

#define KEYS 40u
#define CUTS 4000u
#define BIG_KEYS 2u           /* of them have values that are larger than a segment now and then */
#define BIG_BYTES (70u << 10) /* a run of two segments */

/* Contents of the store: for each key the number that was put, 0: absent. */
struct contents {
    uint32_t number[KEYS];
};

static struct {
    struct contents now, cuts[CUTS];
    uint32_t begun, acked; /* numbers of cuts */
    uint32_t numbers;
    uint64_t random;
    char path[256], state[256];
    uint64_t states, wrong;
    bool cutting; /* between a cut and its commit: nothing is freed that it needs */
    bool quiet;   /* wrong states are what the test wants to see */
} t;

static uint64_t lot(uint64_t n)
{
    return blob_random(&t.random) % n;
}

/* ---- the life that is recorded
 * ------------------------------------------------------------- */

static void key_text(unsigned k, char *key)
{
    snprintf(key, 16, "key %u", k);
}

static void write_something(struct live *l)
{
    static char value[BIG_BYTES + 1200];
    char key[16];
    unsigned k = (unsigned)lot(KEYS);
    key_text(k, key);
    if (lot(5) == 0) {
        if (t.now.number[k] != 0)
            writer_delete(&l->writer, key);
        t.now.number[k] = 0;
        return;
    }
    t.now.number[k] = ++t.numbers;
    size_t n = (size_t)snprintf(value, sizeof(value), "%u", t.numbers);
    memset(value + n, ' ', sizeof(value) - n);
    n += lot(lot(8) == 0 ? 1100 : 60);
    if (k < BIG_KEYS && lot(4) == 0) {
        n += BIG_BYTES;
        if (!t.cutting)
            live_clean(l);
    }
    value[n] = 0;
    writer_put(&l->writer, key, value);
}

static void write_some(struct live *l, unsigned most)
{
    for (uint64_t n = lot(most); n-- > 0;)
        write_something(l);
}

/* Notes in the log: from here on cut N may be what opens; from here on nothing
 * older. */
static void note(bool acked, uint32_t cut)
{
    disk_note((uint64_t)cut << 1 | acked);
}

/* Writes go on while the cut is copied; they are not of it. */
static void checkpoint(struct live *l, bool fails)
{
    uint64_t e = live_cut(l);
    t.cutting = true;
    t.cuts[++t.begun] = t.now;
    note(false, t.begun);
    write_some(l, 6);
    if (fails)
        disk_fail((unsigned)lot(14) + 1, lot(2) == 0 ? SHMKV_EIO : SHMKV_ENOSPC, (unsigned)lot(3));
    int rc = live_commit(l, e);
    disk_fail(0, 0, 0);
    t.cutting = false;
    if (rc == 0) {
        t.acked = t.begun;
        note(true, t.acked);
    }
}

/* Which of the cuts that are possible is it?  0: none. */
static uint32_t recognize(struct live *l, uint32_t oldest, uint32_t newest)
{
    struct contents found;
    for (unsigned k = 0; k < KEYS; k++) {
        char key[16];
        key_text(k, key);
        const char *value = live_get(l, key);
        found.number[k] = value != NULL ? (uint32_t)strtoul(value, NULL, 10) : 0;
    }
    for (uint32_t cut = newest; cut >= oldest && cut != 0; cut--) {
        if (memcmp(&found, &t.cuts[cut], sizeof(found)) == 0)
            return cut;
    }
    return 0;
}

static void begin_life(struct live *l)
{
    if (t.begun == 0) {
        live_create(l, t.path);
        checkpoint(l, false);
        return;
    }
    if (live_recover(l, t.path, 1) != 0)
        fail_msg("a state that opened before does not: %s", shmkv_last_error());
    uint32_t cut = recognize(l, t.acked, t.begun);
    assert_int_not_equal(cut, 0);
    t.now = t.cuts[cut];
    t.cuts[++t.begun] = t.now; /* whatever else was possible is not any more */
    t.acked = t.begun;
    note(true, t.acked);
}

static void live_on(unsigned checkpoints)
{
    struct live l;
    begin_life(&l);
    for (unsigned i = 0; i < checkpoints; i++) {
        write_some(&l, lot(4) == 0 ? 300 : 10);
        for (uint64_t n = lot(3); n-- > 0;)
            live_clean(&l);
        checkpoint(&l, lot(4) == 0);
        if (lot(10) == 0) {
            live_lose(&l);
            begin_life(&l);
        }
    }
    live_lose(&l);
}

/* ---- what a power loss leaves
 * -------------------------------------------------------------- */

static void wrong(const char *what, size_t op, enum disk_loss how, uint32_t oldest, uint32_t newest)
{
    t.wrong++;
    if (!t.quiet && t.wrong < 5)
        print_message("op %zu, loss %d, cuts %u to %u: %s\n", op, (int)how, oldest, newest, what);
}

/* Write, checkpoint, lose it again: what was dropped stays away, what was
 * synced is there. */
static bool goes_on(struct live *l, uint32_t cut)
{
    struct contents was = t.now, at = t.cuts[cut];
    uint32_t numbers = t.numbers;
    t.now = at;
    write_some(l, 20);
    bool ok = live_checkpoint(l) == 0;
    t.cuts[CUTS - 1] = t.now;
    t.now = was;
    t.numbers = numbers;
    live_lose(l);
    if (!ok || live_recover(l, t.state, 1) != 0)
        return false;
    return recognize(l, CUTS - 1, CUTS - 1) != 0;
}

static void look_at(const struct disk_state *s, size_t op, enum disk_loss how, uint32_t oldest,
                    uint32_t newest)
{
    struct live l;
    t.states++;
    disk_put(s, t.state);
    if (live_recover(&l, t.state, 1) != 0) {
        wrong(shmkv_last_error(), op, how, oldest, newest);
        return;
    }
    uint32_t cut = recognize(&l, oldest, newest);
    if (cut == 0)
        wrong("is none of them", op, how, oldest, newest);
    else if (lot(8) == 0 && !goes_on(&l, cut))
        wrong("does not go on from there", op, how, oldest, newest);
    if (l.arena.path != NULL)
        live_lose(&l);
}

/* Go through the log; @often: states for each op of it. */
static void replay(unsigned often, uint32_t oldest, uint32_t newest)
{
    struct disk_replay *r = disk_replay_begin();
    for (size_t i = 0; i < disk_count(); i++) {
        disk_replay_to(r, i);
        const struct disk_op *op = disk_op(i);
        for (unsigned n = 0; oldest != 0 && disk_replay_pending(r) && n < often; n++) {
            enum disk_loss how = (enum disk_loss)lot(DISK_LOSSES);
            look_at(disk_replay_lose(r, how, &t.random), i, how, oldest, newest);
        }
        if (op->kind != DISK_NOTE)
            continue;
        newest = (uint32_t)(op->at >> 1);
        if ((op->at & 1) != 0)
            oldest = newest;
    }
    disk_replay_end(r);
}

/* One of the states becomes the image. */
static void choose_next(uint32_t oldest, uint32_t newest)
{
    struct disk_replay *r = disk_replay_begin();
    size_t stop = disk_count() / 2 + lot(disk_count() / 2 + 1);
    for (size_t i = 0; i < stop; i++) {
        if (disk_op(i)->kind == DISK_NOTE) {
            newest = (uint32_t)(disk_op(i)->at >> 1);
            if ((disk_op(i)->at & 1) != 0)
                oldest = newest;
        }
    }
    disk_replay_to(r, stop);
    disk_put(disk_replay_lose(r, DISK_LOSE_SECTORS, &t.random), t.path);
    disk_replay_end(r);
    t.acked = oldest;
    t.begun = newest;
}

static void rounds(unsigned count, unsigned checkpoints, unsigned often,
                   bool (*swallow)(const struct disk_op *last))
{
    memset(&t.now, 0, sizeof(t.now));
    t.begun = t.acked = 0;
    t.states = t.wrong = 0;
    for (unsigned i = 0; i < count && (swallow == NULL || t.wrong == 0); i++) {
        uint32_t oldest = t.acked, newest = t.begun;
        disk_begin(i != 0 ? t.path : NULL);
        disk_break(swallow);
        live_on(checkpoints);
        disk_pause();
        replay(often, oldest, newest);
        choose_next(oldest, newest);
        disk_end();
    }
}

/* ---- tests
 * ---------------------------------------------------------------------------------
 */

static int setup(void **state)
{
    int rc = scratch_setup(state);
    epoch_register_process(); /* grace periods are slow without */
    snprintf(t.path, sizeof(t.path), "%s", scratch_path("image"));
    snprintf(t.state, sizeof(t.state), "%s", scratch_path("state"));
    const char *seed = getenv("POWERLOSS_SEED");
    t.random = seed != NULL ? strtoull(seed, NULL, 10) : 1;
    t.quiet = false;
    return rc;
}

static void every_state_opens_to_one_cut(void **state)
{
    (void)state;
    const char *more = getenv("POWERLOSS_ROUNDS");
    unsigned count = more != NULL ? (unsigned)strtoul(more, NULL, 10) : 10;
    rounds((count - 1) / FIXTURE_SLOWNESS + 1, 44, 7 / FIXTURE_SLOWNESS + 1, NULL);
    print_message("%llu states\n", (unsigned long long)t.states);
    assert_int_equal(t.wrong, 0);
}

/* The file, read from front to end while the log goes on from op @from to op
 * @to. */
static void copy_while_running(size_t from, size_t to, const char *path)
{
    struct disk_replay *r = disk_replay_begin();
    struct disk_state copy = {.bytes = calloc(1, 64u << 20)};
    const uint64_t step = 16 * PAGE_BYTES;
    assert_non_null(copy.bytes);
    disk_replay_to(r, from);
    uint64_t size = disk_replay_lose(r, DISK_LOSE_NONE, &t.random)->size;
    for (uint64_t at = 0; at < size; at += step) {
        disk_replay_to(r, from + (to - from) * (at / step) / (size / step + 1));
        const struct disk_state *now = disk_replay_lose(r, DISK_LOSE_NONE, &t.random);
        size = now->size;
        if (at < size)
            memcpy(copy.bytes + at, now->bytes + at, min_u64(step, size - at));
    }
    copy.size = size;
    disk_put(&copy, path);
    free(copy.bytes);
    disk_replay_end(r);
}

/* An older state or refused, never garbage. */
static void a_copy_of_a_running_image(void **state)
{
    (void)state;
    unsigned opened = 0, refused = 0;
    memset(&t.now, 0, sizeof(t.now));
    t.begun = t.acked = 0;
    disk_begin(NULL);
    live_on(60);
    disk_pause();
    const unsigned copies = 60 + 240 / FIXTURE_SLOWNESS;
    for (unsigned i = 0; i < copies; i++) {
        struct live l;
        size_t from = 40 + lot(disk_count() - 40), to = from + lot(200);
        copy_while_running(from, min_u64(to, disk_count()), t.state);
        if (live_recover(&l, t.state, 1) != 0) {
            refused++;
            continue;
        }
        assert_int_not_equal(recognize(&l, 1, t.begun), 0);
        opened++;
        live_lose(&l);
    }
    disk_end();
    print_message("%u opened, %u refused\n", opened, refused);
    assert_true(opened > copies / 15 && refused > 0);
}

/* Superblocks and journal stand at the start, see image_format.h. */
static bool is_head(const struct disk_op *op)
{
    return op->kind == DISK_WRITE && op->at < 8192 + (128u << 10);
}

static bool second_barrier(const struct disk_op *last)
{
    return is_head(last);
}

static bool first_barrier(const struct disk_op *last)
{
    return !is_head(last);
}

static void goes_red_without(bool (*swallow)(const struct disk_op *last))
{
    t.quiet = true;
    rounds(6, 14, 3, swallow);
    print_message("%llu states, %llu wrong\n", (unsigned long long)t.states,
                  (unsigned long long)t.wrong);
    assert_true(t.wrong > 0);
}

static void without_the_first_barrier(void **state)
{
    (void)state;
    goes_red_without(first_barrier);
}

static void without_the_second_barrier(void **state)
{
    (void)state;
    goes_red_without(second_barrier);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_state_opens_to_one_cut),
        TEST(a_copy_of_a_running_image),
        TEST(without_the_first_barrier),
        TEST(without_the_second_barrier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
