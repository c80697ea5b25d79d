/* SPDX-License-Identifier: MIT */
#include "lib_settings.h"

#include "lib_memory.h"

#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const op_names[OP_COUNT] = {
    [OP_GET] = "get",         [OP_MGET] = "mget",           [OP_FRESH] = "fresh",
    [OP_GROWING] = "growing", [OP_OVERWRITE] = "overwrite", [OP_DELETE] = "delete",
    [OP_MIX] = "mix",         [OP_MPUT] = "mput",           [OP_INCR] = "incr",
};

static const char *const dist_names[] = {
    [DIST_UNIFORM] = "uniform", [DIST_ZIPF] = "zipf", [DIST_HOTCOLD] = "hotcold"};

const char *settings_op_name(enum operation op)
{
    return op_names[op];
}

const char *settings_dist_name(enum distribution dist)
{
    return dist_names[dist];
}

/* What each question is about: reading asks for the speed of memory that is there, filling a new
 * store includes taking it. */
bool settings_warm(const struct settings *s, enum operation op)
{
    if (s->memory == MEMORY_USUAL)
        return op != OP_FRESH && op != OP_GROWING;
    return s->memory == MEMORY_WARM;
}

/* ---- arguments ----------------------------------------------------------------------------- */

static uint64_t number(const char *name, const char *text, uint64_t low, uint64_t high)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);

    if (!isdigit((unsigned char)text[0]) || *end != '\0' || n < low || n > high)
        die("--%s %s: a whole number from %llu to %llu is needed", name, text,
            (unsigned long long)low, (unsigned long long)high);
    return n;
}

/* Calls @each for each part of "a,b,c". */
static void parts(struct settings *s, const char *text,
                  void (*each)(struct settings *, const char *))
{
    char copy[256];
    char *rest = NULL;

    snprintf(copy, sizeof(copy), "%s", text);
    for (char *part = strtok_r(copy, ",", &rest); part != NULL; part = strtok_r(NULL, ",", &rest))
        each(s, part);
}

static void add_procs(struct settings *s, const char *text)
{
    if (s->procs_count == SETTINGS_PROCS)
        die("--procs: at most %u numbers", SETTINGS_PROCS);
    s->procs[s->procs_count++] = (unsigned)number("procs", text, 1, 200);
}

static void read_procs(struct settings *s, const char *text)
{
    s->procs_count = 0;
    parts(s, text, add_procs);
}

static void add_op(struct settings *s, const char *text)
{
    bool known = false;

    for (unsigned i = 0; i < OP_COUNT; i++)
        if (strcmp(text, op_names[i]) == 0 || strcmp(text, "all") == 0)
            known = s->op[i] = true;
    if (!known)
        die("--op %s: get, mget, fresh, growing, overwrite, delete, mix, mput, incr or all", text);
}

static void read_op(struct settings *s, const char *text)
{
    memset(s->op, 0, sizeof(s->op));
    parts(s, text, add_op);
}

static void add_engine(struct settings *s, const char *text)
{
    if (strcmp(text, "shmkv") == 0)
        s->shmkv = true;
    else if (strcmp(text, "cache") == 0)
        s->cache = true;
    else if (strcmp(text, "limit") == 0)
        s->limit = true;
    else if (strcmp(text, "none") != 0)
        die("--engines %s: shmkv, cache, limit or none", text);
}

static void read_engines(struct settings *s, const char *text)
{
    s->shmkv = s->cache = s->limit = false;
    parts(s, text, add_engine);
}

static void read_peers(struct settings *s, const char *text)
{
    s->peers = text;
}

static void read_dist(struct settings *s, const char *text)
{
    for (unsigned i = 0; i < sizeof(dist_names) / sizeof(dist_names[0]); i++)
        if (strcmp(text, dist_names[i]) == 0) {
            s->dist = (enum distribution)i;
            return;
        }
    die("--dist %s: uniform, zipf or hotcold", text);
}

static void read_memory(struct settings *s, const char *text)
{
    if (strcmp(text, "warm") == 0)
        s->memory = MEMORY_WARM;
    else if (strcmp(text, "cold") == 0)
        s->memory = MEMORY_COLD;
    else
        die("--memory %s: warm or cold", text);
}

static void read_clock(struct settings *s, const char *text)
{
    s->cpu_clock = strcmp(text, "cpu") == 0;
    if (!s->cpu_clock && strcmp(text, "wall") != 0)
        die("--clock %s: wall or cpu", text);
}

static void read_seconds(struct settings *s, const char *text)
{
    char *end;

    s->seconds = strtod(text, &end);
    if (end == text || *end != '\0' || !(s->seconds >= 0.01 && s->seconds <= 86400))
        die("--seconds %s: a number from 0.01 to 86400 is needed", text);
}

static void read_keys(struct settings *s, const char *text)
{
    s->keys = number("keys", text, 1000, UINT32_MAX);
}

static void read_key_size(struct settings *s, const char *text)
{
    s->key_size = number("key-size", text, 1, 65535);
}

static void read_value_size(struct settings *s, const char *text)
{
    s->value_size = number("value-size", text, 0, 16u << 20);
}

static void read_workload(struct settings *s, const char *text)
{
    s->workload = text;
}

static void read_read(struct settings *s, const char *text)
{
    s->read = (unsigned)number("read", text, 0, 100);
}

static void read_runs(struct settings *s, const char *text)
{
    s->runs = (unsigned)number("runs", text, 1, 99);
}

static void read_ops(struct settings *s, const char *text)
{
    s->ops = number("ops", text, 0, UINT32_MAX);
}

