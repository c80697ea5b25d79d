/* SPDX-License-Identifier: MIT */
/* crew_parts.h - what crew.c and crew_shared.c have of each other. */
#ifndef TEST_CREW_PARTS_H
#define TEST_CREW_PARTS_H

#include "crew.h"

/* State and version (0: absent) of a key that has one writer at a time. */
uint64_t crew_look(struct worker *w, uint64_t key, uint64_t *version);

void crew_add_sum(struct worker *w);
void crew_write_any(struct worker *w);
void crew_use_queue(struct worker *w);
void crew_take_over_queue(struct worker *w);

#endif
