/* SPDX-License-Identifier: MIT */
/* imaged.c - see imaged.h. */
#include "imaged.h"

#include <string.h>

struct shmkv *imaged_open_image(uint32_t flags)
{
    struct shmkv *db;
    assert_rc(home_open(home_image, flags, NEVER, &db), 0);
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
    for (uint32_t i = 0; i < IMAGED_KEYS; i++) {
        int rc = imaged_put(db, i, turn);
        if (rc != 0)
            return rc;
    }
    return 0;
}

void imaged_assert_all(struct shmkv *db, uint32_t turn)
{
    for (uint32_t i = 0; i < IMAGED_KEYS; i++)
        assert_int_equal(imaged_turn_of(db, i), turn);
    assert_rc(shmkv_check(db, NULL, NULL), 0);
}

struct shmkv *imaged_after_a_loss(void)
{
    scratch_lose_memory();
    return imaged_open_image(0);
}

void imaged_assert_kept(uint32_t turn)
{
    struct shmkv *db = imaged_after_a_loss();
    imaged_assert_all(db, turn);
    assert_rc(shmkv_close(db), 0);
}

void imaged_assert_prefix(struct shmkv *db, uint32_t least)
{
    uint32_t first = imaged_turn_of(db, 0);
    bool older = false;
    if (least != UINT32_MAX)
        assert_true(first != UINT32_MAX && first >= least);
    for (uint32_t i = 1; i < IMAGED_KEYS; i++) {
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
