/* SPDX-License-Identifier: Apache-2.0 */
/* monitor.c: jitney perf monitor: a row a second of what a gateway does. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/gateway_stats.h"
#include "gateway/cli/perf/perf.h"
#include "gateway/cli/text_table.h"
#include "upstream/upstream.h"

enum { ROWS_A_TITLE = 20, CLOCK_BYTES = 16, COUNT_MAX = 1000000000, LINE_BYTES_MAX = 4096 };

static const char help[] =
	"usage: jitney perf monitor [OPTIONS]\n\n"
	"Prints a row a second: calls, errors and requests to providers a second, latencies, hits, calls a request, calls\n"
	"under way, the busiest worker, memory. While the gateway does not answer, a row says so.\n\n"
	"  -u, --url URL           the admin listener; default $JITNEY_ADMIN_URL or http://127.0.0.1:8081\n"
	"  -i, --interval SECONDS  between two rows; default 1\n"
	"  -n, --count N           end after so many rows; default: go on until it is interrupted\n"
	"      --json              a JSON object a row\n"
	"      --csv               comma-separated, with a line of titles\n"
	"  -t, --timeout SECONDS   wait so long for an answer; default 5\n"
	"  -H, --header 'N: V'     send this header too (may come again)\n";

enum { OPT_JSON = 256, OPT_CSV };

static const struct option options[] = {
	{ "url", required_argument, NULL, 'u' },
	{ "interval", required_argument, NULL, 'i' },
	{ "count", required_argument, NULL, 'n' },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "csv", no_argument, NULL, OPT_CSV },
	{ "timeout", required_argument, NULL, 't' },
	{ "header", required_argument, NULL, 'H' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct setup {
	struct cli_client client;
	uint64_t interval_us, count; /* count 0: without end */
	bool json, csv;
};

static atomic_bool interrupted; /* without a lock, so that a signal handler may set it */

static void note_interrupt(int number)
{
	(void)number;
	atomic_store(&interrupted, true);
}

/* --- a row --- */

static const struct figure {
	const char *title, *name; /* name: in JSON and CSV, and of the member */
	const char *object;       /* NULL: the rates of the last second or ten */
	void (*write)(struct text_cell *cell, double value);
} figures[] = {
	{ "CALLS/S", "calls", NULL, text_cell_number },
	{ "ERR/S", "errors", NULL, text_cell_number },
	{ "P50", "p50_us", NULL, text_cell_time },
	{ "P99", "p99_us", NULL, text_cell_time },
	{ "HITS", "hit_ratio", NULL, text_cell_share },
	{ "REQ/S", "requests", NULL, text_cell_number },
	{ "FULL", "mean_batch", NULL, text_cell_number },
	{ "OPEN", "in_flight", "totals", text_cell_number },
	{ "BUSY", "busy_ratio", "workers", text_cell_share }, /* of the busiest one */
	{ "RSS", "rss_bytes", "process", text_cell_bytes },
};

static bool read_figure(const struct gateway_stats *stats, const struct figure *figure, const char *span, double *value)
{
	struct slice object = stats_member(stats->root, figure->object ? figure->object : "rates"), worker;
	if (!figure->object)
		return stats_number(stats_member(object, span), figure->name, value);
	if (!object.len || json_type(object) != JSON_ARRAY)
		return stats_number(object, figure->name, value);
	*value = 0;
	for (struct json_walk walk = json_walk(object); json_next_element(&walk, &worker);) {
		double one = stats_count(worker, figure->name);
		*value = one > *value ? one : *value;
	}
	return true;
}

static void write_clock(char text[CLOCK_BYTES])
{
	time_t now = (time_t)(clock_wall_us() / CLOCK_US_PER_S);
	struct tm broken;
	if (!localtime_r(&now, &broken) || !strftime(text, CLOCK_BYTES, "%H:%M:%S", &broken))
		snprintf(text, CLOCK_BYTES, "?");
}

static void put_row(const struct setup *setup, const struct gateway_stats *stats, struct buf *out)
{
	const char *span = setup->interval_us < 5 * CLOCK_US_PER_S ? "1s" : "10s";
	char clock[CLOCK_BYTES];
	write_clock(clock);
	if (setup->json || setup->csv)
		buf_printf(out, setup->json ? "{\"at\":%.3f" : "%.3f", stats->at_s);
	else
		buf_put_text(out, clock);
	for (size_t i = 0; i < countof(figures); i++) {
		struct text_cell cell;
		double value;
		bool known = read_figure(stats, &figures[i], span, &value);
		if (setup->json)
			buf_printf(out, ",\"%s\":", figures[i].name);
		else if (setup->csv)
			buf_put_char(out, ',');
		if (setup->json && !known)
			buf_put_text(out, "null");
		else if ((setup->json || setup->csv) && known)
			buf_printf(out, "%.10g", value);
		text_cell_none(&cell);
		if (known)
			figures[i].write(&cell, value);
		if (!setup->json && !setup->csv)
			buf_printf(out, " %*s", i + 1 == countof(figures) ? 9 : 6, cell.text);
	}
	buf_put_text(out, setup->json ? "}\n" : "\n");
}

