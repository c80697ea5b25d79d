/* SPDX-License-Identifier: MIT */
/*
 * crash_durable.c - stores with an image: what was synced is there after any death and any loss of
 * the memory, what was not is there as one cut, and nobody is told otherwise.
 */
#include "imaged.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "child.h"
#include "clock.h"
#include "point.h"

#define LIMIT_MS 60000u
#define LATER_MS 60000u /* an interval that no test waits for */
#define BIG_BYTES 200000u

/* A value of four segments, of one turn; UINT32_MAX: absent. */
static int put_big(struct shmkv *db, uint32_t turn)
{
    static char value[BIG_BYTES];
    memset(value, (int)('a' + turn % 26), sizeof(value));
    memcpy(value, &turn, sizeof(turn));
    return shmkv_put(db, "big", 3, value, sizeof(value), NULL);
}

static uint32_t big_turn(struct shmkv *db)
{
    static char value[BIG_BYTES];
    uint32_t turn;
    int rc = shmkv_read(db, "big", 3, value, sizeof(value), NULL);
    if (rc == SHMKV_ENOTFOUND)
        return UINT32_MAX;
    assert_rc(rc, 0);
    memcpy(&turn, value, sizeof(turn));
    for (size_t i = sizeof(turn); i < sizeof(value); i++)
        assert_int_equal(value[i], (char)('a' + turn % 26));
    return turn;
}

/* ---- what is durable ----------------------------------------------------------------------- */

static int sync_and_die(void *arg)
{
    struct shmkv *db;
    (void)arg;
    child_assert(home_open(home_image, SHMKV_CREATE, NEVER, &db) == 0);
    child_assert(imaged_put_all(db, 1) == 0);
    child_assert(shmkv_sync(db, -1) == 0);
    child_assert(imaged_put_all(db, 2) == 0);
    return raise(SIGKILL);
}

static void synced_is_there(void **state)
{
    (void)state;
    assert_int_equal(child_wait(child_start(sync_and_die, NULL), LIMIT_MS), CHILD_SIGNAL + SIGKILL);
    imaged_assert_kept(1);
}

static void a_death_loses_nothing(void **state)
{
    (void)state;
    assert_int_equal(child_wait(child_start(sync_and_die, NULL), LIMIT_MS), CHILD_SIGNAL + SIGKILL);
    struct shmkv *db = imaged_open_image(0);
    imaged_assert_all(db, 2);
    assert_rc(shmkv_close(db), 0);
}

static int put_and_close(void *arg)
{
    struct shmkv *db;
    (void)arg;
    child_assert(home_open(home_image, SHMKV_CREATE | SHMKV_NO_KEEPER, 0, &db) == 0);
    child_assert(imaged_put_all(db, 3) == 0);
    for (uint32_t i = 0; i < IMAGED_KEYS; i += 2)
        child_assert(shmkv_delete(db, &i, sizeof(i)) == 0);
    child_assert(shmkv_close(db) == 0);
    return 0;
}

static void the_last_to_close_writes_it(void **state)
{
    (void)state;
    assert_int_equal(child_wait(child_start(put_and_close, NULL), LIMIT_MS), 0);
    for (int turn = 0; turn < 3; turn++) {
        struct shmkv *db = imaged_after_a_loss();
        for (uint32_t i = 0; i < IMAGED_KEYS; i++)
            assert_int_equal(imaged_turn_of(db, i), i % 2 == 0 ? UINT32_MAX : 3);
        assert_rc(shmkv_check(db, NULL, NULL), 0);
        assert_rc(shmkv_close(db), 0);
    }
}

static int close_slowly(void *arg)
{
    struct shmkv *db;
    (void)arg;
    child_assert(home_open(home_image, SHMKV_NO_KEEPER, LATER_MS, &db) == 0);
    point_arm("durable.giving_up", 1, POINT_STOP, NULL, NULL);
    child_assert(shmkv_close(db) == 0);
    return 0;
}

