/* SPDX-License-Identifier: MIT */
/*
 * move.pml - moving the slots of a table to the next one while others write (R11, R12, R13; R7).
 *
 * Three tables of three slots, resized T0 -> T1 -> T2 by a keeper each.  Two workers each do one
 * operation on one of two keys that share a home slot: get, put, put if absent, delete, relocate,
 * evict, look whether a record is current.  Workers help to move the slot of their key and may stall at
 * any step, so one that stalls in T0 wakes up in the middle of the second resize.  A death is an
 * endless stall.
 *
 * The label probe is find, for writers (find_place() in index.c) and for readers (probe_table()),
 * act is put, relocate and evict (publish(), swing(), vacate(); is_current() in cleaner.c), the inline move is
 * resize_move_slot() with place(), keeper is show_next() and finish() in resize.c.  The rules are
 * those of shmkv-design(7).  One step is one access to shared memory, but for
 *   - a load and the CAS that expects its value, where a failed CAS repeats the load at once;
 *   - table.next together with the slot before it: next changes once, so had it been 0 later, it
 *     was 0 then, and had it been set later, the reader takes the way of one who read later;
 *   - root together with the first slot: a table below root is terminal and leads to root;
 *   - the epoch, which is raised when somebody loads it.
 * The interleaving is sequentially consistent: each slot is one word, changed by CAS only.
 * Left out: tickets and the areas' second life (tickets.pml), sections (relocate.pml, grace.pml).
 *
 * Ghost: cur[k] is the record that the index holds for key k, 0 once there is none.
 *   - a successful CAS supersedes cur[k] and nothing else:  no lost key, no duplicate
 *   - a mover fills a slot only with cur[k]:                no resurrection, no dead record used
 *   - a table never holds a key twice
 *   - what an operation reports was so at some time while it ran (seen[])
 *   - versions of a key strictly grow, over a dropped tombstone too (R7, R18's t.epoch < G)
 *
 * Broken on purpose:
 *   BREAK_R7            g is loaded before the slot is read
 *   BREAK_R11           a delete empties the slot
 *   BREAK_R12_CHAIN     T1 is resized while T0 still is
 *   BREAK_R12_NOFREEZE  the mover copies without freezing
 *   BREAK_R12_FROZEN    the mover passes over FROZEN, of its key's tag, in its destination
 *   BREAK_R12_MOVED     the mover passes over MOVED, of its key's tag, in its destination
 *   BREAK_R12_LEAVE     the mover follows MOVED and MOVED_EMPTY out of its destination
 *   BREAK_R12_DROP      a frozen tombstone is dropped
 *   BREAK_R12_EVICTED   the mover passes over EVICTED, of its key's tag, in its destination
 *   BREAK_R13_EVICT     eviction acts in the old table and in the next one at once: it takes a frozen
 *                       record out
 *   BREAK_R13_DIRECT    a writer that sees next goes to the new table at once
 *   BREAK_R13_FILL      a writer fills an EMPTY of the old table whatever it saw
 *   BREAK_R13_CLEANER   relocation replaces a frozen record in place
 *   BREAK_R13_GIVE_UP   relocation takes a failed CAS as the death of its record
 *   BREAK_R18           a tombstone of the running epoch is dropped
 *   BREAK_R7_EVICT      a record of the running epoch is evicted
 *   HOLDS_SAME_TAG      both keys have one tag
 *   HOLDS_EVICT         one worker evicts; else none does, with both keys of their own tags
 *   HOLDS_R13_NEXT      a writer that sees next but no MOVED of its tag may fill an EMPTY: the CAS
 *                       from EMPTY makes that sound, and readers rely on the same.  To have met
 *                       MOVED of the tag and to fill is what loses keys (BREAK_R13_FILL).
 *   WITNESS_*           interesting states that the model must reach
 */
#define NT 3
#define NS 3
#define GMAX 2

