/* SPDX-License-Identifier: MIT */
/*
 * publish.pml - publication, and deciding what a dead, stopped or live writer did (R9, R10); the
 * cut that a checkpoint makes of it (section 8; R7).
 *
 * Writer 0 puts key K, perhaps only if it is absent, then puts K again or key J.  A first put whose
 * condition fails is abandoned and its space reused.  Writer 1 puts K.  Beside these two, either a
 * reaper kills writer 0 at any step and decides its record in flight, or a checkpointer makes a
 * cut; or writer 0 puts once, a third writer reads K and then puts J, and a checkpointer makes a
 * cut.  Everybody may stall at any step.
 *
 * Steps are those of publish() and write_section() in index.c (writer), decide_inflight() in reap.c
 * (reaper) and index_decide() (decide), which, since the writer may live, reads first word and
 * version again.  The checkpointer raises G, decides, and then reads each `used`.  A record has
 * three parts that are written and read one by one: crc and PUBLISHED, version, the rest (body).
 * What the crc is good for is not modelled: half a record may lead anywhere.
 * The interleaving is sequentially consistent: `inflight` is stored before the CAS (release), which
 * orders it for who sees the CAS or what follows from it.
 *
 * pan options: -E
 *
 * Ghost: published[c]: the content c was published by a CAS.
 *   - decided published: it was; decided void by the reaper: it was not
 *   - the cut holds no record that was not published
 *   - the cut's winner for K is at least what K was when G was raised
 *   - the cut never holds writer 2's put without what it had read of K (causal)
 *
 * Broken on purpose:
 *   BREAK_R7           the epoch is loaded before the slot is read
 *   BREAK_R9_USED      a record whose publication failed is left under `used`
 *   BREAK_R9_INFLIGHT  inflight = 0 before `used` passes the record
 *   BREAK_R10_MARK     the superseder does not set PUBLISHED on the old record
 *   BREAK_R10_ORDER    it does so after its own CAS
 *   BREAK_R10_SLOT     decided by the slot alone
 *   BREAK_R10_COPY     PUBLISHED is looked at in the first reading
 *   BREAK_R10_REREAD   a record that changed meanwhile is not taken for void
 *   BREAK_CUT_USED     `used` is read before `inflight`
 *   BREAK_CUT_RAISE    G is raised after `inflight` was decided
 *   WITNESS_*          interesting states that the model must reach
 */
#define WRITERS 3
#define PLACES 4 /* records: 0 and 1 are writer 0's, 2 is writer 1's, 3 writer 2's */
#define CONTENTS 5
#define VERSION(e, n) ((e) * 4 + (n))
#define EPOCH(v) ((v) / 4)
#define CRC(c, v) ((c) * 16 + (v))

#define K 0
#define J 1

/* ---- shared memory ---- */

byte crc[PLACES];
bit pub[PLACES];
byte ver[PLACES];
byte body[PLACES]; /* content: 1, 2: writer 0's puts; 3: writer 1's; 4: writer 2's; 0: none */

byte slot[2]; /* place + 1 */
byte G = 1;
byte inflight[WRITERS]; /* place + 1 */
byte used[WRITERS];     /* records */
byte dead = 255; /* the process that was killed */
byte victim;     /* writer 0's */

/* ---- ghost ---- */

bit key[CONTENTS];
bit published[CONTENTS];
byte newest;  /* version of K */
byte cause;   /* version of K that writer 2 had read */

#define BASE(w) ((w) + ((w) > 0)) /* the writer's first place */

#define CRC_GOOD (cb && cc == CRC(cb, cv))
#ifdef BREAK_R10_REREAD
#define CHANGED 0
#else
#define CHANGED (cc != c2 || cv != v2)
#endif
#ifdef BREAK_R10_SLOT
#define MARKED 0
#else
#define MARKED p2
#endif

/* The content at a was published: its place is not written again before it is decided. */
#define REALLY(a) (published[body[a]] && crc[a] == CRC(body[a], ver[a]))

proctype writer(byte me, puts; bit nx) provided (dead != _pid)
{
    byte c, old, g, v, at;
    bit k;

    at = BASE(me);
    c = me + (me > 0) + 1;
    if
    :: me == 2 -> k = J;
#ifdef BREAK_R7
        g = G;
#endif
        atomic {
            if
            :: slot[K] -> cause = ver[slot[K] - 1]
            :: else
            fi
        }
    :: else
    fi;
next_put:
    atomic { key[c] = k; pub[at] = 0; body[at] = c }
again:
    atomic {
        old = slot[k];
        if
        :: nx && old -> goto abandon
        :: else
        fi
    }
    atomic {
#ifdef BREAK_R7
        if
        :: me != 2 -> g = G
        :: else
        fi;
#else
        g = G;
#endif
        v = VERSION(g, 0);
        if
        :: old && ver[old - 1] >= v -> v = ver[old - 1] + 1
        :: else
        fi;
        g = 0
    }
    ver[at] = v;
    crc[at] = CRC(c, v);
    atomic { inflight[me] = at + 1 }
#if !defined(BREAK_R10_MARK) && !defined(BREAK_R10_ORDER)
    if
    :: old -> pub[old - 1] = 1
    :: else
    fi;
#endif
    atomic {
        if
        :: slot[k] == old ->
            slot[k] = at + 1;
            published[c] = 1;
            if
            :: k == K -> assert(v > newest); newest = v
            :: else
            fi
        :: else -> old = 0; goto again
        fi
    }
#ifdef BREAK_R10_ORDER
    if
    :: old -> pub[old - 1] = 1
    :: else
    fi;
#endif
    pub[at] = 1;
#ifdef BREAK_R9_INFLIGHT
    inflight[me] = 0;
    atomic { used[me]++; goto decided }
#else
    used[me]++;
    atomic { inflight[me] = 0; goto decided }
#endif
decided:
    at++;
next:
    atomic {
        nx = 0; v = 0; old = 0; puts--;
        if
        :: puts && me == 0 ->
            c = 2;
            if
            :: k = K
            :: k = J
            fi;
            goto next_put
        :: else -> goto done
        fi
    }
abandon:
#ifdef BREAK_R9_USED
    used[me]++;
    at++;
#endif
    atomic { inflight[me] = 0; goto next }
done:
    atomic { c = 0; k = 0; at = 0; g = 0 }
}

