/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reload.h: the configuration is read anew while the gateway runs: on a thread of its own, off the workers' way. A file
 * that is not whole or not right changes nothing, and says why: in the log, on /admin/config, to who asked. What has
 * changed is rebuilt, what has not goes on as it is; what cannot change in a running process is named. Calls under way
 * end as they began.
 */
#ifndef JITNEY_GATEWAY_ADMIN_RELOAD_H
#define JITNEY_GATEWAY_ADMIN_RELOAD_H

#include "base/buf.h"
#include "gateway/call/route.h"

struct generation;
struct loop;
struct reload;

/* For the file that gateway->config was read from. The gateway's registry and metrics are there; its generation is in
 * force. NULL: out of memory, or the kernel refuses. Main thread, as all here unless said otherwise. */
struct reload *reload_new(struct gateway *gateway) MUST_CHECK;
/* Start its thread. False and errno. */
bool reload_start(struct reload *reload) MUST_CHECK;
/* Clients are served from now on: the log says where, by the generation that is in force now, which need not be the one
 * that the process began with; and the service manager keeps what listens. Each reload after that does so for what it
 * changes. Returns the generation, the caller's to unref. Once. */
struct generation *reload_announce(struct reload *reload) MUST_CHECK;
/* The generation that is in force, the caller's to unref. Any thread. */
struct generation *reload_current(struct reload *reload) MUST_CHECK;
/* Wake this loop, of another thread, after each reload that has changed something. Before reload_start; until
 * reload_stop. */
void reload_wake(struct reload *reload, struct loop *loop);
/* End it. After the workers have been told to drain; before the registry stops, whose catalogues it has made. Allowed if
 * it was not started. */
void reload_stop(struct reload *reload);
/* After the workers' threads are joined: whoever still asks is told that it is too late. */
void reload_settle(struct reload *reload);
/* NULL is allowed. */
void reload_free(struct reload *reload);

/* Read it soon, for nobody who waits. who: static storage. Any thread. */
void reload_ask(struct reload *reload, const char *who);
/* Append what the last reload came to, as a member: ,"last_reload":{...}; nothing before the first. Any thread. */
void reload_put_last(struct reload *reload, struct buf *out);

/* POST /admin/reload */
route_function page_admin_reload;

#endif
