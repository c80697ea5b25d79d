/* SPDX-License-Identifier: MIT */
/* lib_server_parts.h - what the two files of lib_server.h share. */
#ifndef BENCH_PEERS_SERVER_PARTS_H
#define BENCH_PEERS_SERVER_PARTS_H

#include "lib_server.h"

#include <sys/types.h>

struct connection {
    int fd;
    char *in;
    size_t begin; /* of what has come and is not read */
    size_t end;
};

/* A process' connections to a server. */
struct server {
    const struct protocol *protocol;
    unsigned connections;
    unsigned depth;
    pid_t pid; /* 0: another process has started it */
    uint64_t empty_bytes;
    char *out;
    size_t room; /* of each buffer: SERVER_DEPTH requests, or answers */
    char failure[200];
    struct connection connection[SERVER_CONNECTIONS];
};

#endif
