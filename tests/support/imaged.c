/* SPDX-License-Identifier: MIT */
/* imaged.c - see imaged.h. */
#include "imaged.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit.h"
#include "scratch.h"

char imaged_directory[64];
char imaged_path[80];

int imaged_setup(void **state)
{
    snprintf(imaged_directory, sizeof(imaged_directory), "/tmp/shmkv-durable-XXXXXX");
    if (mkdtemp(imaged_directory) == NULL)
        return -1;
    snprintf(imaged_path, sizeof(imaged_path), "%s/store", imaged_directory);
    return scratch_setup(state);
}

void imaged_empty(const char *path, bool itself)
{
    DIR *d = opendir(path);
    struct dirent *e;
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    }
    closedir(d);
    if (itself)
        rmdir(path);
}

int imaged_teardown(void **state)
{
    imaged_empty(imaged_directory, true);
    return scratch_teardown(state);
}

void imaged_lose_memory(void)
{
    imaged_empty(scratch_dir(), false);
}

int imaged_open_path(const char *path, uint32_t flags, uint64_t interval_ms, struct shmkv **db)
{
    struct shmkv_options o = {
        .flags = flags, .size = 16u << 20, .interval_ms = interval_ms, .shm_dir = scratch_dir()};
    return shmkv_open(path, &o, db);
}

struct shmkv *imaged_open_image(uint32_t flags)
{
    struct shmkv *db;
    assert_rc(imaged_open_path(imaged_path, flags, NEVER, &db), 0);
    return db;
}

int imaged_put(struct shmkv *db, uint32_t i, uint32_t turn)
{
    char value[100];
    memset(value, (int)('a' + turn % 26), sizeof(value));
    memcpy(value, &turn, sizeof(turn));
    return shmkv_put(db, &i, sizeof(i), value, sizeof(value), NULL);
}

uint32_t imaged_turn_of(struct shmkv *db, uint32_t i)
{
    char value[100];
    uint32_t turn;
    int rc = shmkv_read(db, &i, sizeof(i), value, sizeof(value), NULL);
    if (rc == SHMKV_ENOTFOUND)
        return UINT32_MAX;
    assert_rc(rc, 0);
    memcpy(&turn, value, sizeof(turn));
    assert_int_equal(value[99], (char)('a' + turn % 26));
    return turn;
}

int imaged_put_all(struct shmkv *db, uint32_t turn)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        int rc = imaged_put(db, i, turn);
        if (rc != 0)
            return rc;
    }
    return 0;
}

void imaged_assert_all(struct shmkv *db, uint32_t turn)
{
    for (uint32_t i = 0; i < KEYS; i++)
        assert_int_equal(imaged_turn_of(db, i), turn);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
}

void imaged_assert_prefix(struct shmkv *db, uint32_t least)
{
    uint32_t first = imaged_turn_of(db, 0);
    bool older = false;
    if (least != UINT32_MAX)
        assert_true(first != UINT32_MAX && first >= least);
    for (uint32_t i = 1; i < KEYS; i++) {
        uint32_t turn = imaged_turn_of(db, i);
        older |= turn != first;
        assert_int_equal(turn, older ? first - 1 : first); /* absent is turn -1 */
        if (least != UINT32_MAX)
            assert_true(turn >= least);
    }
    assert_rc(shmkv_check(db, NULL, NULL), 0);
}

const struct durable_words *imaged_words(struct shmkv *db)
{
    return &audit_arena(db)->sync->durable;
}
