/* SPDX-License-Identifier: MIT */
/* test_image.c - the image file: commits, slots, what a failed disk leaves; see image.h. */
#include "crc32c.h"
#include "disk.h"
#include "fixture.h"
#include "image.h"
#include "scratch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT (64u << 10)
#define SEGMENTS 24u

static char path[256];

static int setup(void **state)
{
    if (scratch_setup(state) != 0)
        return -1;
    snprintf(path, sizeof(path), "%s", scratch_path("image"));
    disk_begin(NULL);
    return 0;
}

static int teardown(void **state)
{
    disk_end();
    return scratch_teardown(state);
}

static const struct image_geometry geometry = {.uuid = "0123456789abcde",
                                               .hash_seed = 7,
                                               .segment_bytes = SEGMENT,
                                               .segment_count = SEGMENTS,
                                               .size = 1u << 20};

static void create(struct image *im)
{
    assert_rc(image_create(im, path, &geometry, 0), 0);
}

static void put_file(const void *bytes, size_t n, off_t at)
{
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0 && pwrite(fd, bytes, n, at) == (ssize_t)n);
    close(fd);
}

/* The contents of an incarnation: each word says where it belongs. */
static void fill(uint64_t *words, uint64_t segment, uint64_t incarnation)
{
    for (uint64_t i = 0; i < SEGMENT / 8; i++)
        words[i] = segment << 48 | incarnation << 24 | i;
}

/* What is given to commits, by segment. */
static uint64_t contents[SEGMENTS][SEGMENT / 8];

static int copy(struct image *im, uint64_t segment, uint64_t incarnation, uint64_t to)
{
    uint64_t *words = contents[segment], copied;
    fill(words, segment, incarnation);
    int rc = image_reserve(im, segment, incarnation, &copied);
    uint64_t at = copied & ~(uint64_t)(PAGE_BYTES - 1);
    return rc != 0 ? rc : image_write(im, segment, (char *)words + at, at, to);
}

/* What each segment shall hold. */
struct model {
    uint64_t incarnation[SEGMENTS], bytes[SEGMENTS];
    uint64_t epoch;
};

static size_t items_of(const struct model *m, struct image_item *items)
{
    size_t n = 0;
    for (uint64_t i = SEGMENTS; i-- > 0;) {
        if (m->bytes[i] != 0)
            items[n++] = (struct image_item){.segment = i,
                                             .incarnation = m->incarnation[i],
                                             .birth = m->incarnation[i] + 1,
                                             .bytes = m->bytes[i]};
    }
    return n;
}

/* The journal is to carry all that is new, if there is room for it. */
static int carry(struct image *im, const struct model *m)
{
    struct image_item items[SEGMENTS];
    size_t n = items_of(m, items);
    int rc = image_begin(im);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        uint64_t id = items[i].segment, copied;
        fill(contents[id], id, items[i].incarnation);
        rc = image_reserve(im, id, items[i].incarnation, &copied);
        if (rc == 0)
            items[i].carried = (char *)contents[id] + image_known(im, id);
    }
    struct image_cut cut = {.epoch = m->epoch, .ceiling = m->epoch + (1u << 20), .size = 1u << 20};
    return rc != 0 ? rc : image_commit(im, &cut, items, n);
}

static int checkpoint(struct image *im, const struct model *m)
{
    struct image_item items[SEGMENTS];
    int rc = image_begin(im);
    for (uint64_t i = 0; rc == 0 && i < SEGMENTS; i++) {
        if (m->bytes[i] != 0)
            rc = copy(im, i, m->incarnation[i], m->bytes[i]);
    }
    struct image_cut cut = {.epoch = m->epoch, .ceiling = m->epoch + (1u << 20), .size = 1u << 20};
    return rc != 0 ? rc : image_commit(im, &cut, items, items_of(m, items));
}

/* Does the image hold just that? */
static bool holds(const struct image *im, const struct model *m)
{
    static uint64_t words[SEGMENT / 8], want[SEGMENT / 8];
    if (im->head.epoch != m->epoch)
        return false;
    for (uint64_t i = 0; i < SEGMENTS; i++) {
        const struct image_entry *e = image_listed(im, i);
        if (e->bytes != m->bytes[i])
            return false;
        if (e->bytes == 0)
            continue;
        fill(want, i, m->incarnation[i]);
        if (e->incarnation != m->incarnation[i] || e->birth != e->incarnation + 1 ||
            image_read(im, e->slot, words, 0, e->bytes) != 0 || memcmp(words, want, e->bytes) != 0)
            return false;
    }
    return true;
}

