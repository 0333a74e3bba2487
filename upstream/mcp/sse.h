/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sse.h: takes an event stream (text/event-stream, WHATWG HTML 9.2) apart while its bytes arrive. Only what MCP needs:
 * the data of events, the last event id and the retry time; the event's name is passed over.
 */
#ifndef JITNEY_UPSTREAM_MCP_SSE_H
#define JITNEY_UPSTREAM_MCP_SSE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/slice.h"

enum { SSE_ID_BYTES = 256 /* longer ids are passed over: the stream is not resumed from there */ };

struct sse {
	size_t at;         /* start of the first line not read yet; bytes before it are not needed any more */
	size_t scanned;    /* no line end before this */
	bool skip_lf;      /* the last line ended in CR: an LF that follows belongs to it */
	bool begun;        /* a byte order mark can come no more */
	struct buf data;   /* of the event under way; its max caps one event */
	bool has_data;     /* a data line was there, even an empty one: */
	struct slice lone; /* the only one so far, where it stands in the text; empty: it, or they, are in `data` */
	bool delivered;    /* data has been handed out: forget it first */
	char id[SSE_ID_BYTES];
	size_t id_len;     /* 0: none */
	uint64_t retry_ms; /* UINT64_MAX: the server has said nothing */
};

enum sse_step {
	SSE_MORE, /* feed more bytes */
	SSE_DATA, /* *data is the data of one event, not empty, perhaps a slice of text; valid until the next call */
	SSE_LARGE /* an event is over the cap, or memory is out; stays so */
};

/* Before the first byte of a stream; an event may be so large. */
void sse_init(struct sse *sse, size_t max_event_bytes);
void sse_fini(struct sse *sse);

/* Read on. `text`: all bytes from the first that was not dropped on; it may have moved and grown. last: nothing more
 * will come, so a last event counts even without the blank line behind it. Events with empty data (MCP's priming event)
 * only set the id. Call until it is not SSE_DATA. */
enum sse_step sse_next(struct sse *sse, struct slice text, bool last, struct slice *data);

/* After SSE_MORE: the data of the event under way, as far as it is there, if all of it stands in one line that has not ended;
 * else empty. */
struct slice sse_under_way(const struct sse *sse, struct slice text);

/* The first `count` bytes, at most `at`, have been taken away from the text. */
void sse_dropped(struct sse *sse, size_t count);

#endif
