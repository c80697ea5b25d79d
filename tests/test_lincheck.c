/* SPDX-License-Identifier: MIT */
/* test_lincheck.c - the checker of histories accepts what is possible and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blob.h"
#include "lincheck.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* ---- by hand ------------------------------------------------------------------------------- */

/* Each history is written with the time of its calls first: {start, end, ...}. */
#define GET(p, v, ver)                                                                             \
    .kind = LINCHECK_GET, .process = (p), .done = true, .value = (v), .version = (ver)
#define NONE(p) .kind = LINCHECK_GET, .process = (p)
#define PUT(p, v, ver)                                                                             \
    .kind = LINCHECK_PUT, .process = (p), .done = true, .value = (v), .version = (ver)
#define DEL(p) .kind = LINCHECK_DELETE, .process = (p), .done = true
#define NODEL(p) .kind = LINCHECK_DELETE, .process = (p)
#define ADD(p, v, r) .kind = LINCHECK_ADD, .process = (p), .done = true, .value = (v), .result = (r)
#define CAS(p, e, v, ver)                                                                          \
    .kind = LINCHECK_CAS, .process = (p), .done = true, .expected = (e), .value = (v),             \
    .version = (ver)
#define NOCAS(p, e) .kind = LINCHECK_CAS, .process = (p), .expected = (e)
#define NEW(p, v, ver)                                                                             \
    .kind = LINCHECK_PUT_ABSENT, .process = (p), .done = true, .value = (v), .version = (ver)
#define NONEW(p) .kind = LINCHECK_PUT_ABSENT, .process = (p)
#define NOOLD(p) .kind = LINCHECK_PUT_PRESENT, .process = (p)
#define TAKE(p, v) .kind = LINCHECK_TAKE, .process = (p), .done = true, .value = (v)

static bool possible(const struct lincheck_op *ops, size_t n)
{
    struct lincheck_op copy[16];
    size_t bad;
    assert_true(n <= N(copy));
    memcpy(copy, ops, n * sizeof(*ops));
    return lincheck(copy, n, &bad);
}

#define assert_possible(...)                                                                       \
    do {                                                                                           \
        const struct lincheck_op ops[] = {__VA_ARGS__};                                            \
        assert_true(possible(ops, N(ops)));                                                        \
    } while (0)
#define assert_impossible(...)                                                                     \
    do {                                                                                           \
        const struct lincheck_op ops[] = {__VA_ARGS__};                                            \
        assert_false(possible(ops, N(ops)));                                                       \
    } while (0)

static void one_after_the_other(void **state)
{
    (void)state;
    assert_possible({1, 2, NONE(0)}, {3, 4, PUT(0, 7, 10)}, {5, 6, GET(1, 7, 10)});
    assert_possible({1, 2, PUT(0, 7, 10)}, {3, 4, DEL(1)}, {5, 6, NONE(0)}, {7, 8, NODEL(0)});
    assert_possible({1, 2, ADD(0, 3, 3)}, {3, 4, GET(0, 3, 9)}, {5, 6, ADD(1, 3, 6)});
    assert_possible({1, 2, PUT(0, 7, 10)}, {3, 4, CAS(1, 10, 8, 11)}, {5, 6, NOCAS(0, 10)});
    assert_possible({1, 2, NEW(0, 1, 5)}, {3, 4, NONEW(0)}, {5, 6, TAKE(0, 1)}, {7, 8, NOOLD(0)});
    assert_possible({1, 2, CAS(0, 0, 8, 11)}, {3, 4, NOCAS(0, 0)});
    assert_possible({1, 2, ADD(0, 1, 1)}, {3, 4, NOCAS(0, 5)}); /* whose version nobody knows */
    assert_possible({1, 2, ADD(0, 1, 1)}, {3, 4, CAS(0, 5, 8, 11)});
}

