/* SPDX-License-Identifier: MIT */
/* lib_memcached.c - see lib_memcached.h.  The text protocol, as its protocol.txt says. */
#include "lib_memcached.h"
#include "lib_child.h"
#include "lib_clock.h"
#include "lib_memory.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "/usr/bin/memcached"
#define PATIENCE_MS 5000u
#define ANSWER_BYTES (1u << 20)

bool memcached_there(void)
{
    return access(PROGRAM, X_OK) == 0;
}

static void run_server(const struct memcached *m, uint64_t mib)
{
    char memory[32];
    int null = open("/dev/null", O_RDWR);
    snprintf(memory, sizeof(memory), "%llu", (unsigned long long)mib);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    /* The largest item, of which it wants two to fit: its own default is 1 MiB. */
    execl(PROGRAM, PROGRAM, "-s", m->path, "-m", memory, "-I", mib < 2 ? "512k" : "1m", "-t", "1",
          "-u", "root", (char *)NULL);
    _exit(127);
}

static bool connected(struct memcached *m)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof(name.sun_path), "%s", m->path);
    m->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (m->fd >= 0 && connect(m->fd, (struct sockaddr *)&name, sizeof(name)) == 0)
        return true;
    close(m->fd);
    return false;
}

void memcached_start(struct memcached *m, uint64_t mib)
{
    snprintf(m->dir, sizeof(m->dir), "/tmp/shmkv-missratio.XXXXXX");
    if (mkdtemp(m->dir) == NULL)
        die("no directory for the socket of memcached");
    snprintf(m->path, sizeof(m->path), "%s/socket", m->dir);
    m->pid = child_fork();
    if (m->pid == 0)
        run_server(m, mib);
    for (unsigned ms = 0; m->pid > 0 && ms < PATIENCE_MS; ms++) {
        if (connected(m))
            return;
        clock_sleep_ms(1);
    }
    die("memcached does not start");
}

void memcached_stop(struct memcached *m)
{
    close(m->fd);
    kill(m->pid, SIGTERM);
    waitpid(m->pid, NULL, 0);
    unlink(m->path);
    rmdir(m->dir);
}

/* ---- questions ----------------------------------------------------------------------------- */

static void send_all(struct memcached *m, const char *text, size_t n)
{
    while (n != 0) {
        ssize_t sent = write(m->fd, text, n);
        if (sent <= 0)
            die("memcached does not listen any more");
        text += sent;
        n -= (size_t)sent;
    }
}

/* Everything up to a line END. */
static const char *answer(struct memcached *m)
{
    static char text[ANSWER_BYTES];
    size_t n = 0;
    for (;;) {
        ssize_t got = read(m->fd, text + n, sizeof(text) - 1 - n);
        if (got <= 0)
            die("memcached does not answer any more");
        n += (size_t)got;
        text[n] = 0;
        if (n >= 5 && strcmp(text + n - 5, "END\r\n") == 0)
            return text;
    }
}

/* Found keys come in the order in which they were asked for. */
static void parse(const char *text, char keys[][MEMCACHED_KEY], unsigned n, bool *found)
{
    unsigned i = 0;
    memset(found, 0, n * sizeof(*found));
    while (strncmp(text, "VALUE ", 6) == 0) {
        text += 6;
        size_t size = strcspn(text, " ");
        while (i < n && (strlen(keys[i]) != size || memcmp(keys[i], text, size) != 0))
            i++;
        if (i == n)
            die("memcached found a key that was not asked for");
        found[i++] = true;
        const char *bytes = strchr(text + size + 1, ' ');
        const char *line = strchr(text, '\n');
        if (bytes == NULL || line == NULL)
            die("memcached answers half a line");
        text = line + 1 + strtoull(bytes, NULL, 10) + 2;
    }
}

void memcached_get(struct memcached *m, char keys[][MEMCACHED_KEY], unsigned n, bool *found)
{
    char text[8 + MEMCACHED_BATCH * MEMCACHED_KEY];
    size_t at = (size_t)sprintf(text, "get");
    for (unsigned i = 0; i < n; i++)
        at += (size_t)sprintf(text + at, " %s", keys[i]);
    at += (size_t)sprintf(text + at, "\r\n");
    send_all(m, text, at);
    parse(answer(m), keys, n, found);
}

void memcached_set(struct memcached *m, const char *key, const char *value, size_t size)
{
    char text[512];
    int n = snprintf(text, sizeof(text), "set %s 0 0 %zu noreply\r\n%.*s\r\n", key, size, (int)size,
                     value);
    send_all(m, text, (size_t)n);
}

uint64_t memcached_stat(struct memcached *m, const char *name)
{
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "STAT %s ", name);
    send_all(m, "stats\r\n", 7);
    const char *line = strstr(answer(m), wanted);
    return line != NULL ? strtoull(line + strlen(wanted), NULL, 10) : 0;
}
