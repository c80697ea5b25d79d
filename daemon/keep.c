/* SPDX-License-Identifier: MIT */
/* keep.c - see keep.h. */
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "say.h"
#include "shmkv.h"
#include "units.h"
#include "watch.h"

static void keep_show(struct board *board, enum board_state state)
{
    atomic_store_explicit(&board->beat_ns, units_mono_ns(), memory_order_relaxed);
    atomic_store_explicit(&board->state, state, memory_order_release);
}

static int keep_fail(struct board *board, const char *what, const char *why)
{
    snprintf(board->error, sizeof(board->error), "%s%s", what, why);
    keep_show(board, BOARD_FAILED);
    return KEEP_FAILED;
}

/* The library's messages begin with the store's name, as ours do. */
static const char *keep_story(const struct conf_store *store)
{
    const char *story = shmkv_last_error();
    size_t size = strlen(store->name);
    bool named = strncmp(story, store->name, size) == 0 && strncmp(story + size, ": ", 2) == 0;
    return named ? story + size + 2 : story;
}

/* SIGTERM and SIGINT as they are by default: blocked, or deadly. */
static void keep_signals(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(how, &set, NULL);
}

static int keep_open(const struct conf_store *store, struct shmkv **db)
{
    const struct conf_settings *s = &store->settings;
    struct shmkv_options options = {
        .flags = SHMKV_KEEPER | (s->create ? (uint32_t)SHMKV_CREATE : 0),
        .mode = (uint32_t)s->mode,
        .size = s->size,
        .interval_ms = s->interval_ms,
        .shm_dir = s->shm_dir[0] ? s->shm_dir : NULL,
    };
    uint64_t start = units_mono_ns();
    keep_signals(SIG_UNBLOCK);
    int rc = shmkv_open(store->name, &options, db);
    keep_signals(SIG_BLOCK);
    struct shmkv_stats stats;
    struct shmkv_keeper keeper;
    if (rc == 0 && shmkv_get_keeper(*db, &keeper) == 0 && keeper.recovered > 0) {
        say(SAY_INFO, store->name, "recovered %" PRIu64 " records from the image in %" PRIu64 " ms",
            keeper.recovered, keeper.recovered_ms);
    }
    if (rc == 0 && shmkv_get_stats(*db, &stats) == 0) {
        char size[UNITS_TEXT];
        units_show_size(size, stats.size);
        say(SAY_INFO, store->name,
            "opened by process %d in %" PRIu64 " ms: %" PRIu64 " keys, at most %s", (int)getpid(),
            (units_mono_ns() - start) / 1000000, stats.keys, size);
    }
    return rc;
}

/* Until a signal comes, or looking tells that it is of no use. */
static int keep_house(struct watch *watch, struct board *board, int signals)
{
    for (;;) {
        struct pollfd fd = {.fd = signals, .events = POLLIN};
        int ready = poll(&fd, 1, WATCH_EVERY_MS);
        if (ready > 0 || (ready < 0 && errno != EINTR)) {
            return 0;
        }
        int rc = watch_look(watch);
        if (rc != 0) {
            return rc;
        }
        keep_show(board, watch->told_keeper && !watch->mine ? BOARD_STANDBY : BOARD_KEEPING);
    }
}

static int keep_open_store(const struct conf_store *store, struct shmkv *db, struct board *board)
{
    sigset_t set;
    struct watch watch;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    int signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (signals < 0) {
        return keep_fail(board, "cannot wait for signals: ", strerror(errno));
    }
    keep_show(board, BOARD_KEEPING);
    watch_begin(&watch, store->name, db);
    int rc = keep_house(&watch, board, signals);
    if (rc != 0) {
        keep_fail(board, "", keep_story(store));
    }
    watch_end(&watch);
    if (rc != 0) {
        return KEEP_FAILED;
    }
    keep_show(board, BOARD_CLOSING);
    rc = shmkv_checkpoint(db);
    if (rc != 0 && rc != SHMKV_ENOTSUP) { /* a volatile store has none */
        return keep_fail(board, "the final checkpoint failed: ", keep_story(store));
    }
    return KEEP_DONE;
}

int keep_run(const struct conf_store *store, struct board *board, pid_t parent)
{
    keep_show(board, BOARD_OPENING);
    /* Whoever has to end us may be gone already. */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent) {
        return keep_fail(board, "", "the process that started it is gone");
    }
    struct shmkv *db;
    if (keep_open(store, &db) != 0) {
        return keep_fail(board, "", keep_story(store));
    }
    int status = keep_open_store(store, db, board);
    if (shmkv_close(db) != 0 && status == KEEP_DONE) {
        status = keep_fail(board, "", keep_story(store));
    }
    if (status == KEEP_DONE) {
        say(SAY_INFO, store->name, "closed");
    }
    return status;
}
