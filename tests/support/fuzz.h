/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz.h: what every fuzz target has: the engine's entry, and how a property that does not hold ends the process. */
#ifndef TESTS_SUPPORT_FUZZ_H
#define TESTS_SUPPORT_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void must(bool holds)
{
	if (!holds)
		abort();
}

static inline void must_lie_within(struct slice part, struct slice whole)
{
	must(part.at >= whole.at && part.at + part.len <= whole.at + whole.len);
}

#endif
