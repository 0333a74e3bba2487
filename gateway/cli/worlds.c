/* worlds.c: the list. */
#include "gateway/cli/worlds.h"

#include <string.h>

#include "base/clock.h"

#define MS(n) ((n)*CLOCK_US_PER_MS)
#define S(n) ((n)*CLOCK_US_PER_S)

/* 5 ms a request and 0.05 ms a call, four at once: what batching is made for. */
#define SLOTS .fixed_us = MS(5), .item_us = 50, .slots = 4
/* The same, ten times slower, so that ten seconds of it are not too many calls. */
#define SLOW_SLOTS .fixed_us = MS(20), .item_us = 1000, .slots = 2

static const struct provider_model slow_slots = { SLOW_SLOTS };
static const struct provider_model thaw = { SLOW_SLOTS, .state = PROVIDER_FROZEN, .lasts_us = S(10),
					    .then = &slow_slots };
static const struct provider_model cold = {
	.fixed_us = MS(100), .item_us = 5000, .slots = 2, .lasts_us = S(1), .then = &slow_slots
};
static const struct provider_model restart = { SLOW_SLOTS, .state = PROVIDER_DOWN, .lasts_us = S(2), .then = &cold };

const struct world worlds[] = {
	{ "nothing", "0.1 ms a request, any number at once", { .fixed_us = 100 }, 20000, 100, 100, 0, false },
	{ "flat", "5 ms a request, any number at once", { .fixed_us = MS(5) }, 4000, MS(5), MS(5), 0, false },
	{ "slots", "5 ms a request and 0.05 ms a call, 4 at once", { SLOTS }, 40000, MS(5), MS(5), 0, false },
	{ "serial",
	  "2 ms a request and 0.05 ms a call, one at a time",
	  { .fixed_us = MS(2), .item_us = 50, .slots = 1 },
	  14000,
	  MS(2),
	  MS(2),
	  0,
	  false },
	{ "per-call",
	  "5 ms a call, 4 requests at once: arrays gain nothing",
	  { .item_us = 5000, .slots = 4 },
	  800,
	  MS(5),
	  MS(5),
	  0,
	  false },
	{ "superlinear",
	  "1 ms a request, 0.2 ms a call and 0.02 ms a call squared, 4 at once: long arrays lose",
	  { .fixed_us = MS(1), .item_us = 200, .square_us = 20, .slots = 4 },
	  8000,
	  MS(1),
	  MS(1),
	  0,
	  false },
	{ "thrashing",
	  "5 ms a request and 0.5 ms a call, more than 8 at once slow each other down",
	  { .fixed_us = MS(5), .item_us = 500, .knee = 8 },
	  14000,
	  MS(5),
	  MS(5),
	  0,
	  false },
	{ "bimodal",
	  "5 ms a call, 2 % take 2 s; answers are streamed",
	  { .fixed_us = MS(5), .streamed = true, .call = { LATENCY_BIMODAL, 0, 2e6, 0.02, 0 } },
	  500,
	  MS(5),
	  MS(2100),
	  0,
	  false },
	{ "bimodal-end",
	  "the same, answers come when the array's last one is done",
	  { .fixed_us = MS(5), .call = { LATENCY_BIMODAL, 0, 2e6, 0.02, 0 } },
	  500,
	  MS(5),
	  MS(2100),
	  0,
	  false },
	{ "log-normal",
	  "20 ms a call at the median, with a long tail; streamed",
	  { .fixed_us = MS(1), .streamed = true, .call = { LATENCY_LOG_NORMAL, 20e3, 0, 0, 1.0 } },
	  1000,
	  MS(20),
	  MS(300),
	  0,
	  false },
	{ "half-second",
	  "0.5 s a request, any number at once",
	  { .fixed_us = MS(500) },
	  500,
	  MS(500),
	  MS(500),
	  0,
	  false },
	{ "llm",
	  "2 to 30 s a call, any number at once; streamed",
	  { .fixed_us = MS(50), .streamed = true, .call = { LATENCY_LOG_UNIFORM, 2e6, 30e6, 0, 0 } },
	  20,
	  S(10),
	  S(30),
	  0,
	  false },
	{ "streamed",
	  "10 ms a request and 0.5 ms a call, 4 at once, each answer as it is done",
	  { .fixed_us = MS(10), .item_us = 500, .slots = 4, .streamed = true },
	  6600,
	  MS(10),
	  MS(10),
	  0,
	  false },
	{ "at-end",
	  "the same, all answers when the last one is done",
	  { .fixed_us = MS(10), .item_us = 500, .slots = 4 },
	  6600,
	  MS(10),
	  MS(10),
	  0,
	  false },
	{ "rate-told",
	  "5 ms a request, 50 requests a second, 429 with Retry-After: 1 beyond",
	  { .fixed_us = MS(5), .item_us = 50, .rate_per_s = 50, .rate_burst = 10, .retry_after_s = 1 },
	  2500,
	  MS(5),
	  MS(5),
	  0,
	  false },
	{ "rate-silent",
	  "the same without Retry-After",
	  { .fixed_us = MS(5), .item_us = 50, .rate_per_s = 50, .rate_burst = 10 },
	  2500,
	  MS(5),
	  MS(5),
	  0,
	  false },
	{ "failing-1",
	  "1 % of the requests are refused as a whole (500)",
	  { SLOTS, .failing = 0.01 },
	  40000,
	  MS(5),
	  MS(5),
	  0,
	  true },
	{ "failing-50", "half of them are", { SLOTS, .failing = 0.5 }, 10000, MS(5), MS(5), 0, true },
	{ "failing-all", "all of them are", { SLOTS, .failing = 1 }, 10000, MS(5), MS(5), 0, true },
	{ "freezing",
	  "20 ms a request and 1 ms a call, 2 at once; after 3 s nothing moves for 10 s",
	  { SLOW_SLOTS, .lasts_us = S(3), .then = &thaw },
	  1600,
	  MS(20),
	  MS(20),
	  S(13),
	  false },
	{ "restarting",
	  "the same; after 3 s it is gone for 2 s, then five times slower for 1 s",
	  { SLOW_SLOTS, .lasts_us = S(3), .then = &restart },
	  1600,
	  MS(20),
	  MS(20),
	  S(6),
	  false },
};

const size_t world_count = sizeof worlds / sizeof *worlds;

const struct world *world_named(const char *name)
{
	for (size_t i = 0; i < world_count; i++)
		if (strcmp(worlds[i].name, name) == 0)
			return &worlds[i];
	return NULL;
}
