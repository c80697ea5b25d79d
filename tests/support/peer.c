/* SPDX-License-Identifier: MIT */
/* peer.c - see peer.h. */
#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TALK_MS 30000
#define WAIT_MS 60000

static void fail(const char *what)
{
    perror(what);
    abort();
}

/* cmocka catches these, and would go on with the parent's tests. */
static void default_signals(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], SIG_DFL);
}

void peer_start(struct peer *p, peer_fn *fn, void *arg)
{
    int down[2], up[2];
    if (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0)
        fail("pipe");
    fflush(NULL);
    p->pid = fork();
    if (p->pid < 0)
        fail("fork");
    if (p->pid == 0) {
        struct peer parent = {getppid(), down[0], up[1]};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        default_signals();
        close(down[1]);
        close(up[0]);
        int result = fn(&parent, arg);
        fflush(NULL);
        _exit(result);
    }
    close(down[0]);
    close(up[1]);
    p->in = up[0];
    p->out = down[1];
}

void peer_send(const struct peer *p, int32_t value)
{
    if (write(p->out, &value, sizeof(value)) != (ssize_t)sizeof(value) && errno != EPIPE)
        perror("peer_send");
}

int32_t peer_receive(const struct peer *p)
{
    struct pollfd fd = {.fd = p->in, .events = POLLIN};
    int32_t value;
    if (poll(&fd, 1, TALK_MS) != 1 || read(p->in, &value, sizeof(value)) != (ssize_t)sizeof(value))
        return -1;
    return value;
}

static void end_talk(struct peer *p)
{
    close(p->in);
    close(p->out);
}

int peer_wait(struct peer *p)
{
    const struct timespec ms = {.tv_nsec = 1000000};
    int status = 0, waited = 0;
    pid_t pid;
    while ((pid = waitpid(p->pid, &status, WNOHANG)) == 0 && waited++ < WAIT_MS)
        nanosleep(&ms, NULL);
    if (pid == 0) {
        kill(p->pid, SIGKILL);
        waitpid(p->pid, &status, 0);
        status = 1000 << 8;
    }
    end_talk(p);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : status >> 8;
}

void peer_kill(struct peer *p)
{
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    end_talk(p);
}

int peer_run(peer_fn *fn, void *arg)
{
    struct peer p;
    peer_start(&p, fn, arg);
    return peer_wait(&p);
}

int peer_become(uid_t uid)
{
    return setgroups(0, NULL) == 0 && setgid(uid) == 0 && setuid(uid) == 0 ? 0 : -1;
}
