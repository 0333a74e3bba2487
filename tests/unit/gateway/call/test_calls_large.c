/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of which few are written in a turn (loop_afford): whose they are. */
#include "tests/support/gateway_test.h"

enum { UPSTREAMS = 5, BUSY = 3, EACH = 6 };

static const char *const tools[UPSTREAMS] = { "first", "second", "idle", "other_idle", "last" };

/* They are known by their first letter. */
static void start(void)
{
	gateway_start(&world, "listen: 127.0.0.1:0\n"
			      "workers: 1\n"
			      "upstreams:\n"
			      "  a: { dialect: jsonrpc, endpoints: [ { url: \"http://a\" } ], batch: { mode: off } }\n"
			      "  b: { dialect: jsonrpc, endpoints: [ { url: \"http://b\" } ], batch: { mode: off } }\n"
			      "  c: { dialect: jsonrpc, endpoints: [ { url: \"http://c\" } ], batch: { mode: off } }\n"
			      "  d: { dialect: jsonrpc, endpoints: [ { url: \"http://d\" } ], batch: { mode: off } }\n"
			      "  e: { dialect: jsonrpc, endpoints: [ { url: \"http://e\" } ], batch: { mode: off } }\n"
			      "tools:\n"
			      "  first: { upstream: a }\n"
			      "  second: { upstream: b }\n"
			      "  idle: { upstream: c }\n"
			      "  other_idle: { upstream: d }\n"
			      "  last: { upstream: e }\n");
	for (unsigned i = 0; i < UPSTREAMS; i++) { /* each is open, in this order */
		struct ask ask;
		ask_once(&world, &ask, 0, tools[i], i);
		finish_all();
	}
}

/* By the letter that its arguments begin with. */
static unsigned whose(const struct exchange *exchange)
{
	return (unsigned)(exchange->calls[0].arguments.at[2] - 'a');
}

static void fill_text(char *text, size_t bytes, unsigned upstream)
{
	memset(text, 'x', bytes);
	memcpy(text, "{\"a\":\"", 6);
	text[2] = (char)('a' + upstream);
	memcpy(text + bytes - 2, "\"}", 3);
}

/* What was written in this turn, and is answered now. */
static void count_written(unsigned written[UPSTREAMS])
{
	struct exchange *exchange;
	while ((exchange = fake_nth(0))) {
		written[whose(exchange)]++;
		fake_finish(exchange);
	}
}

/* Some upstreams have such requests, in a row, others none: as long as they have, one has never had more than a turn more
 * than another. */
static void expect_turns(size_t bytes, unsigned a_turn)
{
	static const bool busy[UPSTREAMS] = { true, true, false, false, true };
	static char texts[UPSTREAMS][LOOP_HEAVY_BYTES + 1];
	static struct ask asks[UPSTREAMS][EACH];
	unsigned written[UPSTREAMS] = { 0 };
	start();
	for (unsigned i = 0; i < UPSTREAMS; i++) {
		fill_text(texts[i], bytes, i);
		for (unsigned j = 0; busy[i] && j < EACH; j++) {
			ask_init(&asks[i][j], 0, tools[i], j);
			asks[i][j].text = texts[i];
			assert_true(ask_send(&world, &asks[i][j]));
		}
	}
	for (unsigned turn = 1; turn <= BUSY * EACH / a_turn; turn++) {
		gateway_turn(&world, 0);
		count_written(written);
		unsigned least = EACH, most = 0, all = 0;
		for (unsigned i = 0; i < UPSTREAMS; i++) {
			least = busy[i] && written[i] < least ? written[i] : least;
			most = written[i] > most ? written[i] : most;
			all += written[i];
		}
		assert_int_equal(all, turn * a_turn);
		assert_in_range(most, least, least + a_turn);
	}
	stop();
}

static void upstreams_take_turns(void **state)
{
	(void)state;
	expect_turns(LOOP_HEAVY_BYTES, 1);
	expect_turns(LOOP_TURN_BYTES * 2 / 5, 3);
}

/* Whose turn it would be has nothing to send any more, or is gone. */
static void nobody_waits_for_one_who_has_nothing(void **state)
{
	(void)state;
	static char text[LOOP_HEAVY_BYTES + 1];
	static struct ask asks[EACH];
	unsigned written[UPSTREAMS] = { 0 };
	start();
	fill_text(text, LOOP_HEAVY_BYTES, 1);
	for (unsigned turn = 1; turn <= EACH; turn++) {
		struct ask *ask = &asks[turn - 1];
		ask_init(ask, 0, tools[1], turn);
		ask->text = text;
		assert_true(ask_send(&world, ask));
		gateway_turn(&world, 0);
		count_written(written);
		assert_int_equal(written[1], turn);
	}
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(upstreams_take_turns),
		cmocka_unit_test(nobody_waits_for_one_who_has_nothing),
	};
	return cmocka_run_group_tests_name("calls: large ones", tests, NULL, NULL);
}
