/* SPDX-License-Identifier: MIT */
/* test_conf.c - shmkvd.conf: what is right is taken, what is wrong is named with its line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf.h"
#include "scratch.h"
#include "shmkv.h"
#include "units.h"

static const struct conf_settings none;

/* What was reported: "LINE:text;" one after the other. */
struct told {
    char text[1024];
    size_t used;
};

static void tell(void *arg, unsigned line, const char *what)
{
    struct told *told = arg;
    int n =
        snprintf(told->text + told->used, sizeof(told->text) - told->used, "%u:%s;", line, what);
    told->used += (size_t)n;
    assert_true(told->used < sizeof(told->text));
}

/* Parse a copy that ends where its memory does, so that a sanitizer sees any overrun. */
static struct conf parse(const char *text, size_t size, struct told *told)
{
    struct conf conf = {0};
    *told = (struct told){0};
    struct conf_sink sink = {.report = tell, .arg = told};
    char *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, text, size);
    conf_parse(&conf, copy, size, &none, &sink);
    free(copy);
    return conf;
}

static void assert_told(const char *text, const char *wanted)
{
    struct told told;
    struct conf conf = parse(text, strlen(text), &told);
    assert_string_equal(told.text, wanted);
    conf_free(&conf);
}

static void stores_have_their_settings(void **state)
{
    static const char text[] = "# defaults\n"
                               "interval = 250ms\n"
                               "\r\n"
                               "[/var/lib/a.shmkv]\n"
                               "  create=yes\r\n"
                               "\tsize = 1G\n"
                               "; another one\n"
                               "[ shm:b ]\n"
                               "interval = 2m\n"
                               "mode = 660\n"
                               "shm-dir = /mnt/big";
    struct told told;
    struct conf conf = parse(text, sizeof(text) - 1, &told);
    (void)state;
    assert_string_equal(told.text, "");
    assert_int_equal(conf.count, 2);
    const struct conf_store *a = conf_find(&conf, "/var/lib/a.shmkv");
    assert_non_null(a);
    assert_int_equal(a->settings.interval_ms, 250);
    assert_int_equal(a->settings.create, 1);
    assert_int_equal(a->settings.size, 1u << 30);
    assert_int_equal(a->settings.mode, 0);
    const struct conf_store *b = conf_find(&conf, "shm:b");
    assert_non_null(b);
    assert_int_equal(b->settings.interval_ms, 120000);
    assert_int_equal(b->settings.create, 0);
    assert_int_equal(b->settings.mode, 0660);
    assert_string_equal(b->settings.shm_dir, "/mnt/big");
    assert_null(conf_find(&conf, "shm:c"));
    conf_free(&conf);
}

static void each_bad_line_is_named(void **state)
{
    (void)state;
    assert_told("", "");
    assert_told("nonsense\n", "1:this is neither [STORE] nor NAME = VALUE;");
    assert_told("\nspeed = 3\n",
                "2:no setting 'speed'; there are interval, create, size, mode and shm-dir;");
    assert_told("[shm:a]\ninterval = soon\ncreate = maybe\n",
                "2:interval wants a time such as 250ms, 1s or 1m;3:create wants yes or no;");
    assert_told("size = 0\nmode = 999\nshm-dir = tmp\n",
                "1:size wants a size such as 64M or 1G, 1M to 16T;2:mode wants permission bits in "
                "octal such "
                "as 660;3:shm-dir wants the absolute path of a directory on a tmpfs;");
    assert_told("[shm:a\n", "1:the ] at the end is missing;");
    assert_told("[\n", "1:the ] at the end is missing;");
    assert_told("[]\n[a/b]\n",
                "1:a store is an absolute path or shm:NAME;2:a store is an absolute path or "
                "shm:NAME;");
    assert_told("[shm:a]\n[shm:b]\n[shm:a]\n", "3:this store stands above already;");
}

