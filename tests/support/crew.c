/* SPDX-License-Identifier: MIT */
/* crew.c - see crew.h: the keys that have one writer at a time, and the worker's round. */
#include "crew.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blob.h"
#include "child.h"
#include "clock.h"
#include "crew_parts.h"

#define SMALL 300u
#define LARGE 8000u
#define HUGE (5u * (64u << 10)) /* up to six segments of a small store */
#define HUGE_IN 1024u
#define LIST_MOST 40u
#define LONG_TTL_MS 3600000u

/* ---- calls --------------------------------------------------------------------------------- */

void crew_begin_call(struct worker *w)
{
    w->stops = load_seq_cst(&w->place->stops);
    lap_begin(&w->lap);
}

int crew_end_call(struct worker *w, const char *name, int rc)
{
    struct crew_place *p = w->place;
    struct lap_time t = lap_end(&w->lap);
    add_relaxed(&p->calls, 1);
    if (rc == SHMKV_ENOSPC || rc == SHMKV_EHELD)
        add_relaxed(&p->refused, 1);
    if (lap_used_ns(t) > load_relaxed(&p->longest_used_ns) && w->stops == load_seq_cst(&p->stops)) {
        uint64_t words[CREW_CALL_BYTES / 8] = {0};
        memcpy(words, name, strlen(name) < sizeof(words) ? strlen(name) : sizeof(words));
        store_relaxed(&p->longest_used_ns, lap_used_ns(t));
        store_relaxed(&p->longest_wall_ns, t.wall_ns);
        store_relaxed(&p->longest_call[0], words[0]);
        store_relaxed(&p->longest_call[1], words[1]);
    }
    return rc;
}

static uint64_t pick(struct worker *w, uint64_t n)
{
    return blob_random(&w->random) % n;
}

/* ---- values -------------------------------------------------------------------------------- */

enum kind { COUNTER, LIST, BLOB };

static enum kind kind_of(uint64_t key)
{
    return key % 8 == 0 ? COUNTER : key % 8 == 1 ? LIST : BLOB;
}

static size_t size_of(uint64_t sequence)
{
    uint64_t state = sequence;
    uint64_t r = blob_random(&state);
    if (r % HUGE_IN == 1)
        return BLOB_MIN + (r >> 10) % HUGE;
    return BLOB_MIN + (r >> 8) % ((r & 63) == 0 ? LARGE : SMALL);
}

/* A list is words that end with the sequence; each is derived from the one behind it. */
static bool read_list(const void *value, size_t size, uint64_t *sequence)
{
    uint64_t last = 0;
    if (size == 0 || size % 8 != 0)
        return false;
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word;
        memcpy(&word, (const char *)value + at, 8);
        if (word <= last)
            return false;
        last = word;
    }
    *sequence = last;
    return true;
}

static bool read_counter(const void *value, size_t size, uint64_t *sequence)
{
    char text[32] = "";
    if (size == 0 || size >= sizeof(text))
        return false;
    memcpy(text, value, size);
    *sequence = strtoull(text, NULL, 10);
    return true;
}

/* The state that a read shows; ends the process if the value is none of the key's. */
static uint64_t state_of(uint64_t key, int rc, const struct shmkv_item *item)
{
    uint64_t sequence = 0;
    if (rc == SHMKV_ENOTFOUND)
        return expect_state(0, false);
    child_assert(rc == 0);
    switch (kind_of(key)) {
    case COUNTER:
        child_assert(read_counter(item->value, item->size, &sequence));
        break;
    case LIST:
        child_assert(read_list(item->value, item->size, &sequence));
        break;
    case BLOB:
        child_assert(blob_read(item->value, item->size, key, &sequence));
        break;
    }
    return expect_state(sequence, true);
}

uint64_t crew_look(struct worker *w, uint64_t key, uint64_t *version)
{
    struct shmkv_section section;
    struct shmkv_item item = {.version = 0};
    crew_begin_call(w);
    child_assert(shmkv_begin(w->db, &section) == 0);
    int rc = shmkv_get(&section, &key, sizeof(key), &item);
    crew_end_call(w, "get", rc);
    uint64_t state = state_of(key, rc, &item);
    shmkv_end(&section);
    *version = item.version;
    return state;
}

/* ---- writes -------------------------------------------------------------------------------- */

/* A write under way. */
struct job {
    uint64_t key, sequence, version; /* version: as found; 0: absent */
    bool present;                    /* as found */
    char value[BLOB_MIN + HUGE];
    size_t size;
};

