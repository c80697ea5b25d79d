/* SPDX-License-Identifier: MIT */
/* test_verify_image.c - damage to an image is detected or harmless, the rest saved. */
#include "live.h"
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "error.h"
#include "verify_image.h"

#define KEYS 30u
#define LARGE 70000u
/* Of so many bits one, where each opening takes forty times as long; an odd number, so that each of
 * a byte has its turn.  Which bit it is makes no difference to what ThreadSanitizer looks for. */
#define SPARSE (THREAD_SANITIZER ? 13u : 1u)

static char path[256], out[256];
static FILE *file;

static int setup(void **state)
{
    int rc = scratch_setup(state);
    epoch_register_process();
    snprintf(path, sizeof(path), "%s", scratch_path("image"));
    snprintf(out, sizeof(out), "%s", scratch_path("out"));
    return rc;
}

static const char *large_value(void)
{
    static char large[LARGE + 1];
    memset(large, 'v', LARGE);
    return large;
}

/* A small image with a bit of everything: a table with two segments and a run of two more, and a
 * journal with a run, and with records that carry bytes and one that does not. */
static void make_image(struct live *l)
{
    char key[16], value[64];
    live_create(l, path);
    writer_put(&l->writer, "large", large_value());
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "key %u", i);
        snprintf(value, sizeof(value), "value %u of %u", i, KEYS);
        writer_put(&l->writer, key, value);
        if (i % 10 == 0)
            assert_int_equal(live_checkpoint(l), 0);
    }
    writer_delete(&l->writer, "key 7");
    assert_int_equal(live_checkpoint(l), 0);
    live_lose(l);
    assert_int_equal(live_recover(l, path, 1), 0); /* a fold */
    writer_put(&l->writer, "key 3", "again");
    assert_int_equal(live_checkpoint(l), 0);
    writer_put(&l->writer, "key 4", "again");
    assert_int_equal(live_checkpoint(l), 0);
}

/* A run in the journal as well, and behind it bytes that the journal carries. */
static void make_image_of_runs(struct live *l)
{
    make_image(l);
    writer_put(&l->writer, "larger", large_value());
    assert_int_equal(live_checkpoint(l), 0);
    for (unsigned i = 0; i < 3 || l->image.patches_count < 2; i++) {
        writer_put(&l->writer, i % 2 == 0 ? "key 5" : "key 6", "again");
        assert_int_equal(live_checkpoint(l), 0);
    }
}

/* ---- what opens ---------------------------------------------------------------------------- */

/* Of a segment, or of a run; *@next: the id behind it. */
static uint32_t sum_records(const struct image *im, uint64_t id, uint32_t sum, uint64_t *next)
{
    static char bytes[3 * (64u << 10)];
    uint64_t seed = record_seed(id, image_listed(im, id)->incarnation), size = 0;
    const struct image_entry *e = image_listed(im, id);
    do {
        if (size + e->bytes > sizeof(bytes) ||
            image_read(im, e->slot, bytes + size, 0, e->bytes) != 0)
            return 0;
        sum = crc32c(sum, e, sizeof(*e));
        size += e->bytes;
        *next = ++id;
        e = id < im->super.segment_count ? image_listed(im, id) : NULL;
    } while (e != NULL && e->bytes != 0 && (e->flags & IMAGE_RUN_REST) != 0);
    for (uint64_t at = 0; at < size;) {
        struct record *r = (void *)(bytes + at);
        if (!record_valid(r, size - at, seed))
            return 0;
        record_mark_published(r);
        sum = crc32c(sum, r, record_size(r));
        at += record_size(r);
    }
    return sum;
}

/* What the image holds; 0: it is refused. */
static uint32_t contents(const char *image)
{
    struct image im;
    if (image_open(&im, image, true) != 0)
        return 0;
    uint32_t sum = crc32c(1, &im.head, sizeof(im.head));
    for (uint64_t id = 0, next; sum != 0 && id < im.super.segment_count; id = next) {
        next = id + 1;
        if (image_listed(&im, id)->bytes != 0)
            sum = sum_records(&im, id, sum, &next);
    }
    image_close(&im);
    return sum;
}

static unsigned saved;

static void count_saved(void *arg, const char *line)
{
    (void)arg;
    if (strstr(line, " records saved") != NULL)
        saved = (unsigned)strtoul(line, NULL, 10);
}

static int repair(void)
{
    struct image_sink sink = {.report = count_saved};
    saved = 0;
    unlink(out);
    return verify_image_repair(path, out, &sink);
}

static void open_file(void)
{
    file = fopen(path, "r+");
    assert_non_null(file);
}

static void flip(uint64_t at, unsigned bit)
{
    assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_not_equal(byte, EOF);
    assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
    fputc(byte ^ (int)(1u << bit), file);
    assert_int_equal(fflush(file), 0);
}

