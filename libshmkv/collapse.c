/* SPDX-License-Identifier: MIT */
/* collapse.c - see collapse.h. */
#include "collapse.h"

#include "clock.h"
#include "point.h"
#include "segment.h"
#include "shmkv.h"

#define BEGIN_NS 1000000000ull  /* after the lease was got */
#define ROUND_NS 1000000000ull  /* between two rounds through the log */
#define AGAIN_NS 10000000000ull /* until what the kernel refused is asked for again */
#define PAUSE_FACTOR 9u         /* times as long as it took */
#define STEP_NS 50000ull        /* what is a huge page already goes by in a microsecond */
#define STEP_UNITS 256u

void collapse_begin(struct collapse *c, uint64_t now)
{
    *c = (struct collapse){.next_ns = now + BEGIN_NS};
}

/* What a look at one unit came to. */
enum look { LOOK_NONE_LEFT, LOOK_NEXT, LOOK_REFUSED };

static enum look collapse_unit(const struct arena *a, struct collapse *c, uint64_t offset)
{
    POINT("collapse.unit");
    int rc = arena_collapse(a, offset);
    POINT("collapse.done");
    c->again |= rc != 0;
    return rc == SHMKV_ENOSPC ? LOOK_REFUSED : LOOK_NEXT;
}

static enum look look_at_index(const struct arena *a, struct collapse *c)
{
    uint64_t root = table_root(a);
    const struct table *t = table_of(a, root);
    if (c->root != root) {
        c->root = root;
        c->area_unit = 0;
    }
    if (c->area_unit == table_bytes(t->slots) / HUGE_PAGE_BYTES)
        return LOOK_NONE_LEFT;
    return collapse_unit(a, c, t->slots_offset + c->area_unit++ * HUGE_PAGE_BYTES);
}

static bool keeps_memory(const struct arena *a, uint64_t id)
{
    const struct segment *s = segment_at(a, id);
    unsigned kind = claim_kind(load_acquire(&s->state)); /* after the section began [H1] */
    bool held = kind == SEGMENT_OPEN || kind == SEGMENT_PARTIAL || kind == SEGMENT_SEALING ||
                kind == SEGMENT_SEALED;
    /* relaxed: what the CAS to that state has shown, or newer figures of the same life */
    return held && load_relaxed(&s->used) != 0 && load_relaxed(&s->taken) == segment_size(a);
}

static bool unit_keeps_memory(const struct arena *a, uint64_t unit)
{
    uint64_t from = unit * HUGE_PAGE_BYTES, to = from + HUGE_PAGE_BYTES;
    for (uint64_t at = from; at < to; at += min_u64(segment_size(a), HUGE_PAGE_BYTES))
        if (!keeps_memory(a, at >> a->segment_shift))
            return false;
    return true;
}

static enum look look_at_log(const struct arena *a, struct collapse *c)
{
    uint64_t units = (segment_high(a) << a->segment_shift) / HUGE_PAGE_BYTES;
    if (!c->running || c->unit >= units)
        return LOOK_NONE_LEFT;
    uint64_t unit = c->unit++;
    if (!unit_keeps_memory(a, unit))
        return LOOK_NEXT;
    return collapse_unit(a, c, a->log_offset + unit * HUGE_PAGE_BYTES);
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

/* Where nothing was opened since the last round there is nothing new. */
static void begin_round(const struct arena *a, struct collapse *c)
{
    uint64_t opened = load_relaxed(&a->sb->incarnations); /* relaxed: policy */
    c->running = opened != c->opened;
    c->opened = opened;
    c->unit = 0;
}

/* When there may be more to do: what has taken long is followed by a longer pause. */
static void schedule_next(struct collapse *c, enum look last, uint64_t begun, uint64_t end)
{
    c->next_ns = end + PAUSE_FACTOR * (end - begun);
    if (last == LOOK_NEXT)
        return;
    c->running = false;
    c->next_ns = max_u64(c->next_ns, end + (c->again ? AGAIN_NS : ROUND_NS));
    if (c->again) /* from the start: what is done goes by in no time */
        c->root = c->opened = 0;
    c->again = false;
}

bool collapse_step(const struct participant *p, struct collapse *c, uint64_t now)
{
    if (now < c->next_ns)
        return c->running;
    enum look last = LOOK_NEXT;
    uint64_t begun = clock_mono_ns(), end = begun;
    if (!c->running)
        begin_round(p->arena, c);
    for (unsigned i = 0; i < STEP_UNITS && last == LOOK_NEXT && end - begun < STEP_NS; i++) {
        last = look_at_next(p, c);
        end = clock_mono_ns();
    }
    schedule_next(c, last, begun, end);
    return c->running;
}
