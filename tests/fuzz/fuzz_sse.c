/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a stream holds, in whatever pieces: pieces give the events that the whole gives, taken away or kept. The
 * first byte seeds the sizes of the pieces. */
#include "tests/support/fuzz.h"
#include "upstream/mcp/sse.h"

enum { EVENT_BYTES = 4096 };

static bool take(struct sse *sse, struct slice text, bool last, struct buf *delivered)
{
	struct slice event;
	enum sse_step step;
	while ((step = sse_next(sse, text, last, &event)) == SSE_DATA) {
		must(event.len > 0 && event.len <= EVENT_BYTES);
		buf_put(delivered, event);
		buf_put_char(delivered, '\0');
	}
	return step == SSE_MORE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole = BUF_INIT(SIZE_MAX / 4), pieces = BUF_INIT(SIZE_MAX / 4);
	struct sse one, many;
	if (size < 1)
		return 0;
	uint32_t seed = data[0];
	struct slice text = { (const char *)data + 1, size - 1 };
	sse_init(&one, EVENT_BYTES);
	sse_init(&many, EVENT_BYTES);
	bool ok = take(&one, text, true, &whole), more = true;
	for (size_t from = 0, end = 0; more; end += 1 + (seed >> 16) % 16) {
		end = end < text.len ? end : text.len;
		more = take(&many, (struct slice){ text.at + from, end - from }, end == text.len, &pieces) &&
		       end < text.len;
		size_t gone = many.at;
		sse_dropped(&many, gone);
		from += gone;
		seed = seed * 1103515245 + 12345;
	}
	if (ok && !many.data.failed) {
		must(slice_equal(buf_slice(&whole), buf_slice(&pieces)));
		must(one.id_len == many.id_len && memcmp(one.id, many.id, one.id_len) == 0);
		must(one.retry_ms == many.retry_ms);
	}
	sse_fini(&one);
	sse_fini(&many);
	buf_fini(&whole);
	buf_fini(&pieces);
	return 0;
}
