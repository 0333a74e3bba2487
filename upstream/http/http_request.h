/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_request.h: what the files of providers over HTTP share. A request is some calls on their way to the provider; it
 * has an attempt, and at times a second one beside it (hedge), of which the first to answer counts.
 *
 *   http_send -> WAITING (the pool is full) -> UNDER WAY -> completed and gone
 *                   |  no place in time           |  an attempt ends without harm done: the next one, elsewhere, at once
 *                   v                             |  (attempt.c)
 *                completed and gone               `- hedge: a second attempt beside the first
 *
 * Private to provider_http.c (life, pool, sending), attempt.c (one attempt: where, when, how it went) and answers.c
 * (what is delivered to the calls).
 */
#ifndef JITNEY_UPSTREAM_HTTP_HTTP_REQUEST_H
#define JITNEY_UPSTREAM_HTTP_HTTP_REQUEST_H

#include "upstream/http/exchange.h"
#include "upstream/http/request_headers.h"
#include "upstream/http/place.h"
#include "upstream/provider.h"

enum { REQUEST_BODY_BYTES = 256 * 1024 * 1024, REASON_BYTES = 1024 };

TAILQ_HEAD(http_request_list, http_request);

struct http_upstream {
	struct upstream base; /* settings in it */
	struct transport *transport;
	struct connections *connections;
	struct meter *meter;
	struct http_headers headers;
	uint64_t next_id; /* of calls */
	size_t under_way; /* requests with an attempt begun, and hedges: at most pool_max */
	uint64_t p95_us;  /* of answered exchanges of one call; 0: not known */
	size_t p95_count; /* of those it was learned from */
	struct http_request_list waiting;
	struct roster *roster; /* held: who may be asked now */
	bool outdated;         /* the settings name others; memory was out */
};

struct item {
	bool repeatable;
	bool answered;
	struct answer *held; /* if it may be sent again: until finish knows whether the exchange failed as a whole */
	bool own;            /* `held` is about this call alone */
};

struct attempt {
	struct http_exchange exchange;
	struct http_request *request;
	struct dialect_decoder *decoder;
	struct endpoint_visit visit;
	struct roster *roster; /* held: by which it goes; NULL: it has not begun */
	struct place *place;   /* of it */
	struct buf url;        /* endpoint's and target, if there is a target */
	uint64_t begun_us;
	enum attempt_kind kind;
	bool live;                       /* begun, and not ended */
	bool placed;                     /* a hedge that has a place of its own in the pool */
	bool spoke;                      /* its whole answer, a 5xx, waits: another may do better */
	bool repeated;                   /* a kept connection to this endpoint had died */
	bool headed, fed_up;             /* the decoder has the head; wants no more bytes */
	size_t fed;                      /* bytes of the answer that it has had */
	bool reuse_said, reuse_no_stale; /* see struct answer */
	uint32_t reuse_s, age_s;
};

enum http_request_state {
	REQUEST_NEW,
	REQUEST_WAITING,   /* in upstream->waiting: the timer is the deadline */
	REQUEST_UNDER_WAY, /* an attempt is live: the timer is when a hedge is due */
	REQUEST_STUCK      /* its turn came and it could not set out: told so by the timer, at once */
};

struct http_request {
	struct exchange base; /* what the caller holds */
	struct http_upstream *upstream;
	enum http_request_state state;
	struct attempt first;
	struct attempt *hedge;    /* NULL: none was asked for */
	struct attempt *speaking; /* whose decoder speaks */
	const struct upstream_events *events;
	void *context;
	struct buf target; /* what the calls make of the URL, behind the endpoint's; may be empty */
	size_t held;       /* bytes of the body that are counted (transport_hold_request) */
	uint64_t deadline_us;
	struct endpoint_pick pick; /* endpoints tried in it, */
	uint64_t tried_of;         /* of the roster with this number */
	enum attempt_kind kind;    /* why it is sent */
	size_t attempts;           /* begun */
	size_t shut_out;           /* of those, ended by EXCHANGE_SHUT_OUT */
	size_t retries;            /* of those, after one that was sent */
	bool sent;                 /* by an attempt that is over */
	bool counted;              /* in upstream->under_way */
	bool repeatable;           /* all of its calls */
	bool finishing;            /* a decoder says all that is left */
	bool delivering;           /* callbacks run; an abort only marks it */
	bool aborted;
	bool urgent, endless;    /* see struct encoded_request */
	bool unusable;           /* STUCK because no endpoint is usable; else memory was out */
	struct loop_timer timer; /* see state */
	TAILQ_ENTRY(http_request) next;
	size_t count;
	struct item items[];
};

/* --- provider_http.c --- */

/* FNV-1a. */
uint64_t hash_text(struct slice text);
/* A key of affinity. From 4 KiB on eight bytes at a time: byte by byte, megabytes take most of a turn. */
uint64_t hash_arguments(struct slice text);

/* It is over for all: counted, freed, and its owner is told. The request is gone. */
void http_request_complete(struct http_request *request, enum outcome outcome);
uint64_t http_request_time_left(const struct http_request *request);

/* --- attempt.c --- */

/* What never changes of an attempt, before its request is written. False: out of memory. */
bool attempt_init(struct attempt *attempt, struct http_request *request, const struct upstream_call *calls,
		  uint64_t first_id) MUST_CHECK;
void attempt_fini(struct attempt *attempt);
/* The first one, to the endpoint whose turn it is. False: see request->unusable. */
bool attempt_set_out(struct http_request *request) MUST_CHECK;
/* The first one has not answered for a while. */
void attempt_hedge(struct http_request *request);
/* Whether a byte of it may have left. */
bool attempt_sent(const struct attempt *attempt);
/* Of those that are live, as nobody waits for them any more: what their endpoints are to be blamed for. */
void attempt_give_up(struct http_request *request);
/* Whoever has no endpoint to go to is told so. */
struct answer *attempt_unusable_answer(const struct http_upstream *upstream);

/* --- answers.c --- */

/* The decoder's sink; its context is the attempt. */
void answers_hear(void *context, size_t index, struct answer *answer);
/* Likewise: what is to be asked again alone, if it may be. */
void answers_doubt(void *context, size_t index, struct answer *answer);
/* The decoder answers all that is left. The request is gone. */
void answers_finish(struct attempt *attempt);
/* What is left fails for the same reason. The request is gone. */
void answers_fail(struct http_request *request, enum exchange_end end, const char *reason);
/* Give the decoder the head, once. */
void answers_give_head(struct attempt *attempt);

#endif
