/* SPDX-License-Identifier: MIT */
/*
 * compaction.c - what does it cost to overwrite for ever in a store that is nearly full?
 *
 * Processes overwrite keys at random, as fast as they can, in a store of fixed size of which a
 * given part is live.  After enough writes for the steady state these are measured: writes per
 * second, how long they take, how many had to wait for room, the processor time of the cleaner, and
 * the write amplification, that is, what users and the cleaner append, divided by what users
 * append.  A row of 30 % live stands before the others: there the cleaner finds nearly empty
 * segments.
 *
 * "Live" is the part that current records have of what the limit leaves for records, that is the
 * size without the index.
 *
 * With --reader a process reads meanwhile, and the first row is of a store so large that nothing is
 * cleaned: its p99.9 of puts and of gets is what those of the others are multiples of.  The memory
 * that it will fill is faulted in before, in each process, as that of a store is that has been full
 * for long.  A write that is refused with SHMKV_EHELD, since a machine that is too busy kept some
 * process off the processor for 100 ms inside a section, is counted, told, and left out; more than
 * HELD_MOST of a process are a failure.
 */
#include "lib_child.h"
#include "lib_clock.h"
#include "lib_histogram.h"
#include "lib_memory.h"
#include "lib_pause.h"
#include "lib_report.h"

#include "shmkv.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define WRITERS_MAX 64u
#define LIST_MAX 16u
#define CHUNK 256u
#define HELD_MOST 100u /* in a phase */
#define BASE_PERCENT 30u
#define ROOMY_PERCENT 60u /* of the usual size, in keys, without cleaning */
#define ROOMY_SLACK (64u << 20)

struct options {
    uint64_t size;
    size_t key_size;
    size_t value_size;
    unsigned percent[LIST_MAX], percents;
    unsigned writers[LIST_MAX], writer_counts;
    bool dist[DIST_HOTCOLD + 1];
    double settle;  /* overwrites before measuring, in multiples of the live bytes */
    double measure; /* and while measuring */
    bool reader;    /* one process reads meanwhile */
    const char *json;
};

struct member {
    struct histogram put, get; /* ticks */
    struct pause_list longest;
    uint64_t puts;
    uint64_t held; /* writes refused with SHMKV_EHELD */
    char failure[240];
};

struct shared {
    _Atomic uint64_t left;    /* puts still to be done in this phase */
    _Atomic bool reading;     /* the reader goes on */
    _Atomic unsigned waiting; /* processes that are not ready yet */
    struct member member[WRITERS_MAX + 1];
};

struct result {
    bool roomy; /* nothing is cleaned */
    unsigned percent, writers;
    enum distribution dist;
    double rate, amplification, cleaner, of_size;
    double waited; /* share of the puts, for room */
    struct quantiles put, get;
    struct pause_list longest;
    uint64_t held;
};

static struct options options = {
    .size = 256u << 20, .key_size = 36, .value_size = 100, .settle = 4, .measure = 2};
static struct workload workload;
static struct shared *shared;
static double ns_per_tick;
static char store[64];
static FILE *json;
static int last_rc;   /* of put() */
static uint64_t held; /* of all rows */
/* Of a store in which nothing is cleaned: its size, and what is faulted in of its file; else 0. */
static uint64_t roomy_size, roomy_bytes;
static off_t roomy_at;

/* ---- the processes ------------------------------------------------------------------------- */

static int open_store(struct shmkv **db)
{
    struct shmkv_options o = {.flags = SHMKV_CREATE, .size = options.size};

    if (roomy_size != 0)
        o.size = roomy_size;
    o.reserve = workload.keys;
    return shmkv_open(store, &o, db);
}

static void store_path(char *path, size_t size)
{
    snprintf(path, size, "/dev/shm/shmkv.%s", store + strlen("shm:"));
}

/* Where the log begins in the file of a store in which hardly anything was written: there the last
 * run of data is. */
static off_t log_start(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t at = 0, start = 0;

    if (fd < 0)
        die("%s: %s", path, strerror(errno));
    while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
        start = at;
        at = lseek(fd, at, SEEK_HOLE);
    }
    close(fd);
    return start;
}

