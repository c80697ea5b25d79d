/* SPDX-License-Identifier: MIT */
/* checkpoint.c - see checkpoint.h. */
#include "checkpoint_parts.h"

#include <stdlib.h>

#include "error.h"
#include "point.h"
#include "shmkv.h"
#include "stats.h"

#define ROUNDS 8u
#define REST_BYTES (1ull << 20) /* so little is copied within the cut's section at once */

/* ---- copying ahead ------------------------------------------------------------------------- */

/* What there is of a segment or run, which may be reused as soon as this returns. */
static bool look_ahead(const struct checkpoint_work *w, uint64_t id, struct checkpoint_piece *piece)
{
    uint64_t outer = epoch_enter(w->p);
    bool listed = checkpoint_piece_read(w, id, piece) &&
                  claim_kind(load_acquire(&segment_at(w->a, id)->state)) != SEGMENT_LIMBO;
    piece->end = listed ? checkpoint_piece_used(w, piece) : 0;
    bool same = listed && checkpoint_piece_same(w, piece);
    epoch_exit(w->p, outer);
    return same && piece->end != 0;
}

/* Private copies of what is new in it, if it still lives; else its end is 0. */
static int stash_ahead(struct checkpoint_work *w, struct checkpoint_piece *piece)
{
    struct checkpoint_piece now;
    int rc = 0;
    uint64_t outer = epoch_enter(w->p);
    bool listed = checkpoint_piece_read(w, piece->id, &now) &&
                  now.incarnation == piece->incarnation && now.span == piece->span;
    piece->end = listed ? checkpoint_piece_used(w, piece) : 0;
    if (piece->end > piece->from)
        rc = checkpoint_piece_stash(w, piece);
    if (!checkpoint_piece_same(w, piece))
        piece->end = 0;
    epoch_exit(w->p, outer);
    return rc;
}

/* What is new in one segment or run; *@copied grows by it. */
static int copy_ahead(struct checkpoint_work *w, uint64_t id, uint64_t *copied)
{
    struct checkpoint_piece piece;
    if (!look_ahead(w, id, &piece))
        return 0;
    w->stash_bytes = 0;
    int rc = checkpoint_piece_reserve(w, &piece);
    if (rc == 0)
        rc = stash_ahead(w, &piece);
    if (rc == 0 && piece.end > piece.from) {
        *copied += piece.end - piece.from;
        rc = checkpoint_piece_write(w, &piece);
    }
    return rc;
}

/* In rounds, as long as each leaves much less than the one before. */
static int copy_all_ahead(struct checkpoint_work *w)
{
    uint64_t before = UINT64_MAX;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t copied = 0;
        for (uint64_t id = 0, n = segment_high(w->a); id < n; id++) {
            int rc = copy_ahead(w, id, &copied);
            if (rc != 0)
                return rc;
        }
        POINT("checkpoint.ahead");
        if (copied <= REST_BYTES || copied > before / 2)
            break;
        before = copied;
    }
    return 0;
}

/* ---- the cut ------------------------------------------------------------------------------- */

/* E: the epoch that ends here. */
static uint64_t end_epoch(const struct arena *a)
{
    uint64_t e = load_seq_cst(&a->sb->epoch);
    while (!cas_seq_cst(&a->sb->epoch, &e, e + 1)) { /* [E2]; lost: somebody else raised it */
    }
    return e;
}

/*
 * A live writer's record in flight (R10).  It may be given up and written over at any moment, so
 * what counts is a private copy, and that the record is still the same when its slot was looked up.
 * 1: it was published, 0: it was not, or a code; *@size: of it.
 */
static int was_published(struct checkpoint_work *w, uint64_t at, uint64_t *size)
{
    const struct arena *a = w->a;
    uint64_t id = arena_segment_of(a, at), room = segment_room_at(a, at);
    const struct record *r = arena_at(a, at);
    struct record head;
    record_peek(&head, r, sizeof(head));
    *size = record_size(&head);
    if (room < sizeof(head) || *size > room)
        return 0;
    w->stash_bytes = 0;
    char *to = NULL;
    int rc = checkpoint_piece_room(w, *size, &to);
    if (to == NULL)
        return rc;
    record_peek(to, r, *size);
    struct record *copy = (void *)to;
    uint64_t seed = record_seed(id, load_relaxed(&segment_at(a, id)->incarnation));
    if (!record_valid(copy, *size, seed) || record_size(copy) != *size)
        return 0;
    POINT("checkpoint.deciding");
    struct index_key k = {.data = record_key(copy), .size = copy->klen};
    k.hash = hash_key(k.data, k.size, &a->hash_secret);
    bool damaged = false;
    bool current = index_lookup(a, &k, &damaged) == r;
    /* acquire, before the crc: a later record there is PUBLISHED only behind its own crc [I2] */
    uint32_t state = load_acquire(&r->state);
    record_peek(&head, r, sizeof(head));
    if (head.crc != copy->crc || head.version != copy->version)
        return 0;
    return current || (state & RECORD_PUBLISHED) != 0;
}

