/* SPDX-License-Identifier: Apache-2.0 */
/* Answers to embeddings of texts and of lists of texts, see dialect_fuzz.h. */
#include "tests/support/dialect_fuzz.h"
#include "upstream/upstream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct dialect_route route = { .dialect = &dialect_openai_embeddings };
	struct upstream_call calls[FUZZ_MAX_CALLS];
	for (size_t i = 0; i < FUZZ_MAX_CALLS; i++)
		calls[i] = (struct upstream_call){ .route = &route,
						   .arguments = i % 3 == 2 ? SLICE("{\"input\":[\"a\",\"bcdefgh\"]}")
									   : SLICE("{\"input\":\"abcdef\"}") };
	fuzz_dialect(&dialect_openai_embeddings, calls, data, size);
	return 0;
}
