/* SPDX-License-Identifier: Apache-2.0 */
/* What servers say they have becomes a catalogue: names, overrides, refusals, staleness, and calls that outlive it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <malloc.h>
#include <stdio.h>

#include "gateway/tools/registry.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/gateway_world.h"

/* Upstreams a (worker 0) and b (worker 1) list their tools; c is declared. */
static const char yaml[] =
	"listen: 127.0.0.1:0\n"
	"workers: 2\n"
	"cache: { memory: { size: 16MiB } }\n"
	"upstreams:\n"
	"  a: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], timeout: 10s }\n"
	"  b: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], timeout: 10s }\n"
	"  c: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], timeout: 10s }\n"
	"tools:\n"
	"  own: { upstream: c, description: Own }\n"
	"  here: { upstream: a, description: Ours, title: Title, annotations: { idempotent: true } }\n";

static struct dialect list_dialect; /* jsonrpc, but for lists_tools */
static struct gateway_world world;
static struct config *config;

/* A configuration whose upstreams a and b list their tools under their own names; tools.here is a's "there". */
static void configure(void)
{
	list_dialect = dialect_jsonrpc;
	list_dialect.lists_tools = true;
	config = gateway_config(yaml);
	for (int i = 0; i < 2; i++) {
		config->generation.upstreams[i].settings.dialect = &list_dialect;
		config->generation.upstreams[i].exposure.names = NAMES_PLAIN;
		config->generation.upstreams[i].exposure.max_tools = 8;
		config->generation.upstreams[i].exposure.pass_hints = true;
	}
	config->generation.tools[0].remote = "there";
	config->generation.tools[0].overridden = OVERRIDES_DESCRIPTION | OVERRIDES_TITLE | OVERRIDES_IDEMPOTENT;
	config->generation.tools[0].constants = "{\"key\":\"K\"}";
	assert_string_equal(config->generation.tools[0].name, "here");
}

static int set_up(void **state)
{
	(void)state;
	configure();
	gateway_start_with(&world, config);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	gateway_stop(&world);
	return 0;
}

static void spread(void)
{
	bool ok = registry_turn(world.gateway.registry, gateway_offer_catalogue, &world.gateway);
	assert_true(ok);
	gateway_settle(&world);
}

static const struct slice no_instructions;

/* Upstream 0 or 1 says what it has. */
static void list(unsigned upstream, const char *tools)
{
	const struct upstream_watcher *watcher = fake_watcher(upstream);
	watcher->tools(watcher->context, slice_of(tools), no_instructions);
	spread();
}

static void fail_to_list(unsigned upstream, const char *why)
{
	const struct upstream_watcher *watcher = fake_watcher(upstream);
	watcher->tools_failed(watcher->context, why);
	spread();
}

static const struct catalogue *now(void)
{
	return world.gateway.workers[0]->catalogue;
}

static const struct tool *find(const char *name)
{
	return catalogue_tool(now(), slice_of(name));
}

static void expect_refused(unsigned upstream, const char *name, const char *why)
{
	struct tool_list_status status = catalogue_status(now(), upstream);
	for (size_t i = 0; i < status.refused_count; i++)
		if (strcmp(status.refused[i].name, name) == 0) {
			if (!strstr(status.refused[i].why, why))
				fail_msg("%s: %s", name, status.refused[i].why);
			return;
		}
	fail_msg("%s is not refused", name);
}

#define TOOL(name) "{\"name\":\"" name "\",\"inputSchema\":{\"type\":\"object\"}}"

static void listed_tools_join_the_declared_ones(void **state)
{
	(void)state;
	assert_int_equal(catalogue_count(now()), 2);
	assert_int_equal(catalogue_status(now(), 0).state, TOOL_LIST_AWAITED);
	assert_int_equal(catalogue_status(now(), 2).state, TOOL_LIST_DECLARED);
	list(0, "[" TOOL("read") "," TOOL("there") "]");
	list(1, "[" TOOL("write") "]");
	assert_int_equal(catalogue_count(now()), 4);
	assert_int_equal(catalogue_status(now(), 0).state, TOOL_LIST_FRESH);
	assert_int_equal(catalogue_status(now(), 0).tools, 2);
	assert_string_equal(find("read")->remote, "read");
	assert_int_equal(find("write")->upstream, 1);
	assert_null(find("there"));
	assert_ptr_equal(world.gateway.workers[0]->catalogue, world.gateway.workers[1]->catalogue);
	assert_int_equal(gateway_metric(&world, METRIC_ID_UPSTREAM_TOOLS, 0, 0), 2);
	assert_int_equal(gateway_metric(&world, METRIC_ID_UPSTREAM_LISTS, 1, 0), 1);
}

