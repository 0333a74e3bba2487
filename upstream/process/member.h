/* SPDX-License-Identifier: Apache-2.0 */
/*
 * member.h: one process of a pool and what is spoken with it: the handshake, answers, the server's own requests
 * and its list of tools. Private to pool.c, pool_board.c, pool_calls.c, pool_tools.c and
 * member.c.
 *
 *   member_start -> STARTING -(handshake)-> READY -(max_calls reached, too large)-> RETIRING -(a new one is ready)-> LEAVING
 *                       `------------- ended ---------'------- idle, hung, one too many ------------------^ -> ended
 *
 * Whose answer a line is. Programs write other things beside their messages (banners, logs, a document over several
 * lines, what a caller has sent them), in which a line may be anything. A line is an answer only if
 *
 *   - it is one whole JSON object, which says "jsonrpc": "2.0", has no method, and either a result or an error;
 *   - its id is that of a request that this very process was given and that still waits for its answer.
 *
 * What lines stand before and behind it says nothing: a log is not always ended before an answer begins. The proof is
 * the id, which nobody can guess (call_ids.h): what is written without knowing of a request is no answer to it, whatever
 * it looks like. So that guessing does not help either, a process that names ids which were never given, more often than
 * MEMBER_GUESSES_MAX, is believed nothing more and ended.
 */
#ifndef JITNEY_UPSTREAM_PROCESS_MEMBER_H
#define JITNEY_UPSTREAM_PROCESS_MEMBER_H

#include "base/json.h"
#include "upstream/mcp/list_tools.h"
#include "upstream/process/call_ids.h"
#include "upstream/process/pool.h"
#include "upstream/process/process.h"

enum {
	LAST_WORDS_BYTES = 160,
	SAME_IDS = 1024 /* buckets */,
	MEMBER_GUESSES_MAX = 100,
	KILLED_BYTES = 120,
	TROUBLE_BYTES = PROCESS_REASON_BYTES + LAST_WORDS_BYTES + 32
};

enum member_state {
	MEMBER_STARTING,
	MEMBER_READY,
	MEMBER_RETIRING, /* takes calls while there is no other */
	MEMBER_LEAVING   /* takes none; is stopped once it has answered all */
};

TAILQ_HEAD(pool_call_list, pool_call);
LIST_HEAD(pool_call_bucket, pool_call);
TAILQ_HEAD(member_list, member);

struct member {
	struct process_pool *pool;
	struct process *process;
	TAILQ_ENTRY(member) next;
	enum member_state state;
	struct pool_call_list calls; /* in it, oldest first */
	size_t busy;                 /* of them */
	uint64_t served;             /* calls ever given to it */
	uint64_t started_us, idle_since_us;
	uint64_t started_wall_us;        /* the same by the wall clock */
	uint64_t cpu_us, resident_bytes; /* as last seen */
	unsigned silent_timeouts;        /* calls that timed out since it last said anything */
	bool useful;                     /* it has answered a call */
	bool dirty;                      /* something was put that was not flushed */
	bool stopped;
	uint64_t noise_since_us; /* lines that were no answers: this second, */
	size_t noise_bytes;      /* so many bytes of them */
	unsigned guesses;        /* at ids that were never given, ever */
	bool no_room;            /* its last line too long was one that limits.in_flight_bytes has no room for */
	bool overlong_delivered; /* those who waited for the line that is too long know it */
	bool ambiguous;          /* a call in it was forgotten, of which it may still speak */
	uint64_t handshake_id;   /* of initialize or server/discover; 0: none is out */
	uint64_t listen_id;      /* of subscriptions/listen, whose answer is its end; 0: none was sent */
	uint64_t list_id;        /* of tools/list; 0: none is out */
	uint64_t ping_id;        /* of ping; 0: none is out */
	struct json_ahead ahead; /* of the line that has not ended */
	struct loop_timer ping;
	struct loop_timer overlong; /* such a line has not ended */
	char killed[KILLED_BYTES];  /* why we have ended it; "": we have not */
	struct mcp_tools tools;
	struct loop_timer timer; /* STARTING: it takes too long; else so does its list */
	size_t last_words_len;
	char last_words[LAST_WORDS_BYTES]; /* the last line of stderr: it may quote what callers have sent */
	uint64_t last_words_id;            /* of the call that was alone in it as they came; 0: of none */
	bool last_words_open;              /* no call had been in it: anybody may read them */
};

