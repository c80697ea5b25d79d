/* SPDX-License-Identifier: MIT */
/* test_recover.c - from an image to a live store: one cut, whole; see recover.h. */
#include "live.h"
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "verify.h"

#define MANY_THREADS 16u
#define FEW_KEYS 500u
#define FEW_BYTES 36000u /* of a value: a segment has one */

static char path[256];

static int setup(void **state)
{
    int rc = scratch_setup(state);
    epoch_register_process(); /* grace periods are slow without */
    snprintf(path, sizeof(path), "%s", scratch_path("image"));
    return rc;
}

static void print(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "%s\n", line);
}

static void assert_sound(struct live *l)
{
    struct verify_sink sink = {.report = print};
    assert_int_equal(verify_store(&l->writer.self, l->process.index, &sink), 0);
}

static void assert_value(struct live *l, const char *key, const char *value)
{
    const char *got = live_get(l, key);
    if (value == NULL)
        assert_null(got);
    else
        assert_string_equal(got, value);
}

/* Each gets a generation of its own. */
static uint64_t tables_made(const struct live *l)
{
    return load_relaxed(&l->arena.sb->generations);
}

static void again(struct live *l, unsigned threads)
{
    live_lose(l);
    if (live_recover(l, path, threads) != 0)
        fail_msg("recovery: %s", shmkv_last_error());
    assert_sound(l);
}

static void what_was_cut_is_there(void **state)
{
    (void)state;
    struct live l;
    live_create(&l, path);
    writer_put(&l.writer, "a", "1");
    writer_put(&l.writer, "b", "2");
    writer_put(&l.writer, "a", "3");
    writer_delete(&l.writer, "b");
    assert_int_equal(live_checkpoint(&l), 0);
    writer_put(&l.writer, "a", "lost");
    again(&l, 1);
    assert_value(&l, "a", "3");
    assert_value(&l, "b", NULL);
    assert_int_equal(l.result.keys, 2);
    assert_int_equal(l.result.records, 4);
    again(&l, 1); /* nothing was written in between */
    assert_value(&l, "a", "3");
    writer_put(&l.writer, "a", "4");
    assert_int_equal(live_checkpoint(&l), 0);
    again(&l, 1);
    assert_value(&l, "a", "4");
    live_lose(&l);
}

/* INV-X1 and failure 1: what one recovery dropped does not come back with a later cut. */
static void what_was_dropped_stays_away(void **state)
{
    (void)state;
    struct live l;
    live_create(&l, path);
    writer_put(&l.writer, "a", "1");
    writer_put(&l.writer, "b", "1");
    uint64_t e = live_cut(&l);
    uint64_t ghost = writer_put(&l.writer, "a", "ghost"); /* copied, but later than the cut */
    writer_put(&l.writer, "new", "ghost");
    assert_int_equal(live_commit(&l, e), 0);
    again(&l, 1);
    assert_int_equal(l.result.dropped, 2);
    assert_value(&l, "a", "1");
    assert_value(&l, "new", NULL);
    assert_true(writer_put(&l.writer, "b", "2") > ghost); /* INV-X2 */
    assert_int_equal(live_checkpoint(&l), 0);
    again(&l, 1);
    assert_int_equal(l.result.dropped, 0);
    assert_value(&l, "a", "1");
    assert_value(&l, "b", "2");
    assert_value(&l, "new", NULL);
    live_lose(&l);
}

static void incarnations_are_given_once(void **state)
{
    (void)state;
    struct live l;
    live_create(&l, path);
    uint64_t last = 0;
    for (unsigned i = 0; i < 5; i++) {
        writer_put(&l.writer, "k", "v");
        uint64_t life = load_relaxed(&segment_at(&l.arena, l.writer.puts.hold.id)->incarnation);
        assert_true(life > last);
        last = life;
        assert_int_equal(live_checkpoint(&l), 0);
        again(&l, 1);
        assert_int_equal(l.arena.sb->generation, i + 2);
    }
    live_lose(&l);
}