static void read_slice(struct settings *s, const char *text)
{
    s->slice_ms = (unsigned)number("slice", text, 10, 10000);
}

static void read_writers(struct settings *s, const char *text)
{
    s->writers = (unsigned)number("writers", text, 0, 50);
}

static void read_store(struct settings *s, const char *text)
{
    s->store = text;
    s->limit = false;
}

static void read_json(struct settings *s, const char *text)
{
    s->json = text;
}

static void read_plot(struct settings *s, const char *text)
{
    s->plot = text;
}

static void read_keeper(struct settings *s, const char *text)
{
    (void)text;
    s->keeper = true;
}

static void read_faulted(struct settings *s, const char *text)
{
    (void)text;
    s->memory = MEMORY_WARM;
}

static void read_help(struct settings *s, const char *text);

static const struct settings_option options[] = {
    {"op", "LIST", "get, mget, fresh, growing, overwrite, delete, mix, mput, incr, all [mix]",
     read_op},
    {"procs", "LIST", "numbers of processes [1]", read_procs},
    {"keys", "N", "keys in the store [1000000]", read_keys},
    {"key-size", "N", "bytes of a key; 36 is a UUID [36]", read_key_size},
    {"value-size", "N", "bytes of a value [35]", read_value_size},
    {"workload", "LIST", "ycsb: of A, B, C, D, F; classic: part of a name [all]", read_workload},
    {"read", "N", "reads in the mix, percent [95]", read_read},
    {"dist", "D", "uniform, zipf (0.99) or hotcold (90 % on 10 %) [uniform]", read_dist},
    {"seconds", "S", "measured per engine and run [2]", read_seconds},
    {"runs", "N", "runs; the median is shown [3]", read_runs},
    {"ops", "N", "operations of bench/one [0]", read_ops},
    {"slice", "MS", "engines take turns of this length [250]", read_slice},
    {"writers", "N", "processes that overwrite meanwhile [0]", read_writers},
    {"memory", "M",
     "warm (faulted in before) or cold, for all engines alike\n"
     "[cold for fresh and growing, else warm]",
     read_memory},
    {"clock", "C",
     "wall, or cpu: rates by processor time, for a machine that is busy\n"
     "with other things, with one process per processor at most [wall]",
     read_clock},
    {"faulted", NULL, "the same as --memory warm", read_faulted},
    {"engines", "LIST", "shmkv, cache (shmkv as one), limit, or none [shmkv,limit]", read_engines},
    {"peers", "LIST",
     "other stores in the same run: all, or some of lmdb, tdb, lfht, tkrzw,\n"
     "rocksdb, redis, memcached, or single engines of them [none]",
     read_peers},
    {"store", "NAME", "use this store, which holds the keys of bench/gen; no limit then",
     read_store},
    {"keep-keeper", NULL, "let processes do housekeeping in the background", read_keeper},
    {"json", "FILE", "append one line per result", read_json},
    {"plot", "FILE", "draw operations/s over processes (SVG, by gnuplot)", read_plot},
    {"help", NULL, "this text", read_help},
};
#define OPTIONS (sizeof(options) / sizeof(options[0]))

static void read_help(struct settings *s, const char *text)
{
    (void)s;
    (void)text;
    printf("options:\n");
    for (size_t i = 0; i < OPTIONS; i++) {
        const char *help = options[i].help;
        const char *line = strchr(help, '\n');
        int first = line != NULL ? (int)(line - help) : (int)strlen(help);

        printf("  --%-11s %-5s %.*s\n", options[i].name,
               options[i].argument != NULL ? options[i].argument : "", first, help);
        if (line != NULL)
            printf("  %-13s %-5s %s\n", "", "", line + 1);
    }
    exit(0);
}

static void check(const struct settings *s)
{
    for (unsigned i = 0; s->cpu_clock && i < s->procs_count; i++)
        if (s->procs[i] + s->writers > (unsigned)sysconf(_SC_NPROCESSORS_ONLN))
            die("--clock cpu: %u processes are more than there are processors", s->procs[i]);
    if (s->store != NULL && (s->limit || !s->shmkv))
        die("--store: only the engine shmkv can use it");
    if (s->store != NULL && s->peers != NULL)
        die("--store: no peer can use it");
    if (!s->shmkv && !s->cache && !s->limit && s->peers == NULL)
        die("--engines: name at least one");
    if (!workload_key_size_ok(s->keys, s->key_size))
        die("--key-size %zu: too short for %llu different keys", s->key_size,
            (unsigned long long)s->keys);
}

void settings_default(struct settings *s)
{
    *s = (struct settings){.procs = {1},
                           .procs_count = 1,
                           .keys = 1000000,
                           .key_size = 36,
                           .value_size = 35,
                           .read = 95,
                           .seconds = 2,
                           .runs = 3,
                           .slice_ms = 250,
                           .shmkv = true,
                           .limit = true};
    s->op[OP_MIX] = true;
}

void settings_read(struct settings *s, int argc, char **argv)
{
    settings_default(s);
    settings_parse(s, argc, argv);
}

void settings_parse(struct settings *s, int argc, char **argv)
{
    struct option table[OPTIONS + 1] = {{0}};
    int chosen;

    for (size_t i = 0; i < OPTIONS; i++) {
        table[i].name = options[i].name;
        table[i].has_arg = options[i].argument != NULL ? required_argument : no_argument;
        table[i].val = (int)i + 256;
    }
    while ((chosen = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (chosen < 256)
            exit(2);
        options[chosen - 256].read(s, optarg);
    }
    if (optind < argc)
        die("%s: what is this? See --help", argv[optind]);
    check(s);
}
