/* SPDX-License-Identifier: MIT */
/*
 * manager.h - tell the service manager how we are: the datagrams of sd_notify(3).
 *
 * Written here rather than taken from libsystemd: the protocol is one datagram to a socket that
 * $NOTIFY_SOCKET names, and its documentation invites to implement it; the library would bring
 * half a dozen others into each process that keeps a store.
 */
#ifndef DAEMON_MANAGER_H
#define DAEMON_MANAGER_H

#include <stdint.h>

/* Send assignments such as "READY=1\nSTATUS=...".  Does nothing without a service manager. */
void manager_send(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* How often the manager wants to hear "WATCHDOG=1", in milliseconds; 0: not at all. */
uint64_t manager_watchdog_ms(void);

/* "RELOADING=1" with the clock that the manager compares. */
void manager_reloading(void);

#endif