static bool reopened_holds(const struct model *m)
{
    struct image im;
    assert_rc(image_open(&im, path, true), 0);
    bool ok = holds(&im, m);
    image_close(&im);
    return ok;
}

/* Change some segments: append, a new incarnation, or gone. */
static void mutate(struct model *m, uint64_t *random)
{
    static uint64_t incarnations = 1;
    m->epoch++;
    for (unsigned k = 0; k < 3; k++) {
        uint64_t i = (*random = *random * 6364136223846793005ull + 1442695040888963407ull) >> 33;
        uint64_t s = i % SEGMENTS;
        uint64_t more = (i / SEGMENTS % 5000 + 1) * 8;
        if (m->bytes[s] == 0 || i % 7 == 0) {
            m->incarnation[s] = ++incarnations;
            m->bytes[s] = min_u64(more, SEGMENT);
        } else if (i % 7 == 1) {
            m->bytes[s] = 0;
        } else {
            m->bytes[s] = min_u64(m->bytes[s] + more, SEGMENT);
        }
    }
}

static void commits_are_read_back(void **state)
{
    (void)state;
    struct image im;
    struct model m = {.epoch = 5};
    uint64_t random = 1;
    create(&im);
    for (unsigned i = 0; i < 200; i++) { /* more than one journal */
        mutate(&m, &random);
        assert_rc(checkpoint(&im, &m), 0);
        assert_true(holds(&im, &m));
        assert_true(reopened_holds(&m));
    }
    assert_true(im.super.super_sequence > 2);
    assert_int_equal(im.head.sequence, 200);
    image_close(&im);
    assert_rc(image_open(&im, path, false), 0); /* another process */
    for (unsigned i = 0; i < 20; i++) {
        mutate(&m, &random);
        assert_rc(checkpoint(&im, &m), 0);
    }
    image_close(&im);
    assert_true(reopened_holds(&m));
}

/* INV-F4: carried commits, plain ones and folds in all orders; each opens to what it was given. */
static void carried_commits_are_read_back(void **state)
{
    (void)state;
    struct image im;
    struct model m = {.epoch = 5};
    uint64_t random = 6, carried = 0;
    create(&im);
    for (unsigned i = 0; i < 400; i++) {
        mutate(&m, &random);
        assert_rc(random >> 40 & 3 ? carry(&im, &m) : checkpoint(&im, &m), 0);
        carried += im.patches_count != 0;
        assert_true(holds(&im, &m));
        assert_true(reopened_holds(&m));
        if (i % 16 == 7) { /* another process goes on, which trusts what it reads, or does not */
            image_close(&im);
            assert_rc(image_open(&im, path, false), 0);
            if (i % 32 == 7)
                image_set_durable(&im, im.head.sequence);
        }
    }
    assert_true(carried > 100);
    assert_true(im.super.super_sequence > 2);
    image_close(&im);
}

enum leaving { IS_GONE, LIVES_ANEW, LIVES_ANEW_CARRIED, LEAVINGS };

/* Of a segment that was carried, when it is gone, or has a new life: its place is another one's
 * then, and the journal has bytes of that too. */
static void carried_bytes_end_with_their_segment(void **state)
{
    (void)state;
    for (enum leaving how = IS_GONE; how < LEAVINGS; how++) {
        struct image im;
        struct model m = {.epoch = 5, .incarnation = {[3] = 1}, .bytes = {[3] = 800}};
        create(&im);
        assert_rc(carry(&im, &m), 0);
        uint32_t slot = image_listed(&im, 3)->slot;
        m.incarnation[3] += how != IS_GONE;
        m.bytes[3] = how == IS_GONE ? 0 : 96;
        assert_rc(how == LIVES_ANEW_CARRIED ? carry(&im, &m) : checkpoint(&im, &m), 0);
        assert_true(reopened_holds(&m));
        m.incarnation[7] = 2;
        m.bytes[7] = 1600;
        assert_rc(checkpoint(&im, &m), 0);
        assert_int_equal(image_listed(&im, 7)->slot, slot);
        assert_true(reopened_holds(&m));
        m.bytes[7] += 96;
        assert_rc(carry(&im, &m), 0);
        assert_true(holds(&im, &m));
        assert_true(reopened_holds(&m));
        image_close(&im);
        unlink(path);
    }
}

