/* SPDX-License-Identifier: MIT */
/*
 * crash_cut.c - what a checkpoint's cut holds, whatever others do between any two of its steps.
 *
 * The checkpoint runs in the test's thread.  At one of its points, each in turn, other participants
 * move records, reuse what was freed, and write a chain in which each sees what the one before did;
 * a writer may stand in a thread of its own at a point of its put.  Then the memory is lost.
 */
#include "live.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint.h"
#include "cleaner.h"
#include "collect.h"
#include "home.h"
#include "point.h"
#include "shmkv.h"

#define KEYS 600u
#define NEW_KEYS 80u
#define VALUE 500u
#define LARGE 70000u /* a run of two segments */

/* ---- a writer in a thread of its own ------------------------------------------------------- */

struct lane {
    struct writer writer;
    pthread_t thread;
    sem_t reached, go;
    const char *stop; /* the point where it stands next; NULL: nowhere */
    struct index_change first, second;
    int first_rc, second_rc; /* second: only if its key is set */
};

static _Thread_local struct lane *own_lane;

static void stand(struct lane *lane)
{
    lane->stop = NULL;
    sem_post(&lane->reached);
    while (sem_wait(&lane->go) != 0) {
    }
}

static void *lane_run(void *arg)
{
    struct lane *lane = own_lane = arg;
    lane->first_rc = writer_change(&lane->writer, &lane->first);
    if (lane->second.spec.key != NULL)
        lane->second_rc = writer_change(&lane->writer, &lane->second);
    sem_post(&lane->reached);
    return NULL;
}

/* Until it stands at @point. */
static void lane_start(struct lane *lane, const char *point)
{
    sem_init(&lane->reached, 0, 0);
    sem_init(&lane->go, 0, 0);
    lane->stop = point;
    assert_int_equal(pthread_create(&lane->thread, NULL, lane_run, lane), 0);
    while (sem_wait(&lane->reached) != 0) {
    }
}

/* Let it go on to @point; NULL: to its end. */
static void lane_go(struct lane *lane, const char *point)
{
    lane->stop = point;
    sem_post(&lane->go);
    while (sem_wait(&lane->reached) != 0) {
    }
}

static void lane_end(struct lane *lane)
{
    pthread_join(lane->thread, NULL);
    writer_end(&lane->writer);
    sem_destroy(&lane->reached);
    sem_destroy(&lane->go);
}

/* ---- points of the checkpoint -------------------------------------------------------------- */

struct stage {
    struct live live;
    struct writer a, b, cleaner;
    struct lane early, late; /* published, undecided; about to publish in an epoch of the cut */
    bool lanes, large;       /* large: what the lanes put is in a run */
    unsigned passages, act_at;
    bool inside; /* the act is under way: its own points do not count */
    bool acted;
    const char *point; /* only this one counts; NULL: all of the cut */
    void (*act)(struct stage *);
    const char *next;       /* where the late lane is let go to */
    bool reused;            /* what was freed */
    uint64_t victim, stale; /* of the cleaner that stands before its last CAS */
};

static bool is_of_the_cut(const struct stage *s, const char *name)
{
    const char *points[] = {"checkpoint.epoch", "checkpoint.decided", "checkpoint.state",
                            "checkpoint.used"};
    if (s->point != NULL)
        return strcmp(s->point, name) == 0;
    for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
        if (strcmp(points[i], name) == 0)
            return true;
    }
    return false;
}

static void seen(void *arg, const char *name)
{
    struct stage *s = arg;
    struct lane *lane = own_lane;
    if (lane != NULL) {
        if (lane->stop != NULL && strcmp(lane->stop, name) == 0)
            stand(lane);
        return;
    }
    if (s->inside || !is_of_the_cut(s, name) || ++s->passages != s->act_at)
        return;
    s->inside = s->acted = true;
    s->act(s);
    s->inside = false;
}

static void put_number(struct writer *w, const char *kind, unsigned i, char fill)
{
    char key[32], value[VALUE + 1];
    snprintf(key, sizeof(key), "%s%u", kind, i);
    memset(value, fill, VALUE);
    value[VALUE] = 0;
    writer_put(w, key, value);
}

