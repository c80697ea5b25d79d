/* SPDX-License-Identifier: MIT */
/*
 * point.c - named points, in test builds only.
 *
 * One point can be armed per process.  A forked child inherits the memory, hence what was armed,
 * but not the pid: it passes the point unharmed until it arms one itself.
 *
 * What is done at a point is noted in the file $SHMKV_POINT_LOG, a line each: its name, and kill,
 * stop or call; tests/points.sh tells from it which points no test acts at.
 *
 * Threads may pass points at any time; arming, disarming and recording are for one thread at a
 * time, and a passage that runs beside them may or may not count.
 */
#include "point.h"

#ifdef SHMKV_POINTS

#include "atomics.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct point_armed {
    pid_t pid;
    const char *name;
    enum point_action action;
    void (*fn)(void *);
    void *arg;
};

struct point_recorder {
    void (*seen)(void *arg, const char *name);
    void *arg;
};

/* What point_countdown and point_recording show; written only while these hide it. */
static struct point_armed point_armed;
static struct point_recorder point_recorder;
static _Atomic uint32_t point_countdown; /* passages left, the deadly one included; 0: none armed */
static _Atomic uint32_t point_recording;

void point_arm(const char *name, unsigned nth, enum point_action action, void (*fn)(void *),
               void *arg)
{
    point_disarm();
    point_armed = (struct point_armed){getpid(), name, action, fn, arg};
    /* Release: who sees the count sees what is armed.  Pairs with point_hit. */
    store_release(&point_countdown, nth);
}

void point_disarm(void)
{
    store_release(&point_countdown, 0);
}

void point_record(void (*seen)(void *arg, const char *name), void *arg)
{
    store_release(&point_recording, 0);
    point_recorder = (struct point_recorder){seen, arg};
    /* Release: who sees the flag sees the recorder.  Pairs with point_hit. */
    store_release(&point_recording, seen != NULL);
}

/* One write, so that lines of many processes do not mix; who has no file there tells nothing. */
static void point_log(const struct point_armed *armed)
{
    static const char *const actions[] = {"none", "kill", "stop", "call"};
    const char *path = getenv("SHMKV_POINT_LOG");
    int fd = path != NULL ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    char line[80];
    int n = snprintf(line, sizeof(line), "%s %s\n", armed->name, actions[armed->action]);
    if (fd < 0)
        return;
    ssize_t written = n < (int)sizeof(line) ? write(fd, line, (size_t)n) : 0;
    (void)written; /* nobody to tell if it fails */
    close(fd);
}

static void point_act(const struct point_armed *armed)
{
    switch (armed->action) {
    case POINT_NONE:
        break;
    case POINT_KILL:
        raise(SIGKILL);
        break;
    case POINT_STOP:
        raise(SIGSTOP);
        break;
    case POINT_CALL:
        armed->fn(armed->arg);
        break;
    }
}

void point_hit(const char *name)
{
    /* Acquire: pairs with point_record and point_arm. */
    if (load_acquire(&point_recording))
        point_recorder.seen(point_recorder.arg, name);
    uint32_t left = load_acquire(&point_countdown);
    if (!left || strcmp(point_armed.name, name) != 0 || point_armed.pid != getpid())
        return;
    struct point_armed armed = point_armed; /* the function may arm the next point */
    while (left && !cas_acq_rel(&point_countdown, &left, left - 1)) {
    }
    if (left == 1) {
        point_log(&armed);
        point_act(&armed);
    }
}

#endif