/* Random writes over a few keys, cleaning, checkpoints and losses. */
static void a_long_life(void **state)
{
    (void)state;
    struct live l;
    char key[16], value[400], want[64][400], cut[64][400];
    unsigned seed = 1;
    memset(want, 0, sizeof(want));
    memset(cut, 0, sizeof(cut));
    memset(value, 'v', sizeof(value));
    live_create(&l, path);
    for (unsigned i = 0; i < 20000; i++) {
        unsigned k = (unsigned)rand_r(&seed) % 64, what = (unsigned)rand_r(&seed) % 1000;
        snprintf(key, sizeof(key), "key%u", k);
        size_t n = (size_t)snprintf(value, sizeof(value), "%u.%*u", i,
                                    (int)((unsigned)rand_r(&seed) % 300), 7u);
        value[n] = 0;
        if (what < 150) {
            if (live_get(&l, key) != NULL)
                writer_delete(&l.writer, key);
            want[k][0] = 0;
        } else {
            writer_put(&l.writer, key, value);
            memcpy(want[k], value, n + 1);
        }
        live_clean(&l);
        if (what > 990) {
            assert_int_equal(live_checkpoint(&l), 0);
            memcpy(cut, want, sizeof(want));
        }
        if (what > 997) {
            again(&l, 1 + i % 3);
            memcpy(want, cut, sizeof(want));
            for (k = 0; k < 64; k++) {
                snprintf(key, sizeof(key), "key%u", k);
                const char *got = live_get(&l, key);
                assert_true((got == NULL) == (want[k][0] == 0));
                assert_true(got == NULL || strncmp(got, want[k], strlen(want[k])) == 0);
            }
        }
    }
    live_lose(&l);
}

static void more_keys_than_it_said(void **state)
{
    (void)state;
    struct live l;
    char key[16];
    live_create(&l, path);
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "key%u", i);
        writer_put(&l.writer, key, "v");
    }
    for (unsigned threads = 1; threads < 4; threads++) {
        /* Unlike a recovery's it says nothing of keys: fewer are expected, if so small. */
        assert_int_equal(live_checkpoint(&l), 0);
        again(&l, threads);
        assert_int_equal(tables_made(&l), 2);
        assert_int_equal(l.result.keys, 5000);
        for (unsigned i = 0; i < 5000; i++) {
            snprintf(key, sizeof(key), "key%u", i);
            assert_non_null(live_get(&l, key));
        }
    }
    live_lose(&l);
}

static int slow_read(const struct file *f, void *to, size_t bytes, uint64_t at)
{
    clock_sleep_ns(1000000);
    return file_system.read(f, to, bytes, at);
}

/* On a disk on which all threads are under way at once, each with slots that it may yet fill. */
static void what_threads_keep_does_not_fill_the_table(void **state)
{
    (void)state;
    struct live l;
    static char value[FEW_BYTES + 1];
    char key[16];
    struct file_table slow = file_system;
    memset(value, 'v', FEW_BYTES);
    live_size = 64ull << 20;
    live_create(&l, path);
    for (unsigned i = 0; i < FEW_KEYS; i++) {
        snprintf(key, sizeof(key), "key%u", i);
        writer_put(&l.writer, key, value);
    }
    assert_int_equal(live_checkpoint(&l), 0);
    again(&l, 1); /* its commit tells how many keys there are */
    slow.read = slow_read;
    file_use(&slow);
    again(&l, MANY_THREADS);
    file_use(NULL);
    assert_int_equal(tables_made(&l), 1);
    assert_int_equal(l.result.keys, FEW_KEYS);
    live_lose(&l);
    live_size = LIVE_SIZE;
}

static void damage_is_named(void **state)
{
    (void)state;
    struct live l;
    live_create(&l, path);
    for (unsigned i = 0; i < 50; i++)
        writer_put(&l.writer, i % 2 == 0 ? "even" : "odd", "some value that is longer");
    do
        assert_int_equal(live_checkpoint(&l), 0);
    while (l.image.patches_count != 0); /* all is in its slot */
    uint64_t at = image_position(&l.image, image_listed(&l.image, 0)->slot, 0) + 1000;
    live_lose(&l);
    FILE *f = fopen(path, "r+");
    assert_true(f != NULL && fseek(f, (long)at, SEEK_SET) == 0);
    assert_int_equal(fputc('!', f), '!');
    fclose(f);
    assert_rc(live_recover(&l, path, 1), SHMKV_ECORRUPT);
    assert_non_null(strstr(shmkv_last_error(), "segment 0, offset "));
    assert_non_null(strstr(shmkv_last_error(), "byte "));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_cut_is_there),
        TEST(what_was_dropped_stays_away),
        TEST(incarnations_are_given_once),
        TEST(a_long_life),
        TEST(more_keys_than_it_said),
        TEST(what_threads_keep_does_not_fill_the_table),
        TEST(damage_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
