/* SPDX-License-Identifier: MIT */
/* conf.c - see conf.h. */
#define _GNU_SOURCE
#include "conf.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONF_FILE_MOST (1u << 20)
#define CONF_LINE_MOST 8192u

enum conf_kind { KIND_TIME, KIND_FLAG, KIND_SIZE, KIND_MODE, KIND_TEXT };

/* ---- settings ------------------------------------------------------------------------------ */

static const struct conf_row {
    const char *name;
    size_t offset;
    const char *wanted;
    enum conf_kind kind;
} conf_rows[] = {
#define CONF_ROW(name, kind, member, wanted)                                                       \
    {name, offsetof(struct conf_settings, member), name " wants " wanted, KIND_##kind},
    CONF_SETTINGS(CONF_ROW)
#undef CONF_ROW
};

static bool conf_parse_flag(const char *text, uint64_t *flag)
{
    *flag = strcmp(text, "yes") == 0;
    return *flag || strcmp(text, "no") == 0;
}

static bool conf_parse_directory(const char *text, char *directory)
{
    size_t size = strlen(text);
    if (text[0] != '/' || size >= sizeof(((struct conf_settings *)0)->shm_dir)) {
        return false;
    }
    memcpy(directory, text, size + 1);
    return true;
}

static bool conf_parse_value(enum conf_kind kind, const char *text, void *to)
{
    switch (kind) {
    case KIND_TIME:
        return units_parse_time(text, to) && *(uint64_t *)to > 0;
    case KIND_FLAG:
        return conf_parse_flag(text, to);
    case KIND_SIZE:
        return units_parse_size(text, to) && units_is_store_size(*(uint64_t *)to);
    case KIND_MODE:
        return units_parse_mode(text, to) && *(uint64_t *)to > 0;
    case KIND_TEXT:
        return conf_parse_directory(text, to);
    }
    return false;
}

static const struct conf_row *conf_row(const char *name)
{
    for (size_t i = 0; i < sizeof(conf_rows) / sizeof(conf_rows[0]); i++) {
        if (strcmp(conf_rows[i].name, name) == 0) {
            return &conf_rows[i];
        }
    }
    return NULL;
}

bool conf_is_setting(const char *name)
{
    return conf_row(name) != NULL;
}

const char *conf_set(struct conf_settings *settings, const char *name, const char *value)
{
    const struct conf_row *row = conf_row(name);
    if (!row) {
        return "there is no such setting";
    }
    struct conf_settings copy = *settings; /* a bad value changes nothing */
    bool good = conf_parse_value(row->kind, value, (char *)&copy + row->offset);
    if (good) {
        *settings = copy;
    }
    return good ? NULL : row->wanted;
}

bool conf_same(const struct conf_settings *a, const struct conf_settings *b)
{
    return a->interval_ms == b->interval_ms && a->create == b->create && a->size == b->size &&
           a->mode == b->mode && strcmp(a->shm_dir, b->shm_dir) == 0;
}

/* ---- stores -------------------------------------------------------------------------------- */

/* As in libshmkv/arena_name.c. */
static const char *conf_check_volatile(const char *bare)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t size = strlen(bare);
    bool sync = size >= 5 && strcmp(bare + size - 5, ".sync") == 0;
    return size >= 1 && size <= 200 && strspn(bare, letters) == size && !sync
               ? NULL
               : "a name is shm: and 1 to 200 of A-Z a-z 0-9 . _ - and does not end in .sync";
}

const char *conf_check_name(const char *name)
{
    size_t size = strlen(name);
    if (strncmp(name, "shm:", 4) == 0) {
        return conf_check_volatile(name + 4);
    }
    if (size == 0) {
        return "a store needs a name: a path or shm:NAME";
    }
    if (size >= PATH_MAX) {
        return "the path is too long";
    }
    return name[size - 1] == '/' ? "a store is a file, and this is the path of a directory" : NULL;
}

static struct conf_store *conf_lookup(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->count; i++) {
        if (strcmp(conf->stores[i].name, name) == 0) {
            return &conf->stores[i];
        }
    }
    return NULL;
}

const struct conf_store *conf_find(const struct conf *conf, const char *name)
{
    return conf_lookup(conf, name);
}

bool conf_add(struct conf *conf, const char *name, const struct conf_settings *settings)
{
    struct conf_store *known = conf_lookup(conf, name);
    if (known) {
        known->settings = *settings;
        return true;
    }
    struct conf_store *stores =
        reallocarray(conf->stores, conf->count + 1, sizeof(conf->stores[0]));
    char *copy = strdup(name);
    if (stores) {
        conf->stores = stores;
    }
    if (!stores || !copy) {
        free(copy);
        return false;
    }
    stores[conf->count++] = (struct conf_store){.name = copy, .settings = *settings};
    return true;
}

void conf_free(struct conf *conf)
{
    for (size_t i = 0; i < conf->count; i++) {
        free(conf->stores[i].name);
    }
    free(conf->stores);
    *conf = (struct conf){0};
}

