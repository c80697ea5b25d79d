/* SPDX-License-Identifier: MIT */
/*
 * cmd_top.c - the top command: who does how much in a store, and what its memory does meanwhile.
 *
 * Two looks, a second apart, make the rates: of each process by what its threads have counted, of
 * the store by its counters.  On a terminal the screen is drawn anew after each look, with ncurses
 * if the tool was built with it; elsewhere, and with --once, one look is printed.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef SHMKV_CURSES
#include <curses.h>
#include <term.h>
#endif

#include "cli.h"
#include "units.h"

#define TOP_ROWS 4096u
#define TOP_PERIOD_MS 1000

/* One process. */
struct top_row {
    int64_t pid;
    char name[16];
    uint64_t threads, operations, held;
    uint64_t oldest; /* epoch of its oldest section; 0: in none */
    uint64_t age_ms; /* and for how long it has been seen to stand */
    double rate;
};

struct top_look {
    uint64_t ns;
    struct shmkv_stats stats;
    struct shmkv_keeper keeper;
    struct shmkv_participant oldest; /* whose section has stood longest; age_ms 0: nobody's */
    size_t rows;
    struct top_row row[TOP_ROWS];
};

/* ---- look ---------------------------------------------------------------------------------- */

static int top_add(void *arg, const struct shmkv_participant *p)
{
    struct top_look *look = arg;
    size_t i = 0;
    if (p->age_ms > look->oldest.age_ms) {
        look->oldest = *p;
    }
    while (i < look->rows && look->row[i].pid != p->pid) {
        i++;
    }
    if (i == TOP_ROWS) {
        return 0;
    }
    struct top_row *row = &look->row[i];
    if (i == look->rows) {
        *row = (struct top_row){.pid = p->pid};
        memcpy(row->name, p->name, sizeof(row->name));
        look->rows++;
    }
    row->threads++;
    row->operations += p->operations;
    row->held = p->bytes_held > row->held ? p->bytes_held : row->held;
    row->age_ms = p->age_ms > row->age_ms ? p->age_ms : row->age_ms;
    uint64_t epochs[] = {p->reading, p->writing};
    for (int k = 0; k < 2; k++) {
        if (epochs[k] != 0 && (row->oldest == 0 || epochs[k] < row->oldest)) {
            row->oldest = epochs[k];
        }
    }
    return 0;
}

static int top_take(struct shmkv *db, struct top_look *look)
{
    look->rows = 0;
    look->oldest = (struct shmkv_participant){0};
    look->ns = units_mono_ns();
    int rc = shmkv_get_keeper(db, &look->keeper);
    rc = rc == 0 ? shmkv_get_stats(db, &look->stats) : rc;
    return rc == 0 ? shmkv_readers(db, top_add, look) : rc;
}

static double top_rate(const struct top_look *old, const struct top_look *now, uint64_t before,
                       uint64_t after)
{
    double seconds = (double)(now->ns - old->ns) / 1e9;
    return after > before && seconds > 0 ? (double)(after - before) / seconds : 0;
}

static int top_by_rate(const void *a, const void *b)
{
    const struct top_row *x = a, *y = b;
    return (x->rate < y->rate) - (x->rate > y->rate);
}

static void top_compare(const struct top_look *old, struct top_look *now,
                        int (*order)(const void *, const void *))
{
    for (size_t i = 0; i < now->rows; i++) {
        struct top_row *row = &now->row[i];
        for (size_t k = 0; k < old->rows; k++) {
            if (old->row[k].pid == row->pid) {
                row->rate = top_rate(old, now, old->row[k].operations, row->operations);
            }
        }
    }
    qsort(now->row, now->rows, sizeof(now->row[0]), order);
}

/* ---- print --------------------------------------------------------------------------------- */

#define TOP_RATE(member) top_rate(old, now, old->stats.member, now->stats.member)

/* A process chooses its own name: it must not move the cursor. */
static void top_add_name(struct text *out, const char *name, size_t most, int width)
{
    struct text shown = {0};
    text_add_shown(&shown, name, strnlen(name, most));
    text_printf(out, "%-*.*s", width, (int)shown.size, shown.data);
    text_free(&shown);
}

