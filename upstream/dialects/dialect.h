/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dialect.h: how one or many calls become one HTTP exchange, and its answer becomes many answers. One file a dialect
 * (NAME.c of this folder, or upstream/mcp/mcp_dialect.c and upstream/process/stdio_dialect.c); this is their shared
 * face. A dialect holds no socket, no timer and no clock, so tests feed it bytes by hand; sessions, event streams and
 * child processes come in behind the same three steps: encode many, feed bytes, emit items as they complete.
 */
#ifndef JITNEY_UPSTREAM_DIALECTS_DIALECT_H
#define JITNEY_UPSTREAM_DIALECTS_DIALECT_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/answer.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/slice.h"
#include "metrics/catalogue.h"
#include "upstream/dialects/call.h"
#include "upstream/dialects/error.h"

struct key_list_settings;

/* How a tool is called, from the configuration; borrowed while route_new runs. NULL: the dialect's default. */
struct route_pair {
	const char *name;
	const char *value; /* a template */
};
struct route_settings {
	const char *tool;        /* the tool's name */
	const char *method;      /* jsonrpc: the method; mcp: the server's name of the tool; default: the tool's name */
	const char *http_method; /* rest: default POST */
	const char *path;        /* rest: template; default /{tool} with the tool's name filled in */
	const struct route_pair *query; /* rest: templates */
	size_t query_count;
	const struct route_pair *headers; /* rest: templates */
	size_t header_count;
	const char *body; /* rest: template; default {arguments} for POST, PUT, PATCH, else none */
	const struct key_list_settings *key_list; /* rest; NULL: none */
	const char *operation;                    /* graphql: the document; arguments are its variables */
	bool repeatable;                          /* declared: calls may be sent again */
	const struct dialect *own; /* envelope, graphql, rest with key lists: the upstream's, from envelope_new etc. */
	const char *constants;     /* mcp: what dialect_put_arguments puts into every call: a JSON object, checked */
	const char *input_schema;  /* mcp: as the server sent it: JSON, checked; NULL: not known (yet) */
};

/*
 * A route compiled from its settings. Immutable but for its count of holds, used by any thread at once. Each dialect
 * embeds it first.
 *
 * Who made it holds it. The lists of MCP servers change while calls are under way, so whoever keeps a route longer than
 * the call of a function takes a hold of its own (dialect_route_ref); a pointer in a struct is a hold, but for that of
 * struct upstream_call, which is borrowed for the time of upstream_send. tests/layers.sh watches over it.
 */
struct dialect_route {
	const struct dialect *dialect;
	atomic_uint more_holds; /* a: besides the maker's: 0 is right for a route that was just made */
};

/* For route_new: of which dialect the route is, which it holds if that was made from settings: a route may outlive the
 * configuration that both were made for. */
void dialect_route_init(struct dialect_route *route, const struct dialect *dialect);
/* One hold more, for a route that somebody holds. Any thread. */
const struct dialect_route *dialect_route_ref(const struct dialect_route *route) MUST_CHECK;
/* One less; the last one frees it. Any thread. NULL is allowed. */
void dialect_route_unref(const struct dialect_route *route);

/* Caps on what a call's arguments may make of a request; the body has its own, given with the buffer. */
enum { HTTP_TARGET_BYTES = 16 * 1024, HTTP_HEADER_BYTES = 32 * 1024 };

/* For requests whose answer need not be JSON. */
#define ACCEPT_ANYTHING "application/json, */*;q=0.5"

/* One HTTP request, as bytes. The buffers come initialised and empty; false from encode leaves them to the caller. */
struct encoded_request {
	const char *method; /* static, or the route's */
	struct buf target;  /* appended to the endpoint's URL: "" or "/path?query", encoded */
	struct buf headers; /* extra header lines, each "Name: value\n"; no CR, LF, NUL within */
	struct buf body;
	const char *content_type; /* of the body, static; NULL: no body */
	const char *accept;       /* static; NULL: application/json and nothing else */
	bool urgent;  /* may not wait for a place in the pool: an answer to what the provider asks in mid-call */
	bool endless; /* the answer is a stream without an end: no deadline, and its bytes may go as they are read */
};

