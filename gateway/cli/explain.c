/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explain.c: `jitney explain TOOL`: what the flight, the cache key and the lane of a tool are made of, and why, read
 * from the configuration alone: who wonders why a call was not a hit, or with whom it travels, looks here first.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/cli_client.h"
#include "gateway/config/config.h"
#include "gateway/config/tool.h"
#include "gateway/config/values.h"

enum { OUT_BYTES_MAX = 1 << 20 };

static const char explain_help[] =
	"usage: jitney explain [-c FILE] TOOL\n\n"
	"Says what the shared flight, the cache key and the lane of a tool are made of, and why. Reads the configuration\n"
	"and starts nothing. Tools that MCP servers list are known to a running gateway only: GET /admin/tools.\n\n"
	"  -c, --config FILE  the configuration; default /etc/jitney/jitney.yaml\n";

static const struct option explain_options[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static void put_names(struct buf *out, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "%s%s", i ? ", " : "", names[i]);
}

static void put_arguments(struct buf *out, const struct tool *tool)
{
	buf_put_text(out, "    arguments  ");
	if (tool->key.only_count) {
		buf_put_text(out, "only ");
		put_names(out, tool->key.only, tool->key.only_count);
		buf_put_text(out, " (cache.key.only)");
	} else {
		buf_put_text(out, "all");
		if (tool->key.ignore_count) {
			buf_put_text(out, " but ");
			put_names(out, tool->key.ignore, tool->key.ignore_count);
			buf_put_text(out, " (cache.key.ignore)");
		}
	}
	buf_printf(
		out,
		"; in whatever order and spelling, numbers digit for digit; of more than %d KiB as they are spelled\n",
		KEY_SPELLED_BYTES / 1024);
}

static void put_whose(struct buf *out, const struct tool *tool)
{
	static const char *const whose[] = {
		[SCOPE_SHARED] = "everybody's (cache.scope: shared)",
		[SCOPE_TENANT] =
			"one tenant's (cache.scope: tenant): the name that a trusted proxy puts into identity.tenant_header",
		[SCOPE_CALLER] = "one caller's (cache.scope: caller): the tenant, and the Authorization header",
	};
	buf_printf(out, "    whose      %s\n", whose[tool->scope]);
}

static void put_key(struct buf *out, const struct tool *tool, const struct upstream_config *upstream)
{
	buf_printf(out, "    tool       %s\n", tool->name);
	buf_printf(
		out,
		"    source     what is asked of upstream %s and with what: method or request, dialect, addresses, headers,\n"
		"               program and environment, secrets included: another account or database has other answers.\n"
		"               Without its secrets it is the version that definitions show: %s\n",
		upstream->settings.name, tool->version);
	put_whose(out, tool);
	put_arguments(out, tool);
}

static void put_flight(struct buf *out, const struct tool *tool, const struct upstream_config *upstream)
{
	if (!tool_is_repeatable(tool)) {
		buf_put_text(
			out,
			"  flight     none: each call is sent, at most once. annotations say neither read_only nor "
			"idempotent, so that\n             it may be merged with another or repeated is not known\n");
		return;
	}
	buf_printf(out,
		   "  flight     identical calls in progress share one fetch, since annotations say %s. Identical in\n",
		   tool->read_only ? "read_only" : "idempotent");
	put_key(out, tool, upstream);
}

static void put_time(struct buf *out, const char *what, uint64_t time_us)
{
	if (!time_us)
		return;
	buf_printf(out, ", %s ", what);
	value_put_duration(out, time_us);
}

static void put_cache(struct buf *out, const struct config *config, const struct tool *tool)
{
	bool somewhere = config->generation.memory_bytes || config->generation.redis || config->disk;
	if (!tool_is_cached(tool) || !somewhere) {
		buf_printf(out, "  cache      nothing is kept: %s\n",
			   tool_is_cached(tool) ? "cache.memory.size is 0, and there is neither Redis nor a disk tier"
			   : !tool_is_repeatable(tool) ? "only answers of read_only or idempotent tools are"
			   : tool->cache.negative_ttl_us
				   ? "cache.ttl is not set, and without it cache.negative_ttl keeps nothing"
				   : "cache.ttl is not set");
		return;
	}
	buf_put_text(out, "  cache key  the same as of the flight. Kept");
	put_time(out, "fresh for", tool->cache.ttl_us);
	put_time(out, "then served while it is fetched anew for", tool->cache.stale_while_revalidate_us);
	put_time(out, "if the provider fails for", tool->cache.stale_if_error_us);
	put_time(out, "refusals of the tool for", tool->cache.negative_ttl_us);
	const char *const places[] = { config->generation.memory_bytes ? "memory" : NULL,
				       config->generation.redis ? "Redis" : NULL, config->disk ? "disk" : NULL };
	const char *comma = "";
	buf_put_text(out, "\n    in         ");
	for (size_t i = 0; i < countof(places); i++)
		if (places[i]) {
			buf_printf(out, "%s%s", comma, places[i]);
			comma = ", ";
		}
	buf_put_char(out, '\n');
	if (tool->tag_count) {
		buf_put_text(out, "    tags       ");
		put_names(out, tool->tags, tool->tag_count);
		buf_put_char(out, '\n');
	}
}

