/* SPDX-License-Identifier: MIT */
/* writers.c - see writers.h. */
#include "writers.h"

#include <string.h>

#include "run.h"

uint32_t writers_process(void **state)
{
    return load_relaxed(&fixture_db(state)->store)->process.index;
}

void writer_begin(struct writer *w, const struct arena *a, uint32_t process)
{
    *w = (struct writer){.busy = false};
    w->puts = w->moves = (struct append)APPEND_INIT;
    assert_int_equal(epoch_join(&w->self, a, process), 0);
    table_view_begin(&w->view);
}

void writer_end(struct writer *w)
{
    keeper_retire_writer(w);
}

struct index_key key_of(const struct arena *a, const char *text)
{
    size_t size = strlen(text);
    return (struct index_key){text, size, hash_key(text, size, &a->hash_secret)};
}

struct index_change writer_change_of(const struct arena *a, const char *key, const char *value)
{
    struct index_change c = {
        .spec = {.key = key,
                 .klen = (uint32_t)strlen(key),
                 .value = value != NULL ? value : (const char *)&record_no_origin,
                 .vlen = value != NULL ? (uint32_t)strlen(value) : a->tombstone_bytes,
                 .type = value != NULL ? RECORD_PAIR : RECORD_TOMBSTONE},
        .hash = key_of(a, key).hash,
    };
    c.bytes = record_bytes(c.spec.klen, c.spec.vlen, false);
    return c;
}

static int grow(struct writer *w)
{
    return resize_grow(&w->self, &w->resizer, table_root(w->self.arena));
}

static int change_in_run(struct writer *w, struct index_change *c, enum segment_purpose purpose)
{
    struct append l = APPEND_INIT;
    int rc = run_open(&l, &w->self, purpose, c->bytes);
    if (rc != 0)
        return rc;
    c->body = record_write(arena_at(w->self.arena, l.at), &c->spec);
    do {
        rc = index_publish_reserved(w, &l, c);
    } while (rc == INDEX_NEED_TICKET && grow(w) == 0);
    append_close(&l, w->self.arena);
    return rc;
}

int writer_change(struct writer *w, struct index_change *c)
{
    bool removes = c->spec.type == RECORD_TOMBSTONE;
    enum segment_purpose purpose = removes ? SEGMENT_FOR_TOMBSTONE : SEGMENT_FOR_PUT;
    if (run_needed(w->self.arena, c->bytes))
        return change_in_run(w, c, purpose);
    for (;;) {
        int rc = append_reserve(&w->puts, &w->self, purpose, c->bytes);
        if (rc == 0)
            rc = index_write(w, c);
        if (rc == INDEX_NEED_TICKET)
            rc = grow(w);
        else if (rc != INDEX_AGAIN)
            return rc;
        if (rc < 0)
            return rc;
    }
}

uint64_t writer_put(struct writer *w, const char *key, const char *value)
{
    struct index_change c = writer_change_of(w->self.arena, key, value);
    assert_int_equal(writer_change(w, &c), 0);
    return c.version;
}

uint64_t writer_delete(struct writer *w, const char *key)
{
    return writer_put(w, key, NULL);
}

const struct record *record_found(const struct writer *w, const char *key)
{
    struct index_key k = key_of(w->self.arena, key);
    bool damaged = false;
    uint64_t outer = epoch_enter(&w->self);
    const struct record *r = index_lookup(w->self.arena, &k, &damaged);
    epoch_exit(&w->self, outer);
    assert_false(damaged);
    return r;
}

uint64_t offset_of(const struct arena *a, const struct record *r)
{
    return (uint64_t)((const char *)r - a->base);
}

unsigned slots_with(const struct arena *a, uint64_t ref, const char *key, _Atomic uint64_t **slot)
{
    const struct table *t = table_of(a, ref);
    unsigned found = 0;
    for (uint64_t i = 0; i < t->slots; i++) {
        uint64_t word = load_acquire(&table_slots(a, t)[i]);
        if (!slot_is_record(word) ||
            !record_has_key(arena_at(a, slot_offset(word)), key, strlen(key)))
            continue;
        found++;
        if (slot != NULL)
            *slot = &table_slots(a, t)[i];
    }
    return found;
}

uint64_t grace_pass(const struct arena *a)
{
    epoch_raise_above(a, epoch_now(a));
    return epoch_poll(a);
}
