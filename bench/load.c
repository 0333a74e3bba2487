/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c: calls for the bench programs and tests, by the load generator of `jitney perf` (gateway/cli/perf/traffic.h): templates of
 * numbered calls, and every answer is checked to be the right one for its call. Prints one JSON line.
 */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway/cli/perf/traffic.h"

enum { MAX_CALLS = 100000000 };

struct settings {
	struct traffic_settings traffic;
	uint64_t distinct; /* numbers run modulo this; 0: all different */
	double zipf;       /* > 0: they are drawn by Zipf's law of this exponent instead */
	const char *method;
	const char *path, *body, *expect, *contains; /* templates: %d is the call's number, %% a percent sign */
	struct wire_buf headers;
};

/* How long calls took, microseconds. */
struct times {
	uint32_t *us;
	size_t count, capacity;
};

struct load {
	struct settings options;
	struct traffic_counts counts;
	uint64_t wrong;          /* answers */
	double *weights;         /* --zipf: summed up, of the numbers below `distinct` */
	uint64_t random;         /* xorshift64* (Vigna 2016): the same draws in each run */
	struct times took;       /* each answered call */
	struct times refused;    /* of those, with a status of 400 or more */
	uint64_t told_when;      /* of those, with Retry-After */
	struct wire_buf scratch; /* the last rendered --body, --expect or --contains */
};

static void fail(const char *what, const char *argument)
{
	fprintf(stderr, "load: %s%s%s (load --help)\n", what, argument ? ": " : "", argument ? argument : "");
	exit(2);
}

/* --- one call ------------------------------------------------------------------------------------------------ */

static void render(struct wire_buf *out, const char *template, uint64_t number)
{
	for (const char *at = template; *at;) {
		size_t plain = strcspn(at, "%");
		wire_put(out, at, plain);
		at += plain;
		if (at[0] == '%' && at[1] == 'd') {
			wire_printf(out, "%llu", (unsigned long long)number);
			at += 2;
		} else if (at[0] == '%') {
			wire_put(out, at, 1);
			at += at[1] == '%' ? 2 : 1;
		}
	}
}

static double roll(struct load *load)
{
	load->random ^= load->random >> 12;
	load->random ^= load->random << 25;
	load->random ^= load->random >> 27;
	return (double)((load->random * UINT64_C(2685821657736338717)) >> 11) / 9007199254740992.0;
}

