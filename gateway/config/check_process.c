/* SPDX-License-Identifier: Apache-2.0 */
/* check_process.c: upstreams that are programs: which options go with them, and whether the program is there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/config/config_private.h"

enum { PROCESSES_DEFAULT = 4, PATH_BYTES = 4096 };
#define IDLE_DEFAULT_US (600 * CLOCK_US_PER_S)
/* How a process is stopped: stdin closed, then SIGTERM, then SIGKILL. */
#define GRACE_US (2 * CLOCK_US_PER_S)
#define TERM_US (2 * CLOCK_US_PER_S)
#define SAMPLE_US (5 * CLOCK_US_PER_S)

static const char *const of_programs[] = { "command",
					   "args",
					   "env",
					   "cwd",
					   "memory",
					   "pool.min",
					   "pool.calls",
					   "pool.max_calls",
					   "pool.restart_backoff",
					   "pool.start_timeout",
					   NULL };
static const char *const of_servers[] = { "endpoints",
					  "headers",
					  "deadline_header",
					  "ca_file",
					  "pool.min_idle",
					  "pool.connect_timeout",
					  "balance",
					  "affinity",
					  "health.path",
					  "health.method",
					  "health.tcp",
					  "health.interval",
					  "health.timeout",
					  "health.rise",
					  "health.fall",
					  "ejection.failures",
					  "ejection.base",
					  "ejection.max",
					  "ejection.share",
					  "hedge",
					  "dns_ttl",
					  "http",
					  NULL };

static const char *const of_greeted[] = { "pool.start_timeout", NULL };

bool config_is_program(const struct upstream_draft *draft)
{
	const struct dialect *dialect = draft->config.settings.dialect;
	return dialect == &dialect_mcp_stdio || dialect == &dialect_jsonrpc_stdio;
}

static bool is_among(const char *const *paths, const char *path)
{
	for (; *paths; paths++)
		if (strcmp(path, *paths) == 0)
			return true;
	return false;
}

bool config_is_foreign(const struct upstream_draft *draft, const struct option *option)
{
	static const char prefix[] = "upstreams.*.";
	const struct dialect *dialect = draft->config.settings.dialect;
	const char *path = option->path + strlen(prefix);
	if (strncmp(option->path, prefix, strlen(prefix)) != 0)
		return false;
	return is_among(config_is_program(draft) ? of_servers : of_programs, path) ||
	       (dialect != &dialect_mcp_stdio && is_among(of_greeted, path)) ||
	       (!dialect->lists_tools && is_among(config_of_tool_list, path));
}

/* Options of the other sort of provider. */
static void refuse_options(struct config_load *load, const struct upstream_draft *draft, const char *const *paths,
			   const char *whose)
{
	for (; *paths; paths++) {
		const struct node *node = node_find(draft->node, *paths);
		if (node)
			config_error_key(load, node, "upstreams.%s.%s: is for %s, not %s", draft->node->key.at, *paths,
					 whose, draft->dialect);
	}
}

static void check_variables(struct config_load *load, const struct upstream_draft *draft)
{
	const struct node *block = node_find(draft->node, "env");
	for (const struct node *node = block ? block->first : NULL; node; node = node->next)
		if (node->key.len && memchr(node->key.at, '=', node->key.len))
			config_error_key(load, node, "upstreams.%s.env: a name cannot hold '='", draft->node->key.at);
}

static struct config_mark mark_of(const struct upstream_draft *draft, const char *path)
{
	const struct node *node = node_find(draft->node, path);
	return node ? (struct config_mark){ node->line, node->column } : (struct config_mark){ 0 };
}

void config_check_program(struct config_load *load, struct upstream_draft *draft)
{
	struct process_pool_settings *pool = &draft->process;
	const struct node *min = node_find(draft->node, "pool.min");
	if (!config_is_program(draft) && draft->node->kind == NODE_MAP && !node_find(draft->node, "endpoints") &&
	    !node_find(draft->node, "command"))
		config_error_key(load, draft->node, "upstreams.%s.endpoints is missing", draft->node->key.at);
	if (!draft->config.settings.dialect)
		return;
	if (!config_is_program(draft)) {
		refuse_options(load, draft, of_programs, "dialects mcp-stdio and jsonrpc-stdio");
		return;
	}
	refuse_options(load, draft, of_servers, "providers over HTTP");
	if (draft->config.settings.dialect != &dialect_mcp_stdio)
		refuse_options(load, draft, of_greeted, "dialect mcp-stdio, whose processes answer to initialize");
	check_variables(load, draft);
	draft->command_mark = mark_of(draft, "command");
	draft->cwd_mark = mark_of(draft, "cwd");
	if (!draft->command && !node_find(draft->node, "command"))
		config_error_key(load, draft->node, "upstreams.%s.command is missing: dialect %s needs it",
				 draft->node->key.at, draft->dialect);
	pool->max = node_find(draft->node, "pool.max") ? draft->config.settings.pool_max : PROCESSES_DEFAULT;
	pool->idle_timeout_us =
		node_find(draft->node, "pool.idle_timeout") ? draft->config.settings.idle_timeout_us : IDLE_DEFAULT_US;
	if (min && pool->min > pool->max)
		config_error_at(load, min, "upstreams.%s.pool.min: is more than pool.max, which is %zu",
				draft->node->key.at, pool->max);
}

