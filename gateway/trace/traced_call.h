/* SPDX-License-Identifier: Apache-2.0 */
/*
 * traced_call.h: all that is told of one call that is kept, copied when it had ended. Its spans are made from it later, by
 * the exporter's thread: the call (SERVER), its attempt (CLIENT), and the exchange that carried it.
 */
#ifndef JITNEY_GATEWAY_TRACE_TRACED_CALL_H
#define JITNEY_GATEWAY_TRACE_TRACED_CALL_H

#include <sys/queue.h>

#include "base/outcome.h"
#include "gateway/trace/context.h"

/* Why a call is kept. X(NAME, word): the attribute jitney.kept. */
#define TRACE_REASONS(X)                                                                                               \
	X(SAMPLED_CALL, "sampled") /* its caller said so, or chance */                                                 \
	X(FAILED, "failed")        /* by the gateway's or a provider's fault */                                        \
	X(UNKNOWN, "unknown")      /* whether it was carried out */                                                    \
	X(SLOW, "slow")            /* slower than 99 of 100 calls of its tool */                                       \
	X(BISECTED, "bisected")    /* it was part of a request that was refused as a whole */
enum trace_reason {
#define X(name, word) TRACE_##name,
	TRACE_REASONS(X)
#undef X
		TRACE_REASON_COUNT,
	TRACE_NOT_KEPT = TRACE_REASON_COUNT
};

enum { TRACED_ID_BYTES = 129, TRACED_TENANT_BYTES = 48, TRACED_DETAIL_BYTES = 160, TRACED_STATE_BYTES = 513 };

/* Names are static, or as long-lived as the metrics. */
struct traced_call {
	TAILQ_ENTRY(traced_call) next;
	struct trace_context context; /* its own */
	uint64_t parent;              /* the span it is below; 0: it begins its trace */
	struct trace_context link;    /* of the HTTP request, where MCP's _meta named another parent; or none */
	enum trace_reason reason;
	uint64_t started_us; /* wall clock */
	uint64_t total_us;
	uint64_t look_us; /* in a tier outside the process */
	uint64_t left_us; /* of the wall clock, when it left for the provider; 0: it never did */
	uint64_t waited_us, upstream_us;
	uint64_t batch;       /* its number; 0: it never left */
	uint32_t items;       /* calls in it */
	const char *left_for; /* the word for why it left; of a batch */
	uint32_t attempts;    /* to deliver the call */
	bool shared;          /* it joined another call's flight */
	bool stdio;           /* the provider is a program: pipes, no network */
	enum outcome outcome;
	unsigned status;
	uint64_t bytes; /* of the answer */
	const char *tool, *upstream, *dialect, *cache;
	const char *route;              /* of HTTP: "/v1/tools/{tool}" */
	const char *mcp_method;         /* "tools/call"; NULL: the client does not speak MCP */
	char state[TRACED_STATE_BYTES]; /* W3C's tracestate; "": none, or too long */
	char request_id[TRACED_ID_BYTES];
	char tenant[TRACED_TENANT_BYTES]; /* "": none */
	char detail[TRACED_DETAIL_BYTES]; /* "": none */
};
TAILQ_HEAD(traced_calls, traced_call);

enum { TRACE_QUEUE_CALLS = 2048 }; /* that wait to be sent: about 2.7 MiB */

#endif
