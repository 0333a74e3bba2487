/* SPDX-License-Identifier: Apache-2.0 */
/* simulate_plot.h: the results of `jitney simulate` as an SVG: added wait and saved requests over the window. */
#ifndef JITNEY_GATEWAY_CLI_SIMULATE_PLOT_H
#define JITNEY_GATEWAY_CLI_SIMULATE_PLOT_H

#include "gateway/cli/simulation.h"

enum { SIMULATE_PLOT_POINTS = 512 };

struct simulate_point {
	enum batch_mode mode;
	size_t items;
	double window_ms, wait_p99_ms, saved; /* saved: 0..1 */
};

/* Zero-initialise. */
struct simulate_plot {
	struct simulate_point points[SIMULATE_PLOT_POINTS];
	size_t count;
};

/* Results beyond the room are left out of the picture. Those of mode off are not drawn: they have no window. */
void simulate_plot_add(struct simulate_plot *plot, const struct simulation *simulation,
		       const struct simulation_result *result);
/* False and errno. */
bool simulate_plot_write(const struct simulate_plot *plot, const char *path) MUST_CHECK;

#endif