/* Where this process has the store's arena mapped; NULL: nowhere. */
static char *mapping_of(const char *path)
{
    char line[512];
    unsigned long long from = 0, at;
    FILE *maps = fopen("/proc/self/maps", "r");

    while (maps != NULL && from == 0 && fgets(line, sizeof(line), maps) != NULL) {
        char *name = strstr(line, path);

        if (name != NULL && name[strlen(path)] == '\n' && sscanf(line, "%llx-", &at) == 1)
            from = at;
    }
    if (maps != NULL)
        fclose(maps);
    return (char *)(uintptr_t)from; /* NOLINT(performance-no-int-to-ptr): that is what was read */
}

static void populate(char *at, uint64_t bytes)
{
    if (madvise(at, bytes, MADV_POPULATE_WRITE) != 0)
        die("no memory for the store: %s", strerror(errno));
}

/* What has memory already, in this process' own mapping: others made it. */
static void fault_in_what_is_there(const char *path, char *base)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t at = 0, end;

    while (fd >= 0 && (at = lseek(fd, at, SEEK_DATA)) >= 0) {
        end = lseek(fd, at, SEEK_HOLE);
        populate(base + at, (uint64_t)(end - at));
        at = end;
    }
    close(fd);
}

/* A first touch is not what is asked about, neither of what is there nor, in the store in which
 * nothing is cleaned, of what will be filled. */
static void fault_in(void)
{
    char path[96];

    store_path(path, sizeof(path));
    char *base = mapping_of(path);
    if (base == NULL)
        return;
    fault_in_what_is_there(path, base);
    if (roomy_bytes != 0)
        populate(base + roomy_at, roomy_bytes);
}

static bool put(struct shmkv *db, uint64_t key, uint64_t number)
{
    last_rc = shmkv_put(db, workload.key_bytes + key * workload.key_size, workload.key_size,
                        workload_value_at(&workload, number), workload.value_size, NULL);
    return last_rc == 0;
}

/* On a machine that is too busy a process may be off the processor for 100 ms inside a section. */
static bool was_held(struct member *m)
{
    return last_rc == SHMKV_EHELD && m->held++ < HELD_MOST;
}

/* Every write is timed, by one look at the tick counter: the time of its draw is in it too. */
static void write_chunk(struct shmkv *db, struct member *m, struct drawing *d,
                        struct pause_watch *watch)
{
    uint64_t longest = (uint64_t)(PAUSE_LONG_NS / ns_per_tick);
    uint64_t last = clock_ticks();

    for (unsigned i = 0; i < CHUNK && m->failure[0] == '\0'; i++) {
        uint64_t now;

        if (!put(db, drawing_next(d), m->puts++) && !was_held(m))
            snprintf(m->failure, sizeof(m->failure), "%s", shmkv_last_error());
        now = clock_ticks();
        histogram_add(&m->put, now - last);
        if (now - last > longest) {
            struct pause p;

            pause_took(watch, "set", (uint64_t)((double)(now - last) * ns_per_tick), &p);
            pause_keep(&m->longest, &p);
            now = clock_ticks();
        }
        last = now;
    }
}

static void run_writer(struct shmkv *db, unsigned index, enum distribution dist, uint64_t seed)
{
    struct member *m = &shared->member[index];
    struct pause_watch watch;
    struct drawing d;

    drawing_begin(&d, &workload, dist, seed + index * 1000003u);
    pause_watch_begin(&watch);
    m->longest.by_own = true;
    while (m->failure[0] == '\0') {
        uint64_t left = atomic_load(&shared->left);

        if (left < CHUNK)
            break;
        if (atomic_compare_exchange_weak(&shared->left, &left, left - CHUNK))
            write_chunk(db, m, &d, &watch);
    }
    pause_watch_end(&watch);
}

static void run_reader(struct shmkv *db, enum distribution dist, uint64_t seed)
{
    struct member *m = &shared->member[WRITERS_MAX];
    struct drawing d;
    uint64_t touched = 0;

    drawing_begin(&d, &workload, dist, seed + 17);
    while (atomic_load(&shared->reading) && m->failure[0] == '\0') {
        struct shmkv_section section;
        struct shmkv_item item;
        const char *key = workload.key_bytes + drawing_next(&d) * workload.key_size;
        uint64_t begin = clock_begin();
        int rc = shmkv_begin(db, &section);

        if (rc == 0)
            rc = shmkv_get(&section, key, workload.key_size, &item);
        if (rc == 0)
            touched += *(const unsigned char *)item.value;
        shmkv_end(&section);
        histogram_add(&m->get, clock_end() - begin);
        if (rc != 0)
            snprintf(m->failure, sizeof(m->failure), "%s", shmkv_strerror(rc));
    }
    m->puts = touched; /* so that it is read */
}

