/* SPDX-License-Identifier: MIT */
/*
 * grace.pml - sections and grace periods (R5, R6), with store buffers.
 *
 * A link leads to one of three objects.  An updater unlinks and retires the first and the second.
 * A poller raises G, scans, and frees what is safe; others raise G too.  Either a reader runs a
 * section, interrupted at any step by a signal handler that runs one too, or a reader joins.
 *
 * Stores to `reading` and to the link pass through a FIFO store buffer per participant (TSO), which
 * membarrier drains for all processes that are registered with it.  One step is one access.
 *
 * Steps are those of epoch.h and epoch.c: epoch_enter() and epoch_exit() (section), epoch_retire()
 * (updater), epoch_poll() (poller), epoch_join() (late_reader).
 *
 * Ghost: freed[o]; whoever follows the link inside a section finds an object that is not freed.
 *
 * Broken on purpose:
 *   BREAK_R5_COUNTER     nesting by a counter, not by saving and restoring `reading`
 *   BREAK_R5_ZERO        exit stores 0, not the outer value
 *   BREAK_R5_LATE        the link is followed before the epoch is stored
 *   BREAK_R5_REGISTER    the first section comes before the registration with membarrier
 *   BREAK_R5_HIGH        the first section comes before the high-water mark is raised
 *   BREAK_R6_EARLY       e is loaded before the last unlink
 *   BREAK_R6_FENCE       no fence between the unlink and the load of e
 *   BREAK_R6_MEMBARRIER  no membarrier
 *   BREAK_R6_EQUAL       a section that was entered in e does not hold back what was retired in e
 *   BREAK_R6_LATE_G      G is loaded after the scan
 *   BREAK_R6_NO_RAISE    what was retired in G itself counts as safe when nobody is inside
 *   HOLDS_R5_ORDER       registration before the claim; epoch_join() does it after
 *   WITNESS_*            interesting states that the model must reach
 */
#define READERS 2
#define OBJECTS 3
#define GMAX 4

/* ---- shared memory ---- */

byte link;
byte limbo[OBJECTS]; /* epoch in which the object was retired; 0: not yet */
byte G = 1;
byte safe;
byte reading[READERS];
byte high = 1;

/* ---- each processor's own ---- */

chan buffer[READERS] = [3] of { byte };
bit registered[READERS];
byte own[READERS];    /* `reading` as its own participant sees it */
byte link_pending;    /* the updater's store buffer: object + 1 */
bit in_handler;
#ifdef BREAK_R5_COUNTER
byte nesting;
#endif

/* ---- ghost ---- */

bit freed[OBJECTS];

#define STORE(p, v) own[p] = v; buffer[p] ! v

inline drain_link()
{
    if
    :: link_pending -> link = link_pending - 1; link_pending = 0
    :: else
    fi
}

/* G is raised by anybody at any time: here, just before somebody loads it. */
inline load_G(g)
{
    if
    :: true
    :: G < GMAX -> G++
    fi;
    g = G
}

/* The processor writes its stores to memory, in their order, when it likes. */
proctype memory(byte p)
{
    byte v;
end:
    do
    :: atomic { buffer[p] ? v -> reading[p] = v; v = 0 }
    od
}

proctype link_memory()
{
end:
    do
    :: atomic { link_pending -> drain_link() }
    od
}

/* enter, look twice, exit; o, g and outer are the caller's. */
inline section(p)
{
#if defined(BREAK_R5_COUNTER)
    atomic { nesting++; outer = nesting - 1 }
#else
    outer = own[p];
#endif
#ifdef BREAK_R5_LATE
    o = link;
#endif
    if
    :: atomic { outer == 0 -> load_G(g) };
        atomic { STORE(p, g); g = 0 }
    :: outer != 0
    fi;
    /* The compiler barrier: nothing holds the loads back until the store is in memory. */
#ifndef BREAK_R5_LATE
    o = link;
#endif
    assert(!freed[o]);
#if defined(BREAK_R5_COUNTER)
    atomic {
        nesting--;
        if
        :: nesting == 0 -> STORE(p, 0)
        :: else
        fi;
        o = 0; outer = 0
    }
#elif defined(BREAK_R5_ZERO)
    atomic { STORE(p, 0); o = 0; outer = 0 }
#else
    atomic { STORE(p, outer); o = 0; outer = 0 }
#endif
}

