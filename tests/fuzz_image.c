/* SPDX-License-Identifier: MIT */
/*
 * fuzz_image.c - opening, recovering, checking and repairing an image against any bytes.
 *
 * The input changes a small image that is whole: a first byte says which checksums are made right
 * again afterwards, so that what lies behind them is reached; then come patches, each a place, an
 * offset, a length and bytes.  Whatever comes of it must be opened or refused, without a crash;
 * what opens must be repairable, what was repaired must have no findings, and what has none must
 * be recovered, to a store that is sound.  The files are in memory.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "error.h"
#include "process.h"
#include "record.h"
#include "recover.h"
#include "verify.h"
#include "verify_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEGMENT (64u << 10)
#define SEGMENTS 6u
#define ROOM (2u << 20)

static void require(int condition)
{
    if (!condition)
        abort();
}

/* ---- files in memory ----------------------------------------------------------------------- */

struct memory {
    char *bytes;
    uint64_t size;
};
static struct memory image, out, whole;

static int memory_open(struct file *f, const char *path, unsigned flags, uint32_t mode)
{
    (void)mode;
    f->own = strcmp(path, "image") == 0 ? &image : &out;
    f->path = strdup(path);
    f->readonly = (flags & FILE_READONLY) != 0;
    f->device = 1;
    f->inode = 2;
    return 0;
}

static void memory_close(struct file *f)
{
    free(f->path);
    f->path = NULL;
}

static int memory_size(const struct file *f, uint64_t *bytes)
{
    *bytes = ((struct memory *)f->own)->size;
    return 0;
}

static int memory_read(const struct file *f, void *to, size_t bytes, uint64_t at)
{
    const struct memory *m = f->own;
    if (at > m->size || bytes > m->size - at)
        return error_set(SHMKV_ECORRUPT, "cut short");
    memcpy(to, m->bytes + at, bytes);
    return 0;
}

static int memory_write(struct file *f, const void *from, size_t bytes, uint64_t at)
{
    struct memory *m = f->own;
    require(!f->readonly);
    if (at > ROOM || bytes > ROOM - at)
        return error_set(SHMKV_ENOSPC, "full");
    memcpy(m->bytes + at, from, bytes);
    m->size = m->size < at + bytes ? at + bytes : m->size;
    return 0;
}

static int memory_barrier(struct file *f)
{
    (void)f;
    return 0;
}

static int memory_truncate(struct file *f, uint64_t bytes)
{
    struct memory *m = f->own;
    if (bytes > ROOM)
        return error_set(SHMKV_ENOSPC, "full");
    if (bytes < m->size)
        memset(m->bytes + bytes, 0, m->size - bytes);
    m->size = bytes;
    return 0;
}

static int memory_allocate(struct file *f, uint64_t at, uint64_t bytes)
{
    const struct memory *m = f->own;
    return at + bytes > m->size ? memory_truncate(f, at + bytes) : 0;
}

static void memory_forget(struct file *f, uint64_t at, uint64_t bytes)
{
    (void)f;
    (void)at;
    (void)bytes;
}

static const struct file_table memory_table = {
    .open = memory_open,
    .close = memory_close,
    .size = memory_size,
    .read = memory_read,
    .write = memory_write,
    .barrier = memory_barrier,
    .allocate = memory_allocate,
    .truncate = memory_truncate,
    .forget = memory_forget,
    .barrier_name = memory_barrier,
};

/* ---- the image to begin with --------------------------------------------------------------- */

static uint64_t fill(char *segment, uint64_t id, uint64_t incarnation)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < 8; i++) {
        char value[40] = "value";
        struct record *r = (void *)(segment + at);
        struct record_spec spec = {.key = &"key"[i % 3],
                                   .klen = 3 - i % 3,
                                   .value = value,
                                   .vlen = i % 4 == 3 ? 0 : i * 5,
                                   .expiry = i == 5 ? 12345 : 0,
                                   .type = i % 4 == 3 ? RECORD_TOMBSTONE : RECORD_PAIR};
        uint32_t body = record_write(r, &spec);
        record_seal(r, body, (uint64_t)(5 + i) << VERSION_EPOCH_SHIFT,
                    record_seed(id, incarnation));
        at += record_size(r);
    }
    return at;
}

static void make_whole(void)
{
    static char segment[SEGMENT];
    const struct image_geometry g = {.uuid = "0123456789abcde",
                                     .hash_seed = 7,
                                     .segment_bytes = SEGMENT,
                                     .segment_count = SEGMENTS,
                                     .size = 1u << 20};
    struct image_item items[SEGMENTS];
    struct image im;
    require(image_create(&im, "image", &g, 0) == 0);
    for (uint64_t id = 0; id < 4; id++) {
        uint64_t copied, incarnation = 100 + id;
        items[id] =
            (struct image_item){.segment = id, .incarnation = incarnation, .birth = 3, .bytes = 0};
        items[id].bytes = fill(segment, id, incarnation);
        require(image_reserve(&im, id, incarnation, &copied) == 0);
        require(image_write(&im, id, segment, 0, items[id].bytes) == 0);
        struct image_cut cut = {.epoch = 20, .ceiling = 1000, .clock_ms = 5, .size = 1u << 20};
        if (id == 1)
            image_set_generation(&im, 1); /* a fold: two in the table, two in the journal */
        require(image_commit(&im, &cut, items, id + 1) == 0);
    }
    image_close(&im);
    whole.bytes = malloc(ROOM);
    require(whole.bytes != NULL);
    memcpy(whole.bytes, image.bytes, ROOM);
    whole.size = image.size;
}

/* ---- changes ------------------------------------------------------------------------------- */