static void list_with(unsigned upstream, const char *tools, const char *instructions)
{
	const struct upstream_watcher *watcher = fake_watcher(upstream);
	watcher->tools(watcher->context, slice_of(tools), slice_of(instructions));
	spread();
}

static void instructions_are_joined_and_bounded(void **state)
{
	char much[CATALOGUE_INSTRUCTIONS_BYTES - 20];
	(void)state;
	assert_int_equal(catalogue_instructions(now()).len, 0);
	list_with(1, "[" TOOL("write") "]", "Write\n\"slowly\".");
	list_with(0, "[" TOOL("read") "]", "Read.");
	assert_true(slice_equal(catalogue_instructions(now()), SLICE("\"a: Read.\\n\\nb: Write\\n\\\"slowly\\\".\"")));
	uint64_t generation = catalogue_generation(now());
	list_with(0, "[" TOOL("read") "]", "Read on."); /* the same tools */
	assert_true(
		slice_equal(catalogue_instructions(now()), SLICE("\"a: Read on.\\n\\nb: Write\\n\\\"slowly\\\".\"")));
	assert_int_equal(catalogue_generation(now()), generation);
	memset(much, 'x', sizeof much - 1);
	much[sizeof much - 1] = '\0';
	list_with(0, "[" TOOL("read") "]", much); /* no room for another's */
	assert_int_equal(catalogue_instructions(now()).len, sizeof much - 1 + strlen("\"a: \""));
	list_with(0, "[" TOOL("read") "]", "");
	list_with(1, "[" TOOL("write") "]", "");
	assert_int_equal(catalogue_instructions(now()).len, 0);
}

static void what_an_entry_says_overrides_the_list(void **state)
{
	(void)state;
	list(0, "[{\"name\":\"there\",\"title\":\"Theirs\",\"description\":\"Theirs\",\"icons\":[1.0],"
		"\"inputSchema\":{\"type\":\"object\",\"properties\":{\"key\":{},\"q\":{\"x-mcp-header\":\"Q\"}},"
		"\"required\":[\"key\",\"q\"]},\"annotations\":{\"readOnlyHint\":true,\"openWorldHint\":false},"
		"\"_meta\":{ \"a\" : 1e2 }}]");
	const struct tool *tool = find("here");
	assert_string_equal(tool->description, "Ours");
	assert_string_equal(tool->title, "Title");
	assert_true(tool->idempotent);
	assert_false(tool->read_only); /* the hint is not trusted */
	assert_false(tool->open_world);
	assert_string_equal(
		tool->input_schema,
		"{\"type\":\"object\",\"properties\":{\"q\":{\"x-mcp-header\":\"Q\"}},\"required\":[\"q\"]}");
	assert_string_equal(
		tool->mcp,
		"{\"name\":\"here\",\"icons\":[1.0],\"_meta\":{ \"a\" : 1e2 },\"title\":\"Title\",\"description\":"
		"\"Ours\",\"inputSchema\":{\"type\":\"object\",\"properties\":{\"q\":{\"x-mcp-header\":\"Q\"}},"
		"\"required\":[\"q\"]},\"annotations\":{\"readOnlyHint\":false,\"idempotentHint\":true,"
		"\"destructiveHint\":false,\"openWorldHint\":false}}");
}

static void mcp_callers_see_the_list_as_it_came(void **state)
{
	(void)state;
	list(0, "[{\"description\":\"D\",\"name\":\"t\",\"x\":null,\"inputSchema\":{ \"type\":\"object\",\"anyOf\":[] "
		"}}]");
	assert_string_equal(find("t")->mcp, "{\"name\":\"t\",\"description\":\"D\",\"x\":null,\"inputSchema\":{ "
					    "\"type\":\"object\",\"anyOf\":[] }}");
	assert_string_equal(find("t")->input_schema, "{\"type\":\"object\",\"properties\":{}}");
	list(0, "[{\"name\":\"t\",\"inputSchema\":{\"properties\":{}}}]"); /* for which clients drop the whole list */
	assert_string_equal(find("t")->mcp, "{\"name\":\"t\",\"inputSchema\":{\"type\":\"object\",\"properties\":{}}}");
}

