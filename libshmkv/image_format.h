/* SPDX-License-Identifier: MIT */
/*
 * image_format.h - the bytes of an image file, little-endian; shmkv-image(5) says it in prose.
 *
 * Everything but the file slots is checksummed by CRC-32C; what the loss of one sector, or a
 * flipped bit, must not cost stands twice (superblocks and journal records).  Bytes that a table of
 * a cut names in file slots are records as they are in shared memory, see record.h.
 */
#ifndef SHMKV_IMAGE_FORMAT_H
#define SHMKV_IMAGE_FORMAT_H

#include "base.h"

#define IMAGE_MAGIC 0x0a1a564b4d485389ull  /* 89 'S' 'H' 'M' 'K' 'V' 1a 0a: not a text */
#define IMAGE_MAKING 0x0a1a474b414d5389ull /* in its place while the image is being made */
#define IMAGE_VERSION 1u
#define IMAGE_FEATURE_CARRY 1u             /* records of the journal may carry bytes of segments */
#define IMAGE_FEATURES IMAGE_FEATURE_CARRY /* bits of image_super.features that are known here */
#define IMAGE_SLOT_NONE UINT32_MAX

#define IMAGE_CLEAN 1u /* flag of a commit: the store was closed, nothing was written after it */

enum image_entry_flag {
    IMAGE_RUN_HEAD = 1u << 0, /* a record begins here that goes on in the segments behind */
    IMAGE_RUN_REST = 1u << 1, /* ... in this one */
};

/* What a commit lists of one segment. */
struct image_entry {
    uint64_t incarnation;
    uint64_t birth;   /* epoch when the segment was opened */
    uint32_t segment; /* id */
    uint32_t slot;    /* file slot; IMAGE_SLOT_NONE in the journal: not listed any more */
    uint32_t bytes;   /* of the segment that belong to the cut */
    uint32_t flags;   /* enum image_entry_flag */
};
_Static_assert(sizeof(struct image_entry) == 32, "32 bytes");

/* What a commit says beside its list; in superblocks and journal records. */
struct image_commit_head {
    uint64_t sequence;   /* number of the commit: 1, 2, 3 ... */
    uint64_t generation; /* number of recoveries so far */
    uint64_t epoch;      /* E: later records are not part of it */
    uint64_t ceiling;    /* versions given out until the next commit are of no later epoch */
    uint64_t clock_ms;   /* the store's clock */
    uint64_t keys;       /* about how many keys: a hint */
    uint64_t size;       /* limit of memory in use */
    uint32_t flags;      /* IMAGE_CLEAN */
    uint32_t entries;    /* of the table, or in the journal record */
};
_Static_assert(sizeof(struct image_commit_head) == 64, "64 bytes");

/* One page, at 0 and at 4096. */
struct image_super {
    uint64_t magic;
    uint32_t version;
    uint32_t features; /* bits that a program must know to open the image */
    uint8_t uuid[16];
    uint64_t device, inode;  /* of the file when it was made, or last given a uuid */
    uint64_t super_sequence; /* the superblock with the larger one counts */
    uint64_t hash_seed;
    uint64_t segment_bytes;
    uint64_t segment_count;
    uint64_t journal_offset;
    uint64_t journal_bytes;
    uint64_t table_offset[2];
    uint64_t table_bytes;          /* of each */
    uint64_t data_offset;          /* of file slot 0 */
    uint64_t slot_count;           /* at most */
    uint32_t table;                /* which of the two counts */
    uint32_t table_crc;            /* of its pages' crcs, one after the other */
    uint64_t created_ms;           /* Unix time */
    struct image_commit_head head; /* of the commit that the table holds */
    uint64_t interval_ms;          /* between checkpoints; 0: none was set */
    uint8_t unused[PAGE_BYTES - 224 - 4];
    uint32_t crc; /* of all before; here in every version */
};
_Static_assert(sizeof(struct image_super) == PAGE_BYTES, "one page");

/* A page of a table; entries are in the order of their segments. */
#define IMAGE_PAGE_ENTRIES 127u
struct image_page {
    uint32_t crc; /* of all behind */
    uint32_t count;
    uint64_t sequence; /* of the commit */
    uint64_t page;     /* 0, 1, 2 ... */
    uint64_t unused;
    struct image_entry entries[IMAGE_PAGE_ENTRIES];
};
_Static_assert(sizeof(struct image_page) == PAGE_BYTES, "one page");

/*
 * A record of the journal: this, then the entries that changed, what it carries of their bytes (see
 * image_carry.c), zeros up to a page; all of it twice, one behind the other.
 */
#define IMAGE_RECORD_MAGIC 0x314c4e4au /* "JNL1" */
struct image_record {
    uint32_t crc; /* of all behind, zeros included */
    uint32_t magic;
    uint32_t previous; /* crc of the record before, or of the superblock */
    uint32_t page;     /* in which page of the journal the first of the two copies begins */
    uint64_t tie;      /* the first half of the uuid */
    uint64_t carried;  /* bytes behind the entries; 0: what these list is in its slots */
    struct image_commit_head head;
};
_Static_assert(sizeof(struct image_record) == 96, "96 bytes");

#endif