static uint64_t roll_zipf(struct load *load)
{
	uint64_t low = 0, high = load->options.distinct - 1;
	double at = roll(load) * load->weights[high];
	while (low < high) {
		uint64_t middle = (low + high) / 2;
		if (load->weights[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void weigh(struct load *load)
{
	double sum = 0;
	load->random = 88172645463325252u;
	load->weights = calloc(load->options.distinct, sizeof *load->weights);
	if (!load->weights)
		fail("out of memory", NULL);
	for (uint64_t i = 0; i < load->options.distinct; i++)
		load->weights[i] = sum += pow((double)(i + 1), -load->options.zipf);
}

static uint64_t next_number(struct load *load, uint64_t sequence)
{
	if (load->weights)
		return roll_zipf(load);
	return load->options.distinct ? sequence % load->options.distinct : sequence;
}

static uint64_t write_request(void *context, uint64_t sequence, struct wire_buf *out)
{
	struct load *load = context;
	const struct settings *options = &load->options;
	uint64_t number = next_number(load, sequence);
	wire_put(out, options->method, strlen(options->method));
	wire_put(out, " ", 1);
	render(out, options->path, number);
	wire_printf(out, " HTTP/1.1\r\nHost: localhost\r\n");
	wire_put(out, options->headers.at, options->headers.len);
	if (!options->body) {
		wire_put(out, "\r\n", 2);
		return number;
	}
	load->scratch.len = 0;
	render(&load->scratch, options->body, number);
	wire_printf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", load->scratch.len);
	wire_put(out, load->scratch.at, load->scratch.len);
	return number;
}

/* --- one answer ---------------------------------------------------------------------------------------------- */

static void note_time(struct times *times, uint64_t took_us)
{
	if (times->count == times->capacity) {
		times->capacity = times->capacity ? times->capacity * 2 : 65536;
		times->us = realloc(times->us, times->capacity * sizeof *times->us);
		if (!times->us)
			fail("out of memory", NULL);
	}
	times->us[times->count++] = took_us > UINT32_MAX ? UINT32_MAX : (uint32_t)took_us;
}

static bool has_header(const struct traffic_answer *answer, const char *name)
{
	size_t len = strlen(name), head = answer->message->head_len;
	for (size_t i = 0; i + len < head; i++)
		if (answer->bytes[i] == '\n' && strncasecmp(answer->bytes + i + 1, name, len) == 0)
			return true;
	return false;
}

static void check_answer(struct load *load, const struct traffic_answer *answer)
{
	const struct wire_message *message = answer->message;
	const char *template = load->options.expect ? load->options.expect : load->options.contains;
	if (!template || message->status != 200)
		return;
	load->scratch.len = 0;
	render(&load->scratch, template, answer->number);
	const char *body = answer->bytes + message->head_len;
	bool long_enough = load->options.contains || message->body_len == load->scratch.len;
	if (long_enough && memmem(body, message->body_len, load->scratch.at, load->scratch.len))
		return;
	if (load->wrong++ == 0)
		fprintf(stderr, "load: wrong answer to call %llu: %.*s\n", (unsigned long long)answer->number,
			(int)(message->body_len < 300 ? message->body_len : 300), body);
}

static void note_answer(void *context, const struct traffic_answer *answer)
{
	struct load *load = context;
	check_answer(load, answer);
	note_time(&load->took, answer->took_us);
	if (answer->message->status < 400)
		return;
	note_time(&load->refused, answer->took_us);
	load->told_when += has_header(answer, "Retry-After:");
}

/* --- the report ---------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
	return (left > right) - (left < right);
}

/* They are sorted. */
static uint32_t quantile(const struct times *times, double share)
{
	if (times->count == 0)
		return 0;
	size_t at = (size_t)(share * (double)times->count);
	return times->us[at < times->count ? at : times->count - 1];
}

static void sort_times(struct times *times)
{
	if (times->count > 0)
		qsort(times->us, times->count, sizeof *times->us, by_size);
}

/* Returns whether all went well. */
static bool report(struct load *load)
{
	const struct traffic_counts *counts = &load->counts;
	double seconds = (double)(counts->end_us - counts->start_us) / 1e6;
	uint64_t failed = counts->ended - counts->answered, bad = 0;
	sort_times(&load->took);
	sort_times(&load->refused);
	printf("{\"calls\":%llu,\"answered\":%llu,\"wrong\":%llu,\"errors\":{", (unsigned long long)counts->ended,
	       (unsigned long long)counts->answered, (unsigned long long)load->wrong);
	for (int i = 0; i < TRAFFIC_FAILURE_COUNT; i++)
		printf("%s\"%s\":%llu", i ? "," : "", traffic_failure_words[i],
		       (unsigned long long)counts->failures[i]);
	printf("},\"statuses\":{");
	const char *comma = "";
	for (int i = 0; i < TRAFFIC_STATUSES; i++) {
		if (counts->statuses[i] == 0)
			continue;
		printf("%s\"%d\":%llu", comma, i, (unsigned long long)counts->statuses[i]);
		comma = ",";
		bad += i >= 400 ? counts->statuses[i] : 0;
	}
	printf("},\"refused\":{\"count\":%zu,\"retry_after\":%llu,\"p50_us\":%u,\"p99_us\":%u", load->refused.count,
	       (unsigned long long)load->told_when, quantile(&load->refused, 0.5), quantile(&load->refused, 0.99));
	printf("},\"seconds\":%.6f,\"calls_per_second\":%.1f,\"p50_us\":%u,\"p90_us\":%u,\"p95_us\":%u,\"p99_us\":%u,"
	       "\"max_us\":%u}"
	       "\n",
	       seconds, seconds > 0 ? (double)counts->answered / seconds : 0.0, quantile(&load->took, 0.5),
	       quantile(&load->took, 0.9), quantile(&load->took, 0.95), quantile(&load->took, 0.99),
	       quantile(&load->took, 1.0));
	return failed == 0 && bad == 0 && load->wrong == 0;
}

/* --- the command line ---------------------------------------------------------------------------------------- */

static const char HELP[] =
	"load: HTTP/1.1 load, closed-loop or at a rate; every answer is checked, one JSON line is printed\n"
	"  --connect HOST:PORT   numeric address        --unix PATH          or a unix socket\n"
	"  --callers N           connections (1)        --calls N            calls in all\n"
	"  --seconds S           stop after S           --timeout S          one call at most (30)\n"
	"  --rate R              calls a second; what one took counts from when it was due\n"
	"  --at-once             connect all, then start together\n"
	"  --path P  --body B                           templates: %d is the call's number, %% a percent sign\n"
	"  --expect E            the whole answer       --contains E         or what is to be in it: templates too\n"
	"  --distinct N          numbers run modulo N   --method M           (POST with a body, else GET)\n"
	"  --zipf E              numbers below --distinct drawn by Zipf's law of this exponent\n"
	"  --header 'Name: value'                       may be repeated\n"
	"Exit status: 0 all calls answered below 400 and as expected, 1 not so, 2 wrong usage.\n";

/* clang-format off */
enum option_id { CONNECT = 1, UNIX, CALLERS, CALLS, DISTINCT, SECONDS, TIMEOUT, RATE, METHOD, PATH_, BODY, EXPECT, HEADER,
	      AT_ONCE, ZIPF, CONTAINS, HELP_ };
static const struct option OPTIONS[] = {
	{ "connect", required_argument, NULL, CONNECT }, { "unix", required_argument, NULL, UNIX },
	{ "callers", required_argument, NULL, CALLERS }, { "calls", required_argument, NULL, CALLS },
	{ "distinct", required_argument, NULL, DISTINCT }, { "seconds", required_argument, NULL, SECONDS },
	{ "timeout", required_argument, NULL, TIMEOUT }, { "rate", required_argument, NULL, RATE },
	{ "method", required_argument, NULL, METHOD }, { "path", required_argument, NULL, PATH_ },
	{ "body", required_argument, NULL, BODY }, { "expect", required_argument, NULL, EXPECT },
	{ "header", required_argument, NULL, HEADER }, { "at-once", no_argument, NULL, AT_ONCE },
	{ "zipf", required_argument, NULL, ZIPF }, { "contains", required_argument, NULL, CONTAINS },
	{ "help", no_argument, NULL, HELP_ }, { NULL, 0, NULL, 0 }
};
/* clang-format on */

static double number(const char *text, double max)
{
	char *end;
	double value = strtod(text, &end);
	if (end == text || *end || !(value >= 0 && value <= max))
		fail("not a number in range", text);
	return value;
}

static void set_address(struct settings *options, const char *text, bool unix_path)
{
	options->traffic.address_len = wire_address(text, unix_path, &options->traffic.address);
	if (options->traffic.address_len == 0)
		fail("not an address", text);
}

/* clang-format off */
static void set_option(struct settings *options, int option, const char *argument)
{
	switch (option) {
	case CONNECT: set_address(options, argument, false); break;
	case UNIX: set_address(options, argument, true); break;
	case CALLERS: options->traffic.callers = (size_t)number(argument, TRAFFIC_CALLERS_MAX); break;
	case CALLS: options->traffic.calls = (uint64_t)number(argument, MAX_CALLS); break;
	case DISTINCT: options->distinct = (uint64_t)number(argument, MAX_CALLS); break;
	case SECONDS: options->traffic.seconds_us = (uint64_t)(number(argument, 86400) * 1e6); break;
	case TIMEOUT: options->traffic.timeout_us = (uint64_t)(number(argument, 3600) * 1e6); break;
	case RATE: options->traffic.rate = number(argument, 1e7); break;
	case METHOD: options->method = argument; break;
	case PATH_: options->path = argument; break;
	case BODY: options->body = argument; break;
	case EXPECT: options->expect = argument; break;
	case CONTAINS: options->contains = argument; break;
	case HEADER: wire_printf(&options->headers, "%s\r\n", argument); break;
	case ZIPF: options->zipf = number(argument, 10); break;
	case AT_ONCE: options->traffic.at_once = true; break;
	case HELP_: fputs(HELP, stdout); exit(0);
	default: exit(2); /* getopt has said why */
	}
}
/* clang-format on */

static void read_options(struct settings *options, int argc, char **argv)
{
	*options = (struct settings){ .traffic = { .callers = 1, .timeout_us = 30000000 }, .path = "/" };
	for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;)
		set_option(options, option, optarg);
	if (optind < argc)
		fail("unexpected argument", argv[optind]);
	if (options->traffic.address_len == 0)
		fail("--connect or --unix is needed", NULL);
	if (options->traffic.callers == 0)
		fail("--callers must be at least 1", NULL);
	if (options->traffic.calls == 0 && options->traffic.seconds_us == 0)
		fail("--calls or --seconds is needed", NULL);
	if (options->expect && options->contains)
		fail("--expect or --contains, not both", NULL);
	if (options->zipf > 0 && options->distinct == 0)
		fail("--zipf needs --distinct", NULL);
	if (!options->method)
		options->method = options->body ? "POST" : "GET";
}

int main(int argc, char **argv)
{
	struct load load = { 0 };
	read_options(&load.options, argc, argv);
	struct traffic_settings *traffic = &load.options.traffic;
	traffic->context = &load;
	traffic->write = write_request;
	traffic->answered = note_answer;
	traffic->no_body = strcmp(load.options.method, "HEAD") == 0;
	if (load.options.zipf > 0)
		weigh(&load);
	if (!traffic_run(traffic, &load.counts))
		fail("out of memory or descriptors", NULL);
	bool well = report(&load);
	wire_free(&load.scratch);
	wire_free(&load.options.headers);
	free(load.weights);
	free(load.took.us);
	free(load.refused.us);
	return well ? 0 : 1;
}
