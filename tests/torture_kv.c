/* SPDX-License-Identifier: MIT */
/*
 * torture_kv.c [SECONDS] - many processes on one small store, killed at random all the time.
 *
 * Each worker writes and reads keys whose expected state stands in a mapping of its own (crew.h).
 * This process kills one every few milliseconds, stops one now and then, and starts another in its
 * place.  Nobody may see a wrong value, wait for a dead or stopped process, or lose a write that
 * was acknowledged; and in the end nothing may be left of the dead.
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

#define MS 1000000ull
#define WORKERS 8u /* places 0.. */
#define HOLDERS 2u /* places after the workers' */
#define PLACES (WORKERS + HOLDERS)
#define MANAGER (CREW_PLACES - 1) /* the place of this process, for its own calls */
#define SIZE (8u << 20)
#define PHASE_MS 400u
#define KILL_MOST_MS 6u
#define STOP_MOST_MS 40u
#define NICENESS 5
#define YIELD_IN 64u /* passages of points */
#define SLEEP_IN 1024u
#define DIE_IN 50000u
#define SLEEP_MOST_NS 300000u
#define LIMIT_MS 200u /* asked of every call */
#define END_MS 20000u
#define LONGER_MOST 10u /* times the seconds asked for */

struct torture {
    struct crew *crew;
    struct shmkv *db;
    struct gang gang; /* a failure: a worker that ended with an error */
    uint64_t stops;
    unsigned cases, failed;
};

/* ---- the unlucky --------------------------------------------------------------------------- */

static _Thread_local uint64_t luck;

/*
 * Called between any two steps of the protocols: now and then the others go first, for a while or
 * for ever.
 */
static void perturb(void *unused, const char *point)
{
    (void)unused;
    (void)point;
    if (luck == 0)
        luck = clock_mono_ns() ^ (uintptr_t)&luck;
    uint64_t r = blob_random(&luck);
    if (r % YIELD_IN == 0)
        sched_yield();
    else if (r % SLEEP_IN == 1)
        clock_sleep_ns((r >> 32) % SLEEP_MOST_NS);
    else if (r % DIE_IN == 2)
        raise(SIGKILL);
}

/* ---- one worker ---------------------------------------------------------------------------- */

struct start {
    struct torture *torture;
    unsigned index;
    uint64_t random;
    bool inherits; /* the handle of this process, or opens its own */
};

static struct shmkv *open_own(const struct start *s)
{
    struct shmkv *db;
    struct shmkv_options o = {.flags = s->index % 2 == 0 ? SHMKV_NO_KEEPER : 0};
    if (s->index == PLACES - 1)
        o.flags = SHMKV_READONLY;
    child_assert(shmkv_close(s->torture->db) == 0);
    child_assert(shmkv_open(s->torture->crew->store, &o, &db) == 0);
    return db;
}

static int work(void *arg)
{
    const struct start *s = arg;
    struct crew *crew = s->torture->crew;
    struct worker w = {.crew = crew, .index = s->index, .random = s->random};
    w.place = &crew->places[s->index];
    w.db = s->inherits ? s->torture->db : open_own(s);
    lap_open(&w.lap);
    point_record(perturb, NULL);
    child_assert(nice(NICENESS) != -1); /* who kills goes first */
    if (s->index < WORKERS) {
        crew_take_over(&w);
        crew_work(&w);
    } else {
        crew_hold(&w);
    }
    lap_close(&w.lap);
    child_assert(shmkv_close(w.db) == 0);
    point_record(NULL, NULL);
    return 0;
}

static pid_t start(void *arg, unsigned place)
{
    struct torture *t = arg;
    struct start s = {.torture = t, .index = place, .random = blob_random(&t->gang.random)};
    s.inherits = place < PLACES - 1 && gang_pick(&t->gang, 2) == 0;
    return child_start(work, &s);
}

/* ---- the others' fate ---------------------------------------------------------------------- */

