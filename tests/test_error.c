/* SPDX-License-Identifier: MIT */
/* test_error.c - codes, texts, and the story of the last failure of each thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base.h"
#include "error.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

static void every_code_has_its_own_text(void **state)
{
    static const int codes[] = {
#define CODE(name, code, text) name,
        SHMKV_ERRORS(CODE)
#undef CODE
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        assert_true(codes[i] < 0);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(codes[i], codes[j]);
            assert_string_not_equal(shmkv_strerror(codes[i]), shmkv_strerror(codes[j]));
        }
    }
    assert_string_equal(shmkv_strerror(SHMKV_ENOTFOUND), "no such key");
    assert_string_equal(shmkv_strerror(0), "success");
    assert_string_equal(shmkv_strerror(-9999), "unknown error");
    assert_string_equal(shmkv_strerror(1), "unknown error");
}

static void set_returns_the_code_and_keeps_text_and_errno(void **state)
{
    (void)state;
    errno = EPERM;
    assert_int_equal(error_set(SHMKV_EINVAL, "%s: %d is not a size", "shm:a", 7), SHMKV_EINVAL);
    assert_int_equal(errno, EPERM);
    assert_string_equal(error_text(), "shm:a: 7 is not a size");
    assert_string_equal(shmkv_last_error(), "shm:a: 7 is not a size");
}

static void errno_is_described(void **state)
{
    (void)state;
    errno = ENOENT;
    assert_int_equal(error_errno(SHMKV_ESYSTEM, "open %s", "/x"), SHMKV_ESYSTEM);
    assert_int_equal(errno, ENOENT);
    assert_string_equal(error_text(), "open /x: No such file or directory");
}

static void a_bare_code_has_the_code_s_text(void **state)
{
    (void)state;
    error_set(SHMKV_EINVAL, "something else");
    assert_int_equal(error_code(SHMKV_ENOTFOUND), SHMKV_ENOTFOUND);
    assert_string_equal(error_text(), "no such key");
}

static void too_long_a_text_is_cut(void **state)
{
    char name[2 * ERROR_TEXT_BYTES];

    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    errno = ENOENT;
    error_errno(SHMKV_ESYSTEM, "%s", name);
    assert_int_equal(strlen(error_text()), ERROR_TEXT_BYTES - 1);
    name[ERROR_TEXT_BYTES - 5] = 0;
    error_errno(SHMKV_ESYSTEM, "%s", name);
    assert_int_equal(strlen(error_text()), ERROR_TEXT_BYTES - 1);
    assert_memory_equal(error_text() + ERROR_TEXT_BYTES - 5, ": No", 4);
}

static void *other_thread(void *arg)
{
    *(size_t *)arg = strlen(error_text());
    error_set(SHMKV_EINVAL, "of the other thread");
    return NULL;
}

static void each_thread_has_its_own(void **state)
{
    pthread_t thread;
    size_t length = 99;

    (void)state;
    error_set(SHMKV_EINVAL, "of the first thread");
    assert_int_equal(pthread_create(&thread, NULL, other_thread, &length), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(length, 0);
    assert_string_equal(error_text(), "of the first thread");
}

static void the_version_is_the_header_s(void **state)
{
    (void)state;
    assert_string_equal(shmkv_version(), SHMKV_VERSION_STRING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_own_text),
        cmocka_unit_test(set_returns_the_code_and_keeps_text_and_errno),
        cmocka_unit_test(errno_is_described),
        cmocka_unit_test(a_bare_code_has_the_code_s_text),
        cmocka_unit_test(too_long_a_text_is_cut),
        cmocka_unit_test(each_thread_has_its_own),
        cmocka_unit_test(the_version_is_the_header_s),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
