/* SPDX-License-Identifier: MIT */
#include "lib_team.h"

#include "lib_child.h"
#include "lib_clock.h"
#include "lib_memory.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The team that must be ended, and whose stores removed, if the benchmark ends early. */
static struct team *current;
static pid_t owner;
static volatile sig_atomic_t interrupted;

/* ---- sleeping ------------------------------------------------------------------------------ */

static void word_wait(_Atomic uint32_t *word, uint32_t seen, unsigned ms)
{
    struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    syscall(SYS_futex, word, FUTEX_WAIT, seen, &limit, NULL, 0);
}

static void word_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* ---- a member ------------------------------------------------------------------------------ */

struct member {
    struct team *team;
    unsigned number;
    unsigned role;
    unsigned role_number;
    unsigned role_members;
    void *context[TEAM_LANES];
};

static void member_introduce(struct member *m, struct team *t, unsigned number)
{
    *m = (struct member){.team = t, .number = number, .role = number >= t->first};
    m->role_number = m->role == 0 ? number : number - t->first;
    m->role_members = m->role == 0 ? t->first : t->members - t->first;
}

static unsigned active_of(const struct team *t, const struct team_order *o)
{
    return o->active > 0 && o->active < t->first ? o->active : t->first;
}

/* How many members @order is for. */
static unsigned asked_of(const struct team *t, const struct team_order *order)
{
    return active_of(t, order) + t->members - t->first;
}

/* Is it for member @number? */
static bool is_for(const struct team *t, const struct team_order *order, unsigned number)
{
    return number >= t->first || number < active_of(t, order);
}

static void member_failed(struct team_result *r, const char *story)
{
    snprintf(r->failure, sizeof(r->failure), "%s", story);
}

/* Runs the batch, one operation (or call) of it timed: a random one, since what an engine does
 * every so many operations must not always meet the clock, or never. */
static uint64_t sampled(engine_run *run, void *context, struct batch *b, struct histogram *h,
                        uint64_t unit)
{
    static _Thread_local uint64_t random;
    uint64_t count = b->count;
    uint64_t before;
    uint64_t begin;
    uint64_t right;

    if (count < unit) /* the rest of a pass */
        return run(context, b);
    random = random * 6364136223846793005u + 1442695040888963407u;
    before = (random >> 33) % (count / unit) * unit;
    b->count = before;
    right = before == 0 ? 0 : run(context, b);
    b->at += before;
    b->count = unit;
    begin = clock_begin();
    right += run(context, b);
    histogram_add(h, clock_end() - begin);
    b->at += unit;
    b->count = count - before - unit;
    return b->count == 0 ? right : right + run(context, b);
}

/* Operations that go together: a call of OP_MGET, or what the engine says. */
static uint64_t unit_of(const struct lane *lane, enum operation op)
{
    if (op == OP_MGET)
        return ENGINE_MANY;
    if (op == OP_MPUT)
        return ENGINE_MANY_PUT;
    return lane->engine->unit > 1 ? lane->engine->unit : 1;
}

/* Operations between two looks at the clock.  Where many go together each call is timed, since the
 * clock costs nothing beside it. */
static uint64_t step_of(const struct lane *lane, enum operation op, unsigned sample)
{
    uint64_t unit = unit_of(lane, op);

    return lane->engine->unit > 1 || op == OP_MPUT ? unit : sample * unit;
}

/*
 * The step of @steps at which a turn begins, for a member whose share begins at @first.  By the
 * golden section: each as far from those before it as can be, or short turns would find in the
 * cache what the last one left there.
 */
static uint64_t turn_begins(uint64_t first, uint64_t turn, uint64_t steps)
{
    uint32_t part = (uint32_t)(turn * 0x9e3779b9u); /* of 2^32 */

    return (first + (part * steps >> 32)) % steps;
}

