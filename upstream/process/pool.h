/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h: a provider's child processes, kept running: calls go into them by lines, several at once into each,
 * and come back in any order. Started before they are needed, more when they are full, fewer when they idle, anew when
 * they end; a program that cannot keep itself up is left alone for longer and longer, and callers are told why at once.
 * Knows no exchanges: provider_process.c does. Owned by one thread.
 */
#ifndef JITNEY_UPSTREAM_PROCESS_POOL_H
#define JITNEY_UPSTREAM_PROCESS_POOL_H

#include <stdint.h>
#include <sys/queue.h>

#include "base/answer.h"
#include "metrics/metrics.h"
#include "upstream/process/process.h"
#include "upstream/upstream.h"

struct process_pool;
struct member;

/* One call. Embedded in its owner, who fills the first part and keeps the text of `line` alive until it is answered or forgotten.
 */
struct pool_call {
	uint64_t id;              /* of process_pool_id; as in the line */
	struct process_line line; /* the request with its newline */
	bool repeatable;
	/* Once, from loop dispatch; `answer` is the receiver's reference. */
	void (*answered)(struct pool_call *call, struct answer *answer);
	/* Word of it, as `asks` wants, any number of times before that; as upstream_events' on_notification. */
	struct mcp_asks asks;
	void (*on_notification)(struct pool_call *call, enum mcp_notification_kind note, struct slice params);

	/* the pool's own */
	TAILQ_ENTRY(pool_call) next; /* waiting, or in its member */
	LIST_ENTRY(pool_call) alike; /* in a member: by id */
	struct member *member;       /* NULL: it waits, or is none of the pool's */
	bool waits;
	bool repeated; /* the process it was in has ended */
};

/* Starts `min` processes. settings->process is not NULL. What they say is counted by the transport (provider.h). NULL: out
 * of memory. */
struct process_pool *process_pool_new(const struct upstream_settings *settings, struct transport *transport,
				      struct loop *loop, struct meter *meter) MUST_CHECK;
/* No call may be in it. The processes are stopped with their grace, which nobody here waits for: see
 * fork_server_join. */
void process_pool_free(struct process_pool *pool);

/* For one request to a program: that of no other under way. */
uint64_t process_pool_id(struct process_pool *pool);
/* How MCP is spoken in its lines. */
enum mcp_era process_pool_era(const struct process_pool *pool);
/* NULL: calls are welcome, or it is worth waiting. Else (the program does not stay up) an answer that says why. */
struct answer *process_pool_refusal(struct process_pool *pool);
/* Into the least busy process, or to wait for one. */
void process_pool_put(struct process_pool *pool, struct pool_call *call);
/* Let what was put leave: the calls of one process in one write. */
void process_pool_flush(struct process_pool *pool);
/* Nobody waits for it any more: it is not sent if it has not begun to leave, else the server is told so if it can be.
 * timed_out: its time has passed; a process that lets several calls in a row time out and is silent is replaced. */
void process_pool_forget(struct process_pool *pool, struct pool_call *call, bool timed_out);
/* Whether some of it has been written to a process: it may have been carried out. */
bool process_pool_sent(const struct pool_call *call);

/* As upstream_watch. */
void process_pool_watch(struct process_pool *pool, const struct upstream_watcher *watcher);

#endif
