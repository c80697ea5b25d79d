/* SPDX-License-Identifier: MIT */
/*
 * record.h - what stands in the log: header, key, value; encode, verify, versions.
 *
 *   0      4       8         16     20     22     23     24
 *   +------+-------+---------+------+------+-------+------+----------+-----+---+-------+---+
 *   | crc  | state | version | vlen | klen | flags | type | [expiry] | key |pad| value |pad|
 *   +------+-------+---------+------+------+-------+------+----------+-----+---+-------+---+
 *
 * Everything is in units of 8 bytes, padding is zero, so the value is 8-aligned and a record has
 * one form only.  crc = crc32c of [16, end) XOR the folded sum of a version, the marks FIRST and
 * COPY, and record_seed(segment, incarnation): a record validates only where and when it was
 * written.  Version and marks, which are known last and change when a publication is tried again,
 * are mixed by a multiplication, so that the bytes are summed once.  The bit PUBLISHED of `state`
 * and, in a cache, the flag UNREAD are all that changes after publication, and are left out of the
 * crc.
 *
 * In a store with an image (R18) a tombstone's value tells which FIRST record it superseded, if
 * one: once that record's segment is gone nothing older of the key can come back.
 *
 * A version is epoch << 24 | n, grows strictly per key (R7), and is the token of shmkv_cas().
 */
#ifndef SHMKV_RECORD_H
#define SHMKV_RECORD_H

#include <string.h>

#include "arena.h"

#define VERSION_EPOCH_SHIFT 24
#define RECORD_MARKS ((uint32_t)RECORD_COPY | (uint32_t)RECORD_FIRST)

/* The value of a tombstone in a store with an image. */
struct record_origin {
    uint64_t segment; /* of the FIRST record that was superseded; SEGMENT_NONE: it was none */
    uint64_t incarnation;
};
_Static_assert(sizeof(struct record_origin) == TOMBSTONE_BYTES, "");
extern const struct record_origin record_no_origin;

/* What is to be written. */
struct record_spec {
    const void *key;
    const void *value; /* NULL: @vlen bytes that are filled in place before record_seal() */
    uint32_t klen;
    uint32_t vlen;
    uint64_t expiry; /* store clock, ms; 0: none */
    enum record_type type;
};

/*
 * Flags; and length of the key, flags and type.  Only UNREAD may change meanwhile: it is asked for
 * by policy alone, and whether a record is plain has two right answers then.  So these may be part
 * of plain instructions, but for the thread sanitizer.
 */
static inline unsigned record_flags(const struct record *r)
{
#if THREAD_SANITIZER
    return load_relaxed(&r->flags);
#else
    uint8_t flags;
    memcpy(&flags, (const char *)r + offsetof(struct record, flags), sizeof(flags));
    return flags;
#endif
}

static inline uint32_t record_kind(const struct record *r)
{
#if THREAD_SANITIZER
    return load_relaxed((const _Atomic uint32_t *)(const void *)&r->klen);
#else
    uint32_t kind;
    memcpy(&kind, &r->klen, sizeof(kind));
    return kind;
#endif
}

static inline uint64_t record_bytes(uint64_t klen, uint64_t vlen, bool expires)
{
    return sizeof(struct record) + (expires ? 8u : 0u) + align_up(klen, 8) + align_up(vlen, 8);
}

static inline bool record_expires(const struct record *r)
{
    return (record_flags(r) & RECORD_EXPIRES) != 0;
}

static inline uint64_t record_size(const struct record *r)
{
    return record_bytes(r->klen, r->vlen, record_expires(r));
}

static inline const char *record_key(const struct record *r)
{
    return (const char *)(r + 1) + (record_expires(r) ? 8 : 0);
}

static inline const char *record_value(const struct record *r)
{
    return record_key(r) + align_up(r->klen, 8);
}

static inline uint64_t record_expiry(const struct record *r)
{
    return record_expires(r) ? *(const uint64_t *)(const void *)(r + 1) : 0;
}

static inline uint64_t record_epoch_of(uint64_t version)
{
    return version >> VERSION_EPOCH_SHIFT;
}

/* Eight bytes at once, of any alignment. */
typedef uint64_t record_word __attribute__((aligned(1), may_alias));

static inline bool record_words_equal(const char *a, const char *b, size_t i)
{
    return *(const record_word *)(a + i) == *(const record_word *)(b + i);
}

/*
 * @n bytes alike?  Inline and without a call: nearly every operation compares one short key.  Word
 * by word, each a load and a fused compare and branch that is predicted: fewer instructions than
 * vectors at this length.  The last word may overlap the one before it.
 */
static ALWAYS_INLINE bool record_bytes_equal(const char *a, const char *b, size_t n)
{
    size_t i = 8; /* the last word ends here or behind */
    if (n >= 32) {
        if (!record_words_equal(a, b, 0) || !record_words_equal(a, b, 8) ||
            !record_words_equal(a, b, 16) || !record_words_equal(a, b, 24))
            return false;
        i = 40;
    } else if (unlikely(n < 8)) {
        for (i = 0; i < n && a[i] == b[i];)
            i++;
        return i == n;
    }
    for (; i < n; i += 8) {
        if (!record_words_equal(a, b, i - 8))
            return false;
    }
    return record_words_equal(a, b, n - 8);
}

static inline bool record_has_key(const struct record *r, const void *key, size_t klen)
{
    return r->klen == klen && record_bytes_equal(record_key(r), key, klen);
}

/* A pair that never expires, with this key, and its being read is known: one comparison for type,
 * flags and length. */