static void hints_count_where_they_are_trusted(void **state)
{
	(void)state;
	struct exposure *exposure = &config->generation.upstreams[0].exposure;
	static const char tools[] = "[{\"name\":\"r\",\"annotations\":{\"readOnlyHint\":true}},{\"name\":\"i\","
				    "\"annotations\":{\"idempotentHint\":true}},{\"name\":\"n\"}]";
	exposure->cache.ttl_us = 60 * CLOCK_US_PER_S;
	list(0, tools);
	assert_false(find("r")->read_only || find("i")->idempotent || find("r")->cache.ttl_us);
	exposure->trust_hints = true;
	list(0, "[]");
	list(0, tools);
	assert_true(find("r")->read_only && !find("r")->destructive && find("i")->idempotent);
	assert_int_equal(find("r")->cache.ttl_us, 60 * CLOCK_US_PER_S);
	assert_int_equal(find("i")->cache.ttl_us, 0); /* the default is for what is read only */
	assert_int_equal(find("n")->cache.ttl_us, 0);
	assert_true(find("n")->destructive && find("n")->open_world);
}

static void tools_that_cannot_be_shown_are_refused_by_name(void **state)
{
	(void)state;
	list(0,
	     "[7,{\"title\":\"nameless\"},{\"name\":\"s\",\"inputSchema\":{\"type\":\"string\"}}," TOOL("a.b") "," TOOL(
		     "a_b") "," TOOL("twice") "," TOOL("twice") ","
								"{\"name\":"
								"\"a234567890123456789012345678901234567890123456789012"
								"34567890123XY\"}]");
	assert_int_equal(catalogue_status(now(), 0).tools, 2);
	assert_string_equal(find("a_b")->remote, "a_b"); /* whatever the order: it is really called so */
	assert_non_null(find("twice"));
	expect_refused(0, "s", "tools: { s: { upstream: a, tool: \"s\", input_schema: { type: object } } }");
	expect_refused(0, "a.b", "\"a_b\" is the name of the server's tool \"a_b\" already; name this one: tools: {");
	expect_refused(0, "twice", "twice");
	expect_refused(0, "a23456789012345678901234567890123456789012345678901234567890123XY", "65 characters");
	expect_refused(0, "there", "tools.here is about it, but the server does not list it");
	assert_null(find("here"));
	assert_int_equal(gateway_metric(&world, METRIC_ID_UPSTREAM_TOOLS_REFUSED, 0, 0),
			 catalogue_status(now(), 0).refused_count);
}

/* What has not been read yet is replaced, but for a list that nothing newer stands for. */
static void one_report_of_a_server_is_held(void **state)
{
	(void)state;
	enum { LIST_BYTES = 1 << 20, REPORTS = 100 };
	const struct upstream_watcher *watcher = fake_watcher(0);
	struct buf tools = BUF_INIT(2 * LIST_BYTES);
	size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
	for (int i = 0; i < REPORTS; i++) {
		buf_reset(&tools);
		buf_printf(&tools, "[{\"name\":\"t%d\"}%*s]", i, LIST_BYTES, "");
		watcher->tools(watcher->context, buf_slice(&tools), no_instructions);
	}
	buf_fini(&tools);
	assert_true(mallinfo2().uordblks + mallinfo2().hblkhd < before + 2 * LIST_BYTES);
	watcher->tools_failed(watcher->context, "gone");
	spread();
	assert_null(find("t0"));
	assert_non_null(find("t99"));
	assert_int_equal(catalogue_status(now(), 0).state, TOOL_LIST_STALE);
	assert_string_equal(catalogue_status(now(), 0).why, "gone");
	watcher->tools_failed(watcher->context, "gone again");
	watcher->tools(watcher->context, SLICE("[{\"name\":\"back\"}]"), no_instructions);
	spread();
	assert_int_equal(catalogue_status(now(), 0).state, TOOL_LIST_FRESH);
	assert_non_null(find("back"));
	watcher->tools(watcher->context, SLICE("[{\"name\":\"unread\"}]"),
		       no_instructions); /* nobody reads it: it is freed */
}

