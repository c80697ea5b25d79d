/* SPDX-License-Identifier: MIT */
/*
 * test_victim.c - which segment is cleaned, and when, compared with what victim.h says, reckoned
 * anew: in shares of a segment rather than bytes, over descriptors that are drawn at random.
 */
#include "writers.h"

#include <math.h>
#include <stdio.h>

#include "blob.h"
#include "victim.h"

#define SEGMENTS 120u
#define ROUNDS 400u
#define GENERATION 3ull /* of a store that was recovered */

static const struct shmkv_options small = {.flags = SHMKV_NO_KEEPER, .size = 16u << 20};
static const struct shmkv_options large = {.flags = SHMKV_NO_KEEPER, .size = 256u << 20};

struct drawn {
    enum segment_kind kind;
    double used, dead; /* shares of a segment */
    uint64_t age;      /* segments opened since */
};

static uint64_t bytes_of(const struct arena *a, double share)
{
    return (uint64_t)(share * (double)(a->segment_mask + 1));
}

static void set(const struct arena *a, uint64_t id, const struct drawn *d, uint64_t now)
{
    struct segment *s = segment_at(a, id);
    store_relaxed(&s->used, bytes_of(a, d->used));
    store_relaxed(&a->dead[id], bytes_of(a, d->dead));
    store_relaxed(&s->incarnation, GENERATION << CLAIM_EPOCH_BITS | (now - d->age));
    store_relaxed(&s->taken, a->segment_mask + 1);
    store_relaxed(&s->run, 0);
    store_seq_cst(&s->state, claim_word(d->kind, 0, 0));
    max_seq_cst(&a->sb->segment_high, id + 1);
}

static double share(uint64_t *random)
{
    return (double)(blob_random(random) >> 11) / 9007199254740992.0;
}

static struct drawn draw(uint64_t *random)
{
    static const enum segment_kind kinds[] = {SEGMENT_SEALED, SEGMENT_SEALED,   SEGMENT_SEALED,
                                              SEGMENT_SEALED, SEGMENT_PARTIAL,  SEGMENT_OPEN,
                                              SEGMENT_LIMBO,  SEGMENT_CLEANING, SEGMENT_FREE};
    struct drawn d = {.kind = kinds[blob_random(random) % ARRAY_SIZE(kinds)]};
    d.used = d.kind == SEGMENT_PARTIAL ? share(random) * 0.9 : 1 - share(random) / 16;
    d.dead = d.used * pow(share(random), 4); /* most are nearly full */
    d.age = 1 + blob_random(random) % 500;
    return d;
}

/*
 * d / l * d * t: what is gained for what is copied, the sooner the longer it takes to die.  A
 * sealed segment gains what was never filled, too, but not for that alone.  0: not to be chosen.
 */
static double worth(const struct arena *a, const struct drawn *d)
{
    double unit = 1.0 / (double)(a->segment_mask + 1);
    double live = d->used - d->dead;
    double gained = d->dead > 0 && d->kind == SEGMENT_SEALED ? 1 - live : d->dead;
    if (d->kind != SEGMENT_SEALED && d->kind != SEGMENT_PARTIAL)
        return 0;
    if (gained <= 1.0 / 64)
        return 0;
    return gained * gained * (double)(d->age + 1) / (live + unit);
}

static void the_victim_is_the_one_worth_most(void **state)
{
    const struct arena *a = fixture_arena(state);
    uint64_t random = 1, now = 1000;
    unsigned chosen = 0;
    store_relaxed(&a->sb->incarnations, now);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct drawn d[SEGMENTS];
        double best = 0;
        uint64_t word = 0, n = 1 + blob_random(&random) % SEGMENTS;
        for (uint64_t id = 0; id < SEGMENTS; id++) {
            d[id] = id < n ? draw(&random) : (struct drawn){.kind = SEGMENT_HOLE};
            /* as many bytes as shares can tell apart */
            d[id].used = (double)bytes_of(a, d[id].used) / (double)(a->segment_mask + 1);
            d[id].dead = (double)bytes_of(a, d[id].dead) / (double)(a->segment_mask + 1);
            set(a, id, &d[id], now);
            best = fmax(best, worth(a, &d[id]));
        }
        uint64_t id = victim_choose(a, &word);
        assert_int_equal(id == SEGMENT_NONE, best == 0);
        if (id == SEGMENT_NONE)
            continue;
        chosen++;
        assert_true(id < n);
        assert_true(fabs(worth(a, &d[id]) / best - 1) < 1e-9);
        assert_int_equal(word, load_relaxed(&segment_at(a, id)->state));
    }
    assert_true(chosen > ROUNDS / 2);
}

/* In steps, and again, as who helps does it; with more segments meanwhile. */
static void a_search_in_steps_finds_the_same(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct victim_search s = {0};
    uint64_t random = 3, word, n = 0;
    store_relaxed(&a->sb->incarnations, 1000);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t most = 1 + blob_random(&random) % 10, more = blob_random(&random) % 3, steps = 1;
        n = round % 100 == 0 ? 0 : n;
        store_seq_cst(&a->sb->segment_high, n);
        while (!victim_search(a, &s, most)) {
            assert_int_equal(s.next, steps++ * most);
            for (uint64_t end = n + more; n < end && n < SEGMENTS; n++) {
                struct drawn d = draw(&random);
                set(a, n, &d, 1000);
            }
        }
        assert_true((steps - 1) * most <= n && n <= steps * most);
        assert_int_equal(s.best, victim_choose(a, &word));
        if (s.best != SEGMENT_NONE) {
            assert_int_equal(s.word, word);
            assert_int_equal(s.life, load_relaxed(&segment_at(a, s.best)->incarnation));
        }
        struct drawn d = draw(&random);
        set(a, n < SEGMENTS ? n : blob_random(&random) % SEGMENTS, &d, 1000);
        n += n < SEGMENTS;
    }
}

