/* SPDX-License-Identifier: Apache-2.0 */
/* simulate.c: jitney simulate: what other windows and sizes would have done to the traffic of an access log. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/cli/workload.h"
#include "gateway/cli/cli.h"
#include "gateway/config/values.h"
#include "gateway/cli/simulate_plot.h"
#include "gateway/cli/simulation.h"
#include "gateway/cli/worlds.h"

enum { CHOICES_MAX = 16 };

static const char help[] =
	"usage: jitney simulate LOG [OPTIONS]\n"
	"       jitney simulate --rate CALLS [OPTIONS]\n\n"
	"Replays the calls of an access log (logfmt or JSON; - is standard input), or a made-up load, through the "
	"gateway's\n"
	"own batching code with a clock turned by hand, and prints for a range of windows and sizes what calls would "
	"have\n"
	"waited, how many requests would have been saved and how large batches would have been. Nothing is sent.\n\n"
	"  -t, --tool NAME        only its calls\n"
	"  -r, --rate CALLS       no log: so many calls a second, at random (Poisson)\n"
	"  -s, --seconds SECONDS  for so long; default 10\n"
	"      --seed N           another load of the same kind; default 1\n\n"
	"The provider. A log tells its costs, and how far the requests in it were from them: such latencies are drawn "
	"again.\n"
	"      --world NAME       one of those below instead; says all that follows\n"
	"      --fixed TIME       a request takes, however many calls it carries; default 5ms\n"
	"      --per-call TIME    and for each call on top; default 50us\n"
	"      --slots N          requests it works on at once; default 10\n\n"
	"What is tried:\n"
	"  -w, --windows LIST     default 1ms,2ms,5ms,10ms,20ms\n"
	"  -i, --items LIST       calls in a batch at most; default 10,100\n"
	"  -m, --modes LIST       default off,adaptive,fixed\n"
	"      --in-flight N      requests to the provider at once; default 10\n"
	"      --callers N        who take turns; default 64\n"
	"      --urgency N        what they say of their calls (Priority, RFC 9218), 0 to 7; default 3\n"
	"      --flood CALLS      one more caller, who sends so many a second and is not counted\n"
	"      --flood-urgency N  likewise; default 7\n"
	"      --timeout TIME     of a call; default 10s\n"
	"      --bytes N          of a call's arguments; default 200\n\n"
	"  -p, --plot FILE        draw wait and saved requests over the window, as SVG\n";

enum {
	OPT_SEED = 256,
	OPT_WORLD,
	OPT_FIXED,
	OPT_PER_CALL,
	OPT_SLOTS,
	OPT_IN_FLIGHT,
	OPT_CALLERS,
	OPT_TIMEOUT,
	OPT_BYTES,
	OPT_URGENCY,
	OPT_FLOOD,
	OPT_FLOOD_URGENCY
};

static const struct option options[] = {
	{ "tool", required_argument, NULL, 't' },
	{ "rate", required_argument, NULL, 'r' },
	{ "seconds", required_argument, NULL, 's' },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "world", required_argument, NULL, OPT_WORLD },
	{ "fixed", required_argument, NULL, OPT_FIXED },
	{ "per-call", required_argument, NULL, OPT_PER_CALL },
	{ "slots", required_argument, NULL, OPT_SLOTS },
	{ "windows", required_argument, NULL, 'w' },
	{ "items", required_argument, NULL, 'i' },
	{ "modes", required_argument, NULL, 'm' },
	{ "in-flight", required_argument, NULL, OPT_IN_FLIGHT },
	{ "callers", required_argument, NULL, OPT_CALLERS },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "bytes", required_argument, NULL, OPT_BYTES },
	{ "urgency", required_argument, NULL, OPT_URGENCY },
	{ "flood", required_argument, NULL, OPT_FLOOD },
	{ "flood-urgency", required_argument, NULL, OPT_FLOOD_URGENCY },
	{ "plot", required_argument, NULL, 'p' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct setup {
	const char *log, *tool, *plot;
	double rate, seconds;
	uint64_t seed;
	bool costs_fitted;         /* the provider's are the log's */
	const struct world *world; /* NULL: none was named */
	bool fixed_given, per_call_given, slots_given;
	struct provider_model provider;
	uint64_t windows_us[CHOICES_MAX], items[CHOICES_MAX];
	size_t window_count, items_count;
	bool modes[BATCH_OFF + 1];
	uint64_t in_flight, callers, timeout_us, bytes;
	uint8_t urgency, flood_urgency;
	double flood; /* calls a second; 0: none */
};