static void a_definition_has_a_bound(void **state)
{
	(void)state;
	struct buf tools = BUF_INIT(1 << 20);
	buf_printf(&tools, "[{\"name\":\"long\",\"description\":\"%*s\"},{\"name\":\"short\"}]", 256 * 1024, "");
	list(0, buf_cstr(&tools));
	buf_fini(&tools);
	assert_non_null(find("short"));
	expect_refused(0, "\"long\"", "262144 are allowed");
}

static void hints_are_passed_on_if_the_operator_lets_them(void **state)
{
	(void)state;
	static const char tools[] = "[{\"name\":\"r\",\"annotations\":{\"readOnlyHint\":true}}]";
	list(0, tools);
	assert_non_null(strstr(find("r")->mcp, "readOnlyHint"));
	config->generation.upstreams[0].exposure.pass_hints = false;
	list(0, "[]");
	list(0, tools);
	assert_null(strstr(find("r")->mcp, "annotations"));
}

/* A description is an instruction to the models of all callers. */
static void a_changed_definition_is_counted_once(void **state)
{
	(void)state;
	static const char *const lists[] = { "[{\"name\":\"t\",\"description\":\"Good\"}]",
					     "[{\"name\":\"t\",\"description\":\"Evil\"}]", "[]",
					     "[{\"name\":\"t\",\"description\":\"Evil\"} ]",
					     "[{\"name\":\"t\",\"description\":\"Good\"}]" };
	static const int changes[] = { 0, 1, 1, 1, 2 };
	for (size_t i = 0; i < countof(lists); i++) {
		list(0, lists[i]);
		assert_int_equal(gateway_metric(&world, METRIC_ID_TOOL_DEFINITION_CHANGES, 0, 0), changes[i]);
	}
}

/* One server, as many tools as it may have, each listed twice: a moment, not minutes. */
static void a_long_list_is_read_in_one_pass(void **state)
{
	(void)state;
	enum { TOOLS = 5000 };
	struct buf tools = BUF_INIT(1 << 24);
	buf_put_char(&tools, '[');
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < TOOLS; i++)
			buf_printf(&tools, "%s{\"name\":\"t.%d\"}", i + round ? "," : "", i);
	buf_put_char(&tools, ']');
	list(0, buf_cstr(&tools));
	buf_fini(&tools);
	assert_int_equal(catalogue_status(now(), 0).tools, 8);
	assert_int_equal(catalogue_status(now(), 0).refused_count, 2 * TOOLS - 8 + 1);
}

static void names_go_by_the_order_of_the_configuration(void **state)
{
	(void)state;
	list(1, "[" TOOL("find") "," TOOL("own") "]");
	expect_refused(1, "own", "\"own\" is the name of a tool of upstream c already");
	assert_int_equal(find("find")->upstream, 1);
	list(0, "[" TOOL("find") "]"); /* late, but first */
	assert_int_equal(find("find")->upstream, 0);
	expect_refused(1, "find",
		       "is the name of a tool of upstream a already; name this one: tools: { OTHER_NAME: { "
		       "upstream: b, tool: \"find\" } }, or set upstreams.b.names: prefixed");
	list(0, "[]");
	assert_int_equal(find("find")->upstream, 1);
}

static void a_name_keeps_its_slot_and_there_are_so_many(void **state)
{
	(void)state;
	char tools[64];
	list(0, "[" TOOL("first") "]");
	unsigned slot = find("first")->index;
	assert_int_equal(slot, 2);
	for (int i = 0; i < 9; i++) {
		snprintf(tools, sizeof tools, "[{\"name\":\"new%d\"}]", i);
		list(0, tools);
	}
	assert_null(find("new8"));
	expect_refused(0, "new8", "raise upstreams.a.max_tools");
	list(0, "[" TOOL("first") "]");
	assert_int_equal(find("first")->index, slot);
	list(1, "[" TOOL("other") "]");
	assert_int_equal(find("other")->index, 2 + 8);
}