static uint64_t choose(const struct arena *a)
{
    uint64_t word;
    return victim_choose(a, &word);
}

/* Cleaning what gives nothing back turns in circles. */
static void what_gives_too_little_is_left(void **state)
{
    const struct arena *a = fixture_arena(state);
    store_relaxed(&a->sb->incarnations, 100);
    set(a, 0, &(struct drawn){SEGMENT_SEALED, 1, 1.0 / 64, 50}, 100);
    assert_true(choose(a) == SEGMENT_NONE);
    set(a, 0, &(struct drawn){SEGMENT_SEALED, 1, 1.0 / 63, 50}, 100);
    assert_true(choose(a) == 0);
    set(a, 0, &(struct drawn){SEGMENT_SEALED, 0.5, 0, 50}, 100); /* half empty, nothing dead */
    assert_true(choose(a) == SEGMENT_NONE);
    set(a, 0, &(struct drawn){SEGMENT_PARTIAL, 0.5, 1.0 / 65, 50}, 100);
    assert_true(choose(a) == SEGMENT_NONE); /* its rest is not lost: somebody fills it */
}

/* The older of two that are alike; and of two of one age the emptier. */
static void age_and_emptiness_count(void **state)
{
    const struct arena *a = fixture_arena(state);
    store_relaxed(&a->sb->incarnations, 100);
    set(a, 0, &(struct drawn){SEGMENT_SEALED, 1, 0.3, 10}, 100);
    set(a, 1, &(struct drawn){SEGMENT_SEALED, 1, 0.3, 11}, 100);
    assert_true(choose(a) == 1);
    set(a, 0, &(struct drawn){SEGMENT_SEALED, 1, 0.31, 11}, 100);
    assert_true(choose(a) == 0);
    set(a, 1, &(struct drawn){SEGMENT_SEALED, 1, 0.3, 90}, 100); /* cold: for a few dead ones */
    assert_true(choose(a) == 1);
}

/* ---- when ---------------------------------------------------------------------------------- */

/* As victim.h says it, in segments; *@capped if many owners would have more kept free. */
static enum victim_need need_of(const struct segment_census *c, double segment, bool *capped)
{
    double capacity = (double)c->capacity;
    double live = fmin(floor((double)c->live / segment), capacity);
    double dead = capacity - live;
    double ahead = floor(dead * 4 < capacity ? capacity / 232 : dead / 128);
    double owned = floor((double)c->kinds[SEGMENT_OPEN] / 8);
    ahead = fmax(ahead - owned, owned);
    double most = fmax(floor(capacity / 64), 1);
    *capped = ahead > most;
    ahead = fmin(fmax(ahead, 1), most);
    double soon = (double)(c->available + c->limbo);
    double kept = (double)(c->reserve + c->removals + c->kinds[SEGMENT_CLEANING]);
    if (soon > kept + ahead)
        return VICTIM_NONE;
    return soon > kept + floor(ahead / 2) ? VICTIM_AHEAD : VICTIM_SOON;
}

static void the_need_follows_what_is_free(void **state)
{
    const struct arena *a = fixture_arena(state);
    struct segment_census c;
    unsigned seen[VICTIM_SOON + 1] = {0}, matters = 0;
    uint64_t random = 2;
    segment_count(a, &c);
    for (unsigned round = 0; round < 2 * ROUNDS; round++) {
        bool few = round % 2 == 0; /* that are owned: then what is dead decides */
        uint64_t unused = blob_random(&random) % (few ? 40 : 320);
        uint64_t open = blob_random(&random) % (few ? 40 : 640);
        double most = share(&random);                                  /* dead, of any segment */
        unsigned cleaning = 2 + (unsigned)(blob_random(&random) % 16); /* one of so many owned */
        for (uint64_t id = 0; id < c.capacity; id++) {
            struct drawn d = {.kind = SEGMENT_SEALED, .used = 1, .dead = most * share(&random)};
            if (id < unused) /* some of it is to become free */
                d.kind = blob_random(&random) % 2 == 0 ? SEGMENT_FREE : SEGMENT_LIMBO;
            else if (id < unused + open)
                d.kind = blob_random(&random) % cleaning == 0 ? SEGMENT_CLEANING : SEGMENT_OPEN;
            set(a, id, &d, 1000);
        }
        struct segment_census now;
        segment_count(a, &now);
        struct segment_census glance; /* which the count before makes nearly as good */
        segment_glance(a, &glance);
        now.live = glance.live;
        enum victim_need need = victim_need(a);
        bool capped;
        assert_int_equal(need, need_of(&now, (double)(a->segment_mask + 1), &capped));
        seen[need]++;
        uint64_t soon = now.available + now.limbo - now.reserve - now.removals;
        matters += capped && soon <= now.kinds[SEGMENT_OPEN] / 8 + now.kinds[SEGMENT_CLEANING] &&
                   need == VICTIM_NONE;
    }
    assert_true(matters > 10); /* more would have been wanted, but for the most */
    for (unsigned i = 0; i < ARRAY_SIZE(seen); i++)
        assert_true(seen[i] > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(the_victim_is_the_one_worth_most, &small),
        FIXTURE_WITH(a_search_in_steps_finds_the_same, &small),
        FIXTURE_WITH(what_gives_too_little_is_left, &small),
        FIXTURE_WITH(age_and_emptiness_count, &small),
        FIXTURE_WITH(the_need_follows_what_is_free, &large),
    };
    return cmocka_run_group_tests_name("victim", tests, NULL, NULL);
}
