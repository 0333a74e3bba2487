/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The batcher, the real upstream and every dialect over 100,000 random requests: providers that reorder, leave out,
 * repeat, make up, refuse with all they were sent, hang up, answer bit by bit, break off or end at any byte, have pages,
 * and whose bytes are damaged; callers that leave, give up or are in a hurry. Each caller gets exactly its own outcome,
 * and never a byte of another's. A scenario that fails names its dialect and number; they alone decide what happens.
 * JITNEY_DIALECT_REQUESTS asks for more.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "batcher/batcher.h"
#include "tests/support/damage.h"
#include "tests/support/dialect_error.h"
#include "tests/support/dialect_speeches.h"
#include "tests/support/fake_wire.h"
#include "tests/support/valgrind.h"
#include "upstream/dialects/envelope.h"
#include "upstream/dialects/graphql.h"
#include "upstream/dialects/key_list.h"

enum { REQUESTS = 100000, CALLS = 40, FIRST_TAG = 100000, ARGUMENTS = 96, ANSWER = 32768 };

/* What the provider thinks of a call. */
enum ending {
	VALID,
	SAYS_NO, /* this one fails, the others of its request do not */
	POISON,  /* its whole request is refused */
};

struct life {
	struct batch_item item;
	char arguments[ARGUMENTS];
	enum ending ending;
	unsigned sent, answered;
	bool live, blurred; /* something else went wrong with a request it was in */
	bool damaged;       /* an answer to a request it was in was not what the provider meant to say */
	bool undone;        /* the provider has said that nothing of a request was carried out */
};

static const char *const tool_names[] = { "tool" };
static const char *const upstream_names[] = { "this" };
static const char *const endpoint_names[] = { "http://127.0.0.1:1" };
static const size_t endpoint_upstreams[] = { 0 };
static const struct metrics_names names = {
	tool_names, 1, upstream_names, 1, endpoint_names, endpoint_upstreams, 1, 0
};

static const struct speech *speech;
static struct dialect *made; /* with settings of its own */
static struct upstream_settings settings;
static struct batch_policy policy;
static struct dialect_route *route;
static struct loop *loop;
static struct metrics *metrics;
static struct batcher *batcher;
static struct life lives[CALLS];
static size_t used;
static uint64_t now_us;
static unsigned seed, scenario;

#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			fail_msg("%s %s%s, scenario %u: %s", speech->name, speech->preset ? speech->preset : "",       \
				 speech->merge ? speech->merge : "", scenario, #condition);                            \
	} while (0)

static unsigned roll(unsigned sides)
{
	return (unsigned)rand_r(&seed) % sides;
}

/* The number that stands there; at most six digits of it. */
static unsigned number_at(struct slice text, size_t at)
{
	unsigned number = 0;
	for (size_t i = at; i < text.len && i < at + 6 && text.at[i] >= '0' && text.at[i] <= '9'; i++)
		number = number * 10 + (unsigned)(text.at[i] - '0');
	return number;
}

/* Whether a tag stands there; then `call` is whose. */
static bool tag_at(struct slice text, size_t at, size_t *call)
{
	unsigned number = number_at(text, at);
	*call = number - FIRST_TAG;
	return number >= FIRST_TAG && number < FIRST_TAG + CALLS;
}

/* --- callers --- */

/* Whether the answer speaks of this call and of no other. */
static bool is_own(const struct life *life, struct slice body)
{
	bool own = false;
	for (size_t i = 0; i + 6 <= body.len; i++) {
		size_t whose;
		if (!tag_at(body, i, &whose))
			continue;
		if (whose != (size_t)(life - lives))
			return false;
		own = true;
		i += 5;
	}
	return own;
}

/* Whether a text speaks of another call. */
static bool is_anothers(const struct life *life, struct slice text)
{
	size_t whose;
	for (size_t i = 0; i + 6 <= text.len; i++)
		if (tag_at(text, i, &whose) && whose != (size_t)(life - lives))
			return true;
	return false;
}

