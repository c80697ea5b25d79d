/* SPDX-License-Identifier: MIT */
/*
 * churn.c - does a store that is written to for ever stay as it is?
 *
 * Processes put, delete and read keys of their own at random, values of 10 bytes to 1 MiB, some of
 * which expire.  Each power of ten of sizes has the same share of the bytes: most values are small,
 * and a few take runs of segments.  Every value that is read is compared byte by byte with what its
 * key should have; a key that was deleted must not be there.  While they run the parent prints what
 * the store has taken.  At the end every key is looked at once more, the store is verified, and
 * then emptied: a segment that is still in use belongs to nobody.
 *
 * The run fails if a value is wrong, a put finds no room, the store takes more than its size, the
 * index grows after the first quarter, verification finds anything, or segments are left.
 */
#include "lib_child.h"
#include "lib_clock.h"
#include "lib_memory.h"
#include "lib_report.h"

#include "shmkv.h"

#include <errno.h>
#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCS_MAX 64u
#define VALUE_LEAST 10.0
#define VALUE_MOST (1u << 20)
#define PATTERN_SPAN 65536u /* a value begins at any of so many places of the pattern */
#define KEY_SHARE 200u      /* bytes of the store for each key: about 60 % are live */
#define GONE (1u << 31)     /* in a key's number: it was deleted */
#define RECORD_HEAD 24u
#define SEGMENTS_LEFT 4u /* of an empty store: those that its two participants have open */

struct member {
    _Atomic uint64_t done;
    uint64_t puts, expiring, removals, gets;
    uint64_t held; /* calls refused with SHMKV_EHELD, which changes nothing */
    char failure[240];
};

static struct {
    uint64_t ops, size;
    unsigned procs, every;
    const char *json;
} options = {.ops = 200000000, .size = 256u << 20, .procs = 2, .every = 10};

static struct member *members;
static uint32_t *numbers; /* of each key: how often it was put, and GONE */
static uint64_t keys;
static char *pattern;
static char store[64];
static uint64_t began_ns;

/* ---- what a key has ------------------------------------------------------------------------ */

