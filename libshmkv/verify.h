/* SPDX-License-Identifier: MIT */
/*
 * verify.h - look at everything in shared memory that can be wrong, beside readers and writers.
 *
 *   superblock ---- participants ---- segments and their records ---- tables and their slots
 *   (if its geometry is wrong, nothing can be followed: the end)
 *
 * What is reported is wrong for certain.  Three means against false alarms from what changes while
 * it is looked at:
 *   - one section around each segment and around each run of slots: a record that a slot pointed to
 *     in the section stays, a segment that was readable in it is not reused;
 *   - words that only grow are read in the order in which the smaller side comes first;
 *   - what looks wrong about a slot counts only if the slot is unchanged afterwards.
 * What holds only at rest (counters that steer policy) is compared only if nothing was written
 * meanwhile, and is a note, not a finding: a death may leave it a little off by design.
 *
 *   INV-V1  Nothing that is read here is followed before it is bounded: no contents of log, index,
 *           descriptors and table headers make verify crash.
 *                                                      test_verify: stray_writes, each_kind
 *   INV-V2  Beside writers, cleaner and resizes a sound store has no findings.
 *                                                      test_verify: beside_*, crash_verify
 *
 * Death: leaves a section (epoch.h).
 */
#ifndef SHMKV_VERIFY_H
#define SHMKV_VERIFY_H

#include "epoch.h"

/* Where findings go: a line each, without a newline. */
struct verify_sink {
    void (*report)(void *arg, const char *line); /* may be NULL */
    void *arg;
};

/*
 * verify_store() - check all of it.  @self: our process entry.  Inside no section.
 * Return: the number of findings.
 */
uint64_t verify_store(const struct participant *p, uint32_t self, const struct verify_sink *sink);

#endif