static const char *large_value(char fill)
{
    static char value[LARGE + 1];
    memset(value, fill, LARGE);
    return value;
}

/* Segments half of whose records are dead, so that there is something to clean. */
static void begin_stage(struct stage *s)
{
    unlink(home_image);
    live_create(&s->live, home_image);
    const struct arena *arena = &s->live.arena;
    writer_begin(&s->a, arena, s->live.process.index);
    writer_begin(&s->b, arena, s->live.process.index);
    writer_begin(&s->cleaner, arena, s->live.process.index);
    for (unsigned i = 0; i < KEYS; i++)
        put_number(&s->a, "k", i, 'a');
    for (unsigned i = 0; i < KEYS; i += 2)
        put_number(&s->b, "k", i, 'b');
    writer_put(&s->a, "large 1", large_value('a'));
    writer_put(&s->a, "large 2", large_value('a'));
    point_record(seen, s);
}

/* One has published what is not decided, and others have built on it; one is about to publish. */
static void start_lanes(struct stage *s)
{
    const struct arena *arena = &s->live.arena;
    writer_begin(&s->early.writer, arena, s->live.process.index);
    writer_begin(&s->late.writer, arena, s->live.process.index);
    s->early.first = writer_change_of(arena, "early", s->large ? large_value('e') : "cause");
    s->late.first = writer_change_of(arena, "late", "cause");
    lane_start(&s->early, "put.cas");
    assert_non_null(record_found(&s->a, "early"));
    writer_put(&s->a, "saw early", "effect");
    lane_start(&s->late, "put.marked");
}

static void end_writers(struct stage *s)
{
    if (s->lanes) {
        lane_go(&s->early, NULL);
        lane_end(&s->early);
        lane_end(&s->late);
    }
    point_record(NULL, NULL);
    writer_end(&s->a);
    writer_end(&s->b);
    writer_end(&s->cleaner);
}

static void assert_number(struct live *l, const char *kind, unsigned i, char fill)
{
    char key[32];
    snprintf(key, sizeof(key), "%s%u", kind, i);
    const char *value = live_get(l, key);
    if (fill == 0) {
        if (value != NULL)
            fail_msg("%s is in the cut", key);
        return;
    }
    if (value == NULL) {
        fail_msg("%s is not in the cut", key);
        return;
    }
    if (value[0] != fill || value[VALUE - 1] != fill)
        fail_msg("%s is '%c' in the cut, not '%c'", key, value[0], fill);
}

static void assert_large(struct live *l, const char *key, char fill)
{
    const char *value = live_get(l, key);
    if (value == NULL || memcmp(value, large_value(fill), LARGE) != 0)
        fail_msg("%s is not in the cut", key);
}

static void assert_base(struct live *l)
{
    assert_large(l, "large 1", 'a');
    assert_large(l, "large 2", 'a');
    for (unsigned i = 0; i < KEYS; i++)
        assert_number(l, "k", i, i % 2 == 0 ? 'b' : 'a');
}

/* ---- between every two reads --------------------------------------------------------------- */

/* Move, free, reuse; a chain of writers, each of which sees what was done before. */
static void move_and_write(struct stage *s)
{
    const struct arena *arena = &s->live.arena;
    int cleaned = 0;
    for (unsigned i = 0; i < 6; i++)
        cleaned += cleaner_step(&s->cleaner) > 0;
    assert_true(cleaned > 0);
    if (s->lanes) {
        lane_go(&s->late, NULL);
        assert_non_null(record_found(&s->a, "late"));
        writer_put(&s->b, "saw late", "effect");
        writer_put(&s->b, "early", "later than the cut"); /* its slot tells nothing now (R10) */
    }
    writer_delete(&s->b, "k1");
    writer_delete(&s->b, "large 1");
    writer_put(&s->b, "large 2", large_value('z'));
    collect_runs(&s->cleaner, true);
    put_number(&s->a, "k", 1, 'z');
    writer_delete(&s->a, "k2");
    grace_pass(arena);
    segment_reclaim(arena);
    for (unsigned i = 0; i < NEW_KEYS; i++)
        put_number(i % 2 == 0 ? &s->b : &s->a, "n", i, 'n');
    writer_put(&s->a, "large 3", large_value('n'));
    put_number(&s->b, "k", 2, 'z');
    grace_pass(arena);
    segment_reclaim(arena);
    put_number(&s->a, "k", 4, 'z');
}

