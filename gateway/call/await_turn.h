/* SPDX-License-Identifier: Apache-2.0 */
/*
 * await_turn.h: requests whose bodies came together. To look at a body takes a worker a while for each of its bytes, so
 * in one turn of the loop so many are looked at, and who comes then is put aside and served in a later turn, in the
 * order of coming. Worker's thread.
 */
#ifndef JITNEY_GATEWAY_CALL_AWAIT_TURN_H
#define JITNEY_GATEWAY_CALL_AWAIT_TURN_H

#include "gateway/call/worker.h"

struct wire;

/*
 * Before a request's body is looked at. False: go on now; its bytes are spent. True: it is put aside, since this turn
 * has looked at enough, or others wait already; `serve` is called in a later turn with an empty rest, or the caller's own
 * deadline passes and he is told so in the wire's form, or nothing follows because the client has left. A request
 * without a body never waits.
 */
bool turn_await(struct worker *worker, struct request *request, const struct wire *wire,
		route_function *serve) MUST_CHECK;

void turns_init(struct turn_waits *turns);
/* A turn begins: serve those that wait, as far as it goes; at least one. */
void turns_serve(struct worker *worker);
/* Whether the loop has to turn again at once. */
bool turns_wait(const struct worker *worker);

#endif
