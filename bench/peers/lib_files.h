/* SPDX-License-Identifier: MIT */
/* lib_files.h - where peers keep their files, and what these take. */
#ifndef BENCH_PEERS_FILES_H
#define BENCH_PEERS_FILES_H

#include "../lib_engine.h"

#define PEER_PATH 128u

/* The same tmpfs as the other engines': /dev/shm/NAME.SUFFIX. */
void peer_path(const struct engine_setup *setup, const char *suffix, char *path);
/* Fault in what this process has mapped of the file at @path. */
void peer_warm(const char *path);
/* Remove the file or the directory (of files) at @path. */
void peer_remove(const char *path);
/* Memory taken by the file, or by the files in the directory. */
uint64_t peer_file_bytes(const char *path);
/* Memory that this process has allocated from the C library. */
uint64_t peer_heap_bytes(void);
/* Keeps the text of the last failure: "what: why". */
const char *peer_failed(const char *what, const char *why);
/* One record of each key: key, value, and an allowance for what a store puts around them. */
uint64_t peer_live_bytes(const struct engine_setup *setup);

#endif