#define EMPTY 0
#define FROZEN 16
#define MOVED_EMPTY 32
#define MOVED(k) (33 + TAG(k)) /* and MOVED_DROPPED: they differ for the top-up only */
#define EVICTED(k) (40 + TAG(k))
#define IS_EVICTED(w) ((w) >= 40)
#ifdef HOLDS_SAME_TAG
#define TAG(k) 0
#else
#define TAG(k) (k)
#endif

#define OTHER_TAG(w, k) \
    (((w) > MOVED_EMPTY && (w) != MOVED(k) && (w) != EVICTED(k)) || (IS_RECORD(w) && TAG(rkey[REC(w)]) != TAG(k)))
#define HOLDS_OTHER(w, k) (IS_RECORD(w) && rkey[REC(w)] != (k))
#define IS_RECORD(w) ((w) != EMPTY && (w) < MOVED_EMPTY)
#define REC(w) ((w) & 15)
#define IS_FROZEN(w) (IS_RECORD(w) && ((w) & FROZEN))
#define SLOT(t, i) slot[(t) * NS + (i)]
#define VERSION(e, n) ((e) * 4 + (n))
#define EPOCH(v) ((v) / 4)

#define K 0
#define J 1
#define NR 5 /* record 1: K's first; 2: J's; 3, 4: what the workers write */

/* ---- the rules, and how to break them ---- */

#ifdef BREAK_R18
#define DROPPABLE(v) 1
#else
#define DROPPABLE(v) (EPOCH(v) < GMAX) /* once G is raised past it */
#endif
#ifdef BREAK_R12_DROP
#define MAY_DROP(w) 1
#else
#define MAY_DROP(w) (!IS_FROZEN(w))
#endif
#ifdef BREAK_R12_NOFREEZE
#define COPIES(w) IS_RECORD(w)
#else
#define COPIES(w) IS_FROZEN(w)
#endif
#ifdef BREAK_R12_FROZEN
#define PASS_FROZEN(x) (IS_FROZEN(x) && !OTHER_TAG(x, rkey[REC(w)]))
#else
#define PASS_FROZEN(x) 0
#endif
#ifdef BREAK_R12_MOVED
#define PASS_MOVED(x) ((x) > MOVED_EMPTY && !IS_EVICTED(x) && !OTHER_TAG(x, rkey[REC(w)]))
#else
#define PASS_MOVED(x) 0
#endif
#ifdef BREAK_R12_LEAVE
#define LEAVE(x) ((x) >= MOVED_EMPTY && !IS_EVICTED(x) && u + 1 < NT && !OTHER_TAG(x, rkey[REC(w)]))
#else
#define LEAVE(x) 0
#endif
#ifdef BREAK_R12_EVICTED
#define PASS_EVICTED(x, s) IS_EVICTED(x)
#else
#define PASS_EVICTED(x, s) (IS_EVICTED(x) && (s) == w) /* it was another key: ours is frozen still */
#endif
#ifdef BREAK_R7_EVICT
#define OUTDATE(v) 0
#else
#define OUTDATE(v) (EPOCH(v) == G && G < GMAX)
#endif
#ifdef BREAK_R13_DIRECT
#define DIRECT(t) (next[t])
#else
#define DIRECT(t) 0
#endif
#if defined(BREAK_R13_FILL)
#define FILLS(t) 1
#elif defined(HOLDS_R13_NEXT)
#define FILLS(t) (!met)
#else
#define FILLS(t) (!met && !next[t])
#endif
#ifdef BREAK_R13_CLEANER
#define IN_PLACE(w) (op == RELOCATE)
#elif defined(BREAK_R13_EVICT)
#define IN_PLACE(w) (op == EVICT)
#else
#define IN_PLACE(w) 0
#endif

/* ---- shared memory ---- */

byte slot[NT * NS];
bit next[NT];
byte root;
byte G = 1;

byte rkey[NR];
bit rtomb[NR];
byte rver[NR];

/* ---- ghost ---- */

