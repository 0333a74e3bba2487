/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The strict JSON scanner under any bytes. The first byte chooses the depth. Properties: check and canonical form
 * agree; a canonical form is its own canonical form and never longer than the text; walking stays in bounds, whether
 * the text is sound or not; strings come back from being unescaped and written again.
 */
#include "base/json.h"
#include "tests/support/fuzz.h"

static void rewrite_string(struct slice raw, bool sound)
{
	struct buf meaning = BUF_INIT(1 << 24), again = BUF_INIT(1 << 24);
	json_unescape(raw, &meaning);
	json_put_string(&again, buf_slice(&meaning));
	must(!meaning.failed && !again.failed);
	if (sound) {
		must(json_utf8(buf_slice(&meaning)));
		must(json_string_is(raw, buf_slice(&meaning)));
		must(json_string_is(buf_slice(&again), buf_slice(&meaning)));
	}
	buf_fini(&meaning);
	buf_fini(&again);
}

/* A scalar, or an object or array with all that is in it. */
static void visit(struct slice value, bool sound, unsigned depth)
{
	struct json_walk walk = json_walk(value);
	struct slice name, item;
	enum json_type type = json_type(value);
	uint64_t number;
	(void)!json_u64(value, &number);
	if (type == JSON_STRING)
		rewrite_string(value, sound);
	if (depth == 0)
		return;
	while (type == JSON_ARRAY && json_next_element(&walk, &item)) {
		must_lie_within(item, value);
		visit(item, sound, depth - 1);
	}
	while (type == JSON_OBJECT && json_next_member(&walk, &name, &item)) {
		must_lie_within(name, value);
		must_lie_within(item, value);
		rewrite_string(name, sound);
		visit(item, sound, depth - 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct json_scratch scratch;
	if (size == 0)
		return 0;
	unsigned max_depth = data[0];
	struct slice text = { (const char *)data + 1, size - 1 }, trimmed = json_trim(text);
	struct json_fault fault = { 0 }, other = { 0 };
	struct buf form = BUF_INIT(1 << 24), again = BUF_INIT(1 << 24);
	bool sound = json_check(text, max_depth, &scratch, &fault);
	must(json_canonical(text, max_depth, NULL, &form, &other) == sound);
	if (sound) {
		must(form.len <= trimmed.len);
		must(json_check(buf_slice(&form), max_depth, NULL, &fault));
		must(json_canonical(buf_slice(&form), max_depth, &scratch, &again, &fault));
		must(slice_equal(buf_slice(&form), buf_slice(&again)));
	} else {
		must(fault.what && fault.at <= text.len && fault.what == other.what && fault.at == other.at);
	}
	if (trimmed.len)
		visit(trimmed, sound, sound ? max_depth : 8);
	buf_fini(&form);
	buf_fini(&again);
	return 0;
}
