/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose answer, in virtual time: whole workers with memory, a tier outside and another gateway, batchers and the real
 * upstreams of every dialect over HTTP, in any order of calls, wishes, cancels, answers, mishaps, purges, restarts and reloads of a
 * configuration whose upstreams go, come back, move and change, by seed. Whatever the order:
 *
 *   a caller gets what was made for his call, or for one that shares his key, and not a byte of anybody else's;
 *   nothing that was asked for before a purge is served to who asks after it, nor out of any store, nor for an error;
 *   nothing is served past its time, as the tool's policy of today and the caller's own directives have it;
 *   who wants a new answer gets one whose provider was asked after he had asked, whoever's fetch it was;
 *   no write is sent again that may have arrived, and none is called unsent that was carried out;
 *   a call ends exactly once, by its deadline, and in the end nothing is left.
 *
 * JITNEY_WHOSE_STEPS: how many; JITNEY_WHOSE_SEED: of the first scenario. One that fails names its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/log.h"
#include "gateway/admin/reload.h"
#include "gateway/tools/registry.h"
#include "tests/support/outside.h"
#include "tests/support/valgrind.h"
#include "tests/support/whose_config.h"
#include "tests/support/whose_provider.h"
#include "tests/support/whose_speech.h"

#define MS CLOCK_US_PER_MS
#define S CLOCK_US_PER_S
#define TIMEOUT_US (3 * S) /* of every tool */
#define SLACK_US (10 * MS) /* what a batcher or a tier may take beyond a time */
enum { STEPS = 100000, SCENARIO_STEPS = 1000, ASKS = 96, ARGUMENTS = 160, DIGESTS = 64, ARMS = 16 };

/* One who asks, and what became of it. */
struct asking {
	struct call *call; /* NULL: ended or cancelled */
	const struct spoken_tool *tool;
	struct caller caller;
	unsigned who; /* number of the caller */
	uint64_t question, moment, due_us;
	char arguments[ARGUMENTS];
	unsigned ended;
	bool used, cancelled;
};

static struct gateway_world world;
static struct asking asks[ASKS];
static unsigned seed, scenario;
static const struct speech *favourites[2];
static uint64_t writes_asked;
static unsigned purges_of_1000; /* steps */
static uint8_t digests[DIGESTS][KEY_DIGEST_BYTES];
static size_t ended_with[OUTCOME_COUNT], sources[SOURCE_BYPASS + 1], fell_back, from_outside, purged, restarts, reloads,
	hedged, heeded;

/* Instead of the system's, so that a scenario is the same each time. */
ssize_t getrandom(void *bytes, size_t len, unsigned flags)
{
	(void)flags;
	memset(bytes, 0x5a, len);
	return (ssize_t)len;
}

static unsigned roll(unsigned sides)
{
	return (unsigned)rand_r(&seed) % sides;
}

#define CHECK(asking, condition)                                                                                       \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			complain(asking, #condition);                                                                  \
	} while (0)

static void complain(const struct asking *asking, const char *what)
{
	const struct call *call = asking->call;
	const struct answer *answer = call ? call->answer : NULL;
	fail_msg("scenario %u: %s: caller %u asked %s %s (source %d, %s): \"%.*s\" %s", scenario, what, asking->who,
		 asking->tool->name, asking->arguments, call ? (int)call->source : -1,
		 answer ? outcome_word(answer->outcome) : "no answer", answer ? (int)answer->body_len : 0,
		 answer ? answer_body(answer).at : "", answer ? answer->detail : "");
}

/* --- what a caller may get --- */

static bool shares(const struct asking *asking, uint64_t caller)
{
	unsigned who = (unsigned)(caller - FIRST_ASKER);
	if (asking->tool->writes || asking->tool->scope == SCOPE_CALLER)
		return who == asking->who;
	return asking->tool->scope == SCOPE_SHARED || who / 2 == asking->who / 2; /* two callers a tenant */
}