static int do_put(struct worker *w, struct job *j)
{
    struct shmkv_put_options o = {.flags = j->present ? SHMKV_IF_PRESENT : SHMKV_IF_ABSENT};
    if (pick(w, 4) != 0)
        o.flags = 0;
    else if (pick(w, 4) == 0)
        o.ttl_ms = LONG_TTL_MS;
    return shmkv_put(w->db, &j->key, sizeof(j->key), j->value, j->size, &o);
}

static int do_cas(struct worker *w, struct job *j)
{
    int rc = shmkv_cas(w->db, &j->key, sizeof(j->key), j->version + 1, j->value, j->size, NULL);
    child_assert(rc == SHMKV_EMISMATCH || rc == SHMKV_ENOSPC || rc == SHMKV_EHELD);
    return shmkv_cas(w->db, &j->key, sizeof(j->key), j->version, j->value, j->size, NULL);
}

static int do_reserve(struct worker *w, struct job *j)
{
    struct shmkv_reservation r;
    int rc = shmkv_reserve(w->db, &j->key, sizeof(j->key), j->size, NULL, &r);
    if (rc != 0)
        return rc;
    memcpy(r.value, j->value, j->size);
    return shmkv_commit(&r);
}

static int give(void *arg, const struct shmkv_item *old, struct shmkv_bytes *value)
{
    struct job *j = arg;
    child_assert((old != NULL) == j->present);
    *value = (struct shmkv_bytes){j->value, j->size};
    return SHMKV_STORE;
}

static int do_update(struct worker *w, struct job *j)
{
    return shmkv_update(w->db, &j->key, sizeof(j->key), give, j);
}

static int do_put_inside(struct worker *w, struct job *j)
{
    struct shmkv_section section;
    child_assert(shmkv_begin(w->db, &section) == 0);
    int rc = do_put(w, j);
    shmkv_end(&section);
    return rc;
}

static int do_put_many(struct worker *w, struct job *j)
{
    struct shmkv_bytes key = {&j->key, sizeof(j->key)}, value = {j->value, j->size};
    return shmkv_put_many(w->db, &key, &value, 1, NULL, NULL);
}

static int do_delete(struct worker *w, struct job *j)
{
    int rc = shmkv_delete(w->db, &j->key, sizeof(j->key));
    return rc == SHMKV_ENOTFOUND && !j->present ? 0 : rc;
}

static int do_take(struct worker *w, struct job *j)
{
    int rc = shmkv_take(w->db, &j->key, sizeof(j->key), j->value, sizeof(j->value), NULL);
    return rc == SHMKV_ENOTFOUND && !j->present ? 0 : rc;
}

static const struct {
    const char *name;
    int (*run)(struct worker *w, struct job *j);
} stores[] = {{"put", do_put},       {"put", do_put},
              {"put", do_put},       {"put_many", do_put_many},
              {"cas", do_cas},       {"reserve", do_reserve},
              {"update", do_update}, {"put inside", do_put_inside}},
  removes[] = {{"delete", do_delete}, {"take", do_take}};

static int store_blob(struct worker *w, struct job *j, const char **name)
{
    size_t i = pick(w, sizeof(stores) / sizeof(stores[0]));
    *name = stores[i].name;
    j->size = size_of(j->sequence);
    blob_write(j->value, j->size, j->key, j->sequence);
    return stores[i].run(w, j);
}

/* The counter is made to show the sequence, whatever it is now. */
static int store_counter(struct worker *w, struct job *j, const char **name)
{
    char text[32];
    struct shmkv_item item = {.size = 0};
    uint64_t now = 0;
    int64_t result;
    *name = "add";
    if (shmkv_read(w->db, &j->key, sizeof(j->key), text, sizeof(text), &item) == 0)
        child_assert(read_counter(text, item.size, &now));
    int rc = shmkv_add(w->db, &j->key, sizeof(j->key), (int64_t)(j->sequence - now), &result);
    child_assert(rc != 0 || result == (int64_t)j->sequence);
    return rc;
}

static int store_list(struct worker *w, struct job *j, const char **name)
{
    struct shmkv_item item = {.size = 0};
    *name = "append";
    shmkv_read(w->db, &j->key, sizeof(j->key), NULL, 0, &item);
    if (item.size >= LIST_MOST * 8)
        return shmkv_put(w->db, &j->key, sizeof(j->key), &j->sequence, 8, NULL);
    return shmkv_append(w->db, &j->key, sizeof(j->key), &j->sequence, 8, NULL);
}

