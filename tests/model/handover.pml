/* SPDX-License-Identifier: MIT */
/*
 * handover.pml - taking an open segment away from its owner (R8), with store buffers.
 *
 * One segment, two participants that write to it, two takers, others who raise G.  A participant's stores to its
 * `writing` and to the segment's `used` pass through a FIFO store buffer (TSO); a CAS drains the
 * buffer of who executes it, membarrier drains all.  Everybody may stall at any step.
 *
 * The protocol: the state word is OPEN(p, x), SEALING(p, x) or PARTIAL; x is the epoch in which p
 * took the segment.
 *   write   (design.md's put):  g = G; writing = g; compiler barrier; the segment is OPEN(me, x)?
 *           append, used = end, writing = 0.  Otherwise drop it; adopt it, if it is PARTIAL:
 *           x = G, loaded after PARTIAL was seen; CAS PARTIAL -> OPEN(me, x)
 *   take    CAS OPEN(p, x) -> SEALING(p, x)
 *   finish  anybody who sees SEALING(p, x): g = G, loaded now; CAS G from g to g + 1; membarrier;
 *           if p.writing is 0 or > g: CAS SEALING(p, x) -> PARTIAL
 * A taker that dies leaves SEALING(p, x), which anybody finishes.
 *
 * Why it holds: a write that began before the membarrier shows its `writing`, which is <= g; one
 * that begins later sees SEALING.  Why x: G is raised between SEALING(p, x) and PARTIAL, so p never
 * owns the segment under the same x again, and the CAS of a helper that stalled in between fails.
 *
 * Ghost: inside[p] holds while p, having seen that the segment is its own, appends.
 *   - nobody appends to a segment that is not OPEN or SEALING under its name
 *   - `used`, as the owner knows it, counts every record appended
 *
 * Broken on purpose:
 *   BREAK_R8_FIRST       the owner checks its segment before it stores `writing`
 *   BREAK_R8_MEMBARRIER  no membarrier
 *   BREAK_R8_EPOCH       SEALING(p, e) with e = G as loaded before the CAS, `writing` > e suffices:
 *                        G may be raised between that load and the CAS, and a write that began
 *                        then, before the CAS, has `writing` > e.  So e must be loaded later.
 *   BREAK_R8_STAMP       the word does not hold x: a stalled helper's CAS succeeds in p's next life
 *   BREAK_R8_NO_RAISE    the helper does not raise G when `writing` is 0: the same
 *   BREAK_R8_SECTION_X   x is the epoch of p's section, loaded before `writing` was stored: the same
 *   BREAK_R8_WRITING     the helper does not look at `writing`
 *   HOLDS_R8_ZERO        the helper accepts 0 only
 *   HOLDS_R8_COUNT       x counts the segment's owners, and nobody raises G
 *   WITNESS_*            interesting states that the model must reach
 */
#define OWNERS 2
#define GMAX 2 /* others raise G to here at most */

#define PARTIAL 0
#define OPEN 1
#define SEALING 2

#define WRITING 0 /* variables that pass through the store buffers */
#define USED 1

#if defined(HOLDS_R8_COUNT)
#define STAMP(x) x = owners + 1
#elif defined(BREAK_R8_SECTION_X)
#define STAMP(x) x = g
#else
#define STAMP(x) x = G
#endif

/* ---- shared memory ---- */

byte state = PARTIAL;
byte who;
byte stamp;
byte owners; /* in the state word, for HOLDS_R8_COUNT */
byte used;
byte writing[OWNERS];
byte G = 1;

chan buffer[OWNERS] = [4] of { byte, byte };

/* ---- ghost ---- */

bit inside[OWNERS];
byte appended;

#define IS(s, p, x) (state == (s) && who == (p) && stamp == (x))

inline become(s, p, x)
{
    state = s; who = p; stamp = x
}

inline drain_one(p)
{
    if
    :: buffer[p] ? WRITING, val -> writing[p] = val
    :: buffer[p] ? USED, val -> used = val
    fi;
    val = 0
}

inline drain(p)
{
    do
    :: nempty(buffer[p]) -> drain_one(p)
    :: empty(buffer[p]) -> break
    od
}

proctype memory(byte p)
{
    byte val;
end:
    do
    :: atomic { nempty(buffer[p]) -> drain_one(p) }
    od
}

