/* import.c: one client's file read member by member and written as YAML. */
#include "gateway/cli/import.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "base/compiler.h"
#include "base/json.h"
#include "base/utf8.h"
#include "upstream/upstream.h"

enum { OUT_BYTES_MAX = 16 << 20, NAME_BYTES = 65, DEPTH_MAX = 64, REASON_BYTES = 200 };

struct import {
	struct buf *body;     /* of upstreams: */
	struct buf variables; /* comment lines, one a variable: "#   NAME  what for\n" */
	struct buf names;     /* upstreams so far, each between line feeds */
	struct buf top;       /* members of the file that are not taken over */
	const char *indent;   /* before each line of a server: "  ", or "  # " for one that is switched off */
	char server[NAME_BYTES];
	size_t servers;
	bool failed; /* memory was out, or something is too long */
};

/* What a server's object says; raw, empty if absent. */
struct server {
	struct slice type, command, args, env, cwd, url, headers, disabled;
};

/* A text that was put together has been used. */
static void drop(struct import *import, struct buf *text)
{
	import->failed |= text->failed;
	buf_fini(text);
}

/* ---------------------------------------------------------------- reading */

/* Comments and commas before a closing bracket become blanks, outside strings. */
static void put_plain_json(struct buf *out, struct slice text)
{
	bool string = false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.at[i], next = i + 1 < text.len ? text.at[i + 1] : '\0';
		if (string) {
			buf_put_char(out, c);
			if (c == '\\' && next)
				buf_put_char(out, text.at[++i]);
			string = c != '"';
		} else if (c == '/' && next == '/') {
			while (i + 1 < text.len && text.at[i + 1] != '\n')
				i++;
		} else if (c == '/' && next == '*') {
			const char *end = memmem(text.at + i + 2, text.len - i - 2, "*/", 2);
			i = end ? (size_t)(end - text.at) + 1 : text.len;
		} else {
			string = c == '"';
			buf_put_char(out, c);
		}
	}
}

static void drop_trailing_commas(char *text, size_t len)
{
	size_t comma = SIZE_MAX;
	bool string = false;
	for (size_t i = 0; i < len; i++) {
		if (string) {
			string = text[i] != '"';
			i += text[i] == '\\';
			continue;
		}
		if ((text[i] == '}' || text[i] == ']') && comma != SIZE_MAX)
			text[comma] = ' ';
		string = text[i] == '"';
		if (!isspace((unsigned char)text[i]))
			comma = text[i] == ',' ? i : SIZE_MAX;
	}
}

static bool is_type(struct slice value, enum json_type type)
{
	return value.len > 0 && json_type(value) == type;
}

/* The object of servers, whatever the client calls it; empty: there is none. Notes what else is there. */
static struct slice find_servers(struct import *import, struct slice root)
{
	static const char *const names[] = { "mcpServers", "servers", "context_servers" };
	struct slice servers = { NULL, 0 }, name, value;
	struct json_walk walk = json_walk(root);
	while (json_next_member(&walk, &name, &value)) {
		bool known = json_string_is(name, SLICE("inputs"));
		for (size_t i = 0; i < countof(names); i++)
			if (json_string_is(name, slice_of(names[i])) && is_type(value, JSON_OBJECT)) {
				servers = value;
				known = true;
			}
		if (json_string_is(name, SLICE("mcp")) && is_type(value, JSON_OBJECT) && !servers.len) {
			servers = find_servers(import, value);
			known = true;
		}
		if (!known)
			buf_printf(&import->top, " %.*s", SLICE_ARG(name));
	}
	return servers;
}

/* ---------------------------------------------------------------- names and variables */

static void put_variable_name(struct buf *out, struct slice text)
{
	if (text.len && isdigit((unsigned char)text.at[0]))
		buf_put_char(out, '_');
	for (size_t i = 0; i < text.len; i++)
		buf_put_char(out, isalnum((unsigned char)text.at[i]) ? (char)toupper((unsigned char)text.at[i]) : '_');
}

