/* SPDX-License-Identifier: MIT */
/*
 * image_seed.h - small images that are whole, and changes of them that a fuzzer chooses.
 *
 * An input is two bytes, then patches:
 *
 *   | fix | which, cut | place, offset, offset, length, bytes ... | place ...
 *
 * `which` is the image; `cut`, if `fix` says so, how much of the file is left.  A patch goes to an
 * offset from a place: superblock, table, record of the journal, record in a segment.  What `fix`
 * names is then made right again: checksums, the chain of the journal, second copies; so that what
 * lies behind them is reached.
 */
#ifndef TEST_IMAGE_SEED_H
#define TEST_IMAGE_SEED_H

#include <stddef.h>
#include <stdint.h>

#define SEED_IMAGES 3u
#define SEED_SEGMENT (64u << 10)
#define SEED_SEGMENTS 12u
#define SEED_HEADER 2u      /* bytes of an input before its patches */
#define SEED_PATCH_MOST 32u /* bytes of a patch, without the four before them */

/* Make all of them, in memory_image (memory_use() has been called). */
void seed_make(void);
/* memory_image becomes what the input says. */
void seed_change(const uint8_t *data, size_t size);
/*
 * Add a patch to an input, of SEED_HEADER bytes at least: a word of something becomes a number that
 * is likely to matter.  Returns the new size, at most @most.
 */
size_t seed_propose(uint8_t *data, size_t size, size_t most, uint64_t *random);

#endif
