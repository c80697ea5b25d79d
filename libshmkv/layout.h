/* SPDX-License-Identifier: MIT */
/*
 * layout.h - every struct in shared memory.  Fixed widths, no pointers, asserted sizes.
 *
 *   arena  (object NAME; a read-only process maps it PROT_READ)
 *   +------------+--------------+----------------+--------------------+---------------------------+
 *   | superblock | table        | segment        | 16 index areas     | log: segment 0, 1, 2 ...  |
 *   | one page   | headers, 16  | descriptors,   | of area_bytes each | of segment_bytes each     |
 *   |            |              | dead bytes, a  |                    |                           |
 *   |            |              | cache's ghosts |                    |                           |
 *   +------------+--------------+----------------+--------------------+---------------------------+
 *   0            4 KiB          8 KiB            areas_offset         log_offset          reserve
 *
 *   sync object  (NAME.sync; everybody maps it read-write)
 *   +-------------+------------+-----------------+---------------------+-------------------------+
 *   | sync header | wait words | process entries | participant entries | hit rings (of a cache)  |
 *   +-------------+------------+-----------------+---------------------+-------------------------+
 *
 * An offset is a byte offset from the start of the arena; areas and log begin on 2 MiB boundaries.
 * The objects are as long as their address range from the start (sparse); what is in use is what
 * has been taken, see arena.h.  A field without _Atomic is written once, before the store is
 * opened to others (superblock.state), or by the claimer of what it describes, before it is shown.
 */
#ifndef SHMKV_LAYOUT_H
#define SHMKV_LAYOUT_H

#include "atomics.h"
#include "base.h"

#define LAYOUT_MAGIC 0x31564b4d48533a01ull
#define LAYOUT_SYNC_MAGIC 0x31564b4d48533a02ull
#define LAYOUT_MAKING 0x31564b4d48533a00ull /* of either object until its head is whole */
#define LAYOUT_VERSION 3u

#define TABLE_AREAS 16u
#define SEGMENT_NONE UINT64_MAX

/* ---- arena --------------------------------------------------------------------------------- */

enum superblock_feature {
    STORE_CACHE = 1u << 0, /* evicts rather than be full, see evict.h */
};

#define IMAGE_PATH_BYTES 3072u /* of superblock.image_path */

enum superblock_state { STORE_BUILDING = 0, STORE_READY = 1, STORE_DEFUNCT = 2 };

struct superblock {
    _Atomic uint64_t magic;
    uint32_t version;
    uint32_t features; /* bits that a program must know to open the store */
    uint8_t uuid[16];
    uint8_t boot_id[16];
    uint64_t reserve; /* length of the address range, bytes */
    uint64_t hash_seed;
    uint64_t segment_bytes; /* power of two */
    uint64_t segment_count; /* descriptors, that is: ids that may be used */
    uint64_t areas_offset;
    uint64_t area_bytes; /* largest index, slots and chunk words together */
    uint64_t log_offset;
    uint64_t ghosts_offset; /* of a cache's struct ghosts, see evict.h */
    uint64_t ghosts;        /* how many; 0: no cache */
    uint64_t clock_real_ms; /* Unix time and time since boot at creation: the store's clock is */
    uint64_t clock_boot_ms; /* real + (boot now - boot then), so a stepped wall clock is harmless */
    uint32_t segment_shift;
    _Atomic uint32_t state; /* enum superblock_state */
    uint64_t generation;    /* of incarnations: how often it was recovered; 0 without an image */
    uint64_t image_device;  /* the image file; inode 0: none */
    uint64_t image_inode;

    /* Read by everybody in each operation, rarely written. */
    _Alignas(128) _Atomic uint64_t epoch; /* G */
    _Atomic uint64_t root;                /* (generation << 4 | area) of the current table */
    _Atomic uint64_t safe;                /* what was retired in an epoch <= safe may be reused */

    /* Policy and slow paths. */
    _Alignas(128) _Atomic uint64_t size; /* limit of memory in use, bytes */
    _Atomic uint64_t segment_high;       /* ids below this were used at some time */
    _Atomic uint64_t incarnations;       /* last incarnation handed out */
    _Atomic uint64_t generations;        /* last table generation handed out */
    _Atomic uint64_t sweep;       /* buckets that expiry has swept so far, all rounds together */
    _Atomic uint64_t expiring;    /* 1 once a record that expires was put */
    _Atomic uint64_t grace_ns;    /* CLOCK_MONOTONIC of the last raise of epoch */
    _Atomic uint64_t ceiling;     /* G never passes it: so the image promises; epoch.h */
    _Atomic uint64_t horizon;     /* D: no segment has a record that an older tombstone hides */
    _Atomic uint64_t ghost_ways;  /* of a cache: keys that each of its ghosts has; 0: all it can */
    _Atomic uint64_t interval_ms; /* between checkpoints; 0: none was set, durable.h */
    _Atomic uint64_t young; /* of a cache: bytes that what was put last may have; 0: as it begins */
    _Atomic uint64_t noted; /* what was live at a count, and when; see segment_census.c; 0: not */

