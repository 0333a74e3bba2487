/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regret.c: the regret table. Each cell, a world under a load or a change from one world to another, is run with the
 * batcher left to itself and with the static settings, in virtual time; bench/run.py --regret makes the table of it.
 * One line of JSON a cell; with --verbose, for people, what happens in it.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "tests/support/regret.h"

static const char help[] =
	"usage: regret [--world NAME] [--load NAME] [--before NAME] [--changes] [--part I/N] [--alone] [--known] [--verbose]\n"
	"  --before NAME  the change from that world to --world\n"
	"  --changes      all changes, not the worlds by themselves; under closed-64 unless --load says otherwise\n"
	"  --part I/N     only every Nth cell, from the Ith on (0 is the first)\n"
	"  --alone        calls travel alone: how many at once is learned, and the static settings are those\n"
	"  --known        the best settings of the last sweep (tests/support/regret_best.inc): no sweep\n"
	"  --test         as few calls as the test has\n"
	"  --verbose      tell what happens, ten times a second of the simulated time\n";

struct options {
	const struct world *world, *before;
	const struct regret_load *load;
	unsigned part, parts;
	bool changes, alone, known, verbose, test;
};

static int usage(void)
{
	fputs(help, stderr);
	fputs("worlds:", stderr);
	for (size_t i = 0; i < world_count; i++)
		fprintf(stderr, " %s", worlds[i].name);
	fputs("\nloads:", stderr);
	for (size_t i = 0; i < regret_load_count; i++)
		fprintf(stderr, " %s", regret_loads[i].name);
	fputs("\n", stderr);
	return 2;
}

/* --- one cell --- */

static void print_moment(void *context, const struct simulation_moment *moment)
{
	(void)context;
	printf("%9.1f ms  came %6llu  answered %6llu  others %6llu  requests %5llu  took %9.2f ms  line %5lld  under way %4lld  "
	       "limit %4lld  window %7.3f ms\n",
	       (double)moment->at_us / 1e3, (unsigned long long)moment->came, (unsigned long long)moment->answered,
	       (unsigned long long)moment->others, (unsigned long long)moment->requests, (double)moment->took_us / 1e3,
	       (long long)moment->waiting, (long long)moment->under_way, (long long)moment->concurrency,
	       (double)moment->window_us / 1e3);
}

static void print_row(const struct regret_cell *cell, const struct regret_setting *setting,
		      const struct simulation_result *result)
{
	printf("%-20s goodput %10.1f/s  p50 %10.3f ms  p99 %10.3f ms  answered %6llu  refused %6llu (p50 %.3f ms)  failed %6llu%s\n",
	       regret_setting_text(setting), regret_goodput(cell, result), (double)result->took_p50_us / 1e3,
	       (double)result->took_p99_us / 1e3, (unsigned long long)result->answered,
	       (unsigned long long)result->refused, (double)result->refused_p50_us / 1e3,
	       (unsigned long long)result->failed, result->stuck ? "  STUCK" : "");
	for (int i = 1; i < OUTCOME_COUNT; i++)
		if (result->outcomes[i])
			printf("    %s: %llu\n", outcome_word((enum outcome)i),
			       (unsigned long long)result->outcomes[i]);
}

struct found {
	struct regret_setting setting;
	struct simulation_result result;
};

static int better_first(const void *a, const void *b, void *cell)
{
	const struct found *x = a, *y = b;
	return regret_better(cell, &x->result, &y->result) ? -1 : regret_better(cell, &y->result, &x->result);
}

/* All settings over few calls, then the promising ones over all. */
static struct found sweep(const struct regret_cell *cell, const struct regret_size *size, const struct options *options)
{
	enum { PROMISING = 6 };
	struct found tries[64];
	size_t count = 0;
	for (size_t i = 0; i < regret_static_count; i++) {
		if (options->alone && regret_statics[i].mode != BATCH_OFF)
			continue;
		tries[count].setting = regret_statics[i];
		tries[count++].result = regret_run(cell, &regret_statics[i], &regret_screen_size, NULL, 0);
	}
	qsort_r(tries, count, sizeof *tries, better_first, (void *)(uintptr_t)cell);
	for (size_t i = 0; i < PROMISING; i++) {
		tries[i].result = regret_run(cell, &tries[i].setting, size, NULL, 0);
		if (options->verbose)
			print_row(cell, &tries[i].setting, &tries[i].result);
	}
	struct found best = tries[0];
	for (size_t i = 1; i < PROMISING; i++)
		best = regret_better(cell, &tries[i].result, &best.result) ? tries[i] : best;
	return best;
}

