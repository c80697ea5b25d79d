/* SPDX-License-Identifier: MIT */
/*
 * fuzz_conf.c - shmkvd.conf against any bytes.
 *
 * Reading must end, count what it reports, keep every value within its bounds and every store once;
 * and what was read, written out again, must be read as the same.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

/* Lines come in order, and none is 0: that is the file. */
struct order {
    unsigned line, count;
};

static void count(void *arg, unsigned line, const char *what)
{
    struct order *order = arg;
    require(line > 0 && line >= order->line && what && *what);
    order->line = line;
    order->count++;
}

static void write_store(struct text *out, const struct conf_store *store)
{
    const struct conf_settings *s = &store->settings;
    text_printf(out, "[%s]\ncreate = %s\n", store->name, s->create ? "yes" : "no");
    if (s->interval_ms) {
        text_printf(out, "interval = %" PRIu64 "ms\n", s->interval_ms);
    }
    if (s->size) {
        text_printf(out, "size = %" PRIu64 "\n", s->size);
    }
    if (s->mode) {
        text_printf(out, "mode = %" PRIo64 "\n", s->mode);
    }
    if (s->shm_dir[0]) {
        text_printf(out, "shm-dir = %s\n", s->shm_dir);
    }
}

static void check_again(const struct conf *conf)
{
    static const struct conf_settings none;
    struct text out = {0};
    struct conf back = {0};
    struct conf_sink sink = {.report = NULL};
    for (size_t i = 0; i < conf->count; i++) {
        require(conf_find(conf, conf->stores[i].name) == &conf->stores[i]);
        require(conf->stores[i].settings.mode <= 0777 && conf->stores[i].settings.create <= 1);
        write_store(&out, &conf->stores[i]);
    }
    conf_parse(&back, out.data ? out.data : "", out.size, &none, &sink);
    require(sink.errors == 0 && back.count == conf->count);
    for (size_t i = 0; i < conf->count; i++) {
        const struct conf_store *store = conf_find(&back, conf->stores[i].name);
        require(store && conf_same(&store->settings, &conf->stores[i].settings));
    }
    conf_free(&back);
    text_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct conf_settings none;
    struct conf conf = {0};
    struct order order = {0};
    struct conf_sink sink = {.report = count, .arg = &order};
    char *text = malloc(size ? size : 1);
    require(text != NULL);
    memcpy(text, data, size);
    conf_parse(&conf, text, size, &none, &sink);
    require(sink.errors == order.count);
    check_again(&conf);
    conf_free(&conf);
    free(text);
    return 0;
}
