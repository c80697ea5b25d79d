/* SPDX-License-Identifier: MIT */
/*
 * crc32c.c - CRC-32C: eight table look-ups per eight bytes, or one instruction.
 *
 * The register of a CRC is a polynomial over GF(2) with the coefficient of x^0 in the top bit;
 * feeding n zero bytes multiplies it by x^(8n) modulo P.  Two things follow from it being linear:
 *
 *  - The table for byte b, k bytes before the end of a group, is the sum of the entries of b's
 *    single bits: 64 constants make all 2048 entries, and the compiler does the sums.
 *  - The instruction takes one operation per cycle but returns its result after three.  So large
 *    inputs go through three lanes at once, which are then shifted and added.
 */
#include "crc32c.h"

#include "base.h"

#include <string.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are fed lowest byte first");

#define CRC32C_POLYNOMIAL 0x82f63b78u

/* ---- tables -------------------------------------------------------------------------------- */

/* The 256 sums of the entries a (bit 0) to h (bit 7). */
#define SUMS2(s, a, b) (s), (s) ^ (a), (s) ^ (b), (s) ^ (a) ^ (b)
#define SUMS4(s, a, b, c, d)                                                                       \
    SUMS2(s, a, b), SUMS2((s) ^ (c), a, b), SUMS2((s) ^ (d), a, b), SUMS2((s) ^ (c) ^ (d), a, b)
#define SUMS6(s, a, b, c, d, e, f)                                                                 \
    SUMS4(s, a, b, c, d), SUMS4((s) ^ (e), a, b, c, d), SUMS4((s) ^ (f), a, b, c, d),              \
        SUMS4((s) ^ (e) ^ (f), a, b, c, d)
#define SUMS8(a, b, c, d, e, f, g, h)                                                              \
    {                                                                                              \
        SUMS6(0u, a, b, c, d, e, f), SUMS6(g, a, b, c, d, e, f), SUMS6(h, a, b, c, d, e, f),       \
            SUMS6((g) ^ (h), a, b, c, d, e, f)                                                     \
    }

/* Row k: x^(39 + 8k) ... x^(32 + 8k) modulo P; each constant is the one to its right, shifted. */
static const uint32_t crc32c_table[8][256] = {
    SUMS8(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede, 0x417b1dbc,
          CRC32C_POLYNOMIAL),
    SUMS8(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302, 0xff17c604,
          0xfbc3faf9),
    SUMS8(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14, 0xc76580d9,
          0x8b277743),
    SUMS8(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b, 0xaba65fe7,
          0x52a0c93f),
    SUMS8(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557, 0x37516aae,
          0x6ea2d55c),
    SUMS8(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d, 0x0e045beb,
          0x1c08b7d6),
    SUMS8(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a,
          0xf56e0ef4),
    SUMS8(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599, 0x1a00cb32,
          0x34019664),
};

/* ---- portable ------------------------------------------------------------------------------ */

static inline uint64_t crc32c_load64(const unsigned char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/* The register after @v; the first byte of the eight is the farthest from the end. */
static uint32_t crc32c_sum64(uint64_t v)
{
    uint32_t sum = 0;

    for (unsigned k = 0; k < 8; k++)
        sum ^= crc32c_table[7 - k][v >> (8 * k) & 0xff];
    return sum;
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len)
{
    const unsigned char *p = data;

    crc = ~crc;
    for (; len >= 8; p += 8, len -= 8)
        crc = crc32c_sum64(crc32c_load64(p) ^ crc);
    for (; len; p++, len--)
        crc = crc >> 8 ^ crc32c_table[0][(crc ^ *p) & 0xff];
    return ~crc;
}

/* ---- hardware ------------------------------------------------------------------------------ */

#if defined(__x86_64__)

#define CRC32C_INSTRUCTIONS 1

static inline uint64_t crc32c_step8(uint64_t crc, uint8_t v)
{
    __asm__("crc32b %1, %k0" : "+r"(crc) : "rm"(v));
    return crc;
}

static bool crc32c_available(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2");
}

#elif defined(__aarch64__)

#define CRC32C_INSTRUCTIONS 1
#define CRC32C_HWCAP (1ul << 7) /* HWCAP_CRC32 of the kernel's interface */

static inline uint64_t crc32c_step8(uint64_t crc, uint8_t v)
{
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)v));
    return crc;
}

static bool crc32c_available(void)
{
    return getauxval(AT_HWCAP) & CRC32C_HWCAP;
}

#endif

#ifdef CRC32C_INSTRUCTIONS

#define CRC32C_LANE 1024u
#define CRC32C_LANE_SHIFT 0xe4172b16u      /* x^(8 * CRC32C_LANE) modulo P */
#define CRC32C_TWO_LANES_SHIFT 0x0d65762au /* its square */

/* The product of two polynomials modulo P. */
static uint32_t crc32c_multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;

    for (; a; a <<= 1) {
        product ^= b & (0u - (a >> 31));
        b = b >> 1 ^ (CRC32C_POLYNOMIAL & (0u - (b & 1)));
    }
    return product;
}

/* Feed three lanes at @p to the register @crc. */
static uint64_t crc32c_lanes(uint64_t crc, const unsigned char *p)
{
    uint64_t second = 0, third = 0;

    for (const unsigned char *end = p + CRC32C_LANE; p < end; p += 8) {
        crc = crc32c_step64(crc, crc32c_load64(p));
        second = crc32c_step64(second, crc32c_load64(p + CRC32C_LANE));
        third = crc32c_step64(third, crc32c_load64(p + 2 * (size_t)CRC32C_LANE));
    }
    return crc32c_multiply((uint32_t)crc, CRC32C_TWO_LANES_SHIFT) ^
           crc32c_multiply((uint32_t)second, CRC32C_LANE_SHIFT) ^ third;
}

static uint32_t crc32c_instructions(uint32_t sum, const void *data, size_t len)
{
    const unsigned char *p = data;
    uint64_t crc = ~sum;

    for (; unlikely(len >= 3 * CRC32C_LANE); p += 3 * CRC32C_LANE, len -= 3 * CRC32C_LANE)
        crc = crc32c_lanes(crc, p);
    for (; len >= 32; p += 32, len -= 32) { /* fewer instructions beside the summing ones */
        crc = crc32c_step64(crc, crc32c_load64(p));
        crc = crc32c_step64(crc, crc32c_load64(p + 8));
        crc = crc32c_step64(crc, crc32c_load64(p + 16));
        crc = crc32c_step64(crc, crc32c_load64(p + 24));
    }
    for (; len >= 8; p += 8, len -= 8)
        crc = crc32c_step64(crc, crc32c_load64(p));
    for (; len; p++, len--)
        crc = crc32c_step8(crc, *p);
    return ~(uint32_t)crc;
}

crc32c_fn *crc32c_hardware(void)
{
    return crc32c_available() ? crc32c_instructions : NULL;
}

#else

crc32c_fn *crc32c_hardware(void)
{
    return NULL;
}

#endif

/* ---- dispatch ------------------------------------------------------------------------------ */

/* Right from the start, for those who run before the constructor; written once, by it. */
static crc32c_fn *crc32c_best = crc32c_portable;
bool crc32c_has_step;

__attribute__((constructor)) static void crc32c_choose(void)
{
    crc32c_fn *hardware = crc32c_hardware();

    if (hardware)
        crc32c_best = hardware;
    crc32c_has_step = hardware != NULL;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    return crc32c_best(crc, data, len);
}