proctype reader() provided (!in_handler)
{
    byte o, g, outer;

    section(0)
}

/* Interrupts the reader at any step, on the same processor, and runs to its end. */
proctype handler()
{
    byte o, g, outer;

    in_handler = 1;
    section(0);
    in_handler = 0
}

proctype late_reader()
{
    byte o, g, outer, n;

#if defined(BREAK_R5_REGISTER)
    high = 2;
    section(1);
    registered[1] = 1;
#elif defined(BREAK_R5_HIGH)
    registered[1] = 1;
    section(1);
    high = 2;
#elif defined(HOLDS_R5_ORDER)
    registered[1] = 1;
    high = 2;
    section(1)
#else
    high = 2; /* the claim of the entry is the same step */
    registered[1] = 1;
    section(1)
#endif
}

/* Unlinks object 0, then object 1, and retires each. */
proctype updater()
{
    byte e, n;

    do
    :: n < OBJECTS - 1 ->
#ifdef BREAK_R6_EARLY
        atomic { load_G(e) }
#endif
        atomic { link_pending == 0 -> link_pending = n + 2 }
#ifndef BREAK_R6_FENCE
        atomic { drain_link() }
#endif
#ifndef BREAK_R6_EARLY
        atomic { load_G(e) }
#endif
        atomic { drain_link(); limbo[n] = e; e = 0; n++ } /* a CAS: -> LIMBO(e) */
    :: else -> break
    od
}

inline see(p)
{
    if
    :: reading[p] && reading[p] < lowest -> lowest = reading[p]
    :: else
    fi
}

proctype poller(byte polls)
{
    byte g, lowest, i, h, v;

    do
    :: polls ->
        atomic {
            polls--;
#ifndef BREAK_R6_LATE_G
            load_G(g)
#endif
        }
#ifndef BREAK_R6_MEMBARRIER
        atomic {
            do
            :: registered[0] && nempty(buffer[0]) -> buffer[0] ? v; reading[0] = v
            :: registered[1] && nempty(buffer[1]) -> buffer[1] ? v; reading[1] = v
            :: (!registered[0] || empty(buffer[0])) && (!registered[1] || empty(buffer[1])) -> break
            od;
            v = 0;
            drain_link()
        }
#endif
        atomic { h = high; lowest = 255; see(0) }
        atomic {
            if
            :: h > 1 -> see(1)
            :: else
            fi
        }
#ifdef BREAK_R6_LATE_G
        atomic { load_G(g) }
#endif
        atomic {
            if
            :: lowest < g -> g = lowest
            :: else
            fi;
#if defined(BREAK_R6_EQUAL)
            if
            :: g == lowest
            :: else -> g--
            fi;
#elif defined(BREAK_R6_NO_RAISE)
            if
            :: lowest == 255
            :: else -> g--
            fi;
#else
            g--;
#endif
            if
            :: g > safe -> safe = g
            :: else
            fi;
            g = 0; lowest = 0; i = 0; h = 0
        }
        atomic { /* free what is safe, as whoever looks at `safe` may */
            do
            :: i < OBJECTS ->
                if
                :: limbo[i] && limbo[i] <= safe -> freed[i] = 1
                :: else
                fi;
                i++
            :: else -> break
            od;
#ifdef WITNESS_FREED
            assert(!freed[1]);
#endif
#ifdef WITNESS_FREED_INSIDE
            assert(!(freed[0] && own[0]));
#endif
            i = 0
        }
    :: else -> break
    od
}

init
{
    atomic {
        registered[0] = 1;
        run memory(0);
        run memory(1);
        run link_memory();
        if
        :: run late_reader()
#ifndef HOLDS_R5_ORDER
        :: run reader(); run handler()
#endif
        fi;
        run updater();
        run poller(2)
    }
}
