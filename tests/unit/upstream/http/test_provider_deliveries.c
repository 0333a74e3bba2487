/* SPDX-License-Identifier: Apache-2.0 */
/* How often a call is delivered to a provider whose connections die: a write once at most, a read once more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <assert.h>
#include <stdatomic.h>

#include "tests/support/upstream_world.h"

static enum provider_then first_well_then_close(struct provider_request *request)
{
	return request->on_connection == 0 ? answer_well(request) : PROVIDER_CLOSE;
}

static enum provider_then first_well_then_reset(struct provider_request *request)
{
	return request->on_connection == 0 ? answer_well(request) : PROVIDER_RESET;
}

static enum provider_then always_close(struct provider_request *request)
{
	(void)request;
	return PROVIDER_CLOSE;
}

/* Counts deliveries by id, and lets one connection in ten die under the request, before or after a word of an answer.
 */
enum { STORM_CALLS = 3000 };
struct storm {
	atomic_uint delivered[STORM_CALLS + 1];
};

static enum provider_then answer_or_die(struct provider_request *request)
{
	struct storm *storm = request->context;
	uint64_t id = 0;
	size_t count = read_ids(request->body, &id, 1);
	assert(count == 1 && id >= 1 && id <= STORM_CALLS);
	atomic_fetch_add(&storm->delivered[id], 1);
	switch (request->number % 30) {
	case 7:
		return PROVIDER_CLOSE;
	case 17:
		return PROVIDER_RESET;
	case 27:
		provider_write(request, "HTTP/1.1 200 OK\r\nContent-Le");
		return request->number % 60 < 30 ? PROVIDER_CLOSE : PROVIDER_RESET;
	default:
		return answer_well(request);
	}
}

static void check_write_on_dying_connection(enum provider_then (*handler)(struct provider_request *))
{
	struct world world;
	struct provider *provider = start_with(&world, handler, NULL);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	struct completion completion = { 0 };
	call_once(&world, &completion, false);
	assert_int_equal(completion.answers[0]->outcome, OUTCOME_OUTCOME_UNKNOWN);
	assert_int_equal(completion.outcome, OUTCOME_OUTCOME_UNKNOWN);
	expect_detail(completion.answers[0], "whether the call was carried out is not known");
	assert_int_equal(provider_requests(provider), 2);
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_REPEATS, 0, 0), 0);
	completion_fini(&completion);
	end(&world, provider);
}

static void a_write_on_a_dying_connection_is_delivered_once(void **state)
{
	(void)state;
	check_write_on_dying_connection(first_well_then_close);
	check_write_on_dying_connection(first_well_then_reset);
}

static void check_read_on_dying_connection(enum provider_then (*handler)(struct provider_request *))
{
	struct world world;
	struct provider *provider = start_with(&world, handler, NULL);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	assert_int_equal(provider_requests(provider), 3); /* the second came twice */
	assert_int_equal(read_metric(&world, METRIC_ID_UPSTREAM_REPEATS, 0, 0), 1);
	end(&world, provider);
}

static void a_read_on_a_dying_connection_is_sent_once_more(void **state)
{
	(void)state;
	check_read_on_dying_connection(first_well_then_close);
	check_read_on_dying_connection(first_well_then_reset);
}

static void a_new_connection_that_closes_is_not_tried_again(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = start_with(&world, always_close, NULL);
	assert_int_equal(outcome_of(&world, true), OUTCOME_UPSTREAM_ERROR);
	assert_int_equal(outcome_of(&world, false), OUTCOME_OUTCOME_UNKNOWN);
	assert_int_equal(provider_requests(provider), 2);
	end(&world, provider);
}

/* Calls without a body: nothing there that curl could fail to rewind. */
static void a_write_without_a_body_is_delivered_once_too(void **state)
{
	(void)state;
	struct world world;
	struct provider *provider = prepare_with(&world, &dialect_rest, first_well_then_close, NULL);
	world_open(&world);
	assert_int_equal(outcome_of(&world, true), OUTCOME_OK);
	dialect_route_unref(world.route);
	struct dialect_error error = { 0 };
	static const char *const methods[] = { "DELETE", "GET", "POST" };
	for (size_t i = 0; i < countof(methods); i++) {
		struct route_settings route = { .tool = "t", .http_method = methods[i], .path = "/t", .body = "" };
		world.route = dialect_rest.route_new(&route, &error);
		assert_non_null(world.route);
		unsigned before = provider_requests(provider);
		assert_int_equal(outcome_of(&world, false), OUTCOME_OUTCOME_UNKNOWN);
		assert_int_equal(provider_requests(provider), before + 1);
		dialect_route_unref(world.route);
		struct route_settings plain = { .tool = "t" };
		world.route = dialect_rest.route_new(&plain, &error);
		assert_int_equal(outcome_of(&world, true), OUTCOME_OK); /* a connection to die on */
		if (i + 1 < countof(methods))
			dialect_route_unref(world.route);
	}
	end(&world, provider);
}

static void no_write_is_delivered_twice_in_a_storm_of_dying_connections(void **state)
{
	(void)state;
	enum { AT_ONCE = 20 };
	static struct storm storm;
	static struct completion completions[AT_ONCE];
	struct world world;
	unsigned answered = 0;
	struct provider *provider = start_with(&world, answer_or_die, &storm);
	for (int round = 0; round < STORM_CALLS / AT_ONCE; round++) {
		for (int i = 0; i < AT_ONCE; i++)
			send_many(&world, &completions[i], 1, false, PATIENCE_US);
		for (int i = 0; i < AT_ONCE; i++) {
			wait_completed(&completions[i]);
			enum outcome outcome = completions[i].answers[0]->outcome;
			assert_true(outcome == OUTCOME_OK || outcome == OUTCOME_OUTCOME_UNKNOWN);
			answered += outcome == OUTCOME_OK;
			completion_fini(&completions[i]);
		}
		provider_drop_idle(provider, round % 2);
	}
	unsigned delivered = 0;
	for (int id = 1; id <= STORM_CALLS; id++) {
		assert_true(atomic_load(&storm.delivered[id]) <= 1);
		delivered += atomic_load(&storm.delivered[id]);
	}
	assert_true(answered <= delivered);
	assert_true(answered > STORM_CALLS / 2);
	end(&world, provider);
}

static void a_connection_closed_while_idle_harms_no_write(void **state)
{
	(void)state;
	for (int reset = 0; reset < 2; reset++) {
		struct world world;
		struct provider *provider = start_with(&world, answer_well, NULL);
		assert_int_equal(outcome_of(&world, false), OUTCOME_OK);
		provider_drop_idle(provider, reset);
		/* the FIN is here before the next request: loopback keeps order, and this waits for it */
		for (int i = 0; i < 5; i++)
			turn(&world);
		assert_int_equal(outcome_of(&world, false), OUTCOME_OK);
		assert_int_equal(provider_requests(provider), 2);
		end(&world, provider);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_write_on_a_dying_connection_is_delivered_once),
		cmocka_unit_test(a_write_without_a_body_is_delivered_once_too),
		cmocka_unit_test(a_read_on_a_dying_connection_is_sent_once_more),
		cmocka_unit_test(a_new_connection_that_closes_is_not_tried_again),
		cmocka_unit_test(no_write_is_delivered_twice_in_a_storm_of_dying_connections),
		cmocka_unit_test(a_connection_closed_while_idle_harms_no_write),
	};
	return run_with_upstream("upstream", tests, countof(tests));
}
