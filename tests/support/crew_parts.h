/* SPDX-License-Identifier: MIT */
/* crew_parts.h - what the crew*.c files have of each other. */
#ifndef TEST_CREW_PARTS_H
#define TEST_CREW_PARTS_H

#include "crew.h"

/* State and version (0: absent) of a key that has one writer at a time. */
uint64_t crew_look(struct worker *w, uint64_t key, uint64_t *version);

/* Additions that returned, and what a sum is now. */
uint64_t crew_sum_acked(const struct crew *crew, uint64_t i);
uint64_t crew_sum_now(struct worker *w, uint64_t i);
void crew_add_sum(struct worker *w);
void crew_write_any(struct worker *w);
void crew_use_queue(struct worker *w);
void crew_take_over_queue(struct worker *w);
/* Is the key number @n of the queue of a place there? */
bool crew_is_queued(struct worker *w, unsigned place, uint64_t n);

void crew_use_image(struct worker *w);

#endif
