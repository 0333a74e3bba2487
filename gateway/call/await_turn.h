/* SPDX-License-Identifier: Apache-2.0 */
/*
 * await_turn.h: requests whose bodies take a while to look at. In one turn of the loop so many bytes are looked at, and
 * who comes then is put aside and served in a later turn, in the order of coming. A large body is looked at before it is
 * served, a slice a turn, and one after the other, so that small ones pass by. Worker's thread.
 */
#ifndef JITNEY_GATEWAY_CALL_AWAIT_TURN_H
#define JITNEY_GATEWAY_CALL_AWAIT_TURN_H

#include "gateway/call/route.h"

struct turn_waits;
struct wire;

/* What is to become of a request whose body is to be looked at. */
struct turn_body {
	const struct wire *wire; /* how it is refused */
	route_function *serve;   /* what serves it, with an empty rest */
	unsigned json_depth;     /* at which front_check_json will look at the body; 0: nobody takes it for JSON */
};

enum { TURN_SLICE_BYTES = 256 << 10 }; /* a body that is larger is looked at in slices of so much */

/*
 * Before a request's body is looked at. False: go on now; its bytes are spent. True: it is put aside, since this turn
 * has looked at enough, or others wait already, or it is large; `serve` is called in a later turn, or the caller's own
 * deadline passes and he is told so in the wire's form, or nothing follows because the client has left. Of a large one
 * body_soundness is known by then. A request without a body never waits.
 */
bool turn_await(struct worker *worker, struct request *request, const struct turn_body *body) MUST_CHECK;

/* For a worker that begins: nobody waits. */
void turns_init(struct turn_waits *turns);
/* A turn begins: a slice of the first large body, then those that wait, as far as it goes. */
void turns_serve(struct worker *worker);
/* Whether the loop has to turn again at once. */
bool turns_wait(const struct worker *worker);

#endif