/* The moment up to which it was decided that this answer may be served. */
static uint64_t decided(const struct asking *asking, const struct truth_fetch *fetch)
{
	const struct call *call = asking->call;
	if (call->fell_back)
		return truth_moment();
	bool from_tier = (call->source == SOURCE_HIT || call->source == SOURCE_STALE) && call->tier != TIER_MEMORY;
	return from_tier && fetch->delivered > asking->moment ? fetch->delivered : asking->moment;
}

static void check_purges(const struct asking *asking, const struct truth_fetch *fetch)
{
	const struct call *call = asking->call;
	if (!call->key)
		return;
	const struct truth_key key = { asking->tool->name, asking->tool->tagged, call->key->digest };
	size_t purge = truth_find_purge(&key, fetch->begun, decided(asking, fetch));
	if (!purge)
		return;
	struct buf text = BUF_INIT(SIZE_MAX / 4);
	truth_put_purge(purge - 1, &text);
	buf_printf(&text, "; caller %u of %s %s, who asked at %llu, got what was fetched at %llu (source %d, tier %d)",
		   asking->who, asking->tool->name, asking->arguments, (unsigned long long)asking->moment,
		   (unsigned long long)fetch->begun, (int)call->source, (int)call->tier);
	fail_msg("scenario %u: %s", scenario, buf_cstr(&text));
}

/* Whether the provider's word on how long it may be kept binds. */
static bool heeds(const struct call *call, const struct truth_fetch *fetch)
{
	return call->tool->cache.provider_headers && fetch->reuse_said;
}

/* How old it may be at most, by the policy that the call goes by and what the provider said. */
static uint64_t oldest_us(const struct asking *asking, const struct truth_fetch *fetch)
{
	const struct call *call = asking->call;
	const struct cache_policy *policy = &call->tool->cache;
	uint64_t ttl_us = call->answer->outcome == OUTCOME_OK ? policy->ttl_us : policy->negative_ttl_us;
	uint64_t grace_us = call->fell_back ? policy->stale_if_error_us : policy->stale_while_revalidate_us;
	if (heeds(call, fetch)) {
		ttl_us = fetch->reuse_us < ttl_us ? fetch->reuse_us : ttl_us;
		grace_us = fetch->no_stale ? 0 : grace_us;
	}
	if (call->source == SOURCE_HIT)
		return ttl_us;
	const struct cache_directives *directives = &asking->caller.directives;
	return !call->fell_back && (directives->any_stale || directives->has_max_stale) ? CLOCK_NEVER
											: clock_add(ttl_us, grace_us);
}

static void check_age(const struct asking *asking, const struct truth_fetch *fetch)
{
	const struct call *call = asking->call;
	const struct cache_directives *directives = &asking->caller.directives;
	if (call->source != SOURCE_HIT && call->source != SOURCE_STALE)
		return;
	/* it was decided on its way, not when it is looked at here */
	uint64_t at_us = call->fell_back ? world.now_us : call->started_us;
	uint64_t age_us = at_us > fetch->said_us ? at_us - fetch->said_us : 0;
	CHECK(asking, age_us <= clock_add(oldest_us(asking, fetch), SLACK_US));
	CHECK(asking, !heeds(call, fetch) || fetch->reuse_us > 0);
	heeded += heeds(call, fetch);
	uint64_t asked_us = fetch->asked_us - (heeds(call, fetch) ? fetch->age_us : 0);
	CHECK(asking, !directives->has_max_age || at_us <= asked_us + directives->max_age_us + SLACK_US);
	CHECK(asking, call->source == SOURCE_HIT || !directives->has_min_fresh);
}

/* Kept or under way when he asked, it is as new as he wants. */
static void check_newness(const struct asking *asking, const struct truth_fetch *fetch)
{
	const struct cache_directives *directives = &asking->caller.directives;
	if (directives->no_cache || directives->no_store || (directives->has_max_age && !directives->max_age_us))
		CHECK(asking, fetch->begun > asking->moment);
	else if (directives->has_max_age)
		CHECK(asking, asking->call->started_us <= fetch->asked_us + directives->max_age_us + SLACK_US);
}