/* One write and one barrier, of which no byte goes to a slot. */
static void a_carried_commit_is_one_write(void **state)
{
    (void)state;
    struct image im;
    struct model m = {.epoch = 5};
    create(&im);
    m.incarnation[3] = 9;
    m.bytes[3] = 800;
    assert_rc(checkpoint(&im, &m), 0);
    for (unsigned i = 1; i < 9; i++) {
        size_t before = disk_count();
        m.epoch++;
        m.bytes[3] += 96;
        assert_rc(carry(&im, &m), 0);
        assert_int_equal(disk_count() - before, 2);
        assert_int_equal(disk_op(before)->kind, DISK_WRITE);
        assert_true(disk_op(before)->at + disk_op(before)->bytes <= im.super.table_offset[0]);
        assert_int_equal(disk_op(before + 1)->kind, DISK_BARRIER);
        assert_true(reopened_holds(&m));
    }
    image_close(&im);
}

/* An image that was made before records could carry: none does until the first fold says so. */
static void an_older_image_learns_to_carry(void **state)
{
    (void)state;
    struct image im;
    struct model m = {.epoch = 5};
    uint64_t random = 7;
    create(&im);
    struct image_super s = im.super;
    image_close(&im);
    s.features = 0;
    s.crc = crc32c(0, &s, offsetof(struct image_super, crc));
    for (unsigned i = 0; i < 2; i++)
        put_file(&s, sizeof(s), i * PAGE_BYTES);
    assert_rc(image_open(&im, path, false), 0);
    while (im.super.super_sequence == 1) {
        assert_int_equal(im.patches_count, 0);
        mutate(&m, &random);
        assert_rc(carry(&im, &m), 0);
        assert_true(reopened_holds(&m));
    }
    assert_int_equal(im.super.features, IMAGE_FEATURES);
    mutate(&m, &random);
    assert_rc(carry(&im, &m), 0);
    assert_int_not_equal(im.patches_count, 0);
    image_close(&im);
    assert_true(reopened_holds(&m));
}

/* INV-F2: no write goes to listed bytes; a slot is reused only after the commit that frees it. */
static void slots_that_are_listed_stay(void **state)
{
    (void)state;
    struct image im;
    struct model m = {.epoch = 0}, old;
    uint64_t random = 2;
    create(&im);
    for (unsigned i = 0; i < 100; i++) {
        old = m;
        mutate(&m, &random);
        assert_rc(image_begin(&im), 0);
        for (uint64_t s = 0; s < SEGMENTS; s++) {
            if (m.bytes[s] != 0)
                assert_rc(copy(&im, s, m.incarnation[s], m.bytes[s]), 0);
        }
        assert_true(reopened_holds(&old)); /* copied, and not committed */
        assert_rc(checkpoint(&im, &m), 0);
    }
    assert_true(im.slot_high <= 2 * SEGMENTS);
    image_close(&im);
}

/* INV-F3 and R16: each call fails in turn; the old list or the new one stands, then it goes on. */
static void failed_calls_cost_nothing(int error)
{
    struct image im;
    struct model m = {.epoch = 0}, old;
    uint64_t random = 3;
    unsigned failures = 0;
    create(&im);
    for (unsigned round = 0; round < 60; round++) {
        old = m;
        mutate(&m, &random);
        for (unsigned nth = 1;; nth++) {
            unsigned before = disk_calls();
            disk_fail(nth, error, nth % 3);
            int rc = round % 2 == 0 ? checkpoint(&im, &m) : carry(&im, &m);
            bool reached = disk_calls() - before >= nth;
            disk_fail(0, 0, 0);
            if (rc == 0) {
                assert_true(reopened_holds(&m));
                break;
            }
            failures++;
            assert_true(reached);
            assert_int_equal(rc, error);
            assert_true(reopened_holds(&old) || reopened_holds(&m));
        }
    }
    assert_true(failures > 300);
    image_close(&im);
    assert_true(reopened_holds(&m));
}

static void failed_by_the_disk(void **state)
{
    (void)state;
    failed_calls_cost_nothing(SHMKV_EIO);
}

static void failed_by_a_full_disk(void **state)
{
    (void)state;
    failed_calls_cost_nothing(SHMKV_ENOSPC);
}

/* ---- what is not an image ------------------------------------------------------------------ */

static void looks_at_what_is_there(void **state)
{
    (void)state;
    struct image_look look;
    struct image im;
    char junk[9000];
    assert_rc(image_look(path, &look), 0);
    assert_int_equal(look.state, IMAGE_NONE);
    put_file("", 0, 0);
    assert_rc(image_look(path, &look), 0);
    assert_int_equal(look.state, IMAGE_BLANK);
    memset(junk, 'x', sizeof(junk));
    put_file(junk, sizeof(junk), 0);
    assert_rc(image_look(path, &look), SHMKV_EFORMAT);
    assert_rc(image_create(&im, path, &geometry, 0), SHMKV_EFORMAT);
    unlink(path);
    assert_rc(image_look("/", &look), SHMKV_EFORMAT);
    assert_rc(image_look("/no/such/place", &look), 0);
    create(&im);
    image_close(&im);
    assert_rc(image_look(path, &look), 0);
    assert_int_equal(look.state, IMAGE_READY);
    assert_false(look.moved);
    assert_int_equal(look.geometry.segment_count, SEGMENTS);
    assert_rc(image_create(&im, path, &geometry, 0), SHMKV_ESTOREEXISTS);
}

