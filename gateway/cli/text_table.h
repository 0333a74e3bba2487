/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_table.h: a table of short texts for terminals: words to the left, numbers to the right, as many columns as fit.
 * What comes from elsewhere is cleaned as it is put in, so that no name or reason can steer a terminal.
 */
#ifndef JITNEY_GATEWAY_CLI_TEXT_TABLE_H
#define JITNEY_GATEWAY_CLI_TEXT_TABLE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"

enum { TEXT_COLUMNS_MAX = 15, TEXT_CELL_BYTES = 160 };

/* How a row wants to be seen. */
enum text_tone { TONE_PLAIN, TONE_DIM, TONE_GOOD, TONE_WARN, TONE_BAD, TONE_COUNT };

struct text_column {
	const char *title;
	bool is_words; /* to the left, sorted from A to Z; numbers are sorted from the largest */
	uint8_t rank;  /* where there is no room, columns of the highest rank go first; those of rank 0 stay */
};

/* One place of a row. Cut where it is longer than this. */
struct text_cell {
	char text[TEXT_CELL_BYTES];
	double key; /* what a column of numbers is sorted by; less than nothing where there is none */
};

/* As text_table_add gives it, to be filled in. */
struct text_row {
	enum text_tone tone;
	struct text_cell cells[TEXT_COLUMNS_MAX];
};

/* Zero-initialise, then text_table_begin. One thread. */
struct text_table {
	const struct text_column *columns;
	size_t column_count;
	struct text_row *rows;
	size_t count, room;
	bool failed; /* out of memory: rows are missing */
};

/* Begin anew with these columns (borrowed), without rows; memory is kept. */
void text_table_begin(struct text_table *table, const struct text_column *columns, size_t count);
void text_table_fini(struct text_table *table);
/* One more row, its cells empty; valid until the next one. NULL when out of memory (table->failed). */
struct text_row *text_table_add(struct text_table *table);

/* Append bytes of UTF-8 from wherever; what cannot be printed here becomes '?', as below, but for ends of lines. */
void text_put_clean(struct buf *out, struct slice text);
/* Bytes of UTF-8 from wherever; what cannot be printed here (control characters first of all) becomes '?'. */
void text_cell_put(struct text_cell *cell, struct slice text);
/* A number, short: "123", "12.3k", "4.56M"; below 100 with what is behind the point, if there is something. */
void text_cell_number(struct text_cell *cell, double number);
/* "95us", "1.2ms", "3.4s", "25m", "12h". */
void text_cell_time(struct text_cell *cell, double us);
void text_cell_bytes(struct text_cell *cell, double bytes);
/* 0.123 as "12%", below a tenth "1.2%". */
void text_cell_share(struct text_cell *cell, double share);
/* Nothing is known: "-", and behind all others when sorted. */
void text_cell_none(struct text_cell *cell);

/* Whether a column of words has `text` in it, whatever the case of ASCII letters. */
bool text_row_has(const struct text_table *table, const struct text_row *row, const char *text);
/* By this column, then by the first; as the column likes it, or the other way round. */
void text_table_sort(struct text_table *table, size_t column, bool reversed);

/* Which columns are shown, and how wide. */
struct text_layout {
	size_t columns[TEXT_COLUMNS_MAX];
	int widths[TEXT_COLUMNS_MAX];
	size_t count;
};

/* For lines of `width` columns at most; 0: as wide as need be. The first column, and the last one if it is words, are
 * cut where that helps. */
void text_table_lay_out(const struct text_table *table, int width, struct text_layout *layout);
/* Append one line without its end; row NULL: the titles. */
void text_table_put_line(const struct text_table *table, const struct text_layout *layout, const struct text_row *row,
			 struct buf *out);
/* Append titles and rows, each with its end. */
void text_table_put(const struct text_table *table, int width, struct buf *out);

/* Columns of a terminal that a cleaned text takes. */
int text_width(const char *text);
/* How many bytes of a cleaned text fit into so many columns. */
size_t text_fit(const char *text, int width);

#endif
