/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.h: the service manager that has started us, if one has: what it is told (sd_notify(3): datagrams to a unix
 * socket), what it hands over (sd_listen_fds(3)), what it keeps for the next start (its descriptor store). The protocol
 * is a page, and promised to stay as it is: so there is no libsystemd here, which would bring five libraries.
 * There is one service manager to a process, as there is one log. Nothing here fails: without a service manager, or with
 * one that does not listen, nothing happens. Any thread but workers: telling may wait, a second at most.
 */
#ifndef JITNEY_BASE_SERVICE_H
#define JITNEY_BASE_SERVICE_H

#include <stdint.h>

#include "base/compiler.h"

/* Read the environment, and take out of it what is ours alone (NOTIFY_SOCKET, WATCHDOG_*, LISTEN_*). Once, main thread,
 * before others are made. */
void service_open(void);
void service_close(void);
/* Whether one listens. */
bool service_listens(void);
/* Where it listens: a path, or @ and an abstract name. "": nowhere. */
const char *service_address(void);
/* The process that this one has taken over from has named it to the service manager there, which wants to hear of it that
 * often (0: it does not). What the environment said of another one stands. Main thread. */
void service_adopt(const char *address, uint64_t watchdog_us);

/* Say it: lines of NAME=VALUE, printf-like. */
void service_tell(const char *format, ...) PRINTF_LIKE(1, 2);
/* Reading the configuration anew; service_tell("READY=1") when it is done. */
void service_tell_reloading(void);
/* How often it wants to hear that we are alive; CLOCK_NEVER: it does not. */
uint64_t service_watchdog_us(void);

/* The descriptors that it has handed over: calls `take` with each, which takes it, and its name. Once. */
void service_take_descriptors(void (*take)(void *context, int fd, const char *name), void *context);
/* Have it keep these for the next start, under a name without colons. They stay ours too. False: nobody listens. */
bool service_keep(const char *name, const int *fds, size_t count);
/* It need not keep what has this name any more. */
void service_forget(const char *name);

#endif
