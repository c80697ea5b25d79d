/* SPDX-License-Identifier: MIT */
/* image_seed.c - see image_seed.h. */
#include "image_seed.h"

#include <stdlib.h>
#include <string.h>

#include "blob.h"
#include "crc32c.h"
#include "image.h"
#include "memory_file.h"
#include "record.h"

#define RECORDS 8u /* of a segment */
#define CUT 20u    /* epoch of all commits; a record of a later one is dropped */
#define JOURNAL_MOST 16u
#define RECORDS_MOST 128u

enum fix {
    FIX_JOURNAL = 1, /* checksums of its records */
    FIX_CHAIN = 2,   /* each names the one before */
    FIX_TABLE = 4,
    FIX_SUPER_0 = 8,
    FIX_SUPER_1 = 16,
    FIX_RECORDS = 32, /* of keys and values */
    FIX_CUT = 64,     /* that is, cut the file off */
    FIX_APART = 128,  /* leave the second copies in the journal as they are */
};

/* Where the journal has both copies of a record; a record of a key. */
struct journal_place {
    uint64_t at, bytes;
};
struct record_place {
    uint64_t at, bytes, seed;
};

static struct seed {
    char *bytes;
    uint64_t size;
    struct journal_place journal[JOURNAL_MOST];
    struct record_place records[RECORDS_MOST];
    unsigned journals, count;
} seeds[SEED_IMAGES];

static void require(int condition)
{
    if (!condition)
        abort();
}

/* ---- making them ---------------------------------------------------------------------------- */

static struct maker {
    struct image im;
    struct image_item items[SEED_SEGMENTS];
    size_t count;
    char data[SEED_SEGMENTS][SEED_SEGMENT];
    uint64_t end[SEED_SEGMENTS][RECORDS + 1]; /* of each record, the first at [1] */
} m;

static uint64_t incarnation_of(uint64_t id)
{
    return 100 + id;
}

/* One record of many kinds; returns its size. */
static uint64_t make_record(char *at, uint64_t id, uint64_t head, unsigned i, uint32_t vlen)
{
    static char value[3 * SEED_SEGMENT];
    struct record *r = (void *)at;
    bool removes = i % 4 == 3;
    struct record_spec spec = {.key = &"key"[i % 3],
                               .klen = 3 - i % 3,
                               .value = removes ? (const char *)&record_no_origin : value,
                               .vlen = removes ? i / 4 * TOMBSTONE_BYTES : vlen,
                               .expiry = i == 5 ? 12345 : 0,
                               .type = removes ? RECORD_TOMBSTONE : RECORD_PAIR};
    memset(value, 'v', sizeof(value));
    uint32_t body = record_write(r, &spec);
    uint64_t epoch = id < 10 ? 5 + i + id : CUT + 1;
    record_seal(r, body, epoch << VERSION_EPOCH_SHIFT, record_seed(head, incarnation_of(head)));
    if (i % 2 == 0)
        record_set_marks(r, i % 4 == 0 ? RECORD_FIRST : RECORD_COPY);
    return record_size(r);
}

static void fill(uint64_t id)
{
    uint64_t at = 0;
    for (unsigned i = 0; i < RECORDS; i++) {
        at += make_record(m.data[id] + at, id, id, i, i * 5);
        m.end[id][i + 1] = at;
    }
}

static struct image_item *item_of(uint64_t id)
{
    for (size_t i = 0; i < m.count; i++) {
        if (m.items[i].segment == id)
            return &m.items[i];
    }
    m.items[m.count] = (struct image_item){
        .segment = id, .incarnation = incarnation_of(id), .birth = 3, .bytes = 0};
    return &m.items[m.count++];
}

static void drop(uint64_t id)
{
    struct image_item *item = item_of(id);
    *item = m.items[--m.count];
}

/* The first @records of a segment are to be listed: copied, or carried. */
static void add(uint64_t id, unsigned records, bool carried)
{
    uint64_t copied;
    struct image_item *item = item_of(id);
    require(image_reserve(&m.im, id, item->incarnation, &copied) == 0);
    item->bytes = m.end[id][records];
    uint64_t from = copied & ~(uint64_t)(PAGE_BYTES - 1);
    if (carried)
        item->carried = m.data[id] + image_known(&m.im, id);
    else
        require(image_write(&m.im, id, m.data[id] + from, from, item->bytes) == 0);
}

