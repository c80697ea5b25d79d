/* SPDX-License-Identifier: MIT */
/*
 * handover.pml - taking an open segment away from its owner (R8), with store buffers.
 *
 * One segment, two participants that write to it, two takers, others who raise G.  A participant's
 * stores to its `writing` and to the segment's `used` pass through a FIFO store buffer (TSO); a CAS
 * drains the buffer of who executes it, membarrier drains all.  Everybody may stall at any step.
 *
 * The protocol (segment.c, index.c): the state word is OPEN(p, x), SEALING(p, x) or PARTIAL; x is a stamp
 * that is given once.
 *   write   (write_section): writing = G; compiler barrier; is the segment OPEN(me, x)?
 *           then append, used = end, writing = 0; otherwise drop it.  Adopt it, if it is PARTIAL:
 *           CAS PARTIAL -> OPEN(me, new x)
 *   take    (segment_take_idle) CAS OPEN(p, x) -> SEALING(p, x)
 *   finish  (finish_sealing) anybody who sees SEALING(p, x): membarrier; if p.writing is 0:
 *           CAS SEALING(p, x) -> PARTIAL
 * A taker that dies leaves SEALING(p, x), which anybody finishes.
 *
 * Why it holds: a write that began before the membarrier shows its `writing`; one that begins later
 * sees SEALING.  Why x: the CAS of a helper that stalls before it must fail in p's next life.
 *
 * Ghost: inside[p] holds while p, having seen that the segment is its own, appends.
 *   - nobody appends to a segment that is not OPEN or SEALING under its name
 *   - `used`, as the owner knows it, counts every record appended
 *
 * Broken on purpose:
 *   BREAK_R8_FIRST       the owner checks its segment before it stores `writing`
 *   BREAK_R8_MEMBARRIER  no membarrier
 *   BREAK_R8_WRITING     the helper does not look at `writing`
 *   BREAK_R8_STAMP       the word does not hold x: a stalled helper's CAS succeeds in p's next life
 *   BREAK_R8_EPOCH       SEALING(p, e), e = G as loaded before the CAS, and `writing` > e suffices:
 *                        G may be raised between that load and the CAS, and a write that began
 *                        then, before the CAS, has `writing` > e
 * A variation that holds, and what it needs: x is the epoch, loaded after PARTIAL was seen, and the
 * helper loads g = G, raises G above it before the membarrier and accepts `writing` > g too.
 *   HOLDS_R8_RAISE       that
 *   BREAK_R8_NO_RAISE    it does not raise G when `writing` is 0: x is given twice
 *   BREAK_R8_SECTION_X   x is the epoch of p's section, loaded before `writing` is stored: as well
 *   WITNESS_*            interesting states that the model must reach
 */
#define OWNERS 2
#define GMAX 2 /* others raise G to here at most */

#define PARTIAL 0
#define OPEN 1
#define SEALING 2

#define WRITING 0 /* variables that pass through the store buffers */
#define USED 1

#if defined(BREAK_R8_SECTION_X)
#define STAMP(x) x = g
#elif defined(HOLDS_R8_RAISE) || defined(BREAK_R8_NO_RAISE) || defined(BREAK_R8_EPOCH)
#define STAMP(x) x = G
#else
#define STAMP(x) x = stamps; stamps++ /* one fetch_add */
#endif

/* ---- shared memory ---- */

byte state = PARTIAL;
byte who;
byte stamp;
byte stamps = 1;
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
#elif defined(HOLDS_R8_RAISE) || defined(BREAK_R8_SECTION_X)
#define FREE_OF(w) ((w) == 0 || (w) > g)
#else
#define FREE_OF(w) ((w) == 0)
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
#if defined(BREAK_R8_EPOCH)
    atomic {
        e = x;
        if
        :: G == e -> G++
        :: else
        fi
    }
#elif defined(HOLDS_R8_RAISE) || defined(BREAK_R8_SECTION_X)
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
#ifdef WITNESS_TWICE
            assert(appended < 2);
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