static void a_stale_read_is_impossible(void **state)
{
    (void)state;
    assert_impossible({1, 2, PUT(0, 7, 10)}, {3, 4, PUT(0, 8, 11)}, {5, 6, GET(1, 7, 10)});
    assert_impossible({1, 2, PUT(0, 7, 10)}, {3, 4, NONE(1)});
    assert_impossible({1, 2, GET(0, 7, 10)}, {3, 4, PUT(1, 7, 10)});
    assert_impossible({1, 2, PUT(0, 7, 10)}, {3, 4, GET(1, 8, 10)});
    assert_impossible({1, 2, PUT(0, 7, 10)}, {3, 4, GET(1, 7, 11)});
}

static void two_readers_agree_on_the_order(void **state)
{
    (void)state;
    assert_possible({1, 9, PUT(0, 7, 10)}, {2, 3, NONE(1)}, {4, 5, GET(2, 7, 10)});
    assert_impossible({1, 9, PUT(0, 7, 10)}, {2, 3, GET(1, 7, 10)}, {4, 5, NONE(2)});
}

static void a_deleted_key_stays_deleted(void **state)
{
    (void)state;
    assert_impossible({1, 2, PUT(0, 7, 10)}, {3, 4, DEL(1)}, {5, 6, GET(0, 7, 10)});
    assert_impossible({1, 2, PUT(0, 7, 10)}, {3, 4, DEL(1)}, {5, 6, DEL(0)});
    assert_impossible({1, 2, PUT(0, 7, 10)}, {3, 6, DEL(1)}, {4, 7, TAKE(0, 7)});
}

static void of_two_winners_one_is_impossible(void **state)
{
    (void)state;
    assert_impossible({1, 2, PUT(0, 7, 10)}, {3, 6, CAS(0, 10, 8, 11)}, {4, 7, CAS(1, 10, 9, 12)});
    assert_impossible({1, 5, NEW(0, 7, 10)}, {2, 6, NEW(1, 8, 11)});
    assert_possible({1, 5, NEW(0, 7, 10)}, {2, 6, NONEW(1)});
    assert_impossible({1, 5, NONEW(0)}, {2, 6, NONEW(1)});
}

static void a_lost_update_is_impossible(void **state)
{
    (void)state;
    assert_possible({1, 5, ADD(0, 1, 2)}, {2, 6, ADD(1, 1, 1)});
    assert_impossible({1, 5, ADD(0, 1, 1)}, {2, 6, ADD(1, 1, 1)});
    assert_impossible({1, 2, ADD(0, 1, 2)}, {3, 6, ADD(1, 1, 1)});
}

static void versions_grow(void **state)
{
    (void)state;
    assert_impossible({1, 2, PUT(0, 7, 10)}, {3, 4, PUT(0, 8, 10)});
    assert_impossible({1, 2, PUT(0, 7, 10)}, {3, 4, DEL(0)}, {5, 6, PUT(0, 7, 9)});
    assert_impossible({1, 2, PUT(0, 7, 10)}, {3, 4, ADD(0, 1, 8)}, {5, 6, GET(0, 8, 10)});
    assert_possible({1, 2, PUT(0, 7, 10)}, {3, 4, ADD(0, 1, 8)}, {5, 6, GET(0, 8, 12)});
    assert_impossible({1, 2, ADD(0, 1, 1)}, {3, 4, GET(0, 1, 12)}, {5, 6, GET(0, 1, 13)});
}

static void a_killed_call_may_have_an_effect_or_none(void **state)
{
    const uint64_t never = LINCHECK_NO_END;
    (void)state;
    assert_possible({1, never, PUT(0, 7, 0)}, {3, 4, GET(1, 7, 10)});
    assert_possible({1, never, PUT(0, 7, 0)}, {3, 4, NONE(1)});
    assert_possible({1, never, PUT(0, 7, 0)}, {3, 4, NONE(1)}, {5, 6, GET(1, 7, 10)});
    assert_impossible({1, never, PUT(0, 7, 0)}, {3, 4, GET(1, 7, 10)}, {5, 6, NONE(1)});
    assert_impossible({5, never, PUT(0, 7, 0)}, {3, 4, GET(1, 7, 10)});
    assert_possible({1, never, ADD(0, 5, 0)}, {2, 3, ADD(1, 1, 1)}, {4, 5, ADD(1, 1, 7)});
    assert_possible({1, 2, PUT(1, 7, 10)}, {1, never, TAKE(0, 0)}, {4, 5, NONE(1)});
}