static void check_end(const struct life *life, const struct answer *answer)
{
	bool late = life->item.deadline_us <= now_us;
	if (is_anothers(life, answer_body(answer)) || is_anothers(life, slice_of(answer->detail)))
		fail_msg("%s, scenario %u: %s got \"%s\", %s", speech->name, scenario, life->arguments, answer->bytes,
			 answer->detail);
	switch (answer->outcome) {
	case OUTCOME_OK:
		CHECK(life->ending == VALID && life->sent > 0);
		CHECK(life->damaged || is_own(life, answer_body(answer)));
		return;
	case OUTCOME_DEADLINE_EXCEEDED:
		CHECK(late && (life->sent == 0 || life->item.call.repeatable));
		return;
	case OUTCOME_UPSTREAM_TIMEOUT:
		CHECK((late || life->blurred) && life->sent > 0 && life->item.call.repeatable);
		return;
	case OUTCOME_OVERLOADED: /* too late for it when its turn came */
		CHECK(life->sent == 0 && answer->retry_after_s > 0);
		return;
	case OUTCOME_RATE_LIMITED:
		CHECK(life->blurred || life->sent == 0);
		return;
	case OUTCOME_OUTCOME_UNKNOWN:
		CHECK((life->sent == 1 || life->undone) && !life->item.call.repeatable && (late || life->blurred));
		return;
	default:
		CHECK(answer->outcome == OUTCOME_TOOL_ERROR || answer->outcome == OUTCOME_UPSTREAM_ERROR ||
		      answer->outcome == OUTCOME_INVALID_REQUEST);
		CHECK(life->sent > 0 && (life->ending != VALID || life->blurred));
	}
}

static void on_answered(struct batch_item *item, struct answer *answer, const struct batch_facts *facts)
{
	struct life *life = container_of(item, struct life, item);
	(void)facts;
	CHECK(life->live && life->answered == 0);
	life->answered++;
	life->live = false;
	check_end(life, answer);
	answer_unref(answer);
}

static void add_one(void)
{
	if (used == CALLS)
		return;
	struct life *life = &lives[used];
	*life = (struct life){ .live = true, .ending = roll(12) ? VALID : roll(2) && speech->bad ? SAYS_NO : POISON };
	snprintf(life->arguments, sizeof life->arguments, "%s%u%s", speech->opens, FIRST_TAG + (unsigned)used++,
		 speech->closes);
	life->item.call = (struct upstream_call){ .route = route,
						  .arguments = slice_of(life->arguments),
						  .repeatable = roll(4) != 0 };
	life->item.deadline_us = now_us + (roll(4) ? 60 * CLOCK_US_PER_S : roll(30000));
	life->item.urgent_us = roll(4) ? CLOCK_NEVER : life->item.deadline_us;
	life->item.caller = roll(3);
	life->item.urgency = (uint8_t)roll(8);
	life->item.answered = on_answered;
	const char *why;
	assert_int_equal(batcher_add(batcher, &life->item, now_us, &why), OUTCOME_OK);
}

static void cancel_one(void)
{
	struct life *life = used ? &lives[roll((unsigned)used)] : NULL;
	if (!life || !life->live)
		return;
	life->live = false;
	batcher_cancel(batcher, &life->item, now_us);
}

/* --- the provider --- */

struct heard {
	size_t tags[CALLS];
	unsigned ids[CALLS];
	size_t count;
};

/* Calls of a request, in its order: each holds its tag, and before it its id if there is one. */
static void listen(const struct http_exchange *exchange, struct heard *heard)
{
	struct slice texts[] = { slice_of(exchange->url), buf_slice(&exchange->body) };
	unsigned id = 0;
	heard->count = 0;
	for (size_t n = 0; n < countof(texts); n++) {
		for (size_t i = 0; i < texts[n].len; i++) {
			size_t whose;
			bool marked = texts[n].len - i > 6 && memcmp(texts[n].at + i, "\"id\":", 5) == 0;
			if (marked && speech->opens[2] != 'i')
				id = number_at(texts[n], i + 5 + (texts[n].at[i + 5] == '"'));
			if (!tag_at(texts[n], i, &whose))
				continue;
			CHECK(heard->count < CALLS);
			heard->ids[heard->count] = id;
			heard->tags[heard->count++] = whose;
			i += 5;
		}
	}
	CHECK(heard->count > 0);
}

static void put_part(struct buf *out, const char *form, const struct heard *heard, size_t n)
{
	for (; *form; form++) {
		if (*form != '$') {
			buf_put_char(out, *form);
			continue;
		}
		form++;
		buf_put_u64(out, *form == 'I' ? heard->ids[n] : *form == 'T' ? FIRST_TAG + heard->tags[n] : n);
	}
}

static void blur(const struct heard *heard, bool all)
{
	for (size_t i = 0; i < heard->count; i++) {
		struct life *life = &lives[heard->tags[i]];
		life->blurred |= all || !life->item.call.repeatable;
	}
}

