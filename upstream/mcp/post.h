/* SPDX-License-Identifier: Apache-2.0 */
/*
 * post.h: one HTTP request of MCP's Streamable HTTP and its answer (JSON or an event stream), taken apart message
 * by message as bytes arrive. It travels through upstream_http's kind as if it were a call, or several (an array); this
 * is the dialect for it. Who sends it (provider_mcp.c) says what it writes, and hears what comes.
 */
#ifndef JITNEY_UPSTREAM_MCP_POST_H
#define JITNEY_UPSTREAM_MCP_POST_H

#include "upstream/mcp/mcp_message.h"
#include "upstream/mcp/session.h"
#include "upstream/mcp/sse.h"
#include "upstream/upstream.h"

struct mcp_post;

struct mcp_post_ops {
	/* Write method, headers and body; calls[i] has the id first_id + i. False: out of memory. */
	bool (*write)(struct mcp_post *post, const struct upstream_call *calls, size_t count, uint64_t first_id,
		      struct encoded_request *request);
	/* A result or error with our id (calls: NULL, mcp_answer speaks). */
	void (*heard)(struct mcp_post *post, const struct mcp_message *message);
	/* A request or notification of the server's. */
	void (*foreign)(struct mcp_post *post, const struct mcp_message *message);
};

/* The owner embeds it; it outlives its exchange. Zeroed but for what mcp_post_init sets. */
struct mcp_post {
	struct dialect_route route; /* what upstream_call.route points to */
	const struct mcp_post_ops *ops;
	const struct mcp_session *session;
	unsigned epoch;    /* of the session it was written in */
	enum mcp_era era;  /* likewise, as the next two */
	bool had_session;  /* mcp_session_has_id */
	bool doubtful;     /* mcp_session_doubtful, when it was written */
	bool expects;      /* an answer with our id; false: the status is all */
	bool endless;      /* a stream of the server's own messages */
	uint64_t first_id; /* of its calls, as written; kept when the stream is taken up again */
	/* --- what came --- */
	unsigned status;                           /* HTTP; 0: no head yet */
	int error_code;                            /* of the last error message; 0: none */
	int whole_code;                            /* of the last one that was not one call's own */
	bool refused_session;                      /* see mcp_session_refused */
	char session_id[MCP_SESSION_ID_BYTES + 1]; /* of the answer's head; "": none; too long: cut */
	char event_id[SSE_ID_BYTES];               /* of the last event; "": none */
	uint64_t retry_ms;                         /* UINT64_MAX: not said */
};

/* For one request; resets what came. */
void mcp_post_init(struct mcp_post *post, const struct mcp_post_ops *ops, const struct mcp_session *session,
		   uint64_t now_us);

/* The dialect that upstream_http is given. Every call's route is the same post's. */
extern const struct dialect mcp_post_dialect;

#endif
