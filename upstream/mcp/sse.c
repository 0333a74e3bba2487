/* SPDX-License-Identifier: Apache-2.0 */
/* sse.c: event streams, line by line. */
#include "upstream/mcp/sse.h"

#include <assert.h>

#include "base/json.h"

enum { FIRST_STEP_BYTES = 256 /* of a search for the end of a line */ };

void sse_init(struct sse *sse, size_t max_event_bytes)
{
	*sse = (struct sse){ .retry_ms = UINT64_MAX };
	buf_init(&sse->data, max_event_bytes);
}

void sse_fini(struct sse *sse)
{
	buf_fini(&sse->data);
}

void sse_dropped(struct sse *sse, size_t count)
{
	assert(count <= sse->at);
	sse->at -= count;
	sse->scanned -= count;
}

/* The first end of a line from `at` on, or the text's. In steps that double: who ends lines with \r alone shall not have all
 * that follows searched for a \n with each of them. */
static size_t find_line_end(struct slice text, size_t at)
{
	for (size_t step = FIRST_STEP_BYTES; at < text.len; step *= 2) {
		const char *from = text.at + at;
		size_t len = step < text.len - at ? step : text.len - at;
		const char *feed = memchr(from, '\n', len);
		len = feed ? (size_t)(feed - from) : len;
		const char *back = len ? memchr(from, '\r', len) : NULL;
		at += back ? (size_t)(back - from) : len;
		if (feed || back)
			break;
	}
	return at;
}

/* The next whole line, without its end. False: it has not ended yet. */
static bool next_line(struct sse *sse, struct slice text, bool last, struct slice *line)
{
	if (sse->skip_lf && sse->at < text.len) {
		sse->skip_lf = false;
		if (text.at[sse->at] == '\n')
			sse->at++;
	}
	size_t end = find_line_end(text, sse->scanned > sse->at ? sse->scanned : sse->at);
	sse->scanned = end;
	if (end == text.len && (!last || end == sse->at))
		return false;
	*line = (struct slice){ text.at + sse->at, end - sse->at };
	sse->skip_lf = end < text.len && text.at[end] == '\r';
	sse->at = sse->scanned = end < text.len ? end + 1 : end;
	return true;
}

static void take_id(struct sse *sse, struct slice value)
{
	if (value.len >= sizeof sse->id || (value.len && memchr(value.at, '\0', value.len)))
		return;
	sse->id_len = value.len;
	if (value.len)
		memcpy(sse->id, value.at, value.len);
}

/* The text may be gone when there is more. */
static void keep_lone(struct sse *sse)
{
	buf_put(&sse->data, sse->lone);
	sse->lone.len = 0;
}

/* Most events have one line, which may be as long as an answer: it is not copied as long as nothing makes it go. */
static void take_data(struct sse *sse, struct slice value)
{
	if (!sse->has_data && value.len <= sse->data.max) {
		sse->lone = value;
	} else {
		keep_lone(sse);
		if (sse->has_data)
			buf_put_char(&sse->data, '\n');
		buf_put(&sse->data, value);
	}
	sse->has_data = true;
}

static void take_field(struct sse *sse, struct slice name, struct slice value)
{
	if (slice_equal(name, SLICE("data"))) {
		take_data(sse, value);
	} else if (slice_equal(name, SLICE("id"))) {
		take_id(sse, value);
	} else if (slice_equal(name, SLICE("retry"))) {
		uint64_t ms;
		if (value.len && json_u64(value, &ms))
			sse->retry_ms = ms;
	}
}

/* "name: value", "name:value", "name"; ":..." is a comment. */
static void take_line(struct sse *sse, struct slice line)
{
	if (!sse->begun && line.len >= 3 && memcmp(line.at, "\xef\xbb\xbf", 3) == 0)
		line = (struct slice){ line.at + 3, line.len - 3 };
	sse->begun = true;
	const char *colon = line.len ? memchr(line.at, ':', line.len) : NULL;
	size_t name_len = colon ? (size_t)(colon - line.at) : line.len;
	size_t value_at = colon ? name_len + 1 : line.len;
	if (value_at < line.len && line.at[value_at] == ' ')
		value_at++;
	take_field(sse, (struct slice){ line.at, name_len }, (struct slice){ line.at + value_at, line.len - value_at });
}

/* A blank line ends the event. False: there was nothing in it. */
static bool end_event(struct sse *sse, struct slice *data)
{
	sse->delivered = true; /* forget it at the next line */
	*data = sse->lone.len ? sse->lone : buf_slice(&sse->data);
	return sse->has_data && data->len > 0;
}

static void forget_delivered(struct sse *sse)
{
	if (!sse->delivered)
		return;
	sse->delivered = sse->has_data = false;
	sse->lone.len = 0;
	buf_reset(&sse->data);
}

enum sse_step sse_next(struct sse *sse, struct slice text, bool last, struct slice *data)
{
	struct slice line;
	if (!sse->data.failed)
		forget_delivered(sse);
	while (!sse->data.failed && next_line(sse, text, last, &line)) {
		if (line.len) {
			take_line(sse, line);
			continue;
		}
		if (end_event(sse, data))
			return SSE_DATA;
		forget_delivered(sse);
	}
	if (last && !sse->data.failed && text.len - sse->at <= sse->data.max && end_event(sse, data))
		return SSE_DATA;
	keep_lone(sse);
	return sse->data.failed || text.len - sse->at > sse->data.max ? SSE_LARGE : SSE_MORE;
}

struct slice sse_under_way(const struct sse *sse, struct slice text)
{
	const struct slice field = SLICE("data:");
	struct slice line = { text.at + sse->at, sse->scanned - sse->at };
	if ((sse->has_data && !sse->delivered) || sse->scanned <= sse->at || line.len <= field.len ||
	    memcmp(line.at, field.at, field.len) != 0)
		return (struct slice){ "", 0 };
	size_t name = field.len + (line.at[field.len] == ' ');
	return (struct slice){ line.at + name, line.len - name };
}
