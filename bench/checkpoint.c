/* SPDX-License-Identifier: MIT */
/*
 * checkpoint.c - what do checkpoints cost those who work meanwhile?
 *
 * One process works at full speed on a store with an image; another one keeps house and, in every
 * second slice, makes a checkpoint each second.  In the slices between it keeps house as well, and
 * makes none.  The ratio is that of neighbouring slices.  Nothing would have to be written beside
 * reads alone, so the keeper's process then puts GET_PUTS keys per second, in both kinds of slices.
 *
 * A slice with checkpoints begins when everything before it is in the image, and its clock runs
 * from INTERVAL_MS later on, when the second checkpoint is about to begin: so a slice of N seconds
 * meets N of them.  Behind its end the rest is checkpointed: what was written to the image in all
 * that time, divided by the records that were put in it, is what a byte put costs.
 *
 * With one processor (taskset -c 0 bench/checkpoint) those who make the checkpoint and those who
 * work share it.  --store PATH puts the image on a disk of one's choice (/var/tmp); --memory cold
 * leaves the going once through all of the log out, and measures the taking of memory too.
 */
#define _GNU_SOURCE
#include "lib_child.h"
#include "lib_clock.h"
#include "lib_memory.h"
#include "lib_report.h"
#include "lib_score.h"
#include "lib_team.h"

#include "shmkv.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define INTERVAL_MS 1000u
#define SETTLE_MS 100u    /* of a slice without checkpoints, before its clock runs */
#define SIZE (2ull << 30) /* an eighth of it is more than is put in a second */
#define BIG (16u << 10)   /* bytes of a value that only goes through all of the log */
#define GET_PUTS 20000u   /* per second, beside reads */
#define OPS 3u
#define STREAM (2u << 20)  /* operations, before they are repeated */
#define PATIENCE_MS 10000u /* for a keeper that does not get the image */

enum arm { ARM_WITH, ARM_WITHOUT, ARMS };

/* What the keeper tells; in memory that both share. */
struct told {
    _Atomic uint32_t ready, stop, gone;
    char failure[200];
    uint64_t took_ns, checkpoints, longest_ms, put_bytes, image_bytes, disk_bytes;
};

/* Of all slices with checkpoints of one operation. */
struct bill {
    uint64_t checkpoints, took_ns, longest_ms, put_bytes, image_bytes, disk_bytes;
};

static struct settings settings;
static struct report report = {.bench = "checkpoint", .settings = &settings};
static struct workload workload;
static struct stream in_order, drawn;
static struct team team;
static struct told *told;
static struct lane *lane;
static char image[sizeof(((struct engine_setup *)NULL)->name)];
static double ns_per_tick;
static pid_t owner;

/* ---- the process that keeps house ---------------------------------------------------------- */

static void keeper_fails(const char *what)
{
    snprintf(told->failure, sizeof(told->failure), "%s: %s", what, shmkv_last_error());
    atomic_store(&told->gone, 1);
    _exit(0);
}

/* What this process wrote by system calls, and what of that the disk has to be given. */
static void written(uint64_t *calls, uint64_t *disk)
{
    FILE *f = fopen("/proc/self/io", "r");
    char line[80];

    *calls = *disk = 0;
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, "wchar: ", 7) == 0)
            *calls = strtoull(line + 7, NULL, 10);
        if (strncmp(line, "write_bytes: ", 13) == 0)
            *disk = strtoull(line + 13, NULL, 10);
    }
    if (f != NULL)
        fclose(f);
}

/* Counters as they are now, added to or, with @sign -1, taken from what is told. */
static void count(struct shmkv *db, uint64_t sign)
{
    struct shmkv_keeper keeper;
    struct shmkv_stats stats;
    uint64_t calls, disk;

    if (shmkv_get_keeper(db, &keeper) != 0 || shmkv_get_stats(db, &stats) != 0)
        keeper_fails("asking");
    written(&calls, &disk);
    told->checkpoints += sign * keeper.checkpoints;
    told->put_bytes += sign * stats.bytes_put;
    told->image_bytes += sign * calls;
    told->disk_bytes += sign * disk;
    told->took_ns += sign * clock_ns();
}

static struct shmkv *open_keeper(enum arm arm)
{
    struct shmkv_options o = {.flags = SHMKV_KEEPER,
                              .interval_ms = arm == ARM_WITH ? INTERVAL_MS : UINT64_MAX};
    struct shmkv_keeper keeper = {0};
    struct shmkv *db;

    if (shmkv_open(image, &o, &db) != 0)
        keeper_fails("opening");
    for (unsigned i = 0; !keeper.mine && i < PATIENCE_MS; i++) {
        clock_sleep_ms(1);
        if (shmkv_get_keeper(db, &keeper) != 0)
            keeper_fails("asking who keeps house");
    }
    if (!keeper.mine)
        keeper_fails("waiting for the image");
    if (arm == ARM_WITH && shmkv_checkpoint(db) != 0)
        keeper_fails("checkpointing");
    return db;
}

