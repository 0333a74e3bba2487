/* SPDX-License-Identifier: Apache-2.0 */
/* views.h: what `jitney top` shows: tables made of one look at a gateway and the one before, and the lines above them. */
#ifndef JITNEY_GATEWAY_CLI_TOP_VIEWS_H
#define JITNEY_GATEWAY_CLI_TOP_VIEWS_H

#include "gateway/cli/gateway_stats.h"
#include "gateway/cli/text_table.h"

/* X(name, word, column that it is sorted by at first) */
#define VIEWS(X)                                                                                                       \
	X(UPSTREAMS, "upstreams", 1)                                                                                   \
	X(TOOLS, "tools", 1)                                                                                           \
	X(BATCHES, "batches", 0)                                                                                       \
	X(CACHE, "cache", 0)                                                                                           \
	X(PROCESSES, "processes", 0)                                                                                   \
	X(ALERTS, "alerts", 1)                                                                                         \
	X(CALLS, "calls", 1)                                                                                           \
	X(TENANTS, "tenants", 1)
/* All of them, and the keys that show them, for people. */
#define VIEW_NAMES "upstreams, tools, batches, cache, processes, alerts, calls or tenants"
#define VIEW_KEYS "1 to 8"
enum view {
#define X(name, word, sort) VIEW_##name,
	VIEWS(X)
#undef X
		VIEW_COUNT
};
extern const char *const view_words[VIEW_COUNT];
extern const uint8_t view_first_sort[VIEW_COUNT];

/* Whether the view shows calls too (/admin/calls), which are not asked for otherwise. */
bool view_needs_calls(enum view view);
/* How many columns its table has. */
size_t view_column_count(enum view view);
/* What to say where its table has no row. */
const char *view_says_empty(enum view view);

/*
 * The rows of a view, not sorted.
 *
 * now, before  two looks; `before` may be empty: then there are no rates.
 * filter       only rows that have this in a column of words; "": all.
 */
void view_fill(enum view view, const struct gateway_stats *now, const struct gateway_stats *before, const char *filter,
	       struct text_table *table);

enum { HEAD_LINES = 4, HEAD_LINE_BYTES = 400 };
/* The lines above: who it is; how much, how fast; how full; who is sick. */
struct head {
	char lines[HEAD_LINES][HEAD_LINE_BYTES];
	enum text_tone tone; /* of the last one */
};
void head_fill(const struct gateway_stats *now, struct head *head);

#endif
