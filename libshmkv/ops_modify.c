/* SPDX-License-Identifier: MIT */
/*
 * ops_modify.c - the public calls whose new value depends on the old one.
 *
 * Each is a loop of: copy the old value, compute, write if the version is still the same.  A round
 * that fails means that another writer of the key succeeded, so the loops are lock-free.  No user
 * code, and no allocation, happens inside a write section.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "ops.h"

#define NUMBER_CHARS 20u /* "-9223372036854775808" */

/* Common beginning: context, key, hash. */
static int prepare(struct shmkv *db, const void *key, size_t klen, struct context **c,
                   struct ops_write *w)
{
    int rc = store_writer(db, c);
    if (rc == 0)
        rc = ops_check_key(key, klen);
    if (rc != 0)
        return rc;
    *w = (struct ops_write){.key = key, .klen = klen, .type = RECORD_PAIR};
    w->hash = hash_key(key, klen, &(*c)->store->arena.hash_secret);
    w->condition = INDEX_IF_VERSION;
    return 0;
}

/* ---- add ----------------------------------------------------------------------------------- */

/* Decimal, optional minus, no blanks, no plus: what shmkv_add() itself writes. */
static int parse_number(const char *text, size_t n, int64_t *number)
{
    char buf[NUMBER_CHARS + 1];
    char *end;
    if (n == 0 || n > NUMBER_CHARS)
        return SHMKV_ENOTNUM;
    memcpy(buf, text, n);
    buf[n] = '\0';
    if (!isdigit((unsigned char)buf[buf[0] == '-']))
        return SHMKV_ENOTNUM;
    int saved = errno;
    errno = 0;
    long long value = strtoll(buf, &end, 10);
    bool overflow = errno != 0;
    errno = saved;
    if (end != buf + n || overflow) /* a 0 byte inside ends strtoll() too early */
        return SHMKV_ENOTNUM;
    *number = value;
    return 0;
}

/* Read the counter as it is; an absent one is 0. */
static int read_number(struct context *c, struct ops_write *w, int64_t *number)
{
    uint64_t outer = epoch_enter(&c->writer.self);
    int rc;
    const struct record *r = ops_find(c, w->key, w->klen, w->hash, &rc);
    *number = 0;
    w->expected = r != NULL ? r->version : 0;
    w->expiry = r != NULL ? record_expiry(r) : 0;
    if (r != NULL)
        rc = parse_number(record_value(r), r->vlen, number);
    epoch_exit(&c->writer.self, outer);
    return rc == 0 ? 0 : error_code(rc);
}

int shmkv_add(struct shmkv *db, const void *key, size_t klen, int64_t delta, int64_t *result)
{
    struct context *c;
    struct ops_write w;
    int rc = prepare(db, key, klen, &c, &w);
    if (rc != 0)
        return rc;
    do {
        char text[NUMBER_CHARS + 2];
        int64_t old, sum;
        rc = read_number(c, &w, &old);
        if (rc != 0)
            return rc;
        if (__builtin_add_overflow(old, delta, &sum))
            return error_set(SHMKV_EOVERFLOW, "add: %" PRId64 " + %" PRId64 " leaves 64 bits", old,
                             delta);
        w.vlen = (size_t)snprintf(text, sizeof(text), "%" PRId64, sum);
        w.val = text;
        rc = ops_change(c, &w, NULL);
        if (rc == 0 && result != NULL)
            *result = sum;
    } while (rc == SHMKV_EMISMATCH);
    return rc;
}

/* ---- append, touch ------------------------------------------------------------------------- */

/* Write @copy back under the version it was read with. */
static int write_back(struct context *c, struct ops_write *w, struct ops_copy *copy)
{
    w->expected = copy->version;
    w->val = copy->value;
    w->vlen = copy->size;
    int rc = ops_check_size(&c->store->arena, w->klen, w->vlen);
    if (rc == 0)
        rc = ops_change(c, w, NULL);
    free(copy->value);
    return rc;
}

static int append_once(struct context *c, struct ops_write *w, const void *val, size_t vlen,
                       size_t *total)
{
    struct ops_copy copy;
    int rc = ops_copy(c, w, vlen, &copy);
    if (rc == 0 && copy.value == NULL) {
        copy.value = malloc(vlen + 1);
        if (copy.value == NULL)
            rc = error_set(SHMKV_ESYSTEM, "append: no memory for %zu bytes", vlen);
    }
    if (rc != 0) {
        free(copy.value);
        return rc;
    }
    if (vlen != 0)
        memcpy((char *)copy.value + copy.size, val, vlen);
    copy.size += vlen;
    *total = copy.size;
    w->expiry = copy.expiry;
    return write_back(c, w, &copy);
}

int shmkv_append(struct shmkv *db, const void *key, size_t klen, const void *val, size_t vlen,
                 size_t *total)
{
    struct context *c;
    struct ops_write w;
    size_t size = 0;
    int rc = prepare(db, key, klen, &c, &w);
    if (rc == 0 && val == NULL && vlen != 0)
        rc = error_set(SHMKV_EINVAL, "append: the value is NULL but has %zu bytes", vlen);
    if (rc == 0)
        rc = ops_check_size(&c->store->arena, klen, vlen);
    if (rc != 0)
        return rc;
    do {
        rc = append_once(c, &w, val, vlen, &size);
    } while (rc == SHMKV_EMISMATCH);
    if (rc == 0 && total != NULL)
        *total = size;
    return rc;
}

