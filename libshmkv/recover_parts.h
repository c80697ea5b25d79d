/* SPDX-License-Identifier: MIT */
/* recover_parts.h - what the recover*.c files share; nobody else includes it. */
#ifndef SHMKV_RECOVER_PARTS_H
#define SHMKV_RECOVER_PARTS_H

#include "record.h"
#include "recover.h"
#include "segment.h"
#include "table.h"

#define RECOVER_THREADS_MOST 16u
#define RECOVER_BATCH 16   /* records that are added together */
#define RECOVER_PART 1024u /* records that wait for their part of the table */

/* A recovery: shared by its threads, but for what is in a struct recover_worker. */
struct recovery {
    struct image *im;
    const struct participant *p;
    const struct arena *a;
    const struct recover_options *opt;
    uint64_t epoch;    /* E: later records are dropped */
    uint64_t bytes;    /* that are listed */
    uint64_t segments; /* ids below may be listed */
    uint64_t group;    /* of them that a thread loads at once: a huge page's, or one */
    struct table *table;
    unsigned parts_bits;         /* of the hash, the highest: they tell the part of the table */
    uint64_t tickets;            /* that a thread takes at once */
    bool alone;                  /* one thread does it all */
    bool reading;                /* segments are read from the file, not only walked */
    char *scratch;               /* a segment's worth, for what is rewritten */
    uint8_t *dirty;              /* by id: a record of it was dropped; each is one thread's */
    _Atomic uint64_t next;       /* id that is taken next */
    _Atomic uint32_t turn;       /* futex of who reads ahead: `next` or `ahead_ends` has changed */
    _Atomic uint32_t ahead_ends; /* 1: it has nothing more to read */
    _Atomic uint64_t left;       /* slots of the table that may still be filled */
    _Atomic uint32_t full;       /* the table is */
    _Atomic uint64_t done;       /* bytes read, for progress */
    _Atomic uint32_t failed;
    _Atomic uint32_t text_taken;
    int rc; /* of the first worker that failed, and what it said */
    char text[512];
};

/* A record on its way into the index. */
struct recover_record {
    uint64_t hash;
    uint64_t where; /* its offset; the lowest bit: it is a tombstone */
};

struct recover_part {
    unsigned count;
    struct recover_record record[RECOVER_PART];
};

struct recover_worker {
    struct recovery *v;
    bool caller; /* it shows the progress */
    uint64_t tickets;
    uint64_t records, dropped;
    int64_t pairs, tombstones; /* that were entered, less those that were replaced */
    bool expiring;
    uint64_t shown_ns;
    struct recover_part *part; /* 1 << v->parts_bits of them */
};

/* ---- recover_index.c: the index, made by several threads ------------------------------------- */

/* Claim and take a table for @keys. */
int recover_index_begin(struct recovery *v, uint64_t keys);
/* Give it back: it was too small. */
void recover_index_drop(struct recovery *v);
/* Memory for @w to enter records; false: there is none.  Given back by recover_index_free(). */
bool recover_index_attach(struct recover_worker *w);
void recover_index_free(struct recover_worker *w);
/* Enter @n records some time later, ... */
void recover_index_add(struct recover_worker *w, const struct record **batch, unsigned n);
/* ... at the latest now. */
void recover_index_flush(struct recover_worker *w);
/* The slot that leads to the record at @offset; NULL: a newer one of its key is current. */
_Atomic uint64_t *recover_index_find(const struct recovery *v, const struct record *r,
                                     uint64_t offset);
/* Make it the store's. */
void recover_index_show(struct recovery *v, uint64_t tombstones);

/* ---- recover_ahead.c: the disk reads what is loaded next ------------------------------------- */

/* Returns when all was read or taken, or v->ahead_ends is set. */
void recover_ahead(struct recovery *v);
/* It may go on: segments were taken, or it is to end. */
void recover_ahead_turn(struct recovery *v);

/* ---- recover_load.c: segments ---------------------------------------------------------------- */

/* Load (v->reading) and enter segments until none is left; v->rc and v->text tell what failed. */
void recover_load(struct recover_worker *w);
/* Segments of the run that begins at @id, at least 1. */
uint64_t recover_load_run(const struct recovery *v, uint64_t id, uint64_t *bytes);

#endif
