/* SPDX-License-Identifier: MIT */
/* record.c - see record.h for the form of a record. */
#include "record.h"

#include <string.h>

#include "crc32c.h"

#define BODY_OFFSET 16u /* behind crc, state and version */

#define INLINE_MAX 256u
#define LARGE 3072u

const struct record_origin record_no_origin = {SEGMENT_NONE, 0};

/* Copy @n bytes to the 8-aligned @to and zero what is left of the last word. */
static char *put_padded(char *to, const void *from, uint64_t n)
{
    uint64_t padded = align_up(n, 8);
    if (padded == 0)
        return to;
    memset(to + padded - 8, 0, 8);
    memcpy(to, from, n);
    return to + padded;
}

/* The last @rest bytes, 1 to 7, of the @n at @from, as a word padded with zeros. */
static inline uint64_t last_word(const char *from, uint64_t n, unsigned rest)
{
    uint64_t v = 0;
    if (likely(n >= 8))
        return *(const record_word *)(from + n - 8) >> (64 - 8 * rest);
    memcpy(&v, from, rest);
    return v;
}

static ALWAYS_INLINE uint64_t put_word(uint64_t crc, char *to, uint64_t v)
{
    *(record_word *)to = v;
    return crc32c_step64(crc, v);
}

/* The same with the sum of what is put, so that each word is loaded once. */
static ALWAYS_INLINE uint64_t put_summed(uint64_t crc, char **to, const char *from, uint64_t n)
{
    const record_word *f = (const record_word *)from;
    char *t = *to;
    uint64_t left = n;
    for (; left >= 32; left -= 32, f += 4, t += 32) {
        crc = put_word(crc, t, f[0]);
        crc = put_word(crc, t + 8, f[1]);
        crc = put_word(crc, t + 16, f[2]);
        crc = put_word(crc, t + 24, f[3]);
    }
    for (; left >= 8; left -= 8, f++, t += 8)
        crc = put_word(crc, t, *f);
    if (left != 0) {
        crc = put_word(crc, t, last_word(from, n, (unsigned)left));
        t += 8;
    }
    *to = t;
    return crc;
}

/* The word behind the version. */
static inline uint64_t header_word(const struct record_spec *spec)
{
    uint64_t word = spec->vlen | (uint64_t)spec->klen << 32 | (uint64_t)spec->type << 56;
    if (unlikely(spec->expiry != 0))
        word |= (uint64_t)RECORD_EXPIRES << 48;
    return word;
}
_Static_assert(offsetof(struct record, klen) == BODY_OFFSET + 4 &&
                   offsetof(struct record, flags) == BODY_OFFSET + 6 &&
                   offsetof(struct record, type) == BODY_OFFSET + 7,
               "the form of header_word()");

static uint32_t write_summed(struct record *at, const struct record_spec *spec)
{
    char *p = (char *)at + BODY_OFFSET;
    uint64_t crc = put_word(UINT32_MAX, p, header_word(spec));
    p += 8;
    if (unlikely(spec->expiry != 0)) {
        crc = put_word(crc, p, spec->expiry);
        p += 8;
    }
    crc = put_summed(crc, &p, spec->key, spec->klen);
    return ~(uint32_t)put_summed(crc, &p, spec->value, spec->vlen);
}

uint32_t record_write(struct record *at, const struct record_spec *spec)
{
    store_relaxed(&at->state, 0); /* nobody can find the record yet */
    if (likely(crc32c_has_step && spec->value != NULL && spec->klen + spec->vlen <= INLINE_MAX))
        return write_summed(at, spec);
    char *p = (char *)at + BODY_OFFSET;
    *(record_word *)p = header_word(spec);
    p += 8;
    if (spec->expiry != 0) {
        memcpy(p, &spec->expiry, 8);
        p += 8;
    }
    p = put_padded(p, spec->key, spec->klen);
    if (spec->value == NULL) {
        if (spec->vlen != 0)
            memset(p + align_up(spec->vlen, 8) - 8, 0, 8);
        return 0;
    }
    p = put_padded(p, spec->value, spec->vlen);
    return crc32c(0, (const char *)at + BODY_OFFSET, (size_t)(p - (const char *)at) - BODY_OFFSET);
}

/* The word behind the version, without what may change. */
static inline uint64_t kept_word(const struct record *at)
{
    uint8_t flags = load_relaxed(&at->flags); /* relaxed: UNREAD alone may change */
    return at->vlen | (uint64_t)at->klen << 32 | (uint64_t)at->type << 56 |
           (uint64_t)(flags & ~(unsigned)RECORD_UNREAD) << 48;
}

uint32_t record_check_body(const struct record *at)
{
    uint64_t word = kept_word(at);
    return crc32c(crc32c(0, &word, sizeof(word)), at + 1, record_size(at) - sizeof(*at));
}

/* The finalizer of MurmurHash3 (Appleby, public domain) over both words: each bit spreads. */
uint64_t record_seed(uint64_t segment, uint64_t incarnation)
{
    uint64_t x = segment * 0x9e3779b97f4a7c15ull ^ incarnation;
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdull;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 33;
}

uint32_t record_reseed(uint32_t crc, uint64_t from, uint64_t to)
{
    return crc ^ record_fold(from) ^ record_fold(to);
}

