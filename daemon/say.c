/* SPDX-License-Identifier: MIT */
/* say.c - see say.h. */
#include "say.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool say_levels;

void say_begin(void)
{
    const char *journal = getenv("JOURNAL_STREAM"); /* "DEVICE:INODE" of what was given us */
    uint64_t device = 0;
    uint64_t inode = 0;
    struct stat st;
    say_levels = journal && sscanf(journal, "%" SCNu64 ":%" SCNu64, &device, &inode) == 2 &&
                 fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void say(enum say_level level, const char *store, const char *format, ...)
{
    char line[1024];
    size_t room = sizeof(line) - 1;
    int prefix = say_levels ? snprintf(line, room, "<%d>", (int)level) : 0;
    int head = snprintf(line + prefix, room - (size_t)prefix, "shmkvd: %s%s", store ? store : "",
                        store ? ": " : "");
    size_t used = (size_t)prefix + (size_t)head;
    if (used >= room) {
        used = room - 1;
    }
    va_list args;
    va_start(args, format);
    int text = vsnprintf(line + used, room - used, format, args);
    va_end(args);
    used += text > 0 ? (size_t)text : 0;
    if (used >= room) {
        used = room - 1;
    }
    for (size_t i = 0; i < used; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f) {
            line[i] = '?'; /* a name must not begin a line of its own */
        }
    }
    line[used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, used); /* nobody to tell if it fails */
    (void)written;
}
