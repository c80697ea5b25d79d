/* SPDX-License-Identifier: MIT */
/* collapse.c - see collapse.h. */
#include "collapse.h"

#include "clock.h"
#include "point.h"
#include "segment.h"
#include "shmkv.h"

#define BEGIN_NS 1000000000ull     /* after the lease was got */
#define ROUND_NS 1000000000ull     /* between two rounds, at least */
#define AGAIN_NS 10000000000ull    /* until what was refused is asked for again; doubled up to */
#define AGAIN_MOST 600000000000ull /* this */
#define PAUSE_FACTOR 9u            /* times as long as it took */
#define STEP_NS 50000ull           /* of looks at what is a huge page already, microseconds each */
#define STEP_UNITS 256u
#define IDLE_NS 20000ull /* a look that was shorter had nothing to do */
#define IDLE_FACTOR 100u /* times as long as all of these in a round, until the next */
#define TRIES 8u         /* for a unit of which a page is in use */

void collapse_begin(struct collapse *c, uint64_t now)
{
    *c = (struct collapse){.next_ns = now + BEGIN_NS};
}

/* What a look at one unit came to. */
enum look { LOOK_NONE_LEFT, LOOK_NEXT, LOOK_AGAIN, LOOK_REFUSED };

/* @unit: the number of the one at @offset, which goes on when it is done or given up. */
static enum look collapse_unit(const struct arena *a, struct collapse *c, uint64_t offset,
                               uint64_t *unit)
{
    c->spare = c->spare || arena_collapses();
    if (!c->spare)
        return LOOK_REFUSED;
    POINT("collapse.unit");
    int rc = arena_collapse(a, offset);
    POINT("collapse.done");
    if (rc != 0 && rc != SHMKV_EBUSY)
        return LOOK_REFUSED;
    if (rc != 0 && ++c->tries < TRIES)
        return LOOK_AGAIN;
    c->missed |= rc != 0;
    c->tries = 0;
    *unit += 1;
    return LOOK_NEXT;
}

static enum look look_at_index(const struct arena *a, struct collapse *c)
{
    uint64_t root = table_root(a);
    const struct table *t = table_of(a, root);
    if (c->root != root) {
        c->root = root;
        c->area_unit = 0;
    }
    if (c->area_unit >= table_bytes(t->slots) / HUGE_PAGE_BYTES)
        return LOOK_NONE_LEFT;
    return collapse_unit(a, c, t->slots_offset + c->area_unit * HUGE_PAGE_BYTES, &c->area_unit);
}

/* Has the segment memory for its first @bytes, until the section ends? */
static bool keeps_memory(const struct arena *a, uint64_t id, uint64_t bytes)
{
    const struct segment *s = segment_at(a, id);
    unsigned kind = claim_kind(load_acquire(&s->state)); /* after the section began [H1] */
    bool held = kind == SEGMENT_OPEN || kind == SEGMENT_PARTIAL || kind == SEGMENT_SEALING ||
                kind == SEGMENT_SEALED;
    /* Relaxed: the CAS to that state has shown them.  What is newer may be of a later life, if
     * `used` was 0 then; that one has begun after our section, and ends by a LIMBO of its own. */
    return held && load_relaxed(&s->used) != 0 && load_relaxed(&s->taken) >= bytes;
}

static bool unit_keeps_memory(const struct arena *a, uint64_t unit)
{
    uint64_t end = (unit + 1) * HUGE_PAGE_BYTES;
    for (uint64_t at = unit * HUGE_PAGE_BYTES, next; at < end; at = next) {
        uint64_t start = at & ~a->segment_mask;
        next = min_u64(end, start + segment_size(a));
        if (!keeps_memory(a, at >> a->segment_shift, next - start))
            return false;
    }
    return true;
}

static enum look look_at_log(const struct arena *a, struct collapse *c)
{
    uint64_t units = (segment_high(a) << a->segment_shift) / HUGE_PAGE_BYTES;
    if (!c->running || c->unit >= units)
        return LOOK_NONE_LEFT;
    if (unit_keeps_memory(a, c->unit))
        return collapse_unit(a, c, a->log_offset + c->unit * HUGE_PAGE_BYTES, &c->unit);
    c->tries = 0;
    c->unit++;
    return LOOK_NEXT;
}

static enum look look_at_next(const struct participant *p, struct collapse *c)
{
    uint64_t outer = epoch_enter(p);
    enum look came_to = look_at_index(p->arena, c);
    if (came_to == LOOK_NONE_LEFT)
        came_to = look_at_log(p->arena, c);
    epoch_exit(p, outer);
    return came_to;
}

/* Through the log, unless nothing was opened since the last one began: then nothing is new. */
static void begin_round(const struct arena *a, struct collapse *c)
{
    uint64_t opened = load_relaxed(&a->sb->incarnations); /* relaxed: policy */
    c->running = opened != c->opened;
    c->opened = opened;
    c->unit = c->idle_ns = 0;
}

/* When the next one may begin; what was given up is new, in longer and longer intervals. */
static void end_round(struct collapse *c, uint64_t end)
{
    uint64_t wait = max_u64(ROUND_NS, IDLE_FACTOR * c->idle_ns);
    c->again_ns = c->missed ? min_u64(max_u64(2 * c->again_ns, AGAIN_NS), AGAIN_MOST) : 0;
    if (c->missed)
        c->root = c->opened = 0;
    c->running = c->missed = false;
    c->next_ns = end + max_u64(wait, c->again_ns);
}

bool collapse_step(const struct participant *p, struct collapse *c, uint64_t now)
{
    if (now < c->next_ns)
        return c->soon;
    if (!c->running)
        begin_round(p->arena, c);
    enum look last = LOOK_NEXT;
    c->spare = false;
    uint64_t begun = clock_mono_ns(), end = begun;
    for (unsigned i = 0; i < STEP_UNITS && last == LOOK_NEXT && end - begun < STEP_NS; i++) {
        uint64_t before = end;
        last = look_at_next(p, c);
        end = clock_mono_ns();
        c->idle_ns += end - before < IDLE_NS ? end - before : 0;
    }
    c->next_ns = end + PAUSE_FACTOR * (end - begun);
    if (last == LOOK_REFUSED)
        c->next_ns = end + AGAIN_NS;
    if (last == LOOK_NONE_LEFT)
        end_round(c, end);
    c->soon = last == LOOK_NEXT || last == LOOK_AGAIN;
    return c->soon;
}
