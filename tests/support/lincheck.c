/* SPDX-License-Identifier: MIT */
/* lincheck.c - see lincheck.h. */
#include "lincheck.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the key ------------------------------------------------------------------------------- */

/* What a key is.  A call that does not tell the version it wrote leaves it unknown. */
struct state {
    uint64_t value;
    uint64_t version; /* 0: absent, or unknown */
    uint64_t floor;   /* versions from now on are larger */
    bool present;
};

static bool version_fits(const struct state *s, uint64_t version)
{
    return s->version != 0 ? version == s->version : version > s->floor;
}

/* Somebody wrote, and was told @version, or was not (0). */
static bool write_value(struct state *s, uint64_t value, uint64_t version)
{
    uint64_t floor = s->version > s->floor ? s->version : s->floor;
    if (version != 0 && version <= floor)
        return false;
    *s = (struct state){.value = value, .version = version, .floor = floor, .present = true};
    return true;
}

static void remove_value(struct state *s)
{
    uint64_t floor = s->version > s->floor ? s->version : s->floor;
    *s = (struct state){.floor = floor};
}

static bool get(struct state *s, const struct lincheck_op *op)
{
    if (!op->done)
        return !s->present;
    if (!s->present || s->value != op->value || !version_fits(s, op->version))
        return false;
    s->version = op->version;
    return true;
}

static bool cas(struct state *s, const struct lincheck_op *op)
{
    bool unknown = s->present && s->version == 0;
    bool may_match = op->expected == 0 ? !s->present : s->present && version_fits(s, op->expected);
    if (!op->done) /* with an unknown version either is possible */
        return !may_match || (unknown && op->expected != 0);
    if (!may_match)
        return false;
    if (unknown)
        s->version = op->expected;
    return write_value(s, op->value, op->version);
}

static bool take(struct state *s, const struct lincheck_op *op)
{
    if (!op->done)
        return !s->present;
    if (!s->present || (op->kind == LINCHECK_TAKE && s->value != op->value))
        return false;
    remove_value(s);
    return true;
}

static bool add(struct state *s, const struct lincheck_op *op)
{
    uint64_t sum = (s->present ? s->value : 0) + op->value;
    return sum == op->result && write_value(s, sum, op->version);
}

/* Let @op take effect; false: it could not have returned what it has. */
static bool apply(struct state *s, const struct lincheck_op *op)
{
    switch (op->kind) {
    case LINCHECK_GET:
        return get(s, op);
    case LINCHECK_PUT:
        return write_value(s, op->value, op->version);
    case LINCHECK_PUT_ABSENT:
        return op->done ? !s->present && write_value(s, op->value, op->version) : s->present;
    case LINCHECK_PUT_PRESENT:
        return op->done ? s->present && write_value(s, op->value, op->version) : !s->present;
    case LINCHECK_CAS:
        return cas(s, op);
    case LINCHECK_DELETE:
    case LINCHECK_TAKE:
        return take(s, op);
    case LINCHECK_ADD:
        return add(s, op);
    }
    return false;
}

/* The same for a call that did not return: one that changes nothing need not take effect. */
static bool apply_endless(struct state *s, const struct lincheck_op *op)
{
    struct lincheck_op done = *op;
    done.done = true;
    done.version = 0;
    if (op->kind == LINCHECK_GET)
        return false;
    if (op->kind == LINCHECK_TAKE)
        done.value = s->value;
    if (op->kind == LINCHECK_ADD)
        done.result = (s->present ? s->value : 0) + op->value;
    return apply(s, &done);
}

/* ---- the set ------------------------------------------------------------------------------- */

struct configuration {
    struct state s;
    uint64_t effective; /* processes whose call under way has taken effect */
};

/* Without duplicates: open addressing over indices into @of. */
struct set {
    struct configuration *of;
    size_t count, room;
    uint32_t *places; /* 2 * room, a power of two; index + 1 */
};

struct search {
    const struct lincheck_op *under_way[LINCHECK_PROCESSES];
    uint64_t calls; /* bit of each process that has one */
    struct set now, next;
};

static uint64_t hash_of(const struct configuration *c)
{
    const uint64_t words[] = {c->s.value, c->s.version, c->s.floor, c->s.present, c->effective};
    uint64_t h = 0;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        h = (h ^ words[i]) * 0x9e3779b97f4a7c15ull;
        h ^= h >> 29;
    }
    return h;
}

static bool same(const struct configuration *x, const struct configuration *y)
{
    return x->s.value == y->s.value && x->s.version == y->s.version && x->s.floor == y->s.floor &&
           x->s.present == y->s.present && x->effective == y->effective;
}

static void set_empty(struct set *set)
{
    set->count = 0;
    if (set->places != NULL)
        memset(set->places, 0, 2 * set->room * sizeof(*set->places));
}

static void set_add(struct set *set, const struct configuration *c);

static void set_grow(struct set *set)
{
    struct set old = *set;
    set->room = old.room != 0 ? old.room * 2 : 64;
    set->of = malloc(set->room * sizeof(*set->of));
    set->places = malloc(2 * set->room * sizeof(*set->places));
    if (set->of == NULL || set->places == NULL)
        abort();
    set_empty(set);
    for (size_t i = 0; i < old.count; i++)
        set_add(set, &old.of[i]);
    free(old.of);
    free(old.places);
}

