/* SPDX-License-Identifier: MIT */
/*
 * main.c - shmkvd, the service that keeps stores: options, signals, the loop.
 *
 * This process never opens a store.  It starts one process for each (crew.h), tells the service
 * manager how they are (manager.h), and waits:
 *
 *   SIGTERM, SIGINT   ask all to end, which makes the final checkpoints; exit 0 if these succeeded
 *   again             end at once
 *   SIGHUP            read the configuration anew; if it is wrong, the old one stays in force
 *   SIGCHLD           a process has ended
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "conf.h"
#include "crew.h"
#include "manager.h"
#include "say.h"
#include "shmkv.h"
#include "units.h"

#define MAIN_CONF "/etc/shmkv/shmkvd.conf"
#define MAIN_TICK_MS 250
#define MAIN_EXTEND_US 30000000u /* what the service manager is asked for, while it takes long */

enum main_status { MAIN_DONE = 0, MAIN_USAGE = 2, MAIN_ERROR = 3 };

struct service {
    const char *conf_path; /* NULL: none */
    char **names;          /* stores of the command line */
    int name_count;
    struct conf_settings settings; /* of the command line */
    struct crew crew;
    struct conf conf;
    bool check_only;
    bool ready; /* told */
    uint64_t next_status_ns, next_watchdog_ns;
    char status[512]; /* told last */
};

/* ---- configuration ------------------------------------------------------------------------- */

static void main_report(void *arg, unsigned line, const char *what)
{
    const struct service *s = arg;
    if (line == 0) {
        bool unasked = strcmp(s->conf_path, MAIN_CONF) == 0 && s->name_count == 0;
        say(SAY_ERROR, NULL, "%s: %s%s", s->conf_path, what,
            unasked ? "; name stores there, or on the command line" : "");
    } else {
        say(SAY_ERROR, NULL, "%s:%u: %s", s->conf_path, line, what);
    }
}

/* Stores of the command line, then those of the file.  False: something is wrong, and was told. */
static bool main_configure(struct service *s, struct conf *conf)
{
    struct conf_sink sink = {.report = main_report, .arg = s};
    *conf = (struct conf){0};
    for (int i = 0; i < s->name_count; i++) {
        const char *wrong = conf_check_name(s->names[i]);
        if (!wrong && !conf_add(conf, s->names[i], &s->settings)) {
            wrong = "no memory";
        }
        if (wrong) {
            say(SAY_ERROR, NULL, "'%s': %s", s->names[i], wrong);
            sink.errors++;
        }
    }
    if (s->conf_path) {
        conf_read(conf, s->conf_path, &s->settings, &sink);
    }
    if (sink.errors > 0) {
        conf_free(conf);
    }
    return sink.errors == 0;
}

static void main_reload(struct service *s)
{
    struct conf conf;
    manager_reloading();
    if (!s->conf_path) {
        say(SAY_NOTICE, NULL, "SIGHUP: there is no configuration file to read");
    } else if (main_configure(s, &conf)) {
        conf_free(&s->conf);
        s->conf = conf;
        crew_apply(&s->crew, &s->conf);
        say(SAY_INFO, NULL, "%s: read; %zu %s", s->conf_path, conf.count,
            conf.count == 1 ? "store" : "stores");
    } else {
        say(SAY_ERROR, NULL, "%s: not taken over; the old settings stay", s->conf_path);
    }
    manager_send("READY=1");
}

/* ---- the service manager ------------------------------------------------------------------- */

static void main_tell(struct service *s)
{
    uint64_t now = units_mono_ns();
    uint64_t watchdog_ms = manager_watchdog_ms();
    char status[sizeof(s->status)];
    crew_status(&s->crew, status, sizeof(status));
    if (!s->ready && crew_settled(&s->crew)) {
        s->ready = true;
        manager_send("READY=1\nSTATUS=%s", status);
        memcpy(s->status, status, sizeof(status));
    } else if (strcmp(status, s->status) != 0) {
        manager_send("STATUS=%s", status);
        memcpy(s->status, status, sizeof(status));
    }
    if (now >= s->next_status_ns && (!s->ready || s->crew.stopping)) {
        s->next_status_ns = now + MAIN_EXTEND_US / 3 * 1000ull;
        manager_send("EXTEND_TIMEOUT_USEC=%u", MAIN_EXTEND_US);
    }
    if (watchdog_ms > 0 && now >= s->next_watchdog_ns) {
        s->next_watchdog_ns = now + watchdog_ms * 1000000 / 3;
        manager_send("WATCHDOG=1");
    }
}

/* ---- the loop ------------------------------------------------------------------------------ */

static void main_end(struct service *s, uint32_t number)
{
    if (s->crew.stopping) {
        say(SAY_WARNING, NULL, "%s again: ends at once", strsignal((int)number));
        crew_kill(&s->crew);
        return;
    }
    say(SAY_INFO, NULL, "%s: ends", strsignal((int)number));
    manager_send("STOPPING=1");
    crew_stop(&s->crew);
}

