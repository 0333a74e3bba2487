/* SPDX-License-Identifier: Apache-2.0 */
/* workload.c: access logs read back, and loads made up. */
#include "gateway/cli/workload.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/random.h"

enum { CALLS_MAX = 20000000, DEPTH = 16, FIT_LEAST = 8, FACTORS_MAX = 65536 };

#define NUMBER_MAX 1e12

/* --- fields of a line --- */

/* The value of `name` in a line of logfmt; empty if it is not there. Quoted values keep their escapes: none of those
 * looked for here has any. */
static struct slice logfmt_field(struct slice line, const char *name)
{
	size_t len = strlen(name);
	const char *end = line.at + line.len;
	for (const char *at = line.at; at + len < end; at++) {
		if ((at != line.at && at[-1] != ' ') || memcmp(at, name, len) != 0 || at[len] != '=')
			continue;
		const char *from = at + len + 1;
		bool quoted = from < end && *from == '"';
		from += quoted;
		const char *to = from;
		while (to < end && *to != (quoted ? '"' : ' '))
			to++;
		return (struct slice){ from, (size_t)(to - from) };
	}
	return (struct slice){ "", 0 };
}

/* The same of a line of JSON: strings without their quotes. */
static struct slice json_field(struct slice line, const char *name)
{
	struct slice value;
	if (!json_member(line, slice_of(name), &value))
		return (struct slice){ "", 0 };
	value = json_trim(value);
	if (value.len >= 2 && value.at[0] == '"')
		value = (struct slice){ value.at + 1, value.len - 2 };
	return value;
}

static struct slice find_field(struct slice line, const char *name)
{
	return line.at[0] == '{' ? json_field(line, name) : logfmt_field(line, name);
}

/* 0 for what no gateway has written: negative, NaN, or beyond any figure of its. */
static double number_field(struct slice line, const char *name)
{
	struct slice text = find_field(line, name);
	char digits[40];
	if (text.len == 0 || text.len >= sizeof digits)
		return 0;
	memcpy(digits, text.at, text.len);
	digits[text.len] = '\0';
	double number = strtod(digits, NULL);
	return number > 0 && number < NUMBER_MAX ? number : 0;
}

/* "2026-11-21T06:27:11.072569Z" as microseconds since 1970; 0: it is not one. */
static uint64_t read_timestamp(struct slice text)
{
	char copy[40];
	struct tm parts = { 0 };
	if (text.len == 0 || text.len >= sizeof copy)
		return 0;
	memcpy(copy, text.at, text.len);
	copy[text.len] = '\0';
	const char *rest = strptime(copy, "%Y-%m-%dT%H:%M:%S", &parts);
	if (!rest)
		return 0;
	time_t whole = timegm(&parts);
	double fraction = *rest == '.' ? strtod(rest, NULL) : 0;
	if (whole <= 0 || !(fraction >= 0 && fraction < 1))
		return 0;
	return (uint64_t)whole * CLOCK_US_PER_S + (uint64_t)(fraction * 1e6 + 0.5);
}

/* --- what it cost --- */

/* What one request of the log took. */
struct point {
	double items, us;
};

/* Least squares over the requests of the log. */
struct fit {
	double x, y, xx, xy;
	struct point *points; /* for the factors: the last FACTORS_MAX requests, in a ring */
	size_t count;         /* of all requests */
	uint64_t last_batch;
};

/* False: out of memory. */
static bool keep_point(struct fit *fit, struct point point)
{
	if (!fit->points && !(fit->points = calloc(FACTORS_MAX, sizeof *fit->points)))
		return false;
	fit->points[fit->count++ % FACTORS_MAX] = point;
	return true;
}

/* False: out of memory. */
static bool fit_add(struct fit *fit, struct slice line)
{
	uint64_t batch = (uint64_t)number_field(line, "batch_id");
	double items = number_field(line, "batch_items"), us = number_field(line, "upstream_seconds") * 1e6;
	if (batch == 0 || batch == fit->last_batch || items < 1)
		return true;
	fit->last_batch = batch; /* its calls end together: the first one's word is enough */
	fit->x += items;
	fit->y += us;
	fit->xx += items * items;
	fit->xy += items * us;
	return keep_point(fit, (struct point){ items, us });
}

static void fit_costs(const struct fit *fit, struct provider_model *provider)
{
	double n = (double)fit->count, spread = n * fit->xx - fit->x * fit->x;
	double slope = spread > 0 ? (n * fit->xy - fit->x * fit->y) / spread : 0;
	double most = fit->y / fit->x; /* all of it is the calls' */
	slope = slope < 0 ? 0 : slope;
	slope = slope > most ? most : slope;
	provider->item_us = slope;
	provider->fixed_us = (uint64_t)((fit->y - slope * fit->x) / n);
}

/* How far each request was from what the costs say. False: out of memory. */
static bool fit_factors(const struct fit *fit, struct log_reading *reading)
{
	struct provider_model *provider = &reading->provider;
	size_t count = fit->count < FACTORS_MAX ? fit->count : FACTORS_MAX;
	reading->factors = calloc(count, sizeof *reading->factors);
	if (!reading->factors)
		return false;
	for (size_t i = 0; i < count; i++) {
		double due_us = (double)provider->fixed_us + provider->item_us * fit->points[i].items;
		reading->factors[i] = due_us > 0 ? fit->points[i].us / due_us : 1;
	}
	provider->factors = reading->factors;
	provider->factor_count = count;
	return true;
}

