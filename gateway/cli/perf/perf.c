/* SPDX-License-Identifier: Apache-2.0 */
/* perf.c: jitney perf: which of its commands is meant. */
#include "gateway/cli/perf/perf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/cli/cli.h"
#include "gateway/cli/cli_client.h"

static const char help[] =
	"usage: jitney perf benchmark | monitor | profile | cache-stats [OPTIONS]\n\n"
	"  benchmark    call a gateway for a while: calls a second, latencies, memory; against an earlier result\n"
	"  monitor      a row a second of what a gateway does\n"
	"  profile      where its threads spend their time: a file for go tool pprof, or folded stacks\n"
	"  cache-stats  what each tier of its cache holds (jitney cache stats)\n\n"
	"jitney perf COMMAND --help tells more.\n";

/* `jitney cache stats` with the same options. */
static int print_cache_stats(int argc, char **argv)
{
	char **words = calloc((size_t)argc + 2, sizeof *words), cache[] = "cache", stats[] = "stats";
	if (!words)
		return EXIT_FAILURE;
	words[0] = cache;
	words[1] = stats;
	for (int i = 1; i < argc; i++)
		words[i + 1] = argv[i];
	int code = cli_cache(argc + 1, words);
	free(words);
	return code;
}

bool perf_write(const char *path, struct slice bytes)
{
	FILE *file = path ? fopen(path, "we") : stdout;
	bool whole = file && fwrite(bytes.at, 1, bytes.len, file) == bytes.len && fflush(file) == 0;
	int error = errno;
	if (file && path && fclose(file) != 0 && whole) {
		error = errno;
		whole = false;
	}
	if (!whole)
		fprintf(stderr, "jitney perf: %s: %s\n", path ? path : "standard output", strerror(error));
	return whole;
}

int cli_perf(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} commands[] = {
		{ "benchmark", perf_benchmark },
		{ "monitor", perf_monitor },
		{ "profile", perf_profile },
		{ "cache-stats", print_cache_stats },
	};
	const char *name = argc > 1 ? argv[1] : "";
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
		fputs(help, stdout);
		return EXIT_SUCCESS;
	}
	for (size_t i = 0; i < countof(commands); i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	return cli_wrong_usage("perf", "it takes benchmark, monitor, profile or cache-stats");
}
