/* SPDX-License-Identifier: MIT */
/*
 * test_shmkvd.c - shmkvd as its service manager sees it, and what it tells of a held-back store.
 *
 * The program is $OUT/shmkvd.  Its datagrams come to a socket of the test, its lines to a pipe.
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "child.h"
#include "clock.h"

#define MS 1000000ull
#define LIMIT_MS 10000u

static const struct shmkv_options usual = {.flags = SHMKV_NO_KEEPER, .size = 16u << 20};

/* A service that was started, and its two ways to speak. */
struct service {
    pid_t pid;
    int manager; /* datagrams */
    int lines;
    char seen[1 << 16]; /* of either, since the last match */
    size_t used;
};

static void service_exec(int lines, const char *address, char **argv)
{
    char program[4096];
    const char *out = getenv("OUT");
    snprintf(program, sizeof(program), "%s/shmkvd", out ? out : "build");
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    dup2(lines, STDERR_FILENO);
    setenv("NOTIFY_SOCKET", address, 1);
    setenv("WATCHDOG_USEC", "300000", 1);
    unsetenv("WATCHDOG_PID");
    unsetenv("JOURNAL_STREAM");
    execv(program, argv);
    _exit(127);
}

static void service_start(struct service *s, char **argv)
{
    char address[64];
    int lines[2];
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(address, sizeof(address), "@shmkv-test-%d", (int)getpid());
    memcpy(un.sun_path + 1, address + 1, strlen(address) - 1);
    *s = (struct service){.manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(bind(s->manager, (struct sockaddr *)&un,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(address))),
                     0);
    assert_int_equal(pipe2(lines, O_CLOEXEC | O_NONBLOCK), 0);
    s->lines = lines[0];
    s->pid = fork();
    if (s->pid == 0)
        service_exec(lines[1], address, argv);
    close(lines[1]);
}

static void service_hear(struct service *s, int fd)
{
    size_t room = sizeof(s->seen) - 2 - s->used;
    ssize_t got = recv(fd, s->seen + s->used, room, MSG_DONTWAIT);
    if (got < 0 && errno == ENOTSOCK)
        got = read(fd, s->seen + s->used, room);
    if (got > 0) {
        s->used += (size_t)got;
        s->seen[s->used++] = '\n'; /* between two datagrams */
        s->seen[s->used] = '\0';
    }
}

/* Wait until it has said @text, on either way; what it said up to then is forgotten. */
static void service_says(struct service *s, const char *text)
{
    uint64_t end = clock_mono_ns() + LIMIT_MS * MS;
    char *at;
    while ((at = strstr(s->seen, text)) == NULL) {
        struct pollfd fds[] = {{.fd = s->manager, .events = POLLIN},
                               {.fd = s->lines, .events = POLLIN}};
        if (clock_mono_ns() >= end)
            fail_msg("it did not say \"%s\" but:\n%s", text, s->seen);
        poll(fds, 2, 100);
        service_hear(s, s->manager);
        service_hear(s, s->lines);
    }
    at += strlen(text);
    s->used -= (size_t)(at - s->seen);
    memmove(s->seen, at, s->used + 1);
}

static void service_ends(struct service *s, int status)
{
    assert_int_equal(child_wait(s->pid, LIMIT_MS), status);
    close(s->manager);
    close(s->lines);
}

static void the_manager_is_told(void **state)
{
    struct fixture *f = *state;
    struct service s;
    char conf[] = "/tmp/shmkvd-test-XXXXXX";
    int fd = mkstemp(conf);
    assert_true(fd >= 0);
    assert_true(dprintf(fd, "[%s]\n", f->name) > 0);
    char *argv[] = {"shmkvd", "--config", conf, NULL};
    service_start(&s, argv);
    service_says(&s, "READY=1\nSTATUS=1 kept, 0 standing by, 0 being opened");
    service_says(&s, "WATCHDOG=1");
    service_says(&s, "WATCHDOG=1");
    kill(s.pid, SIGHUP);
    service_says(&s, "RELOADING=1\nMONOTONIC_USEC=");
    service_says(&s, "READY=1");
    assert_int_equal(ftruncate(fd, 0), 0);
    kill(s.pid, SIGHUP);
    service_says(&s, "STATUS=0 kept, 0 standing by, 0 being opened");
    kill(s.pid, SIGTERM);
    service_says(&s, "STOPPING=1");
    service_ends(&s, 0);
    close(fd);
    unlink(conf);
}

static void a_store_that_fails_is_ready_too(void **state)
{
    struct fixture *f = *state;
    struct service s;
    char *argv[] = {"shmkvd", "shm:not-there", f->name, NULL};
    service_start(&s, argv);
    service_says(&s, "READY=1");
    service_says(&s, "shm:not-there: there is no store");
    kill(s.pid, SIGTERM);
    service_ends(&s, 0);
}

/* Stay in a read section. */
static int hold(void *arg)
{
    struct fixture *f = arg;
    struct shmkv_section section;
    child_assert(shmkv_begin(f->db, &section) == 0);
    put_text(f->db, "held", "yes");
    while (pause() != 0) {
    }
    return 0;
}

static pid_t start_holder(struct fixture *f)
{
    pid_t reader = child_start(hold, f);
    while (shmkv_exists(f->db, "held", 4) != 0)
        clock_sleep_ns(MS);
    return reader;
}

static void who_holds_memory_back_is_named(void **state)
{
    struct fixture *f = *state;
    struct service s;
    char *argv[] = {"shmkvd", f->name, NULL};
    char value[4096] = "v";
    char text[96];
    service_start(&s, argv);
    service_says(&s, "READY=1");
    pid_t reader = start_holder(f);
    for (int i = 0; i < 1200; i++) { /* almost 5 MiB of 16, of which 1 stays */
        int key = i % 16;
        assert_rc(shmkv_put(f->db, &key, sizeof(key), value, sizeof(value), NULL), 0);
    }
    assert_rc(shmkv_compact(f->db), 0);
    snprintf(text, sizeof(text), "is held back by process %d (test_shmkvd), thread %d", (int)reader,
             (int)reader);
    service_says(&s, text);
    child_kill(reader);
    snprintf(text, sizeof(text), "is held back no more by process %d", (int)reader);
    service_says(&s, text);
    kill(s.pid, SIGTERM);
    service_ends(&s, 0);
}

/* What a reader holds back, overwrites wait for in the end. */
static void writers_that_wait_are_told(void **state)
{
    struct fixture *f = *state;
    struct service s;
    char *argv[] = {"shmkvd", f->name, NULL};
    char value[4096] = "v";
    int rc = 0;
    service_start(&s, argv);
    service_says(&s, "keeps house");
    pid_t reader = start_holder(f);
    for (int i = 0; rc == 0; i++) {
        int key = i % 16;
        assert_true(i < 100000);
        rc = shmkv_put(f->db, &key, sizeof(key), value, sizeof(value), NULL);
    }
    assert_rc(rc, SHMKV_EHELD);
    child_kill(reader);
    service_says(&s, "cleaning falls behind: ");
    kill(s.pid, SIGTERM);
    service_ends(&s, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_WITH(the_manager_is_told, &usual),
        FIXTURE_WITH(a_store_that_fails_is_ready_too, &usual),
        FIXTURE_WITH(who_holds_memory_back_is_named, &usual),
        FIXTURE_WITH(writers_that_wait_are_told, &usual),
    };
    return cmocka_run_group_tests_name("shmkvd", tests, NULL, NULL);
}