/* decide(a): the result is `was`; cc to p2 are the caller's scratch. */
inline decide(a, was)
{
    atomic { cc = crc[a]; p2 = pub[a] }
    cv = ver[a];
    cb = body[a];
    if
    :: CRC_GOOD ->
        s = slot[key[cb]];
#ifndef BREAK_R10_COPY
        v2 = ver[a];
        atomic { c2 = crc[a]; p2 = pub[a] }
#else
        atomic { v2 = cv; c2 = cc }
#endif
        atomic {
            if
            :: CHANGED -> was = 0
            :: !(CHANGED) && s == a + 1 -> was = 1
            :: else -> was = MARKED
            fi;
            assert(!was || published[cb]);
#ifdef WITNESS_CHANGED
            assert(cc == c2);
#endif
#ifdef WITNESS_MARKED
            assert(!(was && s != a + 1));
#endif
        }
    :: else -> was = 0
    fi;
    atomic { cc = 0; cv = 0; cb = 0; s = 0; v2 = 0; c2 = 0; p2 = 0 }
}

/* Kills writer 0 and decides for it. */
proctype reaper()
{
    byte a, cc, cv, cb, s, v2, c2;
    bit p2, was;

    atomic { inflight[0] -> dead = victim; a = inflight[0] - 1 }
    if
    :: a - BASE(0) >= used[0] ->
        decide(a, was);
        atomic {
            assert(was == (slot[key[body[a]]] == a + 1 || REALLY(a)));
            if
            :: was -> used[0] = a + 1
            :: else
            fi
        }
    :: else
    fi;
    atomic { inflight[0] = 0; a = 0; was = 0 }
}

proctype checkpointer()
{
    byte a, cc, cv, cb, s, v2, c2;
    bit p2, was;
    byte w, E, u, least, best;
    byte bytes[WRITERS];

#ifndef BREAK_CUT_RAISE
    atomic { E = G; G++; least = newest } /* and membarrier */
#endif
    do
    :: w < WRITERS ->
#ifdef BREAK_CUT_USED
        bytes[w] = used[w];
#endif
        a = inflight[w];
        if
        :: a ->
            u = used[w];
            if
            :: a - 1 - BASE(w) >= u ->
                decide(a - 1, was);
                atomic {
                    if
                    :: was -> bytes[w] = a - BASE(w)
                    :: else
                    fi;
                    was = 0
                }
            :: else
            fi
        :: else
        fi;
        atomic { w++; u = 0; a = 0 }
    :: else -> break
    od;
#ifdef BREAK_CUT_RAISE
    atomic { E = G; G++; least = newest }
#endif
    w = 0;
#ifndef BREAK_CUT_USED
    do
    :: atomic { w < WRITERS ->
        if
        :: used[w] > bytes[w] -> bytes[w] = used[w]
        :: else
        fi;
        w++ }
    :: else -> break
    od;
#endif
    atomic { /* recovery: the highest version of K; what the cut holds was published */
        w = 0;
        do
        :: w < PLACES ->
            u = (w < 2 -> 0 : w - 1); /* whose place */
            if
            :: w - BASE(u) < bytes[u] && EPOCH(ver[w]) <= E ->
                assert(published[body[w]]);
                if
                :: key[body[w]] == K && ver[w] > best -> best = ver[w]
                :: else
                fi
            :: else
            fi;
            w++
        :: else -> break
        od;
        assert(best >= least);
        assert(!(bytes[2] && EPOCH(ver[3]) <= E) || best >= cause);
#ifdef WITNESS_EFFECT
        assert(!(bytes[2] && EPOCH(ver[3]) <= E && cause));
#endif
#ifdef WITNESS_LATE
        assert(!(bytes[1] && EPOCH(ver[2]) > E));
#endif
        w = 0; u = 0; best = 0; least = 0
    }
}

init
{
    atomic {
        if
        :: victim = run writer(0, 2, 1); run writer(1, 1, 0); run reaper()
        :: run writer(0, 2, 1); run writer(1, 1, 0); run checkpointer()
        :: run writer(0, 2, 0); run writer(1, 1, 0); run checkpointer()
        :: victim = run writer(0, 2, 0); run writer(1, 1, 0); run reaper()
        :: run writer(0, 1, 0); run writer(1, 1, 0); run writer(2, 1, 0); run checkpointer()
        fi
    }
}
