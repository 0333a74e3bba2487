/* SPDX-License-Identifier: Apache-2.0 */
/* import.c: one client's file, read by json-c, written server by server as YAML. */
#include "gateway/cli/import.h"

#include <ctype.h>
#include <json-c/json.h>
#include <stdio.h>
#include <strings.h>

#include "base/compiler.h"
#include "base/json_write.h"
#include "base/utf8.h"
#include "gateway/cli/import_secrets.h"
#include "gateway/cli/import_text.h"
#include "upstream/upstream.h"

enum {
	OUT_BYTES_MAX = 16 << 20,
	NAME_BYTES = 65,
	NUMBER_BYTES = 8 /* of a name, "_12345" */,
	DEPTH_MAX = 64,
	REASON_BYTES = 200,
	TIMEOUT_MAX_MS = 3600 * 1000
};

struct import {
	struct buf *body;            /* of upstreams: */
	struct buf variables;        /* comment lines, one a variable: "#   NAME  what for\n" */
	struct buf top;              /* members of the file that are not taken over */
	struct json_object *names;   /* of upstreams so far: members without a value */
	struct json_object *taken;   /* names of variables that stand for a secret: likewise */
	struct json_object *noted;   /* names of variables that `variables` has: likewise */
	struct json_object *given;   /* by the name that was wanted for it and the secret: the variable's name */
	struct json_object *numbers; /* by the name that was wanted: the last number behind it */
	const char *indent;          /* before each line of a server: "  ", or "  # " for one that is switched off */
	char server[NAME_BYTES];
	size_t servers;
	bool failed; /* memory was out, or something is too long */
};

/* What a server's object says; borrowed, NULL if absent. */
struct server {
	struct json_object *type, *command, *args, *env, *cwd, *url, *headers, *disabled, *enabled, *timeout;
};

/* A text that was put together has been used. */
static void drop_text(struct import *import, struct buf *text)
{
	import->failed |= text->failed;
	buf_fini(text);
}

/* ---------------------------------------------------------------- reading */

/* The members of an object in the file's order; json-c's own loop is a macro that tools cannot read. */
struct members {
	struct json_object_iterator at, end;
};

static struct members members_of(struct json_object *object)
{
	return (struct members){ json_object_iter_begin(object), json_object_iter_end(object) };
}

static bool next_member(struct members *members, const char **name, struct json_object **value)
{
	if (json_object_iter_equal(&members->at, &members->end))
		return false;
	*name = json_object_iter_peek_name(&members->at);
	*value = json_object_iter_peek_value(&members->at);
	json_object_iter_next(&members->at);
	return true;
}

static bool is_text(struct json_object *value)
{
	return json_object_is_type(value, json_type_string);
}

static bool is_object(struct json_object *value)
{
	return json_object_is_type(value, json_type_object);
}