/* One record in @n segments. */
static void add_run(uint64_t head, unsigned n)
{
    uint64_t copied, step = SEED_SEGMENT;
    uint32_t vlen = (uint32_t)((n - 1) * step + step / 2);
    uint64_t bytes = make_record(m.data[head], head, head, 1, vlen);
    for (uint64_t i = 0; i < n; i++) {
        struct image_item *item = item_of(head + i);
        item->incarnation = incarnation_of(head);
        item->bytes = min_u64(bytes - i * step, step);
        item->flags = i == 0 ? IMAGE_RUN_HEAD : IMAGE_RUN_REST;
        require(image_reserve(&m.im, head + i, item->incarnation, &copied) == 0);
        require(image_write(&m.im, head + i, m.data[head + i], 0, item->bytes) == 0);
    }
}

static void commit(void)
{
    struct image_cut cut = {.epoch = CUT, .ceiling = 1000, .clock_ms = 5, .size = 1u << 20};
    require(image_commit(&m.im, &cut, m.items, m.count) == 0);
    for (size_t i = 0; i < m.count; i++)
        m.items[i].carried = NULL;
}

static void commit_table(void)
{
    image_set_generation(&m.im, 1);
    commit();
}

/* Two segments in the table, two in the journal. */
static void make_plain(void)
{
    for (uint64_t id = 0; id < 4; id++) {
        add(id, RECORDS, false);
        if (id == 1)
            commit_table();
        else
            commit();
    }
}

/* The journal has the end of one, all of another, bytes that came home, and of a lost segment. */
static void make_carried(void)
{
    add(0, 3, false);
    commit_table();
    add(0, 5, true);
    commit();
    add(0, 6, true);
    add(1, 2, true);
    commit();
    add(2, 2, false); /* the others' bytes come home */
    commit();
    add(1, 4, true);
    commit();
    add(0, RECORDS, true);
    add(3, 1, true);
    commit();
    drop(3);
    add(1, RECORDS, true);
    commit();
}

/* Runs in table and journal, one of which is later than the cut, and bytes that are carried. */
static void make_runs(void)
{
    add(0, 2, false);
    add_run(2, 3);
    commit_table();
    add(0, 4, true);
    commit();
    add_run(6, 2);
    add(1, 3, false);
    commit();
    add(1, RECORDS, true);
    commit();
    add_run(10, 2);
    commit();
    add(0, RECORDS, true);
    commit();
}

/* ---- where what is ------------------------------------------------------------------------- */

static void find_journal(struct seed *s)
{
    const struct image_super *super = (const void *)s->bytes;
    for (uint64_t at = 0; at < super->journal_bytes && s->journals < JOURNAL_MOST;) {
        const struct image_record *r = (const void *)(s->bytes + super->journal_offset + at);
        if (r->magic != IMAGE_RECORD_MAGIC)
            break;
        uint64_t bytes = sizeof(*r) + r->head.entries * sizeof(struct image_entry) + r->carried;
        bytes = align_up(bytes, PAGE_BYTES);
        s->journal[s->journals++] =
            (struct journal_place){.at = super->journal_offset + at, .bytes = bytes};
        at += 2 * bytes;
    }
}

/* Which segment, if any, has a record there? */
static bool find_record(struct seed *s, uint64_t at)
{
    const struct record *r = (const void *)(s->bytes + at);
    for (uint64_t id = 0; id < SEED_SEGMENTS; id++) {
        uint64_t seed = record_seed(id, incarnation_of(id));
        if (s->count == RECORDS_MOST || !record_valid(r, s->size - at, seed))
            continue;
        s->records[s->count++] =
            (struct record_place){.at = at, .bytes = record_size(r), .seed = seed};
        return true;
    }
    return false;
}

/* In file slots, and in the first copies of what the journal carries. */
static void find_records(struct seed *s)
{
    const struct image_super *super = (const void *)s->bytes;
    for (unsigned i = 0; i < s->journals; i++) {
        const struct journal_place *j = &s->journal[i];
        for (uint64_t at = j->at; at < j->at + j->bytes; at += 8)
            find_record(s, at);
    }
    for (uint64_t at = super->data_offset; at + sizeof(struct record) <= s->size; at += 8)
        find_record(s, at);
}