static void run_member(struct shmkv *db, unsigned index, enum distribution dist, uint64_t seed)
{
    fault_in();
    atomic_fetch_sub(&shared->waiting, 1);
    while (atomic_load(&shared->waiting) != 0)
        clock_sleep_ms(1);
    if (index == WRITERS_MAX)
        run_reader(db, dist, seed);
    else
        run_writer(db, index, dist, seed);
}

static pid_t start(unsigned index, enum distribution dist, uint64_t seed)
{
    pid_t pid = child_fork();

    if (pid == 0) {
        struct shmkv *db;

        if (open_store(&db) != 0)
            snprintf(shared->member[index].failure, sizeof(shared->member[index].failure), "%s",
                     shmkv_last_error());
        else
            run_member(db, index, dist, seed);
        shmkv_close(db);
        _exit(0);
    }
    return pid;
}

static void check_failures(unsigned writers)
{
    for (unsigned i = 0; i <= WRITERS_MAX; i++)
        if ((i < writers || i == WRITERS_MAX) && shared->member[i].failure[0] != '\0')
            die("process %u: %s", i, shared->member[i].failure);
}

/* Overwrite @puts times; returns the seconds that took. */
static double overwrite(const struct result *r, uint64_t puts, uint64_t seed)
{
    pid_t pids[WRITERS_MAX], reader = 0;
    uint64_t begin = clock_ns();

    memset(shared, 0, sizeof(*shared));
    atomic_store(&shared->left, puts);
    atomic_store(&shared->reading, true);
    atomic_store(&shared->waiting, r->writers + options.reader);
    if (options.reader)
        reader = start(WRITERS_MAX, r->dist, seed);
    for (unsigned i = 0; i < r->writers; i++)
        pids[i] = start(i, r->dist, seed);
    for (unsigned i = 0; i < r->writers; i++)
        waitpid(pids[i], NULL, 0);
    atomic_store(&shared->reading, false);
    if (options.reader)
        waitpid(reader, NULL, 0);
    check_failures(r->writers);
    return (double)(clock_ns() - begin) / 1e9;
}

/* ---- one measurement ----------------------------------------------------------------------- */

static uint64_t record_bytes(void)
{
    return 24 + ((options.key_size + 7) & ~(size_t)7) + ((options.value_size + 7) & ~(size_t)7);
}

/* How many keys make so much of the store live?  The index depends on them, so in two rounds. */
static uint64_t keys_for(unsigned percent)
{
    uint64_t keys = options.size / record_bytes() * percent / 100;

    for (unsigned round = 0; round < 3; round++) {
        struct shmkv_options o = {.flags = SHMKV_CREATE | SHMKV_NO_KEEPER, .size = options.size};
        struct shmkv_stats stats;
        struct shmkv *db;

        o.reserve = keys;
        if (shmkv_open(store, &o, &db) != 0 || shmkv_get_stats(db, &stats) != 0)
            die("%s", shmkv_last_error());
        keys =
            (stats.size - stats.index_bytes - stats.table_bytes) / record_bytes() * percent / 100;
        shmkv_close(db);
        shmkv_destroy(store, NULL, 1);
    }
    return keys;
}

/* Before anything is put: what will the log of a store be in which nothing is cleaned? */
static void plan_room(struct shmkv *db)
{
    char path[96];

    store_path(path, sizeof(path));
    if (shmkv_put(db, "x", 1, "", 0, NULL) != 0 || shmkv_delete(db, "x", 1) != 0)
        die("%s", shmkv_last_error());
    roomy_at = log_start(path);
    roomy_bytes =
        (uint64_t)((double)(workload.keys * record_bytes()) * (1 + options.measure)) + ROOMY_SLACK;
    fault_in();
}

