/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer.h: how one call ended, with its bytes. Made by a dialect (or by whoever refuses the call), then shared,
 * never changed: the same answer goes to every caller of a flight, into the memory tier and out to the client
 * without a copy.
 */
#ifndef JITNEY_BASE_ANSWER_H
#define JITNEY_BASE_ANSWER_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/blob.h"
#include "base/compiler.h"
#include "base/outcome.h"
#include "base/slice.h"

enum {
	ANSWER_STATIC = 1 << 30,   /* references of one that is static: more than are ever given back */
	ANSWER_DETAIL_BYTES = 200, /* longest detail, NUL included; longer ones are cut */
	ANSWER_TYPE_BYTES =
		64 /* longest content type, NUL included; longer ones, and what is no header, become octet-stream */
};

struct answer {
	atomic_uint refs;         /* from ANSWER_STATIC on: it is not on the heap, and never freed */
	atomic_uint takers;       /* a: replies on their way with these bytes; see gateway/http/held_bytes.c */
	enum outcome outcome;     /* OK: body is the tool's result */
	uint16_t upstream_status; /* the provider's HTTP status; 0: none was received */
	uint32_t retry_after_s;   /* asked for by the provider or by us; 0: none */
	bool lasting; /* a failure that sending it again will not mend: batcher/retry.c, gateway/call/reply.c */
	bool json;    /* body is one JSON text that our scanner has accepted */
	bool reuse_said, reuse_no_stale; /* the provider's headers spoke of reuse (reuse_s counts); forbid staleness */
	uint32_t reuse_s;                /* for how long they allow it; 0: not at all */
	uint32_t age_s;                  /* how old it was when it came, by the provider's Age; 0: it was just made */
	atomic_uint_fast64_t tag;        /* a: answer_tag's; 0: not worked out yet */
	char content_type[ANSWER_TYPE_BYTES]; /* of an OK body, as the provider sent it; "application/json" if json */
	char detail[ANSWER_DETAIL_BYTES];     /* for people: what, where, what to do. "" when OK. UTF-8 */
	size_t body_at, body_len;             /* answer_body */
	size_t full_len;                      /* answer_full */
	struct blob *store;                   /* NULL, or what holds its bytes in place of `bytes`: answer_result_in */
	const char *stored;                   /* where in `store` */
	char bytes[];                         /* the full form if there is one, then the body if it is no part of it */
};

/* A result. `body` is copied; json as above; content_type NULL means application/json. NULL when out of memory. */
struct answer *answer_result(struct slice body, bool json, const char *content_type) MUST_CHECK;

/* The same for a body that lies in `store`, whose bytes up to the body's end are never changed again. One that is large and
 * nearly all of it stays there, and the answer has a reference to the store; else it is copied. NULL as store: copied. */
struct answer *answer_result_in(struct blob *store, struct slice body, bool json, const char *content_type) MUST_CHECK;

/*
 * What an MCP server answered (CallToolResult of every MCP revision): `full` is the result object as it came, `body`
 * what a REST caller gets of it; both copied, a body that lies within full is kept once. outcome: OK, or TOOL_ERROR for
 * isError, whose body is JSON or empty and whose detail is printf-like. content_type: of the body, NULL means
 * application/json; json: body is one JSON text. Never NULL: see answer_error.
 */
struct answer *answer_mcp(enum outcome outcome, struct slice full, struct slice body, bool json,
			  const char *content_type, const char *format, ...) PRINTF_LIKE(6, 7);

/* The same for a result whose body is a text: `raw` is a JSON string within full, and decoded where it is kept, since it
 * may be as long as an answer. */
struct answer *answer_mcp_text(struct slice full, struct slice raw, const char *content_type);

/* There was no memory for what was to be done: a static OVERLOADED answer, which answer_ref and answer_unref treat as any
 * other, and which nobody may change. */
struct answer *answer_no_memory(void);
/* A refusal or failure, its detail printf-like. Never NULL: out of memory gives answer_no_memory. */
struct answer *answer_error(enum outcome outcome, const char *format, ...) PRINTF_LIKE(2, 3);

/* The same with what the provider said: `upstream` is one valid JSON text (spliced into the problem's "upstream"
 * member as "error") or empty; upstream_status and retry_after_s as in the struct. Never NULL. */
struct answer *answer_upstream_error(enum outcome outcome, unsigned upstream_status, uint32_t retry_after_s,
				     struct slice upstream, const char *format, ...) PRINTF_LIKE(5, 6);

/* One more reference; returns the same answer. Any thread. */
struct answer *answer_ref(struct answer *answer);
/* One reference less, frees at the last. NULL is allowed. Any thread. */
void answer_unref(struct answer *answer);

/* Names the bytes of the body and their type: equal for equal ones in every process, never 0. Worked out once, in the
 * time it takes to read the body; whoever stores an answer asks first. Any thread. */
uint64_t answer_tag(struct answer *answer);

/* answer_held_bytes bytes, less the NUL, which may be missing. */
static inline const char *answer_bytes(const struct answer *answer)
{
	return answer->store ? answer->stored : answer->bytes;
}
/* OK: the result for REST callers, byte for byte. Else: what the provider said, if json (may be empty). */
static inline struct slice answer_body(const struct answer *answer)
{
	return (struct slice){ answer_bytes(answer) + answer->body_at, answer->body_len };
}
/* The MCP result object the answer came as, for MCP callers; empty: it came as none. */
static inline struct slice answer_full(const struct answer *answer)
{
	return (struct slice){ answer_bytes(answer), answer->full_len };
}
/* What its Retry-After is to say, seconds; 0: it has none. Whoever is turned away for now (429, 503) is always told when to
 * come again. */
static inline uint32_t answer_come_again_s(const struct answer *answer)
{
	unsigned status = outcome_status(answer->outcome);
	return answer->retry_after_s ? answer->retry_after_s : status == 429 || status == 503;
}
/* Bytes of both forms, what they share counted once, and one NUL. */
static inline size_t answer_held_bytes(const struct answer *answer)
{
	size_t end = answer->body_at + answer->body_len;
	return (end > answer->full_len ? end : answer->full_len) + 1;
}

#endif