/* `what` goes in front: a word of the command line, or nothing. */
static int say_wrong(const char *what, const char *why)
{
	fprintf(stderr, "jitney simulate: %s%s; jitney simulate --help tells more\n", what, why);
	return EXIT_USAGE;
}

/* --- options --- */

static bool read_positive(const char *text, double *number)
{
	char *end;
	*number = strtod(text, &end);
	return end != text && *end == '\0' && *number > 0 && *number < 1e9;
}

static bool read_count(const char *text, uint64_t most, uint64_t *count)
{
	return value_count(slice_of(text), count) == NULL && *count > 0 && *count <= most;
}

static bool read_time(const char *text, uint64_t *us)
{
	return value_duration(slice_of(text), us) == NULL && *us > 0;
}

/* "a,b,c", each by `read_one`. */
static bool read_list(const char *text, uint64_t *values, size_t *count,
		      bool (*read_one)(const char *text, uint64_t *value))
{
	char copy[256];
	*count = 0;
	if (strlen(text) >= sizeof copy)
		return false;
	memcpy(copy, text, strlen(text) + 1);
	for (char *left = copy, *one; (one = strsep(&left, ","));) {
		if (*count == CHOICES_MAX || !read_one(one, &values[*count]))
			return false;
		(*count)++;
	}
	return true;
}

static bool read_items(const char *text, uint64_t *value)
{
	return read_count(text, 10000, value);
}

static const char *const mode_words[] = { "adaptive", "fixed", "off" }; /* enum batch_mode's order */

static bool read_mode(const char *text, uint64_t *value)
{
	for (size_t i = 0; i < countof(mode_words); i++) {
		*value = i;
		if (strcmp(text, mode_words[i]) == 0)
			return true;
	}
	return false;
}

static bool read_modes(const char *text, struct setup *setup)
{
	uint64_t values[CHOICES_MAX];
	size_t count;
	if (!read_list(text, values, &count, read_mode))
		return false;
	memset(setup->modes, 0, sizeof setup->modes);
	for (size_t i = 0; i < count; i++)
		setup->modes[values[i]] = true;
	return true;
}

static bool read_urgency(const char *text, uint8_t *urgency)
{
	uint64_t value;
	if (value_count(slice_of(text), &value) || value > URGENCY_LAST)
		return false;
	*urgency = (uint8_t)value;
	return true;
}

/* What is said of the provider. */
static bool read_provider_option(int option, struct setup *setup)
{
	uint64_t number;
	switch (option) {
	case OPT_FIXED:
		setup->fixed_given = true;
		return read_time(optarg, &setup->provider.fixed_us);
	case OPT_PER_CALL:
		setup->per_call_given = true;
		setup->provider.item_us = 0;
		if (strcmp(optarg, "0") == 0)
			return true;
		if (!read_time(optarg, &number))
			return false;
		setup->provider.item_us = (double)number;
		return true;
	default:
		setup->slots_given = true;
		if (!read_count(optarg, 100000, &number))
			return false;
		setup->provider.slots = number;
		return true;
	}
}

static bool read_option(int option, struct setup *setup)
{
	switch (option) {
	case 't':
		setup->tool = optarg;
		return true;
	case 'r':
		return read_positive(optarg, &setup->rate);
	case 's':
		return read_positive(optarg, &setup->seconds);
	case OPT_SEED:
		return read_count(optarg, UINT32_MAX, &setup->seed);
	case OPT_WORLD:
		return (setup->world = world_named(optarg)) != NULL;
	case OPT_FIXED:
	case OPT_PER_CALL:
	case OPT_SLOTS:
		return read_provider_option(option, setup);
	case 'w':
		return read_list(optarg, setup->windows_us, &setup->window_count, read_time);
	case 'i':
		return read_list(optarg, setup->items, &setup->items_count, read_items);
	case 'm':
		return read_modes(optarg, setup);
	case OPT_IN_FLIGHT:
		return read_count(optarg, 1000, &setup->in_flight);
	case OPT_CALLERS:
		return read_count(optarg, 1000000, &setup->callers);
	case OPT_TIMEOUT:
		return read_time(optarg, &setup->timeout_us);
	case OPT_BYTES:
		return read_count(optarg, 1 << 20, &setup->bytes);
	case OPT_URGENCY:
		return read_urgency(optarg, &setup->urgency);
	case OPT_FLOOD:
		return read_positive(optarg, &setup->flood);
	case OPT_FLOOD_URGENCY:
		return read_urgency(optarg, &setup->flood_urgency);
	default:
		setup->plot = optarg;
		return true;
	}
}

