/* SPDX-License-Identifier: Apache-2.0 */
/* picture.c: the screen of `jitney top`: head, views, table, and below it what can be done or what is wrong. */
#include <stdio.h>
#include <time.h>

#include "gateway/cli/top/screen.h"
#include "gateway/cli/top/watch.h"

enum { LINE_BYTES_MAX = 8192, HEAD_WHOLE_FROM = 14, HEAD_SICK_FROM = 8, CLOCK_BYTES = 16 };

/* Lines of the head that a terminal of so many has room for: all, who is sick, none. */
static int head_lines(int lines)
{
	return lines >= HEAD_WHOLE_FROM ? HEAD_LINES : lines >= HEAD_SICK_FROM ? 1 : 0;
}

int watch_rows(int lines)
{
	int rows = lines - head_lines(lines) - 3; /* the views, the titles, the line at the bottom */
	return rows > 1 ? rows : 1;
}

static void write_clock(char text[CLOCK_BYTES], double at_s)
{
	time_t whole = (time_t)at_s;
	struct tm broken;
	if (!localtime_r(&whole, &broken) || !strftime(text, CLOCK_BYTES, "%H:%M:%S", &broken))
		snprintf(text, CLOCK_BYTES, "?");
}

static int draw_head(const struct watch *watch, int lines)
{
	struct head head = { 0 };
	int count = head_lines(lines);
	if (watch->look_count)
		head_fill(&watch->looks[0], &head);
	for (int i = 0; i < count; i++) {
		bool is_last = i == count - 1;
		enum text_tone tone = !watch->answers ? TONE_DIM : is_last ? head.tone : TONE_PLAIN;
		screen_put(i, head.lines[HEAD_LINES - count + i], tone, false);
	}
	return count;
}

static void draw_views(const struct watch *watch, int line)
{
	struct buf text = BUF_INIT(LINE_BYTES_MAX);
	for (int i = 0; i < VIEW_COUNT; i++)
		buf_printf(&text, (enum view)i == watch->view ? "[%d %s] " : "%d %s ", i + 1, view_words[i]);
	screen_put(line, buf_cstr(&text), TONE_PLAIN, false);
	buf_fini(&text);
}

/* Instead of rows. */
static const char *choose_excuse(const struct watch *watch)
{
	if (!watch->look_count)
		return watch->error[0] ? "" : "asking ...";
	if (view_needs_calls(watch->view) && !watch->looks[0].calls.len)
		return "asking ...";
	return watch->filter[0] ? "Nothing has this in its name." : view_says_empty(watch->view);
}

static void draw_table(struct watch *watch, int line, int lines, int columns)
{
	struct text_layout layout;
	struct buf text = BUF_INIT(LINE_BYTES_MAX);
	size_t *first = &watch->first_row[watch->view], rows = (size_t)watch_rows(lines);
	const struct text_table *table = &watch->table;
	if (*first + rows > table->count)
		*first = table->count > rows ? table->count - rows : 0;
	text_table_lay_out(table, columns, &layout);
	text_table_put_line(table, &layout, NULL, &text);
	screen_put(line, buf_cstr(&text), TONE_PLAIN, true);
	for (size_t i = 0; i < rows && *first + i < table->count; i++) {
		const struct text_row *row = &table->rows[*first + i];
		buf_reset(&text);
		text_table_put_line(table, &layout, row, &text);
		screen_put(line + 1 + (int)i, buf_cstr(&text), watch->answers ? row->tone : TONE_DIM, false);
	}
	if (!table->count)
		screen_put(line + 1, choose_excuse(watch), TONE_DIM, false);
	buf_fini(&text);
}

/* That there is no answer goes before all else; then what is being typed; then what can be done. */
static void draw_bottom(const struct watch *watch, int line, int lines)
{
	struct buf text = BUF_INIT(LINE_BYTES_MAX);
	char clock[CLOCK_BYTES] = "the start";
	enum text_tone tone = TONE_PLAIN;
	struct text_cell filter, error;
	size_t first = watch->first_row[watch->view], shown = (size_t)watch_rows(lines);
	text_cell_put(&filter, slice_of(watch->filter));
	text_cell_put(&error, slice_of(watch->error));
	if (watch->answered_s > 0)
		write_clock(clock, watch->answered_s);
	if (watch->typing)
		buf_printf(&text, "filter: %s_   Enter keeps it, Esc drops it", filter.text);
	else if (!watch->answers && watch->error[0]) {
		buf_printf(&text, "no answer since %s: %s", clock, error.text);
		tone = TONE_BAD;
	} else {
		if (watch->paused)
			buf_printf(&text, "paused at %s  ", clock);
		if (watch->filter[0])
			buf_printf(&text, "filter: %s  ", filter.text);
		buf_printf(&text, "by %s%s  ", watch->table.columns[watch->sort[watch->view]].title,
			   watch->reversed[watch->view] ? ", reversed" : "");
		if (watch->table.count > shown)
			buf_printf(&text, "%zu-%zu of %zu  ", first + 1, first + shown, watch->table.count);
		buf_put_text(&text, "q quit  ? help  / filter  s sort  space pause");
		tone = watch->paused ? TONE_WARN : TONE_DIM;
	}
	screen_put(line, buf_cstr(&text), tone, false);
	buf_fini(&text);
}

static void draw_help(void)
{
	static const char *const text[] = {
		"Keys of jitney top",
		"",
		("  " VIEW_KEYS ", Tab, arrows left and right   another view"),
		"  arrows up and down, j k, page keys   scroll; g, Home, G, End: to either end",
		"  s, S                                 sort by the next column, the one before",
		"  r                                    the other way round",
		"  /                                    only rows with what is typed; Esc: all",
		"  space                                pause, and go on",
		"  Ctrl-L                               draw the screen anew",
		"  q, Ctrl-C                            quit",
		"",
		"Rates of rows are those of the last five seconds, the head's of the last ten.",
		"Latencies of rows are of the last minutes. OPEN of OF: requests under way, and",
		"how many may be; LINE: calls that wait; FULL: calls a request; LEFT: repeats",
		"left; COST: of a request, and of each call in it, as learned; WINDOW: how long",
		"one waits. Calls: those under way; FOR: so far; AT: where; IN: for how long.",
		"Tenants: BUSY: time at providers a second; UPSTREAM: since it is counted (FOR).",
		"",
		"Any key goes back.",
	};
	for (size_t i = 0; i < countof(text); i++)
		screen_put((int)i, text[i], TONE_PLAIN, i == 0);
}

void watch_draw(struct watch *watch, bool anew)
{
	int lines, columns;
	screen_size(&lines, &columns);
	watch_fill(watch);
	screen_begin();
	if (watch->help)
		draw_help();
	else {
		int at = draw_head(watch, lines);
		draw_views(watch, at);
		draw_table(watch, at + 1, lines, columns);
		draw_bottom(watch, lines - 1, lines);
	}
	screen_show(anew);
}