/* Whether any byte of it is another's; *fetches: how many answers of providers it is made of. */
static void check_numbers(const struct asking *asking, struct slice text, size_t *questions)
{
	struct whose_number number;
	for (size_t at = 0; whose_next(text, &at, &number);) {
		if (number.kind == WHOSE_QUESTION) {
			CHECK(asking, number.number == asking->question);
			++*questions;
		} else if (number.kind == WHOSE_ASKER) {
			CHECK(asking, shares(asking, number.number));
		} else {
			const struct truth_fetch *fetch = truth_fetch(number.number);
			CHECK(asking, fetch && fetch->question == asking->question);
			CHECK(asking,
			      fetch->moved == speech_is_moved(call_upstream(asking->call)->settings.endpoints[0]));
			check_purges(asking, fetch);
			if (fetch->damaged)
				continue;
			check_newness(asking, fetch);
			check_age(asking, fetch);
		}
	}
}

/* A write that was carried out is not called one that was not. */
static void check_write(const struct asking *asking, enum outcome outcome)
{
	const struct truth_write *write = truth_write(asking->question);
	CHECK(asking, outcome != OUTCOME_OK || write->carried_out);
	CHECK(asking, asking->call->source != SOURCE_HIT && asking->call->source != SOURCE_STALE &&
			      asking->call->source != SOURCE_COLLAPSED);
	if (write->carried_out)
		CHECK(asking, outcome == OUTCOME_OK || outcome == OUTCOME_TOOL_ERROR ||
				      outcome == OUTCOME_OUTCOME_UNKNOWN || outcome == OUTCOME_UPSTREAM_ERROR);
}

static void check_answer(const struct asking *asking)
{
	const struct answer *answer = asking->call->answer;
	size_t questions = 0, others = 0;
	check_numbers(asking, answer_body(answer), &questions);
	check_numbers(asking, answer_full(answer), &questions);
	check_numbers(asking, slice_of(answer->detail), &others);
	CHECK(asking, answer->outcome != OUTCOME_OK || questions > 0 || truth_is_garbled(asking->question));
	CHECK(asking, answer->outcome != OUTCOME_CANCELLED && answer->outcome != OUTCOME_INTERNAL);
	if (asking->tool->writes)
		check_write(asking, answer->outcome);
}

static void note_end(struct asking *asking)
{
	struct call *call = asking->call;
	CHECK(asking, asking->ended == 0 && !asking->cancelled);
	asking->ended++;
	check_answer(asking);
	ended_with[call->answer->outcome]++;
	sources[call->source]++;
	fell_back += call->fell_back;
	from_outside += call->entry && call->tier != TIER_MEMORY;
	asking->call = NULL;
	call_free(call);
}

static void on_done(struct call *call)
{
	note_end(call->context);
}

/* --- callers --- */

static struct cache_directives draw_directives(void)
{
	struct cache_directives directives = { .no_cache = roll(20) == 0,
					       .no_store = roll(20) == 0,
					       .only_if_cached = roll(30) == 0 };
	directives.has_max_age = roll(10) == 0;
	directives.max_age_us = roll(30) * S;
	directives.has_max_stale = roll(12) == 0;
	directives.max_stale_us = roll(60) * S;
	directives.any_stale = roll(30) == 0;
	directives.has_min_fresh = roll(20) == 0;
	directives.min_fresh_us = roll(15) * S;
	return directives;
}

static void draw_caller(struct asking *asking)
{
	struct caller *caller = &asking->caller;
	asking->who = roll(ASKERS);
	*caller = (struct caller){ .timeout_us = roll(4) ? CLOCK_NEVER : (1 + roll(4000)) * MS,
				   .number = asking->who,
				   .urgency = (uint8_t)roll(8),
				   .tenant_len = 2,
				   .name_len = 3,
				   .directives = draw_directives() };
	caller->tenant[0] = caller->name[0] = 't';
	caller->tenant[1] = caller->name[1] = (char)('0' + asking->who / 2);
	caller->name[2] = (char)('0' + asking->who);
	if (roll(40) == 0)
		caller->idempotency_key = SLICE("once");
}

/* Mostly of the two upstreams that are this scenario's favourites, so that calls meet. */
static size_t draw_tool(void)
{
	size_t n;
	bool any = roll(8) == 0;
	do
		n = roll((unsigned)spoken_tool_count);
	while (!any && speech_of(&spoken_tools[n]) != favourites[0] && speech_of(&spoken_tools[n]) != favourites[1]);
	return n;
}

