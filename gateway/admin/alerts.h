/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alerts.h: the conditions of packaging/prometheus, evaluated by the gateway itself: what fires, since when, for whom. What
 * changes is a line in the log, a metric, and a post to alerts.webhook. One thread: the observer's.
 */
#ifndef JITNEY_GATEWAY_ADMIN_ALERTS_H
#define JITNEY_GATEWAY_ADMIN_ALERTS_H

#include "base/buf.h"
#include "base/compiler.h"
#include "gateway/tools/catalogue.h"
#include "metrics/catalogue.h"

struct alerts;
struct gateway;
struct history;

/* What an alert is about. */
enum alert_kind { ALERT_OF_GATEWAY, ALERT_OF_TOOL, ALERT_OF_UPSTREAM, ALERT_OF_ENDPOINT, ALERT_OF_WORKER };

/* What a value says. */
enum alert_unit { ALERT_IN_PERCENT, ALERT_IN_US, ALERT_IN_EVENTS, ALERT_IS_SO };

/* What is always so of one. */
struct alert_description {
	const char *name; /* as Prometheus' rules have it: "JitneyUpstreamDown" */
	enum alert_kind kind;
	enum alert_unit unit;
	bool falls;           /* less is worse */
	const char *sentence; /* of it when it fires; %s: the value */
};
const struct alert_description *alert_description(enum alert alert);

/* The history is borrowed. NULL when out of memory. Main thread. */
struct alerts *alerts_new(struct gateway *gateway, struct history *history) MUST_CHECK;
/* The webhook's thread. False and errno: there is none. Main thread. */
bool alerts_start(struct alerts *alerts) MUST_CHECK;
/* Nobody is told any more. Main thread. */
void alerts_stop(struct alerts *alerts);
/* NULL is allowed. */
void alerts_free(struct alerts *alerts);

/* Evaluate all of them, by the options of the catalogue's generation. */
void alerts_look(struct alerts *alerts, const struct catalogue *catalogue, uint64_t now_us);

/* Append those that fire, as members of a JSON array. */
void alerts_put_firing(const struct alerts *alerts, struct buf *out);
/* Append those that have not been so for long enough, likewise. */
void alerts_put_pending(const struct alerts *alerts, struct buf *out);
/* Append what there is of the webhook, as an object. */
void alerts_put_webhook(const struct alerts *alerts, struct buf *out);
/* What became of requests within the last quarter to half minute. */
struct alert_requests {
	uint64_t all, failed, limited; /* of all: by the provider's fault; refused as too many */
};
/* Add an endpoint's. */
void alerts_count_requests(const struct alerts *alerts, size_t endpoint, struct alert_requests *requests);
/* How many calls an upstream has refused lately, within a minute at most. */
uint64_t alerts_count_shed(const struct alerts *alerts, size_t upstream);
/* How many subjects had to be left out of the last look, since too many are sick. */
size_t alerts_left_out(const struct alerts *alerts);

#endif