static void fill(struct shmkv *db)
{
    for (uint64_t i = 0; i < workload.keys; i++)
        if (!put(db, i, i))
            die("filling: %s", shmkv_last_error());
}

static void quantiles_of(const struct histogram *h, struct quantiles *q)
{
    q->p50 = (uint64_t)((double)histogram_quantile(h, 0.5) * ns_per_tick);
    q->p99 = (uint64_t)((double)histogram_quantile(h, 0.99) * ns_per_tick);
    q->p999 = (uint64_t)((double)histogram_quantile(h, 0.999) * ns_per_tick);
    q->max = (uint64_t)((double)h->max * ns_per_tick);
}

static void sum_up(struct result *r, double seconds, const struct shmkv_stats *before,
                   const struct shmkv_stats *after)
{
    static struct histogram put;
    double bytes = (double)(after->bytes_put - before->bytes_put);
    double moved = (double)(after->bytes_relocated - before->bytes_relocated);

    histogram_clear(&put);
    r->longest.by_own = true;
    for (unsigned i = 0; i < r->writers; i++) {
        histogram_merge(&put, &shared->member[i].put);
        pause_merge(&r->longest, &shared->member[i].longest);
        r->held += shared->member[i].held;
    }
    quantiles_of(&put, &r->put);
    quantiles_of(&shared->member[WRITERS_MAX].get, &r->get);
    r->rate = (double)(after->puts - before->puts) / seconds;
    r->amplification = (bytes + moved) / bytes;
    r->waited = (double)(after->stalls - before->stalls) / (double)(after->puts - before->puts);
    r->cleaner = (double)(after->cleaning_ns - before->cleaning_ns) / 1e9 / seconds;
    r->of_size = (double)after->live_bytes / (double)after->size;
}

static void measure(struct result *r)
{
    struct shmkv_stats before, after;
    struct shmkv *db;
    double seconds;

    workload_make(&workload, keys_for(r->percent), options.key_size, options.value_size);
    roomy_size = r->roomy ? 2 * (uint64_t)((double)options.size * (1 + options.measure)) : 0;
    if (open_store(&db) != 0)
        die("%s", shmkv_last_error());
    if (r->roomy)
        plan_room(db);
    fill(db);
    if (!r->roomy) /* else there is nothing that would settle */
        overwrite(r, (uint64_t)((double)workload.keys * options.settle), 1);
    shmkv_get_stats(db, &before);
    seconds = overwrite(r, (uint64_t)((double)workload.keys * options.measure), 2);
    shmkv_get_stats(db, &after);
    if (after.keys != workload.keys)
        die("%llu keys of %llu are left", (unsigned long long)after.keys,
            (unsigned long long)workload.keys);
    shmkv_close(db);
    shmkv_destroy(store, NULL, 1);
    sum_up(r, seconds, &before, &after);
    workload_free(&workload);
    roomy_size = roomy_bytes = 0;
}

/* ---- report -------------------------------------------------------------------------------- */

static const char *const dist_names[] = {"uniform", "zipf", "hotcold"};

static void print_columns(void)
{
    printf("%-8s %5s %8s %7s %9s %7s %8s %8s %7s %8s %8s %9s  %s\n", "keys", "live", "of size",
           "writers", "puts/s", "of 30 %", "amplif.", "cleaner", "waited", "p50", "p99.9", "max",
           options.reader ? "get p50, p99.9, max; times the p99.9 without cleaning: put, get" : "");
}

static void print_result(const struct result *r, double base, const struct result *roomy)
{
    char t[7][24], live[8];

    snprintf(live, sizeof(live), r->roomy ? "-" : "%u%%", r->percent);
    printf("%-8s %5s %7.1f%% %7u %9s %7.2f %8.2f %6.0f %% %6.3f%% %8s %8s %9s", dist_names[r->dist],
           live, r->of_size * 100, r->writers, report_count(r->rate, t[0], sizeof(t[0])),
           base > 0 ? r->rate / base : 1, r->amplification, r->cleaner * 100, r->waited * 100,
           report_time((double)r->put.p50, t[1], sizeof(t[1])),
           report_time((double)r->put.p999, t[2], sizeof(t[2])),
           report_time((double)r->put.max, t[3], sizeof(t[3])));
    if (options.reader)
        printf("  %s, %s, %s; %.2f, %.2f", report_time((double)r->get.p50, t[4], sizeof(t[4])),
               report_time((double)r->get.p999, t[5], sizeof(t[5])),
               report_time((double)r->get.max, t[6], sizeof(t[6])),
               (double)r->put.p999 / (double)roomy->put.p999,
               (double)r->get.p999 / (double)roomy->get.p999);
    if (r->held > 0)
        printf("  (%llu held)", (unsigned long long)r->held);
    printf("\n");
}