/* A string's own text, any other value as it is written. Valid like the value. */
static struct slice text_of(struct json_object *value)
{
	if (is_text(value))
		return (struct slice){ json_object_get_string(value), (size_t)json_object_get_string_len(value) };
	return slice_of(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* The object of servers, whatever the client calls it; NULL: there is none. Notes what else is there. */
static struct json_object *find_servers(struct import *import, struct json_object *root)
{
	static const char *const names[] = { "mcpServers", "servers", "context_servers" };
	struct json_object *servers = NULL;
	struct members members = members_of(root);
	struct json_object *value;
	const char *name;
	while (next_member(&members, &name, &value)) {
		bool known = strcmp(name, "inputs") == 0;
		for (size_t i = 0; i < countof(names); i++)
			if (strcmp(name, names[i]) == 0 && is_object(value)) {
				servers = value;
				known = true;
			}
		if (strcmp(name, "mcp") == 0 && is_object(value) && !servers) {
			servers = find_servers(import, value);
			known = true;
		}
		if (known)
			continue;
		buf_put_char(&import->top, ' ');
		import_put_shown(&import->top, slice_of(name));
	}
	return servers;
}

/* Comments and commas before a closing bracket are read over, as json-c does unless it is strict. NULL: `error` says
 * why. The caller's. */
static struct json_object *read_file(struct slice text, char *error, size_t error_bytes)
{
	struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX), *behind = json_tokener_new_ex(DEPTH_MAX);
	struct json_object *root = NULL, *more = NULL;
	if (!tokener || !behind || text.len > INT32_MAX) {
		snprintf(error, error_bytes, "is too large, or memory is out");
	} else {
		json_tokener_set_flags(tokener, JSON_TOKENER_VALIDATE_UTF8);
		root = json_tokener_parse_ex(tokener, text.at, (int)text.len);
		enum json_tokener_error wrong = json_tokener_get_error(tokener);
		size_t end = json_tokener_get_parse_end(tokener);
		/* behind it may stand blanks and comments, of which json-c makes nothing yet */
		if (wrong == json_tokener_success && end < text.len) {
			more = json_tokener_parse_ex(behind, text.at + end, (int)(text.len - end));
			if (more || json_tokener_get_error(behind) != json_tokener_continue)
				wrong = json_tokener_error_parse_unexpected;
		}
		if (wrong == json_tokener_continue)
			snprintf(error, error_bytes, "is not JSON: it ends too soon");
		else if (wrong != json_tokener_success)
			snprintf(error, error_bytes, "is not JSON: %s at byte %zu", json_tokener_error_desc(wrong),
				 end);
	}
	if (*error) {
		json_object_put(root);
		root = NULL;
	}
	json_object_put(more);
	if (behind)
		json_tokener_free(behind);
	if (tokener)
		json_tokener_free(tokener);
	return root;
}

/* ---------------------------------------------------------------- names and variables */

static void put_variable_name(struct buf *out, struct slice text)
{
	if (text.len && isdigit((unsigned char)text.at[0]))
		buf_put_char(out, '_');
	for (size_t i = 0; i < text.len; i++)
		buf_put_char(out, isalnum((unsigned char)text.at[i]) ? (char)toupper((unsigned char)text.at[i]) : '_');
}

/* False: it has been there. Takes the value. */
static bool add_member(struct import *import, struct json_object *object, const char *name, struct json_object *value)
{
	if (json_object_object_get_ex(object, name, NULL)) {
		json_object_put(value);
		return false;
	}
	if (json_object_object_add(object, name, value) == 0)
		return true;
	json_object_put(value);
	import->failed = true;
	return true;
}

/* Make it a name that is not in `taken` yet, by a number behind it where it has to be, and put it in there. */
static void claim_name(struct import *import, struct json_object *taken, struct buf *name)
{
	struct buf stem = BUF_INIT(1024);
	struct json_object *last = NULL;
	buf_put(&stem, buf_slice(name));
	int number = json_object_object_get_ex(import->numbers, buf_cstr(&stem), &last) ? json_object_get_int(last) : 1;
	while (!add_member(import, taken, buf_cstr(name), NULL) && !name->failed && !stem.failed) {
		buf_reset(name);
		buf_printf(name, "%s_%d", buf_cstr(&stem), ++number);
	}
	if (last) {
		json_object_set_int(last, number);
	} else if (number > 1) {
		last = json_object_new_int(number);
		import->failed |= !last;
		add_member(import, import->numbers, buf_cstr(&stem), last);
	}
	drop_text(import, &stem);
}

/* Append ${NAME}, and note that it has to be set. */
static void put_variable(struct import *import, struct buf *out, struct slice name, const char *what_for)
{
	struct buf text = BUF_INIT(1024);
	buf_put(&text, name);
	if (add_member(import, import->noted, buf_cstr(&text), NULL))
		buf_printf(&import->variables, "#   %.*s  %s of %s\n", SLICE_ARG(name), what_for, import->server);
	drop_text(import, &text);
	buf_put_text(out, "${");
	buf_put(out, name);
	buf_put_char(out, '}');
}

/* A name is [A-Za-z_][A-Za-z0-9_]* in a configuration; any other becomes one. */
static void put_variable_of(struct import *import, struct buf *out, struct slice text, const char *what_for)
{
	struct buf name = BUF_INIT(1024);
	bool plain = text.len > 0 && !isdigit((unsigned char)text.at[0]);
	for (size_t i = 0; i < text.len; i++)
		plain &= isalnum((unsigned char)text.at[i]) || text.at[i] == '_';
	if (plain)
		buf_put(&name, text);
	else
		put_variable_name(&name, text);
	put_variable(import, out, buf_slice(&name), what_for);
	drop_text(import, &name);
}

/* Copy a text; ${input:x}, ${env:X}, ${X} and ${X:-default} become ${X}. */
static void put_expanded(struct import *import, struct buf *out, struct slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		const char *end = NULL;
		if (text.at[i] == '$' && i + 1 < text.len && text.at[i + 1] == '{')
			end = memchr(text.at + i, '}', text.len - i);
		if (!end) {
			bool opens = text.at[i] == '$' && i + 1 < text.len && text.at[i + 1] == '{';
			buf_put_text(out, opens ? "$$" : ""); /* $${ stands for ${ */
			if (!opens)
				buf_put_char(out, text.at[i]);
			continue;
		}
		struct slice inner = { text.at + i + 2, (size_t)(end - text.at) - i - 2 };
		const char *what = "a variable";
		if (inner.len > 6 && memcmp(inner.at, "input:", 6) == 0) {
			inner = (struct slice){ inner.at + 6, inner.len - 6 };
			what = "an input";
		} else if (inner.len > 4 && memcmp(inner.at, "env:", 4) == 0) {
			inner = (struct slice){ inner.at + 4, inner.len - 4 };
		}
		const char *otherwise = memmem(inner.at, inner.len, ":-", 2);
		if (otherwise) {
			inner.len = (size_t)(otherwise - inner.at);
			what = "a variable (the file has a default)";
		}
		put_variable_of(import, out, inner, what);
		i = (size_t)(end - text.at);
	}
}

