/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flame.c: a flame graph: a box for each function below its caller's boxes, as wide as its share. Stacks are sorted by
 * their names from the outside, so that what is equal lies side by side, and each run of equals is one box.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/profile/places.h"
#include "gateway/profile/profile.h"

enum {
	WIDTH = 1200,
	MARGIN = 10,
	ROW = 17,       /* pixels of a box's height, the gap included */
	HEAD = 44,      /* above the boxes: title, and what is said of it */
	LETTER = 7,     /* pixels of a letter's width, near enough */
	LEAST_TEXT = 3, /* letters that are worth writing */
	NAME_SHOWN = 200
};
#define LEAST_WIDTH 0.3 /* pixels: narrower boxes, and what is above them, are left out */

/* A stack by its names from the outside. */
struct path {
	const char **names; /* in svg->names */
	unsigned depth;
	uint64_t value;
};

struct svg {
	const struct profile *profile;
	struct buf *out;
	struct path *paths; /* owned; sorted */
	const char **names; /* owned */
	size_t count;
	uint64_t total;
	unsigned deepest;
};

static int by_names(const void *left, const void *right)
{
	const struct path *a = left, *b = right;
	for (unsigned i = 0; i < a->depth && i < b->depth; i++) {
		int order = strcmp(a->names[i], b->names[i]);
		if (order)
			return order;
	}
	return (a->depth > b->depth) - (a->depth < b->depth);
}

/* False: out of memory. */
static bool make_paths(struct svg *svg, const struct places *places)
{
	const struct stacks *stacks = svg->profile->stacks;
	size_t names = 1;
	for (size_t i = 0; i < stacks->count; i++)
		names += stacks->all[i]->depth + 1;
	svg->paths = calloc(stacks->count + 1, sizeof *svg->paths);
	svg->names = calloc(names, sizeof(const char *));
	if (!svg->paths || !svg->names)
		return false;
	const char **next = svg->names;
	for (size_t i = 0; i < stacks->count; i++) {
		const struct stack *stack = stacks->all[i];
		struct path *path = &svg->paths[svg->count++];
		*path = (struct path){ .names = next, .value = stack->value };
		if (stack->root)
			path->names[path->depth++] = stack->root;
		for (unsigned j = stack->depth; j-- > 0;)
			path->names[path->depth++] = places_find(places, stack->frames[j])->symbol.name;
		next += path->depth;
		svg->total += path->value;
		svg->deepest = path->depth > svg->deepest ? path->depth : svg->deepest;
	}
	qsort(svg->paths, svg->count, sizeof *svg->paths, by_names);
	return true;
}

/* At most so many bytes of it, whole characters, as XML. */
static void put_escaped(struct buf *out, const char *text, size_t most)
{
	size_t len = strnlen(text, most);
	while (len && text[len] && ((unsigned char)text[len] & 0xc0) == 0x80)
		len--;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '<' || c == '>' || c == '&' || c == '"')
			buf_printf(out, "&#%u;", c);
		else
			buf_put_char(out, c < ' ' ? '?' : (char)c);
	}
}

/* The same name has the same colour wherever it is. */
static void put_colour(struct buf *out, const char *name)
{
	uint64_t hash = table_hash(0, slice_of(name));
	buf_printf(out, "rgb(%u,%u,%u)", 205 + (unsigned)(hash % 50), 90 + (unsigned)(hash / 64 % 120),
		   (unsigned)(hash / 8192 % 60));
}

static void put_value(struct svg *svg, uint64_t value)
{
	const struct profile *profile = svg->profile;
	double share = svg->total ? 100.0 * (double)value / (double)svg->total : 0;
	if (strcmp(profile->unit, "nanoseconds") == 0)
		buf_printf(svg->out, "%.2f s, %.1f %%", (double)value / 1e9, share);
	else
		buf_printf(svg->out, "%" PRIu64 " %s, %.1f %%", value, profile->unit, share);
}

static void put_box(struct svg *svg, const char *name, unsigned level, double x, double width, uint64_t value)
{
	int y = HEAD + (int)(svg->deepest - level) * ROW;
	size_t letters = (size_t)(width / LETTER);
	buf_put_text(svg->out, "<g><title>");
	put_escaped(svg->out, name, NAME_SHOWN);
	buf_put_text(svg->out, " (");
	put_value(svg, value);
	buf_printf(svg->out, ")</title><rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"", x, y,
		   width > 1 ? width - 0.5 : width, ROW - 1);
	put_colour(svg->out, name);
	buf_put_text(svg->out, "\"/>");
	if (letters >= LEAST_TEXT) {
		buf_printf(svg->out, "<text x=\"%.1f\" y=\"%d\">", x + 3, y + 12);
		put_escaped(svg->out, name, letters);
		buf_put_text(svg->out, "</text>");
	}
	buf_put_text(svg->out, "</g>\n");
}

/* Boxes of paths [from, to), which are equal below `level`, from x on; then those above them. */
static void put_level(struct svg *svg, size_t from, size_t to, unsigned level, double x)
{
	const double per_value = svg->total ? (WIDTH - 2.0 * MARGIN) / (double)svg->total : 0;
	while (from < to && svg->paths[from].depth <= level)
		x += (double)svg->paths[from++].value * per_value; /* it ends here: nothing is above it */
	while (from < to) {
		const char *name = svg->paths[from].names[level];
		size_t end = from;
		uint64_t value = 0;
		for (; end < to && strcmp(svg->paths[end].names[level], name) == 0; end++)
			value += svg->paths[end].value;
		double width = (double)value * per_value;
		if (width >= LEAST_WIDTH) {
			put_box(svg, name, level + 1, x, width, value);
			put_level(svg, from, end, level + 1, x);
		}
		x += width;
		from = end;
	}
}

static void put_head(struct svg *svg)
{
	const struct profile *profile = svg->profile;
	int height = HEAD + (int)(svg->deepest + 1) * ROW + MARGIN;
	buf_printf(svg->out,
		   "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
		   "font-family=\"monospace\" font-size=\"11\">\n<rect width=\"100%%\" height=\"100%%\" "
		   "fill=\"#fffdf5\"/>\n<text x=\"%d\" y=\"18\" font-size=\"15\">",
		   WIDTH, height, WIDTH, height, MARGIN);
	put_escaped(svg->out, profile->title, NAME_SHOWN);
	buf_printf(svg->out, "</text>\n<text x=\"%d\" y=\"34\" fill=\"#555\">", MARGIN);
	if (!svg->total)
		buf_put_text(svg->out, "Nothing was found.");
	else
		buf_put_text(svg->out,
			     "A box is as wide as its share; its callers are below it. Point at one to read it.");
	if (profile->lost)
		buf_printf(svg->out, " %" PRIu64 " samples were lost.", profile->lost);
	buf_put_text(svg->out, "</text>\n");
}

bool profile_put_svg(const struct profile *profile, const struct places *places, struct buf *out)
{
	struct svg svg = { .profile = profile, .out = out };
	bool ok = make_paths(&svg, places);
	if (ok) {
		put_head(&svg);
		put_box(&svg, "all", 0, MARGIN, WIDTH - 2.0 * MARGIN, svg.total);
		put_level(&svg, 0, svg.count, 0, MARGIN);
		buf_put_text(out, "</svg>\n");
	}
	free(svg.paths);
	free(svg.names);
	return ok;
}
