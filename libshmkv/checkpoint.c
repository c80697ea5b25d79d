/* SPDX-License-Identifier: MIT */
/* checkpoint.c - see checkpoint.h. */
#include "checkpoint.h"

#include <stdlib.h>

#include "error.h"
#include "point.h"
#include "shmkv.h"
#include "stats.h"

#define ROUNDS 8u
#define REST_BYTES (1ull << 20) /* so little is copied within the cut's section at once */

/* A segment as it was seen. */
struct piece {
    uint64_t id, incarnation, birth;
    uint64_t end;   /* bytes of it that belong to the cut */
    uint64_t from;  /* of these, what is in the image already */
    uint64_t stash; /* where the others are in the stash, from the page that holds `from` on */
};

/* One checkpoint under way. */
struct work {
    struct image *im;
    const struct participant *p;
    const struct arena *a;
    struct piece *pieces;
    uint64_t count;
    uint64_t *ends; /* by segment: end of an undecided record that was published; 0: none */
    char *stash;    /* private copies, whole pages */
    uint64_t stash_bytes, stash_room;
};

static uint64_t page_down(uint64_t n)
{
    return n & ~(uint64_t)(PAGE_BYTES - 1);
}

/* Does a segment in this state hold records that nobody will overwrite while our section lasts? */
static bool is_listed(const struct participant *p, uint64_t word)
{
    switch (claim_kind(word)) {
    case SEGMENT_HOLE:
    case SEGMENT_FREE:
    case SEGMENT_PUNCHING:
    case SEGMENT_OPENING:
        return false;
    case SEGMENT_LIMBO:
        return claim_epoch(word) >= load_relaxed(&p->entry->reading); /* own word */
    default:
        return true;
    }
}

static bool read_state(const struct work *w, uint64_t id, struct piece *piece)
{
    const struct segment *s = segment_at(w->a, id);
    /* acquire: what the opener stored, and the records below `used` [L1] */
    if (!is_listed(w->p, load_acquire(&s->state)))
        return false;
    *piece = (struct piece){.id = id, .incarnation = load_acquire(&s->incarnation)}; /* [L4] */
    piece->birth = load_relaxed(&s->birth); /* relaxed: of this life or a later one, see is_same */
    return true;
}

/*
 * Was all that was read of the piece of one life?  After the reads.  Its cleaner may have loaded G
 * before our section began, and retired it only now: then our section does not hold it.
 */
static bool is_same(const struct work *w, const struct piece *piece)
{
    const struct segment *s = segment_at(w->a, piece->id);
    fence_seq_cst(); /* what was copied was loaded before; pairs with begin_life [L4] */
    return is_listed(w->p, load_acquire(&s->state)) &&
           load_acquire(&s->incarnation) == piece->incarnation;
}

static uint64_t read_used(const struct work *w, uint64_t id)
{
    uint64_t used = load_acquire(&segment_at(w->a, id)->used); /* [L1] */
    return min_u64(used, w->a->segment_mask + 1);              /* R3 */
}

/* ---- private copies ------------------------------------------------------------------------ */

/* Where the next @bytes go; NULL: no memory. */
static char *grow_stash(struct work *w, uint64_t bytes)
{
    if (w->stash == NULL || w->stash_bytes + bytes > w->stash_room) {
        uint64_t room = max_u64(2 * w->stash_room, w->stash_bytes + bytes);
        char *larger = realloc(w->stash, room);
        if (larger == NULL)
            return NULL;
        w->stash = larger;
        w->stash_room = room;
    }
    return w->stash + w->stash_bytes;
}

/* Inside a section in which the piece was seen: copy what the image lacks. */
static int stash_piece(struct work *w, struct piece *piece)
{
    uint64_t first = page_down(piece->from);
    uint64_t bytes = piece->end - first, room = align_up(bytes, PAGE_BYTES);
    char *to = grow_stash(w, room);
    if (to == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for another %llu bytes of a checkpoint",
                         w->a->name, (unsigned long long)room);
    memcpy(to, arena_at(w->a, arena_segment_start(w->a, piece->id) + first), bytes);
    memset(to + bytes, 0, room - bytes);
    piece->stash = w->stash_bytes;
    w->stash_bytes += room;
    return 0;
}

static int verify_piece(const struct work *w, const struct piece *piece)
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