int shmkv_touch(struct shmkv *db, const void *key, size_t klen, uint64_t ttl_ms)
{
    struct context *c;
    struct ops_write w;
    int rc = prepare(db, key, klen, &c, &w);
    if (rc != 0)
        return rc;
    do {
        struct ops_copy copy;
        rc = ops_copy(c, &w, 0, &copy);
        if (rc != 0)
            return rc;
        if (copy.value == NULL)
            return error_code(SHMKV_ENOTFOUND);
        w.expiry = ops_expiry(c->store, ttl_ms);
        rc = write_back(c, &w, &copy);
    } while (rc == SHMKV_EMISMATCH);
    return rc;
}

/* ---- update, take -------------------------------------------------------------------------- */

/* Ask the callback; it sees the record in place. */
static int ask(struct context *c, struct ops_write *w, shmkv_update_fn *fn, void *arg)
{
    struct shmkv_bytes value = {.data = NULL};
    struct shmkv_item item;
    uint64_t outer = epoch_enter(&c->writer.self);
    int rc;
    const struct record *r = ops_find(c, w->key, w->klen, w->hash, &rc);
    w->expected = r != NULL ? r->version : 0;
    w->expiry = r != NULL ? record_expiry(r) : 0;
    if (r != NULL)
        item = (struct shmkv_item){.value = record_value(r),
                                   .size = r->vlen,
                                   .version = r->version,
                                   .expires_ms = (int64_t)w->expiry};
    if (rc == 0)
        rc = fn(arg, r != NULL ? &item : NULL, &value);
    if (unlikely(!c->ours)) /* the section and the context are the parent's */
        return error_set(SHMKV_EINVAL, "update: a child that was forked in the callback came back");
    epoch_exit(&c->writer.self, outer);
    w->val = value.data;
    w->vlen = value.size;
    return rc;
}

static int act(struct context *c, struct ops_write *w, int action)
{
    w->type = action == SHMKV_REMOVE ? RECORD_TOMBSTONE : RECORD_PAIR;
    if (action == SHMKV_STORE) {
        if (w->val == NULL && w->vlen != 0)
            return error_set(SHMKV_EINVAL, "update: the value is NULL but has %zu bytes", w->vlen);
        int rc = ops_check_size(&c->store->arena, w->klen, w->vlen);
        return rc != 0 ? rc : ops_change(c, w, NULL);
    }
    if (action != SHMKV_REMOVE)
        return error_set(SHMKV_EINVAL, "update: the callback returned %d", action);
    w->vlen = 0;
    w->expiry = 0;
    return w->expected == 0 ? error_code(SHMKV_ENOTFOUND) : ops_change(c, w, NULL);
}

int shmkv_update(struct shmkv *db, const void *key, size_t klen, shmkv_update_fn *fn, void *arg)
{
    struct context *c;
    struct ops_write w;
    int rc = prepare(db, key, klen, &c, &w);
    if (rc == 0 && fn == NULL)
        rc = error_set(SHMKV_EINVAL, "update: the callback is NULL");
    if (rc != 0)
        return rc;
    do {
        rc = ask(c, &w, fn, arg);
        if (rc <= 0) /* SHMKV_KEEP, or the callback's own code */
            return rc;
        rc = act(c, &w, rc);
    } while (rc == SHMKV_EMISMATCH);
    return rc;
}

/* Copy the value out; 0 if it fits. */
static int take_copy(struct context *c, struct ops_write *w, struct shmkv_bytes *out, size_t cap)
{
    uint64_t outer = epoch_enter(&c->writer.self);
    int rc;
    const struct record *r = ops_find(c, w->key, w->klen, w->hash, &rc);
    if (r == NULL) {
        rc = rc != 0 ? rc : error_code(SHMKV_ENOTFOUND);
    } else {
        w->expected = r->version;
        out->size = r->vlen; /* read once (R3) */
        if (out->size > cap)
            rc =
                error_set(SHMKV_EBUFFER, "the value has %zu bytes, the buffer %zu", out->size, cap);
        else if (out->size != 0)
            memcpy((void *)(uintptr_t)out->data, record_value(r), out->size);
    }
    epoch_exit(&c->writer.self, outer);
    return rc;
}

int shmkv_take(struct shmkv *db, const void *key, size_t klen, void *buf, size_t cap, size_t *size)
{
    struct context *c;
    struct ops_write w;
    struct shmkv_bytes out = {.data = buf};
    int rc = prepare(db, key, klen, &c, &w);
    if (rc == 0 && buf == NULL && cap != 0)
        rc = error_set(SHMKV_EINVAL, "take: the buffer is NULL");
    if (rc != 0)
        return rc;
    w.type = RECORD_TOMBSTONE;
    do {
        rc = take_copy(c, &w, &out, cap);
        if (rc == 0)
            rc = ops_change(c, &w, NULL);
    } while (rc == SHMKV_EMISMATCH);
    if (size != NULL && (rc == 0 || rc == SHMKV_EBUFFER))
        *size = out.size;
    return rc;
}