static int perform(struct worker *w, struct job *j, bool store, const char **name)
{
    if (!store) {
        size_t i = pick(w, 2);
        *name = removes[i].name;
        return removes[i].run(w, j);
    }
    switch (kind_of(j->key)) {
    case COUNTER:
        return store_counter(w, j, name);
    case LIST:
        return store_list(w, j, name);
    case BLOB:
        break;
    }
    return store_blob(w, j, name);
}

/* Is the next write of the phase one that stores? */
static bool wants_store(struct worker *w)
{
    static const unsigned percent[CREW_PHASES] = {95, 30, 60};
    return pick(w, 100) < percent[load_relaxed(&w->crew->phase) % CREW_PHASES];
}

static void write_key(struct worker *w, uint64_t key)
{
    struct expect *e = &w->crew->keys[key];
    struct job j = {.key = key};
    const char *name = "";
    if (!expect_take(e, w->index))
        return;
    uint64_t state = crew_look(w, key, &j.version);
    child_assert(expect_present(state) ? state == load_seq_cst(&e->acked)
                                       : !expect_present(load_seq_cst(&e->acked)));
    j.present = expect_present(state);
    bool store = wants_store(w);
    j.sequence = expect_intend(e, store);
    crew_begin_call(w);
    int rc = perform(w, &j, store, &name);
    crew_end_call(w, name, rc);
    if (rc == 0) {
        expect_acked(e);
    } else {
        if (rc != SHMKV_ENOSPC && rc != SHMKV_EHELD)
            fprintf(stderr, "# %s of key %" PRIu64 " (%s before): %s\n", name, key,
                    j.present ? "present" : "absent", shmkv_last_error());
        child_assert(rc == SHMKV_ENOSPC || rc == SHMKV_EHELD);
        expect_failed(e);
    }
    expect_release(e);
}

static void read_key(struct worker *w, uint64_t key)
{
    const struct expect *e = &w->crew->keys[key];
    uint64_t version, before = load_seq_cst(&e->acked);
    uint64_t found = crew_look(w, key, &version);
    uint64_t after = load_seq_cst(&e->intended);
    if (!expect_possible(before, after, found))
        fprintf(stderr,
                "# key %" PRIu64 ": found %" PRIu64 ", acked %" PRIu64 ", intended %" PRIu64
                " (sequence, times 2, plus 1 if present)\n",
                key, found, before, after);
    child_assert(expect_possible(before, after, found));
}

/* ---- rounds -------------------------------------------------------------------------------- */

static void resolve(struct worker *w, uint64_t key)
{
    struct expect *e = &w->crew->keys[key];
    uint64_t version, found = crew_look(w, key, &version);
    if (!expect_resolve(e, found))
        fprintf(stderr,
                "# key %" PRIu64 ": its writer died; found %" PRIu64 ", acked %" PRIu64
                ", intended %" PRIu64 "\n",
                key, found, load_seq_cst(&e->acked), load_seq_cst(&e->intended));
    child_assert(load_seq_cst(&e->acked) == load_seq_cst(&e->intended));
    expect_release(e);
}

void crew_take_over(struct worker *w)
{
    for (uint64_t key = 0; key < CREW_KEYS; key++) {
        if (load_seq_cst(&w->crew->keys[key].owner) == w->index + 1ull)
            resolve(w, key);
    }
    crew_take_over_queue(w);
}

void crew_work(struct worker *w)
{
    while (load_relaxed(&w->crew->stop) == 0) {
        uint64_t key = pick(w, CREW_KEYS);
        if (w->crew->imaged && pick(w, 8) == 0)
            crew_use_image(w);
        switch (pick(w, 16)) {
        case 0:
            crew_add_sum(w);
            break;
        case 1:
            crew_use_queue(w);
            break;
        case 2:
            crew_write_any(w);
            break;
        case 3:
        case 4:
        case 5:
            read_key(w, key);
            break;
        default:
            write_key(w, key);
        }
    }
}

unsigned crew_wrong_keys(struct worker *w)
{
    unsigned wrong = 0;
    for (uint64_t key = 0; key < CREW_KEYS; key++) {
        struct expect *e = &w->crew->keys[key];
        uint64_t version, found = crew_look(w, key, &version);
        bool right =
            load_seq_cst(&e->acked) == load_seq_cst(&e->intended) && expect_resolve(e, found);
        if (!right)
            printf("# key %" PRIu64 ": found %" PRIu64 ", acked %" PRIu64 "\n", key, found,
                   load_seq_cst(&e->acked));
        wrong += !right;
    }
    return wrong;
}