/* What is due by now of the puts that go on beside reads. */
static void put_some(struct shmkv *db, uint64_t begin)
{
    static uint64_t done, at;

    for (uint64_t due = (clock_ns() - begin) * GET_PUTS / 1000000000u; done < due; done++) {
        at = (at + 7919) % workload.keys;
        if (shmkv_put(db, workload.key_bytes + at * workload.key_size, workload.key_size,
                      workload_value_at(&workload, at), workload.value_size, NULL) != 0)
            keeper_fails("writing");
    }
}

static void note_duration(struct shmkv *db)
{
    struct shmkv_keeper keeper;

    if (shmkv_get_keeper(db, &keeper) == 0 && keeper.checkpoint_ms > told->longest_ms)
        told->longest_ms = keeper.checkpoint_ms;
}

static void keep(enum arm arm, enum operation op)
{
    struct shmkv *db = open_keeper(arm);
    uint64_t begin = clock_ns();

    count(db, (uint64_t)-1);
    atomic_store(&told->ready, 1);
    for (unsigned i = 0; atomic_load(&told->stop) == 0; i++) {
        clock_sleep_ms(1);
        if (op == OP_GET)
            put_some(db, begin);
        if (arm == ARM_WITH && i % 64 == 0)
            note_duration(db);
    }
    if (arm == ARM_WITH && shmkv_checkpoint(db) != 0)
        keeper_fails("checkpointing");
    count(db, 1);
    shmkv_close(db);
    atomic_store(&told->gone, 1);
    _exit(0);
}

static pid_t start_keeper(enum arm arm, enum operation op)
{
    memset(told, 0, sizeof(*told));
    pid_t pid = child_fork();

    if (pid == 0)
        keep(arm, op);
    while (atomic_load(&told->ready) == 0 && atomic_load(&told->gone) == 0)
        clock_sleep_ms(1);
    return pid;
}

static void stop_keeper(pid_t pid)
{
    int status;

    atomic_store(&told->stop, 1);
    waitpid(pid, &status, 0);
    if (told->failure[0] != '\0')
        die("the keeper: %s", told->failure);
    if (atomic_load(&told->gone) == 0)
        die("the keeper died");
}

/* ---- slices -------------------------------------------------------------------------------- */

static void work(enum operation op, double seconds, struct team_sum *sum)
{
    static uint64_t turn;
    struct team_order order = {.verb = TEAM_RUN};

    order.turn = turn++;
    order.task[0] = (struct team_task){.op = op, .stream = &drawn};
    order.duration = (uint64_t)(seconds * 1e9 / ns_per_tick);
    team_do(&team, &order);
    team_sum(&team, 0, sum);
}

static void slice(enum arm arm, enum operation op, struct score *score, struct bill *bill)
{
    static struct team_sum sum;
    pid_t keeper = start_keeper(arm, op);

    if (atomic_load(&told->gone) == 0) {
        work(op, (arm == ARM_WITH ? INTERVAL_MS : SETTLE_MS) / 1e3, &sum);
        work(op, settings.seconds, &sum);
    }
    stop_keeper(keeper);
    score_slice(score, &sum,
                settings.cpu_clock ? (double)sum.cpu_ns : (double)sum.ticks * ns_per_tick);
    score_end_run(score, ns_per_tick);
    if (arm == ARM_WITHOUT)
        return;
    bill->checkpoints += told->checkpoints;
    bill->took_ns += told->took_ns;
    bill->put_bytes += told->put_bytes;
    bill->image_bytes += told->image_bytes;
    bill->disk_bytes += told->disk_bytes;
    if (told->longest_ms > bill->longest_ms)
        bill->longest_ms = told->longest_ms;
}

/* ---- report -------------------------------------------------------------------------------- */

static int processors(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 0;
}

static double share(uint64_t part, uint64_t of)
{
    return of == 0 ? 0 : (double)part / (double)of;
}

static void print_bill(enum operation op, const struct bill *b)
{
    char rate[24];

    printf("%-14s %.2f checkpoints a second, the longest took %llu ms; %s bytes a second to the "
           "image, %.3f for each byte put\n",
           settings_op_name(op), share(b->checkpoints, b->took_ns) * 1e9,
           (unsigned long long)b->longest_ms,
           report_count(share(b->image_bytes, b->took_ns) * 1e9, rate, sizeof(rate)),
           share(b->image_bytes, b->put_bytes));
}

