/* SPDX-License-Identifier: MIT */
/* error.c - error codes and texts, from the one table in shmkv.h. */
#include "error.h"

#include "base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* An empty text with a code stands for the code's own text. */
struct error_state {
    int code;
    char text[ERROR_TEXT_BYTES];
};
static _Thread_local struct error_state error_state;
_Static_assert(sizeof(struct error_state) <= 600, "static TLS is scarce, see error.h");

static const struct {
    int code;
    const char *text;
} error_table[] = {
#define ERROR_ROW(name, code, text) {code, text},
    SHMKV_ERRORS(ERROR_ROW)
#undef ERROR_ROW
};

/* @number: an errno to be described behind the text, or 0. */
static void error_format(int number, const char *fmt, va_list args)
{
    char *text = error_state.text;
    int n = vsnprintf(text, ERROR_TEXT_BYTES, fmt, args);

    if (number && n >= 0 && n < ERROR_TEXT_BYTES) {
        char buf[128];
        snprintf(text + n, (size_t)(ERROR_TEXT_BYTES - n), ": %s",
                 strerror_r(number, buf, sizeof(buf)));
    }
}

int error_set(int rc, const char *fmt, ...)
{
    int saved = errno;
    va_list args;

    error_state.code = rc;
    va_start(args, fmt);
    error_format(0, fmt, args);
    va_end(args);
    errno = saved;
    return rc;
}

int error_errno(int rc, const char *fmt, ...)
{
    int saved = errno;
    va_list args;

    error_state.code = rc;
    va_start(args, fmt);
    error_format(saved, fmt, args);
    va_end(args);
    errno = saved;
    return rc;
}

int error_code(int rc)
{
    error_state.code = rc;
    error_state.text[0] = 0;
    return rc;
}

const char *error_text(void)
{
    if (!error_state.text[0] && error_state.code)
        return shmkv_strerror(error_state.code);
    return error_state.text;
}

const char *shmkv_last_error(void)
{
    return error_text();
}

const char *shmkv_strerror(int rc)
{
    if (rc == 0)
        return "success";
    for (size_t i = 0; i < ARRAY_SIZE(error_table); i++) {
        if (error_table[i].code == rc)
            return error_table[i].text;
    }
    return "unknown error";
}

const char *shmkv_version(void)
{
    return SHMKV_VERSION_STRING;
}
