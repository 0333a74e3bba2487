/* SPDX-License-Identifier: Apache-2.0 */
/*
 * whose_speech.h: a configuration with an upstream of every way to speak to a provider over HTTP, and how its provider
 * reads a request and words its answers. What it says holds the numbers of whose_truth.h.
 */
#ifndef TESTS_SUPPORT_WHOSE_SPEECH_H
#define TESTS_SUPPORT_WHOSE_SPEECH_H

#include "base/buf.h"
#include "gateway/config/tool.h"
#include "tests/support/fake_wire.h"
#include "tests/support/whose_truth.h"

enum { HEARD_MAX = 64 };

/* How an upstream's provider speaks. */
struct speech {
	const char *upstream;
	const char *arguments; /* of a call: $Q question, $A caller, $P a part of a path */
	const char *id;        /* what stands before an id in a request; NULL: there are none */
	/* the answer: $I id, $N place, $Q, $A, $F fetch */
	const char *before, *after, *between;
	const char *good, *bad; /* bad NULL: an item cannot fail by itself */
	bool keyed;             /* the items are members of one object */
	bool single;            /* one call alone is answered without before and after */
	bool placed;            /* answers stand where their calls stood */
	bool mcp;
	bool null_ids; /* an error under no id speaks of the request as a whole */
	bool mixes;    /* writes of several callers may share a request (batch.writes: any) */
};

/* A tool of the configuration. */
struct spoken_tool {
	const char *name;
	const char *upstream;
	enum identity_scope scope;
	bool writes, cached, tagged;
	bool asks_path; /* its arguments hold a part of a path */
};

extern const struct speech speeches[];
extern const size_t speech_count;
extern const struct spoken_tool spoken_tools[];
extern const size_t spoken_tool_count;
extern const char spoken_yaml[];

const struct speech *speech_of(const struct spoken_tool *tool);
/* Whose URL this is, by its host; NULL: nobody's. */
const struct speech *speech_at(const char *url);
/* Whether it is not the provider that the configuration named first: see whose_config.h. */
bool speech_is_moved(const char *url);
/* The tool that a question is asked of. */
const struct spoken_tool *spoken_tool_of(uint64_t question);

/* A call's arguments. */
void speech_ask(const struct speech *speech, uint64_t question, uint64_t caller, const char *path, struct buf *out);

/* The calls in a request, in its order. */
struct heard {
	size_t count;
	struct heard_call {
		uint64_t question, caller, id, place;
		bool fails; /* to be set: it is answered with `bad` */
	} calls[HEARD_MAX];
};
void speech_hear(const struct speech *speech, const struct http_exchange *exchange, struct heard *heard);

/* An error under a null id: of the request as a whole, with all that was in it, as frameworks do. */
void speech_put_refusal(const struct heard *heard, int code, struct buf *out);
/* One item of an answer. */
void speech_put_item(const struct speech *speech, const struct heard *heard, size_t n, uint64_t fetch, struct buf *out);

#endif
