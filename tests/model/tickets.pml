/* SPDX-License-Identifier: MIT */
/*
 * tickets.pml - capacity by tickets, and the life of index areas, over several resizes (R14).
 *
 * Three areas hold the tables, all with a quota of Q slots, the tightest case.  Two workers insert
 * new keys, start and finish resizes, and give tickets back, in any order; they may stall at any
 * step, and one of them may be killed at any step and reaped.  Slots are counted, not modelled:
 * that moving a slot does its work once is shown by move.pml.
 *
 * Labels and what they stand for: insert is publish() with table_ticket(), give_back is
 * table_return_tickets(), grow is get_prepared() with table_claim() and table_restamp_owner(), close
 * is close_tickets(), shown is show_next() with table_enliven(), then finish() with top_up() and
 * table_retire_old(); reaper is table_reap(); taker is table_take_idle(), which takes a claimed area
 * back from who is in no section (INV-T3), and whose fence is modelled by its effect, too: what it
 * then reads of `inside` is at least as new as that.  One step is one access to shared memory, but for a
 * load and the CAS that expects its value, where a failed CAS repeats the load at once; and all
 * slots of a table are moved in one step.  A grace period is modelled by its effect (grace.pml shows how):
 * limbo[a] names those who were in a section when area a was retired and are in it still.
 *
 * Ghost: filled[a] counts the slots of a table that were ever filled.
 *   - filled <= Q: a mover and who has a ticket find room, always
 *   - filled + r <= Q once the table was topped up
 *   - nobody fills, tops up or makes root a table whose area has another life meanwhile
 *
 * pan options: -E
 *
 * Broken on purpose:
 *   BREAK_R14_TOPPED   the top-up goes without the TOPPED bit
 *   BREAK_R14_STALE_B  B is computed from an r that was read before what the CAS expects
 *   BREAK_R14_LIVE     B counts live slots only
 *   BREAK_R14_SCAN     C is counted before all slots are terminal
 *   BREAK_R14_FROZEN   a frozen tombstone is dropped (and not counted, but its copy stands in T')
 *   BREAK_R14_BARE     area numbers without generation in tickets, root and next
 *   BREAK_R14_SECTION  finish() leaves the section before it tops up and moves root
 *   BREAK_R14_RETURN   tickets are given back without a look at the generation
 *   BREAK_R14_REAP     the reaper frees a dead grower's area though T's word names it
 *   BREAK_R14_CLAIMED  next is set while the area is CLAIMED, and the reaper looks at root only
 *   BREAK_R14_FENCE    the taker's fence comes before it has seen TAKING
 *   BREAK_R14_IDLE     the taker does not look whether the claimer is in a section
 *   BREAK_R14_FORGET   the claimer does not look whether its area was taken
 *   HOLDS_R14_PREPARED a grower claims its area ahead of need and keeps it
 *   HOLDS_R14_TAKING   the same, with a taker, and one round of the second worker
 *   HOLDS_R14_SIZES    tables of Q and of Q + 1 slots follow each other
 *   WITNESS_*          interesting states that the model must reach
 */
#define WORKERS 2
#define AREAS 3
#define Q 2
#if defined(BREAK_R14_FENCE) || defined(BREAK_R14_IDLE) || defined(BREAK_R14_FORGET) || \
    defined(WITNESS_TAKEN)
#define HOLDS_R14_TAKING
#endif
#ifdef HOLDS_R14_TAKING
#define HOLDS_R14_PREPARED
#endif
#ifdef HOLDS_R14_TAKING
#define SECOND_BEGINS 1 /* its first round is over */
#else
#define SECOND_BEGINS 0
#endif
#if defined(HOLDS_R14_PREPARED) || defined(HOLDS_R14_SIZES)
#define ROUNDS 2 /* of each worker */
#else
#define ROUNDS 3
#endif
#define NONE 3 /* no area */

#define FREE 0
#define CLAIMED 1
#define LIVE 2
#define LIMBO 3
#define TAKING 4

/* ---- shared memory ---- */

/* state word of an area */
byte kind[AREAS];
byte claimer[AREAS];
byte life[AREAS]; /* generation, in the state word */

/* header of a table */
byte gen[AREAS];
byte next_a[AREAS]; /* table.next: area, NONE for 0, and generation */
byte next_g[AREAS];
byte B[AREAS];
byte cap[AREAS]; /* q */
bit closed[AREAS]; /* the ticket word: CLOSED(to_g, to_a) or OPEN(r, topped) */
byte r[AREAS];
bit topped[AREAS];
byte to_a[AREAS];
byte to_g[AREAS];

