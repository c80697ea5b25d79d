/* SPDX-License-Identifier: MIT */
/* trim.c - see trim.h. */
#include "trim.h"

#include "cleaner.h"
#include "point.h"

#define QUIET_NS 1000000000ull
#define QUIET_SHIFT 7 /* fewer than a 128th of the segments opened in that time */
#define KEEP_SHIFT 6  /* as many free ones stay */
#define KEEP_MIN 4u
#define STEP_BYTES (2u << 20) /* given back at a time */

static bool is_quiet(const struct arena *a, const struct segment_census *c, struct trim *t,
                     uint64_t now)
{
    if (now - t->checked_ns < QUIET_NS)
        return t->quiet;
    uint64_t opened = load_relaxed(&a->sb->incarnations);
    uint64_t few = max_u64(c->capacity >> QUIET_SHIFT, 1);
    t->quiet = t->checked_ns != 0 && opened - t->incarnations <= few;
    t->incarnations = opened;
    t->checked_ns = now;
    return t->quiet;
}

/* Cleaning opens segments too: that is no sign of life. */
static bool clean(struct writer *w, struct trim *t)
{
    const struct arena *a = w->self.arena;
    uint64_t before = load_relaxed(&a->sb->incarnations);
    bool cleaned = cleaner_step(w) > 0;
    t->incarnations += load_relaxed(&a->sb->incarnations) - before;
    return cleaned;
}

bool trim_step(struct writer *w, struct trim *t, uint64_t now)
{
    const struct arena *a = w->self.arena;
    struct segment_census c;
    segment_count(a, &c);
    if (!is_quiet(a, &c, t, now))
        return false;
    bool more = resize_shrink(&w->self, &w->resizer);
    uint64_t keep = max_u64(c.capacity >> KEEP_SHIFT, KEEP_MIN);
    if (c.kinds[SEGMENT_FREE] > keep) {
        uint64_t excess = (c.kinds[SEGMENT_FREE] - keep) << a->segment_shift;
        more |= segment_punch(&w->self, min_u64(excess, STEP_BYTES)) != 0;
        POINT("trim.given");
    } else if (!a->cache && c.taken > 2 * c.live + (2 * keep << a->segment_shift)) {
        more |= clean(w, t);
    }
    return more;
}
