/* SPDX-License-Identifier: MIT */
/*
 * scan.h - one step of a walk over all keys in hash order, with a cursor that is only a number.
 *
 *   hash space   0 ........ cursor ............ last | next ........................ 2^64
 *   T  (root)    |  home  |  home  |  home  |  home  |  home  | ...
 *   T' (next)    | h | h | h | h | h | h | h | h | h | h | h | ...      while a resize runs
 *
 * The home of a key is the top bits of its hash, so the homes of one range of hashes follow each
 * other in every table, whatever its size.  A step takes the hashes from the cursor to the end of
 * some homes of the root table T, and collects every record there whose key has such a hash: first
 * in T, then in T.next, and so on to the table that has no next.  It begins with the root anew and
 * is one section, so all these tables and records stay.  The next step begins where it ended.
 *
 *   INV-W1  In one table a step sees every slot in which a key of the range can be.  A probe goes
 *           from bucket to bucket, and leaves one only if none of its slots is EMPTY (R11).  So
 *           when a key was inserted no slot was EMPTY in the buckets before its own, from its home
 *           on; nor is one now, as EMPTY never comes back, nor MOVED_EMPTY, which EMPTY alone
 *           becomes.  So it is enough to read the homes, then on to the end of the first bucket, in
 *           or behind the last home, that has an EMPTY or MOVED_EMPTY.
 *                                                              test_scan: long_runs_and_wraps
 *   INV-W2  A key that is present during the whole step is collected.  Present means: at each
 *           moment one table holds it, in one slot of its own until that is MOVED (R11), and before
 *           the slot becomes MOVED the next table holds it.  So it goes from T towards the end of
 *           the chain and never back.  Say that the step reads the key's slot, or an end of its
 *           probe, in each table of the chain in turn.  If it did not see the key in a table, the
 *           key was then further on; the last table is the last because its next was 0 when read
 *           after its slots, hence there was no further on.  Root moves only to a table behind
 *           which all slots are terminal, so no key is in front of it.  An update, or the cleaner,
 *           changes the word of the slot in place: either word leads to the key.
 *                                                              test_scan: resizing_*, torture_scan
 *   INV-W3  A key is returned by one step only, as its hash belongs to one; and once by that, as
 *           records of one key are found by comparing, and that of the later table is kept: the
 *           copy there is the same or newer.  A hash below the cursor is never returned again.
 *
 *   Exactly once over a whole scan follows: the steps of a scan cover the hashes without gap or
 *   overlap, whatever the tables were at each of them.
 *
 * Progress: wait-free but for the length of the chain (index.h).  Death: leaves a section.
 */
#ifndef SHMKV_SCAN_H
#define SHMKV_SCAN_H

#include "record.h"
#include "table.h"

/* Homes of the root table that a step takes at most: some 100 records. */
#define SCAN_HOMES_MAX 16u

/* Which keys; zero is all. */
struct scan_filter {
    const void *prefix;
    size_t prefix_len;
    const char *match; /* scan_glob_valid() */
};

struct scan_entry {
    uint64_t hash;
    const struct record *record;
    uint32_t table; /* how far from the root */
};

/* What a step found, by ascending hashes. */
struct scan_batch {
    struct scan_entry *entries;
    size_t count;
    size_t room;
    uint64_t next; /* cursor of the step after it; 0: that was the last */
    bool damaged;  /* some slot led to no record of its key */
};

/*
 * scan_step() - collect the current, unexpired records of at most @homes homes from @cursor on.
 * Inside a section, in which the records are valid.
 * @b: zero at first, used again from step to step, freed by scan_free().
 * Return: 0, SHMKV_ESYSTEM with a text.
 */
int scan_step(const struct arena *a, const struct scan_filter *f, uint64_t cursor, uint64_t homes,
              struct scan_batch *b);
void scan_free(struct scan_batch *b);

#endif
