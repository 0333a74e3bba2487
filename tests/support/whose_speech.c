/* SPDX-License-Identifier: Apache-2.0 */
/* whose_speech.c: see the header. */
#include "tests/support/whose_speech.h"

#include <assert.h>
#include <string.h>

#define MARK "{\"own\":$Q,\"who\":$A,\"fetch\":-$F}"
#define FAULT "{\"code\":\"E\",\"message\":\"$Q of $A\",\"fetch\":-$F}"
#define BOTH "{\"q\":$Q,\"w\":$A}"

const struct speech speeches[] = {
	{ "rpc", BOTH, "\"id\":", "[", "]", ",", "{\"jsonrpc\":\"2.0\",\"id\":$I,\"result\":" MARK "}",
	  "{\"jsonrpc\":\"2.0\",\"id\":$I,\"error\":{\"code\":1,\"message\":\"$Q of $A\",\"data\":-$F}}",
	  .single = true, .null_ids = true },
	{ "rpcone", BOTH, "\"id\":", "", "", "", "{\"jsonrpc\":\"2.0\",\"id\":$I,\"result\":" MARK "}",
	  "{\"jsonrpc\":\"2.0\",\"id\":$I,\"error\":{\"code\":1,\"message\":\"$Q of $A\",\"data\":-$F}}",
	  .single = true, .null_ids = true },
	{ "rest", "{\"p\":\"$P\",\"q\":$Q,\"w\":$A}", NULL, "", "", "", MARK, NULL, .single = true },
	{ "keys", "{\"id\":$Q}", NULL, "{\"items\":[", "]}", ",", "{\"id\":$Q,\"fetch\":-$F}", .bad = NULL },
	{ "named", "{\"id\":$Q}", NULL, "{", "}", ",", "\"$Q\":{\"own\":$Q,\"fetch\":-$F}", NULL, .keyed = true },
	{ "graph", BOTH, "\"id\":", "{\"responses\":[", "]}", ",", "{\"id\":\"$I\",\"status\":200,\"body\":" MARK "}",
	  .bad = "{\"id\":\"$I\",\"status\":404,\"body\":" FAULT "}" },
	{ "odata", BOTH, "\"id\":", "{\"responses\":[", "]}", ",", "{\"id\":\"$I\",\"status\":200,\"body\":" MARK "}",
	  .bad = "{\"id\":\"$I\",\"status\":404,\"body\":" FAULT "}" },
	{ "search", BOTH, NULL, "{\"took\":1,\"responses\":[", "]}", ",",
	  "{\"status\":200,\"own\":$Q,\"who\":$A,\"fetch\":-$F}", "{\"status\":400,\"error\":" FAULT "}",
	  .placed = true },
	{ "bulk", "{\"index\":\"i\",\"document\":" BOTH "}", NULL, "{\"errors\":true,\"items\":[", "]}", ",",
	  "{\"index\":{\"status\":201,\"own\":$Q,\"who\":$A,\"fetch\":-$F}}",
	  "{\"index\":{\"status\":409,\"error\":" FAULT "}}", .placed = true },
	{ "own", BOTH, "\"key\":", "{\"done\":{\"calls\":[", "]}}", ",", "{\"key\":$I,\"value\":" MARK "}",
	  "{\"key\":$I,\"failure\":" FAULT "}", .mixes = true },
	{ "lines", BOTH, "\"key\":", "", "", "", "{\"key\":$I,\"value\":" MARK "}\n",
	  .bad = "{\"key\":$I,\"failure\":" FAULT "}\n" },
	{ "alias", BOTH, NULL, "{\"data\":{", "}}", ",", "\"j$N_thing\":" MARK, NULL, .keyed = true },
	{ "array", BOTH, NULL, "[", "]", ",", "{\"data\":{\"thing\":" MARK "}}",
	  "{\"errors\":[{\"message\":\"$Q of $A -$F\"}]}", .single = true, .placed = true },
	{ "embed", "{\"model\":\"m\",\"input\":\"$Q\"}", NULL, "{\"object\":\"list\",\"data\":[",
	  "],\"model\":\"m\",\"usage\":{\"prompt_tokens\":9,\"total_tokens\":9}}", ",",
	  "{\"object\":\"embedding\",\"index\":$N,\"embedding\":[$Q,-$F]}", .bad = NULL },
	{ "mcp", BOTH, "\"id\":", "[", "]", ",",
	  "{\"jsonrpc\":\"2.0\",\"id\":$I,\"result\":{\"content\":[],\"structuredContent\":" MARK "}}",
	  "{\"jsonrpc\":\"2.0\",\"id\":$I,\"result\":{\"isError\":true,\"content\":[{\"type\":\"text\",\"text\":"
	  "\"$Q of $A -$F\"}]}}",
	  .single = true, .mcp = true, .null_ids = true },
	{ "mcpnew", BOTH, "\"id\":", "", "", "",
	  "{\"jsonrpc\":\"2.0\",\"id\":$I,\"result\":{\"resultType\":\"complete\",\"content\":[{\"type\":\"text\","
	  "\"text\":\"$Q of $A -$F\"}]}}",
	  "{\"jsonrpc\":\"2.0\",\"id\":$I,\"error\":{\"code\":1,\"message\":\"$Q of $A -$F\"}}", .single = true,
	  .mcp = true, .null_ids = true },
};
const size_t speech_count = countof(speeches);

