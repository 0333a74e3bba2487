/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shape.h: what metrics.c (the cells), walk.c (reading them all), prometheus.c (their text) and history.c (their past)
 * share. Nobody else includes it; outsiders use metrics.h. A meter is one flat array of cells; a shape says where in it
 * the series of one metric lie.
 */
#ifndef JITNEY_METRICS_SHAPE_H
#define JITNEY_METRICS_SHAPE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/owner.h"
#include "metrics/metrics.h"

enum { METRICS_MAX_HOOKS = 8 };

/* The buckets of a histogram type. */
struct scale {
	const uint64_t *bounds; /* upper bounds, inclusive, rising; behind the last one UINT64_MAX, the +Inf bucket */
	size_t count;           /* finite bounds */
	uint8_t start[64];      /* by the value's highest bit: the first bucket it can fall into */
};

/* The cells of one metric: count1 x count2 series, row by row; a histogram's series is its sum, then its buckets. */
struct shape {
	size_t first;              /* index of its first cell */
	size_t count1, count2;     /* values of its labels; 1 where there is none */
	const struct scale *scale; /* of a histogram, else NULL */
};

/* What the catalogue says about a metric. */
struct metric_entry {
	const char *name; /* without "jitney_" */
	const char *help;
	enum metric_type type;
	enum metric_label label1, label2;
};
extern const struct metric_entry metric_entries[METRIC_ID_COUNT];

struct meter {
	struct owner owner;         /* itself */
	_Atomic uint64_t *cells;    /* a: written by the owner, read by whoever scrapes; on cache lines of its own */
	const struct shape *shapes; /* c */
	struct meter *next;         /* c: once published */
	void *memory;               /* c: what to free: meter and cells in one piece */
};

struct metrics {
	struct shape shapes[METRIC_ID_COUNT]; /* c */
	struct scale seconds, items, bytes;   /* c */
	struct metrics_names names;           /* c; but for the names that come later: see below */
	/* a: by index; NULL: no name yet, and no series */
	const char *_Atomic *tools, *_Atomic *upstreams, *_Atomic *endpoints;
	atomic_bool *upstreams_gone, *endpoints_gone; /* a: by index */
	char (*workers)[24];                          /* c: "0", "1" ... */
	size_t cell_count;                            /* c */
	uint64_t process_start_us;                    /* c: wall clock */
	struct meter *_Atomic meters;                 /* a: list, pushed by the main thread */
	struct meter *scrape_meter;                   /* m: the hooks' own */
	struct {
		void (*call)(void *context, struct meter *meter);
		void *context;
	} hooks[METRICS_MAX_HOOKS]; /* c: once scraping has begun */
	size_t hook_count;          /* c: once scraping has begun */
	pthread_mutex_t scrape;     /* held while the hooks run, so that each sees one scrape at a time */
};
/* c constant, a atomic, m mutex `scrape` */

/* The label's name as exposed ("tool"); NULL for LABEL_NONE. An endpoint's upstream= is the writer's affair. */
const char *metric_label_name(enum metric_label label);
/* How many values the label has. */
size_t metrics_label_count(const struct metrics_names *names, enum metric_label label);
/* The value of kind= that goes with an index of LABEL_ATTEMPT: static storage. */
const char *metrics_attempt_kind(size_t index);
/* Whether the index of an upstream's or endpoint's label is of one that has left (metrics_show). Any thread. */
bool metrics_is_gone(const struct metrics *metrics, enum metric_label label, size_t index);
/* Sum of one cell over all meters. Any thread. */
uint64_t metrics_sum(const struct metrics *metrics, size_t cell);

/* The two parts of metrics_walk: the catalogue, which depends on nothing but the cells; build_info and process_*. */
void walk_catalogue(const struct metrics *metrics, const struct metrics_reader *reader);
void walk_process(const struct metrics *metrics, const struct metrics_reader *reader);
/* The exposition text of either. */
void prometheus_put_catalogue(const struct metrics *metrics, struct buf *out);
void prometheus_put_process(const struct metrics *metrics, struct buf *out);

#endif