/* Of the world by itself: what was before it changes nothing about what is best. */
static struct found find_best(const struct regret_cell *cell, const struct options *options,
			      const struct regret_size *size)
{
	struct regret_cell alone = { NULL, cell->world, cell->load };
	bool known_counts = !options->alone && (options->known || cell->before);
	const struct regret_setting *known = known_counts ? regret_best_known(&alone) : NULL;
	if (!known)
		return sweep(&alone, size, options);
	return (struct found){ *known, regret_run(&alone, known, size, NULL, 0) };
}

static void print_result(const struct regret_cell *cell, const char *name, const struct simulation_result *result)
{
	printf("\"%s\":{\"goodput\":%.1f,\"p50_us\":%llu,\"p99_us\":%llu,\"answered\":%llu,\"refused\":%llu,\"refused_p50_us\":%llu,"
	       "\"failed\":%llu,\"requests\":%llu}",
	       name, regret_goodput(cell, result), (unsigned long long)result->took_p50_us,
	       (unsigned long long)result->took_p99_us, (unsigned long long)result->answered,
	       (unsigned long long)result->refused, (unsigned long long)result->refused_p50_us,
	       (unsigned long long)result->failed, (unsigned long long)result->requests);
}

static void measure(const struct regret_cell *cell, const struct options *options, unsigned number)
{
	static const char *const modes[] = { "adaptive", "fixed", "off" }; /* enum batch_mode's order */
	const struct regret_size *size = options->test ? &regret_test_size : &regret_table_size;
	const struct regret_setting *own = options->alone ? &regret_alone : &regret_auto;
	struct found best = find_best(cell, options, size);
	uint64_t watch_us = options->verbose ? 100000 : 0;
	struct simulation_result result =
		regret_run(cell, own, size, options->verbose ? print_moment : NULL, watch_us);
	if (options->verbose) {
		printf("\n%s%s%s under %s: %s\n", cell->before ? cell->before->name : "", cell->before ? " -> " : "",
		       cell->world->name, cell->load->name, cell->world->what);
		print_row(cell, &best.setting, &best.result);
		print_row(cell, own, &result);
	}
	unsigned faults = regret_evaluate(cell, &result, &best.result);
	printf("{\"number\":%u,\"world\":\"%s\",\"load\":\"%s\",\"before\":\"%s\",\"mode\":\"%s\",\"concurrency\":%zu,\"window_us\":%llu,\"faults\":%u,"
	       "\"excess\":%.3f,",
	       number, cell->world->name, cell->load->name, cell->before ? cell->before->name : "",
	       modes[best.setting.mode], best.setting.concurrency, (unsigned long long)best.setting.window_us, faults,
	       regret_excess(cell, &result, &best.result));
	print_result(cell, "best", &best.result);
	putchar(',');
	print_result(cell, "adaptive", &result);
	puts("}");
	fflush(stdout);
}

/* --- which --- */

static void measure_all(const struct options *options)
{
	unsigned number = 0;
	size_t befores = options->changes ? world_count : 1;
	for (size_t w = 0; w < world_count; w++)
		for (size_t l = 0; l < regret_load_count; l++)
			for (size_t b = 0; b < befores; b++) {
				const struct world *before = options->changes ? &worlds[b] : NULL;
				struct regret_cell cell = { before, &worlds[w], &regret_loads[l] };
				if ((options->world && options->world != cell.world) ||
				    (options->load && options->load != cell.load) ||
				    (options->before && options->before != before) || !regret_cell_is(&cell))
					continue;
				if (++number % options->parts == options->part)
					measure(&cell, options, number);
			}
}

static bool read_option(int option, struct options *options)
{
	switch (option) {
	case 'w':
		return (options->world = world_named(optarg)) != NULL;
	case 'b':
		options->changes = true;
		return (options->before = world_named(optarg)) != NULL;
	case 'l':
		return (options->load = regret_load_named(optarg)) != NULL;
	case 'p':
		return sscanf(optarg, "%u/%u", &options->part, &options->parts) == 2 && options->part < options->parts;
	case 'c':
		options->changes = true;
		return true;
	case 'a':
		options->alone = true;
		return true;
	case 'k':
		options->known = true;
		return true;
	case 't':
		options->test = true;
		return true;
	case 'v':
		options->verbose = true;
		return true;
	default:
		return false;
	}
}

int main(int argc, char **argv)
{
	static const struct option names[] = {
		{ "world", required_argument, NULL, 'w' },
		{ "before", required_argument, NULL, 'b' },
		{ "load", required_argument, NULL, 'l' },
		{ "part", required_argument, NULL, 'p' },
		{ "changes", no_argument, NULL, 'c' },
		{ "alone", no_argument, NULL, 'a' },
		{ "known", no_argument, NULL, 'k' },
		{ "test", no_argument, NULL, 't' },
		{ "verbose", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	struct options options = { .parts = 1 };
	for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;)
		if (!read_option(option, &options))
			return usage();
	if (optind < argc)
		return usage();
	if (options.changes && !options.load)
		options.load = regret_load_named("closed-64");
	measure_all(&options);
	return 0;
}
