/* SPDX-License-Identifier: Apache-2.0 */
/*
 * front.h: what every endpoint does before and after its calls: what the body is, who asks, which tool; counting and
 * logging; and each wire's own form of a problem. Worker's thread.
 */
#ifndef JITNEY_GATEWAY_CALL_FRONT_H
#define JITNEY_GATEWAY_CALL_FRONT_H

#include "gateway/call/call.h"
#include "gateway/http/http.h"
#include "metrics/catalogue.h"

struct worker;

/* The form in which a kind of client is told of a problem with its request as a whole. */
struct wire {
	/* Reply. `detail` is for people and valid during the call. */
	void (*refuse)(struct worker *worker, struct request *request, enum outcome outcome, const char *detail);
};
/* application/problem+json: all paths but /mcp (mcp/mcp.h) and /v1/embeddings (rest/embeddings.h). */
extern const struct wire wire_problem;

/* Count a refusal and reply in the wire's form, its detail printf-like. Always false, for `return`. */
bool front_refuse(struct worker *worker, struct request *request, const struct wire *wire, enum reject_reason reason,
		  enum outcome outcome, const char *format, ...) PRINTF_LIKE(6, 7);
/* The same when memory is out. */
bool front_refuse_for_memory(struct worker *worker, struct request *request, const struct wire *wire);

/* --- Before: each answers the request and returns false if it may not go on. --- */

/* Whether a Content-Type is application/json, or any "...+json". */
bool front_is_json_type(struct slice type);
/* The headers say that the body is JSON, or there is none (415). */
bool front_body_is_json(struct worker *worker, struct request *request, const struct wire *wire) MUST_CHECK;
/* The body is one valid JSON text, nested no deeper than `depth` (400). */
bool front_check_json(struct worker *worker, struct request *request, const struct wire *wire,
		      unsigned depth) MUST_CHECK;
/* Who asks, by the headers (400). */
bool front_read_caller(struct worker *worker, struct request *request, const struct wire *wire,
		       struct caller *caller) MUST_CHECK;

/* What a caller is told who names a tool that is not there, or not known yet to be there (503); counted. Never NULL; a
 * reference is given. */
struct answer *front_unknown_tool(struct worker *worker, struct slice name);

/* --- After --- */

/* Count a finished call in the metrics, under its own outcome. */
void front_count(const struct call *call);
/* Count and record a call whose caller has left, and cancel it. */
void front_cancel(struct call *call, const struct request *request);
/* A finished call, as its caller sees it: a line in the access log, and one of the worker's recent calls. */
void front_record_call(const struct call *call, const struct request *request, unsigned status, uint64_t bytes);
/* Who asked, into a line of the access log: tenant, address, what an MCP client calls itself. */
void front_log_client(struct log_line *line, const struct request *request);
/* The end of the reply to a request that is one call (request->logged): its line in the access log, and the call is
 * given back. */
void front_finished(struct request *request, unsigned status, uint64_t bytes);

#endif