static void a_list_that_fails_stays_in_use_and_is_stale(void **state)
{
	(void)state;
	fail_to_list(1, "no answer");
	assert_int_equal(catalogue_status(now(), 1).state, TOOL_LIST_AWAITED);
	assert_string_equal(catalogue_status(now(), 1).why, "no answer");
	list(0, "[" TOOL("read") "]");
	uint64_t generation = catalogue_generation(now());
	static const char *const lies[] = { "{}", "[", "[1,2", "7", "" };
	for (size_t i = 0; i < countof(lies); i++) {
		list(0, lies[i]);
		assert_int_equal(catalogue_status(now(), 0).state, TOOL_LIST_STALE);
		assert_non_null(find("read"));
	}
	fail_to_list(0, "gone");
	assert_string_equal(catalogue_status(now(), 0).why, "gone");
	assert_int_equal(gateway_metric(&world, METRIC_ID_UPSTREAM_TOOLS_STALE, 0, 0), 1);
	list(0, "[" TOOL("read") "]");
	assert_int_equal(catalogue_status(now(), 0).state, TOOL_LIST_FRESH);
	assert_string_equal(catalogue_status(now(), 0).why, "");
	assert_int_equal(catalogue_generation(now()), generation);
	assert_int_equal(gateway_metric(&world, METRIC_ID_UPSTREAM_TOOLS_STALE, 0, 0), 0);
}

struct counter {
	struct catalogue_listener listener;
	unsigned count;
};

static void count_change(struct catalogue_listener *listener)
{
	container_of(listener, struct counter, listener)->count++;
}

static void listeners_hear_of_changes_and_of_nothing_else(void **state)
{
	(void)state;
	struct counter counter = { .listener.changed = count_change };
	TAILQ_INSERT_TAIL(&world.gateway.workers[1]->listeners, &counter.listener, next);
	list(0, "[" TOOL("read") "]");
	assert_int_equal(counter.count, 1);
	list(0, "[" TOOL("read") "]");
	list(0, "[" TOOL("read") " ]");
	fail_to_list(0, "gone");
	assert_int_equal(counter.count, 1);
	list(0, "[]");
	assert_int_equal(counter.count, 2);
	TAILQ_REMOVE(&world.gateway.workers[1]->listeners, &counter.listener, next);
}

static size_t holders(const struct generation *generation)
{
	return atomic_load(&generation->holders);
}

static void a_generation_lives_as_long_as_somebody_borrows_of_it(void **state)
{
	char error[200];
	(void)state;
	struct config *own = gateway_config(yaml);
	const struct generation *generation = &own->generation;
	struct tool_labels *tool_labels = tool_labels_new(&own->generation, 3);
	assert_non_null(tool_labels);
	struct mcp_tool_list *tool_list =
		mcp_tool_list_new(generation, 0, SLICE("[" TOOL("x") "]"), tool_labels, NULL, error, sizeof error);
	struct catalogue *catalogue = catalogue_new(generation, 1, NULL, NULL);
	assert_true(tool_list && catalogue);
	assert_int_equal(holders(generation), 3);
	tool_labels_free(tool_labels);
	config_free(own);
	assert_int_equal(holders(generation), 2);
	assert_ptr_equal(catalogue_made_for(catalogue), generation);
	assert_string_equal(catalogue_tool(catalogue, SLICE("own"))->description, "Own");
	catalogue_retire(catalogue);
	assert_int_equal(holders(generation), 1);
	mcp_tool_list_unref(tool_list); /* the last one: the leak checker sees whether all of it is gone */
}

static void a_call_that_is_away_holds_its_generation(void **state)
{
	(void)state;
	const struct generation *generation = &config->generation;
	struct ask ask;
	size_t before = holders(generation);
	ask_once(&world, &ask, 0, "own", 1);
	gateway_settle(&world);
	list(0, "[" TOOL("read") "]");
	assert_int_equal(holders(generation),
			 before + 2); /* the old catalogue, which the call holds; and the listing */
	fake_finish(fake_nth(0));
	gateway_settle(&world);
	assert_int_equal(ask.ended, 1);
	assert_int_equal(holders(generation), before + 1);
}

static void a_call_outlives_the_catalogue_it_was_found_in(void **state)
{
	(void)state;
	struct ask near, far;
	list(0, "[" TOOL("read") "]");
	ask_once(&world, &near, 0, "read", 1);
	ask_once(&world, &far, 1, "read", 2);
	gateway_settle(&world);
	list(0, "[]");
	assert_null(find("read"));
	while (fake_nth(0)) { /* the second may have waited for the first */
		fake_finish(fake_nth(0));
		gateway_settle(&world);
	}
	assert_true(near.ended == 1 && near.own && near.outcome == OUTCOME_OK);
	assert_true(far.ended == 1 && far.own && far.outcome == OUTCOME_OK);
}

