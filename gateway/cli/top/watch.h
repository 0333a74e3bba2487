/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h: what somebody who looks at `jitney top` has chosen and sees: looks at the gateway, view, order, filter, place. The
 * picture made of it, and what each key does to it.
 */
#ifndef JITNEY_GATEWAY_CLI_TOP_WATCH_H
#define JITNEY_GATEWAY_CLI_TOP_WATCH_H

#include "gateway/cli/asker.h"
#include "gateway/cli/top/views.h"

enum { WATCH_LOOKS = 6, FILTER_BYTES = 64 };

struct watch {
	const struct cli_client *setup;
	struct gateway_stats looks[WATCH_LOOKS]; /* the newest first; those that came before it, of the same process */
	size_t look_count;
	bool answers;                  /* to the last question */
	char error[STATS_ERROR_BYTES]; /* if it does not */
	double answered_s;             /* wall clock, of the last answer; 0: there has been none */
	enum view view;
	size_t sort[VIEW_COUNT]; /* column */
	bool reversed[VIEW_COUNT];
	size_t first_row[VIEW_COUNT];
	char filter[FILTER_BYTES];
	bool typing; /* of the filter */
	bool paused, help;
	struct text_table table;
};

/* Nothing has been asked yet; `setup` outlives it. */
void watch_init(struct watch *watch, const struct cli_client *setup);
void watch_fini(struct watch *watch);

/* What came of a question; `stats` changes places with what is not needed any more. */
void watch_take(struct watch *watch, const struct asker_news *news, struct gateway_stats *stats);
/* The look that rates are told against: of some seconds ago. Empty if there is none. */
const struct gateway_stats *watch_before(const struct watch *watch);
/* Fill the table of the view, sorted. */
void watch_fill(struct watch *watch);

enum watch_wish { WATCH_GO_ON, WATCH_ASK, WATCH_REDRAW, WATCH_QUIT };
/* What a key does. WATCH_ASK: other things are wanted of the gateway now; WATCH_REDRAW: draw all of the picture anew. */
enum watch_wish watch_key(struct watch *watch, int key, int lines);

/* picture.c: the whole screen. */
void watch_draw(struct watch *watch, bool anew);
/* How many rows of the table a terminal of so many lines shows. */
int watch_rows(int lines);

#endif