static inline bool record_is_plain(const struct record *r, const void *key, size_t klen)
{
    uint32_t plain = (uint32_t)klen | (uint32_t)RECORD_PAIR << 24;
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the layout is little-endian"
#endif
    return likely(record_kind(r) == plain) && record_bytes_equal((const char *)(r + 1), key, klen);
}

/* Of a cache: nobody has read it since it stands here.  Relaxed, as below: it is policy, and
 * nothing else in this byte changes once somebody can find the record. */
static inline void record_mark_unread(const struct record *r)
{
    _Atomic uint8_t *flags = &((struct record *)(uintptr_t)r)->flags;
    store_relaxed(flags, (uint8_t)(load_relaxed(flags) | RECORD_UNREAD));
}

/* Somebody has. */
static inline void record_mark_read(const struct record *r)
{
    _Atomic uint8_t *flags = &((struct record *)(uintptr_t)r)->flags;
    uint8_t old = load_relaxed(flags);
    if ((old & RECORD_UNREAD) != 0)
        store_relaxed(flags, (uint8_t)(old & ~(unsigned)RECORD_UNREAD));
}

/*
 * A tombstone that a store without an image needs only as long as its epoch is not over: the
 * cleaner drops it, so its bytes count as dead from the beginning.  One that is larger than a
 * segment has a run, which is freed once all of it is counted.
 */
static inline bool record_is_weightless(const struct arena *a, const struct record *r)
{
    return r->type == RECORD_TOMBSTONE && !a->imaged && record_size(r) <= a->segment_mask;
}

static inline bool record_is_unread(const struct record *r)
{
    return (load_relaxed(&r->flags) & RECORD_UNREAD) != 0; /* relaxed: policy */
}

/* The mark of R10; set before the CAS that supersedes @r, and by its owner after publication. */
static inline void record_mark_published(const struct record *r)
{
    _Atomic uint32_t *state = &((struct record *)(uintptr_t)r)->state;
    uint32_t marks = load_relaxed(state); /* relaxed: PUBLISHED is only ever set, others stay */
    if ((marks & RECORD_PUBLISHED) == 0)
        store_release(state, marks | RECORD_PUBLISHED); /* pairs with index_decide [I2] */
}

/* R7: larger than the old version of the key, and than anything of an epoch before @g. */
static inline uint64_t record_next_version(uint64_t old, uint64_t g)
{
    return max_u64(old + 1, g << VERSION_EPOCH_SHIFT);
}

/*
 * Write everything but crc and version to @at, record_bytes() long; returns the crc of the part
 * behind the version, for record_seal().
 */
uint32_t record_write(struct record *at, const struct record_spec *spec);
/* The same for a record whose value was filled in place. */
uint32_t record_check_body(const struct record *at);
static inline uint32_t record_fold(uint64_t x)
{
    return (uint32_t)(x >> 32) ^ (uint32_t)x;
}

/* What version and place contribute to the crc; the multiplication is a bijection. */
static inline uint32_t record_tie(uint64_t version, uint64_t seed)
{
    return record_fold(version * 0x9e3779b97f4a7c15ull ^ seed);
}

/* Give it its version and its crc. */
static inline void record_seal(struct record *at, uint32_t body, uint64_t version, uint64_t seed)
{
    at->version = version;
    at->crc = body ^ record_tie(version, seed);
}

/* What the marks contribute to the crc. */
static inline uint32_t record_marks_tie(uint32_t state)
{
    return (state & RECORD_MARKS) * 0x9e3779b1u;
}

/* Set the marks of a sealed record that nobody can find yet; the crc follows. */
static inline void record_set_marks(struct record *at, uint32_t marks)
{
    store_relaxed(&at->state, marks);
    at->crc ^= record_marks_tie(marks);
}

static inline bool record_is_copy(const struct record *r)
{
    return (load_relaxed(&r->state) & RECORD_COPY) != 0; /* relaxed: never changes */
}

/* Of a tombstone: what it superseded, SEGMENT_NONE if it does not say. */
static inline struct record_origin record_origin(const struct record *r)
{
    struct record_origin o = {SEGMENT_NONE, 0};
    if (r->vlen == sizeof(o))
        memcpy(&o, record_value(r), sizeof(o));
    return o;
}

/* What ties a crc to a place and a life of it. */
uint64_t record_seed(uint64_t segment, uint64_t incarnation);
/* Carry a crc over to another place, without looking at the bytes: never blesses a stray write. */
uint32_t record_reseed(uint32_t crc, uint64_t from, uint64_t to);
/*
 * record_copy() - write a copy of the record @from, of @bytes, for another place.  It is marked
 * COPY, not FIRST (R18), and not published; its crc is carried over, so a damaged record makes a
 * damaged copy.
 */
void record_copy(struct record *to, const struct record *from, uint64_t bytes, uint64_t from_seed,
                 uint64_t to_seed);
/*
 * record_peek() - a private copy of @bytes, a multiple of 8, that others may be writing meanwhile,
 * if only the mark PUBLISHED: word by word, so that each is one that stood there.  Whether they
 * belong together the checksum tells.
 */
void record_peek(void *to, const void *from, uint64_t bytes);
/* Are the @room bytes at @r a record that belongs there?  Never reads behind @room. */
bool record_valid(const struct record *r, uint64_t room, uint64_t seed);
/* How many of the @n records @r, from the first on, belong there?  The bytes that they say they
 * take must be there. */
unsigned record_valid_some(const struct record *const *r, unsigned n, uint64_t seed);
/* The same in the memory of @a: in a cache a record may also be marked UNREAD. */
bool record_valid_live(const struct arena *a, const struct record *r, uint64_t room, uint64_t seed);

#endif
