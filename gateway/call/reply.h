/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reply.h: what a caller gets to see: outcomes as RFC 9457 problems, results with the headers of the contract
 * (Cache-Status after RFC 9211, Age, Server-Timing, X-Batch-Size). The one place that turns answers into replies.
 */
#ifndef JITNEY_GATEWAY_CALL_REPLY_H
#define JITNEY_GATEWAY_CALL_REPLY_H

#include "base/buf.h"
#include "gateway/call/call.h"
#include "gateway/http/http.h"

/* Append the problem of an outcome that is not OK: one JSON object. `call`: the call it is about, or NULL. */
void problem_put(struct buf *out, const struct answer *answer, const char *request_id, const struct call *call);

/* Reply with a problem, its detail printf-like. `allow`: value of an Allow header, or NULL. */
void reply_problem(struct request *request, enum outcome outcome, const char *allow, const char *format, ...)
	PRINTF_LIKE(4, 5);
/* Reply with the problem that `answer` is, which is taken. */
void reply_answer(struct request *request, struct answer *answer);
/* Reply with `reply`, its body what was gathered in `text`, which is emptied. Without memory for a text that was not
 * an error a problem is sent instead, which never says that nothing was done. */
void reply_send_text(struct request *request, struct reply *reply, const char *content_type, struct buf *text);
/* The same with a status and X-Request-Id. */
void reply_text(struct request *request, unsigned status, const char *content_type, struct buf *text);

/* Whether the request's If-None-Match names this strong entity tag (quotes included): then the reply is 304. RFC 9110,
 * 13.1.2: "*" or a list of tags; weak comparison. */
bool reply_none_match(const struct request *request, const char *etag);

/* Reply with the result of a finished call: the tool's bytes or a problem, and all headers. A kept answer has an ETag;
 * 304 without the bytes to a caller that has them. With ?full=1 an MCP result comes whole (answer_full). */
void reply_call(struct request *request, const struct call *call);

/* The headers that tell how a finished call's result came about: Cache-Status, Age, Server-Timing and X-Batch-*; none with
 * reply_headers: minimal. */
void reply_put_call(struct reply *reply, const struct call *call);
/* X-Attempts of a reply that is made of many calls: of the one that needed most. None if that is one, or with
 * reply_headers: minimal. */
void reply_put_attempts(struct reply *reply, const struct worker *home, uint32_t most);
/* Whether the same call, sent again, may succeed and cannot do harm: more than the outcome decides. `call` may be NULL.
 */
bool reply_may_retry(const struct answer *answer, const struct call *call);

/* The cache's part in an answer, in one word, for batches and logs: hit, stale, miss, collapsed, bypass, none. */
const char *source_word(enum call_source source);

#endif
