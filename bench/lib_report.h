/* SPDX-License-Identifier: MIT */
/* lib_report.h - results: what one is, and as a table, as JSON lines, as a picture. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "lib_pause.h"
#include "lib_settings.h"

#define REPORT_RUNS 99u
#define REPORT_ROWS 1024u

struct quantiles {
    uint64_t p50; /* nanoseconds */
    uint64_t p95; /* 0: not asked */
    uint64_t p99;
    uint64_t p999;
    uint64_t max;
};

/* One line of the table: medians of the runs; max is the largest of all. */
struct row {
    const char *engine;
    char op[40];
    char variant[16];    /* behind it in the table, where @does differs from what is asked */
    enum operation kind; /* what is asked */
    enum operation does; /* the yardstick of a removal overwrites */
    unsigned procs;
    double rate; /* operations per second */
    double rate_low;
    double rate_high;
    struct quantiles latency; /* of an operation; for mget of sixteen */
    double bytes_per_key;     /* 0: not known */
    double ratio;             /* to the yardstick; 0: none was measured */
    double ratio_low;         /* quartiles of the turns */
    double ratio_high;
    bool warm;
    unsigned scaling_from; /* the number of processes that it is compared with; 0: none */
    double scaling;        /* this rate over that one */
    double scaling_limit;  /* the yardstick's; 0: not known */
    double scaling_ratio;  /* of these two, turn by turn */
    double scaling_low;    /* quartiles of the turns */
    double scaling_high;
    double shmkv_times; /* shmkv's rate as a multiple of this, by turns; 0: not known */
    double published;   /* operations per second that others print of themselves; 0: none */
    const char *published_latency;
    char extra[1024]; /* more members of the line of JSON, or "" */
    /* Of the settings, as they were: report_add() fills them in. */
    uint64_t keys;
    size_t key_size;
    size_t value_size;
    enum distribution dist;
    unsigned read;
    unsigned writers;
};

struct report {
    const char *bench;
    const struct settings *settings;
    unsigned rows;
    struct row row[REPORT_ROWS];
};

/* A line on the machine. */
void report_machine(void);
/* Machine and settings. */
void report_head(const struct report *r);
void report_columns(void);
/* Print and keep a row. */
void report_add(struct report *r, const struct row *row);
/* A title, then one line per pause. */
void report_pauses(const char *title, const struct pause_list *list);
/* How rates grow with processes, beside the yardstick's, then JSON lines and picture. */
void report_end(const struct report *r);

/* 1234567 -> "1.23 M". */
const char *report_count(double n, char *text, unsigned size);
/* Nanoseconds -> "1.23 us". */
const char *report_time(double ns, char *text, unsigned size);
/* The value that the fraction @q of @n values is below; sorts them. */
double report_quantile(double *values, unsigned n, double q);

#endif
