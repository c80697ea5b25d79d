/* SPDX-License-Identifier: MIT */
#include "lib_peers.h"

#include "lib_memory.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Each peer, and the package that it is built from or needs to run. */
static const struct {
    const char *name;
    const char *package;
} peers[] = {
    {"lmdb", "liblmdb-dev"},    {"tdb", "libtdb-dev"},         {"lfht", "liburcu-dev"},
    {"tkrzw", "libtkrzw-dev"},  {"rocksdb", "librocksdb-dev"}, {"redis", "redis-server"},
    {"memcached", "memcached"},
};
#define PEERS (sizeof(peers) / sizeof(peers[0]))

/* Shared objects are beside the program, or, for bench/NAME, in build/. */
static void *load(const char *name)
{
    static const char *const places[] = {"../peers", "../build/peers"};
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
    char path[PATH_MAX + 64];
    void *object = NULL;

    program[n > 0 ? n : 0] = '\0';
    if (strrchr(program, '/') != NULL)
        *strrchr(program, '/') = '\0';
    for (unsigned i = 0; object == NULL && i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s/%s.so", program, places[i], name);
        if (access(path, R_OK) != 0)
            continue;
        object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (object == NULL)
            fprintf(stderr, "bench: %s\n", dlerror());
    }
    return object;
}

/* The peer's engines, or NULL after having said why there are none. */
static const struct engine *const *engines_of(unsigned i)
{
    void *object = load(peers[i].name);
    const struct peer *peer = object == NULL ? NULL : dlsym(object, "bench_peer");
    const char *missing = "it is not built";

    if (peer != NULL)
        missing = peer->missing == NULL ? NULL : peer->missing();
    if (missing == NULL)
        return peer->engines;
    fprintf(stderr, "bench: skipped %s: %s (Debian package %s; then make again)\n", peers[i].name,
            missing, peers[i].package);
    return NULL;
}

/* Is @name one of the parts of "a,b,c"? */
static bool listed(const char *list, const char *name)
{
    size_t size = strlen(name);

    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, size) == 0 && (at[size] == ',' || at[size] == '\0'))
            return true;
    }
    return false;
}

/* Does a part of @list mean peer @name or an engine of it (NAME or NAME-...)? */
static bool concerns(const char *list, const char *name)
{
    size_t size = strlen(name);

    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, size) == 0 && strchr(",-", at[size]) != NULL)
            return true;
    }
    return strcmp(list, "all") == 0;
}

/* Every part must begin with the name of a peer. */
static void check(const char *list)
{
    for (const char *at = list; strcmp(list, "all") != 0 && at != NULL; at = strchr(at, ',')) {
        bool known = false;

        at += *at == ',';
        for (unsigned i = 0; i < PEERS; i++)
            known = known || strncmp(at, peers[i].name, strlen(peers[i].name)) == 0;
        if (!known)
            die("--peers %s: all, or of lmdb, tdb, lfht, tkrzw, rocksdb, redis, memcached", at);
    }
}

unsigned peers_find(const char *list, const struct engine **found)
{
    unsigned n = 0;

    check(list);
    for (unsigned i = 0; i < PEERS; i++) {
        const struct engine *const *engine = concerns(list, peers[i].name) ? engines_of(i) : NULL;
        bool whole = strcmp(list, "all") == 0 || listed(list, peers[i].name);

        for (; engine != NULL && *engine != NULL && n < PEERS_MAX; engine++)
            if (whole || listed(list, (*engine)->name))
                found[n++] = *engine;
    }
    return n;
}
