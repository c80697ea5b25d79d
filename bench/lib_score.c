/* SPDX-License-Identifier: MIT */
#include "lib_score.h"

void score_slice(struct score *s, const struct team_sum *sum, double ns)
{
    if (s->slices < SCORE_SLICES)
        s->slice_rate[s->slices++] = (double)sum->done / ns * 1e9;
    s->done += sum->done;
    s->ns += ns;
    histogram_merge(&s->latency, &sum->latency);
}

void score_end_run(struct score *s, double ns_per_tick)
{
    unsigned run = s->runs++;

    s->rate[run] = s->ns > 0 ? (double)s->done / s->ns * 1e9 : 0;
    s->p50[run] = (double)histogram_quantile(&s->latency, 0.5) * ns_per_tick;
    s->p95[run] = (double)histogram_quantile(&s->latency, 0.95) * ns_per_tick;
    s->p99[run] = (double)histogram_quantile(&s->latency, 0.99) * ns_per_tick;
    s->p999[run] = (double)histogram_quantile(&s->latency, 0.999) * ns_per_tick;
    if (s->latency.max > s->max)
        s->max = s->latency.max;
    s->done = 0;
    s->ns = 0;
    histogram_clear(&s->latency);
}

static void score_ratio(const struct score *s, const struct score *yardstick, struct row *row)
{
    static double ratio[SCORE_SLICES];
    unsigned n = s->slices < yardstick->slices ? s->slices : yardstick->slices;

    for (unsigned i = 0; i < n; i++)
        ratio[i] = s->slice_rate[i] / yardstick->slice_rate[i];
    row->ratio = report_quantile(ratio, n, 0.5);
    row->ratio_low = report_quantile(ratio, n, 0.25);
    row->ratio_high = report_quantile(ratio, n, 0.75);
}

double score_times(const struct score *first, const struct score *second)
{
    struct row row = {0};

    score_ratio(first, second, &row);
    return row.ratio;
}

void score_row(struct score *s, const struct score *yardstick, double ns_per_tick, struct row *row)
{
    row->rate = report_quantile(s->rate, s->runs, 0.5);
    row->rate_low = report_quantile(s->rate, s->runs, 0);
    row->rate_high = report_quantile(s->rate, s->runs, 1);
    row->latency.p50 = (uint64_t)report_quantile(s->p50, s->runs, 0.5);
    row->latency.p95 = (uint64_t)report_quantile(s->p95, s->runs, 0.5);
    row->latency.p99 = (uint64_t)report_quantile(s->p99, s->runs, 0.5);
    row->latency.p999 = (uint64_t)report_quantile(s->p999, s->runs, 0.5);
    row->latency.max = (uint64_t)((double)s->max * ns_per_tick);
    row->bytes_per_key = s->bytes_per_key;
    if (yardstick != NULL)
        score_ratio(s, yardstick, row);
}