/* ---------------------------------------------------------------- writing */

static void put_line(struct import *import, const char *key)
{
	buf_printf(import->body, "%s  %s:", import->indent, key);
}

static void put_comment(struct import *import, const char *format, ...) PRINTF_LIKE(2, 3);

static void put_comment(struct import *import, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	buf_printf(import->body, "%s  # ", import->indent);
	buf_vprintf(import->body, format, args);
	buf_put_char(import->body, '\n');
	va_end(args);
}

/* A variable stands for one secret: where its name has been given to another one, it gets a number. */
static void number_variable(struct import *import, struct buf *variable, struct slice secret)
{
	struct buf which = BUF_INIT(OUT_BYTES_MAX);
	struct json_object *given = NULL;
	buf_put(&which, buf_slice(variable));
	json_put_string(&which, secret);
	if (json_object_object_get_ex(import->given, buf_cstr(&which), &given)) {
		buf_reset(variable);
		buf_put(variable, text_of(given));
	} else {
		claim_name(import, import->taken, variable);
		given = json_object_new_string(buf_cstr(variable));
		import->failed |= !given;
		add_member(import, import->given, buf_cstr(&which), given);
	}
	drop_text(import, &which);
}

/* ${SERVER_NAME}, or ${NAME} without `prefix`, for `secret`. */
static void put_secret(struct import *import, struct buf *out, const char *prefix, struct slice name,
		       struct slice secret)
{
	struct buf variable = BUF_INIT(1024);
	if (*prefix) {
		put_variable_name(&variable, slice_of(prefix));
		buf_put_char(&variable, '_');
		put_variable_name(&variable, name);
	} else {
		buf_put(&variable, name);
	}
	number_variable(import, &variable, secret);
	put_variable_of(import, out, buf_slice(&variable), "a secret");
	drop_text(import, &variable);
}

/* A value that may hold variables, or be a secret as a whole: then it becomes ${secret}, whose name begins with
 * `prefix`, if not empty. */
static void put_value(struct import *import, struct slice text, const char *prefix, struct slice name)
{
	struct buf value = BUF_INIT(OUT_BYTES_MAX);
	bool variable = memmem(text.at, text.len, "${", 2);
	if (!variable && text.len && (import_sounds_secret(name) || import_looks_secret(text)))
		put_secret(import, &value, prefix, name.len ? name : SLICE("SECRET"), text);
	else
		put_expanded(import, &value, text);
	import_put_quoted(import->body, buf_slice(&value));
	drop_text(import, &value);
}

static void put_text(struct import *import, const char *key, struct json_object *value)
{
	put_line(import, key);
	buf_put_char(import->body, ' ');
	put_value(import, text_of(value), import->server, slice_of(key));
	buf_put_char(import->body, '\n');
}

/* env and headers. Secrets of an environment keep their names; headers get the server's before them. */
static void put_map(struct import *import, const char *key, struct json_object *map, const char *prefix)
{
	if (!is_object(map) || json_object_object_length(map) == 0)
		return;
	put_line(import, key);
	buf_put_char(import->body, '\n');
	struct members members = members_of(map);
	struct json_object *value;
	const char *name;
	while (next_member(&members, &name, &value)) {
		buf_printf(import->body, "%s    ", import->indent);
		import_put_quoted(import->body, slice_of(name));
		buf_put_text(import->body, ": ");
		put_value(import, text_of(value), prefix, slice_of(name));
		buf_put_char(import->body, '\n');
	}
}