/* Reordered, unless the place is all that tells whose it is, and now and then one missing or one twice. */
static void put_parts(struct buf *out, const struct heard *heard, bool unknown)
{
	size_t order[CALLS];
	const char *between = "";
	bool was_odd = unknown; /* one missing and another twice, by place: nobody could tell */
	for (size_t i = 0; i < heard->count; i++)
		order[i] = i;
	for (size_t i = heard->count; i > 1 && !speech->placed; i--) {
		size_t other = roll((unsigned)i), last = order[i - 1];
		order[i - 1] = order[other];
		order[other] = last;
	}
	for (size_t i = 0; i < heard->count; i++) {
		struct life *life = &lives[heard->tags[order[i]]];
		unsigned odd = heard->count > 1 && !(speech->placed && was_odd) ? roll(60) : 9;
		was_odd |= odd <= 1;
		if (odd <= 1 && (speech->keyed || speech->counted))
			blur(heard, true); /* the answer as a whole is not to be trusted */
		if (odd <= 1)
			life->blurred = true;
		if (odd == 0)
			continue;
		for (unsigned times = odd == 1 ? 2 : 1; times > 0; times--) {
			buf_put_text(out, between);
			put_part(out, life->ending == SAYS_NO ? speech->bad : speech->good, heard, order[i]);
			between = speech->between;
		}
	}
}

/* One that nobody asked for. */
static void put_unknown(struct buf *out, size_t n)
{
	struct heard nobody = { .tags = { 0 }, .ids = { 0 } };
	size_t last = countof(nobody.tags) - 1;
	nobody.tags[last] = 400000 + n;
	nobody.ids[last] = 900000;
	put_part(out, speech->good, &nobody, last);
}

static void damage_all(const struct heard *heard)
{
	blur(heard, true);
	for (size_t i = 0; i < heard->count; i++)
		lives[heard->tags[i]].damaged = true;
}

static void say(struct http_exchange *exchange, unsigned status, struct slice body, size_t upto)
{
	size_t at = 0;
	while (at < upto) {
		size_t step = 1 + roll(400);
		step = step < upto - at ? step : upto - at;
		wire_grow(exchange, status, (struct slice){ body.at + at, step });
		at += step;
	}
	if (upto == 0)
		wire_grow(exchange, status, (struct slice){ NULL, 0 });
}

/* All of it at once, with something behind its end: the first that the upstream hears of it is its end. */
static void say_with_garbage(struct http_exchange *exchange, const struct buf *body, const struct heard *heard)
{
	blur(heard, true);
	wire_status(exchange, 200);
	buf_put(&exchange->answer, buf_slice(body));
	buf_put_text(&exchange->answer, " and more");
	wire_end(exchange, EXCHANGE_COMPLETE);
}

/* Each for its own reason, with nothing in the answer that is about all. */
static void all_say_no(const struct heard *heard)
{
	for (size_t i = 0; i < heard->count; i++)
		if (lives[heard->tags[i]].ending == VALID)
			lives[heard->tags[i]].ending = SAYS_NO;
}

static void answer_well(struct http_exchange *exchange, const struct heard *heard, bool break_off)
{
	struct buf body = BUF_INIT(ANSWER);
	bool garbage = !break_off && roll(20) == 0;
	bool bare = speech->single && heard->count == 1;
	if (!bare)
		buf_put_text(&body, speech->before);
	if (garbage && speech->bad && roll(2))
		all_say_no(heard);
	bool unknown = !break_off && !garbage && !bare && roll(20) == 0, before = roll(2);
	if (unknown) /* by place, the list is one too long */
		blur(heard, true);
	if (unknown && before) {
		put_unknown(&body, 1);
		buf_put_text(&body, speech->between);
	}
	put_parts(&body, heard, unknown);
	if (unknown && !before) {
		buf_put_text(&body, speech->between);
		put_unknown(&body, 2);
	}
	if (!bare)
		buf_put_text(&body, speech->after);
	unsigned hurt = garbage || break_off || unknown || roll(10) ? 0 : 1 + roll(3);
	if (hurt)
		damage_all(heard);
	while (hurt-- > 0 && body.len > 2)
		damage_body(&body, roll, false);
	if (garbage) {
		say_with_garbage(exchange, &body, heard);
		buf_fini(&body);
		return;
	}
	say(exchange, 200, buf_slice(&body), break_off ? roll((unsigned)body.len) : body.len);
	if (break_off)
		damage_all(heard);
	/* without a length, an answer that was cut ends like any other */
	wire_end(exchange, break_off && roll(2) ? EXCHANGE_BROKE : EXCHANGE_COMPLETE);
	buf_fini(&body);
}

