/* SPDX-License-Identifier: MIT */
/* say.h - what shmkvd tells: one line per event on standard error, written in one piece. */
#ifndef DAEMON_SAY_H
#define DAEMON_SAY_H

/* As syslog counts them; the journal is told, people see the text. */
enum say_level { SAY_ERROR = 3, SAY_WARNING = 4, SAY_NOTICE = 5, SAY_INFO = 6 };

/* Look whether standard error is the journal, which understands levels.  Once, at the start. */
void say_begin(void);

/* "shmkvd: STORE: text"; @store NULL: of no store.  A control character becomes '?'. */
void say(enum say_level level, const char *store, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