/* NAME=VALUE, --name=VALUE and Name: VALUE, whose value alone is the secret. False: it is not of that form, or none. */
static bool put_assignment(struct import *import, struct slice argument)
{
	const char *equals = argument.len ? memchr(argument.at, '=', argument.len) : NULL;
	const char *colon = argument.len ? memmem(argument.at, argument.len, ": ", 2) : NULL;
	const char *at = colon && (!equals || colon < equals) ? colon : equals;
	if (!at || memmem(argument.at, argument.len, "${", 2))
		return false;
	struct slice name = { argument.at, (size_t)(at - argument.at) };
	size_t before = name.len + (at == colon ? 2 : 1);
	struct slice set = { argument.at + before, argument.len - before };
	if (!set.len || (!import_sounds_secret(name) && !import_looks_secret(set)))
		return false;
	struct buf value = BUF_INIT(OUT_BYTES_MAX);
	buf_put(&value, (struct slice){ argument.at, before });
	while (name.len && *name.at == '-')
		name = (struct slice){ name.at + 1, name.len - 1 };
	put_secret(import, &value, import->server, name, set);
	import_put_quoted(import->body, buf_slice(&value));
	drop_text(import, &value);
	return true;
}

/* What the argument before says that this one is: "token" after --token, "key" after -k; empty: nothing. */
static struct slice flag_of(struct slice before, struct slice argument)
{
	bool port = argument.len > 0; /* 8080, 127.0.0.1:8080:80 */
	for (size_t i = 0; i < argument.len; i++)
		port &= isdigit((unsigned char)argument.at[i]) || argument.at[i] == ':' || argument.at[i] == '.';
	if (before.len > 2 && import_begins(before, "--") && !memchr(before.at, '=', before.len))
		return (struct slice){ before.at + 2, before.len - 2 };
	if (slice_equal(before, SLICE("-k")))
		return SLICE("key");
	if (slice_equal(before, SLICE("-p")) && !port)
		return SLICE("password");
	return SLICE("");
}

static void put_arguments(struct import *import, struct json_object *list)
{
	struct slice before = SLICE("");
	put_line(import, "args");
	buf_put_text(import->body, " [");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct slice argument = text_of(json_object_array_get_idx(list, i));
		if (i > 0)
			buf_put_text(import->body, ", ");
		if (!put_assignment(import, argument))
			put_value(import, argument, import->server, flag_of(before, argument));
		before = argument;
	}
	buf_put_text(import->body, "]\n");
}

/* ---------------------------------------------------------------- one server */

/* A name that upstreams may have, and that no other server of the file has. */
static void name_server(struct import *import, struct slice name)
{
	struct buf own = BUF_INIT(NAME_BYTES);
	for (size_t i = 0; i < name.len && i < NAME_BYTES - NUMBER_BYTES; i++) {
		char c = name.at[i];
		buf_put_char(&own, isalnum((unsigned char)c) || c == '-' ? c : '_');
	}
	if (own.len == 0)
		buf_put_char(&own, '_');
	claim_name(import, import->names, &own);
	snprintf(import->server, sizeof import->server, "%s", buf_cstr(&own));
	drop_text(import, &own);
	buf_put_char(import->body, '\n');
	if (slice_equal(name, slice_of(import->server)))
		return;
	buf_put_text(import->body, "  # ");
	import_put_shown(import->body, name);
	buf_put_char(import->body, '\n');
}

static void read_server(struct json_object *object, struct server *server, struct buf *unknown)
{
	const struct {
		const char *name;
		struct json_object **value;
	} known_members[] = {
		{ "type", &server->type },       { "transport", &server->type },  { "transportType", &server->type },
		{ "command", &server->command }, { "args", &server->args },       { "env", &server->env },
		{ "cwd", &server->cwd },         { "url", &server->url },         { "serverUrl", &server->url },
		{ "httpUrl", &server->url },     { "headers", &server->headers }, { "disabled", &server->disabled },
		{ "timeout", &server->timeout }, { "enabled", &server->enabled }
	};
	struct members members = members_of(object);
	struct json_object *value;
	const char *name;
	while (next_member(&members, &name, &value)) {
		bool known = false;
		for (size_t i = 0; i < countof(known_members); i++) {
			if (strcmp(name, known_members[i].name) != 0)
				continue;
			known = true;
			if (value)
				*known_members[i].value = value;
		}
		if (known)
			continue;
		buf_put_char(unknown, ' ');
		import_put_shown(unknown, slice_of(name));
	}
}