static void assert_cut(struct stage *s)
{
    struct live *l = &s->live;
    assert_base(l);
    for (unsigned i = 0; i < NEW_KEYS; i++)
        assert_number(l, "n", i, 0);
    assert_null(live_get(l, "large 3"));
    assert_null(live_get(l, "saw late")); /* its cause may be in the cut or not */
    if (s->lanes) {
        assert_non_null(live_get(l, "saw early"));
        assert_non_null(live_get(l, "early"));
        if (s->large)
            assert_large(l, "early", 'e');
        else
            assert_string_equal(live_get(l, "early"), "cause");
    }
}

/* Act at passage @n; false: there are fewer. */
static bool cut_with(unsigned n, bool lanes, bool large)
{
    static struct stage s;
    uint64_t epoch;
    s = (struct stage){.act_at = n, .act = move_and_write, .lanes = lanes, .large = large};
    begin_stage(&s);
    if (lanes)
        start_lanes(&s);
    assert_rc(checkpoint_make(&s.live.image, &s.live.writer.self, 0, &epoch), 0);
    if (!s.acted && lanes)
        lane_go(&s.late, NULL);
    end_writers(&s);
    live_lose(&s.live);
    assert_rc(live_recover(&s.live, home_image, 1), 0);
    assert_cut(&s);
    live_lose(&s.live);
    return s.acted;
}

static void cut_between_all_reads(bool lanes, bool large)
{
    unsigned n = 1;
    while (cut_with(n, lanes, large))
        n++;
    print_message("# %u places\n", n - 1);
    assert_true(n > 12);
}

static void records_move_between_any_two_reads(void **state)
{
    (void)state;
    cut_between_all_reads(false, false);
}

static void undecided_writes_between_any_two_reads(void **state)
{
    (void)state;
    cut_between_all_reads(true, false);
}

static void undecided_runs_between_any_two_reads(void **state)
{
    (void)state;
    cut_between_all_reads(true, true);
}

/* ---- a cleaner that stood ------------------------------------------------------------------ */

/* What a cleaner does that loaded G, stood, and goes on when G has been raised: its segment is free
 * at once, sections of now do not hold it, and others write there. */
static void free_and_reuse(struct stage *s)
{
    const struct arena *arena = &s->live.arena;
    uint64_t word = claim_word(SEGMENT_CLEANING, s->cleaner.self.index, 0);
    uint64_t limbo = claim_word(SEGMENT_LIMBO, 0, s->stale);
    assert_true(cas_acq_rel(&segment_at(arena, s->victim)->state, &word, limbo));
    grace_pass(arena);
    segment_reclaim(arena);
    for (unsigned i = 0; i < KEYS && !s->reused; i++) {
        put_number(&s->b, "n", i, 'n');
        word = load_acquire(&segment_at(arena, s->victim)->state);
        s->reused = claim_kind(word) == SEGMENT_OPEN;
    }
}

/* In the cleaner, between its last look at G and its last CAS: a checkpoint is made. */
static void checkpoint_under_cleaner(void *arg)
{
    struct stage *s = arg;
    const struct arena *arena = &s->live.arena;
    uint64_t epoch, id = 0, word = claim_word(SEGMENT_CLEANING, s->cleaner.self.index, 0);
    while (load_acquire(&segment_at(arena, id)->state) != word)
        id++;
    s->victim = id;
    s->stale = epoch_now(arena);
    epoch_raise_above(arena, s->stale);
    assert_rc(checkpoint_make(&s->live.image, &s->live.writer.self, 0, &epoch), 0);
}

