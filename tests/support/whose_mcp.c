/* SPDX-License-Identifier: Apache-2.0 */
/* whose_mcp.c: see the header. */
#include "tests/support/whose_mcp.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum { WORDS = 4096, STREAMS = 16 };

/* A stream of events that was begun, as the server remembers it for who comes back for the rest. */
static struct stream {
	unsigned number; /* 0: none */
	size_t count;
	size_t ends[HEARD_MAX + 2]; /* of each event */
	struct heard asked;         /* what it answers */
	struct buf text;
} streams[STREAMS];
static unsigned stream_count;
static size_t resumed;

static unsigned *seed;

static unsigned roll(unsigned sides)
{
	return (unsigned)rand_r(seed) % sides;
}

void whose_mcp_begin(unsigned *the_seed)
{
	seed = the_seed;
	for (size_t i = 0; i < STREAMS; i++)
		buf_fini(&streams[i].text);
	memset(streams, 0, sizeof streams);
	stream_count = 0; /* a scenario is the same whatever was before it */
}

static struct stream *stream_begin(const struct heard *asked)
{
	struct stream *stream = &streams[++stream_count % STREAMS];
	buf_fini(&stream->text);
	*stream = (struct stream){ .number = stream_count, .text = BUF_INIT(SIZE_MAX / 4), .asked = *asked };
	return stream;
}

/* `data` NULL: it only says where it is, and how soon to come back. */
static void stream_put(struct stream *stream, const struct slice *data)
{
	assert(stream->count < countof(stream->ends));
	buf_printf(&stream->text, "id: %u-%zu\n", stream->number, stream->count);
	if (data)
		buf_printf(&stream->text, "data: %.*s\n\n", SLICE_ARG(*data));
	else
		buf_printf(&stream->text, "retry: %u\ndata: \n\n", roll(300));
	stream->ends[stream->count++] = stream->text.len;
}

/* Whether what one holds could be taken for the other's: ids begin anew with each upstream, at a reload too. */
static bool share_ids(const struct stream *one, const struct stream *other)
{
	for (size_t i = 0; i < one->asked.count; i++)
		for (size_t k = 0; k < other->asked.count; k++)
			if (one->asked.calls[i].id == other->asked.calls[k].id)
				return true;
	return false;
}

/* What is behind this event; now and then it is all of it again, or another's. Empty: nobody remembers. */
static struct slice stream_rest(const char *event_id)
{
	unsigned number = 0;
	size_t event = 0;
	int read = sscanf(event_id, "%u-%zu", &number, &event);
	const struct stream *stream = &streams[number % STREAMS], *other = &streams[roll(STREAMS)];
	if (read != 2 || stream->number != number || event >= stream->count)
		return (struct slice){ NULL, 0 };
	if (roll(10) == 0 && !share_ids(stream, other))
		stream = other;
	size_t from = stream->number != number || roll(8) == 0 ? 0 : stream->ends[event];
	struct slice all = buf_slice(&stream->text);
	return (struct slice){ all.at + from, all.len - from };
}

static void say(struct http_exchange *exchange, unsigned status, struct slice body)
{
	if (body.len)
		wire_grow(exchange, status, body);
	else
		wire_status(exchange, status);
	wire_end(exchange, EXCHANGE_COMPLETE);
}

static bool is_method(struct slice method, const char *name)
{
	return json_string_is(method, slice_of(name));
}

static void put_tool(struct buf *out, const char *name, bool reads)
{
	buf_printf(out,
		   "{\"name\":\"%s\",\"description\":\"Number %u.\",\"inputSchema\":{\"type\":\"object\"},"
		   "\"annotations\":{\"readOnlyHint\":%s}}",
		   name, roll(3), reads ? "true" : "false");
}

/* What is listed changes from time to time; what callers use stays. */
static void put_tools(struct buf *out)
{
	buf_put_text(out, "{\"tools\":[");
	put_tool(out, "get", true);
	buf_put_char(out, ',');
	put_tool(out, "all", true);
	buf_put_char(out, ',');
	put_tool(out, "put", false);
	if (roll(2)) {
		buf_put_char(out, ',');
		put_tool(out, "more", roll(2));
	}
	buf_put_text(out, "]}");
}

