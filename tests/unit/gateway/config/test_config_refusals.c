/* SPDX-License-Identifier: Apache-2.0 */
/* What the configuration refuses, and the exact words and places. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/config/config.h"

#define SIXTY "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefgh"
#define PROVIDERS                                                                                                      \
	"upstreams: { s: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ] },"                                  \
	" r: { dialect: rest, endpoints: [ { url: \"http://h\" } ] } }\n"

/* Each line of `errors` without the file's name. */
struct refusal {
	const char *yaml;
	const char *errors;
};

/* clang-format off */
static const struct refusal refusals[] = {
	{ "liisten: 127.0.0.1:80",
	  "1:1: unknown key \"liisten\"; did you mean \"listen\"?\n" },
	{ "foo: 1",
	  "1:1: unknown key \"foo\"\n" },
	{ "limits: { bodyy: 1MiB }",
	  "1:11: unknown key \"bodyy\" in limits; did you mean \"body\"?\n" },
	{ "limits: 5",
	  "1:9: limits: must be a map of options\n" },
	{ "limits:",
	  "1:8: limits: must be a map of options\n" },
	{ "limits: []",
	  "1:9: limits: must be a map of options\n" },
	{ "- a",
	  "1:1: must be a map of options\n" },
	{ "just text",
	  "1:1: must be a map of options\n" },
	{ "upstreams: { s: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], names: plain } }",
	  "1:73: upstreams.s.names: is for providers that list their tools (MCP), not for dialect jsonrpc\n" },
	{ "upstreams: { s: { dialect: mcp, endpoints: [ { url: \"http://h\" } ], cache: { ttl: 1s } } }",
	  "1:69: upstreams.s.cache: goes by the server's readOnlyHint and needs trust_hints: true\n" },
#define OWNED(options) "upstreams: { s: { dialect: rest, endpoints: [ { url: \"http://h\" } ], owners: 2" options " } }"
	{ OWNED(", concurrency: 5, pool: { max: 9 }"),
	  "1:78: upstreams.s.owners: needs pool.max of concurrency x owners at least, which is 10: a connection is one "
	  "worker's\n" },
	{ OWNED(", pool: { max: 1999 }"),
	  "1:78: upstreams.s.owners: needs pool.max of concurrency x owners at least, which is 2000: a connection is one "
	  "worker's\n" },
	{ "upstreams: { s: { dialect: jsonrpc, endpoints: [ { url: \"http://h\" } ], owners: 2, concurrency: 5 } }",
	  "1:81: upstreams.s.owners: is 1 where calls share requests: batches are full because one worker fills them; or set "
	  "batch.mode: off\n" },
	{ "upstreams: { s: { dialect: mcp, endpoints: [ { url: \"http://h\" } ], owners: 2, concurrency: 5 } }",
	  "1:77: upstreams.s.owners: is 1 for MCP servers and programs, whose sessions and processes one worker has\n" },
	{ PROVIDERS "tools: { t: { upstream: s, tool: x } }",
	  "2:28: tools.t.tool: is for providers that list their tools (MCP), not for dialect jsonrpc\n" },
	{ PROVIDERS "tools: { t: { upstream: s, arguments: { a: 1 } } }",
	  "2:28: tools.t.arguments: is for providers that list their tools (MCP), not for dialect jsonrpc\n" },
	{ "workers: 0",
	  "1:10: workers: must be between 1 and 256\n" },
	{ "workers: 257",
	  "1:10: workers: must be between 1 and 256\n" },
	{ "workers: \"2\"",
	  "1:10: workers: must be auto or a whole number, without quotes\n" },
	{ "workers: two",
	  "1:10: workers: must be auto or a whole number, such as 4\n" },
	{ "workers: 02",
	  "1:10: workers: must be auto or a whole number, such as 4\n" },
	{ "workers: 0x10",
	  "1:10: workers: must be auto or a whole number, such as 4\n" },
	{ "workers: yes",
	  "1:10: workers: must be auto or a whole number, such as 4\n" },
	{ "workers: [1]",
	  "1:10: workers: must be auto or a whole number, not a list\n" },
	{ "workers: 99999999999999999999999",
	  "1:10: workers: must be auto or a whole number, such as 4\n" },
	{ "workers:",
	  "1:9: workers: must be auto or a whole number, not nothing\n" },
	{ "upstreams: { s: { dialect: rest, endpoints: [ { url: \"http://h\" } ], rate: { requests: 60 } } }",
	  "1:88: upstreams.s.rate.requests: must be a rate: a whole number, / and s, min, h or d, such as 60/min\n" },
	{ "upstreams: { s: { dialect: rest, endpoints: [ { url: \"http://h\" } ], rate: { requests: 60/week } } }",
	  "1:88: upstreams.s.rate.requests: must be a rate: a whole number, / and s, min, h or d, such as 60/min\n" },
	{ "upstreams: { s: { dialect: rest, endpoints: [ { url: \"http://h\" } ], rate: { requests: 0/s } } }",
	  "1:88: upstreams.s.rate.requests: must be between 1 and 1000000000\n" },
	{ "upstreams: { s: { dialect: rest, endpoints: [ { url: \"http://h\" } ], rate: { tokens: 5/s } } }",
	  "1:86: upstreams.s.rate.tokens: the dialect rest does not estimate tokens\n" },
	{ "mcp: { allowed_hosts: [ \"\", " SIXTY SIXTY SIXTY SIXTY "abcdefghijklmnop ] }",
	  "1:25: mcp.allowed_hosts: must be 1 to 255 bytes long\n"
	  "1:29: mcp.allowed_hosts: must be 1 to 255 bytes long\n" },
	{ "allowed_hosts: [ a.example, \"*\", \"https://a\", \"\" ]",
	  "1:34: allowed_hosts: must be a name without scheme and port, such as tools.example.com, or \"*\"\n"
	  "1:47: allowed_hosts: must be 1 to 255 bytes long\n" },
	{ "mcp: { allowed_hosts: [ a.example, \"*\", \"a:80\" ] }",
	  "1:41: mcp.allowed_hosts: must be a name without scheme and port, such as tools.example.com, or \"*\"\n" },
	{ "mcp: { allowed_origins: [ \"https://a.example:1\", \"*\", \"https://a.example/\", a.example ] }",
	  "1:55: mcp.allowed_origins: must be scheme://name or scheme://name:port, such as https://app.example.com, or \"*\"\n"
	  "1:77: mcp.allowed_origins: must be scheme://name or scheme://name:port, such as https://app.example.com, or \"*\"\n" },
	{ "mcp: { issuer: login.example.com }",
	  "1:16: mcp.issuer: must be an https:// or http:// URL without query and fragment\n" },
	{ "log: { access: yes }",
	  "1:16: log.access: write true or false\n" },
	{ "log: { access: on }",
	  "1:16: log.access: write true or false\n" },
	{ "log: { access: True }",
	  "1:16: log.access: write true or false\n" },
	{ "log: { access: \"true\" }",
	  "1:16: log.access: must be true or false, without quotes\n" },
	{ "log: { level: verbose }",
	  "1:15: log.level: must be error, warn, info or debug\n" },
	{ "log: { level: [info] }",
	  "1:15: log.level: must be a word, not a list\n" },
	{ "log: { file: 1 }",
	  "1:14: log.file: must be text: write \"1\" in quotes\n" },
	{ "log: { file: \"\" }",
	  "1:14: log.file: must be 1 to 4096 bytes long\n" },
	{ "drain_timeout: 10",
	  "1:16: drain_timeout: a duration needs a unit: us, ms, s, m, h or d, such as 10s\n" },
	{ "drain_timeout: 10 s",
	  "1:16: drain_timeout: must be a duration: a whole number and us, ms, s, m, h or d, such as 10s\n" },
	{ "drain_timeout: 1.5s",
	  "1:16: drain_timeout: must be a duration: a whole number and us, ms, s, m, h or d, such as 10s\n" },
	{ "drain_timeout: 10x",
	  "1:16: drain_timeout: must be a duration: a whole number and us, ms, s, m, h or d, such as 10s\n" },
	{ "drain_timeout: 2h",
	  "1:16: drain_timeout: must be between 0 and 1h\n" },
	{ "drain_timeout: 010s",
	  "1:16: drain_timeout: write the number without leading zeros\n" },
	{ "drain_timeout: -1s",
	  "1:16: drain_timeout: must be a duration: a whole number and us, ms, s, m, h or d, such as 10s\n" },
	{ "drain_timeout: 99999999999999999d",
	  "1:16: drain_timeout: is too large\n" },
	{ "drain_timeout: s",
	  "1:16: drain_timeout: must be a duration: a whole number and us, ms, s, m, h or d, such as 10s\n" },
	{ "limits: { body: 8388608 }",
	  "1:17: limits.body: a size needs a unit: B, KiB, MiB or GiB, such as 8MiB\n" },
	{ "limits: { body: 8KB }",
	  "1:17: limits.body: must be a size: a whole number and B, KiB, MiB or GiB (kB, MB, GB: decimal), such as 8MiB\n" },
	{ "limits: { body: 2GiB }",
	  "1:17: limits.body: must be between 1B and 1GiB\n" },
	{ "limits: { body: 0 }",
	  "1:17: limits.body: must be between 1B and 1GiB\n" },
	{ "limits: { json_depth: 080 }",
	  "1:23: limits.json_depth: write the number without leading zeros\n" },
	{ "listen: localhost:80",
	  "1:9: listen: write ADDRESS:PORT such as 127.0.0.1:8080, [IPV6]:PORT or unix:PATH, with an IP address and no name\n" },
	{ "listen: :80",
	  "1:9: listen: write ADDRESS:PORT such as 127.0.0.1:8080, [IPV6]:PORT or unix:PATH, with an IP address and no name\n" },
	{ "listen: 127.0.0.1",
	  "1:9: listen: write ADDRESS:PORT such as 127.0.0.1:8080, [IPV6]:PORT or unix:PATH, with an IP address and no name\n" },
	{ "listen: 127.0.0.1:65536",
	  "1:9: listen: the port must be a number from 0 to 65535\n" },
	{ "listen: \"[::1]\"",
	  "1:9: listen: write ADDRESS:PORT such as 127.0.0.1:8080, [IPV6]:PORT or unix:PATH, with an IP address and no name\n" },
	{ "listen: \"[::1:80\"",
	  "1:9: listen: write ADDRESS:PORT such as 127.0.0.1:8080, [IPV6]:PORT or unix:PATH, with an IP address and no name\n" },
	{ "listen: \"unix:\"",
	  "1:9: listen: the path behind unix: is missing\n" },
	{ "listen: []",
	  "1:9: listen: needs at least 1\n" },
	{ "listen: off",
	  "1:9: listen: write ADDRESS:PORT such as 127.0.0.1:8080, [IPV6]:PORT or unix:PATH, with an IP address and no name\n" },
	{ "listen: { a: b }",
	  "1:9: listen: must be an address, or a list of them, not a map\n" },
	{ "listen: [ 127.0.0.1:80, 127.0.0.1:80 ]",
	  "1:25: listen: 127.0.0.1:80 is listened on already\n" },
	{ "listen: [ 127.0.0.1:80, bad ]",
	  "1:25: listen: write ADDRESS:PORT such as 127.0.0.1:8080, [IPV6]:PORT or unix:PATH, with an IP address and no name\n" },
	{ "listen: 127.0.0.1:8081",
	  "1:9: admin.listen: 127.0.0.1:8081 is listened on already\n" },
	{ "admin: { listen: 127.0.0.1:8080 }",
	  "1:18: admin.listen: 127.0.0.1:8080 is listened on already\n" },
	{ "listen: 8080",
	  "1:9: listen: write ADDRESS:PORT such as 127.0.0.1:8080, [IPV6]:PORT or unix:PATH, with an IP address and no name\n" },
	{ "\xEF\xBB\xBFlimits: 1", /* as editors on Windows save it: columns are those that the editor shows */
	  "1:9: limits: must be a map of options\n" },
	{ "trusted_proxies: 10.0.0.0/8",
	  "1:18: trusted_proxies: must be a list of networks, such as [ 10.0.0.0/8 ], not a single value\n" },
	{ "trusted_proxies: [ 10.0.0.1/8 ]",
	  "1:20: trusted_proxies: the address has bits set behind the prefix\n" },
	{ "trusted_proxies: [ 10.0.0.0/33 ]",
	  "1:20: trusted_proxies: the bits behind / must be at most 32 (IPv4) or 128 (IPv6)\n" },
	{ "trusted_proxies: [ proxy ]",
	  "1:20: trusted_proxies: write ADDRESS/BITS, such as 10.0.0.0/8 or fd00::/8\n" },
	{ "trusted_proxies: [ fd00::/129 ]",
	  "1:20: trusted_proxies: the bits behind / must be at most 32 (IPv4) or 128 (IPv6)\n" },
	{ "identity: { tenant_header: \"X Tenant\" }",
	  "1:28: identity.tenant_header: is not a header's name: letters, digits and - only\n" },
	{ "identity: { tenant_header: X-Tenant }",
	  "1:28: identity.tenant_header: is believed only from trusted_proxies, and there are none\n" },
	{ "cache: { disk: { path: here } }", "1:24: cache.disk.path must be absolute: it begins with /\n" },
	{ "cache: { disk: { path: /d }, redis: { url: redis://h } }",
	  "1:10: cache.disk and cache.redis exclude each other: Redis outlives a restart by itself, and what the fleet has "
	  "purged meanwhile would come back from this gateway's disk\n" },
	{ "cache: { redis: { prefix: x } }", "1:10: cache.redis needs a url, or sentinel\n" },
	{ "cache: { redis: { url: redis://h, sentinel: { name: m, nodes: [ h ] } } }",
	  "1:19: cache.redis.url and cache.redis.sentinel exclude each other: Sentinel says where the server is\n" },
	{ "cache: { redis: { url: \"http://h\" } }",
	  "1:24: cache.redis.url must begin with redis://, rediss:// or unix:\n" },
	{ "cache: { redis: { url: redis://h, prefix: \"a*b\" } }",
	  "1:43: cache.redis.prefix may have only A-Z a-z 0-9 _ - . :\n" },
	{ "cache: { redis: { url: redis://h, username: u } }",
	  "1:35: cache.redis.username is of no use without a password\n" },
	{ "cache: { redis: { sentinel: { name: m, nodes: [ \"h:x\" ] } } }",
	  "1:29: cache.redis.sentinel.nodes[0] needs a port from 1 to 65535 after the host's colon (an IPv6 address "
	  "stands in brackets)\n" },
	{ "cache: { memory: { size: -1 } }",
	  "1:26: cache.memory.size: must be a size: a whole number and B, KiB, MiB or GiB (kB, MB, GB: decimal), such as 8MiB\n" },
	{ "a: 1\na: 2",
	  "1:1: unknown key \"a\"\n"
	  "2:1: duplicate key \"a\": it is already in line 1\n" },
	{ "log: { level: info, level: warn }",
	  "1:21: duplicate key \"level\": it is already in line 1\n" },
	{ "log: &x { level: info }",
	  "1:6: anchors (&x) are not supported: write the value out\n" },
	{ "log: *x",
	  "1:6: aliases (*x) are not supported: write the value out\n" },
	{ "log: { <<: { level: info } }",
	  "1:8: merge keys (<<) are not supported: write the members out\n" },
	{ "upstreams: { u: { dialect: jsonrpc, endpoints: [ { url: \"http://127.0.0.1:1/\" } ] } }\n"
	  "tools: { t: { upstream: u, input_schema: { type: object, <<: { required: [ a ] } } },\n"
	  "         s: { upstream: u, input_schema: { type: object, \"<<\": { required: [ a ] } } } }",
	  "2:58: merge keys (<<) are not supported: write the members out\n" },
	{ "log: !!map { level: info }",
	  "1:6: tags (!!map) are not supported: remove it\n" },
	{ "log: { level: info }\n---\nlog: {}",
	  "2:1: a second document begins here: a file holds one\n" },
	{ "log: { level: info",
	  "2:1: not valid YAML: did not find expected ',' or '}' (while parsing a flow mapping that begins in line 1)\n" },
	{ "log:\n\tlevel: info",
	  "2:1: not valid YAML: found character that cannot start any token\n" },
	{ "? [a]\n: b",
	  "1:3: a key must be a word, not a list or a map\n" },
	{ "\"li\\nsten\": 1",
	  "1:1: unknown key \"li\\x0asten\"; did you mean \"listen\"?\n" },
	{ "log: { level: \"a\\0b\" }",
	  "1:15: log.level: must not hold a NUL byte\n" },
	{ "x: \377",
	  "1:4: not valid YAML: invalid leading UTF-8 octet\n" },
	{ "upstreams: [ a ]",
	  "1:12: upstreams: must be a map from names to blocks\n" },
	{ "upstreams: { \"a b\": { dialect: rest, endpoints: [ { url: \"http://h\" } ] } }",
	  "1:14: \"a b\" cannot be the name of an upstream: 1 to 64 of A-Z a-z 0-9 _ -\n" },
	{ "upstreams: { s: {} }",
	  "1:14: upstreams.s.dialect is missing\n"
	  "1:14: upstreams.s.endpoints is missing\n" },
	{ "upstreams: { s: }",
	  "1:17: upstreams.s: must be a map of options: write { dialect: … }\n" },
	{ "upstreams: { s: { dialect: jsonrcp, endpoints: [] } }",
	  "1:28: upstreams.s.dialect: must be jsonrpc, rest, envelope, graphql, openai-embeddings, mcp, mcp-stdio or jsonrpc-stdio\n"
	  "1:48: upstreams.s.endpoints: needs 1 to 64 elements\n" },
	{ "upstreams: { s: { dialect: mcp, protocol: 2027-01-01, endpoints: [ { url: \"http://h\" }, { url: \"http://i\" } ] } }",
	  "1:43: upstreams.s.protocol: must be auto, 2026-07-28, 2025-11-25, 2025-06-18, 2025-03-26 or 2024-11-05\n"
	  "1:55: upstreams.s.endpoints: an MCP session is one server's: name one, or one upstream for each\n" },
	{ "upstreams: { s: { dialect: rest, protocol: auto, endpoints: [ { url: \"http://h\" } ] } }",
	  "1:34: upstreams.s.protocol: is for dialect mcp or mcp-stdio, not rest\n" },
	{ "upstreams: { s: { dialect: rest, endpoints: [ \"http://h\" ] } }",
	  "1:47: upstreams.s.endpoints[0]: must be a map of options: write { url: … }\n" },
	{ "upstreams: { s: { dialect: rest, endpoints: [ { url: \"ftp://h\" } ] } }",
	  "1:54: upstreams.s.endpoints[0].url: does not begin with http:// or https://\n" },
	{ "upstreams: { s: { dialect: rest, endpoints: [ { url: \"http://h\" }, { url: \"http://h\" }, { uri: x } ] } }",
	  "1:75: upstreams.s.endpoints[1].url: is there twice\n"
	  "1:89: upstreams.s.endpoints[2].url is missing\n"
	  "1:91: unknown key \"uri\" in upstreams.s.endpoints[2]; did you mean \"url\"?\n" },
	{ "upstreams: { s: { dialect: mcp-stdio, headers: { A: b }, pool: { min: 5 } } }",
	  "1:14: upstreams.s.command is missing: dialect mcp-stdio needs it\n"
	  "1:39: upstreams.s.headers: is for providers over HTTP, not mcp-stdio\n"
	  "1:71: upstreams.s.pool.min: is more than pool.max, which is 4\n" },
	{ "upstreams: { s: { dialect: rest, command: cat, args: [ -u, [] ], env: { A=B: 1 } } }",
	  "1:34: upstreams.s.command: is for dialects mcp-stdio and jsonrpc-stdio, not rest\n"
	  "1:48: upstreams.s.args: is for dialects mcp-stdio and jsonrpc-stdio, not rest\n"
	  "1:60: upstreams.s.args: must be a list of texts, such as [ \"-y\", /srv/files ], not a list\n"
	  "1:66: upstreams.s.env: is for dialects mcp-stdio and jsonrpc-stdio, not rest\n" },
	{ "upstreams: { s: { dialect: rest, endpoints: [ { url: \"http://h\" } ], pool: { max: 2, min_idle: 3 } } }",
	  "1:96: upstreams.s.pool.min_idle: is more than pool.max, which is 2\n" },
	{ "upstreams: { s: { dialect: rest, endpoints: [ { url: \"http://h\" } ], headers: { \"A B\": x, Content-Length: 1, X: \"a\\nb\", x: 2, Y: [1], Z: } } }",
	  "1:81: upstreams.s.headers: \"A B\" is not a header's name: letters, digits and - only\n"
	  "1:91: upstreams.s.headers: \"Content-Length\" is written by jitney itself\n"
	  "1:113: upstreams.s.headers.X: a header's value must not hold line breaks or other control bytes\n"
	  "1:121: upstreams.s.headers: \"x\" is there twice: case does not matter in a header's name\n"
	  "1:130: upstreams.s.headers.Y: must be text\n"
	  "1:138: upstreams.s.headers.Z: must be text\n" },
	{ "upstreams: { s: { dialect: graphql, endpoints: [ { url: \"http://h\" } ] } }\n"
	  "tools: { a: { upstream: s }, b: { upstream: s, operation: \"{ a\" } }",
	  "2:10: tools.a: operation: is missing: a query or mutation with $variables\n"
	  "2:59: tools.b.operation: line 1: a field expected, the text ends\n" },
	{ "upstreams: { s: { dialect: rest, headers: { content-type: application/x-www-form-urlencoded },\n"
	  "endpoints: [ { url: \"http://h\" } ] } }",
	  "1:34: upstreams.s.headers: a Content-Type that is not JSON's belongs to the tools whose bodies are of it: "
	  "tools.*.request.headers\n" },
	{ "upstreams: { s: { dialect: rest, graphql: { max: 3 }, endpoints: [ { url: \"http://h\" } ] } }",
	  "1:34: upstreams.s.graphql: is for dialect graphql, not rest\n" },
	{ PROVIDERS "tools: { t: { upstream: r, request: { key_list: { parameter: ids, argument: id } } } }",
	  "2:49: tools.t.request.key_list: needs annotations.read_only or idempotent, for a request that is refused for "
	  "one key is sent again for the others\n" },
	{ PROVIDERS "tools: { t: { upstream: r, operation: \"{ a }\" } }",
	  "2:28: tools.t.operation: is for dialect graphql, not rest\n" },
	{ "tools: { t: { upstream: nope } }",
	  "1:25: tools.t.upstream: there is no upstream \"nope\"\n" },
	{ PROVIDERS "tools: { \"a/b\": { upstream: s } }",
	  "2:10: \"a/b\" cannot be the name of a tool: 1 to 128 of A-Z a-z 0-9 _ - .\n" },
	{ PROVIDERS "tools: { \"..\": { upstream: s } }",
	  "2:10: \"..\" cannot be the name of a tool: 1 to 128 of A-Z a-z 0-9 _ - .\n" },
	{ PROVIDERS "tools: { t: { } }",
	  "2:10: tools.t.upstream is missing\n" },
	{ PROVIDERS "tools: { t: { upstream: s, cache: { ttl: 5m } } }",
	  "2:28: t has a cache but is not declared annotations.read_only or idempotent\n" },
	{ PROVIDERS "tools: { t: { upstream: s, cache: { } } }",
	  "2:28: tools.t.cache.ttl is missing\n" },
	{ PROVIDERS "tools: { t: { upstream: s, cache: { ttl: 0 }, annotations: { read_onyl: true } } }",
	  "2:62: unknown key \"read_onyl\" in tools.t.annotations; did you mean \"read_only\"?\n" },
	{ PROVIDERS "tools: { t: { upstream: s, annotations: { read_only: true }, cache: { ttl: 1m, scope: tenant } } }",
	  "2:87: tools.t.cache.scope: tenant needs identity.tenant_header\n" },
	{ PROVIDERS "tools: { t: { upstream: s, annotations: { read_only: true }, cache: { ttl: 1m, key: { ignore: [ a ], "
		    "only: [ b ] } } } }",
	  "2:87: tools.t.cache.key.ignore: has no use beside only, which leaves out all others\n" },
	{ PROVIDERS "tools: { t: { upstream: s, annotations: { read_only: true }, cache: { ttl: 1m, key: { only: [ a, b, a ] "
		    "} } } }",
	  "2:87: tools.t.cache.key.only: has \"a\" twice\n" },
	{ PROVIDERS "tools: { t: { upstream: s, cache: 5m } }",
	  "2:35: tools.t.cache: must be a map of options: write { ttl: … }\n" },
	{ PROVIDERS "tools: { t: { upstream: s, input_schema: { type: string } } }",
	  "2:50: tools.t.input_schema: needs type: object, for arguments are one\n" },
	{ PROVIDERS "tools: { t: { upstream: s, input_schema: {} } }",
	  "2:42: tools.t.input_schema: needs type: object, for arguments are one\n" },
	{ PROVIDERS "tools: { t: { upstream: s, input_schema: text } }",
	  "2:42: tools.t.input_schema: must be a JSON Schema, such as { type: object }\n" },
	{ PROVIDERS "tools: { t: { upstream: s, input_schema: { type: object, enum: [ yes, 0x10, 080 ] } } }",
	  "2:66: tools.t.input_schema: readers of YAML disagree about yes: write it in quotes, or as true or false\n"
	  "2:71: tools.t.input_schema: readers of YAML disagree about 0x10: write it in quotes, or as a plain decimal number\n"
	  "2:77: tools.t.input_schema: readers of YAML disagree about 080: write it in quotes, or as a plain decimal number\n" },
	{ PROVIDERS "tools: { t: { upstream: s, request: { path: / } } }",
	  "2:28: tools.t.request: is for dialect rest or envelope, not jsonrpc\n" },
	{ PROVIDERS "tools: { t: { upstream: r, method: x } }",
	  "2:28: tools.t.method: is for dialect jsonrpc or envelope or mcp or jsonrpc-stdio or mcp-stdio, not rest\n" },
	{ PROVIDERS "tools: { t: { upstream: r, request: { path: x } } }",
	  "2:45: tools.t.request.path: character 1: a path begins with '/'\n" },
	{ PROVIDERS "tools: { t: { upstream: r, request: { method: BREW } } }",
	  "2:47: tools.t.request.method: must be GET, POST, PUT, PATCH, DELETE or HEAD\n" },
	{ PROVIDERS "tools: { t: { upstream: r, request: { path: \"/{a\" } } }",
	  "2:45: tools.t.request.path: character 2: a brace that is no {name} placeholder\n" },
	{ PROVIDERS "tools: { t: { upstream: r, request: { headers: { \"A B\": x, X: \"{a}\" } } } }",
	  "2:50: tools.t.request.headers: \"A B\" is not a header's name: letters, digits and - only\n" },
	{ PROVIDERS "tools: { t: { upstream: s, description: 5 } }",
	  "2:41: tools.t.description: must be text: write \"5\" in quotes\n" },
	{ PROVIDERS "tools: { t: { upstream: s, description: ${NO_SUCH} } }",
	  "2:42: not valid YAML: did not find expected ',' or '}'\n" },
	{ PROVIDERS "tools: { t: { upstream: s, description: \"${a b}\" } }",
	  "2:41: tools.t.description: ${a b} names no variable and no file: (write $${ for a plain ${)\n" },
	{ PROVIDERS "tools: { t: { upstream: s, description: \"${x\" } }",
	  "2:41: tools.t.description: ${ without } (write $${ for a plain ${)\n" },
	{ PROVIDERS "tools: { t: { upstream: s, description: \"${file:/nonexistent}\" } }",
	  "2:41: tools.t.description: ${file:/nonexistent}: No such file or directory\n" },
	{ PROVIDERS "tools: { t: { upstream: s, description: \"${file:/dev/zero}\" } }",
	  "2:41: tools.t.description: ${file:/dev/zero}: longer than 64KiB\n" },
	{ PROVIDERS "tools: { t: { upstream: s, description: \"${file:}\" } }",
	  "2:41: tools.t.description: ${file:...} needs a path\n" },
	{ PROVIDERS "tools: { t: { upstream: s, description: \"${file:/}\" } }",
	  "2:41: tools.t.description: ${file:/}: Is a directory\n" },
	{ PROVIDERS "tools: { t: { upstream: s, models: [ m ] } }",
	  "2:28: tools.t.models: is for dialect openai-embeddings, not jsonrpc\n" },
	{ PROVIDERS "tools: { t: { upstream: s, cache: { tags: [ \"\", a ], ttl: 0 } } }",
	  "2:45: tools.t.cache.tags: must be 1 to 64 bytes long\n" },
	{ "upstreams: { s: { dialect: rest, tools_refresh: 1s, max_list: 1MiB, endpoints: [ { url: \"http://h\" } ] } }",
	  "1:34: upstreams.s.tools_refresh: is for providers that list their tools (MCP), not for dialect rest\n"
	  "1:53: upstreams.s.max_list: is for providers that list their tools (MCP), not for dialect rest\n" },
	{ "upstreams: { s: { dialect: jsonrpc-stdio, command: cat, pool: { start_timeout: 1s } } }",
	  "1:65: upstreams.s.pool.start_timeout: is for dialect mcp-stdio, whose processes answer to initialize, not "
	  "jsonrpc-stdio\n" },
	{ "upstreams: { s: { dialect: mcp, endpoints: [ { url: \"http://h\" } ] } }\n"
	  "tools: { a: { upstream: s, method: read_file } }",
	  "2:28: tools.a.method: is for dialect jsonrpc; the server's name of an MCP tool is tools.a.tool\n" },
	{ "upstreams: { git: { dialect: mcp, endpoints: [ { url: \"http://h\" } ] },\n"
	  "  git__hub: { dialect: mcp, endpoints: [ { url: \"http://h\" } ] } }",
	  "2:3: upstreams.git__hub: tools of upstream git could have the same names (git__hub__...); rename one of them\n" },
	{ PROVIDERS "tools: { t: { upstream: s, timeout: 0 } }",
	  "2:37: tools.t.timeout: must be between 1ms and 1h\n" },
};
/* clang-format on */

