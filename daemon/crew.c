/* SPDX-License-Identifier: MIT */
/* crew.c - see crew.h. */
#define _GNU_SOURCE
#include "crew.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "board.h"
#include "keep.h"
#include "say.h"
#include "units.h"

#define CREW_SECOND_NS 1000000000ull
#define CREW_BACKOFF_MOST_S 60u
#define CREW_SOUND_NS (30 * CREW_SECOND_NS)   /* who lived so long begins anew with backing off */
#define CREW_REPEAT_NS (600 * CREW_SECOND_NS) /* between two lines with the same error */
#define CREW_OPENING_NS (2 * CREW_SECOND_NS)  /* who opens a store and is to end has so long */
#define CREW_STILL_NS (10 * CREW_SECOND_NS)   /* no beat for so long is told */

/* One store and the process that keeps it. */
struct post {
    struct post *next;
    char *name;
    struct conf_settings settings;
    struct board *board;
    pid_t pid;   /* 0: no process */
    bool wanted; /* else: forget it when its process has ended */
    bool asked;  /* its process was asked to end: */
    uint64_t asked_ns;
    bool settled; /* has been open, or failed */
    bool still;   /* it was told that its process does not move */
    unsigned backoff_s;
    uint64_t started_ns, retry_ns;
    uint64_t told_ns;
    char told[512]; /* the error that was told last */
};

static enum board_state post_state(const struct post *p)
{
    return (enum board_state)atomic_load_explicit(&p->board->state, memory_order_acquire);
}

/* ---- posts --------------------------------------------------------------------------------- */

static struct post *crew_find(const struct crew *crew, const char *name)
{
    struct post *p = crew->posts;
    while (p && strcmp(p->name, name) != 0) {
        p = p->next;
    }
    return p;
}

static struct post *crew_add(struct crew *crew, const char *name)
{
    struct post *p = calloc(1, sizeof(*p));
    char *copy = strdup(name);
    void *board =
        mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!p || !copy || board == MAP_FAILED) {
        say(SAY_ERROR, name, "cannot be kept: no memory");
        free(p);
        free(copy);
        return NULL;
    }
    p->name = copy;
    p->board = board;
    p->next = crew->posts;
    crew->posts = p;
    return p;
}

static void post_ask_to_end(struct post *p)
{
    if (p->pid != 0 && !p->asked) {
        /* One that is stopped would never hear it.  First, so that none comes while it ends: a
         * tracer that stops it then, as leak checkers do, would lose its SIGSTOP and wait. */
        kill(p->pid, SIGCONT);
        kill(p->pid, SIGTERM);
        p->asked = true;
        p->asked_ns = units_mono_ns();
    }
}

/* Forget the stores that are not wanted and have no process. */
static void crew_forget(struct crew *crew)
{
    struct post **at = &crew->posts;
    while (*at) {
        struct post *p = *at;
        if (p->wanted || p->pid != 0) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        munmap(p->board, sizeof(*p->board));
        free(p->name);
        free(p);
    }
}

void crew_apply(struct crew *crew, const struct conf *conf)
{
    for (struct post *p = crew->posts; p; p = p->next) {
        p->wanted = conf_find(conf, p->name) != NULL;
        if (!p->wanted) {
            post_ask_to_end(p);
        }
    }
    for (size_t i = 0; i < conf->count; i++) {
        const struct conf_store *store = &conf->stores[i];
        struct post *p = crew_find(crew, store->name);
        bool known = p != NULL;
        if (!known) {
            p = crew_add(crew, store->name);
        }
        if (p && (!known || !conf_same(&p->settings, &store->settings))) {
            p->settings = store->settings;
            p->retry_ns = 0;
            post_ask_to_end(p);
        }
        if (p) {
            p->wanted = true;
        }
    }
    crew_forget(crew);
}

/* ---- start --------------------------------------------------------------------------------- */

static void post_back_off(struct post *p, uint64_t now)
{
    if (p->started_ns != 0 && now - p->started_ns >= CREW_SOUND_NS) {
        p->backoff_s = 0;
    }
    p->backoff_s = p->backoff_s == 0 ? 1 : p->backoff_s * 2;
    if (p->backoff_s > CREW_BACKOFF_MOST_S) {
        p->backoff_s = CREW_BACKOFF_MOST_S;
    }
    p->retry_ns = now + p->backoff_s * CREW_SECOND_NS;
}

/* Say what went wrong, once for the same, and when it is tried again. */
static void post_failed(struct post *p, const char *why)
{
    uint64_t now = units_mono_ns();
    post_back_off(p, now);
    p->settled = true;
    if (strcmp(p->told, why) == 0 && now - p->told_ns < CREW_REPEAT_NS) {
        return;
    }
    snprintf(p->told, sizeof(p->told), "%s", why);
    p->told_ns = now;
    say(SAY_ERROR, p->name, "%s; next try in %u s", why, p->backoff_s);
}

