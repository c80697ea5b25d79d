/* SPDX-License-Identifier: MIT */
/* lib_score.h - what was measured of one engine, slice by slice and run by run. */
#ifndef BENCH_SCORE_H
#define BENCH_SCORE_H

#include "lib_report.h"
#include "lib_team.h"

#define SCORE_SLICES 16384u

struct score {
    unsigned slices;
    double slice_rate[SCORE_SLICES];
    unsigned runs;
    double rate[REPORT_RUNS];
    double p50[REPORT_RUNS];
    double p95[REPORT_RUNS];
    double p99[REPORT_RUNS];
    double p999[REPORT_RUNS];
    uint64_t max;  /* ticks */
    uint64_t done; /* of the running run */
    double ns;
    struct histogram latency; /* ticks */
};

/* Enter a slice (or pass) that took @ns. */
void score_slice(struct score *s, const struct team_sum *sum, double ns);
void score_end_run(struct score *s, double ns_per_tick);
/* How many times the rate of the second the first has: the median of what each two turns, one in
 * each order, say; 0 without any. */
double score_times(const struct score *first, const struct score *second);
/* How its rate has grown from @one's, and how the yardstick's has: medians as above into @row.
 * Without yardsticks their members stay as they are. */
void score_scaling(const struct score *s, const struct score *one, const struct score *yardstick,
                   const struct score *yardstick_one, struct row *row);
/* The medians of the runs into @row; the ratio only if there is a @yardstick. */
void score_row(struct score *s, const struct score *yardstick, double ns_per_tick, struct row *row);

#endif