/* INV-D3: who closes while another, who has seen nothing to write, has not given up the lease yet,
 * leaves it to him. */
static void the_last_two_to_close_write_it(void **state)
{
    (void)state;
    assert_rc(shmkv_close(imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER)), 0);
    pid_t child = child_start(close_slowly, NULL);
    assert_true(child_wait_stopped(child, LIMIT_MS));
    struct shmkv *db;
    assert_rc(home_open(home_image, SHMKV_NO_KEEPER, LATER_MS, &db), 0);
    assert_rc(shmkv_put(db, "late", 4, "v", 1, NULL), 0);
    assert_rc(shmkv_close(db), 0);
    kill(child, SIGCONT);
    assert_int_equal(child_wait(child, LIMIT_MS), 0);
    db = imaged_after_a_loss();
    assert_rc(shmkv_exists(db, "late", 4), 0);
    assert_rc(shmkv_close(db), 0);
}

static int sync_slowly(void *arg)
{
    struct shmkv *db;
    (void)arg;
    child_assert(home_open(home_image, SHMKV_NO_KEEPER, NEVER, &db) == 0);
    child_assert(shmkv_put(db, "k", 1, "v", 1, NULL) == 0);
    point_arm("durable.leased", 1, POINT_STOP, NULL, NULL);
    child_assert(shmkv_sync(db, -1) == SHMKV_EDEFUNCT);
    child_assert(load_seq_cst(&audit_arena(db)->sync->durable.holder) == 0);
    shmkv_close(db);
    return 0;
}

/* Another image gets the name between the lock and the opening: nothing is written to that one. */
static void an_image_put_in_its_place_is_left_alone(void **state)
{
    (void)state;
    const char *other = home_path("other");
    struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
    assert_rc(shmkv_backup(db, other), 0);
    assert_rc(shmkv_close(db), 0);
    pid_t child = child_start(sync_slowly, NULL);
    assert_true(child_wait_stopped(child, LIMIT_MS));
    assert_int_equal(rename(other, home_image), 0);
    kill(child, SIGCONT);
    assert_int_equal(child_wait(child, LIMIT_MS), 0);
    db = imaged_open_image(0);
    assert_rc(shmkv_exists(db, "k", 1), SHMKV_ENOTFOUND);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
    assert_rc(shmkv_close(db), 0);
}

/* Wait for a checkpoint without asking for one, then stand still. */
static int put_and_wait(void *arg)
{
    struct shmkv *db;
    (void)arg;
    child_assert(home_open(home_image, SHMKV_CREATE, 50, &db) == 0);
    child_assert(imaged_put_all(db, 4) == 0);
    uint64_t epoch = load_seq_cst(&audit_arena(db)->sb->epoch);
    while (load_seq_cst(&imaged_words(db)->epoch) < epoch)
        clock_sleep_ns(1000000);
    raise(SIGSTOP);
    return 0;
}

static void the_interval_is_kept_without_anybody_asking(void **state)
{
    (void)state;
    pid_t child = child_start(put_and_wait, NULL);
    assert_true(child_wait_stopped(child, LIMIT_MS));
    child_kill(child);
    imaged_assert_kept(4);
}

static void durable_puts_are_durable(void **state)
{
    (void)state;
    struct shmkv_put_options o = {.flags = SHMKV_DURABLE};
    struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
    assert_rc(shmkv_put(db, "k", 1, "v", 1, &o), 0);
    assert_rc(shmkv_put(db, "l", 1, "v", 1, NULL), 0);
    assert_rc(shmkv_close(db), 0);
    db = imaged_after_a_loss();
    assert_rc(shmkv_exists(db, "k", 1), 0);
    assert_rc(shmkv_exists(db, "l", 1), SHMKV_ENOTFOUND);
    assert_rc(shmkv_close(db), 0);
}