/* The messages for a text, without the names in front; "" if it is a good configuration. */
static const char *errors_of(struct slice text)
{
	static char result[1 << 20];
	struct buf errors = BUF_INIT(sizeof result - 1);
	struct config *config = config_parse("c", text, &errors);
	char *out = result;
	assert_int_equal(config == NULL, errors.len > 0);
	config_free(config);
	for (const char *at = buf_cstr(&errors); *at;) {
		size_t line = strcspn(at, "\n") + 1;
		assert_memory_equal(at, "c:", 2);
		memcpy(out, at + 2, line - 2);
		out += line - 2;
		at += line;
	}
	*out = '\0';
	buf_fini(&errors);
	return result;
}

static void each_mistake_is_named_with_its_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(refusals); i++) {
		const char *errors = errors_of(slice_of(refusals[i].yaml));
		if (strcmp(errors, refusals[i].errors) != 0)
			print_error("case %zu: %s\n", i, refusals[i].yaml);
		assert_string_equal(errors, refusals[i].errors);
	}
}

static void all_mistakes_are_told_at_once_in_file_order(void **state)
{
	(void)state;
	static const char yaml[] =
		"tools:\n  b: { upstream: nope }\n  a: { upstream: s, timeout: 5 }\n" /* checked last, third */
		"upstreams:\n  s:\n    dialect: rest\n    endpoints: [ { url: ftp://h } ]\n"
		"workers: none\n";
	assert_string_equal(errors_of(slice_of(yaml)),
			    "2:18: tools.b.upstream: there is no upstream \"nope\"\n"
			    "3:30: tools.a.timeout: a duration needs a unit: us, ms, s, m, h or d, such as 10s\n"
			    "7:25: upstreams.s.endpoints[0].url: does not begin with http:// or https://\n"
			    "8:10: workers: must be auto or a whole number, such as 4\n");
}

