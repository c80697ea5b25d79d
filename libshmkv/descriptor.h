/* SPDX-License-Identifier: MIT */
/*
 * descriptor.h - open(2) that leaves 0, 1 and 2 alone.
 *
 * The kernel gives the lowest number that is free.  In a process that was started with its standard
 * output or error closed, or has closed them, that is 1 or 2; what the process then prints would be
 * written over the beginning of the store.
 */
#ifndef SHMKV_DESCRIPTOR_H
#define SHMKV_DESCRIPTOR_H

#include <sys/types.h>

/* As open(2), with O_CLOEXEC; @mode counts if @flags have O_CREAT. */
int descriptor_open(const char *path, int flags, mode_t mode);

#endif
