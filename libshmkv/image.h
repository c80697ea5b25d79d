/* SPDX-License-Identifier: MIT */
/*
 * image.h - the persistent file: it always holds one complete checkpoint (R15, R16).
 *
 *   +------+------+---------+---------+---------+--------+--------+--------+--
 *   | super| super| journal | table 0 | table 1 | slot 0 | slot 1 | slot 2 | ...
 *   | 0    | 1    |         |         |         | segment_bytes each       |
 *   +------+------+---------+---------+---------+--------+--------+--------+--
 *   The bytes of each stand in image_format.h and in shmkv-image(5).
 *
 * A commit lists, for each segment of a cut: incarnation, birth, how many bytes, and the file slot
 * that holds them.  It is an entry in the journal with what changed, or, when the journal is half
 * full, a fold: the whole list in the table that is not in use, and a superblock that names it.  An
 * entry in the journal may carry the bytes that are new as well, see image_carry.c.
 *
 *   state of a file slot     changed by
 *   FREE -> PENDING          image_reserve(): an incarnation is being copied there
 *   PENDING -> LISTED        image_commit(), once its barriers have returned
 *   PENDING, LISTED -> FREE  the same, if the new list does not name it: the old checkpoint is
 *                            whole until then, and no longer needed after it
 *   any -> ... | SHUNNED     an error of the disk: nothing more is written there as long as the
 *                            image is open, if there is another slot
 *
 * One checkpoint:
 *   image_begin()      nothing is in doubt
 *   image_reserve()    } for each segment, in any order, in rounds while the store is written to;
 *   image_write()      } what is copied stays copied, also beyond a checkpoint that was given up
 *   image_commit()     BARRIER 1; journal record or table and superblock; BARRIER 2; release slots
 * or, for a few bytes: image_begin(), image_reserve() and image_known() for each segment,
 *   image_commit()     journal record that carries them; BARRIER 2; release slots
 *
 *   INV-F1  At each moment, whatever subset of the sectors written since the last barrier is lost,
 *           the file opens to the last commit that returned 0, or to the one under way, whole.
 *                                                                            test_powerloss
 *   INV-F2  A slot that the last durable commit lists is changed only behind the bytes that it
 *           lists and no record carries.                                     test_image: slots_*
 *   INV-F3  After an error, and when a process begins, nothing is believed to be on the disk that
 *           was not read back and written again: image_begin() does so.       test_image: failed_*
 *
 * Death at any step: the next process that opens the image finds the last commit, or the one under
 * way if its record was complete; what was copied for a later one is copied again.
 *
 * Who calls: one thread at a time, of the process that holds the lease, except image_read().
 */
#ifndef SHMKV_IMAGE_H
#define SHMKV_IMAGE_H

#include "file.h"
#include "image_format.h"

#define IMAGE_CEILING (1ull << 24) /* how many epochs a commit promises ahead */
#define IMAGE_EPOCH_MOST ((1ull << 40) - 2 * IMAGE_CEILING) /* versions have 40 bits for it */

/* What a store is made with, and what must be the same when it is recovered. */
struct image_geometry {
    uint8_t uuid[16];
    uint64_t hash_seed;
    uint64_t segment_bytes; /* power of two, >= 64 KiB */
    uint64_t segment_count; /* ids are less than this */
    uint64_t size;          /* limit of memory in use: a setting, may change with each commit */
};

/* What a commit says beside its list. */
struct image_cut {
    uint64_t epoch;       /* E: records of a later epoch are not part of the cut */
    uint64_t ceiling;     /* no version given out before the next commit has an epoch above it */
    uint64_t clock_ms;    /* the store's clock: it never goes back behind this */
    uint64_t keys;        /* about how many slots of the index were in use: a hint */
    uint64_t size;        /* image_geometry.size */
    uint64_t interval_ms; /* image_super.interval_ms; another one than before makes it a fold */
    uint32_t flags;       /* IMAGE_CLEAN: nothing was written after it */
};

