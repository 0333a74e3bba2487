/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first byte chooses: answers to aliased documents or to lists of operations (see dialect_fuzz.h); or the rest is
 * an operation, and if it is a good one, what two calls of it are merged into is a good one, too.
 */
#include "tests/support/dialect_fuzz.h"
#include "upstream/dialects/graphql_text.h"
#include "upstream/dialects/graphql.h"
#include "upstream/upstream.h"

static void fuzz_answer(const char *merge, const uint8_t *data, size_t size)
{
	struct dialect_error error = { 0 };
	struct dialect *dialect = graphql_new(&(struct graphql_settings){ .merge = merge });
	must(dialect != NULL);
	struct route_settings settings = {
		.tool = "t", .operation = "{ user all @skip(if: false) }", .repeatable = true, .own = dialect
	};
	struct dialect_route *route = dialect->route_new(&settings, &error);
	must(route != NULL);
	struct upstream_call calls[FUZZ_MAX_CALLS];
	for (size_t i = 0; i < FUZZ_MAX_CALLS; i++)
		calls[i] = (struct upstream_call){ .route = route, .arguments = SLICE("{}") };
	fuzz_dialect(dialect, calls, data, size);
	dialect_route_unref(route);
	dialect_release(dialect);
}

/* The document in a request's body; false if there is none. */
static bool merged_document(const struct dialect *dialect, const struct dialect_route *route, struct buf *document)
{
	struct upstream_call calls[2] = { { .route = route, .arguments = SLICE("{}") },
					  { .route = route, .arguments = SLICE("{\"a\":1}") } };
	struct encoded_request request = { .target = BUF_INIT(100),
					   .headers = BUF_INIT(1000),
					   .body = BUF_INIT(1 << 24) };
	struct json_fault fault;
	struct slice raw;
	must(dialect->encode(calls, 2, 1, &request));
	must(json_check(buf_slice(&request.body), 8, NULL, &fault));
	must(json_member(buf_slice(&request.body), SLICE("query"), &raw));
	json_unescape(raw, document);
	buf_fini(&request.headers);
	buf_fini(&request.body);
	return !document->failed;
}

static void fuzz_operation(const char *operation)
{
	struct dialect_error error = { 0 };
	struct dialect *dialect = graphql_new(&(struct graphql_settings){ .merge = "alias" });
	must(dialect != NULL);
	struct route_settings settings = { .tool = "t", .operation = operation, .repeatable = true, .own = dialect };
	struct dialect_route *route = dialect->route_new(&settings, &error);
	if (route) {
		struct buf document = BUF_INIT(1 << 24);
		must(merged_document(dialect, route, &document));
		struct route_settings again = settings;
		again.operation = buf_cstr(&document);
		struct graphql_text text;
		bool shares = graphql_text_read(operation, &text, &error) && !text.alone;
		graphql_text_fini(&text);
		struct dialect_route *merged = dialect->route_new(&again, &error);
		/* two calls may have more names, or go deeper into memory's caps, than one document may */
		must(merged || !shares || document.len > 4000);
		dialect_route_unref(merged);
		dialect_route_unref(route);
		buf_fini(&document);
	}
	dialect_release(dialect);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] % 4 < 2) {
		fuzz_answer(data[0] % 4 ? "array" : "alias", data + 1, size - 1);
		return 0;
	}
	char *operation = malloc(size);
	must(operation != NULL);
	memcpy(operation, data + 1, size - 1);
	operation[size - 1] = '\0';
	fuzz_operation(operation);
	free(operation);
	return 0;
}