/* Append ${NAME}, and note that it has to be set. */
static void put_variable(struct import *import, struct buf *out, struct slice name, const char *what_for)
{
	struct buf line = BUF_INIT(1024);
	buf_printf(&line, "#   %.*s  ", SLICE_ARG(name));
	if (!memmem(buf_slice(&import->variables).at, import->variables.len, buf_slice(&line).at, line.len)) {
		buf_put(&import->variables, buf_slice(&line));
		buf_printf(&import->variables, "%s of %s\n", what_for, import->server);
	}
	drop(import, &line);
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
	drop(import, &name);
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

/* Whether something of this name is likely a secret. */
static bool sounds_secret(struct slice name)
{
	static const char *const words[] = {
		"key", "token", "secret", "passw", "auth", "cred", "pat", "cookie", "dsn"
	};
	for (size_t i = 0; i < countof(words); i++)
		for (size_t at = 0; at + strlen(words[i]) <= name.len; at++) {
			if (strncasecmp(name.at + at, words[i], strlen(words[i])) != 0)
				continue;
			/* "pat" as a word: GITHUB_PAT, not PATH */
			bool word = strcmp(words[i], "pat") != 0 ||
				    (at + 3 == name.len && (at == 0 || !isalpha((unsigned char)name.at[at - 1])));
			if (word)
				return true;
		}
	return false;
}

/* ---------------------------------------------------------------- writing */

/* "text" as a scalar of YAML, which takes JSON's strings. */
static void put_quoted(struct import *import, struct slice text)
{
	json_put_string(import->body, text);
}

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

/* A value that may hold variables, or be a secret as a whole: then it becomes ${secret}, whose name begins with
 * `prefix`, if not empty. */
static void put_value(struct import *import, struct slice raw, const char *prefix, struct slice name)
{
	struct buf text = BUF_INIT(OUT_BYTES_MAX), value = BUF_INIT(OUT_BYTES_MAX), secret = BUF_INIT(1024);
	if (is_type(raw, JSON_STRING))
		json_unescape(raw, &text);
	else
		buf_put(&text, raw);
	bool variable = memmem(buf_slice(&text).at, text.len, "${", 2);
	if (!variable && text.len && sounds_secret(name)) {
		if (*prefix) {
			put_variable_name(&secret, slice_of(prefix));
			buf_put_char(&secret, '_');
			put_variable_name(&secret, name);
		} else {
			buf_put(&secret, name);
		}
		put_variable_of(import, &value, buf_slice(&secret), "a secret");
	} else {
		put_expanded(import, &value, buf_slice(&text));
	}
	put_quoted(import, buf_slice(&value));
	drop(import, &secret);
	drop(import, &value);
	drop(import, &text);
}

static void put_text(struct import *import, const char *key, struct slice raw)
{
	put_line(import, key);
	buf_put_char(import->body, ' ');
	put_value(import, raw, "", SLICE(""));
	buf_put_char(import->body, '\n');
}

/* env and headers. Secrets of an environment keep their names; headers get the server's before them. */
static void put_map(struct import *import, const char *key, struct slice map, const char *prefix)
{
	struct slice name, value;
	struct json_walk walk = json_walk(map);
	bool first = true;
	while (is_type(map, JSON_OBJECT) && json_next_member(&walk, &name, &value)) {
		struct buf plain = BUF_INIT(OUT_BYTES_MAX);
		if (first) {
			put_line(import, key);
			buf_put_char(import->body, '\n');
		}
		first = false;
		json_unescape(name, &plain);
		buf_printf(import->body, "%s    ", import->indent);
		put_quoted(import, buf_slice(&plain));
		buf_put_text(import->body, ": ");
		put_value(import, value, prefix, buf_slice(&plain));
		buf_put_char(import->body, '\n');
		drop(import, &plain);
	}
}

/* One argument; `flag`: the one before it, which may say that this is a secret. */
static void put_argument(struct import *import, struct slice raw, struct slice flag)
{
	struct buf text = BUF_INIT(OUT_BYTES_MAX);
	json_unescape(raw, &text);
	struct slice argument = buf_slice(&text);
	const char *equals = argument.len ? memchr(argument.at, '=', argument.len) : NULL;
	struct slice name = { argument.at, equals ? (size_t)(equals - argument.at) : 0 };
	bool variable = memmem(argument.at, argument.len, "${", 2);
	if (equals && argument.at[0] == '-' && sounds_secret(name) && !variable) {
		struct buf value = BUF_INIT(OUT_BYTES_MAX), secret = BUF_INIT(1024);
		while (name.len && name.at[0] == '-')
			name = (struct slice){ name.at + 1, name.len - 1 };
		buf_printf(&secret, "%s_%.*s", import->server, SLICE_ARG(name));
		buf_put(&value, (struct slice){ argument.at, (size_t)(equals - argument.at) + 1 });
		struct buf upper = BUF_INIT(1024);
		put_variable_name(&upper, buf_slice(&secret));
		put_variable(import, &value, buf_slice(&upper), "a secret");
		put_quoted(import, buf_slice(&value));
		drop(import, &upper);
		drop(import, &secret);
		drop(import, &value);
	} else {
		put_value(import, raw, import->server, flag);
	}
	drop(import, &text);
}

static void put_arguments(struct import *import, struct slice list)
{
	struct slice element;
	struct json_walk walk = json_walk(list);
	struct buf flag = BUF_INIT(OUT_BYTES_MAX); /* "token" behind --token */
	put_line(import, "args");
	buf_put_text(import->body, " [");
	for (bool first = true; is_type(list, JSON_ARRAY) && json_next_element(&walk, &element); first = false) {
		if (!first)
			buf_put_text(import->body, ", ");
		if (!is_type(element, JSON_STRING)) {
			put_quoted(import, element);
			continue;
		}
		put_argument(import, element, buf_slice(&flag));
		import->failed |= flag.failed;
		buf_reset(&flag);
		if (element.len > 4 && element.at[1] == '-' && element.at[2] == '-' &&
		    !memchr(element.at, '=', element.len))
			buf_put(&flag, (struct slice){ element.at + 3, element.len - 4 });
	}
	drop(import, &flag);
	buf_put_text(import->body, "]\n");
}

/* ---------------------------------------------------------------- one server */

/* A name that upstreams may have, and that no other server of the file has. */
static void name_server(struct import *import, struct slice raw)
{
	struct buf plain = BUF_INIT(OUT_BYTES_MAX);
	char line[NAME_BYTES + 2];
	size_t len = 0;
	json_unescape(raw, &plain);
	struct slice name = buf_slice(&plain);
	for (; len < name.len && len < NAME_BYTES - 6; len++) {
		char c = name.at[len];
		import->server[len] = isalnum((unsigned char)c) || c == '-' ? c : '_';
	}
	if (len == 0)
		import->server[len++] = '_';
	import->server[len] = '\0';
	for (unsigned n = 2;; n++) {
		snprintf(line, sizeof line, "\n%s\n", import->server);
		if (!memmem(buf_slice(&import->names).at, import->names.len, line, strlen(line)))
			break;
		snprintf(import->server + len, sizeof import->server - len, "_%u", n % 10000);
	}
	buf_put_text(&import->names, line);
	buf_printf(import->body, "\n");
	if (!slice_equal(name, slice_of(import->server)))
		buf_printf(import->body, "  # %.*s\n", SLICE_ARG(raw));
	drop(import, &plain);
}

static void read_server(struct slice object, struct server *server, struct buf *unknown)
{
	const struct {
		const char *name;
		struct slice *value;
	} members[] = {
		{ "type", &server->type },       { "transport", &server->type },  { "transportType", &server->type },
		{ "command", &server->command }, { "args", &server->args },       { "env", &server->env },
		{ "cwd", &server->cwd },         { "url", &server->url },         { "serverUrl", &server->url },
		{ "httpUrl", &server->url },     { "headers", &server->headers }, { "disabled", &server->disabled }
	};
	struct slice name, value;
	struct json_walk walk = json_walk(object);
	while (json_next_member(&walk, &name, &value)) {
		bool known = false;
		for (size_t i = 0; i < countof(members); i++) {
			if (!json_string_is(name, slice_of(members[i].name)))
				continue;
			known = true;
			if (!is_type(value, JSON_NULL))
				*members[i].value = value;
		}
		if (json_string_is(name, SLICE("enabled"))) {
			known = true;
			if (is_type(value, JSON_FALSE))
				server->disabled = SLICE("true");
		}
		if (!known)
			buf_printf(unknown, " %.*s", SLICE_ARG(name));
	}
}

/* Why the gateway cannot run it: a phrase in `why`; "" if it can. */
static void find_obstacle(struct import *import, const struct server *server, char *why, size_t bytes)
{
	struct buf url = BUF_INIT(OUT_BYTES_MAX);
	why[0] = '\0';
	if (is_type(server->disabled, JSON_TRUE))
		snprintf(why, bytes, "disabled in the file");
	else if (is_type(server->type, JSON_STRING) && json_string_is(server->type, SLICE("sse")))
		snprintf(why, bytes,
			 "type sse is MCP's transport of 2024, which the gateway does not speak; many such "
			 "servers have another address with type http");
	else if (is_type(server->url, JSON_STRING) && !is_type(server->command, JSON_STRING)) {
		json_unescape(server->url, &url);
		if (memmem(buf_slice(&url).at, url.len, "${", 2) || upstream_url_check(buf_cstr(&url), why, bytes))
			why[0] = '\0';
		else /* the reason may quote the URL, which may hold a secret */
			snprintf(why, bytes,
				 "its url cannot be an endpoint: http or https, no user, no query (a key in it "
				 "may go into headers)");
	} else if (!is_type(server->command, JSON_STRING)) {
		snprintf(why, bytes, "neither command nor url is there");
	}
	drop(import, &url);
}

/* A URL's query may be a secret: it is shown as what stands before it. */
static void put_url(struct import *import, struct slice raw)
{
	struct buf text = BUF_INIT(OUT_BYTES_MAX), value = BUF_INIT(OUT_BYTES_MAX);
	json_unescape(raw, &text);
	struct slice url = buf_slice(&text);
	const char *query = url.len ? memchr(url.at, '?', url.len) : NULL;
	if (query)
		url.len = (size_t)(query - url.at);
	const char *at = url.len ? memchr(url.at, '@', url.len) : NULL;
	if (at)
		url = SLICE("https://HOST");
	put_expanded(import, &value, url);
	put_line(import, "endpoints");
	buf_put_text(import->body, " [ { url: ");
	put_quoted(import, buf_slice(&value));
	buf_put_text(import->body, " } ]\n");
	drop(import, &value);
	drop(import, &text);
}

static void put_server(struct import *import, struct slice name, struct slice object)
{
	struct server server = { 0 };
	struct buf unknown = BUF_INIT(OUT_BYTES_MAX);
	char why[REASON_BYTES];
	name_server(import, name);
	if (is_type(object, JSON_OBJECT))
		read_server(object, &server, &unknown);
	find_obstacle(import, &server, why, sizeof why);
	import->indent = *why ? "  # " : "  ";
	import->servers += !*why;
	if (*why)
		buf_printf(import->body, "  # switched off: %s\n", why);
	buf_printf(import->body, "%s%s:\n", import->indent, import->server);
	if (is_type(server.command, JSON_STRING)) {
		put_line(import, "dialect");
		buf_put_text(import->body, " mcp-stdio\n");
		put_text(import, "command", server.command);
		if (is_type(server.args, JSON_ARRAY))
			put_arguments(import, server.args);
		put_map(import, "env", server.env, "");
		if (server.cwd.len)
			put_text(import, "cwd", server.cwd);
	} else if (is_type(server.url, JSON_STRING)) {
		put_line(import, "dialect");
		buf_put_text(import->body, " mcp\n");
		put_url(import, server.url);
		put_map(import, "headers", server.headers, import->server);
	}
	if (unknown.len)
		put_comment(import, "not taken over:%s", buf_cstr(&unknown));
	drop(import, &unknown);
}

/* ---------------------------------------------------------------- the file */

static void put_head(const struct import *import, const char *file, struct buf *out)
{
	buf_printf(out, "# Made from %s by jitney import.\n", file);
	if (import->variables.len) {
		buf_put_text(
			out,
			"#\n# To be set in the gateway's environment; the values of secrets stand in that file:\n");
		buf_put(out, buf_slice(&import->variables));
	}
	if (import->top.len)
		buf_printf(out, "#\n# Not taken over:%.*s\n", SLICE_ARG(buf_slice(&import->top)));
	buf_put_text(out, "#\n# Tools are called SERVER__TOOL; names: plain leaves out the server. See docs/mcp.md.\n\n"
			  "upstreams:");
	if (!import->servers)
		buf_put_text(out, " {}");
}

bool import_convert(struct slice text, const char *file, struct buf *out, char *error, size_t error_bytes)
{
	struct buf plain = BUF_INIT(OUT_BYTES_MAX), body = BUF_INIT(OUT_BYTES_MAX);
	struct import import = { .body = &body,
				 .variables = BUF_INIT(OUT_BYTES_MAX),
				 .names = BUF_INIT(OUT_BYTES_MAX),
				 .top = BUF_INIT(OUT_BYTES_MAX) };
	struct json_fault fault;
	struct slice name, value, servers = { NULL, 0 };
	error[0] = '\0';
	put_plain_json(&plain, utf8_without_mark(text));
	if (plain.len && !plain.failed)
		drop_trailing_commas(plain.store->bytes, plain.len);
	struct slice root = json_trim(buf_slice(&plain));
	if (!json_check(root, DEPTH_MAX, NULL, &fault))
		snprintf(error, error_bytes, "is not JSON: %s at byte %zu", fault.what, fault.at);
	else if (is_type(root, JSON_OBJECT))
		servers = find_servers(&import, root);
	struct json_walk walk = json_walk(servers);
	while (servers.len && json_next_member(&walk, &name, &value))
		put_server(&import, name, value);
	if (!*error && !import.names.len)
		snprintf(error, error_bytes, "has no servers: neither mcpServers nor servers has a member");
	bool failed = body.failed || plain.failed || import.variables.failed || import.names.failed || import.failed;
	if (!*error && !failed) { /* what was cut short might show a secret */
		put_head(&import, file, out);
		buf_put(out, buf_slice(&body));
	}
	if (!*error && (failed || out->failed))
		snprintf(error, error_bytes, "is too large, or memory is out");
	buf_fini(&import.top);
	buf_fini(&import.names);
	buf_fini(&import.variables);
	buf_fini(&body);
	buf_fini(&plain);
	return !*error;
}
