/* SPDX-License-Identifier: MIT */
/* warn.c - see warn.h. */
#include "warn.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "held.h"

#define LOOK_NS 500000000ull
#define AGAIN_NS 10000000000ull /* between two calls about one section */
#define STANDS_MS 1000u         /* so long a section stands before the housekeeping tells */
#define MUCH_SHIFT 4            /* and has a 16th of the store held back */
#define POLL_NS 100000u

enum teller { TOLD_BY_KEEPER, TOLD_BY_WRITE };

static _Thread_local char here; /* its address is this thread's own */

static uint64_t own_word(void)
{
    return (uint64_t)(uintptr_t)&here;
}

static bool enter(struct warn *w)
{
    uint64_t nobody = 0;
    return cas_acq_rel(&w->caller, &nobody, own_word()); /* pairs with leave [W1] */
}

static void leave(struct warn *w)
{
    store_release(&w->caller, 0); /* pairs with enter [W1] */
}

/* ---- which function ------------------------------------------------------------------------ */

static int enter_patiently(struct warn *w)
{
    while (!enter(w)) {
        if (load_relaxed(&w->caller) == own_word()) /* relaxed: nobody else stores that */
            return error_set(SHMKV_EBUSY, "the function that shmkv_set_warning() was given may "
                                          "neither change it nor close the handle");
        clock_sleep_ns(POLL_NS);
    }
    return 0;
}

int warn_set(struct warn *w, const void *handle, shmkv_warning_fn *fn, void *arg)
{
    int rc = enter_patiently(w);
    if (rc != 0)
        return rc;
    w->fn = fn;
    w->arg = arg;
    w->handle = handle;
    memset(w->told, 0, sizeof(w->told));
    store_relaxed(&w->set, fn != NULL); /* relaxed: who needs more enters */
    leave(w);
    return 0;
}

int warn_unset(struct warn *w, const void *handle)
{
    int rc = enter_patiently(w);
    if (rc != 0)
        return rc;
    if (w->handle == handle) {
        w->fn = NULL;
        w->handle = NULL;
        store_relaxed(&w->set, 0); /* relaxed: as above */
    }
    leave(w);
    return 0;
}

void warn_after_fork(struct warn *w)
{
    store_relaxed(&w->caller, 0); /* relaxed: nobody else in this process knows the store */
}

/* ---- telling ------------------------------------------------------------------------------- */

static bool is_news(struct warn_told *told, const struct shmkv_participant *p, uint64_t now)
{
    uint64_t epoch = epoch_older(p->reading, p->writing);
    bool same = told->epoch == epoch && told->pid == p->pid && told->thread == p->thread;
    if (same && now - told->ns < AGAIN_NS)
        return false;
    *told = (struct warn_told){epoch, now, p->pid, p->thread};
    return true;
}

/* Inside enter(). */
static void call(struct warn *w, const struct arena *a, const struct shmkv_participant *p,
                 enum teller teller)
{
    char who[HELD_TEXT], text[ERROR_TEXT_BYTES];
    held_describe(p, who, sizeof(who));
    snprintf(text, sizeof(text), "%s: %s%s; let it go on, or end it", a->name,
             teller == TOLD_BY_WRITE ? "a write found no room: " : "", who);
    struct shmkv_warning warning = {
        .code = SHMKV_EHELD,
        .refused = teller == TOLD_BY_WRITE,
        .text = text,
        .who = p,
    };
    w->fn(w->arg, &warning);
}

static void tell(struct warn *w, const struct arena *a, const struct shmkv_participant *p,
                 enum teller teller)
{
    if (!enter(w))
        return;
    if (w->fn != NULL && is_news(&w->told[teller], p, clock_mono_ns()))
        call(w, a, p, teller);
    leave(w);
}

void warn_look(struct warn *w, const struct arena *a)
{
    struct shmkv_participant p;
    if (load_relaxed(&w->set) == 0) /* relaxed: a hint */
        return;
    uint64_t now = clock_mono_ns();
    if (now < w->look_ns)
        return;
    w->look_ns = now + LOOK_NS;
    if (held_oldest(a, &p) && p.age_ms >= STANDS_MS &&
        p.bytes_held >= load_relaxed(&a->sb->size) >> MUCH_SHIFT)
        tell(w, a, &p, TOLD_BY_KEEPER);
}

void warn_refused(struct warn *w, const struct arena *a)
{
    char saved[ERROR_TEXT_BYTES];
    struct shmkv_participant p;
    if (load_relaxed(&w->set) == 0 || !held_oldest(a, &p)) /* relaxed: a hint */
        return;
    snprintf(saved, sizeof(saved), "%s", error_text());
    tell(w, a, &p, TOLD_BY_WRITE);
    error_set(SHMKV_EHELD, "%s", saved);
}