/* False: out of memory. */
static bool fit_end(const struct fit *fit, struct log_reading *reading)
{
	reading->requests = fit->count;
	reading->fitted = fit->count >= FIT_LEAST;
	if (!reading->fitted)
		return true;
	fit_costs(fit, &reading->provider);
	return fit_factors(fit, reading);
}

/* --- lines --- */

/* A line without what ends it. */
static struct slice cut_end(struct slice line)
{
	while (line.len > 0 && (line.at[line.len - 1] == '\n' || line.at[line.len - 1] == '\r'))
		line.len--;
	return line;
}

static bool push_time(struct workload *workload, uint64_t at_us, size_t *room)
{
	if (workload->count == *room) {
		size_t more = *room ? *room * 2 : 4096;
		uint64_t *longer = more <= CALLS_MAX * 2 ? realloc(workload->at_us, more * sizeof *longer) : NULL;
		if (!longer)
			return false;
		workload->at_us = longer;
		*room = more;
	}
	workload->at_us[workload->count++] = at_us;
	return true;
}

/* False: memory. */
static bool take_line(struct log_reading *reading, struct fit *fit, struct slice line, const char *tool, size_t *room)
{
	struct json_fault fault;
	if (line.len == 0 || (line.at[0] == '{' && !json_check(line, DEPTH, NULL, &fault)) ||
	    !slice_equal(find_field(line, "event"), SLICE("call")) ||
	    (tool && !slice_equal(find_field(line, "tool"), slice_of(tool))))
		return true;
	struct slice cache = find_field(line, "cache");
	uint64_t ended_us = read_timestamp(find_field(line, "ts"));
	double seconds = number_field(line, "seconds");
	reading->calls++;
	if (ended_us == 0 || slice_equal(cache, SLICE("hit")) || slice_equal(cache, SLICE("stale")) ||
	    slice_equal(cache, SLICE("collapsed")) || slice_equal(cache, SLICE("none")))
		return true;
	if (!fit_add(fit, line))
		return false;
	uint64_t took_us = (uint64_t)(seconds * 1e6);
	return push_time(&reading->workload, ended_us > took_us ? ended_us - took_us : 0, room);
}

bool workload_each_call(FILE *log, bool (*take)(void *context, uint64_t began_us, struct slice tool), void *context,
			char *error, size_t error_bytes)
{
	struct json_fault fault;
	char *text = NULL;
	size_t room = 0, lines = 0, calls = 0;
	bool memory = true;
	for (ssize_t len; memory && (len = getline(&text, &room, log)) >= 0; lines++) {
		struct slice line = cut_end((struct slice){ text, (size_t)len });
		if (line.len == 0 || (line.at[0] == '{' && !json_check(line, DEPTH, NULL, &fault)) ||
		    !slice_equal(find_field(line, "event"), SLICE("call")))
			continue;
		uint64_t ended_us = read_timestamp(find_field(line, "ts"));
		uint64_t took_us = (uint64_t)(number_field(line, "seconds") * 1e6);
		struct slice tool = find_field(line, "tool");
		if (ended_us == 0 || tool.len == 0)
			continue;
		memory = take(context, ended_us > took_us ? ended_us - took_us : 0, tool);
		calls++;
	}
	bool unread = ferror(log);
	free(text);
	if (!memory || unread)
		snprintf(error, error_bytes, memory ? "it cannot be read" : "too many calls, or out of memory");
	else if (!calls)
		snprintf(error, error_bytes,
			 "%zu lines, no calls in them; is it an access log (log: { access: true })?", lines);
	return memory && !unread && calls > 0;
}

static int by_time(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

bool workload_read(FILE *log, const char *tool, struct log_reading *reading, char *error, size_t error_bytes)
{
	struct fit fit = { 0 };
	char *text = NULL;
	size_t text_room = 0, room = 0;
	ssize_t len;
	bool memory = true;
	memset(reading, 0, sizeof *reading);
	while (memory && (len = getline(&text, &text_room, log)) >= 0) {
		reading->lines++;
		memory = take_line(reading, &fit, cut_end((struct slice){ text, (size_t)len }), tool, &room);
	}
	bool unread = ferror(log);
	free(text);
	memory = memory && fit_end(&fit, reading);
	free(fit.points);
	if (memory && !unread && reading->workload.count) {
		qsort(reading->workload.at_us, reading->workload.count, sizeof(uint64_t), by_time);
		return true;
	}
	log_reading_fini(reading);
	if (!memory)
		snprintf(error, error_bytes, "too many calls, or out of memory");
	else if (unread)
		snprintf(error, error_bytes, "it cannot be read");
	else
		snprintf(error, error_bytes,
			 "%zu lines, %zu calls%s%s in them, none of which went to a provider; is it an access log "
			 "(log: { access: true })?",
			 reading->lines, reading->calls, tool ? " of " : "", tool ? tool : "");
	return false;
}

/* --- made up --- */

bool workload_generate(double rate, double seconds, uint64_t seed, struct workload *workload)
{
	uint64_t state = random_seeded(seed);
	size_t room = 0;
	double at_s = 0;
	memset(workload, 0, sizeof *workload);
	while ((at_s += -log(random_part(&state)) / rate) < seconds) {
		if (push_time(workload, (uint64_t)(at_s * 1e6), &room))
			continue;
		workload_fini(workload);
		return false;
	}
	return true;
}

void workload_fini(struct workload *workload)
{
	free(workload->at_us);
	workload->at_us = NULL;
	workload->count = 0;
}

void log_reading_fini(struct log_reading *reading)
{
	workload_fini(&reading->workload);
	free(reading->factors);
	reading->factors = NULL;
}
