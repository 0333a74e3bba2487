/* SPDX-License-Identifier: Apache-2.0 */
/* pages.h: the admin listener's pages, and what they share. */
#ifndef JITNEY_GATEWAY_ADMIN_PAGES_H
#define JITNEY_GATEWAY_ADMIN_PAGES_H

#include "base/buf.h"
#include "gateway/call/route.h"
#include "metrics/catalogue.h"

route_function page_admin_upstreams, page_admin_drain;
route_function page_admin_config;                     /* config_page.c */
route_function page_admin_tools;                      /* tools_page.c */
route_function page_admin_endpoint;                   /* endpoints_page.c */
route_function page_admin_stats;                      /* stats_page.c */
route_function page_admin_alerts;                     /* alerts_page.c */
route_function page_admin_calls, page_admin_calls_of; /* calls_page.c */

struct catalogue;
struct upstream_settings;

/* What changes something takes a body of nothing or {}, as JSON: a form, which any page can send, is neither. False:
 * answered. */
bool page_body_is_empty(struct worker *worker, struct request *request) MUST_CHECK;
/* Reply 200 with this JSON, which is taken. */
void page_send_json(struct request *request, struct buf *text);
/* Append a metric as a member: ,"name":123. */
void page_put_count(struct buf *out, const struct gateway *gateway, const char *name, enum metric metric, size_t label1,
		    size_t label2);
/* Append a metric by the values of one of its labels, `at` being the other's, as members: ,"hit":2,"miss":0. */
void page_put_counts(struct buf *out, const struct gateway *gateway, enum metric metric, enum metric_label label,
		     size_t at);
/* The same as one member, ,"name":{"hit":2}, of those that are not 0, or `all`. */
void page_put_object(struct buf *out, const struct gateway *gateway, const char *name, enum metric metric,
		     enum metric_label label, size_t at, bool all);
/* Append a moment of the wall clock as a member's value, in seconds: 1700000000.123. */
void page_put_time(struct buf *out, uint64_t wall_us);
enum { PAGE_SPAN_BYTES = 32 };
/* How long something took, for people: "80 ms", "1.5 s". Returns `text`. */
const char *page_print_span(char text[PAGE_SPAN_BYTES], double us);
/* Whether calls go to an endpoint: it is in its place, and the last exchange reached it. */
bool page_endpoint_is_usable(const struct gateway *gateway, const struct upstream_settings *settings, size_t index);
/* How many of an upstream's endpoints are healthy. */
size_t page_healthy_endpoints(const struct gateway *gateway, const struct upstream_settings *settings);
/* Append an upstream's endpoints, as a member: ,"endpoints":[...]. */
void page_put_endpoints(struct buf *out, const struct gateway *gateway, const struct upstream_settings *settings);
/* Append what tenants have cost, as members: ,"tenants":[...],"other_tenants":{...}. Any thread. */
void page_put_tenants(struct buf *out, const struct gateway *gateway);
/* Append what became of an upstream's list, as a member: ,"tools":{...}; nothing if it is not asked for one. */
void page_put_tool_list(struct buf *out, const struct catalogue *catalogue, unsigned upstream);

#endif