/* ---- text ---------------------------------------------------------------------------------- */

/* Where reading stands. */
struct conf_reader {
    struct conf *conf;
    struct conf_sink *sink;
    struct conf seen;              /* stores of this text */
    struct conf_settings defaults; /* of this text so far */
    char *store;                   /* whose lines these are; NULL: nobody's yet */
    struct conf_settings settings; /* its own */
    bool global;                   /* no store yet: what is set holds for all that follow */
    unsigned line;
};

static void conf_report(struct conf_sink *sink, unsigned line, const char *what)
{
    sink->errors++;
    if (sink->report) {
        sink->report(sink->arg, line, what);
    }
}

static void conf_wrong(struct conf_reader *r, const char *what)
{
    conf_report(r->sink, r->line, what);
}

static void conf_end_store(struct conf_reader *r)
{
    if (r->store && (!conf_add(&r->seen, r->store, &r->settings) ||
                     !conf_add(r->conf, r->store, &r->settings))) {
        conf_wrong(r, "no memory");
    }
    free(r->store);
    r->store = NULL;
}

/* Without the blanks around it; @text is changed. */
static char *conf_trim(char *text)
{
    static const char blanks[] = " \t\r\f\v";
    text += strspn(text, blanks);
    size_t size = strlen(text);
    while (size > 0 && strchr(blanks, text[size - 1])) {
        size--;
    }
    text[size] = '\0';
    return text;
}

/* "[NAME]": @text begins with the bracket. */
static void conf_begin_store(struct conf_reader *r, char *text)
{
    size_t size = strlen(text);
    conf_end_store(r);
    r->settings = r->defaults;
    if (text[size - 1] != ']') {
        conf_wrong(r, "the ] at the end is missing");
        return;
    }
    text[size - 1] = '\0';
    const char *name = conf_trim(text + 1);
    if (name[0] != '/' && strncmp(name, "shm:", 4) != 0) {
        conf_wrong(r, "a store is an absolute path or shm:NAME");
    } else if (conf_check_name(name)) {
        conf_wrong(r, conf_check_name(name));
    } else if (conf_find(&r->seen, name)) {
        conf_wrong(r, "this store stands above already");
    } else if (!(r->store = strdup(name))) {
        conf_wrong(r, "no memory");
    }
}

static void conf_wrong_setting(struct conf_reader *r, const char *name)
{
    char what[256];
    snprintf(what, sizeof(what),
             "no setting '%.100s'; there are interval, create, size, mode and shm-dir", name);
    conf_wrong(r, what);
}

static void conf_take_setting(struct conf_reader *r, char *text)
{
    char *equals = strchr(text, '=');
    if (!equals) {
        conf_wrong(r, "this is neither [STORE] nor NAME = VALUE");
        return;
    }
    *equals = '\0';
    const char *name = conf_trim(text);
    if (!conf_is_setting(name)) {
        conf_wrong_setting(r, name);
        return;
    }
    const char *wrong =
        conf_set(r->global ? &r->defaults : &r->settings, name, conf_trim(equals + 1));
    if (wrong) {
        conf_wrong(r, wrong);
    }
}

/* One line, without its end. */
static void conf_take_line(struct conf_reader *r, const char *text, size_t size)
{
    char line[CONF_LINE_MOST];
    r->line++;
    if (size >= sizeof(line) || memchr(text, '\0', size)) {
        conf_wrong(r,
                   size >= sizeof(line) ? "the line is too long" : "a NUL byte: this is no text");
        return;
    }
    memcpy(line, text, size);
    line[size] = '\0';
    char *words = conf_trim(line);
    if (words[0] == '[') {
        r->global = false;
        conf_begin_store(r, words);
    } else if (words[0] != '\0' && words[0] != '#' && words[0] != ';') {
        conf_take_setting(r, words);
    }
}

void conf_parse(struct conf *conf, const char *text, size_t size,
                const struct conf_settings *defaults, struct conf_sink *sink)
{
    struct conf_reader r = {.conf = conf, .sink = sink, .defaults = *defaults, .global = true};
    const char *end = text + size;
    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        conf_take_line(&r, text, (size_t)((stop ? stop : end) - text));
        text = stop ? stop + 1 : end;
    }
    conf_end_store(&r);
    conf_free(&r.seen);
}

void conf_read(struct conf *conf, const char *path, const struct conf_settings *defaults,
               struct conf_sink *sink)
{
    char *text = malloc(CONF_FILE_MOST);
    FILE *file = fopen(path, "re");
    size_t size = 0;
    if (text && file) {
        size = fread(text, 1, CONF_FILE_MOST, file);
    }
    if (!text || !file || ferror(file)) {
        conf_report(sink, 0, strerror(errno));
    } else if (size == CONF_FILE_MOST) {
        conf_report(sink, 0, "the file is too large");
    } else {
        conf_parse(conf, text, size, defaults, sink);
    }
    if (file) {
        fclose(file);
    }
    free(text);
}
