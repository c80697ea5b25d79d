/* SPDX-License-Identifier: MIT */
/* lib_server_life.c - servers are started, connected to, weighed and stopped. */
#include "../lib_child.h"
#include "../lib_clock.h"
#include "lib_files.h"
#include "lib_server_parts.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS 10000u
#define RUNNING 16u

/* The servers that this process has started; freed entries have pid 0. */
static struct {
    char socket[PEER_PATH];
    pid_t pid;
    uint64_t empty_bytes;
} running[RUNNING];

/* ---- the server's process ------------------------------------------------------------------ */

static void socket_path(const struct engine_setup *setup, char *path)
{
    const char *dir = getenv("TMPDIR");

    snprintf(path, PEER_PATH, "%.60s/%.50s.socket", dir != NULL ? dir : "/tmp", setup->name);
}

static uint64_t resident_bytes(pid_t pid)
{
    unsigned long long pages[2] = {0};
    char path[64];
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    f = fopen(path, "r");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%llu %llu", &pages[0], &pages[1]) != 2)
        pages[1] = 0;
    fclose(f);
    return (uint64_t)pages[1] * (uint64_t)sysconf(_SC_PAGESIZE);
}

const char *server_missing(const struct protocol *p)
{
    static char text[64];
    const char *path = getenv("PATH");
    char program[256];

    for (const char *at = path; at != NULL && *at != '\0';) {
        size_t n = strcspn(at, ":");

        snprintf(program, sizeof(program), "%.*s/%s", (int)n, at, p->program);
        if (access(program, X_OK) == 0)
            return NULL;
        at += n + (at[n] == ':');
    }
    snprintf(text, sizeof(text), "%s is not installed", p->program);
    return text;
}

static void start(const struct protocol *p, const struct engine_setup *setup, const char *socket)
{
    const char *argv[32] = {p->program};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    p->arguments(setup, socket, argv + 1);
    execvp(p->program, (char *const *)(uintptr_t)argv);
    _exit(127);
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Until it lets us in. */
static const char *await_start(const char *socket, pid_t pid)
{
    for (unsigned ms = 0; ms < START_MS; ms += 5) {
        int fd = connect_to(socket);

        if (fd >= 0) {
            close(fd);
            return NULL;
        }
        if (waitpid(pid, NULL, WNOHANG) == pid)
            return "the server has ended at once";
        clock_sleep_ms(5);
    }
    return "the server does not let us in";
}

static void stop(unsigned i)
{
    kill(running[i].pid, SIGKILL); /* there is nothing that it should save */
    waitpid(running[i].pid, NULL, 0);
    unlink(running[i].socket);
    running[i].pid = 0;
}

const char *server_create(const struct protocol *p, const struct engine_setup *setup)
{
    const char *failure;
    unsigned i = 0;

    while (i < RUNNING && running[i].pid != 0)
        i++;
    if (i == RUNNING)
        return "too many servers";
    socket_path(setup, running[i].socket);
    unlink(running[i].socket);
    running[i].pid = child_fork();
    if (running[i].pid == 0)
        start(p, setup, running[i].socket);
    failure = await_start(running[i].socket, running[i].pid);
    running[i].empty_bytes = resident_bytes(running[i].pid);
    if (failure != NULL)
        stop(i);
    return failure;
}

void server_destroy(const struct engine_setup *setup)
{
    char path[PEER_PATH];

    socket_path(setup, path);
    for (unsigned i = 0; i < RUNNING; i++)
        if (running[i].pid != 0 && strcmp(running[i].socket, path) == 0)
            stop(i);
}

/* ---- connections --------------------------------------------------------------------------- */

void server_detach(void *context)
{
    struct server *s = context;

    for (unsigned i = 0; i < s->connections; i++) {
        if (s->connection[i].fd >= 0)
            close(s->connection[i].fd);
        free(s->connection[i].in);
    }
    free(s->out);
    free(s);
}

static bool open_all(struct server *s, const char *path)
{
    bool well = (s->out = malloc(s->room)) != NULL;

    for (unsigned i = 0; i < s->connections; i++) {
        s->connection[i].fd = connect_to(path);
        s->connection[i].in = malloc(s->room);
        well = well && s->connection[i].fd >= 0 && s->connection[i].in != NULL;
    }
    return well;
}

const char *server_attach(const struct protocol *p, const struct engine_setup *setup,
                          unsigned connections, unsigned depth, void **context)
{
    const struct workload *w = setup->workload;
    struct server *s = calloc(1, sizeof(*s));
    char path[PEER_PATH];

    if (s == NULL)
        return "out of memory";
    s->protocol = p;
    s->connections = connections;
    s->depth = depth;
    s->room = SERVER_DEPTH * (w->key_size * 2 + w->value_size + 128);
    socket_path(setup, path);
    for (unsigned i = 0; i < RUNNING; i++)
        if (running[i].pid != 0 && strcmp(running[i].socket, path) == 0) {
            s->pid = running[i].pid;
            s->empty_bytes = running[i].empty_bytes;
        }
    if (!open_all(s, path)) {
        server_detach(s);
        return peer_failed(path, "cannot connect");
    }
    *context = s;
    return NULL;
}

void server_usage(void *context, struct engine_usage *usage)
{
    const struct server *s = context;

    memset(usage, 0, sizeof(*usage));
    if (s->pid != 0)
        usage->bytes = resident_bytes(s->pid) - s->empty_bytes;
}

const char *server_explain(void *context)
{
    const struct server *s = context;

    return s->failure[0] != '\0' ? s->failure : "a key has not the value that it was given";
}
