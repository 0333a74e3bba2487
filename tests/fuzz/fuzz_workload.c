/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as an access log: no crash; workload that rise, costs that are numbers, and a simulation of them in which
 * every call ends in one of three ways.
 */
#include <math.h>
#include <stdint.h>

#include "gateway/cli/workload.h"
#include "gateway/cli/simulation.h"
#include "tests/support/fuzz.h"

static void simulate(const struct log_reading *reading)
{
	struct simulation simulation = {
		.policy = { .mode = BATCH_ADAPTIVE,
			    .max_items = 10,
			    .max_bytes = 1 << 20,
			    .window_us = 5000,
			    .concurrency = 4,
			    .queue_items = 100,
			    .queue_bytes = 1 << 20 },
		.provider = { .fixed_us = 5000, .item_us = 50, .slots = 4 },
		.load = { .kind = LOAD_TIMES, .callers = 3, .workload = &reading->workload },
		.timeout_us = 10000000,
		.argument_bytes = 100,
	};
	struct simulation_result result;
	if (reading->fitted) {
		simulation.provider = reading->provider;
		simulation.provider.slots = 4;
	}
	must(simulation_run(&simulation, &result));
	must(!result.stuck && result.answered + result.failed + result.refused == reading->workload.count);
}

static void check(const struct log_reading *reading)
{
	const struct workload *workload = &reading->workload;
	must(workload->count > 0 && workload->count <= reading->calls && reading->calls <= reading->lines);
	for (size_t i = 1; i < workload->count; i++)
		must(workload->at_us[i - 1] <= workload->at_us[i]);
	must(isfinite(reading->provider.item_us) && reading->provider.item_us >= 0);
	if (workload->count <= 100)
		simulate(reading);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct log_reading reading;
	char error[300] = "";
	if (size == 0)
		return 0;
	FILE *log = fmemopen((void *)(uintptr_t)data, size, "r");
	must(log != NULL);
	if (workload_read(log, size % 2 ? "echo" : NULL, &reading, error, sizeof error)) {
		check(&reading);
		log_reading_fini(&reading);
	} else {
		must(error[0] != '\0');
	}
	fclose(log);
	return 0;
}
