/* SPDX-License-Identifier: Apache-2.0 */
/* exporter.c: traces and metrics side by side, told in one name. */
#include "gateway/trace/exporter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "gateway/trace/reporter.h"
#include "gateway/trace/tracer.h"

enum { LAST_WORDS_S = 2 /* what is to be told at the end may take so long */ };

struct exporter {
	char instance[33]; /* c: service.instance.id: of this process */
	struct tracer tracer;
	struct reporter reporter;
};

static void show_counts(void *context, struct meter *meter)
{
	struct exporter *exporter = context;
	sender_show(&exporter->tracer.sender, meter);
	sender_show(&exporter->reporter.sender, meter);
}

struct exporter *exporter_new(struct metrics *metrics)
{
	unsigned long long instance[2];
	struct exporter *exporter = calloc(1, sizeof *exporter);
	if (!exporter || !random_secret(instance, sizeof instance))
		goto fail;
	snprintf(exporter->instance, sizeof exporter->instance, "%016llx%016llx", instance[0], instance[1]);
	if (!tracer_init(&exporter->tracer, exporter->instance))
		goto fail;
	if (!reporter_init(&exporter->reporter, metrics, exporter->instance))
		goto fail_tracer;
	metrics_on_scrape(metrics, show_counts, exporter);
	return exporter;
fail_tracer:
	tracer_fini(&exporter->tracer);
fail:
	free(exporter);
	return NULL;
}

void exporter_free(struct exporter *exporter)
{
	if (!exporter)
		return;
	tracer_fini(&exporter->tracer);
	reporter_fini(&exporter->reporter);
	free(exporter);
}

bool exporter_prepare(struct exporter *exporter, const struct trace_settings *settings, struct trace_settings **copy)
{
	*copy = NULL;
	if (!settings)
		return true;
	if ((trace_route_of(settings, OTLP_TRACES) && !sender_start(&exporter->tracer.sender)) ||
	    (trace_route_of(settings, OTLP_METRICS) && !sender_start(&exporter->reporter.sender)))
		return false;
	*copy = trace_settings_copy(settings);
	errno = *copy ? 0 : ENOMEM;
	return *copy != NULL;
}

void exporter_use(struct exporter *exporter, struct trace_settings *copy)
{
	sender_use(&exporter->tracer.sender, copy);
	sender_use(&exporter->reporter.sender, copy);
	trace_settings_unref(copy);
}

void exporter_keep(struct exporter *exporter, const struct traced_call *call, struct meter *meter)
{
	tracer_keep(&exporter->tracer, call, meter);
}

void exporter_stop(struct exporter *exporter)
{
	struct timespec until;
	if (!exporter)
		return;
	sender_ask_end(&exporter->tracer.sender);
	sender_ask_end(&exporter->reporter.sender);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LAST_WORDS_S;
	sender_join(&exporter->tracer.sender, &until);
	sender_join(&exporter->reporter.sender, &until);
}
