/* SPDX-License-Identifier: Apache-2.0 */
/* alerts_private.h: what alerts.c (what fires), alert_measures.c (what is so) and alert_news.c (who is told) share. */
#ifndef JITNEY_GATEWAY_ADMIN_ALERTS_PRIVATE_H
#define JITNEY_GATEWAY_ADMIN_ALERTS_PRIVATE_H

#include <sys/queue.h>

#include "gateway/admin/alert_latch.h"
#include "gateway/admin/alerts.h"
#include "gateway/admin/webhook.h"
#include "gateway/call/world.h"
#include "metrics/history.h"

enum {
	ALERT_ENTRIES_MAX = 1024,
	ALERT_DETAIL_BYTES = 256,
	ALERT_HIT_SAMPLES = 145,
	ALERT_HOST_BYTES = 65,
	ALERT_LISTEN_BYTES = 128
};

/* A subject that is beyond a threshold, or was just now. */
struct alert_entry {
	enum alert alert;
	size_t subject;  /* its label in metrics; 0: the gateway */
	size_t upstream; /* of an endpoint: its upstream's label */
	struct alert_latch latches[ALERT_SEVERITY_COUNT];
	double value, threshold;         /* the latter of the worst severity that fires, or would */
	uint64_t since_us;               /* wall clock: when it fired; before that, when it was first beyond */
	enum alert_severity told;        /* by which it is known; ALERT_SEVERITY_COUNT: it is not */
	uint64_t look;                   /* the last one that saw it */
	char detail[ALERT_DETAIL_BYTES]; /* one sentence */
	TAILQ_ENTRY(alert_entry) next;
};
TAILQ_HEAD(alert_entries, alert_entry);

/* Events of the latest time: what a counter has counted since one window, or two, ago. */
struct alert_counter {
	uint64_t (*read)(const struct gateway *gateway, size_t label);
	size_t count;
	uint64_t window_us, turn_us; /* half of what it looks back at most; when the next one begins */
	uint64_t *before, *current;
};
enum alert_counter_id {
	COUNTER_CALLS,
	COUNTER_FAILED,
	COUNTER_UNKNOWN,
	COUNTER_REFUSED,
	COUNTER_SHED,
	COUNTER_CRASHES,
	COUNTER_CHANGES,
	COUNTER_DISK,
	COUNTER_LOST_LINES,
	COUNTER_REQUESTS,
	COUNTER_REQUESTS_FAILED,
	COUNTER_REQUESTS_LIMITED,
	COUNTER_ID_COUNT
};

/* How often memory answered, every so often of the last day. */
struct alert_hits {
	uint64_t hits, lookups;
};

struct alerts {
	struct gateway *gateway;     /* c */
	char host[ALERT_HOST_BYTES]; /* c: this machine's name: of a fleet's gateways, which one says so */
	char listen
		[ALERT_LISTEN_BYTES]; /* c: its first address, as the process began with it: which one of this machine's */
	struct history *history;      /* borrowed */
	struct meter *meter;
	struct webhook *webhook;
	struct alert_entries entries; /* in the order of coming */
	size_t entry_count, left_out; /* the latter: of the last look */
	struct alert_entry **by_subject[ALERT_COUNT];
	size_t firing[ALERT_COUNT][ALERT_SEVERITY_COUNT];
	uint64_t look;         /* number of this one */
	uint64_t tools_due_us; /* when those of tools are looked at again */
	uint64_t files_due_us;
	unsigned files_percent;
	struct alert_counter counters[COUNTER_ID_COUNT];
	struct alert_hits hits[ALERT_HIT_SAMPLES]; /* a ring */
	size_t hits_taken;
	uint64_t hits_due_us;
	struct buf news; /* of this look, for the webhook */
	size_t news_count, news_left_out;
	bool news_fires; /* one of them does */
};

/* One evaluation. */
struct look {
	struct alerts *alerts;
	const struct catalogue *catalogue;
	const struct generation *generation;
	uint64_t now_us;
	bool tools; /* those of tools are looked at */
};

/* --- alert_measures.c --- */

/* False: out of memory. */
bool alert_counters_init(struct alerts *alerts) MUST_CHECK;
void alert_counters_fini(struct alerts *alerts);
/* Ask everything, and evaluate it. */
void alert_measure(struct look *look);

/* --- alerts.c --- */

/* By which of metrics' labels subjects of that kind are numbered; LABEL_NONE: there is but the gateway. */
enum metric_label alert_label(enum alert_kind kind);
/* This is so now of a subject. upstream: of an endpoint. reason: why, "" if nobody says; may be NULL. */
void alert_evaluate(struct look *look, enum alert alert, size_t subject, size_t upstream, double value,
		    const char *reason);

/* --- alert_news.c --- */

/* Append what is known of an entry, as an object. severity: ALERT_SEVERITY_COUNT: it does not fire (yet). */
void alert_put_entry(const struct alerts *alerts, const struct alert_entry *entry, enum alert_severity severity,
		     struct buf *out);
/* It fires by another severity than before, or (gone, or ALERT_SEVERITY_COUNT) it is over: to the log, and for the webhook. */
void alert_tell(struct alerts *alerts, struct alert_entry *entry, enum alert_severity severity);
/* What this look has brought goes out. */
void alert_send_news(struct alerts *alerts);

#endif
