/* SPDX-License-Identifier: MIT */
/*
 * point.h - named points in the protocols, at which a test build can kill or stop the process.
 *
 * POINT("put.published") stands between two steps of a protocol.  In an ordinary build it is
 * nothing.  With -DSHMKV_POINTS a test arms a point in the process that shall die there; see
 * tests/support.  Names are "operation.step", the step being what has just been done.
 */
#ifndef SHMKV_POINT_H
#define SHMKV_POINT_H

#ifdef SHMKV_POINTS

#include <stdlib.h>

enum point_action { POINT_NONE, POINT_KILL, POINT_STOP, POINT_CALL };

/* Act at the @nth (1 = next) passage of the point @name; @name stays the caller's. */
void point_arm(const char *name, unsigned nth, enum point_action action, void (*fn)(void *),
               void *arg);
/* Forget what was armed. */
void point_disarm(void);
/* Record the names passed from now on (NULL: stop); calls @seen once per passage. */
void point_record(void (*seen)(void *arg, const char *name), void *arg);
void point_hit(const char *name);

#define POINT(name) point_hit(name)
/* What a caller must have seen to; a test build stops here rather than going on with less. */
#define POINT_ASSERT(condition) ((condition) ? (void)0 : abort())
#else
#define POINT(name) ((void)0)
#define POINT_ASSERT(condition) ((void)0)
#endif

#endif
