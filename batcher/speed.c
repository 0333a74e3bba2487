/* SPDX-License-Identifier: Apache-2.0 */
/* speed.c: the classes of speed.h. */
#include "batcher/speed.h"

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

bool speed_beyond(unsigned class, double us)
{
	return class + 1 < LATENCY_CLASS_COUNT && us > border_us(class) * BEYOND;
}

static void note(struct speed *speed, double us)
{
	if (speed->alone_us <= 0)
		speed->alone_us = us;
	else if (us > MOST * speed->alone_us)
		speed->alone_us += (MOST - 1) * speed->alone_us / SMOOTHING;
	else
		speed->alone_us += (us - speed->alone_us) / SMOOTHING;
}

/* Whether it is in another class now. */
static bool classify(struct speed *speed)
{
	uint8_t was = speed->class;
	while (speed_beyond(speed->class, speed->alone_us))
		speed->class ++;
	while (speed->class > 0 && speed->alone_us < border_us(speed->class - 1u) / BEYOND)
		speed->class --;
	return speed->class != was;
}

void speed_alone(struct speed *speed, double us)
{
	note(speed, us);
	if (speed->apart > 0 && --speed->apart > 0)
		return;
	if (classify(speed))
		speed->patience = PATIENCE;
}

static void go_apart(struct speed *speed)
{
	speed->doubts = 0;
	speed->apart = APART;
	speed->patience = speed->patience ? speed->patience * 2 : PATIENCE;
	if (speed->patience > PATIENCE_MOST)
		speed->patience = PATIENCE_MOST;
}

void speed_shared(struct speed *speed, double us)
{
	if (speed->apart > 0)
		return; /* left before it was found out */
	bool slow = speed_beyond(speed->class, us);
	if (speed->alone_us <= 0 ? !slow : us < speed->alone_us) {
		note(speed, us);
		classify(speed);
	}
	if (!slow)
		speed->doubts = 0;
	else if (++speed->doubts >= speed->patience)
		go_apart(speed);
}
