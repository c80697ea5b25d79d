/* SPDX-License-Identifier: MIT */
/* progress.c - a progress bar on standard error; see progress.h. */
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "units.h"

#define PROGRESS_WIDTH 30
#define PROGRESS_EVERY_NS 100000000u

void progress_begin(struct progress *p, uint64_t total, bool with_output)
{
    *p = (struct progress){.total = total, .start_ns = units_mono_ns()};
    p->on = isatty(STDERR_FILENO) && !(with_output && isatty(STDOUT_FILENO));
    p->next_ns = p->start_ns + PROGRESS_EVERY_NS;
}

static void progress_draw(const struct progress *p, uint64_t done, uint64_t pairs, uint64_t now)
{
    double seconds = (double)(now - p->start_ns) / 1e9;
    fputs("\r\033[K", stderr);
    if (p->total > 0) {
        double part = done >= p->total ? 1.0 : (double)done / (double)p->total;
        int full = (int)(part * PROGRESS_WIDTH);
        fputc('[', stderr);
        for (int i = 0; i < PROGRESS_WIDTH; i++) {
            fputc(i < full ? '#' : '.', stderr);
        }
        fprintf(stderr, "] %3d%%  ", (int)(part * 100));
    }
    fprintf(stderr, "%" PRIu64 " pairs  %.0f/s", pairs, (double)pairs / seconds);
    fflush(stderr);
}

void progress_step(struct progress *p, uint64_t done, uint64_t pairs)
{
    /* The clock is read for one batch in 16. */
    if (!p->on || p->calls++ % 16 != 0) {
        return;
    }
    uint64_t now = units_mono_ns();
    if (now < p->next_ns) {
        return;
    }
    progress_draw(p, done, pairs, now);
    p->next_ns = now + PROGRESS_EVERY_NS;
    p->drawn = true;
}

void progress_end(struct progress *p)
{
    if (p->drawn) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    p->on = false;
    p->drawn = false;
}