static void set_add(struct set *set, const struct configuration *c)
{
    if (set->count == set->room)
        set_grow(set);
    size_t mask = 2 * set->room - 1;
    size_t at = hash_of(c) & mask;
    for (; set->places[at] != 0; at = (at + 1) & mask) {
        if (same(&set->of[set->places[at] - 1], c))
            return;
    }
    set->of[set->count++] = *c;
    set->places[at] = (uint32_t)set->count;
}

/* ---- events -------------------------------------------------------------------------------- */

static void begin(struct search *s, const struct lincheck_op *op)
{
    s->under_way[op->process] = op;
    s->calls |= 1ull << op->process;
}

/* The version that a call is known to have written; 0: none. */
static uint64_t written(const struct lincheck_op *op)
{
    bool writes =
        op->kind != LINCHECK_GET && op->kind != LINCHECK_DELETE && op->kind != LINCHECK_TAKE;
    return writes && op->done && op->end != LINCHECK_NO_END ? op->version : 0;
}

/* Of the calls in @left the known writes take effect in the order of their versions: the lowest. */
static uint64_t next_version(const struct search *s, uint64_t left)
{
    uint64_t lowest = UINT64_MAX;
    for (; left != 0; left &= left - 1) {
        uint64_t version = written(s->under_way[__builtin_ctzll(left)]);
        if (version != 0 && version < lowest)
            lowest = version;
    }
    return lowest;
}

/* From @c on let each call under way take effect that has not; add what follows. */
static void follow(struct search *s, const struct configuration *c)
{
    uint64_t next = next_version(s, s->calls & ~c->effective);
    for (uint64_t left = s->calls & ~c->effective; left != 0; left &= left - 1) {
        unsigned process = (unsigned)__builtin_ctzll(left);
        const struct lincheck_op *op = s->under_way[process];
        struct configuration then = *c;
        if (written(op) > next)
            continue;
        bool possible =
            op->end == LINCHECK_NO_END ? apply_endless(&then.s, op) : apply(&then.s, op);
        then.effective |= 1ull << process;
        if (possible)
            set_add(&s->now, &then);
    }
}

/* @op has returned.  s->now grows while it is gone through: what follows is followed too. */
static bool end(struct search *s, const struct lincheck_op *op)
{
    uint64_t bit = 1ull << op->process;
    set_empty(&s->next);
    for (size_t i = 0; i < s->now.count; i++) {
        struct configuration c = s->now.of[i];
        if ((c.effective & bit) != 0) {
            c.effective &= ~bit;
            set_add(&s->next, &c);
        } else {
            follow(s, &c);
        }
    }
    s->calls &= ~bit;
    struct set swap = s->now;
    s->now = s->next;
    s->next = swap;
    return s->now.count != 0;
}

static int by_start(const void *x, const void *y)
{
    const struct lincheck_op *a = x, *b = y;
    return (a->start > b->start) - (a->start < b->start);
}

/* When an operation ends, and its place in the array. */
struct ending {
    uint64_t end;
    size_t op;
};

static int by_end(const void *x, const void *y)
{
    const struct ending *a = x, *b = y;
    return (a->end > b->end) - (a->end < b->end);
}

static bool explain(struct search *s, const struct lincheck_op *ops, const struct ending *ends,
                    size_t n, size_t *bad)
{
    size_t begun = 0;
    for (size_t i = 0; i < n && ends[i].end != LINCHECK_NO_END; i++) {
        while (begun < n && ops[begun].start <= ends[i].end)
            begin(s, &ops[begun++]);
        if (!end(s, &ops[ends[i].op])) {
            *bad = ends[i].op;
            return false;
        }
    }
    return true;
}

bool lincheck(struct lincheck_op *ops, size_t n, size_t *bad)
{
    struct search s = {.calls = 0};
    const struct configuration absent = {.effective = 0};
    struct ending *ends = calloc(n + 1, sizeof(*ends));
    if (ends == NULL)
        abort();
    qsort(ops, n, sizeof(*ops), by_start);
    for (size_t i = 0; i < n; i++)
        ends[i] = (struct ending){.end = ops[i].end, .op = i};
    qsort(ends, n, sizeof(*ends), by_end);
    set_add(&s.now, &absent);
    bool explained = explain(&s, ops, ends, n, bad);
    free(ends);
    free(s.now.of);
    free(s.now.places);
    free(s.next.of);
    free(s.next.places);
    return explained;
}

void lincheck_describe(const struct lincheck_op *op, char *text, size_t room)
{
    static const char *const names[] = {"get", "put",    "put if absent", "put if present",
                                        "cas", "delete", "take",          "add"};
    snprintf(text, room,
             "process %u, %" PRIu64 "..%" PRIu64 ": %s %s, value %" PRIu64 ", expected %" PRIu64
             ", result %" PRIu64 ", version %" PRIu64,
             op->process, op->start, op->end, names[op->kind], op->done ? "done" : "not done",
             op->value, op->expected, op->result, op->version);
}
