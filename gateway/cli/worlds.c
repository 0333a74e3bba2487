/* SPDX-License-Identifier: Apache-2.0 */
/* worlds.c: the list. */
#include "gateway/cli/worlds.h"

#include <string.h>

#include "base/clock.h"

#define MS(n) ((n)*CLOCK_US_PER_MS)
#define S(n) ((n)*CLOCK_US_PER_S)

/* What batching is made for. */
#define SLOTS .fixed_us = MS(5), .item_us = 50, .slots = 4
/* The same, slower, so that ten seconds of it are not too many calls. */
#define SLOW_SLOTS .fixed_us = MS(20), .item_us = 1000, .slots = 2
#define RATED .fixed_us = MS(5), .item_us = 50, .rate_per_s = 50, .rate_burst = 10

static const struct provider_model well = { SLOW_SLOTS };
static const struct provider_model frozen = { SLOW_SLOTS, .state = PROVIDER_FROZEN, .lasts_us = S(10), .then = &well };
static const struct provider_model cold = {
	.fixed_us = MS(100), .item_us = 5000, .slots = 2, .lasts_us = S(1), .then = &well
};
static const struct provider_model gone = { SLOW_SLOTS, .state = PROVIDER_DOWN, .lasts_us = S(2), .then = &cold };

/* A second endpoint beside a good one. */
#define GOOD .fixed_us = MS(5), .slots = 32
static const struct provider_model slower = { .fixed_us = MS(50), .slots = 32 };
static const struct provider_model breaking = { .state = PROVIDER_BREAKS };
static const struct provider_model hung = { .state = PROVIDER_FROZEN };
static const struct provider_model hangs = { GOOD, .lasts_us = S(3), .then = &hung };
static const struct provider_model hole = { .state = PROVIDER_HOLE };
static const struct provider_model vanishes = { GOOD, .lasts_us = S(3), .then = &hole };