static void draw_question(struct asking *asking)
{
	static const char *const paths[] = { "a",        "..",     "%2e%2e", "b%2f..%2f..", ".",
					     "%252e%2e", "..;v=1", "x..",    "..\\\\y" };
	size_t n = draw_tool();
	struct buf arguments = BUF_INIT(ARGUMENTS);
	asking->tool = &spoken_tools[n];
	asking->question = asking->tool->writes ? FIRST_WRITE + writes_asked++
						: FIRST_READ + n * TOOL_READS + roll(roll(3) ? 2 : TOOL_READS);
	const char *path = paths[roll(3) ? 0 : roll(countof(paths))];
	speech_ask(speech_of(asking->tool), asking->question, FIRST_ASKER + asking->who, path, &arguments);
	memcpy(asking->arguments, arguments.store->bytes, arguments.len);
	asking->arguments[arguments.len] = '\0';
	buf_fini(&arguments);
}

static struct asking *free_place(void)
{
	size_t first = roll(ASKS);
	for (size_t i = 0; i < ASKS; i++)
		if (!asks[(first + i) % ASKS].call)
			return &asks[(first + i) % ASKS];
	return NULL;
}

static void set_out(struct asking *asking)
{
	struct call *call = asking->call;
	call->caller = &asking->caller;
	call->arguments = slice_of(asking->arguments);
	call->done = on_done;
	call->context = asking;
	if (call_look_up(call)) {
		note_end(asking);
		return;
	}
	if (call->key)
		memcpy(digests[roll(DIGESTS)], call->key->digest, KEY_DIGEST_BYTES);
	struct blob *body = blob_copy(call->arguments);
	call->arguments = blob_slice(body);
	call_send(call, body);
	blob_unref(body);
}

static void ask(void)
{
	struct asking *asking = free_place();
	if (!asking)
		return;
	*asking = (struct asking){ .used = true };
	draw_caller(asking);
	draw_question(asking);
	asking->call = call_new(world.gateway.workers[roll(2)]);
	struct call *call = asking->call;
	call->tool = catalogue_tool(call->catalogue, slice_of(asking->tool->name));
	if (!call->tool) { /* its server does not list it yet */
		call_free(call);
		*asking = (struct asking){ .used = false };
		return;
	}
	assert_int_equal(tool_is_repeatable(call->tool), !asking->tool->writes);
	asking->moment = truth_moment();
	asking->due_us = clock_add(world.now_us,
				   asking->caller.timeout_us < TIMEOUT_US ? asking->caller.timeout_us : TIMEOUT_US);
	set_out(asking);
}

static void cancel(void)
{
	struct asking *asking = &asks[roll(ASKS)];
	if (!asking->call)
		return;
	asking->cancelled = true;
	call_cancel(asking->call);
	asking->call = NULL;
}

/* --- what else happens --- */

static void take_lists(void)
{
	registry_turn(world.gateway.registry, gateway_offer_catalogue, &world.gateway);
}

static void settle(void)
{
	outside_turn();
	take_lists();
	gateway_settle(&world);
}

/* Once everybody has had a turn, who is past his deadline has been told. */
static void check_deadlines(void)
{
	settle();
	for (size_t i = 0; i < ASKS; i++)
		CHECK(&asks[i], !asks[i].call || world.now_us < asks[i].due_us + SLACK_US);
}

static void pass(void)
{
	uint64_t us = roll(30) * MS;
	if (roll(8) == 0)
		us = roll(2000) * MS;
	if (roll(30) == 0)
		us = roll(roll(3) ? 25 : 90) * S;
	gateway_pass(&world, us);
	if (us > S)
		check_deadlines();
}

