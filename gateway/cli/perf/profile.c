/* SPDX-License-Identifier: Apache-2.0 */
/* profile.c: jitney perf profile: a CPU profile of a running gateway, into a file or onto standard output. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/cli_client.h"
#include "gateway/cli/gateway_stats.h"
#include "gateway/cli/perf/perf.h"

enum { PROFILE_BYTES_MAX = 256 << 20, SECONDS_MAX = 60, PATH_BYTES = 100, BESIDE_S = 30 };

static const char help[] =
	"usage: jitney perf profile [OPTIONS]\n\n"
	"Asks a running gateway where its threads spend their time (GET /debug/pprof/profile), and writes the answer.\n\n"
	"  -s, --seconds N        watch it for so long; default 10\n"
	"  -f, --format FORMAT    pprof (for go tool pprof; the default), folded (a line a stack) or svg (a flame graph)\n"
	"  -o, --output FILE      where to; - is standard output, which folded stacks go to unless told otherwise; default\n"
	"                         jitney.pprof or jitney.svg\n"
	"  -u, --url URL          the admin listener; default $JITNEY_ADMIN_URL or http://127.0.0.1:8081\n"
	"  -t, --timeout SECONDS  wait so long for the answer; default what is watched and 30 more\n"
	"  -H, --header 'N: V'    send this header too (may come again)\n";

static const struct option options[] = {
	{ "seconds", required_argument, NULL, 's' }, { "format", required_argument, NULL, 'f' },
	{ "output", required_argument, NULL, 'o' },  { "url", required_argument, NULL, 'u' },
	{ "timeout", required_argument, NULL, 't' }, { "header", required_argument, NULL, 'H' },
	{ "help", no_argument, NULL, 'h' },          { NULL, 0, NULL, 0 },
};

static const struct format {
	const char *name, *output; /* output: where it goes if nothing is said */
	bool is_text;
} formats[] = { { "pprof", "jitney.pprof", false }, { "folded", "-", true }, { "svg", "jitney.svg", true } };

struct setup {
	struct cli_client client;
	const struct format *format;
	const char *output;
	uint64_t seconds;
};

static const char *find_format(const char *name, const struct format **format)
{
	for (size_t i = 0; i < countof(formats); i++)
		if (strcmp(name, formats[i].name) == 0) {
			*format = &formats[i];
			return NULL;
		}
	return "--format wants pprof, folded or svg";
}

static const char *take_option(int option, struct setup *setup)
{
	switch (option) {
	case 's':
		return json_u64(slice_of(optarg), &setup->seconds) && setup->seconds && setup->seconds <= SECONDS_MAX
			       ? NULL
			       : "--seconds wants a whole number, from 1 to 60";
	case 'o':
		setup->output = optarg;
		return NULL;
	case 'f':
		return find_format(optarg, &setup->format);
	default:
		return cli_take_option(option, &setup->client);
	}
}

static const char *read_options(int argc, char **argv, struct setup *setup)
{
	*setup = (struct setup){ .format = &formats[0], .seconds = 10 };
	cli_begin_options(&admin_server, &setup->client);
	setup->client.timeout_us = 0;
	for (int option; (option = getopt_long(argc, argv, "s:f:o:u:t:H:h", options, NULL)) != -1;) {
		const char *wrong = take_option(option, setup);
		if (wrong || setup->client.help)
			return wrong;
	}
	if (optind < argc)
		return "there are words after the options";
	if (!setup->output)
		setup->output = setup->format->output;
	if (!setup->client.timeout_us)
		setup->client.timeout_us = (setup->seconds + BESIDE_S) * CLOCK_US_PER_S;
	if (strcmp(setup->output, "-") == 0 && !setup->format->is_text && isatty(STDOUT_FILENO))
		return "a terminal cannot show that format; --output FILE, or --format folded";
	return NULL;
}

/* False, and said why. */
static bool write_profile(const struct setup *setup, struct slice bytes)
{
	bool standard = strcmp(setup->output, "-") == 0;
	if (!perf_write(standard ? NULL : setup->output, bytes))
		return false;
	if (!standard)
		fprintf(stderr, "%s: %zu bytes%s\n", setup->output, bytes.len,
			setup->format->is_text ? "" : "; go tool pprof -http=: reads it");
	return true;
}

int perf_profile(int argc, char **argv)
{
	struct setup setup;
	char path[PATH_BYTES];
	const char *wrong = read_options(argc, argv, &setup);
	if (setup.client.help) {
		fputs(help, stdout);
		return EXIT_SUCCESS;
	}
	if (wrong)
		return cli_wrong_usage("perf profile", wrong);
	snprintf(path, sizeof path, "/debug/pprof/profile?seconds=%llu&format=%s", (unsigned long long)setup.seconds,
		 setup.format->name);
	const struct client_request request = {
		.server = setup.client.server,
		.path = path,
		.method = "GET",
		.headers = setup.client.headers,
		.header_count = setup.client.header_count,
		.timeout_us = setup.client.timeout_us,
	};
	struct client_reply reply = { .body = BUF_INIT(PROFILE_BYTES_MAX) };
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "watching the gateway for %llu s ...\r", (unsigned long long)setup.seconds);
	int code = cli_fetch(&request, &reply, &setup.client);
	if (isatty(STDERR_FILENO))
		fputs("\033[K", stderr);
	if (code == EXIT_SUCCESS && !reply.body.len)
		fputs("jitney perf: no thread ran while it was watched: call the gateway meanwhile\n", stderr);
	if (code == EXIT_SUCCESS && !write_profile(&setup, buf_slice(&reply.body)))
		code = EXIT_FAILURE;
	buf_fini(&reply.body);
	return code;
}