/* A segment of a cut. */
struct image_item {
    uint64_t segment, incarnation, birth;
    uint64_t bytes; /* of it that belong to the cut: decided records; not 0 */
    uint32_t flags; /* IMAGE_RUN_HEAD, IMAGE_RUN_REST */
    /* Its bytes from image_known() on, for the journal to carry; NULL: all of it was copied. */
    const void *carried;
};

/* What image_look() finds under a name. */
enum image_state {
    IMAGE_NONE,  /* no file */
    IMAGE_BLANK, /* empty, or left half made by a creator that died: may be created anew */
    IMAGE_READY, /* an image; uuid etc. are set */
};
struct image_look {
    enum image_state state;
    uint64_t device, inode;
    uint32_t owner, mode;
    struct image_geometry geometry;
    uint64_t generation; /* how often it was recovered: that of the memory it was loaded into */
    bool moved;          /* the image was made as another file: a copy, or on another disk */
};

/* What the image knows of a segment id. */
struct image_segment {
    struct image_entry listed; /* by the last commit; bytes 0: it is not */
    uint64_t incarnation;      /* that the newest copy is of, and ... */
    uint64_t copied;           /* ... how many bytes of it are in the file */
    uint32_t slot;             /* file slot of the copy; IMAGE_SLOT_NONE: there is none */
    const void *carried;       /* image_item.carried, while it is being committed */
};

/* Bytes of a file slot that the journal has. */
struct image_patch {
    uint64_t incarnation;
    uint32_t segment, slot;
    uint32_t from, to; /* in the segment */
    uint64_t at;       /* in the file */
};

struct image {
    struct file file;
    struct image_super super;       /* as on the disk */
    struct image_commit_head head;  /* the last commit; generation, E, clock ... */
    bool moved;                     /* as in image_look */
    bool settled;                   /* INV-F3: what was read is what is on the disk */
    bool mirrored;                  /* both superblocks are the same */
    bool incomplete;                /* image_salvage(): a later commit than `head` may be lost */
    bool folding;                   /* the next commit must be a fold */
    unsigned newest;                /* which of the two superblocks it was read from */
    uint64_t journal_at;            /* where the next record goes, bytes into the journal */
    uint32_t journal_crc;           /* of the last record, or of the superblock */
    uint64_t loaded;                /* length of `segments` */
    struct image_segment *segments; /* by id */
    uint8_t *slots;                 /* by number: enum image_slot_state */
    uint64_t slot_high;             /* slots below have room in the file */
    uint64_t slot_sure;             /* these have it for good: a barrier came behind */
    uint64_t segment_high;          /* ids below may be listed, or have a slot */
    struct image_patch *patches;    /* in the order of their commits */
    uint64_t patches_count, patches_room;
    bool grown;             /* a slot was taken whose room no barrier has made sure of */
    bool written;           /* since the last barrier */
    uint64_t bytes_written; /* since it was opened, for statistics */
};

/*
 * image_look() - what is under @path?  Changes nothing.  Certain only under the create lock.
 * Return: 0; SHMKV_EFORMAT, SHMKV_EVERSION, SHMKV_ECORRUPT, SHMKV_EACCESS, SHMKV_ENOTSUP, ... if
 * there is something that is not a usable image (look->device and inode are set if it is a file).
 */
int image_look(const char *path, struct image_look *look);

/*
 * image_create() - make the file, or finish one that is IMAGE_BLANK: an image of no segments,
 * durable on return.  The caller holds the create lock if others may see the name.
 * @mode: 0: 0600.   SHMKV_ESTOREEXISTS: there is something that is not blank.
 */
int image_create(struct image *im, const char *path, const struct image_geometry *g, uint32_t mode);

/* Open what image_look() calls IMAGE_READY, and read the list of its last commit. */
int image_open(struct image *im, const char *path, bool readonly);
void image_close(struct image *im);

/*
 * image_begin() - before the reserving and writing for a checkpoint.
 * After opening, and after any error, reads the file again and writes what it lists once more, so
 * that it is durable; what was copied and not committed counts as not copied then.
 */