void record_copy(struct record *to, const struct record *from, uint64_t bytes, uint64_t from_seed,
                 uint64_t to_seed)
{
    const size_t head = offsetof(struct record, version);
    uint32_t marks = load_relaxed(&from->state); /* relaxed: these bits never change */
    /* Relaxed: nobody can find the copy yet.  But a checkpoint may look at what was given up here,
     * and must not see the PUBLISHED of @from: [I2]. */
    store_relaxed(&to->state, RECORD_COPY);
    memcpy((char *)to + head, (const char *)from + head, bytes - head);
    to->crc = record_reseed(from->crc, from_seed, to_seed) ^ record_marks_tie(marks) ^
              record_marks_tie(RECORD_COPY);
}

/*
 * Relaxed: no word is believed for itself.  A thread sanitizer cannot know that, where it sees a
 * record that was given up written over.
 */
__attribute__((no_sanitize("thread"))) void record_peek(void *to, const void *from, uint64_t bytes)
{
    const _Atomic uint64_t *words = from;
    for (uint64_t i = 0; i < bytes / sizeof(*words); i++) {
        uint64_t word = load_relaxed(&words[i]);
        memcpy((char *)to + i * sizeof(word), &word, sizeof(word));
    }
}

/* A tombstone's value is empty, or what record_origin() reads. */
static bool type_valid(const struct record *r)
{
    return r->type == RECORD_PAIR || (r->type == RECORD_TOMBSTONE &&
                                      (r->vlen == 0 || r->vlen == sizeof(struct record_origin)));
}

static bool form_valid(const struct record *r, uint64_t room, unsigned flags)
{
    return room >= sizeof(*r) && r->klen != 0 && record_size(r) <= room && type_valid(r) &&
           (load_relaxed(&r->flags) & ~(RECORD_EXPIRES | flags)) == 0;
}

static bool sum_valid(const struct record *r, uint32_t body, uint64_t seed)
{
    uint32_t state = load_relaxed(&r->state); /* relaxed: the marks do not change */
    return (state & ~(RECORD_MARKS | RECORD_PUBLISHED)) == 0 &&
           (body ^ record_tie(r->version, seed) ^ record_marks_tie(state)) == r->crc;
}

static bool valid(const struct record *r, uint64_t room, uint64_t seed, unsigned flags)
{
    return form_valid(r, room, flags) && sum_valid(r, record_check_body(r), seed);
}

bool record_valid(const struct record *r, uint64_t room, uint64_t seed)
{
    return valid(r, room, seed, 0);
}

/* How far the sum of a record has come. */
struct sum {
    uint64_t crc;
    const record_word *at, *end;
};

static inline struct sum begin_sum(const struct record *r)
{
    const char *end = (const char *)r + record_size(r);
    return (struct sum){crc32c_step64(UINT32_MAX, kept_word(r)), (const record_word *)(r + 1),
                        (const record_word *)end};
}

static inline uint64_t words_left(const struct sum *s)
{
    return (uint64_t)(s->end - s->at);
}

static inline uint32_t end_sum(const struct sum *s)
{
    uint64_t crc = s->crc;
    uint64_t rest = words_left(s) * sizeof(*s->at);
    if (unlikely(rest >= LARGE)) /* it has lanes of its own */
        return crc32c(~(uint32_t)crc, s->at, rest);
    for (const record_word *w = s->at; w < s->end; w++)
        crc = crc32c_step64(crc, *w);
    return ~(uint32_t)crc;
}

/* The sums of four, side by side: the instruction takes a word each cycle, and three for a sum. */
static void sum_four(const struct record *const *r, uint32_t *body)
{
    struct sum a = begin_sum(r[0]), b = begin_sum(r[1]), c = begin_sum(r[2]), d = begin_sum(r[3]);
    uint64_t all =
        min_u64(min_u64(words_left(&a), words_left(&b)), min_u64(words_left(&c), words_left(&d)));
    for (uint64_t i = 0; i < all; i++) {
        a.crc = crc32c_step64(a.crc, *a.at++);
        b.crc = crc32c_step64(b.crc, *b.at++);
        c.crc = crc32c_step64(c.crc, *c.at++);
        d.crc = crc32c_step64(d.crc, *d.at++);
    }
    body[0] = end_sum(&a);
    body[1] = end_sum(&b);
    body[2] = end_sum(&c);
    body[3] = end_sum(&d);
}

unsigned record_valid_some(const struct record *const *r, unsigned n, uint64_t seed)
{
    uint32_t body[4];
    unsigned i = 0;
    for (; crc32c_has_step && i + 4 <= n; i += 4) {
        sum_four(r + i, body);
        for (unsigned j = 0; j < 4; j++) {
            if (!form_valid(r[i + j], UINT64_MAX, 0) || !sum_valid(r[i + j], body[j], seed))
                return i + j;
        }
    }
    while (i < n && record_valid(r[i], UINT64_MAX, seed))
        i++;
    return i;
}

bool record_valid_live(const struct arena *a, const struct record *r, uint64_t room, uint64_t seed)
{
    return valid(r, room, seed, a->cache ? RECORD_UNREAD : 0u);
}
