/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.h: one tool call's life, as its home worker sees it.
 *
 *   asked --call_look_up--> ANSWERED from memory, or refused: nothing else is touched
 *     |
 *     +--call_send--> AWAY with the worker that owns the upstream (dispatch.h) --> RETURNED --> done()
 *                       |
 *                       +--call_cancel--> abandoned: comes home all the same, done() is not called
 *
 * Every mail that leaves comes back exactly once, and a call is freed only when none of its mails is out: so a cancel
 * that crosses a return in the post harms nobody.
 */
#ifndef JITNEY_GATEWAY_CALL_CALL_H
#define JITNEY_GATEWAY_CALL_CALL_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "base/answer.h"
#include "base/blob.h"
#include "base/loop.h"
#include "batcher/batcher.h"
#include "cache/cache.h"
#include "cache/flight.h"
#include "gateway/call/caller.h"
#include "gateway/call/recent_calls.h"
#include "gateway/tools/catalogue.h"
#include "gateway/config/config.h"
#include "gateway/trace/context.h"
#include "base/mailbox.h"

struct worker;
struct fetch;

/* How an answer came about: the caller's Cache-Status. */
enum call_source {
	SOURCE_NONE,      /* refused before any look-up */
	SOURCE_HIT,       /* from the cache, fresh */
	SOURCE_STALE,     /* from the cache, past its time, within its grace */
	SOURCE_MISS,      /* fetched */
	SOURCE_COLLAPSED, /* fetched by another call's flight */
	SOURCE_REQUEST,   /* fetched because the caller wished so (no-cache, no-store) */
	SOURCE_BYPASS     /* fetched; this tool is not cached */
};

struct call {
	/* filled by whoever asks, before call_look_up */
	const struct tool *tool;         /* of `catalogue` */
	struct slice arguments;          /* raw; whatever was sent, maybe empty */
	bool sound;                      /* they have been checked: they are JSON, and not nested too deeply */
	const struct caller *caller;     /* borrowed until call_send has returned */
	void (*done)(struct call *call); /* the answer is there; never called from within call_send. Home thread */
	/* Word of the call before its answer, as `asks` wants, the newest of it lost if it comes too fast: the params
	 * of a notification, borrowed. Nothing may be cancelled in here. Home thread; NULL if nothing is asked for */
	void (*on_notification)(struct call *call, enum mcp_notification_kind note, struct slice params);
	struct mcp_asks asks;
	void *context;
	size_t index;  /* the caller's own: place in its batch */
	uint64_t sent; /* its number among those that its home has sent; 0: it has not been sent */

	/* the result: set when call_look_up says so, or when done is called */
	struct answer *answer; /* owned reference */
	enum call_source source;
	struct entry *entry;                /* HIT, STALE: owned reference, for age and ttl; else NULL */
	struct batch_facts facts;           /* zero if it never left */
	enum cache_tier tier;               /* where entry, or fallback, was found */
	bool stored;                        /* the answer went into the cache */
	enum cache_miss_reason miss_reason; /* MISS, COLLAPSED: why */
	bool fell_back;                     /* STALE: because the provider failed, and not at once */
	uint64_t look_us;                   /* spent on looking in a tier outside the process */
	uint64_t started_us, ended_us;

	/* the home worker's */
	struct worker *home;
	struct catalogue *catalogue; /* held: the home's when the call was made */
	struct key *key;             /* NULL: neither cached nor merged */
	struct entry *fallback;      /* good for stale-if-error, or NULL */
	struct entry *refreshes;     /* a background call for this entry, or NULL */
	bool placed;                 /* counted in gateway->in_flight */
	bool own_deadline;           /* the caller's deadline is tighter than the tool's */
	bool abandoned;
	bool posted; /* it goes to its owner by mail; if that is its home, because it is so large that this turn has enough */
	struct trace_context trace;      /* its own span; with no ids yet, or none of it: call_trace.h */
	struct trace_context trace_link; /* of its HTTP request, where MCP's _meta named the span above it; or none */
	uint64_t trace_parent;           /* the span above it; 0: none */
	unsigned mails_out;
	TAILQ_ENTRY(call) next; /* in home->outgoing, returned or recycled */

	/* read by the owner while the call is away */
	struct blob *body;    /* keeps arguments alive */
	uint64_t deadline_us; /* which the owner puts off while the server reports progress, but not beyond */
	uint64_t wanted_us;   /* as long as the caller has said that he waits; CLOCK_NEVER: he has not */
	uint64_t caller_number;
	uint8_t urgency;
	struct cache_directives directives;
	struct slice identity; /* the caller's, in identity_bytes; empty: nobody asks for it */
	char identity_bytes[CALLER_BYTES];
	char traceparent[56];      /* "" if none */
	struct blob *tracestate;   /* NULL: none */
	char idempotency_key[256]; /* "" if none */
	atomic_uint notes_out;     /* a: posted by the owner, not yet opened at home */

	/* the owner's while the call is away */
	bool at_owner;
	struct fetch *fetch;
	bool refresh; /* entry is past its time, or nearly so: the home worker is to fetch it anew, see cache_evaluate */
	bool led_again; /* the flight it had joined died of its first caller's deadline */
	struct waiter waiter;
	struct loop_timer timer; /* armed only on a shared fetch */

	/* mailboxes */
	struct mail mail;        /* there and back */
	struct mail cancel_mail; /* there and back */

	/* set by call_send, for whoever asks what is under way; not cleared before, since an answer from memory needs none */
	char request_id[REQUEST_ID_BYTES]; /* "": it is nobody's request */
	char tenant[RECENT_TENANT_BYTES];  /* as recent calls have it */
};

/* A call, empty but for home and the home's catalogue, which it holds. NULL when memory is out. Home thread, as all
 * here. */
struct call *call_new(struct worker *home) MUST_CHECK;
/* After its result has been used; not while it is away. */
void call_free(struct call *call);

/* The upstream of a call's tool, as of the generation that the call began with. Any thread. */
static inline const struct upstream_config *call_upstream(const struct call *call)
{
	return &catalogue_made_for(call->catalogue)->upstreams[call->tool->upstream];
}

/* Check the arguments and look in memory. True: the call has its result (an answer from memory, or a refusal).
 * False: it must be sent, or freed: it has its place in limits.in_flight. */
bool call_look_up(struct call *call) MUST_CHECK;
/* Instead, where it is known that the arguments are no JSON, and why: the call has its result. */
void call_refuse_json(struct call *call, const struct json_fault *fault);
/* Send it to the owner of its upstream. `body` keeps call->arguments alive (a reference is taken); arguments must have
 * been set anew if the bytes have moved since call_look_up. done() will be called, unless call_cancel comes first. */
void call_send(struct call *call, struct blob *body);
/* Nobody waits any more: done() will not be called, the call frees itself once it is home. */
void call_cancel(struct call *call);

/* What a call is told that says only-if-cached when there is nothing for it. */
struct answer *call_not_cached(void);

/* The call comes home with its result; called by its owner on the owner's thread. */
void call_return(struct call *call, struct worker *owner);
/* Word of a call that is away reaches its home; called by its owner on the owner's thread. It may be dropped, and is
 * counted then. */
void call_notify(struct call *call, struct worker *owner, enum mcp_notification_kind note, struct slice params);
/* Post what call_send has gathered for other workers, and for a later turn of this one. At the end of a turn, so that
 * calls that came together (a batch's, say) arrive together: the first post wakes their owner. */
void call_post_outgoing(struct worker *home);
/* Finish the calls that came home within this worker. Once or twice a turn. */
void call_finish_returned(struct worker *home);

#endif
