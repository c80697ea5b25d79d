/* SPDX-License-Identifier: MIT */
/*
 * verify_image.h - look at everything in an image that can be wrong, and save what is not.
 *
 * Records are found by their checksums, which tell segment and incarnation too: behind a damaged
 * one the search goes on, eight bytes at a time, until one validates again.
 *
 * What is saved keeps segment, incarnation and bytes, closed up where something is missing: a
 * record validates anywhere in its segment, so nothing is made anew, no version changes, and what
 * tombstones say of the records that they hide stays true.
 */
#ifndef SHMKV_VERIFY_IMAGE_H
#define SHMKV_VERIFY_IMAGE_H

#include "image.h"

/* SHMKV_ECORRUPT: something was found; other codes: it cannot be looked at. */
int verify_image(const char *path, struct image_sink *sink);
/* Save every record that validates in the new image @out, which does not exist or is blank; on an
 * error it is for the caller to remove. */
int verify_image_repair(const char *path, const char *out, struct image_sink *sink);

#endif