/* clang-format off */
const struct world worlds[] = {
	{ "nothing", "0.1 ms a request, any number at once",
	  .provider = { .fixed_us = 100 },
	  .capacity = 20000, .usual_us = 100, .slowest_us = 100 },
	{ "flat", "5 ms a request, any number at once",
	  .provider = { .fixed_us = MS(5) },
	  .capacity = 4000, .usual_us = MS(5), .slowest_us = MS(5) },
	{ "slots", "5 ms a request and 0.05 ms a call, 4 at once",
	  .provider = { SLOTS },
	  .capacity = 40000, .usual_us = MS(5), .slowest_us = MS(5) },
	{ "serial", "2 ms a request and 0.05 ms a call, one at a time",
	  .provider = { .fixed_us = MS(2), .item_us = 50, .slots = 1 },
	  .capacity = 14000, .usual_us = MS(2), .slowest_us = MS(2) },
	{ "per-call", "5 ms a call, 4 requests at once: arrays gain nothing",
	  .provider = { .item_us = 5000, .slots = 4 },
	  .capacity = 800, .usual_us = MS(5), .slowest_us = MS(5) },
	{ "superlinear", "1 ms a request, 0.2 ms a call, 0.02 ms a call squared, 4 at once: long arrays lose",
	  .provider = { .fixed_us = MS(1), .item_us = 200, .square_us = 20, .slots = 4 },
	  .capacity = 3300, .usual_us = MS(1), .slowest_us = MS(1) },
	{ "thrashing", "5 ms a request and 0.5 ms a call, more than 8 at once slow each other down",
	  .provider = { .fixed_us = MS(5), .item_us = 500, .knee = 8 },
	  .capacity = 14000, .usual_us = MS(5), .slowest_us = MS(5) },
	{ "bimodal", "5 ms a call, 2 % take 2 s; streamed",
	  .provider = { .fixed_us = MS(5), .streamed = true, .call = { LATENCY_BIMODAL, 0, 2e6, 0.02, 0 } },
	  .capacity = 500, .usual_us = MS(5), .slowest_us = MS(2100) },
	{ "bimodal-end", "5 ms a call, 2 % take 2 s; an array is answered when its last one is done",
	  .provider = { .fixed_us = MS(5), .call = { LATENCY_BIMODAL, 0, 2e6, 0.02, 0 } },
	  .capacity = 500, .usual_us = MS(5), .slowest_us = MS(2100) },
	{ "log-normal", "20 ms a call at the median, with a long tail; streamed",
	  .provider = { .fixed_us = MS(1), .streamed = true, .call = { LATENCY_LOG_NORMAL, 20e3, 0, 0, 1 } },
	  .capacity = 1000, .usual_us = MS(20), .slowest_us = MS(300) },
	{ "half-second", "0.5 s a request, any number at once",
	  .provider = { .fixed_us = MS(500) },
	  .capacity = 500, .usual_us = MS(500), .slowest_us = MS(500) },
	{ "llm", "2 to 30 s a call, any number at once; streamed",
	  .provider = { .fixed_us = MS(50), .streamed = true, .call = { LATENCY_LOG_UNIFORM, 2e6, 30e6, 0, 0 } },
	  .capacity = 20, .usual_us = S(10), .slowest_us = S(30) },
	{ "streamed", "10 ms a request and 0.5 ms a call, 4 at once, each answer as it is done",
	  .provider = { .fixed_us = MS(10), .item_us = 500, .slots = 4, .streamed = true },
	  .capacity = 6600, .usual_us = MS(10), .slowest_us = MS(10) },
	{ "at-end", "10 ms a request and 0.5 ms a call, 4 at once, all answers when the last one is done",
	  .provider = { .fixed_us = MS(10), .item_us = 500, .slots = 4 },
	  .capacity = 6600, .usual_us = MS(10), .slowest_us = MS(10) },
	{ "rate-told", "5 ms a request, 50 requests a second; beyond it 429 with Retry-After: 1",
	  .provider = { RATED, .retry_after_s = 1 },
	  .capacity = 2500, .usual_us = MS(5), .slowest_us = MS(5) },
	{ "rate-silent", "5 ms a request, 50 requests a second; beyond it 429 without Retry-After",
	  .provider = { RATED },
	  .capacity = 2500, .usual_us = MS(5), .slowest_us = MS(5) },
	{ "failing-1", "5 ms a request and 0.05 ms a call, 4 at once; 1 % are refused as a whole (500)",
	  .provider = { SLOTS, .failing = 0.01 },
	  .capacity = 40000, .usual_us = MS(5), .slowest_us = MS(5), .ill = true },
	{ "failing-50", "5 ms a request and 0.05 ms a call, 4 at once; 50 % are refused as a whole (500)",
	  .provider = { SLOTS, .failing = 0.5 },
	  .capacity = 10000, .usual_us = MS(5), .slowest_us = MS(5), .ill = true },
	{ "failing-all", "5 ms a request, 4 at once; all are refused (500)",
	  .provider = { SLOTS, .failing = 1 },
	  .capacity = 10000, .usual_us = MS(5), .slowest_us = MS(5), .ill = true },
	{ "freezing", "20 ms a request and 1 ms a call, 2 at once; after 3 s nothing moves for 10 s",
	  .provider = { SLOW_SLOTS, .lasts_us = S(3), .then = &frozen },
	  .capacity = 1600, .usual_us = MS(20), .slowest_us = MS(20), .well_us = S(13) },
	{ "restarting", "20 ms a request and 1 ms a call, 2 at once; after 3 s it is gone for 2 s, then five times slower for 1 s",
	  .provider = { SLOW_SLOTS, .lasts_us = S(3), .then = &gone },
	  .capacity = 1600, .usual_us = MS(20), .slowest_us = MS(20), .well_us = S(6) },
	{ "two-slower", "two endpoints, 5 ms a request, 32 at once; one takes ten times as long",
	  .provider = { GOOD, .beside = &slower },
	  .capacity = 4000, .usual_us = MS(5), .slowest_us = MS(50) },
	{ "two-breaking", "two endpoints, 5 ms a request, 32 at once; one breaks off every request",
	  .provider = { GOOD, .beside = &breaking },
	  .capacity = 4000, .usual_us = MS(5), .slowest_us = MS(5) },
	{ "two-hanging", "two endpoints, 5 ms a request, 32 at once; after 3 s one takes requests and never answers",
	  .provider = { GOOD, .beside = &hangs },
	  .capacity = 4000, .usual_us = MS(5), .slowest_us = MS(5), .well_us = S(3), .ill = true },
	{ "two-vanishing", "two endpoints, 5 ms a request, 32 at once; after 3 s one swallows connections",
	  .provider = { GOOD, .beside = &vanishes },
	  .capacity = 4000, .usual_us = MS(5), .slowest_us = MS(5), .well_us = S(3) },
};
/* clang-format on */

const size_t world_count = sizeof worlds / sizeof *worlds;

const struct world *world_named(const char *name)
{
	for (size_t i = 0; i < world_count; i++)
		if (strcmp(worlds[i].name, name) == 0)
			return &worlds[i];
	return NULL;
}
