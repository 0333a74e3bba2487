/* SPDX-License-Identifier: Apache-2.0 */
/* Answers to envelopes: the first byte chooses one, for the rest see dialect_fuzz.h. */
#include "tests/support/dialect_fuzz.h"
#include "upstream/dialects/envelope.h"

static const struct envelope_settings shapes[] = {
	{ .preset = "microsoft-graph" },
	{ .preset = "elasticsearch-msearch" },
	{ .preset = "elasticsearch-bulk" },
	{ .item = "{\"i\":{id_number}}", .list = "a.b", .id = "i", .result = "r.s", .error = "*" },
	{ .item = "{\"i\":{id}}", .answer_framing = "ndjson", .id = "i" },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dialect_error error = { 0 };
	if (size == 0)
		return 0;
	struct envelope_settings settings = shapes[data[0] % countof(shapes)];
	envelope_fill(&settings);
	struct dialect *dialect = envelope_new(&settings, &error);
	must(dialect != NULL);
	fuzz_dialect(dialect, NULL, data + 1, size - 1);
	dialect_release(dialect);
	return 0;
}
