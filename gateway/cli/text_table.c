/* SPDX-License-Identifier: Apache-2.0 */
/* text_table.c: tables for terminals. */
#include "gateway/cli/text_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <wchar.h>

enum { GAP = 2, FIRST_LEAST = 12, LAST_LEAST = 24 };

/* --- rows --- */

void text_table_begin(struct text_table *table, const struct text_column *columns, size_t count)
{
	table->columns = columns;
	table->column_count = count < TEXT_COLUMNS_MAX ? count : TEXT_COLUMNS_MAX;
	table->count = 0;
	table->failed = false;
}

void text_table_fini(struct text_table *table)
{
	free(table->rows);
	*table = (struct text_table){ 0 };
}

struct text_row *text_table_add(struct text_table *table)
{
	if (table->count == table->room) {
		size_t room = table->room ? 2 * table->room : 32;
		struct text_row *rows = reallocarray(table->rows, room, sizeof *rows);
		if (!rows) {
			table->failed = true;
			return NULL;
		}
		table->rows = rows;
		table->room = room;
	}
	struct text_row *row = &table->rows[table->count++];
	row->tone = TONE_PLAIN;
	for (size_t i = 0; i < TEXT_COLUMNS_MAX; i++) {
		row->cells[i].text[0] = '\0';
		row->cells[i].key = -1;
	}
	return row;
}

/* --- cells --- */

/* Characters without a width that steer how others are shown: directions of writing, joiners, byte order marks. */
static bool steers_others(wchar_t character)
{
	static const struct {
		wchar_t first, last;
	} ranges[] = { { 0xad, 0xad },     { 0x61c, 0x61c },   { 0x180e, 0x180e },
		       { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f },
		       { 0xfeff, 0xfeff }, { 0xfff9, 0xfffb }, { 0xe0000, 0xe007f } };
	for (size_t i = 0; i < countof(ranges); i++)
		if (character >= ranges[i].first && character <= ranges[i].last)
			return true;
	return false;
}

/* Bytes of the character that `text` begins with; *width: its columns, -1 if it is not to be printed. */
static size_t measure_character(const char *text, size_t len, int *width)
{
	wchar_t character;
	mbstate_t state = { 0 };
	size_t bytes = mbrtowc(&character, text, len, &state);
	if (bytes == (size_t)-1 || bytes == (size_t)-2 || bytes == 0) {
		*width = -1;
		return 1;
	}
	*width = steers_others(character) ? -1 : wcwidth(character);
	return bytes;
}

void text_put_clean(struct buf *out, struct slice text)
{
	while (text.len) {
		int width;
		size_t bytes = measure_character(text.at, text.len, &width);
		bool is_end = text.at[0] == '\n';
		buf_put(out, width < 0 && !is_end ? SLICE("?") : (struct slice){ text.at, bytes });
		text = (struct slice){ text.at + bytes, text.len - bytes };
	}
}

void text_cell_put(struct text_cell *cell, struct slice text)
{
	size_t used = 0;
	for (size_t at = 0; at < text.len;) {
		int width;
		size_t bytes = measure_character(text.at + at, text.len - at, &width);
		size_t wanted = width < 0 ? 1 : bytes;
		if (used + wanted >= sizeof cell->text)
			break;
		if (width < 0)
			cell->text[used] = '?';
		else
			memcpy(cell->text + used, text.at + at, bytes);
		used += wanted;
		at += bytes;
	}
	cell->text[used] = '\0';
	cell->key = 0;
}

void text_cell_number(struct text_cell *cell, double number)
{
	static const char *const units[] = { "", "k", "M", "G", "T" };
	double amount = number;
	size_t unit = 0;
	for (; fabs(amount) >= 9999.5 && unit + 1 < countof(units); unit++)
		amount /= 1000;
	int digits = fabs(amount - round(amount)) < 0.005 && !unit ? 0 : fabs(amount) < 10 ? 2 : fabs(amount) < 100;
	snprintf(cell->text, sizeof cell->text, "%.*f%s", digits, amount, units[unit]);
	cell->key = number;
}

void text_cell_time(struct text_cell *cell, double us)
{
	static const struct {
		const char *word;
		double us, below; /* up to so many of them */
	} units[] = {
		{ "us", 1, 999.5 }, { "ms", 1e3, 999.5 }, { "s", 1e6, 599.5 }, { "m", 60e6, 599.5 }, { "h", 3600e6, 0 }
	};
	size_t unit = 0;
	while (unit + 1 < countof(units) && us / units[unit].us >= units[unit].below)
		unit++;
	double amount = us / units[unit].us;
	snprintf(cell->text, sizeof cell->text, "%.*f%s", amount < 9.95 && unit ? 1 : 0, amount, units[unit].word);
	cell->key = us;
}

void text_cell_bytes(struct text_cell *cell, double bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double amount = bytes;
	size_t unit = 0;
	for (; amount >= 1024 && unit + 1 < countof(units); unit++)
		amount /= 1024;
	snprintf(cell->text, sizeof cell->text, unit ? "%.1f %s" : "%.0f %s", amount, units[unit]);
	cell->key = bytes;
}

void text_cell_share(struct text_cell *cell, double share)
{
	snprintf(cell->text, sizeof cell->text, "%.*f%%", share > 0 && share < 0.0995, 100 * share);
	cell->key = share;
}

void text_cell_none(struct text_cell *cell)
{
	snprintf(cell->text, sizeof cell->text, "-");
	cell->key = -1;
}