static void write_json(const struct result *r, double base)
{
    fprintf(
        json,
        "{\"engine\":\"shmkv\",\"bench\":\"compaction\",\"op\":\"overwrite\",\"dist\":\"%s\","
        "\"procs\":%u,\"cleaned\":%s,\"live_percent\":%u,\"live_of_size\":%.4f,\"key_size\":%zu,"
        "\"value_size\":%zu,\"size\":%llu,\"ops_per_s\":%.0f,\"of_base\":%.3f,"
        "\"write_amplification\":%.3f,\"cleaner_cpus\":%.3f,\"waited\":%.6f,\"p50_ns\":%llu,"
        "\"p99_ns\":%llu,\"p999_ns\":%llu,\"max_ns\":%llu,\"held\":%llu",
        dist_names[r->dist], r->writers, r->roomy ? "false" : "true", r->percent, r->of_size,
        options.key_size, options.value_size, (unsigned long long)options.size, r->rate,
        base > 0 ? r->rate / base : 1, r->amplification, r->cleaner, r->waited,
        (unsigned long long)r->put.p50, (unsigned long long)r->put.p99,
        (unsigned long long)r->put.p999, (unsigned long long)r->put.max,
        (unsigned long long)r->held);
    if (options.reader)
        fprintf(json, ",\"get_p50_ns\":%llu,\"get_p999_ns\":%llu,\"get_max_ns\":%llu",
                (unsigned long long)r->get.p50, (unsigned long long)r->get.p999,
                (unsigned long long)r->get.max);
    fprintf(json, "}\n");
}

static void print_longest(const struct pause_list *list)
{
    printf("\nlongest writes, without waiting for a processor:\n");
    for (unsigned i = 0; i < list->count && i < 5; i++) {
        char text[200], t[24];

        printf("  %9s  %s\n", report_time((double)pause_own_ns(&list->top[i]), t, sizeof(t)),
               pause_explain(&list->top[i], text, sizeof(text)));
    }
}

static void measure_row(struct result *r, double base, const struct result *roomy,
                        struct pause_list *longest)
{
    measure(r);
    print_result(r, base, roomy);
    fflush(stdout);
    if (json != NULL)
        write_json(r, base);
    held += r->held;
    pause_merge(longest, &r->longest);
}

static void measure_all(enum distribution dist, unsigned writers, struct pause_list *longest)
{
    struct result roomy = {
        .roomy = true, .percent = ROOMY_PERCENT, .dist = dist, .writers = writers};
    double base = 0;

    if (options.reader)
        measure_row(&roomy, 0, &roomy, longest);
    for (unsigned i = 0; i <= options.percents; i++) {
        struct result r = {.dist = dist, .writers = writers};

        r.percent = i == 0 ? BASE_PERCENT : options.percent[i - 1];
        measure_row(&r, base, &roomy, longest);
        base = i == 0 ? r.rate : base;
    }
}

/* ---- options ------------------------------------------------------------------------------- */

static void usage(FILE *f)
{
    fprintf(f, "usage: compaction [OPTION]...\n"
               "  --size BYTES       limit of the store's memory, with K, M or G (256M)\n"
               "  --live LIST        percent that is live (60,70,80,90)\n"
               "  --writers LIST     processes that overwrite (1,4)\n"
               "  --dist LIST        uniform, zipf, hotcold (uniform,zipf)\n"
               "  --key-size N       bytes of a key (36)\n"
               "  --value-size N     bytes of a value (100)\n"
               "  --settle X         overwrites of all that is live before measuring (4)\n"
               "  --measure X        and while measuring (2)\n"
               "  --reader           one more process reads meanwhile\n"
               "  --json FILE        a line of JSON per row\n");
}

