/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway_stats.h: what a running gateway says of itself, asked over its admin listener and read: GET /admin/stats, and the
 * last calls (GET /admin/calls).
 */
#ifndef JITNEY_GATEWAY_CLI_GATEWAY_STATS_H
#define JITNEY_GATEWAY_CLI_GATEWAY_STATS_H

#include <stdatomic.h>

#include "gateway/cli/cli_client.h"
#include "gateway/cli/text_table.h"

enum { STATS_ERROR_BYTES = 512 };

/* Whom `top` and `perf` ask. */
extern const struct cli_server admin_server;

/* One look at a gateway. Zero-initialise; what `root` and the other slices show ends with the next look. */
struct gateway_stats {
	struct buf page, calls_page;
	struct slice root;  /* the object of /admin/stats */
	struct slice calls; /* the array of /admin/calls; empty text: not asked for */
	double at_s;        /* its own clock */
};

/* Ask. `cancelled` set by another thread ends the wait within a second or so (NULL: nobody does). False: `error` is a
 * sentence that names the gateway, and `stats` is empty. upstream_library_init first. Any thread. */
bool gateway_stats_ask(struct gateway_stats *stats, const struct cli_client *setup, bool with_calls,
		       const atomic_bool *cancelled, char error[STATS_ERROR_BYTES]) MUST_CHECK;
void gateway_stats_fini(struct gateway_stats *stats);

/* Whether `before` is the same process a while ago, so that what came in between can be told; *span_s: how long. */
bool gateway_stats_follow(const struct gateway_stats *now, const struct gateway_stats *before,
			  double *span_s) MUST_CHECK;

/* A member of an object that is a number. False: it is not there, or is null. */
bool stats_number(struct slice object, const char *name, double *number) MUST_CHECK;
/* The same, 0 where it is not there. */
double stats_count(struct slice object, const char *name);
/* A member that is an object or an array; empty text, which has no members, if it is not there. */
struct slice stats_member(struct slice object, const char *name);
/* A member that is a string, without its quotes and escapes, into `text`, which is emptied first. */
struct slice stats_text(struct slice object, const char *name, struct buf *text);
/* A member that is a number, microseconds or a share of 1, into a cell of a table; one that is null shows as none. */
void stats_put_time(struct slice object, const char *name, struct text_cell *cell);
void stats_put_share(struct slice object, const char *name, struct text_cell *cell);

#endif