/* slots, by number */
byte live[AREAS];
byte tomb[AREAS];
byte moved[AREAS];
bit terminal[AREAS]; /* no EMPTY is left */

byte root_a;
byte root_g = 1;

bit inside[WORKERS];
byte limbo[AREAS];
bit dead[WORKERS];

/* ---- ghost ---- */

byte filled[AREAS];
byte finished;


inline leave(me)
{
    inside[me] = 0;
    limbo[0] = limbo[0] & (255 - (1 << me));
    limbo[1] = limbo[1] & (255 - (1 << me));
    limbo[2] = limbo[2] & (255 - (1 << me))
}

#define USABLE(i) (kind[i] == FREE || (kind[i] == LIMBO && limbo[i] == 0))

inline make_free(i)
{
    kind[i] = FREE; claimer[i] = 0; life[i] = 0; limbo[i] = 0;
    live[i] = 0; tomb[i] = 0; moved[i] = 0; terminal[i] = 0; filled[i] = 0
}

/* table_claim(): zero slots, a new generation, a closed-looking header. */
inline claim(me, i)
{
    make_free(i);
    kind[i] = CLAIMED; claimer[i] = me; life[i] = g + 1;
    gen[i] = g + 1; next_a[i] = NONE; next_g[i] = 0; B[i] = 0;
    closed[i] = 0; r[i] = 0; topped[i] = 0; to_a[i] = 0; to_g[i] = 0;
    cap[i] = Q;
#ifdef HOLDS_R14_SIZES
    if
    :: true
    :: cap[i] = Q + 1
    fi
#endif
}

#define IS_CLAIM(i) (kind[i] == CLAIMED || kind[i] == TAKING)
#define IS_MINE(i) (IS_CLAIM(i) && claimer[i] == me)

/* table_unclaim_owner(): harmless if it was taken away. */
inline unclaim(i)
{
    if
    :: IS_MINE(i) -> make_free(i)
    :: else
    fi
}

inline enliven(i, g)
{
    if
    :: IS_CLAIM(i) && life[i] == (g) -> kind[i] = LIVE; claimer[i] = 0
    :: else
    fi
}

#define INSIDE_NOW (inside[0] + 2 * inside[1])

inline retire(i)
{
    if
    :: kind[i] == LIVE && life[i] < root_g -> kind[i] = LIMBO; limbo[i] = INSIDE_NOW
    :: else
    fi
}

/* ---- the rules, and how to break them ---- */

#ifdef BREAK_R14_BARE
#define SAME(g, h) 1
#else
#define SAME(g, h) ((g) == (h))
#endif
#ifdef BREAK_R14_RETURN
#define MAY_RETURN(g, h) 1
#else
#define MAY_RETURN(g, h) SAME(g, h)
#endif
#ifdef BREAK_R14_TOPPED
#define UNTOPPED(i) 1
#else
#define UNTOPPED(i) (!topped[i])
#endif
#ifdef BREAK_R14_LIVE
#define BOUND(i, q) live[i]
#else
#define BOUND(i, q) (cap[i] - (q))
#endif

#ifdef BREAK_R14_STALE_B
#define EXPECTED(i, q, tp) 1
#else
#define EXPECTED(i, q, tp) (r[i] == (q) && topped[i] == (tp))
#endif
#ifdef BREAK_R14_REAP
#define NAMED 0
#else
#define NAMED (closed[t] && to_a[t] == i && to_g[t] == life[i])
#endif
#define WITHIN(i) assert(!topped[i] || filled[i] + r[i] <= cap[i])

inline fill(i, g)
{
    assert(kind[i] == LIVE && gen[i] == g);
    assert(filled[i] < cap[i]);
    filled[i]++;
    WITHIN(i)
}