static void the_bad_call_is_named(void **state)
{
    struct lincheck_op ops[] = {
        {5, 6, GET(1, 7, 10)}, {1, 2, PUT(0, 7, 10)}, {7, 8, NONE(1)}, {9, 10, GET(1, 7, 10)}};
    size_t bad = 99;
    char text[200];
    (void)state;
    assert_false(lincheck(ops, N(ops), &bad));
    assert_int_equal(ops[bad].start, 7);
    lincheck_describe(&ops[bad], text, sizeof(text));
    assert_non_null(strstr(text, "7..8: get not done"));
}

/* ---- against trying every order ------------------------------------------------------------ */

#define SMALL 7u

struct model {
    uint64_t value, version, highest;
    bool present;
};

static bool model_write(struct model *m, uint64_t value, uint64_t version)
{
    if (version <= m->highest)
        return false;
    *m = (struct model){.value = value, .version = version, .highest = version, .present = true};
    return true;
}

/* What the call returns from this state, if it is done as it says. */
static bool model_step(struct model *m, const struct lincheck_op *op)
{
    bool matches = op->expected == 0 ? !m->present : m->present && m->version == op->expected;
    switch (op->kind) {
    case LINCHECK_GET:
        return op->done ? m->present && m->value == op->value && m->version == op->version
                        : !m->present;
    case LINCHECK_PUT:
        return model_write(m, op->value, op->version);
    case LINCHECK_PUT_ABSENT:
        return op->done != m->present && (!op->done || model_write(m, op->value, op->version));
    case LINCHECK_PUT_PRESENT:
        return op->done == m->present && (!op->done || model_write(m, op->value, op->version));
    case LINCHECK_CAS:
        return op->done == matches && (!op->done || model_write(m, op->value, op->version));
    case LINCHECK_ADD:
        return op->result == (m->present ? m->value : 0) + op->value &&
               model_write(m, op->result, op->version);
    default:
        if (op->done != m->present ||
            (op->kind == LINCHECK_TAKE && op->done && op->value != m->value))
            return false;
        m->present = m->present && !op->done;
        return true;
    }
}

/* Is there an order of the calls not in @placed, none before one that ended before it began? */
static bool try_orders(const struct lincheck_op *ops, size_t n, unsigned placed, struct model m)
{
    if (placed == (1u << n) - 1)
        return true;
    for (size_t i = 0; i < n; i++) {
        bool first = (placed & 1u << i) == 0;
        for (size_t k = 0; k < n && first; k++)
            first = (placed & 1u << k) != 0 || ops[k].end >= ops[i].start;
        struct model then = m;
        if (first && model_step(&then, &ops[i]) && try_orders(ops, n, placed | 1u << i, then))
            return true;
    }
    return false;
}

/* Give the call the result that it has from this state. */
static void make_result(struct model *m, struct lincheck_op *op)
{
    struct model before = *m;
    op->version = m->highest + 1;
    op->result = (m->present ? m->value : 0) + op->value;
    if (op->kind == LINCHECK_GET || op->kind == LINCHECK_TAKE) {
        op->value = m->value;
        op->version = m->version;
    }
    op->done = true;
    if (model_step(m, op))
        return;
    *m = before;
    op->done = false;
    if (op->kind == LINCHECK_GET)
        op->value = op->version = 0;
    assert_true(model_step(m, op));
}

