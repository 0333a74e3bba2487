/* SPDX-License-Identifier: Apache-2.0 */
/* plot.c: a benchmark's result as SVG: latencies by their logarithm, over the rate or over the share of calls. */
#include <math.h>

#include "gateway/cli/perf/result.h"

enum { WIDTH = 760, HEIGHT = 460, LEFT = 80, RIGHT = 30, TOP = 60, BOTTOM = 70, CURVES = 3 };

struct plot {
	struct buf *out;
	double most_x;          /* at the right edge; 0 is at the left one */
	double low_us, high_us; /* powers of ten */
};

static double x_of(const struct plot *plot, double x)
{
	return LEFT + (plot->most_x > 0 ? x / plot->most_x : 0) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const struct plot *plot, double us)
{
	double share = log(fmax(us, plot->low_us) / plot->low_us) / log(plot->high_us / plot->low_us);
	return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
}

static void fit_heights(struct plot *plot, double least_us, double most_us)
{
	plot->low_us = pow(10, floor(log10(fmax(least_us, 1))));
	plot->high_us = pow(10, ceil(log10(fmax(most_us, 2 * plot->low_us))));
}

static void draw_heights(const struct plot *plot)
{
	int powers = (int)lround(log10(plot->high_us / plot->low_us));
	for (int i = 0; i <= powers; i++) {
		double us = plot->low_us * pow(10, i), y = y_of(plot, us);
		buf_printf(plot->out, "<path d='M%d %.1fh%d' stroke='#ddd'/>", LEFT, y, WIDTH - LEFT - RIGHT);
		buf_printf(plot->out, "<text x='%d' y='%.1f' text-anchor='end'>%g ms</text>\n", LEFT - 8, y + 4,
			   us / 1000);
	}
}

static void begin_picture(struct plot *plot, const char *title, const char *below)
{
	buf_printf(plot->out,
		   "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' font-family='system-ui, sans-serif' "
		   "font-size='13'>\n<rect width='100%%' height='100%%' fill='white'/>\n<title>%s</title>\n",
		   WIDTH, HEIGHT, title);
	buf_printf(plot->out, "<text x='%d' y='28' font-weight='600'>%s</text>\n", LEFT, title);
	buf_printf(plot->out, "<text x='%d' y='%d' text-anchor='middle'>%s</text>\n", (LEFT + WIDTH - RIGHT) / 2,
		   HEIGHT - 20, below);
	draw_heights(plot);
}

static void draw_mark(const struct plot *plot, double x, double value)
{
	buf_printf(plot->out, "<text x='%.1f' y='%d' text-anchor='middle'>%.6g</text>\n", x_of(plot, x),
		   HEIGHT - BOTTOM + 20, value);
}

/* Latency over the rate that was reached, a line a share. */
static void draw_sweep(const struct bench_result *result, struct plot *plot)
{
	static const char *const colours[CURVES] = { "#1f6f8b", "#c9733d", "#a83a4c" };
	static const char *const names[CURVES] = { "p50", "p99", "p99.9" };
	double least = 1e12, most = 1;
	for (size_t i = 0; i < result->step_count; i++) {
		const struct bench_step *step = &result->steps[i];
		least = fmin(least, fmax(1, (double)step->p50_us));
		most = fmax(most, (double)step->p999_us);
		plot->most_x = fmax(plot->most_x, step_good_rate(step));
	}
	fit_heights(plot, least, most);
	begin_picture(plot, "latency over rate (less is better)", "calls a second");
	for (int i = 0; i <= 4; i++)
		draw_mark(plot, plot->most_x * i / 4, round(plot->most_x * i / 4));
	for (size_t curve = 0; curve < CURVES; curve++) {
		buf_printf(plot->out, "<polyline fill='none' stroke-width='2' stroke='%s' points='", colours[curve]);
		for (size_t i = 0; i < result->step_count; i++) {
			const struct bench_step *step = &result->steps[i];
			const uint64_t us[CURVES] = { step->p50_us, step->p99_us, step->p999_us };
			if (step->rate > 0 && step->answered)
				buf_printf(plot->out, "%.1f,%.1f ", x_of(plot, step_good_rate(step)),
					   y_of(plot, (double)us[curve]));
		}
		buf_printf(plot->out, "'/>\n<text x='%d' y='48' fill='%s'>%s</text>\n", LEFT + 70 * (int)curve,
			   colours[curve], names[curve]);
	}
}

/* As HdrHistogram draws it: the nines are as far from each other as they are hard to get. */
static double place_of(double share)
{
	return -log10(1 - share);
}

static void draw_curve(const struct bench_result *result, struct plot *plot)
{
	static const double marks[] = { 0, 0.5, 0.9, 0.99, 0.999, 0.9999 };
	const struct bench_step *step = &result->steps[0];
	plot->most_x = place_of(result_shares[CURVE_POINTS - 1]);
	fit_heights(plot, (double)step->curve_us[0], (double)step->max_us);
	begin_picture(plot, "latency by share of calls (less is better)", "of the calls took no longer, %");
	for (size_t i = 0; i < countof(marks); i++)
		draw_mark(plot, place_of(marks[i]), 100 * marks[i]);
	buf_put_text(plot->out, "<polyline fill='none' stroke-width='2' stroke='#1f6f8b' points='");
	for (size_t i = 0; i < CURVE_POINTS; i++)
		buf_printf(plot->out, "%.1f,%.1f ", x_of(plot, place_of(result_shares[i])),
			   y_of(plot, (double)step->curve_us[i]));
	buf_put_text(plot->out, "'/>\n");
}

void result_put_svg(const struct bench_result *result, struct buf *out)
{
	struct plot plot = { .out = out };
	if (strcmp(result->load, "sweep") == 0 || !result->step_count)
		draw_sweep(result, &plot);
	else
		draw_curve(result, &plot);
	buf_put_text(out, "</svg>\n");
}
