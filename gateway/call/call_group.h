/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call_group.h: one request, many calls: POST /v1/batch, POST /v1/embeddings, an array of MCP messages. The only writer
 * of replies that are made of many answers.
 *
 *   item:  NEW --begin()--> AWAY --home--> DONE --put()--> WRITTEN
 *                     +--refused, or in memory--^
 *
 * Bounds, for all that use it: items are begun in order, so many a turn, and no further while what waits to be written
 * is much; what waits is counted in limits.in_flight_bytes before it is held, and an answer for which there is no room
 * becomes a problem of its item alone: `overloaded` where the call may be repeated, `outcome_unknown` where it was
 * carried out and may not. Room to write is waited for as long as limits.body_timeout; then the next item becomes such
 * a problem, and one that is half written ends the connection. A small reply goes out whole; a larger one through the
 * request's stream, no faster than the client reads. Home worker's thread.
 */
#ifndef JITNEY_GATEWAY_CALL_CALL_GROUP_H
#define JITNEY_GATEWAY_CALL_CALL_GROUP_H

#include <sys/queue.h>

#include "base/json.h"
#include "gateway/call/call.h"
#include "gateway/call/pieces.h"
#include "gateway/http/http.h"

struct call_group;
struct worker;

enum call_group_item_state { ITEM_NEW, ITEM_AWAY, ITEM_DONE, ITEM_WRITTEN };

struct call_group_item {
	enum call_group_item_state state;
	unsigned char tag;                 /* begin()'s, for put() */
	bool silent;                       /* begin()'s: nothing is written for it */
	bool sent;                         /* its call has left */
	bool lent;                         /* its call is request->logged: see call_group_write */
	bool answer_held;                  /* call->answer is counted, see http_hold_answer */
	size_t held;                       /* further bytes that are counted */
	size_t made;                       /* begin()'s: how much put() makes of it, where no call's answer says that */
	struct slice text;                 /* its element of the request's array, raw */
	struct slice id;                   /* begin()'s: within text */
	struct call *call;                 /* owned; NULL: none was made, or it has been written */
	struct answer *refusal;            /* owned; why no call was made, or NULL */
	struct blob *own;                  /* owned; the bytes that stand for it instead, or NULL */
	TAILQ_ENTRY(call_group_item) next; /* DONE, with AS_DONE */
};

enum call_group_order {
	GROUP_AS_ASKED, /* each as soon as all before it are written */
	GROUP_AS_DONE,  /* each as soon as it is done */
	GROUP_TOGETHER  /* none before all are done: the reply as a whole depends on them */
};

/* An endpoint's side of it. */
struct call_group_kind {
	enum call_group_order order;
	bool streams;    /* through the stream from the first byte on */
	unsigned copies; /* how often put() copies an answer's bytes; 0: it gives them as the rest */
	const char *content_type;
	const char *opening, *between, *closing; /* "" if none */
	/* Take the next item: call_group_call, call_group_refuse, or neither if put() needs no call. */
	void (*begin)(struct call_group *group, struct call_group_item *item);
	/* Append what is written for an item that is done and has no bytes of its own; what is long is noted in `rest`
	 * (empty), and written behind it no faster than the client reads: bytes of its call's answer, or kept there. */
	void (*put)(struct call_group *group, struct call_group_item *item, struct buf *out, struct pieces *rest);
	/* The reply's head but for its type. */
	void (*put_head)(struct call_group *group, struct reply *reply);
	/* Before the closing; NULL: nothing. */
	void (*put_end)(struct call_group *group, struct buf *out);
	/* The item is done, its answer at hand; NULL: nobody cares. */
	void (*item_done)(struct call_group *group, struct call_group_item *item);
	/* TOGETHER: all are done, nothing is written. False: it has replied itself. NULL: go on. */
	bool (*all_done)(struct call_group *group);
	/* Nothing at all was written: reply. NULL: opening and closing make a reply. */
	void (*reply_nothing)(struct call_group *group);
	/* The group is about to be freed; NULL: context is nobody's. */
	void (*free_context)(struct call_group *group);
};

struct call_group {
	const struct call_group_kind *kind;
	struct worker *worker;
	struct request *request;
	struct http *http;
	struct blob *body;    /* the request's */
	struct caller caller; /* of the request */
	void *context;        /* the kind's */
	size_t counted;       /* the kind's, 0 at first */
	size_t count;         /* of items */
	/* call_group.c's */
	struct json_walk walk; /* elements not begun yet */
	size_t begun, away, written;
	size_t held;                     /* bytes of items that wait to be written */
	struct buf out;                  /* written, and not yet given to the stream */
	size_t out_at;                   /* bytes of it that have been */
	size_t out_held;                 /* bytes of it that are counted */
	struct call_group_item *writing; /* its rest is being written, or NULL */
	struct pieces rest;
	bool said_done, any_written, streaming, closed;
	uint64_t starving_us; /* since when it has waited for room and written nothing; 0: it does not */
	bool queued, starved; /* in the worker's list; of those that look again later */
	struct answer *no_room[2];
	TAILQ_HEAD(, call_group_item) done;
	TAILQ_ENTRY(call_group) next;
	struct call_group_item items[];
};

/* The groups of a worker that have something to do. Zero-initialise, then call_groups_init. */
struct call_groups {
	TAILQ_HEAD(call_group_list, call_group) due, starved;
	uint64_t look_us; /* when those that are starved look again */
	int64_t budget;   /* work left in this turn, in bytes that are looked at */
};
void call_groups_init(struct call_groups *groups);
/* Once or twice a loop turn; when it has something to do at the latest. */
void call_groups_turn(struct worker *worker, uint64_t now_us);
uint64_t call_groups_deadline(const struct worker *worker);

/*
 * A group of `count` items: the elements of `list`, an array within the request's body; or `list` itself, if it is the
 * only one. Takes the request's body, copies *caller. NULL: memory or room is out, and the body is as it was.
 */
struct call_group *call_group_new(struct worker *worker, struct request *request, const struct call_group_kind *kind,
				  const struct caller *caller, struct slice list, bool only, size_t count,
				  void *context) MUST_CHECK;
/* Begin: replies now or later, and frees the group in the end. */
void call_group_start(struct call_group *group);

/*
 * One reply that is too long to be made at once, through the same writer: `head` and behind it `rest`, which are both
 * taken; that what they are made of stays is `body`'s, rest->keeps', or the request's: of request->logged, a call that has
 * come home, the answer is counted, room or not. begun: the request's stream has been started, else it is with `kind`,
 * which streams and has no begin() and put(). False: memory is out, nothing is taken.
 */
bool call_group_write(struct worker *worker, struct request *request, const struct call_group_kind *kind,
		      struct blob *body, bool begun, struct buf *head, struct pieces *rest) MUST_CHECK;
/* A reply up to this size is made at once and goes out whole, with its length. */
enum { CALL_GROUP_WHOLE_BYTES = 256 << 10 };

/* begin()'s. `caller` is borrowed for this call; `body` keeps arguments alive (a reference is taken). */
void call_group_call(struct call_group *group, struct call_group_item *item, const struct tool *tool,
		     const struct caller *caller, struct slice arguments, struct blob *body);
/* begin()'s. Takes `refusal`. */
void call_group_refuse(struct call_group_item *item, struct answer *refusal);

/* How the item's call, or the refusal of one, ended. For an item that is done. */
const struct answer *call_group_answer(const struct call_group_item *item);

#endif