/* Where the patches go: superblocks, journal, tables, file slots. */
static uint64_t place_of(unsigned which)
{
    const struct image_super *s = (const void *)whole.bytes;
    switch (which % 8) {
    case 0:
        return 0;
    case 1:
        return PAGE_BYTES;
    case 2:
        return s->journal_offset;
    case 3:
        return s->journal_offset + 2 * PAGE_BYTES;
    case 4:
        return s->table_offset[s->table];
    default:
        return s->data_offset + (which % 8 - 5) * (uint64_t)SEGMENT;
    }
}

static void fix_super(uint64_t at)
{
    struct image_super *s = (void *)(image.bytes + at);
    s->crc = crc32c(0, s, offsetof(struct image_super, crc));
}

static void fix_table(void)
{
    const struct image_super *s = (const void *)whole.bytes;
    struct image_page *p = (void *)(image.bytes + s->table_offset[s->table]);
    p->crc = crc32c(0, (const char *)p + sizeof(p->crc), sizeof(*p) - sizeof(p->crc));
    for (unsigned i = 0; i < 2; i++)
        ((struct image_super *)(void *)(image.bytes + i * PAGE_BYTES))->table_crc =
            crc32c(0, &p->crc, sizeof(p->crc));
}

static void fix_journal(void)
{
    const struct image_super *s = (const void *)whole.bytes;
    for (unsigned i = 0; i < 4; i++) {
        struct image_record *r =
            (void *)(image.bytes + s->journal_offset + (uint64_t)i * PAGE_BYTES);
        r->crc = crc32c(0, (const char *)r + sizeof(r->crc), PAGE_BYTES - sizeof(r->crc));
    }
}

static void change(const uint8_t *data, size_t size)
{
    unsigned fix = size != 0 ? data[0] : 0;
    size_t at = 1;
    while (at + 4 <= size) {
        uint64_t place = place_of(data[at]) + (data[at + 1] | (uint64_t)data[at + 2] << 8) % 4096;
        size_t bytes = data[at + 3] % 32;
        at += 4;
        bytes = bytes < size - at ? bytes : size - at;
        memcpy(image.bytes + place, data + at, bytes);
        at += bytes;
    }
    if ((fix & 1) != 0)
        fix_journal();
    if ((fix & 2) != 0)
        fix_table();
    if ((fix & 4) != 0)
        fix_super(0);
    if ((fix & 8) != 0)
        fix_super(PAGE_BYTES);
    if ((fix & 16) != 0)
        image.size = whole.size / 256 * (fix >> 5) * 37 % whole.size;
}

/* ---- what is done with it ------------------------------------------------------------------ */

static void say_nothing(void *arg, const char *line)
{
    (void)arg;
    (void)line;
}

/* An arena that nobody else sees. */
static void make_arena(struct arena *a, const struct image *im)
{
    bool created;
    char name[40];
    const struct image_super *s = &im->super;
    struct arena_image about = {.device = 1,
                                .inode = 2,
                                .owner = geteuid(),
                                .hash_seed = s->hash_seed,
                                .segment_bytes = s->segment_bytes,
                                .segment_count = s->segment_count};
    struct arena_options o = {.create = true, .size = 1u << 20, .image = &about};
    snprintf(name, sizeof(name), "fuzz %d", (int)getpid());
    memcpy(about.uuid, &(pid_t){getpid()}, sizeof(pid_t));
    require(arena_open(a, name, &o, &created) == 0 && created);
}

/* As an opening for reading only; 0, or what recovery says. */
static int recover(struct image *im)
{
    struct arena a;
    struct process process;
    struct participant p;
    struct recover_result result;
    struct recover_options one = {.threads = 1};
    if (im->super.segment_count != SEGMENTS || im->super.segment_bytes != SEGMENT)
        return SHMKV_EINVAL; /* the seed is any; with another geometry the arena is not for it */
    make_arena(&a, im);
    require(process_join(&process, &a, NULL, NULL) == 0);
    store_relaxed(&a.sb->epoch, 1);
    require(epoch_join(&p, &a, process.index) == 0);
    int rc = recover_store(im, &p, &one, &result);
    if (rc == 0)
        require(verify_store(&p, process.index, &(struct verify_sink){.report = say_nothing}) == 0);
    epoch_leave(&p);
    process_leave(&process);
    arena_close(&a);
    return rc;
}

static void prepare(void)
{
    epoch_register_process();
    image.bytes = calloc(1, ROOM);
    out.bytes = calloc(1, ROOM);
    require(image.bytes != NULL && out.bytes != NULL);
    file_use(&memory_table);
    make_whole();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (whole.bytes == NULL)
        prepare();
    memcpy(image.bytes, whole.bytes, whole.size);
    memset(out.bytes, 0, out.size);
    image.size = whole.size;
    out.size = 0;
    change(data, size);
    struct image im;
    struct image_sink sink = {.report = say_nothing}, after = {.report = say_nothing};
    int opened = image_open(&im, "image", true), recovered = opened;
    if (opened == 0) {
        recovered = recover(&im);
        image_close(&im);
    }
    int checked = verify_image("image", &sink);
    require(opened != 0 || checked == 0 || checked == SHMKV_ECORRUPT);
    require(recovered == 0 || recovered == SHMKV_EINVAL || checked != 0);
    if (verify_image_repair("image", "/no/such/place/out", &sink) == 0)
        require(verify_image("/no/such/place/out", &after) == 0);
    else
        require(opened != 0 || image.size > ROOM / 2); /* what opens has room for its repair */
    if (image_open(&im, "image", false) == 0) {
        image_begin(&im);
        image_close(&im);
    }
    return 0;
}