static void a_copy_knows_that_it_is_one(void **state)
{
    (void)state;
    struct image_look look;
    struct image im;
    struct model m = {.epoch = 5};
    uint64_t random = 4;
    char other[300];
    create(&im);
    mutate(&m, &random);
    assert_rc(checkpoint(&im, &m), 0);
    image_close(&im);
    snprintf(other, sizeof(other), "%s.copy", path);
    scratch_copy(path, other);
    assert_rc(image_look(other, &look), 0);
    assert_true(look.moved);
    assert_rc(image_open(&im, other, false), 0);
    assert_true(im.moved && holds(&im, &m));
    assert_rc(image_begin(&im), 0);
    image_set_uuid(&im, (const uint8_t *)"another uuid 123");
    assert_rc(checkpoint(&im, &m), 0);
    image_close(&im);
    assert_rc(image_look(other, &look), 0);
    assert_false(look.moved);
    assert_memory_equal(look.geometry.uuid, "another uuid 123", 16);
}

static void is_cut_short(void **state)
{
    (void)state;
    struct image im;
    struct model m = {.epoch = 5};
    uint64_t random = 5;
    create(&im);
    for (unsigned i = 0; i < 10; i++)
        mutate(&m, &random);
    assert_rc(checkpoint(&im, &m), 0);
    uint64_t end = 0;
    for (uint64_t i = 0; i < SEGMENTS; i++) {
        const struct image_entry *e = image_listed(&im, i);
        if (e->bytes != 0)
            end = max_u64(end, image_position(&im, e->slot, e->bytes));
    }
    image_close(&im);
    while (end > 8192) {
        end -= min_u64(end - 8192, 4000);
        assert_int_equal(truncate(path, (off_t)end), 0);
        assert_rc(image_open(&im, path, true), SHMKV_ECORRUPT);
        assert_true(strstr(shmkv_last_error(), "cut short") != NULL);
    }
}

static void newer_formats_are_refused_by_name(void **state)
{
    (void)state;
    struct image im;
    struct image_look look;
    create(&im);
    struct image_super s = im.super;
    image_close(&im);
    for (unsigned i = 0; i < 2; i++) {
        struct image_super t = s;
        t.version = i == 0 ? IMAGE_VERSION + 1 : IMAGE_VERSION;
        t.features = i == 0 ? 0 : 8;
        t.crc = crc32c(0, &t, offsetof(struct image_super, crc));
        put_file(&t, sizeof(t), 0);
        put_file(&t, sizeof(t), PAGE_BYTES);
        assert_rc(image_look(path, &look), SHMKV_EVERSION);
        assert_rc(image_open(&im, path, true), SHMKV_EVERSION);
    }
}

static unsigned reads;

/* The first read comes while the first superblock is written, and goes on while the second is. */
static int read_torn(const struct file *f, void *to, size_t bytes, uint64_t at)
{
    int rc = file_system.read(f, to, bytes, at);
    if (rc == 0 && reads++ == 0) {
        memset((char *)to + PAGE_BYTES / 2, 't', 8);
        memset((char *)to + PAGE_BYTES + PAGE_BYTES / 2, 't', 8);
    }
    return rc;
}

static void a_look_beside_a_writer(void **state)
{
    (void)state;
    struct file_table torn = file_system;
    struct image_look look;
    struct image im;
    create(&im);
    image_close(&im);
    torn.read = read_torn;
    reads = 0;
    file_use(&torn);
    assert_rc(image_look(path, &look), 0);
    file_use(NULL);
    assert_int_equal(look.state, IMAGE_READY);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(commits_are_read_back),
        TEST(slots_that_are_listed_stay),
        TEST(failed_by_the_disk),
        TEST(failed_by_a_full_disk),
        TEST(looks_at_what_is_there),
        TEST(a_copy_knows_that_it_is_one),
        TEST(is_cut_short),
        TEST(newer_formats_are_refused_by_name),
        TEST(carried_commits_are_read_back),
        TEST(carried_bytes_end_with_their_segment),
        TEST(a_carried_commit_is_one_write),
        TEST(an_older_image_learns_to_carry),
        TEST(a_look_beside_a_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
