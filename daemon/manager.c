/* SPDX-License-Identifier: MIT */
/* manager.c - see manager.h. */
#include "manager.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "units.h"

/* The manager's address; its length, or 0 if there is none that we can use. */
static socklen_t manager_address(struct sockaddr_un *address)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t size = path ? strlen(path) : 0;
    if (size < 2 || size >= sizeof(address->sun_path) || (path[0] != '/' && path[0] != '@')) {
        return 0;
    }
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, size);
    if (path[0] == '@') { /* a name that is in no file system */
        address->sun_path[0] = '\0';
    }
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
}

void manager_send(const char *format, ...)
{
    struct sockaddr_un address;
    socklen_t length = manager_address(&address);
    if (length == 0) {
        return;
    }
    char text[1024];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (size <= 0) {
        return;
    }
    if ((size_t)size >= sizeof(text)) {
        size = sizeof(text) - 1;
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        sendto(fd, text, (size_t)size, MSG_NOSIGNAL, (struct sockaddr *)&address, length);
        close(fd);
    }
}

uint64_t manager_watchdog_ms(void)
{
    const char *every = getenv("WATCHDOG_USEC");
    const char *whose = getenv("WATCHDOG_PID");
    uint64_t usec;
    uint64_t pid;
    if (!every || !units_parse_number(every, &usec)) {
        return 0;
    }
    if (whose && (!units_parse_number(whose, &pid) || pid != (uint64_t)getpid())) {
        return 0;
    }
    return usec / 1000;
}

void manager_reloading(void)
{
    manager_send("RELOADING=1\nMONOTONIC_USEC=%" PRIu64, units_mono_ns() / 1000);
}
