/* SPDX-License-Identifier: MIT */
/*
 * torture_image.c [SECONDS] - many processes on one small store with an image, killed at random,
 * one by one and all at once; and now and then with the memory lost, as by a reboot.
 *
 * The workers are those of torture_kv (crew.h), which sync now and then, and write chains of causes
 * and effects; some values are larger than a segment; another process keeps house.  In rounds: who
 * dies is replaced, until all are killed.  Then, if the memory is still there, nothing that was
 * acknowledged may be missing; if it is not, nothing that was synced, and no cause of an effect
 * that is there.  What was found is what the next round begins with.
 */
#define _GNU_SOURCE
#include "audit.h"

#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blob.h"
#include "child.h"
#include "clock.h"
#include "crew.h"
#include "gang.h"
#include "point.h"
#include "scratch.h"
#include "segment.h"

#define MS 1000000ull
#define WORKERS 5u
#define KEEPER WORKERS /* its place */
#define PLACES (WORKERS + 1)
#define MANAGER (CREW_PLACES - 1) /* the place of this process, for its own calls */
#define SIZE (8u << 20)
#define INTERVAL_MS 5u /* of checkpoints, so that many deaths meet one */
#define ROUND_MS 800u
#define PHASE_MS 400u
#define KILL_MOST_MS 12u
#define YIELD_IN 64u /* passages of points */
#define SLEEP_IN 16u
#define SLEEP_MOST_NS 200000u
#define DIE_IN 50000u
#define END_MS 60000u
#define LARGE 150000u /* bytes of a value in three segments */

/* How a round ends. */
enum end { END_REBOOT, END_DEATH, END_ORDERLY };

struct torture {
    struct crew *crew;
    struct gang gang; /* a failure: a worker that ended with an error, or it does not open */
    uint64_t rounds[END_ORDERLY + 1], runs;
    uint64_t large; /* which large value was synced last; 0: none was */
    unsigned wrong[END_ORDERLY + 1], damaged;
    unsigned cases, failed;
};

/* ---- processes ------------------------------------------------------------------------------ */

/* Between any two steps others get on, of a cut above all, or the process dies. */
static void perturb(void *unused, const char *point)
{
    static _Thread_local uint64_t luck;
    (void)unused;
    if (luck == 0)
        luck = clock_mono_ns() ^ (uintptr_t)&luck;
    uint64_t r = blob_random(&luck);
    bool cut = strncmp(point, "checkpoint.", 11) == 0;
    if (cut && r % SLEEP_IN == 0)
        clock_sleep_ns((r >> 32) % SLEEP_MOST_NS);
    else if (r % YIELD_IN == 0)
        sched_yield();
    else if (r % DIE_IN == 1)
        raise(SIGKILL);
}

struct start {
    struct torture *torture;
    unsigned index;
    uint64_t random;
};

static int open_store(const struct crew *crew, uint32_t flags, struct shmkv **db)
{
    struct shmkv_options o = {.flags = flags | SHMKV_CREATE,
                              .size = SIZE,
                              .interval_ms = INTERVAL_MS,
                              .shm_dir = scratch_dir()};
    return shmkv_open(crew->store, &o, db);
}

static void keep_house(const struct crew *crew)
{
    struct shmkv *db;
    child_assert(open_store(crew, SHMKV_KEEPER, &db) == 0);
    while (load_relaxed(&crew->stop) == 0)
        clock_sleep_ns(MS);
    child_assert(shmkv_close(db) == 0);
}

static int work(void *arg)
{
    const struct start *s = arg;
    struct crew *crew = s->torture->crew;
    struct worker w = {.crew = crew, .index = s->index, .random = s->random};
    point_record(perturb, NULL);
    if (s->index == KEEPER) {
        keep_house(crew);
        return 0;
    }
    w.place = &crew->places[s->index];
    child_assert(open_store(crew, s->index % 2 == 0 ? SHMKV_NO_KEEPER : 0, &w.db) == 0);
    lap_open(&w.lap);
    crew_take_over(&w);
    crew_work(&w);
    lap_close(&w.lap);
    child_assert(shmkv_close(w.db) == 0);
    return 0;
}

static pid_t start(void *arg, unsigned place)
{
    struct torture *t = arg;
    struct start s = {.torture = t, .index = place, .random = blob_random(&t->gang.random)};
    return child_start(work, &s);
}

/* ---- rounds --------------------------------------------------------------------------------- */

static void kill_for(struct torture *t, uint64_t ns)
{
    uint64_t begin = clock_mono_ns(), now;
    while (now = clock_mono_ns(), now - begin < ns && t->gang.failures == 0) {
        store_relaxed(&t->crew->phase, (uint32_t)(now / (PHASE_MS * MS)) % CREW_PHASES);
        gang_strike(&t->gang, KILL_MOST_MS);
    }
}

/* All at once, as far as signals can; or each at its own end. */
static void end_all(struct torture *t, enum end end)
{
    if (end == END_ORDERLY)
        store_seq_cst(&t->crew->stop, 1);
    else
        gang_kill(&t->gang);
    gang_wait(&t->gang, END_MS);
}

static void print_finding(void *arg, const char *line)
{
    (void)arg;
    printf("# check: %s\n", line);
}

static void count_runs(struct torture *t, struct shmkv *db)
{
    struct segment_census c;
    segment_count(audit_arena(db), &c);
    t->runs += c.kinds[SEGMENT_RUN_HEAD];
}

