/* SPDX-License-Identifier: MIT */
/* append.c - see append.h. */
#include "append.h"

#include "point.h"
#include "shmkv.h"

/*
 * Memory is taken half a segment at a time, or 2 MiB: few system calls, short pauses.  Who has just
 * come begins with a page and takes eight times as much each time: many come for one record.
 */
#define TAKE_SHIFT 1
#define TAKE_MOST (2ull << 20)
#define TAKE_FIRST PAGE_BYTES
#define TAKE_GROWTH 8u

static uint64_t next_step(const struct append *l, const struct arena *a)
{
    uint64_t most = min_u64(segment_size(a) >> TAKE_SHIFT, TAKE_MOST);
    return min_u64(l->step == 0 ? TAKE_FIRST : l->step * TAKE_GROWTH, most);
}

static int take_memory(struct append *l, const struct participant *p, enum segment_purpose purpose,
                       uint64_t bytes)
{
    const struct arena *a = p->arena;
    struct segment *s = segment_at(a, l->hold.id);
    uint64_t start = arena_segment_start(a, l->hold.id);
    uint64_t step = next_step(l, a);
    uint64_t want = min_u64(align_up(l->at + bytes - start, step), a->segment_mask + 1);
    if (start + want <= l->taken) /* it was a spare, and has a new owner: R8 */
        return 0;
    int rc = purpose == SEGMENT_FOR_PUT ? arena_take_value(a, l->taken, start + want - l->taken)
                                        : arena_take(a, l->taken, start + want - l->taken);
    if (rc == SHMKV_ENOSPC)
        l->lacks = start + want - l->taken;
    if (rc != 0)
        return rc;
    l->taken = start + want;
    l->step = step;
    POINT("append.memory");
    /* Outside of a write section an idle owner's segment may have got another owner, who has taken
     * more: that figure must stand.  In here the segment stays ours if it still is (R8).  A death
     * before the store leaves memory that is taken again; relaxed: shown by whatever ends the
     * section, or the ownership. */
    epoch_enter_write(p);
    if (append_held(l, a))
        store_relaxed(&s->taken, want);
    epoch_exit_write(p);
    return 0;
}

static void begin(struct append *l, const struct arena *a)
{
    const struct segment *s = segment_at(a, l->hold.id);
    uint64_t start = arena_segment_start(a, l->hold.id), size = a->segment_mask + 1;
    l->at = start + load_acquire(&s->used);
    l->end = start + size;
    l->taken = l->stop = start + min_u64(load_relaxed(&s->taken), size); /* R3 */
    l->seed = record_seed(l->hold.id, load_relaxed(&s->incarnation));
}

int append_refill(struct append *l, const struct participant *p, enum segment_purpose purpose,
                  uint64_t bytes)
{
    const struct arena *a = p->arena;
    l->lacks = 0;
    if (l->hold.id == SEGMENT_NONE || l->at + bytes > l->end) {
        segment_close_owner(a, &l->hold);
        int rc = segment_open(p, purpose, bytes, &l->hold, &l->spares);
        if (rc != 0) {
            l->hold.id = SEGMENT_NONE;
            return rc;
        }
        begin(l, a);
    }
    int rc = l->at + bytes <= l->taken ? 0 : take_memory(l, p, purpose, bytes);
    if (rc == 0)
        l->stop = l->pace == 0 ? l->taken : min_u64(l->taken, l->at + max_u64(l->pace, bytes));
    return rc;
}

void append_close(struct append *l, const struct arena *a)
{
    segment_close_owner(a, &l->hold);
    segment_close_spares(a, &l->spares);
}