/* --- order --- */

static bool has_text(const char *text, const char *part)
{
	size_t len = strlen(part);
	for (; *text; text++)
		if (strncasecmp(text, part, len) == 0)
			return true;
	return len == 0;
}

bool text_row_has(const struct text_table *table, const struct text_row *row, const char *text)
{
	for (size_t i = 0; i < table->column_count; i++)
		if (table->columns[i].is_words && has_text(row->cells[i].text, text))
			return true;
	return false;
}

struct order {
	size_t column;
	bool is_words, reversed;
};

static int compare_rows(const void *left, const void *right, void *context)
{
	const struct text_row *a = left, *b = right;
	const struct order *order = context;
	const struct text_cell *x = &a->cells[order->column], *y = &b->cells[order->column];
	int sign = order->is_words ? strcasecmp(x->text, y->text) : (x->key < y->key) - (x->key > y->key);
	if (order->is_words && x->key != y->key) /* words that mean more than their letters */
		sign = x->key < y->key ? 1 : -1;
	if (sign == 0)
		return strcmp(a->cells[0].text, b->cells[0].text);
	return order->reversed ? -sign : sign;
}

void text_table_sort(struct text_table *table, size_t column, bool reversed)
{
	struct order order = { column, table->columns[column].is_words, reversed };
	if (table->count)
		qsort_r(table->rows, table->count, sizeof *table->rows, compare_rows, &order);
}

/* --- lines --- */

int text_width(const char *text)
{
	int columns = 0, width;
	for (size_t len = strlen(text), at = 0; at<len; columns += width> 0 ? width : 0)
		at += measure_character(text + at, len - at, &width);
	return columns;
}

size_t text_fit(const char *text, int width)
{
	size_t len = strlen(text), at = 0;
	for (int used = 0, one; at < len;) {
		size_t bytes = measure_character(text + at, len - at, &one);
		used += one > 0 ? one : 0;
		if (used > width)
			break;
		at += bytes;
	}
	return at;
}

static int measure_column(const struct text_table *table, size_t column)
{
	int most = text_width(table->columns[column].title);
	for (size_t i = 0; i < table->count; i++) {
		int width = text_width(table->rows[i].cells[column].text);
		most = width > most ? width : most;
	}
	return most;
}

static int sum_widths(const struct text_layout *layout)
{
	int sum = layout->count ? GAP * (int)(layout->count - 1) : 0;
	for (size_t i = 0; i < layout->count; i++)
		sum += layout->widths[i];
	return sum;
}

/* Make one column narrower, by what is too much and down to `least` at most. */
static void narrow_column(struct text_layout *layout, size_t at, int least, int width)
{
	int over = sum_widths(layout) - width, spare = layout->widths[at] - least;
	if (over > 0 && spare > 0)
		layout->widths[at] -= over < spare ? over : spare;
}

/* Take the last of those with the highest rank away. False: only those are left that stay. */
static bool drop_column(const struct text_table *table, struct text_layout *layout)
{
	size_t worst = 0;
	for (size_t i = 1; i < layout->count; i++)
		if (table->columns[layout->columns[i]].rank >= table->columns[layout->columns[worst]].rank)
			worst = i;
	if (table->columns[layout->columns[worst]].rank == 0)
		return false;
	layout->count--;
	for (size_t i = worst; i < layout->count; i++) {
		layout->columns[i] = layout->columns[i + 1];
		layout->widths[i] = layout->widths[i + 1];
	}
	return true;
}

void text_table_lay_out(const struct text_table *table, int width, struct text_layout *layout)
{
	layout->count = table->column_count;
	for (size_t i = 0; i < layout->count; i++) {
		layout->columns[i] = i;
		layout->widths[i] = measure_column(table, i);
	}
	while (width > 0 && sum_widths(layout) > width) {
		struct text_layout cut = *layout;
		size_t last = cut.count - 1;
		if (table->columns[cut.columns[last]].is_words && last > 0)
			narrow_column(&cut, last, LAST_LEAST, width);
		narrow_column(&cut, 0, FIRST_LEAST, width);
		if (sum_widths(&cut) <= width) {
			*layout = cut;
			return;
		}
		if (!drop_column(table, layout))
			return;
	}
}

static void put_blanks(struct buf *out, int count)
{
	for (; count > 0; count--)
		buf_put_char(out, ' ');
}

void text_table_put_line(const struct text_table *table, const struct text_layout *layout, const struct text_row *row,
			 struct buf *out)
{
	for (size_t i = 0; i < layout->count; i++) {
		const struct text_column *column = &table->columns[layout->columns[i]];
		const char *text = row ? row->cells[layout->columns[i]].text : column->title;
		size_t bytes = text_fit(text, layout->widths[i]);
		int spare = layout->widths[i] - text_width(text);
		put_blanks(out, i ? GAP : 0);
		if (!column->is_words)
			put_blanks(out, spare);
		buf_put(out, (struct slice){ text, bytes });
		if (column->is_words && i + 1 < layout->count)
			put_blanks(out, spare);
	}
}

void text_table_put(const struct text_table *table, int width, struct buf *out)
{
	struct text_layout layout;
	text_table_lay_out(table, width, &layout);
	text_table_put_line(table, &layout, NULL, out);
	buf_put_char(out, '\n');
	for (size_t i = 0; i < table->count; i++) {
		text_table_put_line(table, &layout, &table->rows[i], out);
		buf_put_char(out, '\n');
	}
}