static void add_row(enum operation op, struct score *score, const struct score *yardstick,
                    const struct bill *bill)
{
    struct row row = {.engine = yardstick != NULL ? "shmkv" : "without",
                      .kind = op,
                      .does = op,
                      .procs = 1,
                      .warm = settings.memory != MEMORY_COLD};

    snprintf(row.op, sizeof(row.op), "%s", settings_op_name(op));
    score_row(score, yardstick, ns_per_tick, &row);
    if (yardstick != NULL)
        snprintf(row.extra, sizeof(row.extra),
                 "\"checkpoints_per_s\": %.2f, \"longest_checkpoint_ms\": %llu, "
                 "\"image_bytes_per_byte_put\": %.3f, \"disk_bytes_per_byte_put\": %.3f, "
                 "\"processors\": %d",
                 share(bill->checkpoints, bill->took_ns) * 1e9,
                 (unsigned long long)bill->longest_ms, share(bill->image_bytes, bill->put_bytes),
                 share(bill->disk_bytes, bill->put_bytes), processors());
    report_add(&report, &row);
}

static void measure(enum operation op, struct bill *bill)
{
    struct score *score = memory_get(ARMS * sizeof(*score));

    for (unsigned run = 0; run < settings.runs; run++)
        for (unsigned i = 0; i < ARMS; i++) {
            enum arm arm = (enum arm)((run + i) % ARMS);

            slice(arm, op, &score[arm], bill);
        }
    add_row(op, &score[ARM_WITH], &score[ARM_WITHOUT], bill);
    add_row(op, &score[ARM_WITHOUT], NULL, NULL);
    memory_put(score, ARMS * sizeof(*score));
}

/* ---- the store ----------------------------------------------------------------------------- */

static void remove_store(void)
{
    if (getpid() == owner)
        shmkv_destroy(image, NULL, 1);
}

static void make_store(void)
{
    uint64_t live = settings.keys * engine_record_bytes(&workload);
    struct shmkv_options o = {.flags = SHMKV_CREATE | SHMKV_EXCLUSIVE | SHMKV_NO_KEEPER,
                              .size = SIZE + 2 * live,
                              .reserve = settings.keys};
    struct shmkv *db;

    if (shmkv_open(image, &o, &db) != 0)
        die("%s", shmkv_last_error());
    atexit(remove_store);
    shmkv_close(db);
}

/* As a store is that has been used for long: the memory was taken, and the cleaner has begun. */
static void go_through_the_log(void)
{
    struct shmkv_options o = {.flags = SHMKV_NO_KEEPER};
    struct shmkv *db;
    char *value = memory_get(BIG);
    int rc = shmkv_open(image, &o, &db);

    for (uint64_t bytes = 0; rc == 0 && bytes < SIZE; bytes += BIG)
        rc = shmkv_put(db, "large", 5, value, BIG, NULL);
    if (rc != 0 || shmkv_delete(db, "large", 5) != 0 || shmkv_checkpoint(db) != 0)
        die("%s", shmkv_last_error());
    shmkv_close(db);
    memory_put(value, BIG);
}

static void fill(void)
{
    void *context;

    lane->engine = &engine_shmkv;
    lane->setup = (struct engine_setup){.workload = &workload, .warm = true, .attach_only = true};
    snprintf(lane->setup.name, sizeof(lane->setup.name), "%s", image);
    context = lane_attach(lane);
    team_run_alone(lane, context, engine_fill(lane->engine), &in_order);
    lane->engine->detach(context);
    if (settings.memory != MEMORY_COLD)
        go_through_the_log();
}

static void prepare(void)
{
    ns_per_tick = clock_calibrate();
    workload_make(&workload, settings.keys, settings.key_size, settings.value_size);
    stream_in_order(&in_order, &workload);
    stream_drawn(&drawn, &workload, settings.dist, settings.read, STREAM);
    told = memory_get_shared(sizeof(*told));
    team_start(&team, 1, 0);
    lane = &team.shared->lanes[0];
    make_store();
    fill();
    team_do(&team, &(struct team_order){.verb = TEAM_ATTACH});
}

static void measure_all(void)
{
    static const enum operation ops[OPS] = {OP_OVERWRITE, OP_MIX, OP_GET};
    static struct bill bill[OP_COUNT];

    report_columns();
    for (unsigned i = 0; i < OPS; i++)
        if (settings.op[ops[i]])
            measure(ops[i], &bill[ops[i]]);
    printf("of limit: of the rate without checkpoints, by %d processors\n\n", processors());
    for (unsigned i = 0; i < OPS; i++)
        if (settings.op[ops[i]])
            print_bill(ops[i], &bill[ops[i]]);
}

int main(int argc, char **argv)
{
    settings_default(&settings);
    settings.op[OP_GET] = settings.op[OP_OVERWRITE] = true;
    settings_parse(&settings, argc, argv);
    owner = getpid();
    if (settings.store == NULL)
        snprintf(image, sizeof(image), "/var/tmp/bench-checkpoint-%d", (int)owner);
    else if (snprintf(image, sizeof(image), "%s", settings.store) >= (int)sizeof(image))
        die("--store %s: a shorter path is needed", settings.store);
    report_head(&report);
    prepare();
    measure_all();
    team_do(&team, &(struct team_order){.verb = TEAM_DETACH});
    team_stop(&team);
    report_end(&report);
    return 0;
}
