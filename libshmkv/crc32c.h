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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t crc32c_fn(uint32_t crc, const void *data, size_t len);

/* The best of the two for this machine. */
crc32c_fn crc32c;

/* The two paths, for tests and benchmarks. */
crc32c_fn crc32c_portable;
/* The path with the processor's instructions, NULL if it has none. */
crc32c_fn *crc32c_hardware(void);

/*
 * One step of that path, for who copies the words anyway: @crc is the register, that is ~0 before
 * the first word and the complement of the result after the last.  Only if crc32c_has_step.
 * In assembly, as compilers disagree on how a single function gets the instruction.
 */
extern bool crc32c_has_step;

#if defined(__x86_64__)
static inline uint64_t crc32c_step64(uint64_t crc, uint64_t v)
{
    __asm__("crc32q %1, %0" : "+r"(crc) : "rm"(v));
    return crc;
}
#elif defined(__aarch64__)
static inline uint64_t crc32c_step64(uint64_t crc, uint64_t v)
{
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(v));
    return crc;
}
#else
static inline uint64_t crc32c_step64(uint64_t crc, uint64_t v)
{
    (void)v;
    return crc; /* never called: there is no step */
}
#endif

#endif
