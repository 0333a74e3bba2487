/* SPDX-License-Identifier: Apache-2.0 */
/* watch.c: what keys do, and what is kept of the gateway's answers. */
#include "gateway/cli/top/watch.h"

#include "base/clock.h"
#include "gateway/cli/top/screen.h"

#define RATE_SPAN_S 5 /* rates are those of so long, or of the last two looks if those are further apart */

void watch_init(struct watch *watch, const struct cli_client *setup)
{
	*watch = (struct watch){ .setup = setup };
	for (size_t i = 0; i < VIEW_COUNT; i++)
		watch->sort[i] = view_first_sort[i];
}

void watch_fini(struct watch *watch)
{
	for (size_t i = 0; i < WATCH_LOOKS; i++)
		gateway_stats_fini(&watch->looks[i]);
	text_table_fini(&watch->table);
}

/* --- looks --- */

static void swap_looks(struct gateway_stats *a, struct gateway_stats *b)
{
	struct gateway_stats old = *a;
	*a = *b;
	*b = old;
}

void watch_take(struct watch *watch, const struct asker_news *news, struct gateway_stats *stats)
{
	double span_s;
	watch->answers = news->answered;
	memcpy(watch->error, news->error, sizeof watch->error);
	if (!news->answered)
		return;
	watch->answered_s = (double)clock_wall_us() / 1e6;
	if (watch->look_count && stats->at_s == watch->looks[0].at_s) {
		swap_looks(&watch->looks[0], stats); /* the same moment once more */
		return;
	}
	if (watch->look_count && !gateway_stats_follow(stats, &watch->looks[0], &span_s))
		watch->look_count = 0; /* it has started anew */
	struct gateway_stats oldest = watch->looks[WATCH_LOOKS - 1];
	memmove(&watch->looks[1], &watch->looks[0], sizeof watch->looks - sizeof watch->looks[0]);
	watch->looks[0] = *stats;
	*stats = oldest;
	watch->look_count += watch->look_count < WATCH_LOOKS;
}

const struct gateway_stats *watch_before(const struct watch *watch)
{
	static const struct gateway_stats none = { 0 };
	size_t at = 1;
	if (watch->look_count < 2)
		return &none;
	while (at + 1 < watch->look_count && watch->looks[0].at_s - watch->looks[at].at_s < RATE_SPAN_S - 0.5)
		at++;
	return &watch->looks[at];
}

void watch_fill(struct watch *watch)
{
	view_fill(watch->view, &watch->looks[0], watch_before(watch), watch->filter, &watch->table);
	text_table_sort(&watch->table, watch->sort[watch->view], watch->reversed[watch->view]);
}

/* --- keys --- */

/* How far down there is something is known when the picture is made: it goes back to the last rows. */
static void scroll_by(struct watch *watch, long rows)
{
	size_t *first = &watch->first_row[watch->view];
	long wanted = (long)*first + rows;
	*first = wanted > 0 ? (size_t)wanted : 0;
}

static enum watch_wish choose_view(struct watch *watch, enum view view)
{
	bool other = view_needs_calls(view) && !view_needs_calls(watch->view);
	watch->view = view;
	return other ? WATCH_ASK : WATCH_GO_ON;
}

static enum watch_wish type_filter(struct watch *watch, int key)
{
	size_t len = strlen(watch->filter);
	if (key == SCREEN_ESCAPE)
		watch->filter[0] = '\0';
	if (key == SCREEN_ESCAPE || key == SCREEN_ENTER)
		watch->typing = false;
	if (key == SCREEN_BACKSPACE && len) {
		while (len > 1 && ((unsigned char)watch->filter[len - 1] & 0xc0) == 0x80)
			len--; /* the rest of a character of several bytes */
		watch->filter[len - 1] = '\0';
	}
	if (key >= ' ' && key < 256 && key != 127 && len + 1 < sizeof watch->filter) {
		watch->filter[len] = (char)key;
		watch->filter[len + 1] = '\0';
	}
	watch->first_row[watch->view] = 0;
	return WATCH_GO_ON;
}

static void scroll_by_key(struct watch *watch, int key, int lines)
{
	int page = watch_rows(lines);
	const struct {
		int key;
		long rows;
	} moves[] = {
		{ SCREEN_UP, -1 },         { 'k', -1 },
		{ SCREEN_DOWN, 1 },        { 'j', 1 },
		{ SCREEN_PAGE_UP, -page }, { SCREEN_PAGE_DOWN, page },
		{ SCREEN_HOME, -1000000 }, { 'g', -1000000 },
		{ SCREEN_END, 1000000 },   { 'G', 1000000 },
	};
	for (size_t i = 0; i < countof(moves); i++)
		if (moves[i].key == key)
			scroll_by(watch, moves[i].rows);
}

static void choose_order(struct watch *watch, int key)
{
	size_t *sort = &watch->sort[watch->view], count = view_column_count(watch->view);
	if (key == 'r')
		watch->reversed[watch->view] = !watch->reversed[watch->view];
	else
		*sort = (*sort + (key == 's' ? 1 : count - 1)) % count;
	watch->first_row[watch->view] = 0;
}

enum watch_wish watch_key(struct watch *watch, int key, int lines)
{
	if (key == SCREEN_RESIZED || key == 'L' - '@')
		return WATCH_REDRAW;
	if (watch->typing)
		return type_filter(watch, key);
	if (watch->help && key != 'q') {
		watch->help = false;
		return WATCH_GO_ON;
	}
	if (key >= '1' && key < '1' + VIEW_COUNT)
		return choose_view(watch, (enum view)(key - '1'));
	switch (key) {
	case 'q':
		return WATCH_QUIT;
	case SCREEN_TAB:
	case SCREEN_RIGHT:
		return choose_view(watch, (watch->view + 1) % VIEW_COUNT);
	case SCREEN_BACK_TAB:
	case SCREEN_LEFT:
		return choose_view(watch, (watch->view + VIEW_COUNT - 1) % VIEW_COUNT);
	case 's':
	case 'S':
	case 'r':
		choose_order(watch, key);
		return WATCH_GO_ON;
	case '/':
		watch->typing = true;
		return WATCH_GO_ON;
	case SCREEN_ESCAPE:
		watch->filter[0] = '\0';
		return WATCH_GO_ON;
	case ' ':
		watch->paused = !watch->paused;
		return WATCH_ASK;
	case '?':
	case 'h':
		watch->help = true;
		return WATCH_GO_ON;
	default:
		scroll_by_key(watch, key, lines);
		return WATCH_GO_ON;
	}
}
