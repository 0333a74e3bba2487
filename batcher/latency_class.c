/* SPDX-License-Identifier: Apache-2.0 */
/* latency_class.c: the classes of latency_class.h. */
#include "batcher/latency_class.h"

#define BEYOND 1.25 /* times the border, before a class is left */
#define MOST 4.0    /* times what is known: what one exchange counts at most */
enum { SMOOTHING = 4, PATIENCE = 4, PATIENCE_MOST = 256 };

/* The upper border of a class; the slowest has none. */
static double border_us(unsigned class)
{
	double border = (double)CLASS_FIRST_US;
	while (class -- > 0)
		border *= CLASS_FACTOR;
	return border;
}

bool latency_class_beyond(unsigned class, double us)
{
	return class + 1 < LATENCY_CLASS_COUNT && us > border_us(class) * BEYOND;
}

static void note_latency(struct tool_latency *latency, double us)
{
	if (latency->alone_us <= 0)
		latency->alone_us = us;
	else if (us > MOST * latency->alone_us)
		latency->alone_us += (MOST - 1) * latency->alone_us / SMOOTHING;
	else
		latency->alone_us += (us - latency->alone_us) / SMOOTHING;
}

/* Whether it is in another class now. */
static bool classify_tool(struct tool_latency *latency)
{
	uint8_t was = latency->class;
	while (latency_class_beyond(latency->class, latency->alone_us))
		latency->class ++;
	while (latency->class > 0 && latency->alone_us < border_us(latency->class - 1u) / BEYOND)
		latency->class --;
	return latency->class != was;
}

void tool_latency_alone(struct tool_latency *latency, double us)
{
	note_latency(latency, us);
	if (latency->measured_alone > 0 && --latency->measured_alone > 0)
		return;
	if (classify_tool(latency))
		latency->patience = PATIENCE;
}

static void measure_alone(struct tool_latency *latency)
{
	latency->doubts = 0;
	latency->measured_alone = MEASURED_ALONE;
	latency->patience = latency->patience ? latency->patience * 2 : PATIENCE;
	if (latency->patience > PATIENCE_MOST)
		latency->patience = PATIENCE_MOST;
}

void tool_latency_at_most(struct tool_latency *latency, double us)
{
	if (us < latency->alone_us)
		tool_latency_alone(latency, us);
}

void tool_latency_shared(struct tool_latency *latency, double us)
{
	if (latency->measured_alone > 0)
		return; /* left before it was found out */
	bool slow = latency_class_beyond(latency->class, us);
	if (latency->alone_us <= 0 ? !slow : us < latency->alone_us) {
		note_latency(latency, us);
		classify_tool(latency);
	}
	if (!slow)
		latency->doubts = 0;
	else if (++latency->doubts >= latency->patience)
		measure_alone(latency);
}