proctype owner(byte me, writes)
{
    byte g, x, val, mine;
    bit own, adopts;

next_write:
#ifdef BREAK_R8_FIRST
    atomic {
        if
        :: own && !IS(OPEN, me, x) -> own = 0; x = 0
        :: else
        fi
    }
#endif
    atomic {
        if
        :: true
        :: G < GMAX -> G++
        fi;
        g = G
    }
    buffer[me] ! WRITING, g;
    /* The compiler barrier: TSO keeps loads in order, and lets them pass the store. */
    atomic {
        if
#ifdef BREAK_R8_FIRST
        :: own -> inside[me] = 1
#else
        :: own && IS(OPEN, me, x) -> inside[me] = 1
#endif
        :: !(own && IS(OPEN, me, x)) -> own = 0; x = 0; mine = 0; adopts = (state == PARTIAL)
#ifdef WITNESS_DROP
            ; assert(state != SEALING || who != me)
#endif
        fi
    }
    if
    :: adopts ->
        atomic {
            adopts = 0;
            STAMP(x)
        }
        atomic {
            drain(me);
            if
            :: state == PARTIAL ->
                owners++;
                become(OPEN, me, x);
                own = 1; inside[me] = 1
            :: else -> x = 0
            fi
        }
        if
        :: own -> mine = used
        :: else
        fi
    :: else
    fi;
    if
    :: inside[me] ->
        atomic {
            assert((state == OPEN || state == SEALING) && who == me);
            assert(!inside[1 - me]);
            assert(mine == appended);
            mine++;
            appended++
        }
        atomic {
            assert((state == OPEN || state == SEALING) && who == me);
            buffer[me] ! USED, mine;
            inside[me] = 0
        }
    :: else
    fi;
    atomic {
        buffer[me] ! WRITING, 0;
        g = 0;
        writes--;
        if
        :: writes -> goto next_write
        :: else -> x = 0; mine = 0; own = 0
        fi
    }
}

#ifdef BREAK_R8_STAMP
#define SAME_STAMP(x) 1
#else
#define SAME_STAMP(x) (stamp == (x))
#endif
#if defined(BREAK_R8_EPOCH)
#define FREE_OF(w) ((w) == 0 || (w) > e)
#elif defined(BREAK_R8_WRITING)
#define FREE_OF(w) 1
#elif defined(HOLDS_R8_ZERO) || defined(HOLDS_R8_COUNT)
#define FREE_OF(w) ((w) == 0)
#else
#define FREE_OF(w) ((w) == 0 || (w) > g)
#endif

proctype taker(byte rounds)
{
    byte p, x, g, e, w, val;

end_round:
    atomic {
        state != PARTIAL && rounds ->
        rounds--;
        if
        :: state == OPEN -> p = who; x = stamp; goto take
        :: state == SEALING -> p = who; x = stamp; goto finish
        fi
    }
take:
#ifdef BREAK_R8_EPOCH
    e = G;
    atomic {
        if
        :: IS(OPEN, p, x) -> become(SEALING, p, e)
        :: else
        fi;
        p = 0; x = 0; e = 0;
        goto end_round
    }
#else
    atomic {
        if
        :: IS(OPEN, p, x) -> state = SEALING
        :: else
        fi;
        p = 0; x = 0;
        goto end_round
    }
#endif
finish:
#ifdef BREAK_R8_EPOCH
    atomic {
        e = x;
        if
        :: G == e -> G++
        :: else
        fi
    }
#elif defined(HOLDS_R8_COUNT)
    skip;
#elif defined(BREAK_R8_NO_RAISE)
    g = G;
    if
    :: writing[p] != 0 ->
        atomic {
            if
            :: G == g -> G++
            :: else
            fi
        }
    :: else
    fi;
#else
    g = G;
    atomic {
        if
        :: G == g -> G++
        :: else
        fi
    }
#endif
#ifndef BREAK_R8_MEMBARRIER
    atomic { drain(0); drain(1) }
#endif
    w = writing[p];
    atomic {
        if
        :: FREE_OF(w) && state == SEALING && who == p && SAME_STAMP(x) ->
            assert(!inside[p]);
#ifdef WITNESS_NEWER
            assert(w == 0);
#endif
            become(PARTIAL, 0, 0)
        :: else
        fi;
        p = 0; x = 0; g = 0; e = 0; w = 0;
        goto end_round
    }
}

init
{
    atomic {
        run memory(0);
        run memory(1);
        run owner(0, 2);
        run owner(1, 1);
        run taker(3);
        run taker(1)
    }
}