static void put_result(struct buf *out, struct slice method)
{
	if (is_method(method, "initialize"))
		buf_put_text(out, "{\"protocolVersion\":\"2025-03-26\",\"capabilities\":{\"tools\":{}},\"serverInfo\":"
				  "{\"name\":\"s\",\"version\":\"1\"}}");
	else if (is_method(method, "tools/list"))
		put_tools(out);
	else
		buf_put_text(out, "{}");
}

/* Who comes back for the rest of a stream gets it, or some of it, or is told that there is none. */
static void resume(struct http_exchange *exchange)
{
	static const unsigned refusals[] = { 400, 404, 405 };
	struct slice rest = stream_rest(wire_last_event_id(exchange));
	struct wire_note *note = wire_note(exchange);
	if (!rest.len || roll(8) == 0) {
		say(exchange, refusals[roll(countof(refusals))], (struct slice){ NULL, 0 });
		return;
	}
	bool whole = roll(3);
	wire_content_type(exchange, "text/event-stream");
	wire_status(exchange, 200);
	resumed++;
	buf_put(&note->rest, (struct slice){ rest.at, whole ? rest.len : roll((unsigned)rest.len) });
	note->end = whole || roll(2) ? EXCHANGE_COMPLETE : EXCHANGE_BROKE;
}

bool whose_mcp_control(struct http_exchange *exchange, const struct heard *heard)
{
	struct slice body = buf_slice(&exchange->body), method, id;
	struct buf out = BUF_INIT(WORDS);
	if (heard->count)
		return false;
	if (*wire_last_event_id(exchange)) {
		resume(exchange);
		return true;
	}
	if (!body.len || !json_member(body, SLICE("method"), &method)) {
		say(exchange, 405, (struct slice){ NULL, 0 }); /* no stream of its own */
		return true;
	}
	if (!json_member(body, SLICE("id"), &id)) {
		say(exchange, 202, (struct slice){ NULL, 0 });
		return true;
	}
	if (is_method(method, "initialize") && roll(3))
		wire_session(exchange, "session");
	buf_printf(&out, "{\"jsonrpc\":\"2.0\",\"id\":%.*s,\"result\":", SLICE_ARG(id));
	put_result(&out, method);
	buf_put_char(&out, '}');
	say(exchange, 200, buf_slice(&out));
	buf_fini(&out);
	return true;
}

bool whose_mcp_refuses(struct http_exchange *exchange, const struct heard *heard)
{
	unsigned what = roll(60);
	if (what > 1 || (what == 1 && heard->count == 1))
		return false;
	say(exchange, what ? 400 : 404,
	    SLICE("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"no\"}}"));
	return true;
}

/* Each message an event, the whole array one, or plain JSON; in a stream that can be taken up again, or not. */
bool whose_mcp_dress(struct http_exchange *exchange, const struct heard *heard, struct buf *body)
{
	struct buf events = BUF_INIT(SIZE_MAX / 4);
	struct slice all = buf_slice(body), element;
	if (roll(2))
		return false;
	struct stream *stream = roll(2) ? stream_begin(heard) : NULL;
	wire_content_type(exchange, "text/event-stream");
	if (stream && roll(2))
		stream_put(stream, NULL);
	if (all.at[0] == '[') {
		struct json_walk walk = json_walk(all);
		while (json_next_element(&walk, &element))
			if (stream)
				stream_put(stream, &element);
			else
				buf_printf(&events, "data: %.*s\n\n", SLICE_ARG(element));
	} else if (stream) {
		stream_put(stream, &all);
	} else {
		buf_printf(&events, ": hello\ndata: %.*s\r\n\r\n", SLICE_ARG(all));
	}
	buf_reset(body);
	buf_put(body, stream ? buf_slice(&stream->text) : buf_slice(&events));
	buf_fini(&events);
	return stream != NULL;
}

size_t whose_mcp_resumed(void)
{
	return resumed;
}