    /* Path of the image, NUL behind it, by who opened the store last; information, may be a mixture
     * of two.  All 0: none, or too long.  See arena_image.c. */
    _Alignas(128) _Atomic uint64_t image_path[IMAGE_PATH_BYTES / 8];
};
_Static_assert(sizeof(struct superblock) <= PAGE_BYTES, "the superblock is one page");

/*
 * Header of one index area, see table.h and resize.h.  The first line is read in each operation,
 * the second is written by inserters, the third by movers.
 */
struct table {
    _Atomic uint64_t next;       /* (generation << 4 | area) of the table it is moved to; 0: none */
    _Atomic uint64_t generation; /* number of this life of the area */
    uint64_t slots;              /* power of two, >= 8 */
    uint64_t slots_offset;       /* from the start of the arena */
    uint64_t chunks_offset;      /* of the chunk words behind the slots, see resize.h */
    uint64_t chunks;
    uint32_t shift; /* bucket of hash h: h >> shift */
    uint32_t pad;
    uint64_t pad1;

    _Alignas(64) _Atomic uint64_t tickets; /* OPEN(r, TOPPED) or CLOSED(generation, area) */
    uint64_t bound;                        /* B: how many slots movers may fill, see resize.h */
    _Atomic uint64_t topped;               /* 1 + tickets after the top-up; 0: none yet; policy */
    _Atomic uint64_t tombstones;           /* as counted at the top-up; policy only */

    _Alignas(64) _Atomic uint64_t cursor; /* next chunk to be moved */
    _Atomic uint64_t state;               /* of the area: kind, participant, epoch; see table.h */
    _Atomic uint64_t taken;               /* bytes of the area counted as in use */
    _Atomic uint64_t wanted; /* of the log's memory, what puts leave to the next table; policy */
};
_Static_assert(sizeof(struct table) == 192, "three cache lines");
_Static_assert(offsetof(struct table, tickets) == 64 && offsetof(struct table, cursor) == 128, "");

/* Descriptor of one segment, see segment.h. */
struct segment {
    _Alignas(64) _Atomic uint64_t state; /* kind, participant, epoch */
    _Atomic uint64_t incarnation;
    _Atomic uint64_t used;   /* bytes holding records whose fate is decided */
    _Atomic uint64_t birth;  /* epoch when opened */
    _Atomic uint64_t taken;  /* bytes that have memory */
    _Atomic uint64_t kept;   /* not 0: holds what the cleaner found worth keeping; of a run: when */
    _Atomic uint64_t run;    /* head of a run: its segments, 2 or more; 0: of none, see segment.h */
    _Atomic uint64_t walked; /* bytes from the start in which the cleaner has left nothing alive */
};
_Static_assert(sizeof(struct segment) == 64, "one cache line");

/*
 * Bytes of a segment's used ones that were superseded; best effort.  Every write that supersedes
 * adds to some segment's: in its descriptor that would take the line away from all who look at the
 * states of segments, which change as seldom as segments are opened.  Relaxed everywhere: it steers
 * the cleaner, and a death between a CAS on a slot and the add that follows leaves too little.
 */
typedef _Atomic uint64_t dead_bytes;

/* ---- log ----------------------------------------------------------------------------------- */

enum record_type { RECORD_PAIR = 1, RECORD_TOMBSTONE = 2 };
enum record_flag {
    RECORD_EXPIRES = 1u << 0, /* an 8-byte expiry (store clock, ms) stands before the key */
    RECORD_UNREAD = 1u << 7,  /* of a cache: nobody has read it since it stands here, see evict.h */
};
enum record_state {
    RECORD_PUBLISHED = 1u << 0, /* it was, at some time, what the index pointed to */
    RECORD_COPY = 1u << 1,      /* made by the cleaner or by recovery from another record */
    RECORD_FIRST = 1u << 2,     /* when it was put there was no record of its key anywhere */
};

#define TOMBSTONE_BYTES 16u /* of a tombstone's value where there is an image, see record.h */

/* Header of a record; [expiry 8], key, padding to 8, value, padding to 8 follow. */
struct record {
    uint32_t crc;
    _Atomic uint32_t state;
    uint64_t version;
    uint32_t vlen;
    uint16_t klen;
    _Atomic uint8_t flags;
    uint8_t type;
};
_Static_assert(sizeof(struct record) == 24, "24 bytes, as the budget per key says");

/* Keys that were evicted of late from either queue, each as sixteen bits of its hash; the oldest
 * stands where the queue's @next points to.  See evict.h. */
#define GHOST_WAYS 15u
struct ghosts {
    _Alignas(64) _Atomic uint8_t next[2];
    _Atomic uint16_t key[2][GHOST_WAYS];
};
_Static_assert(sizeof(struct ghosts) == 64, "one cache line");

/* ---- sync object --------------------------------------------------------------------------- */

#define PROCESS_MAX 4096u
#define PARTICIPANT_MAX 16384u
#define WAIT_WORDS 256u
#define STAT_COUNTERS 24u

/* Bytes of the sync object that serve as locks; none of them is data, see arena.h, process.h. */
#define LOCK_CREATE 0u
#define LOCK_ATTACHED 1u
#define LOCK_KEEPER 2u
#define LOCK_PROCESS(p) (1ull << 40 | (p))