static unsigned read_numbers(const char *text, unsigned *list, unsigned most)
{
    unsigned n = 0;

    for (const char *at = text; n < LIST_MAX; at++) {
        char *end;
        unsigned long x = strtoul(at, &end, 10);

        if (end == at || x == 0 || x > most || (*end != '\0' && *end != ','))
            die("'%s' is no list of numbers up to %u", text, most);
        list[n++] = (unsigned)x;
        at = end;
        if (*at == '\0')
            break;
    }
    return n;
}

static uint64_t read_size(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);
    const char *units = "KMG";
    const char *unit = *end == '\0' ? NULL : strchr(units, *end);

    if (end == text || (*end != '\0' && unit == NULL))
        die("'%s' is no size", text);
    return unit == NULL ? n : n << 10 * (unsigned)(unit - units + 1);
}

static void read_dists(const char *text)
{
    for (unsigned d = 0; d <= DIST_HOTCOLD; d++)
        options.dist[d] = strstr(text, dist_names[d]) != NULL;
    if (!options.dist[0] && !options.dist[1] && !options.dist[2])
        die("'%s': no distribution that is known", text);
}

static void read_option(int c)
{
    switch (c) {
    case 's':
        options.size = read_size(optarg);
        break;
    case 'l':
        options.percents = read_numbers(optarg, options.percent, 99);
        break;
    case 'w':
        options.writer_counts = read_numbers(optarg, options.writers, WRITERS_MAX);
        break;
    case 'd':
        read_dists(optarg);
        break;
    case 'k':
        options.key_size = strtoul(optarg, NULL, 10);
        break;
    case 'v':
        options.value_size = strtoul(optarg, NULL, 10);
        break;
    case 'S':
        options.settle = strtod(optarg, NULL);
        break;
    case 'm':
        options.measure = strtod(optarg, NULL);
        break;
    case 'r':
        options.reader = true;
        break;
    case 'j':
        options.json = optarg;
        break;
    case 'h':
        usage(stdout);
        exit(0);
    default:
        usage(stderr);
        exit(2);
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"size", 1, NULL, 's'},   {"live", 1, NULL, 'l'},     {"writers", 1, NULL, 'w'},
        {"dist", 1, NULL, 'd'},   {"key-size", 1, NULL, 'k'}, {"value-size", 1, NULL, 'v'},
        {"settle", 1, NULL, 'S'}, {"measure", 1, NULL, 'm'},  {"reader", 0, NULL, 'r'},
        {"json", 1, NULL, 'j'},   {"help", 0, NULL, 'h'},     {NULL, 0, NULL, 0},
    };
    int c;

    options.percents = read_numbers("60,70,80,90", options.percent, 99);
    options.writer_counts = read_numbers("1,4", options.writers, WRITERS_MAX);
    read_dists("uniform,zipf");
    while ((c = getopt_long(argc, argv, "h", known, NULL)) != -1)
        read_option(c);
    if (options.key_size < 10 || options.key_size > SHMKV_KEY_MAX)
        die("--key-size: 10 to %u", SHMKV_KEY_MAX);
}

static void remove_store(void)
{
    shmkv_destroy(store, NULL, 1);
}

int main(int argc, char **argv)
{
    static struct pause_list longest = {.by_own = true};

    read_options(argc, argv);
    if (options.json != NULL && (json = fopen(options.json, "w")) == NULL)
        die("%s: %s", options.json, strerror(errno));
    ns_per_tick = clock_calibrate();
    shared = memory_get_shared(sizeof(*shared));
    snprintf(store, sizeof(store), "shm:bench-compaction-%d", (int)getpid());
    atexit(remove_store);
    report_machine();
    printf("settings  store of %llu MiB, keys of %zu bytes, values of %zu\n\n",
           (unsigned long long)options.size >> 20, options.key_size, options.value_size);
    print_columns();
    for (unsigned d = 0; d <= DIST_HOTCOLD; d++)
        for (unsigned i = 0; options.dist[d] && i < options.writer_counts; i++)
            measure_all((enum distribution)d, options.writers[i], &longest);
    print_longest(&longest);
    printf("\nwrites refused with SHMKV_EHELD: %llu\n", (unsigned long long)held);
    if (json != NULL)
        fclose(json);
    return 0;
}