proctype worker(byte me, rounds) provided (!dead[me])
{
    byte t, g;                 /* a table: area and generation */
    byte x, n;                 /* the next one */
    byte q, c;
    byte have, have_a, have_g; /* tickets that it holds */
    byte mine = NONE;          /* the area that it has claimed */
    bit tp;

again:
    atomic {
        x = 0; n = 0; q = 0; c = 0; tp = 0;
        if
        :: rounds == ROUNDS -> t = 0; g = 0; goto done
        :: rounds < ROUNDS ->
            rounds++;
            inside[me] = 1;
            t = root_a; g = root_g;
            if
            :: goto insert
            :: goto grow
            :: have -> goto give_back
            fi
        fi
    }

insert: /* put() of a key that is nowhere: to the end of the chain */
    atomic {
        if
        :: next_a[t] != NONE -> g = next_g[t]; t = next_a[t]; goto insert
        :: else
        fi;
        if
        :: have && have_a == t && SAME(have_g, g)
        :: !(have && have_a == t && SAME(have_g, g)) && !closed[t] && r[t] > 0 ->
            have_a = t; have_g = g; /* others are dropped; give_back may have come before */
            if
            :: have = 1
            :: r[t] > 1 -> have = 2
            fi;
            r[t] = r[t] - have
        :: else -> leave(me); goto again /* without a ticket: grow, mostly */
        fi
    }
    atomic {
        if
        :: !terminal[t] ->
            fill(t, g);
            live[t]++;
            have--;
#ifdef WITNESS_OLD
            assert(next_a[t] == NONE);
#endif
#ifdef WITNESS_NEW
            assert(t == root_a || topped[t]);
#endif
#ifdef WITNESS_THIRD
            assert(g < 3 || t != 0 || r[t]);
#endif
            if
            :: !have -> have_a = 0; have_g = 0
            :: else
            fi;
            leave(me);
            goto again
        :: else -> t = root_a; g = root_g; goto insert
        fi
    }

give_back: /* table_return_tickets(): the word, then the generation, then the CAS */
    atomic {
        if
        :: closed[have_a] -> goto given
        :: else -> q = r[have_a]; tp = topped[have_a]
        fi
    }
    atomic {
        if
        :: MAY_RETURN(gen[have_a], have_g)
        :: else -> goto given
        fi
    }
    atomic {
        if
        :: !closed[have_a] && r[have_a] == q && topped[have_a] == tp ->
            r[have_a] = r[have_a] + have;
            WITHIN(have_a)
        :: else -> goto give_back
        fi
    }
given:
    atomic {
        have = 0; have_a = 0; have_g = 0;
        leave(me);
        goto again
    }

grow: /* resize_grow(), resize_prepare() */
    atomic {
#if defined(HOLDS_R14_TAKING) && !defined(BREAK_R14_FORGET)
        if
        :: mine != NONE && !(kind[mine] == CLAIMED && claimer[mine] == me) -> mine = NONE
        :: else
        fi;
#endif
        if
        :: closed[t] -> goto shown
        :: !closed[t] && mine == NONE ->
            if
            :: USABLE(0) -> mine = 0
            :: !USABLE(0) && USABLE(1) -> mine = 1
            :: !USABLE(0) && !USABLE(1) && USABLE(2) -> mine = 2
            :: else -> leave(me); goto again
            fi;
            claim(me, mine)
        :: !closed[t] && mine != NONE && life[mine] <= g -> /* prepared for an older root */
#ifdef HOLDS_R14_TAKING
            if
            :: IS_MINE(mine) -> kind[mine] = CLAIMED; life[mine] = g + 1
            :: else
            fi;
#else
            life[mine] = g + 1;
#endif
            gen[mine] = g + 1
        :: !closed[t] && mine != NONE && life[mine] > g
        fi;
#ifdef HOLDS_R14_PREPARED
        if
        :: true
        :: leave(me); goto again /* it keeps what it has prepared */
        fi
#endif
    }
close: /* close_tickets() */
    atomic {
        if
        :: closed[t] -> unclaim(mine); mine = NONE; goto shown
        :: !closed[t] && cap[mine] < BOUND(t, r[t]) -> /* too small */
            unclaim(mine); mine = NONE; leave(me); goto again
        :: else ->
            q = r[t]; tp = topped[t];
            B[mine] = BOUND(t, q);
            r[mine] = cap[mine] - B[mine]
        fi
    }
    atomic {
        if
        :: !closed[t] && EXPECTED(t, q, tp) ->
            closed[t] = 1; r[t] = 0; topped[t] = 0;
            to_a[t] = mine; to_g[t] = gen[mine];
            q = 0; tp = 0;
            mine = NONE
        :: else -> goto close
        fi
    }
shown: /* show_next(): whoever sees the CLOSED word */
    atomic {
        x = to_a[t]; n = to_g[t];
#ifndef BREAK_R14_CLAIMED
        enliven(x, n)
#endif
    }
    atomic {
        if
        :: next_a[t] == NONE -> next_a[t] = x; next_g[t] = n
        :: else
        fi;
#ifdef BREAK_R14_SCAN
        c = moved[t];
#endif
    }
#ifdef BREAK_R14_CLAIMED
    atomic { enliven(x, n) }
#endif
    atomic { /* finish(): every slot, then the full scan */
        terminal[t] = 1;
        do
        :: live[t] > 0 -> live[t]--; moved[t]++; live[x]++; fill(x, n)
        :: tomb[t] > 0 -> tomb[t]--; moved[t]++; tomb[x]++; fill(x, n)
        :: tomb[t] > 0 -> tomb[t]-- /* MOVED_DROPPED */
#ifdef BREAK_R14_FROZEN
        :: tomb[t] > 0 -> tomb[t]--; tomb[x]++; fill(x, n)
#endif
        :: !live[t] && !tomb[t] -> break
        od;
#ifndef BREAK_R14_SCAN
        c = moved[t];
#endif
#ifdef BREAK_R14_SECTION
        leave(me);
#endif
        if
        :: root_a == t && SAME(root_g, g)
        :: else -> leave(me); goto again
        fi
    }
    atomic { /* top_up() */
        if
        :: !closed[x] && UNTOPPED(x) -> r[x] = r[x] + B[x] - c; topped[x] = 1; WITHIN(x)
        :: else
        fi;
        c = 0
    }
    atomic {
        if
        :: root_a == t && SAME(root_g, g) ->
            root_a = x; root_g = n;
            assert(kind[x] == LIVE && gen[x] == n)
        :: else
        fi;
        retire(0); retire(1); retire(2); /* table_retire_old() */
        leave(me);
        goto again
    }
done:
    finished++
}

