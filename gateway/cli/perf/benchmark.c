/* SPDX-License-Identifier: Apache-2.0 */
/* benchmark.c: jitney perf benchmark: its command line, and where its result goes. */
#include "gateway/cli/perf/benchmark.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/gateway_stats.h"
#include "gateway/cli/perf/perf.h"
#include "upstream/upstream.h"

enum { OUT_BYTES_MAX = 16 << 20, SWEEP_STEP_S = 3, STEP_S = 10, CALLERS_USUAL = 64, COUNT_MAX = 2000000000 };

static const struct cli_server data_server = { "JITNEY_URL", "http://127.0.0.1:8080", 10 };

static const char help[] =
	"usage: jitney perf benchmark TOOL [ARGUMENTS] [OPTIONS]\n"
	"       jitney perf benchmark --calls FILE [OPTIONS]\n"
	"       jitney perf benchmark --log FILE [ARGUMENTS] [OPTIONS]\n\n"
	"Calls a running gateway for a while, and prints how many calls a second it answered, how long they took and what\n"
	"memory it had. With a --rate, or a --log, latencies count from when each call was due.\n\n"
	"What is called: one TOOL with ARGUMENTS ({} if left out);\n"
	"      --calls FILE     lines of {\"tool\": NAME, \"arguments\": {...}}, in turn; - is standard input\n"
	"      --log FILE       the tools and times of an access log, all with the same ARGUMENTS\n"
	"      --speed N        that log, so many times as fast; default 1\n"
	"      --distinct N     \"%d\" in ARGUMENTS is the call's number, from 0 to N - 1 and around\n\n"
	"How:\n"
	"  -c, --callers N      connections, each with one call at a time; default 64\n"
	"  -r, --rate CALLS     so many a second, whether or not answers come; default: as fast as they come\n"
	"  -s, --seconds N      for so long; default 10, of each step of a sweep 3\n"
	"  -n, --count N        so many calls at most\n"
	"      --sweep          as fast as answers come, then at 5% to 100% of that: calls a second with p99 under\n"
	"                       1, 5, 10, 50 and 100 ms\n\n"
	"Where:\n"
	"  -u, --url URL        the gateway: http://HOST:PORT or unix:/PATH; default $JITNEY_URL or http://127.0.0.1:8080\n"
	"      --admin URL      its admin listener; default $JITNEY_ADMIN_URL or http://127.0.0.1:8081\n"
	"  -t, --timeout SECONDS  of a call; default 10\n"
	"  -H, --header 'N: V'  send this header too (may come again)\n\n"
	"What is printed: a table, or\n"
	"      --json           one document, which --compare reads\n"
	"      --csv            a line a step\n"
	"      --svg FILE       draw it, beside what is printed\n"
	"      --compare FILE   against what --json printed earlier: exit code 1 if a figure is worse by\n"
	"      --fail-over N%   this or more; default 10%\n";

enum {
	OPT_CALLS = 256,
	OPT_LOG,
	OPT_SPEED,
	OPT_DISTINCT,
	OPT_SWEEP,
	OPT_ADMIN,
	OPT_JSON,
	OPT_CSV,
	OPT_SVG,
	OPT_COMPARE,
	OPT_FAIL_OVER
};

static const struct option options[] = {
	{ "calls", required_argument, NULL, OPT_CALLS },
	{ "log", required_argument, NULL, OPT_LOG },
	{ "speed", required_argument, NULL, OPT_SPEED },
	{ "distinct", required_argument, NULL, OPT_DISTINCT },
	{ "callers", required_argument, NULL, 'c' },
	{ "rate", required_argument, NULL, 'r' },
	{ "seconds", required_argument, NULL, 's' },
	{ "count", required_argument, NULL, 'n' },
	{ "sweep", no_argument, NULL, OPT_SWEEP },
	{ "url", required_argument, NULL, 'u' },
	{ "admin", required_argument, NULL, OPT_ADMIN },
	{ "timeout", required_argument, NULL, 't' },
	{ "header", required_argument, NULL, 'H' },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "csv", no_argument, NULL, OPT_CSV },
	{ "svg", required_argument, NULL, OPT_SVG },
	{ "compare", required_argument, NULL, OPT_COMPARE },
	{ "fail-over", required_argument, NULL, OPT_FAIL_OVER },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* What the command line says beside the benchmark itself. */
struct setup {
	struct benchmark benchmark;
	const char *calls, *log, *svg, *compare; /* files */
	double speed, seconds, worse_percent;
	bool json, csv;
};

/* --- options --- */

static bool read_number(const char *text, const char *unit, double least, double most, double *number)
{
	char *end;
	*number = strtod(text, &end);
	return end != text && (!*end || strcmp(end, unit) == 0) && *number >= least && *number <= most;
}

