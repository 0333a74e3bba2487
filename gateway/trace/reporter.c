/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reporter.c: at each interval the metrics as they are then. Nothing is queued: what the collector has not taken is in the
 * next ones, since all of them count from the start of the process.
 */
#include "gateway/trace/reporter.h"

#include "base/clock.h"
#include "gateway/trace/otlp.h"

enum { BYTES_MAX = 16 << 20 /* of all requests of one time */ };

static const struct signal metrics_signal = {
	.number = OTLP_METRICS,
	.name = "metrics",
	.items = "data points",
	.metric = METRIC_ID_OTLP_POINTS,
	.not_sent = &EVENT_METRICS_NOT_SENT,
	.sent = &EVENT_METRICS_SENT,
	.rejected = &EVENT_METRICS_REJECTED,
};

static void send_metrics(struct reporter *reporter)
{
	struct sender *sender = &reporter->sender;
	struct otlp_bodies bodies = STAILQ_HEAD_INITIALIZER(bodies);
	struct otlp_body *body;
	struct trace_settings *settings = sender_settings(sender);
	if (settings &&
	    !otlp_put_metrics(settings, reporter->instance, reporter->metrics, clock_wall_us(), BYTES_MAX, &bodies))
		sender_count(sender, OTLP_FAILED, 1);
	trace_settings_unref(settings);
	while ((body = STAILQ_FIRST(&bodies))) {
		STAILQ_REMOVE_HEAD(&bodies, next);
		sender_post(sender, buf_slice(&body->bytes), body->points);
		otlp_free_body(body);
	}
}

/* Until it is time again, by the settings of now. False: it is the end. */
static bool wait_for_time(struct reporter *reporter, uint64_t last_us)
{
	struct sender *sender = &reporter->sender;
	bool due = false;
	pthread_mutex_lock(&sender->mutex);
	while (!sender->stopping && !due) {
		const struct trace_settings *settings = sender->settings;
		uint64_t due_us = settings ? last_us + settings->interval_us : CLOCK_NEVER;
		due = clock_now_us() >= due_us;
		if (!due)
			sender_wait_locked(sender, due_us);
	}
	pthread_mutex_unlock(&sender->mutex);
	return due;
}

static void *run_reporter(void *context)
{
	struct reporter *reporter = context;
	uint64_t last_us = clock_now_us();
	while (wait_for_time(reporter, last_us)) {
		last_us = clock_now_us();
		send_metrics(reporter);
	}
	send_metrics(reporter); /* what has come since */
	return NULL;
}

bool reporter_init(struct reporter *reporter, struct metrics *metrics, const char *instance)
{
	reporter->metrics = metrics;
	reporter->instance = instance;
	return sender_init(&reporter->sender, &metrics_signal, run_reporter, reporter);
}

void reporter_fini(struct reporter *reporter)
{
	sender_fini(&reporter->sender);
}