bool config_finish_program(struct config_load *load, struct upstream_draft *draft)
{
	struct process_pool_settings *pool = &draft->process;
	struct upstream_settings *settings = &draft->config.settings;
	const char **argv = arena_array(load->arena, draft->arg_count + 2, sizeof *argv);
	struct endpoint_draft *endpoint = arena_array(load->arena, 1, sizeof *endpoint);
	if (!argv || !endpoint)
		return false;
	argv[0] = draft->command;
	for (size_t i = 0; i < draft->arg_count; i++)
		argv[i + 1] = draft->args[i];
	pool->process.argv = argv;
	pool->process.cwd = draft->cwd;
	pool->process.program_shown = secrets_shown(&load->config->secrets, draft->command);
	pool->process.cwd_shown = draft->cwd ? secrets_shown(&load->config->secrets, draft->cwd) : NULL;
	pool->process.sample_us = SAMPLE_US;
	pool->process.grace_us = GRACE_US;
	pool->process.term_us = TERM_US;
	pool->process.line_bytes = settings->answer_bytes;
	pool->process.queue_bytes = draft->config.batch.queue_bytes;
	settings->process = pool;
	settings->pool_max = pool->max;
	settings->idle_timeout_us = pool->idle_timeout_us;
	endpoint->url = draft->command; /* in metrics and on pages it stands where an address would */
	endpoint->weight = 1;
	draft->endpoints = endpoint;
	draft->endpoint_count = 1;
	return true;
}

/* --- Is it there? --- */

static bool is_executable(const char *directory, size_t len, const char *command)
{
	char path[PATH_BYTES];
	int wrote = snprintf(path, sizeof path, "%.*s%s%s", (int)len, directory, len ? "/" : "", command);
	return wrote > 0 && (size_t)wrote < sizeof path && access(path, X_OK) == 0;
}

static const char *path_of(const struct upstream_draft *draft)
{
	const struct process_settings *process = &draft->process.process;
	for (size_t i = 0; i < process->variable_count; i++)
		if (strcmp(process->variables[i].name, "PATH") == 0)
			return process->variables[i].value;
	return getenv("PATH");
}

/* Where execvp(3) would look. */
static bool is_there(const struct upstream_draft *draft)
{
	const char *command = draft->command, *at = path_of(draft), *cwd = draft->cwd ? draft->cwd : "";
	if (strchr(command, '/'))
		return command[0] == '/' ? is_executable("", 0, command) : is_executable(cwd, strlen(cwd), command);
	for (at = at ? at : "/bin:/usr/bin"; *at; at += *at == ':') {
		size_t len = strcspn(at, ":");
		if (is_executable(at, len, command))
			return true;
		at += len;
	}
	return false;
}

static void report_missing(const struct config *config, const struct upstream_draft *draft, struct buf *errors)
{
	const char *why = "; install it, or write its path";
	if (strchr(draft->command, ' '))
		why = ": command is the program alone, its arguments go into args";
	buf_printf(errors, "%s:%u:%u: upstreams.%s.command: there is no program '%s'%s%s\n", config->path,
		   draft->command_mark.line, draft->command_mark.column, draft->config.settings.name,
		   secrets_shown(&config->secrets, draft->command), strchr(draft->command, '/') ? "" : " in PATH", why);
}

bool config_programs(const struct config *config, struct buf *errors)
{
	const struct config_drafts *drafts = config->drafts;
	bool all = true;
	for (size_t i = 0; i < drafts->upstream_count; i++) {
		const struct upstream_draft *draft = &drafts->upstreams[i];
		if (!draft->config.settings.process || !draft->command)
			continue; /* the command is required: without one there has been a complaint */
		bool cwd_there = !draft->cwd || access(draft->cwd, X_OK) == 0;
		if (!cwd_there)
			buf_printf(errors, "%s:%u:%u: upstreams.%s.cwd: %s\n", config->path, draft->cwd_mark.line,
				   draft->cwd_mark.column, draft->config.settings.name, strerror(errno));
		/* a program below a cwd that is not there has been told of with it */
		bool below = strchr(draft->command, '/') && draft->command[0] != '/';
		bool there = is_there(draft);
		if (!there && (cwd_there || !below))
			report_missing(config, draft, errors);
		all = all && cwd_there && there;
	}
	return all;
}
