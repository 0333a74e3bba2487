/* pages.h: what can be read about the gateway: catalogue, health, metrics, and the admin listener's pages. */
#ifndef JITNEY_GATEWAY_ADMIN_PAGES_H
#define JITNEY_GATEWAY_ADMIN_PAGES_H

#include "gateway/call/worker.h"

route_function page_tools, page_tool, page_openapi;                                         /* data listener */
route_function page_healthz, page_readyz, page_metrics;                                     /* both */
route_function page_admin_index, page_admin_config, page_admin_upstreams, page_admin_cache; /* admin listener */
route_function page_admin_endpoint; /* endpoints_page.c */
route_function page_admin_purge, page_admin_drain, page_admin_tools;

struct catalogue;
struct gateway;

struct upstream_settings;

/* Whether a POST or DELETE without arguments brings none: no body, or {}. False: it has been refused. */
bool page_body_is_empty(struct worker *worker, struct request *request);

/* Append an upstream's endpoints, as a member: ,"endpoints":[...]. */
void page_put_endpoints(struct buf *out, const struct gateway *gateway, const struct upstream_settings *settings);

/* How many workers have a Redis that answers; 0 without a Redis tier. Any thread. */
unsigned redis_workers(const struct gateway *gateway);

/* Append what became of an upstream's list, as a member: ,"tools":{...}; nothing if it is not asked for one. */
void page_put_listing(struct buf *out, const struct catalogue *catalogue, unsigned upstream);

#endif