#define CLAIMS(i) (IS_CLAIM(i) && claimer[i] == 0)

/*
 * table_reap() of worker 0 (the workers are alike), which is killed at any step while it claims an
 * area: killed at another time, it leaves nothing but tickets that are lost.
 */
proctype reaper()
{
    byte i, t;

    atomic { CLAIMS(0) || CLAIMS(1) || CLAIMS(2) -> dead[0] = 1 }
    do
    :: atomic { i < AREAS && !CLAIMS(i) -> i++ }
    :: i < AREAS && CLAIMS(i) ->
        t = root_a;
        atomic {
            if
            :: !CLAIMS(i) /* others enlivened it, or took it */
            :: CLAIMS(i) && NAMED -> kind[i] = LIVE
            :: else -> make_free(i)
            fi;
            t = 0;
            i++
        }
    :: i == AREAS -> break
    od;
    atomic { leave(0); i = 0 }
}

/*
 * table_take_idle(), once, of any area.  Its first look, whether the claimer seems idle, only saves
 * work.  w is what the fence shows of `inside`, or what was stored since: the look at `inside` may
 * read either.
 */
proctype taker()
{
    byte i, t, g, w;

#ifdef BREAK_R14_FENCE
    atomic { w = INSIDE_NOW }
#endif
    atomic {
        if
        :: kind[0] == CLAIMED -> i = 0
        :: kind[1] == CLAIMED -> i = 1
        :: kind[2] == CLAIMED -> i = 2
        fi;
        g = life[i];
        kind[i] = TAKING
    }
#ifndef BREAK_R14_FENCE
    atomic { w = INSIDE_NOW }
#endif
    atomic {
#ifndef BREAK_R14_IDLE
        if
        :: kind[i] == TAKING && life[i] == g && (w & (1 << claimer[i])) == 0
        :: kind[i] == TAKING && life[i] == g && !inside[claimer[i]]
        :: else -> goto left
        fi;
#endif
        t = root_a
    }
    atomic { /* is_named() */
        if
        :: NAMED -> goto left
        :: else
        fi
    }
    atomic {
        if
        :: kind[i] == TAKING && life[i] == g -> make_free(i)
#ifdef WITNESS_TAKEN
            ; assert(false)
#endif
        :: else
        fi
    }
left:
    i = 0; t = 0; g = 0; w = 0
}

/* pan runs with -E since a killed process is no deadlock; nobody else may be stuck. */
proctype watchdog()
{
    timeout;
    assert(finished + dead[0] >= WORKERS)
}

init
{
    atomic {
        next_a[0] = NONE;
        next_a[1] = NONE;
        next_a[2] = NONE;
        kind[0] = LIVE;
        life[0] = 1;
        gen[0] = 1;
        topped[0] = 1;
        if
        :: tomb[0] = 1
        :: tomb[0] = 2
        :: tomb[0] = 1; live[0] = 1
        fi;
        filled[0] = live[0] + tomb[0];
        cap[0] = Q;
#ifdef HOLDS_R14_SIZES
        cap[0] = Q + 1;
#endif
        r[0] = cap[0] - filled[0];
        run worker(0, 0);
        run worker(1, SECOND_BEGINS);
        run reaper();
#ifdef HOLDS_R14_TAKING
        run taker();
#endif
        run watchdog()
    }
}