static void top_oldest(const struct shmkv_participant *p, struct text *out)
{
    char age[UNITS_TEXT], held[UNITS_TEXT];
    if (p->age_ms == 0) {
        text_add_string(out, "no section stands\n\n");
        return;
    }
    units_show_time(age, p->age_ms);
    units_show_size(held, p->bytes_held);
    text_printf(out, "oldest section: process %" PRId64 " (", p->pid);
    top_add_name(out, p->name, sizeof(p->name), 0);
    text_printf(out, "), thread %" PRId64 ", in a %s for %s, holds %s back\n\n", p->thread,
                p->writing != 0 ? "write" : "read section", age, held);
}

static void top_text(const struct top_look *old, const struct top_look *now, struct text *out)
{
    const struct shmkv_stats *s = &now->stats;
    char memory[UNITS_TEXT], size[UNITS_TEXT], live[UNITS_TEXT], held[UNITS_TEXT];
    units_show_size(memory, s->memory);
    units_show_size(size, s->size);
    units_show_size(live, s->live_bytes);
    text_printf(out, "gets/s %.0f  puts/s %.0f  deletes/s %.0f  keys %" PRIu64 "\n", TOP_RATE(gets),
                TOP_RATE(puts), TOP_RATE(deletes), s->keys);
    text_printf(out,
                "memory %s of %s, live %s; segments %" PRIu64 ", free %" PRIu64 ", limbo %" PRIu64
                "\n",
                memory, size, live, s->segments, s->segments_free, s->segments_limbo);
    text_printf(out, "cleaner: %.0f segments/s, %.1f %% of a processor; evictions/s %.0f\n",
                TOP_RATE(segments_cleaned), TOP_RATE(cleaning_ns) / 1e7, TOP_RATE(evictions));
    text_printf(out, "epoch %" PRIu64 ", %.0f/s; keeper %" PRId64 "; processes %" PRIu64 "\n",
                s->epoch, TOP_RATE(epoch), now->keeper.pid, s->processes);
    top_oldest(&now->oldest, out);
    text_printf(out, "%-10s %-16s %7s %12s %10s %9s %9s\n", "PID", "NAME", "THREADS", "OPS/S",
                "SECTION", "AGE", "HELD");
    for (size_t i = 0; i < now->rows; i++) {
        const struct top_row *row = &now->row[i];
        char age[UNITS_TEXT] = "-";
        if (row->age_ms != 0) {
            units_show_time(age, row->age_ms);
        }
        units_show_size(held, row->held);
        text_printf(out, "%-10" PRId64 " ", row->pid);
        top_add_name(out, row->name, sizeof(row->name), 16);
        text_printf(out, " %7" PRIu64 " %12.0f %10" PRIu64 " %9s %9s\n", row->threads, row->rate,
                    row->oldest, age, held);
    }
}

static void top_json(const struct top_look *old, const struct top_look *now, struct text *out)
{
    const struct shmkv_stats *s = &now->stats;
    text_printf(out, "{\"gets_per_s\": %.0f, \"puts_per_s\": %.0f, \"deletes_per_s\": %.0f",
                TOP_RATE(gets), TOP_RATE(puts), TOP_RATE(deletes));
    text_printf(out, ", \"keys\": %" PRIu64 ", \"memory\": %" PRIu64 ", \"size\": %" PRIu64,
                s->keys, s->memory, s->size);
    text_printf(out, ", \"cleaned_per_s\": %.0f, \"evictions_per_s\": %.0f, \"epoch\": %" PRIu64,
                TOP_RATE(segments_cleaned), TOP_RATE(evictions), s->epoch);
    text_printf(out, ", \"keeper\": %" PRId64 ", \"processes\": [", now->keeper.pid);
    for (size_t i = 0; i < now->rows; i++) {
        const struct top_row *row = &now->row[i];
        text_printf(out, "%s{\"pid\": %" PRId64 ", \"name\": ", i > 0 ? ", " : "", row->pid);
        text_add_json(out, row->name, strnlen(row->name, sizeof(row->name)));
        text_printf(out, ", \"threads\": %" PRIu64 ", \"operations_per_s\": %.0f", row->threads,
                    row->rate);
        text_printf(out, ", \"section\": %" PRIu64 ", \"age_ms\": %" PRIu64, row->oldest,
                    row->age_ms);
        text_printf(out, ", \"bytes_held\": %" PRIu64 "}", row->held);
    }
    text_add_string(out, "]}\n");
}