static void main_on_signal(struct service *s, int signals)
{
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        switch (info.ssi_signo) {
        case SIGTERM:
        case SIGINT:
            main_end(s, info.ssi_signo);
            break;
        case SIGHUP:
            if (!s->crew.stopping) {
                main_reload(s);
            }
            break;
        default: /* SIGCHLD: looked for in any case */
            break;
        }
    }
}

static int main_loop(struct service *s, int signals)
{
    while (!s->crew.stopping || !crew_ended(&s->crew)) {
        struct pollfd fd = {.fd = signals, .events = POLLIN};
        crew_tick(&s->crew);
        main_tell(s);
        if (poll(&fd, 1, MAIN_TICK_MS) > 0) {
            main_on_signal(s, signals);
        }
        crew_reap(&s->crew);
    }
    return s->crew.failures == 0 ? MAIN_DONE : MAIN_ERROR;
}

static int main_serve(struct service *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN); /* whoever reads our lines may end before we do */
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored it would keep the ends of processes from us */
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0) {
        say(SAY_ERROR, NULL, "cannot wait for signals: %s", strerror(errno));
        return MAIN_ERROR;
    }
    say(SAY_INFO, NULL, "%s, process %d: %zu %s", shmkv_version(), (int)getpid(), s->conf.count,
        s->conf.count == 1 ? "store" : "stores");
    crew_apply(&s->crew, &s->conf);
    int status = main_loop(s, signals);
    crew_apply(&s->crew, &(struct conf){0});
    close(signals);
    return status;
}

/* ---- the command line ---------------------------------------------------------------------- */

/* Options beside the settings of conf.h, which are options too. */
enum { OPT_CONFIG = 'c', OPT_TEST = 't', OPT_HELP = 'h', OPT_VERSION = 'V', OPT_SETTING = 256 };

static const struct option main_options[] = {
    {"config", required_argument, NULL, OPT_CONFIG},
    {"test", no_argument, NULL, OPT_TEST},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {"interval", required_argument, NULL, OPT_SETTING},
    {"create", no_argument, NULL, OPT_SETTING},
    {"size", required_argument, NULL, OPT_SETTING},
    {"mode", required_argument, NULL, OPT_SETTING},
    {"shm-dir", required_argument, NULL, OPT_SETTING},
    {NULL, 0, NULL, 0},
};

static int main_help(void)
{
    puts("usage: shmkvd [OPTION...] [STORE...]\n"
         "Keep stores of shmkv(1): clean, write checkpoints, recover, until SIGTERM.\n\n"
         "  -c, --config FILE     stores and settings, read again at SIGHUP\n"
         "                        (default, if no STORE is named: " MAIN_CONF ")\n"
         "  -t, --test            read the configuration, say what is wrong with it, and end\n"
         "      --interval TIME   between two checkpoints: 250ms, 1s, 1m\n"
         "      --create          make a store that is not there\n"
         "      --size SIZE       of a store that is made\n"
         "      --mode MODE       its permission bits in octal\n"
         "      --shm-dir DIR     tmpfs that holds the stores (default: /dev/shm)\n"
         "  -h, --help            show this\n"
         "  -V, --version         show the version\n\n"
         "shmkvd(8) tells the rest.  Exit status: 0 ended as asked, 2 usage or configuration,\n"
         "3 a final checkpoint failed.");
    return MAIN_DONE;
}

static int main_usage(void)
{
    fputs("'shmkvd --help' tells how.\n", stderr);
    return MAIN_USAGE;
}

static int main_take_setting(struct service *s, const char *name, const char *value)
{
    const char *wrong = conf_set(&s->settings, name, value ? value : "yes");
    if (!wrong) {
        return MAIN_DONE;
    }
    fprintf(stderr, "shmkvd: --%s '%s': %s\n", name, value ? value : "", wrong);
    return main_usage();
}

/* -1: go on; else the exit status. */
static int main_parse(struct service *s, int argc, char **argv)
{
    int option;
    int index = 0;
    while ((option = getopt_long(argc, argv, "c:thV", main_options, &index)) != -1) {
        switch (option) {
        case OPT_CONFIG:
            s->conf_path = optarg;
            break;
        case OPT_TEST:
            s->check_only = true;
            break;
        case OPT_HELP:
            return main_help();
        case OPT_VERSION:
            printf("shmkvd %s\n", shmkv_version());
            return MAIN_DONE;
        case OPT_SETTING:
            if (main_take_setting(s, main_options[index].name, optarg) != MAIN_DONE) {
                return MAIN_USAGE;
            }
            break;
        default:
            return main_usage();
        }
    }
    s->names = argv + optind;
    s->name_count = argc - optind;
    if (!s->conf_path && s->name_count == 0) {
        s->conf_path = MAIN_CONF;
    }
    return -1;
}

int main(int argc, char **argv)
{
    struct service s = {0};
    say_begin();
    int status = main_parse(&s, argc, argv);
    if (status >= 0) {
        return status;
    }
    if (!main_configure(&s, &s.conf)) {
        return MAIN_USAGE;
    }
    status = s.check_only ? MAIN_DONE : main_serve(&s);
    conf_free(&s.conf);
    return status;
}
