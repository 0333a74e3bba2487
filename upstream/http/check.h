/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h: active checks of a provider's endpoints: a request, MCP's ping, or a connection only, every now and then.
 * Where none are configured, or another one of several upstreams makes them, a connection is tried to whatever is out of reach, so that no call is sent to find out.
 * Private to upstream/http/; owned by the upstream's worker.
 */
#ifndef JITNEY_UPSTREAM_HTTP_CHECK_H
#define JITNEY_UPSTREAM_HTTP_CHECK_H

#include "upstream/http/endpoint.h"
#include "upstream/upstream.h"

struct roster;
struct checks;

/* Starts them; roster->set, hosts and places are there, and the upstream's transport. NULL: out of memory. */
struct checks *checks_new(struct roster *roster) MUST_CHECK;
/* NULL is allowed. */
void checks_free(struct checks *checks);
/* An endpoint's state has changed: whether it is to be reached may have to be found out. From endpoint_set.changed. */
void checks_note(struct checks *checks, const struct endpoint *endpoint);
/* It stands for another address: its checks begin. */
void checks_join(struct checks *checks, const struct endpoint *endpoint);
/* Whether a check of what it stood for is under way. */
bool checks_busy(const struct checks *checks, const struct endpoint *endpoint);
/* What has been found elsewhere, if another one of several upstreams makes the checks (verdicts.h). */
void checks_hear(struct checks *checks);
/* What has been found here others are told, if it is this one that makes them. */
void checks_tell(const struct checks *checks);
/* Calls are refused because nobody can be reached: look again soon. */
void checks_hurry(struct checks *checks);

#endif
