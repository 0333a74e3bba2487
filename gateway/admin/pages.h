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
route_function page_admin_calls, page_admin_calls_of; /* calls_page.c */

struct catalogue;
struct upstream_settings;

/* What changes something takes a body of nothing or {}, as JSON: a form, which any page can send, is neither. False:
 * answered. */
bool page_body_is_empty(struct worker *worker, struct request *request) MUST_CHECK;
/* How many parameters the query has, those without a value included: a page that knows fewer of them refuses it. */
size_t page_count_parameters(const struct request *request);
/* Append a metric as a member: ,"name":123. */
void page_put_count(struct buf *out, const struct gateway *gateway, const char *name, enum metric metric, size_t label1,
		    size_t label2);
/* Append an upstream's endpoints, as a member: ,"endpoints":[...]. */
void page_put_endpoints(struct buf *out, const struct gateway *gateway, const struct upstream_settings *settings);
/* Append what became of an upstream's list, as a member: ,"tools":{...}; nothing if it is not asked for one. */
void page_put_tool_list(struct buf *out, const struct catalogue *catalogue, unsigned upstream);

#endif