static void refuse(struct http_exchange *exchange, unsigned status)
{
	struct heard heard;
	listen(exchange, &heard);
	for (size_t i = 0; i < heard.count; i++)
		lives[heard.tags[i]].undone |= dialect_nothing_done(status);
	/* as frameworks do: with all that they were sent */
	struct buf body = BUF_INIT(ANSWER);
	buf_put_text(&body, "{\"message\":\"no\",\"input\":[0");
	for (size_t i = 0; i < heard.count; i++)
		buf_printf(&body, ",%zu", FIRST_TAG + heard.tags[i]);
	buf_put_text(&body, "]}");
	say(exchange, status, buf_slice(&body), body.len);
	buf_fini(&body);
	wire_end(exchange, EXCHANGE_COMPLETE);
}

static size_t count_poison(const struct heard *heard)
{
	size_t count = 0;
	for (size_t i = 0; i < heard->count; i++)
		count += lives[heard->tags[i]].ending == POISON;
	return count;
}

static void provide(struct http_exchange *exchange)
{
	static const unsigned refusals[] = { 400, 413, 422, 500 };
	struct heard heard;
	listen(exchange, &heard);
	unsigned dice = roll(40);
	if (dice == 0) {
		blur(&heard, true);
		wire_end(exchange, EXCHANGE_BROKE);
	} else if (dice == 1) {
		blur(&heard, true);
		refuse(exchange, roll(2) ? 429 : 431);
	} else if (count_poison(&heard) > 0) {
		unsigned status = refusals[roll(countof(refusals))];
		/* one that blames itself is not asked any further if it fails at all else: test_bisection.c */
		blur(&heard, status >= 500);
		refuse(exchange, status);
	} else {
		answer_well(exchange, &heard, dice == 2);
	}
}

/* --- a scenario --- */

static void tick(void)
{
	loop_wait(loop, now_us);
	batcher_tick(batcher, now_us);
	static size_t known;
	if (wire_sent() == known)
		return;
	/* those begun since are the last ones in the list */
	size_t fresh = wire_sent() - known;
	known = wire_sent();
	for (size_t n = wire_under_way() > fresh ? wire_under_way() - fresh : 0; n < wire_under_way(); n++) {
		struct heard heard;
		listen(wire_nth(n), &heard);
		for (size_t i = 0; i < heard.count; i++) {
			struct life *life = &lives[heard.tags[i]];
			life->sent++;
			CHECK(life->item.call.repeatable || life->sent == 1 || life->undone);
		}
	}
}

static void pass(uint64_t us)
{
	now_us += us;
	clock_set(now_us);
	tick();
}

static void step(void)
{
	switch (roll(10)) {
	case 0:
		cancel_one();
		break;
	case 1:
		pass(roll(4000));
		break;
	case 2:
	case 3:
	case 4:
		tick();
		break;
	case 5:
		if (wire_under_way())
			provide(wire_nth(roll((unsigned)wire_under_way())));
		break;
	default:
		add_one();
	}
}

static bool anybody_lives(void)
{
	for (size_t i = 0; i < used; i++)
		if (lives[i].live)
			return true;
	return false;
}

static void run_scenario(void)
{
	struct meter *meter = metrics_meter(metrics);
	policy = (struct batch_policy){ .mode = (enum batch_mode)roll(3),
					.max_items = 1 + roll(20),
					.max_bytes = 4000,
					.window_us = roll(5000),
					.concurrency = 1 + roll(4),
					.queue_items = CALLS,
					.queue_bytes = 1 << 20 };
	used = 0;
	batcher = batcher_new(&policy, &settings, NULL, loop, meter);
	assert_non_null(batcher);
	for (unsigned i = 0; i < 80; i++)
		step();
	for (unsigned turns = 0; anybody_lives() || wire_under_way(); turns++) {
		CHECK(turns < 5000);
		tick();
		if (wire_under_way())
			provide(wire_nth(roll((unsigned)wire_under_way())));
		else
			pass(roll(20000));
	}
	for (size_t i = 0; i < used; i++)
		CHECK(lives[i].answered <= 1);
	tick();
	batcher_free(batcher);
}

static const struct dialect *make_dialect(void)
{
	struct dialect_error error = { 0 };
	static struct envelope_settings envelope;
	envelope = (struct envelope_settings){ .preset = speech->preset };
	if (strcmp(speech->name, "envelope") == 0) {
		envelope_fill(&envelope);
		made = envelope_new(&envelope, &error);
	} else if (strcmp(speech->name, "graphql") == 0) {
		made = graphql_new(&(struct graphql_settings){ .merge = speech->merge, .max = 20 });
	} else if (strcmp(speech->name, "key_list") == 0) {
		made = key_list_new(20);
	} else {
		return speech->dialect;
	}
	if (!made)
		fail_msg("%s", error_text(&error));
	return made;
}

