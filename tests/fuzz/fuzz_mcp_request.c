/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever an MCP client sends: a message is read or refused with a code, all that is read lies within the text, and
 * the response to it is JSON. The first byte chooses the era.
 */
#include "base/json.h"
#include "gateway/mcp/mcp_private.h"
#include "tests/support/fuzz.h"

/* What is not there lies nowhere. */
static void must_be_of(struct slice part, struct slice whole)
{
	if (part.len)
		must_lie_within(part, whole);
}

static void check_response(struct slice id, struct slice result, enum mcp_era era)
{
	struct buf out = BUF_INIT(1 << 24);
	struct json_fault fault;
	struct slice echoed;
	mcp_reply_result(&out, id, era, result);
	must(!out.failed && (json_check(buf_slice(&out), 1000, NULL, &fault) || fault.out_of_memory ||
			     era == MCP_MODERN)); /* members of ours may be there twice in a hostile result */
	if (id.len) {
		must(json_member(buf_slice(&out), SLICE("id"), &echoed));
		must(slice_equal(echoed, id));
	}
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_fault unsound;
	struct mcp_request asked;
	if (size < 1 || !json_check((struct slice){ (const char *)data + 1, size - 1 }, 64, NULL, &unsound))
		return 0;
	struct slice text = json_trim((struct slice){ (const char *)data + 1, size - 1 });
	struct mcp_fault fault = mcp_request_read(text, &asked);
	must(!fault.code == !fault.what);
	must(asked.method < MCP_METHOD_COUNT && asked.id.len <= MCP_ID_BYTES);
	must(fault.code || (asked.kind == MCP_ASKS) == (asked.id.len && asked.method != MCP_METHOD_RESPONSES));
	const struct slice parts[] = { asked.id,           asked.raw_method, asked.name,       asked.arguments,
				       asked.cursor,       asked.wanted,     asked.proposed,   asked.version,
				       asked.capabilities, asked.client,     asked.traceparent };
	for (size_t i = 0; i < countof(parts); i++)
		must_be_of(parts[i], text);
	struct buf decoded = BUF_INIT(1 << 20);
	if (!mcp_from_base64(text, &decoded))
		must(decoded.len == 0);
	buf_fini(&decoded);
	if (json_type(text) == JSON_OBJECT)
		check_response(asked.id, text, data[0] & 1 ? MCP_MODERN : MCP_LEGACY);
	return 0;
}
