/* SPDX-License-Identifier: Apache-2.0 */
/* key_list_options.h: the rows of the option table that are key lists' (options.h), of dialect rest. */
#ifndef JITNEY_GATEWAY_CONFIG_KEY_LIST_OPTIONS_H
#define JITNEY_GATEWAY_CONFIG_KEY_LIST_OPTIONS_H

/* clang-format off */
#define KEY_LIST_ROWS(B, V, L, T)                                                                                      \
	B("tools.*.request.key_list", BLOCK, 0, "dialect rest: many calls as one request with many keys in its query.") \
	V("tools.*.request.key_list.parameter", TEXT, tool_draft, own_settings.key_list.parameter, "bytes", 1, 256,         \
	  OPTION_REQUIRED, NULL, "The query parameter that takes the keys.")                                           \
	V("tools.*.request.key_list.argument", TEXT, tool_draft, own_settings.key_list.argument, "bytes", 1, 256,           \
	  OPTION_REQUIRED, NULL, "The argument that is the key; calls that differ in another one do not share.")       \
	V("tools.*.request.key_list.separator", TEXT, tool_draft, own_settings.key_list.separator, "bytes", 1, 64, "(,)", NULL, \
	  "What stands between keys; one that begins with & repeats the parameter.")                                   \
	V("tools.*.request.key_list.list", TEXT, tool_draft, own_settings.key_list.list, "bytes", 1, 256, "(.)", NULL,      \
	  "Path of the items in the answer; a dot: the answer itself.")                                                \
	V("tools.*.request.key_list.key", TEXT, tool_draft, own_settings.key_list.key, "bytes", 1, 256, NULL, NULL,         \
	  "Path of the key in an item of the list; without it the items are an object's members, named by key.")       \
	V("tools.*.request.key_list.result", TEXT, tool_draft, own_settings.key_list.result, "bytes", 1, 256, "(.)", NULL,  \
	  "Path of the result in an item; a dot: the whole item.")                                                     \
	V("tools.*.request.key_list.missing", WORD, tool_draft, own_settings.key_list.missing, "", 0, 0, "(error)",         \
	  "error|null", "What a call gets whose key is not in the answer.")                                            \
	V("tools.*.request.key_list.max", COUNT, tool_draft, own_settings.key_list.max, "", 1, 1000, "(50)", NULL,          \
	  "Keys in one request that the provider takes at most; the smallest of an upstream's tools counts.")
/* clang-format on */

#endif
