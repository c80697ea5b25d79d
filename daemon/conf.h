/* SPDX-License-Identifier: MIT */
/*
 * conf.h - which stores shmkvd keeps, and how; the text of shmkvd.conf.
 *
 *   # comment                      lines; blanks around words do not matter
 *   interval = 1s                  before the first store: for all that follow
 *   [/var/lib/app/cache.shmkv]     a store: the path of its image, or shm:NAME
 *   create = yes                   what differs for this one
 *
 * Reading is strict: what is not understood is an error, told with its line, and all of them are.
 */
#ifndef DAEMON_CONF_H
#define DAEMON_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "units.h"

/* Every setting: name, kind of value, member of struct conf_settings, what is wanted. */
#define CONF_SETTINGS(X)                                                                           \
    X("interval", TIME, interval_ms, "a time such as 250ms, 1s or 1m")                             \
    X("create", FLAG, create, "yes or no")                                                         \
    X("size", SIZE, size, "a size such as 64M or 1G, " UNITS_STORE_RANGE)                          \
    X("mode", MODE, mode, "permission bits in octal such as 660")                                  \
    X("shm-dir", TEXT, shm_dir, "the absolute path of a directory on a tmpfs")

/* How one store is kept.  All zero: as the library does by default. */
struct conf_settings {
    uint64_t interval_ms; /* between checkpoints; 0: default */
    uint64_t create;      /* 1: make the store if it is not there */
    uint64_t size, mode;  /* of a store that is made */
    char shm_dir[256];    /* "": default */
};

struct conf_store {
    char *name;
    struct conf_settings settings;
};

/* All zero: no store. */
struct conf {
    struct conf_store *stores;
    size_t count;
};

/* Where what is wrong goes: @line 0 is the whole file. */
struct conf_sink {
    void (*report)(void *arg, unsigned line, const char *what);
    void *arg;
    unsigned errors; /* counted */
};

/* Whether there is such a setting. */
bool conf_is_setting(const char *name);

/* Set one setting from text.  NULL, or what is wrong; static storage. */
const char *conf_set(struct conf_settings *settings, const char *name, const char *value);

/* What is wrong with the name of a store by the library's rules, or NULL. */
const char *conf_check_name(const char *name);

/* Add a store; one of that name gets these settings instead of its own.  False: no memory. */
bool conf_add(struct conf *conf, const char *name, const struct conf_settings *settings);
const struct conf_store *conf_find(const struct conf *conf, const char *name);

/* Read @size bytes of text; stores are added to @conf.  @defaults holds for what is not said. */
void conf_parse(struct conf *conf, const char *text, size_t size,
                const struct conf_settings *defaults, struct conf_sink *sink);
/* The same with a file's text. */
void conf_read(struct conf *conf, const char *path, const struct conf_settings *defaults,
               struct conf_sink *sink);

bool conf_same(const struct conf_settings *a, const struct conf_settings *b);
void conf_free(struct conf *conf);

#endif