struct tally {
    uint32_t whole; /* contents of the image before */
    unsigned records;
    unsigned detected, harmless, recovered;
    bool repairs;
};

static void assert_value(struct live *l, const char *key, const char *value)
{
    const char *got = live_get(l, key);
    if (value == NULL)
        assert_null(got);
    else
        assert_string_equal(got, value);
}

/* An opening says the same as contents() did. */
static void assert_recovers(bool can)
{
    struct live l;
    scratch_copy(path, out);
    int rc = live_recover(&l, out, 1);
    assert_int_equal(rc, can ? 0 : SHMKV_ECORRUPT);
    if (!can)
        return;
    assert_value(&l, "key 3", "again");
    assert_value(&l, "key 29", "value 29 of 30");
    assert_value(&l, "key 7", NULL);
    const char *large = live_get(&l, "large");
    assert_true(large != NULL && strncmp(large, large_value(), LARGE) == 0);
    live_lose(&l);
}

static void flip_each_bit(struct tally *t, uint64_t from, uint64_t to, uint64_t step)
{
    for (uint64_t bit = from * 8; bit < to * 8; bit += step * SPARSE) {
        flip(bit / 8, bit % 8);
        uint32_t now = contents(path);
        if (now != 0 && now != t->whole)
            fail_msg("bit %u of byte %llu: opens to something else", (unsigned)(bit % 8),
                     (unsigned long long)bit / 8);
        t->detected += now == 0;
        t->harmless += now != 0;
        if ((t->detected + t->harmless) % 2003 == 0) {
            assert_recovers(now != 0);
            t->recovered++;
        }
        if (t->repairs && (t->detected + t->harmless) % 1013 == 0) {
            assert_int_equal(repair(), 0);
            assert_true(saved + 1 >= t->records);
            assert_int_not_equal(contents(out), 0);
        }
        flip(bit / 8, bit % 8);
    }
}

/* SHMKV_TEST_FULL=1: every bit of the file, in about ten minutes. */
static uint64_t step_of(uint64_t step)
{
    return getenv("SHMKV_TEST_FULL") != NULL ? 1 : step;
}

/* Of a run, whose bits are many, all at either end, and some between. */
static void flip_listed(struct tally *t, const struct image_entry *e, uint64_t at)
{
    uint64_t end = at + e->bytes, edge = e->flags == 0 ? e->bytes : min_u64(e->bytes / 2, 100);
    flip_each_bit(t, at, at + edge, 1);
    if (e->flags != 0) {
        flip_each_bit(t, at + edge, end - edge, step_of(499));
        flip_each_bit(t, end - edge, end, 1);
    }
}

/* Records of the journal, which are zeros for the most part. */
static void flip_journal(struct tally *t, const struct live *l)
{
    uint64_t journal = l->image.super.journal_offset, end = journal + l->image.journal_at;
    for (uint64_t at = journal; at < end;) {
        struct image_record r;
        assert_int_equal(file_read(&l->image.file, &r, sizeof(r), at), 0);
        uint64_t used = sizeof(r) + r.head.entries * sizeof(struct image_entry) + r.carried;
        uint64_t next = at + align_up(used, PAGE_BYTES);
        flip_each_bit(t, at, at + used, 1);
        flip_each_bit(t, at + used, next, step_of(61));
        at = next;
    }
}

/* Superblocks, journal and tables. */
static void flip_head(struct tally *t, const struct live *l)
{
    const struct image_super *s = &l->image.super;
    uint64_t journal = s->journal_offset, table = s->table_offset[s->table];
    flip_each_bit(t, 0, journal, 1);
    assert_int_equal(t->detected, 0); /* the other superblock is whole */
    flip_journal(t, l);
    assert_int_equal(t->detected, 0); /* the other copy is */
    flip_each_bit(t, journal + l->image.journal_at, s->table_offset[0], step_of(911));
    flip_each_bit(t, s->table_offset[0], s->data_offset, step_of(5));
    flip_each_bit(t, table, table + PAGE_BYTES, 1);
    assert_true(t->detected > 7 * PAGE_BYTES / SPARSE);
}

static void every_flipped_bit_is_detected_or_harmless(void **state)
{
    (void)state;
    struct live l;
    make_image_of_runs(&l);
    struct tally t = {.whole = contents(path)};
    const struct image_super *s = &l.image.super;
    unsigned runs = 0;
    open_file();
    assert_int_not_equal(t.whole, 0);
    assert_int_equal(repair(), 0);
    t.records = saved;
    assert_true(t.records > KEYS);
    flip_head(&t, &l);
    t.repairs = true;
    for (uint64_t id = 0; id < s->segment_count; id++) {
        const struct image_entry *e = image_listed(&l.image, id);
        uint64_t at = image_position(&l.image, e->slot, 0);
        if (e->bytes == 0)
            continue;
        runs += e->flags == IMAGE_RUN_HEAD;
        flip_listed(&t, e, at);
        flip_each_bit(&t, at + e->bytes, at + s->segment_bytes, step_of(7919));
    }
    print_message("%u detected, %u harmless, %u of them recovered or refused\n", t.detected,
                  t.harmless, t.recovered);
    assert_int_equal(runs, 2);
    assert_int_equal(contents(path), t.whole);
    fclose(file);
    live_lose(&l);
}