byte cur[2];
byte last[2]; /* highest version that the key ever had */
byte seen[2]; /* per worker: bit r: record r was current while it ran; bit 0: none, tombstone */
byte wkey[2];
byte finished;

#define VISIBLE(r) (1 << ((r) * (1 - rtomb[r])))
#define NOTHING(r) ((r) == 0 || rtomb[r])
#define HOLDS(w, k) (IS_RECORD(w) && rkey[REC(w)] == (k))
#define ALONE(t, k) (HOLDS(SLOT(t, 0), k) + HOLDS(SLOT(t, 1), k) + HOLDS(SLOT(t, 2), k) == 1)

inline became(k, r)
{
    cur[k] = r;
    if
    :: wkey[0] == k -> seen[0] = seen[0] | VISIBLE(r)
    :: else
    fi;
    if
    :: wkey[1] == k -> seen[1] = seen[1] | VISIBLE(r)
    :: else
    fi
}

/* Make slot i of t terminal; between the caller's labels moving and moved.  u: the next table. */
inline move(t, i)
{
    atomic {
        w = SLOT(t, i);
        if
        :: w >= MOVED_EMPTY && !IS_EVICTED(w) -> w = 0; goto moved
        :: IS_EVICTED(w) -> SLOT(t, i) = w - 40 + 33; w = 0; goto moved
        :: w == EMPTY -> SLOT(t, i) = MOVED_EMPTY; goto moved
        :: IS_RECORD(w) && rtomb[REC(w)] && DROPPABLE(rver[REC(w)]) && MAY_DROP(w) ->
            if
            :: G == EPOCH(rver[REC(w)]) && G < GMAX -> G++
            :: else
            fi;
            SLOT(t, i) = MOVED(rkey[REC(w)]);
            assert(cur[rkey[REC(w)]] == REC(w));
            became(rkey[REC(w)], 0);
            w = 0;
            goto moved
        :: IS_RECORD(w) && !COPIES(w) -> SLOT(t, i) = w | FROZEN; w = 0; goto moving
        :: COPIES(w) -> u = t + 1; d = 0
        fi
    };
    do
    :: atomic {
        assert(d < NS); /* a mover finds room */
        x = SLOT(u, d);
        if
        :: x == EMPTY ->
            SLOT(u, d) = REC(w);
            assert(cur[rkey[REC(w)]] == REC(w));
            assert(ALONE(u, rkey[REC(w)]));
            break
        :: PASS_MOVED(x) || PASS_FROZEN(x) -> d++
        :: !OTHER_TAG(x, rkey[REC(w)]) && PASS_EVICTED(x, SLOT(t, i)) -> d++
        :: LEAVE(x) -> u++; d = 0
        :: OTHER_TAG(x, rkey[REC(w)]) -> d++
        :: HOLDS_OTHER(x, rkey[REC(w)]) && !IS_FROZEN(x) -> d++
        :: else -> break /* the key; or MOVED_EMPTY, MOVED, FROZEN: it has been done */
        fi
    }
    od;
    atomic {
        /* a plain store: nobody makes anything else of a frozen slot */
        assert(SLOT(t, i) == w || SLOT(t, i) == MOVED(rkey[REC(w)]));
        SLOT(t, i) = MOVED(rkey[REC(w)]);
        u = 0; d = 0; x = 0; w = 0;
        goto moved
    }
}

#define GET 0
#define LOOK 1 /* the cleaner's is_current(): a get that only asks whether this is the record */
#define PUT 2
#define PUTNX 3
#define DELETE 4
#define RELOCATE 5
#define EVICT 6

#define READS (op <= LOOK)

