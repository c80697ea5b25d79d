/* SPDX-License-Identifier: MIT */
/* checkpoint_piece.c - see checkpoint_parts.h: segments and runs, copied, verified, written. */
#include "checkpoint_parts.h"

#include <stdlib.h>

#include "error.h"
#include "point.h"
#include "shmkv.h"

#define UNASKED_BYTES (1ull << 20) /* so little is taken without a look at what is left */

static uint64_t page_down(uint64_t n)
{
    return n & ~(uint64_t)(PAGE_BYTES - 1);
}

/* ---- what is there ------------------------------------------------------------------------- */

/* Does a segment in this state hold records that nobody will overwrite while our section lasts? */
static bool is_listed(const struct participant *p, uint64_t word)
{
    switch (claim_kind(word)) {
    case SEGMENT_HOLE:
    case SEGMENT_FREE:
    case SEGMENT_PUNCHING:
    case SEGMENT_OPENING:
    case SEGMENT_RUN_REST: /* goes with its head */
        return false;
    case SEGMENT_LIMBO:
        return claim_epoch(word) >= load_relaxed(&p->entry->reading); /* own word */
    default:
        return true;
    }
}

bool checkpoint_piece_read(const struct checkpoint_work *w, uint64_t id,
                           struct checkpoint_piece *piece)
{
    const struct segment *s = segment_at(w->a, id);
    /* acquire: what the opener stored, and the records below `used` [L1] */
    if (!is_listed(w->p, load_acquire(&s->state)))
        return false;
    uint64_t run = load_acquire(&s->run); /* after the state, before the incarnation [L4] */
    *piece = (struct checkpoint_piece){.id = id, .incarnation = load_acquire(&s->incarnation)};
    piece->span = run < 2 ? 1 : min_u64(run, arena_segments(w->a) - id); /* R3 */
    piece->birth = load_relaxed(&s->birth); /* relaxed: of this life or a later one */
    return true;
}

bool checkpoint_piece_same(const struct checkpoint_work *w, const struct checkpoint_piece *piece)
{
    const struct segment *s = segment_at(w->a, piece->id);
    fence_seq_cst(); /* what was copied was loaded before; pairs with begin_life [L4] */
    return is_listed(w->p, load_acquire(&s->state)) &&
           load_acquire(&s->incarnation) == piece->incarnation;
}

uint64_t checkpoint_piece_used(const struct checkpoint_work *w,
                               const struct checkpoint_piece *piece)
{
    uint64_t used = load_acquire(&segment_at(w->a, piece->id)->used); /* [L1] */
    return min_u64(used, piece->span << w->a->segment_shift);         /* R3 */
}

/* ---- private copies ------------------------------------------------------------------------ */

/* Of a large value the copy may be more than the machine, or the cgroup, has left: what is not
 * asked for would be taken all the same, and the process killed for it. */
int checkpoint_piece_room(struct checkpoint_work *w, uint64_t bytes, char **to)
{
    uint64_t needed = w->stash_bytes + bytes;
    if (w->stash == NULL || needed > w->stash_room) {
        int rc = needed > UNASKED_BYTES ? arena_admit(w->a, needed - w->stash_room) : 0;
        if (rc != 0)
            return rc;
        uint64_t room = max_u64(2 * w->stash_room, needed);
        char *larger = realloc(w->stash, room);
        if (larger == NULL)
            return error_set(SHMKV_ESYSTEM, "%s: no memory for another %llu bytes of a checkpoint",
                             w->a->name, (unsigned long long)bytes);
        w->stash = larger;
        w->stash_room = room;
    }
    *to = w->stash + w->stash_bytes;
    return 0;
}