static const char *read_count(const char *text, uint64_t most, const char *wrong, uint64_t *count)
{
	return json_u64(slice_of(text), count) && *count > 0 && *count <= most ? NULL : wrong;
}

static const char *take_load_option(int option, struct setup *setup)
{
	struct benchmark *benchmark = &setup->benchmark;
	switch (option) {
	case 'c':
		return read_count(optarg, TRAFFIC_CALLERS_MAX, "--callers wants a number from 1 to 60000",
				  &benchmark->callers);
	case 'r':
		return read_number(optarg, "/s", 0.001, 1e7, &benchmark->rate)
			       ? NULL
			       : "--rate wants calls a second, from 0.001 to 10000000";
	case 's':
		return read_number(optarg, "s", 0.001, 86400, &setup->seconds)
			       ? NULL
			       : "--seconds wants a number of seconds, a day at most";
	case 'n':
		return read_count(optarg, COUNT_MAX, "--count wants a number above zero", &benchmark->count);
	case OPT_DISTINCT:
		return read_count(optarg, COUNT_MAX, "--distinct wants a number above zero",
				  &benchmark->calls.distinct);
	case OPT_SPEED:
		return read_number(optarg, "", 0.001, 1000, &setup->speed)
			       ? NULL
			       : "--speed wants a number from 0.001 to 1000";
	case OPT_FAIL_OVER:
		return read_number(optarg, "%", 0, 1000, &setup->worse_percent)
			       ? NULL
			       : "--fail-over wants a share such as 10%";
	default:
		return cli_take_option(option, &benchmark->client);
	}
}

static const char *take_option(int option, struct setup *setup)
{
	switch (option) {
	case OPT_CALLS:
		setup->calls = optarg;
		return NULL;
	case OPT_LOG:
		setup->log = optarg;
		return NULL;
	case OPT_SVG:
		setup->svg = optarg;
		return NULL;
	case OPT_COMPARE:
		setup->compare = optarg;
		return NULL;
	case OPT_ADMIN:
		setup->benchmark.admin.server = optarg;
		return NULL;
	case OPT_SWEEP:
		setup->benchmark.sweep = true;
		return NULL;
	case OPT_JSON:
		setup->json = true;
		return NULL;
	case OPT_CSV:
		setup->csv = true;
		return NULL;
	default:
		return take_load_option(option, setup);
	}
}

/* Words and options that go together. NULL, or what is wrong. */
static const char *check_options(const struct setup *setup, int words)
{
	if (setup->calls && setup->log)
		return "--calls and --log exclude each other";
	if (!setup->calls && !setup->log && words < 1)
		return "name a TOOL, or --calls FILE, or --log FILE";
	if (words > (setup->calls ? 0 : setup->log ? 1 : 2))
		return "there is a word too many; ARGUMENTS is one word in quotes";
	if (setup->log && (setup->benchmark.rate > 0 || setup->benchmark.sweep || setup->benchmark.calls.distinct))
		return "a --log has its own times: --rate, --sweep and --distinct do not go with it";
	if (setup->benchmark.sweep && setup->benchmark.rate > 0)
		return "--sweep and --rate exclude each other";
	if (setup->json && setup->csv)
		return "--json and --csv exclude each other";
	return NULL;
}

static const char *read_options(int argc, char **argv, struct setup *setup)
{
	*setup = (struct setup){ .speed = 1, .worse_percent = 10 };
	setup->benchmark.callers = CALLERS_USUAL;
	cli_begin_options(&data_server, &setup->benchmark.client);
	cli_begin_options(&admin_server, &setup->benchmark.admin);
	for (int option; (option = getopt_long(argc, argv, "c:r:s:n:u:t:H:h", options, NULL)) != -1;) {
		const char *wrong = take_option(option, setup);
		if (wrong || setup->benchmark.client.help)
			return wrong;
	}
	double seconds = setup->seconds > 0                     ? setup->seconds
			 : setup->benchmark.sweep               ? SWEEP_STEP_S
			 : setup->log || setup->benchmark.count ? 0
								: STEP_S;
	setup->benchmark.seconds_us = (uint64_t)(seconds * (double)CLOCK_US_PER_S);
	return check_options(setup, argc - optind);
}

/* --- calls --- */

static bool fill_calls(struct setup *setup, char **words, char error[CALL_LIST_ERROR_BYTES])
{
	struct benchmark *benchmark = &setup->benchmark;
	if (setup->calls)
		return call_list_file(&benchmark->calls, setup->calls, error);
	if (setup->log)
		return call_list_log(&benchmark->calls, setup->log, words[0] ? words[0] : "{}", setup->speed, error);
	return call_list_one(&benchmark->calls, words[0], words[1] ? words[1] : "{}", error);
}

