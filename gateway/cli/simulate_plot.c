/* SPDX-License-Identifier: Apache-2.0 */
/* simulate_plot.c: two panels of lines, one line a mode and size. */
#include "gateway/cli/simulate_plot.h"

#include <math.h>
#include <stdio.h>

enum { WIDTH = 860, PANEL = 330, TOP = 60, HEIGHT = 260, GAP = 90, LEFT = 70, LEGEND_Y = 400 };

static const char *const colours[] = { "#1f6f8b", "#c9733d", "#7a5c99", "#4c9a52",
				       "#a83a4c", "#8a8a8a", "#b8952e", "#3a3a3a" };

struct panel {
	const char *title;
	double x, most;   /* left edge; value at the top */
	double low, high; /* window, ms, at the edges */
	double (*value)(const struct simulate_point *point);
};

static double wait_of(const struct simulate_point *point)
{
	return point->wait_p99_ms;
}

static double saved_of(const struct simulate_point *point)
{
	return 100 * point->saved;
}

void simulate_plot_add(struct simulate_plot *plot, const struct simulation *simulation,
		       const struct simulation_result *result)
{
	if (plot->count == SIMULATE_PLOT_POINTS || simulation->policy.mode == BATCH_OFF)
		return;
	plot->points[plot->count++] = (struct simulate_point){
		.mode = simulation->policy.mode,
		.items = simulation->policy.max_items,
		.window_ms = (double)simulation->policy.window_us / 1e3,
		.wait_p99_ms = (double)result->wait_p99_us / 1e3,
		.saved = simulation_saved(result),
	};
}

/* Windows are drawn by their logarithm: people try 1, 2, 5, 10. */
static double x_of(const struct panel *panel, double window_ms)
{
	double span = log(panel->high / panel->low);
	return panel->x + (span > 0 ? log(window_ms / panel->low) / span : 0.5) * PANEL;
}

static double y_of(const struct panel *panel, double value)
{
	return TOP + HEIGHT - (panel->most > 0 ? value / panel->most : 0) * HEIGHT;
}

static void draw_axes(FILE *out, const struct panel *panel, const struct simulate_plot *plot)
{
	fprintf(out, "<text x='%.0f' y='%d' font-weight='600'>%s</text>\n", panel->x, TOP - 18, panel->title);
	for (int i = 0; i <= 4; i++) {
		double value = panel->most * i / 4, y = y_of(panel, value);
		fprintf(out,
			"<path d='M%.1f %.1fh%d' stroke='#ddd'/><text x='%.1f' y='%.1f' "
			"text-anchor='end'>%.4g</text>\n",
			panel->x, y, PANEL, panel->x - 6, y + 4, value);
	}
	double last = -1;
	for (size_t i = 0; i < plot->count; i++) {
		double window = plot->points[i].window_ms;
		if (window <= last)
			break; /* the next line begins: its windows are the same */
		last = window;
		fprintf(out, "<text x='%.1f' y='%d' text-anchor='middle'>%g</text>\n", x_of(panel, window),
			TOP + HEIGHT + 18, window);
	}
	fprintf(out, "<text x='%.1f' y='%d' text-anchor='middle'>window, ms</text>\n", panel->x + PANEL / 2.0,
		TOP + HEIGHT + 38);
}

static bool same_line(const struct simulate_point *a, const struct simulate_point *b)
{
	return a->mode == b->mode && a->items == b->items;
}

static void draw_lines(FILE *out, const struct panel *panel, const struct simulate_plot *plot)
{
	size_t line = 0;
	for (size_t i = 0; i < plot->count; line++) {
		size_t first = i;
		fprintf(out, "<polyline fill='none' stroke-width='2' stroke='%s'%s points='",
			colours[line % countof(colours)],
			plot->points[first].mode == BATCH_FIXED ? " stroke-dasharray='6 4'" : "");
		for (; i < plot->count && same_line(&plot->points[first], &plot->points[i]); i++)
			fprintf(out, "%.1f,%.1f ", x_of(panel, plot->points[i].window_ms),
				y_of(panel, panel->value(&plot->points[i])));
		fputs("'/>\n", out);
	}
}

static void draw_legend(FILE *out, const struct simulate_plot *plot)
{
	size_t line = 0;
	for (size_t i = 0; i < plot->count; i++) {
		const struct simulate_point *point = &plot->points[i];
		if (i && same_line(point, point - 1))
			continue;
		int x = LEFT + (int)(line % 4) * 190, y = LEGEND_Y + (int)(line / 4) * 22;
		fprintf(out,
			"<path d='M%d %dh24' stroke-width='2' stroke='%s'%s/><text x='%d' y='%d'>%s, %zu "
			"calls</text>\n",
			x, y - 4, colours[line % countof(colours)],
			point->mode == BATCH_FIXED ? " stroke-dasharray='6 4'" : "", x + 30, y,
			point->mode == BATCH_FIXED ? "fixed" : "adaptive", point->items);
		line++;
	}
}

static void fit_panel(struct panel *panel, const struct simulate_plot *plot)
{
	for (size_t i = 0; i < plot->count; i++) {
		double value = panel->value(&plot->points[i]), window = plot->points[i].window_ms;
		panel->most = value > panel->most ? value : panel->most;
		panel->low = i == 0 || window < panel->low ? window : panel->low;
		panel->high = i == 0 || window > panel->high ? window : panel->high;
	}
}

bool simulate_plot_write(const struct simulate_plot *plot, const char *path)
{
	struct panel panels[] = {
		{ .title = "added wait, p99, ms (less is better)", .x = LEFT, .value = wait_of },
		{ .title = "requests saved, % (more is better)",
		  .x = LEFT + PANEL + GAP,
		  .value = saved_of,
		  .most = 100 },
	};
	FILE *out = fopen(path, "we");
	if (!out)
		return false;
	fprintf(out,
		"<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' font-family='system-ui, sans-serif' "
		"font-size='13'>\n<rect width='100%%' height='100%%' fill='white'/>\n",
		WIDTH, LEGEND_Y + 40);
	for (size_t i = 0; i < countof(panels); i++) {
		fit_panel(&panels[i], plot);
		draw_axes(out, &panels[i], plot);
		draw_lines(out, &panels[i], plot);
	}
	draw_legend(out, plot);
	fputs("</svg>\n", out);
	bool ok = !ferror(out);
	return fclose(out) == 0 && ok;
}
