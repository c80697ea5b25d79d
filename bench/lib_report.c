/* SPDX-License-Identifier: MIT */
#include "lib_report.h"

#include "lib_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* ---- numbers ------------------------------------------------------------------------------- */

const char *report_count(double n, char *text, unsigned size)
{
    if (n >= 1e6)
        snprintf(text, size, "%.2f M", n / 1e6);
    else if (n >= 1e4)
        snprintf(text, size, "%.1f k", n / 1e3);
    else
        snprintf(text, size, "%.0f", n);
    return text;
}

const char *report_time(double ns, char *text, unsigned size)
{
    if (ns >= 1e9)
        snprintf(text, size, "%.2f s", ns / 1e9);
    else if (ns >= 1e6)
        snprintf(text, size, "%.2f ms", ns / 1e6);
    else if (ns >= 1e4)
        snprintf(text, size, "%.1f us", ns / 1e3);
    else
        snprintf(text, size, "%.0f ns", ns);
    return text;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

double report_quantile(double *values, unsigned n, double q)
{
    double at = q * (n - 1);
    unsigned low = (unsigned)at;

    if (n == 0)
        return 0;
    qsort(values, n, sizeof(*values), compare_doubles);
    if (low + 1 >= n)
        return values[n - 1];
    return values[low] + (at - low) * (values[low + 1] - values[low]);
}

/* ---- machine and settings ------------------------------------------------------------------ */

/* The rest of the first line of @path that begins with @label, without blanks and colon. */
static void file_word(const char *path, const char *label, char *text, size_t size)
{
    FILE *f = fopen(path, "r");
    char line[512];

    snprintf(text, size, "unknown");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (strncmp(line, label, strlen(label)) == 0) {
            char *rest = line + strlen(label);

            rest += strspn(rest, " \t:");
            rest[strcspn(rest, "\n")] = '\0';
            snprintf(text, size, "%s", rest);
            break;
        }
    if (f != NULL)
        fclose(f);
}

void report_machine(void)
{
    struct utsname os;
    char model[128];
    char memory[64];
    char load[64];
    char date[32];
    time_t now = time(NULL);

    file_word("/proc/cpuinfo", "model name", model, sizeof(model));
    file_word("/proc/meminfo", "MemTotal", memory, sizeof(memory));
    file_word("/proc/loadavg", "", load, sizeof(load));
    strftime(date, sizeof(date), "%Y-%m-%d %H:%M", localtime(&now));
    uname(&os);
    printf("machine   %s, %ld processors, %.1f GiB, %s %s, load %.14s, %s\n", model,
           sysconf(_SC_NPROCESSORS_ONLN), strtod(memory, NULL) / (1 << 20), os.sysname, os.release,
           load, date);
}

void report_head(const struct report *r)
{
    const struct settings *s = r->settings;

    report_machine();
    printf("settings  %llu keys of %zu bytes, values of %zu, %s", (unsigned long long)s->keys,
           s->key_size, s->value_size, settings_dist_name(s->dist));
    if (s->writers > 0)
        printf(", %u writing beside", s->writers);
    printf("\nmethod    median of %u run%s of %g s per engine", s->runs, s->runs == 1 ? "" : "s",
           s->seconds);
    if (s->shmkv && s->limit)
        printf(", taking turns; ratio: median of the turns (quartiles)");
    if (s->cpu_clock)
        printf(";\n          rates by processor time");
    printf("\n\n");
}

/* ---- the table ----------------------------------------------------------------------------- */

void report_columns(void)
{
    printf("%-14s %5s %-21s %-4s %9s %17s %8s %8s %8s %8s %6s  %s\n", "engine", "procs",
           "operation", "mem", "ops/s", "lowest-highest", "p50", "p99", "p99.9", "max", "B/key",
           "of limit");
}

static void print_row(const struct row *row)
{
    char text[8][24];
    char range[48];
    char op[sizeof(row->op) + sizeof(row->variant)];

    snprintf(op, sizeof(op), "%s%s", row->op, row->variant);
    snprintf(range, sizeof(range), "%s-%s", report_count(row->rate_low, text[0], sizeof(text[0])),
             report_count(row->rate_high, text[1], sizeof(text[1])));
    printf("%-14s %5u %-21s %-4s %9s %17s %8s %8s %8s %8s ", row->engine, row->procs, op,
           row->warm ? "warm" : "cold", report_count(row->rate, text[2], sizeof(text[2])), range,
           report_time((double)row->latency.p50, text[3], sizeof(text[3])),
           report_time((double)row->latency.p99, text[4], sizeof(text[4])),
           report_time((double)row->latency.p999, text[5], sizeof(text[5])),
           report_time((double)row->latency.max, text[6], sizeof(text[6])));
    if (row->bytes_per_key > 0)
        printf("%6.1f", row->bytes_per_key);
    else
        printf("%6s", "");
    if (row->ratio > 0)
        printf("  %.2f (%.2f-%.2f)", row->ratio, row->ratio_low, row->ratio_high);
    if (row->published > 0)
        printf("  %.1f x %.0f/s", row->rate / row->published, row->published);
    if (row->published_latency != NULL)
        printf(" %s", row->published_latency);
    printf("\n");
    fflush(stdout);
}

void report_add(struct report *r, const struct row *row)
{
    const struct settings *s = r->settings;
    struct row *kept = &r->row[r->rows];

    print_row(row);
    if (r->rows == REPORT_ROWS)
        return;
    r->rows++;
    *kept = *row;
    kept->keys = s->keys;
    kept->key_size = s->key_size;
    kept->value_size = s->value_size;
    kept->dist = s->dist;
    kept->read = row->kind == OP_MIX ? s->read : 0;
    kept->writers = s->writers;
}

void report_pauses(const char *title, const struct pause_list *list)
{
    char took[24];
    char own[24];
    char why[200];

    fputs(title, stdout);
    for (unsigned i = 0; i < list->count; i++) {
        const struct pause *p = &list->top[i];

        printf("  %-4s %9s, %9s without the waiting: %s\n", p->what,
               report_time((double)p->ns, took, sizeof(took)),
               report_time((double)pause_own_ns(p), own, sizeof(own)),
               pause_explain(p, why, sizeof(why)));
    }
    if (list->count == 0)
        printf("  none took more than %u us\n", PAUSE_LONG_NS / 1000);
}

/* ---- scaling ------------------------------------------------------------------------------- */

static void print_scaling(const struct report *r)
{
    bool first = true;

    for (unsigned i = 0; i < r->rows; i++) {
        const struct row *row = &r->row[i];

        if (row->scaling_from == 0)
            continue;
        if (first)
            printf(
                "\nscaling   the rate over that of the first number of processes in the same turn: "
                "medians (quartiles)\n");
        first = false;
        printf("%-14s %5u %-21s %.2f of %u's", row->engine, row->procs, row->op, row->scaling,
               row->scaling_from);
        if (row->scaling_limit > 0)
            printf(", the limit's %.2f: %.2f of it (%.2f-%.2f)", row->scaling_limit,
                   row->scaling_ratio, row->scaling_low, row->scaling_high);
        printf("\n");
    }
}

/* ---- files --------------------------------------------------------------------------------- */

static void write_question(const struct report *r, const struct row *w, FILE *f)
{
    fprintf(f, "{\"engine\": \"%s\", \"bench\": \"%s\", \"procs\": %u, \"op\": \"%s\", ", w->engine,
            r->bench, w->procs, w->op);
    fprintf(f, "\"does\": \"%s\", \"read\": %u, \"dist\": \"%s\", \"keys\": %llu, ",
            settings_op_name(w->does), w->read, settings_dist_name(w->dist),
            (unsigned long long)w->keys);
    fprintf(f, "\"key_size\": %zu, \"value_size\": %zu, ", w->key_size, w->value_size);
}

static void write_answer(const struct row *w, FILE *f)
{
    fprintf(f, "\"ops_per_s\": %.0f, \"ops_per_s_min\": %.0f, \"ops_per_s_max\": %.0f, ", w->rate,
            w->rate_low, w->rate_high);
    fprintf(f, "\"p50_ns\": %llu, \"p95_ns\": %llu, \"p99_ns\": %llu, \"p999_ns\": %llu, ",
            (unsigned long long)w->latency.p50, (unsigned long long)w->latency.p95,
            (unsigned long long)w->latency.p99, (unsigned long long)w->latency.p999);
    fprintf(f, "\"max_ns\": %llu, \"bytes_per_key\": %.1f, \"ratio_to_limit\": ",
            (unsigned long long)w->latency.max, w->bytes_per_key);
    if (w->ratio > 0)
        fprintf(f, "%.4f, \"ratio_low\": %.4f, \"ratio_high\": %.4f, ", w->ratio, w->ratio_low,
                w->ratio_high);
    else
        fprintf(f, "null, ");
}

static void write_scaling(const struct row *w, FILE *f)
{
    if (w->scaling_from == 0)
        return;
    fprintf(f, "\"scaling_from\": %u, \"scaling\": %.4f, ", w->scaling_from, w->scaling);
    if (w->scaling_limit > 0)
        fprintf(f, "\"scaling_of_limit\": %.4f, ", w->scaling_ratio);
}

static void write_json(const struct report *r)
{
    const struct settings *s = r->settings;
    FILE *f = fopen(s->json, "a");

    if (f == NULL)
        die("cannot write %s", s->json);
    for (unsigned i = 0; i < r->rows; i++) {
        const struct row *w = &r->row[i];

        write_question(r, w, f);
        write_answer(w, f);
        write_scaling(w, f);
        if (w->shmkv_times > 0)
            fprintf(f, "\"shmkv_times\": %.4f, ", w->shmkv_times);
        if (w->published > 0)
            fprintf(f, "\"published\": %.0f, ", w->published);
        if (w->published_latency != NULL)
            fprintf(f, "\"published_latency\": \"%s\", ", w->published_latency);
        if (w->extra[0] != '\0')
            fprintf(f, "%s, ", w->extra);
        fprintf(f, "\"runs\": %u, \"seconds\": %g, \"writers\": %u, \"memory\": \"%s\"}\n", s->runs,
                s->seconds, w->writers, w->warm ? "warm" : "cold");
    }
    if (fclose(f) != 0)
        die("cannot write %s", s->json);
}

/* Has this row's line been drawn already? */
static bool row_is_first(const struct report *r, unsigned i)
{
    for (unsigned j = 0; j < i; j++)
        if (strcmp(r->row[j].engine, r->row[i].engine) == 0 &&
            strcmp(r->row[j].op, r->row[i].op) == 0)
            return false;
    return true;
}

static void plot_lines(const struct report *r, FILE *gnuplot)
{
    const char *separator = "plot";

    for (unsigned i = 0; i < r->rows; i++)
        if (row_is_first(r, i)) {
            fprintf(gnuplot, "%s '-' using 1:2 with linespoints lw 2 title '%s %s'", separator,
                    r->row[i].engine, r->row[i].op);
            separator = ",";
        }
    fprintf(gnuplot, "\n");
    for (unsigned i = 0; i < r->rows; i++) {
        if (!row_is_first(r, i))
            continue;
        for (unsigned j = i; j < r->rows; j++)
            if (strcmp(r->row[j].engine, r->row[i].engine) == 0 &&
                strcmp(r->row[j].op, r->row[i].op) == 0)
                fprintf(gnuplot, "%u %.4f\n", r->row[j].procs, r->row[j].rate / 1e6);
        fprintf(gnuplot, "e\n");
    }
}

static void write_plot(const struct report *r)
{
    const struct settings *s = r->settings;
    FILE *gnuplot = popen("gnuplot", "w"); /* NOLINT(cert-env33-c): a constant, found in PATH */

    if (gnuplot == NULL)
        die("--plot: cannot start gnuplot; install the package gnuplot-nox");
    fprintf(gnuplot,
            "set terminal svg size 800,500 background 'white'\nset output '%s'\n"
            "set title '%llu keys of %zu bytes, values of %zu, %s'\nset xlabel 'processes'\n"
            "set ylabel 'million operations per second'\nset yrange [0:*]\nset grid\n"
            "set key outside\nset logscale x 2\n",
            s->plot, (unsigned long long)s->keys, s->key_size, s->value_size,
            settings_dist_name(s->dist));
    plot_lines(r, gnuplot);
    if (pclose(gnuplot) != 0)
        die("--plot: gnuplot failed; is the package gnuplot-nox installed?");
}

void report_end(const struct report *r)
{
    if (r->settings->store == NULL)
        print_scaling(r);
    fflush(stdout);
    if (r->settings->json != NULL)
        write_json(r);
    if (r->settings->plot != NULL && r->rows > 0)
        write_plot(r);
}
