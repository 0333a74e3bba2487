/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h: everything between the gateway and one MCP server over HTTP that is not a call: opening the session
 * and opening it anew, the list of tools and its refreshes, the stream of the server's own messages, answers to its
 * pings, word of calls that nobody waits for. Off the callers' path. Owned by the upstream's worker.
 */
#ifndef JITNEY_UPSTREAM_MCP_CONTROL_H
#define JITNEY_UPSTREAM_MCP_CONTROL_H

#include <sys/queue.h>

#include "upstream/provider.h"
#include "upstream/mcp/post.h"
#include "upstream/mcp/list_tools.h"

struct mcp_control;

struct mcp_control_events {
	/* The session has become READY or FAILED: waiting calls may go, or be told (mcp_control_is_ready). From the loop, never
	 * from within mcp_control_want. */
	void (*turned)(struct mcp_control *control);
	/* Whether a call is in the session of `epoch`. */
	bool (*in_use)(const struct mcp_control *control, unsigned epoch);
};

/* One message of the gateway's own under way. */
struct mcp_job {
	struct mcp_post post;
	struct mcp_control *control;
	struct exchange *exchange;     /* upstream_http's; NULL: none under way */
	bool heard;                    /* a result or error came */
	bool refused;                  /* the last one was refused together with its session */
	char why[ANSWER_DETAIL_BYTES]; /* of the exchange's failure; "": none */
};

struct mcp_notification;
TAILQ_HEAD(mcp_notifications, mcp_notification);
struct mcp_farewell;
TAILQ_HEAD(mcp_farewells, mcp_farewell);

struct mcp_control {
	/* --- set by mcp_control_init --- */
	const struct upstream_settings *settings;
	struct upstream *http; /* upstream_http's, with mcp_post_dialect */
	struct loop *loop;
	struct meter *meter;
	const struct mcp_control_events *events;
	const struct upstream_watcher *watcher; /* NULL: nobody wants the tools */
	/* --- its own, to be read --- */
	struct mcp_session session;
	/* --- its own --- */
	struct mcp_job opener, lister, listener;
	struct mcp_notifications notes;
	size_t note_count;
	struct mcp_farewells farewells; /* oldest first */
	size_t farewell_count;
	struct loop_timer open_timer, list_timer, listen_timer, farewell_timer;
	unsigned open_failures, list_failures, listen_failures;
	uint64_t opened_us;      /* when the session became READY */
	unsigned short_lived;    /* sessions in a row that were lost soon after that */
	bool lost_by_400;        /* the last one that was lost */
	struct buf instructions; /* of the session, as text; empty: none */
	struct mcp_tools tools;  /* while lister is under way */
	bool list_again;         /* the list has changed while it was read */
	bool list_changed;       /* the list that is due, or under way, is due to a word of the server's */
	struct mcp_list_limiter limiter;
	uint64_t listening_since_us;
	bool list_shown;     /* the log has the number of tools */
	size_t last_dropped; /* as logged */
};

/* Starts to open the session with the next turn of the loop. False: out of memory, nothing to undo. */
bool mcp_control_init(struct mcp_control *control, const struct upstream_settings *settings, struct upstream *http,
		      struct loop *loop, struct meter *meter, const struct mcp_control_events *events) MUST_CHECK;
/* No call will come any more, and none is under way: end the session, and those before it, within timeout_us. */
void mcp_control_leave(struct mcp_control *control, uint64_t timeout_us);
/* Whether that is still under way. */
bool mcp_control_leaving(const struct mcp_control *control);
/* Ends what is under way. */
void mcp_control_fini(struct mcp_control *control);
void mcp_control_watch(struct mcp_control *control, const struct upstream_watcher *watcher);

/* Whether calls can go, now. False: they wait for `turned`, or (*why set) are told that it is closed. */
bool mcp_control_is_ready(const struct mcp_control *control, const char **why) MUST_CHECK;
/* The same of a call that wants to go, which is a reason to try sooner. */
bool mcp_control_want(struct mcp_control *control, const char **why) MUST_CHECK;
/* A request written in session `epoch` was refused (status: HTTP's) because the session is gone: a new one is opened. */
void mcp_control_lost(struct mcp_control *control, unsigned epoch, unsigned status);
/* Whether a request that 400 refused in the session of `epoch` has only itself to blame: the session is new, and the one before
 * it was lost in the same way. */
bool mcp_control_blames_request(const struct mcp_control *control, unsigned epoch);
/* A request or notification of the server's, found in the answer to a call: answered, or taken note of. */
void mcp_control_foreign(struct mcp_control *control, const struct mcp_message *message);
/* Tell a legacy server that nobody waits for the call with our id any more. */
void mcp_control_cancel(struct mcp_control *control, uint64_t id);
/* The tools have changed, or are thought to have. */
void mcp_control_stale(struct mcp_control *control);

/* Every MCP request that carries a message, and every one that asks for a stream: method and headers, as for a message of
 * that JSON-RPC method; raw_name: what it names, a JSON string, or empty. */
void mcp_begin_post(struct encoded_request *request, const struct mcp_session *session, const char *method,
		    struct slice raw_name);
void mcp_begin_get(struct encoded_request *request, const struct mcp_session *session, const char *method,
		   struct slice raw_name);

#endif
