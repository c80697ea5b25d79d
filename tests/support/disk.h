/* SPDX-License-Identifier: MIT */
/*
 * disk.h - a disk that remembers: a file table that passes everything on to the system, and keeps
 * a log of it, from which the states are made that a power loss at any moment may leave.
 *
 * The model.  A write is a sequence of sectors of 512 bytes.  A barrier that returned 0 makes
 * durable what was written before it began; until then each sector of each write is on the disk or
 * is not, whatever the others are.  After a barrier that failed, what was written since the last
 * good one may be lost for good, whatever later barriers say.  That a file grew is durable with the
 * next barrier, that it was cut short at once.
 */
#ifndef TEST_DISK_H
#define TEST_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "file.h"

#define DISK_SECTOR 512u

enum disk_kind { DISK_WRITE, DISK_BARRIER, DISK_FAILED_BARRIER, DISK_SIZE, DISK_NOTE };

struct disk_op {
    enum disk_kind kind;
    uint64_t at, bytes; /* DISK_SIZE: bytes is the size; DISK_NOTE: `at` is the caller's */
    char *data;         /* of a write */
};

/* Files opened from now on are served by it; one file at a time.  @path: the one that is there
 * already, all of it durable; NULL: none. */
void disk_begin(const char *path);
/* Files opened from now on are the system's; the log stays. */
void disk_pause(void);
/* The log is gone too. */
void disk_end(void);
/* The log so far. */
size_t disk_count(void);
const struct disk_op *disk_op(size_t i);
/* Put a mark into the log. */
void disk_note(uint64_t what);

/* The call number @nth from now (1: the next) that changes or syncs the file fails with @rc, and
 * @more calls behind it; 0: none. */
void disk_fail(unsigned nth, int rc, unsigned more);
/* How many such calls there were so far. */
unsigned disk_calls(void);

/* Barriers of which the log shall not know, to see the tests go red: those behind an op for which
 * @swallow says so. */
void disk_break(bool (*swallow)(const struct disk_op *last));

/* ---- states after a power loss ------------------------------------------------------------- */

struct disk_state {
    char *bytes;
    uint64_t size;
};

/* How the fate of sectors that are not durable is chosen. */
enum disk_loss {
    DISK_LOSE_ALL,     /* nothing is on the disk */
    DISK_LOSE_NONE,    /* all of it */
    DISK_LOSE_SECTORS, /* each sector by lot */
    DISK_LOSE_PAGES,   /* each page of 4 KiB by lot */
    DISK_LOSE_WRITES,  /* each write by lot */
    DISK_LOSE_ONE,     /* one sector of all */
    DISK_KEEP_ONE,     /* all but one sector */
    DISK_LOSSES
};

/* A replay of the log.  In each third one no write, all writes, some writes before a barrier that
 * failed are lost for good. */
struct disk_replay;
struct disk_replay *disk_replay_begin(void);
void disk_replay_end(struct disk_replay *r);
/* Go on to the moment before op @i; @i only grows. */
void disk_replay_to(struct disk_replay *r, size_t i);
/* What a power loss at this moment leaves; valid until the next call. */
const struct disk_state *disk_replay_lose(struct disk_replay *r, enum disk_loss how,
                                          uint64_t *random);
/* Is there anything that could be lost? */
bool disk_replay_pending(const struct disk_replay *r);
/* Write a state to a file. */
void disk_put(const struct disk_state *s, const char *path);

#endif