int image_begin(struct image *im);

/*
 * image_reserve() - a file slot for an incarnation of a segment, with room on the disk.
 * @copied: receives how many bytes of it are in the file already.
 * Return: 0; SHMKV_ENOSPC: nothing has changed, the checkpoint is given up; SHMKV_EIO.
 */
int image_reserve(struct image *im, uint64_t segment, uint64_t incarnation, uint64_t *copied);

/*
 * image_write() - copy the bytes [*copied, @to) of a segment for which a slot is reserved.
 * @data:  the contents of the segment from @at on, readable to the end of the page that holds
 *         @to - 1; @at is *copied rounded down to PAGE_BYTES.
 * What is copied is final: bytes below @to never change but for the `state` of records.
 */
int image_write(struct image *im, uint64_t segment, const void *data, uint64_t at, uint64_t to);

/* How many bytes a commit should carry at most, all segments together. */
uint64_t image_carry_most(const struct image *im);
/* How much the last commit lists of the incarnation that was reserved: that is not to be given to
 * the next one again, whether it is in the slot or carried. */
uint64_t image_known(const struct image *im, uint64_t segment);

/*
 * image_commit() - make @items, all @n of them, the contents of the image.  Each has been reserved
 * and copied at least to its @bytes, or has these in `carried`; if each that has changed has, the
 * journal may carry them.  Segments that are not listed are given up.
 * Return: 0: durable.  Otherwise the old checkpoint stands, or (only if the machine dies now)
 * perhaps the new one; tell everybody who waits, and begin again with image_begin() (R16).
 */
int image_commit(struct image *im, const struct image_cut *cut, const struct image_item *items,
                 size_t n);

/* image_raise_ceiling() - a commit of what the last one has, with a higher ceiling (INV-E5).  After
 * image_begin(); returns as image_commit(). */
int image_raise_ceiling(struct image *im, uint64_t ceiling);

/*
 * The caller knows (from shared memory, say) that commit @sequence has returned 0: if it is the one
 * that was read, image_begin() need not write it again.
 */
void image_set_durable(struct image *im, uint64_t sequence);

/* For the next commit: recovery's new generation; another uuid for an image that was @moved. */
void image_set_generation(struct image *im, uint64_t generation);
void image_set_uuid(struct image *im, const uint8_t uuid[16]);

/* ---- reading ------------------------------------------------------------------------------- */

/* What the last commit lists of @segment; bytes 0: nothing. */
const struct image_entry *image_listed(const struct image *im, uint64_t segment);
/* Where byte @at of file slot @slot is in the file. */
uint64_t image_position(const struct image *im, uint64_t slot, uint64_t at);
/* What is listed of @segment is read soon: wait until the page cache has it, or cannot.  Any number
 * of threads. */
void image_expect(const struct image *im, uint64_t segment);
/* Read listed bytes; any number of threads. */
int image_read(const struct image *im, uint64_t slot, void *to, uint64_t at, uint64_t bytes);

/* ---- damaged images ------------------------------------------------------------------------ */

/* Where findings go: a line each, without a newline. */
struct image_sink {
    void (*report)(void *arg, const char *line); /* may be NULL */
    void *arg;
    uint64_t findings;
};
void image_found(struct image_sink *sink, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The same for what is no damage, or costs nothing: it is not counted. */
void image_note(struct image_sink *sink, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * image_salvage() - open an image for reading, in whatever state it is: what is damaged of its head
 * is reported, and the list holds what could be read of it.  im->head may be older than the last
 * commit if there were findings.
 * Return: 0; a code if not even a superblock is left, or nothing can be read at all.
 */
int image_salvage(struct image *im, const char *path, struct image_sink *sink);

/* Read the first @bytes that are listed of a slot, and zeros for what cannot be read: how many
 * bytes these are.  The last error says more. */
uint64_t image_salvage_read(const struct image *im, uint64_t slot, void *to, uint64_t bytes);

#endif