static void put_lane(struct buf *out, const struct tool *tool, const struct upstream_config *upstream)
{
	static const char *const with[] = {
		[COMPANY_OF_ANYBODY] = "calls of anybody (batch.writes: any)",
		[COMPANY_OF_ONE_CALLER] = ("calls of the same caller (batch.writes: caller): what fails a "
					   "request fails it for all in it"),
		[COMPANY_OF_NOBODY] = "nothing: each call is a request of its own (batch.writes: alone)"
	};
	bool shares = upstream_shares_requests(upstream);
	buf_printf(out, "  lane       upstream %s; tools of a similar latency; ", upstream->settings.name);
	if (!shares)
		buf_printf(out, "each call is a request of its own: %s\n",
			   upstream->batch.mode == BATCH_OFF ? "batch.mode is off"
			   : upstream->settings.process
				   ? "a program takes one line a call"
				   : "one call is all that its dialect or batch.items puts into a request");
	else
		buf_printf(out, "up to %zu calls a request\n", upstream_request_calls(upstream));
	if (shares && tool_is_repeatable(tool))
		buf_put_text(
			out,
			"    with       calls of anybody: no caller's credential is sent to a provider, so the request is the same\n");
	else if (shares)
		buf_printf(out, "    with       %s\n", with[tool_company(tool, upstream)]);
	if (tool_grouping_dialect(tool))
		buf_printf(
			out,
			"    and        only what dialect %s can put into one request with it: for some calls that is nothing\n",
			tool_grouping_dialect(tool));
	buf_put_text(out, "    alone      a call with an Idempotency-Key, which a request can carry but one of\n");
	buf_printf(out, "    sent by    %u worker%s", upstream->owners,
		   upstream->owners == 1
			   ? ""
			   : "s, if there are so many: each those of its own callers, equal calls by one");
	if (upstream->owners_because)
		buf_put_text(out, ". ");
	upstream_put_owners(out, upstream);
	buf_put_char(out, '\n');
}

static int explain_tool(const char *path, const char *name)
{
	struct buf errors = BUF_INIT(OUT_BYTES_MAX), out = BUF_INIT(OUT_BYTES_MAX);
	struct config *config = config_load(path, &errors);
	const struct tool *tool = NULL;
	for (size_t i = 0; config && i < config->generation.tool_count && !tool; i++)
		if (strcmp(config->generation.tools[i].name, name) == 0)
			tool = &config->generation.tools[i];
	if (!config) {
		fputs(buf_cstr(&errors), stderr);
	} else if (!tool) {
		fprintf(stderr,
			"jitney explain: %s declares no tool \"%s\"; one that an MCP server lists is shown by GET /admin/tools\n",
			path, name);
	} else {
		const struct upstream_config *upstream = &config->generation.upstreams[tool->upstream];
		buf_printf(&out, "%s\n", name);
		put_flight(&out, tool, upstream);
		put_cache(&out, config, tool);
		put_lane(&out, tool, upstream);
		fputs(buf_cstr(&out), stdout);
	}
	bool ok = tool && !out.failed;
	buf_fini(&out);
	buf_fini(&errors);
	config_free(config);
	return ok ? EXIT_SUCCESS : EXIT_USAGE;
}

int cli_explain(int argc, char **argv)
{
	const char *path = CLI_DEFAULT_CONFIG;
	for (int option; (option = getopt_long(argc, argv, "c:h", explain_options, NULL)) != -1;) {
		if (option == 'c') {
			path = optarg;
		} else if (option == 'h') {
			fputs(explain_help, stdout);
			return EXIT_SUCCESS;
		} else {
			return cli_wrong_usage("explain", "an option is not known or lacks its value");
		}
	}
	if (optind != argc - 1)
		return cli_wrong_usage("explain", "name one tool");
	return explain_tool(path, argv[optind]);
}
