/* SPDX-License-Identifier: MIT */
/* notify.c - see notify.h for the protocol and its invariants. */
#include "notify.h"

#include <limits.h>

#include "futex.h"
#include "stats.h"

#define GROUP_WORDS 8u
#define KEY_WORDS (WAIT_WORDS - GROUP_WORDS) /* those behind the group of NOTIFY_ANY */
#define LOOK_AGAIN_NS 500000000u
#define POLL_NS 5000000u /* where membarrier is missing */

/* States of wait_word.waiting; from WAKING_FIRST on: WAKING_FIRST + index of the waker. */
#define FREE 0u
#define ARMED 1u
#define WAKING_FIRST 2u

_Static_assert(WAIT_WORDS / GROUP_WORDS <= 32, "a bit for each group");

unsigned notify_word(uint64_t hash)
{
    return GROUP_WORDS + (unsigned)(hash % KEY_WORDS);
}

static uint32_t group_bit(unsigned word)
{
    return 1u << word / GROUP_WORDS;
}

static bool is_armed(const struct arena *a, unsigned word)
{
    return load_seq_cst(&a->waits[word].waiting) != FREE; /* after the bit was cleared [N4] */
}

/* ---- wake ---------------------------------------------------------------------------------- */

/* Wake all who sleep on @word if it is armed; true if it was. */
static bool wake_word(const struct arena *a, uint32_t waker, unsigned word)
{
    struct wait_word *w = &a->waits[word];
    uint32_t state = load_seq_cst(&w->waiting);
    uint32_t mine = WAKING_FIRST + waker;
    do { /* a failed CAS: armed again, or another waker was here: at most one round each */
        if (state == FREE)
            return false;
    } while (!cas_seq_cst(&w->waiting, &state, mine)); /* [N2] */
    POINT("notify.taken");
    add_seq_cst(&w->changes, 1u); /* after the taking, before the wake [N3] */
    futex_wake(&w->changes, INT_MAX);
    POINT("notify.woken");
    cas_seq_cst(&w->waiting, &mine, FREE); /* fails if it was armed or taken meanwhile: stays so */
    return true;
}

static bool group_armed(const struct arena *a, unsigned first)
{
    for (unsigned i = 0; i < GROUP_WORDS; i++) {
        if (is_armed(a, first + i))
            return true;
    }
    return false;
}

/* Clear the bit of a group of which no word is armed, so that writers need not look there. */
static void settle(const struct arena *a, uint32_t waker, unsigned word)
{
    unsigned first = word / GROUP_WORDS * GROUP_WORDS;
    if (group_armed(a, first))
        return;
    POINT("notify.settling");
    atomic_fetch_and(&a->sync->waiting, ~group_bit(word)); /* before the second look [N4] */
    POINT("notify.settled");
    for (unsigned i = 0; i < GROUP_WORDS; i++)
        wake_word(a, waker, first + i); /* armed beside us: its bit may be gone, it arms again */
}

static void wake(const struct participant *p, unsigned word)
{
    if (!wake_word(p->arena, p->index, word))
        return;
    stat_add(p, STAT_wakes, 1);
    settle(p->arena, p->index, word);
}

void notify_wake(const struct participant *p, uint64_t hash)
{
    unsigned word = notify_word(hash);
    uint32_t bits = load_relaxed(&p->arena->sync->waiting); /* as in notify_change() [N1] */
    if ((bits & group_bit(NOTIFY_ANY)) != 0)
        wake(p, NOTIFY_ANY);
    if ((bits & group_bit(word)) != 0)
        wake(p, word);
}

void notify_reap(const struct arena *a, uint32_t participant)
{
    for (unsigned word = 0; word < WAIT_WORDS; word++)
        wake_word(a, participant, word);
    POINT("notify.reaped");
    for (unsigned word = 0; word < WAIT_WORDS; word += GROUP_WORDS) {
        if ((load_relaxed(&a->sync->waiting) & group_bit(word)) != 0)
            settle(a, participant, word);
    }
}

/* ---- wait ---------------------------------------------------------------------------------- */

void notify_arm(struct notify_wait *n)
{
    const struct arena *a = n->self->arena;
    struct wait_word *w = &a->waits[n->word];
    n->changes = load_seq_cst(&w->changes); /* before arming; pairs with wake_word [N3] */
    POINT("notify.arming");
    store_seq_cst(&w->waiting, ARMED); /* over any state: a waker at work [N2] goes on */
    atomic_fetch_or(&a->sync->waiting, group_bit(n->word)); /* after the word; settle() [N4] */
    POINT("notify.armed");
    n->fenced = epoch_fence_all(a); /* both before the look; pairs with notify_change [N1] */
}

void notify_sleep(const struct notify_wait *n, uint64_t limit_ns)
{
    POINT("notify.sleeping");
    uint64_t ns = min_u64(limit_ns, n->fenced ? LOOK_AGAIN_NS : POLL_NS);
    futex_wait(&n->self->arena->waits[n->word].changes, n->changes, (int64_t)ns); /* [N3] */
}

/* If changes has moved, a waker took our arming: what is armed now is somebody else's. */
void notify_disarm(const struct notify_wait *n)
{
    const struct arena *a = n->self->arena;
    if (load_seq_cst(&a->waits[n->word].changes) != n->changes)
        return;
    if (wake_word(a, n->self->index, n->word)) /* others may sleep there: they arm again */
        settle(a, n->self->index, n->word);
}

/* ---- tickets ------------------------------------------------------------------------------- */

/* The finalizer of MurmurHash3 (Appleby, public domain), as in record_seed(). */
static uint64_t mix(uint64_t who, uint64_t count)
{
    uint64_t x = (who + 1) * 0x9e3779b97f4a7c15ull ^ count;
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdull;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 33;
}

/*
 * Each count only grows, and is folded into `retired` when its participant leaves, so equal tickets
 * mean that each count is what it was, up to a collision of the hash.  A sum of the counts would
 * not do: one that is read while it is folded is there twice or not at all, and a write could hide
 * behind the difference.
 */
uint64_t notify_ticket(const struct arena *a)
{
    uint64_t ticket = 0;
    uint32_t high = epoch_entries(a);
    for (uint32_t i = 0; i < high; i++) {
        const struct participant_entry *entry = &a->participants[i];
        /* acquire: `retired` is read last, else a reused entry could hide a fold */
        uint64_t n = load_acquire(&entry->counters[STAT_puts]) +
                     load_acquire(&entry->counters[STAT_deletes]);
        ticket += n == 0 ? 0 : mix(i, n); /* an entry that never wrote does not count */
    }
    uint64_t gone =
        load_acquire(&a->sync->retired[STAT_puts]) + load_acquire(&a->sync->retired[STAT_deletes]);
    ticket += mix(PARTICIPANT_MAX, gone);
    return ticket == 0 ? 1 : ticket;
}