static void what_is_no_text_is_refused(void **state)
{
    static const char text[] = "interval = 1s\0\n[shm:a]\n";
    struct told told;
    struct conf conf = parse(text, sizeof(text) - 1, &told);
    (void)state;
    assert_string_equal(told.text, "1:a NUL byte: this is no text;");
    assert_int_equal(conf.count, 1);
    conf_free(&conf);
    char *line = malloc(10000);
    assert_non_null(line);
    memset(line, 'x', 10000);
    conf = parse(line, 10000, &told);
    assert_string_equal(told.text, "1:the line is too long;");
    conf_free(&conf);
    free(line);
}

static void a_file_says_more_of_a_store_of_the_command_line(void **state)
{
    struct conf conf = {0};
    struct conf_settings given = {.interval_ms = 5};
    struct conf_sink sink = {.report = NULL};
    (void)state;
    assert_true(conf_add(&conf, "shm:a", &given));
    static const char text[] = "[shm:a]\nsize = 1M\n";
    conf_parse(&conf, text, sizeof(text) - 1, &given, &sink);
    assert_int_equal(sink.errors, 0);
    assert_int_equal(conf.count, 1);
    assert_int_equal(conf.stores[0].settings.size, 1u << 20);
    assert_int_equal(conf.stores[0].settings.interval_ms, 5);
    assert_false(conf_same(&conf.stores[0].settings, &given));
    assert_true(conf_same(&given, &given));
    conf_free(&conf);
}

static void files_that_cannot_be_read_are_told(void **state)
{
    struct conf conf = {0};
    struct told told = {0};
    struct conf_sink sink = {.report = tell, .arg = &told};
    (void)state;
    conf_read(&conf, "/nonexistent/shmkvd.conf", &none, &sink);
    conf_read(&conf, "/", &none, &sink);
    assert_string_equal(told.text, "0:No such file or directory;0:Is a directory;");
    assert_int_equal(conf.count, 0);
}

/* What a line may say is what the library takes: the rules stand in both. */
static void names_and_sizes_are_the_library_s(void **state)
{
    char longest[4 + 200 + 2] = "shm:";
    memset(longest + 4, 'n', 201);
    const char *const names[] = {
        "shm:a",      "shm:",      "shm:a.b_c-D9", "shm:a/b", "shm:a b", "shm:\xc3\xa4",
        "shm:a.sync", "shm:.sync", "shm:sync",     "shm:.",   "shm:..",  longest,
        "shm:a.SYNC", "shm:a\nb",  "shm:~",        "shm:a,b", "shm:-a",
    };
    const uint64_t sizes[] = {1, UNITS_STORE_LEAST - 1, UNITS_STORE_LEAST, UNITS_STORE_MOST + 1,
                              UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct shmkv_options reading = {.flags = SHMKV_READONLY, .shm_dir = scratch_dir()};
        struct shmkv *db;
        int rc = shmkv_open(names[i], &reading, &db);
        assert_int_equal(rc, conf_check_name(names[i]) == NULL ? SHMKV_ENOSTORE : SHMKV_EINVAL);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const struct shmkv_options making = {
            .flags = SHMKV_CREATE | SHMKV_NO_KEEPER, .size = sizes[i], .shm_dir = scratch_dir()};
        struct shmkv *db = NULL;
        int rc = shmkv_open("shm:sizes", &making, &db);
        assert_int_equal(rc, units_is_store_size(sizes[i]) ? 0 : SHMKV_EINVAL);
        shmkv_close(db);
        if (rc == 0)
            assert_int_equal(shmkv_destroy("shm:sizes", scratch_dir(), 0), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stores_have_their_settings),
        cmocka_unit_test(each_bad_line_is_named),
        cmocka_unit_test(what_is_no_text_is_refused),
        cmocka_unit_test(a_file_says_more_of_a_store_of_the_command_line),
        cmocka_unit_test(files_that_cannot_be_read_are_told),
        cmocka_unit_test_setup_teardown(names_and_sizes_are_the_library_s, scratch_setup,
                                        scratch_teardown),
    };
    return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