static void purge(void)
{
	const struct spoken_tool *tool = &spoken_tools[roll((unsigned)spoken_tool_count)];
	char text[PURGE_TEXT_BYTES], prefix[8];
	struct slice key = purge_key_write(digests[roll(DIGESTS)], text);
	snprintf(prefix, sizeof prefix, "%s", tool->name);
	const struct purge_scope scopes[] = { { .tool = slice_of(tool->name) },
					      { .prefix = { prefix, 3 } },
					      { .tag = SLICE("news") },
					      { .tool = slice_of(tool->name), .tag = SLICE("news") },
					      { .prefix = SLICE("r"), .tag = SLICE("news") },
					      { .tool = { NULL, 0 } } };
	unsigned which = roll(100);
	struct purge_scope one = purge_scope_read(key);
	outside_purge(which < countof(scopes) ? &scopes[which] : roll(2) ? &one : &scopes[roll(2)]);
	purged++;
}

/* The file has changed, and is read again: as reload.c's thread does it, here and now. */
static void reload_config(void)
{
	struct buf last = BUF_INIT(SIZE_MAX / 4);
	whose_config_change();
	reload_ask(world.gateway.reload, "the test");
	reload_settle(world.gateway.reload);
	reload_put_last(world.gateway.reload, &last);
	if (!strstr(buf_cstr(&last), "\"result\":\"ok\""))
		fail_msg("scenario %u: the reload failed: %s", scenario, buf_cstr(&last));
	buf_fini(&last);
	gateway_offer_catalogue(&world.gateway, registry_catalogue(world.gateway.registry));
	reloads++;
}

static struct config *load_config(void)
{
	struct buf errors = BUF_INIT(SIZE_MAX / 4);
	struct config *config = config_load(whose_config_path(), &errors);
	if (!config)
		fail_msg("%s", buf_cstr(&errors));
	buf_fini(&errors);
	return config;
}

static void begin_gateway(void)
{
	uint64_t now_us = world.now_us;
	struct config *config = load_config();
	config->generation.memory_bytes = roll(5) < 3 ? config->generation.memory_bytes : 0;
	gateway_start_with(&world, config);
	world.gateway.reload = reload_new(&world.gateway);
	assert_non_null(world.gateway.reload);
	world.now_us = now_us > world.now_us ? now_us : world.now_us;
	provider_begin(&seed);
	outside_attach(&world);
	gateway_pass(&world, 0);
}

static bool anybody_waits(void)
{
	for (size_t i = 0; i < ASKS; i++)
		if (asks[i].call)
			return true;
	return atomic_load(&world.gateway.in_flight) > 0;
}

/* Nobody asks any more; what is under way ends, in time. */
static void finish_all(void)
{
	provider_behave(true);
	for (unsigned turns = 0; anybody_waits(); turns++) {
		assert_true(turns < 2000);
		while (wire_under_way())
			provider_act(0);
		gateway_pass(&world, 20 * MS);
		check_deadlines();
	}
	provider_behave(false);
}

/* Whatever was in memory can be given back, and nothing else was held. */
static void check_accounts(void)
{
	static const struct purge_scope everything;
	struct cache *cache = world.gateway.cache;
	cache_purge(cache, &everything);
	while (cache_sweep(cache, &world.gateway.workers[0]->tags, CLOCK_NEVER))
		continue;
	assert_int_equal(cache_memory_stats(cache).entries, 0);
	for (unsigned i = 0; i < registry_upstream_room(world.gateway.registry); i++)
		for (size_t class = 0; class < LATENCY_CLASS_COUNT; class ++) {
			assert_int_equal(gateway_metric(&world, METRIC_ID_BATCH_WAITING, i, class), 0);
			assert_int_equal(gateway_metric(&world, METRIC_ID_BATCH_IN_FLIGHT, i, class), 0);
		}
}

/* As serve.c does: a request whose calls are all answered may still be open. */
static void settle_workers(void)
{
	bool quiet = false;
	while (!quiet) {
		quiet = true;
		for (unsigned i = 0; i < world.config->workers; i++)
			quiet &= worker_settle(world.gateway.workers[i]);
	}
}

