/* SPDX-License-Identifier: MIT */
/*
 * collect.h - runs whose record is dead are retired, so that large values do not fill a store for
 * ever.
 *
 *   RUN_HEAD(x) -> in a read section: does the index lead to its record? -> no: LIMBO(e)
 *
 * Nothing is copied: a run holds one record, which is current or not.  Once the index has ceased to
 * lead to it, it never does again, as only records that are being appended are published; so the
 * word may change long after the look.  It names the life x, and e was loaded after the look, thus
 * after the unlink.  No counter is trusted, so a death cannot leak a run: each thorough pass asks
 * the index about every run.
 *
 * A run is never moved, so one that lives long would hold D back for ever (R18), below which
 * tombstones may be dropped.  But it holds one record, and if that is current now, whoever removes
 * it does so in an epoch above `safe` as loaded before: he was in no section when that was raised,
 * and loads G in the one in which he will be.  So the run counts as born behind `safe`.
 *
 *   INV-C2  A run goes to LIMBO only after its record was seen superseded.
 *                                          test_run: *, crash_kv: huge *, torture_kv
 *
 * Death: the one CAS has happened or not.
 */
#ifndef SHMKV_COLLECT_H
#define SHMKV_COLLECT_H

#include "index.h"

/*
 * Retire the runs whose record is dead; returns how many.  Not @thorough: only those that are dead
 * by their counts, which are nearly always right.  Not inside a write section.
 */
unsigned collect_runs(struct writer *w, bool thorough);

/* R18: runs that alone hold D back, and whose record is current, count as born now. */
void collect_renew_runs(const struct participant *p);
/* Retire the run at @id, whose head has the state @word, if its record is dead: was it? */
bool collect_run(struct writer *w, uint64_t id, uint64_t word);

#endif