static int look_at_inflight(struct checkpoint_work *w, const struct participant_entry *entry)
{
    uint64_t at = load_acquire(&entry->inflight); /* pairs with index.c, inflight [I3] */
    uint64_t size;
    if (at == 0 || !index_in_log(w->a, at))
        return 0;
    uint64_t id = arena_segment_of(w->a, at);
    uint64_t offset = at - arena_segment_start(w->a, id);
    if (offset < load_acquire(&segment_at(w->a, id)->used)) /* [L1] */
        return 0;
    int rc = was_published(w, at, &size);
    if (rc == 1)
        w->ends[id] = max_u64(w->ends[id], offset + size);
    return rc < 0 ? rc : 0;
}

static int decide_all(struct checkpoint_work *w)
{
    uint32_t high = epoch_entries(w->a);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < high; i++)
        rc = look_at_inflight(w, &w->a->participants[i]);
    return rc;
}

/*
 * All states, then all `used`.  Behind the head of a run come its others.  Where the head is not
 * what it was any more, since its life ended in our section, they were free in it at some time, so
 * what stands there now was put behind the cut, or moved from what is listed: no loss either.
 */
static void list_pieces(struct checkpoint_work *w)
{
    w->count = 0;
    for (uint64_t id = 0, n = segment_high(w->a), span; id < n; id += span) {
        struct checkpoint_piece *piece = &w->pieces[w->count];
        bool listed = checkpoint_piece_read(w, id, piece);
        span = listed ? piece->span : 1;
        w->count += listed;
        POINT("checkpoint.state");
    }
    for (uint64_t i = 0; i < w->count; i++) {
        struct checkpoint_piece *piece = &w->pieces[i];
        piece->end = max_u64(checkpoint_piece_used(w, piece), w->ends[piece->id]);
        POINT("checkpoint.used");
    }
}

/* A place in the image for each piece; is there so little to copy that the commit carries it? */
static int reserve_all(struct checkpoint_work *w)
{
    uint64_t news = 0;
    bool runs = false;
    for (uint64_t i = 0; i < w->count; i++) {
        struct checkpoint_piece *piece = &w->pieces[i];
        if (piece->end == 0)
            continue;
        int rc = checkpoint_piece_reserve(w, piece);
        if (rc != 0)
            return rc;
        news += piece->end - min_u64(piece->end, piece->known);
        runs |= piece->span != 1 && piece->end > piece->known;
    }
    w->carries = !runs && news <= image_carry_most(w->im);
    return 0;
}

/* What was decided stays so: a life that has less of it than the last commit lists was damaged. */
static int check_shrunk(const struct checkpoint_work *w, const struct checkpoint_piece *piece)
{
    const struct image_entry *e = image_listed(w->im, piece->id);
    if (e->incarnation != piece->incarnation || piece->end >= e->bytes)
        return 0;
    return error_set(SHMKV_ECORRUPT,
                     "%s: memory was written over: segment %llu is said to hold %llu bytes, and "
                     "had %u, so nothing is written to the image, whose last checkpoint stands",
                     w->a->name, (unsigned long long)piece->id, (unsigned long long)piece->end,
                     e->bytes);
}

static int stash_rest(struct checkpoint_work *w)
{
    w->stash_bytes = 0;
    int rc = reserve_all(w);
    for (uint64_t i = 0; rc == 0 && i < w->count; i++) {
        struct checkpoint_piece *piece = &w->pieces[i];
        if (w->carries)
            piece->from = piece->known;
        if (piece->end > piece->from)
            rc = checkpoint_piece_stash(w, piece);
        if (!checkpoint_piece_same(w, piece))
            piece->end = 0; /* what was current there moved before the cut [INV-K3] */
        else if (rc == 0)
            rc = check_shrunk(w, piece);
    }
    return rc;
}