/* What a batch stored before it failed, too; the error is the one of the failure. */
static void a_part_of_a_batch_is_durable(void **state)
{
    (void)state;
    struct shmkv_put_options o = {.flags = SHMKV_DURABLE};
    const struct shmkv_bytes keys[] = {{"k", 1}, {"l", 1}, {"", 0}};
    struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
    size_t done;
    assert_rc(shmkv_put_many(db, keys, keys, 3, &o, &done), SHMKV_EKEY);
    assert_int_equal(done, 2);
    assert_non_null(strstr(shmkv_last_error(), "key"));
    assert_rc(shmkv_put(db, "m", 1, "v", 1, NULL), 0);
    assert_rc(shmkv_close(db), 0);
    db = imaged_after_a_loss();
    assert_rc(shmkv_exists(db, "k", 1), 0);
    assert_rc(shmkv_exists(db, "l", 1), 0);
    assert_rc(shmkv_exists(db, "m", 1), SHMKV_ENOTFOUND);
    assert_rc(shmkv_close(db), 0);
}

/* A write that the first loss dropped must not come back with the second (failure 1). */
static void a_dropped_write_stays_away(void **state)
{
    (void)state;
    assert_int_equal(child_wait(child_start(sync_and_die, NULL), LIMIT_MS), CHILD_SIGNAL + SIGKILL);
    for (uint32_t turn = 0; turn < 4; turn++) {
        struct shmkv *db = imaged_after_a_loss();
        imaged_assert_all(db, 1);
        uint32_t other = IMAGED_KEYS + turn;
        assert_rc(imaged_put(db, other, turn), 0);
        assert_rc(shmkv_sync(db, -1), 0);
        for (uint32_t i = 0; i <= turn; i++)
            assert_int_equal(imaged_turn_of(db, IMAGED_KEYS + i), i);
        assert_rc(shmkv_close(db), 0);
    }
}

/* ---- death at every point ------------------------------------------------------------------ */

#define POINTS 96u

/* The points of the rooms that durability is about, and how often a life passes each. */
struct passed {
    char name[64];
    unsigned times;
};

struct plan {
    const struct passed *point;
    unsigned nth;
    enum point_action action;
    bool opened; /* armed only once the store is open */
};

static void note_point(void *arg, const char *name)
{
    const char *rooms[] = {"checkpoint.", "image.", "durable.", "open.",
                           "recover.",    "file.",  "run.",     "collect."};
    struct passed *points = arg;
    for (size_t i = 0; i < ARRAY_SIZE(rooms); i++) {
        if (strncmp(name, rooms[i], strlen(rooms[i])) != 0)
            continue;
        unsigned n = 0;
        while (points[n].times != 0 && strcmp(points[n].name, name) != 0)
            n++;
        assert_true(n < POINTS - 1);
        snprintf(points[n].name, sizeof(points[n].name), "%s", name);
        points[n].times++;
    }
}

static void arm(const struct plan *plan, bool opened)
{
    if (plan != NULL && plan->opened == opened)
        point_arm(plan->point->name, plan->nth, plan->action, NULL, NULL);
}

/* Two synced turns, another write; with everything that a life of a store has. */
static int live(void *arg)
{
    const struct plan *plan = arg;
    struct shmkv *db;
    arm(plan, false);
    child_assert(home_open(home_image, SHMKV_CREATE | SHMKV_NO_KEEPER, NEVER, &db) == 0);
    arm(plan, true);
    for (uint32_t turn = 0; turn < 3; turn++) {
        child_assert(imaged_put_all(db, turn) == 0);
        child_assert(put_big(db, turn) == 0);
        child_assert(shmkv_sync(db, -1) == 0);
        child_assert(shmkv_put(db, "synced", 6, &turn, sizeof(turn), NULL) == 0);
        char text[80];
        snprintf(text, sizeof(text), "%s/turn.%u", home_dir, turn);
        int fd = open(text, O_CREAT | O_WRONLY, 0600);
        child_assert(fd >= 0 && close(fd) == 0);
    }
    child_assert(shmkv_close(db) == 0);
    return 0;
}

