/* SPDX-License-Identifier: Apache-2.0 */
/* Answers to lists of keys: the first byte chooses list or object, for the rest see dialect_fuzz.h. */
#include "tests/support/dialect_fuzz.h"
#include "upstream/dialects/key_list.h"
#include "upstream/upstream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const arguments[FUZZ_MAX_CALLS] = {
		"{\"id\":1}", "{\"id\":\"1\"}",   "{\"id\":\"a\"}", "{\"id\":2}",
		"{\"id\":3}", "{\"id\":\"\\n\"}", "{\"id\":1.0}",   "{\"id\":\"b\"}",
	};
	struct dialect_error error = { 0 };
	if (size == 0)
		return 0;
	bool list = data[0] % 2;
	struct dialect *dialect = key_list_new(FUZZ_MAX_CALLS);
	must(dialect != NULL);
	const struct key_list_settings keys = { .parameter = "ids",
						.argument = "id",
						.list = list ? "items" : NULL,
						.key = list ? "id" : NULL,
						.result = list ? NULL : "v" };
	struct route_settings settings = { .tool = "t", .repeatable = true, .key_list = &keys, .own = dialect };
	struct dialect_route *route = dialect->route_new(&settings, &error);
	must(route != NULL);
	struct upstream_call calls[FUZZ_MAX_CALLS];
	for (size_t i = 0; i < FUZZ_MAX_CALLS; i++)
		calls[i] = (struct upstream_call){ .route = route, .arguments = slice_of(arguments[i]) };
	fuzz_dialect(dialect, calls, data + 1, size - 1);
	dialect_route_unref(route);
	dialect_release(dialect);
	return 0;
}