static bool is_off(const struct server *server)
{
	bool disabled =
		json_object_is_type(server->disabled, json_type_boolean) && json_object_get_boolean(server->disabled);
	bool enabled =
		!json_object_is_type(server->enabled, json_type_boolean) || json_object_get_boolean(server->enabled);
	return disabled || !enabled;
}

/* Why the gateway cannot run it: a phrase in `why`; "" if it can. */
static void find_obstacle(const struct server *server, char *why, size_t bytes)
{
	why[0] = '\0';
	if (is_off(server)) {
		snprintf(why, bytes, "disabled in the file");
	} else if (is_text(server->type) && slice_equal(text_of(server->type), SLICE("sse"))) {
		snprintf(why, bytes,
			 "type sse is MCP's transport of 2024, which the gateway does not speak; many such "
			 "servers have another address with type http");
	} else if (is_text(server->url) && !is_text(server->command)) {
		const char *url = json_object_get_string(server->url);
		if (strstr(url, "${") || upstream_url_check(url, why, bytes))
			why[0] = '\0';
		else /* the reason may quote the URL, which may hold a secret */
			snprintf(why, bytes,
				 "its url cannot be an endpoint: http or https, no user, no query (a key in it "
				 "may go into headers)");
	} else if (!is_text(server->command)) {
		snprintf(why, bytes, "neither command nor url is there");
	}
}

/* The path's parts that open doors become ${SERVER_URL}. */
static void put_path(struct import *import, struct buf *out, struct slice path)
{
	while (path.len) {
		const char *slash = memchr(path.at + 1, '/', path.len - 1);
		size_t len = slash ? (size_t)(slash - path.at) : path.len;
		struct slice segment = { path.at + 1, len - 1 };
		if (import_opens_doors(segment)) {
			buf_put_char(out, '/');
			put_secret(import, out, import->server, SLICE("URL"), segment);
		} else {
			put_expanded(import, out, (struct slice){ path.at, len });
		}
		path = (struct slice){ path.at + len, path.len - len };
	}
}

/* A URL's query may be a secret: it is shown as what stands before it. */
static void put_url(struct import *import, struct slice url)
{
	struct buf value = BUF_INIT(OUT_BYTES_MAX);
	const char *query = url.len ? memchr(url.at, '?', url.len) : NULL;
	if (query)
		url.len = (size_t)(query - url.at);
	if (url.len && memchr(url.at, '@', url.len))
		url = SLICE("https://HOST");
	const char *host = memmem(url.at, url.len, "://", 3), *end = url.at + url.len;
	const char *path = host ? memchr(host + 3, '/', (size_t)(end - host) - 3) : NULL;
	if (memmem(url.at, url.len, "${", 2)) /* of which one may hold a slash */
		path = NULL;
	put_expanded(import, &value, (struct slice){ url.at, path ? (size_t)(path - url.at) : url.len });
	if (path)
		put_path(import, &value, (struct slice){ path, (size_t)(end - path) });
	put_line(import, "endpoints");
	buf_put_text(import->body, " [ { url: ");
	import_put_quoted(import->body, buf_slice(&value));
	buf_put_text(import->body, " } ]\n");
	drop_text(import, &value);
}

/* Some clients count in seconds, some in milliseconds: nobody lets a call take a thousand seconds, or 999 ms. */
static void put_timeout(struct import *import, struct json_object *timeout)
{
	double number = json_object_get_double(timeout);
	double ms = number < 1000 ? number * 1000 : number;
	if (!json_object_is_type(timeout, json_type_int) && !json_object_is_type(timeout, json_type_double))
		return;
	if (!(ms >= 1))
		return;
	put_line(import, "timeout");
	buf_printf(import->body, " %llums\n", (unsigned long long)(ms < TIMEOUT_MAX_MS ? ms : TIMEOUT_MAX_MS));
}

static void put_program(struct import *import, const struct server *server)
{
	put_line(import, "dialect");
	buf_put_text(import->body, " mcp-stdio\n");
	put_text(import, "command", server->command);
	if (json_object_is_type(server->args, json_type_array))
		put_arguments(import, server->args);
	put_map(import, "env", server->env, "");
	if (is_text(server->cwd))
		put_text(import, "cwd", server->cwd);
}