/* splitmix64 */
static uint64_t mix(uint64_t x)
{
    uint64_t z = x + 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

struct content {
    const char *value;
    size_t size;
    uint64_t ttl_ms; /* 0: it stays */
};

static struct content content_of(uint64_t key, uint32_t number)
{
    uint64_t h = mix(key << 32 | number);
    double u = (double)(mix(h) >> 11) * 0x1p-53;
    struct content c;

    c.size = (size_t)(VALUE_LEAST / (1 - u * (1 - VALUE_LEAST / VALUE_MOST)));
    c.value = pattern + h % PATTERN_SPAN;
    c.ttl_ms = h >> 60 == 0 ? 1 + (h >> 32) % 3000 : 0;
    return c;
}

static void make_pattern(void)
{
    size_t bytes = VALUE_MOST + PATTERN_SPAN;

    pattern = memory_get(bytes);
    for (size_t i = 0; i < bytes; i++)
        pattern[i] = (char)mix(i);
}

/* ---- the processes ------------------------------------------------------------------------- */

static void fail(struct member *m, const char *what, uint64_t key, const char *why)
{
    if (m->failure[0] == '\0')
        snprintf(m->failure, sizeof(m->failure), "%s of key %llu: %s", what,
                 (unsigned long long)key, why);
}

/* Did it work?  A machine that is too busy keeps a process off the processor in a section. */
static bool went_well(struct member *m, const char *what, uint64_t key, int rc)
{
    if (rc == SHMKV_EHELD)
        m->held++;
    else if (rc != 0)
        fail(m, what, key, shmkv_last_error());
    return rc == 0;
}

static void put(struct shmkv *db, struct member *m, uint64_t key)
{
    uint32_t number = (numbers[key] & ~GONE) + 1;
    struct content c = content_of(key, number);
    struct shmkv_put_options o = {.ttl_ms = c.ttl_ms};
    int rc = shmkv_put(db, &key, sizeof(key), c.value, c.size, c.ttl_ms != 0 ? &o : NULL);

    if (went_well(m, "put", key, rc))
        numbers[key] = number;
    m->puts++;
    m->expiring += c.ttl_ms != 0;
}

static void removal(struct shmkv *db, struct member *m, uint64_t key)
{
    int rc = shmkv_delete(db, &key, sizeof(key));

    if (rc == SHMKV_ENOTFOUND || went_well(m, "delete", key, rc))
        numbers[key] |= GONE;
    m->removals++;
}

static void get(struct shmkv *db, struct member *m, uint64_t key)
{
    uint32_t number = numbers[key];
    struct content c = content_of(key, number);
    bool absent = number == 0 || (number & GONE) != 0;
    struct shmkv_section section;
    struct shmkv_item item;
    int rc = shmkv_begin(db, &section);

    if (rc == 0)
        rc = shmkv_get(&section, &key, sizeof(key), &item);
    if (rc == 0 && absent)
        fail(m, "get", key, "it was deleted, and is there");
    else if (rc == 0 && (item.size != c.size || memcmp(item.value, c.value, c.size) != 0))
        fail(m, "get", key, "another value than was put last");
    else if (rc == SHMKV_ENOTFOUND && !absent && c.ttl_ms == 0)
        fail(m, "get", key, "it was put, and is not there");
    else if (rc != 0 && rc != SHMKV_ENOTFOUND)
        fail(m, "get", key, shmkv_last_error());
    shmkv_end(&section);
    m->gets++;
}

/* Keys index, index + procs, ...: nobody else writes them. */
static void use(struct shmkv *db, unsigned index)
{
    struct member *m = &members[index];
    uint64_t own = (keys - index + options.procs - 1) / options.procs;
    uint64_t ops = options.ops / options.procs, random = mix(index);

    for (uint64_t i = 0; i < ops && m->failure[0] == '\0'; i++) {
        uint64_t draw = mix(random++);
        uint64_t key = (draw >> 8) % own * options.procs + index;

        if (draw % 256 < 154) /* 60 % */
            put(db, m, key);
        else if (draw % 256 < 192) /* 15 % */
            removal(db, m, key);
        else
            get(db, m, key);
        atomic_store_explicit(&m->done, i + 1, memory_order_relaxed);
    }
}

static struct shmkv *open_store(unsigned flags)
{
    struct shmkv_options o = {.flags = flags, .size = options.size, .reserve = keys};
    struct shmkv *db;

    if (shmkv_open(store, &o, &db) != 0)
        die("%s", shmkv_last_error());
    return db;
}

static void start(unsigned index, pid_t *pid)
{
    *pid = child_fork();
    if (*pid == 0) {
        struct shmkv *db = open_store(0);

        use(db, index);
        shmkv_close(db);
        _exit(0);
    }
}

/* ---- the parent ---------------------------------------------------------------------------- */

struct seen {
    uint64_t done;
    uint64_t memory; /* what the file system counts, now */
    uint64_t memory_most, slots_first, slots_last;
    struct shmkv_stats stats;
};

static uint64_t done_by_all(void)
{
    uint64_t done = 0;

    for (unsigned i = 0; i < options.procs; i++)
        done += atomic_load_explicit(&members[i].done, memory_order_relaxed);
    return done;
}

static void check_failures(void)
{
    for (unsigned i = 0; i < options.procs; i++)
        if (members[i].failure[0] != '\0')
            die("process %u: %s", i, members[i].failure);
}

static void print_columns(void)
{
    printf("%7s %9s %9s %9s %9s %9s %9s %9s %9s %7s\n", "seconds", "ops", "ops/s", "keys", "live",
           "memory", "slots", "tombst.", "segments", "amplif.");
}

/* Of the object with index and log: what it has, not what the store counts. */
static uint64_t allocated(void)
{
    char path[96];
    struct stat st;

    snprintf(path, sizeof(path), "/dev/shm/shmkv.%s", store + strlen("shm:"));
    if (stat(path, &st) != 0)
        die("%s: %s", path, strerror(errno));
    return (uint64_t)st.st_blocks * 512;
}

static void look(struct shmkv *db, struct seen *s)
{
    double seconds = (double)(clock_ns() - began_ns) / 1e9;
    uint64_t done = done_by_all();
    struct shmkv_stats *t = &s->stats;
    char text[5][24];

    if (shmkv_get_stats(db, t) != 0)
        die("%s", shmkv_last_error());
    s->done = done;
    s->memory = allocated();
    if (s->memory > s->memory_most)
        s->memory_most = s->memory;
    if (done <= options.ops / 4 && t->slots > s->slots_first)
        s->slots_first = t->slots;
    if (t->slots > s->slots_last)
        s->slots_last = t->slots;
    printf("%7.0f %9s %9s %9s %7.1f M %7.1f M %9s %9s %9llu %7.2f\n", seconds,
           report_count((double)done, text[0], sizeof(text[0])),
           report_count((double)done / seconds, text[1], sizeof(text[1])),
           report_count((double)t->keys, text[2], sizeof(text[2])),
           (double)t->live_bytes / (1 << 20), (double)s->memory / (1 << 20),
           report_count((double)t->slots, text[3], sizeof(text[3])),
           report_count((double)t->tombstones, text[4], sizeof(text[4])),
           (unsigned long long)(t->segments - t->segments_free),
           t->bytes_put != 0 ? 1 + (double)t->bytes_relocated / (double)t->bytes_put : 1);
    fflush(stdout);
}

/* Until all have ended. */
static void watch(struct shmkv *db, struct seen *s, unsigned running)
{
    uint64_t next_ns = began_ns + options.every * 1000000000ull;

    while (running > 0) {
        while (running > 0 && waitpid(-1, NULL, WNOHANG) > 0)
            running--;
        check_failures();
        if (clock_ns() >= next_ns || running == 0) {
            look(db, s);
            next_ns += options.every * 1000000000ull;
        }
        clock_sleep_ms(20);
    }
}

static void found(void *arg, const char *line)
{
    uint64_t *findings = arg;

    printf("  verify: %s\n", line);
    *findings += strncmp(line, "note: ", 6) != 0;
}

static void verify(struct shmkv *db)
{
    struct member m = {.puts = 0};
    uint64_t findings = 0;

    for (uint64_t key = 0; key < keys && m.failure[0] == '\0'; key++)
        get(db, &m, key);
    if (m.failure[0] != '\0')
        die("at the end: %s", m.failure);
    if (shmkv_check(db, found, &findings) != 0 || findings != 0)
        die("verification: %llu findings", (unsigned long long)findings);
    printf("each of %llu keys has what it should; verification finds nothing\n",
           (unsigned long long)keys);
}

/* Tombstones of keys stay until a resize; beside them and what is open nothing is left. */
static bool is_empty(const struct shmkv_stats *t)
{
    uint64_t bytes = t->tombstones * (RECORD_HEAD + sizeof(uint64_t));

    return t->segments <= SEGMENTS_LEFT + (bytes + t->segment_size - 1) / t->segment_size;
}

/* Delete all; are the segments that are in use then accounted for? */
static bool empty_out(struct shmkv *db, uint64_t *left)
{
    struct shmkv_stats t;

    for (uint64_t key = 0; key < keys; key++) {
        int rc = shmkv_delete(db, &key, sizeof(key));

        if (rc != 0 && rc != SHMKV_ENOTFOUND)
            die("emptying: %s", shmkv_last_error());
    }
    for (unsigned i = 0; i < 10; i++) { /* tombstones go with the resize that a compaction begins */
        if (shmkv_compact(db) != 0 || shmkv_get_stats(db, &t) != 0)
            die("emptying: %s", shmkv_last_error());
        if (is_empty(&t))
            break;
        clock_sleep_ms(100);
    }
    printf("emptied: %llu segments in use, %llu tombstones, %.1f MiB taken\n",
           (unsigned long long)t.segments, (unsigned long long)t.tombstones,
           (double)allocated() / (1 << 20));
    *left = t.segments;
    return is_empty(&t);
}

static void write_json(const struct seen *s, uint64_t held, double seconds, uint64_t left)
{
    FILE *f = fopen(options.json, "a");

    if (f == NULL)
        die("%s: %s", options.json, strerror(errno));
    fprintf(f,
            "{\"engine\":\"shmkv\",\"bench\":\"churn\",\"procs\":%u,\"ops\":%llu,"
            "\"keys\":%llu,\"size\":%llu,\"ops_per_s\":%.0f,\"memory_most\":%llu,"
            "\"slots\":%llu,\"write_amplification\":%.3f,\"held\":%llu,\"segments_left\":%llu}\n",
            options.procs, (unsigned long long)s->done, (unsigned long long)keys,
            (unsigned long long)options.size, (double)s->done / seconds,
            (unsigned long long)s->memory_most, (unsigned long long)s->slots_last,
            1 + (double)s->stats.bytes_relocated / (double)s->stats.bytes_put,
            (unsigned long long)held, (unsigned long long)left);
    fclose(f);
}

static uint64_t sum_up(void)
{
    struct member sum = {.puts = 0};

    for (unsigned i = 0; i < options.procs; i++) {
        sum.puts += members[i].puts;
        sum.expiring += members[i].expiring;
        sum.removals += members[i].removals;
        sum.gets += members[i].gets;
        sum.held += members[i].held;
    }
    printf("\n%llu puts, %llu of them to expire, %llu deletes, %llu gets; %llu calls held up\n",
           (unsigned long long)sum.puts, (unsigned long long)sum.expiring,
           (unsigned long long)sum.removals, (unsigned long long)sum.gets,
           (unsigned long long)sum.held);
    return sum.held;
}

static void run(void)
{
    struct shmkv *db = open_store(SHMKV_CREATE | SHMKV_EXCLUSIVE);
    struct seen s = {.done = 0};
    pid_t pids[PROCS_MAX];

    print_columns();
    began_ns = clock_ns();
    for (unsigned i = 0; i < options.procs; i++)
        start(i, &pids[i]);
    watch(db, &s, options.procs);
    double seconds = (double)(clock_ns() - began_ns) / 1e9;
    uint64_t held = sum_up();
    verify(db);
    uint64_t left;
    bool empty = empty_out(db, &left);
    if (options.json != NULL)
        write_json(&s, held, seconds, left);
    if (s.memory_most > options.size)
        die("%llu bytes were taken", (unsigned long long)s.memory_most);
    if (s.slots_first != 0 && s.slots_last > s.slots_first)
        die("the index grew from %llu slots to %llu", (unsigned long long)s.slots_first,
            (unsigned long long)s.slots_last);
    if (!empty)
        die("segments are left");
    shmkv_close(db);
}

/* ---- options ------------------------------------------------------------------------------- */

static void usage(FILE *f)
{
    fprintf(f, "usage: churn [OPTION]...\n"
               "  --ops N            operations of all processes (200000000)\n"
               "  --procs N          processes (2)\n"
               "  --size MIB         limit of the store's memory (256)\n"
               "  --every SECONDS    between two lines (10)\n"
               "  --json FILE        append a line of JSON\n");
}

static uint64_t read_number(const char *text, uint64_t most)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);

    if (end == text || *end != '\0' || n == 0 || n > most)
        die("'%s' is no number from 1 to %llu", text, (unsigned long long)most);
    return n;
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"ops", 1, NULL, 'o'},   {"procs", 1, NULL, 'p'}, {"size", 1, NULL, 's'},
        {"every", 1, NULL, 'e'}, {"json", 1, NULL, 'j'},  {"help", 0, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        if (c == 'o') {
            options.ops = read_number(optarg, UINT64_MAX / 2);
        } else if (c == 'p') {
            options.procs = (unsigned)read_number(optarg, PROCS_MAX);
        } else if (c == 's') {
            options.size = read_number(optarg, 1u << 20) << 20;
        } else if (c == 'e') {
            options.every = (unsigned)read_number(optarg, 86400);
        } else if (c == 'j') {
            options.json = optarg;
        } else {
            usage(c == 'h' ? stdout : stderr);
            exit(c == 'h' ? 0 : 2);
        }
    }
    if (options.size < 16u << 20)
        die("--size: 16 at least, for values of 1 MiB");
}

static void remove_store(void)
{
    shmkv_destroy(store, NULL, 1);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    keys = options.size / KEY_SHARE;
    members = memory_get_shared(PROCS_MAX * sizeof(*members));
    numbers = memory_get_shared(keys * sizeof(*numbers));
    make_pattern();
    snprintf(store, sizeof(store), "shm:bench-churn-%d", (int)getpid());
    atexit(remove_store);
    report_machine();
    printf("settings  store of %llu MiB, %llu keys, values of 10 bytes to 1 MiB, %u processes\n\n",
           (unsigned long long)options.size >> 20, (unsigned long long)keys, options.procs);
    run();
    return 0;
}