static void end_gateway(bool for_good)
{
	finish_all();
	for (unsigned i = 0; i < registry_upstream_room(world.gateway.registry); i++)
		hedged += (size_t)gateway_metric(&world, METRIC_ID_ATTEMPTS, i, ATTEMPT_HEDGE);
	settle_workers();
	outside_turn();
	outside_detach();
	reload_free(world.gateway.reload);
	gateway_settle(&world); /* what only earlier generations had is closed */
	if (for_good)
		check_accounts();
	gateway_stop(&world);
	assert_int_equal(wire_under_way(), 0);
}

static void restart(void)
{
	end_gateway(false);
	begin_gateway();
	restarts++;
}

static void step(void)
{
	unsigned what = roll(1000);
	if (what < 260)
		for (unsigned n = roll(3) ? 1 : 1 + roll(6); n > 0; n--)
			ask();
	else if (what < 285)
		cancel();
	else if (what < 640 && wire_under_way())
		provider_act(roll((unsigned)wire_under_way()));
	else if (what < 720)
		pass();
	else if (what < 880)
		gateway_turn(&world, roll(2));
	else if (what < 920)
		settle();
	else if (what < 920 + purges_of_1000)
		purge();
	else if (what < 950)
		for (size_t i = roll(DIGESTS); i < DIGESTS; i++)
			cache_drop(world.gateway.cache, digests[i]); /* no room for it */
	else if (what < 990)
		outside_stir();
	else if (what < 996)
		reload_config();
	else if (what < 998)
		restart();
	outside_turn();
}

/* --- */

static void run_scenario(void)
{
	seed = scenario;
	memset(asks, 0, sizeof asks);
	memset(digests, 0, sizeof digests);
	memset(&world, 0, sizeof world);
	writes_asked = 0;
	purges_of_1000 = roll(3) ? 5 : 25;
	truth_begin();
	for (size_t i = 0; i < countof(favourites); i++)
		favourites[i] = &speeches[roll((unsigned)speech_count)];
	outside_begin((enum outside_kind)roll(3), &seed);
	whose_config_begin(&seed);
	begin_gateway();
	for (unsigned i = 0; i < SCENARIO_STEPS; i++)
		step();
	end_gateway(true);
	outside_end();
	truth_end();
}

static void each_caller_gets_his_own_and_nothing_that_was_purged(void **state)
{
	const char *steps = getenv("JITNEY_WHOSE_STEPS"), *first = getenv("JITNEY_WHOSE_SEED");
	size_t count = (steps ? strtoul(steps, NULL, 10) : unless_valgrind(STEPS, STEPS / 20)) / SCENARIO_STEPS + 1;
	char error[200];
	(void)state;
	assert_true(log_open("/dev/null", LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT, error, sizeof error));
	scenario = first ? (unsigned)strtoul(first, NULL, 10) : 1;
	for (size_t i = 0; i < count; i++, scenario++)
		run_scenario();
	const struct provider_counts said = provider_counts();
	const struct outside_counts outside = outside_counts();
	for (size_t i = 0; i < OUTCOME_COUNT; i++)
		if (ended_with[i])
			print_message("%s %zu, ", outcome_word((enum outcome)i), ended_with[i]);
	print_message(
		"\nhit %zu, stale %zu (%zu for an error), miss %zu, shared %zu; from outside %zu of %zu, damaged %zu; "
		"others stored %zu, purged %zu; purges %zu, restarts %zu, reloads %zu\n",
		sources[SOURCE_HIT], sources[SOURCE_STALE], fell_back, sources[SOURCE_MISS], sources[SOURCE_COLLAPSED],
		from_outside, outside.found, outside.damaged, outside.others_stored, outside.others_purged, purged,
		restarts, reloads);
	print_message(
		"requests answered %zu for %zu calls, refused %zu (%zu under no id), broken %zu, out of turn %zu, writes %zu; hedged "
		"%zu, streams taken up %zu, kept by the provider's word %zu\n",
		said.answered, said.calls, said.refused, said.nameless, said.broken, said.out_of_turn, said.carried_out,
		hedged, said.resumed, heeded);
	/* whatever the dice: in so many steps each of these has been */
	assert_true(count * SCENARIO_STEPS < STEPS ||
		    (reloads && hedged && said.resumed && said.nameless && heeded && outside.damaged));
	log_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_caller_gets_his_own_and_nothing_that_was_purged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
