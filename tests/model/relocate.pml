/* SPDX-License-Identifier: MIT */
/*
 * relocate.pml - the cleaner moves a live record while others write, read and clean (R5, R8, R9).
 *
 * Four segments with room for one record each, one key, one slot: it holds a segment number.
 * Writers put, or delete; cleaners claim a full segment, relocate its record if it is the current
 * one, and retire the segment.  A segment that was retired is used again, at the same place, so the
 * slot's word comes back with another meaning (ABA).  Either two writers and a reader meet one
 * cleaner; or a writer meets two cleaners, and one claim is taken away from its cleaner at any
 * step, as a reaper does, though it lives on: more than may happen, so that the claim is not what
 * everything hangs on.
 *
 * Steps are those of write_section() and publish() (writer), index_relocate() with copy_and_swing()
 * (cleaner) in index.c, and of cleaner_step() in cleaner.c.  A grace period is modelled by its effect (grace.pml):
 * held[s] names those who were in a section when s was retired and are in it still.
 *
 * Ghost: newest is the version of the key, value[s] the version that stands in segment s.
 *   - a put or delete supersedes what it has read; a relocation moves what it has copied
 *   - nobody reads a segment that has another life than the one the slot led to
 *   - the slot never leads to a segment that is free, or open for another's use
 *
 * Broken on purpose:
 *   BREAK_R5_READER   the reader follows the slot outside of a section
 *   BREAK_R5_WRITER   a writer finds in one section and publishes in another
 *   BREAK_R5_COPY     a cleaner copies in one section and swings the slot in another
 *   BREAK_R5_CLAIM    a cleaner does not check, inside the section, that the claim is still its own
 *   BREAK_R6_GRACE    a retired segment is reused at once
 *   BREAK_R6_EARLY    it is retired in an epoch loaded before the slot was changed
 *   BREAK_R8_SHARED   a cleaner copies to a segment that it does not own
 *   BREAK_R11_STORE   a cleaner stores to the slot instead of a CAS
 *   BREAK_R18_DROP    a cleaner takes a current tombstone for dead
 *   WITNESS_*         interesting states that the model must reach
 */
#define SEGMENTS 4
#define CLEANERS 2
#define NONE 4

#define FREE 0
#define OPEN 1
#define SEALED 2
#define CLEANING 3
#define LIMBO 4

/* Participants: 0 and 1 write, 2 and 3 clean, 4 reads. */
#define PARTICIPANTS 5

/* ---- shared memory ---- */

byte state[SEGMENTS];
byte who[SEGMENTS];
byte value[SEGMENTS]; /* the version stands for the whole record */
bit tomb[SEGMENTS];
byte slot;
bit inside[PARTICIPANTS];

/* ---- ghost ---- */

byte held[SEGMENTS];
byte newest = 1;
bit removed;

#define INSIDE_NOW (inside[0] + 2 * inside[1] + 4 * inside[2] + 8 * inside[3] + 16 * inside[4])

inline leave(p)
{
    inside[p] = 0;
    held[0] = held[0] & (31 - (1 << p));
    held[1] = held[1] & (31 - (1 << p));
    held[2] = held[2] & (31 - (1 << p));
    held[3] = held[3] & (31 - (1 << p))
}

#ifdef BREAK_R6_GRACE
#define USABLE(s) (state[s] == FREE || state[s] == LIMBO)
#else
#define USABLE(s) (state[s] == FREE || (state[s] == LIMBO && held[s] == 0))
#endif

/* append_reserve(): any segment that may be used; NONE if there is none. */
inline reserve(p, s)
{
    s = NONE;
    if
    :: USABLE(0) -> s = 0
    :: !USABLE(0) && USABLE(1) -> s = 1
    :: !USABLE(0) && !USABLE(1) && USABLE(2) -> s = 2
    :: !USABLE(0) && !USABLE(1) && !USABLE(2) && USABLE(3) -> s = 3
    :: else
    fi;
    if
    :: s != NONE ->
        assert(slot != s);
        state[s] = OPEN; who[s] = p; value[s] = 0; tomb[s] = 0; held[s] = 0
    :: else
    fi
}

#define CHECK_SLOT assert(state[slot] != FREE && state[slot] != LIMBO)

