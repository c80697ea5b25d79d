/* SPDX-License-Identifier: MIT */
/* huge.h - what of a mapping is in huge pages. */
#ifndef TEST_HUGE_H
#define TEST_HUGE_H

#include "arena.h"

/* Bytes of the mapping at @address that are mapped by huge pages of shared memory. */
uint64_t huge_bytes(const void *address);
/* Does the kernel make huge pages of shared memory when asked?  Tried at the end of the address
 * range, which is left as it was found, without memory. */
bool huge_made(const struct arena *a);

#endif
