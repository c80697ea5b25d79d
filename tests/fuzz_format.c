/* SPDX-License-Identifier: MIT */
/*
 * fuzz_format.c - the bulk formats against any bytes.
 *
 * The first byte chooses the format and whether the input ends behind the rest, which is decoded
 * record by record.  Decoding must advance, point into the buffer only, and what it accepts must
 * come back unchanged through every format that can carry it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static void check_pair(enum format_kind kind, const struct format_pair *pair)
{
    struct text out = {0};
    if (!format_encode(kind, pair, &out)) {
        struct format_input in = {.text = out.data, .size = out.size};
        struct format_pair back;
        require(format_decode(kind, &in, &back) == FORMAT_OK && in.used == out.size);
        require(back.klen == pair->klen && back.vlen == pair->vlen);
        require(memcmp(back.key, pair->key, pair->klen) == 0);
        require(back.vlen == 0 || memcmp(back.value, pair->value, pair->vlen) == 0);
        require(kind != FORMAT_JSONL || back.ttl_ms == pair->ttl_ms);
    } else {
        require(kind != FORMAT_JSONL && out.size == 0);
    }
    text_free(&out);
}

static void check_inside(const struct format_input *in, const char *data, size_t size)
{
    require(data >= in->text && size <= in->used && data + size <= in->text + in->used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    enum format_kind kind = (enum format_kind)(data[0] % FORMAT_KINDS);
    bool last = data[0] & 0x80;
    size_t left = size - 1;
    char *text = malloc(left ? left : 1);
    require(text != NULL);
    memcpy(text, data + 1, left);
    for (char *at = text;;) {
        struct format_input in = {.text = at, .size = left, .last = last};
        struct format_pair pair;
        enum format_result result = format_decode(kind, &in, &pair);
        if (result == FORMAT_MORE) {
            require(!last || left == 0);
            break;
        }
        require(in.used > 0 && in.used <= left && (result == FORMAT_OK || in.why));
        if (result == FORMAT_OK) {
            check_inside(&in, pair.key, pair.klen);
            check_inside(&in, pair.value, pair.vlen);
            for (int k = 0; k < FORMAT_KINDS; k++) {
                check_pair((enum format_kind)k, &pair);
            }
        }
        at += in.used;
        left -= in.used;
    }
    free(text);
    return 0;
}
