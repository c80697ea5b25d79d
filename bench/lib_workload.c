/* SPDX-License-Identifier: MIT */
#include "lib_workload.h"

#include "lib_memory.h"

#include <math.h>
#include <string.h>

/* ---- random numbers ------------------------------------------------------------------------ */

/* Weyl sequence through a 64-bit finalizer (splitmix64): a bijection, so never twice the same. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t draw(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    return mix(*state);
}

static uint64_t draw_below(uint64_t *state, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)draw(state) * n) >> 64);
}

static double draw_unit(uint64_t *state)
{
    return (double)(draw(state) >> 11) * 0x1p-53;
}

/*
 * Zipf by rejection-inversion (Hoermann and Derflinger 1996): exact, and needs no table.
 * H is the integral of x^-q; a rank is drawn by inverting it and rounding, and rejected where
 * the step function exceeds the curve.
 */
static double zipf_h(const struct zipf *z, double x)
{
    return pow(x, 1 - z->q) / (1 - z->q);
}

static double zipf_h_inverse(const struct zipf *z, double y)
{
    return pow((1 - z->q) * y, 1 / (1 - z->q));
}

static void zipf_init(struct zipf *z, uint64_t n, double q)
{
    z->n = n;
    z->q = q;
    z->low = zipf_h(z, 1.5) - 1;
    z->high = zipf_h(z, (double)n + 0.5);
    z->squeeze = 2 - zipf_h_inverse(z, zipf_h(z, 2.5) - pow(2, -q));
}

/* A rank 0..n-1; 0 is the most frequent. */
static uint64_t zipf_draw(const struct zipf *z, uint64_t *state)
{
    for (;;) {
        double u = z->high + draw_unit(state) * (z->low - z->high);
        double x = zipf_h_inverse(z, u);
        double k = floor(x + 0.5);

        if (k < 1)
            k = 1;
        if (k > (double)z->n)
            k = (double)z->n;
        if (k - x <= z->squeeze || u >= zipf_h(z, k + 0.5) - pow(k, -z->q))
            return (uint64_t)k - 1;
    }
}

/* ---- keys and values ----------------------------------------------------------------------- */

static const char hex_digits[] = "0123456789abcdef";
static const char base64_digits[] =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";

/* The second half alone makes it distinct: mix() is a bijection. */
static void key_uuid(uint64_t index, char *out)
{
    uint64_t a = mix(index);
    uint64_t b = mix(~a);
    unsigned at = 0;

    for (unsigned i = 0; i < 32; i++) {
        uint64_t half = i < 16 ? a : b;

        if (i == 8 || i == 12 || i == 16 || i == 20)
            out[at++] = '-';
        out[at++] = i == 12 ? '4' : hex_digits[(half >> (60 - 4 * (i % 16))) & 15];
    }
}

/* Multiplying by an odd number permutes the numbers of 6 * digits bits. */
static void key_short(uint64_t index, size_t size, char *out)
{
    size_t digits = size < 10 ? size : 10;
    uint64_t n = index * 0x9e3779b97f4a7c15u;

    for (size_t i = 0; i < digits; i++)
        out[i] = base64_digits[(n >> (6 * i)) & 63];
    n = mix(index);
    for (size_t i = digits; i < size; i++)
        out[i] = base64_digits[(n >> (i % 10)) & 63];
}

void workload_key(uint64_t index, size_t size, char *out)
{
    if (size < 36) {
        key_short(index, size, out);
        return;
    }
    key_uuid(index, out);
    for (size_t i = 36; i < size; i++)
        out[i] = base64_digits[(index + i) & 63];
}

bool workload_key_size_ok(uint64_t keys, size_t size)
{
    return size >= 10 || keys <= 1ull << (6 * size);
}

void workload_value(uint64_t number, size_t size, char *out)
{
    uint64_t state = number;

    for (size_t i = 0; i < size; i++) {
        if (i < 2)
            out[i] = hex_digits[(number >> (4 * i)) & 15];
        else
            out[i] = base64_digits[draw_below(&state, 64)];
    }
}

bool workload_value_right(const struct workload *w, const char *value, size_t size)
{
    unsigned number = 0;

    if (size != w->value_size)
        return false;
    if (size < 2)
        return true;
    for (unsigned i = 0; i < 2; i++) {
        const char *digit = memchr(hex_digits, value[i], sizeof(hex_digits) - 1);

        if (digit == NULL)
            return false;
        number |= (unsigned)(digit - hex_digits) << (4 * i);
    }
    return memcmp(value, w->value_bytes + number * w->value_stride, size) == 0;
}

void workload_make(struct workload *w, uint64_t keys, size_t key_size, size_t value_size)
{
    w->keys = keys;
    w->key_size = key_size;
    w->value_size = value_size;
    w->value_stride = (value_size + 63) & ~(size_t)63;
    w->key_bytes = memory_get(keys * key_size);
    w->value_bytes = memory_get(WORKLOAD_VALUES * w->value_stride);
    for (uint64_t i = 0; i < keys; i++)
        workload_key(i, key_size, w->key_bytes + i * key_size);
    for (uint64_t i = 0; i < WORKLOAD_VALUES; i++)
        workload_value(i, value_size, w->value_bytes + i * w->value_stride);
}

void workload_free(struct workload *w)
{
    memory_put(w->key_bytes, w->keys * w->key_size);
    memory_put(w->value_bytes, WORKLOAD_VALUES * w->value_stride);
}

/* ---- streams ------------------------------------------------------------------------------- */

void stream_in_order(struct stream *s, const struct workload *w)
{
    s->keys = w->key_bytes;
    s->write = NULL;
    s->count = w->keys;
    s->owned = false;
}