int checkpoint_piece_stash(struct checkpoint_work *w, struct checkpoint_piece *piece)
{
    uint64_t first = page_down(piece->from);
    uint64_t bytes = piece->end - first, room = align_up(bytes, PAGE_BYTES);
    char *to = NULL;
    int rc = checkpoint_piece_room(w, room, &to);
    if (to == NULL)
        return rc;
    record_peek(to, arena_at(w->a, arena_segment_start(w->a, piece->id) + first), bytes);
    memset(to + bytes, 0, room - bytes);
    piece->stash = w->stash_bytes;
    w->stash_bytes += room;
    return 0;
}

static int verify(const struct checkpoint_work *w, const struct checkpoint_piece *piece)
{
    const char *base = w->stash + piece->stash - page_down(piece->from);
    uint64_t seed = record_seed(piece->id, piece->incarnation);
    for (uint64_t at = piece->from; at < piece->end;) {
        const struct record *r = (const void *)(base + at);
        if (!record_valid(r, piece->end - at, seed))
            return error_set(SHMKV_ECORRUPT,
                             "%s: memory was written over: segment %llu, offset %llu holds no "
                             "sound record, so it is not written to the image, whose last "
                             "checkpoint stands; shmkv check lists the damage",
                             w->a->name, (unsigned long long)piece->id, (unsigned long long)at);
        at += record_size(r);
    }
    return 0;
}

/* ---- the image ----------------------------------------------------------------------------- */

/* Bytes of the piece in its @i-th segment. */
static uint64_t share(const struct checkpoint_work *w, const struct checkpoint_piece *piece,
                      uint64_t i)
{
    uint64_t before = i << w->a->segment_shift;
    return min_u64(piece->end - min_u64(piece->end, before), w->a->segment_mask + 1);
}

int checkpoint_piece_reserve(struct checkpoint_work *w, struct checkpoint_piece *piece)
{
    uint64_t copied = 0, known = 0;
    bool all = true, all_known = true;
    for (uint64_t i = 0; i < piece->span; i++) {
        int rc = image_reserve(w->im, piece->id + i, piece->incarnation, &copied);
        if (rc != 0)
            return rc;
        known = image_known(w->im, piece->id + i);
        all &= copied >= share(w, piece, i);
        all_known &= known >= share(w, piece, i);
    }
    if (piece->span != 1) {
        copied = all ? piece->end : 0;
        known = all_known ? piece->end : 0;
    }
    piece->from = copied;
    piece->known = known;
    return 0;
}

int checkpoint_piece_write(struct checkpoint_work *w, const struct checkpoint_piece *piece)
{
    if (piece->end <= piece->from)
        return 0;
    int rc = verify(w, piece);
    uint64_t at = page_down(piece->from);
    const char *data = w->stash + piece->stash;
    if (rc == 0 && w->carries) /* by the journal, see checkpoint_piece_list() */
        return 0;
    if (rc == 0 && piece->span == 1)
        rc = image_write(w->im, piece->id, data, at, piece->end);
    for (uint64_t i = 0; rc == 0 && piece->span != 1 && i < piece->span; i++) {
        rc = image_write(w->im, piece->id + i, data + (i << w->a->segment_shift), 0,
                         share(w, piece, i));
        POINT("checkpoint.run");
    }
    POINT("checkpoint.written");
    return rc;
}

void checkpoint_piece_list(const struct checkpoint_work *w, const struct checkpoint_piece *piece,
                           struct image_item *items, size_t *n)
{
    const char *news = NULL;
    if (w->carries && piece->end > piece->from) /* not a run, these are too large */
        news = w->stash + piece->stash + (piece->from - page_down(piece->from));
    for (uint64_t i = 0; i < piece->span; i++) {
        uint32_t flag = i == 0 ? IMAGE_RUN_HEAD : IMAGE_RUN_REST;
        items[(*n)++] = (struct image_item){.segment = piece->id + i,
                                            .incarnation = piece->incarnation,
                                            .birth = piece->birth,
                                            .bytes = share(w, piece, i),
                                            .flags = piece->span == 1 ? 0 : flag,
                                            .carried = news};
    }
}
