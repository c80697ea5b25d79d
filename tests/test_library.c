/* SPDX-License-Identifier: MIT */
/* test_library.c - the shared library as a plug-in host meets it: dlopen, dlclose, little TLS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shmkv.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static char path[4096];

static void *open_library(void)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (!library)
        fail_msg("%s", dlerror());
    return library;
}

static void it_can_be_loaded_at_run_time(void **state)
{
    void *library = open_library();
    const char *(*version)(void);

    (void)state;
    *(void **)&version = dlsym(library, "shmkv_version");
    assert_non_null(version);
    assert_string_equal(version(), SHMKV_VERSION_STRING);
    dlclose(library);
}

static void *call_strerror(void *arg)
{
    const char *(*last_error)(void);

    *(void **)&last_error = arg;
    return (void *)(uintptr_t)last_error()[0];
}

/* A thread that ends after dlclose() still runs the library's destructors. */
static void it_stays_after_dlclose(void **state)
{
    void *library = open_library();
    void *last_error = dlsym(library, "shmkv_last_error");
    void *result = &result;
    pthread_t thread;

    (void)state;
    assert_non_null(last_error);
    dlclose(library);
    assert_non_null(dlopen(path, RTLD_NOW | RTLD_NOLOAD));
    assert_int_equal(pthread_create(&thread, NULL, call_strerror, last_error), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_null(result);
}

static void only_public_names_are_exported(void **state)
{
    void *library = open_library();

    (void)state;
    assert_non_null(dlsym(library, "shmkv_strerror"));
    assert_null(dlsym(library, "error_set"));
    assert_null(dlsym(library, "crc32c"));
    dlclose(library);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_can_be_loaded_at_run_time),
        cmocka_unit_test(it_stays_after_dlclose),
        cmocka_unit_test(only_public_names_are_exported),
    };
    const char *out = getenv("OUT");

    snprintf(path, sizeof(path), "%s/libshmkv.so.0", out ? out : "build");
    return cmocka_run_group_tests_name("library", tests, NULL, NULL);
}