proctype worker(byte me, k, op)
{
    byte t, i, w, d, x, u, g, old;
    bit met; /* MOVED of the key's tag */
    bit root_read;

    atomic {
        if
        :: op == GET || op == PUTNX || op == DELETE -> wkey[me] = k; seen[me] = VISIBLE(cur[k])
        :: else
        fi;
        rkey[3 + me] = k
    }
again:
#ifdef BREAK_R7
    g = G;
#endif
probe:
    atomic {
        if
        :: !root_read -> root_read = 1; t = root; i = 0; met = 0; old = 0
        :: else
        fi;
        if
        :: i == NS && next[t] -> t++; i = 0; met = 0; goto probe
        :: i == NS && !next[t] -> assert(READS); goto act
        :: i < NS && !READS && DIRECT(t) -> t++; i = 0; met = 0; goto probe
        :: else
        fi;
        w = SLOT(t, i);
        if
        :: w == EMPTY && READS && !met -> goto act
        :: w == EMPTY && READS && met -> t++; i = 0; met = 0; goto probe
        :: w == EMPTY && !READS && FILLS(t) -> goto act
        :: w == EMPTY && !READS && !FILLS(t) -> SLOT(t, i) = MOVED_EMPTY; goto probe
        :: w == MOVED_EMPTY -> t++; i = 0; met = 0; goto probe
        :: IS_EVICTED(w) -> i++; goto probe
        :: w > MOVED_EMPTY && !IS_EVICTED(w) -> met = (met || w == MOVED(k)); i++; goto probe
        :: IS_RECORD(w) && rkey[REC(w)] != k -> i++; goto probe
        :: HOLDS(w, k) && (READS || IN_PLACE(w)) -> old = REC(w); goto act
        :: HOLDS(w, k) && !READS && !IS_FROZEN(w) && !next[t] -> old = REC(w); goto act
        :: else -> w = 0
        fi
    };
moving:
    move(t, i);
moved:
    atomic { t++; i = 0; met = 0; goto probe }
act:
    atomic {
        if
        :: op == GET || (op == PUTNX && !NOTHING(old)) || (op == DELETE && NOTHING(old)) ->
            assert(seen[me] & VISIBLE(old));
#ifdef WITNESS_GET
            assert(!(old > 2 && t == 2));
#endif
            goto done
        :: (op == LOOK || op == RELOCATE || op == EVICT) && old != k + 1 -> /* its record is dead, for ever */
            assert(cur[k] != k + 1);
            goto done
        :: op == LOOK && old == k + 1 -> goto done
        :: op == EVICT && old == k + 1 -> /* the word with the epoch: only raised */
            if
            :: OUTDATE(rver[old]) -> G++
            :: else
            fi
        :: op == RELOCATE && old == k + 1 ->
            rtomb[3 + me] = rtomb[old];
            rver[3 + me] = rver[old]
        :: else ->
#ifndef BREAK_R7
            if
            :: true
            :: G < GMAX -> G++
            fi;
            g = G;
#endif
            rtomb[3 + me] = (op == DELETE);
            rver[3 + me] = VERSION(g, 0);
            if
            :: old && rver[old] >= rver[3 + me] -> rver[3 + me] = rver[old] + 1
            :: else
            fi;
            g = 0
        fi
    }
    atomic {
        if
        :: SLOT(t, i) == w && op == EVICT ->
            SLOT(t, i) = EVICTED(k);
            assert(cur[k] == old);
            became(k, 0);
#ifdef WITNESS_EVICTED
            assert(!(t == 1 && root == 0));
#endif
            goto done
        :: SLOT(t, i) == w && op != EVICT ->
            SLOT(t, i) = (3 + me) | (w & FROZEN);
#ifdef BREAK_R11
            if
            :: op == DELETE -> SLOT(t, i) = EMPTY
            :: else
            fi;
#else
            assert(ALONE(t, k));
#endif
            assert(cur[k] == old);
            assert(op == RELOCATE || rver[3 + me] > last[k]);
            last[k] = rver[3 + me];
            became(k, 3 + me);
#ifdef WITNESS_OLD
            assert(!(t == 0 && next[0]));
#endif
#ifdef WITNESS_NEW
            assert(!(t == 1 && root == 0 && old));
#endif
            goto done
#ifdef BREAK_R13_GIVE_UP
        :: SLOT(t, i) != w && op == RELOCATE -> assert(cur[k] != old); goto done
#endif
        :: else -> root_read = 0; goto again
        fi
    }
done:
    atomic {
        wkey[me] = 2;
        seen[me] = 0;
        k = 0; op = 0; t = 0; i = 0; w = 0; old = 0; met = 0; root_read = 0;
        finished++
    }
}

