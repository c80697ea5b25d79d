/* SPDX-License-Identifier: MIT */
/*
 * error.h - the story behind an error code, kept per thread until the next failure.
 *
 * The text lives in thread-local storage of fixed size: reporting a failure must not itself fail,
 * and the library must stay loadable by dlopen() although it uses the initial-exec TLS model (which
 * leaves less than 2 KiB to all such libraries of a program together).
 */
#ifndef SHMKV_ERROR_H
#define SHMKV_ERROR_H

#include "shmkv.h"

/* Bytes of a thread's text, the final 0 included; what does not fit is cut off. */
#define ERROR_TEXT_BYTES 512

/* Set the thread's text: what happened, to what, what to do.  Keeps errno.  Returns @rc. */
int error_set(int rc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same, followed by ": " and the description of errno. */
int error_errno(int rc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The text is the one that shmkv_strerror(@rc) gives; for paths on which formatting is too slow. */
int error_code(int rc);
/* The thread's text, "" if nothing has failed so far. */
const char *error_text(void);

#endif