static void print_help(void)
{
	fputs(help, stdout);
	fputs("\nWorlds:\n", stdout);
	for (size_t i = 0; i < world_count; i++)
		printf("  %-12s  %s\n", worlds[i].name, worlds[i].what);
}

/* EXIT_SUCCESS: go on. -1: help was printed. */
static int read_options(int argc, char **argv, struct setup *setup)
{
	int place = 0;
	for (int option; (option = getopt_long(argc, argv, "t:r:s:w:i:m:p:h", options, &place)) != -1;) {
		if (option == 'h') {
			print_help();
			return -1;
		}
		if (option == '?')
			return say_wrong("", "an option is not known or lacks its value");
		if (!read_option(option, setup))
			return say_wrong(optarg, ": not a value for that option");
	}
	setup->log = optind < argc ? argv[optind] : NULL;
	if (optind + 1 < argc)
		return say_wrong(argv[optind + 1], ": one log at a time");
	if ((setup->log != NULL) == (setup->rate > 0))
		return say_wrong("", "name either a LOG or a --rate");
	if (setup->world && (setup->fixed_given || setup->per_call_given || setup->slots_given))
		return say_wrong(setup->world->name, ": a --world says what --fixed, --per-call and --slots say");
	return EXIT_SUCCESS;
}

/* --- the load --- */

static bool read_log(const struct setup *setup, struct log_reading *reading)
{
	char error[300];
	bool standard = strcmp(setup->log, "-") == 0;
	FILE *log = standard ? stdin : fopen(setup->log, "re");
	if (!log) {
		fprintf(stderr, "jitney simulate: %s: %s\n", setup->log, strerror(errno));
		return false;
	}
	bool ok = workload_read(log, setup->tool, reading, error, sizeof error);
	if (!ok)
		fprintf(stderr, "jitney simulate: %s: %s\n", setup->log, error);
	if (!standard)
		fclose(log);
	return ok;
}

static bool load_workload(struct setup *setup, struct log_reading *reading)
{
	memset(reading, 0, sizeof *reading);
	if (setup->log)
		return read_log(setup, reading);
	if (workload_generate(setup->rate, setup->seconds, setup->seed, &reading->workload) && reading->workload.count)
		return true;
	fputs("jitney simulate: that makes no calls, or more than memory holds\n", stderr);
	return false;
}

/* --- what is printed --- */

static void print_provider(const struct setup *setup)
{
	const struct provider_model *provider = &setup->provider;
	if (setup->world) {
		printf("\nprovider: %s (%s)\n\n", setup->world->what, setup->world->name);
		return;
	}
	const char *from = provider->factors     ? "fitted to the log, with its latencies"
			   : setup->costs_fitted ? "fitted to the log"
						 : "as given";
	printf("\nprovider: %.2f ms a request + %.3f ms a call, %zu at once (%s)\n\n", (double)provider->fixed_us / 1e3,
	       provider->item_us / 1e3, provider->slots, from);
}

static void print_load(const struct setup *setup, const struct log_reading *reading)
{
	const struct workload *workload = &reading->workload;
	double span_s = (double)(workload->at_us[workload->count - 1] - workload->at_us[0]) / 1e6;
	printf("%zu calls to a provider in %.1f s (%.0f/s)", workload->count, span_s,
	       span_s > 0 ? (double)workload->count / span_s : 0.0);
	if (setup->log)
		printf(", of %zu calls in %zu lines; %zu requests", reading->calls, reading->lines, reading->requests);
	print_provider(setup);
	printf("%-8s  %6s  %5s  %9s  %5s  %10s  %19s  %19s  %7s\n", "mode", "window", "items", "requests", "saved",
	       "mean batch", "wait p50/p99 ms", "answer p50/p99 ms", "failed");
}

static void print_row(const struct simulation *simulation, const struct simulation_result *result)
{
	uint64_t failed = result->failed + result->refused;
	bool off = simulation->policy.mode == BATCH_OFF;
	char window[24] = "-", items[24] = "1";
	if (!off) {
		snprintf(window, sizeof window, "%gms", (double)simulation->policy.window_us / 1e3);
		snprintf(items, sizeof items, "%zu", simulation->policy.max_items);
	}
	printf("%-8s  %6s  %5s  %9llu  %4.0f%%  %10.1f  %9.2f %9.2f  %9.2f %9.2f  %7llu\n",
	       mode_words[simulation->policy.mode], window, items, (unsigned long long)result->requests,
	       100 * simulation_saved(result), simulation_mean(result), (double)result->wait_p50_us / 1e3,
	       (double)result->wait_p99_us / 1e3, (double)result->took_p50_us / 1e3, (double)result->took_p99_us / 1e3,
	       (unsigned long long)failed);
}

