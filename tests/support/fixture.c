/* SPDX-License-Identifier: MIT */
/* fixture.c - see fixture.h. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit.h"

#define DEFAULT_SIZE (64u << 20)

/*
 * Where keys go depends on the store's seed, which is random: it is printed, and that of a test
 * that failed can be given to it again.  Nobody has hashed anything with the first one yet.
 */
static void seed(struct fixture *f)
{
    const char *given = getenv("SHMKV_TEST_SEED");
    struct arena *a = (struct arena *)(uintptr_t)audit_arena(f->db);
    if (given != NULL) {
        a->sb->hash_seed = strtoull(given, NULL, 0);
        hash_init(&a->hash_secret, a->sb->hash_seed);
    }
    print_message("# %s: SHMKV_TEST_SEED=0x%llx\n", f->name, (unsigned long long)a->sb->hash_seed);
}

void fixture_begin(struct fixture *f, const struct shmkv_options *opt)
{
    static unsigned count;
    struct shmkv_options o = *opt;
    snprintf(f->name, sizeof(f->name), "shm:test-%ld-%u", (long)getpid(), ++count);
    o.flags |= SHMKV_CREATE | SHMKV_EXCLUSIVE;
    if (shmkv_open(f->name, &o, &f->db) != 0)
        fail_msg("open %s: %s", f->name, shmkv_last_error());
    seed(f);
}

void fixture_end(struct fixture *f)
{
    shmkv_close(f->db);
    f->db = NULL;
    fixture_remove(f);
}

void fixture_remove(const struct fixture *f)
{
    shmkv_destroy(f->name, NULL, 1);
}

struct shmkv *fixture_open(const struct fixture *f, uint32_t flags)
{
    struct shmkv *db;
    struct shmkv_options o = {.flags = flags};
    if (shmkv_open(f->name, &o, &db) != 0)
        fail_msg("open %s again: %s", f->name, shmkv_last_error());
    return db;
}

int fixture_setup(void **state)
{
    const struct shmkv_options usual = {.flags = SHMKV_NO_KEEPER, .size = DEFAULT_SIZE};
    const struct shmkv_options *o = *state != NULL ? *state : &usual;
    struct fixture *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return -1;
    fixture_begin(f, o);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    fixture_end(f);
    free(f);
    return 0;
}

/* ---- keys and values that are C strings ---------------------------------------------------- */

void check_rc(int rc, int expected, const char *call, const char *file, int line)
{
    if (rc != expected) {
        print_error("%s: %s (%s), expected %s\n", call, shmkv_strerror(rc),
                    rc < 0 ? shmkv_last_error() : "", shmkv_strerror(expected));
        _fail(file, line);
    }
    if (rc < 0 && shmkv_last_error()[0] == '\0') {
        print_error("%s: failed without a text\n", call);
        _fail(file, line);
    }
}

uint64_t put_text(struct shmkv *db, const char *key, const char *value)
{
    uint64_t version = 0;
    struct shmkv_put_options o = {.version = &version};
    assert_rc(shmkv_put(db, key, strlen(key), value, strlen(value), &o), 0);
    assert_true(version != 0);
    return version;
}

void delete_text(struct shmkv *db, const char *key)
{
    assert_rc(shmkv_delete(db, key, strlen(key)), 0);
}

void assert_text(struct shmkv *db, const char *key, const char *value)
{
    struct shmkv_section section;
    struct shmkv_item item;
    assert_rc(shmkv_begin(db, &section), 0);
    int rc = shmkv_get(&section, key, strlen(key), &item);
    assert_rc(rc, value == NULL ? SHMKV_ENOTFOUND : 0);
    if (value != NULL) {
        assert_int_equal(item.size, strlen(value));
        assert_memory_equal(item.value, value, item.size);
    }
    shmkv_end(&section);
}

uint64_t version_of(struct shmkv *db, const char *key)
{
    struct shmkv_item item = {.version = 0};
    int rc = shmkv_read(db, key, strlen(key), NULL, 0, &item);
    assert_true(rc == 0 || rc == SHMKV_EBUFFER || rc == SHMKV_ENOTFOUND);
    return item.version;
}

/* ---- is the store as it was? --------------------------------------------------------------- */

static void look(struct shmkv *db, struct snapshot *s)
{
    struct shmkv_stats stats;
    struct shmkv_item item;
    assert_rc(shmkv_read(db, "present", 7, s->value, sizeof(s->value), &item), 0);
    s->version = item.version;
    assert_rc(shmkv_get_stats(db, &stats), 0);
    s->puts = stats.puts;
    s->deletes = stats.deletes;
}

struct snapshot snapshot_take(struct shmkv *db)
{
    struct snapshot s = {.puts = 0};
    put_text(db, "present", "as it was");
    look(db, &s);
    return s;
}

void assert_unchanged(struct shmkv *db, const struct snapshot *before)
{
    struct snapshot now = {.puts = 0};
    look(db, &now);
    assert_memory_equal(&now, before, sizeof(now));
    assert_text(db, "absent", NULL);
}
