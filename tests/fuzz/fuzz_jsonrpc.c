/* SPDX-License-Identifier: Apache-2.0 */
/* JSON-RPC answers, see dialect_fuzz.h. */
#include "tests/support/dialect_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_dialect(&dialect_jsonrpc, NULL, data, size);
	return 0;
}