/* A history as it can be: calls of three processes that take effect in the order of the array. */
static void make_history(struct lincheck_op *ops, size_t n, uint64_t *random)
{
    struct model m = {.present = false};
    uint64_t free_from[3] = {0, 0, 0};
    for (size_t i = 0; i < n; i++) {
        uint64_t x = blob_random(random), effect = 100 * (i + 1);
        uint32_t process = (uint32_t)(x % 3);
        uint64_t start = effect - (x >> 8) % 300 % effect;
        uint64_t end = effect + (x >> 20) % 300;
        for (uint32_t p = 0; p < 3 && free_from[process] >= effect; p++)
            process = p;
        if (free_from[process] >= effect) {
            ops[i] = ops[i - 1]; /* all are busy: a second effect-free look by a fourth */
            ops[i].process = (uint32_t)(3 + i);
            ops[i].kind = LINCHECK_GET;
            start = end = effect;
        } else {
            ops[i].kind = (enum lincheck_kind)((x >> 32) % 8);
            ops[i].process = process;
        }
        ops[i].start = start > free_from[process] ? start : free_from[process] + 1;
        ops[i].end = end;
        ops[i].value = 1 + (x >> 40) % 3;
        ops[i].expected = (x >> 50) % 2 == 0 ? m.version : (x >> 51) % 4;
        if (ops[i].process < 3)
            free_from[process] = end;
        make_result(&m, &ops[i]);
    }
}

static void change_one(struct lincheck_op *op, uint64_t x)
{
    switch (x % 5) {
    case 0:
        op->done = !op->done;
        break;
    case 1:
        op->version += 1 + x / 8 % 2;
        break;
    case 2:
        op->value ^= 1;
        break;
    case 3:
        op->result ^= 1;
        break;
    default:
        op->expected ^= 1;
    }
}

/* What an operation that is not done would not tell. */
static bool sensible(const struct lincheck_op *op)
{
    bool writes = op->kind == LINCHECK_PUT || op->kind == LINCHECK_ADD;
    return op->done ? op->version != 0 || op->kind == LINCHECK_DELETE || op->kind == LINCHECK_TAKE
                    : !writes;
}

static void it_agrees_with_trying_every_order(void **state)
{
    uint64_t random = 1;
    unsigned yes = 0, no = 0;
    (void)state;
    for (unsigned round = 0; round < 200000; round++) {
        struct lincheck_op ops[SMALL];
        const struct model absent = {.present = false};
        size_t n = 1 + blob_random(&random) % SMALL, bad;
        memset(ops, 0, sizeof(ops));
        make_history(ops, n, &random);
        size_t which = blob_random(&random) % n;
        if (round % 3 != 0)
            change_one(&ops[which], blob_random(&random));
        if (!sensible(&ops[which]))
            continue;
        bool expected = try_orders(ops, n, 0, absent);
        if (round % 3 == 0)
            assert_true(expected);
        if (lincheck(ops, n, &bad) != expected)
            fail_msg("round %u: expected %d", round, expected);
        *(expected ? &yes : &no) += 1;
    }
    assert_true(yes > 50000 && no > 30000);
}

/* ---- how long it takes --------------------------------------------------------------------- */

static void long_histories_take_no_time(void **state)
{
    const size_t n = 100000;
    struct lincheck_op *ops = calloc(n, sizeof(*ops));
    size_t bad;
    (void)state;
    for (size_t i = 0; i < n; i++) { /* each overlaps with the fifteen before it */
        ops[i] = (struct lincheck_op){.start = 10 * i + 1, .end = 10 * i + 155, PUT(0, i, i + 1)};
        ops[i].process = (uint32_t)(i % 16);
    }
    assert_true(lincheck(ops, n, &bad));
    ops[n / 2].version = n / 2 - 100;
    assert_false(lincheck(ops, n, &bad));
    free(ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_after_the_other),
        cmocka_unit_test(a_stale_read_is_impossible),
        cmocka_unit_test(two_readers_agree_on_the_order),
        cmocka_unit_test(a_deleted_key_stays_deleted),
        cmocka_unit_test(of_two_winners_one_is_impossible),
        cmocka_unit_test(a_lost_update_is_impossible),
        cmocka_unit_test(versions_grow),
        cmocka_unit_test(a_killed_call_may_have_an_effect_or_none),
        cmocka_unit_test(the_bad_call_is_named),
        cmocka_unit_test(it_agrees_with_trying_every_order),
        cmocka_unit_test(long_histories_take_no_time),
    };
    return cmocka_run_group_tests_name("lincheck", tests, NULL, NULL);
}