static void member_run(struct member *m, const struct team_order *o, struct team_result *r)
{
    const struct lane *lane = &m->team->shared->lanes[o->lane];
    const struct team_task *task = &o->task[m->role];
    void *context = m->context[o->lane];
    uint64_t unit = unit_of(lane, task->op);
    uint64_t step = step_of(lane, task->op, o->sample > 0 ? o->sample : TEAM_SAMPLE);
    uint64_t count = task->stream->count;
    unsigned members = m->role == 0 ? active_of(m->team, o) : m->role_members;
    uint64_t at = count * m->role_number / members;
    uint64_t last = count * (m->role_number + 1) / members;
    struct batch b = {.workload = lane->setup.workload, .stream = task->stream};
    uint64_t deadline;

    if (o->duration != 0) {
        at = turn_begins(at / step, o->turn, count / step) * step;
        last = UINT64_MAX;
    }
    r->cpu_ns = clock_cpu_ns();
    r->begin = clock_ticks();
    deadline = o->duration == 0 ? UINT64_MAX : r->begin + o->duration;
    while (at < last && r->right == r->done && clock_ticks() < deadline) {
        b.at = at;
        b.count = last - at < step ? last - at : step;
        if (task->op == OP_MGET)
            b.count = b.count / unit * unit;
        if (b.count == 0)
            break;
        r->done += b.count;
        at += b.count;
        r->right += sampled(lane->engine->run[task->op], context, &b, &r->latency, unit);
        if (o->duration != 0 && at + step > count)
            at = 0;
    }
    r->end = clock_ticks();
    r->cpu_ns = clock_cpu_ns() - r->cpu_ns;
    if (r->right != r->done)
        member_failed(r, lane->engine->explain(context));
}

static void member_obey(struct member *m, const struct team_order *o, struct team_result *r)
{
    struct lane *lane = &m->team->shared->lanes[o->lane];
    const char *failure = NULL;

    memset(r, 0, sizeof(*r));
    if (o->verb == TEAM_ATTACH)
        failure = lane->engine->attach(&lane->setup, &m->context[o->lane]);
    else if (o->verb == TEAM_CALL)
        failure = o->call(lane, m->context[o->lane], m->role);
    else if (o->verb == TEAM_DETACH)
        lane->engine->detach(m->context[o->lane]);
    else if (o->verb == TEAM_RUN)
        member_run(m, o, r);
    if (failure != NULL)
        member_failed(r, failure);
}

static void member_live(struct team *t, unsigned number)
{
    struct team_shared *shared = t->shared;
    _Atomic uint32_t *orders = &shared->phase[number];
    struct member m;
    enum team_verb verb;
    uint32_t phase = 0;
    uint32_t asked;

    member_introduce(&m, t, number);
    prctl(PR_SET_NAME, "bench-member"); /* tells them from the parent in perf and top */
    do {
        while (atomic_load(orders) == phase)
            word_wait(orders, phase, 1000);
        phase++;
        verb = shared->order.verb; /* counted as done, the next order may stand there */
        asked = asked_of(t, &shared->order);
        member_obey(&m, &shared->order, &shared->results[number]);
        if (atomic_fetch_add(&shared->done, 1) + 1 == asked)
            word_wake(&shared->done);
    } while (verb != TEAM_QUIT);
    _exit(0);
}

/* ---- threads in their stead ---------------------------------------------------------------- */

struct stand_in {
    pthread_t thread;
    struct member member;
    const struct team_order *order;
};

static void *stand_in_run(void *argument)
{
    struct stand_in *s = argument;
    const struct lane *lane = &s->member.team->shared->lanes[s->order->lane];

    if (lane->engine->enter != NULL)
        lane->engine->enter(s->order->context);
    member_obey(&s->member, s->order, &s->member.team->shared->results[s->member.number]);
    if (lane->engine->leave != NULL)
        lane->engine->leave(s->order->context);
    return NULL;
}

static void stand_in_all(struct team *t, const struct team_order *order)
{
    struct stand_in *all = memory_get(t->members * sizeof(*all));
    bool works = order->verb == TEAM_RUN || order->verb == TEAM_CALL;

    memset(t->shared->results, 0, t->members * sizeof(t->shared->results[0]));
    for (unsigned i = 0; works && i < t->members; i++) {
        if (!is_for(t, order, i))
            continue;
        member_introduce(&all[i].member, t, i);
        all[i].member.context[order->lane] = order->context;
        all[i].order = order;
        if (pthread_create(&all[i].thread, NULL, stand_in_run, &all[i]) != 0)
            die("cannot start thread %u", i + 1);
    }
    for (unsigned i = 0; works && i < t->members; i++)
        if (is_for(t, order, i))
            pthread_join(all[i].thread, NULL);
    memory_put(all, t->members * sizeof(*all));
}

/* ---- the parent ---------------------------------------------------------------------------- */

static void on_signal(int signal)
{
    (void)signal;
    interrupted = 1;
}

/* Runs at exit, also after a failure: nothing of ours stays behind. */
static void clean_up(void)
{
    if (current == NULL || getpid() != owner)
        return;
    for (unsigned i = 0; i < current->members; i++)
        if (current->pids[i] > 0) {
            kill(current->pids[i], SIGKILL);
            waitpid(current->pids[i], NULL, 0);
        }
    for (unsigned i = 0; i < TEAM_LANES; i++)
        lane_destroy(&current->shared->lanes[i]);
}

