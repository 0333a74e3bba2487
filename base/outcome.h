/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outcome.h: how things end. One enum is return code, metric label, log word and problem code at once, so that a
 * caller, a dashboard and a log line say the same thing. Words and statuses of the answers are the contract's
 * (docs/api.md, "Errors"); nothing else in the tree writes them down.
 */
#ifndef JITNEY_BASE_OUTCOME_H
#define JITNEY_BASE_OUTCOME_H

#include <stdbool.h>

/*
 * X(NAME, word, HTTP status, retryable, title)
 * retryable: the same call, sent again unchanged, may succeed and cannot do harm.
 * CANCELLED is never sent: the client has left. It exists for metrics and logs (499, as nginx counts it).
 */
/* clang-format off */
#define OUTCOME_TABLE(X)                                                                                               \
	X(OK, "ok", 200, false, "OK")                                                                                  \
	X(INVALID_JSON, "invalid_json", 400, false, "The body is not valid JSON")                                      \
	X(INVALID_REQUEST, "invalid_request", 400, false, "The request is not valid")                                  \
	X(UNAUTHORIZED, "unauthorized", 401, false, "Credentials are missing or wrong")                                \
	X(FORBIDDEN, "forbidden", 403, false, "Not allowed")                                                           \
	X(UNKNOWN_TOOL, "unknown_tool", 404, false, "There is no such tool")                                           \
	X(NOT_FOUND, "not_found", 404, false, "There is nothing here")                                                 \
	X(METHOD_NOT_ALLOWED, "method_not_allowed", 405, false, "Method not allowed")                                  \
	X(PAYLOAD_TOO_LARGE, "payload_too_large", 413, false, "The body is too large")                                 \
	X(UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", 415, false, "Unsupported content type")                    \
	X(RATE_LIMITED, "rate_limited", 429, true, "Too many requests")                                                \
	X(HEADERS_TOO_LARGE, "headers_too_large", 431, false, "The request head is too large")                         \
	X(INTERNAL, "internal", 500, false, "Internal error")                                                          \
	X(UPSTREAM_ERROR, "upstream_error", 502, true, "The provider failed")                                          \
	X(TOOL_ERROR, "tool_error", 502, false, "The tool answered with an error")                                     \
	X(OUTCOME_UNKNOWN, "outcome_unknown", 502, false, "Sent, but the answer was lost")                             \
	X(OVERLOADED, "overloaded", 503, true, "The gateway is at its limit")                                          \
	X(UPSTREAM_UNAVAILABLE, "upstream_unavailable", 503, true, "The provider cannot be reached")                   \
	X(SHUTTING_DOWN, "shutting_down", 503, true, "The gateway is shutting down")                                   \
	X(UPSTREAM_TIMEOUT, "upstream_timeout", 504, true, "The provider did not answer in time")                      \
	X(DEADLINE_EXCEEDED, "deadline_exceeded", 504, true, "The call's deadline has passed")                         \
	X(NOT_CACHED, "not_cached", 504, false, "Not in the cache, and the caller asked for nothing else")             \
	X(CANCELLED, "cancelled", 499, false, "The caller left")
/* clang-format on */

enum outcome {
#define OUTCOME_ENUM(name, word, status, retryable, title) OUTCOME_##name,
	OUTCOME_TABLE(OUTCOME_ENUM)
#undef OUTCOME_ENUM
		OUTCOME_COUNT
};

/* The contract's word ("upstream_error"): static storage. */
const char *outcome_word(enum outcome outcome);
/* One sentence for people, the problem's "title": static storage. */
const char *outcome_title(enum outcome outcome);
/* The HTTP status that goes with it. */
unsigned outcome_status(enum outcome outcome);
/* Whether a caller may send the same call again. See the table's comment. */
bool outcome_retryable(enum outcome outcome);
/* Whether a call failed by the gateway's or a provider's fault: what error rates and alerts count. A tool's own error, a
 * caller's mistake and an orderly stop are none. */
bool outcome_is_failure(enum outcome outcome);

#endif