/* What has another form than it should, or belongs to the other kind of server. */
static void note_unused(const struct server *server, struct buf *unused)
{
	bool program = is_text(server->command);
	const struct {
		const char *name;
		struct json_object *value;
		bool used;
	} members[] = {
		{ "args", server->args, program && json_object_is_type(server->args, json_type_array) },
		{ "env", server->env, program && is_object(server->env) },
		{ "cwd", server->cwd, program && is_text(server->cwd) },
		{ "url", server->url, !program && is_text(server->url) },
		{ "headers", server->headers, !program && is_object(server->headers) },
	};
	for (size_t i = 0; i < countof(members); i++) {
		if (!members[i].value || members[i].used)
			continue;
		buf_put_char(unused, ' ');
		import_put_shown(unused, slice_of(members[i].name));
	}
}

static void put_server(struct import *import, struct slice name, struct json_object *object)
{
	struct server server = { 0 };
	struct buf unknown = BUF_INIT(OUT_BYTES_MAX);
	char why[REASON_BYTES];
	name_server(import, name);
	if (is_object(object))
		read_server(object, &server, &unknown);
	find_obstacle(&server, why, sizeof why);
	import->indent = *why ? "  # " : "  ";
	import->servers += !*why;
	if (*why)
		buf_printf(import->body, "  # switched off: %s\n", why);
	buf_printf(import->body, "%s%s:\n", import->indent, import->server);
	if (is_text(server.command)) {
		put_program(import, &server);
	} else if (is_text(server.url)) {
		put_line(import, "dialect");
		buf_put_text(import->body, " mcp\n");
		put_url(import, text_of(server.url));
		put_map(import, "headers", server.headers, import->server);
	}
	put_timeout(import, server.timeout);
	note_unused(&server, &unknown);
	if (unknown.len)
		put_comment(import, "not taken over:%s", buf_cstr(&unknown));
	drop_text(import, &unknown);
}

static void put_servers(struct import *import, struct json_object *servers)
{
	struct members members = members_of(servers);
	struct json_object *value;
	const char *name;
	while (next_member(&members, &name, &value))
		put_server(import, slice_of(name), value);
}

/* ---------------------------------------------------------------- the file */

static void put_head(const struct import *import, const char *file, struct buf *out)
{
	buf_put_text(out, "# Made from ");
	import_put_shown(out, slice_of(file));
	buf_put_text(out, " by jitney import.\n");
	if (import->variables.len) {
		buf_put_text(
			out,
			"#\n# To be set in the gateway's environment; the values of secrets stand in that file:\n");
		buf_put(out, buf_slice(&import->variables));
	}
	if (import->top.len)
		buf_printf(out, "#\n# Not taken over:%.*s\n", SLICE_ARG(buf_slice(&import->top)));
	buf_put_text(
		out,
		"#\n# Tools are called SERVER__TOOL; names: plain leaves out the server. See docs/mcp.md.\n"
		"# All callers share what a server keeps in memory; pool: { max: 1, calls: 1 } for one that keeps much.\n\n"
		"upstreams:");
	if (!import->servers)
		buf_put_text(out, " {}");
}

bool import_convert(struct slice text, const char *file, struct buf *out, char *error, size_t error_bytes)
{
	struct buf body = BUF_INIT(OUT_BYTES_MAX);
	struct import import = { .body = &body, .variables = BUF_INIT(OUT_BYTES_MAX), .top = BUF_INIT(OUT_BYTES_MAX) };
	struct json_object **const sets[] = { &import.names, &import.taken, &import.noted, &import.given,
					      &import.numbers };
	for (size_t i = 0; i < countof(sets); i++)
		import.failed |= !(*sets[i] = json_object_new_object());
	error[0] = '\0';
	struct json_object *root = read_file(utf8_without_mark(text), error, error_bytes);
	struct json_object *servers = is_object(root) ? find_servers(&import, root) : NULL;
	if (servers && !import.failed)
		put_servers(&import, servers);
	bool failed = body.failed || import.variables.failed || import.top.failed || import.failed;
	if (!*error && !failed && json_object_object_length(import.names) == 0)
		snprintf(error, error_bytes, "has no servers: neither mcpServers nor servers has a member");
	if (!*error && !failed) { /* what was cut short might show a secret */
		put_head(&import, file, out);
		buf_put(out, buf_slice(&body));
	}
	if (!*error && (failed || out->failed))
		snprintf(error, error_bytes, "is too large, or memory is out");
	for (size_t i = 0; i < countof(sets); i++)
		json_object_put(*sets[i]);
	json_object_put(root);
	buf_fini(&import.top);
	buf_fini(&import.variables);
	buf_fini(&body);
	return !*error;
}