/* Resizes table t: sets next, makes every slot terminal, moves root. */
proctype keeper(byte t)
{
    byte i, w, d, x, u;

    atomic {
#ifdef BREAK_R12_CHAIN
        t == 0 || next[t - 1];
#else
        root == t;
#endif
        next[t] = 1
    }
moving:
    move(t, i);
moved:
    atomic {
        i++;
        if
        :: i < NS -> goto moving
        :: else
        fi
    }
    atomic {
        if
        :: root == t -> root = t + 1
        :: else
        fi;
        i = 0;
        finished++
    }
}

init
{
    byte i, op;
    atomic {
        wkey[0] = 2;
        wkey[1] = 2;
        rkey[1] = K;
        rkey[2] = J;
        rver[1] = VERSION(1, 0);
        rver[2] = VERSION(1, 0);
        if
        :: SLOT(0, 0) = 2; cur[J] = 2; last[J] = rver[2]; i = 1
#ifndef HOLDS_SAME_TAG
        :: true
#endif
        fi;
        if
        :: SLOT(0, i) = 1; cur[K] = 1; last[K] = rver[1]
        :: SLOT(0, i) = 1; cur[K] = 1; last[K] = rver[1]; rtomb[1] = 1
        :: true
        fi;
        if
        :: i == 0 && cur[K] -> SLOT(0, 1) = 2; cur[J] = 2; last[J] = rver[2]
        :: true
        fi;
        i = 0;
        run keeper(0);
        run keeper(1);
#if defined(HOLDS_SAME_TAG) || defined(HOLDS_R13_NEXT)
        if
        :: op = GET
        :: op = PUT
        :: op = DELETE
        :: op = EVICT
        fi;
        run worker(0, K, op);
        if
        :: op = PUT; run worker(1, J, op)
        :: op < DELETE; op = PUT; run worker(1, K, op)
        :: op = DELETE; run worker(1, K, op)
        :: op = EVICT; op = PUT; run worker(1, K, op)
        fi;
#elif defined(HOLDS_EVICT) || defined(BREAK_R12_EVICTED) || defined(BREAK_R13_EVICT) || \
    defined(BREAK_R7_EVICT) || defined(WITNESS_EVICTED)
        run worker(0, K, EVICT);
        if
        :: select(op : GET .. EVICT); run worker(1, K, op)
        :: op = PUT; run worker(1, J, op)
        :: op = DELETE; run worker(1, J, op)
        :: op = EVICT; run worker(1, J, op)
        fi;
#else
        select(op : GET .. RELOCATE);
        run worker(0, K, op);
        if
        :: op != LOOK && op != PUTNX -> op = PUT; run worker(1, J, op)
        :: op != LOOK && op != PUTNX -> op = DELETE; run worker(1, J, op)
        :: select(op : op .. RELOCATE); run worker(1, K, op) /* the rest by symmetry */
        fi;
#endif
        op = 0
    }
    finished == 4;
    /* All is still: the second table is terminal, the third holds what it should, once. */
    d_step {
#ifndef BREAK_R12_CHAIN
        assert(root == 2);
#endif
        i = 0;
        do
        :: i < NS ->
            assert(SLOT(0, i) >= MOVED_EMPTY && !IS_EVICTED(SLOT(0, i)));
            assert(SLOT(1, i) >= MOVED_EMPTY && !IS_EVICTED(SLOT(1, i)));
            assert(!IS_RECORD(SLOT(2, i)) || cur[rkey[REC(SLOT(2, i))]] == SLOT(2, i));
            i++
        :: else -> break
        od;
        assert(!cur[K] || ALONE(2, K));
        assert(!cur[J] || ALONE(2, J))
    }
}