static void a_repaired_image_is_a_store(void **state)
{
    (void)state;
    struct live l;
    char garbage[200];
    memset(garbage, 0xa5, sizeof(garbage));
    make_image(&l);
    const struct image_entry *e = image_listed(&l.image, 0);
    uint64_t at = image_position(&l.image, e->slot, 0) + 400;
    live_lose(&l);
    open_file();
    assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
    assert_int_equal(fwrite(garbage, 1, sizeof(garbage), file), sizeof(garbage));
    fclose(file);
    struct image_sink sink = {0};
    assert_rc(verify_image(path, &sink), SHMKV_ECORRUPT);
    assert_int_equal(sink.findings, 1);
    assert_rc(live_recover(&l, path, 1), SHMKV_ECORRUPT);
    assert_int_equal(repair(), 0);
    assert_rc(verify_image_repair(path, out, &sink), SHMKV_ESTOREEXISTS);
    sink.findings = 0;
    assert_rc(verify_image(out, &sink), 0);
    assert_int_equal(live_recover(&l, out, 1), 0);
    assert_value(&l, "key 3", "again");
    assert_value(&l, "key 29", "value 29 of 30");
    assert_value(&l, "key 7", NULL); /* what was deleted stays so */
    live_lose(&l);
}

/* The head is damaged too: both copies of a commit that others follow. */
static void a_lost_commit_is_named(void **state)
{
    (void)state;
    struct live l;
    make_image(&l);
    uint64_t journal = l.image.super.journal_offset;
    assert_int_equal(l.image.journal_at, 4 * PAGE_BYTES);
    live_lose(&l);
    open_file();
    flip(journal + 50, 1);
    flip(journal + PAGE_BYTES + 50, 1);
    fclose(file);
    struct image_sink sink = {0};
    assert_rc(live_recover(&l, path, 1), SHMKV_ECORRUPT);
    assert_non_null(strstr(shmkv_last_error(), "is damaged, a later one is there"));
    assert_rc(verify_image(path, &sink), SHMKV_ECORRUPT);
    assert_int_equal(repair(), 0);
    assert_int_equal(live_recover(&l, out, 1), 0);
    assert_value(&l, "key 4", "again");
    live_lose(&l);
}

/* ---- disks that cannot read ---------------------------------------------------------------- */

static uint64_t unreadable; /* page */

static int read_but_one(const struct file *f, void *to, size_t bytes, uint64_t at)
{
    uint64_t from = unreadable * PAGE_BYTES;
    if (strcmp(f->path, path) == 0 && at < from + PAGE_BYTES && from < at + bytes)
        return error_set(SHMKV_EIO, "reading failed, as the test wants");
    return file_system.read(f, to, bytes, at);
}

/* What a page that cannot be read costs is what one costs that was written over. */
static void a_page_that_cannot_be_read(void **state)
{
    static const char zeros[PAGE_BYTES];
    static char was[PAGE_BYTES];
    struct file_table table = file_system;
    struct live l;
    (void)state;
    table.read = read_but_one;
    make_image_of_runs(&l);
    live_lose(&l);
    open_file();
    fseek(file, 0, SEEK_END);
    uint64_t pages = (uint64_t)ftell(file) / PAGE_BYTES;
    for (unreadable = 0; unreadable < pages; unreadable++) {
        long at = (long)(unreadable * PAGE_BYTES);
        fseek(file, at, SEEK_SET);
        assert_int_equal(fread(was, 1, PAGE_BYTES, file), PAGE_BYTES);
        fseek(file, at, SEEK_SET);
        assert_int_equal(fwrite(zeros, 1, PAGE_BYTES, file), PAGE_BYTES);
        fflush(file);
        int rc = repair();
        unsigned most = saved;
        fseek(file, at, SEEK_SET);
        assert_int_equal(fwrite(was, 1, PAGE_BYTES, file), PAGE_BYTES);
        fflush(file);
        file_use(&table);
        assert_int_equal(repair(), rc);
        file_use(NULL);
        assert_int_equal(saved, most);
    }
    fclose(file);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_flipped_bit_is_detected_or_harmless),
        TEST(a_repaired_image_is_a_store),
        TEST(a_lost_commit_is_named),
        TEST(a_page_that_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