/* What this process synced when it last judged is there, byte by byte. */
static bool has_large(struct torture *t, struct shmkv *db)
{
    static char value[LARGE];
    struct shmkv_item item = {.size = 0};
    uint64_t found = 0;
    int rc = shmkv_read(db, "large", 5, value, sizeof(value), &item);
    return t->large == 0 || (rc == 0 && item.size == LARGE && blob_read(value, LARGE, 0, &found) &&
                             found == t->large);
}

static void put_large(struct torture *t, struct shmkv *db)
{
    static char value[LARGE];
    blob_write(value, LARGE, 0, t->large + 1);
    t->large += shmkv_put(db, "large", 5, value, LARGE, NULL) == 0; /* or there is no room */
}

static void take_over_all(struct worker w)
{
    for (w.index = 0; w.index < WORKERS; w.index++) {
        w.place = &w.crew->places[w.index];
        crew_take_over(&w);
    }
}

/* The store as it is found; how much is wrong with it. */
static unsigned judge(struct torture *t, enum end end)
{
    struct worker w = {.crew = t->crew, .place = &t->crew->places[MANAGER], .index = MANAGER};
    unsigned wrong = 0;
    if (open_store(t->crew, SHMKV_NO_KEEPER, &w.db) != 0) {
        printf("# it does not open: %s\n", shmkv_last_error());
        t->gang.failures++;
        return 1;
    }
    lap_open(&w.lap);
    if (end == END_REBOOT) {
        count_runs(t, w.db);
        wrong = crew_recovered(&w, t->gang.deaths);
    } else {
        audit_reap(w.db);
        take_over_all(w);
        wrong = crew_wrong_keys(&w) + crew_wrong_sums(&w, t->gang.deaths) + crew_wrong_queues(&w);
    }
    wrong += !has_large(t, w.db);
    t->damaged += shmkv_check(w.db, print_finding, NULL) != 0;
    put_large(t, w.db);
    crew_sync(&w);
    t->damaged += shmkv_check_image(t->crew->store, print_finding, NULL) != 0;
    lap_close(&w.lap);
    t->damaged += shmkv_close(w.db) != 0;
    return wrong;
}

static void one_round(struct torture *t, enum end end)
{
    gang_start(&t->gang);
    kill_for(t, (ROUND_MS / 2 + gang_pick(&t->gang, ROUND_MS)) * MS);
    end_all(t, end);
    if (end == END_REBOOT)
        scratch_lose_memory();
    t->wrong[end] += judge(t, end);
    t->rounds[end]++;
}

/* All ended in order and was synced: that is what is there after a loss. */
static void last_round(struct torture *t)
{
    one_round(t, END_ORDERLY);
    scratch_lose_memory();
    t->wrong[END_REBOOT] += judge(t, END_REBOOT);
}

/* ---- verdicts ------------------------------------------------------------------------------ */

static void verdict(struct torture *t, bool right, const char *name)
{
    printf("%s %u - %s\n", right ? "ok" : "not ok", ++t->cases, name);
    t->failed += !right;
}

static void say(struct torture *t)
{
    uint64_t syncs = load_seq_cst(&t->crew->durable.syncs);
    printf("# %" PRIu64 " reboots, %" PRIu64 " deaths of all, %" PRIu64 " deaths, %" PRIu64
           " syncs, %" PRIu64 " large values recovered\n",
           t->rounds[END_REBOOT], t->rounds[END_DEATH], t->gang.deaths, syncs, t->runs);
    verdict(t, t->gang.failures == 0, "no worker saw anything wrong");
    verdict(t, t->wrong[END_REBOOT] == 0,
            "a reboot loses nothing that was synced, and no cause of what is there");
    verdict(t, t->wrong[END_DEATH] + t->wrong[END_ORDERLY] == 0,
            "the death of all loses nothing that was acknowledged");
    verdict(t, t->damaged == 0, "store and image check out each time");
    verdict(t, syncs > 2 && t->runs > 0 && t->gang.deaths > PLACES,
            "syncs, deaths and large values took part");
}

static void torture_for(struct torture *t, uint64_t ns)
{
    uint64_t begin = clock_mono_ns();
    do {
        store_seq_cst(&t->crew->stop, 0);
        one_round(t, gang_pick(&t->gang, 3) == 0 ? END_DEATH : END_REBOOT);
    } while (clock_mono_ns() - begin < ns && t->gang.failures == 0);
    last_round(t);
}

int main(int argc, char **argv)
{
    static struct torture t;
    unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 10;
    uint64_t random = argc > 2 ? strtoull(argv[2], NULL, 0) : clock_mono_ns();
    t.gang = (struct gang){.places = PLACES, .start = start, .arg = &t, .random = random};
    t.crew = mmap(NULL, sizeof(*t.crew), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (t.crew == MAP_FAILED || !scratch_make(0))
        return 1;
    snprintf(t.crew->store, sizeof(t.crew->store), "%s", scratch_path("image"));
    t.crew->imaged = true;
    printf("# %u places, %u seconds, random numbers from %" PRIu64 "\n", PLACES, seconds, random);
    torture_for(&t, seconds * 1000ull * MS);
    say(&t);
    scratch_remove();
    printf("1..%u\n", t.cases);
    return t.failed != 0;
}
