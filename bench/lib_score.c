/* SPDX-License-Identifier: MIT */
#include "lib_score.h"

#include <math.h>

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

/*
 * How many times the rate of @second @first has; returns how many values.  A value is of two turns,
 * one in each order: who comes to a turn's keys second finds their text in the cache, which makes
 * its rate up to a quarter higher, so of single turns there would be two heaps, and the median
 * anywhere between them.
 */
static unsigned quotients(const struct score *first, const struct score *second, double *quotient)
{
    unsigned n = first->slices < second->slices ? first->slices : second->slices;

    for (unsigned i = 0; i < n; i++)
        quotient[i] = first->slice_rate[i] / second->slice_rate[i];
    if (n < 2)
        return n;
    for (unsigned i = 0; i < n / 2; i++)
        quotient[i] = sqrt(quotient[2 * i] * quotient[2 * i + 1]);
    return n / 2;
}

static void score_ratio(const struct score *s, const struct score *yardstick, struct row *row)
{
    static double ratio[SCORE_SLICES];
    unsigned n = quotients(s, yardstick, ratio);

    row->ratio = report_quantile(ratio, n, 0.5);
    row->ratio_low = report_quantile(ratio, n, 0.25);
    row->ratio_high = report_quantile(ratio, n, 0.75);
}

double score_times(const struct score *first, const struct score *second)
{
    static double times[SCORE_SLICES];
    unsigned n = quotients(first, second, times);

    return report_quantile(times, n, 0.5);
}

void score_scaling(const struct score *s, const struct score *one, const struct score *yardstick,
                   const struct score *yardstick_one, struct row *row)
{
    static double own[SCORE_SLICES];
    static double limit[SCORE_SLICES];
    unsigned n = quotients(s, one, own);
    unsigned m;

    row->scaling = score_times(s, one);
    if (yardstick == NULL || yardstick == s)
        return;
    m = quotients(yardstick, yardstick_one, limit);
    n = n < m ? n : m;
    for (unsigned i = 0; i < n; i++)
        own[i] /= limit[i];
    row->scaling_limit = score_times(yardstick, yardstick_one);
    row->scaling_ratio = report_quantile(own, n, 0.5);
    row->scaling_low = report_quantile(own, n, 0.25);
    row->scaling_high = report_quantile(own, n, 0.75);
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
    if (yardstick != NULL)
        score_ratio(s, yardstick, row);
}