static int cut(struct checkpoint_work *w, uint64_t *epoch)
{
    int rc;
    uint64_t outer = epoch_enter(w->p);
    *epoch = end_epoch(w->a);
    POINT("checkpoint.epoch");
    if (epoch_fence_all(w->a)) { /* [E3] */
        rc = decide_all(w);
        POINT("checkpoint.decided");
        list_pieces(w);
        if (rc == 0)
            rc = stash_rest(w);
    } else {
        rc = error_set(SHMKV_ENOTSUP,
                       "%s: a checkpoint needs membarrier(2), which this process may not call",
                       w->a->name);
    }
    epoch_exit(w->p, outer);
    POINT("checkpoint.cut");
    return rc;
}

/* ---- commit -------------------------------------------------------------------------------- */

static int write_rest(struct checkpoint_work *w, struct image_item *items, size_t *n)
{
    *n = 0;
    for (uint64_t i = 0; i < w->count; i++) {
        const struct checkpoint_piece *piece = &w->pieces[i];
        int rc = checkpoint_piece_write(w, piece);
        if (rc != 0)
            return rc;
        if (piece->end != 0)
            checkpoint_piece_list(w, piece, items, n);
    }
    return 0;
}

static uint64_t count_segments(const struct checkpoint_work *w)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < w->count; i++)
        n += w->pieces[i].end != 0 ? w->pieces[i].span : 0;
    return n;
}

static struct image_cut describe(const struct arena *a, uint64_t epoch, uint32_t flags)
{
    uint64_t sums[STAT_COUNT];
    stats_sum(a, sums);
    return (struct image_cut){
        .epoch = epoch,
        .ceiling = epoch + IMAGE_CEILING,
        .clock_ms = arena_clock(a),
        .keys = stats_keys(sums) + stats_tombstones(sums),
        .size = load_relaxed(&a->sb->size),
        .interval_ms = load_relaxed(&a->sb->interval_ms),
        .flags = flags,
    };
}

static int commit(struct checkpoint_work *w, uint64_t epoch, uint32_t flags)
{
    size_t n = 0;
    struct image_item *items = calloc(count_segments(w) + 1, sizeof(*items));
    if (items == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for a list of segments", w->a->name);
    struct image_cut about = describe(w->a, epoch, flags);
    int rc = write_rest(w, items, &n);
    if (rc == 0)
        rc = image_commit(w->im, &about, items, n);
    free(items);
    return rc;
}

int checkpoint_make(struct image *im, const struct participant *p, uint32_t flags, uint64_t *epoch)
{
    const struct arena *a = p->arena;
    struct checkpoint_work w = {.im = im, .p = p, .a = a};
    w.pieces = malloc(arena_segments(a) * sizeof(*w.pieces)); /* no zeros: there may be many */
    w.ends = calloc(arena_segments(a), sizeof(*w.ends));
    if (w.pieces == NULL || w.ends == NULL) {
        free(w.pieces);
        free(w.ends);
        return error_set(SHMKV_ESYSTEM, "%s: no memory for a checkpoint", a->name);
    }
    int rc = image_begin(im);
    if (rc == 0 && checkpoint_pending(im, a) > REST_BYTES)
        rc = copy_all_ahead(&w);
    if (rc == 0)
        rc = cut(&w, epoch);
    if (rc == 0)
        rc = commit(&w, *epoch, flags);
    POINT("checkpoint.done");
    free(w.pieces);
    free(w.ends);
    free(w.stash);
    return rc;
}

uint64_t checkpoint_pending(const struct image *im, const struct arena *a)
{
    uint64_t bytes = 0;
    for (uint64_t id = 0, n = segment_high(a); id < n; id++) {
        const struct segment *s = segment_at(a, id);
        unsigned kind = claim_kind(load_acquire(&s->state));
        if (kind < SEGMENT_OPEN || kind >= SEGMENT_LIMBO)
            continue;
        const struct image_entry *e = image_listed(im, id);
        uint64_t used = load_relaxed(&s->used); /* relaxed, both: a figure that steers */
        uint64_t listed = load_relaxed(&s->incarnation) == e->incarnation ? e->bytes : 0;
        if (listed != 0 && (e->flags & IMAGE_RUN_HEAD) != 0)
            listed = used; /* a run's record is listed whole */
        bytes += used - min_u64(used, listed);
    }
    return bytes;
}
