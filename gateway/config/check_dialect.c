/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_dialect.c: what is asked of upstreams and tools for the sake of their dialects (dialects.h): options that others
 * know, the dialects' own checks, the tools' routes.
 */
#include <stdio.h>

#include "gateway/config/config_private.h"

/* clang-format off */
#define DECLARE(name) extern const struct config_dialect name;
CONFIG_DIALECTS(DECLARE)
#define ADDRESS(name) &(name),
static const struct config_dialect *const dialects[] = { CONFIG_DIALECTS(ADDRESS) };
/* clang-format on */

const struct config_dialect *config_dialect_find(const char *name)
{
	for (size_t i = 0; name && i < countof(dialects); i++)
		if (strcmp(dialects[i]->dialect->name, name) == 0)
			return dialects[i];
	return NULL;
}

static bool is_listed(const char *const *names, const char *name)
{
	for (; names && *names; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

/* The names of those that know an option; empty: it is everybody's. */
static struct buf who_knows(const char *option, bool of_tools)
{
	struct buf names = BUF_INIT(1024);
	for (size_t i = 0; i < countof(dialects); i++)
		if (is_listed(of_tools ? dialects[i]->tool_options : dialects[i]->options, option))
			buf_printf(&names, "%s%s", names.len ? " or " : "", dialects[i]->dialect->name);
	return names;
}

bool config_dialect_hides(const char *dialect, const char *option)
{
	const struct config_dialect *own = config_dialect_find(dialect);
	struct buf names = who_knows(option, false);
	bool hides = names.len > 0 && !(own && is_listed(own->options, option));
	buf_fini(&names);
	return hides;
}

void config_note_dialect_error(struct config_load *load, const struct node *block, const char *where,
			       const struct dialect_error *error)
{
	const struct node *node = *error->part ? node_find(block, error->part) : NULL;
	const char *dot = *error->part ? "." : "";
	if (node)
		config_error_at(load, node, "%s.%s: %s", where, error->part, error->text);
	else
		config_error_key(load, block, "%s%s%s: %s", where, dot, error->part, error->text);
}

/* Options that only others know would do nothing, silently. `of`: "tools" or "upstreams". False: there is one. */
static bool check_options(struct config_load *load, const struct node *draft, const char *of,
			  const struct config_dialect *own)
{
	bool of_tools = strcmp(of, "tools") == 0, good = true;
	for (size_t i = 0; i < countof(dialects); i++) {
		const char *const *options = of_tools ? dialects[i]->tool_options : dialects[i]->options;
		for (; good && options && *options; options++) {
			const struct node *node = node_find(draft, *options);
			if (!node || (node->kind == NODE_LIST && node->count == 0) ||
			    is_listed(of_tools ? own->tool_options : own->options, *options))
				continue;
			struct buf names = who_knows(*options, of_tools);
			config_error_key(load, node, "%s.%s.%s: is for dialect %s, not %s", of, draft->key.at, *options,
					 buf_cstr(&names), own->dialect->name);
			buf_fini(&names);
			good = false;
		}
	}
	return good;
}

/* --- upstreams --- */

void config_check_dialect(struct config_load *load, struct upstream_draft *draft)
{
	const struct node *node = node_find(draft->node, "dialect");
	const struct config_dialect *own = config_dialect_find(draft->dialect);
	if (draft->dialect && !own && node)
		config_error_at(load, node, "upstreams.%s.dialect: %s is not supported by this version (%s)",
				draft->node->key.at, draft->dialect, JITNEY_VERSION);
	if (!own)
		return;
	(void)check_options(load, draft->node, "upstreams", own);
	if (own->check)
		own->check(load, draft);
	draft->config.settings.dialect = draft->own || own->dialect->release ? draft->own : own->dialect;
}

/* --- tools --- */

/* At the option it is about: of the request, or of the tool itself. */
static void note_route_error(struct config_load *load, const struct tool_draft *draft,
			     const struct dialect_error *error)
{
	const struct node *request = node_find(draft->node, "request"), *method = node_find(draft->node, "method");
	const char *tool = draft->node->key.at, *colon = *error->part ? ": " : "";
	const struct node *inner = *error->part && request ? node_find(request, error->part) : NULL;
	const struct node *own = *error->part ? node_find(draft->node, error->part) : NULL;
	if (inner)
		config_error_at(load, inner, "tools.%s.request.%s: %s", tool, error->part, error->text);
	else if (own)
		config_error_at(load, own, "tools.%s.%s: %s", tool, error->part, error->text);
	else
		config_error_key(load,
				 request  ? request
				 : method ? method
					  : draft->node,
				 "tools.%s: %s%s%s", tool, error->part, colon, error->text);
}

static void compile_route(struct config_load *load, struct tool_draft *draft, const struct dialect *dialect)
{
	struct dialect_error error = { 0 };
	draft->request.tool = draft->node->key.at;
	draft->request.own = dialect;
	draft->request.repeatable = tool_is_repeatable(&draft->tool);
	draft->request.key_list = draft->own_settings.key_list.parameter ? &draft->own_settings.key_list : NULL;
	draft->tool.route = dialect->route_new(&draft->request, &error);
	if (!draft->tool.route)
		note_route_error(load, draft, &error);
}

void config_check_route(struct config_load *load, struct tool_draft *draft, const struct upstream_draft *upstream)
{
	const struct dialect *dialect = upstream->config.settings.dialect;
	if (check_options(load, draft->node, "tools", config_dialect_find(dialect->name)) &&
	    config_check_listed(load, draft, dialect) && !draft->faulty) /* else a template may be missing */
		compile_route(load, draft, dialect);
}

void config_fill_request(struct config_load *load, struct tool_draft *draft, const struct dialect *dialect)
{
	const struct config_dialect *own = config_dialect_find(dialect->name);
	if (own->fill_tool)
		own->fill_tool(load, draft);
}
