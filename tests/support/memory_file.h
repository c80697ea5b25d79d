/* SPDX-License-Identifier: MIT */
/* memory_file.h - a file table whose files are in memory, for what opens thousands in a second. */
#ifndef TEST_MEMORY_FILE_H
#define TEST_MEMORY_FILE_H

#include "file.h"

#define MEMORY_ROOM (2u << 20) /* no file gets larger */

struct memory_file {
    char *bytes;
    uint64_t size;
};
/* The file "image", and every other one; they are there always, perhaps empty. */
extern struct memory_file memory_image, memory_other;

/* Files opened from now on are these. */
void memory_use(void);

#endif