proctype writer(byte me, puts; bit deletes)
{
    byte s, old, v;

next_put:
    atomic {
        reserve(me, s);
        if
        :: s == NONE -> goto done /* no room: not our subject */
        :: else -> inside[me] = 1
        fi
    }
again:
    old = slot;
    atomic {
        v = value[old] + 1;
        value[s] = v;
        tomb[s] = deletes
    }
#ifdef BREAK_R5_WRITER
    atomic { leave(me) }
    inside[me] = 1;
#endif
    atomic {
        if
        :: slot == old ->
            assert(v == newest + 1);
            slot = s;
            newest = v;
            removed = deletes
        :: else -> goto again
        fi
    }
    atomic { /* `used` passes the record, and the segment is full */
        state[s] = SEALED; who[s] = 0;
        leave(me);
        s = 0; old = 0; v = 0; puts--;
        if
        :: puts -> goto next_put
        :: else
        fi
    }
done:
    skip
}

proctype cleaner(byte me, victims)
{
    byte s, d, v, e;
    bit t;

end_victim:
    atomic {
        if
        :: !victims -> goto done
        :: victims && state[0] == SEALED -> s = 0
        :: victims && state[1] == SEALED -> s = 1
        :: victims && state[2] == SEALED -> s = 2
        :: victims && state[3] == SEALED -> s = 3
        fi;
        victims--;
        state[s] = CLEANING; who[s] = me
    }
#ifdef BREAK_R6_EARLY
    e = INSIDE_NOW;
#endif
    atomic {
#ifdef BREAK_R8_SHARED
        d = 3; /* wherever */
#else
        reserve(me, d);
#endif
        if
        :: d == NONE ->
            if
            :: state[s] == CLEANING && who[s] == me -> state[s] = SEALED; who[s] = 0
            :: else
            fi;
            goto end_victim
        :: else -> inside[me] = 1
        fi
    }
    atomic {
        if
        :: state[s] == CLEANING && who[s] == me
#ifdef BREAK_R5_CLAIM
        :: else
#else
        :: else -> goto dead /* not ours any more */
#endif
        fi
    }
    atomic { v = value[s]; t = tomb[s]; value[d] = v; tomb[d] = t }
#ifdef BREAK_R5_COPY
    atomic { leave(me) }
    inside[me] = 1;
#endif
#ifdef BREAK_R11_STORE
    atomic {
        if
        :: slot != s -> goto dead
        :: else
        fi
    }
#endif
    atomic { /* the find and the CAS: one that fails is repeated, and finds another record */
        if
#ifdef BREAK_R11_STORE
        :: true -> slot = d
#endif
#ifdef BREAK_R18_DROP
        :: slot == s && t -> goto dead
#endif
        :: slot == s -> slot = d
        :: slot != s -> goto dead
        fi;
        assert(v == newest && t == removed);
#ifdef WITNESS_TOMBSTONE
        assert(!t);
#endif
#ifdef WITNESS_AGAIN
        assert(d != 0);
#endif
        state[d] = SEALED; who[d] = 0;
        leave(me);
        goto retire
    }
dead:
    atomic { /* the room is taken back: nobody has seen what stood there */
        if
        :: state[d] == OPEN && who[d] == me -> state[d] = FREE; who[d] = 0
        :: else
        fi;
        value[d] = 0; tomb[d] = 0;
        leave(me)
    }
retire:
#ifndef BREAK_R6_EARLY
    e = INSIDE_NOW;
#endif
    atomic {
        if
        :: state[s] == CLEANING && who[s] == me ->
            state[s] = LIMBO; who[s] = 0;
            held[s] = e & INSIDE_NOW;
            CHECK_SLOT
        :: else
        fi;
        s = 0; d = 0; v = 0; t = 0; e = 0;
        goto end_victim
    }
done:
    skip
}

/* Takes one claim away from its cleaner. */
proctype revoker()
{
end:
    atomic {
        if
        :: state[0] == CLEANING -> state[0] = SEALED; who[0] = 0
        :: state[1] == CLEANING -> state[1] = SEALED; who[1] = 0
        :: state[2] == CLEANING -> state[2] = SEALED; who[2] = 0
        :: state[3] == CLEANING -> state[3] = SEALED; who[3] = 0
        fi
    }
}

proctype reader()
{
    byte s, v;

#ifndef BREAK_R5_READER
    inside[4] = 1;
#endif
    atomic { s = slot; v = value[s] }
    assert(value[s] == v && state[s] != FREE);
    atomic { leave(4); s = 0; v = 0 }
}

init
{
    atomic {
        state[0] = SEALED;
        value[0] = 1;
        if
        :: tomb[0] = 1; removed = 1
        :: true
        fi;
        run cleaner(2, 2);
        if
        :: run writer(0, 2, 0); run writer(1, 1, 0); run reader()
        :: run writer(0, 1, 0); run writer(1, 1, 1); run reader()
        :: run writer(0, 2, 0); run cleaner(3, 1); run revoker()
        :: run writer(0, 1, 1); run cleaner(3, 1); run revoker()
        fi
    }
}