/* --- what is printed --- */

static bool print_result(const struct setup *setup, const struct bench_result *result)
{
	struct buf out = BUF_INIT(OUT_BYTES_MAX);
	if (setup->json)
		result_put_json(result, &out);
	else if (setup->csv)
		result_put_csv(result, &out);
	else
		result_put_table(result, &out);
	bool ok = !out.failed && perf_write(NULL, buf_slice(&out));
	buf_reset(&out);
	if (setup->svg) {
		result_put_svg(result, &out);
		ok = !out.failed && perf_write(setup->svg, buf_slice(&out)) && ok;
	}
	buf_fini(&out);
	return ok;
}

/* The comparison goes where the result went, or beside it, if that is for programs. Returns the exit code. */
static int print_comparison(const struct setup *setup, const struct bench_result *result, const struct buf *earlier)
{
	struct buf out = BUF_INIT(OUT_BYTES_MAX);
	FILE *to = setup->json || setup->csv ? stderr : stdout;
	if (result->interrupted) {
		fputs("jitney perf: interrupted: nothing is compared\n", stderr);
		return EXIT_FAILURE;
	}
	size_t worse = result_compare(result, buf_slice(earlier), setup->worse_percent / 100, &out);
	fprintf(to, "\nagainst %s:\n%s", setup->compare, buf_cstr(&out));
	bool ok = fflush(to) == 0 && !out.failed;
	if (worse)
		fprintf(stderr, "jitney perf: %zu figure%s worse by %g%% or more\n", worse,
			worse == 1 ? " is" : "s are", setup->worse_percent);
	buf_fini(&out);
	return ok && !worse ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Before minutes of load, not after. */
static bool read_earlier(const char *path, const struct bench_result *result, struct buf *text)
{
	FILE *file = fopen(path, "re");
	char block[16384];
	for (size_t got; file && (got = fread(block, 1, sizeof block, file)) > 0;)
		buf_put(text, (struct slice){ block, got });
	bool ok = file && !ferror(file) && !text->failed;
	if (!ok)
		fprintf(stderr, "jitney perf: %s: %s\n", path, file ? "it cannot be read" : strerror(errno));
	if (file)
		fclose(file);
	const char *wrong = ok ? result_find_difference(result, buf_slice(text)) : NULL;
	if (wrong)
		fprintf(stderr, "jitney perf: %s: %s\n", path, wrong);
	return ok && !wrong;
}

static int run_and_print(struct setup *setup, struct bench_result *result)
{
	char error[CALL_LIST_ERROR_BYTES];
	struct buf earlier = BUF_INIT(OUT_BYTES_MAX);
	int code = EXIT_FAILURE;
	if (setup->compare && !read_earlier(setup->compare, result, &earlier))
		code = EXIT_USAGE;
	else if (!benchmark_run(&setup->benchmark, result, error))
		fprintf(stderr, "jitney perf: %s\n", error);
	else {
		bool well = !result->interrupted && step_good_rate(&result->steps[0]) > 0;
		code = print_result(setup, result) && well ? EXIT_SUCCESS : EXIT_FAILURE;
		if (setup->compare && print_comparison(setup, result, &earlier) != EXIT_SUCCESS)
			code = EXIT_FAILURE;
	}
	buf_fini(&earlier);
	return code;
}

int perf_benchmark(int argc, char **argv)
{
	struct setup setup;
	char error[CALL_LIST_ERROR_BYTES];
	const char *wrong = read_options(argc, argv, &setup);
	struct benchmark *benchmark = &setup.benchmark;
	if (benchmark->client.help) {
		fputs(help, stdout);
		return EXIT_SUCCESS;
	}
	if (wrong)
		return cli_wrong_usage("perf benchmark", wrong);
	char **words = argv + optind;
	struct bench_result *result = calloc(1, sizeof *result);
	int code = EXIT_USAGE;
	if (!fill_calls(&setup, words, error) || !target_read(benchmark->client.server, &benchmark->target, error))
		fprintf(stderr, "jitney perf: %s\n", error);
	else if (result && upstream_library_init()) {
		call_list_address(&benchmark->calls, &benchmark->target, &benchmark->client);
		result->callers = benchmark->callers;
		result->load = setup.log ? "log" : benchmark->sweep ? "sweep" : benchmark->rate > 0 ? "open" : "closed";
		snprintf(result->what, sizeof result->what, "%s",
			 setup.calls ? setup.calls
			 : setup.log ? setup.log
				     : words[0]);
		code = run_and_print(&setup, result);
		upstream_library_fini();
	}
	call_list_fini(&benchmark->calls);
	free(result);
	return code;
}
