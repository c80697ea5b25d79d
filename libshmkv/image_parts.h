/* SPDX-License-Identifier: MIT */
/* image_parts.h - what the image*.c files share; nobody else includes it. */
#ifndef SHMKV_IMAGE_PARTS_H
#define SHMKV_IMAGE_PARTS_H

#include "image.h"

/* States of a file slot, see image.h; the last three are marks beside them. */
enum image_slot_state {
    IMAGE_SLOT_FREE = 0,
    IMAGE_SLOT_PENDING = 1,
    IMAGE_SLOT_LISTED = 2,
    IMAGE_SLOT_STATE = 3,    /* mask */
    IMAGE_SLOT_WRITTEN = 4,  /* since the last barrier */
    IMAGE_SLOT_SHUNNED = 8,  /* the disk failed there */
    IMAGE_SLOT_CARRIED = 16, /* the journal has bytes of it, see image_carry.c */
};

/* ---- image_super.c: the two superblocks ------------------------------------------------------ */

/* Lay the file out for segments of this size and number; sets the offsets and counts of @super. */
void image_super_layout(struct image_super *super);
/* Checksum it, ready to be written. */
void image_super_seal(struct image_super *super);

/* What stands in the first two pages of a file. */
struct image_supers {
    enum image_state state;
    unsigned newest; /* index of the newer sound one */
    struct image_super copy[2];
};
/* Read and judge them; @supers->state is set unless the file cannot be read.  @around: one that
 * cannot be read counts as damaged, which is for who writes nothing: it may be the newer one. */
int image_super_read(const struct file *f, bool around, struct image_supers *supers);

/* ---- image_journal.c: records ---------------------------------------------------------------- */

/* Bytes of one copy of a record with so many entries that carries so many bytes. */
uint64_t image_journal_bytes(uint64_t entries, uint64_t carried);
/* Put record and entries, both copies, together in @buffer of 2 x image_journal_bytes(); returns
 * the crc.  @carried: as image_carry_bytes() says; 0: none. */
uint32_t image_journal_make(const struct image *im, const struct image_commit_head *head,
                            const struct image_entry *entries, uint64_t carried, char *buffer);
/*
 * Read the journal and apply each record of the chain to im->segments and im->head.
 * @chain: receives it (im->journal_at bytes, damaged copies mended); to be freed.
 */
int image_journal_load(struct image *im, char **chain);
/* Apply whatever is whole; the rest is reported. */
void image_journal_salvage(struct image *im, struct image_sink *sink);

/* ---- image_table.c: tables ------------------------------------------------------------------- */

uint64_t image_table_pages(uint64_t entries);
/* Put @n entries into pages, to be freed; NULL: no memory.  @crc: as in superblocks. */
struct image_page *image_table_make(const struct image_entry *entries, uint64_t n,
                                    uint64_t sequence, uint32_t *crc);
/* Read the table that the superblock names, its entries into im->segments. */
int image_table_load(struct image *im, struct image_page **pages);
/* Take whatever is whole; the rest is reported. */
void image_table_salvage(struct image *im, struct image_sink *sink);

/* ---- image_carry.c: bytes in the journal ----------------------------------------------------- */

/* How many bytes a record carries for these entries, and to put these bytes at @to. */
uint64_t image_carry_bytes(const struct image *im, const struct image_entry *e, uint64_t n);
void image_carry_make(const struct image *im, const struct image_entry *e, uint64_t n, char *to);
/* Room to note @n parts more, so that what notes them cannot fail. */
int image_carry_reserve(struct image *im, uint64_t n);
/*
 * Note what record @r, at @position in the file, carries, and what it takes from older ones; before
 * its entries are entered into the list.
 * Return: 0, SHMKV_ESYSTEM; SHMKV_ECORRUPT without a text: it makes no sense, or does not go on
 * where the list ends, as after a commit that is lost; what could be taken was.
 */
int image_carry_take(struct image *im, const struct image_record *r, uint64_t position);
/* Forget what the list does not name any more; @all_home: and all the rest. */
void image_carry_prune(struct image *im, bool all_home);
/* How many bytes of a listed segment are before the first that is carried. */
uint64_t image_carry_begins(const struct image *im, uint64_t segment);
/* Write what slots lack of these entries, carried or given to the commit under way. */
int image_carry_home(struct image *im, const struct image_entry *e, uint64_t n);

/* ---- image_load.c: from the file to memory --------------------------------------------------- */

/* Is the entry one that the geometry allows? */
bool image_entry_sound(const struct image *im, const struct image_entry *e);
/* Recovery goes on above the ceiling: has it room there? */
bool image_epochs_sound(const struct image_commit_head *h);
/* Read everything but the slots; what was copied and not committed is forgotten. */
int image_load(struct image *im);
/* The same, and write what was read once more, so that it is durable. */
int image_settle(struct image *im);
/* The disk failed: what was written since the last barrier is in doubt. */
int image_doubt(struct image *im, int rc);
/* Memory for what the geometry allows; a file of @size that is too small is refused first. */
int image_load_room(struct image *im, uint64_t size);

/* ---- image_salvage.c ------------------------------------------------------------------------- */

/* Read what can be read, page by page if need be; of the others zeros: how many bytes. */
uint64_t image_read_around(const struct file *f, void *to, uint64_t bytes, uint64_t at);

#endif
