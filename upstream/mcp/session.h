/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h: which era a server speaks, and the session with it: what to send next to open it and what its answers
 * mean. No sockets and no clock, so that tests play a server by hand; provider_mcp.c carries the messages over HTTP.
 *
 *   IDLE -> PROBING ----------------------> READY (modern)
 *             \-> INITIALIZING -> CONFIRMING -> READY (legacy)
 *   every step -> FAILED; FAILED and a lost session -> mcp_session_open again
 */
#ifndef JITNEY_UPSTREAM_MCP_SESSION_H
#define JITNEY_UPSTREAM_MCP_SESSION_H

#include <stdint.h>

#include "base/answer.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/slice.h"
#include "upstream/mcp/mcp_message.h"

enum mcp_state {
	MCP_IDLE,
	MCP_PROBING,      /* server/discover is the message to send */
	MCP_INITIALIZING, /* initialize */
	MCP_CONFIRMING,   /* notifications/initialized */
	MCP_READY,
	MCP_FAILED
};

enum {
	MCP_SESSION_ID_BYTES = 512, /* longer ids are refused */
	MCP_VERSION_BYTES = 16
};
#define MCP_VERDICT_US                                                                                                 \
	(UINT64_C(3600) *                                                                                              \
	 1000000) /* how long an era found out is believed when a session opens anew                  \
				    */

struct mcp_session {
	const char *pinned; /* a version; NULL: find out */
	enum mcp_state state;
	enum mcp_era era; /* once READY; while it opens: the one being tried */
	bool legacy_known;
	uint64_t legacy_known_us;        /* when it was found out */
	char version[MCP_VERSION_BYTES]; /* of the legacy era: agreed on; "" before */
	char id[MCP_SESSION_ID_BYTES];   /* of the legacy era; "": the server has no sessions */
	bool list_changed;               /* the server says that it tells when its tools change */
	unsigned epoch;                  /* goes up with each session that becomes READY */
	uint64_t doubtful_until_us;      /* a 400 before then is not taken for a lost session */
	char why[ANSWER_DETAIL_BYTES];   /* FAILED: for people */
};

/* protocol: "auto", MCP_VERSION_MODERN (then never probed: READY at once), or a legacy version. Borrowed. */
void mcp_session_init(struct mcp_session *session, const char *protocol);

/* Begin to open it; any state. */
void mcp_session_open(struct mcp_session *session, uint64_t now_us);
/* Append the message of the step that the state names. */
void mcp_session_put(const struct mcp_session *session, uint64_t id, struct buf *out);

/* What came back. */
struct mcp_reply {
	unsigned status;                   /* HTTP; 0: no answer at all */
	const struct mcp_message *message; /* NULL: none */
	struct slice session_id;           /* the header; empty: none */
	const char *why;                   /* status 0 or a failed status: for people */
};
/* Take the next step. */
void mcp_session_heard(struct mcp_session *session, const struct mcp_reply *reply, uint64_t now_us);

/* Append the header lines that every request of the session has. method and raw_name (empty: none): for the modern
 * era's Mcp-Method and Mcp-Name. While it opens, those of the step. */
void mcp_session_put_headers(const struct mcp_session *session, const char *method, struct slice raw_name,
			     struct buf *lines);

/* Whether a request that was answered so was refused because its session is gone: 404, or 400 without a word that it is
 * about the request itself. It did not run. error_code: 0: none.
 * had_id: mcp_session_has_id when the request was written; doubtful: a 400 says nothing (mcp_session_doubtful when the
 * request was written). */
bool mcp_session_refused(bool had_id, unsigned status, int error_code, bool doubtful);
/* Whether requests written now carry a session id. */
bool mcp_session_has_id(const struct mcp_session *session);
/* The session of `epoch` is gone. False: that was an older one, and there is a new one already or under way. */
bool mcp_session_lost(struct mcp_session *session, unsigned epoch);
/* It is not used any more. IDLE. */
void mcp_session_end(struct mcp_session *session);
/* A call was refused with 400 in two sessions: that is about the call. For a while 400 loses no session. */
void mcp_session_doubt(struct mcp_session *session, uint64_t now_us);
bool mcp_session_doubtful(const struct mcp_session *session, uint64_t now_us);

#endif
