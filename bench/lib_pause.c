/* SPDX-License-Identifier: MIT */
#include "lib_pause.h"

#include "lib_clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- facts --------------------------------------------------------------------------------- */

static uint64_t stolen_ms(void)
{
    unsigned long long field[8] = {0};
    FILE *f = fopen("/proc/stat", "r");
    int n = 0;

    if (f != NULL) {
        n = fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &field[0], &field[1],
                   &field[2], &field[3], &field[4], &field[5], &field[6], &field[7]);
        fclose(f);
    }
    return n == 8 ? field[7] * 1000 / (unsigned long long)sysconf(_SC_CLK_TCK) : 0;
}

static void facts_now(const struct pause_watch *w, struct pause_facts *f)
{
    struct rusage usage;
    char text[96];
    char *end = text;
    ssize_t n = w->schedstat < 0 ? 0 : pread(w->schedstat, text, sizeof(text) - 1, 0);

    memset(f, 0, sizeof(*f));
    if (n > 0) {
        text[n] = '\0';
        strtoull(text, &end, 10);
        f->waited_ns = strtoull(end, NULL, 10);
    }
    f->ran_ns = clock_cpu_ns();
    f->away_ns = clock_ns() - f->ran_ns;
    if (getrusage(RUSAGE_THREAD, &usage) == 0) {
        f->switched = (uint64_t)usage.ru_nivcsw;
        f->slept = (uint64_t)usage.ru_nvcsw;
        f->faults = (uint64_t)usage.ru_minflt;
    }
    f->stolen_ms = stolen_ms();
}

void pause_watch_begin(struct pause_watch *w)
{
    w->schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    w->began_ns = clock_ns();
    facts_now(w, &w->last);
}

void pause_watch_end(struct pause_watch *w)
{
    if (w->schedstat >= 0)
        close(w->schedstat);
}

/* ---- the longest --------------------------------------------------------------------------- */

static uint64_t rank(const struct pause_list *list, const struct pause *p)
{
    return list->by_own ? pause_own_ns(p) : p->ns;
}

void pause_keep(struct pause_list *list, const struct pause *p)
{
    unsigned at = list->count;

    if (at == PAUSE_TOP && rank(list, &list->top[at - 1]) >= rank(list, p))
        return;
    if (at == PAUSE_TOP)
        at--;
    else
        list->count++;
    for (; at > 0 && rank(list, &list->top[at - 1]) < rank(list, p); at--)
        list->top[at] = list->top[at - 1];
    list->top[at] = *p;
}

void pause_took(struct pause_watch *w, const char *what, uint64_t ns, struct pause *p)
{
    struct pause_facts now;

    facts_now(w, &now);
    *p = (struct pause){.what = what, .ns = ns, .at_ns = clock_ns() - w->began_ns};
    p->facts.waited_ns = now.waited_ns - w->last.waited_ns;
    p->facts.ran_ns = now.ran_ns - w->last.ran_ns;
    p->facts.away_ns = now.away_ns - w->last.away_ns;
    p->facts.switched = now.switched - w->last.switched;
    p->facts.slept = now.slept - w->last.slept;
    p->facts.faults = now.faults - w->last.faults;
    p->facts.stolen_ms = now.stolen_ms - w->last.stolen_ms;
    facts_now(w, &w->last);
}

void pause_merge(struct pause_list *into, const struct pause_list *from)
{
    for (unsigned i = 0; i < from->count; i++)
        pause_keep(into, &from->top[i]);
}

/* ---- explanation --------------------------------------------------------------------------- */

uint64_t pause_own_ns(const struct pause *p)
{
    return p->ns > p->facts.waited_ns ? p->ns - p->facts.waited_ns : 0;
}

uint64_t pause_taken_ns(const struct pause *p)
{
    uint64_t taken = p->facts.slept > 0 ? p->facts.waited_ns : p->facts.away_ns;

    return taken < p->ns ? taken : p->ns;
}

const char *pause_explain(const struct pause *p, char *text, unsigned size)
{
    const struct pause_facts *f = &p->facts;
    const char *cause;

    if (f->switched > 0 && f->waited_ns * 10 >= p->ns * 8)
        cause = "preempted: waited for a processor";
    else if (f->slept > 0)
        cause = "slept in a system call";
    else if (f->switched > 0 && f->waited_ns * 10 >= p->ns)
        cause = "partly preempted";
    else if (f->stolen_ms > 0)
        cause = "the hypervisor took the processor away";
    else if (f->faults > 0)
        cause = "page faults, or an interrupt";
    else
        cause = "no system call slept, no fault: interrupt, hypervisor, or own work";
    snprintf(text, size, "%s (waited %.0f us, %llu switches, %llu faults)", cause,
             (double)f->waited_ns / 1e3, (unsigned long long)f->switched + f->slept,
             (unsigned long long)f->faults);
    return text;
}