struct process_pool {
	const struct upstream_settings *settings;
	const struct process_pool_settings *own; /* settings->process */
	bool mcp;                                /* else plain JSON-RPC: no handshake, no lists */
	enum mcp_era era;                        /* of MCP: legacy, unless the modern version is pinned */
	const char *pinned;                      /* version of MCP; NULL: the newest legacy one is offered */
	struct transport *transport;             /* counts what is held; NULL: nobody does */
	struct loop *loop;
	struct meter *meter;
	struct member_list members;
	struct pool_call_list waiting;
	struct pool_call_bucket by_id[SAME_IDS]; /* calls in members */
	struct call_ids ids;
	unsigned failures;      /* starts in a row that came to nothing */
	uint64_t not_before_us; /* next start */
	uint64_t cpu_gone_us;   /* used by those that have ended */
	uint64_t random;
	struct loop_timer timer;                /* starts that are due, idlers */
	struct loop_timer flush;                /* this turn */
	const struct upstream_watcher *watcher; /* NULL: nobody asks for tools */
	bool unlisted;                          /* somebody does, and has not been told any */
	struct loop_timer list;                 /* time to ask one for its tools */
	struct mcp_list_limiter pace;
	struct buf instructions;      /* of the newest member, as text; empty: none */
	unsigned list_failures;       /* in a row */
	bool list_changed;            /* the list that is due is due to a word of a member's */
	bool list_waits;              /* it was due, and there was none to ask */
	uint64_t complaints_since_us; /* stderr to the log: this second */
	unsigned complaints, complaints_left_out;
	struct json_scratch scratch;
	struct buf mended; /* the last message, if it had to be */
	bool freeing;
	char trouble[TROUBLE_BYTES]; /* why the last one ended, as any caller may read it; "": none has */
};

/* NULL: pool->trouble says why. */
struct member *member_start(struct process_pool *pool);
/* No callback follows; its calls have been taken away (asserted). */
void member_free(struct member *member);
/* Give it a call. False: its queue is full. */
bool member_give(struct member *member, struct pool_call *call) MUST_CHECK;
/* It takes no lines any more by its own doing, and lives on for a while. */
bool member_is_deaf(const struct member *member);
/* Tell it, if it may have read the call, that nobody waits any more. */
void member_cancel(struct member *member, const struct pool_call *call);
/* Close its stdin and so on, with all its grace; it takes no calls from now on. */
void member_stop(struct member *member);
/* It is of no use: the same at once. The reason is for people. */
void member_kill(struct member *member, const char *format, ...) PRINTF_LIKE(2, 3);
/* Whether it is there is in doubt: ask, and end it if it stays silent. */
void member_doubt(struct member *member);
/* Ask it for its tools. That ends in pool_listed or pool_list_failed, or with the member. READY or RETIRING. */
void member_list(struct member *member);

/* --- calls in members; pool_calls.c --- */

/* The least busy one that takes calls; NULL: all are full, or there is none. */
struct member *pool_pick_member(const struct process_pool *pool);
/* Into the one that pool_pick_member has found. False: there is none, or its queue is full; the call is where it was. */
bool pool_place_call(struct process_pool *pool, struct pool_call *call) MUST_CHECK;
/* Those that wait, oldest first, as long as there is room; they leave within this turn. */
void pool_place_waiting(struct process_pool *pool);
/* NULL: no such call is in it. */
struct pool_call *pool_find_call(const struct member *member, uint64_t id);
/* Out of its member, where its line is not written any further; it is in no list then. */
void pool_take_out(struct pool_call *call);
/* What was not sent, or can be sent again, waits for another member, in its old order, before all others; what was sent
 * and cannot be stays in. unread: nothing that was sent has been read. */
void pool_take_back(struct member *member, bool unread);

/* --- the list of tools; pool_tools.c --- */

/* The list is asked for as soon as its pace allows. */
void pool_list_soon(struct process_pool *pool);
/* pool->list: ask one of the members, if none is being asked. Where none is ready the first that is will be asked. */
void pool_on_list(struct loop_timer *timer, uint64_t now_us);
/* A member's list is complete, in member->tools, or has failed. */
void pool_listed(struct member *member);
void pool_list_failed(struct process_pool *pool, const char *why);
/* A member says that its tools have changed. */
void pool_list_changed(struct process_pool *pool);

/* --- what operators see of them; pool_board.c --- */

/* Those that are there now, onto the board of the upstream's only endpoint, for any thread; as many as have room there. */
void pool_show_members(const struct process_pool *pool);

/* --- what a member tells its pool; pool.c --- */

/* The handshake is over: it takes calls from now on. */
void pool_member_ready(struct member *member);
/* To call `id`, if it is in this member; the reference is taken. False: it is not. */
bool pool_member_answered(struct member *member, uint64_t id, struct answer *answer);
/* A notification of its own, which may be word of a call. */
void pool_member_notification(struct member *member, const struct mcp_message *message);
/* Its processor time and memory have been read anew (cpu_us, resident_bytes). */
void pool_member_sampled(struct member *member);
/* Its process is gone (or could not be made); cannot_start: not even executed, so nothing it was sent was read. The
 * member is freed. */
void pool_member_ended(struct member *member, bool cannot_start, const char *reason);
/* It takes no lines any more by its own doing: what it has not begun to read is for others. */
void pool_member_deaf(struct member *member);
/* A line of stderr. */
void pool_member_complained(struct member *member, struct slice text);
/* A line that was no answer. */
void pool_noise(struct process_pool *pool);
/* One more, of this pool's upstream. */
void pool_count(const struct process_pool *pool, enum metric metric);

#endif
