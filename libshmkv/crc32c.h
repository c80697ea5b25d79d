/* SPDX-License-Identifier: MIT */
/*
 * crc32c.h - CRC-32C (Castagnoli), the checksum of records.
 *
 * Start with 0; a further call with the last result goes on: crc32c(crc32c(0, a, n), a + n, m) is
 * crc32c(0, a, n + m).  Both paths give the same result for every input, so it does not matter
 * which process wrote and which one verifies.
 */
#ifndef SHMKV_CRC32C_H
#define SHMKV_CRC32C_H

#include <stddef.h>
#include <stdint.h>

typedef uint32_t crc32c_fn(uint32_t crc, const void *data, size_t len);

/* The best of the two for this machine. */
crc32c_fn crc32c;

/* The two paths, for tests and benchmarks. */
crc32c_fn crc32c_portable;
/* The path with the processor's instructions, NULL if it has none. */
crc32c_fn *crc32c_hardware(void);

#endif
