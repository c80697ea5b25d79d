/* SPDX-License-Identifier: MIT */
/*
 * held.h - who stands in a section, for how long, and how much memory waits for it to go on.
 *
 * Nothing here changes anything but the notes of epoch.h, and nothing correct depends on it.
 */
#ifndef SHMKV_HELD_H
#define SHMKV_HELD_H

#include "segment.h"
#include "shmkv.h"
#include "table.h"

#define HELD_TEXT 256u

/* The name, without its end, of process @owner - 1; returns its pid. */
int64_t held_process(const struct arena *a, uint64_t owner, char name[static 16]);

/* Participant @i, which belongs to process @owner - 1. */
void held_look(const struct arena *a, uint32_t i, uint64_t owner, struct shmkv_participant *p);

/* Who is in the oldest section, if any memory waits for its end; false: nobody. */
bool held_oldest(const struct arena *a, struct shmkv_participant *p);

/* Who it is, what it does, and for how long; HELD_TEXT bytes are enough. */
void held_describe(const struct shmkv_participant *p, char *text, size_t size);

#endif