#define TOLD_WORDS 20u

/* Checkpoints: what is durable, who wants more, who makes them; see durable.h. */
struct durable_words {
    _Alignas(64) _Atomic uint64_t epoch; /* E of the last commit */
    _Atomic uint64_t wanted;             /* highest epoch that somebody waits for */
    _Atomic uint64_t sequence;           /* of the last commit known to be settled, INV-D4 */
    _Atomic uint64_t made, took_ns;      /* checkpoints so far; duration of the last attempt */
    _Atomic uint32_t word;               /* futex: attempts that have ended */
    _Atomic uint32_t request;            /* futex: the keeper sleeps on it */
    _Atomic uint32_t failures;
    _Atomic uint64_t made_until; /* `made` at the last failure: while it is the same, all fail */
    _Atomic uint32_t error;      /* - the code of the last failure */
    _Atomic uint32_t holder;     /* process + 1 of who has the lease; 0: nobody */
    _Atomic uint64_t text[TOLD_WORDS]; /* of the last failure; may be a mixture of two */
    _Atomic uint64_t settled; /* arena_log_mark() of what was in the image at a close; 0: none */
};

struct sync_header {
    _Atomic uint64_t magic;
    uint32_t version;
    uint32_t features;
    uint8_t uuid[16];
    _Atomic uint32_t process_high;     /* entries below were used at some time */
    _Atomic uint32_t participant_high; /* the same */
    _Atomic uint32_t waiting;  /* one bit per group of wait words: some are armed, notify.h */
    _Atomic uint32_t unfenced; /* 1 once somebody registered without a way to membarrier */
    _Atomic uint32_t keeper;   /* process + 1 of who has the lease; 0: nobody; keeper.h */
    _Atomic uint32_t service;  /* process + 1 of a service that wants it before others; 0: none */
    _Alignas(64) _Atomic uint64_t retired[STAT_COUNTERS]; /* counters of participants that left */
    struct durable_words durable;
};

/* Somebody may sleep here until something that hashes to this word changes, see notify.h. */
struct wait_word {
    _Alignas(64) _Atomic uint32_t changes; /* the futex */
    _Atomic uint32_t waiting;
};

#define PROCESS_NAME_WORDS 2u

/* One attached process.  It is alive iff its lock byte is held; pid and name are for people. */
struct process_entry {
    _Alignas(64) _Atomic uint32_t used; /* 0 free, 1 in use; changed under its lock byte */
    _Atomic uint32_t pid;
    _Atomic uint64_t name[PROCESS_NAME_WORDS];
};

enum participant_flag {
    PARTICIPANT_FENCED = 1u << 0, /* issues its own fence when it enters a section */
    PARTICIPANT_RING = 1u << 1,   /* its hit ring has memory */
};

/* One thread or reader.  Line 0 is what others look at; the counters have a single writer. */
struct participant_entry {
    _Alignas(256) _Atomic uint64_t owner; /* process + 1, 0: free */
    _Atomic uint64_t reading;             /* epoch of its read section, 0: none */
    _Atomic uint64_t writing;             /* epoch of its write section, 0: none */
    _Atomic uint64_t inflight;            /* offset of the record whose fate is open, 0: none */
    _Atomic uint64_t flags;               /* enum participant_flag */
    _Atomic uint64_t thread;              /* its number, for people */
    _Atomic uint64_t standing;            /* epoch of a section that was seen to stand, */
    _Atomic uint64_t standing_ns;         /* and CLOCK_MONOTONIC when it was: epoch.h */
    _Atomic uint64_t counters[STAT_COUNTERS];
};
_Static_assert(sizeof(struct participant_entry) == 256, "four cache lines");

/* What a participant has read that may not write: hashes of keys, the oldest overwritten. */
#define RING_ENTRIES 1008u
struct hit_ring {
    _Alignas(64) _Atomic uint64_t head; /* how many were written; the owner's */
    _Alignas(64) _Atomic uint64_t tail; /* how many were drained */
    _Alignas(64) _Atomic uint64_t entry[RING_ENTRIES];
};
_Static_assert(sizeof(struct hit_ring) == 2 * PAGE_BYTES, "rings are taken one by one");

#define SYNC_WAIT_OFFSET 4096u
#define SYNC_PROCESS_OFFSET (SYNC_WAIT_OFFSET + WAIT_WORDS * sizeof(struct wait_word))
#define SYNC_PARTICIPANT_OFFSET (SYNC_PROCESS_OFFSET + PROCESS_MAX * sizeof(struct process_entry))
#define SYNC_RING_OFFSET                                                                           \
    (SYNC_PARTICIPANT_OFFSET + PARTICIPANT_MAX * sizeof(struct participant_entry))
#define SYNC_BYTES (SYNC_RING_OFFSET + PARTICIPANT_MAX * sizeof(struct hit_ring))
_Static_assert(SYNC_RING_OFFSET % PAGE_BYTES == 0, "rings are taken one by one");
_Static_assert(sizeof(struct sync_header) <= SYNC_WAIT_OFFSET, "");

#endif