static int top_once(struct cli *cli, struct top_look *look)
{
    struct text out = {0};
    int rc = top_take(cli->db, &look[0]);
    if (rc == 0) {
        nanosleep(&(struct timespec){.tv_sec = TOP_PERIOD_MS / 1000}, NULL);
        rc = top_take(cli->db, &look[1]);
    }
    if (rc == 0) {
        top_compare(&look[0], &look[1], top_by_rate);
        (cli_has(cli, OPT_JSON) ? top_json : top_text)(&look[0], &look[1], &out);
        cli_write(&out);
    }
    text_free(&out);
    return cli_result(cli, rc);
}

/* ---- the screen ---------------------------------------------------------------------------- */

#ifdef SHMKV_CURSES
static int top_by_held(const void *a, const void *b)
{
    const struct top_row *x = a, *y = b;
    return (x->held < y->held) - (x->held > y->held);
}

static int top_by_pid(const void *a, const void *b)
{
    const struct top_row *x = a, *y = b;
    return (x->pid > y->pid) - (x->pid < y->pid);
}

static void top_draw(const struct cli *cli, const struct text *t)
{
    erase();
    mvprintw(0, 0, "%s  (q quit; sort by o operations, h held, p pid)", cli->store);
    int y = 1;
    for (size_t at = 0; at < t->size && y < LINES; y++) {
        const char *end = memchr(t->data + at, '\n', t->size - at);
        int length = (int)(end - (t->data + at));
        mvaddnstr(y, 0, t->data + at, length < COLS ? length : COLS);
        at += (size_t)length + 1;
    }
    refresh();
}

/* Of one that is not, newterm() would lose some memory; initscr() would end the program. */
static bool top_terminal_is_known(void)
{
    int error;
    if (setupterm(NULL, STDOUT_FILENO, &error) != OK) {
        return false;
    }
    del_curterm(cur_term);
    return true;
}

/*
 * A key within the period, or ERR.  Of a terminal that is gone there will be none, but at once, and
 * we would draw as fast as we can: that is the end.
 */
static int top_key(void)
{
    int key = getch(); /* what is there already */
    if (key != ERR) {
        return key;
    }
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    int ready = poll(&input, 1, TOP_PERIOD_MS);
    key = getch(); /* a new size of the window comes as a key, too */
    return key == ERR && ready > 0 ? 'q' : key;
}

static int top_screen(struct cli *cli, struct top_look *look)
{
    int (*order)(const void *, const void *) = top_by_rate;
    int rc = top_take(cli->db, &look[0]);
    unsigned last = 0;
    int key = 0;
    if (rc != 0) {
        return cli_result(cli, rc);
    }
    SCREEN *screen = top_terminal_is_known() ? newterm(NULL, stdout, stdin) : NULL;
    if (!screen) {
        const char *term = getenv("TERM");
        return cli_error(NULL,
                         "cannot use this terminal (TERM=%s): nothing is known of that kind; set "
                         "TERM to what it is, or use --once, which prints one table",
                         term ? term : "");
    }
    cbreak();
    noecho();
    timeout(0);
    while (rc == 0 && key != 'q') {
        struct top_look *now = &look[1 - last];
        rc = top_take(cli->db, now);
        if (rc == 0) {
            struct text out = {0};
            top_compare(&look[last], now, order);
            top_text(&look[last], now, &out);
            top_draw(cli, &out);
            text_free(&out);
            last = 1 - last;
            key = top_key();
            order = key == 'o'   ? top_by_rate
                    : key == 'h' ? top_by_held
                    : key == 'p' ? top_by_pid
                                 : order;
        }
    }
    endwin();
    delscreen(screen);
    return cli_result(cli, rc);
}
#else
static int top_screen(struct cli *cli, struct top_look *look)
{
    (void)cli;
    (void)look;
    return cli_error(NULL, "this shmkv was built without ncurses: use top --once, or install "
                           "libncurses-dev and build it again");
}
#endif

int cmd_top(struct cli *cli)
{
    bool terminal = cli_output_is_terminal() && isatty(STDIN_FILENO);
    bool once = cli_has(cli, OPT_ONCE) || cli_has(cli, OPT_JSON) || !terminal;
    int status = cli_open(cli, SHMKV_READONLY);
    if (status != CLI_DONE) {
        return status;
    }
    struct top_look *look = calloc(2, sizeof(*look));
    if (!look) {
        return cli_error(NULL, "no memory");
    }
    status = once ? top_once(cli, look) : top_screen(cli, look);
    free(look);
    return status;
}