/* --- trying --- */

struct trial {
	const struct setup *setup;
	const struct workload *workload;
	struct simulate_plot *plot;
	size_t done, total;
};

static bool try_one(struct trial *trial, enum batch_mode mode, uint64_t window_us, uint64_t items)
{
	const struct setup *setup = trial->setup;
	struct simulation simulation = {
		.policy = { .mode = mode,
			    .max_items = items,
			    .max_bytes = 1 << 20,
			    .window_us = window_us,
			    .concurrency = setup->in_flight,
			    .queue_items = 10000,
			    .queue_bytes = 64 << 20,
			    .shares = { { [BAND_URGENT] = 50, [BAND_USUAL] = 20, [BAND_BACKGROUND] = 5 } } },
		.provider = setup->provider,
		.load = { .kind = LOAD_TIMES,
			  .callers = setup->callers,
			  .workload = trial->workload,
			  .urgency = setup->urgency,
			  .flood_urgency = setup->flood_urgency,
			  .flood_rate = setup->flood },
		.timeout_us = setup->timeout_us,
		.argument_bytes = setup->bytes,
	};
	struct simulation_result result;
	trial->done++;
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%zu of %zu ...\r", trial->done, trial->total);
	if (!simulation_run(&simulation, &result)) {
		fputs("jitney simulate: out of memory\n", stderr);
		return false;
	}
	print_row(&simulation, &result);
	fflush(stdout);
	simulate_plot_add(trial->plot, &simulation, &result);
	return true;
}

static bool try_all(struct trial *trial)
{
	const struct setup *setup = trial->setup;
	if (setup->modes[BATCH_OFF] && !try_one(trial, BATCH_OFF, 0, 1))
		return false;
	for (int mode = BATCH_ADAPTIVE; mode <= BATCH_FIXED; mode++)
		for (size_t i = 0; i < setup->items_count && setup->modes[mode]; i++)
			for (size_t w = 0; w < setup->window_count; w++)
				if (!try_one(trial, (enum batch_mode)mode, setup->windows_us[w], setup->items[i]))
					return false;
	return true;
}

static int run_simulations(struct setup *setup, const struct log_reading *reading)
{
	struct simulate_plot plot = { 0 };
	struct trial trial = { .setup = setup, .workload = &reading->workload, .plot = &plot };
	size_t each = setup->items_count * setup->window_count;
	trial.total = (setup->modes[BATCH_OFF] ? 1u : 0u) + (setup->modes[BATCH_ADAPTIVE] ? each : 0) +
		      (setup->modes[BATCH_FIXED] ? each : 0);
	print_load(setup, reading);
	if (!try_all(&trial))
		return EXIT_FAILURE;
	if (setup->plot && !simulate_plot_write(&plot, setup->plot)) {
		fprintf(stderr, "jitney simulate: %s: %s\n", setup->plot, strerror(errno));
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

/* What was said on the command line counts more than what the log tells. */
static void choose_provider(struct setup *setup, const struct log_reading *reading)
{
	struct provider_model *provider = &setup->provider;
	if (setup->world)
		*provider = setup->world->provider;
	if (setup->world || !reading->fitted)
		return;
	setup->costs_fitted = !setup->fixed_given && !setup->per_call_given;
	provider->fixed_us = setup->fixed_given ? provider->fixed_us : reading->provider.fixed_us;
	provider->item_us = setup->per_call_given ? provider->item_us : reading->provider.item_us;
	if (!setup->costs_fitted) /* the log's latencies are relative to its own costs */
		return;
	provider->factors = reading->provider.factors;
	provider->factor_count = reading->provider.factor_count;
}

int cli_simulate(int argc, char **argv)
{
	struct setup setup = {
		.seconds = 10,
		.seed = 1,
		.provider = { .fixed_us = 5000, .item_us = 50, .slots = 10 },
		.windows_us = { 1000, 2000, 5000, 10000, 20000 },
		.window_count = 5,
		.items = { 10, 100 },
		.items_count = 2,
		.modes = { true, true, true },
		.in_flight = 10,
		.callers = 64,
		.timeout_us = 10000000,
		.bytes = 200,
		.urgency = URGENCY_USUAL,
		.flood_urgency = URGENCY_LAST,
	};
	struct log_reading reading;
	int code = read_options(argc, argv, &setup);
	if (code != EXIT_SUCCESS)
		return code < 0 ? EXIT_SUCCESS : code;
	if (!load_workload(&setup, &reading))
		return EXIT_FAILURE;
	choose_provider(&setup, &reading);
	code = run_simulations(&setup, &reading);
	log_reading_fini(&reading);
	return code;
}
