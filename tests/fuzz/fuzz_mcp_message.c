/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a server sends as a message: it is taken apart or refused with a reason, and what is made of it is sound. */
#include "tests/support/fuzz.h"
#include "upstream/mcp/mcp_message.h"

enum { DEPTH = 32 };

static void check_answer(const struct mcp_message *message)
{
	struct json_fault fault;
	struct answer *answer = mcp_answer(message, DEPTH, 200);
	must(answer);
	must(json_utf8(slice_of(answer->detail)));
	must((answer->outcome == OUTCOME_OK) == (answer->detail[0] == '\0'));
	if (answer->json && answer_body(answer).len)
		must(json_check(answer_body(answer), DEPTH + 1, NULL, &fault));
	if (answer->outcome == OUTCOME_OK)
		must(slice_equal(answer_full(answer), message->result));
	answer_unref(answer);
}

static void check_reply(const struct mcp_message *message)
{
	struct json_fault fault;
	struct buf out = BUF_INIT(SIZE_MAX / 4);
	mcp_put_reply(&out, message);
	must(json_check(buf_slice(&out), DEPTH + 1, NULL, &fault));
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mcp_message message;
	const char *fault = NULL;
	uint64_t id;
	if (!mcp_read((struct slice){ (const char *)data, size }, DEPTH, NULL, &message, &fault)) {
		must(fault && *fault);
		return 0;
	}
	if (mcp_id(&message, &id))
		must(message.id.len > 0);
	mcp_error_code(&message);
	switch (message.kind) {
	case MCP_RESULT:
	case MCP_ERROR:
		check_answer(&message);
		break;
	case MCP_REQUEST:
		check_reply(&message);
		break;
	case MCP_NOTIFICATION:
		must(message.method.len > 0);
		break;
	}
	return 0;
}