static void post_start(struct post *p)
{
    pid_t parent = getpid();
    *p->board = (struct board){.state = BOARD_OPENING};
    p->started_ns = units_mono_ns();
    p->asked = p->still = false;
    pid_t pid = fork();
    if (pid == 0) {
        struct conf_store store = {.name = p->name, .settings = p->settings};
        exit(keep_run(&store, p->board, parent));
    }
    if (pid < 0) {
        char why[128];
        snprintf(why, sizeof(why), "no process can be started for it: %s", strerror(errno));
        post_failed(p, why);
        return;
    }
    p->pid = pid;
}

/* An open that recovers the store for long is not waited for: it begins again another time. */
static void post_hurry(const struct post *p, uint64_t now)
{
    if (p->asked && post_state(p) == BOARD_OPENING && now - p->asked_ns >= CREW_OPENING_NS) {
        kill(p->pid, SIGKILL);
    }
}

/* Is it open, or stuck? */
static void post_look(struct post *p, uint64_t now)
{
    uint64_t beat = atomic_load_explicit(&p->board->beat_ns, memory_order_relaxed);
    enum board_state state = post_state(p);
    if (state != BOARD_KEEPING && state != BOARD_STANDBY) {
        return;
    }
    bool still = now > beat && now - beat > CREW_STILL_NS;
    p->settled = true;
    p->told[0] = '\0';
    if (still && !p->still) {
        say(SAY_WARNING, p->name, "its process %d has not moved for %u s: is it stopped?",
            (int)p->pid, (unsigned)((now - beat) / CREW_SECOND_NS));
    } else if (p->still && !still) {
        say(SAY_INFO, p->name, "its process %d moves again", (int)p->pid);
    }
    p->still = still;
}

void crew_tick(struct crew *crew)
{
    uint64_t now = units_mono_ns();
    for (struct post *p = crew->posts; p; p = p->next) {
        if (p->pid != 0) {
            post_look(p, now);
            post_hurry(p, now);
        } else if (p->wanted && !crew->stopping && now >= p->retry_ns) {
            post_start(p);
        }
    }
}

/* ---- end ----------------------------------------------------------------------------------- */

/* What to say of an end; false: nothing, it is as it should be. */
static bool post_describe_end(const struct post *p, int status, char *why, size_t size)
{
    if (WIFSIGNALED(status)) {
        int number = WTERMSIG(status);
        snprintf(why, size, "its process %d was killed by signal %d (%s)", (int)p->pid, number,
                 strsignal(number));
        return !p->asked || post_state(p) != BOARD_OPENING; /* while it opens, that is our way */
    }
    if (WEXITSTATUS(status) == KEEP_DONE) {
        snprintf(why, size, "its process %d was asked to end, not by us", (int)p->pid);
        return !p->asked;
    }
    snprintf(why, size, "%s",
             post_state(p) == BOARD_FAILED ? p->board->error : "its process failed");
    return true;
}

static void crew_note_end(struct crew *crew, struct post *p, int status)
{
    char why[640];
    bool bad = post_describe_end(p, status, why, sizeof(why));
    bool asked = p->asked;
    p->pid = 0;
    p->asked = false;
    if (bad && (asked || crew->stopping)) {
        p->told[0] = '\0';
        crew->failures++;
        say(SAY_ERROR, p->name, "%s", why);
    } else if (bad) {
        post_failed(p, why);
    }
}

void crew_reap(struct crew *crew)
{
    for (struct post *p = crew->posts; p; p = p->next) {
        int status;
        if (p->pid != 0 && waitpid(p->pid, &status, WNOHANG) == p->pid) {
            crew_note_end(crew, p, status);
        }
    }
    crew_forget(crew);
}

void crew_stop(struct crew *crew)
{
    crew->stopping = true;
    for (struct post *p = crew->posts; p; p = p->next) {
        post_ask_to_end(p);
    }
}

void crew_kill(struct crew *crew)
{
    for (struct post *p = crew->posts; p; p = p->next) {
        if (p->pid != 0) {
            kill(p->pid, SIGKILL);
        }
    }
}

bool crew_ended(const struct crew *crew)
{
    for (const struct post *p = crew->posts; p; p = p->next) {
        if (p->pid != 0) {
            return false;
        }
    }
    return true;
}

/* ---- how it is ----------------------------------------------------------------------------- */

bool crew_settled(const struct crew *crew)
{
    for (const struct post *p = crew->posts; p; p = p->next) {
        if (!p->settled) {
            return false;
        }
    }
    return true;
}

void crew_status(const struct crew *crew, char *text, size_t size)
{
    unsigned kept = 0;
    unsigned standby = 0;
    unsigned opening = 0;
    const struct post *failing = NULL;
    for (const struct post *p = crew->posts; p; p = p->next) {
        enum board_state state = post_state(p);
        kept += p->pid != 0 && state == BOARD_KEEPING;
        standby += p->pid != 0 && state == BOARD_STANDBY;
        opening += p->pid != 0 && state == BOARD_OPENING && !p->told[0];
        failing = p->told[0] ? p : failing;
    }
    int used =
        snprintf(text, size, "%u kept, %u standing by, %u being opened", kept, standby, opening);
    if (failing && used > 0 && (size_t)used < size) {
        snprintf(text + used, size - (size_t)used, "; %s: %s", failing->name, failing->told);
    }
}