/* Outside of sections: the disk may be slow. */
static int write_piece(struct work *w, const struct piece *piece)
{
    if (piece->end <= piece->from)
        return 0;
    int rc = verify_piece(w, piece);
    if (rc == 0)
        rc = image_write(w->im, piece->id, w->stash + piece->stash, page_down(piece->from),
                         piece->end);
    POINT("checkpoint.written");
    return rc;
}

/* ---- copying ahead ------------------------------------------------------------------------- */

/* What is new in one segment; *@copied grows by it. */
static int copy_ahead(struct work *w, uint64_t id, uint64_t *copied)
{
    struct piece piece;
    uint64_t outer = epoch_enter(w->p);
    bool listed = read_state(w, id, &piece) &&
                  claim_kind(load_acquire(&segment_at(w->a, id)->state)) != SEGMENT_LIMBO;
    epoch_exit(w->p, outer);
    if (!listed)
        return 0;
    uint64_t incarnation = piece.incarnation;
    uint64_t from;
    int rc = image_reserve(w->im, id, incarnation, &from);
    if (rc != 0)
        return rc;
    w->stash_bytes = 0;
    outer = epoch_enter(w->p);
    listed = read_state(w, id, &piece) && piece.incarnation == incarnation;
    piece.from = from;
    piece.end = listed ? read_used(w, id) : 0;
    if (piece.end > from)
        rc = stash_piece(w, &piece);
    if (!is_same(w, &piece))
        piece.end = 0;
    epoch_exit(w->p, outer);
    if (rc == 0 && piece.end > from) {
        *copied += piece.end - from;
        rc = write_piece(w, &piece);
    }
    return rc;
}