static void stop_one(struct torture *t)
{
    unsigned index = (unsigned)gang_pick(&t->gang, PLACES);
    add_seq_cst(&t->crew->places[index].stops, 1);
    kill(t->gang.pids[index], SIGSTOP);
    clock_sleep_ns(gang_pick(&t->gang, STOP_MOST_MS * MS));
    kill(t->gang.pids[index], SIGCONT);
    add_seq_cst(&t->crew->places[index].stops, 1);
    t->stops++;
}

static struct shmkv_stats stats_of(struct torture *t)
{
    struct shmkv_stats s = {.keys = 0};
    if (shmkv_get_stats(t->db, &s) != 0)
        printf("# stats: %s\n", shmkv_last_error());
    return s;
}

static bool all_took_part(const struct shmkv_stats *s)
{
    return s->resizes > 2 && s->segments_cleaned > 10;
}

/* On a machine that is slow, or busy with others, it takes longer until all has come up. */
static bool is_over(struct torture *t, uint64_t passed_ns, uint64_t ns)
{
    if (passed_ns < ns || passed_ns >= ns * LONGER_MOST)
        return passed_ns >= ns;
    struct shmkv_stats s = stats_of(t);
    return all_took_part(&s);
}

static void torture_for(struct torture *t, uint64_t ns)
{
    uint64_t begin = clock_mono_ns(), now;
    while (now = clock_mono_ns(), !is_over(t, now - begin, ns) && t->gang.failures == 0) {
        store_relaxed(&t->crew->phase, (uint32_t)((now - begin) / (PHASE_MS * MS)) % CREW_PHASES);
        if (gang_pick(&t->gang, 16) == 0)
            stop_one(t);
        gang_strike(&t->gang, KILL_MOST_MS);
    }
}

/* Nobody dies any more: all must come to their ends by themselves. */
static void end_workers(struct torture *t)
{
    clock_sleep_ns(500 * MS);
    gang_replace(&t->gang);
    store_seq_cst(&t->crew->stop, 1);
    gang_wait(&t->gang, END_MS);
}

/* Places whose last worker was killed before it took over. */
static void take_over_all(struct torture *t, struct worker *w)
{
    for (unsigned i = 0; i < WORKERS; i++) {
        w->index = i;
        w->place = &t->crew->places[i];
        crew_take_over(w);
    }
    w->index = MANAGER;
    w->place = &t->crew->places[MANAGER];
}

/* ---- verdicts ------------------------------------------------------------------------------ */

static void verdict(struct torture *t, bool right, const char *name)
{
    printf("%s %u - %s\n", right ? "ok" : "not ok", ++t->cases, name);
    t->failed += !right;
}

static void judge_times(struct torture *t)
{
    uint64_t calls = 0, refused = 0, longest = 0, wall = 0;
    char name[CREW_CALL_BYTES + 1] = "";
    for (unsigned i = 0; i < PLACES; i++) {
        const struct crew_place *p = &t->crew->places[i];
        calls += load_relaxed(&p->calls);
        refused += load_relaxed(&p->refused);
        if (load_relaxed(&p->longest_used_ns) <= longest)
            continue;
        uint64_t words[2] = {load_relaxed(&p->longest_call[0]), load_relaxed(&p->longest_call[1])};
        memcpy(name, words, CREW_CALL_BYTES);
        longest = load_relaxed(&p->longest_used_ns);
        wall = load_relaxed(&p->longest_wall_ns);
    }
    printf("# %" PRIu64 " calls, %" PRIu64 " of them refused for lack of room\n", calls, refused);
    printf("# longest call of a survivor: %s, %.1f ms of its own and %.1f ms in the queue for a "
           "processor\n",
           name, (double)longest / 1e6, (double)(wall - longest) / 1e6);
    verdict(t, longest < LIMIT_MS * MS, "no call takes longer than 200 ms");
    verdict(t, refused * 100 < calls, "hardly any call is refused");
}

static void print_finding(void *arg, const char *line)
{
    (void)arg;
    printf("# check: %s\n", line);
}

static int delete_pair(void *arg, const struct shmkv_pair *pair)
{
    struct torture *t = arg;
    int rc = shmkv_delete(t->db, pair->key, pair->klen);
    if (rc != 0)
        printf("# delete at the end: %s\n", shmkv_last_error());
    return rc;
}