#define READS(upstream)                                                                                                \
	{ #upstream "_get", #upstream, SCOPE_TENANT, .cached = true, .tagged = true },                                 \
		{ #upstream "_own", #upstream, SCOPE_CALLER, .cached = true },                                         \
		{ #upstream "_merged", #upstream, .scope = SCOPE_TENANT },                                             \
	{                                                                                                              \
#upstream "_put", #upstream, .writes = true                                                            \
	}
#define READS_OF_ALL(upstream)                                                                                         \
	{                                                                                                              \
#upstream "_all", #upstream, SCOPE_SHARED, .cached = true, .tagged = true                              \
	}
const struct spoken_tool spoken_tools[] = {
	READS(rpc),
	READS(rpcone),
	READS(graph),
	READS(odata),
	READS(search),
	READS(bulk),
	READS(own),
	READS(lines),
	READS(alias),
	READS(array),
	READS(mcp),
	READS(mcpnew),
	{ "rpc_all", "rpc", SCOPE_SHARED, .cached = true, .tagged = true },
	READS_OF_ALL(keys),
	READS_OF_ALL(named),
	READS_OF_ALL(embed),
	READS_OF_ALL(mcp),
	{ "rest_get", "rest", SCOPE_TENANT, .cached = true, .tagged = true, .asks_path = true },
	{ "rest_all", "rest", SCOPE_SHARED, .cached = true, .tagged = true, .asks_path = true },
	{ "rest_form", "rest", SCOPE_CALLER, .cached = true },
	{ "rest_put", "rest", .writes = true },
	{ "rest_merged", "rest", .scope = SCOPE_CALLER },
};
const size_t spoken_tool_count = countof(spoken_tools);

#define UPSTREAM(name, dialect, more)                                                                                  \
	"  " name ": { dialect: " dialect ", endpoints: [ { url: \"http://" name ".test/x\" } ], timeout: 4s,\n"       \
	"    retries: { budget: 100% }, pool: { max: 8 }, concurrency: 4, refreshes: 3" more " }\n"
/* Two endpoints, and who does not answer soon is asked by way of the other one too. */
#define HEDGED(name, dialect, more)                                                                                    \
	"  " name ": { dialect: " dialect ", endpoints: [ { url: \"http://" name ".test/x\" }, "                       \
	"{ url: \"http://" name ".two.test/x\" } ], hedge: 40ms, timeout: 4s,\n"                                       \
	"    retries: { budget: 100% }, pool: { max: 8 }, concurrency: 4, refreshes: 3" more " }\n"
#define KEPT(scope, more) "cache: { ttl: 20s, stale_while_revalidate: 10s, stale_if_error: 60s, scope: " scope more " }"
#define NOT_ASKER ", key: { ignore: [ w ] }"
#define TENANTS KEPT("tenant", ", negative_ttl: 5s, tags: [ news ]" NOT_ASKER)
#define CALLERS KEPT("caller", NOT_ASKER)
#define ALL KEPT("shared", ", negative_ttl: 3s, tags: [ news ]" NOT_ASKER)
#define ALL_KEYS KEPT("shared", ", tags: [ news ]")
#define HEEDED KEPT("shared", ", negative_ttl: 3s, tags: [ news ], provider_headers: true" NOT_ASKER)
#define READ ", annotations: { read_only: true }, timeout: 3s, "
#define TOOLS(upstream, more, writing)                                                                                 \
	"  " upstream "_get: { upstream: " upstream more READ TENANTS " }\n"                                           \
	"  " upstream "_own: { upstream: " upstream more READ CALLERS " }\n"                                           \
	"  " upstream "_merged: { upstream: " upstream more READ "cache: { ttl: 0, scope: tenant" NOT_ASKER " } }\n"   \
	"  " upstream "_put: { upstream: " upstream writing ", timeout: 3s }\n"
#define QUERY ", operation: \"query ($q: Int!, $w: Int) { thing(q: $q, w: $w) { own } }\""
#define MUTATION ", operation: \"mutation ($q: Int!, $w: Int) { thing(q: $q, w: $w) { own } }\""
#define FORM ", headers: { Content-Type: application/x-www-form-urlencoded }"
#define PATH ", request: { method: GET, path: \"/in/{p}/x{q}\", query: { w: \"{w}\" } }"

/* clang-format off */
const char spoken_yaml[] =
	"workers: 2\n"
	"limits: { in_flight: 80 }\n"
	"trusted_proxies: [ 127.0.0.1/32 ]\n"
	"identity: { tenant_header: X-Tenant }\n"
	"cache: { memory: { size: 1MiB } }\n"
	"upstreams:\n"
	UPSTREAM("rpc", "jsonrpc", ", batch: { items: 10, window: 2ms }")
	HEDGED("rpcone", "jsonrpc", ", batch: { mode: off }")
	HEDGED("rest", "rest", "")
	UPSTREAM("keys", "rest", ", batch: { mode: fixed, window: 3ms }")
	UPSTREAM("named", "rest", "")
	UPSTREAM("graph", "envelope", ", envelope: { preset: microsoft-graph }")
	UPSTREAM("odata", "envelope", ", envelope: { preset: odata-json }")
	HEDGED("search", "envelope", ", envelope: { preset: elasticsearch-msearch }")
	UPSTREAM("bulk", "envelope", ", envelope: { preset: elasticsearch-bulk }")
	UPSTREAM("own", "envelope", ", batch: { mode: fixed, window: 4ms, writes: any }, envelope: { body: '{\"calls\": {items}}', "
		 "item: '{\"key\": {id}, \"do\": {tool}, \"with\": {arguments}}', list: done.calls, id: key, "
		 "result: value, error: failure }")
	UPSTREAM("lines", "envelope", ", envelope: { framing: ndjson, answer_framing: ndjson, "
		 "item: '{\"key\": {id}, \"with\": {arguments}}', id: key, result: value, error: failure }")
	UPSTREAM("alias", "graphql", ", graphql: { merge: alias, max: 20 }")
	UPSTREAM("array", "graphql", ", graphql: { merge: array, max: 20 }")
	UPSTREAM("embed", "openai-embeddings", "")
	UPSTREAM("mcp", "mcp", ", protocol: \"2025-03-26\", batch: { mode: adaptive }, tools_refresh: 20s, trust_hints: true")
	UPSTREAM("mcpnew", "mcp", ", protocol: \"2025-11-25\", tools_refresh: 30s")
	"tools:\n"
	TOOLS("rpc", "", "") TOOLS("rpcone", "", "") TOOLS("graph", "", "") TOOLS("odata", "", "") TOOLS("search", "", "")
	TOOLS("bulk", "", "") TOOLS("own", "", "") TOOLS("lines", "", "") TOOLS("alias", QUERY, MUTATION)
	TOOLS("array", QUERY, MUTATION) TOOLS("mcp", ", tool: get", ", tool: put")
	TOOLS("mcpnew", ", tool: get", ", tool: put")
	"  rpc_all: { upstream: rpc" READ HEEDED " }\n"
	"  mcp_all: { upstream: mcp, tool: all" READ ALL " }\n"
	"  keys_all: { upstream: keys, request: { method: GET, path: /k, key_list: { parameter: ids, argument: id, "
	"list: items, key: id, missing: \"null\" } }" READ ALL_KEYS " }\n"
	"  named_all: { upstream: named, request: { method: GET, path: /k, key_list: { parameter: id, argument: id, "
	"separator: \"&id=\" } }" READ ALL_KEYS " }\n"
	"  embed_all: { upstream: embed" READ ALL_KEYS " }\n"
	"  rest_get: { upstream: rest" PATH READ TENANTS " }\n"
	"  rest_all: { upstream: rest" PATH READ HEEDED " }\n"
	"  rest_form: { upstream: rest, request: { path: /f" FORM " }" READ CALLERS " }\n"
	"  rest_put: { upstream: rest, request: { path: /w }, timeout: 3s }\n"
	"  rest_merged: { upstream: rest, request: { path: /m }" READ "cache: { ttl: 0, scope: caller" NOT_ASKER " } }\n";
/* clang-format on */

const struct speech *speech_of(const struct spoken_tool *tool)
{
	for (size_t i = 0; i < speech_count; i++)
		if (strcmp(speeches[i].upstream, tool->upstream) == 0)
			return &speeches[i];
	return NULL;
}

const struct speech *speech_at(const char *url)
{
	for (size_t i = 0; i < speech_count; i++) {
		size_t len = strlen(speeches[i].upstream);
		if (strncmp(url + 7, speeches[i].upstream, len) == 0 && url[7 + len] == '.')
			return &speeches[i];
	}
	return NULL;
}

bool speech_is_moved(const char *url)
{
	return strstr(url, ".moved/") != NULL;
}

const struct spoken_tool *spoken_tool_of(uint64_t question)
{
	size_t n = whose_is_write(question) ? 0 : (size_t)(question - FIRST_READ) / TOOL_READS;
	return n < spoken_tool_count ? &spoken_tools[n] : NULL;
}

/* One letter of a form. */
struct form_values {
	uint64_t question, caller, id, place, fetch;
	const char *path;
};

static void put_form(const char *form, const struct form_values *values, struct buf *out)
{
	for (; *form; form++) {
		if (*form != '$') {
			buf_put_char(out, *form);
			continue;
		}
		switch (*++form) {
		case 'Q':
			buf_put_u64(out, values->question);
			break;
		case 'A':
			buf_put_u64(out, values->caller);
			break;
		case 'I':
			buf_put_u64(out, values->id);
			break;
		case 'N':
			buf_put_u64(out, values->place);
			break;
		case 'F':
			buf_put_u64(out, values->fetch);
			break;
		default:
			buf_put_text(out, values->path);
		}
	}
}

void speech_ask(const struct speech *speech, uint64_t question, uint64_t caller, const char *path, struct buf *out)
{
	const struct form_values values = { .question = question, .caller = caller, .path = path };
	put_form(speech->arguments, &values, out);
}

/* The number behind the last `mark` before `end`; 0: none. */
static uint64_t number_behind(struct slice text, size_t end, const char *mark)
{
	size_t len = strlen(mark);
	for (size_t at = end; at-- > 0;) {
		if (text.len - at <= len || memcmp(text.at + at, mark, len) != 0)
			continue;
		uint64_t number = 0;
		for (at += len; at < text.len && strchr(" \"", text.at[at]); at++)
			continue;
		for (; at < text.len && text.at[at] >= '0' && text.at[at] <= '9'; at++)
			number = number * 10 + (uint64_t)(text.at[at] - '0');
		return number;
	}
	return 0;
}

void speech_hear(const struct speech *speech, const struct http_exchange *exchange, struct heard *heard)
{
	const struct slice texts[] = { slice_of(exchange->url), buf_slice(&exchange->body) };
	struct whose_number number;
	heard->count = 0;
	for (size_t t = 0; t < countof(texts); t++)
		for (size_t at = 0; whose_next(texts[t], &at, &number);) {
			if (number.kind == WHOSE_ASKER && heard->count) {
				heard->calls[heard->count - 1].caller = number.number;
				continue;
			}
			if (number.kind != WHOSE_QUESTION)
				continue;
			assert(heard->count < HEARD_MAX);
			heard->calls[heard->count] =
				(struct heard_call){ .question = number.number,
						     .place = heard->count,
						     .id = speech->id ? number_behind(texts[t], at, speech->id) : 0 };
			heard->count++;
		}
}

void speech_put_refusal(const struct heard *heard, int code, struct buf *out)
{
	buf_printf(out, "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":%d,\"message\":\"no", code);
	for (size_t i = 0; i < heard->count; i++)
		buf_printf(out, ", %llu of %llu", (unsigned long long)heard->calls[i].question,
			   (unsigned long long)heard->calls[i].caller);
	buf_put_text(out, "\",\"data\":[0");
	for (size_t i = 0; i < heard->count; i++)
		buf_printf(out, ",%llu", (unsigned long long)heard->calls[i].question);
	buf_put_text(out, "]}}");
}

void speech_put_item(const struct speech *speech, const struct heard *heard, size_t n, uint64_t fetch, struct buf *out)
{
	const struct heard_call *call = &heard->calls[n];
	const struct form_values values = { call->question, call->caller, call->id, call->place, fetch, "" };
	put_form(call->fails && speech->bad ? speech->bad : speech->good, &values, out);
}