/* In rounds, as long as each leaves much less than the one before. */
static int copy_all_ahead(struct work *w)
{
    uint64_t before = UINT64_MAX;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t copied = 0;
        for (uint64_t id = 0, n = load_acquire(&w->a->sb->segment_high); id < n; id++) {
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
 */
static bool was_published(struct work *w, uint64_t at, uint64_t *size)
{
    const struct arena *a = w->a;
    uint64_t id = arena_segment_of(a, at);
    uint64_t room = arena_segment_start(a, id + 1) - at;
    const struct record *r = arena_at(a, at);
    struct record head;
    memcpy(&head, r, sizeof(head));
    *size = record_size(&head);
    if (room < sizeof(head) || *size > room)
        return false;
    struct record *copy = (void *)w->stash; /* room for a segment, see checkpoint_make() */
    memcpy(copy, r, *size);
    uint64_t seed = record_seed(id, load_relaxed(&segment_at(a, id)->incarnation));
    if (!record_valid(copy, *size, seed) || record_size(copy) != *size)
        return false;
    POINT("checkpoint.deciding");
    struct index_key k = {.data = record_key(copy), .size = copy->klen};
    k.hash = hash_key(k.data, k.size, &a->hash_secret);
    bool damaged = false;
    bool current = index_lookup(a, &k, &damaged) == r;
    /* acquire, before the crc: a later record there is PUBLISHED only behind its own crc [I2] */
    uint32_t state = load_acquire(&r->state);
    memcpy(&head, r, sizeof(head));
    if (head.crc != copy->crc || head.version != copy->version)
        return false;
    return current || (state & RECORD_PUBLISHED) != 0;
}

static void look_at_inflight(struct work *w, const struct participant_entry *entry)
{
    uint64_t at = load_acquire(&entry->inflight); /* pairs with index.c, inflight [I3] */
    uint64_t size;
    if (at == 0 || !index_in_log(w->a, at))
        return;
    uint64_t id = arena_segment_of(w->a, at);
    uint64_t offset = at - arena_segment_start(w->a, id);
    if (offset >= read_used(w, id) && was_published(w, at, &size))
        w->ends[id] = max_u64(w->ends[id], offset + size);
}

static void decide_all(struct work *w)
{
    uint32_t high = load_acquire(&w->a->sync->participant_high);
    for (uint32_t i = 0; i < high; i++)
        look_at_inflight(w, &w->a->participants[i]);
}

/* All states, then all `used`. */
static void list_pieces(struct work *w)
{
    w->count = 0;
    for (uint64_t id = 0, n = load_acquire(&w->a->sb->segment_high); id < n; id++) {
        w->count += read_state(w, id, &w->pieces[w->count]);
        POINT("checkpoint.state");
    }
    for (uint64_t i = 0; i < w->count; i++) {
        struct piece *piece = &w->pieces[i];
        piece->end = max_u64(read_used(w, piece->id), w->ends[piece->id]);
        POINT("checkpoint.used");
    }
}

static int stash_rest(struct work *w)
{
    w->stash_bytes = 0;
    for (uint64_t i = 0; i < w->count; i++) {
        struct piece *piece = &w->pieces[i];
        if (piece->end == 0)
            continue;
        int rc = image_reserve(w->im, piece->id, piece->incarnation, &piece->from);
        if (rc == 0 && piece->end > piece->from)
            rc = stash_piece(w, piece);
        if (rc != 0)
            return rc;
        if (!is_same(w, piece))
            piece->end = 0; /* what was current there moved before the cut [INV-K3] */
    }
    return 0;
}

static int cut(struct work *w, uint64_t *epoch)
{
    int rc;
    uint64_t outer = epoch_enter(w->p);
    *epoch = end_epoch(w->a);
    POINT("checkpoint.epoch");
    if (epoch_fence_all(w->a)) { /* [E3] */
        decide_all(w);
        POINT("checkpoint.decided");
        list_pieces(w);
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

static int write_rest(struct work *w, struct image_item *items, size_t *n)
{
    *n = 0;
    for (uint64_t i = 0; i < w->count; i++) {
        const struct piece *piece = &w->pieces[i];
        int rc = write_piece(w, piece);
        if (rc != 0)
            return rc;
        if (piece->end == 0)
            continue;
        items[(*n)++] = (struct image_item){.segment = piece->id,
                                            .incarnation = piece->incarnation,
                                            .birth = piece->birth,
                                            .bytes = piece->end};
    }
    return 0;
}

static struct image_cut describe(const struct arena *a, uint64_t epoch, uint32_t flags)
{
    uint64_t sums[STAT_COUNT];
    stats_sum(a, sums);
    return (struct image_cut){
        .epoch = epoch,
        .ceiling = epoch + IMAGE_CEILING,
        .clock_ms = arena_clock(a),
        .keys = sums[STAT_keys_added] - sums[STAT_keys_removed] + sums[STAT_tombstones_added] -
                sums[STAT_tombstones_dropped],
        .size = load_relaxed(&a->sb->size),
        .flags = flags,
    };
}

static int commit(struct work *w, uint64_t epoch, uint32_t flags)
{
    size_t n = 0;
    struct image_item *items = calloc(w->count + 1, sizeof(*items));
    if (items == NULL)
        return error_set(SHMKV_ESYSTEM, "%s: no memory for a list of segments", w->a->name);
    struct image_cut about = describe(w->a, epoch, flags);
    int rc = write_rest(w, items, &n);
    if (rc == 0)
        rc = image_commit(w->im, &about, items, n);
    free(items);
    if (rc == 0)
        max_seq_cst(&w->a->sb->ceiling, about.ceiling); /* only what the disk has promised */
    return rc;
}

int checkpoint_make(struct image *im, const struct participant *p, uint32_t flags, uint64_t *epoch)
{
    const struct arena *a = p->arena;
    struct work w = {.im = im, .p = p, .a = a};
    w.pieces = malloc(a->sb->segment_count * sizeof(*w.pieces)); /* no zeros: there may be many */
    w.ends = calloc(a->sb->segment_count, sizeof(*w.ends));
    /* A record in flight is decided on a copy in the stash: without one it could not be told. */
    if (w.pieces == NULL || w.ends == NULL || grow_stash(&w, a->segment_mask + 1) == NULL) {
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
    for (uint64_t id = 0, n = load_acquire(&a->sb->segment_high); id < n; id++) {
        const struct segment *s = segment_at(a, id);
        unsigned kind = claim_kind(load_acquire(&s->state));
        if (kind < SEGMENT_OPEN || kind >= SEGMENT_LIMBO)
            continue;
        const struct image_entry *e = image_listed(im, id);
        uint64_t used = load_relaxed(&s->used); /* relaxed, both: a figure that steers */
        uint64_t listed = load_relaxed(&s->incarnation) == e->incarnation ? e->bytes : 0;
        bytes += used - min_u64(used, listed);
    }
    return bytes;
}