static void after_a_hundred_mistakes_the_rest_is_counted(void **state)
{
	(void)state;
	struct buf yaml = BUF_INIT(1 << 16);
	for (int i = 0; i < 250; i++)
		buf_printf(&yaml, "k%d: 1\n", i);
	const char *errors = errors_of(buf_slice(&yaml)), *line = errors;
	for (int i = 1; i <= 100; i++, line = strchr(line, '\n') + 1)
		assert_int_equal(atoi(line), i);
	assert_string_equal(line, " 150 more errors\n");
	buf_fini(&yaml);
}

static void nesting_without_end_is_cut_short(void **state)
{
	(void)state;
	static char deep[100000];
	memset(deep, '[', sizeof deep);
	assert_string_equal(errors_of((struct slice){ deep, sizeof deep }), "1:66: nested deeper than 64\n");
}

static void a_unix_path_has_to_fit_its_address(void **state)
{
	(void)state;
	char yaml[256], path[109];
	for (int len = 107; len <= 108; len++) {
		memset(path, 'x', sizeof path);
		path[len] = '\0';
		snprintf(yaml, sizeof yaml, "listen: unix:%s", path);
		assert_string_equal(
			errors_of(slice_of(yaml)),
			len == 107 ? ""
				   : "1:9: listen: the path is longer than the 107 bytes a unix socket can have\n");
	}
}