void seed_make(void)
{
    static void (*const makers[SEED_IMAGES])(void) = {make_plain, make_carried, make_runs};
    static const unsigned journals[SEED_IMAGES] = {2, 6, 5}; /* records; or the fold was later */
    const struct image_geometry g = {.uuid = "0123456789abcde",
                                     .hash_seed = 7,
                                     .segment_bytes = SEED_SEGMENT,
                                     .segment_count = SEED_SEGMENTS,
                                     .size = 1u << 20};
    for (uint64_t id = 0; id < SEED_SEGMENTS; id++)
        fill(id);
    for (unsigned i = 0; i < SEED_IMAGES; i++) {
        struct seed *s = &seeds[i];
        memset(memory_image.bytes, 0, MEMORY_ROOM);
        memory_image.size = 0;
        m.count = 0;
        require(image_create(&m.im, "image", &g, 0) == 0);
        makers[i]();
        image_close(&m.im);
        s->bytes = malloc(memory_image.size);
        s->size = memory_image.size;
        require(s->bytes != NULL);
        memcpy(s->bytes, memory_image.bytes, s->size);
        find_journal(s);
        find_records(s);
        require(s->journals == journals[i] && s->count > RECORDS);
    }
}

/* ---- changes -------------------------------------------------------------------------------- */

static const struct seed *seed_of(const uint8_t *data)
{
    return &seeds[data[1] % 4 % SEED_IMAGES];
}

/* Where a patch goes, and how many bytes are worth it there. */
static uint64_t place_of(const struct seed *s, unsigned which, uint64_t *span)
{
    const struct image_super *super = (const void *)s->bytes;
    *span = offsetof(struct image_super, unused);
    if (which < 2)
        return which * (uint64_t)PAGE_BYTES;
    *span = 32 + 6 * sizeof(struct image_entry);
    if (which == 2)
        return super->table_offset[super->table];
    if (which < 16) {
        *span = sizeof(struct image_record) + 10 * sizeof(struct image_entry);
        return s->journal[(which - 3) % s->journals].at;
    }
    *span = sizeof(struct record) + 8;
    return s->records[(which - 16) % s->count].at;
}

static void fix_records(const struct seed *s, const bool *touched)
{
    for (unsigned i = 0; i < s->count; i++) {
        const struct record_place *p = &s->records[i];
        struct record *r = (void *)(memory_image.bytes + p->at);
        if (!touched[i] || record_size(r) > s->size - p->at)
            continue;
        r->crc = record_check_body(r) ^ record_tie(r->version, p->seed) ^
                 record_marks_tie(load_relaxed(&r->state)); /* relaxed: one thread */
    }
}

static void fix_table(const struct seed *s)
{
    const struct image_super *super = (const void *)s->bytes;
    struct image_page *p = (void *)(memory_image.bytes + super->table_offset[super->table]);
    p->crc = crc32c(0, (const char *)p + sizeof(p->crc), sizeof(*p) - sizeof(p->crc));
    for (unsigned i = 0; i < 2; i++)
        ((struct image_super *)(void *)(memory_image.bytes + i * PAGE_BYTES))->table_crc =
            crc32c(0, &p->crc, sizeof(p->crc));
}

static uint32_t fix_super(unsigned which)
{
    struct image_super *s = (void *)(memory_image.bytes + which * PAGE_BYTES);
    s->crc = crc32c(0, s, offsetof(struct image_super, crc));
    return s->crc;
}

/* @previous: checksum of the superblock that counts. */
static void fix_journal(const struct seed *s, unsigned fix, uint32_t previous)
{
    for (unsigned i = 0; i < s->journals; i++) {
        const struct journal_place *j = &s->journal[i];
        struct image_record *r = (void *)(memory_image.bytes + j->at);
        uint64_t bytes = sizeof(*r) + r->head.entries * sizeof(struct image_entry);
        bytes = align_up(bytes + min_u64(r->carried, s->size), PAGE_BYTES);
        if (j->at + bytes > s->size)
            bytes = j->bytes;
        if ((fix & FIX_CHAIN) != 0)
            r->previous = previous;
        r->crc = crc32c(0, (const char *)r + sizeof(r->crc), bytes - sizeof(r->crc));
        previous = r->crc;
        if ((fix & FIX_APART) == 0)
            memmove((char *)r + j->bytes, r, j->bytes);
    }
}