static void prepare_clean_up(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    if (owner == getpid())
        return;
    owner = getpid();
    atexit(clean_up);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void team_start(struct team *t, unsigned readers, unsigned writers)
{
    size_t bytes;

    t->members = readers + writers;
    t->first = readers;
    if (t->members == 0 || t->members > TEAM_MAX)
        die("%u processes: 1 to %u are possible", t->members, TEAM_MAX);
    bytes = sizeof(*t->shared) + t->members * sizeof(t->shared->results[0]);
    t->shared = memory_get_shared(bytes);
    memset(t->pids, 0, sizeof(t->pids));
    prepare_clean_up();
    current = t;
    for (unsigned i = 0; i < t->members; i++) {
        t->pids[i] = child_fork();
        if (t->pids[i] == 0) {
            signal(SIGINT, SIG_DFL);
            signal(SIGTERM, SIG_DFL);
            member_live(t, i);
        }
    }
}

static void look_for_the_dead(struct team *t)
{
    for (unsigned i = 0; i < t->members; i++) {
        int status;

        if (t->pids[i] > 0 && waitpid(t->pids[i], &status, WNOHANG) == t->pids[i]) {
            t->pids[i] = 0;
            if (WIFSIGNALED(status))
                die("process %u of %u was killed by signal %d", i + 1, t->members,
                    WTERMSIG(status));
            die("process %u of %u left", i + 1, t->members);
        }
    }
}

/* Hands the order to those it is for and waits for all of them. */
static void members_do(struct team *t, const struct team_order *order)
{
    struct team_shared *shared = t->shared;
    uint32_t done;

    shared->order = *order;
    atomic_store(&shared->done, 0);
    for (unsigned i = 0; i < t->members; i++)
        if (!is_for(t, order, i))
            memset(&shared->results[i], 0, sizeof(shared->results[i]));
    for (unsigned i = 0; i < t->members; i++)
        if (is_for(t, order, i))
            atomic_fetch_add(&shared->phase[i], 1);
    for (unsigned i = 0; i < t->members; i++)
        if (is_for(t, order, i))
            word_wake(&shared->phase[i]);
    while ((done = atomic_load(&shared->done)) < asked_of(t, order)) {
        word_wait(&shared->done, done, 100);
        if (interrupted)
            die("interrupted");
        if (order->verb != TEAM_QUIT)
            look_for_the_dead(t);
    }
}

void team_do(struct team *t, const struct team_order *order)
{
    const struct engine *engine = t->shared->lanes[order->lane].engine;

    if (order->verb != TEAM_QUIT && engine->threads)
        stand_in_all(t, order);
    else
        members_do(t, order);
    for (unsigned i = 0; i < t->members; i++)
        if (t->shared->results[i].failure[0] != '\0')
            die("%s, %s %u of %u: %s", engine->name, engine->threads ? "thread" : "process", i + 1,
                t->members, t->shared->results[i].failure);
}

void team_sum(const struct team *t, unsigned role, struct team_sum *sum)
{
    unsigned first = role == 0 ? 0 : t->first;
    unsigned last = role == 0 ? t->first : t->members;
    uint64_t begin = UINT64_MAX;
    uint64_t end = 0;
    unsigned members = 0;

    memset(sum, 0, sizeof(*sum));
    for (unsigned i = first; i < last; i++) {
        const struct team_result *r = &t->shared->results[i];

        if (r->end == 0)
            continue;
        members++;
        sum->done += r->done;
        begin = r->begin < begin ? r->begin : begin;
        end = r->end > end ? r->end : end;
        sum->cpu_ns += r->cpu_ns;
        histogram_merge(&sum->latency, &r->latency);
    }
    sum->ticks = end > begin ? end - begin : 1;
    sum->cpu_ns = members > 0 ? sum->cpu_ns / members : 0;
}

void team_stop(struct team *t)
{
    team_do(t, &(struct team_order){.verb = TEAM_QUIT});
    for (unsigned i = 0; i < t->members; i++) {
        waitpid(t->pids[i], NULL, 0);
        t->pids[i] = 0;
    }
    for (unsigned i = 0; i < TEAM_LANES; i++)
        lane_destroy(&t->shared->lanes[i]);
    memory_put(t->shared, sizeof(*t->shared) + t->members * sizeof(t->shared->results[0]));
    current = NULL;
}