static struct blob *document_now(void)
{
	return definitions_list(catalogue_definitions(now()), FORMAT_MCP)->blob;
}

/* The documents are several times as long as the lists: of so many as come during a slow call they would pile up. */
static void documents_go_with_their_last_reader(void **state)
{
	enum { LISTS = 20 };
	(void)state;
	struct ask ask;
	struct blob *documents[LISTS];
	ask_once(&world, &ask, 0, "own", 1);
	gateway_settle(&world);
	for (int i = 0; i < LISTS; i++) {
		documents[i] = blob_ref(document_now());
		list(0, i % 2 ? "[" TOOL("read") "]" : "[" TOOL("write") "]");
	}
	for (int i = 0; i < LISTS; i++) {
		assert_ptr_not_equal(documents[i], document_now());
		assert_int_equal(atomic_load(&documents[i]->refs), 1);
	}
	assert_int_equal(ask.ended, 0);
	fake_finish(fake_nth(0));
	gateway_settle(&world);
	assert_true(ask.ended == 1 && ask.own && ask.outcome == OUTCOME_OK);
	for (int i = 0; i < LISTS; i++)
		blob_unref(documents[i]);
}

/* Nobody has taken the next one yet: what all serve by is there. */
static void documents_stay_until_every_worker_has_the_next(void **state)
{
	(void)state;
	const struct upstream_watcher *watcher = fake_watcher(0);
	struct blob *document = blob_ref(document_now());
	watcher->tools(watcher->context, SLICE("[" TOOL("read") "]"), no_instructions);
	assert_true(registry_turn(world.gateway.registry, gateway_offer_catalogue, &world.gateway));
	assert_ptr_equal(document_now(), document);
	gateway_settle(&world);
	assert_ptr_not_equal(document_now(), document);
	assert_int_equal(atomic_load(&document->refs), 1);
	blob_unref(document);
}

static void a_fetch_outlives_the_catalogue_of_the_call_that_led_it(void **state)
{
	(void)state;
	static const char tools[] = "[{\"name\":\"r\",\"annotations\":{\"readOnlyHint\":true}}]";
	struct ask leader, follower;
	config->generation.upstreams[0].exposure.trust_hints = true;
	config->generation.upstreams[0].exposure.cache.ttl_us = 60 * CLOCK_US_PER_S;
	list(0, tools);
	ask_once(&world, &leader, 0, "r", 1);
	gateway_settle(&world);
	list(0, "[]");
	list(0, tools); /* the same tool, in another catalogue */
	ask_once(&world, &follower, 0, "r", 1);
	gateway_settle(&world);
	assert_int_equal(fake_sent(), 1);
	ask_cancel(&leader);
	gateway_settle(&world);
	fake_finish(fake_nth(0));
	gateway_settle(&world);
	assert_true(follower.ended == 1 && follower.own && follower.stored);
	assert_int_equal(follower.source, SOURCE_COLLAPSED);
}

static void another_schema_is_another_tool_to_the_cache(void **state)
{
	(void)state;
	static const char old[] = "[{\"name\":\"r\",\"annotations\":{\"readOnlyHint\":true}}]";
	static const char new[] = "[{\"name\":\"r\",\"annotations\":{\"readOnlyHint\":true},\"inputSchema\":{}}]";
	struct ask ask;
	config->generation.upstreams[0].exposure.trust_hints = true;
	config->generation.upstreams[0].exposure.cache.ttl_us = 60 * CLOCK_US_PER_S;
	list(0, old);
	ask_once(&world, &ask, 0, "r", 1);
	gateway_settle(&world);
	fake_finish(fake_nth(0));
	gateway_settle(&world);
	assert_true(ask.stored);
	ask_once(&world, &ask, 0, "r", 1);
	assert_int_equal(ask.source, SOURCE_HIT);
	list(0, new);
	ask_once(&world, &ask, 0, "r", 1);
	gateway_settle(&world);
	assert_int_equal(fake_sent(), 2);
	fake_finish(fake_nth(0));
	gateway_settle(&world);
	assert_int_equal(ask.source, SOURCE_MISS);
}

