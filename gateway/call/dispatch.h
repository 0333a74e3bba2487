/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatch.h: the owner's side of a call: join a flight or lead one, board the batcher of the upstream, complete in the
 * cache and with everybody who waits. One per worker, for the upstreams that worker owns; its thread only.
 */
#ifndef JITNEY_GATEWAY_CALL_DISPATCH_H
#define JITNEY_GATEWAY_CALL_DISPATCH_H

#include <stdint.h>

#include "base/answer.h"
#include "base/compiler.h"

struct call;
struct dispatch;
struct tier;
struct worker;

/* Needs the worker's loop, meter and transport. NULL when memory is out. */
struct dispatch *dispatch_new(struct worker *worker) MUST_CHECK;
/* Nothing may be under way. NULL is allowed. */
void dispatch_free(struct dispatch *dispatch);

/* Take a call in; it goes home (call_return) exactly once, maybe before this returns. */
void dispatch_take(struct dispatch *dispatch, struct call *call);
/* Its caller has left: the call goes home now, if it is still here. */
void dispatch_cancel(struct dispatch *dispatch, struct call *call);

/* Once or twice a loop turn: let the batchers answer what is overdue and send what is due. */
void dispatch_tick(struct dispatch *dispatch, uint64_t now_us);
/* When dispatch_tick has something to do at the latest. */
uint64_t dispatch_deadline(const struct dispatch *dispatch);
/* Trips under way. */
size_t dispatch_busy(const struct dispatch *dispatch);
/* Another tier behind memory from now on, or none; the one before is freed. Who looks in it goes on as if it had nothing.
 * Taken. */
void dispatch_use_tier(struct dispatch *dispatch, struct tier *tier);
/* Shutting down: every call here goes home with (a reference to) `answer`. */
void dispatch_abort_all(struct dispatch *dispatch, struct answer *answer, uint64_t now_us);
/* After that, with no fetch under way: upstream_leave and upstream_leaving of the providers that are here. */
void dispatch_leave(struct dispatch *dispatch, uint64_t timeout_us);
bool dispatch_leaving(const struct dispatch *dispatch);

#endif
