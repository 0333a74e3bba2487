/* SPDX-License-Identifier: Apache-2.0 */
/* envelope_options.h: the rows of the option table that are dialect envelope's (options.h). */
#ifndef JITNEY_GATEWAY_CONFIG_ENVELOPE_OPTIONS_H
#define JITNEY_GATEWAY_CONFIG_ENVELOPE_OPTIONS_H

/* clang-format off */
#define ENVELOPE_ROWS(B, V, L, T)                                                                                      \
	B("upstreams.*.envelope", BLOCK, 0, "dialect envelope: the shape of the provider's batches.")                  \
	V("upstreams.*.envelope.preset", WORD, upstream_draft, own_settings.envelope.preset, "", 0, 0, NULL, ENVELOPE_PRESETS,      \
	  "What the options below are where they are not set.")                                                        \
	V("upstreams.*.envelope.method", WORD, upstream_draft, own_settings.envelope.method, "", 0, 0, "(POST)", "POST|PUT|PATCH",  \
	  "The HTTP method of a batch.")                                                                               \
	V("upstreams.*.envelope.path", TEXT, upstream_draft, own_settings.envelope.path, "bytes", 0, 2048, "(none)", NULL,          \
	  "Path and query of a batch, appended to the endpoint's URL.")                                                \
	V("upstreams.*.envelope.content_type", TEXT, upstream_draft, own_settings.envelope.content_type, "bytes", 1, 256,           \
	  "(application/json, or application/x-ndjson)", NULL, "Of a batch.")                                          \
	V("upstreams.*.envelope.framing", WORD, upstream_draft, own_settings.envelope.framing, "", 0, 0, "(json)", "json|ndjson",   \
	  "Of a batch: a JSON array somewhere in body, or lines of JSON.")                                             \
	V("upstreams.*.envelope.body", TEXT, upstream_draft, own_settings.envelope.body, "bytes", 1, 65536, "({items})", NULL,      \
	  "JSON around the array of a batch, which goes where {items} is.")                                            \
	V("upstreams.*.envelope.item", TEXT, upstream_draft, own_settings.envelope.item, "bytes", 1, 65536, NULL, NULL,             \
	  "Template of one call; required without a preset.")                                                          \
	V("upstreams.*.envelope.max", COUNT, upstream_draft, own_settings.envelope.max, "", 1, 10000, "(100)", NULL,                \
	  "Calls in one batch that the provider takes at most; batch.items may ask for fewer.")                        \
	V("upstreams.*.envelope.answer_framing", WORD, upstream_draft, own_settings.envelope.answer_framing, "", 0, 0, "(json)",    \
	  "json|ndjson", "Of the answer: one JSON text, or lines of JSON, each an item.")                              \
	V("upstreams.*.envelope.list", TEXT, upstream_draft, own_settings.envelope.list, "bytes", 1, 256, "(.)", NULL,              \
	  "Path of the array of items in the answer; a dot: the answer itself.")                                       \
	V("upstreams.*.envelope.match", WORD, upstream_draft, own_settings.envelope.match, "", 0, 0,                                \
	  "(id if that is set, else position)",                                                                        \
	  "id|position", "How an item of the answer finds its call.")                                                  \
	V("upstreams.*.envelope.id", TEXT, upstream_draft, own_settings.envelope.id, "bytes", 1, 256, NULL, NULL,                   \
	  "Path of the id in an item.")                                                                                \
	V("upstreams.*.envelope.result", TEXT, upstream_draft, own_settings.envelope.result, "bytes", 1, 256, "(.)", NULL,          \
	  "Path of the result in an item; a dot: the whole item.")                                                     \
	V("upstreams.*.envelope.status", TEXT, upstream_draft, own_settings.envelope.status, "bytes", 1, 256, NULL, NULL,           \
	  "Path of the HTTP status in an item.")                                                                       \
	V("upstreams.*.envelope.errors", TEXT, upstream_draft, own_settings.envelope.errors, "bytes", 1, 256, "(all but 200-299)",  \
	  NULL,                                                                                                        \
	  "Statuses of items that mean failure: ranges such as 400-599, 207.")                                         \
	V("upstreams.*.envelope.error", TEXT, upstream_draft, own_settings.envelope.error, "bytes", 1, 256, NULL, NULL,             \
	  "Path of the error in an item; there and not null: the call failed.")                                        \
	V("upstreams.*.envelope.retry_after", TEXT, upstream_draft, own_settings.envelope.retry_after, "bytes", 1, 256, NULL, NULL, \
	  "Path of the seconds to wait in an item that failed; case does not matter.")
/* clang-format on */

#endif