static void a_list_that_flaps_ten_thousand_times_leaves_nothing_behind(void **state)
{
	(void)state;
	struct ask ask;
	size_t held = 0;
	for (int i = 0; i < 10000; i++) {
		list(0, i % 2 ? "[" TOOL("read") "," TOOL("there") "]" : "[" TOOL("list") "," TOOL("read") "]");
		if (i % 100 == 0) {
			ask_once(&world, &ask, (unsigned)i / 100 % 2, "read", 1);
			gateway_settle(&world);
			list(0, "[]");
			fake_finish(fake_nth(0));
			gateway_settle(&world);
			assert_int_equal(ask.ended, 1);
		}
		if (i == 1000)
			held = mallinfo2().uordblks;
	}
	size_t now_held = mallinfo2().uordblks;
	if (now_held > held + (64 << 10)) /* one catalogue has several KiB; tables may still grow a little */
		fail_msg("%zu bytes were held after 1,000 lists, %zu after 10,000", held, now_held);
}

static void an_offer_that_was_not_taken_is_replaced(void **state)
{
	(void)state;
	const struct upstream_watcher *watcher = fake_watcher(0);
	for (int i = 0; i < 3; i++) {
		watcher->tools(watcher->context, i % 2 ? SLICE("[]") : SLICE("[" TOOL("read") "]"), no_instructions);
		assert_true(registry_turn(world.gateway.registry, gateway_offer_catalogue, &world.gateway));
	}
	assert_null(find("read")); /* nobody was turned */
	gateway_settle(&world);
	assert_non_null(find("read"));
}

static void without_memory_the_last_catalogue_stays(void **state)
{
	(void)state;
	const struct upstream_watcher *watcher = fake_watcher(0);
	struct registry *registry = world.gateway.registry;
	bool whole = false;
	for (size_t n = 1; !whole; n++) {
		assert_in_range(n, 1, 2000);
		alloc_fail_at(n);
		watcher->tools(watcher->context, SLICE("[" TOOL("read") "," TOOL("there") ",{\"name\":\"a.b\"}]"),
			       no_instructions);
		bool turned = registry_turn(registry, gateway_offer_catalogue, &world.gateway);
		alloc_reset();
		gateway_settle(&world);
		assert_non_null(find("own"));
		whole = turned && find("read");
		if (!whole) {
			while (!registry_turn(registry, gateway_offer_catalogue, &world.gateway))
				;
			gateway_settle(&world);
			list(0, "[]");
		}
	}
	assert_non_null(find("here"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	char error[100];
	if (!log_open("/dev/null", LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, error, sizeof error))
		return 1;
	const struct CMUnitTest tests[] = {
		TEST(listed_tools_join_the_declared_ones),
		TEST(instructions_are_joined_and_bounded),
		TEST(what_an_entry_says_overrides_the_list),
		TEST(mcp_callers_see_the_list_as_it_came),
		TEST(hints_count_where_they_are_trusted),
		TEST(tools_that_cannot_be_shown_are_refused_by_name),
		TEST(names_go_by_the_order_of_the_configuration),
		TEST(one_report_of_a_server_is_held),
		TEST(a_definition_has_a_bound),
		TEST(a_changed_definition_is_counted_once),
		TEST(hints_are_passed_on_if_the_operator_lets_them),
		TEST(a_long_list_is_read_in_one_pass),
		TEST(a_name_keeps_its_slot_and_there_are_so_many),
		TEST(a_list_that_fails_stays_in_use_and_is_stale),
		TEST(listeners_hear_of_changes_and_of_nothing_else),
		TEST(a_generation_lives_as_long_as_somebody_borrows_of_it),
		TEST(a_call_that_is_away_holds_its_generation),
		TEST(a_call_outlives_the_catalogue_it_was_found_in),
		TEST(documents_go_with_their_last_reader),
		TEST(documents_stay_until_every_worker_has_the_next),
		TEST(a_fetch_outlives_the_catalogue_of_the_call_that_led_it),
		TEST(another_schema_is_another_tool_to_the_cache),
		TEST(a_list_that_flaps_ten_thousand_times_leaves_nothing_behind),
		TEST(an_offer_that_was_not_taken_is_replaced),
		TEST(without_memory_the_last_catalogue_stays),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	log_close();
	return failed;
}