/* What a variable stands for may be a secret: no message may show it. */
static void what_was_filled_in_is_never_shown(void **state)
{
	(void)state;
	static const char *const yamls[] = {
		"listen: ${SECRET}",
		"workers: ${SECRET}",
		"drain_timeout: ${SECRET}",
		"log: { level: \"${SECRET}\" }",
		"trusted_proxies: [ \"${SECRET}\" ]",
		"identity: { tenant_header: \"${SECRET}\" }",
		"upstreams: { s: { dialect: \"${SECRET}\", endpoints: [ { url: \"ftp://${SECRET}\" } ] } }",
		"upstreams: { s: { dialect: rest, endpoints: [ { url: \"http://h\" } ], headers: { A: \"${SECRET}\" } "
		"} }",
		PROVIDERS "tools: { t: { upstream: \"${SECRET}\" } }",
		PROVIDERS "tools: { t: { upstream: r, request: { path: \"${SECRET}\" } } }",
	};
	setenv("SECRET", "hunter2\r {", 1);
	for (size_t i = 0; i < countof(yamls); i++) {
		const char *errors = errors_of(slice_of(yamls[i]));
		assert_string_not_equal(errors, "");
		assert_null(strstr(errors, "hunter2"));
	}
	unsetenv("SECRET");
}

static void a_file_that_cannot_be_read_is_one_line(void **state)
{
	(void)state;
	struct buf errors = BUF_INIT(4096);
	assert_null(config_load("/nonexistent/jitney.yaml", &errors));
	assert_string_equal(buf_cstr(&errors), "/nonexistent/jitney.yaml: No such file or directory\n");
	buf_reset(&errors);
	assert_null(config_load("/", &errors));
	assert_string_equal(buf_cstr(&errors), "/: Is a directory\n");
	buf_fini(&errors);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_mistake_is_named_with_its_place),
		cmocka_unit_test(all_mistakes_are_told_at_once_in_file_order),
		cmocka_unit_test(after_a_hundred_mistakes_the_rest_is_counted),
		cmocka_unit_test(nesting_without_end_is_cut_short),
		cmocka_unit_test(a_unix_path_has_to_fit_its_address),
		cmocka_unit_test(what_was_filled_in_is_never_shown),
		cmocka_unit_test(a_file_that_cannot_be_read_is_one_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
