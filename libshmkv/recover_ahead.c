/* SPDX-License-Identifier: MIT */
/*
 * recover_ahead.c - a thread that has the disk read what is loaded next.
 *
 * The threads that load take pieces of the file in turns, which looks to the kernel as if each read
 * at random, and each would wait for the disk.  So one more reads it all, segment by segment, and
 * drops what it reads: for one reader the kernel reads ahead, in large pieces that it keeps as
 * such.  (Asked for single ranges, by posix_fadvise(2), it reads small pages, which is a fifth more
 * processor time, and it has fewer bytes under way.)
 *
 * It is never more than AHEAD_BYTES before the segment that was taken last, so that nothing has
 * left the page cache before it is loaded.  Who loads does not wait for it: where it fails, could
 * not be started or is too slow, they read themselves, and tell what is wrong.  At the end, or
 * after a failure, it is waited for until it has read its segment.
 */
#include "recover_parts.h"

#include "futex.h"

#define AHEAD_BYTES (64ull << 20)
#define WAIT_NS 100000000

/* Until segment @id is near enough; false: an end was asked for. */
static bool wait_for_turn(struct recovery *v, uint64_t id)
{
    uint64_t ahead = max_u64(AHEAD_BYTES >> v->a->segment_shift, v->group);
    for (;;) {
        uint32_t seen = load_acquire(&v->turn); /* pairs with recover_ahead_turn() [X3] */
        if (load_relaxed(&v->ahead_ends) != 0)
            return false;
        if (id < load_relaxed(&v->next) + ahead)
            return true;
        futex_wait(&v->turn, seen, WAIT_NS);
    }
}

void recover_ahead(struct recovery *v)
{
    for (uint64_t id = 0; id < v->segments; id++) {
        if (!wait_for_turn(v, id))
            return;
        if (id >= load_relaxed(&v->next)) /* relaxed, all: who loads it may be reading already */
            image_expect(v->im, id);
    }
}

void recover_ahead_turn(struct recovery *v)
{
    add_seq_cst(&v->turn, 1u); /* after `next` or `ahead_ends`; pairs with wait_for_turn() [X3] */
    futex_wake(&v->turn, 1);
}
