/* SPDX-License-Identifier: Apache-2.0 */
/* test_otlp.c: W3C's ids, spans of calls as bytes, exchanges told once, answers of a collector, memory that is out. */
#include "gateway/trace/otlp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/trace/otlp.pb-c.h"
#include "tests/support/alloc_fail.h"

static const struct trace_attribute attributes[] = { { "service.name", "bus" } };
static const struct trace_settings settings = { .attributes = attributes, .attribute_count = 1 };
static struct otlp otlp;
static struct traced_calls calls;
static struct traced_call made[8];

static int setup(void **state)
{
	(void)state;
	otlp = (struct otlp){ .instance = "this", .seed = 7 };
	TAILQ_INIT(&calls);
	memset(made, 0, sizeof made);
	return 0;
}

static struct traced_call *add_call(size_t place, uint64_t batch, uint32_t items)
{
	struct traced_call *call = &made[place];
	*call = (struct traced_call){ .context = { { 1, 2 }, 3 + place, TRACE_SAMPLED },
				      .reason = TRACE_SLOW,
				      .started_us = 1000,
				      .total_us = 500,
				      .left_us = batch ? 1100 : 0,
				      .waited_us = 2100,
				      .upstream_us = 300,
				      .batch = batch,
				      .items = items,
				      .attempts = 1,
				      .tool = "t",
				      .upstream = "u",
				      .dialect = "rest",
				      .cache = "miss",
				      .route = "/v1/batch" };
	TAILQ_INSERT_TAIL(&calls, call, next);
	return call;
}

static Otlp__ExportTraceServiceRequest *put_and_read(size_t expected)
{
	struct buf out = BUF_INIT(1 << 20);
	assert_int_equal(otlp_put_request(&otlp, &settings, &calls, &out), expected);
	struct slice bytes = buf_slice(&out);
	Otlp__ExportTraceServiceRequest *request =
		otlp__export_trace_service_request__unpack(NULL, bytes.len, (const uint8_t *)bytes.at);
	assert_non_null(request);
	assert_int_equal(request->resource_spans[0]->scope_spans[0]->n_spans, expected);
	buf_fini(&out);
	return request;
}

static const Otlp__Span *nth(const Otlp__ExportTraceServiceRequest *request, size_t n)
{
	return request->resource_spans[0]->scope_spans[0]->spans[n];
}

static void traceparents_are_read_as_they_are_written(void **state)
{
	static const char text[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
	char again[TRACEPARENT_BYTES + 1];
	(void)state;
	struct trace_context context = trace_context_read(slice_of(text));
	assert_true(context.trace[0] == UINT64_C(0x0af7651916cd43dd) &&
		    context.trace[1] == UINT64_C(0x8448eb211c80319c));
	assert_true(context.span == UINT64_C(0xb7ad6b7169203331) && context.flags == 1);
	trace_context_write(&context, again);
	assert_string_equal(again, text);
	context = trace_context_read(SLICE(""));
	assert_false(trace_context_is_there(&context));
	assert_true(trace_span_below(5, 5) != 0 && trace_span_below(1, 2) != trace_span_below(1, 3));
}

static void ids_are_in_the_order_of_the_network(void **state)
{
	(void)state;
	add_call(0, 0, 0);
	Otlp__ExportTraceServiceRequest *request = put_and_read(1);
	const Otlp__Span *span = nth(request, 0);
	static const uint8_t trace[16] = { [7] = 1, [15] = 2 }, id[8] = { [7] = 3 };
	assert_int_equal(span->trace_id.len, 16);
	assert_memory_equal(span->trace_id.data, trace, 16);
	assert_memory_equal(span->span_id.data, id, 8);
	assert_int_equal(span->parent_span_id.len, 0);
	assert_true(span->start_time_unix_nano == 1000000 && span->end_time_unix_nano == 1500000);
	assert_string_equal(request->resource_spans[0]->resource->attributes[0]->key, "service.name");
	otlp__export_trace_service_request__free_unpacked(request, NULL);
}

/* The second of the same batch comes in a later request: it refers to the exchange, which is not told anew. */
static void an_exchange_is_told_once(void **state)
{
	(void)state;
	add_call(0, 9, 3);
	add_call(1, 9, 3);
	add_call(2, 10, 1);
	Otlp__ExportTraceServiceRequest *first = put_and_read(2 + 1 + 2 + 2);
	const Otlp__Span *attempt = nth(first, 1), *exchange = nth(first, 2);
	assert_string_equal(exchange->name, "exchange u");
	assert_int_equal(exchange->n_links, 2);
	assert_memory_equal(exchange->links[0]->span_id.data, attempt->span_id.data, 8);
	assert_memory_equal(attempt->links[0]->span_id.data, exchange->span_id.data, 8);
	assert_string_equal(attempt->events[0]->attributes[0]->value->string_value,
			    "waited 2.1 ms, left with 2 others");
	TAILQ_INIT(&calls);
	add_call(3, 9, 3);
	Otlp__ExportTraceServiceRequest *second = put_and_read(2);
	assert_memory_equal(nth(second, 1)->links[0]->span_id.data, exchange->span_id.data, 8);
	otlp__export_trace_service_request__free_unpacked(first, NULL);
	otlp__export_trace_service_request__free_unpacked(second, NULL);
}

static void answers_are_read(void **state)
{
	uint64_t rejected;
	char why[8];
	(void)state;
	assert_true(otlp_read_answer(SLICE(""), &rejected, why, sizeof why));
	assert_int_equal(rejected, 0);
	assert_true(otlp_read_answer(SLICE("\x0a\x0c\x08\x03\x12\x08too long"), &rejected, why, sizeof why));
	assert_int_equal(rejected, 3);
	assert_string_equal(why, "too lon");
	assert_false(otlp_read_answer(SLICE("{\"partialSuccess\":{}}"), &rejected, why, sizeof why));
}

static void without_memory_nothing_is_sent(void **state)
{
	(void)state;
	add_call(0, 9, 3);
	size_t spans = 0;
	for (int nth_fails = 1; !spans; nth_fails++) {
		struct buf out = BUF_INIT(1 << 20);
		otlp.exchange_next = 0;
		memset(otlp.exchanges, 0, sizeof otlp.exchanges);
		alloc_fail_at((size_t)nth_fails);
		spans = otlp_put_request(&otlp, &settings, &calls, &out);
		alloc_reset();
		assert_true(spans == 0 || spans == 3);
		buf_fini(&out);
		assert_in_range(nth_fails, 1, 1000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(traceparents_are_read_as_they_are_written, setup),
		cmocka_unit_test_setup(ids_are_in_the_order_of_the_network, setup),
		cmocka_unit_test_setup(an_exchange_is_told_once, setup),
		cmocka_unit_test_setup(answers_are_read, setup),
		cmocka_unit_test_setup(without_memory_nothing_is_sent, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