/* The highest turn that was acknowledged as synced; UINT32_MAX: none. */
static uint32_t acknowledged(void)
{
    uint32_t found = UINT32_MAX;
    for (uint32_t turn = 0; turn < 3; turn++) {
        char text[80];
        snprintf(text, sizeof(text), "%s/turn.%u", home_dir, turn);
        if (access(text, F_OK) == 0)
            found = turn;
        unlink(text);
    }
    return found;
}

/* The large value is put behind all keys of its turn, and before those of the next. */
static void assert_big(struct shmkv *db, uint32_t least)
{
    uint32_t first = imaged_turn_of(db, 0), last = imaged_turn_of(db, IMAGED_KEYS - 1),
             big = big_turn(db);
    assert_true(big == last || (first == last && big == last - 1)); /* absent is turn -1 */
    if (least != UINT32_MAX)
        assert_true(big != UINT32_MAX && big >= least);
}

static void die_at(const struct plan *plan, bool loses)
{
    home_empty();
    scratch_lose_memory();
    int status = child_wait(child_start(live, (void *)(uintptr_t)plan), LIMIT_MS);
    if (status != CHILD_SIGNAL + SIGKILL)
        fail_msg("%s was passed for the %u. time: status %d", plan->point->name, plan->nth, status);
    uint32_t synced = acknowledged();
    if (loses)
        scratch_lose_memory();
    struct shmkv *db = imaged_open_image(SHMKV_CREATE);
    imaged_assert_prefix(db, synced);
    assert_big(db, synced);
    assert_rc(imaged_put_all(db, 9), 0);
    assert_rc(put_big(db, 9), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(shmkv_close(db), 0);
    db = imaged_after_a_loss();
    imaged_assert_all(db, 9);
    assert_int_equal(big_turn(db), 9);
    assert_rc(shmkv_close(db), 0);
}

static void death_at_every_point(void **state)
{
    (void)state;
    static struct passed points[POINTS];
    unsigned deaths = 0;
    memset(points, 0, sizeof(points));
    point_record(note_point, points);
    assert_int_equal(live(NULL), 0);
    point_record(NULL, NULL);
    for (const struct passed *point = points; point->times != 0; point++) {
        for (unsigned nth = 1; nth <= 4 && nth <= point->times; nth += nth) {
            struct plan plan = {.point = point, .nth = nth, .action = POINT_KILL};
            die_at(&plan, true);
            die_at(&plan, false);
            deaths += 2;
        }
    }
    print_message("# %u deaths\n", deaths);
    assert_true(deaths >= 60);
}

/* While one stands there, others go on; a sync is done, or says that it was not. */
static void stop_at(const struct plan *plan)
{
    home_empty();
    scratch_lose_memory();
    pid_t child = child_start(live, (void *)(uintptr_t)plan);
    if (!child_wait_stopped(child, LIMIT_MS))
        fail_msg("nobody stopped at %s, time %u", plan->point->name, plan->nth);
    struct shmkv *db = imaged_open_image(SHMKV_NO_KEEPER);
    assert_rc(imaged_put(db, IMAGED_KEYS, 7), 0);
    int synced = shmkv_sync(db, 30);
    if (synced != 0)
        assert_rc(synced, SHMKV_ETIMEOUT);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
    assert_rc(shmkv_close(db), 0);
    assert_int_equal(kill(child, SIGCONT), 0);
    assert_int_equal(child_wait(child, LIMIT_MS), 0);
    assert_int_equal(acknowledged(), 2);
    db = imaged_after_a_loss();
    imaged_assert_all(db, 2);
    if (synced == 0)
        assert_int_equal(imaged_turn_of(db, IMAGED_KEYS), 7);
    assert_rc(shmkv_close(db), 0);
}

static void a_stop_at_every_point(void **state)
{
    (void)state;
    static struct passed points[POINTS];
    unsigned stops = 0;
    struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
    memset(points, 0, sizeof(points));
    point_record(note_point, points);
    for (uint32_t turn = 0; turn < 3; turn++) {
        assert_rc(imaged_put_all(db, turn), 0);
        assert_rc(put_big(db, turn), 0);
        assert_rc(shmkv_sync(db, -1), 0);
    }
    point_record(NULL, NULL);
    assert_rc(shmkv_close(db), 0);
    for (const struct passed *point = points; point->times != 0; point++) {
        for (unsigned nth = 1; nth <= 2 && nth <= point->times; nth++) {
            struct plan plan = {.point = point, .nth = nth, .action = POINT_STOP, .opened = true};
            stop_at(&plan);
            stops++;
        }
    }
    print_message("# %u stops\n", stops);
    assert_true(stops >= 20);
}

/* ---- others ---------------------------------------------------------------------------------- */

static void who_is_attached_to_lost_memory_is_told_apart(void **state)
{
    (void)state;
    struct shmkv *db;
    pid_t child = child_start(put_and_wait, NULL);
    assert_true(child_wait_stopped(child, LIMIT_MS));
    scratch_lose_memory(); /* as RemoveIPC does */
    assert_rc(home_open(home_image, SHMKV_CREATE, NEVER, &db), SHMKV_EDEFUNCT);
    child_kill(child);
    assert_rc(home_open(home_image, 0, NEVER, &db), 0);
    imaged_assert_all(db, 4);
    assert_rc(shmkv_close(db), 0);
}

static int hold_and_stop(void *arg)
{
    struct shmkv *db;
    (void)arg;
    child_assert(home_open(home_image, SHMKV_CREATE | SHMKV_KEEPER, NEVER, &db) == 0);
    child_assert(imaged_put_all(db, 1) == 0);
    child_assert(shmkv_sync(db, -1) == 0);
    while (load_relaxed(&imaged_words(db)->holder) == 0)
        clock_sleep_ns(1000000); /* the keeper keeps the lease once it has it */
    raise(SIGSTOP);
    child_assert(shmkv_close(db) == 0);
    return 0;
}

static int continue_later(void *arg)
{
    clock_sleep_ns(200000000);
    return kill(*(pid_t *)arg, SIGCONT);
}

static void a_stopped_keeper_is_named(void **state)
{
    (void)state;
    char pid[20];
    pid_t child = child_start(hold_and_stop, NULL);
    assert_true(child_wait_stopped(child, LIMIT_MS));
    struct shmkv *db = imaged_open_image(0);
    assert_rc(imaged_put_all(db, 2), 0);
    assert_rc(shmkv_sync(db, 300), SHMKV_ETIMEOUT);
    snprintf(pid, sizeof(pid), "%d", (int)child);
    assert_non_null(strstr(shmkv_last_error(), pid));
    assert_rc(imaged_put_all(db, 3), 0);
    pid_t other = child_start(continue_later, &child);
    assert_rc(shmkv_sync(db, INT64_MAX / 2 + 1), 0); /* in nanoseconds more than can be counted */
    assert_int_equal(child_wait(other, LIMIT_MS), 0);
    assert_int_equal(child_wait(child, LIMIT_MS), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(shmkv_close(db), 0);
    imaged_assert_kept(3);
}

static void who_sits_in_a_section_may_not_sync(void **state)
{
    (void)state;
    struct shmkv_section section;
    struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
    assert_rc(shmkv_begin(db, &section), 0);
    assert_rc(shmkv_sync(db, -1), SHMKV_EINVAL);
    shmkv_end(&section);
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(shmkv_close(db), 0);
}

/* ---- what may be in a cut ------------------------------------------------------------------ */

/* Tombstones: deleted, cleaned, resized, lost; what was deleted stays so (R18). */
static void what_was_deleted_stays_deleted(void **state)
{
    (void)state;
    for (uint32_t turn = 0; turn < 6; turn++) {
        struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
        if (turn > 0)
            for (uint32_t i = 0; i < 20 * IMAGED_KEYS; i++)
                assert_int_equal(imaged_turn_of(db, i),
                                 i % 3 == (turn - 1) % 3 ? UINT32_MAX : turn - 1);
        for (uint32_t i = 0; i < 20 * IMAGED_KEYS; i++)
            assert_rc(imaged_put(db, i, turn), 0);
        assert_rc(shmkv_sync(db, -1), 0);
        for (uint32_t i = turn % 3; i < 20 * IMAGED_KEYS; i += 3)
            assert_rc(shmkv_delete(db, &i, sizeof(i)), 0);
        assert_rc(shmkv_compact(db), 0);
        assert_rc(shmkv_sync(db, -1), 0);
        assert_rc(shmkv_compact(db), 0);
        assert_rc(shmkv_check(db, NULL, NULL), 0);
        assert_rc(shmkv_sync(db, -1), 0);
        assert_rc(shmkv_close(db), 0);
        scratch_lose_memory();
    }
}

/* R18: nor does it wait for the next tick of a keeper, who may have nothing to write. */
static void a_checkpoint_raises_the_horizon(void **state)
{
    (void)state;
    struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
    struct durable *d = &load_relaxed(&db->store)->durable;
    _Atomic uint64_t *horizon = &audit_arena(db)->sb->horizon;
    store_relaxed(&d->keeps, 1); /* as if its keeper were between two ticks */
    assert_rc(imaged_put_all(db, 1), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    uint64_t before = load_relaxed(horizon);
    assert_rc(shmkv_checkpoint(db), 0);
    assert_true(load_relaxed(horizon) > before);
    assert_true(load_relaxed(horizon) <= epoch_now(audit_arena(db)));
    durable_unkeep(d);
    assert_rc(shmkv_close(db), 0);
}

/* To `used` of a segment, of which the journal carries more than that. */
static void a_stray_write_loses_nothing_durable(void **state)
{
    (void)state;
    for (uint64_t used = 0; used <= 64; used += 64) {
        struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
        uint32_t i = 0;
        for (; i < IMAGED_KEYS; i++) {
            assert_rc(imaged_put(db, i, 1), 0);
            if (i % 16 == 15)
                assert_rc(shmkv_sync(db, -1), 0);
        }
        const struct arena *a = audit_arena(db);
        for (uint64_t id = 0; id < a->sb->segment_count; id++) {
            if (load_relaxed(&a->segments[id].used) > used)
                store_relaxed(&a->segments[id].used, used);
        }
        assert_rc(shmkv_set_interval(db, 5000), 0); /* what is carried has to come home */
        assert_rc(shmkv_sync(db, -1), SHMKV_ECORRUPT);
        assert_rc(shmkv_close(db), 0);
        imaged_assert_kept(1);
        scratch_lose_memory();
        assert_int_equal(unlink(home_image), 0);
    }
}

/* A stray write is found by the checkpoint, and does not get into the image. */
static void a_stray_write_is_not_written(void **state)
{
    (void)state;
    struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
    struct shmkv_section section;
    struct shmkv_item item;
    uint32_t key = 7;
    assert_rc(imaged_put_all(db, 1), 0);
    assert_rc(shmkv_sync(db, -1), 0);
    assert_rc(imaged_put_all(db, 2), 0);
    assert_rc(shmkv_begin(db, &section), 0);
    assert_rc(shmkv_get(&section, &key, sizeof(key), &item), 0);
    ((char *)(uintptr_t)item.value)[50] ^= 1;
    shmkv_end(&section);
    assert_rc(shmkv_sync(db, -1), SHMKV_ECORRUPT);
    assert_rc(shmkv_close(db), 0);
    imaged_assert_kept(1);
}

/* ---- a chain of writers -------------------------------------------------------------------- */

#define WRITERS 4u
#define FILLERS 2000u

/* What a writer puts under its own key: its count, and the count of the one before it that it read
 * just before.  Behind that it puts the same count under a key of many, so that segments fill. */
struct link {
    uint64_t count, seen;
};

struct chain_key {
    uint32_t writer, filler; /* FILLERS: its own key */
};

static struct link read_link(struct shmkv *db, uint32_t writer)
{
    struct chain_key key = {writer, FILLERS};
    struct link link = {0, 0};
    shmkv_read(db, &key, sizeof(key), &link, sizeof(link), NULL);
    return link;
}

static int write_chain(void *arg)
{
    uint32_t self = *(const uint32_t *)arg;
    struct shmkv *db;
    char filler[500] = {0};
    child_assert(home_open(home_image, 0, 2, &db) == 0);
    struct link mine = read_link(db, self);
    mine.count -= mine.count != 0;     /* once more: what follows it may have been lost */
    while (mine.count != UINT64_MAX) { /* until it is killed */
        struct chain_key key = {self, FILLERS};
        mine.seen = read_link(db, (self + WRITERS - 1) % WRITERS).count;
        mine.count++;
        child_assert(shmkv_put(db, &key, sizeof(key), &mine, sizeof(mine), NULL) == 0);
        key.filler = (uint32_t)(mine.count % FILLERS);
        memcpy(filler, &mine.count, sizeof(mine.count));
        child_assert(shmkv_put(db, &key, sizeof(key), filler, sizeof(filler), NULL) == 0);
    }
    return 0;
}

/* Of a writer whose count is N, all before N must be there, and nothing behind. */
static void assert_fillers(struct shmkv *db, uint32_t writer, uint64_t count)
{
    char filler[500];
    for (uint32_t i = 0; count > FILLERS && i < FILLERS; i++) {
        struct chain_key key = {writer, i};
        uint64_t found, least = count - 1 - (count - 1 + FILLERS - i) % FILLERS;
        assert_rc(shmkv_read(db, &key, sizeof(key), filler, sizeof(filler), NULL), 0);
        memcpy(&found, filler, sizeof(found));
        assert_true(found >= least && found <= count && found % FILLERS == i);
    }
}

/* Four processes read each other's values before they write, records are moved and cuts are made
 * all the time; what is recovered holds no effect without its cause. */
static void no_effect_without_its_cause(void **state)
{
    (void)state;
    uint32_t numbers[WRITERS];
    uint64_t longest = 0;
    struct shmkv *db = imaged_open_image(SHMKV_CREATE | SHMKV_NO_KEEPER);
    assert_rc(shmkv_close(db), 0);
    for (unsigned turn = 0; turn < 12 || (longest <= FILLERS && turn < 300); turn++) {
        pid_t writers[WRITERS];
        for (uint32_t i = 0; i < WRITERS; i++) {
            numbers[i] = i;
            writers[i] = child_start(write_chain, &numbers[i]);
        }
        clock_sleep_ns((200 + 37 * (turn % 12)) * 1000000ull);
        for (uint32_t i = 0; i < WRITERS; i++)
            child_kill(writers[i]);
        scratch_lose_memory();
        db = imaged_open_image(SHMKV_NO_KEEPER);
        for (uint32_t i = 0; i < WRITERS; i++) {
            struct link link = read_link(db, i);
            assert_true(link.seen <= read_link(db, (i + WRITERS - 1) % WRITERS).count);
            assert_fillers(db, i, link.count);
            longest = max_u64(longest, link.count);
        }
        assert_rc(shmkv_check(db, NULL, NULL), 0);
        assert_rc(shmkv_close(db), 0);
    }
    print_message("# the longest chain has %llu links\n", (unsigned long long)longest);
    assert_true(longest > FILLERS);
}

/* ---- children ------------------------------------------------------------------------------ */

#define MAPPED_LARGE 4u
#define MAPPED_SMALL 64u
#define MAPPED_BYTES (32u << 20)

/* The addresses of what only the parent has mapped are free in a child, which soon uses them. */
static void map_all(char *memory[MAPPED_LARGE + MAPPED_SMALL])
{
    for (unsigned i = 0; i < MAPPED_LARGE + MAPPED_SMALL; i++) {
        size_t bytes = i < MAPPED_LARGE ? MAPPED_BYTES : PAGE_BYTES;
        memory[i] = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        child_assert(memory[i] != MAP_FAILED);
        for (size_t at = 0; at < bytes; at += PAGE_BYTES)
            memory[i][at] = 'm';
    }
}

static void assert_mapped(char *memory[MAPPED_LARGE + MAPPED_SMALL])
{
    for (unsigned i = 0; i < MAPPED_LARGE + MAPPED_SMALL; i++) {
        size_t bytes = i < MAPPED_LARGE ? MAPPED_BYTES : PAGE_BYTES;
        for (size_t at = 0; at < bytes; at += PAGE_BYTES)
            child_assert(memory[i][at] == 'm');
    }
}

static int map_and_use(void *db)
{
    char *memory[MAPPED_LARGE + MAPPED_SMALL];
    map_all(memory);
    child_assert(shmkv_put(db, "child", 5, "v", 1, NULL) == 0);
    assert_mapped(memory);
    child_assert(shmkv_close(db) == 0);
    assert_mapped(memory);
    return 0;
}

static int map_and_close(void *db)
{
    char *memory[MAPPED_LARGE + MAPPED_SMALL];
    map_all(memory);
    child_assert(shmkv_close(db) == 0);
    assert_mapped(memory);
    return 0;
}

/* A child gives up only its own of what the parent holds: at those addresses is something else. */
static void a_child_keeps_what_it_mapped(void **state)
{
    struct shmkv *db;
    (void)state;
#if THREAD_SANITIZER
    skip(); /* it does not let a child of several threads start one */
#endif
    assert_rc(home_open(home_image, SHMKV_CREATE, 20, &db), 0);
    assert_rc(imaged_put_all(db, 1), 0);
    while (load_seq_cst(&imaged_words(db)->made) == 0)
        clock_sleep_ns(1000000);
    clock_sleep_ns(100000000); /* nothing to be written: no thread is at the image */
    uint32_t holder = load_seq_cst(&imaged_words(db)->holder);
    assert_int_not_equal(holder, 0);
    assert_int_equal(child_wait(child_start(map_and_close, db), LIMIT_MS), 0);
    assert_int_equal(load_seq_cst(&imaged_words(db)->holder), holder);
    assert_int_equal(child_wait(child_start(map_and_use, db), LIMIT_MS), 0);
    assert_rc(shmkv_close(db), 0);
    db = imaged_after_a_loss();
    imaged_assert_all(db, 1);
    assert_rc(shmkv_exists(db, "child", 5), 0);
    assert_rc(shmkv_close(db), 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, home_setup, home_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(synced_is_there),
        TEST(a_death_loses_nothing),
        TEST(the_last_to_close_writes_it),
        TEST(the_last_two_to_close_write_it),
        TEST(an_image_put_in_its_place_is_left_alone),
        TEST(the_interval_is_kept_without_anybody_asking),
        TEST(durable_puts_are_durable),
        TEST(a_part_of_a_batch_is_durable),
        TEST(a_dropped_write_stays_away),
        TEST(who_sits_in_a_section_may_not_sync),
        TEST(who_is_attached_to_lost_memory_is_told_apart),
        TEST(a_stopped_keeper_is_named),
        TEST(what_was_deleted_stays_deleted),
        TEST(a_checkpoint_raises_the_horizon),
        TEST(a_stray_write_is_not_written),
        TEST(a_stray_write_loses_nothing_durable),
        TEST(no_effect_without_its_cause),
        TEST(a_child_keeps_what_it_mapped),
        TEST(death_at_every_point),
        TEST(a_stop_at_every_point),
    };
    return cmocka_run_group_tests_name("crash_durable", tests, NULL, NULL);
}