static void copy_key(char *keys, uint64_t at, const struct workload *w, uint64_t index)
{
    memcpy(keys + at * w->key_size, w->key_bytes + index * w->key_size, w->key_size);
}

void stream_shuffled(struct stream *s, const struct workload *w)
{
    char *keys = memory_get(w->keys * w->key_size);
    uint32_t *order = memory_get(w->keys * sizeof(*order));
    uint64_t state = 1;

    for (uint64_t i = 0; i < w->keys; i++) {
        uint64_t j = draw_below(&state, i + 1);

        order[i] = order[j];
        order[j] = (uint32_t)i;
    }
    for (uint64_t i = 0; i < w->keys; i++)
        copy_key(keys, i, w, order[i]);
    memory_put(order, w->keys * sizeof(*order));
    s->keys = keys;
    s->write = NULL;
    s->count = w->keys;
    s->owned = true;
}

/* Step of the permutation i -> i * step mod n, which takes what is hot from where it was loaded:
 * without it the hot records would be neighbours in every engine's memory. */
static uint64_t spread_step(uint64_t n)
{
    uint64_t step = (uint64_t)((double)n * 0.6180339887) | 1;

    for (;; step += 2) {
        uint64_t a = n;
        uint64_t b = step;

        while (b != 0) {
            uint64_t r = a % b;

            a = b;
            b = r;
        }
        if (a == 1)
            return step;
    }
}

/* 90 % of the operations go to the first tenth. */
static uint64_t hotcold_draw(uint64_t n, uint64_t *state)
{
    uint64_t hot = n / 10 > 0 ? n / 10 : 1;

    if (hot == n || draw_below(state, 10) != 0)
        return draw_below(state, hot);
    return hot + draw_below(state, n - hot);
}

void drawing_begin(struct drawing *d, const struct workload *w, enum distribution dist,
                   uint64_t seed)
{
    *d = (struct drawing){.dist = dist, .keys = w->keys, .state = seed};
    d->step = spread_step(w->keys);
    zipf_init(&d->zipf, w->keys, WORKLOAD_ZIPF);
}

uint64_t drawing_next(struct drawing *d)
{
    uint64_t rank;

    if (d->dist == DIST_ZIPF)
        rank = zipf_draw(&d->zipf, &d->state);
    else if (d->dist == DIST_HOTCOLD)
        rank = hotcold_draw(d->keys, &d->state);
    else
        rank = draw_below(&d->state, d->keys);
    return (uint64_t)((unsigned __int128)rank * d->step % d->keys);
}

void stream_drawn(struct stream *s, const struct workload *w, enum distribution dist,
                  unsigned read_percent, uint64_t count)
{
    char *keys = memory_get(count * w->key_size);
    uint8_t *write = memory_get(count);
    struct drawing d;

    drawing_begin(&d, w, dist, 2);
    for (uint64_t i = 0; i < count; i++) {
        copy_key(keys, i, w, drawing_next(&d));
        write[i] = draw_below(&d.state, 100) >= read_percent;
    }
    s->keys = keys;
    s->write = write;
    s->count = count;
    s->owned = true;
}

/* One process' part: operations @from to @to, new keys @next to @end. */
static void latest_part(const struct workload *w, uint64_t loaded, const uint64_t range[4],
                        unsigned read_percent, struct stream *s)
{
    char *keys = (char *)(uintptr_t)s->keys;
    uint8_t *write = (uint8_t *)(uintptr_t)s->write;
    uint64_t next = range[2];
    uint64_t state = range[0] + 3;
    struct zipf z;

    zipf_init(&z, loaded, WORKLOAD_ZIPF);
    for (uint64_t i = range[0]; i < range[1]; i++) {
        uint64_t age = zipf_draw(&z, &state);
        uint64_t mine = next - range[2];

        write[i] = next < range[3] && draw_below(&state, 100) >= read_percent;
        if (write[i])
            copy_key(keys, i, w, next++);
        else
            copy_key(keys, i, w, age < mine ? next - 1 - age : loaded - 1 - (age - mine) % loaded);
    }
}

void stream_latest(struct stream *s, const struct workload *w, uint64_t loaded, unsigned parts,
                   unsigned read_percent, uint64_t count)
{
    uint64_t fresh = w->keys - loaded;

    s->keys = memory_get(count * w->key_size);
    s->write = memory_get(count);
    s->count = count;
    s->owned = true;
    for (uint64_t p = 0; p < parts; p++) {
        uint64_t range[4] = {count * p / parts, count * (p + 1) / parts, loaded + fresh * p / parts,
                             loaded + fresh * (p + 1) / parts};

        latest_part(w, loaded, range, read_percent, s);
    }
}

double stream_modify(struct stream *s, const struct workload *w)
{
    char *keys = memory_get(s->count * w->key_size);
    uint8_t *write = memory_get(s->count);
    uint64_t from = 0;
    uint64_t to = 0;
    uint64_t pairs = 0;

    for (; to + 2 <= s->count; from++) {
        memcpy(keys + to * w->key_size, s->keys + from * w->key_size, w->key_size);
        write[to++] = 0;
        if (!s->write[from])
            continue;
        memcpy(keys + to * w->key_size, s->keys + from * w->key_size, w->key_size);
        write[to++] = 1;
        pairs++;
    }
    for (; to < s->count; to++) /* a last read, so that the length stays */
        memcpy(keys + to * w->key_size, s->keys, w->key_size);
    stream_free(s, w);
    *s = (struct stream){.keys = keys, .write = write, .count = to, .owned = true};
    return (double)(to - pairs) / (double)to;
}

void stream_free(struct stream *s, const struct workload *w)
{
    if (!s->owned)
        return;
    memory_put((void *)(uintptr_t)s->keys, s->count * w->key_size);
    if (s->write != NULL)
        memory_put((void *)(uintptr_t)s->write, s->count);
}