/* Where a decoder hands over what it found. Each index at most once; the receiver takes the reference. */
struct dialect_sink {
	void (*answered)(void *context, size_t index, struct answer *answer);
	void *context;
	/* Instead, for what is said of a call only because others were in the request, as it may be: it is to be asked
	 * again, alone. `answer` is an error, for when that cannot be. NULL: answered it is. */
	void (*doubted)(void *context, size_t index, struct answer *answer);
};

/* One answer being taken apart. Each dialect embeds it first. */
struct dialect_decoder {
	const struct dialect *dialect;
	struct dialect_sink sink;
	unsigned status;        /* HTTP; 0 until head */
	uint32_t retry_after_s; /* 0: none */
	size_t kept_bytes;      /* of the answer that it keeps beside the body: its owner counts them after each feed */
	struct blob *store;     /* what the body of this feed or finish lies in, which answers may share; or NULL */
};

struct dialect {
	const char *name;       /* as in the configuration */
	atomic_uint more_holds; /* a: of one made from settings, besides its maker's: of its routes */
	size_t max_calls;       /* calls one exchange may carry; 1: no arrays */

	/* Compile. NULL with `error` set: bad settings, or no memory. */
	struct dialect_route *(*route_new)(const struct route_settings *settings, struct dialect_error *error);
	/* dialect_route_unref calls it when nobody holds the route any more; nobody else does. */
	void (*route_free)(struct dialect_route *route);

	/* Whether these arguments can be written: an answer that says what is missing (INVALID_REQUEST naming the
	 * argument), or NULL if all is well. Any thread; called before the call is queued. */
	struct answer *(*check)(const struct dialect_route *route, struct slice arguments);

	/* Write 1..max_calls checked calls as one request. first_id: our id for calls[0], the next has one more, and so
	 * on; the ids of an upstream are never used again. False: out of memory or over the request's caps. */
	bool (*encode)(const struct upstream_call *calls, size_t count, uint64_t first_id,
		       struct encoded_request *request);

	/* Take an answer apart. `count` and `first_id` as for encode; json_depth caps its nesting. NULL: no memory. */
	struct dialect_decoder *(*decoder_new)(size_t count, uint64_t first_id, unsigned json_depth,
					       const struct dialect_sink *sink);
	/* The same for a dialect with settings of its own (envelope_new), which it finds by `dialect`; else NULL. */
	struct dialect_decoder *(*decoder_of)(const struct dialect *dialect, size_t count, uint64_t first_id,
					      unsigned json_depth, const struct dialect_sink *sink);
	/* The head of the answer is there. content_type may be empty. Once, before feed. */
	void (*head)(struct dialect_decoder *decoder, unsigned status, struct slice content_type,
		     uint32_t retry_after_s);
	/* `body`: all bytes so far (the caller gathers them; the memory may have moved since the last call). Emits what
	 * is complete. False: the rest is not worth reading (broken); finish is still called. */
	bool (*feed)(struct dialect_decoder *decoder, struct slice body);
	/* The answer is complete: emit all that is left, so that every index has been emitted. Missing ones get an
	 * error. Returns OK, or how the exchange as a whole failed. */
	enum outcome (*finish)(struct dialect_decoder *decoder, struct slice body);
	void (*decoder_free)(struct dialect_decoder *decoder); /* any time; NULL is allowed */

	/* --- Optional, NULL or 0 if the dialect has no need --- */

