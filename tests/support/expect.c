/* SPDX-License-Identifier: MIT */
/* expect.c - see expect.h.  All orders are seq_cst: tests need no speed. */
#include "expect.h"

bool expect_take(struct expect *e, unsigned who)
{
    uint64_t nobody = 0;
    return cas_seq_cst(&e->owner, &nobody, who + 1ull);
}

void expect_release(struct expect *e)
{
    store_seq_cst(&e->owner, 0);
}

uint64_t expect_intend(struct expect *e, bool present)
{
    uint64_t sequence = add_seq_cst(&e->given, 1) + 1;
    store_seq_cst(&e->intended, expect_state(sequence, present));
    return sequence;
}

void expect_acked(struct expect *e)
{
    store_seq_cst(&e->acked, load_seq_cst(&e->intended));
}

void expect_failed(struct expect *e)
{
    store_seq_cst(&e->intended, load_seq_cst(&e->acked));
}

static bool matches(uint64_t state, uint64_t found)
{
    return expect_present(found) ? state == found : !expect_present(state);
}

bool expect_resolve(struct expect *e, uint64_t found)
{
    uint64_t acked = load_seq_cst(&e->acked), intended = load_seq_cst(&e->intended);
    if (!matches(acked, found) && !matches(intended, found))
        return false;
    store_seq_cst(&e->acked, matches(intended, found) ? intended : acked);
    store_seq_cst(&e->intended, load_seq_cst(&e->acked));
    return true;
}

bool expect_possible(uint64_t before, uint64_t after, uint64_t found)
{
    if (!expect_present(found))
        return !expect_present(before) || expect_sequence(after) > expect_sequence(before);
    return expect_sequence(found) >= expect_sequence(before) &&
           expect_sequence(found) <= expect_sequence(after);
}
