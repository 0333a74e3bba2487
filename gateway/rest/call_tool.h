/* call_tool.h: POST /v1/tools/{tool}: one call, one answer. And POST /v1/batch (call_batch.c): many calls, many answers. */
#ifndef JITNEY_GATEWAY_REST_CALL_TOOL_H
#define JITNEY_GATEWAY_REST_CALL_TOOL_H

#include "gateway/call/call.h"
#include "gateway/http/http.h"

struct worker;

void rest_call_tool(struct worker *worker, struct request *request, struct slice tool_name);
void rest_call_many(struct worker *worker, struct request *request, struct slice rest);

/* One line in the access log about a finished call. */
void rest_log_call(const struct call *call, const char *request_id, unsigned status, uint64_t bytes);

/* A reply's end, for a request of rest_call_tool: one line in the access log, and the call is given back. */
void rest_finished(struct worker *worker, struct request *request, unsigned status, uint64_t bytes);

/* Why the body is not to be read as JSON, by its headers (static); NULL: it is. */
const char *rest_media_complaint(const struct request *request);
/* Whether the body may be read as JSON. False: the request has been answered with 415. */
bool rest_body_is_json(struct worker *worker, struct request *request) MUST_CHECK;
/* Read the headers into *asker. False: the request has been answered with 400. */
bool rest_read_asker(struct worker *worker, struct request *request, struct asker *asker) MUST_CHECK;
/* Count a finished call in the metrics, under its own outcome. */
void rest_count(const struct call *call);

#endif
