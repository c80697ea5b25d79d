/* SPDX-License-Identifier: MIT */
/*
 * oracle.h - what a store should hold, kept in liburcu's hash table (cds_lfht), by one thread.
 */
#ifndef TEST_ORACLE_H
#define TEST_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORACLE_KEY_MAX 64u

struct oracle;

/* A key that is there. */
struct oracle_item {
    char key[ORACLE_KEY_MAX];
    size_t klen;
    char *value;
    size_t size;
    uint64_t version; /* 0: not known */
    int64_t expires;  /* 0: never */
};

/* NULL if this machine does not have liburcu-cds. */
struct oracle *oracle_open(void);
void oracle_close(struct oracle *o);

/* NULL: absent. */
struct oracle_item *oracle_find(struct oracle *o, const void *key, size_t klen);
/* Replace or add; the value is copied.  Version and expiry are set to 0. */
struct oracle_item *oracle_put(struct oracle *o, const void *key, size_t klen, const void *value,
                               size_t size);
void oracle_remove(struct oracle *o, struct oracle_item *item);
void oracle_clear(struct oracle *o);
size_t oracle_count(const struct oracle *o);

#endif