static bool stale_cleaner(unsigned n)
{
    static struct stage s;
    s = (struct stage){.act_at = n, .act = free_and_reuse};
    begin_stage(&s);
    point_arm("clean.retiring", 1, POINT_CALL, checkpoint_under_cleaner, &s);
    assert_int_equal(cleaner_step(&s.cleaner), 1);
    end_writers(&s);
    live_lose(&s.live);
    assert_rc(live_recover(&s.live, home_image, 1), 0);
    assert_base(&s.live);
    for (unsigned i = 0; s.acted && i < KEYS; i++)
        assert_number(&s.live, "n", i, 0);
    live_lose(&s.live);
    assert_true(s.reused || !s.acted);
    return s.acted;
}

static void a_segment_is_freed_by_a_cleaner_that_stood(void **state)
{
    (void)state;
    unsigned n = 1;
    while (stale_cleaner(n))
        n++;
    assert_true(n > 12);
}

/* ---- a record that is given up ------------------------------------------------------------- */

/* While its record is looked at, the writer finds that another was faster, and writes over it. */
static void give_up(struct stage *s)
{
    lane_go(&s->late, s->next);
}

/* The second record is shorter than the first, as long, or longer; the writer stands at @next of
 * its put, or has ended it. */
static void abandoned(size_t size, const char *next, const char *first)
{
    static struct stage s;
    uint64_t epoch;
    char value[201] = {0};
    memset(value, 'v', size);
    s = (struct stage){.act_at = 1, .act = give_up, .point = "checkpoint.deciding", .next = next};
    begin_stage(&s);
    writer_begin(&s.late.writer, &s.live.arena, s.live.process.index);
    s.late.first = writer_change_of(&s.live.arena, "contested", first);
    s.late.first.condition = INDEX_IF_ABSENT;
    s.late.second = writer_change_of(&s.live.arena, "secondary", value);
    lane_start(&s.late, "put.inflight");
    writer_put(&s.b, "contested", "other");
    assert_rc(checkpoint_make(&s.live.image, &s.live.writer.self, 0, &epoch), 0);
    assert_true(s.acted);
    if (next != NULL)
        lane_go(&s.late, NULL);
    assert_rc(s.late.first_rc, SHMKV_EEXISTS);
    assert_rc(s.late.second_rc, 0);
    lane_end(&s.late);
    end_writers(&s);
    live_lose(&s.live);
    assert_rc(live_recover(&s.live, home_image, 1), 0);
    assert_base(&s.live);
    assert_string_equal(live_get(&s.live, "contested"), "other");
    assert_null(live_get(&s.live, "secondary"));
    live_lose(&s.live);
}

static void an_abandoned_record_is_void(void **state)
{
    (void)state;
    const char *points[] = {"put.entered", "put.written", "put.inflight",
                            "put.cas",     "put.used",    NULL};
    const size_t sizes[] = {0, 8, 32, 100, 200};
    for (size_t i = 0; i < ARRAY_SIZE(points); i++)
        for (size_t k = 0; k < ARRAY_SIZE(sizes); k++)
            abandoned(sizes[k], points[i], "a value of thirty-two characters");
}

/* Its run is free at once, for nobody has seen it. */
static void an_abandoned_run_is_void(void **state)
{
    (void)state;
    const char *points[] = {"run.freed", "segment.closed", "put.inflight", "put.cas", NULL};
    for (size_t i = 0; i < ARRAY_SIZE(points); i++)
        abandoned(100, points[i], large_value('c'));
}

/* ---- main ---------------------------------------------------------------------------------- */

#define TEST(test) cmocka_unit_test_setup_teardown(test, home_setup, home_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_move_between_any_two_reads),
        TEST(undecided_writes_between_any_two_reads),
        TEST(undecided_runs_between_any_two_reads),
        TEST(a_segment_is_freed_by_a_cleaner_that_stood),
        TEST(an_abandoned_record_is_void),
        TEST(an_abandoned_run_is_void),
    };
    return cmocka_run_group_tests_name("crash_cut", tests, NULL, NULL);
}