static void put_titles(const struct setup *setup, struct buf *out)
{
	buf_put_text(out, setup->csv ? "at" : "        ");
	for (size_t i = 0; i < countof(figures); i++)
		if (setup->csv)
			buf_printf(out, ",%s", figures[i].name);
		else
			buf_printf(out, " %*s", i + 1 == countof(figures) ? 9 : 6, figures[i].title);
	buf_put_char(out, '\n');
}

/* --- going on --- */

/* False: what was printed could not be. */
static bool print_row(const struct setup *setup, struct gateway_stats *stats, uint64_t number)
{
	char error[STATS_ERROR_BYTES], clock[CLOCK_BYTES];
	struct buf out = BUF_INIT(LINE_BYTES_MAX);
	if (!setup->json && number % (setup->csv ? UINT64_MAX : ROWS_A_TITLE) == 0)
		put_titles(setup, &out);
	bool answered = gateway_stats_ask(stats, &setup->client, false, &interrupted, error);
	write_clock(clock);
	if (answered)
		put_row(setup, stats, &out);
	else if (!interrupted)
		fprintf(stderr, "%s no answer: %s\n", clock, error);
	bool ok = !out.failed && perf_write(NULL, buf_slice(&out));
	buf_fini(&out);
	return ok;
}

/* Rows begin on time: what asking took is not added to the interval. Those whose time is over are left out: a gateway
 * that was silent for a minute is not asked for 60 rows at once. */
static uint64_t next_due_us(uint64_t due_us, uint64_t interval_us)
{
	uint64_t now_us = clock_now_us();
	uint64_t missed = now_us > due_us ? (now_us - due_us) / interval_us : 0;
	return due_us + (1 + missed) * interval_us;
}

static void wait_until(uint64_t due_us)
{
	while (!interrupted) {
		uint64_t now_us = clock_now_us();
		if (now_us >= due_us)
			return;
		uint64_t left_us = due_us - now_us;
		const struct timespec pause = { (time_t)(left_us / CLOCK_US_PER_S),
						(long)(left_us % CLOCK_US_PER_S * 1000) };
		nanosleep(&pause, NULL);
	}
}

static int print_rows(const struct setup *setup)
{
	struct gateway_stats stats = { 0 };
	uint64_t due_us = clock_now_us();
	bool ok = true, answered = false;
	for (uint64_t row = 0; ok && !interrupted && (!setup->count || row < setup->count); row++) {
		wait_until(due_us);
		due_us = next_due_us(due_us, setup->interval_us);
		ok = interrupted || print_row(setup, &stats, row);
		answered = answered || stats.root.len;
	}
	gateway_stats_fini(&stats);
	return ok && answered ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- options --- */

static const char *take_option(int option, struct setup *setup)
{
	switch (option) {
	case 'i':
		return cli_read_interval(optarg, &setup->interval_us);
	case 'n':
		return json_u64(slice_of(optarg), &setup->count) && setup->count && setup->count <= COUNT_MAX
			       ? NULL
			       : "--count wants a number above zero";
	case OPT_JSON:
		setup->json = true;
		return NULL;
	case OPT_CSV:
		setup->csv = true;
		return NULL;
	default:
		return cli_take_option(option, &setup->client);
	}
}

static const char *read_options(int argc, char **argv, struct setup *setup)
{
	*setup = (struct setup){ .interval_us = CLOCK_US_PER_S };
	cli_begin_options(&admin_server, &setup->client);
	for (int option; (option = getopt_long(argc, argv, "u:i:n:t:H:h", options, NULL)) != -1;) {
		const char *wrong = take_option(option, setup);
		if (wrong || setup->client.help)
			return wrong;
	}
	if (optind < argc)
		return "there are words after the options";
	return setup->json && setup->csv ? "--json and --csv exclude each other" : NULL;
}

int perf_monitor(int argc, char **argv)
{
	struct setup setup;
	struct sigaction action = { .sa_handler = note_interrupt, .sa_flags = (int)SA_RESETHAND };
	const char *wrong = read_options(argc, argv, &setup);
	if (setup.client.help) {
		fputs(help, stdout);
		return EXIT_SUCCESS;
	}
	if (wrong)
		return cli_wrong_usage("perf monitor", wrong);
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	if (!upstream_library_init()) {
		fputs("jitney: libcurl cannot be initialised\n", stderr);
		return EXIT_FAILURE;
	}
	int code = print_rows(&setup);
	upstream_library_fini();
	return code;
}
