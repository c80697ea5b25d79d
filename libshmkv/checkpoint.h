/* SPDX-License-Identifier: MIT */
/*
 * checkpoint.h - the cut: which writes a checkpoint holds, and how they get into an image.
 *
 *   copying ahead    cut                                                     writing, commit
 *   -------------    ------------------------------------------------        ---------------
 *   new bytes of     section; E = G, G = E + 1 by CAS            [E2]        the rest -> image
 *   each segment,    membarrier                                  [E3]        image_commit()
 *   in rounds,       each participant: inflight a, undecided:                ceiling = E + 2^24
 *   in short           published?  then its segment goes up to
 *   sections           a's end
 *                    all states, then all `used`
 *                    the rest -> private memory; end of section
 *
 * What is listed: every segment that is neither HOLE, FREE nor PUNCHING, those in LIMBO(e) too if e
 * is not below the section's epoch; and every run whose head is that.  Such segments are not reused
 * before the section ends; but one that is CLEANING, or a run, may yet go to LIMBO(e) with an e
 * that was loaded before the section was entered.  All that was current in it had moved, or was
 * superseded, by then, so it is looked at again when it was copied, and left out if it is not
 * listed any more, or lives anew.  Recovery drops records of an epoch > E that came along.
 *
 *   INV-K1  A write that was acknowledged before the cut began is in it: it was decided, so `used`
 *           or the look at `inflight` covers it, and its epoch is <= E.
 *   INV-K2  The cut is causal: who could see a write that is not in it saw it after the membarrier,
 *           loads G after that, and so writes in an epoch > E.             publish.pml, crash_cut
 *   INV-K3  A record that moves while the segments are read is in the cut: the segment it leaves
 *           goes to LIMBO(e), e not below the section's epoch, and is listed.
 *                                   crash_cut: *_between_any_two_reads, a_segment_is_freed_*
 *   INV-K4  Each record is verified in the private copy that is written; a bad one ends the
 *           checkpoint, since an image that holds it would not open.
 *                                                                   crash_durable: a_stray_write*
 *   INV-K5  A run is listed whole or not at all.                        test_run_image, crash_cut
 *
 * If so little is new that one record of the journal can carry it, as after a sync of one small
 * put, nothing is copied to slots: see image_carry.c.
 *
 * The disk is never waited for inside a section, so a slow one holds no memory back; the price is
 * private memory for what was written during the last round of copying ahead.
 *
 * Death at any step: the image is as before, or the new commit counts; see image.h.  G was raised
 * perhaps, which harms nobody.
 */
#ifndef SHMKV_CHECKPOINT_H
#define SHMKV_CHECKPOINT_H

#include "image.h"
#include "index.h"

/* Make a checkpoint of the store in @im, for whose arena @p is a participant outside of sections.
 * @flags: IMAGE_CLEAN.   @epoch: receives E; everything acknowledged in an epoch <= E is durable.
 * im->head.ceiling is what G may go up to now, if @im is the store's own image and no backup.
 * Return: 0, SHMKV_ENOSPC, SHMKV_EIO, SHMKV_ECORRUPT (a record fails its checksum), SHMKV_ENOTSUP
 * (no membarrier here), SHMKV_ESYSTEM. */
int checkpoint_make(struct image *im, const struct participant *p, uint32_t flags, uint64_t *epoch);

/* About how many bytes of the store are not in the last commit. */
uint64_t checkpoint_pending(const struct image *im, const struct arena *a);

#endif