static void fix_all(const struct seed *s, unsigned fix, const bool *touched)
{
    uint32_t super[2];
    if ((fix & FIX_RECORDS) != 0)
        fix_records(s, touched);
    if ((fix & FIX_TABLE) != 0)
        fix_table(s);
    for (unsigned i = 0; i < 2; i++) {
        if ((fix & (i == 0 ? FIX_SUPER_0 : FIX_SUPER_1)) != 0)
            fix_super(i);
        memcpy(&super[i], memory_image.bytes + (i + 1) * PAGE_BYTES - 4, 4);
    }
    if ((fix & FIX_JOURNAL) != 0)
        fix_journal(s, fix, super[(fix & FIX_SUPER_0) == 0 && (fix & FIX_SUPER_1) != 0]);
}

/* One patch; returns the bytes of the input that it took. */
static size_t patch(const struct seed *s, const uint8_t *data, size_t size, bool *touched)
{
    uint64_t span, at = place_of(s, data[0], &span) + (data[1] | (uint64_t)data[2] << 8);
    size_t bytes = min_u64(data[3] % (SEED_PATCH_MOST + 1), size - 4);
    if (at + bytes <= s->size)
        memcpy(memory_image.bytes + at, data + 4, bytes);
    for (unsigned i = 0; i < s->count; i++) {
        const struct record_place *p = &s->records[i];
        touched[i] |= at < p->at + p->bytes && p->at < at + bytes;
    }
    return 4 + bytes;
}

static void cut(uint64_t size)
{
    memset(memory_image.bytes + size, 0, memory_image.size - size);
    memory_image.size = size;
}

void seed_change(const uint8_t *data, size_t size)
{
    static const uint8_t none[SEED_HEADER];
    const struct seed *s = seed_of(size < SEED_HEADER ? none : data);
    bool touched[RECORDS_MOST] = {false};
    if (memory_image.size > s->size)
        memset(memory_image.bytes + s->size, 0, memory_image.size - s->size);
    memcpy(memory_image.bytes, s->bytes, s->size);
    memory_image.size = s->size;
    for (size_t at = SEED_HEADER; at + 4 <= size;)
        at += patch(s, data + at, size - at, touched);
    if (size < SEED_HEADER)
        return;
    fix_all(s, data[0], touched);
    if ((data[0] & FIX_CUT) != 0)
        cut(s->size / 64 * (data[1] >> 2));
}

/* ---- proposals ------------------------------------------------------------------------------ */

static uint64_t propose_number(uint64_t now, uint64_t other, uint64_t *random)
{
    uint64_t draw = blob_random(random);
    switch (draw % 8) {
    case 0:
        return draw >> 32 & 7;
    case 1:
        return UINT64_MAX - (draw >> 32 & 1);
    case 2:
        return 1ull << (draw >> 32 & 63);
    case 3:
        return now + 1 + (draw >> 32 & 15);
    case 4:
        return now - 1 - (draw >> 32 & 15);
    case 5:
        return now ^ 1ull << (draw >> 32 & 31);
    case 6:
        return draw >> 8;
    default:
        return other;
    }
}

size_t seed_propose(uint8_t *data, size_t size, size_t most, uint64_t *random)
{
    const struct seed *s = seed_of(data);
    uint64_t draw = blob_random(random), span, now, other;
    unsigned which = draw % 4 == 0   ? (unsigned)(draw >> 8) % 3
                     : draw % 4 == 1 ? 16 + (unsigned)(draw >> 8) % 240
                                     : 3 + (unsigned)(draw >> 8) % 13;
    uint64_t at = place_of(s, which, &span);
    uint64_t offset = (draw >> 20) % span & ~3ull, elsewhere = (draw >> 40) % span & ~3ull;
    memcpy(&now, s->bytes + at + offset, sizeof(now));
    memcpy(&other, s->bytes + at + elsewhere, sizeof(other));
    uint64_t number = propose_number(now, other, random);
    uint8_t bytes = draw >> 63 != 0 ? 8 : 4;
    if (size + 4 + bytes > most)
        return size;
    data[0] ^= (uint8_t)(blob_random(random) % 4 == 0 ? 1u << (draw >> 60 & 7) : 0u);
    data[size] = (uint8_t)which;
    data[size + 1] = (uint8_t)offset;
    data[size + 2] = (uint8_t)(offset >> 8);
    data[size + 3] = bytes;
    memcpy(data + size + 4, &number, bytes);
    return size + 4 + bytes;
}