/* With every key deleted and everything cleaned hardly anything may be in use. */
static void judge_memory(struct torture *t)
{
    uint64_t cursor = 0;
    verdict(t, shmkv_scan(t->db, &cursor, NULL, delete_pair, t) == 0, "every key can be deleted");
    for (int i = 0; i < 20; i++) {
        shmkv_compact(t->db);
        clock_sleep_ns(3 * MS);
    }
    struct shmkv_stats s = stats_of(t);
    uint64_t unused = s.segments_free + s.segments_limbo;
    printf("# emptied: %" PRIu64 " of %" PRIu64 " segments in use, %" PRIu64
           " bytes current, index "
           "%" PRIu64 " bytes, keys %" PRId64 ", tombstones %" PRId64 "\n",
           s.segments - unused, s.segments, s.live_bytes, s.index_bytes, (int64_t)s.keys,
           (int64_t)s.tombstones);
    verdict(t, s.memory <= s.size && (s.segments - unused) * s.segment_size < s.size / 4,
            "no memory is lost");
    verdict(t, s.live_bytes < s.size / 64, "tombstones go");
}

static void judge(struct torture *t)
{
    struct worker w = {.crew = t->crew, .db = t->db, .index = MANAGER};
    w.place = &t->crew->places[MANAGER];
    lap_open(&w.lap);
    struct shmkv_stats s = stats_of(t);
    printf("# %" PRIu64 " deaths, %" PRIu64 " stops; %" PRIu64 " puts, %" PRIu64
           " deletes, %" PRIu64 " resizes, %" PRIu64 " segments cleaned, %" PRIu64
           " reaped, %" PRIu64 " retries, %" PRIu64 " stalls\n",
           t->gang.deaths, t->stops, s.puts, s.deletes, s.resizes, s.segments_cleaned, s.reaped,
           s.retries, s.stalls);
    verdict(t, t->gang.failures == 0, "no worker saw anything wrong");
    audit_reap(t->db);
    verdict(t, audit_claims(t->db) == 0, "nothing is left in the hands of the dead");
    take_over_all(t, &w);
    verdict(t, crew_wrong_keys(&w) == 0, "every key has its acknowledged or its intended value");
    verdict(t, crew_wrong_sums(&w, t->gang.deaths) == 0, "no addition is lost or made twice");
    verdict(t, crew_wrong_queues(&w) == 0, "no deleted key comes back");
    verdict(t, shmkv_check(t->db, print_finding, NULL) == 0, "the store checks out");
    judge_times(t);
    judge_memory(t);
    verdict(t, all_took_part(&s), "resizes and cleaning took part");
    lap_close(&w.lap);
}

int main(int argc, char **argv)
{
    static struct torture t;
    unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 10;
    uint64_t random = argc > 2 ? strtoull(argv[2], NULL, 0) : clock_mono_ns();
    t.gang = (struct gang){.places = PLACES, .start = start, .arg = &t, .random = random};
    t.crew = mmap(NULL, sizeof(*t.crew), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (t.crew == MAP_FAILED)
        return 1;
    snprintf(t.crew->store, sizeof(t.crew->store), "shm:torture-%ld", (long)getpid());
    struct shmkv_options o = {.flags = SHMKV_CREATE | SHMKV_EXCLUSIVE | SHMKV_NO_KEEPER,
                              .size = SIZE};
    if (shmkv_open(t.crew->store, &o, &t.db) != 0) {
        printf("not ok 1 - open: %s\n", shmkv_last_error());
        return 1;
    }
    printf("# %u places, %u seconds, random numbers from %" PRIu64 "\n", PLACES, seconds, random);
    gang_start(&t.gang);
    torture_for(&t, seconds * 1000ull * MS);
    end_workers(&t);
    judge(&t);
    shmkv_close(t.db);
    shmkv_destroy(t.crew->store, NULL, 1);
    printf("1..%u\n", t.cases);
    return t.failed != 0;
}