static void begin(const struct speech *which)
{
	struct dialect_error error = { 0 };
	speech = which;
	made = NULL;
	const struct dialect *dialect = make_dialect();
	struct route_settings route_settings = { .tool = "tool", .repeatable = true, .own = made };
	if (strcmp(speech->name, "graphql") == 0)
		route_settings.operation = "query ($id: ID!) { user(id: $id) { own } }";
	static const struct key_list_settings keys = {
		.parameter = "ids", .argument = "id", .list = "items", .key = "id"
	};
	if (strcmp(speech->name, "key_list") == 0)
		route_settings.key_list = &keys;
	if (strcmp(speech->name, "rest") == 0)
		route_settings.path = "/x";
	route = dialect->route_new(&route_settings, &error);
	if (!route)
		fail_msg("%s: %s", speech->name, error_text(&error));
	settings = (struct upstream_settings){ .name = "this",
					       .retries = { 2, 25000, 20 },
					       .dialect = dialect,
					       .endpoints = endpoint_names,
					       .endpoint_count = 1,
					       .pool_max = 8,
					       .connect_timeout_us = CLOCK_US_PER_S,
					       .timeout_us = 60 * CLOCK_US_PER_S,
					       .answer_bytes = ANSWER,
					       .json_depth = 32 };
	now_us = CLOCK_US_PER_S;
	clock_set(now_us);
	loop = loop_new();
	metrics = metrics_new(&names);
	assert_true(loop && metrics);
}

static void end(void)
{
	dialect_route_unref(route);
	dialect_release(made);
	metrics_free(metrics);
	loop_free(loop);
	clock_set(0);
}

static void run(const struct speech *which)
{
	begin(which);
	const char *wanted = getenv("JITNEY_DIALECT_REQUESTS");
	size_t before = wire_sent(),
	       requests = wanted ? (size_t)atol(wanted) : unless_valgrind(REQUESTS, REQUESTS / 50);
	for (scenario = 0; wire_sent() - before < requests / countof(speeches) + 1; scenario++) {
		seed = scenario;
		run_scenario();
	}
	end();
}

static void each_caller_gets_its_own_outcome_in_every_dialect(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(speeches); i++)
		run(&speeches[i]);
	assert_true(wire_sent() > 0);
}

static void add_write(void)
{
	struct life *life = &lives[used];
	*life = (struct life){ .live = true };
	snprintf(life->arguments, sizeof life->arguments, "%s%u%s", speech->opens, FIRST_TAG + (unsigned)used++,
		 speech->closes);
	life->item = (struct batch_item){ .call = { .route = route, .arguments = slice_of(life->arguments) },
					  .deadline_us = now_us + 60 * CLOCK_US_PER_S,
					  .urgent_us = CLOCK_NEVER,
					  .answered = on_answered };
	const char *why;
	assert_int_equal(batcher_add(batcher, &life->item, now_us, &why), OUTCOME_OK);
}

/* These statuses say that nothing was carried out. */
static void writes_that_are_too_many_for_a_request_go_in_smaller_ones(void **state)
{
	static const unsigned statuses[] = { 413, 414, 431 };
	(void)state;
	for (size_t i = 0; i < countof(statuses); i++) {
		begin(&speeches[0]);
		policy = (struct batch_policy){ .mode = BATCH_ADAPTIVE,
						.max_items = 20,
						.max_bytes = 4000,
						.concurrency = 1,
						.queue_items = CALLS,
						.queue_bytes = 1 << 20 };
		used = 0;
		batcher = batcher_new(&policy, &settings, NULL, loop, metrics_meter(metrics));
		for (size_t calls = 0; calls < 8; calls++)
			add_write();
		tick();
		while (wire_under_way()) {
			struct heard heard;
			struct http_exchange *exchange = wire_nth(0);
			listen(exchange, &heard);
			if (heard.count > 2)
				refuse(exchange, statuses[i]);
			else
				answer_well(exchange, &heard, false);
			tick();
		}
		for (size_t call = 0; call < used; call++)
			assert_int_equal(lives[call].answered, 1); /* and well, see check_end */
		batcher_free(batcher);
		end();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_that_are_too_many_for_a_request_go_in_smaller_ones),
		cmocka_unit_test(each_caller_gets_its_own_outcome_in_every_dialect),
	};
	return cmocka_run_group_tests_name("batcher and dialects", tests, NULL, NULL);
}