	size_t max_bytes; /* of arguments that one exchange may carry; 0: no cap of the dialect's own */
	/* How many tokens the provider will count for a call, as estimated; checked calls. Any thread. */
	uint64_t (*tokens)(const struct dialect_route *route, struct slice arguments);
	uint64_t max_tokens; /* of those that one exchange may carry; 0: no cap */
	/* Append the group of a call: calls whose groups differ never share an exchange. Any thread; checked calls. */
	void (*group)(const struct dialect_route *route, struct slice arguments, struct buf *out);
	/* Right after decoder_new: the calls that the answer will be about. They are borrowed for the time of this call
	 * only. It cannot fail: decoder_new has made the room, or the decoder remembers that it had no memory. */
	void (*expect)(struct dialect_decoder *decoder, const struct upstream_call *calls);
	/* Free a dialect made from an upstream's settings. No route of it is left, and no decoder: dialect_release sees to
	 * the routes, the upstream's provider to the decoders. */
	void (*release)(struct dialect *dialect);
	/* A header of the answer that the decoder wants to see, and where it goes: before head, if it is there. */
	const char *wanted_header;
	void (*header)(struct dialect_decoder *decoder, struct slice value);
	/* Of an endless answer, after feed: so many bytes at its front are done with; they will not be there again. */
	size_t (*consumed)(struct dialect_decoder *decoder);
	bool lists_tools; /* its providers say themselves which tools they have: upstream_watch */
};

/* A new one brings a header of its own. */
extern const struct dialect dialect_jsonrpc, dialect_rest, dialect_openai_embeddings, dialect_mcp;
extern const struct dialect dialect_jsonrpc_stdio, dialect_mcp_stdio;
/* What the dialects of envelope_new, graphql_new and key_list_new have in common; not to be used themselves. */
extern const struct dialect dialect_envelope, dialect_graphql, dialect_key_list;
/* encode of the two for child processes, a line for one call, with MCP's era: dialect_mcp_stdio's own is the legacy one.
 * They have no decoder. False: no room, or no memory. */
bool dialect_put_line(const struct upstream_call *call, uint64_t id, enum mcp_era era, struct buf *body) MUST_CHECK;

/* A decoder of any dialect, with or without settings of its own. NULL: no memory. */
struct dialect_decoder *dialect_decoder_new(const struct dialect *dialect, size_t count, uint64_t first_id,
					    unsigned json_depth, const struct dialect_sink *sink) MUST_CHECK;

/* Its maker's hold on a dialect made from settings ends; it is freed when its last route has gone. NULL is allowed. */
void dialect_release(const struct dialect *dialect);

/* --- For dialects: what an HTTP status means, said once --- */

/* Append a call's arguments with the constants of its route (NULL: none), an object. What they name is theirs: members
 * of that name are left out of the caller's arguments. Both are checked JSON. */
void dialect_put_arguments(struct buf *out, const char *constants, struct slice arguments);

/* The answer itself, or one that says that there was no memory for it. */
struct answer *dialect_or_no_memory(struct answer *answer);

/* Hand over the answer to call `index`. NULL (out of memory) becomes an error. */
void dialect_emit(const struct dialect_decoder *decoder, size_t index, struct answer *answer);

/* Append a group that no other call has. */
void dialect_group_alone(struct buf *out);

/* How an exchange ended whose status is not 2xx: RATE_LIMITED, UPSTREAM_UNAVAILABLE, UPSTREAM_TIMEOUT, UPSTREAM_ERROR;
 * `refusal` for 4xx that say nothing about the gateway's own part. */
enum outcome dialect_status_outcome(unsigned status, enum outcome refusal);
/* Whether it says that nothing of the request was carried out: too large, too long or too often. Then even a write may
 * be sent again. */
bool dialect_nothing_done(unsigned status);
/* A sentence about it. */
void dialect_status_sentence(unsigned status, char sentence[ANSWER_DETAIL_BYTES]);
/* The answer that goes with it, for the one call it is about. `said`: one JSON text, or empty. Never NULL. */
struct answer *dialect_status_answer(const struct dialect_decoder *decoder, enum outcome refusal, struct slice said);

/* What a failed exchange's body says, as one JSON text: itself if it is valid JSON of at most 64 KiB, else its first
 * 200 printable characters as a string; empty if it is. The slice points into `body` or `scratch`. */
struct slice dialect_said(struct slice body, unsigned json_depth, struct buf *scratch);

#endif
